//! An MLP, a CNN and transfer learning, trained and tested on the same pictures.

pub mod baselines;
mod curve;
mod latents;
mod models;
mod report;
mod run;
mod split;

pub use curve::{Curve, CurveTable, Point};
pub use latents::{Extraction, ExtractionCost, LatentCache};
pub use models::ModelKind;
pub use report::{BaseName, Data, Drawn, LayerRow, ModelResult, Score, Table};
pub use run::{Comparison, Progress, Stage};
pub use split::{Options, Split, TestFrom, place};
