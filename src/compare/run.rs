//! Three ways to classify the same pictures, side by side: an MLP and a CNN on their pixels, and a head on Inception's latents.
//!
//! All are trained by the one loop of `train` on the same pictures, and asked about the same others. It does not know where pictures come
//! from or who computes latents: a caller hands both in, and takes one step after another, so that it can show progress and stop.

use std::{collections::HashMap, rc::Rc};

use serde::Serialize;
use web_time::Instant;

use crate::{
    compare::{
        latents::{Extraction, LatentCache},
        models::ModelKind,
        report::{BaseName, Data, Drawn, LayerRow, ModelResult, Score, Table},
        split::{Options, Split, place},
    },
    error::Error,
    head::{largest, softmax},
    image::small::PictureSet,
    train::{Examples, Model, Report, Settings, Trainer},
};

/// A set's rows as a way sees them.
struct Inputs {
    set: Rc<PictureSet>,
    /// For transfer: latents, and where each row's are.
    latents: Option<(Rc<LatentCache>, HashMap<usize, usize>)>,
}

impl Inputs {
    fn new(set: &Rc<PictureSet>, split: &Split, known: Option<&Rc<LatentCache>>) -> Inputs {
        let there = "latents of every picture of the split";
        let latents = known.map(|known| {
            let place = |row| (row, known.place(set, row).expect(there));
            (known.clone(), split.rows().map(place).collect())
        });
        let set = set.clone();
        Inputs { set, latents }
    }
}

impl Examples for Inputs {
    fn shape(&self) -> Vec<usize> {
        match self.latents {
            Some(_) => ModelKind::Transfer.input(),
            None => ModelKind::Cnn.input(),
        }
    }

    fn classes(&self) -> usize {
        self.set.training.classes.len()
    }

    fn label(&self, row: usize) -> usize {
        let (pictures, row) = place(&self.set, row);
        pictures.labels[row]
    }

    fn read(&self, row: usize, into: &mut Vec<f32>) {
        match &self.latents {
            Some((known, places)) => into.extend(known.latents().row(places[&row])),
            None => {
                let (pictures, row) = place(&self.set, row);
                into.extend(pictures.row(row).iter().map(|value| f32::from(*value)));
            }
        }
    }
}

/// What a comparison is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Pictures gone through, over all epochs.
    Train,
    /// Pictures asked about.
    Test,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// For which way.
    pub way: ModelKind,
    /// Pictures.
    pub done: usize,
    /// The same.
    pub total: usize,
    /// At the end of an epoch.
    pub epoch: Option<Report>,
}

/// Test pictures that are looked at after each epoch, at most.
const WATCHED: usize = 200;
/// Pictures asked about in a step.
const ASKED: usize = 100;

/// The three ways under way.
pub struct Comparison {
    set: Rc<PictureSet>,
    options: Options,
    pub(super) split: Split,
    reading: Option<Extraction>,
    /// Whether epochs are watched and the training pictures asked about, too.
    pub(super) whole: bool,
    work: Option<Work>,
    pub(super) results: Vec<ModelResult>,
}

/// What is done for a way.
enum Work {
    Training(Box<Training>),
    Asking(Box<Asking>),
}

struct Training {
    way: ModelKind,
    settings: Settings,
    seen: Rc<Inputs>,
    trainer: Trainer,
    epochs: Vec<Report>,
    seconds: f64,
}

impl Comparison {
    /// Draws the pictures. Transfer needs a reading of all of them.
    ///
    /// # Errors
    /// As [`Split::new`].
    pub fn new(
        set: Rc<PictureSet>,
        options: Options,
        reading: Option<Extraction>,
    ) -> Result<Comparison, Error> {
        let split = Split::new(&set, &options)?;
        Ok(Comparison {
            set,
            options,
            split,
            reading,
            whole: true,
            work: None,
            results: Vec::new(),
        })
    }

    /// Whether every way has its row.
    pub fn is_done(&self) -> bool {
        self.results.len() == self.options.ways.len()
    }

    /// Rows of the table, as far as they are known.
    pub fn results(&self) -> &[ModelResult] {
        &self.results
    }

    /// A little work: one step of training, or some pictures asked about.
    ///
    /// # Errors
    /// Settings that cannot work, such as no epochs.
    ///
    /// # Panics
    /// If it is done already, or transfer is compared and no latents were given.
    pub fn step(&mut self) -> Result<Progress, Error> {
        let work = match self.work.take() {
            Some(work) => work,
            None => self.begin(self.options.ways[self.results.len()])?,
        };
        let progress;
        self.work = match work {
            Work::Training(mut training) => {
                progress = training.step();
                Some(match training.trainer.is_done() {
                    true => Work::Asking(self.ask(*training)),
                    false => Work::Training(training),
                })
            }
            Work::Asking(mut asking) => {
                progress = asking.step();
                match progress.done == progress.total {
                    true => {
                        self.results.push(self.result(*asking));
                        None
                    }
                    false => Some(Work::Asking(asking)),
                }
            }
        };
        Ok(progress)
    }

    /// The table.
    pub fn finish(self) -> Table {
        let Comparison {
            set,
            options,
            split,
            reading,
            results,
            ..
        } = self;
        let own = |row: &usize| place(&set, *row).1;
        let label = |row: &usize| {
            let (pictures, row) = place(&set, *row);
            pictures.labels[row]
        };
        let base = reading
            .filter(|_| options.ways.contains(&ModelKind::Transfer))
            .map(|reading| BaseName {
                name: reading.known.latents().base.name.clone(),
                fingerprint: reading.known.latents().base.fingerprint.clone(),
            });
        Table {
            seed: options.seed,
            data: Data::of(&set),
            split: Drawn {
                per_class: options.per_class,
                test_per_class: options.test_per_class,
                test_from: split.test_from,
                training: split.training.len(),
                test: split.test.len(),
                training_rows: split.training.iter().map(own).collect(),
                test_rows: split.test.iter().map(own).collect(),
                test_labels: split.test.iter().map(label).collect(),
            },
            base,
            models: results,
        }
    }

    fn begin(&self, way: ModelKind) -> Result<Work, Error> {
        let known = (way == ModelKind::Transfer).then(|| {
            let reading = self.reading.as_ref();
            &reading.expect("transfer comes with latents").known
        });
        let seen = Rc::new(Inputs::new(&self.set, &self.split, known));
        let settings = Settings {
            seed: self.options.seed,
            epochs: self.options.epochs.unwrap_or(way.settings().epochs),
            ..way.settings()
        };
        let watched = match self.whole {
            true => self.split.test.iter().copied().take(WATCHED).collect(),
            false => Vec::new(),
        };
        let layers = way.layers(seen.classes());
        let training = self.split.training.clone();
        let trainer = Trainer::of(&layers, seen.clone(), training, watched, settings.clone())?;
        Ok(Work::Training(Box::new(Training {
            way,
            settings,
            seen,
            trainer,
            epochs: Vec::new(),
            seconds: 0.0,
        })))
    }

    fn ask(&self, training: Training) -> Box<Asking> {
        let mut rows = self.split.test.clone();
        if self.whole {
            rows.extend(&self.split.training);
        }
        Box::new(Asking {
            way: training.way,
            settings: training.settings,
            seen: training.seen,
            model: training.trainer.model(),
            epochs: training.epochs,
            train_seconds: training.seconds,
            rows,
            logits: Vec::new(),
            seconds: 0.0,
        })
    }

    fn result(&self, asked: Asking) -> ModelResult {
        let way = asked.way;
        let classes = asked.seen.classes();
        let layers = way.table(classes);
        let answer = |logits: &[f32]| {
            let probabilities = softmax(logits);
            let answered = largest(&probabilities);
            (answered, probabilities[answered])
        };
        let (mut answers, probabilities): (Vec<_>, Vec<_>) =
            asked.logits.chunks_exact(classes).map(answer).unzip();
        let score = |rows: &[usize], answers: &[usize]| {
            let right = rows.iter().zip(answers);
            let right = right.filter(|(row, answer)| asked.seen.label(**row) == **answer);
            Score::new(right.count(), rows.len())
        };
        let (test, training) = asked.rows.split_at(self.split.test.len());
        let own = asked.seconds * 1000.0 / asked.rows.len() as f64;
        let reading = self.reading.as_ref().filter(|_| way == ModelKind::Transfer);
        ModelResult {
            way,
            name: way.name(),
            parameters: layers.iter().map(|row| row.parameters).sum(),
            frozen_parameters: way.frozen_parameters(),
            layers: layers.into_iter().map(LayerRow::from).collect(),
            settings: asked.settings,
            epochs: asked.epochs,
            training: score(training, &answers[test.len()..]),
            test: score(test, &answers),
            train_seconds: asked.train_seconds,
            predict_milliseconds: own + reading.map_or(0.0, |reading| reading.milliseconds),
            extraction: reading.map(|reading| reading.extraction),
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
        let epoch = ended.then(|| self.trainer.report());
        self.epochs.extend(epoch.clone());
        Progress {
            stage: Stage::Train,
            way: self.way,
            done,
            total,
            epoch,
        }
    }
}

struct Asking {
    way: ModelKind,
    settings: Settings,
    seen: Rc<Inputs>,
    model: Model,
    epochs: Vec<Report>,
    train_seconds: f64,
    /// Test pictures, then training pictures.
    rows: Vec<usize>,
    /// As far as they are asked about.
    logits: Vec<f32>,
    seconds: f64,
}

impl Asking {
    fn step(&mut self) -> Progress {
        let classes = self.seen.classes();
        let rows = &self.rows[self.logits.len() / classes..];
        let rows = &rows[..rows.len().min(ASKED)];
        let start = Instant::now();
        self.logits.extend(self.model.logits(&*self.seen, rows));
        self.seconds += start.elapsed().as_secs_f64();
        Progress {
            stage: Stage::Test,
            way: self.way,
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

    /// Three colours, each picture with its own noise, so many of each class to train on and to test on.
    pub(crate) fn colours(training: usize, test: usize) -> Rc<PictureSet> {
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

    /// Latents in which one number tells the class.
    pub(crate) fn reading(set: &PictureSet) -> Extraction {
        let mut known = LatentCache::new(BaseId::example());
        for row in 0..set.training.len() + set.test.len() {
            let (pictures, row) = place(set, row);
            let mut latents = vec![0.0; LATENTS];
            latents[pictures.labels[row]] = 1.0;
            latents[7] = row as f32;
            known.insert(pictures.hash(row), &latents);
        }
        Extraction {
            known: Rc::new(known),
            extraction: ExtractionCost {
                pictures: set.training.len(),
                kept: 0,
                seconds: 1.0,
            },
            milliseconds: 5.0,
        }
    }

    fn compared(set: &Rc<PictureSet>, options: Options) -> Table {
        let mut comparison =
            Comparison::new(set.clone(), options, Some(reading(set))).expect("a good set");
        let mut last = None;
        while !comparison.is_done() {
            let progress = comparison.step().expect("good settings");
            assert!(progress.done <= progress.total);
            last = Some(progress);
        }
        let last = last.expect("some work");
        assert_eq!(last.done, last.total);
        comparison.finish()
    }

    /// A table without what differs from run to run.
    fn timeless(mut table: Table) -> Table {
        for model in &mut table.models {
            model.train_seconds = 0.0;
            model.predict_milliseconds = 0.0;
        }
        table
    }

    #[test]
    fn every_way_learns_what_its_input_tells() {
        let set = colours(20, 10);
        let options = Options {
            epochs: Some(12),
            ..Options::default()
        };
        let table = compared(&set, options);
        let names: Vec<_> = table.models.iter().map(|model| model.name).collect();
        assert_eq!(names, ["MLP", "CNN", "Inception transfer"]);
        for model in &table.models {
            assert_eq!(
                (model.test.correct, model.test.total),
                (30, 30),
                "{}",
                model.name
            );
            assert_eq!((model.training.correct, model.training.total), (60, 60));
            assert_eq!(model.answers, table.split.test_labels);
            assert_eq!(model.epochs.len(), 12);
            let counted: usize = model.layers.iter().map(|layer| layer.parameters).sum();
            assert_eq!(model.parameters, counted);
        }
        let [mlp, cnn, transfer] = &table.models[..] else {
            panic!("three")
        };
        assert_eq!(
            (mlp.frozen_parameters, transfer.frozen_parameters),
            (0, 21_802_784)
        );
        assert!(
            mlp.extraction.is_none() && cnn.extraction.is_none() && transfer.extraction.is_some()
        );
        assert!(
            transfer.predict_milliseconds > 5.0,
            "Inception's part is counted"
        );
    }

    #[test]
    fn a_cnn_tells_what_lies_anywhere_in_the_picture() {
        // Upright and lying stripes at any phase: the mean of every pixel is the same in both classes.
        let part = |from: usize, count: usize| {
            let mut pictures = Pictures::new(vec!["upright".into(), "lying".into()]);
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
            ways: vec![ModelKind::Cnn],
            epochs: Some(15),
            ..Options::default()
        };
        assert_eq!(compared(&set, options).models[0].test.correct, 32);
    }

    #[test]
    fn the_same_seed_gives_the_same_table_and_another_seed_another() {
        let set = colours(8, 4);
        let once = |seed| {
            let options = Options {
                per_class: 5,
                epochs: Some(2),
                seed,
                ..Options::default()
            };
            timeless(compared(&set, options))
        };
        assert_eq!(once(3), once(3));
        let (three, four) = (once(3), once(4));
        assert_ne!(three.split.training_rows, four.split.training_rows);
        assert_eq!(
            three.split.test_rows, four.split.test_rows,
            "all seeds are asked the same"
        );
        assert_eq!(three.data, four.data);
        assert_ne!(three.models[0].epochs, four.models[0].epochs);
    }

    #[test]
    fn training_and_test_pictures_are_never_the_same() {
        let with_test = colours(10, 6);
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
                Split::new(&set, &options).expect("a good set")
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
                "more holds fewer"
            );
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let set = |labels: &[usize]| {
            let mut training = Pictures::new(vec!["a".into(), "b".into()]);
            for (i, label) in labels.iter().enumerate() {
                training.push(i.to_string(), *label, &[i as u8; VALUES]);
            }
            let test = Pictures::new(training.classes.clone());
            PictureSet { training, test }
        };
        let sentence = |labels: &[usize], options| {
            Split::new(&set(labels), &options)
                .expect_err("refused")
                .to_string()
        };
        let cases = [
            (
                sentence(&[0, 0], Options::default()),
                "train: 1 of the classes have pictures, at least two are needed; add pictures to another class",
            ),
            (
                sentence(&[0, 0, 1], Options::default()),
                "train: the class \"b\" has one picture, and one of each has to be held out for the test; add pictures to it, or test pictures",
            ),
            (
                sentence(
                    &[0, 0, 1, 1],
                    Options {
                        ways: Vec::new(),
                        ..Options::default()
                    },
                ),
                "models: none will not do, expected at least one of mlp, cnn and transfer",
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }
}
