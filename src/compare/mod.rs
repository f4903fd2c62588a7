//! Trains and tests an MLP, a CNN and a head on Inception's latents on the same pictures.

pub mod baselines;
mod curve;
mod latents;
mod models;
mod report;
mod run;
mod split;

pub use curve::{LearningCurve, LearningCurveReport, Point};
pub use latents::{Extraction, ExtractionCost, LatentCache};
pub use models::ModelKind;
pub use report::{ComparisonReport, DatasetInfo, LayerRow, ModelResult, Score, SplitInfo};
pub use run::{Comparison, Progress, Stage};
pub use split::{Options, Split, TestFrom, locate};
