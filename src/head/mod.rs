//! The head (dense layers on latents), its input (tables of latents), its evaluation and its exports.

#[cfg(feature = "train")]
pub mod evaluate;
pub mod explain;
pub mod latents;
mod model;
pub mod onnx;
#[cfg(feature = "train")]
pub mod pca;

pub use model::{Dense, Head, Prediction, Scores, UNSURE_BELOW};
#[cfg(feature = "train")]
pub(crate) use model::{largest, softmax};
