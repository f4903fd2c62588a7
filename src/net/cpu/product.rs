//! The product that the base spends its time on: rows of inputs times a kernel, four rows at a time.
//!
//! Rows are packed in fours, so that a tile of four rows by two vectors of outputs stays in registers and reads memory in order; the
//! kernel lies in panels of two vectors, and what its file has in bytes stays in bytes until it is multiplied. The vectors are as wide as
//! the machine has them, found out at run time where a build cannot know ([pulp](https://docs.rs/pulp)): AVX2 with FMA on x86-64, NEON on
//! ARM, 128 bits in WebAssembly, fused there in the build with relaxed SIMD.

use pulp::{Arch, Simd, WithSimd};

use crate::format::quantized::KernelData;

/// Rows that are computed side by side.
pub(crate) const ROWS: usize = 4;

/// The same input of neighbouring rows.
pub(crate) type Four = [f32; ROWS];

/// A kernel [inputs, outputs] in panels [inputs, width], with zeros where outputs end before, and a bias `[outputs]`.
pub(crate) struct Panels {
    inputs: usize,
    outputs: usize,
    width: usize,
    numbers: Packed,
    bias: Vec<f32>,
}

enum Packed {
    Floats(Vec<f32>),
    /// value = level x scale + min; these for each output.
    QuantizedU8 {
        levels: Vec<u8>,
        scale: Vec<f32>,
        min: Vec<f32>,
    },
}

impl Panels {
    /// `place` says where in the kernel the number for an input and an output is; levels are those of the outputs.
    pub(crate) fn new(
        inputs: usize,
        bias: &[f32],
        kernel: &KernelData,
        place: impl Fn(usize, usize) -> usize,
    ) -> Panels {
        let (width, outputs) = (2 * lanes(), bias.len());
        let size = [inputs, outputs, width];
        let padded = |values: &[f32]| {
            let mut values = values.to_vec();
            values.resize(outputs.next_multiple_of(width), 0.0);
            values
        };
        let numbers = match kernel {
            KernelData::Floats(values) => Packed::Floats(pack(values, size, place)),
            KernelData::QuantizedU8(kernel) => Packed::QuantizedU8 {
                levels: pack(&kernel.levels, size, place),
                scale: padded(&kernel.scale),
                min: padded(&kernel.min),
            },
        };
        Panels {
            inputs,
            outputs,
            width,
            numbers,
            bias: padded(bias),
        }
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Writes rows times the kernel, plus bias, but not below `floor`, to the slices that `sink` makes of a map.
    ///
    /// # Shapes
    /// Fours [rows / 4, pitch], of which the first inputs of each and the first `rows` in all count -> rows of `sink`.
    pub(crate) fn multiply(
        &self,
        fours: &[Four],
        pitch: usize,
        rows: usize,
        floor: f32,
        sink: &mut Sink,
    ) {
        arch().dispatch(Multiply {
            panels: self,
            fours,
            pitch,
            rows,
            floor,
            sink,
        });
    }
}

fn pack<T: Copy + Default>(
    values: &[T],
    [inputs, outputs, width]: [usize; 3],
    place: impl Fn(usize, usize) -> usize,
) -> Vec<T> {
    let mut packed = Vec::with_capacity(inputs * outputs.next_multiple_of(width));
    for first in (0..outputs).step_by(width) {
        for input in 0..inputs {
            let there =
                (first..outputs.min(first + width)).map(|output| values[place(input, output)]);
            packed.extend(there);
            packed.resize(packed.len().next_multiple_of(width), T::default());
        }
    }
    packed
}

/// Rows [pitch] of a map, and the channel at which outputs begin in each.
pub(crate) struct Sink<'a> {
    pub map: &'a mut [f32],
    pub pitch: usize,
    pub channel: usize,
}

/// What this machine can do; asked once, for asking takes time.
pub(crate) fn arch() -> Arch {
    static ARCH: std::sync::LazyLock<Arch> = std::sync::LazyLock::new(Arch::new);
    *ARCH
}

/// Values in a vector.
pub(crate) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch().dispatch(Lanes)
}

struct Multiply<'a, 'b> {
    panels: &'a Panels,
    fours: &'a [Four],
    pitch: usize,
    rows: usize,
    floor: f32,
    sink: &'a mut Sink<'b>,
}

impl WithSimd for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Panels {
            inputs,
            outputs,
            width,
            ref numbers,
            ref bias,
        } = *self.panels;
        let Sink {
            ref mut map,
            pitch,
            channel,
        } = *self.sink;
        let floor = simd.splat_f32s(self.floor);
        let mut floats = Vec::new();
        for (panel, bias) in pairs::<S>(bias).iter().enumerate() {
            let first = panel * width;
            let numbers = match numbers {
                Packed::Floats(numbers) => &numbers[first * inputs..],
                Packed::QuantizedU8 { levels, scale, min } => {
                    floats.resize(inputs * width, 0.0);
                    let affine = [scale, min].map(|values| &values[first..first + width]);
                    decode(&levels[first * inputs..], affine, &mut floats);
                    &floats
                }
            };
            let panel = &pairs::<S>(numbers)[..inputs];
            let whole = first + width <= outputs;
            let tiles = self.fours.chunks(self.pitch);
            for (row, fours) in (0..self.rows).step_by(ROWS).zip(tiles) {
                let sums = tile(simd, &fours[..inputs], panel);
                for (row, sums) in (row..self.rows).zip(sums) {
                    let ends: [S::f32s; 2] = std::array::from_fn(|v| {
                        simd.max_f32s(floor, simd.add_f32s(sums[v], bias[v]))
                    });
                    let start = row * pitch + channel + first;
                    if whole {
                        let to = &mut map[start..start + width];
                        S::as_mut_simd_f32s(to).0.copy_from_slice(&ends);
                    } else {
                        let left = outputs - first;
                        let ends = pulp::bytemuck::cast_slice(&ends);
                        map[start..start + left].copy_from_slice(&ends[..left]);
                    }
                }
            }
        }
    }
}

/// The loop that takes the time. The tile goes in and out by value, for behind a reference it would not stay in registers.
#[inline(always)]
fn tile<S: Simd>(simd: S, fours: &[Four], panel: &[[S::f32s; 2]]) -> [[S::f32s; 2]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    for (numbers, [left, right]) in fours.iter().zip(panel) {
        for (sums, number) in sums.iter_mut().zip(numbers) {
            let number = simd.splat_f32s(*number);
            *sums = [
                simd.mul_add_e_f32s(number, *left, sums[0]),
                simd.mul_add_e_f32s(number, *right, sums[1]),
            ];
        }
    }
    sums
}

/// A panel's numbers out of their levels, to the bit as [`KernelData::floats`] has them.
#[inline(always)]
fn decode(levels: &[u8], affine: [&[f32]; 2], floats: &mut [f32]) {
    // Repeated, these lie beside the levels as far as a loop over neighbours goes: only such a loop is compiled to vectors that are read whole.
    let [scale, min] = affine.map(|values| values.repeat(16));
    let long = scale.len();
    for (floats, levels) in floats.chunks_mut(long).zip(levels.chunks(long)) {
        let affine = scale.iter().zip(&min);
        for ((value, level), (scale, min)) in floats.iter_mut().zip(levels).zip(affine) {
            *value = f32::from(*level) * scale + min;
        }
    }
}

#[inline(always)]
fn pairs<S: Simd>(numbers: &[f32]) -> &[[S::f32s; 2]] {
    S::as_simd_f32s(numbers).0.as_chunks().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::quantized::QuantizedU8;

    #[test]
    fn levels_are_multiplied_as_the_numbers_that_they_stand_for() {
        const INPUTS: usize = 7;
        const ROWS_HERE: usize = 6;
        for outputs in [1usize, 16, 19] {
            let step = |o: usize| 0.013 * (o as f32 + 1.0).sqrt();
            let kernel = KernelData::QuantizedU8(QuantizedU8 {
                levels: (0..INPUTS * outputs).map(|at| (at * 37) as u8).collect(),
                scale: (0..outputs).map(step).collect(),
                min: (0..outputs).map(|o| -100.0 * step(o)).collect(),
                inner: INPUTS,
            });
            let floats = KernelData::Floats(kernel.floats().into_owned());
            let fours: Vec<Four> = (0..2 * INPUTS)
                .map(|k| [0.3, -1.7, 2.9, 0.7].map(|x| x * (k as f32 - 5.0)))
                .collect();
            let products = [kernel, floats].map(|kernel| {
                let bias = vec![0.5; outputs];
                let panels = Panels::new(INPUTS, &bias, &kernel, |i, o| o * INPUTS + i);
                let mut map = vec![0.0; ROWS_HERE * outputs];
                let mut sink = Sink {
                    map: &mut map,
                    pitch: outputs,
                    channel: 0,
                };
                panels.multiply(&fours, INPUTS, ROWS_HERE, f32::NEG_INFINITY, &mut sink);
                map
            });
            assert!(products[0].iter().any(|value| *value != 0.5));
            assert_eq!(products[0], products[1], "{outputs} outputs");
        }
    }

    #[test]
    fn rows_and_outputs_that_fill_no_tile_are_right() {
        const INPUTS: usize = 5;
        for (rows, outputs) in [(1usize, 1usize), (4, 8), (6, 19), (9, 33)] {
            let kernel = |input, output| (input * 7 + output * 3) as f32 - 20.0;
            let row = |row, input| (row * 2 + input) as f32 - 4.0;
            let bias: Vec<_> = (0..outputs).map(|output| output as f32).collect();
            let numbers = (0..INPUTS * outputs).map(|at| kernel(at / outputs, at % outputs));
            let numbers = KernelData::Floats(numbers.collect());
            let panels = Panels::new(INPUTS, &bias, &numbers, |i, o| i * outputs + o);
            let (pitch, channel) = (outputs + 4, 3);
            let fours = (0..rows.div_ceil(ROWS) * INPUTS).map(|k| {
                let first = k / INPUTS * ROWS;
                std::array::from_fn(|i| row(first + i, k % INPUTS))
            });
            let mut map = vec![-1.0; rows * pitch];
            let mut sink = Sink {
                map: &mut map,
                pitch,
                channel,
            };

            panels.multiply(&fours.collect::<Vec<_>>(), INPUTS, rows, 0.0, &mut sink);

            for (at, value) in map.iter().enumerate() {
                let (r, c) = (at / pitch, at % pitch);
                let output = c.wrapping_sub(channel);
                // What lies beside its slice of the map is not touched.
                let want = if output < outputs {
                    let products = (0..INPUTS).map(|input| row(r, input) * kernel(input, output));
                    (products.sum::<f32>() + bias[output]).max(0.0)
                } else {
                    -1.0
                };
                assert_eq!(*value, want, "{rows} x {outputs}, row {r}, output {output}");
            }
        }
    }
}
