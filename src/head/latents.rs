//! The labelled table of latents and its two file forms, `latents.safetensors` and NumPy's `latents.npz`, stamped with the base's
//! fingerprint.
//!
//! Tensors or arrays: `latents` [N, 2048] of floats, `labels` `[N]` of integers. safetensors: in the metadata `classes` and `names` (JSON
//! lists), `fingerprint`, `base`; `latents` also as u8 with `latents.scale` and `latents.min` `[2048]` (value = u8 x scale + min). npz:
//! `classes` `[K]`, `names` `[N]`, `fingerprint`, `base` as arrays of text. Other people's files need only latents, labels and classes.

use std::collections::HashSet;

use crate::{
    error::Error,
    format::{
        npz::{self, Npz},
        safetensors::{Container, Dtype, Stored, json, store_floats, write_file},
    },
    net::inception::LATENTS,
};

const WHAT: &str = "latents";
const COMMAND: &str = "extract";

/// The base that latents or a head were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseId {
    /// The base's short name.
    pub name: String,
    /// The base's fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
}

impl BaseId {
    pub(crate) fn read(container: &Container) -> Result<BaseId, Error> {
        Ok(BaseId {
            // Other people's files need only say which base it was, not what it is called.
            name: container.text("base").unwrap_or("unnamed").into(),
            fingerprint: container.text("fingerprint")?.into(),
        })
    }

    /// A base for tests.
    #[cfg(test)]
    pub(crate) fn example() -> BaseId {
        BaseId {
            name: "test".into(),
            fingerprint: "0".repeat(64),
        }
    }

    pub(crate) fn metadata(&self) -> [(String, String); 2] {
        [
            ("base".into(), self.name.clone()),
            ("fingerprint".into(), self.fingerprint.clone()),
        ]
    }

    /// Refuses what another base made.
    ///
    /// # Errors
    /// Names both bases.
    pub fn must_be(&self, ours: &BaseId, what: &'static str) -> Result<(), Error> {
        if self.fingerprint == ours.fingerprint {
            return Ok(());
        }
        let short = |base_id: &BaseId| base_id.fingerprint.chars().take(12).collect();
        Err(Error::OtherBase {
            what,
            theirs: self.name.clone(),
            their_fingerprint: short(self),
            ours: ours.name.clone(),
            our_fingerprint: short(ours),
        })
    }
}

/// Pictures as the head sees them, with their classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// The base that computed them.
    pub base: BaseId,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The pictures' names, one a row.
    pub names: Vec<String>,
    /// An index into `classes`, one a row.
    pub labels: Vec<i64>,
    /// [N, 2048], row-major.
    pub values: Vec<f32>,
}

impl Latents {
    /// An empty table.
    pub fn new(base: BaseId, classes: Vec<String>) -> Latents {
        Latents {
            base,
            classes,
            names: Vec::new(),
            labels: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One picture's latents, `[2048]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * LATENTS..][..LATENTS]
    }

    /// Appends a picture.
    pub fn push(&mut self, name: String, label: i64, latents: &[f32]) {
        assert_eq!(latents.len(), LATENTS, "latents of {name}");
        self.names.push(name);
        self.labels.push(label);
        self.values.extend_from_slice(latents);
    }

    /// Joins a table of the same base. Classes are the same by name; those that are new come behind.
    ///
    /// # Errors
    /// Another base.
    pub fn append(&mut self, other: Latents) -> Result<(), Error> {
        other.base.must_be(&self.base, WHAT)?;
        let mut place = |class: String| {
            let known = self.classes.iter().position(|known| *known == class);
            known.unwrap_or_else(|| {
                self.classes.push(class);
                self.classes.len() - 1
            }) as i64
        };
        let places: Vec<_> = other.classes.into_iter().map(&mut place).collect();
        let moved = |label: i64| places[index(label)];
        self.names.extend(other.names);
        self.labels.extend(other.labels.into_iter().map(moved));
        self.values.extend(other.values);
        Ok(())
    }

    /// The bytes of `latents.safetensors`.
    pub fn write(&self, dtype: Dtype) -> Vec<u8> {
        let shape = [self.len(), LATENTS];
        let mut tensors = vec![("labels".to_string(), Stored::i64(&shape[..1], &self.labels))];
        tensors.extend(store_floats("latents", &shape, &self.values, 1, dtype));
        let metadata = self.base.metadata().into_iter().chain([
            ("classes".to_string(), json(&self.classes)),
            ("names".to_string(), json(&self.names)),
        ]);
        write_file(&tensors, metadata.collect())
    }

    /// The bytes of `latents.npz`, which `np.load` reads without pickle.
    pub fn write_npz(&self) -> Vec<u8> {
        let mut npz = npz::Writer::new();
        npz.floats("latents", &[self.len(), LATENTS], &self.values);
        npz.integers("labels", &[self.len()], &self.labels);
        npz.texts("classes", &self.classes);
        npz.texts("names", &self.names);
        for (key, value) in self.base.metadata() {
            npz.text(&key, &value);
        }
        npz.finish()
    }

    /// Reads `latents.safetensors` or `latents.npz`, whole or not at all: the table, and a sentence that is worth telling, if any.
    ///
    /// `base` is what the latents must be of, and what those are taken to be of that do not say it. Without it any base will do.
    ///
    /// # Errors
    /// A truncated or foreign file, another base or none, wrong shapes, numbers that are not finite, labels outside the classes.
    pub fn read(bytes: &[u8], base: Option<&BaseId>) -> Result<(Latents, Option<String>), Error> {
        let parts = match Npz::is(bytes) {
            true => Parts::from_npz(bytes),
            false => Parts::from_safetensors(bytes),
        }?;
        let (base, notice) = match (parts.fingerprint, base) {
            (Some(fingerprint), base) => {
                let made_with = BaseId {
                    name: parts.base.unwrap_or_else(|| "unnamed".into()),
                    fingerprint,
                };
                base.map_or(Ok(()), |base| made_with.must_be(base, WHAT))?;
                (made_with, None)
            }
            (None, Some(base)) => {
                let notice = format!(
                    "the file does not say which base made its latents; they are taken to be of the base here, {:?}",
                    base.name
                );
                (base.clone(), Some(notice))
            }
            (None, None) => return Err(Error::UnknownBase),
        };
        let rows = parts.labels.len();
        if rows == 0 {
            return Err(Error::NoRows);
        }
        let numbered = || (1..=rows).map(|row| format!("row {row}")).collect();
        let latents = Latents {
            base,
            classes: parts.classes,
            names: parts.names.unwrap_or_else(numbered),
            labels: parts.labels,
            values: parts.values,
        };
        latents.check()?;
        Ok((latents, notice))
    }

    /// Refuses what does not fit together.
    fn check(&self) -> Result<(), Error> {
        let finite = |value: &f32| value.is_finite();
        if let Some(index) = self.values.iter().position(|value| !finite(value)) {
            return Err(Error::NotFinite {
                what: WHAT,
                name: "latents".into(),
                index,
            });
        }
        let mut seen = HashSet::new();
        if let Some(name) = self.classes.iter().find(|class| !seen.insert(*class)) {
            return Err(Error::DuplicateClass { name: name.clone() });
        }
        if self.names.len() != self.len() {
            return Err(Error::Metadata {
                what: WHAT,
                key: "names",
                got: format!("{} names", self.names.len()),
                want: "one name for each row",
            });
        }
        let known = |label: &i64| usize::try_from(*label).is_ok_and(|l| l < self.classes.len());
        match self.labels.iter().position(|label| !known(label)) {
            Some(row) => Err(Error::Label {
                label: self.labels[row],
                row,
                classes: self.classes.len(),
            }),
            None => Ok(()),
        }
    }
}

/// A label as an index.
fn index(label: i64) -> usize {
    usize::try_from(label).expect("labels were checked when read")
}

/// What lies in a file, before it is known to fit together; there are as many labels as rows.
struct Parts {
    base: Option<String>,
    fingerprint: Option<String>,
    classes: Vec<String>,
    names: Option<Vec<String>>,
    labels: Vec<i64>,
    values: Vec<f32>,
}

impl Parts {
    fn from_safetensors(bytes: &[u8]) -> Result<Parts, Error> {
        let container = Container::open(WHAT, COMMAND, bytes)?;
        let rows = rows(container.any("latents")?.shape())?;
        let list = "a list of names";
        let text = |key| container.text(key).ok().map(String::from);
        Ok(Parts {
            labels: container.integers("labels", &[rows])?,
            classes: match container.text("classes") {
                Ok(_) => container.json("classes", list)?,
                Err(_) => return Err(Error::MissingClasses),
            },
            names: match container.text("names") {
                Ok(_) => Some(container.json("names", list)?),
                Err(_) => None,
            },
            base: text("base"),
            fingerprint: text("fingerprint"),
            values: container.affine_floats("latents", &[rows, LATENTS], 1)?,
        })
    }

    fn from_npz(bytes: &[u8]) -> Result<Parts, Error> {
        let npz = Npz::open(WHAT, bytes)?;
        let rows = rows(&npz.shape("latents")?)?;
        let text = |name| npz.has(name).then(|| npz.text(name)).transpose();
        Ok(Parts {
            labels: npz.integers("labels", &[rows])?,
            classes: npz.texts("classes", None)?,
            names: match npz.has("names") {
                true => Some(npz.texts("names", Some(rows))?),
                false => None,
            },
            base: text("base")?,
            fingerprint: text("fingerprint")?,
            values: npz.floats("latents", &[rows, LATENTS])?,
        })
    }
}

/// How many rows of latents a shape has.
fn rows(shape: &[usize]) -> Result<usize, Error> {
    match *shape {
        [rows, LATENTS] => Ok(rows),
        [rows, _] => Err((rows, shape)),
        _ => Err((1, shape)),
    }
    .map_err(|(rows, shape)| Error::Shape {
        what: WHAT,
        name: "latents".into(),
        want: vec![rows, LATENTS],
        got: shape.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Latents {
        let base_id = BaseId {
            name: "test".into(),
            fingerprint: "a".repeat(64),
        };
        let mut latents = Latents::new(base_id, vec!["cat".into(), "dog".into()]);
        for i in 0..10 {
            let row: Vec<f32> = (0..LATENTS).map(|c| ((i * 7 + c) % 5) as f32).collect();
            latents.push(format!("{i}.png"), i as i64 % 2, &row);
        }
        latents
    }

    fn read(bytes: &[u8]) -> Result<Latents, Error> {
        let (latents, notice) = Latents::read(bytes, None)?;
        assert_eq!(notice, None);
        Ok(latents)
    }

    fn refused(bytes: &[u8]) -> String {
        read(bytes).expect_err("broken").to_string()
    }

    #[test]
    fn tables_come_back_as_they_were() {
        // Values 0..=4 are exact in f16, and lie on an even grid, which u8 keeps.
        for dtype in [Dtype::F32, Dtype::F16, Dtype::U8] {
            let bytes = table().write(dtype);
            assert_eq!(read(&bytes).expect("our own file"), table(), "{dtype:?}");
        }
        let bytes = table().write_npz();
        assert_eq!(read(&bytes).expect("our own file"), table());
        assert_eq!(bytes, table().write_npz());
    }

    /// An array as NumPy would write it, the header as given.
    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    /// The arrays as files of a zip, deflated if wished.
    fn npz(arrays: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
        use flate2::{Compression, bufread::DeflateEncoder};
        use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter, crc32};
        use std::io::{Read, Write};
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (name, bytes) in arrays {
            let method = match deflate {
                true => CompressionMethod::DEFLATE,
                false => CompressionMethod::STORE,
            };
            let mut packed = bytes.clone();
            if deflate {
                packed.clear();
                let mut encoder = DeflateEncoder::new(bytes.as_slice(), Compression::fast());
                encoder.read_to_end(&mut packed).expect("in memory");
            }
            let name = format!("{name}.npy");
            let file = archive.new_file(name.as_str());
            let (mut entry, _) = file.compression_method(method).start().expect("an entry");
            entry.write_all(&packed).expect("in memory");
            let sum = DataDescriptorOutput::new(crc32(bytes), bytes.len() as u64);
            entry.finish(sum).expect("in memory");
        }
        archive.finish().expect("in memory")
    }

    /// The smallest table of other people: two rows, without names and base.
    fn foreign() -> Vec<(&'static str, Vec<u8>)> {
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2048), }";
        let values = (0..2 * LATENTS).flat_map(|i| (i as f64 * 0.5).to_le_bytes());
        let labels = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
        let classes = "{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }";
        vec![
            ("latents", npy(header, &values.collect::<Vec<_>>())),
            ("labels", npy(labels, &[1, 0])),
            ("classes", npy(classes, b"catox\0")),
        ]
    }

    #[test]
    fn other_peoples_tables_are_taken_to_be_of_the_base_here() {
        for deflate in [false, true] {
            let bytes = npz(&foreign(), deflate);
            let base = table().base;
            let (latents, notice) = Latents::read(&bytes, Some(&base)).expect("a good table");
            assert_eq!(
                notice.as_deref(),
                Some(
                    "the file does not say which base made its latents; they are taken to be of the base here, \"test\""
                )
            );
            assert_eq!(latents.base, base);
            assert_eq!(latents.classes, ["cat", "ox"]);
            assert_eq!(latents.names, ["row 1", "row 2"]);
            assert_eq!(latents.labels, [1, 0]);
            assert_eq!(latents.row(1)[3], 1025.5);
            assert_eq!(
                refused(&bytes),
                "latents: the file does not say which base made them, and no base is at hand; add its \"fingerprint\" (64 hexadecimal \
                 digits, as `inception-web weights --inspect` tells)"
            );
        }
    }

    #[test]
    fn every_integer_and_float_type_is_read() {
        let base = table().base;
        let whole = |arrays: &[(&str, Vec<u8>)]| {
            let bytes = npz(arrays, false);
            Latents::read(&bytes, Some(&base)).expect("a good table").0
        };
        let want = whole(&foreign());
        for (descr, size) in [
            ("|i1", 1),
            ("<i2", 2),
            (">i2", 2),
            ("<u2", 2),
            ("<i4", 4),
            ("<u4", 4),
            (">i8", 8),
            ("<u8", 8),
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}");
            let mut data = vec![0; 2 * size];
            data[if descr.starts_with('>') { size - 1 } else { 0 }] = 1;
            let mut arrays = foreign();
            arrays[1].1 = npy(&header, &data);
            assert_eq!(whole(&arrays), want, "{descr}");
        }
        // By columns and from the largest byte on, as some save them.
        let header = "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 2048), }";
        let by_columns = (0..LATENTS).flat_map(|column| [column, column + LATENTS]);
        let values = by_columns.flat_map(|i| (i as f32 * 0.5).to_be_bytes());
        let mut arrays = foreign();
        arrays[0].1 = npy(header, &values.collect::<Vec<_>>());
        assert_eq!(whole(&arrays), want);

        let values: Vec<f64> = want.values.iter().map(|value| f64::from(*value)).collect();
        for (labels, dtype) in [
            (vec![1u8, 0], safetensors::Dtype::U8),
            (vec![1, 0, 0, 0], safetensors::Dtype::I16),
            (vec![1, 0, 0, 0, 0, 0, 0, 0], safetensors::Dtype::U32),
        ] {
            assert_eq!(
                Latents::read(
                    &python(&values, labels, dtype, Some("[\"cat\",\"ox\"]")),
                    Some(&base)
                )
                .expect("a good table")
                .0,
                want,
                "{dtype:?}"
            );
        }
    }

    /// A safetensors file as Python's `save_file` makes it of float64 latents.
    fn python(
        values: &[f64],
        labels: Vec<u8>,
        dtype: safetensors::Dtype,
        classes: Option<&str>,
    ) -> Vec<u8> {
        use safetensors::tensor::TensorView;
        let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let latents = TensorView::new(safetensors::Dtype::F64, vec![2, LATENTS], &values);
        let labels = TensorView::new(dtype, vec![2], &labels);
        let tensors = [
            ("latents", latents.expect("f64")),
            ("labels", labels.expect("2")),
        ];
        let metadata = classes.map(|classes| [("classes".into(), classes.into())].into());
        safetensors::serialize(tensors, metadata).expect("a file")
    }

    #[test]
    fn classes_must_be_in_the_metadata() {
        let bytes = python(
            &[0.0; 2 * LATENTS],
            vec![0, 1],
            safetensors::Dtype::U8,
            None,
        );
        assert_eq!(
            refused(&bytes),
            "latents: the file's metadata has no \"classes\"; in Python, save it with save_file({\"latents\": x, \"labels\": y}, path, \
             metadata={\"classes\": json.dumps([\"cat\", \"dog\"])})"
        );
    }

    #[test]
    fn broken_archives_are_refused_with_a_reason() {
        let with = |array: usize, bytes: Vec<u8>| {
            let mut arrays = foreign();
            arrays[array].1 = bytes;
            refused(&npz(&arrays, true))
        };
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
        };
        let cases = [
            (
                with(0, npy(&header("'<f4'", "(2, 1000)"), &[0; 8000])),
                "latents: latents has shape [2, 1000], expected [2, 2048]; make the file again",
            ),
            (
                with(0, npy(&header("'<c8'", "(2, 2048)"), &[0; 8 * 2 * LATENTS])),
                "latents: latents has numbers of type <c8, expected float16, float32 or float64; make the file again",
            ),
            (
                with(0, npy(&header("'<f4'", "(2, 2048)"), &[0; 100])),
                "latents: the array \"latents\" is damaged (100 bytes for 16384 by its header); save the file again",
            ),
            (
                with(0, npy(&header("'<f4'", "(524289, 2048)"), &[0; 100])),
                "latents: the array \"latents\" of <f4 in the shape [524289, 2048] is too large to be opened here; save it in parts",
            ),
            (
                with(1, npy(&header("'<i8'", "(3,)"), &[0; 24])),
                "latents: labels has shape [3], expected [2]; make the file again",
            ),
            (
                with(1, npy(&header("'<f8'", "(2,)"), &[0; 16])),
                "latents: labels has numbers of type <f8, expected an integer type; make the file again",
            ),
            (
                with(2, npy(&header("'|O'", "(2,)"), b"\x80\x04pickle")),
                "latents: the array \"classes\" is made of pickled Python objects, which can run code when they are opened; save it as \
                 np.array(classes, dtype=str)",
            ),
            (
                with(2, npy(&header("[('a', '<f4')]", "(2,)"), b"")),
                "latents: classes has numbers of type [[\"a\",\"<f4\"]], expected text; make the file again",
            ),
            (
                with(2, npy(&header("'|S2'", "(2,)"), b"\xff\xffox")),
                "latents: the array \"classes\" is damaged (its text is neither Unicode nor UTF-8); save the file again",
            ),
            (
                with(2, npy("{'descr': 3}", b"")),
                "latents: the array \"classes\" is damaged (its header is \"{'descr': 3}\"); save the file again",
            ),
            (
                with(2, b"hello, world".into()),
                "latents: the array \"classes\" is damaged (not in NumPy's format); save the file again",
            ),
            (
                refused(&npz(&foreign()[..2], false)),
                "latents: the npz file holds \"latents\", \"labels\", but no \"classes\"; save it with np.savez(\"latents.npz\", latents=x, \
                 labels=y, classes=np.array([\"cat\", \"dog\"]))",
            ),
        ];
        for (said, message) in cases {
            assert_eq!(said, message);
        }
        let whole = table().write_npz();
        let cut_off = refused(&whole[..whole.len() / 2]);
        assert_eq!(
            cut_off,
            format!(
                "latents: not a whole npz file (Missing end of central directory, {} bytes); save or download it again",
                whole.len() / 2
            )
        );
        // A number changed in the place of latents, which only the check sum can tell.
        let mut changed = whole;
        changed[1000] ^= 1;
        assert_eq!(
            refused(&changed),
            "latents: the array \"latents\" is damaged (Invalid checksum: expected 0xe0e8d4f5, got 0xcd5bd81a); save the file again"
        );
    }

    #[test]
    fn a_byte_changed_or_lost_never_changes_the_table() {
        let bytes = npz(&foreign(), true);
        let base = table().base;
        let read = |bytes: &[u8]| Latents::read(bytes, Some(&base));
        let (whole, _) = read(&bytes).expect("a good table");
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "the first {at} bytes");
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                // Some bytes, such as dates, do not matter.
                if let Ok((latents, _)) = read(&changed) {
                    assert_eq!(latents, whole, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn classes_join_by_name() {
        let mut one = table();
        let mut other = Latents::new(one.base.clone(), vec!["dog".into(), "emu".into()]);
        other.push("a".into(), 0, &[0.0; LATENTS]);
        other.push("b".into(), 1, &[0.0; LATENTS]);
        one.append(other).expect("the same base");
        assert_eq!(one.classes, ["cat", "dog", "emu"]);
        assert_eq!(one.labels[10..], [1, 2]);
        assert_eq!(one.names[10..], ["a", "b"]);
    }

    #[test]
    fn broken_tables_are_refused_with_a_reason() {
        type Breaking = fn(&mut Latents);
        let broken = |breaking: Breaking| {
            let mut latents = table();
            breaking(&mut latents);
            // Both forms are refused in the same words.
            let said = refused(&latents.write(Dtype::F32));
            if latents.names.len() == latents.len() {
                assert_eq!(refused(&latents.write_npz()), said);
            }
            said
        };
        let cases: [(Breaking, &str); 5] = [
            (
                |t| t.labels[3] = 2,
                "latents: label 2 at row 3 names none of the 2 classes; make the file again",
            ),
            (
                |t| t.values[9] = f32::NAN,
                "latents: latents holds a number that is not finite, at index 9; make the file again",
            ),
            (
                |t| t.names.truncate(4),
                "latents: the metadata \"names\" is \"4 names\", expected one name for each row; make the file again",
            ),
            (
                |t| t.classes[1] = "cat".into(),
                "latents: the class \"cat\" is listed twice; give every class a name of its own",
            ),
            (
                |t| *t = Latents::new(t.base.clone(), t.classes.clone()),
                "latents: the table has no rows; save at least one picture's latents",
            ),
        ];
        for (breaking, message) in cases {
            assert_eq!(broken(breaking), message);
        }
    }

    #[test]
    fn latents_of_another_base_do_not_join() {
        let mut other = table();
        other.base = BaseId {
            name: "other".into(),
            fingerprint: "b".repeat(64),
        };
        let error = table().append(other).expect_err("another base").to_string();
        assert!(
            error.starts_with("latents: made with the base \"other\" (fingerprint bbbbbbbbbbbb)"),
            "{error}"
        );
    }
}
