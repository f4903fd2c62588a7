//! The two networks that learn 32x32 pictures from their pixels alone, for comparison with a head on Inception's latents.
//!
//! Only their layers and the ways to train them are here; the layers work in `network`, and the loop is `train`'s, the same for all three.

use crate::train::{
    Settings,
    network::Layer::{
        self, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, RandomFlip, RandomTranslation, Relu,
    },
};

/// A multi-layer perceptron on all 3,072 pixel values: 1,707,274 parameters for ten classes.
pub fn mlp(classes: usize) -> Vec<Layer> {
    vec![
        Flatten,
        Dense(512),
        Relu,
        Dropout(0.3),
        Dense(256),
        Relu,
        Dropout(0.3),
        Dense(classes),
    ]
}

/// A convolutional network of three stages, which sees mirrored and moved pictures in training.
pub fn cnn(classes: usize) -> Vec<Layer> {
    vec![
        RandomFlip,
        RandomTranslation(3),
        Conv2D(32),
        MaxPooling2D,
        Relu,
        Conv2D(64),
        MaxPooling2D,
        Relu,
        Conv2D(128),
        MaxPooling2D,
        Relu,
        Flatten,
        Dropout(0.3),
        Dense(128),
        Relu,
        Dropout(0.3),
        Dense(classes),
    ]
}

/// How the MLP is trained: chosen by measuring, see the README.
pub fn mlp_settings() -> Settings {
    Settings {
        learning_rate: 5e-4,
        weight_decay: 0.5,
        epochs: 30,
        ..Settings::default()
    }
}

/// How the CNN is trained: chosen by measuring, see the README.
pub fn cnn_settings() -> Settings {
    Settings {
        learning_rate: 1e-3,
        weight_decay: 0.05,
        epochs: 40,
        ..Settings::default()
    }
}
