//! Trains a head on latents alone, on the CPU; the base is never touched.
//!
//! The first layer reads 2048 numbers a picture, and nearly all of the time goes there: its product and its step are `dense.rs`'s.
//! From its outputs on, everything is burn's autodiff: ReLU, dropout, the second layer, the loss. How long an epoch takes is a matter of
//! `bench/`.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{log_softmax, relu},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use crate::{
    dense::{Adam, Kernel, Parameter},
    error::Error,
    head::{Dense, Head, UNSURE_BELOW},
    inception::LATENTS,
    latents::Latents,
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

/// A head in training.
pub struct Trainer {
    settings: Settings,
    net: Net,
    best: Vec<Dense>,
    best_loss: f32,
    best_epoch: usize,
    training: Part,
    validation: Part,
    /// Of the training rows; each column is brought to mean 0 and deviation 1.
    mean: Vec<f32>,
    deviation: Vec<f32>,
    rng: StdRng,
    epoch: usize,
    steps: i32,
    device: Device,
}

/// Rows of the table with their scaled latents and what the loss compares them with.
struct Part {
    rows: Vec<usize>,
    /// [N, 2048], scaled.
    inputs: Vec<f32>,
    labels: Vec<usize>,
    /// [N, classes]: smoothed one-hot rows, times the class's weight.
    targets: Vec<f32>,
}

impl Part {
    fn input(&self, row: usize) -> &[f32] {
        &self.inputs[row * LATENTS..][..LATENTS]
    }

    /// [N, classes] of some rows.
    fn targets(&self, rows: &[usize], classes: usize) -> Vec<f32> {
        let target = |row: &usize| &self.targets[row * classes..][..classes];
        rows.iter().flat_map(target).copied().collect()
    }
}

impl Trainer {
    /// Prepares training on some rows of a table: holds out validation pictures of each class, brings the columns to one scale, and
    /// draws the first weights from the seed.
    ///
    /// # Errors
    /// Fewer than two classes among the rows, or a setting that cannot work.
    pub fn new(latents: &Latents, rows: &[usize], settings: Settings) -> Result<Trainer, Error> {
        settings.check()?;
        let label = |row: &usize| {
            usize::try_from(latents.labels[*row]).expect("labels were checked when read")
        };
        let used: BTreeSet<_> = rows.iter().map(label).collect();
        if used.len() < 2 {
            return Err(Error::TooFewClasses { got: used.len() });
        }
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let (training, validation) = hold_out(
            rows,
            label,
            latents.classes.len(),
            settings.validation,
            &mut rng,
        );
        let (mean, deviation) = moments(latents, &training);
        let weights = class_weights(
            &training,
            label,
            latents.classes.len(),
            settings.class_weights,
        );
        let classes = latents.classes.len();
        let part = |rows: Vec<usize>| Part {
            inputs: rows
                .iter()
                .flat_map(|row| latents.row(*row).iter().zip(&mean).zip(&deviation))
                .map(|((value, mean), deviation)| (value - mean) / deviation)
                .collect(),
            labels: rows.iter().map(label).collect(),
            targets: rows
                .iter()
                .map(label)
                .flat_map(|label| target(label, classes, settings.label_smoothing, weights[label]))
                .collect(),
            rows,
        };
        let net = Net::new(settings.hidden, classes, &mut rng);
        Ok(Trainer {
            training: part(training),
            validation: part(validation),
            net,
            best: Vec::new(),
            best_loss: f32::INFINITY,
            best_epoch: 0,
            mean,
            deviation,
            rng,
            epoch: 0,
            steps: 0,
            device: Device::flex().autodiff(),
            settings,
        })
    }

    /// Whether all epochs are done, or the patience is at its end.
    pub fn is_done(&self) -> bool {
        let patience = self.settings.patience;
        let waited = self.epoch - self.best_epoch;
        self.epoch >= self.settings.epochs || (patience > 0 && waited >= patience && self.judges())
    }

    /// Whether the validation pictures are enough to tell a better epoch from a luckier one.
    fn judges(&self) -> bool {
        self.validation.rows.len() >= FEWEST_TO_JUDGE
    }

    /// One pass over the training pictures in a new order, then a look at the validation pictures.
    pub fn epoch(&mut self) -> Report {
        let mut order: Vec<usize> = (0..self.training.rows.len()).collect();
        order.shuffle(&mut self.rng);
        let progress = self.epoch as f64 / self.settings.epochs as f64;
        let rate =
            self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        let (mut loss, mut correct) = (0.0, 0);
        for rows in order.chunks(self.settings.batch) {
            let step = self.step(rows, rate);
            loss += step.loss;
            correct += step.correct;
        }
        self.epoch += 1;
        let pictures = order.len() as f32;
        let validation = (!self.validation.rows.is_empty()).then(|| self.validate());
        let best = match validation {
            Some((loss, _)) if self.judges() => loss < self.best_loss,
            _ => true,
        };
        if best {
            self.best_loss = validation.map_or(f32::INFINITY, |(loss, _)| loss);
            self.best_epoch = self.epoch;
            self.best = self.net.layers();
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

    /// The best epoch's head, the scaling of latents folded into the first layer, so that it reads latents as they are.
    pub fn finish(self, latents: &Latents) -> Trained {
        let mut layers = if self.best.is_empty() {
            self.net.layers()
        } else {
            self.best
        };
        let Dense { kernel, bias } = &mut layers[0];
        for (input, row) in kernel.chunks_exact_mut(bias.len()).enumerate() {
            for (weight, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *weight /= self.deviation[input];
                *bias -= *weight * self.mean[input];
            }
        }
        let head = Head {
            name: self.settings.name,
            stamp: latents.stamp.clone(),
            classes: latents.classes.clone(),
            scores: None,
            pictures: self.training.rows.len(),
            layers,
            temperature: 1.0,
            unsure_below: UNSURE_BELOW,
        };
        Trained {
            head,
            best_epoch: self.best_epoch,
            training: self.training.rows,
            validation: self.validation.rows,
        }
    }

    /// One step down the gradient of some training pictures.
    fn step(&mut self, rows: &[usize], rate: f64) -> Sums {
        let classes = self.net.classes();
        let inputs: Vec<_> = rows.iter().map(|row| self.training.input(*row)).collect();
        let mask = mask(&self.settings, rows.len(), &mut self.rng);
        let first = self.net.first(&inputs, &self.device).require_grad();
        let rest = self.net.rest(&self.device);
        let mask = mask.map(|mask| tensor(mask, first.dims(), &self.device));
        let logits = forward(first.clone(), &rest, mask);
        let targets = self.training.targets(rows, classes);
        let loss = cross_entropy(
            logits.clone(),
            tensor(targets, [rows.len(), classes], &self.device),
        );
        let mut gradients = (loss.clone() / rows.len() as f32).backward();
        let labels = rows.iter().map(|row| self.training.labels[*row]);
        let sums = Sums {
            loss: read(loss)[0],
            correct: correct(&read(logits), labels),
        };
        let mut gradient = |tensor: &Tensor<2>| {
            read(
                tensor
                    .grad_remove(&mut gradients)
                    .expect("each parameter takes part in the loss"),
            )
        };
        self.steps += 1;
        let adam = self.settings.adam(self.steps, rate);
        self.net.step(
            &inputs,
            &gradient(&first),
            rest.iter().map(&mut gradient),
            &adam,
        );
        sums
    }

    /// Mean loss and accuracy on the validation pictures.
    fn validate(&self) -> (f32, f32) {
        let classes = self.net.classes();
        let device = Device::flex();
        let rest = self.net.rest(&device);
        let (mut loss, mut right) = (0.0, 0);
        let all: Vec<usize> = (0..self.validation.rows.len()).collect();
        for rows in all.chunks(VALIDATED) {
            let inputs: Vec<_> = rows.iter().map(|row| self.validation.input(*row)).collect();
            let logits = forward(self.net.first(&inputs, &device), &rest, None);
            let targets = self.validation.targets(rows, classes);
            loss += read(cross_entropy(
                logits.clone(),
                tensor(targets, [rows.len(), classes], &device),
            ))[0];
            right += correct(
                &read(logits),
                rows.iter().map(|row| self.validation.labels[*row]),
            );
        }
        let pictures = all.len() as f32;
        (loss / pictures, right as f32 / pictures)
    }
}

/// Over some pictures.
struct Sums {
    loss: f32,
    correct: usize,
}

/// A head's layers while they are trained.
struct Net {
    kernel: Kernel,
    bias: Parameter,
    /// Kernel and bias of the second layer, if the first is a hidden one.
    rest: Vec<(Parameter, [usize; 2])>,
}

impl Net {
    /// Hidden units are drawn evenly from within 1/sqrt(inputs). The last layer starts at zero: before the first step all classes are
    /// alike, and with few pictures chance adds nothing.
    fn new(hidden: usize, classes: usize, rng: &mut StdRng) -> Net {
        let bound = (LATENTS as f32).sqrt().recip();
        let mut draw = |count: usize| {
            (0..count)
                .map(|_| rng.random_range(-bound..bound))
                .collect()
        };
        let zeros = |shape: [usize; 2]| (Parameter::new(vec![0.0; shape[0] * shape[1]]), shape);
        if hidden == 0 {
            return Net {
                kernel: Kernel::new(&vec![0.0; LATENTS * classes], classes),
                bias: Parameter::new(vec![0.0; classes]),
                rest: Vec::new(),
            };
        }
        let values: Vec<f32> = draw(LATENTS * hidden);
        Net {
            kernel: Kernel::new(&values, hidden),
            bias: Parameter::new(draw(hidden)),
            rest: vec![zeros([hidden, classes]), zeros([1, classes])],
        }
    }

    fn classes(&self) -> usize {
        self.rest
            .last()
            .map_or(self.bias.values().len(), |(_, shape)| shape[1])
    }

    /// The first layer's outputs.
    fn first(&self, inputs: &[&[f32]], device: &Device) -> Tensor<2> {
        let bias = self.bias.values();
        let mut outputs = self.kernel.product(inputs);
        for row in outputs.chunks_exact_mut(bias.len()) {
            row.iter_mut()
                .zip(bias)
                .for_each(|(value, bias)| *value += bias);
        }
        tensor(outputs, [inputs.len(), bias.len()], device)
    }

    /// The second layer's kernel and bias, to be learnt where the device keeps track of gradients.
    fn rest(&self, device: &Device) -> Vec<Tensor<2>> {
        let parameter = |(parameter, shape): &(Parameter, [usize; 2])| {
            let tensor = tensor(parameter.values().to_vec(), *shape, device);
            if device.is_autodiff() {
                tensor.require_grad()
            } else {
                tensor
            }
        };
        self.rest.iter().map(parameter).collect()
    }

    /// Kernels decay, biases do not.
    fn step(
        &mut self,
        inputs: &[&[f32]],
        first: &[f32],
        rest: impl Iterator<Item = Vec<f32>>,
        adam: &Adam,
    ) {
        let still = Adam {
            shrink: 1.0,
            ..*adam
        };
        let width = self.bias.values().len();
        let mut sums = vec![0.0; width];
        for row in first.chunks_exact(width) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        self.kernel.step(inputs, first, adam);
        self.bias.step(&sums, &still);
        for ((parameter, _), (gradient, adam)) in self.rest.iter_mut().zip(rest.zip([adam, &still]))
        {
            parameter.step(&gradient, adam);
        }
    }

    fn layers(&self) -> Vec<Dense> {
        let first = Dense {
            kernel: self.kernel.values(),
            bias: self.bias.values().into(),
        };
        let rest = self.rest.chunks_exact(2).map(|layer| Dense {
            kernel: layer[0].0.values().into(),
            bias: layer[1].0.values().into(),
        });
        [first].into_iter().chain(rest).collect()
    }
}

impl Settings {
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
    latents: &Latents,
    settings: Settings,
    mut report: impl FnMut(&Report),
) -> Result<Trained, Error> {
    let mut trainer = Trainer::new(latents, &usable(latents)?, settings)?;
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
/// Rows for a forward of the validation pictures: few enough to need little memory.
const VALIDATED: usize = 512;

/// Logits out of the first layer's outputs, some of which are left out where there is a mask.
fn forward(first: Tensor<2>, rest: &[Tensor<2>], mask: Option<Tensor<2>>) -> Tensor<2> {
    match (rest, mask) {
        ([kernel, bias], None) => relu(first).matmul(kernel.clone()) + bias.clone(),
        ([kernel, bias], Some(mask)) => (relu(first) * mask).matmul(kernel.clone()) + bias.clone(),
        _ => first,
    }
}

/// The sum over the pictures.
fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum()
}

/// [N, hidden]: zeros for the units left out, and what keeps the sum for the others.
fn mask(settings: &Settings, pictures: usize, rng: &mut StdRng) -> Option<Vec<f32>> {
    let Settings {
        hidden, dropout, ..
    } = *settings;
    let kept = 1.0 / (1.0 - dropout);
    let unit = |_| {
        if rng.random::<f32>() < dropout {
            0.0
        } else {
            kept
        }
    };
    (hidden > 0 && dropout > 0.0).then(|| (0..pictures * hidden).map(unit).collect())
}

fn tensor(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The numbers of a tensor on the CPU, which are always there: no thread needs to wait, and none could on the web.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let mut reading = pin!(tensor.into_data_async());
    match reading
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(Ok(data)) => data.try_into_vec().expect("flex computes in f32"),
        _ => unreachable!("flex hands out its numbers at once"),
    }
}

/// How many rows of logits are largest at their label.
fn correct(logits: &[f32], labels: impl ExactSizeIterator<Item = usize>) -> usize {
    let classes = logits.len() / labels.len();
    logits
        .chunks_exact(classes)
        .zip(labels)
        .filter(|(row, label)| largest(row) == *label)
        .count()
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

/// Mean and standard deviation of each column over some rows; a column that never changes has deviation 1.
fn moments(latents: &Latents, rows: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let count = rows.len() as f64;
    let mut mean = vec![0.0f64; LATENTS];
    let mut variance = vec![0.0f64; LATENTS];
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(latents.row(*row)) {
            *sum += f64::from(*value) / count;
        }
    }
    for row in rows {
        for ((sum, value), mean) in variance.iter_mut().zip(latents.row(*row)).zip(&mean) {
            *sum += (f64::from(*value) - mean).powi(2) / count;
        }
    }
    let deviation = variance
        .iter()
        .map(|variance| variance.sqrt())
        .map(|d| if d > 1e-6 { d as f32 } else { 1.0 });
    (
        mean.iter().map(|mean| *mean as f32).collect(),
        deviation.collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::evaluate, latents::Stamp};

    /// Clouds that one latent tells apart.
    fn clouds(counts: &[usize]) -> Latents {
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
        latents
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
}
