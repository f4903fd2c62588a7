//! Training on a table of latents, and what else is asked of it: scores, neighbours, components.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Float32Array, Object, Uint8Array, Uint32Array};
use serde::Serialize;
use wasm_bindgen::{JsCast, prelude::*};

use super::{js, plain, set, unknown_form};
use crate::{
    error::Error,
    head::{
        Head,
        evaluate::{self, Evaluation},
        explain::nearest,
        latents::{BaseId, Latents},
        pca::principal_components,
    },
    net::inception::LATENTS,
    train::{self, CrossValidation, Settings},
    weights::Dtype,
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A labelled table of latents: [N x 2048] numbers, and for each row an index into the classes. */
export interface Table { classes: string[]; names: string[]; labels: Uint32Array; latents: Float32Array; notice: string | null }
/** A picture's answer; label and answered are indices into the classes, row one of the table. */
export interface AnswerRow { row: number; label: number; answered: number; probability: number }
export interface MislabelRow { row: number; given: number; suggested: number; givenProbability: number; suggestedProbability: number }
/** As `Evaluation` of engine.d.ts, with rows of the table instead of ids. */
export interface Scored {
  correct: number; total: number; accuracy: number; interval: [number, number]; macroF1: number;
  classes: { name: string; pictures: number; precision: number | null; recall: number | null; f1: number | null }[];
  confusion: number[][]; calibrationError: number; calibrationErrorBefore: number; temperature: number;
  bins: { confidence: number; accuracy: number; pictures: number }[];
  answers: AnswerRow[]; mislabels: MislabelRow[];
}
/** What a training came to. */
export interface TrainedInfo {
  settings: Required<import("../../www/engine/engine.js").TrainOptions>; classes: { name: string; pictures: number }[]; pictures: number;
  bestEpoch: number; validation: Uint32Array; evaluation: Scored | null; head: Uint8Array<ArrayBuffer>;
}
"#;

/// The table of latents that was set last, and the base that they are of.
#[wasm_bindgen]
pub struct Learner {
    table: RefCell<Rc<Latents>>,
}

/// A head in training, on the table of its session as it was when training began.
#[wasm_bindgen]
pub struct Training {
    trainer: train::HeadTrainer,
    settings: Settings,
    table: Rc<Latents>,
}

#[wasm_bindgen]
impl Training {
    /// One pass over the pictures.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/engine.js').EpochReport")]
    pub fn epoch(&mut self) -> JsValue {
        plain(&self.trainer.epoch())
    }

    /// Whether all epochs are done, or the patience is at its end.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.trainer.is_done()
    }
}

/// Cross-validation under way.
#[wasm_bindgen]
pub struct Folds(CrossValidation);

#[wasm_bindgen]
impl Folds {
    /// One epoch of one part's head.
    pub fn step(&mut self) -> Result<(), JsValue> {
        self.0.step().map_err(js)
    }

    /// Epochs done and in all, at most.
    #[wasm_bindgen(getter)]
    pub fn progress(&self) -> Vec<u32> {
        let (done, total) = self.0.progress();
        vec![done as u32, total as u32]
    }

    /// Whether every part has been asked about.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Scores over all pictures.
    #[wasm_bindgen(unchecked_return_type = "Scored")]
    pub fn finish(self) -> JsValue {
        plain(&self.0.finish())
    }
}

#[wasm_bindgen]
impl Learner {
    /// With an empty table for a base.
    #[wasm_bindgen(constructor)]
    pub fn new(base: String, fingerprint: String) -> Learner {
        let table = Latents::new(BaseId { name: base, fingerprint }, Vec::new());
        Learner {
            table: RefCell::new(Rc::new(table)),
        }
    }

    /// Sets the table that training, evaluation, neighbours and components work on: [N x 2048] latents, N labels and names.
    #[wasm_bindgen(js_name = setTable)]
    pub fn set_table(
        &self,
        latents: Vec<f32>,
        labels: &[u32],
        classes: Vec<String>,
        names: Vec<String>,
    ) -> Result<(), JsValue> {
        let wrong = |name, got: String, want| Err(js(Error::Setting { name, got, want }));
        if latents.len() != labels.len() * LATENTS || names.len() != labels.len() {
            let got = format!(
                "{} numbers, {} labels, {} names",
                latents.len(),
                labels.len(),
                names.len()
            );
            return wrong(
                "table",
                got,
                "2048 numbers, a label and a name for each row",
            );
        }
        if let Some(label) = labels
            .iter()
            .find(|label| **label as usize >= classes.len())
        {
            return wrong(
                "table",
                format!("label {label}"),
                "an index into the classes",
            );
        }
        self.table.replace(Rc::new(Latents {
            base: self.base_id(),
            classes,
            names,
            labels: labels.iter().map(|label| i64::from(*label)).collect(),
            values: latents,
        }));
        Ok(())
    }

    /// Opens a table of latents, safetensors or npz, for this base.
    #[wasm_bindgen(js_name = readLatents, unchecked_return_type = "Table")]
    pub fn read_latents(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        let (table, notice) = Latents::read(bytes, Some(&self.base_id())).map_err(js)?;
        let labels: Vec<_> = table.labels.iter().map(|label| *label as u32).collect();
        let object = Object::new();
        set(&object, "classes", &plain(&table.classes));
        set(&object, "names", &plain(&table.names));
        set(&object, "labels", &Uint32Array::from(labels.as_slice()));
        set(
            &object,
            "latents",
            &Float32Array::from(table.values.as_slice()),
        );
        set(&object, "notice", &plain(&notice));
        Ok(object.into())
    }

    /// The table as the bytes of a `safetensors` (whole f32) or `npz` file.
    #[wasm_bindgen(js_name = writeLatents)]
    pub fn write_latents(&self, form: &str) -> Result<Vec<u8>, JsValue> {
        let table = self.table.borrow();
        match form {
            "safetensors" => Ok(table.write(Dtype::F32)),
            "npz" => Ok(table.write_npz()),
            other => Err(unknown_form(other, "safetensors or npz")),
        }
    }

    /// Begins training on the table.
    pub fn train(&self, settings: JsValue) -> Result<Training, JsValue> {
        let settings = read_settings(settings)?;
        let table = self.table.borrow().clone();
        let rows = train::usable(&table).map_err(js)?;
        let trainer =
            train::HeadTrainer::new(table.clone(), &rows, settings.clone()).map_err(js)?;
        Ok(Training {
            trainer,
            settings,
            table,
        })
    }

    /// Ends a training, for the file of its best head, with a temperature fitted on the validation pictures.
    #[wasm_bindgen(unchecked_return_type = "TrainedInfo")]
    pub fn adopt(&self, training: Training) -> JsValue {
        let Training {
            trainer,
            settings,
            table,
        } = training;
        let mut trained = trainer.finish();
        let evaluation = train::validate(&mut trained, &table);
        let counts = (0..).zip(&table.classes).map(|(class, name)| ClassCount {
            name,
            pictures: table.labels.iter().filter(|label| **label == class).count(),
        });
        let info = plain(&TrainedInfo {
            settings: &settings,
            classes: counts.collect(),
            pictures: trained.training.len(),
            best_epoch: trained.best_epoch,
            evaluation,
        });
        let validation: Vec<_> = trained.validation.iter().map(|row| *row as u32).collect();
        let object = info.unchecked_into::<Object>();
        set(
            &object,
            "validation",
            &Uint32Array::from(validation.as_slice()),
        );
        let head = Uint8Array::from(trained.head.write().as_slice());
        set(&object, "head", &head);
        object.into()
    }

    /// Begins cross-validation on the table.
    #[wasm_bindgen(js_name = crossValidate)]
    pub fn cross_validate(&self, settings: JsValue, folds: usize) -> Result<Folds, JsValue> {
        let settings = read_settings(settings)?;
        let table = self.table.borrow().clone();
        Ok(Folds(
            CrossValidation::new(table, settings, folds).map_err(js)?,
        ))
    }

    /// Asks a head, given as its file, about rows of the table.
    #[wasm_bindgen(unchecked_return_type = "Scored")]
    pub fn evaluate(&self, head: &[u8], rows: &[u32]) -> Result<JsValue, JsValue> {
        let head = Head::read(head, &self.base_id()).map_err(js)?;
        let rows: Vec<_> = rows.iter().map(|row| *row as usize).collect();
        let table = self.table.borrow().clone();
        Ok(plain(&evaluate::evaluate_rows(&head, &table, &rows)))
    }

    /// Rows of the table nearest to some latents, each followed by its cosine similarity.
    pub fn nearest(&self, latents: &[f32], count: usize) -> Vec<f32> {
        let found = nearest(&self.table.borrow(), latents, count);
        found
            .into_iter()
            .flat_map(|(row, similarity)| [row as f32, similarity])
            .collect()
    }

    fn base_id(&self) -> BaseId {
        self.table.borrow().base.clone()
    }

    /// The table's principal components: [N x count].
    pub fn components(&self, count: usize) -> Vec<f32> {
        principal_components(&self.table.borrow(), count)
    }
}

#[derive(Serialize)]
struct ClassCount<'a> {
    name: &'a str,
    pictures: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrainedInfo<'a> {
    settings: &'a Settings,
    classes: Vec<ClassCount<'a>>,
    pictures: usize,
    best_epoch: usize,
    evaluation: Option<Evaluation>,
}

fn read_settings(settings: JsValue) -> Result<Settings, JsValue> {
    let wrong = |error: serde_wasm_bindgen::Error| {
        js(Error::Setting {
            name: "settings",
            got: error.to_string(),
            want: "the options that engine.d.ts lists",
        })
    };
    serde_wasm_bindgen::from_value(settings).map_err(wrong)
}
