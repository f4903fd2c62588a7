//! The native weights format: safetensors with folded BatchNorm, and metadata about preprocessing, origin and licence.
//!
//! Tensors: `conv2d_K.kernel` [out, in, height, width] and `conv2d_K.bias` `[out]` for K in 1..=94. Kernels are f32, f16, or u8 with
//! `conv2d_K.kernel.scale` and `.min` per output channel (value = u8 x scale + min); the rest is f32. If the source has a classifier:
//! `classifier.kernel` [2048, classes] with the same dtypes, `classifier.bias` `[classes]`, and `classes` (JSON list) in the metadata.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

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
/// The value of the metadata `resize`; part of the fingerprint.
pub const RESIZE: &str = "tf.image.resize bilinear antialias, stretched to 299x299";
/// The value of the metadata `padding`; part of the fingerprint. Strided layers have no padding.
pub const PADDING: &str = "same where stride 1, valid where stride 2, as Keras";

/// Metadata of a base.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// Short display name.
    pub name: String,
    /// Origin of the weights.
    pub source: String,
    /// Licence of the weights.
    pub licence: String,
    /// Intended use and limitations, shown to users.
    pub note: String,
    /// Input range of the network.
    pub range: InputRange,
    /// Whether average pooling counts the padding.
    pub average_pool: AveragePool,
    /// First latents of the self-test image, computed on the CPU from the weights as this file stores them; empty until computed.
    pub self_test_latents: Vec<f32>,
}

/// The dense layer on top of a base, if its source has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// Kernel [2048, classes], row-major, and bias `[classes]`.
    pub layer: Dense,
    /// Class names in the order of the outputs.
    pub classes: Vec<String>,
}

impl Classifier {
    /// Creates a classifier with numbered classes, because no source format has their names.
    ///
    /// # Errors
    /// A value that is not finite.
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

/// An imported base: the input of [`write()`].
#[derive(Debug, Clone)]
pub struct Source {
    /// Metadata.
    pub info: Info,
    /// Convolutions in the order of [`kernels`].
    pub convs: Vec<FoldedConv>,
    /// The classifier, if the source has one.
    pub classifier: Option<Classifier>,
}

impl Source {
    /// Sets the class names of the classifier, if their number matches. No imported format has class names.
    pub fn name_classes(&mut self, names: &[String]) {
        if let Some(classifier) = &mut self.classifier
            && classifier.classes.len() == names.len()
        {
            classifier.classes = names.to_vec();
        }
    }
}

/// A weights file in the native format.
pub struct Weights<'a> {
    /// Metadata.
    pub info: Info,
    /// SHA-256 (hex) of the f32 weights and the preprocessing; the same for every dtype of one base.
    pub fingerprint: String,
    /// Storage type of the kernels.
    pub dtype: Dtype,
    pub(super) container: Container<'a>,
    pub(super) classes: Option<Vec<String>>,
}

/// The validated header of a file.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) info: Info,
    pub(super) fingerprint: String,
    pub(super) dtype: Dtype,
    pub(super) classes: Option<Vec<String>>,
    /// Expected SHA-256 (hex) of the contents; see [`ContentHash`].
    pub(super) sha256: String,
}

/// Returns the SHA-256 (hex) of folded f32 weights and their preprocessing.
pub fn fingerprint(info: &Info, convs: &[FoldedConv]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!(
        "inception_v3\n{RESIZE}\n{PADDING}\n{}\n",
        preprocessing(info)
    ));
    for conv in convs {
        for value in conv.kernel.floats().iter().chain(&conv.bias) {
            hash.update(value.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

/// Serialises weights. `fingerprint` is that of the f32 weights, for every `dtype`.
///
/// # Panics
/// If the shapes of the convolutions are not those of [`kernels`].
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
    let mut hash = ContentHash::new(info, fingerprint);
    for (name, stored) in &tensors {
        hash.update(name, stored.bytes());
    }
    metadata.insert("sha256".into(), hash.finish());
    write_file(&tensors, metadata)
}

/// Returns the convolutions as they are after writing and reading a file of this dtype.
pub fn round_trip(source: &Source, dtype: Dtype) -> Vec<FoldedConv> {
    let mut source = source.clone();
    source.info.self_test_latents = vec![0.0];
    let file = write(&source, &"0".repeat(64), dtype);
    let convs = Weights::open(&file).and_then(|weights| weights.convs().collect());
    convs.expect("a file that was just written is valid")
}

impl Header {
    /// Validates the metadata and the names and shapes of all tensors.
    pub(super) fn parse(container: &Container) -> Result<Header, Error> {
        let invalid = |key: &'static str, got: &str, want: &'static str| Error::Metadata {
            what: WHAT,
            key,
            got: got.chars().take(60).collect(),
            want,
        };
        let format = container.metadata("format")?;
        if format != "inception-web weights 1" {
            return Err(invalid("format", format, "inception-web weights 1"));
        }
        for (key, want) in [("resize", RESIZE), ("padding", PADDING)] {
            let got = container.metadata(key)?;
            if got != want {
                return Err(invalid(key, got, want));
            }
        }
        let want = "[black, white], each a number or a list of three numbers";
        let range = match container.metadata_json::<[f32; 2]>("input_range", want) {
            Ok([low, high]) => InputRange::even(low, high),
            Err(_) => {
                let [low, high] = container.metadata_json("input_range", want)?;
                InputRange { low, high }
            }
        };
        if !range.is_finite() {
            return Err(invalid(
                "input_range",
                container.metadata("input_range")?,
                want,
            ));
        }
        let average_pool = match container.metadata("average_pool")? {
            "exclude_padding" => AveragePool::ExcludePadding,
            "include_padding" => AveragePool::IncludePadding,
            other => {
                return Err(invalid(
                    "average_pool",
                    other,
                    "exclude_padding or include_padding",
                ));
            }
        };
        let dtype = container.metadata("dtype")?;
        let Some((_, dtype)) = Dtype::ALL.into_iter().find(|(name, _)| *name == dtype) else {
            return Err(invalid("dtype", dtype, "f32, f16 or u8"));
        };
        let fingerprint = container.metadata("fingerprint")?.to_string();
        if fingerprint.len() != 64 || !fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid(
                "fingerprint",
                &fingerprint,
                "64 hexadecimal digits",
            ));
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
        let latents = &info.self_test_latents;
        if latents.is_empty() || !latents.iter().all(|value| value.is_finite()) {
            let got = container.metadata("known_latents")?;
            return Err(invalid("known_latents", got, "at least one number"));
        }
        let kernels = kernels();
        let classes: Option<Vec<String>> = match container.metadata("classes") {
            Ok(_) => Some(container.metadata_json("classes", "a list of names")?),
            Err(_) => None,
        };
        if classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("classes", "[]", "at least one name"));
        }
        container.check_names(|name| {
            let layer = name.split('.').next().unwrap_or_default();
            kernels.iter().any(|(conv, _)| conv == layer)
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
        Ok(Header {
            info,
            fingerprint,
            dtype,
            classes,
            sha256: container.metadata("sha256")?.into(),
        })
    }
}

impl<'a> Weights<'a> {
    /// Returns the id of the base, as stored in latents and heads.
    pub fn id(&self) -> BaseId {
        BaseId {
            name: self.info.name.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    /// Returns whether the bytes look like a file in the native format: its format name is near the start.
    pub fn is_native(bytes: &[u8]) -> bool {
        let header = bytes.get(8..).unwrap_or_default();
        let format = b"\"inception-web weights ";
        header
            .get(..(64 << 10).min(header.len()))
            .is_some_and(|start| start.windows(format.len()).any(|window| window == format))
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// The errors of [`Weights::convs`] and [`Weights::classifier`].
    pub fn source(&self) -> Result<Source, Error> {
        Ok(Source {
            info: self.info.clone(),
            convs: self.convs().collect::<Result<_, _>>()?,
            classifier: self.classifier()?,
        })
    }

    /// Reads the classifier, if the file has one.
    ///
    /// # Errors
    /// An unsupported dtype, or a value that is not finite.
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

    /// Returns the classifier as a head of this base.
    ///
    /// # Errors
    /// The errors of [`Weights::classifier`].
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

    /// Reads the convolutions one by one.
    ///
    /// # Errors
    /// An unsupported dtype, or a value that is not finite.
    pub fn convs(&self) -> impl Iterator<Item = Result<FoldedConv, Error>> {
        let kernels = kernels().into_iter();
        kernels.map(|(name, shape)| read_conv(&self.container, &name, shape))
    }
}

/// Reads the kernel and the bias of a convolution.
pub(super) fn read_conv(
    container: &Container,
    name: &str,
    shape: [usize; 4],
) -> Result<FoldedConv, Error> {
    Ok(FoldedConv {
        kernel: container.kernel_data(&format!("{name}.kernel"), &shape, 0)?,
        bias: container.floats(&format!("{name}.bias"), &shape[..1])?,
    })
}

/// SHA-256 of the metadata that affect the latents, and of all tensors in the order of their names.
pub(super) struct ContentHash(Sha256);

impl ContentHash {
    pub(super) fn new(info: &Info, fingerprint: &str) -> ContentHash {
        let latents = json(&info.self_test_latents);
        let text = format!("{}\n{fingerprint}\n{latents}\n", preprocessing(info));
        ContentHash(Sha256::new_with_prefix(text))
    }

    pub(super) fn update(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(format!("{name}\n"));
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Returns the preprocessing as text, for hashing.
fn preprocessing(info: &Info) -> String {
    let InputRange { low, high } = info.range;
    match info.range.as_even() {
        Some([low, high]) => format!("{low:?} {high:?} {:?}", info.average_pool),
        None => format!("{low:?} {high:?} {:?}", info.average_pool),
    }
}

fn range_json(range: InputRange) -> String {
    match range.as_even() {
        Some(range) => json(&range),
        None => json(&[range.low, range.high]),
    }
}
