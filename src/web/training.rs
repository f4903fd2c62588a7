//! Training, evaluation, nearest neighbours and principal components of a table of latents.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Float32Array, Object, Uint8Array, Uint32Array};
use serde::Serialize;
use wasm_bindgen::{JsCast, prelude::*};

use super::js::{from_object, invalid, set_property, to_js_error, to_object};
use crate::{
    head::{
        Head,
        evaluate::{Evaluation, evaluate_rows},
        explain::nearest,
        latents::{BaseId, Latents},
        pca::principal_components,
    },
    net::inception::LATENTS,
    train::{CrossValidation, HeadTrainer, Settings, trainable_rows, validate},
    weights::Dtype,
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A labelled table of latents: [N x 2048] numbers, and for each row an index into the classes. */
export interface LatentTable { classes: string[]; names: string[]; labels: Uint32Array; latents: Float32Array; notice: string | null }
/** The prediction for a row of the table. `label` and `answered` are indices into the classes. */
export interface AnswerRow { row: number; label: number; answered: number; probability: number }
/** A row of the table with a doubtful label. `given` and `suggested` are indices into the classes. */
export interface MislabelRow { row: number; given: number; suggested: number; givenProbability: number; suggestedProbability: number }
/** Like `Evaluation` in types.d.ts, with row indices of the table instead of picture ids. */
export interface TableEvaluation {
  correct: number; total: number; accuracy: number; interval: [number, number]; macroF1: number;
  classes: { name: string; pictures: number; precision: number | null; recall: number | null; f1: number | null }[];
  confusion: number[][]; calibrationError: number; calibrationErrorBefore: number; temperature: number;
  bins: { confidence: number; accuracy: number; pictures: number }[];
  answers: AnswerRow[]; mislabels: MislabelRow[];
}
/** The result of training a head. `validation` has the row indices of the validation split, `head` is the head file. */
export interface TrainingResult {
  settings: Required<import("../../www/engine/types.js").TrainOptions>; classes: { name: string; pictures: number }[]; pictures: number;
  bestEpoch: number; validation: Uint32Array; evaluation: TableEvaluation | null; head: Uint8Array<ArrayBuffer>;
}
"#;

/// A table of latents, and what can be computed from it.
#[wasm_bindgen]
pub struct TrainingSession {
    table: RefCell<Rc<Latents>>,
}

#[wasm_bindgen]
impl TrainingSession {
    /// Creates a session with an empty table for a base.
    #[wasm_bindgen(constructor)]
    pub fn new(base: String, fingerprint: String) -> TrainingSession {
        let base = BaseId {
            name: base,
            fingerprint,
        };
        let table = Latents::new(base, Vec::new());
        TrainingSession {
            table: RefCell::new(Rc::new(table)),
        }
    }

    /// Replaces the table: [N x 2048] latents, N labels, N names. Running jobs keep the table that they were started with.
    #[wasm_bindgen(js_name = setTable)]
    pub fn set_table(
        &self,
        latents: Vec<f32>,
        labels: &[u32],
        classes: Vec<String>,
        names: Vec<String>,
    ) -> Result<(), JsValue> {
        if latents.len() != labels.len() * LATENTS || names.len() != labels.len() {
            let got = format!(
                "{} numbers, {} labels, {} names",
                latents.len(),
                labels.len(),
                names.len()
            );
            let want = "2048 numbers, one label and one name per row";
            return Err(invalid("table", got, want));
        }
        if let Some(label) = labels
            .iter()
            .find(|label| **label as usize >= classes.len())
        {
            return Err(invalid("label", label, "an index into the classes"));
        }
        self.table.replace(Rc::new(Latents {
            base: self.base(),
            classes,
            names,
            labels: labels.iter().map(|label| i64::from(*label)).collect(),
            values: latents,
        }));
        Ok(())
    }

    /// Reads a file of latents for this base, safetensors or npz. The table of the session does not change.
    #[wasm_bindgen(js_name = readLatents, unchecked_return_type = "LatentTable")]
    pub fn read_latents(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        let (table, notice) = Latents::read(bytes, Some(&self.base())).map_err(to_js_error)?;
        let labels: Vec<_> = table.labels.iter().map(|label| *label as u32).collect();
        let object = Object::new();
        set_property(&object, "classes", &to_object(&table.classes));
        set_property(&object, "names", &to_object(&table.names));
        set_property(&object, "labels", &Uint32Array::from(labels.as_slice()));
        let latents = Float32Array::from(table.values.as_slice());
        set_property(&object, "latents", &latents);
        set_property(&object, "notice", &to_object(&notice));
        Ok(object.into())
    }

    /// Writes the table as a `safetensors` (in f32) or `npz` file.
    #[wasm_bindgen(js_name = writeLatents)]
    pub fn write_latents(&self, format: &str) -> Result<Vec<u8>, JsValue> {
        let table = self.table.borrow();
        match format {
            "safetensors" => Ok(table.write(Dtype::F32)),
            "npz" => Ok(table.write_npz()),
            other => Err(invalid("format", other, "safetensors or npz")),
        }
    }

    /// Starts training a head on the table.
    pub fn train(&self, settings: JsValue) -> Result<TrainingRun, JsValue> {
        let settings = read_settings(settings)?;
        let table = self.table.borrow().clone();
        let rows = trainable_rows(&table).map_err(to_js_error)?;
        let trainer =
            HeadTrainer::new(table.clone(), &rows, settings.clone()).map_err(to_js_error)?;
        Ok(TrainingRun {
            trainer,
            settings,
            table,
        })
    }

    /// Starts cross-validation on the table.
    #[wasm_bindgen(js_name = crossValidate)]
    pub fn cross_validate(
        &self,
        settings: JsValue,
        folds: usize,
    ) -> Result<CrossValidationRun, JsValue> {
        let settings = read_settings(settings)?;
        let table = self.table.borrow().clone();
        let run = CrossValidation::new(table, settings, folds).map_err(to_js_error)?;
        Ok(CrossValidationRun(run))
    }

    /// Evaluates a head file on rows of the table.
    #[wasm_bindgen(unchecked_return_type = "TableEvaluation")]
    pub fn evaluate(&self, head: &[u8], rows: &[u32]) -> Result<JsValue, JsValue> {
        let head = Head::read(head, &self.base()).map_err(to_js_error)?;
        let rows: Vec<_> = rows.iter().map(|row| *row as usize).collect();
        let table = self.table.borrow().clone();
        Ok(to_object(&evaluate_rows(&head, &table, &rows)))
    }

    /// Returns the rows with the highest cosine similarity to the given latents: row, similarity, row, similarity ...
    pub fn nearest(&self, latents: &[f32], count: usize) -> Vec<f32> {
        let rows = nearest(&self.table.borrow(), latents, count);
        rows.into_iter()
            .flat_map(|(row, similarity)| [row as f32, similarity])
            .collect()
    }

    /// Projects the table to its principal components: [N x count].
    #[wasm_bindgen(js_name = principalComponents)]
    pub fn principal_components(&self, count: usize) -> Vec<f32> {
        principal_components(&self.table.borrow(), count)
    }

    fn base(&self) -> BaseId {
        self.table.borrow().base.clone()
    }
}

/// A training run of a head.
#[wasm_bindgen]
pub struct TrainingRun {
    trainer: HeadTrainer,
    settings: Settings,
    table: Rc<Latents>,
}

#[wasm_bindgen]
impl TrainingRun {
    /// Trains for one epoch.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/types.js').EpochReport")]
    pub fn epoch(&mut self) -> JsValue {
        to_object(&self.trainer.epoch())
    }

    /// Whether all epochs were run or training was stopped early.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.trainer.is_done()
    }

    /// Returns the head of the best epoch, calibrated and evaluated on the validation split.
    #[wasm_bindgen(unchecked_return_type = "TrainingResult")]
    pub fn finish(self) -> JsValue {
        #[derive(Serialize)]
        struct ClassCount<'a> {
            name: &'a str,
            pictures: usize,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TrainingResult<'a> {
            settings: &'a Settings,
            classes: Vec<ClassCount<'a>>,
            pictures: usize,
            best_epoch: usize,
            evaluation: Option<Evaluation>,
        }
        let TrainingRun {
            trainer,
            settings,
            table,
        } = self;
        let mut trained = trainer.finish();
        let evaluation = validate(&mut trained, &table);
        let counts = (0..).zip(&table.classes).map(|(class, name)| ClassCount {
            name,
            pictures: table.labels.iter().filter(|label| **label == class).count(),
        });
        let result = to_object(&TrainingResult {
            settings: &settings,
            classes: counts.collect(),
            pictures: trained.training.len(),
            best_epoch: trained.best_epoch,
            evaluation,
        });
        let validation: Vec<_> = trained.validation.iter().map(|row| *row as u32).collect();
        let object = result.unchecked_into::<Object>();
        let validation = Uint32Array::from(validation.as_slice());
        set_property(&object, "validation", &validation);
        let head = Uint8Array::from(trained.head.write().as_slice());
        set_property(&object, "head", &head);
        object.into()
    }
}

/// A cross-validation run.
#[wasm_bindgen]
pub struct CrossValidationRun(CrossValidation);

#[wasm_bindgen]
impl CrossValidationRun {
    /// Trains the head of the current fold for one epoch.
    pub fn step(&mut self) -> Result<(), JsValue> {
        self.0.step().map_err(to_js_error)
    }

    /// Number of finished epochs, and its maximum.
    #[wasm_bindgen(getter)]
    pub fn progress(&self) -> Vec<u32> {
        let (done, total) = self.0.progress();
        vec![done as u32, total as u32]
    }

    /// Whether all folds have been evaluated.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Returns the evaluation of all rows.
    #[wasm_bindgen(unchecked_return_type = "TableEvaluation")]
    pub fn finish(self) -> JsValue {
        to_object(&self.0.finish())
    }
}

fn read_settings(settings: JsValue) -> Result<Settings, JsValue> {
    from_object(settings, "settings", "the properties of TrainOptions")
}
