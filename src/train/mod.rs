//! Training on the CPU. [`Trainer`] trains heads on latents and networks on pixels.

mod conv_pool;
mod head;
mod linear;
pub mod network;
mod settings;
mod trainer;
mod validate;

pub use head::{HeadTrainer, TrainedHead, check_classes, train, trainable_rows};
pub use settings::{ClassWeights, Optimizer, Settings};
pub(crate) use trainer::INFERENCE_BATCH;
pub use trainer::{EpochReport, Examples, Model, Trainer};
pub use validate::{CrossValidation, validate};
