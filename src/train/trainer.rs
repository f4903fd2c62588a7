//! Trains on the CPU: a head on latents alone, for the base is never touched, and by the same loop the networks of `baselines`.
//!
//! What a network does with a batch is `network`'s; here are the epochs, the pictures held out, and the best epoch kept. How long an epoch
//! takes is a matter of `bench/`.

use std::{collections::BTreeSet, rc::Rc};

use burn::tensor::Device;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use crate::{
    error::Error,
    head::largest,
    train::{
        network::{Layer, Network, Step, cross_entropy, read, wide},
        settings::{ClassWeights, Settings},
    },
};

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

/// A network, and the scale that its inputs are brought to.
pub struct Model {
    pub(super) network: Network,
    pub(super) scale: Scale,
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
    pub(super) settings: Settings,
    examples: Rc<dyn Examples>,
    pub(super) model: Model,
    /// The parameters of the best epoch, where it is not the last.
    pub(super) best: Option<Vec<Vec<f32>>>,
    best_loss: f32,
    pub(super) best_epoch: usize,
    pub(super) training: Vec<usize>,
    pub(super) validation: Vec<usize>,
    /// Whether the validation pictures choose the epoch to keep.
    pub(super) judged: bool,
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
    /// Prepares training of any layers on some rows, all epochs of it. `watched` rows are only looked at after each epoch: they choose
    /// nothing.
    ///
    /// # Errors
    /// Fewer than two classes among the rows, or a setting that cannot work.
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

    pub(super) fn start(
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
pub(super) struct Scale {
    pub(super) mean: Vec<f32>,
    /// One over the deviation.
    pub(super) factor: Vec<f32>,
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

/// Validation pictures that choose the epoch to keep, at least.
pub(super) const FEWEST_TO_JUDGE: usize = 20;
/// Pictures that a network is asked about at once: few enough to need little memory.
const ASKED: usize = 100;

/// Refuses rows of one class.
pub(super) fn two_classes(examples: &dyn Examples, rows: &[usize]) -> Result<(), Error> {
    let used: BTreeSet<_> = rows.iter().map(|row| examples.label(*row)).collect();
    match used.len() {
        0 | 1 => Err(Error::TooFewClasses { got: used.len() }),
        _ => Ok(()),
    }
}

/// Parts rows in two, a share of each class into the second; every class keeps a row to train on.
pub(super) fn hold_out(
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
