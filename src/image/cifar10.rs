//! CIFAR-10's file forms: the binary version, the Python version, and the tarball of either.
//!
//! See [the data set's page](https://www.cs.toronto.edu/~kriz/cifar.html). Pickles are read by `pickle.rs`, which runs
//! nothing. Other data in the same forms works too, with class names of its own.

use std::{collections::HashSet, io::Read};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    format::{
        pickle::{Pickle, Value},
        zip::swells,
    },
    image::small::{PictureSet, Pictures, VALUES},
};

/// A record of the binary version: a label, then red, green and blue, row by row.
const RECORD: usize = 1 + VALUES;
/// The class names, for files that come without.
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
/// A tarball's most, unpacked: twice the larger version's.
const MAX_UNPACKED: u64 = 400_000_000;

/// The files of one set, gathered in any order.
#[derive(Default)]
pub struct Files {
    classes: Option<Vec<String>>,
    batches: Vec<Batch>,
}

/// A file of pictures.
struct Batch {
    file: String,
    /// By which the same pictures are known again, also in the other version's form.
    digest: [u8; 32],
    test: bool,
    names: Vec<String>,
    labels: Vec<i64>,
    pixels: Vec<u8>,
}

/// Whether a file of this name holds pictures of CIFAR-10, apart from tarballs.
pub fn is_batch(name: &str) -> bool {
    let plain = !name.contains('.');
    name.ends_with(".bin")
        || plain && (name.starts_with("data_batch") || name.starts_with("test_batch"))
}

/// Whether a file of this name holds the names of CIFAR-10's classes.
pub fn is_meta(name: &str) -> bool {
    matches!(name, "batches.meta" | "batches.meta.txt")
}

/// Whether a file of this name is a tarball.
pub fn is_tarball(name: &str) -> bool {
    [".tar.gz", ".tgz", ".tar"]
        .iter()
        .any(|end| name.ends_with(end))
}

impl Files {
    /// No files yet.
    pub fn new() -> Files {
        Files::default()
    }

    /// Adds a file, whole or, where it cannot be used, not at all; pictures that are there already are not added again.
    ///
    /// Messages tell the whole `name`, which may be a path; what kind of file it is, is told from its last part and the bytes.
    ///
    /// # Errors
    /// Files that are cut off or damaged, or of something else; labels that name no class.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut found = Files::new();
        found.read(name, bytes)?;
        if let (Some(ours), Some(theirs)) = (&self.classes, &found.classes)
            && ours != theirs
        {
            return Err(Error::ClassNames {
                file: name.into(),
                reason: "another file named other classes".into(),
            });
        }
        let classes = found.classes.as_ref().or(self.classes.as_ref());
        let classes = classes.map_or(CLASSES.len(), Vec::len);
        for batch in self.batches.iter().chain(&found.batches) {
            batch.check(classes)?;
        }
        self.classes = found.classes.or(self.classes.take());
        let mut known: HashSet<_> = self.batches.iter().map(Batch::same).collect();
        found.batches.retain(|batch| known.insert(batch.same()));
        self.batches.append(&mut found.batches);
        Ok(())
    }

    /// The pictures of all files, in the order of the files' names.
    ///
    /// # Errors
    /// No file with pictures was added.
    pub fn finish(mut self) -> Result<PictureSet, Error> {
        if self.batches.is_empty() {
            return Err(Error::NoBatch);
        }
        self.batches
            .sort_by(|a, b| (last(&a.file), a.digest).cmp(&(last(&b.file), b.digest)));
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
        if is_batch(last(file)) || is_meta(last(file)) {
            self.read_plain(file, bytes)
        } else if bytes.starts_with(&[0x1f, 0x8b]) {
            self.unpack(file, bytes.len() as u64, GzDecoder::new(bytes))
        } else if bytes.get(257..262) == Some(b"ustar") {
            self.unpack(file, bytes.len() as u64, bytes)
        } else {
            self.read_plain(file, bytes)
        }
    }

    /// A file that is no tarball; so no tarball holds another, and another.
    fn read_plain(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        match last(file) {
            name if name.ends_with(".bin") => self.batches.push(records(file, bytes)?),
            "batches.meta.txt" => self.classes = Some(lines(file, bytes)?),
            name if bytes.starts_with(&[0x80]) || is_batch(name) || is_meta(name) => {
                self.unpickle(file, bytes)?;
            }
            // It lies in the tarballs.
            "readme.html" => {}
            _ => return Err(Error::NotCifar { file: file.into() }),
        }
        Ok(())
    }

    /// A tarball of so many bytes, from which `source` unpacks it.
    fn unpack(&mut self, file: &str, packed: u64, source: impl Read) -> Result<(), Error> {
        let broken = |error: std::io::Error| Error::Tarball {
            file: file.into(),
            reason: error.to_string(),
        };
        let huge = || Error::HugeTarball {
            file: file.into(),
            limit: MAX_UNPACKED / 1_000_000,
        };
        let mut left = Limited {
            source,
            left: MAX_UNPACKED,
        };
        let mut archive = tar::Archive::new(&mut left);
        let mut members = archive.entries().map_err(broken)?;
        let mut any = false;
        let unpacked: Result<(), Error> = members.try_for_each(|member| {
            let mut member = member.map_err(broken)?;
            let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            let name = last(&path);
            if !member.header().entry_type().is_file() || !(is_batch(name) || is_meta(name)) {
                return Ok(());
            }
            any = true;
            if swells(packed, member.size()) {
                let reason = format!("{name} swells from {packed} bytes to {}", member.size());
                return Err(broken(std::io::Error::other(reason)));
            }
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).map_err(broken)?;
            if bytes.len() as u64 != member.size() {
                return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.read_plain(&format!("{file}/{name}"), &bytes)
        });
        // What was cut off by the limit looks like a damaged archive.
        if left.left == 0 {
            return Err(huge());
        }
        unpacked?;
        // The check sum stands at the end, after what the archive has for padding.
        std::io::copy(&mut left, &mut std::io::sink()).map_err(broken)?;
        match (left.left, any) {
            (0, _) => Err(huge()),
            (_, false) => Err(Error::NotCifar { file: file.into() }),
            _ => Ok(()),
        }
    }

    fn unpickle(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let wrong = |reason: String| Error::PythonBatch {
            file: file.into(),
            reason,
        };
        let pickle = Pickle::read(bytes).map_err(wrong)?;
        let Value::Dict(_) = pickle.root() else {
            return Err(wrong("it holds no dictionary".into()));
        };
        if let Some(names) = pickle.field("label_names") {
            let names = pickle.texts(names);
            let names = names.ok_or_else(|| wrong("its \"label_names\" are no texts".into()))?;
            self.classes = Some(named(file, names)?);
        } else {
            self.batches.push(batch(file, &pickle).map_err(wrong)?);
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
            test: last(file).contains("test"),
            names,
            labels,
            pixels,
        }
    }

    fn same(&self) -> (bool, [u8; 32]) {
        (self.test, self.digest)
    }

    fn check(&self, classes: usize) -> Result<(), Error> {
        let fits = |label: &i64| (0..classes as i64).contains(label);
        match self.labels.iter().position(|label| !fits(label)) {
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

/// The binary version's pictures.
fn records(file: &str, bytes: &[u8]) -> Result<Batch, Error> {
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

/// The Python version's pictures: `data` [N, 3072], `labels`, and `filenames` where there are any.
fn batch(file: &str, pickle: &Pickle) -> Result<Batch, String> {
    let field = |name: &str| {
        let field = pickle.field(name);
        field.ok_or_else(|| format!("it has no {name:?}"))
    };
    let data = pickle.array(field("data")?);
    let (dtype, shape, data) = data.ok_or("its \"data\" is no NumPy array, row by row")?;
    if dtype != "u1" {
        return Err(format!("its data is of type {dtype}, expected u1"));
    }
    let count = match *shape {
        [count, VALUES] if count > 0 => count,
        _ => {
            return Err(format!(
                "its data has shape {shape:?}, expected [N, {VALUES}]"
            ));
        }
    };
    if count.checked_mul(VALUES) != Some(data.len()) {
        let bytes = data.len();
        return Err(format!(
            "its data has {bytes} bytes for the shape {shape:?}"
        ));
    }
    let labels = pickle.integers(field("labels")?);
    let labels = labels.ok_or("its \"labels\" are no integers")?;
    if labels.len() != count {
        return Err(format!("{count} pictures, but {} labels", labels.len()));
    }
    let names = pickle
        .field("filenames")
        .and_then(|names| pickle.texts(names));
    let names = names
        .filter(|names| names.len() == count)
        .unwrap_or_else(|| numbered(file, count));
    Ok(Batch::new(file, names, labels, data.into_owned()))
}

/// `data_batch_1.bin#17`, for pictures without names.
fn numbered(file: &str, count: usize) -> Vec<String> {
    let name = last(file);
    (0..count).map(|i| format!("{name}#{i}")).collect()
}

fn lines(file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::ClassNames {
        file: file.into(),
        reason: "not text".into(),
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    named(file, lines.map(String::from).collect())
}

/// Names that are good for classes: some, all different.
fn named(file: &str, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut seen = HashSet::new();
    let twice = names.iter().find(|name| !seen.insert(*name));
    let reason = match twice {
        _ if names.is_empty() => "it is empty".into(),
        Some(name) => format!("it lists {name:?} twice"),
        None => return Ok(names),
    };
    Err(Error::ClassNames {
        file: file.into(),
        reason,
    })
}

/// A path's last part.
fn last(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// So many bytes of a source and no more.
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

    fn read(files: &[(&str, Vec<u8>)]) -> Result<PictureSet, Error> {
        let mut set = Files::new();
        for (name, bytes) in files {
            set.add(name, bytes)?;
        }
        set.finish()
    }

    fn said(name: &str, bytes: &[u8]) -> String {
        let error = Files::new().add(name, bytes).expect_err(name);
        assert_eq!(error.kind(), "pictures");
        error.to_string()
    }

    /// A tarball of members, packed.
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
    fn batches_are_parted_by_name_and_ordered_by_it() {
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
    fn the_same_pictures_count_once_in_any_form() {
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
    fn every_python_and_numpy_writes_the_same_pictures() {
        let planes = |p: usize| (0..VALUES).map(move |i| ((i * 7 + p) % 251) as u8);
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
            assert!(planes(0).chain(planes(1)).eq(pixels), "{file}");
        }
    }

    #[test]
    fn a_tarball_is_its_files() {
        let set = read(&[("cifar-10-python.tar.gz", fixture("python2.tar.gz"))]).expect("a set");
        let same = read(&[
            ("data_batch_1", fixture("python2.pkl")),
            ("batches.meta", fixture("python2_meta.pkl")),
        ]);
        assert_eq!(set, same.expect("a set"));

        let binary = tarball(&[
            // More classes than ten: their names may come later.
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
    fn a_refused_file_leaves_the_others_as_they_are() {
        let mut files = Files::new();
        files.add("data_batch_1.bin", &record(3, 1)).expect("good");
        let bad = tarball(&[
            ("data_batch_2.bin", &record(4, 2)),
            ("data_batch_3.bin", &record(10, 3)),
        ]);
        let error = files.add("more.tar.gz", &bad).expect_err("label 10");
        assert_eq!(
            error.to_string(),
            "more.tar.gz/data_batch_3.bin: record 0 has label 10, but there are 10 classes; get the file again"
        );
        // Names that the pictures which are there do not fit.
        let error = files
            .add("batches.meta.txt", b"a\nb\n")
            .expect_err("few names");
        assert_eq!(
            error.to_string(),
            "data_batch_1.bin: record 0 has label 3, but there are 2 classes; get the file again"
        );
        files.add("test_batch.bin", &record(9, 4)).expect("good");
        let set = files.finish().expect("a set");
        assert_eq!((set.training.len(), set.test.len()), (1, 1));
        assert_eq!(set.training.classes[3], "cat");
    }

    #[test]
    fn what_is_wrong_gets_a_sentence() {
        let cut = [record(1, 1), record(2, 2)].concat();
        let cases = [
            (
                "data_batch_1.bin",
                cut[..6000].to_vec(),
                "data_batch_1.bin: 6000 bytes are not whole CIFAR-10 records of 3073; get the file again",
            ),
            (
                "data_batch_1.bin",
                Vec::new(),
                "data_batch_1.bin: 0 bytes are not whole CIFAR-10 records of 3073; get the file again",
            ),
            (
                "data_batch_1.bin",
                [record(9, 0), record(12, 0)].concat(),
                "data_batch_1.bin: record 1 has label 12, but there are 10 classes; get the file again",
            ),
            (
                "data_batch_1",
                fixture("label_12.pkl"),
                "data_batch_1: record 1 has label 12, but there are 10 classes; get the file again",
            ),
            (
                "data_batch_1",
                fixture("python2.pkl")[..2000].to_vec(),
                "data_batch_1: not a file of CIFAR-10's Python version (it ends too early at byte 144 of 2000); get the file again",
            ),
            (
                "data_batch_1",
                fixture("something_else.pkl"),
                "data_batch_1: not a file of CIFAR-10's Python version (it holds no dictionary); get the file again",
            ),
            (
                "data_batch_1",
                fixture("wrong_shape.pkl"),
                "data_batch_1: not a file of CIFAR-10's Python version (its data has shape [2, 3000], expected [N, 3072]); get the file again",
            ),
            (
                "data_batch_1",
                fixture("wrong_type.pkl"),
                "data_batch_1: not a file of CIFAR-10's Python version (its data is of type f4, expected u1); get the file again",
            ),
            (
                "data_batch_1",
                fixture("by_columns.pkl"),
                "data_batch_1: not a file of CIFAR-10's Python version (its \"data\" is no NumPy array, row by row); get the file again",
            ),
            (
                "data_batch_1",
                fixture("label_count.pkl"),
                "data_batch_1: not a file of CIFAR-10's Python version (2 pictures, but 1 labels); get the file again",
            ),
            (
                "holiday.jpg",
                b"\xff\xd8".to_vec(),
                "holiday.jpg: no file of CIFAR-10; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of its Python version, or either version's .tar.gz",
            ),
            (
                "batches.meta.txt",
                b"cat\ndog\ncat\n".to_vec(),
                "batches.meta.txt: not a list of class names (it lists \"cat\" twice); get the file again, or leave it out",
            ),
            (
                "pets.tar.gz",
                tarball(&[("pets/cat.jpg", b"")]),
                "pets.tar.gz: no file of CIFAR-10; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of its Python version, or either version's .tar.gz",
            ),
        ];
        for (name, bytes, message) in cases {
            assert_eq!(said(name, &bytes), message);
        }
        let whole = fixture("python2.tar.gz");
        for length in [20, whole.len() / 2, whole.len() - 4] {
            let message = said("cifar-10-python.tar.gz", &whole[..length]);
            assert!(
                message.starts_with("cifar-10-python.tar.gz: not a whole tarball ("),
                "{message}"
            );
        }
        let nothing = Files::new().finish().expect_err("no pictures");
        assert_eq!(
            nothing.to_string(),
            "no pictures in these files; add data_batch_1.bin, or the file data_batch_1 of the Python version"
        );
    }

    #[test]
    fn a_tarball_that_unpacks_to_more_than_it_should_is_left() {
        let zeros = vec![0; 4 << 20];
        let members: Vec<(String, &[u8])> = (0..101)
            .map(|i| (format!("{i}.txt"), zeros.as_slice()))
            .collect();
        let members: Vec<_> = members
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
            .collect();
        assert_eq!(
            said("bomb.tar.gz", &tarball(&members)),
            "bomb.tar.gz: unpacks to more than 400 MB, and CIFAR-10 to 190; get the file again, or unpack it and use its files"
        );
    }

    #[test]
    fn no_change_of_a_byte_does_more_than_be_refused() {
        let whole = fixture("numpy2_protocol2.pkl");
        let structure = (0..300).chain(whole.len() - 200..whole.len());
        for place in structure {
            for value in [0, b'R', b'b', b'(', 0x85, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] = value;
                let mut files = Files::new();
                if files.add("data_batch_1", &bytes).is_ok() {
                    files.finish().expect("what was taken is whole");
                }
            }
        }
    }
}
