//! Weights of the base: the native file format and its streaming reader, quantisation, and import of other formats.

mod file;
#[cfg(feature = "convert")]
pub mod import;
pub mod quantise;
mod stream;

pub use crate::format::{
    quantized::{KernelData, QuantizedU8},
    safetensors::Dtype,
};
pub use file::{
    Classifier, Info, PADDING, RESIZE, Source, Weights, fingerprint, round_trip, write,
};
pub use stream::WeightsStream;
