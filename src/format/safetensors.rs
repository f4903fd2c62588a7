//! The container of weights, heads and latents: a safetensors file with string metadata.
//!
//! # Source
//! [safetensors](https://github.com/huggingface/safetensors)

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

/// Maximum header length of a file in memory. Latent tables list a name per picture; this allows half a million.
pub(crate) const MAX_HEADER: u64 = 16 << 20;
/// A base has about 600 tensors, each with a brace in the header. Names can contain braces too.
const MAX_BRACES: usize = 100_000;
pub(crate) const TOO_MANY_TENSORS: &str = "header lists too many tensors";

/// The metadata and tensors of a file. In a stream, only the tensors received so far have data.
pub(crate) struct Container<'a> {
    what: &'static str,
    command: &'static str,
    /// Sorted by name.
    tensors: Vec<Tensor<'a>>,
    metadata: HashMap<String, String>,
}

/// A tensor of the header, with its data if they were received.
pub(crate) struct Tensor<'a> {
    name: String,
    info: TensorInfo,
    bytes: Option<Cow<'a, [u8]>>,
}

impl Tensor<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the part of the name before the first dot.
    pub(crate) fn layer(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    pub(crate) fn dtype(&self) -> safetensors::Dtype {
        self.info.dtype
    }

    pub(crate) fn has_data(&self) -> bool {
        self.bytes.is_some()
    }

    /// # Panics
    /// If the data were not received yet, or were released.
    pub(crate) fn data(&self) -> &[u8] {
        let bytes = self.bytes.as_deref();
        bytes.unwrap_or_else(|| panic!("{} has no data", self.name))
    }
}

/// Parses a safetensors file incrementally, from chunks of any size.
pub(crate) struct ContainerStream<'a> {
    what: &'static str,
    command: &'static str,
    max_header: u64,
    /// Number of bytes received.
    received: usize,
    /// The received bytes of the incomplete header or tensor.
    partial: Vec<u8>,
    container: Option<Container<'a>>,
    /// Offset of the first tensor in the file.
    data_start: usize,
    /// Indices into the tensors sorted by name, in the order of their data in the file.
    order: Vec<usize>,
    /// Number of complete tensors, in that order.
    complete: usize,
}

impl<'a> ContainerStream<'a> {
    pub(crate) fn new(
        what: &'static str,
        command: &'static str,
        max_header: u64,
    ) -> ContainerStream<'a> {
        ContainerStream {
            what,
            command,
            max_header,
            received: 0,
            partial: Vec::new(),
            container: None,
            data_start: 0,
            order: Vec::new(),
            complete: 0,
        }
    }

    /// Parses the next chunk. Borrowed data are copied only if a tensor spans several chunks.
    ///
    /// # Errors
    /// An invalid or too long header, overlapping tensors, gaps between tensors, data lengths that do not match shapes, trailing bytes.
    pub(crate) fn push(&mut self, bytes: Cow<'a, [u8]>) -> Result<(), Error> {
        self.received += bytes.len();
        let mut position = 0;
        if self.container.is_none() {
            match self.push_header(&bytes)? {
                Some(length) => position = length,
                None => return Ok(()),
            }
        }
        let container = self.container.as_mut().expect("the header was parsed");
        while let Some(tensor) = self.order.get(self.complete) {
            let tensor = &mut container.tensors[*tensor];
            let (start, end) = tensor.info.data_offsets;
            let missing = end - start - self.partial.len();
            let range = position..bytes.len().min(position + missing);
            position = range.end;
            tensor.bytes = Some(match &bytes {
                _ if range.len() < missing => {
                    self.partial.extend_from_slice(&bytes[range]);
                    return Ok(());
                }
                Cow::Borrowed(bytes) if self.partial.is_empty() => Cow::Borrowed(&bytes[range]),
                _ => {
                    self.partial.extend_from_slice(&bytes[range]);
                    Cow::Owned(mem::take(&mut self.partial))
                }
            });
            self.complete += 1;
        }
        match bytes.len() - position {
            0 => Ok(()),
            _ => Err(self.error(SafeTensorError::MetadataIncompleteBuffer)),
        }
    }

    /// Parses the header once it is complete; returns the number of bytes that belong to it.
    fn push_header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut used = 0;
        let mut fill = |partial: &mut Vec<u8>, length: usize| {
            let chunk = &bytes[used..][..(length - partial.len()).min(bytes.len() - used)];
            partial.extend_from_slice(chunk);
            used += chunk.len();
            partial.len() == length
        };
        if self.partial.len() < 8 && !fill(&mut self.partial, 8) {
            return Ok(None);
        }
        let length = *self.partial.first_chunk().expect("8 bytes were received");
        let length = u64::from_le_bytes(length);
        if length > self.max_header {
            return Err(self.error(SafeTensorError::HeaderTooLarge));
        }
        self.data_start = 8 + length as usize;
        if !fill(&mut self.partial, self.data_start) {
            return Ok(None);
        }
        let header = mem::take(&mut self.partial);
        if lists_too_many_tensors(&header) {
            return Err(self.error(TOO_MANY_TENSORS));
        }
        let header: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| {
            match error.is_data() {
                // Valid JSON, but not a valid header.
                true => self.error(error),
                false => self.error(SafeTensorError::InvalidHeaderDeserialization(error)),
            }
        })?;
        let mut names: Vec<_> = header.offset_keys().into_iter().enumerate().collect();
        names.sort_by(|(_, a), (_, b)| a.cmp(b));
        self.order = vec![0; names.len()];
        for (index, (position, _)) in names.iter().enumerate() {
            self.order[*position] = index;
        }
        let tensors = names.into_iter().map(|(_, name)| Tensor {
            info: header.info(&name).expect("a name of the header").clone(),
            name,
            bytes: None,
        });
        self.container = Some(Container {
            what: self.what,
            command: self.command,
            tensors: tensors.collect(),
            metadata: header.metadata().clone().unwrap_or_default(),
        });
        Ok(Some(used))
    }

    /// Returns the container once the header is complete.
    pub(crate) fn container(&self) -> Option<&Container<'a>> {
        self.container.as_ref()
    }

    /// Frees the data of a tensor, given its index among the sorted names.
    pub(crate) fn release(&mut self, index: usize) {
        if let Some(container) = &mut self.container {
            container.tensors[index].bytes = None;
        }
    }

    /// Returns the number of buffered bytes.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        let tensors = self
            .container
            .iter()
            .flat_map(|container| &container.tensors);
        let bytes = tensors.filter_map(|tensor| tensor.bytes.as_ref());
        self.partial.len() + bytes.map(|bytes| bytes.len()).sum::<usize>()
    }

    /// Returns the length of the whole file once the header is complete.
    pub(crate) fn length(&self) -> Option<usize> {
        let tensors = &self.container.as_ref()?.tensors;
        let last = self.order.last().map(|index| &tensors[*index]);
        Some(self.data_start + last.map_or(0, |last| last.info.data_offsets.1))
    }

    /// Returns the container after the last chunk.
    ///
    /// # Errors
    /// A truncated file.
    pub(crate) fn finish(self) -> Result<Container<'a>, Error> {
        let reason = match &self.container {
            Some(_) => SafeTensorError::MetadataIncompleteBuffer,
            None if self.received < 8 => SafeTensorError::HeaderTooSmall,
            None => SafeTensorError::InvalidHeaderLength,
        };
        let truncated = self.error(reason);
        self.container
            .filter(|_| self.complete == self.order.len())
            .ok_or(truncated)
    }

    fn error(&self, reason: impl Display) -> Error {
        Error::Container {
            what: self.what,
            reason: reason.to_string(),
            bytes: self.received,
        }
    }
}

impl<'a> Container<'a> {
    /// Parses a file in memory and checks that its tensors cover the data exactly.
    pub(crate) fn open(
        what: &'static str,
        command: &'static str,
        bytes: &'a [u8],
    ) -> Result<Container<'a>, Error> {
        let mut stream = ContainerStream::new(what, command, MAX_HEADER);
        stream.push(Cow::Borrowed(bytes))?;
        stream.finish()
    }

    pub(crate) fn metadata(&self, key: &'static str) -> Result<&str, Error> {
        let missing = Error::MissingMetadata {
            what: self.what,
            key,
            command: self.command,
        };
        self.metadata.get(key).map(String::as_str).ok_or(missing)
    }

    /// Parses a metadata value as JSON. `want` describes valid values, for the error message.
    pub(crate) fn metadata_json<T: DeserializeOwned>(
        &self,
        key: &'static str,
        want: &'static str,
    ) -> Result<T, Error> {
        let text = self.metadata(key)?;
        serde_json::from_str(text).map_err(|_| Error::Metadata {
            what: self.what,
            key,
            got: text.chars().take(60).collect(),
            want,
        })
    }

    /// Returns a tensor of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor<'a>, Error> {
        let tensor = self.tensor_of_any_shape(name)?;
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

    pub(crate) fn tensor_of_any_shape(&self, name: &str) -> Result<&Tensor<'a>, Error> {
        let missing = || Error::MissingTensor {
            what: self.what,
            name: name.into(),
        };
        let index = self
            .tensors
            .binary_search_by(|tensor| tensor.name().cmp(name));
        index
            .map(|index| &self.tensors[index])
            .map_err(|_| missing())
    }

    /// Reads an f32, f16 or f64 tensor and checks that all values are finite; f64 is narrowed to f32.
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
        self.check_finite(name, values.iter().copied())?;
        Ok(values)
    }

    fn check_finite(&self, name: &str, mut values: impl Iterator<Item = f32>) -> Result<(), Error> {
        match values.position(|value| !value.is_finite()) {
            Some(index) => Err(Error::NotFinite {
                what: self.what,
                name: name.into(),
                index,
            }),
            None => Ok(()),
        }
    }

    /// Reads a float tensor, or a u8 tensor with `NAME.scale` and `NAME.min`.
    ///
    /// Scale and minimum are per index of `axis`: the output channel of a kernel, or the column of a table.
    pub(crate) fn kernel_data(
        &self,
        name: &str,
        shape: &[usize],
        axis: usize,
    ) -> Result<KernelData, Error> {
        let tensor = self.tensor(name, shape)?;
        if tensor.dtype() != safetensors::Dtype::U8 {
            return Ok(KernelData::Floats(self.floats(name, shape)?));
        }
        let quantized = QuantizedU8 {
            levels: tensor.data().to_vec(),
            scale: self.floats(&format!("{name}.scale"), &shape[axis..=axis])?,
            min: self.floats(&format!("{name}.min"), &shape[axis..=axis])?,
            inner: shape[axis + 1..].iter().product(),
        };
        self.check_finite(name, quantized.values())?;
        Ok(KernelData::QuantizedU8(quantized))
    }

    /// Reads the same tensors as [`Container::kernel_data`], dequantised.
    pub(crate) fn dequantized(
        &self,
        name: &str,
        shape: &[usize],
        axis: usize,
    ) -> Result<Vec<f32>, Error> {
        Ok(self.kernel_data(name, shape, axis)?.floats().into_owned())
    }

    /// Reads a tensor of any integer type; values above `i64::MAX` are clamped.
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

    /// Rejects tensors whose names are not expected.
    pub(crate) fn check_names(&self, expected: impl Fn(&str) -> bool) -> Result<(), Error> {
        let unexpected = |tensor: &&Tensor| !expected(tensor.name());
        match self.tensors.iter().find(unexpected) {
            Some(tensor) => Err(Error::UnexpectedTensor {
                what: self.what,
                name: tensor.name().into(),
            }),
            None => Ok(()),
        }
    }

    /// Returns all tensors, sorted by name.
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

/// Returns whether a header lists so many tensors that parsing it would be slow.
pub(crate) fn lists_too_many_tensors(header: &[u8]) -> bool {
    header.iter().filter(|byte| **byte == b'{').count() > MAX_BRACES
}

/// Parses consecutive values of N bytes each; ignores an incomplete one at the end.
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

/// Storage type of kernels and latent tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 4 bytes per value, exact.
    F32,
    /// 2 bytes per value.
    F16,
    /// 1 byte per value: 256 levels per output channel or column.
    U8,
}

impl Dtype {
    pub(crate) const ALL: [(&'static str, Dtype); 3] =
        [("f32", Dtype::F32), ("f16", Dtype::F16), ("u8", Dtype::U8)];

    /// Returns `f32`, `f16` or `u8`.
    pub fn name(self) -> &'static str {
        Dtype::ALL[self as usize].0
    }
}

/// Serialises floats in any dtype, to be read by [`Container::kernel_data`]. For u8 it adds `NAME.scale` and `NAME.min` along `axis`.
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
                let values = blocks.flat_map(move |block| &block[channel * inner..][..inner]);
                Affine::fit(values.copied())
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

/// A serialised tensor.
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

/// Serialises a file. The output is deterministic: the safetensors library sorts the data by dtype size and name, but not the header, so
/// the header is sorted here.
pub(crate) fn write_file(
    tensors: &[(String, Stored)],
    metadata: HashMap<String, String>,
) -> Vec<u8> {
    type Header = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
    let views = tensors.iter().map(|(name, stored)| (name.as_str(), stored));
    let unsorted =
        safetensors::serialize(views, Some(metadata)).expect("the data lengths match the shapes");
    let (length, rest) = unsorted
        .split_first_chunk()
        .expect("a file starts with the header length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Header = serde_json::from_slice(header).expect("the header is a JSON object");
    let mut header = json(&header).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_slice(),
        data,
    ]
    .concat()
}

/// Serialises a metadata value as JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data is serialisable")
}

/// Affine quantisation to 8 bits or fewer: value = level x scale + min.
pub(crate) struct Affine {
    /// The step between levels.
    scale: f32,
    /// The value of level 0.
    min: f32,
}

impl Affine {
    /// Returns the even grid that the values are already on, or 256 levels from the minimum to the maximum.
    fn fit(values: impl Iterator<Item = f32> + Clone) -> Affine {
        Affine::grid(values.clone(), 255).unwrap_or_else(|| {
            let (min, max) = range(values);
            Affine::between(min, max, 255)
        })
    }

    /// Returns the even grid with levels 0 to at most `max_level` that the values are already on, if there is one. Weights that were
    /// quantised before are on such a grid, and quantising them again is lossless.
    pub(crate) fn grid(values: impl Iterator<Item = f32> + Clone, max_level: u8) -> Option<Affine> {
        let (min, max) = range(values.clone());
        if min >= max {
            return Some(Affine {
                scale: 0.0,
                min: min as f32,
            });
        }
        let on_grid = |levels: &u8| {
            let positions = values
                .clone()
                .map(|value| (f64::from(value) - min) / (max - min) * f64::from(*levels));
            positions
                .map(|position| (position - position.round()).abs())
                .all(|error| error < 0.01)
        };
        let levels = (1..=max_level).find(on_grid)?;
        Some(Affine::between(min, max, levels))
    }

    /// Returns the grid from `min` at level 0 to `max` at `max_level`.
    pub(crate) fn between(min: f64, max: f64, max_level: u8) -> Affine {
        Affine {
            scale: ((max - min) / f64::from(max_level)) as f32,
            min: min as f32,
        }
    }

    /// Returns the level nearest to a value.
    fn level(&self, value: f32) -> u8 {
        if self.scale == 0.0 {
            0
        } else {
            ((value - self.min) / self.scale).round().clamp(0.0, 255.0) as u8
        }
    }

    /// Rounds a value to the nearest of the levels 0 to `max_level`.
    pub(crate) fn round(&self, value: f32, max_level: u8) -> f32 {
        f32::from(self.level(value).min(max_level)) * self.scale + self.min
    }
}

/// Returns the minimum and the maximum.
pub(crate) fn range(values: impl Iterator<Item = f32>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (min.min(value.into()), max.max(value.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_an_even_grid_are_kept() {
        let values: Vec<f32> = [0u8, 3, 4, 9, 77, 130]
            .iter()
            .map(|q| f32::from(*q) * 0.0173 - 0.9)
            .collect();
        let affine = Affine::fit(values.iter().copied());
        for value in values {
            let rounded = affine.round(value, 255);
            assert!((rounded - value).abs() < 1e-6, "{value} became {rounded}");
        }
    }

    #[test]
    fn other_values_are_rounded_to_the_nearest_level() {
        let values: Vec<f32> = (0..1000)
            .map(|i| (i as f32 * 0.731).sin().powi(3))
            .collect();
        let affine = Affine::fit(values.iter().copied());
        for value in values {
            let rounded = affine.round(value, 255);
            assert!(
                (rounded - value).abs() <= affine.scale * 0.501,
                "{value} became {rounded}"
            );
        }
    }

    #[test]
    fn a_constant_is_kept() {
        let affine = Affine::fit([0.25f32; 5].into_iter());
        assert_eq!(affine.round(0.25, 255), 0.25);
    }
}
