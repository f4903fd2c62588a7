//! Bases as the field hands them round: told apart by what is in them, checked, BatchNorm folded, one [`Source`] from each.
//!
//! A format's own file maps its names to the net's, by structure and never by luck: all 94 convolutions are there, each of its shape, and
//! nothing is left over. What no file says (how pictures reach the net) a person may say.

pub mod keras;
mod layer;
#[cfg(feature = "cli")]
pub mod nsfwjs;
pub mod onnx;
pub mod tfjs;
pub mod torch;

use crate::{error::Error, image::InputRange, weights::file::Source};

pub use layer::File;

/// Reads a base in any format that is known here: timm's safetensors, torchvision's `.pth`, Keras' `.h5`, `.weights.h5` and `.keras`, a
/// TF.js layers model, ONNX.
///
/// `range` is how pictures reach the net, where a person knows better than the file. Classes of a classifier are numbered, since no
/// source names them.
///
/// # Errors
/// An unknown, damaged or hostile file, another network, numbers that are not finite: each with a sentence.
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
            reason: "the format is none of those that are known here".into(),
            hint: "use timm's model.safetensors, torchvision's .pth, Keras' .h5, .weights.h5 or .keras, TF.js's model.json with its shards, or ONNX",
        });
    };
    if let Some(range) = range {
        source.info.range = range;
    }
    if !source.info.range.is_finite() {
        return Err(Error::Source {
            file: source.info.source,
            reason: "black or white become no numbers".into(),
            hint: "export the model again",
        });
    }
    Ok(source)
}
