//! A weights file of ours while it comes: a wrong header is refused at once, and a convolution can be used with its last byte.
//!
//! The contents' digest goes over the tensors by their names, and so does all that is done here. Files are written in that order, each
//! number type for itself and the few numbers of biases and scales first: of such a file one kernel is held at a time. Tensors that come
//! in another order wait for those before them.

use std::{borrow::Cow, collections::VecDeque, ops::Range};

use super::file::{COMMAND, Digest, Facts, Info, WHAT, Weights, folded};
use crate::{
    error::Error,
    format::safetensors::{Container, ContainerStream},
    net::inception::{FoldedConv, kernels},
};

/// Four tensors for each of 94 layers take 40 kB; the rest is for the names of classes.
const LONGEST_HEADER: u64 = 4 << 20;

/// A weights file whose bytes come in pieces of any size.
///
/// # Examples
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Read;
///
/// let mut file = std::fs::File::open("base.safetensors")?;
/// let mut arriving = inception_web::weights::WeightsStream::new();
/// let mut piece = vec![0; 1 << 16];
/// loop {
///     let length = file.read(&mut piece)?;
///     if length == 0 {
///         break;
///     }
///     arriving.take(piece[..length].to_vec().into())?;
///     while let Some((k, conv)) = arriving.next_conv()? {
///         println!("convolution {k} has {} numbers", conv.kernel.len());
///     }
/// }
/// let weights = arriving.finish()?; // only now it is known that all of them were right
/// # Ok(())
/// # }
/// ```
pub struct WeightsStream<'a> {
    arrival: ContainerStream<'a>,
    checking: Option<Checking>,
    /// Whether the contents are held to what the file says of them.
    digests: bool,
}

/// What follows once the header is here.
struct Checking {
    facts: Facts,
    digest: Option<Digest>,
    kernels: Vec<(String, [usize; 4])>,
    /// Tensors that are past, in the order of their names.
    digested: usize,
    /// Where among these the layer of the last one began.
    layer: usize,
    /// Whole convolutions that nobody took: numbers in the order of [`kernels`], and the places of their tensors.
    ready: VecDeque<(usize, Range<usize>)>,
}

impl<'a> Weights<'a> {
    /// Opens a file of ours and checks metadata, names, shapes and the SHA-256 of the contents.
    ///
    /// # Errors
    /// A truncated, foreign or damaged file, each with a sentence that names what is wrong.
    pub fn open(bytes: &'a [u8]) -> Result<Weights<'a>, Error> {
        let mut arriving = WeightsStream::new();
        arriving.take(Cow::Borrowed(bytes))?;
        arriving.finish()
    }
}

impl<'a> WeightsStream<'a> {
    /// Nothing of it yet.
    pub fn new() -> WeightsStream<'a> {
        WeightsStream {
            arrival: ContainerStream::new(WHAT, COMMAND, LONGEST_HEADER),
            checking: None,
            digests: true,
        }
    }

    /// Nothing of it yet, of a file whose SHA-256 as a whole is known: whoever takes it compares that, and what the file says of its contents
    /// need not be compared again.
    pub fn known() -> WeightsStream<'a> {
        WeightsStream {
            digests: false,
            ..WeightsStream::new()
        }
    }

    /// Takes the next bytes. Borrowed ones are copied only where a tensor lies in more than one piece.
    ///
    /// # Errors
    /// As [`Weights::open`], for what can be wrong so far.
    pub fn take(&mut self, bytes: Cow<'a, [u8]>) -> Result<(), Error> {
        self.arrival.take(bytes)?;
        let Some(container) = self.arrival.container() else {
            return Ok(());
        };
        if self.checking.is_none() {
            self.checking = Some(Checking::new(Facts::of(container)?, self.digests));
        }
        if let Some(checking) = &mut self.checking {
            checking.go_on(container);
        }
        Ok(())
    }

    /// What the file says of itself, once its header is here.
    pub fn info(&self) -> Option<&Info> {
        self.checking.as_ref().map(|checking| &checking.facts.info)
    }

    /// The bytes that the whole file has, once its header is here.
    pub fn length(&self) -> Option<usize> {
        self.arrival.length()
    }

    /// A convolution that is whole, with its number in the order of [`kernels`]; each is given once, and its bytes are let go.
    ///
    /// Whether it is the right one is not known before [`WeightsStream::finish`].
    ///
    /// # Errors
    /// A number type that does not belong, or a number that is not finite.
    pub fn next_conv(&mut self) -> Result<Option<(usize, FoldedConv)>, Error> {
        let (Some(container), Some(checking)) = (self.arrival.container(), &mut self.checking)
        else {
            return Ok(None);
        };
        let Some((k, places)) = checking.ready.pop_front() else {
            return Ok(None);
        };
        let (name, shape) = &checking.kernels[k];
        let conv = folded(container, name, *shape)?;
        places.for_each(|place| self.arrival.let_go(place));
        Ok(Some((k, conv)))
    }

    /// The opened file, but for the convolutions that were taken.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn finish(self) -> Result<Weights<'a>, Error> {
        let container = self.arrival.finish()?;
        let checking = self.checking.expect("a whole file has a header");
        let (facts, got) = (checking.facts, checking.digest.map(Digest::finish));
        if let Some(got) = got.filter(|got| *got != facts.sha256) {
            let want = facts.sha256;
            return Err(Error::Digest { want, got });
        }
        Ok(Weights {
            info: facts.info,
            fingerprint: facts.fingerprint,
            dtype: facts.dtype,
            container,
            classes: facts.classes,
        })
    }
}

impl Default for WeightsStream<'_> {
    fn default() -> Self {
        WeightsStream::new()
    }
}

impl Checking {
    fn new(facts: Facts, digests: bool) -> Checking {
        Checking {
            digest: digests.then(|| Digest::new(&facts.info, &facts.fingerprint)),
            facts,
            kernels: kernels(),
            digested: 0,
            layer: 0,
            ready: VecDeque::new(),
        }
    }

    /// Digests what is here of the names that are next, and notes the convolutions that are whole by that.
    fn go_on(&mut self, container: &Container) {
        let tensors = container.tensors();
        while let Some(tensor) = tensors.get(self.digested).filter(|next| next.is_here()) {
            if let Some(digest) = &mut self.digest {
                digest.update(tensor.name(), tensor.data());
            }
            self.digested += 1;
            let layer = tensor.layer();
            if tensors.get(self.digested).map(|next| next.layer()) != Some(layer) {
                let conv = self.kernels.iter().position(|(name, _)| name == layer);
                self.ready
                    .extend(conv.map(|k| (k, self.layer..self.digested)));
                self.layer = self.digested;
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

    /// A base of random numbers with three classes, as u8.
    fn file() -> &'static [u8] {
        static FILE: OnceLock<Vec<u8>> = OnceLock::new();
        FILE.get_or_init(|| {
            let mut random = 1u32;
            let mut numbers = |count: usize| -> Vec<f32> {
                let next = |_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 8) as f32 / 2f32.powi(24) - 0.5
                };
                (0..count).map(next).collect()
            };
            let convs = kernels().into_iter().map(|(_, shape)| FoldedConv {
                kernel: KernelData::Floats(numbers(shape.iter().product())),
                bias: numbers(shape[0]),
            });
            let convs = convs.collect();
            let layer = Dense {
                kernel: numbers(LATENTS * 3),
                bias: numbers(3),
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
                classifier: Some(Classifier::new(layer).expect("finite numbers")),
            };
            write(&source, &"0".repeat(64), Dtype::U8)
        })
    }

    /// All that comes of a file in pieces, convolutions in their own order.
    fn read(file: &[u8], piece: usize) -> Result<(Vec<FoldedConv>, Weights<'static>), Error> {
        let mut arriving = WeightsStream::new();
        let mut convs = BTreeMap::new();
        for piece in file.chunks(piece) {
            arriving.take(piece.to_vec().into())?;
            while let Some((k, conv)) = arriving.next_conv()? {
                assert!(convs.insert(k, conv).is_none(), "{k} came twice");
            }
        }
        Ok((convs.into_values().collect(), arriving.finish()?))
    }

    fn assert_same(file: &[u8], piece: usize) {
        let whole = Weights::open(self::file()).expect("our own file");
        let (convs, rest) = read(file, piece).expect("the same file");
        assert_eq!(convs.len(), 94);
        for (k, (ours, want)) in convs.iter().zip(whole.convs()).enumerate() {
            let want = want.expect("our own file");
            assert!(ours.kernel == want.kernel, "kernel {k}, pieces of {piece}");
            assert!(ours.bias == want.bias, "bias {k}, pieces of {piece}");
        }
        let classifier = rest.classifier().expect("our own file");
        assert_eq!(classifier, whole.classifier().expect("our own file"));
        assert_eq!(rest.info, whole.info);
    }

    #[test]
    fn pieces_of_any_size_give_the_same_weights() {
        for piece in [1, 7, 64 << 10, file().len()] {
            assert_same(file(), piece);
        }
    }

    #[test]
    fn all_but_the_last_convolution_are_there_before_the_last_byte() {
        let (last, early) = file().split_last().expect("bytes");
        let mut arriving = WeightsStream::new();
        let (mut convs, mut most) = (0, 0);
        for piece in early.chunks(1000) {
            arriving.take(piece.to_vec().into()).expect("our own file");
            while arriving.next_conv().expect("our own file").is_some() {
                convs += 1;
            }
            most = most.max(arriving.arrival.held());
        }
        assert_eq!(convs, 93);
        // 1,720,320 bytes has the largest kernel, 17 k channels have 12 bytes each, and the classifier is kept.
        assert!(most < 2_000_000, "{most} bytes were held");
        arriving.take(vec![*last].into()).expect("our own file");
        assert!(arriving.next_conv().expect("our own file").is_some());
        arriving.finish().expect("our own file");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let length = file().len();
        let header = 8 + u64::from_le_bytes(*file().first_chunk().expect("a length")) as usize;
        let cuts = [0, 7, 8, 9, header - 1, header, header + 1, length / 2];
        for keep in cuts.into_iter().chain([length - 1]) {
            let error = read(&file()[..keep], 64 << 10).err().expect("cut off");
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
        let error = read(&longer, 64 << 10).err().expect("one byte too many");
        assert!(error.to_string().contains("not fully covered"), "{error}");
    }

    #[test]
    fn a_wrong_bit_is_refused_at_the_end() {
        let mut file = file().to_vec();
        *file.last_mut().expect("bytes") ^= 1;
        let error = read(&file, 64 << 10).err().expect("a wrong bit");
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        // Who knows the file as a whole sees it there.
        let mut known = WeightsStream::known();
        known.take(file.into()).expect("a header");
        assert!(known.finish().is_ok());
    }

    type Header = BTreeMap<String, BTreeMap<String, Value>>;

    /// A file's header, as it is or changed, and its data.
    fn parts(file: &[u8]) -> (Header, &[u8]) {
        let (length, rest) = file.split_first_chunk().expect("a length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        (serde_json::from_slice(header).expect("a header"), data)
    }

    fn joined(header: &Header, data: &[u8]) -> Vec<u8> {
        let header = serde_json::to_vec(header).expect("plain data");
        [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
    }

    fn range(tensor: &BTreeMap<String, Value>) -> Range<usize> {
        let offsets = &tensor["data_offsets"];
        let at = |k: usize| offsets[k].as_u64().expect("a place") as usize;
        at(0)..at(1)
    }

    /// What version wrote a file may be seen in the order of its data; it makes no difference.
    #[test]
    fn data_in_any_order_gives_the_same_weights() {
        let (mut header, data) = parts(file());
        let metadata = header.remove("__metadata__").expect("metadata");
        let number = |name: &str| -> usize {
            let layer = name.split('.').next().unwrap_or_default();
            layer.trim_start_matches("conv2d_").parse().unwrap_or(95)
        };
        let by_name: Vec<String> = header.keys().cloned().collect();
        let backwards = by_name.iter().rev().cloned().collect();
        let mut by_layer = by_name.clone();
        by_layer.sort_by_key(|name| number(name));
        for order in [by_name, backwards, by_layer] {
            let (mut header, mut moved) = (header.clone(), Vec::new());
            for name in &order {
                let tensor = header.get_mut(name).expect("its own name");
                let from = moved.len();
                moved.extend_from_slice(&data[range(tensor)]);
                tensor.insert("data_offsets".into(), vec![from, moved.len()].into());
            }
            header.insert("__metadata__".into(), metadata.clone());
            assert_same(&joined(&header, &moved), 64 << 10);
        }
    }

    #[test]
    fn a_wrong_header_is_refused_before_the_numbers_come() {
        type Change = fn(&mut Header);
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
                "weights: conv2d_1.bias has shape [4, 8], expected [32]; make the file again",
            ),
            (
                |header| {
                    let bias = header.remove("conv2d_1.bias").expect("a bias");
                    header.insert("conv2d_0.bias".into(), bias);
                },
                "weights: conv2d_0.bias does not belong in this file; make the file again",
            ),
            (
                |header| {
                    let bias = header.remove("conv2d_1.bias").expect("a bias");
                    header.insert("conv2d_1.skew".into(), bias);
                },
                "weights: conv2d_1.bias is missing; make the file again",
            ),
            (
                |header| {
                    let metadata = header.get_mut("__metadata__").expect("metadata");
                    metadata.insert("format".into(), "inception-web weights 9".into());
                },
                "weights: invalid metadata \"format\": got \"inception-web weights 9\", expected inception-web weights 1; make the file again",
            ),
        ];
        let (header, _) = parts(file());
        for (change, want) in cases {
            let mut header = header.clone();
            change(&mut header);
            let mut arriving = WeightsStream::new();
            let error = arriving.take(joined(&header, &[]).into()).expect_err(want);
            assert!(error.to_string().starts_with(want), "{error}");
        }
        let mut arriving = WeightsStream::new();
        let long = (5u64 << 20).to_le_bytes().to_vec();
        assert_eq!(
            arriving.take(long.into()).expect_err("long").to_string(),
            "weights: invalid safetensors file (header too large, 8 bytes); download or convert it again"
        );
    }
}
