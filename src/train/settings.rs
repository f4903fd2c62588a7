//! Training settings with their defaults and limits.

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    train::{linear::Adam, network::Layer},
};

/// Training settings. The defaults were chosen by measurement, see `bench/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Units of the hidden layer; 0 for a linear head.
    pub hidden: usize,
    /// Dropout rate of the hidden layer, 0 to below 1.
    pub dropout: f32,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The initial learning rate. It decreases along a half cosine over the epochs.
    pub learning_rate: f64,
    /// Weight decay of kernels, multiplied by the learning rate; AdamW only.
    pub weight_decay: f64,
    /// Batch size in pictures.
    pub batch: usize,
    /// Maximum number of epochs.
    pub epochs: usize,
    /// Share of the target that is spread evenly over all classes, 0 to below 1.
    pub label_smoothing: f32,
    /// Weight of each class in the loss.
    pub class_weights: ClassWeights,
    /// The same seed, data and device give a bit-identical head on the same machine.
    pub seed: u64,
    /// Share of each class in the validation split, 0 to 0.9.
    pub validation: f64,
    /// Number of epochs without a lower validation loss after which training stops; 0 disables early stopping. With fewer than 20 validation
    /// pictures all epochs are run and the last one is kept, because the best one would be chosen by chance.
    pub patience: usize,
    /// Display name of the head.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hidden: 0,
            dropout: 0.0,
            optimizer: Optimizer::AdamW,
            learning_rate: 5e-4,
            weight_decay: 1.0,
            batch: 64,
            epochs: 40,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            seed: 0,
            validation: 0.2,
            patience: 8,
            name: "my classes".into(),
        }
    }
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// [Adam](https://arxiv.org/abs/1412.6980).
    Adam,
    /// [Adam with decoupled weight decay](https://arxiv.org/abs/1711.05101).
    AdamW,
}

/// Weight of each class in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All pictures have the same weight.
    None,
    /// Pictures are weighted by the inverse frequency of their class, so that all classes have the same total weight.
    Balanced,
}

impl Settings {
    /// Returns the layers of a head.
    pub(crate) fn layers(&self, classes: usize) -> Vec<Layer> {
        match self.hidden {
            0 => vec![Layer::Dense(classes)],
            hidden => vec![
                Layer::Dense(hidden),
                Layer::Relu,
                Layer::Dropout(self.dropout),
                Layer::Dense(classes),
            ],
        }
    }

    /// Returns the optimizer coefficients of a step, counted from 1.
    pub(crate) fn adam(&self, step: i32, rate: f64) -> Adam {
        let weight_decay = match self.optimizer {
            Optimizer::AdamW => rate * self.weight_decay,
            Optimizer::Adam => 0.0,
        };
        Adam {
            rate: rate as f32,
            decay: (1.0 - weight_decay) as f32,
            corrections: Adam::corrections(step),
        }
    }

    /// # Errors
    /// A setting outside of its limits.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let in_range = |value: f64, end: f64| (0.0..end).contains(&value);
        let cases: [(&'static str, String, bool, &'static str); 8] = [
            (
                "batch",
                self.batch.to_string(),
                self.batch >= 1,
                "at least 1",
            ),
            (
                "epochs",
                self.epochs.to_string(),
                self.epochs >= 1,
                "at least 1",
            ),
            (
                "hidden",
                self.hidden.to_string(),
                self.hidden <= 8192,
                "at most 8192",
            ),
            (
                "dropout",
                self.dropout.to_string(),
                in_range(self.dropout.into(), 1.0),
                "0 to below 1",
            ),
            (
                "label smoothing",
                self.label_smoothing.to_string(),
                in_range(self.label_smoothing.into(), 1.0),
                "0 to below 1",
            ),
            (
                "validation",
                self.validation.to_string(),
                in_range(self.validation, 0.900_001),
                "0 to 0.9",
            ),
            (
                "learning rate",
                self.learning_rate.to_string(),
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
                "more than 0",
            ),
            (
                "weight decay",
                self.weight_decay.to_string(),
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "0 or more",
            ),
        ];
        for (name, got, is_valid, want) in cases {
            if !is_valid {
                return Err(Error::Setting { name, got, want });
            }
        }
        Ok(())
    }
}
