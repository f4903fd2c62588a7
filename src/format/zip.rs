//! Reads untrusted zip archives in memory: every entry has a size limit, and its CRC is checked.

use std::{borrow::Cow, collections::HashSet, io::Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

/// Maximum number of entries; the largest supported data sets have fewer.
const MAX_ENTRIES: u64 = 1 << 20;

/// Returns whether a compression ratio suggests a decompression bomb. Weights, latents and pictures compress far less.
pub(crate) fn suspicious_ratio(packed: u64, unpacked: u64) -> bool {
    unpacked > 64 << 20 && unpacked / 64 > packed
}

/// A zip archive in memory.
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipSliceArchive<&'a [u8]>,
    entries: Vec<Entry>,
}

/// An entry of an archive.
#[derive(Clone)]
pub struct Entry {
    /// Path in the archive; the name of a folder ends in `/`.
    pub name: String,
    method: CompressionMethod,
    encrypted: bool,
    location: ZipArchiveEntryWayfinder,
}

impl Entry {
    /// Returns the compressed and the uncompressed size according to the directory, unverified.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let location = &self.location;
        (
            location.compressed_size_hint(),
            location.uncompressed_size_hint(),
        )
    }
}

impl<'a> Archive<'a> {
    /// Returns whether the bytes start with the signature of a zip archive.
    pub(crate) fn is_zip(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04")
    }

    /// Reads the directory.
    ///
    /// # Errors
    /// The reason, as part of a message: not a zip, damaged, or too many entries.
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip = ZipArchive::from_slice(bytes).map_err(|error| error.to_string())?;
        if zip.entries_hint() > MAX_ENTRIES {
            return Err(format!(
                "got {} entries, expected at most {MAX_ENTRIES}",
                zip.entries_hint()
            ));
        }
        let mut entries = Vec::new();
        for entry in zip.entries() {
            let entry = entry.map_err(|error| error.to_string())?;
            entries.push(Entry {
                name: String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned(),
                method: entry.compression_method(),
                encrypted: entry.flags().is_encrypted(),
                location: entry.wayfinder(),
            });
        }
        Ok(Archive {
            bytes,
            zip,
            entries,
        })
    }

    /// Reads the directory and checks that all names are unique.
    ///
    /// # Errors
    /// The errors of [`Archive::open`], and a duplicate name.
    pub(crate) fn open_unique(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let archive = Archive::open(bytes)?;
        let mut names = HashSet::new();
        if let Some(name) = archive.names().find(|name| !names.insert(*name)) {
            return Err(format!("duplicate entry {name:?}"));
        }
        Ok(archive)
    }

    /// The entries, in the order of the directory.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The names of the entries, in the order of the directory.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Reads a named entry of at most `max` bytes; uncompressed data are borrowed from the archive.
    ///
    /// # Errors
    /// The errors of [`Archive::read_entry`], a missing entry, and a suspicious compression ratio.
    pub(crate) fn read(&self, name: &str, max: u64) -> Result<Cow<'a, [u8]>, String> {
        let entry = self.entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| format!("missing entry {name:?}"))?;
        let (packed, size) = entry.sizes();
        if size <= max && suspicious_ratio(packed, size) {
            return Err(format!(
                "{name:?}: suspicious compression ratio, {packed} bytes unpack to {size}"
            ));
        }
        let data = self.read_entry(entry, max);
        data.map_err(|reason| format!("{name:?}: {reason}"))
    }

    /// Reads an entry of at most `max` bytes and checks its CRC; uncompressed data are borrowed from the archive.
    ///
    /// # Errors
    /// The reason, as part of a message: too large, encrypted, damaged, or an unsupported compression method.
    pub fn read_entry(&self, entry: &Entry, max: u64) -> Result<Cow<'a, [u8]>, String> {
        let (_, size) = entry.sizes();
        if size > max {
            return Err(format!("got {size} bytes, expected at most {max}"));
        }
        let mut reader = self.reader(entry)?;
        if entry.method == CompressionMethod::STORE {
            let packed = self
                .zip
                .get_entry(entry.location)
                .map_err(|error| error.to_string())?;
            let (start, end) = packed.compressed_data_range();
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let data = range.and_then(|(start, end)| self.bytes.get(start..end));
            let data = data.ok_or("its data are outside the file")?;
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| error.to_string())?;
            return Ok(Cow::Borrowed(data));
        }
        // One byte more than the declared size is enough to detect a wrong declaration.
        let mut data = Vec::new();
        let read = reader.take(size + 1).read_to_end(&mut data);
        read.map_err(|error| error.to_string())?;
        match data.len() as u64 == size {
            true => Ok(Cow::Owned(data)),
            false => Err(format!("unpacks to more than its declared {size} bytes")),
        }
    }

    /// Returns a reader of the contents of an entry. It fails at the end if the CRC or the size is wrong.
    ///
    /// # Errors
    /// The reason, as part of a message: encrypted, damaged, or an unsupported compression method.
    pub(crate) fn reader(&self, entry: &Entry) -> Result<Box<dyn Read + '_>, String> {
        if entry.encrypted {
            return Err("encrypted".into());
        }
        let packed = self
            .zip
            .get_entry(entry.location)
            .map_err(|error| error.to_string())?;
        let data = packed.data();
        Ok(match entry.method {
            CompressionMethod::STORE => Box::new(packed.verifying_reader(data)),
            CompressionMethod::DEFLATE => {
                Box::new(packed.verifying_reader(DeflateDecoder::new(data)))
            }
            other => {
                return Err(format!(
                    "got compression method {other:?}, expected deflate"
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::DeflateEncoder};
    use rawzip::ZipArchiveWriter;

    use super::*;

    /// Creates a zip with deflated entries.
    fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipArchiveWriter::new(Vec::new());
        for (name, data) in entries {
            let (mut entry, config) = zip
                .new_file(name)
                .compression_method(CompressionMethod::DEFLATE)
                .start()
                .expect("an entry");
            let encoder = DeflateEncoder::new(&mut entry, Compression::best());
            let mut writer = config.wrap(encoder);
            writer.write_all(data).expect("data");
            let (_, descriptor) = writer.finish().expect("data");
            entry.finish(descriptor).expect("an entry");
        }
        zip.finish().expect("a zip")
    }

    #[test]
    fn entries_above_the_size_limit_are_rejected() {
        let bytes = zip(&[("a", &[0; 1 << 20]), ("b", b"two")]);
        let archive = Archive::open(&bytes).expect("a zip");
        assert_eq!(archive.read("b", 3).as_deref(), Ok(b"two".as_slice()));
        assert_eq!(
            archive.read("a", 1 << 19),
            Err("\"a\": got 1048576 bytes, expected at most 524288".into())
        );
        assert_eq!(archive.read("c", 1), Err("missing entry \"c\"".into()));
    }

    #[test]
    fn entries_above_their_declared_size_are_rejected() {
        let mut bytes = zip(&[("a", &[0; 1 << 20])]);
        // The uncompressed size in the central directory.
        let header = bytes
            .windows(4)
            .rposition(|w| w == b"PK\x01\x02")
            .expect("a directory");
        bytes[header + 24..][..4].copy_from_slice(&1000u32.to_le_bytes());
        let archive = Archive::open(&bytes).expect("a zip");
        assert_eq!(
            archive.read("a", 1 << 30),
            Err("\"a\": Invalid size: expected 1000, got 1001".into())
        );
    }
}
