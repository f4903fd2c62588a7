//! Options of a comparison, and its training and test split.

use serde::{Deserialize, Serialize};

use crate::{
    compare::models::ModelKind,
    error::Error,
    image::small::{PictureSet, Pictures},
    train::check_classes,
};

/// Options of a comparison. The same options, pictures and device give the same results, except for times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Options {
    /// Models in training order.
    #[serde(rename = "ways")]
    pub models: Vec<ModelKind>,
    /// Training pictures per class, sampled by the seed; 0 uses all.
    pub per_class: usize,
    /// Test pictures per class, independent of the seed; 0 uses all.
    pub test_per_class: usize,
    /// Seed of sampling, initial weights, order of pictures and dropout.
    pub seed: u64,
    /// Number of epochs; none uses each model's default.
    pub epochs: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            models: ModelKind::ALL.into(),
            per_class: 0,
            test_per_class: 0,
            seed: 0,
            epochs: None,
        }
    }
}

/// Source of the test pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TestFrom {
    /// The test pictures of the set.
    #[serde(rename = "test set")]
    TestSet,
    /// A fifth of the training pictures of each class, which is excluded from training.
    #[serde(rename = "held out")]
    HeldOut,
}

/// A training and test split. Rows are numbered over the training pictures of the set, followed by its test pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Source of the test pictures.
    pub test_from: TestFrom,
    /// Rows of the training split.
    pub training: Vec<usize>,
    /// Rows of the test split.
    pub test: Vec<usize>,
}

/// The inverse of the share of training pictures that is held out if a set has no test pictures.
const HELD_OUT: usize = 5;
/// Seed of the test split. It is constant, so that all seeds of a comparison are tested on the same pictures.
const TEST_SEED: u64 = 0;

impl Split {
    /// Samples the pictures.
    ///
    /// # Errors
    /// No models, fewer than two classes, a class without pictures, or a class with one picture if test pictures are held out.
    pub fn new(set: &PictureSet, options: &Options) -> Result<Split, Error> {
        if options.models.is_empty() {
            return Err(Error::Setting {
                name: "models",
                got: "none".into(),
                want: "at least one of mlp, cnn and transfer",
            });
        }
        check_classes(&set.training.classes, &set.training.counts())?;
        let Options {
            per_class,
            test_per_class,
            seed,
            ..
        } = *options;
        let training_rows: Vec<_> = (0..set.training.len()).collect();
        if !set.test.is_empty() {
            let test_rows: Vec<_> = (0..set.test.len()).collect();
            let test = set.test.draw(&test_rows, test_per_class, TEST_SEED);
            return Ok(Split {
                test_from: TestFrom::TestSet,
                training: set.training.draw(&training_rows, per_class, seed),
                test: test.iter().map(|row| set.training.len() + row).collect(),
            });
        }
        let mut held_out = Vec::new();
        for (class, pictures) in set.training.counts().into_iter().enumerate() {
            if pictures < 2 {
                let name = set.training.classes[class].clone();
                return Err(Error::NothingToTest { name });
            }
            let class_rows: Vec<_> = training_rows
                .iter()
                .copied()
                .filter(|row| set.training.labels[*row] == class)
                .collect();
            let count = (pictures / HELD_OUT).max(1);
            held_out.extend(set.training.draw(&class_rows, count, TEST_SEED));
        }
        let others: Vec<_> = training_rows
            .into_iter()
            .filter(|row| !held_out.contains(row))
            .collect();
        Ok(Split {
            test_from: TestFrom::HeldOut,
            training: set.training.draw(&others, per_class, seed),
            test: set.training.draw(&held_out, test_per_class, TEST_SEED),
        })
    }

    /// Returns all rows of both splits.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.training.iter().chain(&self.test).copied()
    }
}

/// Resolves a row of a [`Split`] to the training or test pictures of the set, and a row index into them.
pub fn locate(set: &PictureSet, row: usize) -> (&Pictures, usize) {
    match row.checked_sub(set.training.len()) {
        None => (&set.training, row),
        Some(row) => (&set.test, row),
    }
}
