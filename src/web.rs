//! The only file that exports to JavaScript: it converts and forwards, nothing more. `www/worker.js` is its only caller.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Float32Array, Function, Object, Promise, Reflect, Uint8Array, Uint32Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use sha2::{Digest, Sha256};
use wasm_bindgen::{Clamped, JsCast, prelude::*};
use wasm_bindgen_futures::future_to_promise;

use crate::{
    base::{self, Base, KNOWN, Loading, known_picture, latents_to_know},
    cifar10,
    compare::{
        Comparison, Curve, Extraction, Known, LayerRow, Options, Reading, Split, TestFrom, Way,
        WayResult, place,
    },
    components::principal_components,
    error::Error,
    evaluate::{self, CrossValidation, Evaluation},
    explain::{activation_map, nearest},
    head::{Head, Prediction, Scores},
    image::{Pixels, Resized},
    inception::LATENTS,
    latents::{Latents, Stamp},
    pictures::{PictureSet, Pictures, rgba},
    train::{self, Settings},
    weights::{
        Dtype, Weights, fingerprint,
        foreign::{self, File},
        hex, rounded, write,
    },
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
/** A picture set, without its pictures. */
export interface SetInfo { sha256: string; classes: string[]; training: number[]; test: number[] }
/** How far a comparison is; `epoch` at the end of one. */
export interface Told { stage: "train" | "test"; way: Way; done: number; total: number; epoch: import("../../www/engine.js").EpochReport | null }
/** The parts of comparison.d.ts that come from here as they are. */
export type Way = import("../../www/comparison.js").Way;
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

/// What computes.
#[wasm_bindgen]
pub struct Processor(base::Processor);

#[wasm_bindgen]
impl Processor {
    /// Starts `webgpu` or `cpu`; `tell(done, total)` hears how many kernels are compiled.
    #[wasm_bindgen(unchecked_return_type = "Promise<Processor>")]
    pub fn start(
        name: String,
        #[wasm_bindgen(unchecked_optional_param_type = "(done: number, total: number) => void")]
        tell: Option<Function>,
    ) -> Promise {
        future_to_promise(async move {
            Ok(Processor(match name.as_str() {
                "webgpu" => webgpu(tell).await.map_err(js)?,
                _ => base::Processor::Cpu,
            })
            .into())
        })
    }
}

/// A base on its way to a processor: weights are put there as the bytes of their file come.
#[wasm_bindgen]
pub struct Arriving {
    loading: Result<Loading, Error>,
    layers: usize,
    bytes: usize,
    hash: Sha256,
}

#[wasm_bindgen]
impl Arriving {
    /// Nothing of it yet.
    #[wasm_bindgen(constructor)]
    pub fn new(processor: &Processor) -> Arriving {
        Arriving {
            loading: Ok(Loading::new(processor.0.clone())),
            layers: 0,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    /// Takes the next bytes, and says whether they can be right; if not, the first error waits in `finish`, and what still comes is only
    /// counted, for who knows the whole file can say what came instead.
    pub fn take(&mut self, bytes: Vec<u8>) -> bool {
        self.bytes += bytes.len();
        self.hash.update(&bytes);
        match self.loading.as_mut().map(|loading| loading.take(bytes)) {
            Ok(Ok(layers)) => self.layers = layers,
            Ok(Err(error)) => self.loading = Err(error),
            Err(_) => {}
        }
        self.loading.is_ok()
    }

    /// Layers that are on the processor.
    #[wasm_bindgen(getter)]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Bytes so far.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the whole file, once its header is here.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> Option<usize> {
        self.loading.as_ref().ok()?.length()
    }

    /// SHA-256 of all bytes so far, hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// The base, when its file is whole and right, and the processor gives the latents that the file knows.
    #[wasm_bindgen(unchecked_return_type = "Promise<Session>")]
    pub fn finish(self) -> Promise {
        future_to_promise(async move {
            let (base, weights) = self.loading.and_then(Loading::finish).map_err(js)?;
            let own = weights.head().map_err(js)?;
            let latents = base.latents(&[known_picture()]).await.map_err(js)?;
            base.check(&latents).map_err(js)?;
            let table = Latents::new(stamp(&base), Vec::new());
            Ok(Session {
                base: Rc::new(base),
                dtype: weights.dtype.name(),
                head: Rc::default(),
                own,
                table: RefCell::new(Rc::new(table)),
            }
            .into())
        })
    }
}

/// A base on a device, a head once one is loaded, and the table of latents that was set last.
#[wasm_bindgen]
pub struct Session {
    base: Rc<Base>,
    dtype: &'static str,
    head: Rc<RefCell<Option<Head>>>,
    /// What the base's own file answers with.
    own: Option<Head>,
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

    /// Takes the head that the base brings, and says what it is; without one there are no classes to answer with.
    #[wasm_bindgen(js_name = openOwnHead, unchecked_return_type = "HeadInfo")]
    pub fn open_own_head(&self) -> JsValue {
        self.head.replace(self.own.clone());
        match &self.own {
            Some(head) => head_info(head),
            None => no_classes(),
        }
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
        let trainer = train::Trainer::new(table.clone(), &rows, settings.clone()).map_err(js)?;
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
            let maps = base.maps(&picture.resized).await.map_err(js)?;
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
            let latents = base.latents(&resized).await.map_err(js)?;
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
        Ok(match &*self.head.borrow() {
            Some(head) => plain(&head.predict(latents, top)),
            None => plain(&Vec::<Prediction>::new()),
        })
    }
}

/// Weights files as the field hands them round, on their way to a file of ours.
#[wasm_bindgen]
#[derive(Default)]
pub struct Foreign {
    files: Vec<(String, Vec<u8>)>,
}

#[wasm_bindgen]
impl Foreign {
    /// None yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Foreign {
        Foreign::default()
    }

    /// Takes a file of the source.
    #[wasm_bindgen(js_name = addFile)]
    pub fn add_file(&mut self, name: String, bytes: Vec<u8>) {
        self.files.push((name, bytes));
    }

    /// Converts them to one file of ours with u8 kernels; `imagenet` names the classes of a classifier that has as many.
    #[wasm_bindgen(unchecked_return_type = "Promise<Uint8Array>")]
    pub fn convert(self, imagenet: Vec<String>) -> Promise {
        future_to_promise(async move {
            if let [(_, bytes)] = self.files.as_slice()
                && Weights::is(bytes)
            {
                Weights::open(bytes).map_err(js)?;
                return Ok(Uint8Array::from(bytes.as_slice()).into());
            }
            let files: Vec<_> = self
                .files
                .iter()
                .map(|(name, bytes)| File { name, bytes })
                .collect();
            let mut source = foreign::read(&files, None).map_err(js)?;
            drop(self.files);
            source.name_classes(&imagenet);
            let fingerprint = fingerprint(&source.info, &source.convs);
            let mut known = latents_to_know(&source.info, &rounded(&source, Dtype::U8));
            known.truncate(KNOWN);
            source.info.known_latents = known;
            let bytes = write(&source, &fingerprint, Dtype::U8);
            Ok(Uint8Array::from(bytes.as_slice()).into())
        })
    }
}

/// What training does where nothing else is said.
#[wasm_bindgen(js_name = trainingDefaults, unchecked_return_type = "Required<import('../../www/engine.js').TrainOptions>")]
pub fn training_defaults() -> JsValue {
    plain(&Settings::default())
}

/// Files of a picture set, as they come.
#[wasm_bindgen]
#[derive(Default)]
pub struct SetFiles {
    files: cifar10::Files,
    any: bool,
    pictures: Option<PictureSet>,
}

#[wasm_bindgen]
impl SetFiles {
    /// None yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> SetFiles {
        SetFiles::default()
    }

    /// Takes one of CIFAR-10's files, or, where it cannot be used, leaves all as it was.
    #[wasm_bindgen(js_name = addFile)]
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), JsValue> {
        self.files.add(name, bytes).map_err(js)?;
        self.any = true;
        Ok(())
    }

    /// Names a class, which may stay without pictures.
    #[wasm_bindgen(js_name = addClass)]
    pub fn add_class(&mut self, name: &str) {
        let set = self.pictures.get_or_insert_with(empty_set);
        set.training.class(name);
        set.test.class(name);
    }

    /// Takes a picture file of a class; an `AVIF` error asks the caller to let the browser decode.
    #[wasm_bindgen(js_name = addPicture)]
    pub fn add_picture(
        &mut self,
        class: &str,
        test: bool,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), JsValue> {
        let pixels = Pixels::decode(bytes).map_err(js)?;
        self.push(class, test, name, &pixels);
        Ok(())
    }

    /// Takes pixels that the browser decoded: [height, width, 4].
    #[wasm_bindgen(js_name = addRgba)]
    pub fn add_rgba(
        &mut self,
        class: &str,
        test: bool,
        name: &str,
        width: u32,
        height: u32,
        rgba: &[u8],
    ) -> Result<(), JsValue> {
        let pixels = Pixels::from_rgba(width, height, rgba).map_err(js)?;
        self.push(class, test, name, &pixels);
        Ok(())
    }

    fn push(&mut self, class: &str, test: bool, name: &str, pixels: &Pixels) {
        self.add_class(class);
        if let Some(set) = &mut self.pictures {
            let part = if test {
                &mut set.test
            } else {
                &mut set.training
            };
            part.push_picture(class, name, pixels);
        }
    }

    /// All of it as one set.
    fn finish(self) -> Result<PictureSet, Error> {
        match self.pictures {
            None => self.files.finish(),
            Some(pictures) if !self.any => Ok(pictures),
            Some(pictures) => {
                let mut set = self.files.finish()?;
                set.training.append(pictures.training);
                set.test.append(pictures.test);
                Ok(set)
            }
        }
    }
}

fn empty_set() -> PictureSet {
    PictureSet {
        training: Pictures::new(Vec::new()),
        test: Pictures::new(Vec::new()),
    }
}

/// Three ways to classify a set's pictures, and the latents of those that Inception has read.
#[wasm_bindgen]
pub struct Ways {
    set: Rc<PictureSet>,
    known: Rc<Known>,
}

#[wasm_bindgen]
impl Ways {
    /// With no pictures yet.
    #[wasm_bindgen(constructor)]
    pub fn new(session: &Session) -> Ways {
        Ways {
            set: Rc::new(empty_set()),
            known: Rc::new(Known::new(stamp(&session.base))),
        }
    }

    /// Puts the files' pictures in place of those there were.
    #[wasm_bindgen(unchecked_return_type = "SetInfo")]
    pub fn open(&mut self, files: SetFiles) -> Result<JsValue, JsValue> {
        self.set = Rc::new(files.finish().map_err(js)?);
        #[derive(Serialize)]
        struct SetInfo<'a> {
            sha256: String,
            classes: &'a [String],
            training: Vec<usize>,
            test: Vec<usize>,
        }
        let PictureSet { training, test } = &*self.set;
        Ok(plain(&SetInfo {
            sha256: self.set.sha256(),
            classes: &training.classes,
            training: training.counts(),
            test: test.counts(),
        }))
    }

    /// Rows of a class's first training pictures.
    pub fn samples(&self, class: usize, count: usize) -> Vec<u32> {
        let labels = (0..).zip(&self.set.training.labels);
        let own = labels.filter(|(_, label)| **label == class);
        own.map(|(row, _)| row).take(count).collect()
    }

    /// The mean training picture of a class, [32, 32, 4]; empty of a class without pictures.
    pub fn mean(&self, class: usize) -> Clamped<Vec<u8>> {
        let mean = self.set.training.mean(class);
        Clamped(mean.map_or(Vec::new(), |mean| rgba(&mean)))
    }

    /// A picture's pixels, [32, 32, 4], by its row among the training or the test pictures.
    pub fn rgba(&self, test: bool, row: usize) -> Result<Clamped<Vec<u8>>, JsValue> {
        let part = if test {
            &self.set.test
        } else {
            &self.set.training
        };
        if row >= part.len() {
            return Err(js(Error::Setting {
                name: "row",
                got: row.to_string(),
                want: "a row of the set",
            }));
        }
        Ok(Clamped(part.rgba(row)))
    }

    /// What a comparison draws: pictures to train on, to test on, and whether these are held out.
    #[wasm_bindgen(
        unchecked_return_type = "{ training: number; test: number; testFrom: 'test set' | 'held out' }"
    )]
    pub fn plan(&self, options: JsValue) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Plan {
            training: usize,
            test: usize,
            test_from: TestFrom,
        }
        let split = Split::new(&self.set, &read_options(options)?).map_err(js)?;
        Ok(plain(&Plan {
            training: split.training.len(),
            test: split.test.len(),
            test_from: split.test_from,
        }))
    }

    /// Rows of the set whose latents a comparison needs (training pictures first), or, with sizes and seeds, a learning curve.
    pub fn needed(
        &self,
        options: JsValue,
        sizes: Vec<usize>,
        seeds: u32,
    ) -> Result<Vec<usize>, JsValue> {
        let options = read_options(options)?;
        let splits = match seeds {
            0 => Split::new(&self.set, &options).map(|split| vec![split]),
            seeds => Curve::splits(&self.set, &options, &sizes, seeds.into()),
        };
        let mut rows: Vec<_> = splits.map_err(js)?.iter().flat_map(Split::rows).collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Those of some rows that Inception has not read.
    pub fn missing(&self, rows: Vec<usize>) -> Vec<usize> {
        self.known.missing(&self.set, rows)
    }

    /// A picture for Inception, by its row of the set.
    pub fn picture(&self, row: usize) -> Picture {
        let (pictures, row) = place(&self.set, row);
        pictures.as_pixels(row).into()
    }

    /// Takes a row's latents.
    pub fn learn(&mut self, row: usize, latents: &[f32]) {
        let (pictures, row) = place(&self.set, row);
        let known = Rc::get_mut(&mut self.known).expect("no comparison is under way");
        known.insert(pictures.hash(row), latents);
    }

    /// All latents that are there, as a file.
    #[wasm_bindgen(js_name = writeKnown)]
    pub fn write_known(&self) -> Vec<u8> {
        self.known.latents().write(Dtype::F32)
    }

    /// Takes latents out of such a file, in place of those that are there.
    #[wasm_bindgen(js_name = readKnown)]
    pub fn read_known(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        let stamp = &self.known.latents().stamp;
        let (latents, _) = Latents::read(bytes, Some(stamp)).map_err(js)?;
        self.known = Rc::new(Known::of(latents));
        Ok(())
    }

    /// Begins a comparison; transfer needs the latents of all pictures, and what they cost.
    pub fn compare(
        &self,
        options: JsValue,
        read: usize,
        kept: usize,
        seconds: f64,
        milliseconds: f64,
    ) -> Result<Comparing, JsValue> {
        let options = read_options(options)?;
        let reading = self.reading(&options, read, kept, seconds, milliseconds);
        let comparison = Comparison::new(self.set.clone(), options, reading).map_err(js)?;
        Ok(Comparing(comparison))
    }

    /// Begins a learning curve, with as many seeds from 0.
    #[wasm_bindgen(js_name = learningCurve)]
    pub fn learning_curve(
        &self,
        options: JsValue,
        sizes: Vec<usize>,
        seeds: u32,
    ) -> Result<Curving, JsValue> {
        let options = read_options(options)?;
        let reading = self.reading(&options, 0, 0, 0.0, 0.0);
        let curve =
            Curve::new(self.set.clone(), options, sizes, seeds.into(), reading).map_err(js)?;
        Ok(Curving(curve))
    }

    fn reading(
        &self,
        options: &Options,
        pictures: usize,
        kept: usize,
        seconds: f64,
        milliseconds: f64,
    ) -> Option<Reading> {
        options.ways.contains(&Way::Transfer).then(|| Reading {
            known: self.known.clone(),
            extraction: Extraction {
                pictures,
                kept,
                seconds,
            },
            milliseconds,
        })
    }

    /// A way's layers as they would be trained.
    #[wasm_bindgen(
        unchecked_return_type = "Pick<import('../../www/comparison.js').WayResult, 'way' | 'name' | 'parameters' | 'frozenParameters' | 'layers'>"
    )]
    pub fn layers(&self, way: &str) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Layers {
            way: Way,
            name: &'static str,
            parameters: usize,
            frozen_parameters: usize,
            layers: Vec<LayerRow>,
        }
        let unknown = || {
            js(Error::Setting {
                name: "model",
                got: way.into(),
                want: "mlp, cnn or transfer",
            })
        };
        let way = Way::ALL
            .into_iter()
            .find(|other| other.id() == way)
            .ok_or_else(unknown)?;
        let classes = match self.set.training.classes.len() {
            0 => 10,
            classes => classes,
        };
        let rows = way.table(classes);
        Ok(plain(&Layers {
            way,
            name: way.name(),
            parameters: rows.iter().map(|row| row.parameters).sum(),
            frozen_parameters: way.frozen_parameters(),
            layers: rows.into_iter().map(LayerRow::from).collect(),
        }))
    }
}

/// A comparison under way.
#[wasm_bindgen]
pub struct Comparing(Comparison);

#[wasm_bindgen]
impl Comparing {
    /// A little work.
    #[wasm_bindgen(unchecked_return_type = "Told")]
    pub fn step(&mut self) -> Result<JsValue, JsValue> {
        Ok(plain(&self.0.step().map_err(js)?))
    }

    /// Whether every way has its row.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Rows that there are.
    #[wasm_bindgen(getter)]
    pub fn rows(&self) -> usize {
        self.0.results().len()
    }

    /// One of them.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/comparison.js').WayResult")]
    pub fn row(&self, at: usize) -> JsValue {
        let result: Option<&WayResult> = self.0.results().get(at);
        plain(&result)
    }

    /// The whole table.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/comparison.js').Comparison")]
    pub fn finish(self) -> JsValue {
        plain(&self.0.finish())
    }
}

/// A learning curve under way.
#[wasm_bindgen]
pub struct Curving(Curve);

#[wasm_bindgen]
impl Curving {
    /// A little work.
    #[wasm_bindgen(unchecked_return_type = "Told")]
    pub fn step(&mut self) -> Result<JsValue, JsValue> {
        Ok(plain(&self.0.step().map_err(js)?))
    }

    /// Whether all runs are done.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Trainings done and in all, pictures a class and the seed of the one under way, and the points so far.
    #[wasm_bindgen(js_name = soFar, unchecked_return_type = "{ run: number; runs: number; perClass: number; seed: number; points: import('../../www/comparison.js').LearningCurve['points'] }")]
    pub fn so_far(&self) -> JsValue {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct SoFar<'a> {
            run: usize,
            runs: usize,
            per_class: usize,
            seed: u64,
            points: &'a [crate::compare::Point],
        }
        let ((run, runs), (per_class, seed)) = (self.0.progress(), self.0.run());
        let points = self.0.points();
        plain(&SoFar {
            run,
            runs,
            per_class,
            seed,
            points,
        })
    }

    /// The whole curve.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/comparison.js').LearningCurve")]
    pub fn finish(self) -> JsValue {
        plain(&self.0.finish())
    }
}

fn read_options(options: JsValue) -> Result<Options, JsValue> {
    let wrong = |error: serde_wasm_bindgen::Error| {
        js(Error::Setting {
            name: "options",
            got: error.to_string(),
            want: "the options that comparison.d.ts lists",
        })
    };
    serde_wasm_bindgen::from_value(options).map_err(wrong)
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
#[derive(Default, Serialize)]
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

/// Where there is no head.
fn no_classes() -> JsValue {
    plain(&HeadInfo::default())
}

fn head_info(head: &Head) -> JsValue {
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

#[cfg(feature = "webgpu")]
async fn webgpu(tell: Option<Function>) -> Result<base::Processor, Error> {
    let gpu = crate::gpu::Gpu::new(|done, total| {
        // Who only listens cannot stop it.
        let _ = tell
            .as_ref()
            .map(|tell| tell.call2(&JsValue::NULL, &done.into(), &total.into()));
    });
    Ok(base::Processor::Gpu(Rc::new(gpu.await?)))
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu(_: Option<Function>) -> Result<base::Processor, Error> {
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
