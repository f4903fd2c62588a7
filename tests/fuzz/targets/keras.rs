//! Keras weights: HDF5, and `.keras` archives.
#![no_main]

use inception_web_fuzz::{read_base, zip};
use libfuzzer_sys::fuzz_target;

/// Maximum number of checksums to correct in an input.
const MAX_CORRECTIONS: usize = 12;

fuzz_target!(|input: &[u8]| {
    if let Some(inner) = input.strip_prefix(b"keras:") {
        let file = zip([("model.weights.h5".into(), inner)]);
        _ = read_base(&[("model.keras", &file)]);
        return;
    }
    let mut file = input.to_vec();
    for _ in 0..MAX_CORRECTIONS {
        let Err(error) = read_base(&[("model.h5", &file)]) else {
            return;
        };
        let Some([want, got]) = checksums(&error.to_string()) else {
            return;
        };
        let Some(position) = file.windows(4).position(|w| w == want.to_le_bytes()) else {
            return;
        };
        file[position..position + 4].copy_from_slice(&got.to_le_bytes());
    }
});

/// Parses the stored and the computed checksum from an error message.
fn checksums(message: &str) -> Option<[u32; 2]> {
    let (_, rest) = message.split_once("checksum mismatch: expected ")?;
    let mut values = rest
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|token| u32::from_str_radix(token.strip_prefix("0x")?, 16).ok());
    Some([values.next()?, values.next()?])
}
