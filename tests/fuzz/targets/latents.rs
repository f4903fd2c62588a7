//! Tables of latents: safetensors and NumPy's `.npz`.
#![no_main]

use inception_web::head::latents::{Latents, BaseId};
use inception_web_fuzz::{parts, refused, safetensors, zip};
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
    // Arrays in NumPy's format, which are named by their order.
    let parts = parts(input);
    if parts.len() > 1 {
        let names = ARRAYS.iter().map(|name| format!("{name}.npy"));
        read(&zip(names.zip(parts)));
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
                let (again, _) =
                    Latents::read(&latents.write_npz(), None).expect("what was written opens");
                assert_eq!(again.values, latents.values);
            }
            Err(error) => refused(&error, "latents", ""),
        }
    }
}
