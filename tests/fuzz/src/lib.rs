//! Shared by the targets: splits an input into files, adds valid lengths and checksums, and checks error messages.

use std::io::Write;

use inception_web::{
    error::Error,
    weights::import::{self, File},
};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use serde_json::Value;

/// Separates the files in an input.
const SEPARATOR: &[u8] = b"\n~~\n";

/// Splits an input into files; at least one.
pub fn split(input: &[u8]) -> Vec<&[u8]> {
    let mut files = Vec::new();
    let mut left = input;
    while let Some(end) = left
        .windows(SEPARATOR.len())
        .position(|window| window == SEPARATOR)
    {
        files.push(&left[..end]);
        left = &left[end + SEPARATOR.len()..];
    }
    files.push(left);
    files
}

/// Creates a safetensors file with this header. The data are zeros, and their length is that of the tensors, if it is at most `max`.
pub fn safetensors(header: &[u8], max: usize) -> Option<Vec<u8>> {
    let tensors: Value = serde_json::from_slice(header).ok()?;
    let ends = tensors.as_object()?.values();
    let ends = ends.filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    let data = usize::try_from(ends.max()?)
        .ok()
        .filter(|data| *data <= max)?;
    let mut file = [&(header.len() as u64).to_le_bytes(), header].concat();
    file.resize(file.len() + data, 0);
    Some(file)
}

/// Creates a zip of uncompressed entries.
pub fn zip<'a>(entries: impl IntoIterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in entries {
        let file = zip.new_file(name.as_str());
        let file = file.compression_method(CompressionMethod::STORE);
        let (mut entry, config) = file.start().expect("writing to memory cannot fail");
        let mut stored = config.wrap(&mut entry);
        stored
            .write_all(bytes)
            .expect("writing to memory cannot fail");
        let (_, descriptor) = stored.finish().expect("writing to memory cannot fail");
        entry
            .finish(descriptor)
            .expect("writing to memory cannot fail");
    }
    zip.finish().expect("writing to memory cannot fail")
}

/// Asserts the kind of an error, and that its message starts with the kind or with the name of the file.
pub fn assert_error(error: &Error, kind: &str, file: &str) {
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    let starts_with = |prefix: &str| {
        message
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(": "))
    };
    assert!(starts_with(kind) || starts_with(file), "{message}");
}

/// Imports a base from these files.
pub fn read_base(files: &[(&str, &[u8])]) -> Result<(), Error> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    let source =
        import::import(&files, None).inspect_err(|error| assert_error(error, "weights", ""))?;
    assert!(source.info.range.is_finite());
    Ok(())
}
