//! The net on a CPU: a plan's works one after another, with weights packed for them when they arrive.
//!
//! Pixels that a convolution reads are packed in fours, some rows at a time, for [`product`](crate::product); those with 3x3 and 1x7 taps on
//! large maps go through [`winograd`](crate::winograd). Memory is kept for the next picture.

mod product;
mod winograd;

use std::sync::Mutex;

use self::{
    product::{Four, Panels, ROWS, Sink},
    winograd::Winograd,
};
use crate::net::{
    inception::{AveragePool, Folded, INPUT, graph},
    plan::{Map, Part, Place, Plan, Work},
};

/// Values that are packed before they are multiplied: about what the second cache holds. Fewer would have panels decoded more often.
const BLOCK: usize = 128 << 10;
/// Maps with fewer pixels have so few tiles that reading more numbers of a kernel costs more than is saved.
const LEAST_PIXELS: usize = 128;

/// A plan with weights.
pub(crate) struct Cpu {
    plan: Plan,
    average_pool: AveragePool,
    /// In the order of construction, each once it has come.
    kernels: Vec<Option<Kernel>>,
    /// As many as there were pictures at once.
    spare: Mutex<Vec<Memory>>,
}

/// A convolution's weights, as its work takes them.
enum Kernel {
    Direct(Panels),
    Winograd(Winograd),
    /// Without bias, which the pool after it adds.
    Bare(Panels, Vec<f32>),
}

/// What a forward writes to.
struct Memory {
    slots: Vec<Vec<f32>>,
    fours: Vec<Four>,
    scratch: Vec<f32>,
}

impl Cpu {
    /// Inception V3, of which no weights have come yet.
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
            spare: Mutex::default(),
        }
    }

    /// Packs the weights of the `conv`-th convolution in the order of construction.
    ///
    /// # Panics
    /// If there is no such convolution, or it has other lengths: checking files is the work of `weights`.
    pub(crate) fn put(&mut self, conv: usize, Folded { kernel, bias }: &Folded) {
        let (size, stride, part, to) = self.plan.conv(conv);
        let direct = |bias: &[f32]| {
            let taps = size[0] * size[1];
            let channels = kernel.len() / (taps * bias.len());
            Panels::new(channels * taps, bias, kernel, |input, output| {
                let (tap, channel) = (input / channels, input % channels);
                (output * channels + channel) * taps + tap
            })
        };
        let large = to.pixels() >= LEAST_PIXELS && stride == 1 && size != [1, 1];
        let winograd = large.then(|| Winograd::new(&kernel.floats(), bias, size));
        self.kernels[conv] = Some(match winograd.flatten() {
            _ if part.bare => Kernel::Bare(direct(&vec![0.0; bias.len()]), bias.clone()),
            Some(winograd) => Kernel::Winograd(winograd),
            None => Kernel::Direct(direct(bias)),
        });
    }

    /// The last maps of a picture.
    ///
    /// # Shapes
    /// [height, width, channels] -> [height, width, channels]; Inception V3's are [299, 299, 3] -> [8, 8, 2048].
    ///
    /// # Panics
    /// If not all weights have come.
    pub(crate) fn forward(&self, picture: &[f32]) -> Vec<f32> {
        let spare = || self.spare.lock().unwrap_or_else(|held| held.into_inner());
        let kept = spare().pop();
        let mut memory = kept.unwrap_or_else(|| Memory {
            slots: self.plan.slots.iter().map(|len| vec![0.0; *len]).collect(),
            fours: Vec::new(),
            scratch: Vec::new(),
        });
        let first = self.plan.maps[0];
        memory.slots[first.slot][..first.numbers()].copy_from_slice(picture);
        for work in &self.plan.works {
            self.work(work, &mut memory);
        }
        let last = self.plan.maps[self.plan.output()];
        let maps = memory.slots[last.slot][..last.numbers()].to_vec();
        spare().push(memory);
        maps
    }

    fn kernel(&self, conv: usize) -> &Kernel {
        self.kernels[conv].as_ref().expect("all weights are here")
    }

    fn work(&self, work: &Work, memory: &mut Memory) {
        let from = self.plan.maps[work.reads()];
        let Memory {
            slots,
            fours,
            scratch,
        } = memory;
        // What is read and what is written lie in different slots.
        let read = std::mem::take(&mut slots[from.slot]);
        let map = |place: &Place| (self.plan.maps[place.map], place.channel);
        match work {
            Work::Conv {
                kernel,
                stride,
                padding,
                parts,
                ..
            } => {
                let patches = Patches {
                    from,
                    read: &read,
                    size: *kernel,
                    stride: [*stride; 2],
                    padding: *padding,
                    columns: self.plan.maps[parts[0].to.map].width,
                    count: self.plan.maps[parts[0].to.map].pixels(),
                };
                if let Kernel::Winograd(winograd) = self.kernel(parts[0].conv) {
                    let (to, channel) = map(&parts[0].to);
                    let end = (to, channel, &mut slots[to.slot][..]);
                    tiled(winograd, patches, end, fours, scratch);
                } else {
                    self.direct(patches, parts, slots, fours);
                }
            }
            Work::MaxPool { to, .. } => {
                let (to, channel) = map(to);
                max_pool((from, &read), (to, channel, &mut slots[to.slot]));
            }
            Work::AvgPool { bias, to, .. } => {
                let bias = bias.map(|conv| match self.kernel(conv) {
                    Kernel::Bare(_, bias) => bias.as_slice(),
                    _ => unreachable!("`put` asks the plan"),
                });
                let (to, channel) = map(to);
                let end = (to, channel, &mut slots[to.slot][..]);
                avg_pool((from, &read), end, bias, self.average_pool);
            }
        }
        slots[from.slot] = read;
    }

    fn direct(
        &self,
        patches: Patches,
        parts: &[Part],
        slots: &mut [Vec<f32>],
        fours: &mut Vec<Four>,
    ) {
        let inputs = patches.numbers();
        let block = (BLOCK / inputs).next_multiple_of(ROWS);
        for first in (0..patches.count).step_by(block) {
            let rows = block.min(patches.count - first);
            patches.pack(first, rows, fours);
            for part in parts {
                let (panels, floor) = match self.kernel(part.conv) {
                    Kernel::Direct(panels) => (panels, 0.0),
                    Kernel::Bare(panels, _) => (panels, f32::NEG_INFINITY),
                    Kernel::Winograd(_) => unreachable!("`work` has taken these"),
                };
                let map = self.plan.maps[part.to.map];
                let mut sink = Sink {
                    map: &mut slots[map.slot][first * map.channels..],
                    pitch: map.channels,
                    channel: part.to.channel,
                };
                panels.multiply(fours, inputs, rows, floor, &mut sink);
            }
        }
    }
}

/// A map, the channel at which an output begins, and the numbers of its slot.
type End<'a> = (Map, usize, &'a mut [f32]);

fn tiled(
    winograd: &Winograd,
    mut patches: Patches,
    (to, channel, numbers): End,
    fours: &mut Vec<Four>,
    scratch: &mut Vec<f32>,
) {
    let [height, width] = winograd.outputs();
    patches.size = winograd.inputs();
    patches.stride = [height, width];
    patches.columns = to.width.div_ceil(width);
    patches.count = to.height.div_ceil(height) * patches.columns;
    let columns = patches.columns;
    let block = (BLOCK / patches.numbers()).next_multiple_of(4 * ROWS);
    for first in (0..patches.count).step_by(block) {
        let tiles = block.min(patches.count - first);
        patches.pack(first, tiles, fours);
        winograd.multiply(fours, tiles, scratch, numbers, |tile, [y, x]| {
            let tile = first + tile;
            let (y, x) = (tile / columns * height + y, tile % columns * width + x);
            let there = y < to.height && x < to.width;
            there.then_some((y * to.width + x) * to.channels + channel)
        });
    }
}

/// The parts of a map that a convolution reads, one for each of its outputs or tiles of outputs.
struct Patches<'a> {
    from: Map,
    read: &'a [f32],
    /// [height, width] of each.
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// In a row of them.
    columns: usize,
    count: usize,
}

impl Patches<'_> {
    fn numbers(&self) -> usize {
        self.size[0] * self.size[1] * self.from.channels
    }

    /// Packs patches from `first` on in fours: [patches / 4, height, width, channels]; the last one fills up the last four.
    fn pack(&self, first: usize, patches: usize, fours: &mut Vec<Four>) {
        let (numbers, channels) = (self.numbers(), self.from.channels);
        let [height, width] = self.size;
        let zeros = vec![0.0; channels];
        fours.resize(patches.div_ceil(ROWS) * numbers, [0.0; ROWS]);
        for (k, four) in fours.chunks_exact_mut(numbers).enumerate() {
            // Rows and columns of the padded map.
            let corners: [_; ROWS] = std::array::from_fn(|i| {
                let patch = (first + k * ROWS + i).min(self.count - 1);
                [patch / self.columns, patch % self.columns]
            })
            .map(|[row, column]| [row * self.stride[0], column * self.stride[1]]);
            for (y, four) in four.chunks_exact_mut(width * channels).enumerate() {
                let runs = corners.map(|[row, column]| self.run(row + y, column, width));
                if let [Some(a), Some(b), Some(c), Some(d)] = runs {
                    interleave([a, b, c, d], four);
                    continue;
                }
                for (x, four) in four.chunks_exact_mut(channels).enumerate() {
                    let runs = corners
                        .map(|[row, column]| self.run(row + y, column + x, 1).unwrap_or(&zeros));
                    interleave(runs, four);
                }
            }
        }
        debug_assert!(height * width * channels == numbers);
    }

    /// Some pixels of a row, if they are all in the map.
    fn run(&self, row: usize, column: usize, pixels: usize) -> Option<&[f32]> {
        let row = row.checked_sub(self.padding[0])?;
        let column = column.checked_sub(self.padding[1])?;
        let inside = row < self.from.height && column + pixels <= self.from.width;
        let start = (row * self.from.width + column) * self.from.channels;
        inside.then(|| &self.read[start..start + pixels * self.from.channels])
    }
}

fn interleave([a, b, c, d]: [&[f32]; ROWS], fours: &mut [Four]) {
    for ((((four, a), b), c), d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *four = [*a, *b, *c, *d];
    }
}

/// The pixels of a 3x3 window around each output pixel, those that are there; `reach` gives their first and last row or column.
fn pool(
    (from, read): (Map, &[f32]),
    (to, channel, numbers): End,
    reach: impl Fn(usize, usize) -> [usize; 2],
    mut begin: impl FnMut(&mut [f32]),
    mut add: impl FnMut(&mut [f32], &[f32]),
    mut end: impl FnMut(&mut [f32], usize),
) {
    let channels = from.channels;
    for y in 0..to.height {
        let [top, bottom] = reach(y, from.height);
        for x in 0..to.width {
            let [left, right] = reach(x, from.width);
            let start = (y * to.width + x) * to.channels + channel;
            let pooled = &mut numbers[start..start + channels];
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

fn max_pool(from: (Map, &[f32]), to: End) {
    let larger = |pooled: &mut [f32], pixel: &[f32]| {
        for (largest, value) in pooled.iter_mut().zip(pixel) {
            // As one instruction has it; `max` also sorts out NaN.
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

fn avg_pool(from: (Map, &[f32]), to: End, bias: Option<&[f32]>, average_pool: AveragePool) {
    let reach = |k: usize, size: usize| [k.saturating_sub(1), (k + 1).min(size - 1)];
    let add = |pooled: &mut [f32], pixel: &[f32]| {
        for (sum, value) in pooled.iter_mut().zip(pixel) {
            *sum += value;
        }
    };
    let end = |pooled: &mut [f32], there: usize| {
        let count = match average_pool {
            AveragePool::ExcludePadding => there,
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
    pool(from, to, reach, |pooled| pooled.fill(0.0), add, end);
}
