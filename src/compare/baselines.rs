//! Layers and training settings of the two networks that are trained on 32x32 pixels, for comparison with a head on Inception's latents.

use crate::train::{
    Settings,
    network::Layer::{
        self, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, RandomFlip, RandomTranslation, Relu,
    },
};

/// Returns the layers of a multi-layer perceptron on 3,072 pixel values. It has 1,707,274 parameters for ten classes.
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

/// Returns the layers of a convolutional network with three stages and augmentation.
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

/// Returns the training settings of the MLP, which were chosen by measurement.
pub fn mlp_settings() -> Settings {
    Settings {
        learning_rate: 5e-4,
        weight_decay: 0.5,
        epochs: 30,
        ..Settings::default()
    }
}

/// Returns the training settings of the CNN, which were chosen by measurement.
pub fn cnn_settings() -> Settings {
    Settings {
        learning_rate: 1e-3,
        weight_decay: 0.05,
        epochs: 40,
        ..Settings::default()
    }
}
