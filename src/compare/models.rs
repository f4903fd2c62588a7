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

/// A way to classify pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// [`baselines::mlp`] on the pixels.
    Mlp,
    /// [`baselines::cnn`] on the pixels.
    Cnn,
    /// A linear head on the latents of Inception V3, which stays as it is.
    Transfer,
}

impl ModelKind {
    /// All of them, in the order of the table.
    pub const ALL: [ModelKind; 3] = [ModelKind::Mlp, ModelKind::Cnn, ModelKind::Transfer];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::Mlp => "MLP",
            ModelKind::Cnn => "CNN",
            ModelKind::Transfer => "Inception transfer",
        }
    }

    /// Its name, for programs.
    pub fn id(self) -> &'static str {
        match self {
            ModelKind::Mlp => "mlp",
            ModelKind::Cnn => "cnn",
            ModelKind::Transfer => "transfer",
        }
    }

    /// The layers that are trained.
    pub fn layers(self, classes: usize) -> Vec<Layer> {
        match self {
            ModelKind::Mlp => baselines::mlp(classes),
            ModelKind::Cnn => baselines::cnn(classes),
            ModelKind::Transfer => vec![Layer::Dense(classes)],
        }
    }

    /// What the layers that are trained read: [channels, height, width], or the latents.
    pub fn input(self) -> Vec<usize> {
        match self {
            ModelKind::Transfer => vec![LATENTS],
            _ => vec![3, SIDE, SIDE],
        }
    }

    /// How it is trained where nothing else is said: all epochs of it, for no pictures are held out to choose one.
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

    /// The trained layers, as Keras lists them; the base's are [`table`].
    pub fn table(self, classes: usize) -> Vec<Row> {
        network::table(&self.layers(classes), &self.input())
    }

    /// Parameters of the base, which is not trained.
    pub fn frozen_parameters(self) -> usize {
        match self {
            ModelKind::Transfer => table().iter().map(|row| row.parameters).sum(),
            _ => 0,
        }
    }
}
