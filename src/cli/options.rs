//! Command-line options that several commands share.

use inception_web::{
    image::InputRange,
    train::{ClassWeights, Optimizer, Settings},
    weights::Dtype,
};
use serde::de::DeserializeOwned;

/// What `--weights` and `--from` take.
pub const PLACES: &str = "npm|imagenet|URL|FILE";

/// Number types of files, as arguments.
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

/// What black and white become, as an argument.
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

#[derive(clap::Args)]
pub struct Training {
    /// A short name for people
    #[arg(long, default_value_t = Settings::default().name)]
    name: String,
    /// Units of a hidden layer; 0 for a linear head
    #[arg(long, default_value_t = Settings::default().hidden)]
    hidden: usize,
    /// Share of the hidden units left out in each step
    #[arg(long, default_value_t = Settings::default().dropout)]
    dropout: f32,
    /// adamw or adam
    #[arg(long, default_value = "adamw", value_parser = named::<Optimizer>)]
    optimizer: Optimizer,
    /// Step size at the start; it falls along half a cosine
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    learning_rate: f64,
    /// AdamW's decay of the weights; adam has none
    #[arg(long, default_value_t = Settings::default().weight_decay)]
    weight_decay: f64,
    /// Pictures a step
    #[arg(long, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Passes over the training pictures, at most
    #[arg(long, default_value_t = Settings::default().epochs)]
    epochs: usize,
    /// Share of the target that is spread over all classes
    #[arg(long, default_value_t = Settings::default().label_smoothing)]
    label_smoothing: f32,
    /// none, or balanced: all classes count alike, however many pictures they have
    #[arg(long, default_value = "none", value_parser = named::<ClassWeights>)]
    class_weights: ClassWeights,
    /// Same seed, same latents: the same head
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Share of each class held out to validate on
    #[arg(long, default_value_t = Settings::default().validation)]
    validation: f64,
    /// Epochs without a lower validation loss after which training ends; 0 never ends early
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

/// A choice by the name that it has in files and in the page.
pub fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error: serde_json::Error| error.to_string())
}
