//! What the three kinds of files here (weights, heads, latents) have in common: a safetensors file with text metadata.
//!
//! See [safetensors](https://github.com/huggingface/safetensors). What the tensors mean is the matter of each kind's own file.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt::Display,
    mem,
};

use half::f16;
use safetensors::{
    SafeTensorError, View,
    tensor::{Metadata, TensorInfo},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::Error,
    format::quantized::{KernelData, QuantizedU8},
};

/// How long a header may be where the file is at hand: those of tables name each picture, here half a million.
pub(crate) const LONGEST_HEADER: u64 = 16 << 20;
/// A base has some 600 tensors, each with a brace in the header; names may have braces too.
const MOST_BRACES: usize = 100_000;
/// Why a header is not read.
pub(crate) const TOO_MANY: &str = "header lists too many tensors";

/// A file's metadata and tensors; while it arrives, those that are here.
pub(crate) struct Container<'a> {
    what: &'static str,
    command: &'static str,
    /// By name.
    tensors: Vec<Tensor<'a>>,
    metadata: HashMap<String, String>,
}

/// A tensor as the header lists it, with its bytes if they are here.
pub(crate) struct Tensor<'a> {
    name: String,
    info: TensorInfo,
    bytes: Option<Cow<'a, [u8]>>,
}

impl Tensor<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What comes before the first dot of its name.
    pub(crate) fn layer(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    pub(crate) fn dtype(&self) -> safetensors::Dtype {
        self.info.dtype
    }

    pub(crate) fn is_here(&self) -> bool {
        self.bytes.is_some()
    }

    /// # Panics
    /// If they are not here: who reads while a file arrives waits for what he reads.
    pub(crate) fn data(&self) -> &[u8] {
        let bytes = self.bytes.as_deref();
        bytes.unwrap_or_else(|| panic!("{} is not here", self.name))
    }
}

/// A file on its way, its bytes in pieces of any size.
pub(crate) struct ContainerStream<'a> {
    what: &'static str,
    command: &'static str,
    longest_header: u64,
    /// Bytes so far.
    taken: usize,
    /// Those of them that belong to the header, or to the tensor, that is not whole.
    part: Vec<u8>,
    container: Option<Container<'a>>,
    /// Where the first tensor begins.
    begin: usize,
    /// Places of the tensors among their names, in the order of their data.
    order: Vec<usize>,
    /// How many of these are whole.
    whole: usize,
}

impl<'a> ContainerStream<'a> {
    pub(crate) fn new(
        what: &'static str,
        command: &'static str,
        longest_header: u64,
    ) -> ContainerStream<'a> {
        ContainerStream {
            what,
            command,
            longest_header,
            taken: 0,
            part: Vec::new(),
            container: None,
            begin: 0,
            order: Vec::new(),
            whole: 0,
        }
    }

    /// Takes the next bytes. Borrowed ones are copied only where a tensor lies in more than one piece.
    ///
    /// # Errors
    /// No header, a header that is too long, tensors that overlap, leave gaps or have not their shapes' lengths, more bytes than theirs.
    pub(crate) fn take(&mut self, bytes: Cow<'a, [u8]>) -> Result<(), Error> {
        self.taken += bytes.len();
        let mut at = 0;
        if self.container.is_none() {
            match self.header(&bytes)? {
                Some(begin) => at = begin,
                None => return Ok(()),
            }
        }
        let container = self.container.as_mut().expect("the header is here");
        while let Some(tensor) = self.order.get(self.whole) {
            let tensor = &mut container.tensors[*tensor];
            let (from, to) = tensor.info.data_offsets;
            let missing = to - from - self.part.len();
            let piece = at..bytes.len().min(at + missing);
            at = piece.end;
            tensor.bytes = Some(match &bytes {
                _ if piece.len() < missing => {
                    self.part.extend_from_slice(&bytes[piece]);
                    return Ok(());
                }
                Cow::Borrowed(bytes) if self.part.is_empty() => Cow::Borrowed(&bytes[piece]),
                _ => {
                    self.part.extend_from_slice(&bytes[piece]);
                    Cow::Owned(mem::take(&mut self.part))
                }
            });
            self.whole += 1;
        }
        match bytes.len() - at {
            0 => Ok(()),
            _ => Err(self.broken(SafeTensorError::MetadataIncompleteBuffer)),
        }
    }

    /// Reads the header if these bytes are its last; says how many of them it took.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut took = 0;
        let mut grown = |part: &mut Vec<u8>, length: usize| {
            let piece = &bytes[took..][..(length - part.len()).min(bytes.len() - took)];
            part.extend_from_slice(piece);
            took += piece.len();
            part.len() == length
        };
        if self.part.len() < 8 && !grown(&mut self.part, 8) {
            return Ok(None);
        }
        let length = *self.part.first_chunk().expect("8 bytes are here");
        let length = u64::from_le_bytes(length);
        if length > self.longest_header {
            return Err(self.broken(SafeTensorError::HeaderTooLarge));
        }
        self.begin = 8 + length as usize;
        if !grown(&mut self.part, self.begin) {
            return Ok(None);
        }
        let header = mem::take(&mut self.part);
        if lists_too_many(&header) {
            return Err(self.broken(TOO_MANY));
        }
        let header: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| {
            match error.is_data() {
                // JSON, but of no such tensors.
                true => self.broken(error),
                false => self.broken(SafeTensorError::InvalidHeaderDeserialization(error)),
            }
        })?;
        let mut names: Vec<_> = header.offset_keys().into_iter().enumerate().collect();
        names.sort_by(|(_, a), (_, b)| a.cmp(b));
        self.order = vec![0; names.len()];
        for (place, (position, _)) in names.iter().enumerate() {
            self.order[*position] = place;
        }
        let tensors = names.into_iter().map(|(_, name)| Tensor {
            info: header.info(&name).expect("a name out of it").clone(),
            name,
            bytes: None,
        });
        self.container = Some(Container {
            what: self.what,
            command: self.command,
            tensors: tensors.collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        });
        Ok(Some(took))
    }

    /// What is here, once the header is.
    pub(crate) fn container(&self) -> Option<&Container<'a>> {
        self.container.as_ref()
    }

    /// Lets the bytes of a tensor go, by its place among the names.
    pub(crate) fn let_go(&mut self, place: usize) {
        if let Some(container) = &mut self.container {
            container.tensors[place].bytes = None;
        }
    }

    /// Bytes of tensors that are kept.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        let tensors = self
            .container
            .iter()
            .flat_map(|container| &container.tensors);
        let bytes = tensors.filter_map(|tensor| tensor.bytes.as_ref());
        self.part.len() + bytes.map(|bytes| bytes.len()).sum::<usize>()
    }

    /// The length of the whole file, once the header is here.
    pub(crate) fn length(&self) -> Option<usize> {
        let tensors = &self.container.as_ref()?.tensors;
        let last = self.order.last().map(|place| &tensors[*place]);
        Some(self.begin + last.map_or(0, |last| last.info.data_offsets.1))
    }

    /// The container, when all bytes came.
    ///
    /// # Errors
    /// A file that ends early.
    pub(crate) fn finish(self) -> Result<Container<'a>, Error> {
        let reason = match &self.container {
            Some(_) => SafeTensorError::MetadataIncompleteBuffer,
            None if self.taken < 8 => SafeTensorError::HeaderTooSmall,
            None => SafeTensorError::InvalidHeaderLength,
        };
        let early = self.broken(reason);
        self.container
            .filter(|_| self.whole == self.order.len())
            .ok_or(early)
    }

    fn broken(&self, reason: impl Display) -> Error {
        Error::Container {
            what: self.what,
            reason: reason.to_string(),
            bytes: self.taken,
        }
    }
}

impl<'a> Container<'a> {
    /// Reads the header and checks that the tensors it lists fill the bytes exactly.
    pub(crate) fn open(
        what: &'static str,
        command: &'static str,
        bytes: &'a [u8],
    ) -> Result<Container<'a>, Error> {
        let mut arrival = ContainerStream::new(what, command, LONGEST_HEADER);
        arrival.take(Cow::Borrowed(bytes))?;
        arrival.finish()
    }

    pub(crate) fn text(&self, key: &'static str) -> Result<&str, Error> {
        let missing = Error::MissingMetadata {
            what: self.what,
            key,
            command: self.command,
        };
        self.metadata.get(key).map(String::as_str).ok_or(missing)
    }

    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        key: &'static str,
        want: &'static str,
    ) -> Result<T, Error> {
        let text = self.text(key)?;
        serde_json::from_str(text).map_err(|_| Error::Metadata {
            what: self.what,
            key,
            got: text.chars().take(60).collect(),
            want,
        })
    }

    /// A tensor of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor<'a>, Error> {
        let tensor = self.any(name)?;
        if tensor.shape() != shape {
            let (want, got) = (shape.to_vec(), tensor.shape().to_vec());
            return Err(Error::Shape {
                what: self.what,
                name: name.into(),
                want,
                got,
            });
        }
        Ok(tensor)
    }

    /// A tensor of any shape.
    pub(crate) fn any(&self, name: &str) -> Result<&Tensor<'a>, Error> {
        let missing = || Error::MissingTensor {
            what: self.what,
            name: name.into(),
        };
        let place = self
            .tensors
            .binary_search_by(|tensor| tensor.name().cmp(name));
        place
            .map(|place| &self.tensors[place])
            .map_err(|_| missing())
    }

    /// The numbers of an f32, f16 or f64 tensor, all of them finite; f64 is narrowed.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name, shape)?;
        let values: Vec<f32> = match tensor.dtype() {
            safetensors::Dtype::F32 => numbers(tensor.data(), f32::from_le_bytes).collect(),
            safetensors::Dtype::F16 => {
                numbers(tensor.data(), |b| f16::from_le_bytes(b).to_f32()).collect()
            }
            safetensors::Dtype::F64 => {
                numbers(tensor.data(), |b| f64::from_le_bytes(b) as f32).collect()
            }
            _ => return Err(self.dtype(name, "f32, f16 or f64", tensor.dtype())),
        };
        self.finite(name, values.iter().copied())?;
        Ok(values)
    }

    fn finite(&self, name: &str, mut values: impl Iterator<Item = f32>) -> Result<(), Error> {
        match values.position(|value| !value.is_finite()) {
            Some(index) => Err(Error::NotFinite {
                what: self.what,
                name: name.into(),
                index,
            }),
            None => Ok(()),
        }
    }

    /// The numbers of a tensor of floats, or of a u8 one with `NAME.scale` and `NAME.min`.
    ///
    /// Scale and minimum stand for one index of `axis`: for the output channel of a kernel, for the column of a table.
    pub(crate) fn affine(
        &self,
        name: &str,
        shape: &[usize],
        axis: usize,
    ) -> Result<KernelData, Error> {
        let tensor = self.tensor(name, shape)?;
        if tensor.dtype() != safetensors::Dtype::U8 {
            return Ok(KernelData::Floats(self.floats(name, shape)?));
        }
        let levels = QuantizedU8 {
            levels: tensor.data().to_vec(),
            scale: self.floats(&format!("{name}.scale"), &shape[axis..=axis])?,
            min: self.floats(&format!("{name}.min"), &shape[axis..=axis])?,
            inner: shape[axis + 1..].iter().product(),
        };
        self.finite(name, levels.values())?;
        Ok(KernelData::QuantizedU8(levels))
    }

    /// The same as floats.
    pub(crate) fn affine_floats(
        &self,
        name: &str,
        shape: &[usize],
        axis: usize,
    ) -> Result<Vec<f32>, Error> {
        Ok(self.affine(name, shape, axis)?.floats().into_owned())
    }

    /// The numbers of a tensor of any integer type; those above i64 become its largest.
    pub(crate) fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i64>, Error> {
        let tensor = self.tensor(name, shape)?;
        let data = tensor.data();
        Ok(match tensor.dtype() {
            safetensors::Dtype::I8 => numbers(data, |b| i8::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::I16 => numbers(data, |b| i16::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::I32 => numbers(data, |b| i32::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::I64 => numbers(data, i64::from_le_bytes).collect(),
            safetensors::Dtype::U8 => numbers(data, |b| u8::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::U16 => numbers(data, |b| u16::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::U32 => numbers(data, |b| u32::from_le_bytes(b).into()).collect(),
            safetensors::Dtype::U64 => numbers(data, |b| {
                i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)
            })
            .collect(),
            other => return Err(self.dtype(name, "an integer type", other)),
        })
    }

    /// Refuses tensors whose names are not among `known`.
    pub(crate) fn only(&self, known: impl Fn(&str) -> bool) -> Result<(), Error> {
        match self.tensors.iter().find(|tensor| !known(tensor.name())) {
            Some(tensor) => Err(Error::ForeignTensor {
                what: self.what,
                name: tensor.name().into(),
            }),
            None => Ok(()),
        }
    }

    /// All tensors, by name.
    pub(crate) fn tensors(&self) -> &[Tensor<'a>] {
        &self.tensors
    }

    fn dtype(&self, name: &str, want: &'static str, got: safetensors::Dtype) -> Error {
        Error::Dtype {
            what: self.what,
            name: name.into(),
            want,
            got: format!("{got:?}"),
        }
    }
}

/// Whether a header would take long to read.
pub(crate) fn lists_too_many(header: &[u8]) -> bool {
    header.iter().filter(|byte| **byte == b'{').count() > MOST_BRACES
}

/// Whole numbers of N bytes, one after another.
pub(crate) fn numbers<const N: usize, T>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
) -> impl Iterator<Item = T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(move |chunk| read(*chunk))
}

/// How the large table of a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 4 bytes a number, exact.
    F32,
    /// 2 bytes a number.
    F16,
    /// 1 byte a number, 256 levels for each output channel or column.
    U8,
}

impl Dtype {
    pub(crate) const ALL: [(&'static str, Dtype); 3] =
        [("f32", Dtype::F32), ("f16", Dtype::F16), ("u8", Dtype::U8)];

    /// `f32`, `f16` or `u8`.
    pub fn name(self) -> &'static str {
        Dtype::ALL[self as usize].0
    }
}

/// A table of floats in any dtype, as [`Container::affine_floats`] reads it: u8 comes with `NAME.scale` and `NAME.min` along `axis`.
pub(crate) fn store_floats(
    name: &str,
    shape: &[usize],
    values: &[f32],
    axis: usize,
    dtype: Dtype,
) -> Vec<(String, Stored)> {
    let name = name.to_string();
    match dtype {
        Dtype::F32 => vec![(name, Stored::f32(shape, values))],
        Dtype::F16 => vec![(name, Stored::f16(shape, values))],
        Dtype::U8 => {
            let channels = shape[axis];
            let inner: usize = shape[axis + 1..].iter().product();
            let affine = |channel: usize| {
                let blocks = values.chunks_exact(channels * inner);
                let own = blocks.flat_map(move |block| &block[channel * inner..][..inner]);
                Affine::of(own.copied())
            };
            let affines: Vec<_> = (0..channels).map(affine).collect();
            let level = |(i, value): (usize, &f32)| affines[i / inner % channels].level(*value);
            let levels = values.iter().enumerate().map(level).collect();
            let scale: Vec<_> = affines.iter().map(|affine| affine.scale).collect();
            let min: Vec<_> = affines.iter().map(|affine| affine.min).collect();
            vec![
                (format!("{name}.scale"), Stored::f32(&[channels], &scale)),
                (format!("{name}.min"), Stored::f32(&[channels], &min)),
                (name, Stored::u8(shape, levels)),
            ]
        }
    }
}

/// A tensor on its way into a file.
pub(crate) struct Stored {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Stored {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Stored {
            dtype: safetensors::Dtype::F32,
            shape: shape.into(),
            bytes,
        }
    }

    fn f16(shape: &[usize], values: &[f32]) -> Stored {
        let bytes = values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect();
        Stored {
            dtype: safetensors::Dtype::F16,
            shape: shape.into(),
            bytes,
        }
    }

    pub(crate) fn i64(shape: &[usize], values: &[i64]) -> Stored {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Stored {
            dtype: safetensors::Dtype::I64,
            shape: shape.into(),
            bytes,
        }
    }

    fn u8(shape: &[usize], values: Vec<u8>) -> Stored {
        Stored {
            dtype: safetensors::Dtype::U8,
            shape: shape.into(),
            bytes: values,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl View for &Stored {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a file with these tensors and metadata, the data of wider number types first and else by name, as the library sorts them;
/// the same every time, though it shuffles what the header lists.
pub(crate) fn write_file(
    tensors: &[(String, Stored)],
    metadata: HashMap<String, String>,
) -> Vec<u8> {
    type Header = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
    let views = tensors.iter().map(|(name, stored)| (name.as_str(), stored));
    let shuffled = safetensors::serialize(views, Some(metadata))
        .expect("our own tensors have the lengths of their shapes");
    let (length, rest) = shuffled.split_first_chunk().expect("a length comes first");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Header = serde_json::from_slice(header).expect("the header is JSON of objects");
    let mut header = json(&header).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_slice(),
        data,
    ]
    .concat()
}

/// JSON text for a metadata value.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}

/// How a run of numbers lies in 8 bits or fewer: value = level x scale + min.
pub(crate) struct Affine {
    /// The step from one level to the next.
    scale: f32,
    /// The value of level 0.
    min: f32,
}

impl Affine {
    /// The finest 256 levels from the least to the greatest value, or the even grid that the values already lie on.
    fn of(values: impl Iterator<Item = f32> + Clone) -> Affine {
        Affine::grid(values.clone(), 255).unwrap_or_else(|| {
            let (min, max) = range(values);
            Affine::between(min, max, 255)
        })
    }

    /// The even grid of levels 0 to at most `top` that the values already lie on, as weights do that were quantised before: there nothing
    /// is lost.
    pub(crate) fn grid(values: impl Iterator<Item = f32> + Clone, top: u8) -> Option<Affine> {
        let (min, max) = range(values.clone());
        if min >= max {
            return Some(Affine {
                scale: 0.0,
                min: min as f32,
            });
        }
        let on_grid = |levels: &u8| {
            let places = values
                .clone()
                .map(|value| (f64::from(value) - min) / (max - min) * f64::from(*levels));
            places
                .map(|place| (place - place.round()).abs())
                .all(|off| off < 0.01)
        };
        let levels = (1..=top).find(on_grid)?;
        Some(Affine::between(min, max, levels))
    }

    /// Levels 0 to `top` from one value to another.
    pub(crate) fn between(min: f64, max: f64, top: u8) -> Affine {
        Affine {
            scale: ((max - min) / f64::from(top)) as f32,
            min: min as f32,
        }
    }

    /// The level nearest to a value.
    fn level(&self, value: f32) -> u8 {
        if self.scale == 0.0 {
            0
        } else {
            ((value - self.min) / self.scale).round().clamp(0.0, 255.0) as u8
        }
    }

    /// A value on the nearest of levels 0 to `top`.
    pub(crate) fn nearest(&self, value: f32, top: u8) -> f32 {
        f32::from(self.level(value).min(top)) * self.scale + self.min
    }
}

/// The least and the greatest value.
pub(crate) fn range(values: impl Iterator<Item = f32>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (min.min(value.into()), max.max(value.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affine_keeps_an_even_grid() {
        let values: Vec<f32> = [0u8, 3, 4, 9, 77, 130]
            .iter()
            .map(|q| f32::from(*q) * 0.0173 - 0.9)
            .collect();
        let affine = Affine::of(values.iter().copied());
        for value in values {
            let back = affine.nearest(value, 255);
            assert!((back - value).abs() < 1e-6, "{value} became {back}");
        }
    }

    #[test]
    fn affine_is_within_half_a_level_elsewhere() {
        let values: Vec<f32> = (0..1000)
            .map(|i| (i as f32 * 0.731).sin().powi(3))
            .collect();
        let affine = Affine::of(values.iter().copied());
        for value in values {
            let back = affine.nearest(value, 255);
            assert!(
                (back - value).abs() <= affine.scale * 0.501,
                "{value} became {back}"
            );
        }
    }

    #[test]
    fn affine_of_one_value_is_that_value() {
        let affine = Affine::of([0.25f32; 5].into_iter());
        assert_eq!(affine.nearest(0.25, 255), 0.25);
    }
}
