//! Bases as ONNX: the model's protobuf, and numbers in a file beside it.
#![no_main]

use inception_web_fuzz::{parts, read_base};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let parts = parts(input);
    let data = parts.get(1).copied().unwrap_or_default();
    _ = read_base(&[("model.onnx", parts[0]), ("model.onnx.data", data)]);
});
