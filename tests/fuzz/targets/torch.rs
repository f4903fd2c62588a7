//! Bases of PyTorch: timm's safetensors, torchvision's `.pth` as a zip and as before.
#![no_main]

use inception_web_fuzz::{parts, read_base, safetensors, zip};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let parts = parts(input);
    let config = ("config.json", parts.get(1).copied().unwrap_or_default());
    _ = read_base(&[("model", parts[0]), config]);
    if let Some(file) = safetensors(parts[0], 1 << 20) {
        _ = read_base(&[("model.safetensors", &file), config]);
    }
    // A pickle, and the storages that it names 0, 1, ...
    if parts[0].starts_with(&[0x80]) {
        let storages = (0..).zip(&parts[1..]);
        let storages = storages.map(|(k, bytes)| (format!("archive/data/{k}"), *bytes));
        let pickle = ("archive/data.pkl".into(), parts[0]);
        let file = zip([pickle].into_iter().chain(storages));
        _ = read_base(&[("model.pth", &file)]);
    }
});
