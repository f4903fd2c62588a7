//! ONNX weights: a model and a file with external data.
#![no_main]

use inception_web_fuzz::{read_base, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let files = split(input);
    let data = files.get(1).copied().unwrap_or_default();
    _ = read_base(&[("model.onnx", files[0]), ("model.onnx.data", data)]);
});
