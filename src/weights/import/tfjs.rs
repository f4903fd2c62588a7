//! Imports TF.js layers models: topology and weights manifest in `model.json`, data in shards.
//!
//! Values are f32, f16, or u8 and u16 with a scale and a minimum per tensor. Layers have the names of Keras.
//!
//! # Source
//! [Weights manifest](https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts)

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use half::f16;
use serde::Deserialize;

use crate::{
    error::Error,
    format::safetensors::numbers,
    net::inception::FoldedConv,
    weights::{
        Classifier, Source,
        import::{
            keras::{Layers, Variable, assemble, info},
            layer::File,
        },
    },
};

const HINT: &str = "choose model.json and all of its shards together, or convert the model again";

/// The weights manifest of `model.json`.
#[derive(Deserialize)]
struct Model {
    format: Option<String>,
    #[serde(rename = "weightsManifest")]
    groups: Vec<Group>,
}

/// Shards and the tensors in their concatenated data.
#[derive(Deserialize)]
pub(super) struct Group {
    paths: Vec<String>,
    weights: Vec<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    #[serde(default)]
    min: f64,
    #[serde(default)]
    scale: f64,
    dtype: String,
}

/// A tensor, and the start and end of its bytes in the concatenated shards.
type Location<'a> = (&'a Spec, usize, usize);

/// Returns the JSON file with a weights manifest.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let key = b"\"weightsManifest\"";
    let found = files.iter().find(|file| {
        let text = file.bytes.trim_ascii_start();
        text.starts_with(b"{") && text.windows(key.len()).any(|window| window == key)
    });
    found.copied()
}

/// Imports the base, and the classifier if the top is a single dense layer.
///
/// # Errors
/// An invalid manifest, a missing shard, tensors that are not those of Inception V3.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let model: Model =
        serde_json::from_slice(file.bytes).map_err(|error| source(file.name, error))?;
    if model.format.as_deref() == Some("graph-model") {
        let reason = "graph models are not supported, because they do not keep the layer names";
        return Err(Error::Source {
            file: file.name.into(),
            reason: reason.into(),
            hint: "convert the Keras model with --output_format tfjs_layers_model",
        });
    }
    let mut used = HashSet::new();
    let (convs, classifier) = convs(file.name, &model.groups, |path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        if !used.insert(name.to_string()) {
            return Err(source(name, "shard listed twice"));
        }
        let shard = files.iter().find(|file| file.name == name);
        let shard = shard.ok_or_else(|| source(name, "missing shard"))?;
        Ok(Cow::Borrowed(shard.bytes))
    })?;
    Ok(Source {
        info: info(file.name, "TF.js"),
        convs,
        classifier,
    })
}

/// Reads convolutions and classifier from groups of shards; `shard` returns a shard by its path.
pub(super) fn convs<'a>(
    file: &str,
    groups: &[Group],
    mut shard: impl FnMut(&str) -> Result<Cow<'a, [u8]>, Error>,
) -> Result<(Vec<FoldedConv>, Option<Classifier>), Error> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut layers: BTreeMap<&str, Vec<Variable<Location>>> = BTreeMap::new();
    for group in groups {
        let mut start = bytes.len();
        for path in &group.paths {
            bytes.extend_from_slice(&shard(path)?);
        }
        for spec in &group.weights {
            let length = spec.length()?;
            let end = start.checked_add(length).filter(|end| *end <= bytes.len());
            let end = end.ok_or_else(|| source(&spec.name, "the shards are truncated"))?;
            let Some((layer, name)) = spec.name.rsplit_once('/') else {
                return Err(source(&spec.name, "tensor name without a layer"));
            };
            let layer = layer.rsplit('/').next().unwrap_or(layer);
            layers.entry(layer).or_default().push(Variable {
                name: name.to_string(),
                shape: spec.shape.clone(),
                location: (spec, start, end),
            });
            start = end;
        }
        if start != bytes.len() {
            let reason = format!("{} unused bytes", bytes.len() - start);
            return Err(source("the shards", reason));
        }
    }
    let layers = layers
        .into_iter()
        .map(|(name, variables)| (name.into(), variables));
    assemble(file, Layers::from_iter(layers), |(spec, start, end)| {
        Ok(spec.values(&bytes[*start..*end]))
    })
}

impl Spec {
    fn dtype(&self) -> &str {
        self.quantization.as_ref().map_or(&self.dtype, |q| &q.dtype)
    }

    /// Returns the number of bytes in the shards.
    fn length(&self) -> Result<usize, Error> {
        let size = match self.dtype() {
            "uint8" => 1,
            "uint16" | "float16" => 2,
            "float32" => 4,
            other => {
                return Err(source(&self.name, format!("unsupported dtype {other}")));
            }
        };
        let length = self
            .shape
            .iter()
            .try_fold(size, |a: usize, b| a.checked_mul(*b));
        length.ok_or_else(|| source(&self.name, format!("invalid shape {:?}", self.shape)))
    }

    fn values(&self, bytes: &[u8]) -> Vec<f64> {
        let (min, scale) = match &self.quantization {
            Some(quantization) => (quantization.min, quantization.scale),
            None => (0.0, 1.0),
        };
        let dequantize = |q: f64| q * scale + min;
        match self.dtype() {
            "uint8" => bytes.iter().map(|q| dequantize((*q).into())).collect(),
            "uint16" => numbers(bytes, |b| dequantize(u16::from_le_bytes(b).into())).collect(),
            "float16" => numbers(bytes, |b| f16::from_le_bytes(b).to_f64()).collect(),
            _ => numbers(bytes, |b| f32::from_le_bytes(b).into()).collect(),
        }
    }
}

fn source(file: &str, reason: impl ToString) -> Error {
    Error::Source {
        file: file.into(),
        reason: reason.to_string(),
        hint: HINT,
    }
}
