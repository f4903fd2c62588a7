//! The only file that knows wasm-bindgen: it converts and forwards, nothing more. `www/worker.js` is its only caller.

use std::{cell::RefCell, rc::Rc};

use burn::tensor::{Device, Tensor};
use js_sys::{Float32Array, Object, Promise, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{Clamped, JsCast, prelude::*};
use wasm_bindgen_futures::future_to_promise;

use crate::{
    base::{Base, known_picture},
    components::principal_components,
    error::Error,
    evaluate::{self, CrossValidation, Evaluation},
    explain::{activation_map, nearest},
    head::{Head, Scores},
    image::{Pixels, Resized},
    inception::LATENTS,
    latents::{Latents, Stamp},
    train::{self, Settings},
    weights::{Dtype, Weights},
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a loaded base says of itself. */
export interface BaseInfo { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string }
/** What a loaded head says of itself; accuracy and interval are 0 to 1, null where nobody measured. */
export interface HeadInfo { unsureBelow: number; name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null }
/** One class and how sure the head is of it, 0 to 1. */
export interface Prediction { label: string; probability: number }
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
  settings: Required<import("../../www/engine.js").TrainOptions>; classes: { name: string; pictures: number }[]; pictures: number;
  bestEpoch: number; validation: Uint32Array; evaluation: Scored | null; head: HeadInfo;
}
"#;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// A decoded picture at the size that the net reads.
#[wasm_bindgen]
pub struct Picture {
    resized: Resized,
    width: usize,
    height: usize,
}

impl From<Pixels> for Picture {
    fn from(pixels: Pixels) -> Picture {
        Picture {
            resized: pixels.resize(),
            width: pixels.width(),
            height: pixels.height(),
        }
    }
}

#[wasm_bindgen]
impl Picture {
    /// Decodes a picture file; an `AVIF` error asks the caller to let the browser decode.
    pub fn decode(bytes: &[u8]) -> Result<Picture, JsValue> {
        Ok(Pixels::decode(bytes).map_err(js)?.into())
    }

    /// Takes pixels that the browser decoded: [height, width, 4].
    #[wasm_bindgen(js_name = fromRgba)]
    pub fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Picture, JsValue> {
        Ok(Pixels::from_rgba(width, height, rgba).map_err(js)?.into())
    }

    /// Pixels a row of the upright picture.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the upright picture.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.height
    }

    /// What the net sees, 299x299 RGBA.
    pub fn thumbnail(&self) -> Clamped<Vec<u8>> {
        Clamped(self.resized.rgba())
    }
}

/// A base on a device, a head once one is loaded, and the table of latents that was set last.
#[wasm_bindgen]
pub struct Session {
    base: Rc<Base>,
    dtype: &'static str,
    head: Rc<RefCell<Option<Head>>>,
    table: RefCell<Rc<Latents>>,
}

/// A head in training, on the table of its session as it was when training began.
#[wasm_bindgen]
pub struct Training {
    trainer: train::Trainer,
    settings: Settings,
    table: Rc<Latents>,
}

#[wasm_bindgen]
impl Training {
    /// One pass over the pictures.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine.js').EpochReport")]
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
impl Session {
    /// Opens a weights file on `webgpu` or `cpu`, and checks the device against the latents that the file knows.
    #[wasm_bindgen(unchecked_return_type = "Promise<Session>")]
    pub fn open(device: String, weights: Uint8Array) -> Promise {
        future_to_promise(async move {
            let device = match device.as_str() {
                "webgpu" => webgpu().await.map_err(js)?,
                _ => Device::flex(),
            };
            let bytes = weights.to_vec();
            let weights = Weights::open(&bytes).map_err(js)?;
            let base = Rc::new(Base::load(&weights, &device).map_err(js)?);
            let dtype = weights.dtype.name();
            drop(bytes);
            let latents = latents(&base, &[known_picture()]).await.map_err(js)?;
            base.check(&latents).map_err(js)?;
            let table = Latents::new(stamp(&base), Vec::new());
            Ok(Session {
                base,
                dtype,
                head: Rc::default(),
                table: RefCell::new(Rc::new(table)),
            }
            .into())
        })
    }

    /// What the base says of itself.
    #[wasm_bindgen(unchecked_return_type = "BaseInfo")]
    pub fn base(&self) -> JsValue {
        #[derive(Serialize)]
        struct BaseInfo<'a> {
            name: &'a str,
            source: &'a str,
            licence: &'a str,
            note: &'a str,
            dtype: &'a str,
            fingerprint: &'a str,
        }
        let info = &self.base.info;
        plain(&BaseInfo {
            name: &info.name,
            source: &info.source,
            licence: &info.licence,
            note: &info.note,
            dtype: self.dtype,
            fingerprint: &self.base.fingerprint,
        })
    }

    /// Takes a head of this base, and says what it is.
    #[wasm_bindgen(js_name = openHead, unchecked_return_type = "HeadInfo")]
    pub fn open_head(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        let head = Head::read(bytes, &stamp(&self.base)).map_err(js)?;
        let info = head_info(&head);
        self.head.replace(Some(head));
        Ok(info)
    }

    /// Below this probability answers are called unsure; kept in the head's files.
    #[wasm_bindgen(js_name = setUnsureBelow)]
    pub fn set_unsure_below(&self, share: f32) -> Result<(), JsValue> {
        self.with_head(|head| head.unsure_below = share.clamp(0.0, 1.0))
    }

    /// The head in use as the bytes of a `safetensors`, `onnx` or `npz` file.
    #[wasm_bindgen(js_name = writeHead)]
    pub fn write_head(&self, form: &str) -> Result<Vec<u8>, JsValue> {
        match form {
            "safetensors" => self.with_head(|head| head.write()),
            "onnx" => self.with_head(|head| head.write_onnx()),
            "npz" => self.with_head(|head| head.write_npz()),
            other => Err(unknown_form(other, "safetensors, onnx or npz")),
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
            stamp: stamp(&self.base),
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
        let (table, notice) = Latents::read(bytes, Some(&stamp(&self.base))).map_err(js)?;
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
        let trainer = train::Trainer::new(&table, &rows, settings.clone()).map_err(js)?;
        Ok(Training {
            trainer,
            settings,
            table,
        })
    }

    /// Ends a training: its best head, with a temperature fitted on the validation pictures, is put in use.
    #[wasm_bindgen(unchecked_return_type = "TrainedInfo")]
    pub fn adopt(&self, training: Training) -> JsValue {
        let Training {
            trainer,
            settings,
            table,
        } = training;
        let mut trained = trainer.finish(&table);
        let evaluation = evaluate::validate(&mut trained, &table);
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
        set(&object, "head", &head_info(&trained.head));
        self.head.replace(Some(trained.head));
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

    /// Asks the head in use about rows of the table.
    #[wasm_bindgen(unchecked_return_type = "Scored")]
    pub fn evaluate(&self, rows: &[u32]) -> Result<JsValue, JsValue> {
        let rows: Vec<_> = rows.iter().map(|row| *row as usize).collect();
        let table = self.table.borrow().clone();
        self.with_head(|head| plain(&evaluate::evaluate_rows(head, &table, &rows)))
    }

    /// Rows of the table nearest to some latents, each followed by its cosine similarity.
    pub fn nearest(&self, latents: &[f32], count: usize) -> Vec<f32> {
        let found = nearest(&self.table.borrow(), latents, count);
        found
            .into_iter()
            .flat_map(|(row, similarity)| [row as f32, similarity])
            .collect()
    }

    /// The table's principal components: [N x count].
    pub fn components(&self, count: usize) -> Vec<f32> {
        principal_components(&self.table.borrow(), count)
    }

    /// Where in a picture the evidence for a class lies: [8 x 8], 0 to 1.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn explain(&self, picture: Picture, label: String) -> Promise {
        let (base, head) = (self.base.clone(), self.head.clone());
        future_to_promise(async move {
            let maps = numbers(base.maps(&picture.resized)).await.map_err(js)?;
            let head = head.borrow();
            let head = head.as_ref().ok_or_else(|| js(no_head()))?;
            let unknown = || {
                js(Error::Setting {
                    name: "class",
                    got: label.clone(),
                    want: "one of the head's classes",
                })
            };
            let class = head
                .classes
                .iter()
                .position(|class| *class == label)
                .ok_or_else(unknown)?;
            Ok(Float32Array::from(activation_map(head, &maps, class).as_slice()).into())
        })
    }

    fn with_head<T>(&self, verb: impl FnOnce(&mut Head) -> T) -> Result<T, JsValue> {
        let mut head = self.head.borrow_mut();
        Ok(verb(head.as_mut().ok_or_else(|| js(no_head()))?))
    }

    /// The latents of a batch, one picture after another: [N x 2048].
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn latents(&self, pictures: Vec<Picture>) -> Promise {
        let base = self.base.clone();
        future_to_promise(async move {
            let resized: Vec<_> = pictures
                .into_iter()
                .map(|picture| picture.resized)
                .collect();
            let latents = latents(&base, &resized).await.map_err(js)?;
            Ok(Float32Array::from(latents.as_slice()).into())
        })
    }

    /// The `top` most probable classes for one picture's latents, best first.
    #[wasm_bindgen(unchecked_return_type = "Prediction[]")]
    pub fn predict(&self, latents: &[f32], top: usize) -> Result<JsValue, JsValue> {
        if latents.len() != LATENTS {
            let got = latents.len().to_string();
            return Err(js(Error::Setting {
                name: "latents",
                got,
                want: "2048 numbers",
            }));
        }
        self.with_head(|head| plain(&head.predict(latents, top)))
    }
}

/// What training does where nothing else is said.
#[wasm_bindgen(js_name = trainingDefaults, unchecked_return_type = "Required<import('../../www/engine.js').TrainOptions>")]
pub fn training_defaults() -> JsValue {
    plain(&Settings::default())
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

/// What a head says of itself.
fn head_info(head: &Head) -> JsValue {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct HeadInfo<'a> {
        name: &'a str,
        classes: &'a [String],
        pictures: usize,
        accuracy: Option<f64>,
        interval: Option<[f64; 2]>,
        test_pictures: Option<usize>,
        unsure_below: f32,
    }
    let scores = head.scores;
    plain(&HeadInfo {
        name: &head.name,
        classes: &head.classes,
        pictures: head.pictures,
        accuracy: scores.as_ref().map(Scores::accuracy),
        interval: scores.as_ref().map(Scores::interval),
        test_pictures: scores.map(|scores| scores.total),
        unsure_below: head.unsure_below,
    })
}

fn stamp(base: &Base) -> Stamp {
    Stamp {
        base: base.info.name.clone(),
        fingerprint: base.fingerprint.clone(),
    }
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

fn no_head() -> Error {
    Error::Setting {
        name: "head",
        got: "none".into(),
        want: "a head to be opened first",
    }
}

fn unknown_form(got: &str, want: &'static str) -> JsValue {
    js(Error::Setting {
        name: "form",
        got: got.into(),
        want,
    })
}

async fn latents(base: &Base, pictures: &[Resized]) -> Result<Vec<f32>, Error> {
    numbers(base.latents(pictures)).await
}

/// A tensor's numbers, off its device.
async fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Error> {
    let failed = |reason: String| Error::Device { reason };
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| failed(format!("{error:?}")))?;
    data.try_into_vec::<f32>()
        .map_err(|error| failed(format!("{error:?}")))
}

#[cfg(feature = "webgpu")]
async fn webgpu() -> Result<Device, Error> {
    let refused = |error| Error::Device {
        reason: format!("WebGPU could not be started ({error})"),
    };
    Device::wgpu_options().init_async().await.map_err(refused)
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu() -> Result<Device, Error> {
    Err(Error::Device {
        reason: "this build has no WebGPU, pkg/webgpu has".into(),
    })
}

/// A plain JavaScript object.
fn plain(value: &impl Serialize) -> JsValue {
    value
        .serialize(&Serializer::json_compatible())
        .expect("plain data becomes an object")
}

/// An `Error` with a `kind`, and a device's also with the bare `reason`; AVIF has a kind of its own, for the browser can decode it.
fn js(error: Error) -> JsValue {
    let kind = match &error {
        Error::UnsupportedPicture { format: "AVIF" } => "avif",
        other => other.kind(),
    };
    let value = js_sys::Error::new(&error.to_string());
    set(&value, "kind", &kind.into());
    if let Error::Device { reason } = &error {
        set(&value, "reason", &reason.into());
    }
    value.unchecked_into()
}

fn set(object: &JsValue, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).expect("a plain object takes a property");
}
