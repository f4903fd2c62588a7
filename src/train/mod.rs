//! Training on the CPU: one [`Trainer`] for a head on latents and for the networks on pixels.

mod conv_pool;
mod head;
mod linear;
pub mod network;
mod settings;
mod trainer;
mod validate;

pub use head::{HeadTrainer, Trained, check_classes, train, usable};
pub use settings::{ClassWeights, Optimizer, Settings};
pub use trainer::{Examples, Model, Report, Trainer};
pub use validate::{CrossValidation, validate};
