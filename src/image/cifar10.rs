//! Reads CIFAR-10: the binary version, the Python version, and the tarball of either. Other data sets in the same formats work too, with
//! their own class names.
//!
//! # Source
//! <https://www.cs.toronto.edu/~kriz/cifar.html>

use std::{collections::HashSet, io::Read};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    format::{
        pickle::{Pickle, Value},
        zip::suspicious_ratio,
    },
    image::small::{PictureSet, Pictures, VALUES},
};

/// Length of a record of the binary version: a label and the planes of a picture.
const RECORD: usize = 1 + VALUES;
/// The class names, used if there is no file with class names.
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
/// Maximum unpacked size of a tarball: twice the size of the larger version.
const MAX_UNPACKED: u64 = 400_000_000;

/// Collects the files of a data set, in any order.
#[derive(Default)]
pub struct Files {
    classes: Option<Vec<String>>,
    batches: Vec<Batch>,
}

/// The pictures of a file.
struct Batch {
    file: String,
    /// SHA-256 of labels and pixels, to detect duplicates, even between the binary and the Python version.
    digest: [u8; 32],
    test: bool,
    names: Vec<String>,
    labels: Vec<i64>,
    pixels: Vec<u8>,
}

/// Returns whether a file of this name contains pictures. Excludes tarballs.
pub fn is_batch(name: &str) -> bool {
    let plain = !name.contains('.');
    name.ends_with(".bin")
        || plain && (name.starts_with("data_batch") || name.starts_with("test_batch"))
}

/// Returns whether a file of this name contains class names.
pub fn is_meta(name: &str) -> bool {
    matches!(name, "batches.meta" | "batches.meta.txt")
}

/// Returns whether a file of this name is a tarball.
pub fn is_tarball(name: &str) -> bool {
    [".tar.gz", ".tgz", ".tar"]
        .iter()
        .any(|end| name.ends_with(end))
}

impl Files {
    /// Creates an empty collection.
    pub fn new() -> Files {
        Files::default()
    }

    /// Adds a file. Duplicate files are ignored. On an error, the collection is not changed.
    ///
    /// `name` may be a path. Its last component and the bytes determine the format.
    ///
    /// # Errors
    /// Unknown, truncated or damaged files; labels without a class.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut found = Files::new();
        found.read(name, bytes)?;
        if let (Some(classes), Some(others)) = (&self.classes, &found.classes)
            && classes != others
        {
            return Err(Error::ClassNames {
                file: name.into(),
                reason: "an earlier file has other class names".into(),
            });
        }
        let classes = found.classes.as_ref().or(self.classes.as_ref());
        let classes = classes.map_or(CLASSES.len(), Vec::len);
        for batch in self.batches.iter().chain(&found.batches) {
            batch.check(classes)?;
        }
        self.classes = found.classes.or(self.classes.take());
        let mut keys: HashSet<_> = self.batches.iter().map(Batch::key).collect();
        found.batches.retain(|batch| keys.insert(batch.key()));
        self.batches.append(&mut found.batches);
        Ok(())
    }

    /// Returns the pictures of all files, ordered by file name.
    ///
    /// # Errors
    /// No file with pictures was added.
    pub fn finish(mut self) -> Result<PictureSet, Error> {
        if self.batches.is_empty() {
            return Err(Error::NoBatch);
        }
        self.batches
            .sort_by(|a, b| (file_name(&a.file), a.digest).cmp(&(file_name(&b.file), b.digest)));
        let classes = self.classes.unwrap_or(CLASSES.map(String::from).into());
        let mut set = PictureSet {
            training: Pictures::new(classes.clone()),
            test: Pictures::new(classes),
        };
        let size = |test| {
            let batches = self.batches.iter().filter(|batch| batch.test == test);
            batches.map(|batch| batch.pixels.len()).sum()
        };
        set.training.pixels.reserve_exact(size(false));
        set.test.pixels.reserve_exact(size(true));
        for batch in self.batches {
            let pictures = if batch.test {
                &mut set.test
            } else {
                &mut set.training
            };
            let labels = batch.labels.iter().map(|label| *label as usize);
            pictures.labels.extend(labels);
            pictures.names.extend(batch.names);
            pictures.pixels.extend(batch.pixels);
        }
        Ok(set)
    }

    fn read(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let name = file_name(file);
        if is_batch(name) || is_meta(name) {
            self.read_file(file, bytes)
        } else if bytes.starts_with(&[0x1f, 0x8b]) {
            self.unpack(file, bytes.len() as u64, GzDecoder::new(bytes))
        } else if bytes.get(257..262) == Some(b"ustar") {
            self.unpack(file, bytes.len() as u64, bytes)
        } else {
            self.read_file(file, bytes)
        }
    }

    /// Reads a file that is not a tarball. Nested tarballs are not supported.
    fn read_file(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        match file_name(file) {
            name if name.ends_with(".bin") => self.batches.push(read_records(file, bytes)?),
            "batches.meta.txt" => self.classes = Some(read_class_names(file, bytes)?),
            name if bytes.starts_with(&[0x80]) || is_batch(name) || is_meta(name) => {
                self.unpickle(file, bytes)?;
            }
            // Part of the published tarballs.
            "readme.html" => {}
            _ => return Err(Error::NotCifar { file: file.into() }),
        }
        Ok(())
    }

    /// Reads the members of a tarball from `source`; `packed` is the size of the tarball in bytes.
    fn unpack(&mut self, file: &str, packed: u64, source: impl Read) -> Result<(), Error> {
        let damaged = |error: std::io::Error| Error::Tarball {
            file: file.into(),
            reason: error.to_string(),
        };
        let huge = || Error::HugeTarball {
            file: file.into(),
            limit: MAX_UNPACKED / 1_000_000,
        };
        let mut limited = Limited {
            source,
            left: MAX_UNPACKED,
        };
        let mut archive = tar::Archive::new(&mut limited);
        let mut members = archive.entries().map_err(damaged)?;
        let mut has_files = false;
        let unpacked: Result<(), Error> = members.try_for_each(|member| {
            let mut member = member.map_err(damaged)?;
            let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            let name = file_name(&path);
            if !member.header().entry_type().is_file() || !(is_batch(name) || is_meta(name)) {
                return Ok(());
            }
            has_files = true;
            if suspicious_ratio(packed, member.size()) {
                let size = member.size();
                let reason = format!(
                    "{name}: suspicious compression ratio, {packed} bytes unpack to {size}"
                );
                return Err(damaged(std::io::Error::other(reason)));
            }
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(damaged)?;
            if bytes.len() as u64 != member.size() {
                return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.read_file(&format!("{file}/{name}"), &bytes)
        });
        // A tarball that exceeds the limit looks truncated, so this error takes precedence.
        if limited.left == 0 {
            return Err(huge());
        }
        unpacked?;
        // Read the padding, so that the decoder verifies the checksum at the end.
        std::io::copy(&mut limited, &mut std::io::sink()).map_err(damaged)?;
        match (limited.left, has_files) {
            (0, _) => Err(huge()),
            (_, false) => Err(Error::NotCifar { file: file.into() }),
            _ => Ok(()),
        }
    }

    fn unpickle(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let invalid = |reason: String| Error::PythonBatch {
            file: file.into(),
            reason,
        };
        let pickle = Pickle::read(bytes).map_err(invalid)?;
        let Value::Dict(_) = pickle.root() else {
            return Err(invalid("expected a dictionary".into()));
        };
        if let Some(names) = pickle.field("label_names") {
            let names = pickle.strings(names);
            let names =
                names.ok_or_else(|| invalid("\"label_names\" is not a list of strings".into()))?;
            self.classes = Some(check_class_names(file, names)?);
        } else {
            self.batches
                .push(read_batch(file, &pickle).map_err(invalid)?);
        }
        Ok(())
    }
}

impl Batch {
    fn new(file: &str, names: Vec<String>, labels: Vec<i64>, pixels: Vec<u8>) -> Batch {
        let mut hash = Sha256::new();
        for label in &labels {
            hash.update(label.to_le_bytes());
        }
        hash.update(&pixels);
        Batch {
            file: file.into(),
            digest: hash.finalize().into(),
            test: file_name(file).contains("test"),
            names,
            labels,
            pixels,
        }
    }

    /// Returns a key that is equal for duplicates.
    fn key(&self) -> (bool, [u8; 32]) {
        (self.test, self.digest)
    }

    /// Checks that every label has a class.
    fn check(&self, classes: usize) -> Result<(), Error> {
        let is_valid = |label: &i64| (0..classes as i64).contains(label);
        match self.labels.iter().position(|label| !is_valid(label)) {
            Some(record) => Err(Error::RecordLabel {
                file: self.file.clone(),
                record,
                label: self.labels[record],
                classes,
            }),
            None => Ok(()),
        }
    }
}

/// Reads a file of the binary version.
fn read_records(file: &str, bytes: &[u8]) -> Result<Batch, Error> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Error::Records {
            file: file.into(),
            bytes: bytes.len(),
            record: RECORD,
        });
    }
    let records = bytes.chunks_exact(RECORD);
    let names = numbered(file, records.len());
    let labels = records.clone().map(|record| i64::from(record[0])).collect();
    let pixels = records.flat_map(|record| &record[1..]).copied().collect();
    Ok(Batch::new(file, names, labels, pixels))
}

/// Reads a file of the Python version: `data` [N, 3072], `labels`, and optional `filenames`.
fn read_batch(file: &str, pickle: &Pickle) -> Result<Batch, String> {
    let field = |name: &str| {
        let field = pickle.field(name);
        field.ok_or_else(|| format!("missing {name:?}"))
    };
    let data = pickle.array(field("data")?);
    let (dtype, shape, data) = data.ok_or("\"data\" is not a row-major NumPy array")?;
    if dtype != "u1" {
        return Err(format!("\"data\" has dtype {dtype}, expected u1"));
    }
    let count = match *shape {
        [count, VALUES] if count > 0 => count,
        _ => {
            return Err(format!(
                "\"data\" has shape {shape:?}, expected [N, {VALUES}]"
            ));
        }
    };
    if count.checked_mul(VALUES) != Some(data.len()) {
        let bytes = data.len();
        return Err(format!("\"data\" has {bytes} bytes for shape {shape:?}"));
    }
    let labels = pickle.integers(field("labels")?);
    let labels = labels.ok_or("\"labels\" is not a list of integers")?;
    if labels.len() != count {
        let got = labels.len();
        return Err(format!("got {got} labels, expected {count}"));
    }
    let names = pickle
        .field("filenames")
        .and_then(|names| pickle.strings(names));
    let names = names
        .filter(|names| names.len() == count)
        .unwrap_or_else(|| numbered(file, count));
    Ok(Batch::new(file, names, labels, data.into_owned()))
}

/// Returns names such as `data_batch_1.bin#17`, for pictures without names.
fn numbered(file: &str, count: usize) -> Vec<String> {
    let name = file_name(file);
    (0..count).map(|i| format!("{name}#{i}")).collect()
}

fn read_class_names(file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::ClassNames {
        file: file.into(),
        reason: "not UTF-8".into(),
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    check_class_names(file, lines.map(String::from).collect())
}

/// Rejects an empty list and duplicate names.
fn check_class_names(file: &str, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut seen = HashSet::new();
    let duplicate = names.iter().find(|name| !seen.insert(*name));
    let reason = match duplicate {
        _ if names.is_empty() => "empty list".into(),
        Some(name) => format!("duplicate name {name:?}"),
        None => return Ok(names),
    };
    Err(Error::ClassNames {
        file: file.into(),
        reason,
    })
}

/// Returns the last component of a path.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Limits the number of bytes of a reader.
struct Limited<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.by_ref().take(self.left).read(buffer)?;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(root.join("tests/cifar10").join(name)).expect(name)
    }

    fn record(label: u8, value: u8) -> Vec<u8> {
        [vec![label], vec![value; VALUES]].concat()
    }

    /// The pixels of the fixtures (`tests/cifar10/make.py`).
    fn fixture_pixels() -> Vec<u8> {
        let picture = |p: usize| (0..VALUES).map(move |i| ((i * 7 + p) % 251) as u8);
        picture(0).chain(picture(1)).collect()
    }

    fn count_differences<T: PartialEq>(a: &[T], b: &[T]) -> usize {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    fn read(files: &[(&str, Vec<u8>)]) -> Result<PictureSet, Error> {
        let mut set = Files::new();
        for (name, bytes) in files {
            set.add(name, bytes)?;
        }
        set.finish()
    }

    fn message(name: &str, bytes: &[u8]) -> String {
        let error = Files::new().add(name, bytes).expect_err(name);
        assert_eq!(error.kind(), "pictures");
        error.to_string()
    }

    /// Creates a `.tar.gz`.
    fn tarball(members: &[(&str, &[u8])]) -> Vec<u8> {
        let pack = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(pack);
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive
                .append_data(&mut header, name, *bytes)
                .expect("memory");
        }
        let pack = archive.into_inner().expect("memory");
        pack.finish().expect("memory")
    }

    #[test]
    fn batches_are_split_and_sorted_by_file_name() {
        let set = read(&[
            (
                "set/data_batch_2.bin",
                [record(1, 20), record(2, 21)].concat(),
            ),
            ("set/test_batch.bin", record(0, 30)),
            ("set/data_batch_1.bin", record(9, 10)),
        ])
        .expect("a set");
        assert_eq!(set.training.labels, [9, 1, 2]);
        assert_eq!(set.training.names[2], "data_batch_2.bin#1");
        assert_eq!(set.training.row(1), [20; VALUES]);
        assert_eq!((set.test.len(), set.test.classes[9].as_str()), (1, "truck"));
        assert_eq!(set.training.classes, set.test.classes);
    }

    #[test]
    fn duplicates_in_any_format_are_ignored() {
        let batch = read(&[("data_batch_1", fixture("python2.pkl"))]).expect("a set");
        let bytes: Vec<u8> = (0..batch.training.len())
            .flat_map(|row| {
                [
                    &[batch.training.labels[row] as u8][..],
                    batch.training.row(row),
                ]
                .concat()
            })
            .collect();
        let set = read(&[
            ("data_batch_1.bin", bytes.clone()),
            ("data_batch_1.bin", bytes.clone()),
            ("data_batch_1", fixture("python2.pkl")),
            ("test_batch.bin", bytes),
        ]);
        let set = set.expect("a set");
        assert_eq!((set.training.len(), set.test.len()), (2, 2));
    }

    #[test]
    fn pickles_of_all_python_and_numpy_versions_are_read() {
        for file in [
            "python2.pkl",
            "numpy1_protocol2.pkl",
            "numpy1_protocol5.pkl",
            "numpy2_protocol2.pkl",
            "numpy2_protocol3.pkl",
            "numpy2_protocol4.pkl",
            "numpy2_protocol5.pkl",
            "text_keys_array_labels.pkl",
        ] {
            let set = read(&[("data_batch_1", fixture(file))]);
            let Pictures {
                labels,
                names,
                pixels,
                ..
            } = set.expect(file).training;
            assert_eq!(labels, [3, 9], "{file}");
            assert_eq!(
                names,
                ["tabby_s_000001.png", "lorry_s_000002.png"],
                "{file}"
            );
            assert_eq!(pixels, fixture_pixels(), "{file}");
        }
    }

    #[test]
    fn a_tarball_equals_its_files() {
        let set = read(&[("cifar-10-python.tar.gz", fixture("python2.tar.gz"))]).expect("a set");
        let same = read(&[
            ("data_batch_1", fixture("python2.pkl")),
            ("batches.meta", fixture("python2_meta.pkl")),
        ]);
        assert_eq!(set, same.expect("a set"));

        let binary = tarball(&[
            // Label 11 is valid, because the member after it lists 12 classes.
            ("any/data_batch_1.bin", &record(11, 1)),
            (
                "any/batches.meta.txt",
                b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n",
            ),
            ("any/readme.html", b"text"),
        ]);
        let set = read(&[("cifar-10-binary.tar.gz", binary)]).expect("a set");
        assert_eq!(
            (set.training.labels[0], set.training.classes.len()),
            (11, 12)
        );
    }

    #[test]
    fn a_rejected_file_does_not_change_the_collection() {
        let mut files = Files::new();
        files.add("data_batch_1.bin", &record(3, 1)).expect("valid");
        let bad = tarball(&[
            ("data_batch_2.bin", &record(4, 2)),
            ("data_batch_3.bin", &record(10, 3)),
        ]);
        let error = files.add("more.tar.gz", &bad).expect_err("label 10");
        assert_eq!(
            error.to_string(),
            "more.tar.gz/data_batch_3.bin: record 0 has label 10, but there are 10 classes; download the file again"
        );
        // An earlier file has labels without a name in this list.
        let error = files
            .add("batches.meta.txt", b"a\nb\n")
            .expect_err("two names");
        assert_eq!(
            error.to_string(),
            "data_batch_1.bin: record 0 has label 3, but there are 2 classes; download the file again"
        );
        files.add("test_batch.bin", &record(9, 4)).expect("valid");
        let set = files.finish().expect("a set");
        assert_eq!((set.training.len(), set.test.len()), (1, 1));
        assert_eq!(set.training.classes[3], "cat");
    }

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let two_records = [record(1, 1), record(2, 2)].concat();
        let cases = [
            (
                "data_batch_1.bin",
                two_records[..6000].to_vec(),
                "data_batch_1.bin: got 6000 bytes, expected CIFAR-10 records of 3073 bytes; download the file again",
            ),
            (
                "data_batch_1.bin",
                Vec::new(),
                "data_batch_1.bin: got 0 bytes, expected CIFAR-10 records of 3073 bytes; download the file again",
            ),
            (
                "data_batch_1.bin",
                [record(9, 0), record(12, 0)].concat(),
                "data_batch_1.bin: record 1 has label 12, but there are 10 classes; download the file again",
            ),
            (
                "data_batch_1",
                fixture("label_12.pkl"),
                "data_batch_1: record 1 has label 12, but there are 10 classes; download the file again",
            ),
            (
                "data_batch_1",
                fixture("python2.pkl")[..2000].to_vec(),
                "data_batch_1: invalid CIFAR-10 pickle (unexpected end at byte 144 of 2000); download the file again",
            ),
            (
                "data_batch_1",
                fixture("something_else.pkl"),
                "data_batch_1: invalid CIFAR-10 pickle (expected a dictionary); download the file again",
            ),
            (
                "data_batch_1",
                fixture("wrong_shape.pkl"),
                "data_batch_1: invalid CIFAR-10 pickle (\"data\" has shape [2, 3000], expected [N, 3072]); download the file again",
            ),
            (
                "data_batch_1",
                fixture("wrong_type.pkl"),
                "data_batch_1: invalid CIFAR-10 pickle (\"data\" has dtype f4, expected u1); download the file again",
            ),
            (
                "data_batch_1",
                fixture("by_columns.pkl"),
                "data_batch_1: invalid CIFAR-10 pickle (\"data\" is not a row-major NumPy array); download the file again",
            ),
            (
                "data_batch_1",
                fixture("label_count.pkl"),
                "data_batch_1: invalid CIFAR-10 pickle (got 1 labels, expected 2); download the file again",
            ),
            (
                "holiday.jpg",
                b"\xff\xd8".to_vec(),
                "holiday.jpg: not a CIFAR-10 file; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of the Python version, or the .tar.gz of either version",
            ),
            (
                "batches.meta.txt",
                b"cat\ndog\ncat\n".to_vec(),
                "batches.meta.txt: invalid class names (duplicate name \"cat\"); download the file again, or leave it out",
            ),
            (
                "pets.tar.gz",
                tarball(&[("pets/cat.jpg", b"")]),
                "pets.tar.gz: not a CIFAR-10 file; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of the Python version, or the .tar.gz of either version",
            ),
        ];
        for (name, bytes, want) in cases {
            assert_eq!(message(name, &bytes), want);
        }
        let whole = fixture("python2.tar.gz");
        for length in [20, whole.len() / 2, whole.len() - 4] {
            let message = message("cifar-10-python.tar.gz", &whole[..length]);
            assert!(
                message.starts_with("cifar-10-python.tar.gz: invalid tarball ("),
                "{message}"
            );
        }
        let error = Files::new().finish().expect_err("no pictures");
        assert_eq!(
            error.to_string(),
            "no pictures in these files; add data_batch_1.bin, or data_batch_1 of the Python version"
        );
    }

    #[test]
    fn tarballs_above_the_size_limit_are_rejected() {
        let zeros = vec![0; 4 << 20];
        let members: Vec<(String, &[u8])> = (0..101)
            .map(|i| (format!("{i}.txt"), zeros.as_slice()))
            .collect();
        let members: Vec<_> = members
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
            .collect();
        assert_eq!(
            message("bomb.tar.gz", &tarball(&members)),
            "bomb.tar.gz: unpacks to more than 400 MB, expected 190 MB for CIFAR-10; download the file again, or unpack it and use its files"
        );
    }

    #[test]
    fn a_changed_byte_of_a_binary_file_changes_one_label_or_pixel() {
        let bytes = [record(3, 100), record(9, 200)].concat();
        let original = read(&[("data_batch_1.bin", bytes.clone())]).expect("valid");
        for position in (0..bytes.len()).step_by(61).chain([RECORD - 1, RECORD]) {
            for value in [0, 8, 10, 255] {
                let mut changed = bytes.clone();
                changed[position] = value;
                let result = read(&[("data_batch_1.bin", changed)]);
                let (row, column) = (position / RECORD, position % RECORD);
                let mut want = original.clone();
                match column {
                    0 if value >= 10 => {
                        assert!(
                            matches!(result, Err(Error::RecordLabel { record, .. }) if record == row)
                        );
                        continue;
                    }
                    0 => want.training.labels[row] = value.into(),
                    _ => want.training.pixels[row * VALUES + column - 1] = value,
                }
                assert_eq!(result.expect("valid"), want, "byte {position} = {value}");
            }
        }
    }

    #[test]
    fn a_changed_byte_of_a_pickle_is_rejected_or_changes_one_value() {
        let bytes = fixture("numpy2_protocol2.pkl");
        let original = read(&[("data_batch_1", bytes.clone())]).expect("valid");
        let Pictures { labels, names, .. } = &original.training;
        let structure = (0..300).chain(bytes.len() - 200..bytes.len());
        let (mut rejected, mut accepted) = (0, 0);
        for position in structure {
            let original_byte = bytes[position];
            let bit_flips = (0..8).map(|bit| original_byte ^ 1 << bit);
            let opcodes = [0, b'R', b'b', b'(', 0x85, 0xff];
            for value in bit_flips.chain(opcodes) {
                let mut changed = bytes.clone();
                changed[position] = value;
                let Ok(set) = read(&[("data_batch_1", changed)]) else {
                    rejected += 1;
                    continue;
                };
                accepted += 1;
                let case = format!("byte {position} = {value:#04x}");
                let got = &set.training;
                assert!(set.test.is_empty(), "{case}");
                assert_eq!(got.classes, original.training.classes, "{case}");
                assert_eq!(got.pixels.len(), 2 * VALUES, "{case}");
                // The names are optional: without a valid list, they are made from the file name.
                let fallback = got.names == ["data_batch_1#0", "data_batch_1#1"];
                let differences = [
                    count_differences(&got.pixels, &fixture_pixels()),
                    count_differences(&got.labels, labels),
                    match fallback {
                        true => 1,
                        false => count_differences(&got.names, names),
                    },
                ];
                assert!(
                    differences.iter().sum::<usize>() <= 1,
                    "{case}: {differences:?}"
                );
                assert!(got.labels.iter().all(|label| *label < 10), "{case}");
            }
        }
        assert!(
            rejected > accepted,
            "{rejected} rejected, {accepted} accepted"
        );
    }

    #[test]
    fn a_changed_byte_of_the_pixels_in_a_pickle_changes_that_pixel() {
        // Protocol 5 stores the pixels as raw bytes.
        let bytes = fixture("numpy2_protocol5.pkl");
        let pixels = fixture_pixels();
        let start = bytes
            .windows(pixels.len())
            .position(|window| window == pixels)
            .expect("raw pixels");
        let original = read(&[("data_batch_1", bytes.clone())]).expect("valid");
        for index in (0..pixels.len()).step_by(97).chain([pixels.len() - 1]) {
            let mut changed = bytes.clone();
            changed[start + index] ^= 0xff;
            let mut want = original.clone();
            want.training.pixels[index] ^= 0xff;
            let got = read(&[("data_batch_1", changed)]).expect("valid");
            assert_eq!(got, want, "pixel {index}");
        }
    }
}
