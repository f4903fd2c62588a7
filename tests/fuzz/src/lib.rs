//! What the targets share: how one input stands for several files, how it gets past lengths and check sums, and what a refusal must be.

use std::io::Write;

use inception_web::{error::Error, weights::import::{self, File}};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use serde_json::Value;

/// What parts one file from the next in an input.
const BETWEEN: &[u8] = b"\n~~\n";

/// The files that an input stands for; at least one.
pub fn parts(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut left = input;
    while let Some(at) = left.windows(BETWEEN.len()).position(|w| w == BETWEEN) {
        parts.push(&left[..at]);
        left = &left[at + BETWEEN.len()..];
    }
    parts.push(left);
    parts
}

/// A safetensors file of this header, the length before it, and as many bytes after it as its tensors claim, if those are at most `most`.
pub fn safetensors(header: &[u8], most: usize) -> Option<Vec<u8>> {
    let tensors: Value = serde_json::from_slice(header).ok()?;
    let ends = tensors.as_object()?.values();
    let ends = ends.filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    let data = usize::try_from(ends.max()?)
        .ok()
        .filter(|data| *data <= most)?;
    let mut file = [&(header.len() as u64).to_le_bytes(), header].concat();
    file.resize(file.len() + data, 0);
    Some(file)
}

/// A zip of stored entries.
pub fn zip<'a>(entries: impl IntoIterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in entries {
        let file = zip.new_file(name.as_str());
        let file = file.compression_method(CompressionMethod::STORE);
        let (mut entry, config) = file.start().expect("memory takes it");
        let mut stored = config.wrap(&mut entry);
        stored.write_all(bytes).expect("memory takes it");
        let (_, descriptor) = stored.finish().expect("memory takes it");
        entry.finish(descriptor).expect("memory takes it");
    }
    zip.finish().expect("memory takes it")
}

/// Asserts that an error is of a family, and that its sentence begins with it or with the file's name.
pub fn refused(error: &Error, family: &str, file: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), family, "{text}");
    let begins = |with: &str| {
        text.strip_prefix(with)
            .is_some_and(|rest| rest.starts_with(": "))
    };
    assert!(begins(family) || begins(file), "{text}");
}

/// Reads a base in a format of others, out of these files.
pub fn read_base(files: &[(&str, &[u8])]) -> Result<(), Error> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    let source = import::import(&files, None).inspect_err(|error| refused(error, "weights", ""))?;
    assert!(source.info.range.is_finite());
    Ok(())
}
