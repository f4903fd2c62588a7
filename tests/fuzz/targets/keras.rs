//! Bases of Keras: HDF5, and the zip with it that is called `.keras`.
#![no_main]

use inception_web_fuzz::{read_base, zip};
use libfuzzer_sys::fuzz_target;

/// Check sums set right in one input; each takes a reading.
const SUMS: usize = 12;

fuzz_target!(|input: &[u8]| {
    if let Some(inner) = input.strip_prefix(b"keras:") {
        let file = zip([("model.weights.h5".into(), inner)]);
        _ = read_base(&[("model.keras", &file)]);
        return;
    }
    let mut file = input.to_vec();
    for _ in 0..SUMS {
        let Err(error) = read_base(&[("model.h5", &file)]) else {
            return;
        };
        let Some([want, got]) = sums(&error.to_string()) else {
            return;
        };
        let Some(at) = file.windows(4).position(|w| w == want.to_le_bytes()) else {
            return;
        };
        file[at..at + 4].copy_from_slice(&got.to_le_bytes());
    }
});

/// The check sum in the file and the right one, where the refusal tells them.
fn sums(refusal: &str) -> Option<[u32; 2]> {
    let (_, told) = refusal.split_once("checksum mismatch: expected ")?;
    let mut numbers = told
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| u32::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    Some([numbers.next()?, numbers.next()?])
}
