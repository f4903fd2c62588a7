//! The comparison of three models on small pictures.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::{Clamped, prelude::*};

use super::js::{from_object, invalid, to_js_error, to_object};
use crate::{
    compare::{
        Comparison, Extraction, ExtractionCost, LatentCache, LayerRow, LearningCurve, ModelKind,
        Options, Point, Split, TestFrom, locate,
    },
    error::Error,
    head::latents::{BaseId, Latents},
    image::{
        Pixels, cifar10,
        small::{PictureSet, Pictures, rgba},
    },
    weights::Dtype,
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The metadata of a picture set; `training` and `test` are numbers of pictures per class. */
export interface PictureSetInfo { sha256: string; classes: string[]; training: number[]; test: number[] }
/** Progress of a comparison; `epoch` is set at the end of an epoch. */
export interface ComparisonProgress { stage: "train" | "test"; way: import("../../www/engine/types.js").ModelKind; done: number; total: number; epoch: import("../../www/engine/types.js").EpochReport | null }
"#;

/// Collects the files of a picture set.
#[wasm_bindgen]
#[derive(Default)]
pub struct PictureSetBuilder {
    cifar: cifar10::Files,
    has_cifar: bool,
    pictures: Option<PictureSet>,
}

#[wasm_bindgen]
impl PictureSetBuilder {
    /// Creates a builder without pictures.
    #[wasm_bindgen(constructor)]
    pub fn new() -> PictureSetBuilder {
        PictureSetBuilder::default()
    }

    /// Adds a CIFAR-10 file. An invalid file does not change the set.
    #[wasm_bindgen(js_name = addFile)]
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), JsValue> {
        self.cifar.add(name, bytes).map_err(to_js_error)?;
        self.has_cifar = true;
        Ok(())
    }

    /// Adds a class without pictures, if it does not exist.
    #[wasm_bindgen(js_name = addClass)]
    pub fn add_class(&mut self, name: &str) {
        let set = self.pictures.get_or_insert_with(empty_set);
        set.training.label_of(name);
        set.test.label_of(name);
    }

    /// Adds a picture file to a class. Fails with kind `avif` if the caller has to decode it with the browser.
    #[wasm_bindgen(js_name = addPicture)]
    pub fn add_picture(
        &mut self,
        class: &str,
        test: bool,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), JsValue> {
        let pixels = Pixels::decode(bytes).map_err(to_js_error)?;
        self.push(class, test, name, &pixels);
        Ok(())
    }

    /// Adds a decoded picture to a class: [height, width, 4].
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
        let pixels = Pixels::from_rgba(width, height, rgba).map_err(to_js_error)?;
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

    fn build(self) -> Result<PictureSet, Error> {
        match self.pictures {
            None => self.cifar.finish(),
            Some(pictures) if !self.has_cifar => Ok(pictures),
            Some(pictures) => {
                let mut set = self.cifar.finish()?;
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

/// A picture set, and a cache of latents for transfer learning.
///
/// Rows of the set are numbered over its training pictures, followed by its test pictures.
#[wasm_bindgen]
pub struct ModelComparison {
    set: Rc<PictureSet>,
    cache: Rc<LatentCache>,
}

#[wasm_bindgen]
impl ModelComparison {
    /// Creates a comparison with an empty set and an empty cache for the latents of a base.
    #[wasm_bindgen(constructor)]
    pub fn new(base: String, fingerprint: String) -> ModelComparison {
        let base = BaseId {
            name: base,
            fingerprint,
        };
        ModelComparison {
            set: Rc::new(empty_set()),
            cache: Rc::new(LatentCache::new(base)),
        }
    }

    /// Replaces the set.
    #[wasm_bindgen(unchecked_return_type = "PictureSetInfo")]
    pub fn open(&mut self, builder: PictureSetBuilder) -> Result<JsValue, JsValue> {
        self.set = Rc::new(builder.build().map_err(to_js_error)?);
        #[derive(Serialize)]
        struct PictureSetInfo<'a> {
            sha256: String,
            classes: &'a [String],
            training: Vec<usize>,
            test: Vec<usize>,
        }
        let PictureSet { training, test } = &*self.set;
        Ok(to_object(&PictureSetInfo {
            sha256: self.set.sha256(),
            classes: &training.classes,
            training: training.counts(),
            test: test.counts(),
        }))
    }

    /// Returns the rows of the first `count` training pictures of a class.
    #[wasm_bindgen(js_name = sampleRows)]
    pub fn sample_rows(&self, class: usize, count: usize) -> Vec<u32> {
        let labels = (0..).zip(&self.set.training.labels);
        let rows = labels.filter(|(_, label)| **label == class);
        rows.map(|(row, _)| row).take(count).collect()
    }

    /// Returns the mean training picture of a class, [32, 32, 4]. It is empty if the class has no pictures.
    pub fn mean(&self, class: usize) -> Clamped<Vec<u8>> {
        let mean = self.set.training.mean(class);
        Clamped(mean.map_or(Vec::new(), |mean| rgba(&mean)))
    }

    /// Returns a training or test picture, [32, 32, 4]. `row` is an index into the training or the test pictures.
    pub fn rgba(&self, test: bool, row: usize) -> Result<Clamped<Vec<u8>>, JsValue> {
        let part = if test {
            &self.set.test
        } else {
            &self.set.training
        };
        if row >= part.len() {
            return Err(invalid("row", row, "a row of the picture set"));
        }
        Ok(Clamped(part.rgba(row)))
    }

    /// Returns the number of training and test pictures of a comparison, and the source of the test pictures.
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
        let split = Split::new(&self.set, &read_options(options)?).map_err(to_js_error)?;
        Ok(to_object(&Plan {
            training: split.training.len(),
            test: split.test.len(),
            test_from: split.test_from,
        }))
    }

    /// Returns the rows of the set whose latents a comparison needs or, if `seeds` is not 0, a learning curve.
    #[wasm_bindgen(js_name = requiredRows)]
    pub fn required_rows(
        &self,
        options: JsValue,
        sizes: Vec<usize>,
        seeds: u32,
    ) -> Result<Vec<usize>, JsValue> {
        let options = read_options(options)?;
        let splits = match seeds {
            0 => Split::new(&self.set, &options).map(|split| vec![split]),
            seeds => LearningCurve::splits(&self.set, &options, &sizes, seeds.into()),
        };
        let splits = splits.map_err(to_js_error)?;
        let mut rows: Vec<_> = splits.iter().flat_map(Split::rows).collect();
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Returns those of the given rows whose latents are not cached.
    #[wasm_bindgen(js_name = missingRows)]
    pub fn missing_rows(&self, rows: Vec<usize>) -> Vec<usize> {
        self.cache.missing(&self.set, rows)
    }

    /// Returns the picture of a row of the set, [32, 32, 4].
    pub fn picture(&self, row: usize) -> Clamped<Vec<u8>> {
        let (pictures, row) = locate(&self.set, row);
        Clamped(pictures.rgba(row))
    }

    /// Adds the latents of a row to the cache.
    #[wasm_bindgen(js_name = addLatents)]
    pub fn add_latents(&mut self, row: usize, latents: &[f32]) {
        let (pictures, row) = locate(&self.set, row);
        let cache = Rc::get_mut(&mut self.cache).expect("no run uses the cache");
        cache.insert(pictures.hash(row), latents);
    }

    /// Writes the cache to a file.
    #[wasm_bindgen(js_name = writeLatents)]
    pub fn write_latents(&self) -> Vec<u8> {
        self.cache.latents().write(Dtype::F32)
    }

    /// Replaces the cache by the content of a file.
    #[wasm_bindgen(js_name = readLatents)]
    pub fn read_latents(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        let base = &self.cache.latents().base;
        let (latents, _) = Latents::read(bytes, Some(base)).map_err(to_js_error)?;
        self.cache = Rc::new(LatentCache::from_latents(latents));
        Ok(())
    }

    /// Starts a comparison. Transfer requires the latents of all its rows; `read`, `kept`, `seconds` and `milliseconds` are their cost.
    pub fn compare(
        &self,
        options: JsValue,
        read: usize,
        kept: usize,
        seconds: f64,
        milliseconds: f64,
    ) -> Result<ComparisonRun, JsValue> {
        let options = read_options(options)?;
        let cost = ExtractionCost {
            pictures: read,
            kept,
            seconds,
        };
        let extraction = self.extraction(&options, cost, milliseconds);
        let run = Comparison::new(self.set.clone(), options, extraction).map_err(to_js_error)?;
        Ok(ComparisonRun(run))
    }

    /// Starts a learning curve with the seeds 0 to `seeds` - 1.
    #[wasm_bindgen(js_name = learningCurve)]
    pub fn learning_curve(
        &self,
        options: JsValue,
        sizes: Vec<usize>,
        seeds: u32,
    ) -> Result<LearningCurveRun, JsValue> {
        let options = read_options(options)?;
        let cost = ExtractionCost {
            pictures: 0,
            kept: 0,
            seconds: 0.0,
        };
        let extraction = self.extraction(&options, cost, 0.0);
        let run = LearningCurve::new(self.set.clone(), options, sizes, seeds.into(), extraction)
            .map_err(to_js_error)?;
        Ok(LearningCurveRun(run))
    }

    fn extraction(
        &self,
        options: &Options,
        cost: ExtractionCost,
        milliseconds: f64,
    ) -> Option<Extraction> {
        options
            .models
            .contains(&ModelKind::Transfer)
            .then(|| Extraction {
                cache: self.cache.clone(),
                cost,
                milliseconds,
            })
    }

    /// Lists the layers of a model for the classes of the set (ten classes if there is no set).
    #[wasm_bindgen(
        unchecked_return_type = "Pick<import('../../www/engine/types.js').ModelResult, 'way' | 'name' | 'parameters' | 'frozenParameters' | 'layers'>"
    )]
    pub fn layers(&self, model: &str) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Layers {
            #[serde(rename = "way")]
            model: ModelKind,
            name: &'static str,
            parameters: usize,
            frozen_parameters: usize,
            layers: Vec<LayerRow>,
        }
        let model = ModelKind::ALL
            .into_iter()
            .find(|kind| kind.id() == model)
            .ok_or_else(|| invalid("model", model, "mlp, cnn or transfer"))?;
        let classes = match self.set.training.classes.len() {
            0 => 10,
            classes => classes,
        };
        let rows = model.table(classes);
        Ok(to_object(&Layers {
            model,
            name: model.name(),
            parameters: rows.iter().map(|row| row.parameters).sum(),
            frozen_parameters: model.frozen_parameters(),
            layers: rows.into_iter().map(LayerRow::from).collect(),
        }))
    }
}

/// A comparison in progress.
#[wasm_bindgen]
pub struct ComparisonRun(Comparison);

#[wasm_bindgen]
impl ComparisonRun {
    /// Trains or tests the current model on one batch.
    #[wasm_bindgen(unchecked_return_type = "ComparisonProgress")]
    pub fn step(&mut self) -> Result<JsValue, JsValue> {
        Ok(to_object(&self.0.step().map_err(to_js_error)?))
    }

    /// Whether all models are finished.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Number of results so far.
    #[wasm_bindgen(getter, js_name = resultCount)]
    pub fn result_count(&self) -> usize {
        self.0.results().len()
    }

    /// Returns the result of a model, counted from 0.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/types.js').ModelResult")]
    pub fn result(&self, index: usize) -> JsValue {
        to_object(&self.0.results().get(index))
    }

    /// Returns the report.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/types.js').Comparison")]
    pub fn finish(self) -> JsValue {
        to_object(&self.0.finish())
    }
}

/// A learning curve in progress.
#[wasm_bindgen]
pub struct LearningCurveRun(LearningCurve);

#[wasm_bindgen]
impl LearningCurveRun {
    /// Trains or tests the current model on one batch.
    #[wasm_bindgen(unchecked_return_type = "ComparisonProgress")]
    pub fn step(&mut self) -> Result<JsValue, JsValue> {
        Ok(to_object(&self.0.step().map_err(to_js_error)?))
    }

    /// Whether all comparisons are finished.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> bool {
        self.0.is_done()
    }

    /// Returns the number of finished trainings and the total number, size and seed of the current comparison, and the results so far.
    #[wasm_bindgen(
        unchecked_return_type = "{ run: number; runs: number; perClass: number; seed: number; points: import('../../www/engine/types.js').LearningCurve['points'] }"
    )]
    pub fn status(&self) -> JsValue {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Status<'a> {
            run: usize,
            runs: usize,
            per_class: usize,
            seed: u64,
            points: &'a [Point],
        }
        let ((run, runs), (per_class, seed)) = (self.0.progress(), self.0.current());
        to_object(&Status {
            run,
            runs,
            per_class,
            seed,
            points: self.0.points(),
        })
    }

    /// Returns the report.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/types.js').LearningCurve")]
    pub fn finish(self) -> JsValue {
        to_object(&self.0.finish())
    }
}

fn read_options(options: JsValue) -> Result<Options, JsValue> {
    from_object(options, "options", "the properties of CompareOptions")
}
