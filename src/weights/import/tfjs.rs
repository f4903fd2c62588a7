//! TF.js layers models of Keras' Inception V3: topology and manifest in `model.json`, the numbers in shards beside it.
//!
//! Values are f32, f16, or u8 and u16 with a scale and a minimum for each tensor. Layers are named as Keras names them. See
//! [TF.js's weights manifest](https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts).

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

/// `model.json`, as far as weights go.
#[derive(Deserialize)]
struct Model {
    format: Option<String>,
    #[serde(rename = "weightsManifest")]
    groups: Vec<Group>,
}

/// Some shards, and the tensors that lie in them, end to end.
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

/// A tensor, and from where to where its bytes lie in the shards end to end.
type Place<'a> = (&'a Spec, usize, usize);

/// The JSON file with a manifest, whatever it is called.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let has = |text: &[u8], mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    let found = files.iter().find(|file| {
        let text = file.bytes.trim_ascii_start();
        text.starts_with(b"{") && has(text, b"\"weightsManifest\"")
    });
    found.copied()
}

/// Reads the base, and the classifier if one dense layer lies on top of it; a deeper top is left out.
///
/// # Errors
/// A manifest that cannot be read, a missing shard, tensors that are not those of Inception V3.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let model: Model =
        serde_json::from_slice(file.bytes).map_err(|error| source(file.name, error))?;
    if model.format.as_deref() == Some("graph-model") {
        let reason = "it is a graph model, whose tensors have lost the names of their layers";
        return Err(Error::Source {
            file: file.name.into(),
            reason: reason.into(),
            hint: "convert the Keras model with --output_format tfjs_layers_model",
        });
    }
    let mut taken = HashSet::new();
    let (convs, classifier) = convs(file.name, &model.groups, |path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        if !taken.insert(name.to_string()) {
            return Err(source(name, "this shard is listed twice"));
        }
        let shard = files.iter().find(|file| file.name == name);
        let shard = shard.ok_or_else(|| source(name, "this shard is missing"))?;
        Ok(Cow::Borrowed(shard.bytes))
    })?;
    Ok(Source {
        info: info(file.name, "TF.js"),
        convs,
        classifier,
    })
}

/// Convolutions and classifier out of groups of shards, which `shard` finds by their paths.
pub(super) fn convs<'a>(
    file: &str,
    groups: &[Group],
    mut shard: impl FnMut(&str) -> Result<Cow<'a, [u8]>, Error>,
) -> Result<(Vec<FoldedConv>, Option<Classifier>), Error> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut layers: BTreeMap<&str, Vec<Variable<Place>>> = BTreeMap::new();
    for group in groups {
        let mut place = bytes.len();
        for path in &group.paths {
            bytes.extend_from_slice(&shard(path)?);
        }
        for spec in &group.weights {
            let length = spec.length()?;
            let end = place.checked_add(length).filter(|end| *end <= bytes.len());
            let end = end.ok_or_else(|| source(&spec.name, "the shards end before it"))?;
            let Some((layer, name)) = spec.name.rsplit_once('/') else {
                return Err(source(&spec.name, "it names no layer"));
            };
            let layer = layer.rsplit('/').next().unwrap_or(layer);
            layers.entry(layer).or_default().push(Variable {
                name: name.to_string(),
                shape: spec.shape.clone(),
                place: (spec, place, end),
            });
            place = end;
        }
        if place != bytes.len() {
            let reason = format!("{} bytes are left over", bytes.len() - place);
            return Err(source("the shards", reason));
        }
    }
    let layers = layers.into_iter().map(|(name, parts)| (name.into(), parts));
    assemble(file, Layers::from_iter(layers), |(spec, start, end)| {
        Ok(spec.values(&bytes[*start..*end]))
    })
}

impl Spec {
    fn dtype(&self) -> &str {
        self.quantization.as_ref().map_or(&self.dtype, |q| &q.dtype)
    }

    /// Bytes in the shards.
    fn length(&self) -> Result<usize, Error> {
        let each = match self.dtype() {
            "uint8" => 1,
            "uint16" | "float16" => 2,
            "float32" => 4,
            other => {
                return Err(source(
                    &self.name,
                    format!("its numbers are of type {other}"),
                ));
            }
        };
        let length = self
            .shape
            .iter()
            .try_fold(each, |a: usize, b| a.checked_mul(*b));
        length.ok_or_else(|| source(&self.name, format!("its shape is {:?}", self.shape)))
    }

    fn values(&self, bytes: &[u8]) -> Vec<f64> {
        let (min, scale) = match &self.quantization {
            Some(quantization) => (quantization.min, quantization.scale),
            None => (0.0, 1.0),
        };
        let level = |q: f64| q * scale + min;
        match self.dtype() {
            "uint8" => bytes.iter().map(|q| level((*q).into())).collect(),
            "uint16" => numbers(bytes, |b| level(u16::from_le_bytes(b).into())).collect(),
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
