//! Which pictures of a set are trained on, and which are tested on.

use serde::{Deserialize, Serialize};

use crate::{
    compare::models::ModelKind,
    error::Error,
    image::small::{PictureSet, Pictures},
    train::check_classes,
};

/// What to compare. The same options, pictures and device give the same figures, times apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Options {
    /// In the order in which they are trained.
    pub ways: Vec<ModelKind>,
    /// Training pictures of each class, drawn by the seed; 0 takes all.
    pub per_class: usize,
    /// Test pictures of each class, the same whatever the seed; 0 takes all.
    pub test_per_class: usize,
    /// Of the draw, the first weights, the order and dropout.
    pub seed: u64,
    /// Passes over the training pictures; none takes each way's own.
    pub epochs: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ways: ModelKind::ALL.into(),
            per_class: 0,
            test_per_class: 0,
            seed: 0,
            epochs: None,
        }
    }
}

/// Where test pictures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TestFrom {
    /// The set has some of its own.
    #[serde(rename = "test set")]
    TestSet,
    /// A fifth of each class's training pictures is not trained on.
    #[serde(rename = "held out")]
    HeldOut,
}

/// Which pictures of a set are trained on and which asked about: rows of its training pictures, then of its test pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Where test pictures come from.
    pub test_from: TestFrom,
    /// Rows to train on.
    pub training: Vec<usize>,
    /// Rows to ask about.
    pub test: Vec<usize>,
}

/// The share of each class that is held out where a set has no test pictures: one in so many.
const HELD_OUT: usize = 5;
/// Draws test pictures, whatever the seed of a comparison, so that all seeds are asked the same.
const TEST_SEED: u64 = 0;

impl Split {
    /// Draws the pictures.
    ///
    /// # Errors
    /// A class without pictures, fewer than two classes, a class of one picture where some have to be held out, no ways.
    pub fn new(set: &PictureSet, options: &Options) -> Result<Split, Error> {
        if options.ways.is_empty() {
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
        let of_training: Vec<_> = (0..set.training.len()).collect();
        if !set.test.is_empty() {
            let of_test: Vec<_> = (0..set.test.len()).collect();
            let test = set.test.draw(&of_test, test_per_class, TEST_SEED);
            return Ok(Split {
                test_from: TestFrom::TestSet,
                training: set.training.draw(&of_training, per_class, seed),
                test: test.iter().map(|row| set.training.len() + row).collect(),
            });
        }
        let mut held_out = Vec::new();
        for (class, pictures) in set.training.counts().into_iter().enumerate() {
            if pictures < 2 {
                let name = set.training.classes[class].clone();
                return Err(Error::NothingToTest { name });
            }
            let own = of_training.iter().copied();
            let own: Vec<_> = own
                .filter(|row| set.training.labels[*row] == class)
                .collect();
            let share = (pictures / HELD_OUT).max(1);
            held_out.extend(set.training.draw(&own, share, TEST_SEED));
        }
        let others: Vec<_> = of_training
            .into_iter()
            .filter(|row| !held_out.contains(row))
            .collect();
        Ok(Split {
            test_from: TestFrom::HeldOut,
            training: set.training.draw(&others, per_class, seed),
            test: set.training.draw(&held_out, test_per_class, TEST_SEED),
        })
    }

    /// All its rows.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.training.iter().chain(&self.test).copied()
    }
}

/// The pictures that a row of a set is in, and its row there.
pub fn place(set: &PictureSet, row: usize) -> (&Pictures, usize) {
    match row.checked_sub(set.training.len()) {
        None => (&set.training, row),
        Some(row) => (&set.test, row),
    }
}
