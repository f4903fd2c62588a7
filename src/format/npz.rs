//! Reads and writes NumPy's `.npz` format: a zip of float, integer and text arrays. Arrays of Python objects are rejected.
//!
//! An array is read only if its dtype and shape match its length in the archive.
//!
//! # Source
//! [numpy.lib.format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html)

use std::io::{Read, Write};

use half::f16;
use rawzip::ZipArchiveWriter;
use serde::Deserialize;

use crate::{
    error::Error,
    format::{
        safetensors::numbers,
        zip::{Archive, suspicious_ratio},
    },
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy has the same limit.
const MAX_HEADER: usize = 10_000;
/// Maximum size of a numeric array in bytes; the address space of wasm32.
const MAX_NUMERIC_BYTES: u64 = 4 << 30;
/// Maximum size of a text array in bytes.
const MAX_TEXT_BYTES: u64 = 256 << 20;
/// Maximum number of strings in an array, because each is allocated separately.
const MAX_STRINGS: usize = 1 << 20;
/// Maximum length of a string. NumPy pads all strings of an array to the longest.
const MAX_CHARS: usize = 1 << 16;
/// Buffer size in bytes for unpacking.
const CHUNK: usize = 1 << 16;

/// An npz file in memory.
pub(crate) struct Npz<'a> {
    what: &'static str,
    archive: Archive<'a>,
}

impl<'a> Npz<'a> {
    /// Returns whether the bytes start with the signature of a zip archive, even an empty one.
    pub(crate) fn is_npz(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK")
    }

    /// Reads the directory of the archive.
    pub(crate) fn open(what: &'static str, bytes: &'a [u8]) -> Result<Npz<'a>, Error> {
        let damaged = |reason| Error::Npz {
            what,
            reason,
            bytes: bytes.len(),
        };
        Ok(Npz {
            what,
            archive: Archive::open(bytes).map_err(damaged)?,
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|array| array == name)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.archive
            .names()
            .map(|name| name.strip_suffix(".npy").unwrap_or(name))
    }

    /// Returns the shape of an array.
    pub(crate) fn shape(&self, name: &'static str) -> Result<Vec<usize>, Error> {
        Ok(self.array(name)?.header.shape)
    }

    /// Reads a float array of exactly this shape, row-major; f64 values are narrowed to f32.
    pub(crate) fn floats(&self, name: &'static str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let array = self.array(name)?.with_shape(shape)?;
        let column_major = array.header.fortran_order;
        let values = match array.kind() {
            ('f', 2) => array.items(|bytes, values| {
                values.extend(numbers(bytes, |b| f16::from_le_bytes(b).to_f32()))
            }),
            ('f', 4) => {
                array.items(|bytes, values| values.extend(numbers(bytes, f32::from_le_bytes)))
            }
            ('f', 8) => array.items(|bytes, values| {
                values.extend(numbers(bytes, |b| f64::from_le_bytes(b) as f32))
            }),
            _ => Err(array.wrong_type("np.float32", "float16, float32 or float64")),
        }?;
        match *shape {
            [rows, columns] if column_major => Ok((0..rows * columns)
                .map(|i| values[i % columns * rows + i / columns])
                .collect()),
            _ => Ok(values),
        }
    }

    /// Reads an integer array of exactly this shape; values above `i64::MAX` are clamped.
    pub(crate) fn integers(&self, name: &'static str, shape: &[usize]) -> Result<Vec<i64>, Error> {
        let array = self.array(name)?.with_shape(shape)?;
        macro_rules! items {
            ($type:ty) => {
                array.items(|bytes, values| {
                    values.extend(numbers(bytes, |b| {
                        i64::try_from(<$type>::from_le_bytes(b)).unwrap_or(i64::MAX)
                    }))
                })
            };
        }
        match array.kind() {
            ('i', 1) => items!(i8),
            ('i', 2) => items!(i16),
            ('i', 4) => items!(i32),
            ('i', 8) => items!(i64),
            ('u', 1) => items!(u8),
            ('u', 2) => items!(u16),
            ('u', 4) => items!(u32),
            ('u', 8) => items!(u64),
            _ => Err(array.wrong_type("np.int64", "an integer type")),
        }
    }

    /// Reads a one-dimensional array of strings, of this length if one is given: `<U` (UTF-32) or `|S` (UTF-8).
    pub(crate) fn strings(
        &self,
        name: &'static str,
        length: Option<usize>,
    ) -> Result<Vec<String>, Error> {
        let array = self.array(name)?;
        let length = length.unwrap_or(array.header.shape.first().copied().unwrap_or(0));
        if length > MAX_STRINGS {
            return Err(array.huge());
        }
        array.with_shape(&[length])?.strings()
    }

    /// Reads the string of a zero-dimensional or one-element array.
    pub(crate) fn string(&self, name: &'static str) -> Result<String, Error> {
        let array = self.array(name)?;
        let shape: &[usize] = if array.header.shape.is_empty() {
            &[]
        } else {
            &[1]
        };
        Ok(array.with_shape(shape)?.strings()?.swap_remove(0))
    }

    /// Reads the header of an array and checks it against the size in the archive's directory.
    fn array(&self, name: &'static str) -> Result<Array<'_>, Error> {
        let what = self.what;
        let Some(index) = self.names().position(|array| array == name) else {
            return Err(Error::MissingArray {
                what,
                name,
                found: quoted_list(self.names()),
            });
        };
        let entry = &self.archive.entries()[index];
        let damaged = |reason: String| Error::Array { what, name, reason };
        let mut source = self.archive.reader(entry).map_err(damaged)?;
        let (length, header) = Header::read(&mut source).map_err(damaged)?;
        let array = Array {
            what,
            name,
            header,
            source,
        };
        let (kind, size) = array.kind();
        if !matches!(kind, 'f' | 'i' | 'u' | 'U' | 'S') {
            return Ok(array);
        }
        let is_text = matches!(kind, 'U' | 'S');
        if size == 0 || (is_text && size > MAX_CHARS * 4) {
            let dtype = array.header.type_name();
            return Err(damaged(format!("unsupported dtype {dtype}")));
        }
        let dims = array.header.shape.iter().map(|dim| *dim as u64);
        let want = dims.fold(size as u64, u64::saturating_mul);
        let max = match is_text {
            true => MAX_TEXT_BYTES,
            false => MAX_NUMERIC_BYTES,
        };
        if want > max {
            return Err(array.huge());
        }
        let (packed, size) = entry.sizes();
        let got = size.saturating_sub(length as u64);
        if got != want {
            let reason = format!("got {got} bytes of data, expected {want}");
            return Err(damaged(reason));
        }
        if suspicious_ratio(packed, got) {
            let reason = format!("suspicious compression ratio, {packed} bytes unpack to {got}");
            return Err(damaged(reason));
        }
        Ok(array)
    }
}

/// Formats the first names as a list in quotes, for an error message.
fn quoted_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).take(9).collect();
    let names = names.join(", ");
    if names.is_empty() {
        "none".into()
    } else {
        names
    }
}

/// An array whose header was read, and the reader of its data.
struct Array<'a> {
    what: &'static str,
    name: &'static str,
    header: Header,
    source: Box<dyn Read + 'a>,
}

impl Array<'_> {
    /// Returns the type character and the size of an item in bytes.
    fn kind(&self) -> (char, usize) {
        self.header.kind()
    }

    fn with_shape(self, shape: &[usize]) -> Result<Self, Error> {
        if self.header.shape != shape {
            return Err(Error::Shape {
                what: self.what,
                name: self.name.into(),
                want: shape.into(),
                got: self.header.shape,
            });
        }
        Ok(self)
    }

    fn strings(self) -> Result<Vec<String>, Error> {
        let (what, name) = (self.what, self.name);
        let strings = match self.kind() {
            ('U', size) => self.items(|bytes, strings| {
                strings.extend(bytes.chunks_exact(size).map(|item| {
                    let chars = numbers(item, u32::from_le_bytes).map(char::from_u32);
                    let text: Option<String> = chars.collect();
                    text.map(|text| text.trim_end_matches('\0').to_string())
                }))
            }),
            ('S', size) => self.items(|bytes, strings| {
                strings.extend(bytes.chunks_exact(size).map(|item| {
                    let text = String::from_utf8(item.to_vec()).ok();
                    text.map(|text| text.trim_end_matches('\0').to_string())
                }))
            }),
            _ => Err(self.wrong_type("str", "text")),
        }?;
        let reason = "invalid text encoding".to_string();
        let strings: Option<Vec<_>> = strings.into_iter().collect();
        strings.ok_or(Error::Array { what, name, reason })
    }

    /// Unpacks all items in chunks. `read` parses a little-endian chunk and appends its items.
    fn items<T>(mut self, read: impl Fn(&[u8], &mut Vec<T>)) -> Result<Vec<T>, Error> {
        let (kind, size) = self.kind();
        let unit = match kind {
            'U' => 4,
            _ => size,
        };
        let count = self.header.shape.iter().product();
        let mut items = Vec::new();
        items.try_reserve_exact(count).map_err(|_| self.huge())?;
        let mut buffer = vec![0; (CHUNK / size).max(1) * size];
        let mut left = count * size;
        while left > 0 {
            let length = left.min(buffer.len());
            let chunk = &mut buffer[..length];
            self.source
                .read_exact(chunk)
                .map_err(|error| self.damaged(error))?;
            if self.header.descr.starts_with('>') {
                chunk.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
            read(chunk, &mut items);
            left -= chunk.len();
        }
        // The archive verifies the CRC at the end of the data.
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(items),
            Ok(_) => Err(self.damaged("data after the last item")),
            Err(error) => Err(self.damaged(error)),
        }
    }

    fn damaged(&self, reason: impl ToString) -> Error {
        Error::Array {
            what: self.what,
            name: self.name,
            reason: reason.to_string(),
        }
    }

    fn huge(&self) -> Error {
        Error::HugeArray {
            what: self.what,
            name: self.name,
            dtype: self.header.type_name(),
            shape: self.header.shape.clone(),
        }
    }

    /// `save` is the suggested dtype, `want` lists the supported ones.
    fn wrong_type(&self, save: &'static str, want: &'static str) -> Error {
        let (what, name) = (self.what, self.name);
        match self.kind() {
            ('O', _) => Error::Pickled { what, name, save },
            _ => Error::Dtype {
                what,
                name: name.into(),
                want,
                got: self.header.type_name(),
            },
        }
    }
}

/// The header of an array.
#[derive(Debug, Deserialize)]
struct Header {
    /// Byte order, type character and size, such as `<f4`. For a structured dtype, its list of fields as JSON.
    #[serde(deserialize_with = "string_or_json")]
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

fn string_or_json<'de, D: serde::Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(source)?;
    Ok(value
        .as_str()
        .map_or_else(|| value.to_string(), String::from))
}

impl Header {
    /// Reads a header; returns its length in bytes with it.
    fn read(source: &mut impl Read) -> Result<(usize, Header), String> {
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            let result = source.read_exact(&mut bytes);
            result.map(|()| bytes).map_err(|error| error.to_string())
        };
        let start = read(8)?;
        let prefix = match (start.starts_with(MAGIC), start[6]) {
            (true, 1) => read(2)?,
            (true, 2 | 3) => read(4)?,
            _ => return Err("not in the npy format".into()),
        };
        let length = prefix
            .iter()
            .rev()
            .fold(0, |sum, byte| sum * 256 + usize::from(*byte));
        if length > MAX_HEADER {
            return Err(format!(
                "got a header of {length} bytes, expected at most {MAX_HEADER}"
            ));
        }
        let text = String::from_utf8_lossy(&read(length)?).into_owned();
        // The header is a Python literal of strings, booleans and tuples; convert it to JSON.
        let mut json: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        for (from, to) in [
            ("'", "\""),
            ("True", "true"),
            ("False", "false"),
            ("(", "["),
            (")", "]"),
            (",]", "]"),
            (",}", "}"),
        ] {
            json = json.replace(from, to);
        }
        let header = serde_json::from_str(&json);
        let header = header.map_err(|_| format!("invalid header {:?}", text.trim_end()))?;
        Ok((start.len() + prefix.len() + length, header))
    }

    fn kind(&self) -> (char, usize) {
        let mut chars = self.descr.chars();
        let kind = match chars.next() {
            Some('<' | '>' | '|' | '=') => chars.next(),
            other => other,
        }
        .unwrap_or('?');
        let count: usize = chars.as_str().parse().unwrap_or(0);
        match kind {
            'U' => (kind, count.saturating_mul(4)),
            _ => (kind, count),
        }
    }

    fn type_name(&self) -> String {
        self.descr.chars().take(40).collect()
    }
}

/// Writes an npz file in memory, uncompressed. The output is deterministic.
pub(crate) struct Writer(ZipArchiveWriter<Vec<u8>>);

const INFALLIBLE: &str = "writing to memory cannot fail";

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer(ZipArchiveWriter::new(Vec::new()))
    }

    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.array(name, "<f4", shape, values, |value| value.to_le_bytes());
    }

    pub(crate) fn integers(&mut self, name: &str, shape: &[usize], values: &[i64]) {
        self.array(name, "<i8", shape, values, |value| value.to_le_bytes());
    }

    pub(crate) fn strings(&mut self, name: &str, strings: &[String]) {
        self.text_array(name, &[strings.len()], strings);
    }

    pub(crate) fn string(&mut self, name: &str, string: &str) {
        self.text_array(name, &[], &[string.to_string()]);
    }

    /// Returns the bytes of the file.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish().expect(INFALLIBLE)
    }

    fn text_array(&mut self, name: &str, shape: &[usize], strings: &[String]) {
        let lengths = strings.iter().map(|string| string.chars().count());
        // NumPy has no dtype for empty strings.
        let width = lengths.max().unwrap_or(0).max(1);
        let padded = |string: &String| {
            let chars = string.chars().chain(std::iter::repeat('\0')).take(width);
            chars.map(u32::from).collect::<Vec<_>>()
        };
        let chars: Vec<u32> = strings.iter().flat_map(padded).collect();
        let descr = format!("<U{width}");
        self.array(name, &descr, shape, &chars, |char| char.to_le_bytes());
    }

    fn array<T: Copy, const N: usize>(
        &mut self,
        name: &str,
        descr: &str,
        shape: &[usize],
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
        let dims = match shape {
            [_] => dims.trim_end(),
            _ => dims.trim_end_matches(", "),
        };
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
        // The values are aligned to 64 bytes. 10 bytes precede the header, and a line feed ends it.
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
        header = format!("{header:padded$}\n");
        let length = u16::try_from(header.len()).expect("a header of a few dimensions is short");

        let file = format!("{name}.npy");
        let (mut entry, config) = self.0.new_file(file.as_str()).start().expect(INFALLIBLE);
        let mut stored = config.wrap(&mut entry);
        let mut write = |bytes: &[u8]| stored.write_all(bytes).expect(INFALLIBLE);
        write(MAGIC);
        write(&[1, 0]);
        write(&length.to_le_bytes());
        write(header.as_bytes());
        for chunk in values.chunks(CHUNK) {
            write(
                &chunk
                    .iter()
                    .flat_map(|value| bytes(*value))
                    .collect::<Vec<_>>(),
            );
        }
        let (_, descriptor) = stored.finish().expect(INFALLIBLE);
        entry.finish(descriptor).expect(INFALLIBLE);
    }
}
