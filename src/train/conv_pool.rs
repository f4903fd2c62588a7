//! The first stage of a convolutional network: a 3x3 convolution over the whole picture and a 2x2 max pool, as one.
//!
//! Most of the time of a small network would go here, into numbers that are only made to be thrown away by the pool. Here four
//! neighbours are one tile of `dense.rs`'s product, so the pool takes its largest while it is still in registers. Pictures are not
//! learnt, so the way back ends at the kernel.

use crate::train::linear::{Adam, LANES, Lanes, Parameter, ROWS, accumulate};

const SIDE: usize = 3;

/// A convolution's kernel [filters, channels, 3, 3] and bias `[filters]`, for pictures of one size.
pub(crate) struct Stage {
    channels: usize,
    height: usize,
    width: usize,
    kernel: Parameter,
    bias: Parameter,
}

impl Stage {
    /// For pictures [channels, height, width]; height and width have to be even.
    pub(crate) fn new(
        [channels, height, width]: [usize; 3],
        kernel: Vec<f32>,
        bias: Vec<f32>,
    ) -> Stage {
        assert!(
            height.is_multiple_of(2) && width.is_multiple_of(2),
            "{height} x {width}"
        );
        assert_eq!(kernel.len(), bias.len() * channels * SIDE * SIDE);
        Stage {
            channels,
            height,
            width,
            kernel: Parameter::new(kernel),
            bias: Parameter::new(bias),
        }
    }

    /// The kernel and the bias.
    pub(crate) fn values(&self) -> [&[f32]; 2] {
        [self.kernel.values(), self.bias.values()]
    }

    /// Convolves and pools pictures [N, channels, height, width]: [N, filters, height / 2, width / 2], and which of its four each is.
    pub(crate) fn forward(&self, pictures: &[f32]) -> (Vec<f32>, Vec<u8>) {
        let (filters, blocks, taps) = (self.filters(), self.blocks(), self.taps());
        let count = pictures.len() / self.pixels();
        let mut pooled = vec![0.0; count * filters * blocks];
        let mut largest = vec![0; pooled.len()];
        let panels = self.panels();
        let mut fours = vec![[0.0; ROWS]; blocks * taps];
        let outputs = pooled
            .chunks_exact_mut(filters * blocks)
            .zip(largest.chunks_exact_mut(filters * blocks));
        for (picture, (pooled, largest)) in pictures.chunks_exact(self.pixels()).zip(outputs) {
            self.patches(picture, |block, tap, four| fours[block * taps + tap] = four);
            for (panel, kernel) in panels.chunks_exact(taps).enumerate() {
                for (block, fours) in fours.chunks_exact(taps).enumerate() {
                    let tile = accumulate([[0.0; LANES]; ROWS], fours, kernel);
                    let (best, which) = most(&tile);
                    for lane in 0..LANES.min(filters - panel * LANES) {
                        let filter = panel * LANES + lane;
                        pooled[filter * blocks + block] = best[lane] + self.bias.values()[filter];
                        largest[filter * blocks + block] = which[lane];
                    }
                }
            }
        }
        (pooled, largest)
    }

    /// One step of the optimizer, by what went in, what [`Stage::forward`] took, and the gradient of what came out. The bias does not decay.
    pub(crate) fn step(&mut self, pictures: &[f32], largest: &[u8], gradient: &[f32], adam: &Adam) {
        let (filters, blocks, taps) = (self.filters(), self.blocks(), self.taps());
        let quads = taps.div_ceil(ROWS);
        let panels = filters.div_ceil(LANES);
        // By taps in fours, each with one number a pixel; and by filters in eights, all zeros but where the pool took its number.
        let mut inputs = vec![[0.0; ROWS]; quads * blocks * ROWS];
        let mut outputs = vec![[0.0; LANES]; panels * blocks * ROWS];
        let mut sums = vec![[[0.0; LANES]; ROWS]; panels * quads];
        let mut bias = vec![0.0; filters];
        let back = gradient
            .chunks_exact(filters * blocks)
            .zip(largest.chunks_exact(filters * blocks));
        for (picture, (gradient, largest)) in pictures.chunks_exact(self.pixels()).zip(back) {
            self.patches(picture, |block, tap, four| {
                let first = (tap / ROWS * blocks + block) * ROWS;
                for (pixel, number) in inputs[first..first + ROWS].iter_mut().zip(four) {
                    pixel[tap % ROWS] = number;
                }
            });
            outputs.fill([0.0; LANES]);
            for (filter, bias) in bias.iter_mut().enumerate() {
                let (panel, lane) = (filter / LANES, filter % LANES);
                for block in 0..blocks {
                    let at = filter * blocks + block;
                    let pixel = (panel * blocks + block) * ROWS + usize::from(largest[at]);
                    outputs[pixel][lane] = gradient[at];
                    *bias += gradient[at];
                }
            }
            let pairs = outputs
                .chunks_exact(blocks * ROWS)
                .zip(sums.chunks_exact_mut(quads));
            for (outputs, sums) in pairs {
                for (inputs, sum) in inputs.chunks_exact(blocks * ROWS).zip(sums) {
                    *sum = accumulate(*sum, inputs, outputs);
                }
            }
        }
        let number = |at: usize| {
            let (filter, tap) = (at / taps, at % taps);
            sums[filter / LANES * quads + tap / ROWS][tap % ROWS][filter % LANES]
        };
        let kernel: Vec<_> = (0..filters * taps).map(number).collect();
        self.kernel.step(&kernel, adam);
        self.bias.step(&bias, &adam.still());
    }

    fn filters(&self) -> usize {
        self.bias.values().len()
    }

    /// Values that a filter reads for a pixel.
    fn taps(&self) -> usize {
        self.channels * SIDE * SIDE
    }

    fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Groups of four neighbours.
    fn blocks(&self) -> usize {
        self.height / 2 * (self.width / 2)
    }

    /// The kernel in panels of eight filters: [filters / 8][taps][8].
    fn panels(&self) -> Vec<Lanes> {
        let taps = self.taps();
        let kernel = self.kernel.values();
        let lane = |filter: usize, tap: usize| match filter < self.filters() {
            true => kernel[filter * taps + tap],
            false => 0.0,
        };
        (0..self.filters().div_ceil(LANES) * taps)
            .map(|at| std::array::from_fn(|l| lane(at / taps * LANES + l, at % taps)))
            .collect()
    }

    /// For each block and tap, the numbers that its four pixels read; beyond the border there are zeros.
    fn patches(&self, picture: &[f32], mut put: impl FnMut(usize, usize, [f32; ROWS])) {
        let (wide, rows) = (self.width + 2, self.height + 2);
        let mut padded = vec![0.0; wide * rows];
        for (channel, plane) in picture.chunks_exact(self.height * self.width).enumerate() {
            for (y, line) in plane.chunks_exact(self.width).enumerate() {
                padded[(y + 1) * wide + 1..][..self.width].copy_from_slice(line);
            }
            for tap in 0..SIDE * SIDE {
                let (dy, dx) = (tap / SIDE, tap % SIDE);
                for block in 0..self.blocks() {
                    let (y, x) = (block / (self.width / 2) * 2, block % (self.width / 2) * 2);
                    let upper = &padded[(y + dy) * wide + x + dx..][..wide + 2];
                    let four = [upper[0], upper[1], upper[wide], upper[wide + 1]];
                    put(block, channel * SIDE * SIDE + tap, four);
                }
            }
        }
    }
}

/// The largest of four for each lane, and which it is; the first of equals.
fn most(tile: &[Lanes; ROWS]) -> (Lanes, [u8; LANES]) {
    let (mut best, mut which) = (tile[0], [0; LANES]);
    for (row, lanes) in (0..).zip(tile).skip(1) {
        for lane in 0..LANES {
            if lanes[lane] > best[lane] {
                (best[lane], which[lane]) = (lanes[lane], row);
            }
        }
    }
    (best, which)
}
