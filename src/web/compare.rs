//! Three ways to classify small pictures, side by side.

use std::rc::Rc;

use serde::Serialize;
use wasm_bindgen::{Clamped, prelude::*};

use super::{js, plain};
use crate::{
    compare::{
        Comparison, Curve, Extraction, ExtractionCost, LatentCache, LayerRow, ModelKind,
        ModelResult, Options, Split, TestFrom, place,
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
/** A picture set, without its pictures. */
export interface SetInfo { sha256: string; classes: string[]; training: number[]; test: number[] }
/** How far a comparison is; `epoch` at the end of one. */
export interface Told { stage: "train" | "test"; way: Way; done: number; total: number; epoch: import("../../www/engine/engine.js").EpochReport | null }
/** The parts of comparison.d.ts that come from here as they are. */
export type Way = import("../../www/engine/comparison.js").Way;
"#;

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
    known: Rc<LatentCache>,
}

#[wasm_bindgen]
impl Ways {
    /// With no pictures yet, and no latents of a base.
    #[wasm_bindgen(constructor)]
    pub fn new(base: String, fingerprint: String) -> Ways {
        Ways {
            set: Rc::new(empty_set()),
            known: Rc::new(LatentCache::new(BaseId { name: base, fingerprint })),
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

    /// A picture for Inception, [32, 32, 4], by its row of the set.
    pub fn picture(&self, row: usize) -> Clamped<Vec<u8>> {
        let (pictures, row) = place(&self.set, row);
        Clamped(pictures.rgba(row))
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
        let base_id = &self.known.latents().base;
        let (latents, _) = Latents::read(bytes, Some(base_id)).map_err(js)?;
        self.known = Rc::new(LatentCache::of(latents));
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
    ) -> Option<Extraction> {
        options
            .ways
            .contains(&ModelKind::Transfer)
            .then(|| Extraction {
                known: self.known.clone(),
                extraction: ExtractionCost {
                    pictures,
                    kept,
                    seconds,
                },
                milliseconds,
            })
    }

    /// A way's layers as they would be trained.
    #[wasm_bindgen(
        unchecked_return_type = "Pick<import('../../www/engine/comparison.js').WayResult, 'way' | 'name' | 'parameters' | 'frozenParameters' | 'layers'>"
    )]
    pub fn layers(&self, way: &str) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Layers {
            way: ModelKind,
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
        let way = ModelKind::ALL
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
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/comparison.js').WayResult")]
    pub fn row(&self, at: usize) -> JsValue {
        let result: Option<&ModelResult> = self.0.results().get(at);
        plain(&result)
    }

    /// The whole table.
    #[wasm_bindgen(unchecked_return_type = "import('../../www/engine/comparison.js').Comparison")]
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
    #[wasm_bindgen(js_name = soFar, unchecked_return_type = "{ run: number; runs: number; perClass: number; seed: number; points: import('../../www/engine/comparison.js').LearningCurve['points'] }")]
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
    #[wasm_bindgen(
        unchecked_return_type = "import('../../www/engine/comparison.js').LearningCurve"
    )]
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
