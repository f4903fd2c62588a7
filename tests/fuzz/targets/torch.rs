//! PyTorch weights: safetensors of timm, and `.pth` of torchvision in the zip and the legacy format.
#![no_main]

use inception_web_fuzz::{read_base, safetensors, split, zip};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let files = split(input);
    let config = ("config.json", files.get(1).copied().unwrap_or_default());
    _ = read_base(&[("model", files[0]), config]);
    if let Some(file) = safetensors(files[0], 1 << 20) {
        _ = read_base(&[("model.safetensors", &file), config]);
    }
    // A pickle, and its storages with the keys 0, 1, ...
    if files[0].starts_with(&[0x80]) {
        let storages = (0..).zip(&files[1..]);
        let storages = storages.map(|(k, bytes)| (format!("archive/data/{k}"), *bytes));
        let pickle = ("archive/data.pkl".into(), files[0]);
        let file = zip([pickle].into_iter().chain(storages));
        _ = read_base(&[("model.pth", &file)]);
    }
});
