//! CIFAR-10's files: records, pickles, class names, tarballs.
#![no_main]

use inception_web::image::cifar10::Files;
use inception_web_fuzz::refused;
use libfuzzer_sys::fuzz_target;

/// What kind of file it is, is told by its name and its bytes.
const NAMES: [&str; 5] = [
    "data_batch_1.bin",
    "test_batch",
    "batches.meta",
    "batches.meta.txt",
    "cifar.tar.gz",
];
const BLOCK: usize = 512;

fuzz_target!(|input: &[u8]| {
    let mut files = Files::new();
    for name in NAMES {
        if let Err(error) = files.add(name, input) {
            refused(&error, "pictures", &told(&error.to_string(), name));
        }
    }
    let tar = checked(input);
    if let Err(error) = files.add("cifar.tar", &tar) {
        refused(&error, "pictures", &told(&error.to_string(), "cifar.tar"));
    }
    if let Ok(set) = files.finish() {
        for pictures in [set.training, set.test] {
            assert_eq!(pictures.pixels.len(), pictures.len() * 3072);
            assert!(
                pictures
                    .labels
                    .iter()
                    .all(|label| *label < pictures.classes.len())
            );
        }
    }
});

/// The name that a refusal begins with: the file's, or that of one in the tarball.
fn told(refusal: &str, name: &str) -> String {
    let file = refusal.split(": ").next().unwrap_or_default();
    let inside = file
        .strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('/'));
    if inside { file.into() } else { name.into() }
}

/// The check sums of a tarball's headers set right, as far as each header's size leads to the next.
fn checked(input: &[u8]) -> Vec<u8> {
    let mut tar = input.to_vec();
    let mut at = 0usize;
    while let Some(header) = tar.get_mut(at..at.saturating_add(BLOCK)) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(size, 8).unwrap_or(0);
        at = at.saturating_add(BLOCK + size.next_multiple_of(BLOCK));
    }
    tar
}
