//! Reads Python pickles (protocols 2 to 5) of plain data, NumPy arrays and PyTorch tensors, without running code or importing anything.
//!
//! A pickle is a program for a stack machine. Calls are recorded as [`Value::Call`] and not executed. Values are stored in a flat list and
//! refer to each other by index. Memory is therefore linear in the file size, even with deep nesting or many references to one value.
//!
//! # Source
//! [pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py)

use std::{borrow::Cow, collections::HashMap};

use crate::format::safetensors::numbers;

/// Index of a value of a pickle.
pub(crate) type Index = usize;

/// Maximum number of values; a batch of CIFAR-10 has about 30,000.
const MAX_VALUES: usize = 1 << 20;
/// Maximum length of a string in bytes.
const MAX_STRING: usize = 1000;
/// Maximum total length of a list of strings in bytes. One string can occur a million times.
const MAX_STRINGS: usize = 16 << 20;

/// A value of a pickle.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    None,
    Integer(i64),
    /// `bytes`, or `str` of Python 2.
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Index>),
    Tuple(Vec<Index>),
    Dict(Vec<(Index, Index)>),
    /// A class or function by its module and name.
    Global(&'a str, &'a str),
    /// A reference to an object outside of the pickle (`persistent_load`), with its id.
    Persistent(Index),
    /// A call of a class or function by module and name, and the state for `__setstate__`.
    Call {
        callee: (&'a str, &'a str),
        arguments: Index,
        state: Option<Index>,
    },
}

/// A parsed pickle.
pub(crate) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Index,
}

impl<'a> Pickle<'a> {
    /// Reads the first pickle in `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Pickle<'a>, String> {
        Ok(Pickle::read_first(bytes)?.0)
    }

    /// Reads the first pickle in `bytes`; returns the remaining bytes with it.
    pub(crate) fn read_first(bytes: &'a [u8]) -> Result<(Pickle<'a>, &'a [u8]), String> {
        let mut reader = Reader {
            left: bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = reader.run().map_err(|reason| {
            let offset = bytes.len() - reader.left.len();
            format!("{reason} at byte {offset} of {}", bytes.len())
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

    /// Returns all values in the order of their creation.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.values.iter()
    }

    pub(crate) fn get(&self, index: Index) -> &Value<'a> {
        &self.values[index]
    }

    /// Looks up a key in the root dictionary; keys may be `str` or `bytes`.
    pub(crate) fn field(&self, key: &str) -> Option<&Value<'a>> {
        self.field_of(self.root(), key)
    }

    /// Looks up a key in a dictionary.
    pub(crate) fn field_of(&self, dictionary: &Value<'a>, key: &str) -> Option<&Value<'a>> {
        let Value::Dict(pairs) = dictionary else {
            return None;
        };
        // The last of equal keys wins, as in Python.
        let mut pairs = pairs.iter().rev();
        let found = pairs.find(|(k, _)| self.string(*k).as_deref() == Some(key));
        found.map(|(_, value)| self.get(*value))
    }

    /// Returns a list of strings within the size limits.
    pub(crate) fn strings(&self, value: &Value<'a>) -> Option<Vec<String>> {
        match value {
            Value::List(items) | Value::Tuple(items) => {
                let mut left = MAX_STRINGS;
                let strings = items.iter().map(|item| {
                    let string = self.string(*item)?;
                    left = left.checked_sub(1 + string.len())?;
                    Some(string)
                });
                strings.collect()
            }
            _ => None,
        }
    }

    /// Returns a list or NumPy array of integers.
    pub(crate) fn integers(&self, value: &Value<'a>) -> Option<Vec<i64>> {
        if let Value::List(items) | Value::Tuple(items) = value {
            let integer = |item: &Index| match self.get(*item) {
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

    /// Returns a string of at most [`MAX_STRING`] bytes; `bytes` are decoded as UTF-8.
    pub(crate) fn string(&self, index: Index) -> Option<String> {
        match self.get(index) {
            Value::Text(text) if text.len() <= MAX_STRING => Some((*text).into()),
            Value::Text(_) => None,
            _ => {
                let bytes = self.bytes(index, MAX_STRING)?;
                String::from_utf8(bytes.into()).ok()
            }
        }
    }

    /// Returns at most `max` bytes. Python 3 writes `bytes` as `_codecs.encode(text, "latin1")` in protocol 2.
    fn bytes(&self, index: Index, max: usize) -> Option<Cow<'a, [u8]>> {
        match self.get(index) {
            Value::Bytes(bytes) if bytes.len() <= max => Some(Cow::Borrowed(bytes)),
            Value::Call {
                callee: ("_codecs", "encode"),
                arguments,
                ..
            } => match self.get(*self.items(*arguments)?.first()?) {
                Value::Text(text) if text.len() / 2 <= max => {
                    let bytes = text.chars().map(u8::try_from);
                    Some(Cow::Owned(bytes.collect::<Result<_, _>>().ok()?))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns a NumPy array: its dtype without byte order (such as `u1`), its shape, and its bytes, row-major and little-endian.
    pub(crate) fn array(&self, value: &Value<'a>) -> Option<(String, Vec<usize>, Cow<'a, [u8]>)> {
        let Value::Call {
            callee,
            arguments,
            state,
        } = value
        else {
            return None;
        };
        // NumPy 2 renamed `core` to `_core`.
        let callee = (callee.0.replace("_core", "core"), callee.1);
        let (dtype, shape, row_major, data) = match (callee.0.as_str(), callee.1) {
            // Protocols up to 4: `_reconstruct(...)` and the state (version, shape, dtype, column-major, bytes).
            ("numpy.core.multiarray", "_reconstruct") => match self.items((*state)?)? {
                [_, shape, dtype, column_major, data] => {
                    let row_major = matches!(self.get(*column_major), Value::Integer(0));
                    (*dtype, *shape, row_major, *data)
                }
                _ => return None,
            },
            // Protocol 5: `_frombuffer(bytes, dtype, shape, order)`.
            ("numpy.core.numeric", "_frombuffer") => match self.items(*arguments)? {
                [data, dtype, shape, order] => (*dtype, *shape, self.string(*order)? == "C", *data),
                _ => return None,
            },
            _ => return None,
        };
        let dims = self.items(shape)?.iter().map(|dim| self.get(*dim));
        let dims: Option<Vec<_>> = dims
            .map(|dim| match dim {
                Value::Integer(dim) => usize::try_from(*dim).ok(),
                _ => None,
            })
            .collect();
        let dims = dims?;
        if !row_major && dims.len() > 1 {
            return None;
        }
        Some((self.dtype(dtype)?, dims, self.bytes(data, usize::MAX)?))
    }

    /// Reads `dtype("u1", False, True)` with the state (version, byte order, ...). Big-endian types are not supported.
    fn dtype(&self, index: Index) -> Option<String> {
        let Value::Call {
            callee: ("numpy", "dtype"),
            arguments,
            state,
        } = self.get(index)
        else {
            return None;
        };
        let order = self.items((*state)?)?.get(1)?;
        if self.string(*order)? == ">" {
            return None;
        }
        self.string(*self.items(*arguments)?.first()?)
    }

    /// Returns the indices of the items of a list or tuple.
    pub(crate) fn items(&self, index: Index) -> Option<&[Index]> {
        match self.get(index) {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }
}

/// The stack machine.
struct Reader<'a> {
    left: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Index>,
    /// Stack height at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Index>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Index, String> {
        loop {
            let sizes = [self.values.len(), self.stack.len(), self.marks.len()];
            if sizes
                .into_iter()
                .chain([self.memo.len()])
                .any(|size| size > MAX_VALUES)
            {
                return Err("too many values".into());
            }
            match self.take(1)?[0] {
                b'\x80' => {
                    let protocol = self.take(1)?[0];
                    if !(2..=5).contains(&protocol) {
                        return Err(format!("got protocol {protocol}, expected 2 to 5,"));
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
                        return Err("a global name is not a string".into());
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
                        return Err("a call without a function".into());
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
                        // The attributes of an OrderedDict are ignored.
                        Value::Dict(_) => {}
                        _ => return Err("a state for a value without state".into()),
                    }
                }
                other => return Err(format!("unsupported opcode {other:#04x}")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let Some((taken, left)) = self.left.split_at_checked(count) else {
            return Err("unexpected end".into());
        };
        self.left = left;
        Ok(taken)
    }

    /// Reads an unsigned little-endian integer of `size` bytes.
    fn number(&mut self, size: usize) -> Result<u64, String> {
        let bytes = self.take(size)?.iter().rev();
        Ok(bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Reads bytes preceded by their count, an integer of `size` bytes.
    fn counted(&mut self, size: usize) -> Result<&'a [u8], String> {
        let count = self.number(size)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.left.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.unwrap_or(usize::MAX))?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a global name is not UTF-8".into())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Returns the number of values above the last mark; only these may be popped.
    fn above_mark(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Index, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Index, String> {
        match self.stack.last() {
            Some(top) if self.above_mark() > 0 => Ok(*top),
            _ => Err("missing value".into()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Index>, String> {
        let mark = self.marks.pop().ok_or("missing mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn memoize(&mut self, size: usize) -> Result<(), String> {
        let (key, top) = (self.number(size)?, self.top()?);
        self.memo.insert(key as u32, top);
        Ok(())
    }

    fn recall(&mut self, size: usize) -> Result<(), String> {
        let key = self.number(size)?;
        let index = self.memo.get(&(key as u32));
        self.stack.push(*index.ok_or("missing value")?);
        Ok(())
    }

    fn unsigned(&mut self, size: usize) -> Result<(), String> {
        let value = self.number(size)?;
        self.push(Value::Integer(value as i64));
        Ok(())
    }

    fn signed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > 8 {
            return Err("an integer of more than 64 bits".into());
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut extended = [if negative { 0xff } else { 0 }; 8];
        extended[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Integer(i64::from_le_bytes(extended)));
        Ok(())
    }

    fn bytes(&mut self, size: usize) -> Result<(), String> {
        let bytes = self.counted(size)?;
        self.push(Value::Bytes(bytes));
        Ok(())
    }

    fn text(&mut self, size: usize) -> Result<(), String> {
        let bytes = self.counted(size)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a string is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        if self.above_mark() < count {
            return Err("missing value".into());
        }
        let items = self.stack.split_off(self.stack.len() - count);
        self.push(Value::Tuple(items));
        Ok(())
    }

    /// Appends items to the list on top of the stack, or key-value pairs to the dictionary.
    fn extend(&mut self, items: Vec<Index>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            Value::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err("items for a value that is not a list or dictionary".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_and_repeated_references_are_read_in_linear_memory() {
        // 100,000 nested tuples.
        let deep = [&[0x80, 2, b')'][..], &[0x85; 100_000], b"."].concat();
        assert!(matches!(
            Pickle::read(&deep).expect("plain data").root(),
            Value::Tuple(items) if items.len() == 1
        ));
        // Each list has 100 references to the previous one; copies would have 100^40 items.
        let mut wide = b"\x80\x02]q\x00".to_vec();
        for i in 0..40 {
            wide.extend([b']', b'q', i + 1, b'(']);
            wide.extend([b'h', i].repeat(100));
            wide.push(b'e');
        }
        wide.push(b'.');
        assert!(Pickle::read(&wide).is_ok());
        let many = [&[0x80, 2][..], &[b'N'; MAX_VALUES + 2], b"."].concat();
        let error = Pickle::read(&many).err().expect("too many");
        assert!(error.starts_with("too many values at byte "), "{error}");
    }

    #[test]
    fn calls_are_recorded_and_not_executed() {
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
    fn integers_keep_their_sign() {
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
                panic!("{code:?} is not an integer");
            };
            assert_eq!(*got, want);
        }
    }

    #[test]
    fn errors_name_the_byte_offset() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "unexpected end at byte 0 of 0"),
            (b"\x80\x02.", "missing value at byte 3 of 3"),
            (b"\x80\x02(e.", "missing value at byte 4 of 5"),
            (
                b"\x80\x02X\xff\xff\xff\xffa",
                "unexpected end at byte 7 of 8",
            ),
            (b"\x80\x02h\x07.", "missing value at byte 4 of 5"),
            (b"\x80\x02i.", "unsupported opcode 0x69 at byte 3 of 4"),
        ];
        for (bytes, want) in cases {
            assert_eq!(Pickle::read(bytes).err().as_deref(), Some(want));
        }
    }
}
