//! Inception V3 without the classification layer: images [N, 3, 299, 299] -> latents [N, 2048].
//!
//! Layers, order and names follow
//! [Keras](https://github.com/keras-team/keras/blob/master/keras/src/applications/inception_v3.py), which implements
//! Szegedy et al., [Rethinking the Inception Architecture](https://arxiv.org/abs/1512.00567). BatchNorm is folded into kernels and
//! biases: every convolution here is convolution + bias + ReLU.

use crate::format::quantized::KernelData;

/// The number of latents of one picture.
pub const LATENTS: usize = 2048;
/// Height and width of the input, in pixels.
pub const INPUT: usize = 299;

/// One layer of a branch. Input channels are not listed: they follow from the layers before.
enum Layer {
    Conv {
        out: usize,
        kernel: [usize; 2],
        stride: usize,
        /// Padded to the same size; otherwise not padded.
        same: bool,
    },
    /// 3x3, stride 2, not padded.
    MaxPool,
    /// 3x3, stride 1, padded to the same size.
    AvgPool,
    /// Branches on the same input, concatenated by channel.
    Mixed {
        name: &'static str,
        branches: Vec<Branch>,
    },
}

/// A sequence of layers.
#[derive(Default)]
struct Branch(Vec<Layer>);

fn branch() -> Branch {
    Branch::default()
}

impl Branch {
    fn then(mut self, layer: Layer) -> Branch {
        self.0.push(layer);
        self
    }

    fn layer(self, out: usize, kernel: [usize; 2], stride: usize, same: bool) -> Branch {
        self.then(Layer::Conv {
            out,
            kernel,
            stride,
            same,
        })
    }

    /// Padded to the same size.
    fn conv(self, out: usize, kernel: [usize; 2]) -> Branch {
        self.layer(out, kernel, 1, true)
    }

    fn conv_valid(self, out: usize, kernel: [usize; 2]) -> Branch {
        self.layer(out, kernel, 1, false)
    }

    /// Not padded, stride 2.
    fn conv_half(self, out: usize, kernel: [usize; 2]) -> Branch {
        self.layer(out, kernel, 2, false)
    }

    fn max_pool(self) -> Branch {
        self.then(Layer::MaxPool)
    }

    fn avg_pool(self) -> Branch {
        self.then(Layer::AvgPool)
    }

    fn mixed<const N: usize>(self, name: &'static str, branches: [Branch; N]) -> Branch {
        self.then(Layer::Mixed {
            name,
            branches: branches.into(),
        })
    }
}

/// The network of the paper. Not formatted by rustfmt: one line per branch.
#[rustfmt::skip]
impl Branch {
    fn inception_v3() -> Branch {
        branch()
            .stem()
            .mixed_35("mixed0", 32)
            .mixed_35("mixed1", 64)
            .mixed_35("mixed2", 64)
            .reduce_35("mixed3")
            .mixed_17("mixed4", 128)
            .mixed_17("mixed5", 160)
            .mixed_17("mixed6", 160)
            .mixed_17("mixed7", 192)
            .reduce_17("mixed8")
            .mixed_8(["mixed9", "mixed9_0", "concatenate_1"])
            .mixed_8(["mixed10", "mixed9_1", "concatenate_2"])
    }

    /// [N, 3, 299, 299] -> [N, 192, 35, 35].
    fn stem(self) -> Branch {
        self.conv_half(32, [3, 3]).conv_valid(32, [3, 3]).conv(64, [3, 3]).max_pool()
            .conv_valid(80, [1, 1]).conv_valid(192, [3, 3]).max_pool()
    }

    /// Keras `mixed0`..`mixed2`: [N, _, 35, 35] -> [N, 224 + n, 35, 35]; `n` is the number of channels of the pooled branch.
    fn mixed_35(self, name: &'static str, n: usize) -> Branch {
        self.mixed(name, [
            branch().conv(64, [1, 1]),
            branch().conv(48, [1, 1]).conv(64, [5, 5]),
            branch().conv(64, [1, 1]).conv(96, [3, 3]).conv(96, [3, 3]),
            branch().avg_pool().conv(n, [1, 1]),
        ])
    }

    /// Keras `mixed3`: [N, 288, 35, 35] -> [N, 768, 17, 17].
    fn reduce_35(self, name: &'static str) -> Branch {
        self.mixed(name, [
            branch().conv_half(384, [3, 3]),
            branch().conv(64, [1, 1]).conv(96, [3, 3]).conv_half(96, [3, 3]),
            branch().max_pool(),
        ])
    }

    /// Keras `mixed4`..`mixed7`: [N, 768, 17, 17] -> [N, 768, 17, 17]; `n` is the number of inner channels of the 7x7 branches.
    fn mixed_17(self, name: &'static str, n: usize) -> Branch {
        self.mixed(name, [
            branch().conv(192, [1, 1]),
            branch().conv(n, [1, 1]).conv(n, [1, 7]).conv(192, [7, 1]),
            branch().conv(n, [1, 1]).conv(n, [7, 1]).conv(n, [1, 7]).conv(n, [7, 1]).conv(192, [1, 7]),
            branch().avg_pool().conv(192, [1, 1]),
        ])
    }

    /// Keras `mixed8`: [N, 768, 17, 17] -> [N, 1280, 8, 8].
    fn reduce_17(self, name: &'static str) -> Branch {
        self.mixed(name, [
            branch().conv(192, [1, 1]).conv_half(320, [3, 3]),
            branch().conv(192, [1, 1]).conv(192, [1, 7]).conv(192, [7, 1]).conv_half(192, [3, 3]),
            branch().max_pool(),
        ])
    }

    /// Keras `mixed9`, `mixed10`: [N, _, 8, 8] -> [N, 2048, 8, 8]; `names` are those of the block and its two inner concatenations.
    fn mixed_8(self, names: [&'static str; 3]) -> Branch {
        let fork = || [branch().conv(384, [1, 3]), branch().conv(384, [3, 1])];
        self.mixed(names[0], [
            branch().conv(320, [1, 1]),
            branch().conv(384, [1, 1]).mixed(names[1], fork()),
            branch().conv(448, [1, 1]).conv(384, [3, 3]).mixed(names[2], fork()),
            branch().avg_pool().conv(192, [1, 1]),
        ])
    }
}

/// One row of the model summary, as Keras's `model.summary()` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Keras's layer name, such as `conv2d_1`.
    pub name: String,
    /// Keras's layer class, such as `Conv2D`.
    pub class: &'static str,
    /// [height, width, channels] for one picture; the latents are `[2048]`.
    pub output: Vec<usize>,
    /// Parameters as Keras counts them, including BatchNorm's moving statistics.
    pub parameters: usize,
    /// The kernel shape of a convolution, [out, in, height, width].
    pub kernel: Option<[usize; 4]>,
}

/// The network's layers in the order of construction. Every list of kernels in this crate has this order.
pub fn table() -> Vec<Row> {
    let mut table = Table::default();
    let input = [3, INPUT, INPUT];
    table.row("input_1".into(), "InputLayer", input);
    let [channels, ..] = table.append(&Branch::inception_v3(), input);
    let pool = "global_average_pooling2d_1".into();
    table
        .row(pool, "GlobalAveragePooling2D", [channels, 1, 1])
        .output = vec![channels];
    table.rows
}

/// Names and kernel shapes [out, in, height, width] of the 94 convolutions, in the order of construction.
pub fn kernels() -> Vec<(String, [usize; 4])> {
    table()
        .into_iter()
        .filter_map(|row| row.kernel.map(|kernel| (row.name, kernel)))
        .collect()
}

/// One node of the network's graph. Concatenations are not nodes: a step with several inputs reads their concatenation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub op: Op,
    /// Earlier steps, counted from 1; 0 is the picture.
    pub inputs: Vec<usize>,
}

/// The operation of a step. Padding is the same on opposite sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Conv {
        out: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    },
    /// 3x3, stride 2, not padded.
    MaxPool,
    /// 3x3, stride 1, padded by 1.
    AvgPool,
}

/// The network's steps in the order of construction, and the steps whose concatenated outputs are the last feature maps.
pub(crate) fn graph() -> (Vec<Step>, Vec<usize>) {
    let mut steps = Vec::new();
    let ends = trace(&Branch::inception_v3(), vec![0], &mut steps);
    (steps, ends)
}

fn trace(branch: &Branch, input: Vec<usize>, steps: &mut Vec<Step>) -> Vec<usize> {
    branch.0.iter().fold(input, |inputs, layer| {
        let op = match layer {
            Layer::Mixed { branches, .. } => {
                let ends = branches
                    .iter()
                    .map(|branch| trace(branch, inputs.clone(), steps));
                return ends.collect::<Vec<_>>().concat();
            }
            Layer::Conv {
                out,
                kernel: [h, w],
                stride,
                same,
            } => Op::Conv {
                out: *out,
                kernel: [*h, *w],
                stride: *stride,
                padding: if *same { [h / 2, w / 2] } else { [0, 0] },
            },
            Layer::MaxPool => Op::MaxPool,
            Layer::AvgPool => Op::AvgPool,
        };
        steps.push(Step { op, inputs });
        vec![steps.len()]
    })
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    convs: usize,
    max_pools: usize,
    avg_pools: usize,
}

impl Table {
    fn row(&mut self, name: String, class: &'static str, [c, h, w]: [usize; 3]) -> &mut Row {
        let output = vec![h, w, c];
        self.rows.push(Row {
            name,
            class,
            output,
            parameters: 0,
            kernel: None,
        });
        self.rows.last_mut().expect("a row was just pushed")
    }

    /// Appends the rows of a branch for an input [channels, height, width]; returns the output shape.
    fn append(&mut self, branch: &Branch, input: [usize; 3]) -> [usize; 3] {
        branch.0.iter().fold(input, |[c, h, w], layer| match layer {
            Layer::Conv {
                out,
                kernel: [kh, kw],
                stride,
                same,
            } => {
                let size =
                    |size: usize, k: usize| if *same { size } else { (size - k) / stride + 1 };
                let shape = [*out, size(h, *kh), size(w, *kw)];
                self.convs += 1;
                let k = self.convs;
                let conv = self.row(format!("conv2d_{k}"), "Conv2D", shape);
                conv.kernel = Some([*out, c, *kh, *kw]);
                conv.parameters = out * c * kh * kw;
                let norm = self.row(
                    format!("batch_normalization_{k}"),
                    "BatchNormalization",
                    shape,
                );
                // beta, moving mean and moving variance: Keras builds the BatchNorm of Inception V3 without gamma.
                norm.parameters = 3 * out;
                self.row(format!("activation_{k}"), "Activation", shape);
                shape
            }
            Layer::MaxPool => {
                let shape = [c, (h - 3) / 2 + 1, (w - 3) / 2 + 1];
                self.max_pools += 1;
                self.row(
                    format!("max_pooling2d_{}", self.max_pools),
                    "MaxPooling2D",
                    shape,
                );
                shape
            }
            Layer::AvgPool => {
                self.avg_pools += 1;
                let name = format!("average_pooling2d_{}", self.avg_pools);
                self.row(name, "AveragePooling2D", [c, h, w]);
                [c, h, w]
            }
            Layer::Mixed { name, branches } => {
                let ends: Vec<_> = branches
                    .iter()
                    .map(|branch| self.append(branch, [c, h, w]))
                    .collect();
                let shape = [ends.iter().map(|end| end[0]).sum(), ends[0][1], ends[0][2]];
                self.row((*name).into(), "Concatenate", shape);
                shape
            }
        })
    }
}

/// The divisor of average pooling at the border, where torchvision and TensorFlow differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AveragePool {
    /// The number of pixels inside the map (TensorFlow, Keras).
    ExcludePadding,
    /// Always nine (torchvision).
    IncludePadding,
}

/// The weights of a convolution with its BatchNorm folded in.
#[derive(Debug, Clone)]
pub struct FoldedConv {
    /// [out, in, height, width], row-major; quantised with one scale and minimum per output channel.
    pub kernel: KernelData,
    /// `[out]`.
    pub bias: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{cpu::Cpu, plan::Plan};

    #[test]
    fn parameter_counts_match_keras() {
        let rows = table();
        assert_eq!(
            rows.iter().map(|row| row.parameters).sum::<usize>(),
            21_802_784
        );
        assert_eq!(kernels().len(), 94);
        // Keras: 94 x (Conv2D + BatchNormalization + Activation), 4 + 9 pools, 11 blocks + 4 inner concatenations, input, global pool.
        assert_eq!(rows.len(), 94 * 3 + 4 + 9 + 15 + 2);
        assert_eq!(
            rows.last().map(|row| row.output.clone()),
            Some(vec![LATENTS])
        );
    }

    #[test]
    fn block_shapes_match_the_paper() {
        let rows = table();
        let cases = [
            ("max_pooling2d_2", [35, 35, 192]),
            ("mixed0", [35, 35, 256]),
            ("mixed2", [35, 35, 288]),
            ("mixed3", [17, 17, 768]),
            ("mixed7", [17, 17, 768]),
            ("mixed8", [8, 8, 1280]),
            ("mixed10", [8, 8, 2048]),
        ];
        for (name, output) in cases {
            let row = rows.iter().find(|row| row.name == name).expect(name);
            assert_eq!(row.output, output, "{name}");
        }
    }

    /// Runs a branch on the CPU and returns its output.
    fn forward(
        branch: &Branch,
        weights: impl IntoIterator<Item = FoldedConv>,
        average_pool: AveragePool,
        [h, w, c]: [usize; 3],
        picture: &[f32],
    ) -> Vec<f32> {
        let mut steps = Vec::new();
        let ends = trace(branch, vec![0], &mut steps);
        let mut cpu = Cpu::new(Plan::new(&steps, &ends, [h, w, c]), average_pool);
        for (conv, folded) in weights.into_iter().enumerate() {
            cpu.set_conv(conv, &folded);
        }
        cpu.forward(picture)
    }

    #[test]
    fn average_pooling_ignores_padding_unless_configured() {
        let corner = |pool| forward(&branch().avg_pool(), [], pool, [3, 3, 1], &[1.0; 9])[0];
        assert_eq!(corner(AveragePool::ExcludePadding), 1.0);
        assert!((corner(AveragePool::IncludePadding) - 4.0 / 9.0).abs() < 1e-6);
    }

    /// murmur3's finaliser, mapped to [-1, 1): generates the weights and inputs of the golden blocks.
    fn hashed(n: usize) -> f64 {
        let n = n as u32;
        let n = (n ^ (n >> 16)).wrapping_mul(0x85eb_ca6b);
        let n = (n ^ (n >> 13)).wrapping_mul(0xc2b2_ae35);
        f64::from(n ^ (n >> 16)) / f64::from(1u32 << 31) - 1.0
    }

    /// The weights of the k-th convolution of a golden block, counted from 1.
    fn golden_conv(k: usize, [out, inputs, rows, columns]: [usize; 4]) -> FoldedConv {
        let fan_in = inputs * rows * columns;
        let gain = (6.0 / fan_in as f64).sqrt();
        FoldedConv {
            kernel: KernelData::Floats(
                (0..out * fan_in)
                    .map(|i| (hashed(10_000_000 * k + i) * gain) as f32)
                    .collect(),
            ),
            bias: (0..out)
                .map(|o| (0.1 * hashed(10_000_000 * k + 9_000_000 + o)) as f32)
                .collect(),
        }
    }

    /// Compares each kind of block with Keras (`tests/golden/make.py`), so that a failure names the block.
    #[test]
    fn each_block_matches_keras() {
        let bytes = include_bytes!("../../tests/golden/blocks.safetensors");
        let golden = safetensors::SafeTensors::deserialize(bytes).expect("a golden file");
        let cases = [
            ("stem", branch().stem(), [3, 91, 91]),
            ("mixed_35", branch().mixed_35("", 32), [192, 9, 9]),
            ("reduce_35", branch().reduce_35(""), [288, 9, 9]),
            ("mixed_17", branch().mixed_17("", 128), [768, 5, 5]),
            ("reduce_17", branch().reduce_17(""), [768, 7, 7]),
            ("mixed_8", branch().mixed_8(["", "", ""]), [1280, 3, 3]),
        ];
        for (name, branch, [c, h, w]) in cases {
            let mut table = Table::default();
            let [out_c, out_h, out_w] = table.append(&branch, [c, h, w]);
            let shapes = table.rows.iter().filter_map(|row| row.kernel);
            let weights = (1..).zip(shapes).map(|(k, shape)| golden_conv(k, shape));
            let pixels = (0..h * w).flat_map(|pixel| (0..c).map(move |c| (c, pixel)));
            let input: Vec<_> = pixels
                .map(|(c, pixel)| hashed(c * h * w + pixel) as f32)
                .collect();

            let exclude = AveragePool::ExcludePadding;
            let ours = forward(&branch, weights, exclude, [h, w, c], &input);

            let keras = golden.tensor(name).expect(name);
            assert_eq!(keras.shape(), [1, out_h, out_w, out_c], "{name}");
            let keras = keras
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes));
            let off = ours
                .iter()
                .zip(keras)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            // f32 rounding errors are up to 5e-6 here; the smallest of the deliberate mistakes tried moved an output by 0.19.
            assert!(off < 2e-5, "{name} is off by {off:e}");
        }
    }
}
