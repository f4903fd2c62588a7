//! Imports Inception V3 weights of other libraries. The format is detected from the contents, and BatchNorm is folded.
//!
//! Each importer maps the names of its format to [`kernels`](crate::net::inception::kernels). All 94 convolutions must be present with the
//! right shapes, and there must be no other tensors. To add a format: add a module with `find` and `read`, and call them in [`import`].

pub mod keras;
mod layer;
#[cfg(feature = "cli")]
pub mod nsfwjs;
pub mod onnx;
pub mod tfjs;
pub mod torch;

use crate::{error::Error, image::InputRange, weights::file::Source};

pub use layer::File;

/// Imports a base: safetensors of timm, `.pth` of torchvision, `.h5`, `.weights.h5` and `.keras` of Keras, a TF.js layers model, or ONNX.
///
/// `range` overrides the input range of the file. The classes of a classifier are numbered, because no format has their names.
///
/// # Errors
/// An unknown format, a damaged or malicious file, another network, values that are not finite.
pub fn import(files: &[File], range: Option<InputRange>) -> Result<Source, Error> {
    let mut source = if let Some(file) = torch::find(files) {
        torch::read(file, files)?
    } else if let Some(file) = keras::find(files) {
        keras::read(file, files)?
    } else if let Some(file) = onnx::find(files) {
        onnx::read(file, files)?
    } else if let Some(file) = tfjs::find(files) {
        tfjs::read(file, files)?
    } else {
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        return Err(Error::Source {
            file: names.join(", "),
            reason: "unknown format".into(),
            hint: "use model.safetensors of timm, .pth of torchvision, .h5, .weights.h5 or .keras of Keras, model.json of TF.js with its shards, or ONNX",
        });
    };
    if let Some(range) = range {
        source.info.range = range;
    }
    if !source.info.range.is_finite() {
        return Err(Error::Source {
            file: source.info.source,
            reason: "the input range is not finite".into(),
            hint: "export the model again",
        });
    }
    Ok(source)
}
