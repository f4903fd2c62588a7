//! The results of a comparison, as serialised by `--json` and for the page.

use serde::Serialize;

use crate::{
    compare::{latents::ExtractionCost, models::ModelKind, split::TestFrom},
    head::{Scores, latents::BaseId},
    image::small::PictureSet,
    net::inception::Row,
    train::{EpochReport, Settings},
};

/// Accuracy with its confidence interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Number of correct predictions.
    pub correct: usize,
    /// Number of pictures.
    pub total: usize,
    /// 0 to 1.
    pub accuracy: f64,
    /// The 95 % interval (Wilson) of the accuracy.
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
    /// Name and class, such as `conv2d_1 (Conv2D)`.
    pub name: String,
    /// Output shape: [height, width, channels] or `[features]`.
    pub output: Vec<usize>,
    /// Number of trained parameters.
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

/// The result of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelResult {
    /// The model.
    #[serde(rename = "way")]
    pub model: ModelKind,
    /// Display name of the model.
    pub name: &'static str,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Number of parameters of the base; 0 for the other models.
    pub frozen_parameters: usize,
    /// The trained layers.
    pub layers: Vec<LayerRow>,
    /// The training settings.
    pub settings: Settings,
    /// One report per epoch. The validation metrics are measured on at most 200 test pictures and do not affect training.
    pub epochs: Vec<EpochReport>,
    /// Score on the training pictures.
    pub training: Score,
    /// Score on the test pictures.
    pub test: Score,
    /// Time of the training steps, without validation and without computing latents.
    pub train_seconds: f64,
    /// Time per picture from pixels to prediction. The trained layers are timed in batches, the base on single pictures.
    pub predict_milliseconds: f64,
    /// Cost of the latents; none for the other models.
    pub extraction: Option<ExtractionCost>,
    /// The predicted class of each test picture.
    pub answers: Vec<usize>,
    /// The probability of each predicted class, 0 to 1.
    pub probabilities: Vec<f32>,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonReport {
    /// Seed of sampling, initial weights, order of pictures and dropout.
    pub seed: u64,
    /// The picture set.
    pub data: DatasetInfo,
    /// The sampled pictures.
    pub split: SplitInfo,
    /// The base of transfer learning; none without transfer.
    pub base: Option<BaseId>,
    /// One result per model.
    pub models: Vec<ModelResult>,
}

/// A summary of a picture set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetInfo {
    /// SHA-256 of classes, labels and pixels.
    pub sha256: String,
    /// Class names.
    pub classes: Vec<String>,
    /// Number of training pictures.
    pub training: usize,
    /// Number of test pictures.
    pub test: usize,
}

impl DatasetInfo {
    pub(super) fn new(set: &PictureSet) -> DatasetInfo {
        DatasetInfo {
            sha256: set.sha256(),
            classes: set.training.classes.clone(),
            training: set.training.len(),
            test: set.test.len(),
        }
    }
}

/// A split of a picture set. Training pictures and test pictures are numbered separately.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitInfo {
    /// Requested number of training pictures per class; 0 for all.
    pub per_class: usize,
    /// Requested number of test pictures per class; 0 for all.
    pub test_per_class: usize,
    /// Source of the test pictures.
    pub test_from: TestFrom,
    /// Number of pictures in the training split.
    pub training: usize,
    /// Number of pictures in the test split.
    pub test: usize,
    /// Row indices into the training pictures of the set.
    pub training_rows: Vec<usize>,
    /// Row indices into the test pictures of the set, or into its training pictures if test pictures are held out.
    pub test_rows: Vec<usize>,
    /// Class indices of the test split.
    pub test_labels: Vec<usize>,
}
