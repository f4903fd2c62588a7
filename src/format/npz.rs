//! NumPy's `.npz`, as far as tables of latents and heads need it: a zip of arrays of floats, integers and text, never of Python objects.
//!
//! See [numpy.lib.format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). An array is read only after its type,
//! its shape and its length in the archive fit together. What the arrays mean is the matter of each kind's own file.

use std::io::{Read, Write};

use half::f16;
use rawzip::ZipArchiveWriter;
use serde::Deserialize;

use crate::{
    error::Error,
    format::{
        safetensors::numbers,
        zip::{Archive, swells},
    },
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses headers of more than 10,000 characters.
const MAX_HEADER: usize = 10_000;
/// More than this in one array is more than any machine of a visitor takes.
const MAX_NUMBERS: u64 = 4 << 30;
const MAX_TEXT: u64 = 256 << 20;
/// The most texts, each of which takes room of its own; as many rows of latents have 4 GB.
const MAX_TEXTS: usize = 1 << 20;
/// The longest text; all of an array take as much room as the longest.
const MAX_LETTERS: usize = 1 << 16;
/// What is unpacked at once.
const CHUNK: usize = 1 << 16;

/// An opened file.
pub(crate) struct Npz<'a> {
    what: &'static str,
    archive: Archive<'a>,
}

impl<'a> Npz<'a> {
    /// Whether the bytes are a zip's.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(b"PK")
    }

    /// Reads the list of arrays.
    pub(crate) fn open(what: &'static str, bytes: &'a [u8]) -> Result<Npz<'a>, Error> {
        let damaged = |reason| Error::Archive {
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

    /// An array's shape, as its header says.
    pub(crate) fn shape(&self, name: &'static str) -> Result<Vec<usize>, Error> {
        Ok(self.array(name)?.header.shape)
    }

    /// The numbers of a float array of exactly this shape, row-major, f64 narrowed to f32.
    pub(crate) fn floats(&self, name: &'static str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let array = self.array(name)?.shaped(shape)?;
        let by_columns = array.header.fortran_order;
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
            [rows, columns] if by_columns => Ok((0..rows * columns)
                .map(|i| values[i % columns * rows + i / columns])
                .collect()),
            _ => Ok(values),
        }
    }

    /// The numbers of an integer array of exactly this shape; those above i64 become its largest.
    pub(crate) fn integers(&self, name: &'static str, shape: &[usize]) -> Result<Vec<i64>, Error> {
        let array = self.array(name)?.shaped(shape)?;
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

    /// The texts of an array, of this length if one is given: `<U` (UTF-32) or `|S` (UTF-8).
    pub(crate) fn texts(
        &self,
        name: &'static str,
        length: Option<usize>,
    ) -> Result<Vec<String>, Error> {
        let array = self.array(name)?;
        let length = length.unwrap_or(array.header.shape.first().copied().unwrap_or(0));
        if length > MAX_TEXTS {
            return Err(array.huge());
        }
        array.shaped(&[length])?.texts()
    }

    /// The one text of an array without sides, or of one item.
    pub(crate) fn text(&self, name: &'static str) -> Result<String, Error> {
        let array = self.array(name)?;
        let shape: &[usize] = if array.header.shape.is_empty() {
            &[]
        } else {
            &[1]
        };
        Ok(array.shaped(shape)?.texts()?.swap_remove(0))
    }

    /// An array whose header has been read, and fits what the archive says of its length.
    fn array(&self, name: &'static str) -> Result<Array<'_>, Error> {
        let what = self.what;
        let Some(index) = self.names().position(|array| array == name) else {
            return Err(Error::MissingArray {
                what,
                name,
                has: list(self.names()),
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
        let text = matches!(kind, 'U' | 'S');
        if size == 0 || (text && size > MAX_LETTERS * 4) {
            return Err(damaged(format!("its type is {}", array.header.type_name())));
        }
        let sides = array.header.shape.iter().map(|side| *side as u64);
        let want = sides.fold(size as u64, u64::saturating_mul);
        if want > if text { MAX_TEXT } else { MAX_NUMBERS } {
            return Err(array.huge());
        }
        let (packed, size) = entry.sizes();
        let got = size.saturating_sub(length as u64);
        if got != want {
            let reason = format!("{got} bytes for {want} by its header");
            return Err(damaged(reason));
        }
        if swells(packed, got) {
            let reason = format!("it swells from {packed} bytes to {got}");
            return Err(damaged(reason));
        }
        Ok(array)
    }
}

/// The names of what an archive holds, as a person says them.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("{name:?}")).take(9).collect();
    let names = names.join(", ");
    if names.is_empty() {
        "nothing".into()
    } else {
        names
    }
}

/// An array on its way out of a file.
struct Array<'a> {
    what: &'static str,
    name: &'static str,
    header: Header,
    source: Box<dyn Read + 'a>,
}

impl Array<'_> {
    /// The type's letter and its bytes an item.
    fn kind(&self) -> (char, usize) {
        self.header.kind()
    }

    fn shaped(self, shape: &[usize]) -> Result<Self, Error> {
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

    fn texts(self) -> Result<Vec<String>, Error> {
        let (what, name) = (self.what, self.name);
        let texts = match self.kind() {
            ('U', size) => self.items(|bytes, texts| {
                texts.extend(bytes.chunks_exact(size).map(|item| {
                    let letters = numbers(item, u32::from_le_bytes).map(char::from_u32);
                    let text: Option<String> = letters.collect();
                    text.map(|text| text.trim_end_matches('\0').to_string())
                }))
            }),
            ('S', size) => self.items(|bytes, texts| {
                texts.extend(bytes.chunks_exact(size).map(|item| {
                    let text = String::from_utf8(item.to_vec()).ok();
                    text.map(|text| text.trim_end_matches('\0').to_string())
                }))
            }),
            _ => Err(self.wrong_type("str", "text")),
        }?;
        let reason = "its text is neither Unicode nor UTF-8".to_string();
        let texts: Option<Vec<_>> = texts.into_iter().collect();
        texts.ok_or(Error::Array { what, name, reason })
    }

    /// All items, unpacked a part at a time, little endian; `read` appends what it makes of a part.
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
            let part = left.min(buffer.len());
            let part = &mut buffer[..part];
            let read_part = self.source.read_exact(part);
            read_part.map_err(|error| self.damaged(error))?;
            if self.header.descr.starts_with('>') {
                part.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
            read(part, &mut items);
            left -= part.len();
        }
        // At the end the archive compares its check sum.
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(items),
            Ok(_) => Err(self.damaged("it goes on after its last item")),
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

    /// `save` is the dtype to save it in, `want` the types that can be read.
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

/// What an array says of itself.
#[derive(Debug, Deserialize)]
struct Header {
    /// Byte order, letter, size: `<f4`. A list where an item is a record.
    #[serde(deserialize_with = "plain")]
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// The text of a plain type, or a record's as JSON, which no type is called.
fn plain<'de, D: serde::Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(source)?;
    Ok(value
        .as_str()
        .map_or_else(|| value.to_string(), String::from))
}

impl Header {
    /// Its length in bytes and what it says.
    fn read(source: &mut impl Read) -> Result<(usize, Header), String> {
        let mut take = |count: usize| {
            let mut bytes = vec![0; count];
            let read = source.read_exact(&mut bytes);
            read.map(|()| bytes).map_err(|error| error.to_string())
        };
        let start = take(8)?;
        let prefix = match (start.starts_with(MAGIC), start[6]) {
            (true, 1) => take(2)?,
            (true, 2 | 3) => take(4)?,
            _ => return Err("not in NumPy's format".into()),
        };
        let length = prefix
            .iter()
            .rev()
            .fold(0, |sum, byte| sum * 256 + usize::from(*byte));
        if length > MAX_HEADER {
            return Err(format!("a header of {length} bytes"));
        }
        let text = String::from_utf8_lossy(&take(length)?).into_owned();
        // A Python literal of text, bool and a tuple is JSON in other letters.
        let mut json: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        for (python, ours) in [
            ("'", "\""),
            ("True", "true"),
            ("False", "false"),
            ("(", "["),
            (")", "]"),
            (",]", "]"),
            (",}", "}"),
        ] {
            json = json.replace(python, ours);
        }
        let header = serde_json::from_str(&json);
        let header = header.map_err(|_| format!("its header is {:?}", text.trim_end()))?;
        Ok((start.len() + prefix.len() + length, header))
    }

    fn kind(&self) -> (char, usize) {
        let mut letters = self.descr.chars();
        let kind = match letters.next() {
            Some('<' | '>' | '|' | '=') => letters.next(),
            other => other,
        }
        .unwrap_or('?');
        let count: usize = letters.as_str().parse().unwrap_or(0);
        match kind {
            'U' => (kind, count.saturating_mul(4)),
            _ => (kind, count),
        }
    }

    fn type_name(&self) -> String {
        self.descr.chars().take(40).collect()
    }
}

/// A file on its way: arrays one after another, stored as they are, the same bytes every time.
pub(crate) struct Writer(ZipArchiveWriter<Vec<u8>>);

/// What `expect`s here say: a vector in memory takes whatever is written.
const TAKES: &str = "memory takes what is written";

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

    pub(crate) fn texts(&mut self, name: &str, texts: &[String]) {
        self.letters(name, &[texts.len()], texts);
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.letters(name, &[], &[text.to_string()]);
    }

    /// The file's bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish().expect(TAKES)
    }

    fn letters(&mut self, name: &str, shape: &[usize], texts: &[String]) {
        let lengths = texts.iter().map(|text| text.chars().count());
        // NumPy has no text of no letters.
        let width = lengths.max().unwrap_or(0).max(1);
        let padded = |text: &String| {
            let letters = text.chars().chain(std::iter::repeat('\0')).take(width);
            letters.map(u32::from).collect::<Vec<_>>()
        };
        let letters: Vec<u32> = texts.iter().flat_map(padded).collect();
        let descr = format!("<U{width}");
        self.array(name, &descr, shape, &letters, |letter| letter.to_le_bytes());
    }

    fn array<T: Copy, const N: usize>(
        &mut self,
        name: &str,
        descr: &str,
        shape: &[usize],
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
        let sides = match shape {
            [_] => sides.trim_end(),
            _ => sides.trim_end_matches(", "),
        };
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}");
        // The values begin at a multiple of 64, after 10 bytes and a line's end.
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
        header = format!("{header:padded$}\n");
        let length = u16::try_from(header.len()).expect("a header of a few sides");

        let file = format!("{name}.npy");
        let (mut entry, config) = self.0.new_file(file.as_str()).start().expect(TAKES);
        let mut stored = config.wrap(&mut entry);
        let mut put = |bytes: &[u8]| stored.write_all(bytes).expect(TAKES);
        put(MAGIC);
        put(&[1, 0]);
        put(&length.to_le_bytes());
        put(header.as_bytes());
        for part in values.chunks(CHUNK) {
            put(&part
                .iter()
                .flat_map(|value| bytes(*value))
                .collect::<Vec<_>>());
        }
        let (_, descriptor) = stored.finish().expect(TAKES);
        entry.finish(descriptor).expect(TAKES);
    }
}
