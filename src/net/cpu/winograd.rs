//! Winograd convolution ([Lavin and Gray](https://arxiv.org/abs/1509.09308)).
//!
//! Transform input tiles and kernel, multiply elementwise, transform back. Along an axis, M outputs of a kernel with R taps take M + R - 1
//! multiplications instead of M x R. For each point, the sum over input channels is one matrix product. The interpolation points are 0, ±1,
//! ±2, ±1/2 and infinity: small values keep the f32 rounding error low. The kernel is transformed once, in f64.

use pulp::{Simd, WithSimd};

use super::matmul::{OutputView, Panels, ROWS, RowGroup, arch, lanes};
use crate::format::quantized::KernelData;

/// The transform along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// 1 tap, no transform.
    One,
    /// 3 taps, 4 outputs, 6 points.
    Three,
    /// 5 taps, 2 outputs, 6 points.
    Five,
    /// 7 taps, 2 outputs, 8 points.
    Seven,
}

/// The finite interpolation points, in the order used by the transforms below; infinity comes last.
const FINITE: [f64; 7] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5];

impl Axis {
    /// Outputs per tile.
    fn outputs(self) -> usize {
        match self {
            Axis::One => 1,
            Axis::Three => 4,
            Axis::Five | Axis::Seven => 2,
        }
    }

    /// Inputs per tile, which is also the number of multiplications.
    fn points(self) -> usize {
        match self {
            Axis::One => 1,
            Axis::Three | Axis::Five => 6,
            Axis::Seven => 8,
        }
    }

    /// The kernel transform [points, taps]: powers of each point, divided by the Lagrange denominator.
    fn kernel_factors(self, taps: usize) -> Vec<Vec<f64>> {
        let finite = &FINITE[..self.points() - 1];
        let at = |point: &f64| -> Vec<f64> {
            let others = finite.iter().filter(|other| *other != point);
            let divisor: f64 = others.map(|other| point - other).product();
            let powers = (0..taps as i32).map(|tap| point.powi(tap));
            powers.map(|power| power / divisor).collect()
        };
        let mut infinity = vec![0.0; taps];
        infinity[taps - 1] = 1.0;
        finite.iter().map(at).chain([infinity]).collect()
    }
}

/// The kernel's value at one point, for each output and input channel: the taps weighted by `factors`, summed in f64.
fn transform_kernel<const TAPS: usize>(
    kernel: &[f32],
    factors: impl Iterator<Item = f64>,
) -> Vec<f32> {
    let mut weights = [0.0; TAPS];
    weights
        .iter_mut()
        .zip(factors)
        .for_each(|(weight, factor)| *weight = factor);
    let (kernels, _) = kernel.as_chunks::<TAPS>();
    let sums = kernels.iter().map(|taps| {
        let products = taps
            .iter()
            .zip(&weights)
            .map(|(tap, weight)| f64::from(*tap) * weight);
        products.sum::<f64>() as f32
    });
    sums.collect()
}

/// The input transform along one axis: N inputs -> values at N points.
#[inline(always)]
fn transform_input<S: Simd, const N: usize>(simd: S, d: [S::f32s; N]) -> [S::f32s; N] {
    let add = |a, b| simd.add_f32s(a, b);
    let sub = |a, b| simd.sub_f32s(a, b);
    // a + factor x b
    let mul_add = |a, factor, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), b, a);
    let mul = |factor, a| simd.mul_f32s(simd.splat_f32s(factor), a);
    let mut t = d;
    match N {
        6 => {
            let (even, odd) = (mul_add(d[4], -4.0, d[2]), mul_add(d[3], -4.0, d[1]));
            let (even_2, odd_2) = (sub(d[4], d[2]), mul(2.0, sub(d[3], d[1])));
            t[0] = mul_add(mul_add(d[4], -5.0, d[2]), 4.0, d[0]);
            (t[1], t[2]) = (add(even, odd), sub(even, odd));
            (t[3], t[4]) = (add(even_2, odd_2), sub(even_2, odd_2));
            t[5] = mul_add(mul_add(d[5], -5.0, d[3]), 4.0, d[1]);
        }
        8 => {
            let pair = |even, odd| (add(even, odd), sub(even, odd));
            t[0] = mul_add(sub(d[6], d[0]), 5.25, sub(d[2], d[4]));
            (t[1], t[2]) = pair(
                mul_add(add(d[6], d[2]), -4.25, d[4]),
                mul_add(add(d[5], d[1]), -4.25, d[3]),
            );
            (t[3], t[4]) = pair(
                mul_add(mul_add(d[6], -1.25, d[4]), 0.25, d[2]),
                mul_add(mul_add(mul(2.0, d[5]), -2.5, d[3]), 0.5, d[1]),
            );
            (t[5], t[6]) = pair(
                mul_add(mul_add(d[6], -5.0, d[4]), 4.0, d[2]),
                mul_add(mul_add(mul(0.5, d[5]), -2.5, d[3]), 2.0, d[1]),
            );
            t[7] = mul_add(sub(d[7], d[1]), 5.25, sub(d[3], d[5]));
        }
        _ => {}
    }
    t
}

/// The output transform along one axis: products at N points -> M outputs.
#[inline(always)]
fn transform_output<S: Simd, const N: usize, const M: usize>(
    simd: S,
    p: [S::f32s; N],
) -> [S::f32s; M] {
    let add = |a, b| simd.add_f32s(a, b);
    let sub = |a, b| simd.sub_f32s(a, b);
    let mul_add = |a, factor, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), b, a);
    let mut y = [p[0]; M];
    match [N, M] {
        [6, 4] => {
            let (even, odd) = (add(p[1], p[2]), sub(p[1], p[2]));
            let (even_2, odd_2) = (add(p[3], p[4]), sub(p[3], p[4]));
            y[0] = add(p[0], add(even, even_2));
            y[1] = mul_add(odd, 2.0, odd_2);
            y[2] = mul_add(even, 4.0, even_2);
            y[3] = add(p[5], mul_add(odd, 8.0, odd_2));
        }
        [6, 2] => {
            y[0] = add(p[0], add(add(p[1], p[2]), add(p[3], p[4])));
            y[1] = add(p[5], mul_add(sub(p[1], p[2]), 2.0, sub(p[3], p[4])));
        }
        [8, 2] => {
            let ones = add(add(p[1], p[2]), add(p[3], p[4]));
            y[0] = add(add(p[0], ones), add(p[5], p[6]));
            let odd = mul_add(sub(p[1], p[2]), 2.0, sub(p[3], p[4]));
            y[1] = add(p[7], mul_add(odd, 0.5, sub(p[5], p[6])));
        }
        _ => {}
    }
    y
}

/// A convolution of stride 1 with a transformed kernel.
pub(crate) struct Winograd {
    axes: [Axis; 2],
    bias: Vec<f32>,
    /// One matrix [inputs, outputs] per point.
    panels: Vec<Panels>,
}

impl Winograd {
    /// Transforms a kernel [out, in, height, width]. Returns `None` for unsupported sizes, and unless 4 x input channels and the
    /// output channels are multiples of the vector width.
    pub(crate) fn new(kernel: &[f32], bias: &[f32], [h, w]: [usize; 2]) -> Option<Winograd> {
        let axes = match [h, w] {
            [3, 3] => [Axis::Three, Axis::Three],
            [5, 5] => [Axis::Five, Axis::Five],
            [1, 7] => [Axis::One, Axis::Seven],
            [7, 1] => [Axis::Seven, Axis::One],
            _ => return None,
        };
        let inputs = kernel.len() / (bias.len() * h * w);
        let multiples = [inputs * ROWS, bias.len()].map(|values| values.is_multiple_of(lanes()));
        if multiples != [true; 2] {
            return None;
        }
        let [down, across] = [axes[0].kernel_factors(h), axes[1].kernel_factors(w)];
        let pairs = down.iter().flat_map(|y| across.iter().map(move |x| (y, x)));
        let factors = pairs.map(|(y, x)| y.iter().flat_map(|y| x.iter().map(move |x| y * x)));
        let values: Vec<_> = match h * w {
            7 => factors
                .map(|factors| transform_kernel::<7>(kernel, factors))
                .collect(),
            9 => factors
                .map(|factors| transform_kernel::<9>(kernel, factors))
                .collect(),
            _ => factors
                .map(|factors| transform_kernel::<25>(kernel, factors))
                .collect(),
        };
        let zeros = vec![0.0; bias.len()];
        let panels = values.into_iter().map(|values| {
            Panels::new(inputs, &zeros, &KernelData::Floats(values), |i, o| {
                o * inputs + i
            })
        });
        Some(Winograd {
            axes,
            panels: panels.collect(),
            bias: bias.to_vec(),
        })
    }

    /// [height, width] of an input tile.
    pub(crate) fn input_tile(&self) -> [usize; 2] {
        self.axes.map(Axis::points)
    }

    /// [height, width] of an output tile, which is also the distance between tiles.
    pub(crate) fn output_tile(&self) -> [usize; 2] {
        self.axes.map(Axis::outputs)
    }

    /// Computes tiles of outputs, with bias and ReLU, and writes them to `map`.
    ///
    /// `pixel_index` returns the index in `map` of a tile's output pixel [row, column], or `None` if the pixel is outside the map.
    /// `groups` is overwritten by its transform; `scratch` is resized as needed.
    ///
    /// # Shapes
    /// `groups` is [tiles / 4, rounded up, input tile, channels].
    pub(crate) fn convolve(
        &self,
        groups: &mut [RowGroup],
        tiles: usize,
        scratch: &mut Vec<f32>,
        map: &mut [f32],
        pixel_index: impl Fn(usize, [usize; 2]) -> Option<usize>,
    ) {
        let points = self.panels.len();
        let channels = self.panels[0].inputs();
        let length = tiles * self.bias.len();
        arch().dispatch(InputTransform {
            axes: self.axes,
            groups,
            channels,
        });
        scratch.resize(points * length, 0.0);
        let products = scratch.chunks_exact_mut(length).zip(&self.panels);
        for (point, (scratch, panels)) in products.enumerate() {
            let mut out = OutputView {
                map: scratch,
                pitch: self.bias.len(),
                channel: 0,
            };
            let groups = &groups[point * channels..];
            // ReLU is applied after the output transform.
            let no_relu = f32::NEG_INFINITY;
            panels.multiply(groups, points * channels, tiles, no_relu, &mut out);
        }
        arch().dispatch(OutputTransform {
            winograd: self,
            scratch,
            tiles,
            map,
            pixel_index,
        });
    }
}

struct InputTransform<'a> {
    axes: [Axis; 2],
    groups: &'a mut [RowGroup],
    channels: usize,
}

impl WithSimd for InputTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.axes {
            [Axis::Three | Axis::Five, Axis::Three | Axis::Five] => {
                self.transform_tiles::<S, 6, 6>(simd)
            }
            [Axis::Seven, Axis::One] => self.transform_tiles::<S, 8, 1>(simd),
            [Axis::One, Axis::Seven] => self.transform_tiles::<S, 1, 8>(simd),
            other => unreachable!("no kernel of this network needs {other:?}"),
        }
    }
}

impl InputTransform<'_> {
    #[inline(always)]
    fn transform_tiles<S: Simd, const H: usize, const W: usize>(self, simd: S) {
        let values = self.groups.as_flattened_mut();
        let length = self.channels * size_of::<RowGroup>() / size_of::<S::f32s>();
        for tile in S::as_mut_simd_f32s(values)
            .0
            .chunks_exact_mut(H * W * length)
        {
            for v in 0..length {
                let rows: [[S::f32s; W]; H] = std::array::from_fn(|y| {
                    transform_input(
                        simd,
                        std::array::from_fn(|x| tile[(y * W + x) * length + v]),
                    )
                });
                let columns: [[S::f32s; H]; W] = std::array::from_fn(|x| {
                    transform_input(simd, std::array::from_fn(|y| rows[y][x]))
                });
                for (x, column) in columns.iter().enumerate() {
                    for (y, value) in column.iter().enumerate() {
                        tile[(y * W + x) * length + v] = *value;
                    }
                }
            }
        }
    }
}

struct OutputTransform<'a, P> {
    winograd: &'a Winograd,
    scratch: &'a [f32],
    tiles: usize,
    map: &'a mut [f32],
    pixel_index: P,
}

impl<P: Fn(usize, [usize; 2]) -> Option<usize>> WithSimd for OutputTransform<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.winograd.axes {
            [Axis::Three, Axis::Three] => self.transform_tiles::<S, 6, 6, 4, 4>(simd),
            [Axis::Five, Axis::Five] => self.transform_tiles::<S, 6, 6, 2, 2>(simd),
            [Axis::Seven, Axis::One] => self.transform_tiles::<S, 8, 1, 2, 1>(simd),
            [Axis::One, Axis::Seven] => self.transform_tiles::<S, 1, 8, 1, 2>(simd),
            other => unreachable!("no kernel of this network needs {other:?}"),
        }
    }
}

impl<P: Fn(usize, [usize; 2]) -> Option<usize>> OutputTransform<'_, P> {
    #[inline(always)]
    fn transform_tiles<
        S: Simd,
        const H: usize,
        const W: usize,
        const OH: usize,
        const OW: usize,
    >(
        self,
        simd: S,
    ) {
        let bias = S::as_simd_f32s(&self.winograd.bias).0;
        let scratch = S::as_simd_f32s(self.scratch).0;
        let vectors = bias.len();
        let zero = simd.splat_f32s(0.0);
        for tile in 0..self.tiles {
            let pixel_indices: [[_; OW]; OH] =
                std::array::from_fn(|y| std::array::from_fn(|x| (self.pixel_index)(tile, [y, x])));
            for (v, bias) in bias.iter().enumerate() {
                let point =
                    |y: usize, x: usize| scratch[((y * W + x) * self.tiles + tile) * vectors + v];
                let rows: [[S::f32s; OW]; H] = std::array::from_fn(|y| {
                    transform_output(simd, std::array::from_fn::<_, W, _>(|x| point(y, x)))
                });
                for x in 0..OW {
                    let column: [S::f32s; OH] =
                        transform_output(simd, std::array::from_fn::<_, H, _>(|y| rows[y][x]));
                    for y in 0..OH {
                        if let Some(start) = pixel_indices[y][x] {
                            let end = simd.max_f32s(zero, simd.add_f32s(column[y], *bias));
                            let to = &mut self.map[start + v * S::F32_LANES..][..S::F32_LANES];
                            S::as_mut_simd_f32s(to).0[0] = end;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies Winograd to input tiles [height, width, channels]; returns the output tiles one after another.
    fn convolve_tiles(winograd: &Winograd, tiles: &[Vec<f32>]) -> Vec<f32> {
        let values = tiles[0].len();
        let mut groups = vec![[0.0; ROWS]; tiles.len().div_ceil(ROWS) * values];
        for (k, tile) in tiles.iter().enumerate() {
            let group = &mut groups[k / ROWS * values..][..values];
            for (rows, value) in group.iter_mut().zip(tile) {
                rows[k % ROWS] = *value;
            }
        }
        let [height, width] = winograd.output_tile();
        let outputs = winograd.bias.len();
        let mut map = vec![0.0; tiles.len() * height * width * outputs];
        let pixel_index =
            |tile, [y, x]: [usize; 2]| Some(((tile * height + y) * width + x) * outputs);
        winograd.convolve(
            &mut groups,
            tiles.len(),
            &mut Vec::new(),
            &mut map,
            pixel_index,
        );
        map
    }

    #[test]
    fn winograd_equals_direct_convolution() {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        const IN: usize = 32;
        const OUT: usize = 24;
        for [h, w] in [[3, 3], [5, 5], [1, 7], [7, 1]] {
            let scale = (6.0 / (IN * h * w) as f32).sqrt();
            let kernel: Vec<_> = (0..OUT * IN * h * w).map(|_| random() * scale).collect();
            let bias: Vec<_> = (0..OUT).map(|_| random()).collect();
            let winograd = Winograd::new(&kernel, &bias, [h, w]).expect("a supported size");
            let [rows, columns] = winograd.input_tile();
            let tile = |_| (0..rows * columns * IN).map(|_| random()).collect();
            let tiles: Vec<Vec<_>> = (0..6).map(tile).collect();

            let ours = convolve_tiles(&winograd, &tiles);

            let [height, width] = winograd.output_tile();
            let mut worst = 0.0f64;
            for (at, ours) in ours.iter().enumerate() {
                let (output, position) = (at % OUT, at / OUT);
                let (x, y) = (position % width, position / width % height);
                let tile = &tiles[position / width / height];
                let mut sum = f64::from(bias[output]);
                for (tap, channel) in (0..h * w).flat_map(|tap| (0..IN).map(move |c| (tap, c))) {
                    let (v, u) = (y + tap / w, x + tap % w);
                    let value = tile[(v * columns + u) * IN + channel];
                    let weight = kernel[(output * IN + channel) * h * w + tap];
                    sum += f64::from(value) * f64::from(weight);
                }
                worst = worst.max((f64::from(*ours) - sum.max(0.0)).abs());
            }
            // Outputs are about 1. f32 rounding errors are up to 4e-6 (largest for seven taps); a wrong coefficient causes more than 0.1.
            assert!(worst < 1e-5, "{h}x{w} is off by {worst:e}");
        }
    }

    #[test]
    fn unsupported_channels_and_sizes_are_rejected() {
        assert!(Winograd::new(&[0.0; 9], &[0.0], [3, 3]).is_none() || lanes() == 1);
        assert!(Winograd::new(&[0.0; 8 * 8], &[0.0; 8], [1, 1]).is_none());
    }
}
