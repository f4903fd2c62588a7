//! Trains a head on latents alone, by autodiff on the CPU; the base is never touched.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    error::Error,
    head::{Dense, Head, UNSURE_BELOW},
    inception::LATENTS,
    latents::Latents,
};

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Units of a hidden layer; none for a linear head.
    pub hidden: Option<usize>,
    /// Passes over all pictures.
    pub epochs: usize,
    /// AdamW's step size.
    pub learning_rate: f64,
    /// AdamW's decay of weights, a share of the step size.
    pub weight_decay: f32,
    /// Pictures a step.
    pub batch: usize,
    /// The same seed, data and device give the same head.
    pub seed: u64,
}

/// What one pass over the pictures did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// From 1.
    pub epoch: usize,
    /// Mean cross-entropy over the pass, in nats.
    pub loss: f32,
}

#[derive(Module, Debug)]
struct Net {
    layers: Vec<Linear>,
}

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(x, |x, (i, layer)| {
            let x = layer.forward(x);
            if i < last { relu(x) } else { x }
        })
    }
}

/// A head in training.
pub struct Trainer {
    settings: Settings,
    net: Net,
    optimizer: ModuleOptimizer,
    /// [N, 2048], each column with mean 0 and deviation 1.
    inputs: Tensor<2>,
    labels: Vec<i64>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    rng: StdRng,
    epoch: usize,
    device: Device,
}

impl Trainer {
    /// Prepares training: columns of latents brought to one scale, labels checked, the net drawn from the seed.
    ///
    /// # Errors
    /// Fewer than two classes with pictures, or a setting that cannot work.
    pub fn new(latents: &Latents, settings: Settings) -> Result<Trainer, Error> {
        let used: std::collections::BTreeSet<_> = latents.labels.iter().collect();
        if used.len() < 2 {
            return Err(Error::TooFewClasses { got: used.len() });
        }
        for (name, value) in [
            ("batch", settings.batch),
            ("hidden", settings.hidden.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::Setting {
                    name,
                    got: "0".into(),
                    want: "at least 1",
                });
            }
        }
        let device = Device::flex().autodiff();
        device.seed(settings.seed);
        let (mean, deviation) = moments(&latents.values);
        let scaled: Vec<f32> = latents
            .values
            .iter()
            .enumerate()
            .map(|(i, v)| (v - mean[i % LATENTS]) / deviation[i % LATENTS])
            .collect();
        let widths: Vec<_> = [LATENTS]
            .into_iter()
            .chain(settings.hidden)
            .chain([latents.classes.len()])
            .collect();
        let layers = widths
            .windows(2)
            .map(|io| LinearConfig::new(io[0], io[1]).init(&device))
            .collect();
        Ok(Trainer {
            net: Net { layers },
            optimizer: AdamWConfig::new()
                .with_weight_decay(settings.weight_decay)
                .init(),
            inputs: Tensor::from_data(TensorData::new(scaled, [latents.len(), LATENTS]), &device),
            labels: latents.labels.clone(),
            mean,
            deviation,
            rng: StdRng::seed_from_u64(settings.seed),
            epoch: 0,
            settings,
            device,
        })
    }

    /// One pass over all pictures in a new order; the step size falls along a half cosine over the epochs asked for.
    pub fn epoch(&mut self) -> Report {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.shuffle(&mut self.rng);
        let progress = self.epoch as f64 / self.settings.epochs.max(1) as f64;
        let rate =
            self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        let cross_entropy = CrossEntropyLossConfig::new().init(&self.device);
        let mut loss_sum = 0.0;
        for rows in order.chunks(self.settings.batch) {
            let integers =
                |values: Vec<i64>| Tensor::<1, Int>::from_data(values.as_slice(), &self.device);
            let inputs = self
                .inputs
                .clone()
                .select(0, integers(rows.iter().map(|row| *row as i64).collect()));
            let labels = integers(rows.iter().map(|row| self.labels[*row]).collect());
            let loss = cross_entropy.forward(self.net.forward(inputs), labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.net);
            loss_sum +=
                loss.try_into_scalar::<f32>().expect("flex computes in f32") * rows.len() as f32;
            self.net = self.optimizer.step(rate, self.net.clone(), gradients);
        }
        self.epoch += 1;
        Report {
            epoch: self.epoch,
            loss: loss_sum / self.labels.len() as f32,
        }
    }

    /// The trained layers, the scaling of latents folded into the first, so that they read latents as they are.
    pub fn finish(self) -> Vec<Dense> {
        let floats = |tensor: Tensor<1>| {
            tensor
                .try_into_vec_as::<f32>()
                .expect("flex computes in f32")
        };
        let layers = self.net.layers.into_iter().map(|layer| Dense {
            kernel: floats(layer.weight.val().inner().flatten(0, 1)),
            bias: floats(
                layer
                    .bias
                    .expect("a layer is made with a bias")
                    .val()
                    .inner(),
            ),
        });
        let mut layers: Vec<_> = layers.collect();
        let Dense { kernel, bias } = &mut layers[0];
        for (input, row) in kernel.chunks_exact_mut(bias.len()).enumerate() {
            for (weight, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *weight /= self.deviation[input];
                *bias -= *weight * self.mean[input];
            }
        }
        layers
    }
}

/// Trains to the end; `report` hears of every epoch.
///
/// # Errors
/// As [`Trainer::new`].
pub fn train(
    latents: &Latents,
    settings: Settings,
    name: &str,
    mut report: impl FnMut(Report),
) -> Result<Head, Error> {
    let epochs = settings.epochs;
    let mut trainer = Trainer::new(latents, settings)?;
    for _ in 0..epochs {
        report(trainer.epoch());
    }
    Ok(Head {
        name: name.into(),
        stamp: latents.stamp.clone(),
        classes: latents.classes.clone(),
        scores: None,
        pictures: latents.len(),
        temperature: 1.0,
        unsure_below: UNSURE_BELOW,
        layers: trainer.finish(),
    })
}

/// Mean and standard deviation of each column of [N, 2048]; a column that never changes has deviation 1.
fn moments(values: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let rows = (values.len() / LATENTS) as f64;
    let column = |c: usize| {
        values
            .iter()
            .skip(c)
            .step_by(LATENTS)
            .map(|value| f64::from(*value))
    };
    let moment = |c: usize| {
        let mean = column(c).sum::<f64>() / rows;
        let deviation = (column(c).map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
        (
            mean as f32,
            if deviation > 1e-6 {
                deviation as f32
            } else {
                1.0
            },
        )
    };
    (0..LATENTS).map(moment).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::evaluate, latents::Stamp};

    /// Two clouds that one latent tells apart.
    fn clouds(classes: usize) -> Latents {
        let stamp = Stamp {
            base: "test".into(),
            fingerprint: "0".repeat(64),
        };
        let mut latents = Latents::new(stamp, (0..classes).map(|c| format!("class {c}")).collect());
        for i in 0..40 {
            let label = i % classes;
            let mut row = vec![0.0; LATENTS];
            for (c, value) in row.iter_mut().take(16).enumerate() {
                *value = ((i * 31 + c * 17) % 23) as f32 / 23.0;
            }
            row[5] += label as f32 * 10.0;
            latents.push(format!("{i}.png"), label as i64, &row);
        }
        latents
    }

    fn settings(hidden: Option<usize>) -> Settings {
        Settings {
            hidden,
            epochs: 30,
            learning_rate: 1e-2,
            weight_decay: 1e-3,
            batch: 8,
            seed: 7,
        }
    }

    #[test]
    fn clouds_are_learnt_by_linear_and_hidden_heads() {
        for hidden in [None, Some(16)] {
            let latents = clouds(2);
            let head = train(&latents, settings(hidden), "clouds", |_| ()).expect("two classes");
            assert_eq!(evaluate(&head, &latents).correct, 40, "hidden {hidden:?}");
            assert_eq!(head.layers.len(), 1 + usize::from(hidden.is_some()));
        }
    }

    #[test]
    fn same_seed_gives_the_same_head_to_the_bit() {
        let once = || train(&clouds(2), settings(None), "clouds", |_| ()).expect("two classes");
        assert_eq!(once(), once());
    }

    #[test]
    fn one_class_is_refused() {
        let error = train(&clouds(1), settings(None), "clouds", |_| ()).expect_err("one class");
        assert_eq!(
            error.to_string(),
            "train: 1 of the classes have pictures, at least two are needed; add pictures to another class"
        );
    }
}
