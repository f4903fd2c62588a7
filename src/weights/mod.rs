//! The base's weights: the native file format, reading it as a stream, quantising it, and importing other formats.

mod file;
#[cfg(feature = "convert")]
pub mod import;
pub mod quantise;
mod stream;

pub use crate::format::{
    quantized::{KernelData, QuantizedU8},
    safetensors::Dtype,
};
pub use file::{Classifier, Info, PADDING, RESIZE, Source, Weights, fingerprint, rounded, write};
pub use stream::WeightsStream;
