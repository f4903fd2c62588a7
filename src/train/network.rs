//! A stack of layers that is trained: the head's dense ones, and the MLP and the CNN of `baselines`.
//!
//! Most of a small network's time goes to what reads the inputs: a dense layer's product and step are `dense.rs`'s, a convolution with its
//! pool is `stage.rs`'s. Everything else is burn's autodiff. It knows nothing of epochs or files: that is `train`'s.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{log_softmax, relu},
    module::{conv2d, max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};
use rand::{Rng, RngExt, rngs::StdRng};

use crate::{
    net::inception::Row,
    train::{
        conv_pool::Stage,
        linear::{Adam, Kernel, Parameter},
    },
};

/// One layer, by its name in Keras. Between them goes [N, features], where features may be [channels, height, width].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layer {
    /// In training, every second picture is mirrored, left to right.
    RandomFlip,
    /// In training, pictures are moved by up to so many pixels either way; zeros, which are the mean, come in.
    RandomTranslation(usize),
    /// 3x3, stride 1, as many rows and columns out as in; the number of filters.
    Conv2D(usize),
    /// The largest of 2x2.
    MaxPooling2D,
    /// What is below zero becomes zero.
    Relu,
    /// In training, this share of the features is left out.
    Dropout(f32),
    /// [channels, height, width] in one row.
    Flatten,
    /// Every feature to every unit; the number of units.
    Dense(usize),
}

impl Layer {
    /// Out of a shape without the batch: the shape after it, and its kernel's and bias's lengths, if it has some.
    fn out(self, input: &[usize]) -> (Vec<usize>, Option<[usize; 2]>) {
        let features = input.iter().product::<usize>();
        match (self, input) {
            (Layer::Conv2D(filters), &[channels, h, w]) => {
                let kernel = filters * channels * KERNEL * KERNEL;
                (vec![filters, h, w], Some([kernel, filters]))
            }
            (Layer::MaxPooling2D, &[channels, h, w]) => (vec![channels, h / 2, w / 2], None),
            (Layer::Dense(units), _) => (vec![units], Some([features * units, units])),
            (Layer::Flatten, _) => (vec![features], None),
            _ => (input.to_vec(), None),
        }
    }

    /// The class and the layer names' stem in Keras.
    fn keras(self) -> (&'static str, &'static str) {
        match self {
            Layer::RandomFlip => ("RandomFlip", "random_flip"),
            Layer::RandomTranslation(_) => ("RandomTranslation", "random_translation"),
            Layer::Conv2D(_) => ("Conv2D", "conv2d"),
            Layer::MaxPooling2D => ("MaxPooling2D", "max_pooling2d"),
            Layer::Relu => ("ReLU", "re_lu"),
            Layer::Dropout(_) => ("Dropout", "dropout"),
            Layer::Flatten => ("Flatten", "flatten"),
            Layer::Dense(_) => ("Dense", "dense"),
        }
    }
}

const KERNEL: usize = 3;

/// The layers as Keras's `model.summary()` lists them, for an input of this shape: [channels, height, width], or one number.
pub fn table(layers: &[Layer], input: &[usize]) -> Vec<Row> {
    let mut shape = input.to_vec();
    let mut seen: Vec<&str> = Vec::new();
    let row = |layer: &Layer| {
        let (after, lengths) = layer.out(&shape);
        let (class, stem) = layer.keras();
        seen.push(stem);
        let number = seen.iter().filter(|other| **other == stem).count();
        let kernel = match (layer, shape.as_slice()) {
            (Layer::Conv2D(filters), [channels, ..]) => Some([*filters, *channels, KERNEL, KERNEL]),
            _ => None,
        };
        shape = after;
        let output = match shape[..] {
            [channels, h, w] => vec![h, w, channels],
            _ => shape.clone(),
        };
        Row {
            name: format!("{stem}_{number}"),
            class,
            output,
            parameters: lengths.map_or(0, |lengths| lengths.iter().sum()),
            kernel,
        }
    };
    layers.iter().map(row).collect()
}

/// Layers with their parameters, on the CPU.
pub(crate) struct Network {
    layers: Vec<Layer>,
    input: Vec<usize>,
    first: First,
    /// Kernel and bias of each other layer that has them.
    rest: Vec<Parameter>,
}

/// The layers that read the inputs: nearly all of a step's time goes there, so they are not burn's.
enum First {
    /// A dense one: its kernel and bias.
    Dense(Kernel, Parameter),
    /// A convolution with its pool.
    Stage(Stage),
}

impl First {
    /// What comes out of inputs [N, features], and what [`First::step`] will have to know of it.
    fn forward(&self, inputs: &[f32], features: usize) -> (Vec<f32>, Vec<u8>) {
        match self {
            First::Stage(stage) => stage.forward(inputs),
            First::Dense(kernel, bias) => {
                let rows: Vec<_> = inputs.chunks_exact(features).collect();
                let mut outputs = kernel.product(&rows);
                for row in outputs.chunks_exact_mut(bias.values().len()) {
                    row.iter_mut()
                        .zip(bias.values())
                        .for_each(|(value, bias)| *value += bias);
                }
                (outputs, Vec::new())
            }
        }
    }

    /// One step of the optimizer, by the gradient of what came out; kernels decay, biases do not.
    fn step(
        &mut self,
        inputs: &[f32],
        features: usize,
        known: &[u8],
        gradient: &[f32],
        adam: &Adam,
    ) {
        match self {
            First::Stage(stage) => stage.step(inputs, known, gradient, adam),
            First::Dense(kernel, bias) => {
                let mut sums = vec![0.0; bias.values().len()];
                for row in gradient.chunks_exact(sums.len()) {
                    sums.iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += value);
                }
                let rows: Vec<_> = inputs.chunks_exact(features).collect();
                kernel.step(&rows, gradient, adam);
                bias.step(&sums, &adam.still());
            }
        }
    }
}

/// What a step has seen before it stepped.
pub(crate) struct Step {
    /// The sum of the pictures' cross-entropies, in nats.
    pub(crate) loss: f32,
    /// [N, classes].
    pub(crate) logits: Vec<f32>,
}

impl Network {
    /// Parameters are drawn evenly from within 1/sqrt(inputs), as PyTorch's layers do. The last layer starts at zero: before the first
    /// step all classes are alike, and with few pictures chance adds nothing.
    ///
    /// # Panics
    /// If the layers do not begin with a dense one, or with a convolution and a pool, apart from those that only prepare pictures.
    pub(crate) fn new(layers: &[Layer], input: &[usize], rng: &mut StdRng) -> Network {
        let mut shape = input.to_vec();
        let mut parameters = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let (after, lengths) = layer.out(&shape);
            if let Some([kernel, bias]) = lengths {
                let bound = ((kernel / bias) as f32).sqrt().recip();
                let mut draw = |count: usize| -> Vec<f32> {
                    match at + 1 == layers.len() {
                        true => vec![0.0; count],
                        false => (0..count)
                            .map(|_| rng.random_range(-bound..bound))
                            .collect(),
                    }
                };
                parameters.extend([draw(kernel), draw(bias)]);
            }
            shape = after;
        }
        let (layers, input) = (layers.to_vec(), input.to_vec());
        let (first, rest) = assemble(&layers, &input, parameters);
        Network {
            layers,
            input,
            first,
            rest,
        }
    }

    /// All parameters, a kernel and a bias for each layer that has them: dense kernels [inputs, units], others [filters, channels, 3, 3].
    pub(crate) fn values(&self) -> Vec<Vec<f32>> {
        let first = match &self.first {
            First::Dense(kernel, bias) => [kernel.values(), bias.values().into()],
            First::Stage(stage) => stage.values().map(<[f32]>::to_vec),
        };
        let rest = self.rest.iter().map(|parameter| parameter.values().into());
        first.into_iter().chain(rest).collect()
    }

    /// Puts values in place that [`Network::values`] gave; the optimizer starts anew.
    pub(crate) fn set(&mut self, values: Vec<Vec<f32>>) {
        (self.first, self.rest) = assemble(&self.layers, &self.input, values);
    }

    /// One step down the gradient of the mean cross-entropy. `inputs` is [N, features], `targets` [N, classes]. Kernels decay, biases do not.
    pub(crate) fn step(
        &mut self,
        mut inputs: Vec<f32>,
        targets: Vec<f32>,
        adam: &Adam,
        rng: &mut StdRng,
    ) -> Step {
        let device = Device::flex().autodiff();
        let features = self.input.iter().product();
        let count = inputs.len() / features;
        self.augment(&mut inputs, rng);
        let (outputs, known) = self.first.forward(&inputs, features);
        let outputs = wide(outputs, count, &device).require_grad();
        let parameters: Vec<_> = self
            .rest
            .iter()
            .map(|parameter| flat(parameter.values(), &device).require_grad())
            .collect();
        let logits = self.rest(outputs.clone(), &parameters, Some(rng));
        let targets = wide(targets, count, &device);
        let loss = cross_entropy(logits.clone(), targets);
        let mut gradients = (loss.clone() / count as f32).backward();
        let seen = Step {
            loss: read(loss)[0],
            logits: read(logits),
        };
        const TAKES_PART: &str = "all of it takes part in the loss";
        let gradient = read(outputs.grad_remove(&mut gradients).expect(TAKES_PART));
        self.first.step(&inputs, features, &known, &gradient, adam);
        let still = adam.still();
        let pairs = self.rest.iter_mut().zip(parameters);
        for ((parameter, tensor), adam) in pairs.zip([adam, &still].into_iter().cycle()) {
            let gradient = read(tensor.grad_remove(&mut gradients).expect(TAKES_PART));
            parameter.step(&gradient, adam);
        }
        seen
    }

    /// [N, classes] of inputs [N, features], without what is done in training only.
    pub(crate) fn logits(&self, inputs: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let features = self.input.iter().product();
        let (outputs, _) = self.first.forward(inputs, features);
        let parameters: Vec<_> = self
            .rest
            .iter()
            .map(|parameter| flat(parameter.values(), &device))
            .collect();
        let outputs = wide(outputs, inputs.len() / features, &device);
        read(self.rest(outputs, &parameters, None))
    }

    /// From what the first layers gave to the logits; with `training`, features are left out by its chance.
    fn rest(
        &self,
        outputs: Tensor<2>,
        parameters: &[Tensor<1>],
        mut training: Option<&mut StdRng>,
    ) -> Tensor<2> {
        let count = outputs.dims()[0];
        let mut parameters = parameters.iter().cloned();
        let mut next = || parameters.next().expect("the layer's parameters");
        let start = start(&self.layers);
        let before = self.layers[..start].iter();
        let mut shape = before.fold(self.input.clone(), |shape, layer| layer.out(&shape).0);
        let mut x = outputs;
        for layer in &self.layers[start..] {
            let (after, _) = layer.out(&shape);
            x = match (*layer, shape.as_slice()) {
                (Layer::Conv2D(filters), &[channels, h, w]) => {
                    let kernel = next().reshape([filters, channels, KERNEL, KERNEL]);
                    let around = KERNEL / 2;
                    let options = ConvOptions::new([1, 1], [around, around], [1, 1], 1);
                    let maps = x.reshape([count, channels, h, w]);
                    conv2d(maps, kernel, Some(next()), options).reshape([count, filters * h * w])
                }
                (Layer::MaxPooling2D, &[channels, h, w]) => {
                    let maps = x.reshape([count, channels, h, w]);
                    let maps = max_pool2d(maps, MaxPoolOptions::new([2, 2]));
                    maps.reshape([count, after.iter().product()])
                }
                (Layer::Relu, _) => relu(x),
                (Layer::Dropout(share), _) => match &mut training {
                    Some(rng) if share > 0.0 => {
                        let [count, features] = x.dims();
                        let mask = mask(share, count * features, rng);
                        let mask = wide(mask, count, &x.device());
                        x * mask
                    }
                    _ => x,
                },
                (Layer::Dense(units), _) => {
                    let kernel = next().reshape([shape.iter().product(), units]);
                    x.matmul(kernel) + next().reshape([1, units])
                }
                _ => x,
            };
            shape = after;
        }
        x
    }

    /// Mirrors and moves pictures as the first layers say.
    fn augment(&self, inputs: &mut [f32], rng: &mut StdRng) {
        let &[channels, h, w] = self.input.as_slice() else {
            return;
        };
        for layer in &self.layers {
            for picture in inputs.chunks_exact_mut(channels * h * w) {
                match layer {
                    Layer::RandomFlip if rng.random() => {
                        picture.chunks_exact_mut(w).for_each(<[f32]>::reverse);
                    }
                    Layer::RandomTranslation(most) => {
                        let mut by = || rng.random_range(0..=2 * most) as isize - *most as isize;
                        let by = [by(), by()];
                        picture
                            .chunks_exact_mut(h * w)
                            .for_each(|plane| translate(plane, w, by));
                    }
                    _ => (),
                }
            }
        }
    }
}

/// How many layers [`First`] does, with those before it that only prepare pictures.
fn start(layers: &[Layer]) -> usize {
    let prepares = |layer: &Layer| {
        matches!(
            layer,
            Layer::RandomFlip | Layer::RandomTranslation(_) | Layer::Flatten
        )
    };
    let first = layers.iter().take_while(|layer| prepares(layer)).count();
    match layers[first..] {
        [Layer::Dense(_), ..] => first + 1,
        [Layer::Conv2D(_), Layer::MaxPooling2D, ..] => first + 2,
        _ => panic!("no network here begins with {:?}", layers.get(first)),
    }
}

/// Parameters in their places.
fn assemble(layers: &[Layer], input: &[usize], values: Vec<Vec<f32>>) -> (First, Vec<Parameter>) {
    let mut values = values.into_iter();
    let mut next = || values.next().expect("a kernel and a bias for each layer");
    let (kernel, bias) = (next(), next());
    let first = match (layers[start(layers) - 1], input) {
        (Layer::MaxPooling2D, &[channels, h, w]) => {
            First::Stage(Stage::new([channels, h, w], kernel, bias))
        }
        _ => First::Dense(Kernel::new(&kernel, bias.len()), Parameter::new(bias)),
    };
    (first, values.map(Parameter::new).collect())
}

/// Moves a plane down and to the right; zeros come in.
fn translate(plane: &mut [f32], width: usize, [down, right]: [isize; 2]) {
    let before = plane.to_vec();
    let height = (plane.len() / width) as isize;
    for (at, value) in plane.iter_mut().enumerate() {
        let (y, x) = ((at / width) as isize - down, (at % width) as isize - right);
        let inside = (0..height).contains(&y) && (0..width as isize).contains(&x);
        *value = if inside {
            before[y as usize * width + x as usize]
        } else {
            0.0
        };
    }
}

/// Zeros for the features left out, and what keeps the sum for the others.
fn mask(share: f32, count: usize, rng: &mut impl Rng) -> Vec<f32> {
    let kept = 1.0 / (1.0 - share);
    let feature = |_| {
        if rng.random::<f32>() < share {
            0.0
        } else {
            kept
        }
    };
    (0..count).map(feature).collect()
}

/// The sum over the pictures.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum()
}

fn flat(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// [rows, as many as there are].
pub(crate) fn wide(values: Vec<f32>, rows: usize, device: &Device) -> Tensor<2> {
    let shape = [rows, values.len() / rows];
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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SMALL: [Layer; 8] = [
        Layer::Conv2D(4),
        Layer::MaxPooling2D,
        Layer::Relu,
        Layer::Flatten,
        Layer::Dropout(0.5),
        Layer::Dense(6),
        Layer::Relu,
        Layer::Dense(3),
    ];

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * step + 7) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// With parameters that are nowhere zero.
    fn network(layers: &[Layer], input: &[usize]) -> Network {
        let mut network = Network::new(layers, input, &mut StdRng::seed_from_u64(1));
        let values = network.values().into_iter().map(|values| values.len());
        network.set(values.map(|count| numbers(count, 13)).collect());
        network
    }

    #[test]
    fn a_convolution_a_pool_and_dense_layers_are_the_plain_loops() {
        let network = network(&SMALL, &[2, 6, 4]);
        let x = numbers(2 * 6 * 4, 31);
        let [kernel, bias, dense, dense_bias, last, last_bias] = &network.values()[..] else {
            panic!("three layers")
        };
        let at = |c: usize, y: isize, z: isize| match (0..6).contains(&y) && (0..4).contains(&z) {
            true => x[c * 24 + y as usize * 4 + z as usize],
            false => 0.0,
        };
        let conv = |f: usize, y: usize, z: usize| {
            let mut sum = bias[f];
            for (k, weight) in kernel[f * 18..][..18].iter().enumerate() {
                let (c, dy, dz) = (k / 9, k / 3 % 3, k % 3);
                sum += weight * at(c, (y + dy) as isize - 1, (z + dz) as isize - 1);
            }
            sum
        };
        let mut flat = Vec::new();
        for place in 0..4 * 3 * 2 {
            let (f, y, z) = (place / 6, place / 2 % 3 * 2, place % 2 * 2);
            let four = [
                conv(f, y, z),
                conv(f, y, z + 1),
                conv(f, y + 1, z),
                conv(f, y + 1, z + 1),
            ];
            flat.push(four.into_iter().fold(0.0f32, f32::max));
        }
        let product = |inputs: &[f32], kernel: &[f32], bias: &[f32]| -> Vec<f32> {
            let unit = |u: usize| {
                let column = kernel[u..].iter().step_by(bias.len());
                bias[u] + inputs.iter().zip(column).map(|(i, w)| i * w).sum::<f32>()
            };
            (0..bias.len()).map(unit).collect()
        };
        let mut hidden = product(&flat, dense, dense_bias);
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        let want = product(&hidden, last, last_bias);
        for (got, want) in network.logits(&x).iter().zip(&want) {
            assert!((got - want).abs() < 1e-4, "{got}, expected {want}");
        }
    }

    #[test]
    fn a_step_goes_down_the_slope_that_differences_measure() {
        // No chance in it: without dropout. One small step of plain loss against what the loss's slope promises would need plain
        // gradient descent; Adam's first step is the gradient's sign, so every number has to move against its slope.
        let layers: Vec<_> = SMALL
            .into_iter()
            .filter(|l| !matches!(l, Layer::Dropout(_)))
            .collect();
        let deeper = [&layers[..3], &[Layer::Conv2D(5), Layer::Relu], &layers[3..]].concat();
        let cases = [
            (layers.as_slice(), [2, 6, 4]),
            (&deeper, [2, 6, 4]),
            (&SMALL[5..], [48, 1, 1]),
        ];
        for (layers, input) in cases {
            let x = numbers(3 * 48, 31);
            let targets = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
            let loss = |network: &Network| {
                let logits = wide(network.logits(&x), 3, &Device::flex());
                read(cross_entropy(
                    logits,
                    wide(targets.clone(), 3, &Device::flex()),
                ))[0]
            };
            let start = network(layers, &input);
            let mut stepped = network(layers, &input);
            let adam = Adam {
                rate: 1e-3,
                shrink: 1.0,
                corrections: Adam::corrections(1),
            };
            let seen = stepped.step(
                x.clone(),
                targets.clone(),
                &adam,
                &mut StdRng::seed_from_u64(1),
            );
            assert!((seen.loss - loss(&start)).abs() < 1e-3);
            let (before, after) = (start.values(), stepped.values());
            let mut checked = 0;
            for part in 0..before.len() {
                for at in (0..before[part].len()).step_by(5) {
                    let mut nudged = start.values();
                    let mut slope = 0.0;
                    for sign in [1.0, -1.0] {
                        nudged[part][at] = before[part][at] + sign * 1e-2;
                        let mut network = network(layers, &input);
                        network.set(nudged.clone());
                        slope += sign * loss(&network) / 2e-2;
                    }
                    // Flat places have no sign, and kinks of ReLU and the pool have two slopes.
                    if slope.abs() > 0.05 {
                        checked += 1;
                        let moved = after[part][at] - before[part][at];
                        assert!(
                            moved * slope < 0.0,
                            "{part} {at}: slope {slope}, moved {moved}"
                        );
                    }
                }
            }
            assert!(checked > 20, "{checked}");
        }
    }

    #[test]
    fn pictures_are_mirrored_and_moved_in_training_only() {
        let layers = [
            Layer::RandomFlip,
            Layer::RandomTranslation(1),
            Layer::Flatten,
            Layer::Dense(2),
        ];
        let network = network(&layers, &[1, 4, 3]);
        let picture: Vec<f32> = (1..=12).map(|value| value as f32).collect();
        let mut rng = StdRng::seed_from_u64(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let mut moved = picture.clone();
            network.augment(&mut moved, &mut rng);
            seen.insert(moved.iter().map(|value| *value as i32).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 2 * 9, "mirrored or not, at each of nine places");
        assert!(
            seen.contains(&vec![3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]),
            "mirrored"
        );
        assert!(
            seen.contains(&vec![0, 0, 0, 0, 1, 2, 0, 4, 5, 0, 7, 8]),
            "down and to the right"
        );
        assert_eq!(network.logits(&picture), network.logits(&picture));
    }

    #[test]
    fn dropout_leaves_its_share_out_and_keeps_the_sum() {
        let mask = mask(0.25, 10_000, &mut StdRng::seed_from_u64(1));
        let left_out = mask.iter().filter(|kept| **kept == 0.0).count();
        assert!((2_300..2_700).contains(&left_out), "{left_out}");
        assert!(
            mask.iter()
                .all(|kept| *kept == 0.0 || (kept - 4.0 / 3.0).abs() < 1e-6)
        );
    }

    #[test]
    fn the_table_counts_parameters_as_keras_does() {
        let rows = table(&SMALL, &[3, 32, 32]);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.output.clone(), row.parameters))
            .collect();
        let want = [
            ("conv2d_1", vec![32, 32, 4], 112),
            ("max_pooling2d_1", vec![16, 16, 4], 0),
            ("re_lu_1", vec![16, 16, 4], 0),
            ("flatten_1", vec![1024], 0),
            ("dropout_1", vec![1024], 0),
            ("dense_1", vec![6], 6150),
            ("re_lu_2", vec![6], 0),
            ("dense_2", vec![3], 21),
        ];
        assert_eq!(told, want);
    }
}
