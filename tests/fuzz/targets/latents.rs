//! Latent tables: safetensors and `.npz`.
#![no_main]

use inception_web::head::latents::{BaseId, Latents};
use inception_web_fuzz::{assert_error, safetensors, split, zip};
use libfuzzer_sys::fuzz_target;

const ARRAYS: [&str; 6] = [
    "latents",
    "labels",
    "classes",
    "names",
    "fingerprint",
    "base",
];

fuzz_target!(|input: &[u8]| {
    read(input);
    if let Some(file) = safetensors(input, 1 << 20) {
        read(&file);
    }
    // Arrays in the npy format, in the order of `ARRAYS`.
    let files = split(input);
    if files.len() > 1 {
        let names = ARRAYS.iter().map(|name| format!("{name}.npy"));
        read(&zip(names.zip(files)));
    }
});

fn read(bytes: &[u8]) {
    let base = BaseId {
        name: "test".into(),
        fingerprint: "0".repeat(64),
    };
    for base in [None, Some(&base)] {
        match Latents::read(bytes, base) {
            Ok((latents, _)) => {
                let (again, _) = Latents::read(&latents.write_npz(), None).expect("a valid file");
                assert_eq!(again.values, latents.values);
            }
            Err(error) => assert_error(&error, "latents", ""),
        }
    }
}
