//! How to train: the settings, their defaults and their limits.

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    train::{linear::Adam, network::Layer},
};

/// How to train. The defaults were chosen by measuring, see the README.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Units of a hidden layer; 0 for a linear head.
    pub hidden: usize,
    /// Share of the hidden units left out in each step, 0 to below 1.
    pub dropout: f32,
    /// What makes a step of a gradient.
    pub optimizer: Optimizer,
    /// The step size at the start; it falls along half a cosine over the epochs.
    pub learning_rate: f64,
    /// AdamW's decay of the kernels, a share of the step size; Adam has none.
    pub weight_decay: f64,
    /// Pictures a step.
    pub batch: usize,
    /// Passes over the training pictures, at most.
    pub epochs: usize,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f32,
    /// How much a picture of each class counts.
    pub class_weights: ClassWeights,
    /// The same seed, data and device give the same head to the bit.
    pub seed: u64,
    /// Share of each class's pictures held out to validate on, 0 to 0.9.
    pub validation: f64,
    /// Epochs without a lower validation loss after which training ends; 0 never ends early. Fewer than 20 validation pictures would
    /// choose by chance, so with them all epochs are made and the last is kept.
    pub patience: usize,
    /// The head's name, for people.
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

/// What makes a step of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// [Adam](https://arxiv.org/abs/1412.6980).
    Adam,
    /// [Adam with decoupled weight decay](https://arxiv.org/abs/1711.05101).
    AdamW,
}

/// How much a picture of each class counts in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All pictures alike.
    None,
    /// Inversely to how many pictures the class has, so that all classes count alike.
    Balanced,
}

impl Settings {
    /// A head's layers.
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

    /// The numbers of a step, counted from 1.
    pub(crate) fn adam(&self, step: i32, rate: f64) -> Adam {
        let decay = match self.optimizer {
            Optimizer::AdamW => rate * self.weight_decay,
            Optimizer::Adam => 0.0,
        };
        Adam {
            rate: rate as f32,
            shrink: (1.0 - decay) as f32,
            corrections: Adam::corrections(step),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let share = |value: f64, below: f64| (0.0..below).contains(&value);
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
                share(self.dropout.into(), 1.0),
                "0 to below 1",
            ),
            (
                "label smoothing",
                self.label_smoothing.to_string(),
                share(self.label_smoothing.into(), 1.0),
                "0 to below 1",
            ),
            (
                "validation",
                self.validation.to_string(),
                share(self.validation, 0.900_001),
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
        for (name, got, good, want) in cases {
            if !good {
                return Err(Error::Setting { name, got, want });
            }
        }
        Ok(())
    }
}
