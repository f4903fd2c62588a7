//! Command-line options that several commands share.

use inception_web::{
    image::InputRange,
    train::{ClassWeights, Optimizer, Settings},
    weights::Dtype,
};
use serde::de::DeserializeOwned;

/// The value name of `--weights` and `--from`.
pub const WEIGHTS_VALUE: &str = "npm|imagenet|URL|FILE";

/// Options of the commands that build the page.
#[derive(clap::Args)]
pub struct SiteArgs {
    /// Base: `npm` (package nsfwjs), `imagenet` (Hugging Face hub, or INCEPTION_WEB_IMAGENET_URL), a URL or a weights file in any
    /// supported format; `auto` uses imagenet, or npm if the download fails
    #[arg(long, value_name = WEIGHTS_VALUE, default_value = "auto")]
    pub weights: String,
    /// Cargo profile of the wasm builds: `web`, or `web-dev`, which builds faster and runs slower
    #[arg(long, default_value = "web")]
    pub profile: String,
}

/// The number type of a file to write.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum DtypeArg {
    F32,
    F16,
    U8,
}

impl From<DtypeArg> for Dtype {
    fn from(dtype: DtypeArg) -> Dtype {
        match dtype {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::F16 => Dtype::F16,
            DtypeArg::U8 => Dtype::U8,
        }
    }
}

/// The input range of a base.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum InputArg {
    Unit,
    Signed,
    Imagenet,
}

impl From<InputArg> for InputRange {
    fn from(input: InputArg) -> InputRange {
        match input {
            InputArg::Unit => InputRange::UNIT,
            InputArg::Signed => InputRange::SIGNED,
            InputArg::Imagenet => InputRange::IMAGENET,
        }
    }
}

// The training settings of a head. Not a doc comment: clap would show it in the help of each command.
#[derive(clap::Args)]
pub struct Training {
    /// Name of the head, shown in the page
    #[arg(long, default_value_t = Settings::default().name)]
    name: String,
    /// Units of the hidden layer; 0 trains a linear head
    #[arg(long, default_value_t = Settings::default().hidden)]
    hidden: usize,
    /// Dropout rate of the hidden layer, from 0 to below 1
    #[arg(long, default_value_t = Settings::default().dropout)]
    dropout: f32,
    /// Optimizer: adamw or adam
    #[arg(long, default_value = "adamw", value_parser = from_name::<Optimizer>)]
    optimizer: Optimizer,
    /// Initial learning rate, with cosine decay to 0
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    learning_rate: f64,
    /// Weight decay of adamw; not used by adam
    #[arg(long, default_value_t = Settings::default().weight_decay)]
    weight_decay: f64,
    /// Batch size
    #[arg(long, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Maximum number of epochs
    #[arg(long, default_value_t = Settings::default().epochs)]
    epochs: usize,
    /// Label smoothing, from 0 to below 1
    #[arg(long, default_value_t = Settings::default().label_smoothing)]
    label_smoothing: f32,
    /// Class weights in the loss: none, or balanced (inverse to the number of pictures of a class)
    #[arg(long, default_value = "none", value_parser = from_name::<ClassWeights>)]
    class_weights: ClassWeights,
    /// Random seed; the same seed and latents give the same head
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Validation split: the share of each class that is not trained on, from 0 to 0.9
    #[arg(long, default_value_t = Settings::default().validation)]
    validation: f64,
    /// Early stopping: epochs without a lower validation loss before training ends; 0 disables it
    #[arg(long, default_value_t = Settings::default().patience)]
    patience: usize,
}

impl Training {
    pub fn settings(self) -> Settings {
        Settings {
            hidden: self.hidden,
            dropout: self.dropout,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            batch: self.batch,
            epochs: self.epochs,
            label_smoothing: self.label_smoothing,
            class_weights: self.class_weights,
            seed: self.seed,
            validation: self.validation,
            patience: self.patience,
            name: self.name,
        }
    }
}

/// Parses an enum value by its serialised name.
pub fn from_name<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error: serde_json::Error| error.to_string())
}
