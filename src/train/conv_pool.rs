//! The first layers of a convolutional network: a 3x3 convolution fused with a 2x2 max pool.
//!
//! A small network spends most of its time in its first convolution, and the pool discards three quarters of the results. Here the four
//! pixels of a pool block form the rows of one tile (see [`linear`](crate::train::linear)), so the maximum is taken while the tile is in
//! registers. The gradient with respect to the pictures is not needed and not computed.

use crate::train::linear::{Adam, LANES, Lanes, Parameter, ROWS, accumulate};

const SIDE: usize = 3;

/// A convolution and its max pool for pictures of one size: kernel [filters, channels, 3, 3] and bias `[filters]`.
pub(crate) struct ConvPool {
    channels: usize,
    height: usize,
    width: usize,
    kernel: Parameter,
    bias: Parameter,
}

impl ConvPool {
    /// Creates the layers for pictures [channels, height, width].
    ///
    /// # Panics
    /// If the height or the width is odd, or the kernel has the wrong length.
    pub(crate) fn new(
        [channels, height, width]: [usize; 3],
        kernel: Vec<f32>,
        bias: Vec<f32>,
    ) -> ConvPool {
        assert!(
            height.is_multiple_of(2) && width.is_multiple_of(2),
            "{height} x {width}"
        );
        assert_eq!(kernel.len(), bias.len() * channels * SIDE * SIDE);
        ConvPool {
            channels,
            height,
            width,
            kernel: Parameter::new(kernel),
            bias: Parameter::new(bias),
        }
    }

    /// Returns the kernel and the bias.
    pub(crate) fn values(&self) -> [&[f32]; 2] {
        [self.kernel.values(), self.bias.values()]
    }

    /// Convolves and pools pictures. Also returns, for each result, which pixel of its 2x2 block is the maximum (0 to 3).
    ///
    /// # Shapes
    /// [N, channels, height, width] -> [N, filters, height / 2, width / 2], twice.
    pub(crate) fn forward(&self, pictures: &[f32]) -> (Vec<f32>, Vec<u8>) {
        let (filters, blocks, taps) = (self.filters(), self.blocks(), self.taps());
        let count = pictures.len() / self.values_per_picture();
        let mut pooled = vec![0.0; count * filters * blocks];
        let mut argmax = vec![0; pooled.len()];
        let panels = self.panels();
        let mut columns = vec![[0.0; ROWS]; blocks * taps];
        let outputs = pooled
            .chunks_exact_mut(filters * blocks)
            .zip(argmax.chunks_exact_mut(filters * blocks));
        for (picture, (pooled, argmax)) in pictures
            .chunks_exact(self.values_per_picture())
            .zip(outputs)
        {
            self.patches(picture, |block, tap, column| {
                columns[block * taps + tap] = column
            });
            for (panel, kernel) in panels.chunks_exact(taps).enumerate() {
                for (block, columns) in columns.chunks_exact(taps).enumerate() {
                    let tile = accumulate([[0.0; LANES]; ROWS], columns, kernel);
                    let (maxima, rows) = max_by_lane(&tile);
                    for lane in 0..LANES.min(filters - panel * LANES) {
                        let filter = panel * LANES + lane;
                        pooled[filter * blocks + block] = maxima[lane] + self.bias.values()[filter];
                        argmax[filter * blocks + block] = rows[lane];
                    }
                }
            }
        }
        (pooled, argmax)
    }

    /// Applies one optimizer step; the bias does not decay.
    ///
    /// # Shapes
    /// `pictures` are the inputs of [`ConvPool::forward`], `argmax` is its second result, and `gradient` is the gradient of its first result.
    pub(crate) fn step(&mut self, pictures: &[f32], argmax: &[u8], gradient: &[f32], adam: &Adam) {
        let (filters, blocks, taps) = (self.filters(), self.blocks(), self.taps());
        let groups = taps.div_ceil(ROWS);
        let panels = filters.div_ceil(LANES);
        // Inputs: [taps / 4][pixels][4]. Gradients before the pool: [filters / 8][pixels][8], zero except at the maxima.
        let mut inputs = vec![[0.0; ROWS]; groups * blocks * ROWS];
        let mut outputs = vec![[0.0; LANES]; panels * blocks * ROWS];
        let mut sums = vec![[[0.0; LANES]; ROWS]; panels * groups];
        let mut bias = vec![0.0; filters];
        let gradients = gradient
            .chunks_exact(filters * blocks)
            .zip(argmax.chunks_exact(filters * blocks));
        for (picture, (gradient, argmax)) in pictures
            .chunks_exact(self.values_per_picture())
            .zip(gradients)
        {
            self.patches(picture, |block, tap, column| {
                let first = (tap / ROWS * blocks + block) * ROWS;
                for (pixel, value) in inputs[first..first + ROWS].iter_mut().zip(column) {
                    pixel[tap % ROWS] = value;
                }
            });
            outputs.fill([0.0; LANES]);
            for (filter, bias) in bias.iter_mut().enumerate() {
                let (panel, lane) = (filter / LANES, filter % LANES);
                for block in 0..blocks {
                    let at = filter * blocks + block;
                    let pixel = (panel * blocks + block) * ROWS + usize::from(argmax[at]);
                    outputs[pixel][lane] = gradient[at];
                    *bias += gradient[at];
                }
            }
            let pairs = outputs
                .chunks_exact(blocks * ROWS)
                .zip(sums.chunks_exact_mut(groups));
            for (outputs, sums) in pairs {
                for (inputs, sum) in inputs.chunks_exact(blocks * ROWS).zip(sums) {
                    *sum = accumulate(*sum, inputs, outputs);
                }
            }
        }
        let value = |at: usize| {
            let (filter, tap) = (at / taps, at % taps);
            sums[filter / LANES * groups + tap / ROWS][tap % ROWS][filter % LANES]
        };
        let kernel: Vec<_> = (0..filters * taps).map(value).collect();
        self.kernel.step(&kernel, adam);
        self.bias.step(&bias, &adam.without_decay());
    }

    fn filters(&self) -> usize {
        self.bias.values().len()
    }

    /// Inputs of a filter per pixel.
    fn taps(&self) -> usize {
        self.channels * SIDE * SIDE
    }

    fn values_per_picture(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pool blocks of a picture, 2x2 pixels each.
    fn blocks(&self) -> usize {
        self.height / 2 * (self.width / 2)
    }

    /// Packs the kernel in panels of eight filters: [filters / 8][taps][8].
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

    /// Calls `put(block, tap, inputs)` for every pool block and tap, with the inputs of the block's four pixels (im2col). The padding is zero.
    fn patches(&self, picture: &[f32], mut put: impl FnMut(usize, usize, [f32; ROWS])) {
        let (stride, rows) = (self.width + 2, self.height + 2);
        let mut padded = vec![0.0; stride * rows];
        for (channel, plane) in picture.chunks_exact(self.height * self.width).enumerate() {
            for (y, row) in plane.chunks_exact(self.width).enumerate() {
                padded[(y + 1) * stride + 1..][..self.width].copy_from_slice(row);
            }
            for tap in 0..SIDE * SIDE {
                let (dy, dx) = (tap / SIDE, tap % SIDE);
                for block in 0..self.blocks() {
                    let (y, x) = (block / (self.width / 2) * 2, block % (self.width / 2) * 2);
                    let pixels = &padded[(y + dy) * stride + x + dx..][..stride + 2];
                    let inputs = [pixels[0], pixels[1], pixels[stride], pixels[stride + 1]];
                    put(block, channel * SIDE * SIDE + tap, inputs);
                }
            }
        }
    }
}

/// Returns the maximum of each lane and its row; the first row wins a tie.
fn max_by_lane(tile: &[Lanes; ROWS]) -> (Lanes, [u8; LANES]) {
    let (mut maxima, mut rows) = (tile[0], [0; LANES]);
    for (row, lanes) in (0..).zip(tile).skip(1) {
        for lane in 0..LANES {
            if lanes[lane] > maxima[lane] {
                (maxima[lane], rows[lane]) = (lanes[lane], row);
            }
        }
    }
    (maxima, rows)
}
