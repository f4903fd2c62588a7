//! TF.js weights: `model.json` and its shards.
#![no_main]

use inception_web_fuzz::{read_base, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let names = ["model.json", "1.bin", "2.bin", "3.bin"];
    let files: Vec<_> = names.into_iter().zip(split(input)).collect();
    _ = read_base(&files);
});
