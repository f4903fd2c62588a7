//! The head and its input: the table of latents, the dense layers on top of them, and what can be said about both.

mod dense;
#[cfg(feature = "train")]
pub mod evaluate;
pub mod explain;
pub mod latents;
pub mod onnx;
#[cfg(feature = "train")]
pub mod pca;

pub use dense::{Dense, Head, Prediction, Scores, UNSURE_BELOW};
#[cfg(feature = "train")]
pub(crate) use dense::{largest, softmax};
