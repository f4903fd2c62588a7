//! Dense kernels and the Adam update, written for the CPU's vector registers.
//!
//! WebAssembly vectors have four lanes, and x64 engines have fifteen vector registers for them. A tile of 4 rows by 8 columns fits into the
//! registers; the tiles of general matrix products do not. The optimizer consumes each tile of the gradient as soon as it is computed, so the
//! whole gradient is never written to memory. The loops run over arrays of fixed length, which the compiler vectorises for any target. The
//! order of additions does not depend on the target, so the page and the command line train identical heads.

/// Columns of a tile. Kernels are padded with zero columns to a multiple of it; the padding stays zero.
pub(crate) const LANES: usize = 8;
/// Rows of a tile.
pub(crate) const ROWS: usize = 4;
/// Inputs per block of a product; a block stays in the L1 cache.
const PRODUCT_BLOCK: usize = 512;
/// Inputs per block of an update.
const STEP_BLOCK: usize = 64;

pub(crate) type Lanes = [f32; LANES];

/// Trained values with Adam's moment estimates.
pub(crate) struct Parameter {
    values: Vec<f32>,
    first_moments: Vec<f32>,
    second_moments: Vec<f32>,
}

impl Parameter {
    pub(crate) fn new(values: Vec<f32>) -> Parameter {
        Parameter {
            first_moments: vec![0.0; values.len()],
            second_moments: vec![0.0; values.len()],
            values,
        }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Updates all values.
    pub(crate) fn step(&mut self, gradient: &[f32], adam: &Adam) {
        self.step_from(0, gradient, adam);
    }

    /// Updates `gradient.len()` values, beginning at `start`.
    fn step_from(&mut self, start: usize, gradient: &[f32], adam: &Adam) {
        let range = start..start + gradient.len();
        let [b1, b2] = Adam::BETAS;
        let [c1, c2] = adam.corrections;
        let moments = self.first_moments[range.clone()]
            .iter_mut()
            .zip(&mut self.second_moments[range.clone()]);
        let values = self.values[range].iter_mut().zip(gradient);
        for ((value, gradient), (first, second)) in values.zip(moments) {
            *first = b1 * *first + (1.0 - b1) * gradient;
            *second = b2 * *second + (1.0 - b2) * gradient * gradient;
            *value = *value * adam.decay
                - adam.rate * (*first * c1) / ((*second * c2).sqrt() + Adam::EPSILON);
        }
    }
}

/// The coefficients of one optimizer step.
///
/// # Source
/// [Adam](https://arxiv.org/abs/1412.6980) and, with decoupled weight decay, [AdamW](https://arxiv.org/abs/1711.05101)
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    /// The learning rate.
    pub(crate) rate: f32,
    /// Factor that is applied to values before the update (AdamW); 1 for no decay.
    pub(crate) decay: f32,
    /// Bias corrections of the first and the second moment.
    pub(crate) corrections: [f32; 2],
}

impl Adam {
    const BETAS: [f32; 2] = [0.9, 0.999];
    const EPSILON: f32 = 1e-8;

    /// Returns the same step without weight decay.
    pub(crate) fn without_decay(&self) -> Adam {
        Adam {
            decay: 1.0,
            ..*self
        }
    }

    /// Returns the bias corrections of a step, counted from 1.
    pub(crate) fn corrections(step: i32) -> [f32; 2] {
        Adam::BETAS.map(|beta| 1.0 / (1.0 - beta.powi(step)))
    }

    /// Returns coefficients that make the first step plain gradient descent: `value * decay - rate * gradient`.
    ///
    /// Adam's own first step is nearly `rate * sign(gradient)`, so it cannot show whether a gradient has the right size.
    #[cfg(test)]
    pub(crate) fn gradient_descent(rate: f32, decay: f32) -> Adam {
        let [b1, _] = Adam::BETAS;
        Adam {
            rate,
            decay,
            corrections: [Adam::EPSILON / (1.0 - b1), 0.0],
        }
    }
}

/// A kernel [inputs, outputs], packed in panels of eight outputs: [outputs / 8][inputs][8].
pub(crate) struct Kernel {
    inputs: usize,
    outputs: usize,
    panels: Parameter,
}

impl Kernel {
    /// Packs row-major values [inputs, outputs].
    ///
    /// # Panics
    /// If the number of inputs is not a multiple of 4.
    pub(crate) fn new(values: &[f32], outputs: usize) -> Kernel {
        let rows: Vec<_> = values.chunks_exact(outputs).collect();
        assert!(rows.len().is_multiple_of(ROWS), "{} inputs", rows.len());
        Kernel {
            inputs: rows.len(),
            outputs,
            panels: Parameter::new(pack_panels(&rows, outputs).into_flattened()),
        }
    }

    /// Returns the values in row-major order: [inputs, outputs].
    pub(crate) fn values(&self) -> Vec<f32> {
        let lanes = self.panels.values.as_chunks::<LANES>().0;
        let row = |input: usize| {
            let panels = lanes.chunks_exact(self.inputs);
            panels
                .flat_map(move |panel| panel[input])
                .take(self.outputs)
        };
        (0..self.inputs).flat_map(row).collect()
    }

    /// Multiplies rows by the kernel.
    ///
    /// # Shapes
    /// [N, inputs] -> [N, outputs].
    pub(crate) fn product(&self, rows: &[&[f32]]) -> Vec<f32> {
        let zeros = vec![0.0; self.inputs];
        // Filled in place: collecting a flat_map, whose length is unknown, takes four times as long.
        let mut groups = vec![[0.0; ROWS]; rows.len().div_ceil(ROWS) * self.inputs];
        for (group, rows) in groups.chunks_exact_mut(self.inputs).zip(rows.chunks(ROWS)) {
            let [a, b, c, d]: [&[f32]; ROWS] = std::array::from_fn(|row| {
                &rows.get(row).unwrap_or(&zeros.as_slice())[..self.inputs]
            });
            for (input, group) in group.iter_mut().enumerate() {
                *group = [a[input], b[input], c[input], d[input]];
            }
        }
        let mut outputs = vec![0.0; rows.len() * self.outputs];
        let kernel = self.panels.values.as_chunks::<LANES>().0;
        for (panel, kernel) in kernel.chunks_exact(self.inputs).enumerate() {
            let mut tiles = vec![[[0.0; LANES]; ROWS]; rows.len().div_ceil(ROWS)];
            for start in (0..self.inputs).step_by(PRODUCT_BLOCK) {
                let kernel = &kernel[start..self.inputs.min(start + PRODUCT_BLOCK)];
                for (tile, group) in tiles.iter_mut().zip(groups.chunks_exact(self.inputs)) {
                    *tile = accumulate(*tile, &group[start..], kernel);
                }
            }
            let columns = panel * LANES..self.outputs.min((panel + 1) * LANES);
            for (row, lanes) in outputs
                .chunks_exact_mut(self.outputs)
                .zip(tiles.as_flattened())
            {
                row[columns.clone()].copy_from_slice(&lanes[..columns.len()]);
            }
        }
        outputs
    }

    /// Applies one optimizer step.
    ///
    /// # Shapes
    /// `rows` are the inputs of [`Kernel::product`], `gradient` is the gradient of its result, [N, outputs].
    pub(crate) fn step(&mut self, rows: &[&[f32]], gradient: &[f32], adam: &Adam) {
        let gradients: Vec<_> = gradient.chunks_exact(self.outputs).collect();
        let outputs = pack_panels(&gradients, self.outputs);
        let mut inputs = vec![[0.0; ROWS]; STEP_BLOCK / ROWS * rows.len()];
        let mut block = [[0.0; LANES]; STEP_BLOCK];
        for start in (0..self.inputs).step_by(STEP_BLOCK) {
            let length = STEP_BLOCK.min(self.inputs - start);
            for (at, row) in rows.iter().enumerate() {
                let groups = row[start..start + length].as_chunks::<ROWS>().0;
                for (inputs, group) in inputs.chunks_exact_mut(rows.len()).zip(groups) {
                    inputs[at] = *group;
                }
            }
            for (panel, outputs) in outputs.chunks_exact(rows.len()).enumerate() {
                let tiles = block.as_chunks_mut::<ROWS>().0.iter_mut();
                for (tile, inputs) in tiles.zip(inputs.chunks_exact(rows.len())) {
                    *tile = accumulate([[0.0; LANES]; ROWS], inputs, outputs);
                }
                let first = (panel * self.inputs + start) * LANES;
                self.panels
                    .step_from(first, block[..length].as_flattened(), adam);
            }
        }
    }
}

/// Adds the outer products of `columns[i]` and `lanes[i]` to a tile. This is the innermost loop of training.
///
/// The tile is passed by value, because behind a reference it does not stay in registers.
#[inline(always)]
pub(crate) fn accumulate(
    mut tile: [Lanes; ROWS],
    columns: &[[f32; ROWS]],
    lanes: &[Lanes],
) -> [Lanes; ROWS] {
    for (column, lanes) in columns.iter().zip(lanes) {
        for (sums, factor) in tile.iter_mut().zip(column) {
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum += factor * lane;
            }
        }
    }
    tile
}

/// Packs rows in panels of eight columns, [columns / 8][rows][8]. The last panel is padded with zeros.
fn pack_panels(rows: &[&[f32]], columns: usize) -> Vec<Lanes> {
    let lanes = |row: &[f32], column: usize| {
        let mut lanes = [0.0; LANES];
        let values = &row[column..columns.min(column + LANES)];
        lanes[..values.len()].copy_from_slice(values);
        lanes
    };
    (0..columns)
        .step_by(LANES)
        .flat_map(|column| rows.iter().map(move |row| lanes(row, column)))
        .collect()
}

/// Values from -1 to 1 without a regular pattern, for tests.
#[cfg(test)]
pub(crate) fn test_values(count: usize, step: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * step + 7) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_and_step_match_naive_loops() {
        // Sizes with partial tiles, and with more inputs than one block.
        for (count, inputs, outputs) in [(1, 4, 1), (5, 516, 10), (64, 2048, 17)] {
            let (x, w) = (
                test_values(count * inputs, 31),
                test_values(inputs * outputs, 17),
            );
            let gradient = test_values(count * outputs, 13);
            let rows: Vec<_> = x.chunks_exact(inputs).collect();
            let mut kernel = Kernel::new(&w, outputs);
            assert_eq!(kernel.values(), w);

            let product = kernel.product(&rows);
            for (n, row) in rows.iter().enumerate() {
                for o in 0..outputs {
                    let want: f64 = (0..inputs)
                        .map(|i| f64::from(row[i]) * f64::from(w[i * outputs + o]))
                        .sum();
                    let got = f64::from(product[n * outputs + o]);
                    assert!(
                        (got - want).abs() < 1e-3,
                        "[{n}, {o}] {got}, expected {want}"
                    );
                }
            }

            kernel.step(&rows, &gradient, &Adam::gradient_descent(0.1, 0.9));
            for (at, got) in kernel.values().into_iter().enumerate() {
                let (i, o) = (at / outputs, at % outputs);
                let slope: f64 = (0..count)
                    .map(|n| f64::from(x[n * inputs + i]) * f64::from(gradient[n * outputs + o]))
                    .sum();
                let want = f64::from(w[at]) * 0.9 - 0.1 * slope;
                // The f32 sum of 64 products of at most 1 is off by less than 64 * 64 / 2^24 = 2.4e-4, and the rate is 0.1.
                assert!(
                    (f64::from(got) - want).abs() < 3e-5,
                    "[{i}, {o}] {got}, expected {want}"
                );
            }
        }
    }

    #[test]
    fn adam_and_adamw_match_the_published_formulas() {
        // Computed in double precision for a weight of 1, the gradients 0.5 and -0.25, rate 0.1, decay 0.01.
        for (decay, want) in [(0.999, 0.871_467_3), (1.0, 0.873_366_5)] {
            let mut parameter = Parameter::new(vec![1.0]);
            for (step, gradient) in [(1, 0.5), (2, -0.25)] {
                let corrections = Adam::corrections(step);
                let adam = Adam {
                    rate: 0.1,
                    decay,
                    corrections,
                };
                parameter.step(&[gradient], &adam);
            }
            let got = parameter.values()[0];
            assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
        }
    }
}
