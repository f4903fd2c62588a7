//! Trains and tests the models of a comparison, one after another, on the same split.
//!
//! The caller provides the pictures and the latents. It calls [`Comparison::step`] in a loop, so it can show progress and cancel.

use std::{collections::HashMap, rc::Rc};

use serde::Serialize;
use web_time::Instant;

use crate::{
    compare::{
        latents::{Extraction, LatentCache},
        models::ModelKind,
        report::{ComparisonReport, DatasetInfo, LayerRow, ModelResult, Score, SplitInfo},
        split::{Options, Split, locate},
    },
    error::Error,
    head::{largest, softmax},
    image::small::PictureSet,
    train::{EpochReport, Examples, INFERENCE_BATCH, Model, Settings, Trainer},
};

/// The pictures of a set as pixels, or as latents for transfer.
struct Inputs {
    set: Rc<PictureSet>,
    /// For transfer: the cache, and the row in it for each row of the split.
    latents: Option<(Rc<LatentCache>, HashMap<usize, usize>)>,
}

impl Inputs {
    fn new(set: &Rc<PictureSet>, split: &Split, cache: Option<&Rc<LatentCache>>) -> Inputs {
        const COMPLETE: &str = "latents of every picture of the split";
        let latents = cache.map(|cache| {
            let cached = |row| (row, cache.find(set, row).expect(COMPLETE));
            (cache.clone(), split.rows().map(cached).collect())
        });
        let set = set.clone();
        Inputs { set, latents }
    }
}

impl Examples for Inputs {
    fn shape(&self) -> Vec<usize> {
        match self.latents {
            Some(_) => ModelKind::Transfer.input_shape(),
            // The MLP reads the same pixels.
            None => ModelKind::Cnn.input_shape(),
        }
    }

    fn classes(&self) -> usize {
        self.set.training.classes.len()
    }

    fn label(&self, row: usize) -> usize {
        let (pictures, row) = locate(&self.set, row);
        pictures.labels[row]
    }

    fn read(&self, row: usize, into: &mut Vec<f32>) {
        match &self.latents {
            Some((cache, rows)) => into.extend(cache.latents().row(rows[&row])),
            None => {
                let (pictures, row) = locate(&self.set, row);
                into.extend(pictures.row(row).iter().map(|value| f32::from(*value)));
            }
        }
    }
}

/// The stage of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Training. Progress counts pictures over all epochs.
    Train,
    /// Inference on the test pictures, then on the training pictures.
    Test,
}

/// Progress of the current model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// The model.
    #[serde(rename = "way")]
    pub model: ModelKind,
    /// Number of processed pictures.
    pub done: usize,
    /// Total number of pictures of the stage.
    pub total: usize,
    /// The report of an epoch, at its end.
    pub epoch: Option<EpochReport>,
}

/// Maximum number of test pictures that are measured after each epoch.
const MAX_VALIDATION: usize = 200;

/// A comparison in progress.
pub struct Comparison {
    set: Rc<PictureSet>,
    options: Options,
    pub(super) split: Split,
    extraction: Option<Extraction>,
    /// Skips validation after each epoch and the accuracy on training pictures.
    pub(super) test_accuracy_only: bool,
    current: Option<CurrentStage>,
    pub(super) results: Vec<ModelResult>,
}

enum CurrentStage {
    Training(Box<Training>),
    Testing(Box<Testing>),
}

struct Training {
    model: ModelKind,
    settings: Settings,
    inputs: Rc<Inputs>,
    trainer: Trainer,
    epochs: Vec<EpochReport>,
    seconds: f64,
}

impl Comparison {
    /// Samples the pictures. Transfer requires the latents of all of them.
    ///
    /// # Errors
    /// The errors of [`Split::new`].
    pub fn new(
        set: Rc<PictureSet>,
        options: Options,
        extraction: Option<Extraction>,
    ) -> Result<Comparison, Error> {
        let split = Split::new(&set, &options)?;
        Ok(Comparison {
            set,
            options,
            split,
            extraction,
            test_accuracy_only: false,
            current: None,
            results: Vec::new(),
        })
    }

    /// Returns whether all models are finished.
    pub fn is_done(&self) -> bool {
        self.results.len() == self.options.models.len()
    }

    /// Returns the results so far.
    pub fn results(&self) -> &[ModelResult] {
        &self.results
    }

    /// Trains or tests the current model on one batch.
    ///
    /// # Errors
    /// Invalid settings, such as zero epochs.
    ///
    /// # Panics
    /// If the comparison is finished, or if latents for transfer are missing.
    pub fn step(&mut self) -> Result<Progress, Error> {
        let stage = match self.current.take() {
            Some(stage) => stage,
            None => self.start_training(self.options.models[self.results.len()])?,
        };
        let progress;
        self.current = match stage {
            CurrentStage::Training(mut training) => {
                progress = training.step();
                Some(match training.trainer.is_done() {
                    true => self.start_testing(*training),
                    false => CurrentStage::Training(training),
                })
            }
            CurrentStage::Testing(mut testing) => {
                progress = testing.step();
                match progress.done == progress.total {
                    true => {
                        self.results.push(self.result(*testing));
                        None
                    }
                    false => Some(CurrentStage::Testing(testing)),
                }
            }
        };
        Ok(progress)
    }

    /// Returns the report.
    pub fn finish(self) -> ComparisonReport {
        let Comparison {
            set,
            options,
            split,
            extraction,
            results,
            ..
        } = self;
        let row_in_part = |row: &usize| locate(&set, *row).1;
        let label = |row: &usize| {
            let (pictures, row) = locate(&set, *row);
            pictures.labels[row]
        };
        let base = extraction
            .filter(|_| options.models.contains(&ModelKind::Transfer))
            .map(|extraction| extraction.cache.latents().base.clone());
        ComparisonReport {
            seed: options.seed,
            data: DatasetInfo::new(&set),
            split: SplitInfo {
                per_class: options.per_class,
                test_per_class: options.test_per_class,
                test_from: split.test_from,
                training: split.training.len(),
                test: split.test.len(),
                training_rows: split.training.iter().map(row_in_part).collect(),
                test_rows: split.test.iter().map(row_in_part).collect(),
                test_labels: split.test.iter().map(label).collect(),
            },
            base,
            models: results,
        }
    }

    fn start_training(&self, model: ModelKind) -> Result<CurrentStage, Error> {
        let cache = (model == ModelKind::Transfer).then(|| {
            let extraction = self.extraction.as_ref();
            &extraction.expect("transfer requires latents").cache
        });
        let inputs = Rc::new(Inputs::new(&self.set, &self.split, cache));
        let settings = Settings {
            seed: self.options.seed,
            epochs: self.options.epochs.unwrap_or(model.settings().epochs),
            ..model.settings()
        };
        let validation = match self.test_accuracy_only {
            true => Vec::new(),
            false => self
                .split
                .test
                .iter()
                .copied()
                .take(MAX_VALIDATION)
                .collect(),
        };
        let trainer = Trainer::new(
            &model.layers(inputs.classes()),
            inputs.clone(),
            self.split.training.clone(),
            validation,
            settings.clone(),
        )?;
        Ok(CurrentStage::Training(Box::new(Training {
            model,
            settings,
            inputs,
            trainer,
            epochs: Vec::new(),
            seconds: 0.0,
        })))
    }

    fn start_testing(&self, training: Training) -> CurrentStage {
        let mut rows = self.split.test.clone();
        if !self.test_accuracy_only {
            rows.extend(&self.split.training);
        }
        CurrentStage::Testing(Box::new(Testing {
            model: training.model,
            settings: training.settings,
            inputs: training.inputs,
            trained: training.trainer.finish(),
            epochs: training.epochs,
            train_seconds: training.seconds,
            rows,
            logits: Vec::new(),
            seconds: 0.0,
        }))
    }

    fn result(&self, tested: Testing) -> ModelResult {
        let model = tested.model;
        let classes = tested.inputs.classes();
        let layers = model.table(classes);
        let prediction = |logits: &[f32]| {
            let probabilities = softmax(logits);
            let predicted = largest(&probabilities);
            (predicted, probabilities[predicted])
        };
        let (mut answers, probabilities): (Vec<_>, Vec<_>) =
            tested.logits.chunks_exact(classes).map(prediction).unzip();
        let score = |rows: &[usize], answers: &[usize]| {
            let correct = rows.iter().zip(answers);
            let correct = correct.filter(|(row, answer)| tested.inputs.label(**row) == **answer);
            Score::new(correct.count(), rows.len())
        };
        let (test, training) = tested.rows.split_at(self.split.test.len());
        let milliseconds = tested.seconds * 1000.0 / tested.rows.len() as f64;
        let extraction = self
            .extraction
            .as_ref()
            .filter(|_| model == ModelKind::Transfer);
        ModelResult {
            model,
            name: model.name(),
            parameters: layers.iter().map(|row| row.parameters).sum(),
            frozen_parameters: model.frozen_parameters(),
            layers: layers.into_iter().map(LayerRow::from).collect(),
            settings: tested.settings,
            epochs: tested.epochs,
            training: score(training, &answers[test.len()..]),
            test: score(test, &answers),
            train_seconds: tested.train_seconds,
            predict_milliseconds: milliseconds
                + extraction.map_or(0.0, |extraction| extraction.milliseconds),
            extraction: extraction.map(|extraction| extraction.cost),
            answers: answers.drain(..test.len()).collect(),
            probabilities: probabilities[..test.len()].into(),
        }
    }
}

impl Training {
    fn step(&mut self) -> Progress {
        let start = Instant::now();
        let ended = self.trainer.step();
        self.seconds += start.elapsed().as_secs_f64();
        let (done, total) = self.trainer.progress();
        let epoch = ended.then(|| self.trainer.finish_epoch());
        self.epochs.extend(epoch.clone());
        Progress {
            stage: Stage::Train,
            model: self.model,
            done,
            total,
            epoch,
        }
    }
}

struct Testing {
    model: ModelKind,
    settings: Settings,
    inputs: Rc<Inputs>,
    trained: Model,
    epochs: Vec<EpochReport>,
    train_seconds: f64,
    /// Test pictures, then training pictures.
    rows: Vec<usize>,
    /// Logits of the first rows.
    logits: Vec<f32>,
    seconds: f64,
}

impl Testing {
    fn step(&mut self) -> Progress {
        let classes = self.inputs.classes();
        let rows = &self.rows[self.logits.len() / classes..];
        let rows = &rows[..rows.len().min(INFERENCE_BATCH)];
        let start = Instant::now();
        self.logits.extend(self.trained.logits(&*self.inputs, rows));
        self.seconds += start.elapsed().as_secs_f64();
        Progress {
            stage: Stage::Test,
            model: self.model,
            done: self.logits.len() / classes,
            total: self.rows.len(),
            epoch: None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        compare::{latents::ExtractionCost, split::TestFrom},
        head::latents::BaseId,
        image::small::{Pictures, VALUES},
        net::inception::LATENTS,
    };

    /// A set with the classes red, green and blue, with noise. The arguments are the pictures per class.
    pub(crate) fn colour_set(training: usize, test: usize) -> Rc<PictureSet> {
        let part = |count: usize, from: usize| {
            let classes = ["red", "green", "blue"].map(String::from);
            let mut pictures = Pictures::new(classes.into());
            for i in 0..count * 3 {
                let label = i % 3;
                let noise = |at: usize| (((at * 31 + (i + from) * 17) * 2_654_435_761) >> 7) % 90;
                let value = |at: usize| noise(at) as u8 + if at / 1024 == label { 120 } else { 0 };
                let planes: Vec<u8> = (0..VALUES).map(value).collect();
                pictures.push(format!("{from}-{i}"), label, &planes);
            }
            pictures
        };
        Rc::new(PictureSet {
            training: part(training, 0),
            test: part(test, 1000),
        })
    }

    /// One-hot labels as latents.
    pub(crate) fn extraction(set: &PictureSet) -> Extraction {
        let mut cache = LatentCache::new(BaseId::example());
        for row in 0..set.training.len() + set.test.len() {
            let (pictures, row) = locate(set, row);
            let mut latents = vec![0.0; LATENTS];
            latents[pictures.labels[row]] = 1.0;
            latents[7] = row as f32;
            cache.insert(pictures.hash(row), &latents);
        }
        Extraction {
            cache: Rc::new(cache),
            cost: ExtractionCost {
                pictures: set.training.len(),
                kept: 0,
                seconds: 1.0,
            },
            milliseconds: 5.0,
        }
    }

    fn compare(set: &Rc<PictureSet>, options: Options) -> ComparisonReport {
        let mut comparison =
            Comparison::new(set.clone(), options, Some(extraction(set))).expect("a valid set");
        let mut last = None;
        while !comparison.is_done() {
            let progress = comparison.step().expect("valid settings");
            assert!(progress.done <= progress.total);
            last = Some(progress);
        }
        let last = last.expect("at least one step");
        assert_eq!(last.done, last.total);
        comparison.finish()
    }

    fn without_times(mut report: ComparisonReport) -> ComparisonReport {
        for result in &mut report.models {
            result.train_seconds = 0.0;
            result.predict_milliseconds = 0.0;
        }
        report
    }

    #[test]
    fn every_model_learns_separable_classes() {
        let set = colour_set(20, 10);
        let options = Options {
            epochs: Some(12),
            ..Options::default()
        };
        let report = compare(&set, options);
        let names: Vec<_> = report.models.iter().map(|result| result.name).collect();
        assert_eq!(names, ["MLP", "CNN", "Inception transfer"]);
        for result in &report.models {
            assert_eq!(
                (result.test.correct, result.test.total),
                (30, 30),
                "{}",
                result.name
            );
            assert_eq!((result.training.correct, result.training.total), (60, 60));
            assert_eq!(result.answers, report.split.test_labels);
            assert_eq!(result.epochs.len(), 12);
        }
        let [mlp, cnn, transfer] = &report.models[..] else {
            panic!("three models")
        };
        let parameters = [mlp, cnn, transfer].map(|result| result.parameters);
        assert_eq!(parameters, [1_705_475, 355_907, 6_147]);
        assert_eq!(
            (mlp.frozen_parameters, transfer.frozen_parameters),
            (0, 21_802_784)
        );
        assert!(
            mlp.extraction.is_none() && cnn.extraction.is_none() && transfer.extraction.is_some()
        );
        assert!(
            transfer.predict_milliseconds > 5.0,
            "includes the time of the base"
        );
    }

    #[test]
    fn a_cnn_learns_patterns_at_any_position() {
        // Vertical and horizontal stripes with any phase: every pixel has the same mean in both classes.
        let part = |from: usize, count: usize| {
            let mut pictures = Pictures::new(vec!["vertical".into(), "horizontal".into()]);
            for i in from..from + count {
                let stripe = |at: usize| {
                    let along = if i.is_multiple_of(2) {
                        at % 32
                    } else {
                        at / 32 % 32
                    };
                    if (along + i / 2) % 8 < 4 { 200 } else { 40 }
                };
                pictures.push(
                    i.to_string(),
                    i % 2,
                    &(0..VALUES).map(stripe).collect::<Vec<_>>(),
                );
            }
            pictures
        };
        let set = Rc::new(PictureSet {
            training: part(0, 64),
            test: part(64, 32),
        });
        let options = Options {
            models: vec![ModelKind::Cnn],
            epochs: Some(15),
            ..Options::default()
        };
        assert_eq!(compare(&set, options).models[0].test.correct, 32);
    }

    #[test]
    fn the_seed_determines_the_report_except_for_times() {
        let set = colour_set(8, 4);
        let report = |seed| {
            let options = Options {
                per_class: 5,
                epochs: Some(2),
                seed,
                ..Options::default()
            };
            without_times(compare(&set, options))
        };
        assert_eq!(report(3), report(3));
        let (three, four) = (report(3), report(4));
        assert_ne!(three.split.training_rows, four.split.training_rows);
        assert_eq!(
            three.split.test_rows, four.split.test_rows,
            "the test split does not depend on the seed"
        );
        assert_eq!(three.data, four.data);
        assert_ne!(three.models[0].epochs, four.models[0].epochs);
    }

    #[test]
    fn training_and_test_split_are_disjoint() {
        let with_test = colour_set(10, 6);
        let without = Rc::new(PictureSet {
            test: Pictures::new(with_test.training.classes.clone()),
            training: with_test.training.clone(),
        });
        for (set, from, test) in [
            (with_test, TestFrom::TestSet, 18),
            (without, TestFrom::HeldOut, 6),
        ] {
            let split = |per_class, seed| {
                let options = Options {
                    per_class,
                    seed,
                    ..Options::default()
                };
                Split::new(&set, &options).expect("a valid set")
            };
            let all = split(0, 1);
            assert_eq!((all.test_from, all.test.len()), (from, test));
            assert!(all.training.iter().all(|row| !all.test.contains(row)));
            let few = split(2, 1);
            assert_eq!(few.training.len(), 6);
            assert_eq!(few.test, split(2, 9).test);
            let more = split(4, 1);
            assert!(
                few.training.iter().all(|row| more.training.contains(row)),
                "a larger sample contains the smaller one"
            );
        }
    }

    #[test]
    fn invalid_sets_and_options_are_rejected() {
        let set = |labels: &[usize]| {
            let mut training = Pictures::new(vec!["a".into(), "b".into()]);
            for (i, label) in labels.iter().enumerate() {
                training.push(i.to_string(), *label, &[i as u8; VALUES]);
            }
            let test = Pictures::new(training.classes.clone());
            PictureSet { training, test }
        };
        let message = |labels: &[usize], options| {
            Split::new(&set(labels), &options)
                .expect_err("rejected")
                .to_string()
        };
        let cases = [
            (
                message(&[0, 0], Options::default()),
                "train: classes with pictures: got 1, expected at least 2; add pictures to another class",
            ),
            (
                message(&[0, 0, 1], Options::default()),
                "train: the class \"b\" has one picture, but one per class is held out for testing; add pictures to it, or add test pictures",
            ),
            (
                message(
                    &[0, 0, 1, 1],
                    Options {
                        models: Vec::new(),
                        ..Options::default()
                    },
                ),
                "invalid models: got none, expected at least one of mlp, cnn and transfer",
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }
}
