//! The CPU backend: runs a plan op by op. Weights are packed once, when they are loaded.
//!
//! A convolution is an implicit matrix product: the patches it reads are packed block by block and multiplied in [`matmul`]. Convolutions of
//! stride 1 with kernels larger than 1x1 on large maps use [`winograd`]. Workspaces are reused between pictures.

mod matmul;
mod winograd;

use std::sync::Mutex;

use self::{
    matmul::{OutputView, Panels, ROWS, RowGroup},
    winograd::Winograd,
};
use crate::net::{
    inception::{AveragePool, FoldedConv, INPUT, graph},
    plan::{ConvOutput, Destination, FeatureMap, Plan, PlanOp},
};

/// Values packed per block, about the size of the L2 cache. Smaller blocks would dequantise the panels more often.
const BLOCK: usize = 128 << 10;
/// Minimum output pixels for Winograd. Smaller maps have so few tiles that reading the larger transformed kernel costs more than it saves.
const MIN_WINOGRAD_PIXELS: usize = 128;

/// A plan and its weights.
pub(crate) struct Cpu {
    plan: Plan,
    average_pool: AveragePool,
    /// In the order of construction; `None` until loaded.
    kernels: Vec<Option<Kernel>>,
    /// Unused workspaces: as many as there were concurrent calls of `forward`.
    workspaces: Mutex<Vec<Workspace>>,
}

/// The packed weights of one convolution.
enum Kernel {
    Direct(Panels),
    Winograd(Winograd),
    /// The bias is added by the average pool that follows.
    Raw(Panels, Vec<f32>),
}

/// The memory of one forward pass.
struct Workspace {
    slots: Vec<Vec<f32>>,
    groups: Vec<RowGroup>,
    scratch: Vec<f32>,
}

impl Cpu {
    /// Inception V3, without weights yet.
    pub(crate) fn inception(average_pool: AveragePool) -> Cpu {
        let (steps, ends) = graph();
        Cpu::new(Plan::new(&steps, &ends, [INPUT, INPUT, 3]), average_pool)
    }

    pub(crate) fn new(plan: Plan, average_pool: AveragePool) -> Cpu {
        let kernels = plan.convs().map(|_| None).collect();
        Cpu {
            plan,
            average_pool,
            kernels,
            workspaces: Mutex::default(),
        }
    }

    /// Packs the weights of the `conv`-th convolution in the order of construction.
    ///
    /// # Panics
    /// If there is no such convolution or the lengths differ; `weights` validates files.
    pub(crate) fn set_conv(&mut self, conv: usize, FoldedConv { kernel, bias }: &FoldedConv) {
        let (size, stride, output, to) = self.plan.conv(conv);
        let direct = |bias: &[f32]| {
            let taps = size[0] * size[1];
            let channels = kernel.len() / (taps * bias.len());
            Panels::new(channels * taps, bias, kernel, |input, output| {
                let (tap, channel) = (input / channels, input % channels);
                (output * channels + channel) * taps + tap
            })
        };
        let large = to.pixels() >= MIN_WINOGRAD_PIXELS && stride == 1 && size != [1, 1];
        let winograd = large.then(|| Winograd::new(&kernel.floats(), bias, size));
        self.kernels[conv] = Some(match winograd.flatten() {
            _ if output.raw => Kernel::Raw(direct(&vec![0.0; bias.len()]), bias.clone()),
            Some(winograd) => Kernel::Winograd(winograd),
            None => Kernel::Direct(direct(bias)),
        });
    }

    /// Computes the last feature maps of a picture.
    ///
    /// # Shapes
    /// [height, width, channels] -> [height, width, channels]; for Inception V3, [299, 299, 3] -> [8, 8, 2048].
    ///
    /// # Panics
    /// If weights are missing.
    pub(crate) fn forward(&self, picture: &[f32]) -> Vec<f32> {
        let workspaces = || {
            self.workspaces
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        };
        let unused = workspaces().pop();
        let mut workspace = unused.unwrap_or_else(|| Workspace {
            slots: self.plan.slots.iter().map(|len| vec![0.0; *len]).collect(),
            groups: Vec::new(),
            scratch: Vec::new(),
        });
        let first = self.plan.maps[0];
        workspace.slots[first.slot][..first.len()].copy_from_slice(picture);
        for op in &self.plan.ops {
            self.run_op(op, &mut workspace);
        }
        let last = self.plan.maps[self.plan.output()];
        let maps = workspace.slots[last.slot][..last.len()].to_vec();
        workspaces().push(workspace);
        maps
    }

    fn kernel(&self, conv: usize) -> &Kernel {
        self.kernels[conv].as_ref().expect("all weights are loaded")
    }

    fn run_op(&self, op: &PlanOp, workspace: &mut Workspace) {
        let from = self.plan.maps[op.input_map()];
        let Workspace {
            slots,
            groups,
            scratch,
        } = workspace;
        // The input and the outputs are in different slots, so the input slot can be taken out during the op.
        let read = std::mem::take(&mut slots[from.slot]);
        let target = |to: &Destination| (self.plan.maps[to.map], to.channel);
        match op {
            PlanOp::Conv {
                kernel,
                stride,
                padding,
                outputs,
                ..
            } => {
                let patches = Patches {
                    from,
                    read: &read,
                    size: *kernel,
                    stride: [*stride; 2],
                    padding: *padding,
                    columns: self.plan.maps[outputs[0].to.map].width,
                    count: self.plan.maps[outputs[0].to.map].pixels(),
                };
                if let Kernel::Winograd(winograd) = self.kernel(outputs[0].conv) {
                    let (to, channel) = target(&outputs[0].to);
                    let output = (to, channel, &mut slots[to.slot][..]);
                    run_winograd(winograd, patches, output, groups, scratch);
                } else {
                    self.run_direct(patches, outputs, slots, groups);
                }
            }
            PlanOp::MaxPool { to, .. } => {
                let (to, channel) = target(to);
                max_pool((from, &read), (to, channel, &mut slots[to.slot]));
            }
            PlanOp::AvgPool { bias, to, .. } => {
                let bias = bias.map(|conv| match self.kernel(conv) {
                    Kernel::Raw(_, bias) => bias.as_slice(),
                    _ => unreachable!("set_conv stores a raw kernel before an average pool"),
                });
                let (to, channel) = target(to);
                let output = (to, channel, &mut slots[to.slot][..]);
                avg_pool((from, &read), output, bias, self.average_pool);
            }
        }
        slots[from.slot] = read;
    }

    fn run_direct(
        &self,
        patches: Patches,
        outputs: &[ConvOutput],
        slots: &mut [Vec<f32>],
        groups: &mut Vec<RowGroup>,
    ) {
        let inputs = patches.len();
        let block = (BLOCK / inputs).next_multiple_of(ROWS);
        for first in (0..patches.count).step_by(block) {
            let rows = block.min(patches.count - first);
            patches.pack(first, rows, groups);
            for output in outputs {
                let (panels, floor) = match self.kernel(output.conv) {
                    Kernel::Direct(panels) => (panels, 0.0),
                    Kernel::Raw(panels, _) => (panels, f32::NEG_INFINITY),
                    Kernel::Winograd(_) => unreachable!("run_op handles Winograd kernels"),
                };
                let map = self.plan.maps[output.to.map];
                let mut out = OutputView {
                    map: &mut slots[map.slot][first * map.channels..],
                    pitch: map.channels,
                    channel: output.to.channel,
                };
                panels.multiply(groups, inputs, rows, floor, &mut out);
            }
        }
    }
}

/// An output map, the first channel to write, and the values of its slot.
type OutputMap<'a> = (FeatureMap, usize, &'a mut [f32]);

fn run_winograd(
    winograd: &Winograd,
    mut patches: Patches,
    (to, channel, values): OutputMap,
    groups: &mut Vec<RowGroup>,
    scratch: &mut Vec<f32>,
) {
    let [height, width] = winograd.output_tile();
    patches.size = winograd.input_tile();
    patches.stride = [height, width];
    patches.columns = to.width.div_ceil(width);
    patches.count = to.height.div_ceil(height) * patches.columns;
    let columns = patches.columns;
    let block = (BLOCK / patches.len()).next_multiple_of(4 * ROWS);
    for first in (0..patches.count).step_by(block) {
        let tiles = block.min(patches.count - first);
        patches.pack(first, tiles, groups);
        winograd.convolve(groups, tiles, scratch, values, |tile, [y, x]| {
            let tile = first + tile;
            let (y, x) = (tile / columns * height + y, tile % columns * width + x);
            let inside = y < to.height && x < to.width;
            inside.then_some((y * to.width + x) * to.channels + channel)
        });
    }
}

/// The patches of a map that a convolution reads: one per output pixel, or one per Winograd tile.
struct Patches<'a> {
    from: FeatureMap,
    read: &'a [f32],
    /// [height, width] of a patch.
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// Patches per row.
    columns: usize,
    count: usize,
}

impl Patches<'_> {
    fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.from.channels
    }

    /// Packs patches from `first` on in groups: [patches / 4, height, width, channels]. The last patch is repeated to fill the last group.
    fn pack(&self, first: usize, patches: usize, groups: &mut Vec<RowGroup>) {
        let (values, channels) = (self.len(), self.from.channels);
        let [height, width] = self.size;
        let zeros = vec![0.0; channels];
        groups.resize(patches.div_ceil(ROWS) * values, [0.0; ROWS]);
        for (k, group) in groups.chunks_exact_mut(values).enumerate() {
            // In coordinates of the padded map.
            let corners: [_; ROWS] = std::array::from_fn(|i| {
                let patch = (first + k * ROWS + i).min(self.count - 1);
                [patch / self.columns, patch % self.columns]
            })
            .map(|[row, column]| [row * self.stride[0], column * self.stride[1]]);
            for (y, group) in group.chunks_exact_mut(width * channels).enumerate() {
                let runs = corners.map(|[row, column]| self.run(row + y, column, width));
                if let [Some(a), Some(b), Some(c), Some(d)] = runs {
                    interleave([a, b, c, d], group);
                    continue;
                }
                for (x, group) in group.chunks_exact_mut(channels).enumerate() {
                    let runs = corners
                        .map(|[row, column]| self.run(row + y, column + x, 1).unwrap_or(&zeros));
                    interleave(runs, group);
                }
            }
        }
        debug_assert!(height * width * channels == values);
    }

    /// A run of pixels in a row of the padded map, if all of them are inside the unpadded map.
    fn run(&self, row: usize, column: usize, pixels: usize) -> Option<&[f32]> {
        let row = row.checked_sub(self.padding[0])?;
        let column = column.checked_sub(self.padding[1])?;
        let inside = row < self.from.height && column + pixels <= self.from.width;
        let start = (row * self.from.width + column) * self.from.channels;
        inside.then(|| &self.read[start..start + pixels * self.from.channels])
    }
}

fn interleave([a, b, c, d]: [&[f32]; ROWS], groups: &mut [RowGroup]) {
    for ((((group, a), b), c), d) in groups.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *group = [*a, *b, *c, *d];
    }
}

/// Pools windows of at most 3x3 pixels. `window` returns the first and last row or column of an output pixel's window.
fn pool(
    (from, read): (FeatureMap, &[f32]),
    (to, channel, values): OutputMap,
    window: impl Fn(usize, usize) -> [usize; 2],
    mut begin: impl FnMut(&mut [f32]),
    mut add: impl FnMut(&mut [f32], &[f32]),
    mut end: impl FnMut(&mut [f32], usize),
) {
    let channels = from.channels;
    for y in 0..to.height {
        let [top, bottom] = window(y, from.height);
        for x in 0..to.width {
            let [left, right] = window(x, from.width);
            let start = (y * to.width + x) * to.channels + channel;
            let pooled = &mut values[start..start + channels];
            begin(pooled);
            for row in top..=bottom {
                let pixels = &read[(row * from.width + left) * channels..];
                let count = right - left + 1;
                for pixel in pixels.chunks_exact(channels).take(count) {
                    add(pooled, pixel);
                }
            }
            end(pooled, (bottom - top + 1) * (right - left + 1));
        }
    }
}

fn max_pool(from: (FeatureMap, &[f32]), to: OutputMap) {
    let larger = |pooled: &mut [f32], pixel: &[f32]| {
        for (largest, value) in pooled.iter_mut().zip(pixel) {
            // Compiles to one instruction; `f32::max` has extra NaN handling.
            *largest = if *largest < *value { *value } else { *largest };
        }
    };
    let begin = |pooled: &mut [f32]| pooled.fill(f32::NEG_INFINITY);
    pool(
        from,
        to,
        |k, _| [2 * k, 2 * k + 2],
        begin,
        larger,
        |_, _| {},
    );
}

fn avg_pool(
    from: (FeatureMap, &[f32]),
    to: OutputMap,
    bias: Option<&[f32]>,
    average_pool: AveragePool,
) {
    let window = |k: usize, size: usize| [k.saturating_sub(1), (k + 1).min(size - 1)];
    let add = |pooled: &mut [f32], pixel: &[f32]| {
        for (sum, value) in pooled.iter_mut().zip(pixel) {
            *sum += value;
        }
    };
    let end = |pooled: &mut [f32], inside: usize| {
        let count = match average_pool {
            AveragePool::ExcludePadding => inside,
            AveragePool::IncludePadding => 9,
        };
        let share = 1.0 / count as f32;
        match bias {
            None => pooled.iter_mut().for_each(|sum| *sum *= share),
            Some(bias) => {
                for (sum, bias) in pooled.iter_mut().zip(bias) {
                    let value = *sum * share + bias;
                    *sum = if value > 0.0 { value } else { 0.0 };
                }
            }
        }
    };
    pool(from, to, window, |pooled| pooled.fill(0.0), add, end);
}
