//! CIFAR-10: records, pickles, class names, tarballs.
#![no_main]

use inception_web::image::cifar10::Files;
use inception_web_fuzz::assert_error;
use libfuzzer_sys::fuzz_target;

/// The name of a file and its contents determine the format.
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
            let file = file_of(&error.to_string(), name);
            assert_error(&error, "pictures", &file);
        }
    }
    let tar = with_checksums(input);
    if let Err(error) = files.add("cifar.tar", &tar) {
        let file = file_of(&error.to_string(), "cifar.tar");
        assert_error(&error, "pictures", &file);
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

/// Returns the expected prefix of an error message: the name of the file, or of a member of the tarball.
fn file_of(message: &str, name: &str) -> String {
    let prefix = message.split(": ").next().unwrap_or_default();
    let is_member = prefix
        .strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('/'));
    if is_member {
        prefix.into()
    } else {
        name.into()
    }
}

/// Corrects the checksums of the headers of a tarball, as far as the sizes lead from one header to the next.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut tar = input.to_vec();
    let mut position = 0usize;
    while let Some(header) = tar.get_mut(position..position.saturating_add(BLOCK)) {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let size = usize::from_str_radix(size, 8).unwrap_or(0);
        position = position.saturating_add(BLOCK + size.next_multiple_of(BLOCK));
    }
    tar
}
