//! Reads untrusted zip archives in memory: every entry has a size limit, and its CRC is checked.

use std::{borrow::Cow, collections::HashSet, io::Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

/// More entries than any data set or weights file that is meant here has.
const MOST: u64 = 1 << 20;

/// Whether so many bytes that unpack to so many are made to do harm: no numbers that are meant here shrink like that.
pub(crate) fn swells(packed: u64, unpacked: u64) -> bool {
    unpacked > 64 << 20 && unpacked / 64 > packed
}

/// An archive whose directory was read.
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipSliceArchive<&'a [u8]>,
    entries: Vec<Entry>,
}

/// An entry of an archive.
#[derive(Clone)]
pub struct Entry {
    /// Its path in the archive; the name of a folder ends in `/`.
    pub name: String,
    method: CompressionMethod,
    encrypted: bool,
    place: ZipArchiveEntryWayfinder,
}

impl Entry {
    /// Compressed and uncompressed bytes, as the directory claims.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let place = &self.place;
        (place.compressed_size_hint(), place.uncompressed_size_hint())
    }
}

impl<'a> Archive<'a> {
    /// Whether the bytes begin as a zip does.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK\x03\x04")
    }

    /// Reads the directory.
    ///
    /// # Errors
    /// The reason, as part of a message: not a zip, damaged, or too many entries.
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip = ZipArchive::from_slice(bytes).map_err(|error| error.to_string())?;
        if zip.entries_hint() > MOST {
            return Err(format!("it lists {} files", zip.entries_hint()));
        }
        let mut entries = Vec::new();
        for entry in zip.entries() {
            let entry = entry.map_err(|error| error.to_string())?;
            entries.push(Entry {
                name: String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned(),
                method: entry.compression_method(),
                encrypted: entry.flags().is_encrypted(),
                place: entry.wayfinder(),
            });
        }
        Ok(Archive {
            bytes,
            zip,
            entries,
        })
    }

    /// Reads the directory, in which every name has to be unique.
    ///
    /// # Errors
    /// As [`Archive::open`], and a name that occurs twice.
    pub(crate) fn open_unique(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let archive = Archive::open(bytes)?;
        let mut names = HashSet::new();
        if let Some(name) = archive.names().find(|name| !names.insert(*name)) {
            return Err(format!("it holds {name:?} twice"));
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

    /// Reads a named entry; stored data is borrowed from the archive.
    ///
    /// # Errors
    /// As [`Archive::read_entry`], and an entry that is missing or whose compression ratio is suspicious ([`swells`]).
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Cow<'a, [u8]>, String> {
        let entry = self.entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| format!("it holds no {name:?}"))?;
        let (packed, size) = entry.sizes();
        if size <= most && swells(packed, size) {
            return Err(format!("{name:?} swells from {packed} bytes to {size}"));
        }
        let data = self.read_entry(entry, most);
        data.map_err(|reason| format!("{name:?}: {reason}"))
    }

    /// Reads an entry of at most `most` bytes and checks its CRC; stored data is borrowed from the archive.
    ///
    /// # Errors
    /// The reason, as part of a message: too large, encrypted, damaged, or compressed by another method than deflate.
    pub fn read_entry(&self, entry: &Entry, most: u64) -> Result<Cow<'a, [u8]>, String> {
        let (_, size) = entry.sizes();
        if size > most {
            return Err(format!("it has {size} bytes, at most {most} are allowed"));
        }
        let mut reader = self.reader(entry)?;
        if entry.method == CompressionMethod::STORE {
            let packed = self
                .zip
                .get_entry(entry.place)
                .map_err(|error| error.to_string())?;
            let (start, end) = packed.compressed_data_range();
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let data = range.and_then(|(start, end)| self.bytes.get(start..end));
            let data = data.ok_or("it lies outside the file")?;
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| error.to_string())?;
            return Ok(Cow::Borrowed(data));
        }
        // One byte more than the claimed size is enough to detect a wrong claim.
        let mut data = Vec::new();
        let read = reader.take(size + 1).read_to_end(&mut data);
        read.map_err(|error| error.to_string())?;
        match data.len() as u64 == size {
            true => Ok(Cow::Owned(data)),
            false => Err(format!("it unpacks to more than its {size} bytes")),
        }
    }

    /// A reader of an entry's contents, which fails at their end if the CRC or the size is wrong.
    ///
    /// # Errors
    /// The reason, as part of a message: encrypted, damaged, or compressed by another method than deflate.
    pub(crate) fn reader(&self, entry: &Entry) -> Result<Box<dyn Read + '_>, String> {
        if entry.encrypted {
            return Err("it is encrypted".into());
        }
        let packed = self
            .zip
            .get_entry(entry.place)
            .map_err(|error| error.to_string())?;
        let data = packed.data();
        Ok(match entry.method {
            CompressionMethod::STORE => Box::new(packed.verifying_reader(data)),
            CompressionMethod::DEFLATE => {
                Box::new(packed.verifying_reader(DeflateDecoder::new(data)))
            }
            other => {
                return Err(format!(
                    "its compression method is {other:?}, only deflate is supported"
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
