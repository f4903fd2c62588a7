//! Trains on the CPU: a head on latents alone, for the base is never touched, and by the same loop the networks of `baselines`.
//!
//! What a network does with a batch is `network`'s; here are the epochs, the pictures held out, and the best epoch kept. How long an epoch
//! takes is a matter of `bench/`.

use std::{collections::BTreeSet, rc::Rc};

use burn::tensor::Device;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use crate::{
    dense::Adam,
    error::Error,
    head::{Dense, Head, UNSURE_BELOW},
    inception::LATENTS,
    latents::Latents,
    network::{Layer, Network, Step, cross_entropy, read, wide},
};

/// How to train. The defaults were chosen by measuring, see the README.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Units of a hidden layer; 0 for a linear head.
    pub hidden: usize,
    /// Share of the hidden units left out in each step, 0 to below 1.
    pub dropout: f32,
    /// What makes a step of a gradient.
    pub optimizer: Optimizer,
    /// The step size at the start; it falls along half a cosine over the epochs.
    pub learning_rate: f64,
    /// AdamW's decay of the kernels, a share of the step size; Adam has none.
    pub weight_decay: f64,
    /// Pictures a step.
    pub batch: usize,
    /// Passes over the training pictures, at most.
    pub epochs: usize,
    /// Share of the target that is spread over all classes, 0 to below 1.
    pub label_smoothing: f32,
    /// How much a picture of each class counts.
    pub class_weights: ClassWeights,
    /// The same seed, data and device give the same head to the bit.
    pub seed: u64,
    /// Share of each class's pictures held out to validate on, 0 to 0.9.
    pub validation: f64,
    /// Epochs without a lower validation loss after which training ends; 0 never ends early. Fewer than 20 validation pictures would
    /// choose by chance, so with them all epochs are made and the last is kept.
    pub patience: usize,
    /// The head's name, for people.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hidden: 0,
            dropout: 0.0,
            optimizer: Optimizer::AdamW,
            learning_rate: 5e-4,
            weight_decay: 1.0,
            batch: 64,
            epochs: 40,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            seed: 0,
            validation: 0.2,
            patience: 8,
            name: "my classes".into(),
        }
    }
}

/// What makes a step of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// [Adam](https://arxiv.org/abs/1412.6980).
    Adam,
    /// [Adam with decoupled weight decay](https://arxiv.org/abs/1711.05101).
    AdamW,
}

/// How much a picture of each class counts in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All pictures alike.
    None,
    /// Inversely to how many pictures the class has, so that all classes count alike.
    Balanced,
}

/// What one pass over the pictures did. Losses are mean cross-entropies in nats, accuracies 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// From 1.
    pub epoch: usize,
    /// Epochs at most.
    pub epochs: usize,
    /// Over the pass, while the head was changing.
    pub loss: f32,
    /// The same.
    pub accuracy: f32,
    /// On the validation pictures after the pass; none without any.
    pub validation_loss: Option<f32>,
    /// The same.
    pub validation_accuracy: Option<f32>,
    /// Whether it is the best so far: the lowest validation loss, or, with fewer than 20 validation pictures, the last epoch.
    pub best: bool,
}

/// Labelled rows of numbers to learn from.
pub trait Examples {
    /// A row's shape: `[2048]` latents, or [channels, height, width] of pixels.
    fn shape(&self) -> Vec<usize>;
    /// How many classes there are.
    fn classes(&self) -> usize;
    /// A row's class.
    fn label(&self, row: usize) -> usize;
    /// Appends a row's numbers.
    fn read(&self, row: usize, into: &mut Vec<f32>);
}

impl Examples for Latents {
    fn shape(&self) -> Vec<usize> {
        vec![LATENTS]
    }

    fn classes(&self) -> usize {
        self.classes.len()
    }

    fn label(&self, row: usize) -> usize {
        usize::try_from(self.labels[row]).expect("labels were checked when read")
    }

    fn read(&self, row: usize, into: &mut Vec<f32>) {
        into.extend_from_slice(self.row(row));
    }
}

/// What a training ends with.
pub struct Trained {
    /// The best epoch's head, not yet measured.
    pub head: Head,
    /// The epoch that was kept.
    pub best_epoch: usize,
    /// Rows of the table that were trained on.
    pub training: Vec<usize>,
    /// Rows of the table that were held out.
    pub validation: Vec<usize>,
}

/// A network, and the scale that its inputs are brought to.
pub struct Model {
    network: Network,
    scale: Scale,
}

impl Model {
    /// [N, classes] of some rows.
    pub fn logits(&self, examples: &dyn Examples, rows: &[usize]) -> Vec<f32> {
        let chunk = |rows| self.network.logits(&self.scale.read(examples, rows));
        rows.chunks(ASKED).flat_map(chunk).collect()
    }
}

/// A network in training.
pub struct Trainer {
    settings: Settings,
    examples: Rc<dyn Examples>,
    model: Model,
    /// The parameters of the best epoch, where it is not the last.
    best: Option<Vec<Vec<f32>>>,
    best_loss: f32,
    best_epoch: usize,
    training: Vec<usize>,
    validation: Vec<usize>,
    /// Whether the validation pictures choose the epoch to keep.
    judged: bool,
    /// What a picture of each class counts.
    weights: Vec<f32>,
    rng: StdRng,
    epoch: usize,
    steps: i32,
    pass: Pass,
}

/// One pass over the training pictures, as far as it is.
#[derive(Default)]
struct Pass {
    order: Vec<usize>,
    done: usize,
    loss: f32,
    correct: usize,
}

impl Trainer {
    /// Prepares training of a head on some rows of a table: holds out validation pictures of each class, brings the columns to one scale,
    /// and draws the first weights from the seed.
    ///
    /// # Errors
    /// Fewer than two classes among the rows, or a setting that cannot work.
    pub fn new(latents: Rc<Latents>, rows: &[usize], settings: Settings) -> Result<Trainer, Error> {
        settings.check()?;
        two_classes(&*latents, rows)?;
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let (training, validation) = hold_out(
            rows,
            |row| latents.label(*row),
            latents.classes.len(),
            settings.validation,
            &mut rng,
        );
        let layers = settings.layers(latents.classes.len());
        let mut trainer = Trainer::start(&layers, latents, training, validation, settings, rng);
        trainer.judged = trainer.validation.len() >= FEWEST_TO_JUDGE;
        Ok(trainer)
    }

    /// Prepares training of any layers on some rows, all epochs of it. `watched` rows are only looked at after each epoch: they choose
    /// nothing.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn of(
        layers: &[Layer],
        examples: Rc<dyn Examples>,
        training: Vec<usize>,
        watched: Vec<usize>,
        settings: Settings,
    ) -> Result<Trainer, Error> {
        settings.check()?;
        two_classes(&*examples, &training)?;
        let rng = StdRng::seed_from_u64(settings.seed);
        Ok(Trainer::start(
            layers, examples, training, watched, settings, rng,
        ))
    }

    fn start(
        layers: &[Layer],
        examples: Rc<dyn Examples>,
        training: Vec<usize>,
        validation: Vec<usize>,
        settings: Settings,
        mut rng: StdRng,
    ) -> Trainer {
        let label = |row: &usize| examples.label(*row);
        let weights = class_weights(&training, label, examples.classes(), settings.class_weights);
        let model = Model {
            network: Network::new(layers, &examples.shape(), &mut rng),
            scale: Scale::of(&*examples, &training),
        };
        Trainer {
            settings,
            examples,
            model,
            best: None,
            best_loss: f32::INFINITY,
            best_epoch: 0,
            training,
            validation,
            judged: false,
            weights,
            rng,
            epoch: 0,
            steps: 0,
            pass: Pass::default(),
        }
    }

    /// Whether all epochs are done, or the patience is at its end.
    pub fn is_done(&self) -> bool {
        let patience = self.settings.patience;
        let waited = self.epoch - self.best_epoch;
        self.epoch >= self.settings.epochs || (self.judged && patience > 0 && waited >= patience)
    }

    /// Training pictures gone through over all epochs, and all that there will be at most.
    pub fn progress(&self) -> (usize, usize) {
        let pictures = self.training.len();
        let total = pictures * self.settings.epochs;
        (pictures * self.epoch + self.pass.done, total)
    }

    /// One pass over the training pictures in a new order, then a look at the validation pictures.
    pub fn epoch(&mut self) -> Report {
        loop {
            if self.step() {
                return self.report();
            }
        }
    }

    /// One step down the gradient of some training pictures; whether it was the pass's last, and [`Trainer::report`] is due.
    pub fn step(&mut self) -> bool {
        if self.pass.order.is_empty() {
            self.pass.order = (0..self.training.len()).collect();
            self.pass.order.shuffle(&mut self.rng);
        }
        let from = self.pass.done;
        let to = self.training.len().min(from + self.settings.batch);
        let places = &self.pass.order[from..to];
        let rows: Vec<_> = places.iter().map(|place| self.training[*place]).collect();
        let progress = self.epoch as f64 / self.settings.epochs as f64;
        let rate =
            self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.steps += 1;
        let adam = self.settings.adam(self.steps, rate);
        let inputs = self.model.scale.read(&*self.examples, &rows);
        let targets = self.targets(&rows);
        let network = &mut self.model.network;
        let Step { loss, logits } = network.step(inputs, targets, &adam, &mut self.rng);
        self.pass.loss += loss;
        self.pass.correct += self.correct(&logits, &rows);
        self.pass.done = to;
        to == self.training.len()
    }

    /// Ends a pass: looks at the validation pictures, and keeps the parameters if they are the best so far.
    pub fn report(&mut self) -> Report {
        let Pass { loss, correct, .. } = std::mem::take(&mut self.pass);
        self.epoch += 1;
        let pictures = self.training.len() as f32;
        let validation = (!self.validation.is_empty()).then(|| self.validate());
        let best = match validation {
            Some((loss, _)) if self.judged => loss < self.best_loss,
            _ => true,
        };
        if best {
            self.best_loss = validation.map_or(f32::INFINITY, |(loss, _)| loss);
            self.best_epoch = self.epoch;
            self.best = self.judged.then(|| self.model.network.values());
        }
        Report {
            epoch: self.epoch,
            epochs: self.settings.epochs,
            loss: loss / pictures,
            accuracy: correct as f32 / pictures,
            validation_loss: validation.map(|(loss, _)| loss),
            validation_accuracy: validation.map(|(_, accuracy)| accuracy),
            best,
        }
    }

    /// The best epoch's network.
    pub fn model(mut self) -> Model {
        if let Some(best) = self.best {
            self.model.network.set(best);
        }
        self.model
    }

    /// The best epoch's head, the scaling of latents folded into the first layer, so that it reads latents as they are.
    pub fn finish(self, latents: &Latents) -> Trained {
        let values = self.best.unwrap_or_else(|| self.model.network.values());
        let layer = |[kernel, bias]: &[Vec<f32>; 2]| Dense {
            kernel: kernel.clone(),
            bias: bias.clone(),
        };
        let mut layers: Vec<_> = values.as_chunks().0.iter().map(layer).collect();
        let Dense { kernel, bias } = &mut layers[0];
        let Scale { mean, factor } = &self.model.scale;
        for (input, row) in kernel.chunks_exact_mut(bias.len()).enumerate() {
            for (weight, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *weight *= factor[input];
                *bias -= *weight * mean[input];
            }
        }
        let head = Head {
            name: self.settings.name,
            stamp: latents.stamp.clone(),
            classes: latents.classes.clone(),
            scores: None,
            pictures: self.training.len(),
            layers,
            temperature: 1.0,
            unsure_below: UNSURE_BELOW,
        };
        Trained {
            head,
            best_epoch: self.best_epoch,
            training: self.training,
            validation: self.validation,
        }
    }

    /// Mean loss and accuracy on the validation pictures.
    fn validate(&self) -> (f32, f32) {
        let rows = &self.validation;
        let logits = self.model.logits(&*self.examples, rows);
        let targets = self.targets(rows);
        let tensor = |values| wide(values, rows.len(), &Device::flex());
        let loss = read(cross_entropy(tensor(logits.clone()), tensor(targets)))[0];
        let pictures = rows.len() as f32;
        (
            loss / pictures,
            self.correct(&logits, rows) as f32 / pictures,
        )
    }

    /// [N, classes] of some rows: smoothed one-hot, times the class's weight.
    fn targets(&self, rows: &[usize]) -> Vec<f32> {
        let smoothing = self.settings.label_smoothing;
        rows.iter()
            .map(|row| self.examples.label(*row))
            .flat_map(|label| target(label, self.weights.len(), smoothing, self.weights[label]))
            .collect()
    }

    /// How many rows' logits are largest at their label.
    fn correct(&self, logits: &[f32], rows: &[usize]) -> usize {
        logits
            .chunks_exact(self.weights.len())
            .zip(rows)
            .filter(|(logits, row)| largest(logits) == self.examples.label(**row))
            .count()
    }
}

/// Brings numbers to mean 0 and deviation 1: each latent for itself, pixels by channel.
struct Scale {
    mean: Vec<f32>,
    /// One over the deviation.
    factor: Vec<f32>,
}

impl Scale {
    /// By some rows; what never changes has deviation 1.
    fn of(examples: &dyn Examples, rows: &[usize]) -> Scale {
        let shape = examples.shape();
        let columns: usize = shape.iter().product();
        let plane: usize = shape[1..].iter().product();
        let count = (rows.len() * plane) as f64;
        let (mut sums, mut squares) = (vec![0.0; columns / plane], vec![0.0; columns / plane]);
        let each = |add: &mut dyn FnMut(usize, f64)| {
            let mut numbers = Vec::with_capacity(columns);
            for row in rows {
                numbers.clear();
                examples.read(*row, &mut numbers);
                for (at, value) in numbers.iter().enumerate() {
                    add(at / plane, f64::from(*value));
                }
            }
        };
        each(&mut |channel, value| sums[channel] += value / count);
        each(&mut |channel, value| squares[channel] += (value - sums[channel]).powi(2) / count);
        let factor = |variance: &f64| match variance.sqrt() {
            deviation if deviation > 1e-6 => (1.0 / deviation) as f32,
            _ => 1.0,
        };
        let wide = |values: Vec<f32>| -> Vec<f32> {
            values
                .iter()
                .flat_map(|value| std::iter::repeat_n(*value, plane))
                .collect()
        };
        Scale {
            mean: wide(sums.iter().map(|mean| *mean as f32).collect()),
            factor: wide(squares.iter().map(factor).collect()),
        }
    }

    /// [N, numbers] of some rows, scaled.
    fn read(&self, examples: &dyn Examples, rows: &[usize]) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(rows.len() * self.mean.len());
        rows.iter()
            .for_each(|row| examples.read(*row, &mut numbers));
        for row in numbers.chunks_exact_mut(self.mean.len()) {
            for ((value, mean), factor) in row.iter_mut().zip(&self.mean).zip(&self.factor) {
                *value = (*value - mean) * factor;
            }
        }
        numbers
    }
}

impl Settings {
    /// A head's layers.
    fn layers(&self, classes: usize) -> Vec<Layer> {
        match self.hidden {
            0 => vec![Layer::Dense(classes)],
            hidden => vec![
                Layer::Dense(hidden),
                Layer::Relu,
                Layer::Dropout(self.dropout),
                Layer::Dense(classes),
            ],
        }
    }

    /// The numbers of a step, counted from 1.
    fn adam(&self, step: i32, rate: f64) -> Adam {
        let decay = match self.optimizer {
            Optimizer::AdamW => rate * self.weight_decay,
            Optimizer::Adam => 0.0,
        };
        Adam {
            rate: rate as f32,
            shrink: (1.0 - decay) as f32,
            corrections: Adam::corrections(step),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let share = |value: f64, below: f64| (0.0..below).contains(&value);
        let cases: [(&'static str, String, bool, &'static str); 8] = [
            (
                "batch",
                self.batch.to_string(),
                self.batch >= 1,
                "at least 1",
            ),
            (
                "epochs",
                self.epochs.to_string(),
                self.epochs >= 1,
                "at least 1",
            ),
            (
                "hidden",
                self.hidden.to_string(),
                self.hidden <= 8192,
                "at most 8192",
            ),
            (
                "dropout",
                self.dropout.to_string(),
                share(self.dropout.into(), 1.0),
                "0 to below 1",
            ),
            (
                "label smoothing",
                self.label_smoothing.to_string(),
                share(self.label_smoothing.into(), 1.0),
                "0 to below 1",
            ),
            (
                "validation",
                self.validation.to_string(),
                share(self.validation, 0.900_001),
                "0 to 0.9",
            ),
            (
                "learning rate",
                self.learning_rate.to_string(),
                self.learning_rate > 0.0 && self.learning_rate.is_finite(),
                "more than 0",
            ),
            (
                "weight decay",
                self.weight_decay.to_string(),
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "0 or more",
            ),
        ];
        for (name, got, good, want) in cases {
            if !good {
                return Err(Error::Setting { name, got, want });
            }
        }
        Ok(())
    }
}

/// Trains on a whole table to the end; `report` hears of every epoch.
///
/// # Errors
/// A class without pictures, and as [`Trainer::new`].
pub fn train(
    latents: &Rc<Latents>,
    settings: Settings,
    mut report: impl FnMut(&Report),
) -> Result<Trained, Error> {
    let mut trainer = Trainer::new(latents.clone(), &usable(latents)?, settings)?;
    while !trainer.is_done() {
        report(&trainer.epoch());
    }
    Ok(trainer.finish(latents))
}

/// All rows of a table, if each of its classes has some.
///
/// # Errors
/// Names the first class without pictures; fewer than two classes.
pub fn usable(latents: &Latents) -> Result<Vec<usize>, Error> {
    let mut counts = vec![0; latents.classes.len()];
    for label in &latents.labels {
        counts[usize::try_from(*label).expect("labels were checked when read")] += 1;
    }
    let used = counts.iter().filter(|count| **count > 0).count();
    if used < 2 {
        return Err(Error::TooFewClasses { got: used });
    }
    match counts.iter().position(|count| *count == 0) {
        Some(empty) => Err(Error::EmptyClass {
            name: latents.classes[empty].clone(),
        }),
        None => Ok((0..latents.len()).collect()),
    }
}

/// Validation pictures that choose the epoch to keep, at least.
const FEWEST_TO_JUDGE: usize = 20;
/// Pictures that a network is asked about at once: few enough to need little memory.
const ASKED: usize = 100;

/// Refuses rows of one class.
fn two_classes(examples: &dyn Examples, rows: &[usize]) -> Result<(), Error> {
    let used: BTreeSet<_> = rows.iter().map(|row| examples.label(*row)).collect();
    match used.len() {
        0 | 1 => Err(Error::TooFewClasses { got: used.len() }),
        _ => Ok(()),
    }
}

/// The index of the largest number, the first of equals.
pub(crate) fn largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, index| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    })
}

/// Parts rows in two, a share of each class into the second; every class keeps a row to train on.
fn hold_out(
    rows: &[usize],
    label: impl Fn(&usize) -> usize,
    classes: usize,
    share: f64,
    rng: &mut StdRng,
) -> (Vec<usize>, Vec<usize>) {
    let (mut most, mut held_out) = (Vec::new(), Vec::new());
    for class in 0..classes {
        let mut own: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|row| label(row) == class)
            .collect();
        own.shuffle(rng);
        let wish = (own.len() as f64 * share).round() as usize;
        let least = usize::from(share > 0.0);
        let held = wish.max(least).min(own.len().saturating_sub(1));
        held_out.extend(own.drain(..held));
        most.extend(own);
    }
    (most, held_out)
}

/// What each class's pictures count, 1 on average over the pictures.
fn class_weights(
    rows: &[usize],
    label: impl Fn(&usize) -> usize,
    classes: usize,
    how: ClassWeights,
) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    rows.iter().for_each(|row| counts[label(row)] += 1);
    let used = counts.iter().filter(|count| **count > 0).count();
    let weight = |count: &usize| match how {
        ClassWeights::None => 1.0,
        ClassWeights::Balanced => rows.len() as f32 / (used * *count.max(&1)) as f32,
    };
    counts.iter().map(weight).collect()
}

/// A row of targets: what of the picture's weight falls on each class.
fn target(label: usize, classes: usize, smoothing: f32, weight: f32) -> impl Iterator<Item = f32> {
    let spread = smoothing / classes as f32;
    (0..classes)
        .map(move |class| weight * (spread + if class == label { 1.0 - smoothing } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::evaluate, latents::Stamp};

    /// Clouds that one latent tells apart.
    fn clouds(counts: &[usize]) -> Rc<Latents> {
        let stamp = Stamp {
            base: "test".into(),
            fingerprint: "0".repeat(64),
        };
        let names = (0..counts.len()).map(|c| format!("class {c}")).collect();
        let mut latents = Latents::new(stamp, names);
        for (label, count) in counts.iter().enumerate() {
            for i in 0..*count {
                let mut row = vec![0.0; LATENTS];
                for (c, value) in row.iter_mut().take(16).enumerate() {
                    *value = (((i + label) * 31 + c * 17) % 23) as f32 / 23.0;
                }
                row[5] += label as f32 * 10.0;
                latents.push(format!("{label}-{i}.png"), label as i64, &row);
            }
        }
        Rc::new(latents)
    }

    fn settings() -> Settings {
        Settings {
            epochs: 30,
            learning_rate: 1e-2,
            weight_decay: 1e-3,
            batch: 8,
            seed: 7,
            ..Settings::default()
        }
    }

    #[test]
    fn clouds_are_learnt_by_every_kind_of_head() {
        let cases = [
            ("linear", settings()),
            (
                "hidden",
                Settings {
                    hidden: 16,
                    ..settings()
                },
            ),
            (
                "dropout",
                Settings {
                    hidden: 64,
                    dropout: 0.3,
                    ..settings()
                },
            ),
            (
                "Adam",
                Settings {
                    optimizer: Optimizer::Adam,
                    ..settings()
                },
            ),
            (
                "smoothing",
                Settings {
                    label_smoothing: 0.1,
                    ..settings()
                },
            ),
            (
                "balanced",
                Settings {
                    class_weights: ClassWeights::Balanced,
                    ..settings()
                },
            ),
            (
                "no validation",
                Settings {
                    validation: 0.0,
                    ..settings()
                },
            ),
        ];
        for (name, settings) in cases {
            let latents = clouds(&[20, 20]);
            let hidden = settings.hidden;
            let Trained { head, .. } = train(&latents, settings, |_| ()).expect("two classes");
            assert_eq!(evaluate(&head, &latents).correct, 40, "{name}");
            assert_eq!(head.layers.len(), 1 + usize::from(hidden > 0), "{name}");
        }
    }

    #[test]
    fn same_seed_gives_the_same_head_to_the_bit_and_another_seed_another() {
        for hidden in [0, 8] {
            let once = |seed| {
                let settings = Settings {
                    hidden,
                    dropout: 0.2,
                    seed,
                    ..settings()
                };
                train(&clouds(&[20, 20]), settings, |_| ())
                    .expect("two classes")
                    .head
            };
            assert_eq!(once(7), once(7));
            assert_ne!(once(7), once(8));
        }
    }

    #[test]
    fn validation_holds_out_a_share_of_each_class_and_trains_on_none_of_it() {
        let trained = train(&clouds(&[20, 5, 2, 1]), settings(), |_| ()).expect("four classes");
        let latents = clouds(&[20, 5, 2, 1]);
        let held = |class| {
            trained
                .validation
                .iter()
                .filter(|row| latents.labels[**row] == class)
                .count()
        };
        assert_eq!([held(0), held(1), held(2), held(3)], [4, 1, 1, 0]);
        let mut all: Vec<_> = trained
            .training
            .iter()
            .chain(&trained.validation)
            .copied()
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..28).collect::<Vec<_>>());
    }

    #[test]
    fn patience_ends_training_and_the_best_epoch_is_kept() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 3,
            ..settings()
        };
        let mut reports = Vec::new();
        let latents = clouds(&[60, 60]);
        let trained =
            train(&latents, settings, |report| reports.push(report.clone())).expect("two classes");
        let lowest = reports
            .iter()
            .min_by(|a, b| {
                a.validation_loss
                    .partial_cmp(&b.validation_loss)
                    .expect("finite")
            })
            .expect("epochs");
        assert_eq!(trained.best_epoch, lowest.epoch);
        assert!(
            reports.len() == 30 || reports.len() == lowest.epoch + 3,
            "{} epochs",
            reports.len()
        );
        let right = trained.validation.iter().filter(|row| {
            largest(&trained.head.probabilities(latents.row(**row))) as i64 == latents.labels[**row]
        });
        let accuracy = right.count() as f32 / trained.validation.len() as f32;
        assert!((accuracy - lowest.validation_accuracy.expect("validation")).abs() < 1e-6);
    }

    #[test]
    fn few_validation_pictures_choose_no_epoch() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 1,
            ..settings()
        };
        let mut epochs = 0;
        let trained = train(&clouds(&[20, 20]), settings, |_| epochs += 1).expect("two classes");
        assert_eq!((trained.best_epoch, epochs), (30, 30));
    }

    #[test]
    fn balanced_weights_count_each_class_alike() {
        let rows: Vec<usize> = (0..12).collect();
        let weights = class_weights(
            &rows,
            |row| usize::from(*row >= 9),
            2,
            ClassWeights::Balanced,
        );
        assert_eq!(
            weights
                .iter()
                .zip([9.0, 3.0])
                .map(|(w, n)| w * n)
                .collect::<Vec<_>>(),
            [6.0, 6.0]
        );
    }

    #[test]
    fn what_cannot_be_trained_on_is_refused() {
        let sentence = |counts: &[usize], settings| {
            train(&clouds(counts), settings, |_| ())
                .err()
                .expect("refused")
                .to_string()
        };
        let cases = [
            (
                sentence(&[20], settings()),
                "train: 1 of the classes have pictures, at least two are needed; add pictures to another class",
            ),
            (
                sentence(&[20, 0, 3], settings()),
                "train: the class \"class 1\" has no pictures; add some, or delete the class",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        batch: 0,
                        ..settings()
                    },
                ),
                "batch: 0 will not do, expected at least 1",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        dropout: 1.0,
                        ..settings()
                    },
                ),
                "dropout: 1 will not do, expected 0 to below 1",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        learning_rate: f64::NAN,
                        ..settings()
                    },
                ),
                "learning rate: NaN will not do, expected more than 0",
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_split_takes_its_share_of_each_class_and_loses_no_row(labels in prop::collection::vec(0usize..6, 1..300), share in 0f64..0.9, seed: u64) {
            let rows: Vec<_> = (0..labels.len()).map(|i| i * 3).collect();
            let split = |seed| hold_out(&rows, |row| labels[row / 3], 6, share, &mut StdRng::seed_from_u64(seed));
            let (most, held) = split(seed);
            let mut all: Vec<_> = most.iter().chain(&held).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(&all, &rows);
            for class in 0..6 {
                let of = |part: &[usize]| part.iter().filter(|row| labels[**row / 3] == class).count();
                let (kept, taken) = (of(&most), of(&held));
                let own = kept + taken;
                prop_assert!(own == 0 || kept > 0, "nothing to learn of class {}", class);
                // Half a picture is rounded, and no class is left without one that can spare it.
                let wish = own as f64 * share;
                prop_assert!((taken as f64 - wish).abs() <= 1.0, "{} of {}, for {}", taken, own, wish);
            }
            prop_assert_eq!(split(seed), (most, held));
        }
    }
}
