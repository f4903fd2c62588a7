//! TF.js layers models of Keras Inception V3, as npm `nsfwjs` packs one: topology and manifest in `model.min.js`, six shards of base64.
//!
//! Kernels are [height, width, in, out]; BatchNorm has beta, moving mean and moving variance, no gamma, epsilon 1e-3.
//! See [TF.js's weights manifest](https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts).

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    error::Error,
    image::InputRange,
    inception::{AveragePool, Folded, kernels},
    weights::Info,
};

const EPSILON: f64 = 1e-3;
/// What to do when the package is not as expected.
pub const HINT: &str = "install the npm package nsfwjs 4.4.0 again (`npm ci`)";

/// One group of shards and the tensors that lie in them, end to end.
#[derive(Deserialize)]
struct Group {
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
    min: f64,
    scale: f64,
    dtype: String,
}

/// What is known of the base inside npm `nsfwjs` 4.4.0.
pub fn info() -> Info {
    Info {
        name: "nsfwjs Inception V3".into(),
        source: "npm nsfwjs 4.4.0, dist/models/inception_v3".into(),
        licence: "MIT".into(),
        note: "This base was fine-tuned to spot unsafe pictures. As a general feature extractor it is weaker than ImageNet weights.".into(),
        range: InputRange::UNIT,
        average_pool: AveragePool::ExcludePadding,
        known_latents: Vec::new(),
    }
}

/// Reads `model.min.js` and, by `shard(file name)`, the files that its manifest names; folds BatchNorm into the kernels.
///
/// The dense layers after the base are not ours and are left out.
///
/// # Errors
/// A manifest that cannot be read, a missing shard, tensors that are not those of Inception V3.
pub fn read(
    model: &str,
    mut shard: impl FnMut(&str) -> Result<String, Error>,
) -> Result<Vec<Folded>, Error> {
    let mut tensors = HashMap::new();
    for group in manifest(model)? {
        let mut bytes = Vec::new();
        for path in &group.paths {
            let file = format!("{path}.min.js");
            let text = shard(&file)?;
            let base64 = text
                .split_once("exports=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            let (base64, _) = base64.ok_or_else(|| source(&file, "it holds no base64 string"))?;
            bytes.extend(
                STANDARD
                    .decode(base64)
                    .map_err(|error| source(&file, error))?,
            );
        }
        let mut rest = bytes.as_slice();
        for spec in group.weights {
            let count = spec.shape.iter().product::<usize>();
            let (own, after) = rest
                .split_at_checked(count * spec.bytes_each()?)
                .ok_or_else(|| source(&spec.name, "the shards end before it"))?;
            rest = after;
            tensors.insert(spec.name.clone(), (spec.values(own), spec.shape));
        }
        if !rest.is_empty() {
            return Err(source(
                "the shards",
                format!("{} bytes are left over", rest.len()),
            ));
        }
    }
    let mut take = |name: String, want: Vec<usize>| {
        let (values, shape) = tensors.remove(&name).ok_or_else(|| Error::MissingTensor {
            what: "weights",
            name: name.clone(),
        })?;
        if shape != want {
            return Err(Error::Shape {
                what: "weights",
                name,
                want,
                got: shape,
            });
        }
        Ok(values)
    };
    let mut convs = Vec::new();
    for (k, (name, [out, inputs, h, w])) in (1..).zip(kernels()) {
        let kernel = take(format!("{name}/kernel"), vec![h, w, inputs, out])?;
        let mut norm = |part: &str| take(format!("batch_normalization_{k}/{part}"), vec![out]);
        let (beta, mean, variance) = (
            norm("beta")?,
            norm("moving_mean")?,
            norm("moving_variance")?,
        );
        let gain: Vec<f64> = variance
            .iter()
            .map(|v| (v + EPSILON).sqrt().recip())
            .collect();
        let mut folded = Vec::with_capacity(kernel.len());
        for o in 0..out {
            for i in 0..inputs {
                for p in 0..h * w {
                    folded.push((kernel[(p * inputs + i) * out + o] * gain[o]) as f32);
                }
            }
        }
        let bias = (0..out)
            .map(|o| (beta[o] - mean[o] * gain[o]) as f32)
            .collect();
        convs.push(Folded {
            kernel: folded,
            bias,
        });
    }
    let base =
        |name: &&String| name.starts_with("conv2d") || name.starts_with("batch_normalization");
    if let Some(name) = tensors.keys().find(base) {
        return Err(Error::ForeignTensor {
            what: "weights",
            name: name.clone(),
        });
    }
    Ok(convs)
}

/// The `weightsManifest` of a CommonJS bundle: an object literal that JSON5 reads.
fn manifest(model: &str) -> Result<Vec<Group>, Error> {
    const FILE: &str = "model.min.js";
    let start = model
        .find("weightsManifest:")
        .ok_or_else(|| source(FILE, "it holds no weightsManifest"))?;
    let literal = &model[start + "weightsManifest:".len()..];
    let mut depth = 0usize;
    let end = literal.find(|c| {
        depth = match c {
            '[' => depth + 1,
            ']' => depth.saturating_sub(1),
            _ => depth,
        };
        depth == 0
    });
    let end = end.ok_or_else(|| source(FILE, "its weightsManifest does not end"))?;
    json5::from_str(&literal[..=end]).map_err(|error| source(FILE, error))
}

impl Spec {
    fn bytes_each(&self) -> Result<usize, Error> {
        let dtype = self.quantization.as_ref().map_or(&self.dtype, |q| &q.dtype);
        match dtype.as_str() {
            "uint8" => Ok(1),
            "uint16" => Ok(2),
            "float32" => Ok(4),
            other => Err(source(&self.name, format!("numbers of type {other}"))),
        }
    }

    fn values(&self, bytes: &[u8]) -> Vec<f64> {
        match &self.quantization {
            Some(Quantization { min, scale, dtype }) if dtype == "uint16" => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from(u16::from_le_bytes(*b)) * scale + min)
                .collect(),
            Some(Quantization { min, scale, .. }) => {
                bytes.iter().map(|q| f64::from(*q) * scale + min).collect()
            }
            None => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b).into())
                .collect(),
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
