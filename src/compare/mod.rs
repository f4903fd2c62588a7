//! Three ways to classify the same pictures, side by side: an MLP and a CNN on their pixels, and a head on Inception's latents.
//!
//! All are trained by the one loop of `train` on the same pictures, and asked about the same others. It does not know where pictures come
//! from or who computes latents: a caller hands both in, and takes one step after another, so that it can show progress and stop.

mod curve;

use std::{collections::HashMap, rc::Rc};

use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::{
    baselines,
    error::Error,
    head::{Scores, softmax},
    inception::{LATENTS, Row, table},
    latents::{Latents, Stamp},
    network::{self, Layer},
    pictures::{PictureSet, Pictures, SIDE},
    train::{Examples, Model, Report, Settings, Trainer, largest},
};

pub use curve::{Curve, CurveTable, Point};

/// A way to classify pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// [`baselines::mlp`] on the pixels.
    Mlp,
    /// [`baselines::cnn`] on the pixels.
    Cnn,
    /// A linear head on the latents of Inception V3, which stays as it is.
    Transfer,
}

impl Way {
    /// All of them, in the order of the table.
    pub const ALL: [Way; 3] = [Way::Mlp, Way::Cnn, Way::Transfer];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Way::Mlp => "MLP",
            Way::Cnn => "CNN",
            Way::Transfer => "Inception transfer",
        }
    }

    /// Its name, for programs.
    pub fn id(self) -> &'static str {
        match self {
            Way::Mlp => "mlp",
            Way::Cnn => "cnn",
            Way::Transfer => "transfer",
        }
    }

    /// The layers that are trained.
    pub fn layers(self, classes: usize) -> Vec<Layer> {
        match self {
            Way::Mlp => baselines::mlp(classes),
            Way::Cnn => baselines::cnn(classes),
            Way::Transfer => vec![Layer::Dense(classes)],
        }
    }

    /// What the layers that are trained read: [channels, height, width], or the latents.
    pub fn input(self) -> Vec<usize> {
        match self {
            Way::Transfer => vec![LATENTS],
            _ => vec![3, SIDE, SIDE],
        }
    }

    /// How it is trained where nothing else is said: all epochs of it, for no pictures are held out to choose one.
    pub fn settings(self) -> Settings {
        let settings = match self {
            Way::Mlp => baselines::mlp_settings(),
            Way::Cnn => baselines::cnn_settings(),
            Way::Transfer => Settings {
                epochs: 30,
                ..Settings::default()
            },
        };
        Settings {
            validation: 0.0,
            patience: 0,
            ..settings
        }
    }

    /// The trained layers, as Keras lists them; the base's are [`table`].
    pub fn table(self, classes: usize) -> Vec<Row> {
        network::table(&self.layers(classes), &self.input())
    }

    /// Parameters of the base, which is not trained.
    pub fn frozen_parameters(self) -> usize {
        match self {
            Way::Transfer => table().iter().map(|row| row.parameters).sum(),
            _ => 0,
        }
    }
}

/// What to compare. The same options, pictures and device give the same figures, times apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Options {
    /// In the order in which they are trained.
    pub ways: Vec<Way>,
    /// Training pictures of each class, drawn by the seed; 0 takes all.
    pub per_class: usize,
    /// Test pictures of each class, the same whatever the seed; 0 takes all.
    pub test_per_class: usize,
    /// Of the draw, the first weights, the order and dropout.
    pub seed: u64,
    /// Passes over the training pictures; none takes each way's own.
    pub epochs: Option<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ways: Way::ALL.into(),
            per_class: 0,
            test_per_class: 0,
            seed: 0,
            epochs: None,
        }
    }
}

/// Where test pictures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TestFrom {
    /// The set has some of its own.
    #[serde(rename = "test set")]
    TestSet,
    /// A fifth of each class's training pictures is not trained on.
    #[serde(rename = "held out")]
    HeldOut,
}

/// Which pictures of a set are trained on and which asked about: rows of its training pictures, then of its test pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Where test pictures come from.
    pub test_from: TestFrom,
    /// Rows to train on.
    pub training: Vec<usize>,
    /// Rows to ask about.
    pub test: Vec<usize>,
}

/// The share of each class that is held out where a set has no test pictures: one in so many.
const HELD_OUT: usize = 5;
/// Draws test pictures, whatever the seed of a comparison, so that all seeds are asked the same.
const TEST_SEED: u64 = 0;

impl Split {
    /// Draws the pictures.
    ///
    /// # Errors
    /// A class without pictures, fewer than two classes, a class of one picture where some have to be held out, no ways.
    pub fn new(set: &PictureSet, options: &Options) -> Result<Split, Error> {
        if options.ways.is_empty() {
            return Err(Error::Setting {
                name: "models",
                got: "none".into(),
                want: "at least one of mlp, cnn and transfer",
            });
        }
        set.usable()?;
        let Options {
            per_class,
            test_per_class,
            seed,
            ..
        } = *options;
        let of_training: Vec<_> = (0..set.training.len()).collect();
        if !set.test.is_empty() {
            let of_test: Vec<_> = (0..set.test.len()).collect();
            let test = set.test.draw(&of_test, test_per_class, TEST_SEED);
            return Ok(Split {
                test_from: TestFrom::TestSet,
                training: set.training.draw(&of_training, per_class, seed),
                test: test.iter().map(|row| set.training.len() + row).collect(),
            });
        }
        let mut held_out = Vec::new();
        for (class, pictures) in set.training.counts().into_iter().enumerate() {
            if pictures < 2 {
                let name = set.training.classes[class].clone();
                return Err(Error::NothingToTest { name });
            }
            let own = of_training.iter().copied();
            let own: Vec<_> = own
                .filter(|row| set.training.labels[*row] == class)
                .collect();
            let share = (pictures / HELD_OUT).max(1);
            held_out.extend(set.training.draw(&own, share, TEST_SEED));
        }
        let others: Vec<_> = of_training
            .into_iter()
            .filter(|row| !held_out.contains(row))
            .collect();
        Ok(Split {
            test_from: TestFrom::HeldOut,
            training: set.training.draw(&others, per_class, seed),
            test: set.training.draw(&held_out, test_per_class, TEST_SEED),
        })
    }

    /// All its rows.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        self.training.iter().chain(&self.test).copied()
    }
}

/// The pictures that a row of a set is in, and its row there.
pub fn place(set: &PictureSet, row: usize) -> (&Pictures, usize) {
    match row.checked_sub(set.training.len()) {
        None => (&set.training, row),
        Some(row) => (&set.test, row),
    }
}

/// Latents of pictures by the hash of their pixels, so that no picture is read twice.
pub struct Known {
    latents: Latents,
    places: HashMap<String, usize>,
}

impl Known {
    /// Nothing yet, by a base.
    pub fn new(stamp: Stamp) -> Known {
        Known {
            latents: Latents::new(stamp, vec!["picture".into()]),
            places: HashMap::new(),
        }
    }

    /// A table whose names are hashes, as [`Known::latents`] gives it.
    pub fn of(latents: Latents) -> Known {
        let places = latents.names.iter().cloned().zip(0..).collect();
        Known { latents, places }
    }

    /// Takes a picture's latents.
    pub fn insert(&mut self, hash: String, latents: &[f32]) {
        if !self.places.contains_key(&hash) {
            self.places.insert(hash.clone(), self.latents.len());
            self.latents.push(hash, 0, latents);
        }
    }

    /// All of them, named by their hashes.
    pub fn latents(&self) -> &Latents {
        &self.latents
    }

    /// Those of a set's rows that are not there yet.
    pub fn missing(&self, set: &PictureSet, rows: impl IntoIterator<Item = usize>) -> Vec<usize> {
        rows.into_iter()
            .filter(|row| self.place(set, *row).is_none())
            .collect()
    }

    fn place(&self, set: &PictureSet, row: usize) -> Option<usize> {
        let (pictures, row) = place(set, row);
        self.places.get(&pictures.hash(row)).copied()
    }
}

/// What reading pictures by Inception took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Extraction {
    /// Pictures read for this comparison.
    pub pictures: usize,
    /// Pictures whose latents were there from before.
    pub kept: usize,
    /// For all those read.
    pub seconds: f64,
}

/// What transfer needs: latents of all pictures of the split, and what they cost.
#[derive(Clone)]
pub struct Reading {
    /// Has to hold every picture of the split.
    pub known: Rc<Known>,
    /// What it took to read those that were not there.
    pub extraction: Extraction,
    /// For one picture alone, from its pixels to its latents.
    pub milliseconds: f64,
}

/// A set's rows as a way sees them.
struct Seen {
    set: Rc<PictureSet>,
    /// For transfer: latents, and where each row's are.
    latents: Option<(Rc<Known>, HashMap<usize, usize>)>,
}

impl Seen {
    fn new(set: &Rc<PictureSet>, split: &Split, known: Option<&Rc<Known>>) -> Seen {
        let there = "latents of every picture of the split";
        let latents = known.map(|known| {
            let place = |row| (row, known.place(set, row).expect(there));
            (known.clone(), split.rows().map(place).collect())
        });
        let set = set.clone();
        Seen { set, latents }
    }
}

impl Examples for Seen {
    fn shape(&self) -> Vec<usize> {
        match self.latents {
            Some(_) => Way::Transfer.input(),
            None => Way::Cnn.input(),
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
            Some((known, places)) => into.extend(known.latents.row(places[&row])),
            None => {
                let (pictures, row) = place(&self.set, row);
                into.extend(pictures.row(row).iter().map(|value| f32::from(*value)));
            }
        }
    }
}

/// Right answers of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Right answers.
    pub correct: usize,
    /// Pictures asked about.
    pub total: usize,
    /// 0 to 1.
    pub accuracy: f64,
    /// The 95 % interval of the accuracy, by Wilson.
    pub interval: [f64; 2],
}

impl Score {
    fn new(correct: usize, total: usize) -> Score {
        let scores = Scores { correct, total };
        Score {
            correct,
            total,
            accuracy: scores.accuracy(),
            interval: scores.interval(),
        }
    }
}

/// A layer as Keras lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// Such as `conv2d_1 (Conv2D)`.
    pub name: String,
    /// [height, width, channels], or one number.
    pub output: Vec<usize>,
    /// How many are learnt.
    pub parameters: usize,
}

impl From<Row> for LayerRow {
    fn from(row: Row) -> LayerRow {
        LayerRow {
            name: format!("{} ({})", row.name, row.class),
            output: row.output,
            parameters: row.parameters,
        }
    }
}

/// One way's row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WayResult {
    /// Which.
    pub way: Way,
    /// The same for people.
    pub name: &'static str,
    /// Learnt here.
    pub parameters: usize,
    /// Of the base.
    pub frozen_parameters: usize,
    /// Those that were trained.
    pub layers: Vec<LayerRow>,
    /// How it was trained.
    pub settings: Settings,
    /// One report an epoch; its validation figures are of at most 200 of the test pictures, and chose nothing.
    pub epochs: Vec<Report>,
    /// On the pictures trained on.
    pub training: Score,
    /// On the test pictures.
    pub test: Score,
    /// Of the steps down the gradient alone.
    pub train_seconds: f64,
    /// From pixels to answer; networks on pixels are asked about many at once, Inception about one.
    pub predict_milliseconds: f64,
    /// What transfer needed first.
    pub extraction: Option<Extraction>,
    /// The class answered for each test picture.
    pub answers: Vec<usize>,
    /// How probable it was, 0 to 1.
    pub probabilities: Vec<f32>,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Of the draw, the first weights, the order and dropout.
    pub seed: u64,
    /// The set that pictures were drawn from.
    pub data: Data,
    /// Which were drawn.
    pub split: Drawn,
    /// Whose latents transfer read.
    pub base: Option<BaseName>,
    /// A row for each way.
    pub models: Vec<WayResult>,
}

/// A set, by what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Data {
    /// Of classes, labels and pixels.
    pub sha256: String,
    /// Their names.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub training: usize,
    /// Pictures to test on.
    pub test: usize,
}

impl Data {
    fn of(set: &PictureSet) -> Data {
        Data {
            sha256: set.sha256(),
            classes: set.training.classes.clone(),
            training: set.training.len(),
            test: set.test.len(),
        }
    }
}

/// A split, with rows as they are numbered in the training pictures and in the test pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    /// As it was asked for.
    pub per_class: usize,
    /// The same.
    pub test_per_class: usize,
    /// Where test pictures come from.
    pub test_from: TestFrom,
    /// How many are trained on.
    pub training: usize,
    /// How many are asked about.
    pub test: usize,
    /// Of the training pictures.
    pub training_rows: Vec<usize>,
    /// Of the test pictures, or, where they are held out, of the training pictures.
    pub test_rows: Vec<usize>,
    /// Their classes.
    pub test_labels: Vec<usize>,
}

/// A base, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseName {
    /// Its short name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub fingerprint: String,
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
    pub way: Way,
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
    split: Split,
    reading: Option<Reading>,
    /// Whether epochs are watched and the training pictures asked about, too.
    whole: bool,
    work: Option<Work>,
    results: Vec<WayResult>,
}

/// What is done for a way.
enum Work {
    Training(Box<Training>),
    Asking(Box<Asking>),
}

struct Training {
    way: Way,
    settings: Settings,
    seen: Rc<Seen>,
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
        reading: Option<Reading>,
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
    pub fn results(&self) -> &[WayResult] {
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
            .filter(|_| options.ways.contains(&Way::Transfer))
            .map(|reading| BaseName {
                name: reading.known.latents.stamp.base.clone(),
                fingerprint: reading.known.latents.stamp.fingerprint.clone(),
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

    fn begin(&self, way: Way) -> Result<Work, Error> {
        let known = (way == Way::Transfer).then(|| {
            let reading = self.reading.as_ref();
            &reading.expect("transfer comes with latents").known
        });
        let seen = Rc::new(Seen::new(&self.set, &self.split, known));
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

    fn result(&self, asked: Asking) -> WayResult {
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
        let reading = self.reading.as_ref().filter(|_| way == Way::Transfer);
        WayResult {
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
    way: Way,
    settings: Settings,
    seen: Rc<Seen>,
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
mod tests {
    use super::*;
    use crate::pictures::VALUES;

    fn stamp() -> Stamp {
        Stamp {
            base: "test".into(),
            fingerprint: "0".repeat(64),
        }
    }

    /// Three colours, each picture with its own noise, so many of each class to train on and to test on.
    pub(super) fn colours(training: usize, test: usize) -> Rc<PictureSet> {
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
    pub(super) fn reading(set: &PictureSet) -> Reading {
        let mut known = Known::new(stamp());
        for row in 0..set.training.len() + set.test.len() {
            let (pictures, row) = place(set, row);
            let mut latents = vec![0.0; LATENTS];
            latents[pictures.labels[row]] = 1.0;
            latents[7] = row as f32;
            known.insert(pictures.hash(row), &latents);
        }
        Reading {
            known: Rc::new(known),
            extraction: Extraction {
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
            ways: vec![Way::Cnn],
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
