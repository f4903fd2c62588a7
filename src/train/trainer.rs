//! The training loop: epochs, validation and the choice of the best epoch. It trains heads on latents and the networks of `baselines`.
//!
//! The forward pass and the update of one batch are in `network`.

use std::{collections::BTreeSet, rc::Rc};

use burn::tensor::Device;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use crate::{
    error::Error,
    head::largest,
    train::{
        network::{Layer, Network, StepOutput, cross_entropy, into_values, matrix},
        settings::{ClassWeights, Settings},
    },
};

/// Metrics of one epoch.
///
/// # Units
/// Losses are mean cross-entropies in nats, accuracies are 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Maximum number of epochs.
    pub epochs: usize,
    /// Training loss, averaged over the steps of the epoch.
    pub loss: f32,
    /// Training accuracy, averaged over the steps of the epoch.
    pub accuracy: f32,
    /// Validation loss after the epoch; none without validation pictures.
    pub validation_loss: Option<f32>,
    /// Validation accuracy after the epoch; none without validation pictures.
    pub validation_accuracy: Option<f32>,
    /// Whether this is the best epoch so far: the one with the lowest validation loss or, with fewer than 20 validation pictures, the last.
    pub best: bool,
}

/// A labelled dataset.
pub trait Examples {
    /// Shape of an example: `[2048]` for latents, [channels, height, width] for pixels.
    fn shape(&self) -> Vec<usize>;
    /// Number of classes.
    fn classes(&self) -> usize;
    /// Class index of an example.
    fn label(&self, row: usize) -> usize;
    /// Appends the values of an example to `into`.
    fn read(&self, row: usize, into: &mut Vec<f32>);
}

/// A network with the normalisation of its inputs.
pub struct Model {
    pub(super) network: Network,
    pub(super) normalisation: Normalisation,
}

impl Model {
    /// Returns the logits of examples.
    ///
    /// # Shapes
    /// N rows -> [N, classes].
    pub fn logits(&self, examples: &dyn Examples, rows: &[usize]) -> Vec<f32> {
        let batch = |rows| {
            self.network
                .logits(&self.normalisation.read(examples, rows))
        };
        rows.chunks(INFERENCE_BATCH).flat_map(batch).collect()
    }
}

/// A training run.
pub struct Trainer {
    pub(super) settings: Settings,
    examples: Rc<dyn Examples>,
    pub(super) model: Model,
    /// Parameters of the best epoch; none if the last epoch is kept.
    pub(super) best: Option<Vec<Vec<f32>>>,
    best_loss: f32,
    pub(super) best_epoch: usize,
    pub(super) training: Vec<usize>,
    pub(super) validation: Vec<usize>,
    /// Whether the validation loss selects the epoch to keep and stops training early.
    pub(super) selects_best: bool,
    /// Loss weight of each class.
    class_weights: Vec<f32>,
    rng: StdRng,
    /// Number of finished epochs.
    epoch: usize,
    /// Number of optimizer steps.
    steps: i32,
    current: Epoch,
}

/// The epoch in progress.
#[derive(Default)]
struct Epoch {
    /// Shuffled indices into the training rows; empty before the first step.
    order: Vec<usize>,
    done: usize,
    loss: f32,
    correct: usize,
}

impl Trainer {
    /// Prepares training on some rows without early stopping. `validation` rows are measured after each epoch but do not affect training.
    ///
    /// # Errors
    /// Fewer than two classes among the training rows, or an invalid setting.
    pub fn new(
        layers: &[Layer],
        examples: Rc<dyn Examples>,
        training: Vec<usize>,
        validation: Vec<usize>,
        settings: Settings,
    ) -> Result<Trainer, Error> {
        settings.check()?;
        check_two_classes(&*examples, &training)?;
        let rng = StdRng::seed_from_u64(settings.seed);
        Ok(Trainer::with_rng(
            layers, examples, training, validation, settings, rng,
        ))
    }

    pub(super) fn with_rng(
        layers: &[Layer],
        examples: Rc<dyn Examples>,
        training: Vec<usize>,
        validation: Vec<usize>,
        settings: Settings,
        mut rng: StdRng,
    ) -> Trainer {
        let label = |row: &usize| examples.label(*row);
        let class_weights =
            class_weights(&training, label, examples.classes(), settings.class_weights);
        let model = Model {
            network: Network::new(layers, &examples.shape(), &mut rng),
            normalisation: Normalisation::fit(&*examples, &training),
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
            selects_best: false,
            class_weights,
            rng,
            epoch: 0,
            steps: 0,
            current: Epoch::default(),
        }
    }

    /// Returns whether all epochs were run or training was stopped early.
    pub fn is_done(&self) -> bool {
        let patience = self.settings.patience;
        let waited = self.epoch - self.best_epoch;
        self.epoch >= self.settings.epochs
            || (self.selects_best && patience > 0 && waited >= patience)
    }

    /// Returns the number of processed training pictures over all epochs, and its maximum.
    pub fn progress(&self) -> (usize, usize) {
        let pictures = self.training.len();
        let total = pictures * self.settings.epochs;
        (pictures * self.epoch + self.current.done, total)
    }

    /// Trains for one epoch in a new order, then measures the validation pictures.
    pub fn epoch(&mut self) -> EpochReport {
        loop {
            if self.step() {
                return self.finish_epoch();
            }
        }
    }

    /// Trains on one batch. Returns true after the last batch of an epoch; then the caller has to call [`Trainer::finish_epoch`].
    pub fn step(&mut self) -> bool {
        if self.current.order.is_empty() {
            self.current.order = (0..self.training.len()).collect();
            self.current.order.shuffle(&mut self.rng);
        }
        let from = self.current.done;
        let to = self.training.len().min(from + self.settings.batch);
        let batch = &self.current.order[from..to];
        let rows: Vec<_> = batch.iter().map(|at| self.training[*at]).collect();
        let progress = self.epoch as f64 / self.settings.epochs as f64;
        let rate =
            self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.steps += 1;
        let adam = self.settings.adam(self.steps, rate);
        let inputs = self.model.normalisation.read(&*self.examples, &rows);
        let targets = self.targets(&rows);
        let network = &mut self.model.network;
        let StepOutput { loss, logits } = network.step(inputs, targets, &adam, &mut self.rng);
        self.current.loss += loss;
        self.current.correct += self.count_correct(&logits, &rows);
        self.current.done = to;
        to == self.training.len()
    }

    /// Ends an epoch: measures the validation pictures, and keeps the parameters if they are the best so far.
    pub fn finish_epoch(&mut self) -> EpochReport {
        let Epoch { loss, correct, .. } = std::mem::take(&mut self.current);
        self.epoch += 1;
        let pictures = self.training.len() as f32;
        let validation = (!self.validation.is_empty()).then(|| self.validate());
        let best = match validation {
            Some((loss, _)) if self.selects_best => loss < self.best_loss,
            _ => true,
        };
        if best {
            self.best_loss = validation.map_or(f32::INFINITY, |(loss, _)| loss);
            self.best_epoch = self.epoch;
            self.best = self.selects_best.then(|| self.model.network.values());
        }
        EpochReport {
            epoch: self.epoch,
            epochs: self.settings.epochs,
            loss: loss / pictures,
            accuracy: correct as f32 / pictures,
            validation_loss: validation.map(|(loss, _)| loss),
            validation_accuracy: validation.map(|(_, accuracy)| accuracy),
            best,
        }
    }

    /// Returns the network of the best epoch.
    pub fn finish(mut self) -> Model {
        if let Some(best) = self.best {
            self.model.network.set(best);
        }
        self.model
    }

    /// Returns the mean loss and the accuracy on the validation pictures.
    fn validate(&self) -> (f32, f32) {
        let rows = &self.validation;
        let logits = self.model.logits(&*self.examples, rows);
        let targets = self.targets(rows);
        let tensor = |values| matrix(values, rows.len(), &Device::flex());
        let loss = into_values(cross_entropy(tensor(logits.clone()), tensor(targets)))[0];
        let pictures = rows.len() as f32;
        (
            loss / pictures,
            self.count_correct(&logits, rows) as f32 / pictures,
        )
    }

    /// Returns targets: one-hot, smoothed, multiplied by the weight of the class.
    ///
    /// # Shapes
    /// N rows -> [N, classes].
    fn targets(&self, rows: &[usize]) -> Vec<f32> {
        let weights = &self.class_weights;
        let smoothing = self.settings.label_smoothing;
        rows.iter()
            .map(|row| self.examples.label(*row))
            .flat_map(|label| target(label, weights.len(), smoothing, weights[label]))
            .collect()
    }

    /// Counts the rows whose largest logit is the one of their label.
    fn count_correct(&self, logits: &[f32], rows: &[usize]) -> usize {
        logits
            .chunks_exact(self.class_weights.len())
            .zip(rows)
            .filter(|(logits, row)| largest(logits) == self.examples.label(**row))
            .count()
    }
}

/// Normalises inputs to mean 0 and standard deviation 1: each latent separately, pixels by channel.
pub(super) struct Normalisation {
    pub(super) mean: Vec<f32>,
    /// The inverse of the standard deviation.
    pub(super) factor: Vec<f32>,
}

impl Normalisation {
    /// Computes the statistics of some rows. Constant values get the factor 1.
    fn fit(examples: &dyn Examples, rows: &[usize]) -> Normalisation {
        let shape = examples.shape();
        let columns: usize = shape.iter().product();
        let plane: usize = shape[1..].iter().product();
        let count = (rows.len() * plane) as f64;
        let (mut sums, mut squares) = (vec![0.0; columns / plane], vec![0.0; columns / plane]);
        let for_each_value = |add: &mut dyn FnMut(usize, f64)| {
            let mut values = Vec::with_capacity(columns);
            for row in rows {
                values.clear();
                examples.read(*row, &mut values);
                for (at, value) in values.iter().enumerate() {
                    add(at / plane, f64::from(*value));
                }
            }
        };
        for_each_value(&mut |channel, value| sums[channel] += value / count);
        for_each_value(&mut |channel, value| {
            squares[channel] += (value - sums[channel]).powi(2) / count;
        });
        let factor = |variance: &f64| match variance.sqrt() {
            deviation if deviation > 1e-6 => (1.0 / deviation) as f32,
            _ => 1.0,
        };
        let repeat = |values: Vec<f32>| -> Vec<f32> {
            values
                .iter()
                .flat_map(|value| std::iter::repeat_n(*value, plane))
                .collect()
        };
        Normalisation {
            mean: repeat(sums.iter().map(|mean| *mean as f32).collect()),
            factor: repeat(squares.iter().map(factor).collect()),
        }
    }

    /// Reads some rows and normalises them.
    ///
    /// # Shapes
    /// N rows -> [N, values].
    fn read(&self, examples: &dyn Examples, rows: &[usize]) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows.len() * self.mean.len());
        rows.iter().for_each(|row| examples.read(*row, &mut values));
        for row in values.chunks_exact_mut(self.mean.len()) {
            for ((value, mean), factor) in row.iter_mut().zip(&self.mean).zip(&self.factor) {
                *value = (*value - mean) * factor;
            }
        }
        values
    }
}

/// Minimum number of validation pictures for choosing the best epoch.
pub(super) const MIN_VALIDATION: usize = 20;
/// Batch size of inference; limits the memory.
pub(crate) const INFERENCE_BATCH: usize = 100;

/// Checks that the rows have at least two classes.
///
/// # Errors
/// They have fewer.
pub(super) fn check_two_classes(examples: &dyn Examples, rows: &[usize]) -> Result<(), Error> {
    let used: BTreeSet<_> = rows.iter().map(|row| examples.label(*row)).collect();
    match used.len() {
        0 | 1 => Err(Error::TooFewClasses { got: used.len() }),
        _ => Ok(()),
    }
}

/// Splits rows into a training and a validation part. `share` of each class becomes validation; every class keeps at least one training row.
pub(super) fn split_rows(
    rows: &[usize],
    label: impl Fn(&usize) -> usize,
    classes: usize,
    share: f64,
    rng: &mut StdRng,
) -> (Vec<usize>, Vec<usize>) {
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for class in 0..classes {
        let mut class_rows: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|row| label(row) == class)
            .collect();
        class_rows.shuffle(rng);
        let rounded = (class_rows.len() as f64 * share).round() as usize;
        let min = usize::from(share > 0.0);
        let max = class_rows.len().saturating_sub(1);
        let count = rounded.max(min).min(max);
        validation.extend(class_rows.drain(..count));
        training.extend(class_rows);
    }
    (training, validation)
}

/// Returns the loss weight of each class; the mean over the rows is 1.
fn class_weights(
    rows: &[usize],
    label: impl Fn(&usize) -> usize,
    classes: usize,
    scheme: ClassWeights,
) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    rows.iter().for_each(|row| counts[label(row)] += 1);
    let used = counts.iter().filter(|count| **count > 0).count();
    let weight = |count: &usize| match scheme {
        ClassWeights::None => 1.0,
        ClassWeights::Balanced => rows.len() as f32 / (used * *count.max(&1)) as f32,
    };
    counts.iter().map(weight).collect()
}

/// Returns the one-hot label of one picture with label smoothing, times its class weight.
fn target(label: usize, classes: usize, smoothing: f32, weight: f32) -> impl Iterator<Item = f32> {
    let spread = smoothing / classes as f32;
    (0..classes)
        .map(move |class| weight * (spread + if class == label { 1.0 - smoothing } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_classes_have_the_same_total_weight() {
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
        fn a_split_is_stratified_and_keeps_every_row(labels in prop::collection::vec(0usize..6, 1..300), share in 0f64..0.9, seed: u64) {
            let rows: Vec<_> = (0..labels.len()).map(|i| i * 3).collect();
            let split = |seed| split_rows(&rows, |row| labels[row / 3], 6, share, &mut StdRng::seed_from_u64(seed));
            let (training, validation) = split(seed);
            let mut all: Vec<_> = training.iter().chain(&validation).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(&all, &rows);
            for class in 0..6 {
                let count = |part: &[usize]| part.iter().filter(|row| labels[**row / 3] == class).count();
                let (training, validation) = (count(&training), count(&validation));
                let all = training + validation;
                prop_assert!(all == 0 || training > 0, "class {} has no training rows", class);
                // The size is rounded to at least one row, and at least one row is kept for training.
                let exact = all as f64 * share;
                prop_assert!((validation as f64 - exact).abs() <= 1.0, "{} of {}, expected {}", validation, all, exact);
            }
            prop_assert_eq!(split(seed), (training, validation));
        }
    }
}
