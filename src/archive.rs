//! Zip archives from strangers, in memory: entries come out whole, checked, and never larger than was asked for.

use std::{borrow::Cow, collections::HashMap, io::Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

/// More entries than any file that is meant here has; a base in PyTorch's format has some 600.
const MOST: u64 = 100_000;

/// Whether so many bytes that unpack to so many are made to do harm: no numbers that are meant here shrink like that.
pub(crate) fn swells(packed: u64, unpacked: u64) -> bool {
    unpacked > 64 << 20 && unpacked / 64 > packed
}

/// An archive whose list of entries was read.
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipSliceArchive<&'a [u8]>,
    entries: HashMap<String, Entry>,
}

/// Where an entry lies.
struct Entry {
    method: CompressionMethod,
    encrypted: bool,
    place: ZipArchiveEntryWayfinder,
}

impl<'a> Archive<'a> {
    /// Whether the bytes begin as a zip's.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04")
    }

    /// Reads the list of entries.
    ///
    /// # Errors
    /// What is wrong, for a sentence.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip = ZipArchive::from_slice(bytes).map_err(|error| error.to_string())?;
        if zip.entries_hint() > MOST {
            return Err(format!("it lists {} files", zip.entries_hint()));
        }
        let mut entries = HashMap::new();
        for entry in zip.entries() {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            let found = Entry {
                method: entry.compression_method(),
                encrypted: entry.flags().is_encrypted(),
                place: entry.wayfinder(),
            };
            if entries.insert(name.clone(), found).is_some() {
                return Err(format!("it holds {name:?} twice"));
            }
        }
        Ok(Archive {
            bytes,
            zip,
            entries,
        })
    }

    /// All entries' names, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// An entry's contents, at most so many bytes; what lies unpacked in the archive is not copied.
    ///
    /// # Errors
    /// What is wrong, for a sentence.
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Cow<'a, [u8]>, String> {
        let broken = |error: rawzip::Error| format!("{name:?}: {error}");
        let entry = self.entries.get(name);
        let entry = entry.ok_or_else(|| format!("it holds no {name:?}"))?;
        let size = entry.place.uncompressed_size_hint();
        if size > most {
            return Err(format!(
                "{name:?} has {size} bytes, and at most {most} are taken"
            ));
        }
        let packed = entry.place.compressed_size_hint();
        if swells(packed, size) {
            return Err(format!("{name:?} swells from {packed} bytes to {size}"));
        }
        if entry.encrypted {
            return Err(format!("{name:?} is encrypted"));
        }
        let packed = self.zip.get_entry(entry.place).map_err(broken)?;
        let io = |error: std::io::Error| format!("{name:?}: {error}");
        match entry.method {
            CompressionMethod::STORE => {
                let (start, end) = packed.compressed_data_range();
                let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
                let data = range.and_then(|(start, end)| self.bytes.get(start..end));
                let data = data.ok_or_else(|| format!("{name:?} lies outside the file"))?;
                std::io::copy(&mut packed.verifying_reader(data), &mut std::io::sink())
                    .map_err(io)?;
                Ok(Cow::Borrowed(data))
            }
            CompressionMethod::DEFLATE => {
                // One byte beyond its claim is enough to know that it lies.
                let unpacked = DeflateDecoder::new(packed.data());
                let mut data = Vec::new();
                packed
                    .verifying_reader(unpacked)
                    .take(size + 1)
                    .read_to_end(&mut data)
                    .map_err(io)?;
                match data.len() as u64 == size {
                    true => Ok(Cow::Owned(data)),
                    false => Err(format!("{name:?} unpacks to more than its {size} bytes")),
                }
            }
            other => Err(format!(
                "{name:?} is packed by {other:?}, neither stored nor deflated"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::DeflateEncoder};
    use rawzip::ZipArchiveWriter;

    use super::*;

    /// A zip of deflated entries.
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
    fn an_entry_is_never_larger_than_asked_for() {
        let bytes = zip(&[("a", &[0; 1 << 20]), ("b", b"two")]);
        let archive = Archive::open(&bytes).expect("a zip");
        assert_eq!(archive.read("b", 3).as_deref(), Ok(b"two".as_slice()));
        assert_eq!(
            archive.read("a", 1 << 19),
            Err("\"a\" has 1048576 bytes, and at most 524288 are taken".into())
        );
        assert_eq!(archive.read("c", 1), Err("it holds no \"c\"".into()));
    }

    #[test]
    fn an_entry_that_grows_beyond_its_claim_is_refused() {
        let mut bytes = zip(&[("a", &[0; 1 << 20])]);
        // The central directory's claim of the unpacked size.
        let at = bytes
            .windows(4)
            .rposition(|w| w == b"PK\x01\x02")
            .expect("a directory");
        bytes[at + 24..][..4].copy_from_slice(&1000u32.to_le_bytes());
        let archive = Archive::open(&bytes).expect("a zip");
        assert!(archive.read("a", 1 << 30).is_err());
    }
}
