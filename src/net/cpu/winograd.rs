//! Convolutions with fewer products, after [Lavin and Gray](https://arxiv.org/abs/1509.09308): a tile of outputs from values at points.
//!
//! Along an axis, M outputs of a kernel of R taps take M + R - 1 products instead of M x R: what the inputs and the kernel come to at as many
//! points is multiplied there, and what that comes to as a polynomial are the outputs. The points are 0, ±1, ±2, ±1/2 and infinity, so small
//! that f32 stays nearly exact, and the kernel's values are computed once, in f64. What is left is a product for each point.

use pulp::{Simd, WithSimd};

use super::product::{Four, Panels, ROWS, Sink, arch, lanes};
use crate::format::quantized::KernelData;

/// How one axis of a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// One tap: there is nothing to save.
    Point,
    /// 3 taps, 4 outputs, 6 points.
    Three,
    /// 5 taps, 2 outputs, 6 points.
    Five,
    /// 7 taps, 2 outputs, 8 points.
    Seven,
}

/// All points but infinity, in the order of the numbers below.
const FINITE: [f64; 7] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5];

impl Axis {
    /// Outputs of a tile.
    fn outputs(self) -> usize {
        match self {
            Axis::Point => 1,
            Axis::Three => 4,
            Axis::Five | Axis::Seven => 2,
        }
    }

    /// Inputs of a tile, and as many products.
    fn points(self) -> usize {
        match self {
            Axis::Point => 1,
            Axis::Three | Axis::Five => 6,
            Axis::Seven => 8,
        }
    }

    /// What each of a kernel's taps counts at the points, divided by what interpolation divides by: [points, taps].
    fn factors(self, taps: usize) -> Vec<Vec<f64>> {
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

/// What the taps of each input and output come to at a point, by what each counts there.
fn at_point<const TAPS: usize>(kernel: &[f32], factors: impl Iterator<Item = f64>) -> Vec<f32> {
    let mut counts = [0.0; TAPS];
    counts
        .iter_mut()
        .zip(factors)
        .for_each(|(count, factor)| *count = factor);
    let (kernels, _) = kernel.as_chunks::<TAPS>();
    let sums = kernels.iter().map(|taps| {
        let products = taps
            .iter()
            .zip(&counts)
            .map(|(tap, count)| f64::from(*tap) * count);
        products.sum::<f64>() as f32
    });
    sums.collect()
}

/// What a line of inputs comes to at the points: for each, the polynomial that is zero at all others, with the inputs for its powers.
#[inline(always)]
fn inputs<S: Simd, const N: usize>(simd: S, d: [S::f32s; N]) -> [S::f32s; N] {
    let add = |a, b| simd.add_f32s(a, b);
    let sub = |a, b| simd.sub_f32s(a, b);
    // a + factor x b
    let plus = |a, factor, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), b, a);
    let times = |factor, a| simd.mul_f32s(simd.splat_f32s(factor), a);
    let mut t = d;
    match N {
        6 => {
            let (even, odd) = (plus(d[4], -4.0, d[2]), plus(d[3], -4.0, d[1]));
            let (even_2, odd_2) = (sub(d[4], d[2]), times(2.0, sub(d[3], d[1])));
            t[0] = plus(plus(d[4], -5.0, d[2]), 4.0, d[0]);
            (t[1], t[2]) = (add(even, odd), sub(even, odd));
            (t[3], t[4]) = (add(even_2, odd_2), sub(even_2, odd_2));
            t[5] = plus(plus(d[5], -5.0, d[3]), 4.0, d[1]);
        }
        8 => {
            let pair = |even, odd| (add(even, odd), sub(even, odd));
            t[0] = plus(sub(d[6], d[0]), 5.25, sub(d[2], d[4]));
            (t[1], t[2]) = pair(
                plus(add(d[6], d[2]), -4.25, d[4]),
                plus(add(d[5], d[1]), -4.25, d[3]),
            );
            (t[3], t[4]) = pair(
                plus(plus(d[6], -1.25, d[4]), 0.25, d[2]),
                plus(plus(times(2.0, d[5]), -2.5, d[3]), 0.5, d[1]),
            );
            (t[5], t[6]) = pair(
                plus(plus(d[6], -5.0, d[4]), 4.0, d[2]),
                plus(plus(times(0.5, d[5]), -2.5, d[3]), 2.0, d[1]),
            );
            t[7] = plus(sub(d[7], d[1]), 5.25, sub(d[3], d[5]));
        }
        _ => {}
    }
    t
}

/// What values at the points come to as outputs.
#[inline(always)]
fn outputs<S: Simd, const N: usize, const M: usize>(simd: S, p: [S::f32s; N]) -> [S::f32s; M] {
    let add = |a, b| simd.add_f32s(a, b);
    let sub = |a, b| simd.sub_f32s(a, b);
    let plus = |a, factor, b| simd.mul_add_e_f32s(simd.splat_f32s(factor), b, a);
    let mut y = [p[0]; M];
    match [N, M] {
        [6, 4] => {
            let (even, odd) = (add(p[1], p[2]), sub(p[1], p[2]));
            let (even_2, odd_2) = (add(p[3], p[4]), sub(p[3], p[4]));
            y[0] = add(p[0], add(even, even_2));
            y[1] = plus(odd, 2.0, odd_2);
            y[2] = plus(even, 4.0, even_2);
            y[3] = add(p[5], plus(odd, 8.0, odd_2));
        }
        [6, 2] => {
            y[0] = add(p[0], add(add(p[1], p[2]), add(p[3], p[4])));
            y[1] = add(p[5], plus(sub(p[1], p[2]), 2.0, sub(p[3], p[4])));
        }
        [8, 2] => {
            let ones = add(add(p[1], p[2]), add(p[3], p[4]));
            y[0] = add(add(p[0], ones), add(p[5], p[6]));
            let odd = plus(sub(p[1], p[2]), 2.0, sub(p[3], p[4]));
            y[1] = add(p[7], plus(odd, 0.5, sub(p[5], p[6])));
        }
        _ => {}
    }
    y
}

/// A convolution of stride 1 that is computed so.
pub(crate) struct Winograd {
    axes: [Axis; 2],
    bias: Vec<f32>,
    /// For each point.
    panels: Vec<Panels>,
}

impl Winograd {
    /// For a kernel [out, in, height, width], if its taps are of a known number and its channels fill vectors.
    pub(crate) fn new(kernel: &[f32], bias: &[f32], [h, w]: [usize; 2]) -> Option<Winograd> {
        let axes = match [h, w] {
            [3, 3] => [Axis::Three, Axis::Three],
            [5, 5] => [Axis::Five, Axis::Five],
            [1, 7] => [Axis::Point, Axis::Seven],
            [7, 1] => [Axis::Seven, Axis::Point],
            _ => return None,
        };
        let inputs = kernel.len() / (bias.len() * h * w);
        let whole = [inputs * ROWS, bias.len()].map(|numbers| numbers.is_multiple_of(lanes()));
        if whole != [true; 2] {
            return None;
        }
        let [down, across] = [axes[0].factors(h), axes[1].factors(w)];
        let pairs = down.iter().flat_map(|y| across.iter().map(move |x| (y, x)));
        let factors = pairs.map(|(y, x)| y.iter().flat_map(|y| x.iter().map(move |x| y * x)));
        let values: Vec<_> = match h * w {
            7 => factors
                .map(|factors| at_point::<7>(kernel, factors))
                .collect(),
            9 => factors
                .map(|factors| at_point::<9>(kernel, factors))
                .collect(),
            _ => factors
                .map(|factors| at_point::<25>(kernel, factors))
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

    /// Inputs of a tile [height, width].
    pub(crate) fn inputs(&self) -> [usize; 2] {
        self.axes.map(Axis::points)
    }

    /// Outputs of a tile [height, width], which is also how far tiles are apart.
    pub(crate) fn outputs(&self) -> [usize; 2] {
        self.axes.map(Axis::outputs)
    }

    /// What some tiles' inputs come to; each tile's outputs, with bias and ReLU, go to `end`.
    ///
    /// # Shapes
    /// Fours [tiles / 4, inputs of a tile, channels], which are used up; `scratch` is made as large as it has to be. `end` is asked for tiles
    /// in turn where in `map` the output [row, column] of a tile begins, if it is there.
    pub(crate) fn multiply(
        &self,
        fours: &mut [Four],
        tiles: usize,
        scratch: &mut Vec<f32>,
        map: &mut [f32],
        place: impl Fn(usize, [usize; 2]) -> Option<usize>,
    ) {
        let points = self.panels.len();
        let channels = self.panels[0].inputs();
        let length = tiles * self.bias.len();
        arch().dispatch(Inputs {
            axes: self.axes,
            fours,
            channels,
        });
        scratch.resize(points * length, 0.0);
        let places = scratch.chunks_exact_mut(length).zip(&self.panels);
        for (point, (scratch, panels)) in places.enumerate() {
            let mut sink = Sink {
                map: scratch,
                pitch: self.bias.len(),
                channel: 0,
            };
            let own = &fours[point * channels..];
            panels.multiply(own, points * channels, tiles, f32::NEG_INFINITY, &mut sink);
        }
        arch().dispatch(Outputs {
            winograd: self,
            scratch,
            tiles,
            map,
            place,
        });
    }
}

struct Inputs<'a> {
    axes: [Axis; 2],
    fours: &'a mut [Four],
    channels: usize,
}

impl WithSimd for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.axes {
            [Axis::Three | Axis::Five, Axis::Three | Axis::Five] => self.grids::<S, 6, 6>(simd),
            [Axis::Seven, Axis::Point] => self.grids::<S, 8, 1>(simd),
            [Axis::Point, Axis::Seven] => self.grids::<S, 1, 8>(simd),
            other => unreachable!("no kernel of this net needs {other:?}"),
        }
    }
}

impl Inputs<'_> {
    #[inline(always)]
    fn grids<S: Simd, const H: usize, const W: usize>(self, simd: S) {
        let numbers = self.fours.as_flattened_mut();
        let length = self.channels * size_of::<Four>() / size_of::<S::f32s>();
        for tile in S::as_mut_simd_f32s(numbers)
            .0
            .chunks_exact_mut(H * W * length)
        {
            for v in 0..length {
                let rows: [[S::f32s; W]; H] = std::array::from_fn(|y| {
                    inputs(
                        simd,
                        std::array::from_fn(|x| tile[(y * W + x) * length + v]),
                    )
                });
                let columns: [[S::f32s; H]; W] =
                    std::array::from_fn(|x| inputs(simd, std::array::from_fn(|y| rows[y][x])));
                for (x, column) in columns.iter().enumerate() {
                    for (y, value) in column.iter().enumerate() {
                        tile[(y * W + x) * length + v] = *value;
                    }
                }
            }
        }
    }
}

struct Outputs<'a, P> {
    winograd: &'a Winograd,
    scratch: &'a [f32],
    tiles: usize,
    map: &'a mut [f32],
    place: P,
}

impl<P: Fn(usize, [usize; 2]) -> Option<usize>> WithSimd for Outputs<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.winograd.axes {
            [Axis::Three, Axis::Three] => self.grids::<S, 6, 6, 4, 4>(simd),
            [Axis::Five, Axis::Five] => self.grids::<S, 6, 6, 2, 2>(simd),
            [Axis::Seven, Axis::Point] => self.grids::<S, 8, 1, 2, 1>(simd),
            [Axis::Point, Axis::Seven] => self.grids::<S, 1, 8, 1, 2>(simd),
            other => unreachable!("no kernel of this net needs {other:?}"),
        }
    }
}

impl<P: Fn(usize, [usize; 2]) -> Option<usize>> Outputs<'_, P> {
    #[inline(always)]
    fn grids<S: Simd, const H: usize, const W: usize, const OH: usize, const OW: usize>(
        self,
        simd: S,
    ) {
        let bias = S::as_simd_f32s(&self.winograd.bias).0;
        let scratch = S::as_simd_f32s(self.scratch).0;
        let vectors = bias.len();
        let zero = simd.splat_f32s(0.0);
        for tile in 0..self.tiles {
            let places: [[_; OW]; OH] =
                std::array::from_fn(|y| std::array::from_fn(|x| (self.place)(tile, [y, x])));
            for (v, bias) in bias.iter().enumerate() {
                let point =
                    |y: usize, x: usize| scratch[((y * W + x) * self.tiles + tile) * vectors + v];
                let rows: [[S::f32s; OW]; H] = std::array::from_fn(|y| {
                    outputs(simd, std::array::from_fn::<_, W, _>(|x| point(y, x)))
                });
                for x in 0..OW {
                    let column: [S::f32s; OH] =
                        outputs(simd, std::array::from_fn::<_, H, _>(|y| rows[y][x]));
                    for y in 0..OH {
                        if let Some(start) = places[y][x] {
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

    /// Pixels [height, width] of tiles' inputs, one tile after another.
    fn convolve(winograd: &Winograd, tiles: &[Vec<f32>]) -> Vec<f32> {
        let numbers = tiles[0].len();
        let mut fours = vec![[0.0; ROWS]; tiles.len().div_ceil(ROWS) * numbers];
        for (k, tile) in tiles.iter().enumerate() {
            let own = &mut fours[k / ROWS * numbers..][..numbers];
            for (four, value) in own.iter_mut().zip(tile) {
                four[k % ROWS] = *value;
            }
        }
        let [height, width] = winograd.outputs();
        let outputs = winograd.bias.len();
        let mut map = vec![0.0; tiles.len() * height * width * outputs];
        let place = |tile, [y, x]: [usize; 2]| Some(((tile * height + y) * width + x) * outputs);
        winograd.multiply(&mut fours, tiles.len(), &mut Vec::new(), &mut map, place);
        map
    }

    #[test]
    fn it_is_the_convolution() {
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
            let winograd = Winograd::new(&kernel, &bias, [h, w]).expect("a known size");
            let [rows, columns] = winograd.inputs();
            let tile = |_| (0..rows * columns * IN).map(|_| random()).collect();
            let tiles: Vec<Vec<_>> = (0..6).map(tile).collect();

            let ours = convolve(&winograd, &tiles);

            let [height, width] = winograd.outputs();
            let mut worst = 0.0f64;
            for (at, ours) in ours.iter().enumerate() {
                let (output, place) = (at % OUT, at / OUT);
                let (x, y) = (place % width, place / width % height);
                let tile = &tiles[place / width / height];
                let mut sum = f64::from(bias[output]);
                for (tap, channel) in (0..h * w).flat_map(|tap| (0..IN).map(move |c| (tap, c))) {
                    let (v, u) = (y + tap / w, x + tap % w);
                    let value = tile[(v * columns + u) * IN + channel];
                    let weight = kernel[(output * IN + channel) * h * w + tap];
                    sum += f64::from(value) * f64::from(weight);
                }
                worst = worst.max((f64::from(*ours) - sum.max(0.0)).abs());
            }
            // Outputs are about 1; f32 costs up to 4e-6 here, most of it with seven taps, and a wrong point more than 0.1.
            assert!(worst < 1e-5, "{h}x{w} is off by {worst:e}");
        }
    }

    #[test]
    fn what_fills_no_vectors_is_left_to_others() {
        assert!(Winograd::new(&[0.0; 9], &[0.0], [3, 3]).is_none() || lanes() == 1);
        assert!(Winograd::new(&[0.0; 8 * 8], &[0.0; 8], [1, 1]).is_none());
    }
}
