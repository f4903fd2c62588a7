//! Python's pickles, as far as plain data, NumPy's arrays and PyTorch's tensors need them: protocols 2 to 5, nothing is run, nothing is
//! looked up.
//!
//! See [pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py). A pickle is a program for a stack. What it would
//! call stays a [`Value::Call`] with its arguments. Values lie side by side and name each other by their place, so that neither deep
//! nesting nor a value that is used a million times costs more than the bytes that say so.

use std::{borrow::Cow, collections::HashMap};

use crate::format::safetensors::numbers;

/// A value's place among all.
pub(crate) type Place = usize;

/// More values than any file that is meant here has; a batch of CIFAR-10 has some 30,000.
const MOST: usize = 1 << 20;
/// The longest text that anything here is called.
const LONGEST: usize = 1000;
/// The most letters of a list of texts: one text may stand in it a million times.
const LETTERS: usize = 16 << 20;

/// What a pickle is made of.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    None,
    Integer(i64),
    /// Bytes, or a Python 2 text, which is bytes too.
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Place>),
    Tuple(Vec<Place>),
    Dict(Vec<(Place, Place)>),
    /// A class or function by its module and name.
    Global(&'a str, &'a str),
    /// Something that lies outside of the pickle, by what the pickle calls it.
    Persistent(Place),
    /// What a class or function would make of its arguments, and the state it would then be given.
    Call {
        callee: (&'a str, &'a str),
        arguments: Place,
        state: Option<Place>,
    },
}

/// A pickle whose every value was read.
pub(crate) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Place,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        Ok(Pickle::read_first(bytes)?.0)
    }

    /// Reads the first pickle in `bytes`, and tells what comes after it.
    pub(crate) fn read_first(bytes: &'a [u8]) -> Result<(Pickle<'a>, &'a [u8]), String> {
        let mut reader = Reader {
            left: bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = reader.run().map_err(|reason| {
            let place = bytes.len() - reader.left.len();
            format!("{reason} at byte {place} of {}", bytes.len())
        })?;
        let pickle = Pickle {
            values: reader.values,
            root,
        };
        Ok((pickle, reader.left))
    }

    pub(crate) fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    /// All values, in the order in which they were made.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.values.iter()
    }

    pub(crate) fn get(&self, place: Place) -> &Value<'a> {
        &self.values[place]
    }

    /// A value of the dictionary that the pickle is; the key may be text or bytes.
    pub(crate) fn field(&self, key: &str) -> Option<&Value<'a>> {
        self.field_of(self.root(), key)
    }

    /// A value of a dictionary.
    pub(crate) fn field_of(&self, dictionary: &Value<'a>, key: &str) -> Option<&Value<'a>> {
        let Value::Dict(pairs) = dictionary else {
            return None;
        };
        // Python keeps the last of equal keys.
        let mut pairs = pairs.iter().rev();
        let found = pairs.find(|(k, _)| self.text(*k).as_deref() == Some(key));
        found.map(|(_, value)| self.get(*value))
    }

    /// A list of short texts.
    pub(crate) fn texts(&self, value: &Value<'a>) -> Option<Vec<String>> {
        match value {
            Value::List(items) | Value::Tuple(items) => {
                let mut left = LETTERS;
                let texts = items.iter().map(|item| {
                    let text = self.text(*item)?;
                    left = left.checked_sub(1 + text.len())?;
                    Some(text)
                });
                texts.collect()
            }
            _ => None,
        }
    }

    /// A list or an array of integers.
    pub(crate) fn integers(&self, value: &Value<'a>) -> Option<Vec<i64>> {
        if let Value::List(items) | Value::Tuple(items) = value {
            let integer = |item: &Place| match self.get(*item) {
                Value::Integer(value) => Some(*value),
                _ => None,
            };
            return items.iter().map(integer).collect();
        }
        let (dtype, shape, bytes) = self.array(value)?;
        let values: Vec<i64> = match dtype.as_str() {
            "u1" => bytes.iter().map(|byte| i64::from(*byte)).collect(),
            "i4" => numbers(&bytes, |b| i64::from(i32::from_le_bytes(b))).collect(),
            "i8" => numbers(&bytes, i64::from_le_bytes).collect(),
            _ => return None,
        };
        (shape == [values.len()]).then_some(values)
    }

    /// A short text, also one kept as bytes.
    pub(crate) fn text(&self, place: Place) -> Option<String> {
        match self.get(place) {
            Value::Text(text) if text.len() <= LONGEST => Some((*text).into()),
            Value::Text(_) => None,
            _ => {
                let bytes = self.bytes(place, LONGEST)?;
                String::from_utf8(bytes.into()).ok()
            }
        }
    }

    /// Bytes, at most so many; also those that Python 3 writes as `_codecs.encode(text, "latin1")` in protocol 2.
    fn bytes(&self, place: Place, most: usize) -> Option<Cow<'a, [u8]>> {
        match self.get(place) {
            Value::Bytes(bytes) if bytes.len() <= most => Some(Cow::Borrowed(bytes)),
            Value::Call {
                callee: ("_codecs", "encode"),
                arguments,
                ..
            } => match self.get(*self.items(*arguments)?.first()?) {
                Value::Text(text) if text.len() / 2 <= most => {
                    let bytes = text.chars().map(u8::try_from);
                    Some(Cow::Owned(bytes.collect::<Result<_, _>>().ok()?))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// An array's element type without its byte order (such as `u1`), its shape, and its bytes row by row, little endian.
    pub(crate) fn array(&self, value: &Value<'a>) -> Option<(String, Vec<usize>, Cow<'a, [u8]>)> {
        let Value::Call {
            callee,
            arguments,
            state,
        } = value
        else {
            return None;
        };
        // NumPy 2 put an underscore before `core`.
        let callee = (callee.0.replace("_core", "core"), callee.1);
        let (dtype, shape, by_rows, data) = match (callee.0.as_str(), callee.1) {
            // Protocols up to 4: `_reconstruct(...)`, then the state (version, shape, dtype, whether by columns, bytes).
            ("numpy.core.multiarray", "_reconstruct") => match self.items((*state)?)? {
                [_, shape, dtype, by_columns, data] => {
                    let by_rows = matches!(self.get(*by_columns), Value::Integer(0));
                    (*dtype, *shape, by_rows, *data)
                }
                _ => return None,
            },
            // Protocol 5: `_frombuffer(bytes, dtype, shape, order)`.
            ("numpy.core.numeric", "_frombuffer") => match self.items(*arguments)? {
                [data, dtype, shape, order] => (*dtype, *shape, self.text(*order)? == "C", *data),
                _ => return None,
            },
            _ => return None,
        };
        let sides = self.items(shape)?.iter().map(|side| self.get(*side));
        let sides: Option<Vec<_>> = sides
            .map(|side| match side {
                Value::Integer(side) => usize::try_from(*side).ok(),
                _ => None,
            })
            .collect();
        let sides = sides?;
        if !by_rows && sides.len() > 1 {
            return None;
        }
        Some((self.dtype(dtype)?, sides, self.bytes(data, usize::MAX)?))
    }

    /// `dtype("u1", False, True)`, then the state (version, byte order, ...).
    fn dtype(&self, place: Place) -> Option<String> {
        let Value::Call {
            callee: ("numpy", "dtype"),
            arguments,
            state,
        } = self.get(place)
        else {
            return None;
        };
        let order = self.items((*state)?)?.get(1)?;
        if self.text(*order)? == ">" {
            return None;
        }
        self.text(*self.items(*arguments)?.first()?)
    }

    /// A list's or tuple's places.
    pub(crate) fn items(&self, place: Place) -> Option<&[Place]> {
        match self.get(place) {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

/// The machine that a pickle is a program for.
struct Reader<'a> {
    left: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Place>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Place>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Place, String> {
        loop {
            let sizes = [self.values.len(), self.stack.len(), self.marks.len()];
            if sizes
                .into_iter()
                .chain([self.memo.len()])
                .any(|size| size > MOST)
            {
                return Err("too many values".into());
            }
            match self.take(1)?[0] {
                b'\x80' => {
                    let protocol = self.take(1)?[0];
                    if !(2..=5).contains(&protocol) {
                        return Err(format!("protocol {protocol}, expected 2 to 5,"));
                    }
                }
                b'\x95' => _ = self.take(8)?,
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,

                b'q' => self.memoize(1)?,
                b'r' => self.memoize(4)?,
                b'\x94' => {
                    let top = self.top()?;
                    self.memo.insert(self.memo.len() as u32, top);
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,

                b'N' => self.push(Value::None),
                b'\x89' => self.push(Value::Integer(0)),
                b'\x88' => self.push(Value::Integer(1)),
                b'K' => self.unsigned(1)?,
                b'M' => self.unsigned(2)?,
                b'J' => {
                    let bytes = self.take(4)?;
                    self.signed(bytes)?;
                }
                b'\x8a' => {
                    let bytes = self.counted(1)?;
                    self.signed(bytes)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::None);
                }

                b'C' | b'U' => self.bytes(1)?,
                b'B' | b'T' => self.bytes(4)?,
                b'\x8e' | b'\x96' => self.bytes(8)?,
                b'\x8c' => self.text(1)?,
                b'X' => self.text(4)?,
                b'\x8d' => self.text(8)?,

                b')' => self.push(Value::Tuple(Vec::new())),
                b'\x85' => self.tuple(1)?,
                b'\x86' => self.tuple(2)?,
                b'\x87' => self.tuple(3)?,
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Value::Tuple(items));
                }
                b']' => self.push(Value::List(Vec::new())),
                b'a' => {
                    let item = self.pop()?;
                    self.extend(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.extend(items)?;
                }
                b'}' => self.push(Value::Dict(Vec::new())),
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.extend(vec![key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.extend(items)?;
                }

                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(module, name));
                }
                b'\x93' => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) =
                        (&self.values[module], &self.values[name])
                    else {
                        return Err("a name that is not text".into());
                    };
                    let (module, name) = (*module, *name);
                    self.push(Value::Global(module, name));
                }
                b'Q' => {
                    let name = self.pop()?;
                    self.push(Value::Persistent(name));
                }
                b'R' => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    let Value::Global(module, name) = self.values[callee] else {
                        return Err("a call of nothing".into());
                    };
                    self.push(match (module, name) {
                        ("collections", "OrderedDict") => Value::Dict(Vec::new()),
                        callee => Value::Call {
                            callee,
                            arguments,
                            state: None,
                        },
                    });
                }
                b'b' => {
                    let given = self.pop()?;
                    let top = self.top()?;
                    match &mut self.values[top] {
                        Value::Call { state, .. } => *state = Some(given),
                        // An ordered dictionary's attributes.
                        Value::Dict(_) => {}
                        _ => return Err("a state for plain data".into()),
                    }
                }
                other => return Err(format!("opcode {other:#04x}, which no plain data has,")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((taken, left)) = self.left.split_at_checked(count) else {
            return Err("it ends too early".into());
        };
        self.left = left;
        Ok(taken)
    }

    /// A number of so many bytes, little endian.
    fn number(&mut self, size: usize) -> Result<u64, String> {
        let bytes = self.take(size)?.iter().rev();
        Ok(bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Bytes after their count.
    fn counted(&mut self, size: usize) -> Result<&'a [u8], String> {
        let count = self.number(size)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.left.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.unwrap_or(usize::MAX))?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a name that is not text".into())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// What lies above the last mark, down to which `count` may be taken.
    fn above_mark(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Place, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Place, String> {
        match self.stack.last() {
            Some(top) if self.above_mark() > 0 => Ok(*top),
            _ => Err("a value is missing".into()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Place>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, size: usize) -> Result<(), String> {
        let (key, top) = (self.number(size)?, self.top()?);
        self.memo.insert(key as u32, top);
        Ok(())
    }

    fn recall(&mut self, size: usize) -> Result<(), String> {
        let key = self.number(size)?;
        let place = self.memo.get(&(key as u32));
        self.stack.push(*place.ok_or("a value is missing")?);
        Ok(())
    }

    fn unsigned(&mut self, size: usize) -> Result<(), String> {
        let value = self.number(size)?;
        self.push(Value::Integer(value as i64));
        Ok(())
    }

    fn signed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > 8 {
            return Err("a number beyond 64 bits".into());
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Integer(i64::from_le_bytes(whole)));
        Ok(())
    }

    fn bytes(&mut self, size: usize) -> Result<(), String> {
        let bytes = self.counted(size)?;
        self.push(Value::Bytes(bytes));
        Ok(())
    }

    fn text(&mut self, size: usize) -> Result<(), String> {
        let bytes = self.counted(size)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        if self.above_mark() < count {
            return Err("a value is missing".into());
        }
        let items = self.stack.split_off(self.stack.len() - count);
        self.push(Value::Tuple(items));
        Ok(())
    }

    /// Adds items to the list, or keys and values to the dictionary, on top of the stack.
    fn extend(&mut self, items: Vec<Place>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            Value::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err("items for what holds none".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_and_repetition_cost_no_more_than_their_bytes() {
        // A tuple in a tuple, a hundred thousand deep.
        let deep = [&[0x80, 2, b')'][..], &[0x85; 100_000], b"."].concat();
        assert!(matches!(
            Pickle::read(&deep).expect("plain data").root(),
            Value::Tuple(items) if items.len() == 1
        ));
        // Each list holds the one before a hundred times: 100 to the 40th, if they were copied.
        let mut wide = b"\x80\x02]q\x00".to_vec();
        for i in 0..40 {
            wide.extend([b']', b'q', i + 1, b'(']);
            wide.extend([b'h', i].repeat(100));
            wide.push(b'e');
        }
        wide.push(b'.');
        assert!(Pickle::read(&wide).is_ok());
        let many = [&[0x80, 2][..], &[b'N'; MOST + 2], b"."].concat();
        let error = Pickle::read(&many).err().expect("too many");
        assert!(error.starts_with("too many values at byte "), "{error}");
    }

    #[test]
    fn what_a_pickle_would_call_is_kept_and_not_called() {
        let bytes = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let pickle = Pickle::read(bytes).expect("a pickle");
        assert!(matches!(
            pickle.root(),
            Value::Call {
                callee: ("os", "system"),
                ..
            }
        ));
    }

    #[test]
    fn numbers_are_read_with_their_sign() {
        let cases: [(&[u8], i64); 5] = [
            (b"K\xff", 255),
            (b"M\x00\x01", 256),
            (b"J\xff\xff\xff\xff", -1),
            (b"\x8a\x00", 0),
            (b"\x8a\x02\x00\x80", -32768),
        ];
        for (code, want) in cases {
            let bytes = [b"\x80\x02", code, b"."].concat();
            let pickle = Pickle::read(&bytes).expect("a number");
            let Value::Integer(got) = pickle.root() else {
                panic!("{code:?} is no integer");
            };
            assert_eq!(*got, want);
        }
    }

    #[test]
    fn a_broken_program_is_refused_with_its_place() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "it ends too early at byte 0 of 0"),
            (b"\x80\x02.", "a value is missing at byte 3 of 3"),
            (b"\x80\x02(e.", "a value is missing at byte 4 of 5"),
            (
                b"\x80\x02X\xff\xff\xff\xffa",
                "it ends too early at byte 7 of 8",
            ),
            (b"\x80\x02h\x07.", "a value is missing at byte 4 of 5"),
            (
                b"\x80\x02i.",
                "opcode 0x69, which no plain data has, at byte 3 of 4",
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(Pickle::read(bytes).err().as_deref(), Some(want));
        }
    }
}
