//! The three models of the comparison.

use serde::{Deserialize, Serialize};

use crate::{
    compare::baselines,
    image::small::SIDE,
    net::inception::{LATENTS, Row, table},
    train::{
        Settings,
        network::{self, Layer},
    },
};

/// A model of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// [`baselines::mlp`] on pixels.
    Mlp,
    /// [`baselines::cnn`] on pixels.
    Cnn,
    /// A linear head on the latents of Inception V3. The base is not trained.
    Transfer,
}

impl ModelKind {
    /// All models, in display order.
    pub const ALL: [ModelKind; 3] = [ModelKind::Mlp, ModelKind::Cnn, ModelKind::Transfer];

    /// Returns the display name.
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::Mlp => "MLP",
            ModelKind::Cnn => "CNN",
            ModelKind::Transfer => "Inception transfer",
        }
    }

    /// Returns the name in JSON and on the command line.
    pub fn id(self) -> &'static str {
        match self {
            ModelKind::Mlp => "mlp",
            ModelKind::Cnn => "cnn",
            ModelKind::Transfer => "transfer",
        }
    }

    /// Returns the trained layers.
    pub fn layers(self, classes: usize) -> Vec<Layer> {
        match self {
            ModelKind::Mlp => baselines::mlp(classes),
            ModelKind::Cnn => baselines::cnn(classes),
            ModelKind::Transfer => vec![Layer::Dense(classes)],
        }
    }

    /// Returns the input shape of the trained layers: [channels, height, width] of pixels, or `[2048]` latents.
    pub fn input_shape(self) -> Vec<usize> {
        match self {
            ModelKind::Transfer => vec![LATENTS],
            _ => vec![3, SIDE, SIDE],
        }
    }

    /// Returns the default training settings. There is no validation split and no early stopping.
    pub fn settings(self) -> Settings {
        let settings = match self {
            ModelKind::Mlp => baselines::mlp_settings(),
            ModelKind::Cnn => baselines::cnn_settings(),
            ModelKind::Transfer => Settings {
                epochs: 30,
                ..Settings::default()
            },
        };
        Settings {
            validation: 0.0,
            patience: 0,
            ..settings
        }
    }

    /// Lists the trained layers as Keras does. For those of the base see [`table`].
    pub fn table(self, classes: usize) -> Vec<Row> {
        network::table(&self.layers(classes), &self.input_shape())
    }

    /// Returns the number of parameters of the base, which is not trained.
    pub fn frozen_parameters(self) -> usize {
        match self {
            ModelKind::Transfer => table().iter().map(|row| row.parameters).sum(),
            _ => 0,
        }
    }
}
