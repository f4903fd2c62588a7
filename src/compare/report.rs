//! What a comparison reports, as `--json` and the page get it.

use serde::Serialize;

use crate::{
    compare::{latents::ExtractionCost, models::ModelKind, split::TestFrom},
    head::Scores,
    image::small::PictureSet,
    net::inception::Row,
    train::{Report, Settings},
};

/// Right answers of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Right answers.
    pub correct: usize,
    /// Pictures asked about.
    pub total: usize,
    /// 0 to 1.
    pub accuracy: f64,
    /// The 95 % interval of the accuracy, by Wilson.
    pub interval: [f64; 2],
}

impl Score {
    pub(super) fn new(correct: usize, total: usize) -> Score {
        let scores = Scores { correct, total };
        Score {
            correct,
            total,
            accuracy: scores.accuracy(),
            interval: scores.interval(),
        }
    }
}

/// A layer as Keras lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// Such as `conv2d_1 (Conv2D)`.
    pub name: String,
    /// [height, width, channels], or one number.
    pub output: Vec<usize>,
    /// How many are learnt.
    pub parameters: usize,
}

impl From<Row> for LayerRow {
    fn from(row: Row) -> LayerRow {
        LayerRow {
            name: format!("{} ({})", row.name, row.class),
            output: row.output,
            parameters: row.parameters,
        }
    }
}

/// One way's row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelResult {
    /// Which.
    pub way: ModelKind,
    /// The same for people.
    pub name: &'static str,
    /// Learnt here.
    pub parameters: usize,
    /// Of the base.
    pub frozen_parameters: usize,
    /// Those that were trained.
    pub layers: Vec<LayerRow>,
    /// How it was trained.
    pub settings: Settings,
    /// One report an epoch; its validation figures are of at most 200 of the test pictures, and chose nothing.
    pub epochs: Vec<Report>,
    /// On the pictures trained on.
    pub training: Score,
    /// On the test pictures.
    pub test: Score,
    /// Of the steps down the gradient alone.
    pub train_seconds: f64,
    /// From pixels to answer; networks on pixels are asked about many at once, Inception about one.
    pub predict_milliseconds: f64,
    /// What transfer needed first.
    pub extraction: Option<ExtractionCost>,
    /// The class answered for each test picture.
    pub answers: Vec<usize>,
    /// How probable it was, 0 to 1.
    pub probabilities: Vec<f32>,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Of the draw, the first weights, the order and dropout.
    pub seed: u64,
    /// The set that pictures were drawn from.
    pub data: Data,
    /// Which were drawn.
    pub split: Drawn,
    /// Whose latents transfer read.
    pub base: Option<BaseName>,
    /// A row for each way.
    pub models: Vec<ModelResult>,
}

/// A set, by what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Data {
    /// Of classes, labels and pixels.
    pub sha256: String,
    /// Their names.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub training: usize,
    /// Pictures to test on.
    pub test: usize,
}

impl Data {
    pub(super) fn of(set: &PictureSet) -> Data {
        Data {
            sha256: set.sha256(),
            classes: set.training.classes.clone(),
            training: set.training.len(),
            test: set.test.len(),
        }
    }
}

/// A split, with rows as they are numbered in the training pictures and in the test pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    /// As it was asked for.
    pub per_class: usize,
    /// The same.
    pub test_per_class: usize,
    /// Where test pictures come from.
    pub test_from: TestFrom,
    /// How many are trained on.
    pub training: usize,
    /// How many are asked about.
    pub test: usize,
    /// Of the training pictures.
    pub training_rows: Vec<usize>,
    /// Of the test pictures, or, where they are held out, of the training pictures.
    pub test_rows: Vec<usize>,
    /// Their classes.
    pub test_labels: Vec<usize>,
}

/// A base, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseName {
    /// Its short name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub fingerprint: String,
}
