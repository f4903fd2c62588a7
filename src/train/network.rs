//! A sequential network and its training step: dense heads, and the MLP and the CNN of `baselines`.
//!
//! A small network spends most of its time in the layer that reads the inputs, so that layer has its own kernels: `linear` for a dense layer,
//! `conv_pool` for a convolution and its pool. All other layers use burn's autodiff. Epochs and validation are in `trainer`.

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
        conv_pool::ConvPool,
        linear::{Adam, Kernel, Parameter},
    },
};

/// A layer, with its name in Keras. Its input and output are [N, features], where features may stand for [channels, height, width].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layer {
    /// Mirrors pictures horizontally with probability 1/2; training only.
    RandomFlip,
    /// Shifts pictures by at most this number of pixels in each direction; training only. The border is filled with zeros, the mean.
    RandomTranslation(usize),
    /// A 3x3 convolution with stride 1 and padding 1, and this number of filters.
    Conv2D(usize),
    /// A 2x2 max pool.
    MaxPooling2D,
    /// max(x, 0).
    Relu,
    /// Dropout with this rate; training only.
    Dropout(f32),
    /// [channels, height, width] to one dimension.
    Flatten,
    /// A fully connected layer with this number of units.
    Dense(usize),
}

impl Layer {
    /// Returns the output shape for an input shape (both without the batch), and the lengths of the kernel and the bias, if any.
    fn output(self, input: &[usize]) -> (Vec<usize>, Option<[usize; 2]>) {
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

    /// Returns the class in Keras and the prefix of its layer names.
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

/// Lists layers as Keras's `model.summary()` does.
///
/// # Shapes
/// `input` is [channels, height, width] or `[features]`.
pub fn table(layers: &[Layer], input: &[usize]) -> Vec<Row> {
    let mut shape = input.to_vec();
    let mut prefixes: Vec<&str> = Vec::new();
    let row = |layer: &Layer| {
        let (after, lengths) = layer.output(&shape);
        let (class, prefix) = layer.keras();
        prefixes.push(prefix);
        let number = prefixes.iter().filter(|other| **other == prefix).count();
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
            name: format!("{prefix}_{number}"),
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
    /// [channels, height, width] or `[features]`.
    input_shape: Vec<usize>,
    first: FirstLayer,
    /// Kernel and bias of each other layer that has them.
    rest: Vec<Parameter>,
}

/// The layer that reads the inputs. It takes nearly all of the time, so it does not use burn.
enum FirstLayer {
    /// Kernel and bias.
    Dense(Kernel, Parameter),
    ConvPool(ConvPool),
}

impl FirstLayer {
    /// Returns the outputs for inputs [N, features], and the argmax of the pool (empty for a dense layer).
    fn forward(&self, inputs: &[f32], features: usize) -> (Vec<f32>, Vec<u8>) {
        match self {
            FirstLayer::ConvPool(layer) => layer.forward(inputs),
            FirstLayer::Dense(kernel, bias) => {
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

    /// Applies one optimizer step, given the results of [`FirstLayer::forward`] and the gradient of the outputs.
    fn step(
        &mut self,
        inputs: &[f32],
        features: usize,
        argmax: &[u8],
        gradient: &[f32],
        adam: &Adam,
    ) {
        match self {
            FirstLayer::ConvPool(layer) => layer.step(inputs, argmax, gradient, adam),
            FirstLayer::Dense(kernel, bias) => {
                let mut sums = vec![0.0; bias.values().len()];
                for row in gradient.chunks_exact(sums.len()) {
                    sums.iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += value);
                }
                let rows: Vec<_> = inputs.chunks_exact(features).collect();
                kernel.step(&rows, gradient, adam);
                bias.step(&sums, &adam.without_decay());
            }
        }
    }
}

/// The result of the forward pass of a step.
pub(crate) struct StepOutput {
    /// The cross-entropy in nats, summed over the batch.
    pub(crate) loss: f32,
    /// [N, classes].
    pub(crate) logits: Vec<f32>,
}

impl Network {
    /// Initialises parameters uniformly within 1/sqrt(inputs), as PyTorch does, and the last layer with zeros: all classes start equally
    /// probable, and a small training set is not disturbed by random initial weights.
    ///
    /// # Panics
    /// If the first layer, apart from augmentation and `Flatten`, is neither dense nor a convolution followed by a pool.
    pub(crate) fn new(layers: &[Layer], input: &[usize], rng: &mut StdRng) -> Network {
        let mut shape = input.to_vec();
        let mut parameters = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let (after, lengths) = layer.output(&shape);
            if let Some([kernel, bias]) = lengths {
                let bound = ((kernel / bias) as f32).sqrt().recip();
                let mut initial = |count: usize| -> Vec<f32> {
                    match at + 1 == layers.len() {
                        true => vec![0.0; count],
                        false => (0..count)
                            .map(|_| rng.random_range(-bound..bound))
                            .collect(),
                    }
                };
                parameters.extend([initial(kernel), initial(bias)]);
            }
            shape = after;
        }
        let (layers, input_shape) = (layers.to_vec(), input.to_vec());
        let (first, rest) = build(&layers, &input_shape, parameters);
        Network {
            layers,
            input_shape,
            first,
            rest,
        }
    }

    /// Returns all parameters: a kernel and a bias for each layer that has them.
    ///
    /// # Shapes
    /// Dense kernels are [inputs, units], convolution kernels [filters, channels, 3, 3].
    pub(crate) fn values(&self) -> Vec<Vec<f32>> {
        let first = match &self.first {
            FirstLayer::Dense(kernel, bias) => [kernel.values(), bias.values().into()],
            FirstLayer::ConvPool(layer) => layer.values().map(<[f32]>::to_vec),
        };
        let rest = self.rest.iter().map(|parameter| parameter.values().into());
        first.into_iter().chain(rest).collect()
    }

    /// Restores the result of [`Network::values`] and resets the optimizer.
    pub(crate) fn set(&mut self, values: Vec<Vec<f32>>) {
        (self.first, self.rest) = build(&self.layers, &self.input_shape, values);
    }

    /// Applies one optimizer step to the mean cross-entropy of a batch. Weight decay applies to kernels only.
    ///
    /// # Shapes
    /// `inputs` is [N, features], `targets` is [N, classes].
    pub(crate) fn step(
        &mut self,
        mut inputs: Vec<f32>,
        targets: Vec<f32>,
        adam: &Adam,
        rng: &mut StdRng,
    ) -> StepOutput {
        let device = Device::flex().autodiff();
        let features = self.input_shape.iter().product();
        let count = inputs.len() / features;
        self.augment(&mut inputs, rng);
        let (outputs, argmax) = self.first.forward(&inputs, features);
        let outputs = matrix(outputs, count, &device).require_grad();
        let parameters: Vec<_> = self
            .rest
            .iter()
            .map(|parameter| vector(parameter.values(), &device).require_grad())
            .collect();
        let start = first_layers(&self.layers);
        let logits = self.forward_from(start, outputs.clone(), &parameters, Some(rng));
        let targets = matrix(targets, count, &device);
        let loss = cross_entropy(logits.clone(), targets);
        let mut gradients = (loss.clone() / count as f32).backward();
        let output = StepOutput {
            loss: into_values(loss)[0],
            logits: into_values(logits),
        };
        const HAS_GRADIENT: &str = "the loss depends on every parameter";
        let gradient = into_values(outputs.grad_remove(&mut gradients).expect(HAS_GRADIENT));
        self.first.step(&inputs, features, &argmax, &gradient, adam);
        let without_decay = adam.without_decay();
        let pairs = self.rest.iter_mut().zip(parameters);
        for ((parameter, tensor), adam) in pairs.zip([adam, &without_decay].into_iter().cycle()) {
            let gradient = into_values(tensor.grad_remove(&mut gradients).expect(HAS_GRADIENT));
            parameter.step(&gradient, adam);
        }
        output
    }

    /// Returns the logits of a batch, without augmentation and dropout.
    ///
    /// # Shapes
    /// [N, features] -> [N, classes].
    pub(crate) fn logits(&self, inputs: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let features = self.input_shape.iter().product();
        let (outputs, _) = self.first.forward(inputs, features);
        let parameters: Vec<_> = self
            .rest
            .iter()
            .map(|parameter| vector(parameter.values(), &device))
            .collect();
        let outputs = matrix(outputs, inputs.len() / features, &device);
        into_values(self.forward_from(first_layers(&self.layers), outputs, &parameters, None))
    }

    /// Applies the layers from index `start` to `x` with burn; `parameters` are theirs. Dropout is applied if `training` is given.
    fn forward_from(
        &self,
        start: usize,
        mut x: Tensor<2>,
        parameters: &[Tensor<1>],
        mut training: Option<&mut StdRng>,
    ) -> Tensor<2> {
        let count = x.dims()[0];
        let mut parameters = parameters.iter().cloned();
        let mut next = || parameters.next().expect("the layer's parameters");
        let skipped = self.layers[..start].iter();
        let mut shape = skipped.fold(self.input_shape.clone(), |shape, layer| {
            layer.output(&shape).0
        });
        for layer in &self.layers[start..] {
            let (after, _) = layer.output(&shape);
            x = match (*layer, shape.as_slice()) {
                (Layer::Conv2D(filters), &[channels, h, w]) => {
                    let kernel = next().reshape([filters, channels, KERNEL, KERNEL]);
                    let padding = KERNEL / 2;
                    let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
                    let maps = x.reshape([count, channels, h, w]);
                    conv2d(maps, kernel, Some(next()), options).reshape([count, filters * h * w])
                }
                (Layer::MaxPooling2D, &[channels, h, w]) => {
                    let maps = x.reshape([count, channels, h, w]);
                    let maps = max_pool2d(maps, MaxPoolOptions::new([2, 2]));
                    maps.reshape([count, after.iter().product()])
                }
                (Layer::Relu, _) => relu(x),
                (Layer::Dropout(rate), _) => match &mut training {
                    Some(rng) if rate > 0.0 => {
                        let [count, features] = x.dims();
                        let mask = dropout_mask(rate, count * features, rng);
                        let mask = matrix(mask, count, &x.device());
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

    /// Applies the augmentation layers to pictures in place.
    fn augment(&self, inputs: &mut [f32], rng: &mut StdRng) {
        let &[channels, h, w] = self.input_shape.as_slice() else {
            return;
        };
        for layer in &self.layers {
            for picture in inputs.chunks_exact_mut(channels * h * w) {
                match layer {
                    Layer::RandomFlip if rng.random() => {
                        picture.chunks_exact_mut(w).for_each(<[f32]>::reverse);
                    }
                    Layer::RandomTranslation(max) => {
                        let mut offset = || rng.random_range(0..=2 * max) as isize - *max as isize;
                        let offset = [offset(), offset()];
                        picture
                            .chunks_exact_mut(h * w)
                            .for_each(|plane| translate(plane, w, offset));
                    }
                    _ => (),
                }
            }
        }
    }
}

/// Returns the number of layers that [`FirstLayer`] implements, including the augmentation layers and `Flatten` before it.
fn first_layers(layers: &[Layer]) -> usize {
    let is_preparation = |layer: &Layer| {
        matches!(
            layer,
            Layer::RandomFlip | Layer::RandomTranslation(_) | Layer::Flatten
        )
    };
    let first = layers
        .iter()
        .take_while(|layer| is_preparation(layer))
        .count();
    match layers[first..] {
        [Layer::Dense(_), ..] => first + 1,
        [Layer::Conv2D(_), Layer::MaxPooling2D, ..] => first + 2,
        _ => panic!("unsupported first layer: {:?}", layers.get(first)),
    }
}

/// Distributes the result of [`Network::values`] over the layers.
fn build(layers: &[Layer], input: &[usize], values: Vec<Vec<f32>>) -> (FirstLayer, Vec<Parameter>) {
    let mut values = values.into_iter();
    let mut next = || values.next().expect("a kernel and a bias for each layer");
    let (kernel, bias) = (next(), next());
    let first = match (layers[first_layers(layers) - 1], input) {
        (Layer::MaxPooling2D, &[channels, h, w]) => {
            FirstLayer::ConvPool(ConvPool::new([channels, h, w], kernel, bias))
        }
        _ => FirstLayer::Dense(Kernel::new(&kernel, bias.len()), Parameter::new(bias)),
    };
    (first, values.map(Parameter::new).collect())
}

/// Shifts a plane down and to the right, and fills the border with zeros.
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

/// Returns factors for dropout: 0 for dropped features, 1 / (1 - rate) for the others.
fn dropout_mask(rate: f32, count: usize, rng: &mut impl Rng) -> Vec<f32> {
    let kept = 1.0 / (1.0 - rate);
    let factor = |_| {
        if rng.random::<f32>() < rate {
            0.0
        } else {
            kept
        }
    };
    (0..count).map(factor).collect()
}

/// Returns the cross-entropy in nats, summed over the batch.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * targets).sum()
}

fn vector(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

pub(crate) fn matrix(values: Vec<f32>, rows: usize, device: &Device) -> Tensor<2> {
    let shape = [rows, values.len() / rows];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Returns the values of a tensor on the CPU. It polls once instead of blocking, because the web's main thread cannot block.
pub(crate) fn into_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let mut data = pin!(tensor.into_data_async());
    match data.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(data)) => data.try_into_vec().expect("flex computes in f32"),
        _ => unreachable!("flex tensors are ready at the first poll"),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::train::linear::test_values;

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

    /// A network whose last layer is not zero.
    fn network(layers: &[Layer], input: &[usize]) -> Network {
        let mut network = Network::new(layers, input, &mut StdRng::seed_from_u64(1));
        let values = network.values().into_iter().map(|values| values.len());
        network.set(values.map(|count| test_values(count, 13)).collect());
        network
    }

    #[test]
    fn logits_match_naive_loops() {
        let network = network(&SMALL, &[2, 6, 4]);
        let x = test_values(2 * 6 * 4, 31);
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
        for at in 0..4 * 3 * 2 {
            let (f, y, z) = (at / 6, at / 2 % 3 * 2, at % 2 * 2);
            let block = [
                conv(f, y, z),
                conv(f, y, z + 1),
                conv(f, y + 1, z),
                conv(f, y + 1, z + 1),
            ];
            flat.push(block.into_iter().fold(0.0f32, f32::max));
        }
        let dense_layer = |inputs: &[f32], kernel: &[f32], bias: &[f32]| -> Vec<f32> {
            let unit = |u: usize| {
                let column = kernel[u..].iter().step_by(bias.len());
                bias[u] + inputs.iter().zip(column).map(|(i, w)| i * w).sum::<f32>()
            };
            (0..bias.len()).map(unit).collect()
        };
        let mut hidden = dense_layer(&flat, dense, dense_bias);
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        let want = dense_layer(&hidden, last, last_bias);
        for (got, want) in network.logits(&x).iter().zip(&want) {
            assert!((got - want).abs() < 1e-4, "{got}, expected {want}");
        }
    }

    #[test]
    fn a_step_applies_the_gradient_of_the_mean_loss() {
        let layers: Vec<_> = SMALL
            .into_iter()
            .filter(|layer| !matches!(layer, Layer::Dropout(_)))
            .collect();
        let deeper = [&layers[..3], &[Layer::Conv2D(5), Layer::Relu], &layers[3..]].concat();
        let cases = [
            (layers.as_slice(), [2, 6, 4]),
            (&deeper, [2, 6, 4]),
            (&SMALL[5..], [48, 1, 1]),
        ];
        let (count, rate, decay) = (3, 0.1, 0.9);
        let x = test_values(count * 48, 31);
        let targets = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        for (layers, input) in cases {
            let mut stepped = network(layers, &input);
            let before = stepped.values();

            // The reference applies burn's autodiff to all layers, the first included.
            let device = Device::flex().autodiff();
            let parameters: Vec<_> = before
                .iter()
                .map(|values| vector(values, &device).require_grad())
                .collect();
            let inputs = matrix(x.clone(), count, &device);
            let logits = stepped.forward_from(0, inputs, &parameters, None);
            let loss = cross_entropy(logits, matrix(targets.clone(), count, &device));
            let mut gradients = (loss.clone() / count as f32).backward();

            let output = stepped.step(
                x.clone(),
                targets.clone(),
                &Adam::gradient_descent(rate, decay),
                &mut StdRng::seed_from_u64(1),
            );
            let want = into_values(loss)[0];
            assert!(
                (output.loss - want).abs() < 1e-5 * want,
                "loss {}, expected {want}",
                output.loss
            );
            let after = stepped.values();
            for (part, tensor) in parameters.into_iter().enumerate() {
                let gradient = into_values(tensor.grad_remove(&mut gradients).expect("a gradient"));
                // Kernels and biases alternate.
                let decay = if part % 2 == 0 { decay } else { 1.0 };
                let largest = gradient.iter().fold(0.0f32, |max, g| max.max(g.abs()));
                assert!(largest > 0.01, "parameter {part} has no gradient");
                for (at, slope) in gradient.iter().enumerate() {
                    let (got, want) = (after[part][at], before[part][at] * decay - rate * slope);
                    // f32 rounds to 6e-8 of a value. Sums of at most 72 products lose two digits of it.
                    let tolerance = 1e-5 * (1.0 + rate * largest);
                    assert!(
                        (got - want).abs() < tolerance,
                        "parameter {part}, value {at}: {got}, expected {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn augmentation_mirrors_and_shifts_training_pictures_only() {
        let layers = [
            Layer::RandomFlip,
            Layer::RandomTranslation(1),
            Layer::Flatten,
            Layer::Dense(2),
        ];
        let network = network(&layers, &[1, 4, 3]);
        let picture: Vec<f32> = (1..=12).map(|value| value as f32).collect();
        let mut rng = StdRng::seed_from_u64(3);
        let mut variants = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let mut augmented = picture.clone();
            network.augment(&mut augmented, &mut rng);
            let augmented = augmented.iter().map(|value| *value as i32);
            variants.insert(augmented.collect::<Vec<_>>());
        }
        assert_eq!(variants.len(), 2 * 9, "mirrored or not, nine offsets");
        assert!(
            variants.contains(&vec![3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]),
            "mirrored"
        );
        assert!(
            variants.contains(&vec![0, 0, 0, 0, 1, 2, 0, 4, 5, 0, 7, 8]),
            "down and to the right"
        );
        let mut plain = Network::new(&layers[2..], &[1, 4, 3], &mut StdRng::seed_from_u64(1));
        plain.set(network.values());
        assert_eq!(network.logits(&picture), plain.logits(&picture));
    }

    #[test]
    fn dropout_zeroes_its_share_of_features_and_scales_the_others() {
        let mask = dropout_mask(0.25, 10_000, &mut StdRng::seed_from_u64(1));
        let dropped = mask.iter().filter(|factor| **factor == 0.0).count();
        // The standard deviation is 43.
        assert!((2_300..2_700).contains(&dropped), "{dropped}");
        assert!(
            mask.iter()
                .all(|factor| *factor == 0.0 || (factor - 4.0 / 3.0).abs() < 1e-6)
        );
    }

    #[test]
    fn the_table_has_the_names_shapes_and_parameter_counts_of_keras() {
        let rows = table(&SMALL, &[3, 32, 32]);
        let got: Vec<_> = rows
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
        assert_eq!(got, want);
    }
}
