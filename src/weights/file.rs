//! The base's weights in the one file format of ours: safetensors, BatchNorm folded, with what must be known to use them.
//!
//! Tensors: `conv2d_K.kernel` [out, in, height, width] and `conv2d_K.bias` `[out]` for K in 1..=94. Kernels are f32, f16, or u8 with
//! `conv2d_K.kernel.scale` and `.min` per output channel (value = u8 x scale + min); the rest is f32. Where the source had a classifier:
//! `classifier.kernel` [2048, classes] in the same number types, `classifier.bias` `[classes]`, and `classes` (JSON list) in the metadata.
//! Other formats are read by the files beside this one, each to a [`Source`]; `arriving.rs` reads a file of ours while it comes.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    format::{
        hex,
        safetensors::{Container, Dtype, Stored, json, store_floats, write_file},
    },
    head::{Dense, Head, UNSURE_BELOW, latents::BaseId},
    image::InputRange,
    net::inception::{AveragePool, FoldedConv, LATENTS, kernels},
};

pub(super) const WHAT: &str = "weights";
pub(super) const COMMAND: &str = "weights";
const KERNEL: &str = "classifier.kernel";
const BIAS: &str = "classifier.bias";
/// How pictures reach the net, for every file here: part of the fingerprint.
pub const RESIZE: &str = "tf.image.resize bilinear antialias, stretched to 299x299";
/// Where stride-1 convolutions and average pools pad: evenly, to the same size. Strided layers do not pad.
pub const PADDING: &str = "same where stride 1, valid where stride 2, as Keras";

/// What a person and a program must know of a base besides its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// A short name, for sentences.
    pub name: String,
    /// Where the weights come from.
    pub source: String,
    /// Their licence.
    pub licence: String,
    /// What they are good and not good for, in plain words.
    pub note: String,
    /// What black and white become before the first layer.
    pub range: InputRange,
    /// What average pools divide by at the border.
    pub average_pool: AveragePool,
    /// The first latents of the known picture, by the weights as this file stores them, on the CPU; empty until computed.
    pub self_test_latents: Vec<f32>,
}

/// The dense layer that a source has on top: a head that belongs to its base.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// [2048, classes], row-major, and `[classes]`.
    pub layer: Dense,
    /// In the order of the outputs.
    pub classes: Vec<String>,
}

impl Classifier {
    /// A layer whose classes are numbered, for no source names them.
    ///
    /// # Errors
    /// A number that is not finite, more classes than anybody has.
    #[cfg(feature = "convert")]
    pub(crate) fn new(layer: Dense) -> Result<Classifier, Error> {
        for (part, values) in [(KERNEL, &layer.kernel), (BIAS, &layer.bias)] {
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite {
                    what: WHAT,
                    name: part.into(),
                    index,
                });
            }
        }
        let classes = (0..layer.bias.len()).map(|k| format!("class {k}"));
        Ok(Classifier {
            classes: classes.collect(),
            layer,
        })
    }
}

/// A base in whole numbers, as it is written to a file of ours.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is known of it.
    pub info: Info,
    /// In the order of [`kernels`].
    pub convs: Vec<FoldedConv>,
    /// What it answers by itself, if its source has that.
    pub classifier: Option<Classifier>,
}

impl Source {
    /// Names the classifier's classes, if they are as many; no foreign file does.
    pub fn name_classes(&mut self, names: &[String]) {
        if let Some(classifier) = &mut self.classifier
            && classifier.classes.len() == names.len()
        {
            classifier.classes = names.to_vec();
        }
    }
}

/// An opened weights file.
pub struct Weights<'a> {
    /// What the file says of itself.
    pub info: Info,
    /// SHA-256 (hex) of the exact weights and the preprocessing: the same for every dtype of one base.
    pub fingerprint: String,
    /// How the kernels are stored.
    pub dtype: Dtype,
    pub(super) container: Container<'a>,
    pub(super) classes: Option<Vec<String>>,
}

/// What a file's header says, before any of its numbers is there.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) info: Info,
    pub(super) fingerprint: String,
    pub(super) dtype: Dtype,
    pub(super) classes: Option<Vec<String>>,
    /// SHA-256 (hex) that the contents should have.
    pub(super) sha256: String,
}

/// SHA-256 (hex) of folded f32 weights with their preprocessing.
pub fn fingerprint(info: &Info, convs: &[FoldedConv]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "inception_v3\n{RESIZE}\n{PADDING}\n{}\n",
        conventions(info)
    ));
    for conv in convs {
        for value in conv.kernel.floats().iter().chain(&conv.bias) {
            hash.update(value.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

/// The file of these weights; `fingerprint` is that of the exact ones, whatever `dtype` does to them.
///
/// # Panics
/// If `convs` are not those of [`kernels`].
pub fn write(source: &Source, fingerprint: &str, dtype: Dtype) -> Vec<u8> {
    let info = &source.info;
    let mut tensors = Vec::new();
    for ((name, shape), conv) in kernels().iter().zip(&source.convs) {
        assert_eq!(conv.kernel.len(), shape.iter().product::<usize>(), "{name}");
        let kernel = format!("{name}.kernel");
        let values = conv.kernel.floats();
        tensors.extend(store_floats(&kernel, shape, &values, 0, dtype));
        tensors.push((format!("{name}.bias"), Stored::f32(&shape[..1], &conv.bias)));
    }
    if let Some(Classifier { layer, classes }) = &source.classifier {
        let shape = [LATENTS, classes.len()];
        tensors.extend(store_floats(KERNEL, &shape, &layer.kernel, 1, dtype));
        tensors.push((BIAS.into(), Stored::f32(&shape[1..], &layer.bias)));
    }
    let average_pool = match info.average_pool {
        AveragePool::ExcludePadding => "exclude_padding",
        AveragePool::IncludePadding => "include_padding",
    };
    let mut metadata: HashMap<String, String> = [
        ("format", "inception-web weights 1"),
        ("name", &info.name),
        ("source", &info.source),
        ("licence", &info.licence),
        ("note", &info.note),
        ("input_range", &range_json(info.range)),
        ("resize", RESIZE),
        ("padding", PADDING),
        ("average_pool", average_pool),
        ("batch_norm", "folded"),
        ("dtype", dtype.name()),
        ("fingerprint", fingerprint),
        ("known_latents", &json(&info.self_test_latents)),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .into();
    if let Some(classifier) = &source.classifier {
        metadata.insert("classes".into(), json(&classifier.classes));
    }
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut digest = Digest::new(info, fingerprint);
    for (name, stored) in &tensors {
        digest.update(name, stored.bytes());
    }
    metadata.insert("sha256".into(), digest.finish());
    write_file(&tensors, metadata)
}

/// The convolutions as a file of this dtype gives them back.
pub fn rounded(source: &Source, dtype: Dtype) -> Vec<FoldedConv> {
    let mut source = source.clone();
    source.info.self_test_latents = vec![0.0];
    let file = write(&source, &"0".repeat(64), dtype);
    let convs = Weights::open(&file).and_then(|weights| weights.convs().collect());
    convs.expect("what was just written opens")
}

impl Facts {
    /// Checks all that can be without the numbers: metadata, names and shapes.
    pub(super) fn of(container: &Container) -> Result<Facts, Error> {
        let bad = |key: &'static str, got: &str, want: &'static str| Error::Metadata {
            what: WHAT,
            key,
            got: got.chars().take(60).collect(),
            want,
        };
        let format = container.metadata("format")?;
        if format != "inception-web weights 1" {
            return Err(bad("format", format, "inception-web weights 1"));
        }
        for (key, ours) in [("resize", RESIZE), ("padding", PADDING)] {
            let theirs = container.metadata(key)?;
            if theirs != ours {
                return Err(bad(key, theirs, ours));
            }
        }
        let want = "two numbers, or two lists of three: what black and white become";
        let range = match container.metadata_json::<[f32; 2]>("input_range", want) {
            Ok([low, high]) => InputRange::even(low, high),
            Err(_) => {
                let [low, high] = container.metadata_json("input_range", want)?;
                InputRange { low, high }
            }
        };
        if !range.is_finite() {
            return Err(bad("input_range", container.metadata("input_range")?, want));
        }
        let average_pool = match container.metadata("average_pool")? {
            "exclude_padding" => AveragePool::ExcludePadding,
            "include_padding" => AveragePool::IncludePadding,
            other => {
                return Err(bad(
                    "average_pool",
                    other,
                    "exclude_padding or include_padding",
                ));
            }
        };
        let dtype = container.metadata("dtype")?;
        let Some((_, dtype)) = Dtype::ALL.into_iter().find(|(name, _)| *name == dtype) else {
            return Err(bad("dtype", dtype, "f32, f16 or u8"));
        };
        let fingerprint = container.metadata("fingerprint")?.to_string();
        if fingerprint.len() != 64 || !fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("fingerprint", &fingerprint, "64 hexadecimal digits"));
        }
        let info = Info {
            name: container.metadata("name")?.into(),
            source: container.metadata("source")?.into(),
            licence: container.metadata("licence")?.into(),
            note: container.metadata("note")?.into(),
            range,
            average_pool,
            self_test_latents: container.metadata_json("known_latents", "a list of numbers")?,
        };
        let known = &info.self_test_latents;
        if known.is_empty() || !known.iter().all(|value| value.is_finite()) {
            let got = container.metadata("known_latents")?;
            return Err(bad("known_latents", got, "at least one number"));
        }
        let kernels = kernels();
        let classes: Option<Vec<String>> = match container.metadata("classes") {
            Ok(_) => Some(container.metadata_json("classes", "a list of names")?),
            Err(_) => None,
        };
        if classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(bad("classes", "[]", "at least one name"));
        }
        container.check_names(|name| {
            let layer = name.split('.').next().unwrap_or_default();
            kernels.iter().any(|(known, _)| known == layer)
                || (classes.is_some() && layer == "classifier")
        })?;
        if let Some(classes) = &classes {
            container.tensor(KERNEL, &[LATENTS, classes.len()])?;
            container.tensor(BIAS, &[classes.len()])?;
        }
        for (name, shape) in &kernels {
            container.tensor(&format!("{name}.kernel"), shape)?;
            container.tensor(&format!("{name}.bias"), &shape[..1])?;
        }
        Ok(Facts {
            info,
            fingerprint,
            dtype,
            classes,
            sha256: container.metadata("sha256")?.into(),
        })
    }
}

impl<'a> Weights<'a> {
    /// The name and the fingerprint, as latents and heads record them.
    pub fn id(&self) -> BaseId {
        BaseId {
            name: self.info.name.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// Whether the bytes begin as a file of ours does: a safetensors header that says so.
    pub fn is(bytes: &[u8]) -> bool {
        let header = bytes.get(8..).unwrap_or_default();
        let mark = b"\"inception-web weights ";
        header
            .get(..(64 << 10).min(header.len()))
            .is_some_and(|start| start.windows(mark.len()).any(|window| window == mark))
    }

    /// All that the file holds.
    ///
    /// # Errors
    /// As [`Weights::convs`].
    pub fn source(&self) -> Result<Source, Error> {
        Ok(Source {
            info: self.info.clone(),
            convs: self.convs().collect::<Result<_, _>>()?,
            classifier: self.classifier()?,
        })
    }

    /// What the base answers by itself, if its source had a classifier.
    ///
    /// # Errors
    /// A number type that does not belong, or a number that is not finite.
    pub fn classifier(&self) -> Result<Option<Classifier>, Error> {
        let Some(classes) = &self.classes else {
            return Ok(None);
        };
        let shape = [LATENTS, classes.len()];
        Ok(Some(Classifier {
            layer: Dense {
                kernel: self.container.dequantized(KERNEL, &shape, 1)?,
                bias: self.container.floats(BIAS, &shape[1..])?,
            },
            classes: classes.clone(),
        }))
    }

    /// The classifier as a head of this base.
    ///
    /// # Errors
    /// As [`Weights::classifier`].
    pub fn head(&self) -> Result<Option<Head>, Error> {
        let Some(Classifier { layer, classes }) = self.classifier()? else {
            return Ok(None);
        };
        Ok(Some(Head {
            name: format!("the {} classes of {}", classes.len(), self.info.name),
            base: self.id(),
            classes,
            scores: None,
            pictures: 0,
            temperature: 1.0,
            unsure_below: UNSURE_BELOW,
            layers: vec![layer],
        }))
    }

    /// The convolutions, one by one.
    pub fn convs(&self) -> impl Iterator<Item = Result<FoldedConv, Error>> {
        let kernels = kernels().into_iter();
        kernels.map(|(name, shape)| folded(&self.container, &name, shape))
    }
}

/// A convolution's numbers.
pub(super) fn folded(
    container: &Container,
    name: &str,
    shape: [usize; 4],
) -> Result<FoldedConv, Error> {
    Ok(FoldedConv {
        kernel: container.kernel_data(&format!("{name}.kernel"), &shape, 0)?,
        bias: container.floats(&format!("{name}.bias"), &shape[..1])?,
    })
}

/// SHA-256 of a file's tensors, in the order of their names, and of the metadata that decides what comes out.
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn new(info: &Info, fingerprint: &str) -> Digest {
        let known = json(&info.self_test_latents);
        let text = format!("{}\n{fingerprint}\n{known}\n", conventions(info));
        Digest(Sha256::new_with_prefix(text))
    }

    pub(super) fn update(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(format!("{name}\n"));
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

fn conventions(info: &Info) -> String {
    let InputRange { low, high } = info.range;
    match info.range.both() {
        Some([low, high]) => format!("{low:?} {high:?} {:?}", info.average_pool),
        None => format!("{low:?} {high:?} {:?}", info.average_pool),
    }
}

fn range_json(range: InputRange) -> String {
    match range.both() {
        Some(both) => json(&both),
        None => json(&[range.low, range.high]),
    }
}
