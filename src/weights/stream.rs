//! Reads weights in the native format as a stream. The header is validated as soon as it is complete, and each convolution is returned as
//! soon as its data are.
//!
//! The content hash covers the tensors in the order of their names, so they are processed in that order. Files are written in the same
//! order within each dtype, f32 (biases and scales) first, so at most one kernel is buffered. Data in another order are buffered until the
//! tensors before them are complete.

use std::{borrow::Cow, collections::VecDeque, ops::Range};

use super::file::{COMMAND, ContentHash, Header, Info, WHAT, Weights, read_conv};
use crate::{
    error::Error,
    format::safetensors::{Container, ContainerStream},
    net::inception::{FoldedConv, kernels},
};

/// Maximum header length. The tensors need 40 kB; the rest is for class names.
const MAX_HEADER: u64 = 4 << 20;

/// Parses a weights file incrementally, from chunks of any size.
///
/// # Examples
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Read;
///
/// let mut file = std::fs::File::open("base.safetensors")?;
/// let mut stream = inception_web::weights::WeightsStream::new();
/// let mut buffer = vec![0; 1 << 16];
/// loop {
///     let length = file.read(&mut buffer)?;
///     if length == 0 {
///         break;
///     }
///     stream.push(buffer[..length].to_vec().into())?;
///     while let Some((k, conv)) = stream.next_conv()? {
///         println!("the kernel of convolution {k} has {} values", conv.kernel.len());
///     }
/// }
/// let weights = stream.finish()?; // verifies the SHA-256 of the contents
/// # Ok(())
/// # }
/// ```
pub struct WeightsStream<'a> {
    container: ContainerStream<'a>,
    progress: Option<Progress>,
    verify: bool,
}

/// State after the header was parsed.
struct Progress {
    header: Header,
    hash: Option<ContentHash>,
    kernels: Vec<(String, [usize; 4])>,
    /// Number of processed tensors, in the order of their names.
    processed: usize,
    /// Index of the first tensor of the current layer.
    layer_start: usize,
    /// Complete convolutions: the index in the order of [`kernels`], and the indices of their tensors.
    ready: VecDeque<(usize, Range<usize>)>,
}

impl<'a> Weights<'a> {
    /// Opens a file in the native format and validates metadata, names, shapes and the SHA-256 of the contents.
    ///
    /// # Errors
    /// A truncated or damaged file, or one of another format.
    pub fn open(bytes: &'a [u8]) -> Result<Weights<'a>, Error> {
        let mut stream = WeightsStream::new();
        stream.push(Cow::Borrowed(bytes))?;
        stream.finish()
    }
}

impl<'a> WeightsStream<'a> {
    /// Creates a stream that verifies the SHA-256 of the contents.
    pub fn new() -> WeightsStream<'a> {
        WeightsStream {
            container: ContainerStream::new(WHAT, COMMAND, MAX_HEADER),
            progress: None,
            verify: true,
        }
    }

    /// Creates a stream that does not verify the contents, for callers that verify the SHA-256 of the whole file.
    pub fn trusted() -> WeightsStream<'a> {
        WeightsStream {
            verify: false,
            ..WeightsStream::new()
        }
    }

    /// Parses the next chunk. Borrowed data are copied only if a tensor spans several chunks.
    ///
    /// # Errors
    /// The errors of [`Weights::open`] that can be detected so far.
    pub fn push(&mut self, bytes: Cow<'a, [u8]>) -> Result<(), Error> {
        self.container.push(bytes)?;
        let Some(container) = self.container.container() else {
            return Ok(());
        };
        if self.progress.is_none() {
            self.progress = Some(Progress::new(Header::parse(container)?, self.verify));
        }
        if let Some(progress) = &mut self.progress {
            progress.update(container);
        }
        Ok(())
    }

    /// Returns the metadata once the header is complete.
    pub fn info(&self) -> Option<&Info> {
        self.progress.as_ref().map(|progress| &progress.header.info)
    }

    /// Returns the length of the whole file once the header is complete.
    pub fn length(&self) -> Option<usize> {
        self.container.length()
    }

    /// Returns the next complete convolution with its index in the order of [`kernels`], and frees its data.
    ///
    /// The contents are not verified before [`WeightsStream::finish`].
    ///
    /// # Errors
    /// An unsupported dtype, or a value that is not finite.
    pub fn next_conv(&mut self) -> Result<Option<(usize, FoldedConv)>, Error> {
        let (Some(container), Some(progress)) = (self.container.container(), &mut self.progress)
        else {
            return Ok(None);
        };
        let Some((k, tensors)) = progress.ready.pop_front() else {
            return Ok(None);
        };
        let (name, shape) = &progress.kernels[k];
        let conv = read_conv(container, name, *shape)?;
        tensors.for_each(|index| self.container.release(index));
        Ok(Some((k, conv)))
    }

    /// Returns the file, without the convolutions that [`WeightsStream::next_conv`] returned.
    ///
    /// # Errors
    /// A truncated file, or a wrong SHA-256 of the contents.
    pub fn finish(self) -> Result<Weights<'a>, Error> {
        let container = self.container.finish()?;
        let progress = self.progress.expect("a complete file has a header");
        let header = progress.header;
        let sha256 = progress.hash.map(ContentHash::finish);
        if let Some(got) = sha256.filter(|got| *got != header.sha256) {
            let want = header.sha256;
            return Err(Error::Checksum { want, got });
        }
        Ok(Weights {
            info: header.info,
            fingerprint: header.fingerprint,
            dtype: header.dtype,
            container,
            classes: header.classes,
        })
    }
}

impl Default for WeightsStream<'_> {
    fn default() -> Self {
        WeightsStream::new()
    }
}

impl Progress {
    fn new(header: Header, verify: bool) -> Progress {
        Progress {
            hash: verify.then(|| ContentHash::new(&header.info, &header.fingerprint)),
            header,
            kernels: kernels(),
            processed: 0,
            layer_start: 0,
            ready: VecDeque::new(),
        }
    }

    /// Hashes the next received tensors in the order of their names, and queues complete convolutions.
    fn update(&mut self, container: &Container) {
        let tensors = container.tensors();
        let received = |index: usize| tensors.get(index).filter(|tensor| tensor.has_data());
        while let Some(tensor) = received(self.processed) {
            if let Some(hash) = &mut self.hash {
                hash.update(tensor.name(), tensor.data());
            }
            self.processed += 1;
            let layer = tensor.layer();
            if tensors.get(self.processed).map(|next| next.layer()) != Some(layer) {
                let conv = self.kernels.iter().position(|(name, _)| name == layer);
                self.ready
                    .extend(conv.map(|k| (k, self.layer_start..self.processed)));
                self.layer_start = self.processed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::OnceLock};

    use serde_json::Value;

    use super::*;
    use crate::{
        head::Dense,
        image::InputRange,
        net::inception::{AveragePool, LATENTS},
        weights::{Classifier, Dtype, KernelData, Source, write},
    };

    /// A base with random weights and three classes, stored as u8.
    fn file() -> &'static [u8] {
        static FILE: OnceLock<Vec<u8>> = OnceLock::new();
        FILE.get_or_init(|| {
            let mut random = 1u32;
            let mut values = |count: usize| -> Vec<f32> {
                let next = |_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 8) as f32 / 2f32.powi(24) - 0.5
                };
                (0..count).map(next).collect()
            };
            let convs = kernels().into_iter().map(|(_, shape)| FoldedConv {
                kernel: KernelData::Floats(values(shape.iter().product())),
                bias: values(shape[0]),
            });
            let convs = convs.collect();
            let layer = Dense {
                kernel: values(LATENTS * 3),
                bias: values(3),
            };
            let info = Info {
                name: "random".into(),
                source: "a test".into(),
                licence: "none".into(),
                note: String::new(),
                range: InputRange::even(-1.0, 1.0),
                average_pool: AveragePool::ExcludePadding,
                self_test_latents: vec![0.0],
            };
            let source = Source {
                info,
                convs,
                classifier: Some(Classifier::new(layer).expect("finite values")),
            };
            write(&source, &"0".repeat(64), Dtype::U8)
        })
    }

    /// Reads a file in chunks; returns the convolutions in the order of [`kernels`].
    fn read(file: &[u8], chunk_size: usize) -> Result<(Vec<FoldedConv>, Weights<'static>), Error> {
        let mut stream = WeightsStream::new();
        let mut convs = BTreeMap::new();
        for chunk in file.chunks(chunk_size) {
            stream.push(chunk.to_vec().into())?;
            while let Some((k, conv)) = stream.next_conv()? {
                assert!(convs.insert(k, conv).is_none(), "{k} was returned twice");
            }
        }
        Ok((convs.into_values().collect(), stream.finish()?))
    }

    fn assert_same(file: &[u8], chunk_size: usize) {
        let whole = Weights::open(self::file()).expect("valid");
        let (convs, rest) = read(file, chunk_size).expect("valid");
        assert_eq!(convs.len(), 94);
        for (k, (got, want)) in convs.iter().zip(whole.convs()).enumerate() {
            let want = want.expect("valid");
            assert!(
                got.kernel == want.kernel,
                "kernel {k}, chunks of {chunk_size}"
            );
            assert!(got.bias == want.bias, "bias {k}, chunks of {chunk_size}");
        }
        let classifier = rest.classifier().expect("valid");
        assert_eq!(classifier, whole.classifier().expect("valid"));
        assert_eq!(rest.info, whole.info);
    }

    #[test]
    fn chunks_of_any_size_give_the_same_weights() {
        for chunk_size in [1, 7, 64 << 10, file().len()] {
            assert_same(file(), chunk_size);
        }
    }

    #[test]
    fn all_but_the_last_convolution_are_returned_before_the_last_byte() {
        let (last, rest) = file().split_last().expect("bytes");
        let mut stream = WeightsStream::new();
        let (mut convs, mut peak) = (0, 0);
        for chunk in rest.chunks(1000) {
            stream.push(chunk.to_vec().into()).expect("valid");
            while stream.next_conv().expect("valid").is_some() {
                convs += 1;
            }
            peak = peak.max(stream.container.buffered());
        }
        assert_eq!(convs, 93);
        // The largest kernel (1,720,320 bytes), 12 bytes for each of 17,000 channels, and the classifier.
        assert!(peak < 2_000_000, "{peak} bytes were buffered");
        stream.push(vec![*last].into()).expect("valid");
        assert!(stream.next_conv().expect("valid").is_some());
        stream.finish().expect("valid");
    }

    #[test]
    fn truncated_files_are_rejected() {
        let length = file().len();
        let header = 8 + u64::from_le_bytes(*file().first_chunk().expect("a length")) as usize;
        let lengths = [0, 7, 8, 9, header - 1, header, header + 1, length / 2];
        for keep in lengths.into_iter().chain([length - 1]) {
            let error = read(&file()[..keep], 64 << 10).err().expect("truncated");
            let reason = match keep {
                0..8 => "header too small",
                _ if keep < header => "invalid header length",
                _ => "incomplete metadata, file not fully covered",
            };
            let want = format!(
                "weights: invalid safetensors file ({reason}, {keep} bytes); download or convert it again"
            );
            assert_eq!(error.to_string(), want);
        }
        let longer = [file(), b"!"].concat();
        let error = read(&longer, 64 << 10).err().expect("a trailing byte");
        assert!(error.to_string().contains("not fully covered"), "{error}");
    }

    #[test]
    fn a_flipped_bit_is_rejected_unless_the_stream_is_trusted() {
        let mut file = file().to_vec();
        *file.last_mut().expect("bytes") ^= 1;
        let error = read(&file, 64 << 10).err().expect("a flipped bit");
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        let mut trusted = WeightsStream::trusted();
        trusted.push(file.into()).expect("a valid header");
        assert!(trusted.finish().is_ok());
    }

    type JsonHeader = BTreeMap<String, BTreeMap<String, Value>>;

    /// Splits a file into header and data.
    fn split(file: &[u8]) -> (JsonHeader, &[u8]) {
        let (length, rest) = file.split_first_chunk().expect("a length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        (serde_json::from_slice(header).expect("a header"), data)
    }

    fn join(header: &JsonHeader, data: &[u8]) -> Vec<u8> {
        let header = serde_json::to_vec(header).expect("plain data");
        [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
    }

    fn range(tensor: &BTreeMap<String, Value>) -> Range<usize> {
        let offsets = &tensor["data_offsets"];
        let offset = |k: usize| offsets[k].as_u64().expect("an offset") as usize;
        offset(0)..offset(1)
    }

    /// Versions of the safetensors library order the data differently.
    #[test]
    fn data_in_any_order_give_the_same_weights() {
        let (mut header, data) = split(file());
        let metadata = header.remove("__metadata__").expect("metadata");
        let number = |name: &str| -> usize {
            let layer = name.split('.').next().unwrap_or_default();
            layer.trim_start_matches("conv2d_").parse().unwrap_or(95)
        };
        let by_name: Vec<String> = header.keys().cloned().collect();
        let reversed = by_name.iter().rev().cloned().collect();
        let mut by_layer = by_name.clone();
        by_layer.sort_by_key(|name| number(name));
        for order in [by_name, reversed, by_layer] {
            let (mut header, mut moved) = (header.clone(), Vec::new());
            for name in &order {
                let tensor = header.get_mut(name).expect("a name of the header");
                let start = moved.len();
                moved.extend_from_slice(&data[range(tensor)]);
                tensor.insert("data_offsets".into(), vec![start, moved.len()].into());
            }
            header.insert("__metadata__".into(), metadata.clone());
            assert_same(&join(&header, &moved), 64 << 10);
        }
    }

    #[test]
    fn an_invalid_header_is_rejected_before_the_data() {
        type Change = fn(&mut JsonHeader);
        let cases: [(Change, &str); 5] = [
            (
                |header| drop(header.remove("conv2d_7.bias")),
                "weights: invalid safetensors file (invalid offset for tensor `conv2d_7.kernel.min`",
            ),
            (
                |header| {
                    let bias = header.get_mut("conv2d_1.bias").expect("a bias");
                    bias.insert("shape".into(), vec![4, 8].into());
                },
                "weights: conv2d_1.bias has shape [4, 8], expected [32]; write the file again",
            ),
            (
                |header| {
                    let bias = header.remove("conv2d_1.bias").expect("a bias");
                    header.insert("conv2d_0.bias".into(), bias);
                },
                "weights: unexpected tensor conv2d_0.bias; write the file again",
            ),
            (
                |header| {
                    let bias = header.remove("conv2d_1.bias").expect("a bias");
                    header.insert("conv2d_1.skew".into(), bias);
                },
                "weights: conv2d_1.bias is missing; write the file again",
            ),
            (
                |header| {
                    let metadata = header.get_mut("__metadata__").expect("metadata");
                    metadata.insert("format".into(), "inception-web weights 9".into());
                },
                "weights: invalid metadata \"format\": got \"inception-web weights 9\", expected inception-web weights 1; write the file again",
            ),
        ];
        let (header, _) = split(file());
        for (change, want) in cases {
            let mut header = header.clone();
            change(&mut header);
            let mut stream = WeightsStream::new();
            let error = stream.push(join(&header, &[]).into()).expect_err(want);
            assert!(error.to_string().starts_with(want), "{error}");
        }
        let mut stream = WeightsStream::new();
        let long = (5u64 << 20).to_le_bytes().to_vec();
        assert_eq!(
            stream.push(long.into()).expect_err("too long").to_string(),
            "weights: invalid safetensors file (header too large, 8 bytes); download or convert it again"
        );
    }
}
