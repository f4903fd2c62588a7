//! The labelled table of latents and its two file formats, `latents.safetensors` and NumPy's `latents.npz`. Both record the base's name and
//! fingerprint.
//!
//! Tensors or arrays: `latents` [N, 2048] of floats, `labels` `[N]` of integers. safetensors: `classes` and `names` (JSON lists),
//! `fingerprint` and `base` in the metadata; `latents` may be u8 with `latents.scale` and `latents.min` `[2048]`
//! (value = u8 x scale + min). npz: `classes` `[K]`, `names` `[N]`, `fingerprint`, `base` as string arrays. Only latents, labels and classes
//! are required.

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

/// Identifies the base that latents or a head were made with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BaseId {
    /// The base's short name.
    pub name: String,
    /// The base's fingerprint: SHA-256 in 64 hexadecimal digits.
    pub fingerprint: String,
}

impl BaseId {
    pub(crate) fn read(container: &Container) -> Result<BaseId, Error> {
        Ok(BaseId {
            // The name is optional in files from other tools.
            name: container.metadata("base").unwrap_or("unnamed").into(),
            fingerprint: container.metadata("fingerprint")?.into(),
        })
    }

    /// The id of no real base.
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

    /// Checks that both have the same fingerprint; `what` is `head` or `latents`.
    ///
    /// # Errors
    /// [`Error::OtherBase`], with `self` as the base of the file.
    pub fn ensure_same(&self, expected: &BaseId, what: &'static str) -> Result<(), Error> {
        if self.fingerprint == expected.fingerprint {
            return Ok(());
        }
        let short = |base_id: &BaseId| base_id.fingerprint.chars().take(12).collect();
        Err(Error::OtherBase {
            what,
            got: self.name.clone(),
            got_fingerprint: short(self),
            want: expected.name.clone(),
            want_fingerprint: short(expected),
        })
    }
}

/// A table of latents with labels: the training data of a head.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// The base that computed them.
    pub base: BaseId,
    /// Class names.
    pub classes: Vec<String>,
    /// Picture names, one per row.
    pub names: Vec<String>,
    /// Indices into `classes`, one per row.
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

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The latents of one picture, `[2048]`.
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

    /// Appends a table of the same base. Classes are matched by name; new classes are appended.
    ///
    /// # Errors
    /// Another base.
    pub fn append(&mut self, other: Latents) -> Result<(), Error> {
        other.base.ensure_same(&self.base, WHAT)?;
        let mut class_index = |class: String| {
            let found = self.classes.iter().position(|name| *name == class);
            found.unwrap_or_else(|| {
                self.classes.push(class);
                self.classes.len() - 1
            }) as i64
        };
        let indices: Vec<_> = other.classes.into_iter().map(&mut class_index).collect();
        let relabel = |label: i64| indices[index(label)];
        self.names.extend(other.names);
        self.labels.extend(other.labels.into_iter().map(relabel));
        self.values.extend(other.values);
        Ok(())
    }

    /// Returns the bytes of `latents.safetensors`.
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

    /// Returns the bytes of `latents.npz`, which `np.load` reads without pickle.
    pub fn write_npz(&self) -> Vec<u8> {
        let mut npz = npz::Writer::new();
        npz.floats("latents", &[self.len(), LATENTS], &self.values);
        npz.integers("labels", &[self.len()], &self.labels);
        npz.strings("classes", &self.classes);
        npz.strings("names", &self.names);
        for (key, value) in self.base.metadata() {
            npz.string(&key, &value);
        }
        npz.finish()
    }

    /// Reads `latents.safetensors` or `latents.npz`. Returns the table and an optional notice for the user.
    ///
    /// With `base`, the latents must be of that base; a file without a fingerprint is assumed to be of it. Without `base`, any base is accepted.
    ///
    /// # Errors
    /// A truncated file, another format, another or no base, wrong shapes, values that are not finite, labels without a class.
    pub fn read(bytes: &[u8], base: Option<&BaseId>) -> Result<(Latents, Option<String>), Error> {
        let parts = match Npz::is_npz(bytes) {
            true => Parts::from_npz(bytes),
            false => Parts::from_safetensors(bytes),
        }?;
        let (base, notice) = match (parts.fingerprint, base) {
            (Some(fingerprint), base) => {
                let made_with = BaseId {
                    name: parts.base.unwrap_or_else(|| "unnamed".into()),
                    fingerprint,
                };
                base.map_or(Ok(()), |base| made_with.ensure_same(base, WHAT))?;
                (made_with, None)
            }
            (None, Some(base)) => {
                let notice = format!(
                    "the file does not name its base; it is assumed to be the current base, {:?}",
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

    /// Checks that classes, names, labels and values are consistent.
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
        let valid = |label: &i64| usize::try_from(*label).is_ok_and(|l| l < self.classes.len());
        match self.labels.iter().position(|label| !valid(label)) {
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

/// The contents of a file, before validation. There is one label per row.
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
        let rows = rows(container.tensor_of_any_shape("latents")?.shape())?;
        let list = "a list of names";
        let text = |key| container.metadata(key).ok().map(String::from);
        Ok(Parts {
            labels: container.integers("labels", &[rows])?,
            classes: match container.metadata("classes") {
                Ok(_) => container.metadata_json("classes", list)?,
                Err(_) => return Err(Error::MissingClasses),
            },
            names: match container.metadata("names") {
                Ok(_) => Some(container.metadata_json("names", list)?),
                Err(_) => None,
            },
            base: text("base"),
            fingerprint: text("fingerprint"),
            values: container.dequantized("latents", &[rows, LATENTS], 1)?,
        })
    }

    fn from_npz(bytes: &[u8]) -> Result<Parts, Error> {
        let npz = Npz::open(WHAT, bytes)?;
        let rows = rows(&npz.shape("latents")?)?;
        let text = |name| npz.has(name).then(|| npz.string(name)).transpose();
        Ok(Parts {
            labels: npz.integers("labels", &[rows])?,
            classes: npz.strings("classes", None)?,
            names: match npz.has("names") {
                true => Some(npz.strings("names", Some(rows))?),
                false => None,
            },
            base: text("base")?,
            fingerprint: text("fingerprint")?,
            values: npz.floats("latents", &[rows, LATENTS])?,
        })
    }
}

/// Validates the shape of the latents; returns the number of rows.
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

    fn rejected(bytes: &[u8]) -> String {
        read(bytes).expect_err("an invalid table").to_string()
    }

    #[test]
    fn tables_are_unchanged_by_write_and_read() {
        // The values 0..=4 are exact in f16 and in u8.
        for dtype in [Dtype::F32, Dtype::F16, Dtype::U8] {
            let bytes = table().write(dtype);
            assert_eq!(read(&bytes).expect("a valid file"), table(), "{dtype:?}");
        }
        let bytes = table().write_npz();
        assert_eq!(read(&bytes).expect("a valid file"), table());
        assert_eq!(bytes, table().write_npz());
    }

    /// An npy file with the given header.
    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    /// An npz file of these arrays.
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

    /// A minimal table from another tool: two rows, without names and base.
    fn minimal() -> Vec<(&'static str, Vec<u8>)> {
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
    fn tables_without_a_base_are_assumed_to_be_of_the_current_base() {
        for deflate in [false, true] {
            let bytes = npz(&minimal(), deflate);
            let base = table().base;
            let (latents, notice) = Latents::read(&bytes, Some(&base)).expect("a valid table");
            assert_eq!(
                notice.as_deref(),
                Some(
                    "the file does not name its base; it is assumed to be the current base, \"test\""
                )
            );
            assert_eq!(latents.base, base);
            assert_eq!(latents.classes, ["cat", "ox"]);
            assert_eq!(latents.names, ["row 1", "row 2"]);
            assert_eq!(latents.labels, [1, 0]);
            assert_eq!(latents.row(1)[3], 1025.5);
            assert_eq!(
                rejected(&bytes),
                "latents: the file does not name its base, and no base is loaded; add its \"fingerprint\" (64 hexadecimal \
                 digits, as printed by `inception-web weights --inspect`)"
            );
        }
    }

    #[test]
    fn all_integer_and_float_dtypes_are_read() {
        let base = table().base;
        let whole = |arrays: &[(&str, Vec<u8>)]| {
            let bytes = npz(arrays, false);
            Latents::read(&bytes, Some(&base)).expect("a valid table").0
        };
        let want = whole(&minimal());
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
            let mut arrays = minimal();
            arrays[1].1 = npy(&header, &data);
            assert_eq!(whole(&arrays), want, "{descr}");
        }
        // Column-major and big-endian.
        let header = "{'descr': '>f4', 'fortran_order': True, 'shape': (2, 2048), }";
        let by_columns = (0..LATENTS).flat_map(|column| [column, column + LATENTS]);
        let values = by_columns.flat_map(|i| (i as f32 * 0.5).to_be_bytes());
        let mut arrays = minimal();
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
                .expect("a valid table")
                .0,
                want,
                "{dtype:?}"
            );
        }
    }

    /// A safetensors file as Python's `save_file` writes it for float64 latents.
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
    fn missing_classes_are_an_error() {
        let bytes = python(
            &[0.0; 2 * LATENTS],
            vec![0, 1],
            safetensors::Dtype::U8,
            None,
        );
        assert_eq!(
            rejected(&bytes),
            "latents: the metadata has no \"classes\"; in Python, save it with save_file({\"latents\": x, \"labels\": y}, path, \
             metadata={\"classes\": json.dumps([\"cat\", \"dog\"])})"
        );
    }

    #[test]
    fn damaged_archives_are_rejected_with_a_reason() {
        let with = |array: usize, bytes: Vec<u8>| {
            let mut arrays = minimal();
            arrays[array].1 = bytes;
            rejected(&npz(&arrays, true))
        };
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
        };
        let cases = [
            (
                with(0, npy(&header("'<f4'", "(2, 1000)"), &[0; 8000])),
                "latents: latents has shape [2, 1000], expected [2, 2048]; write the file again",
            ),
            (
                with(0, npy(&header("'<c8'", "(2, 2048)"), &[0; 8 * 2 * LATENTS])),
                "latents: latents has dtype <c8, expected float16, float32 or float64; write the file again",
            ),
            (
                with(0, npy(&header("'<f4'", "(2, 2048)"), &[0; 100])),
                "latents: the array \"latents\" is damaged (got 100 bytes of data, expected 16384); save the file again",
            ),
            (
                with(0, npy(&header("'<f4'", "(524289, 2048)"), &[0; 100])),
                "latents: the array \"latents\" (dtype <f4, shape [524289, 2048]) is too large; split it into several files",
            ),
            (
                with(1, npy(&header("'<i8'", "(3,)"), &[0; 24])),
                "latents: labels has shape [3], expected [2]; write the file again",
            ),
            (
                with(1, npy(&header("'<f8'", "(2,)"), &[0; 16])),
                "latents: labels has dtype <f8, expected an integer type; write the file again",
            ),
            (
                with(2, npy(&header("'|O'", "(2,)"), b"\x80\x04pickle")),
                "latents: the array \"classes\" contains pickled Python objects, which can run code when they are loaded; save it as \
                 np.array(classes, dtype=str)",
            ),
            (
                with(2, npy(&header("[('a', '<f4')]", "(2,)"), b"")),
                "latents: classes has dtype [[\"a\",\"<f4\"]], expected text; write the file again",
            ),
            (
                with(2, npy(&header("'|S2'", "(2,)"), b"\xff\xffox")),
                "latents: the array \"classes\" is damaged (invalid text encoding); save the file again",
            ),
            (
                with(2, npy("{'descr': 3}", b"")),
                "latents: the array \"classes\" is damaged (invalid header \"{'descr': 3}\"); save the file again",
            ),
            (
                with(2, b"hello, world".into()),
                "latents: the array \"classes\" is damaged (not in the npy format); save the file again",
            ),
            (
                rejected(&npz(&minimal()[..2], false)),
                "latents: the npz file has no array \"classes\" (found: \"latents\", \"labels\"); save it with np.savez(\"latents.npz\", latents=x, \
                 labels=y, classes=np.array([\"cat\", \"dog\"]))",
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
        let whole = table().write_npz();
        let truncated = rejected(&whole[..whole.len() / 2]);
        assert_eq!(
            truncated,
            format!(
                "latents: invalid npz file (Missing end of central directory, {} bytes); save or download it again",
                whole.len() / 2
            )
        );
        // A changed value, which only the checksum detects.
        let mut changed = whole;
        changed[1000] ^= 1;
        assert_eq!(
            rejected(&changed),
            "latents: the array \"latents\" is damaged (Invalid checksum: expected 0xe0e8d4f5, got 0xcd5bd81a); save the file again"
        );
    }

    #[test]
    fn changed_or_lost_bytes_never_change_the_table() {
        let bytes = npz(&minimal(), true);
        let base = table().base;
        let read = |bytes: &[u8]| Latents::read(bytes, Some(&base));
        let (whole, _) = read(&bytes).expect("a valid table");
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "the first {at} bytes");
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                // Some bytes, such as dates, are not checked.
                if let Ok((latents, _)) = read(&changed) {
                    assert_eq!(latents, whole, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn append_matches_classes_by_name() {
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
    fn inconsistent_tables_are_rejected_with_a_reason() {
        type Change = fn(&mut Latents);
        let error_after = |change: Change| {
            let mut latents = table();
            change(&mut latents);
            // Both formats give the same message.
            let message = rejected(&latents.write(Dtype::F32));
            if latents.names.len() == latents.len() {
                assert_eq!(rejected(&latents.write_npz()), message);
            }
            message
        };
        let cases: [(Change, &str); 5] = [
            (
                |t| t.labels[3] = 2,
                "latents: row 3 has label 2, but there are 2 classes; write the file again",
            ),
            (
                |t| t.values[9] = f32::NAN,
                "latents: latents is not finite at index 9; write the file again",
            ),
            (
                |t| t.names.truncate(4),
                "latents: invalid metadata \"names\": got \"4 names\", expected one name for each row; write the file again",
            ),
            (
                |t| t.classes[1] = "cat".into(),
                "latents: the class \"cat\" is listed twice; give every class a unique name",
            ),
            (
                |t| *t = Latents::new(t.base.clone(), t.classes.clone()),
                "latents: the table has no rows; save the latents of at least one picture",
            ),
        ];
        for (change, message) in cases {
            assert_eq!(error_after(change), message);
        }
    }

    #[test]
    fn append_rejects_latents_of_another_base() {
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
