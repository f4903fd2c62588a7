//! The matrix product that dominates the run time: rows of inputs times a kernel, four rows at a time.
//!
//! Input rows are packed in groups of four and the kernel in panels two vectors wide, so that a tile of four rows by two vectors of outputs
//! stays in registers and all reads are sequential. Quantised kernels stay u8 in memory; panels are dequantised just before they are
//! multiplied. The vector width is chosen at run time ([pulp](https://docs.rs/pulp)): AVX2 with FMA on x86-64, NEON on ARM, 128 bits in
//! WebAssembly (fused multiply-add in the build with relaxed SIMD).

use pulp::{Arch, Simd, WithSimd};

use crate::format::quantized::KernelData;

/// Rows per tile.
pub(crate) const ROWS: usize = 4;

/// One input of four neighbouring rows.
pub(crate) type RowGroup = [f32; ROWS];

/// A kernel [inputs, outputs] packed in panels [inputs, width], padded with zeros, and its bias `[outputs]`.
pub(crate) struct Panels {
    inputs: usize,
    outputs: usize,
    width: usize,
    data: PanelData,
    bias: Vec<f32>,
}

enum PanelData {
    Floats(Vec<f32>),
    /// value = level x scale + min, with one scale and minimum per output.
    QuantizedU8 {
        levels: Vec<u8>,
        scale: Vec<f32>,
        min: Vec<f32>,
    },
}

impl Panels {
    /// Packs a kernel. `place` returns the index in `kernel` of the value for an (input, output) pair. A quantised kernel has one scale and
    /// minimum per output.
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
        let data = match kernel {
            KernelData::Floats(values) => PanelData::Floats(pack(values, size, place)),
            KernelData::QuantizedU8(kernel) => PanelData::QuantizedU8 {
                levels: pack(&kernel.levels, size, place),
                scale: padded(&kernel.scale),
                min: padded(&kernel.min),
            },
        };
        Panels {
            inputs,
            outputs,
            width,
            data,
            bias: padded(bias),
        }
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Computes max(rows x kernel + bias, `floor`) and writes it to `out`.
    ///
    /// # Shapes
    /// `groups` is [rows / 4, pitch], of which the first `inputs` columns are read -> `rows` rows of `out`.
    pub(crate) fn multiply(
        &self,
        groups: &[RowGroup],
        pitch: usize,
        rows: usize,
        floor: f32,
        out: &mut OutputView,
    ) {
        arch().dispatch(Multiply {
            panels: self,
            groups,
            pitch,
            rows,
            floor,
            out,
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
            let values =
                (first..outputs.min(first + width)).map(|output| values[place(input, output)]);
            packed.extend(values);
            packed.resize(packed.len().next_multiple_of(width), T::default());
        }
    }
    packed
}

/// A range of rows of an output map: `pitch` values per row, outputs start at `channel`.
pub(crate) struct OutputView<'a> {
    pub map: &'a mut [f32],
    pub pitch: usize,
    pub channel: usize,
}

/// The SIMD instruction set of this machine, detected once.
pub(crate) fn arch() -> Arch {
    static ARCH: std::sync::LazyLock<Arch> = std::sync::LazyLock::new(Arch::new);
    *ARCH
}

/// f32 values per SIMD vector.
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
    groups: &'a [RowGroup],
    pitch: usize,
    rows: usize,
    floor: f32,
    out: &'a mut OutputView<'b>,
}

impl WithSimd for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Panels {
            inputs,
            outputs,
            width,
            ref data,
            ref bias,
        } = *self.panels;
        let OutputView {
            ref mut map,
            pitch,
            channel,
        } = *self.out;
        let floor = simd.splat_f32s(self.floor);
        let mut floats = Vec::new();
        for (panel, bias) in pairs::<S>(bias).iter().enumerate() {
            let first = panel * width;
            let values = match data {
                PanelData::Floats(values) => &values[first * inputs..],
                PanelData::QuantizedU8 { levels, scale, min } => {
                    floats.resize(inputs * width, 0.0);
                    let affine = [scale, min].map(|values| &values[first..first + width]);
                    dequantise(&levels[first * inputs..], affine, &mut floats);
                    &floats
                }
            };
            let panel = &pairs::<S>(values)[..inputs];
            let full = first + width <= outputs;
            let tiles = self.groups.chunks(self.pitch);
            for (row, groups) in (0..self.rows).step_by(ROWS).zip(tiles) {
                let sums = tile(simd, &groups[..inputs], panel);
                for (row, sums) in (row..self.rows).zip(sums) {
                    let ends: [S::f32s; 2] = std::array::from_fn(|v| {
                        simd.max_f32s(floor, simd.add_f32s(sums[v], bias[v]))
                    });
                    let start = row * pitch + channel + first;
                    if full {
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

/// The hot loop. Returns the tile by value, because it would not stay in registers behind a reference.
#[inline(always)]
fn tile<S: Simd>(simd: S, groups: &[RowGroup], panel: &[[S::f32s; 2]]) -> [[S::f32s; 2]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    for (group, [left, right]) in groups.iter().zip(panel) {
        for (sums, value) in sums.iter_mut().zip(group) {
            let value = simd.splat_f32s(*value);
            *sums = [
                simd.mul_add_e_f32s(value, *left, sums[0]),
                simd.mul_add_e_f32s(value, *right, sums[1]),
            ];
        }
    }
    sums
}

/// Dequantises a panel, bit for bit like [`KernelData::floats`].
#[inline(always)]
fn dequantise(levels: &[u8], affine: [&[f32]; 2], floats: &mut [f32]) {
    // Repeat scale and minimum so that the inner loop runs over contiguous memory, which the compiler vectorises.
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
fn pairs<S: Simd>(values: &[f32]) -> &[[S::f32s; 2]] {
    S::as_simd_f32s(values).0.as_chunks().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::quantized::QuantizedU8;

    #[test]
    fn quantised_kernels_give_the_same_products_as_floats() {
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
            let groups: Vec<RowGroup> = (0..2 * INPUTS)
                .map(|k| [0.3, -1.7, 2.9, 0.7].map(|x| x * (k as f32 - 5.0)))
                .collect();
            let products = [kernel, floats].map(|kernel| {
                let bias = vec![0.5; outputs];
                let panels = Panels::new(INPUTS, &bias, &kernel, |i, o| o * INPUTS + i);
                let mut map = vec![0.0; ROWS_HERE * outputs];
                let mut out = OutputView {
                    map: &mut map,
                    pitch: outputs,
                    channel: 0,
                };
                panels.multiply(&groups, INPUTS, ROWS_HERE, f32::NEG_INFINITY, &mut out);
                map
            });
            assert!(products[0].iter().any(|value| *value != 0.5));
            assert_eq!(products[0], products[1], "{outputs} outputs");
        }
    }

    #[test]
    fn incomplete_tiles_are_computed_correctly() {
        const INPUTS: usize = 5;
        for (rows, outputs) in [(1usize, 1usize), (4, 8), (6, 19), (9, 33)] {
            let kernel = |input, output| (input * 7 + output * 3) as f32 - 20.0;
            let row = |row, input| (row * 2 + input) as f32 - 4.0;
            let bias: Vec<_> = (0..outputs).map(|output| output as f32).collect();
            let values = (0..INPUTS * outputs).map(|at| kernel(at / outputs, at % outputs));
            let values = KernelData::Floats(values.collect());
            let panels = Panels::new(INPUTS, &bias, &values, |i, o| i * outputs + o);
            let (pitch, channel) = (outputs + 4, 3);
            let groups = (0..rows.div_ceil(ROWS) * INPUTS).map(|k| {
                let first = k / INPUTS * ROWS;
                std::array::from_fn(|i| row(first + i, k % INPUTS))
            });
            let mut map = vec![-1.0; rows * pitch];
            let mut out = OutputView {
                map: &mut map,
                pitch,
                channel,
            };

            panels.multiply(&groups.collect::<Vec<_>>(), INPUTS, rows, 0.0, &mut out);

            for (at, value) in map.iter().enumerate() {
                let (r, c) = (at / pitch, at % pitch);
                let output = c.wrapping_sub(channel);
                // The values outside the channel range are not modified.
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
