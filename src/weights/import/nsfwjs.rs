//! Imports the base of the npm package `nsfwjs`: a TF.js layers model with `model.min.js` and six shards in base64.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    error::Error,
    image::InputRange,
    net::inception::AveragePool,
    weights::{
        Info, Source,
        import::tfjs::{Group, convs},
    },
};

const MODEL: &str = "model.min.js";
/// Advice in error messages.
pub const HINT: &str = "install the npm package nsfwjs 4.4.0 again (`npm ci`)";

/// Imports the base. `read_file` returns a file of the model's folder by name. The dense layers after the base are ignored.
///
/// # Errors
/// An invalid manifest, a missing shard, tensors that are not those of Inception V3.
pub fn read(read_file: impl Fn(&str) -> Result<String, Error>) -> Result<Source, Error> {
    let groups = manifest(&read_file(MODEL)?)?;
    let (convs, _) = convs(MODEL, &groups, |path| {
        let file = format!("{path}.min.js");
        let text = read_file(&file)?;
        let base64 = text
            .split_once("exports=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let (base64, _) = base64.ok_or_else(|| source(&file, "missing base64 string"))?;
        let bytes = STANDARD.decode(base64);
        Ok(bytes.map_err(|error| source(&file, error))?.into())
    })?;
    Ok(Source {
        info: Info {
            name: "nsfwjs Inception V3".into(),
            source: "npm nsfwjs 4.4.0, dist/models/inception_v3".into(),
            licence: "MIT".into(),
            note: "This base was fine-tuned to spot unsafe pictures. As a general feature extractor it is weaker than ImageNet weights.".into(),
            range: InputRange::UNIT,
            average_pool: AveragePool::ExcludePadding,
            self_test_latents: Vec::new(),
        },
        convs,
        classifier: None,
    })
}

/// Extracts the `weightsManifest` of a CommonJS bundle. It is an object literal, which is valid JSON5.
fn manifest(model: &str) -> Result<Vec<Group>, Error> {
    let start = model
        .find("weightsManifest:")
        .ok_or_else(|| source(MODEL, "missing weightsManifest"))?;
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
    let end = end.ok_or_else(|| source(MODEL, "truncated weightsManifest"))?;
    json5::from_str(&literal[..=end]).map_err(|error| source(MODEL, error))
}

fn source(file: &str, reason: impl ToString) -> Error {
    Error::Source {
        file: file.into(),
        reason: reason.to_string(),
        hint: HINT,
    }
}
