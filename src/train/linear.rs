//! The product that a head's training spends its time on: wide rows times a kernel, and the step of that kernel down its gradient.
//!
//! WebAssembly has four lanes, and an x64 engine fifteen registers of them. A tile of 4 rows by 8 columns stays in registers, which the
//! tiles of general products do not; and where the optimizer takes a tile of the gradient as soon as it is ready, that gradient never
//! travels to memory and back. Plain loops over arrays of fixed length: the compiler makes the vector instructions of any machine, and
//! every machine adds in the same order, so that a page and a command line come to the same head.

/// Columns that are computed side by side; kernels are padded to a multiple with zeros, which stay zeros.
pub(crate) const LANES: usize = 8;
/// Rows that are computed side by side.
pub(crate) const ROWS: usize = 4;
/// Inputs in turn, so that what a tile reads stays in the nearest cache.
const STRETCH: usize = 512;
/// Inputs whose gradients are computed before the optimizer takes them.
const STEP: usize = 64;

pub(crate) type Lanes = [f32; LANES];

/// Values that are learnt, with the optimizer's running means of their gradient and of its square.
pub(crate) struct Parameter {
    values: Vec<f32>,
    means: Vec<f32>,
    squares: Vec<f32>,
}

impl Parameter {
    pub(crate) fn new(values: Vec<f32>) -> Parameter {
        Parameter {
            means: vec![0.0; values.len()],
            squares: vec![0.0; values.len()],
            values,
        }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// A step of all of it.
    pub(crate) fn step(&mut self, gradient: &[f32], adam: &Adam) {
        self.step_at(0, gradient, adam);
    }

    fn step_at(&mut self, start: usize, gradient: &[f32], adam: &Adam) {
        let all = start..start + gradient.len();
        let [b1, b2] = Adam::BETAS;
        let [c1, c2] = adam.corrections;
        let moments = self.means[all.clone()]
            .iter_mut()
            .zip(&mut self.squares[all.clone()]);
        let values = self.values[all].iter_mut().zip(gradient);
        for ((value, gradient), (mean, square)) in values.zip(moments) {
            *mean = b1 * *mean + (1.0 - b1) * gradient;
            *square = b2 * *square + (1.0 - b2) * gradient * gradient;
            *value = *value * adam.shrink
                - adam.rate * (*mean * c1) / ((*square * c2).sqrt() + Adam::EPSILON);
        }
    }
}

/// The numbers of one step of [Adam](https://arxiv.org/abs/1412.6980) or, with decay apart from the gradient,
/// [AdamW](https://arxiv.org/abs/1711.05101).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    /// The step size.
    pub(crate) rate: f32,
    /// What values are multiplied by first (AdamW).
    pub(crate) shrink: f32,
    /// The corrections of the two running means, which start from zero.
    pub(crate) corrections: [f32; 2],
}

impl Adam {
    const BETAS: [f32; 2] = [0.9, 0.999];
    const EPSILON: f32 = 1e-8;

    /// The same for what does not decay.
    pub(crate) fn still(&self) -> Adam {
        Adam {
            shrink: 1.0,
            ..*self
        }
    }

    /// The corrections of a step, counted from 1.
    pub(crate) fn corrections(step: i32) -> [f32; 2] {
        Adam::BETAS.map(|beta| 1.0 / (1.0 - beta.powi(step)))
    }
}

/// A kernel [inputs, outputs] in panels of eight outputs: [outputs / 8][inputs][8].
pub(crate) struct Kernel {
    inputs: usize,
    outputs: usize,
    panels: Parameter,
}

impl Kernel {
    /// From rows of outputs; the inputs have to be a multiple of 4.
    pub(crate) fn new(values: &[f32], outputs: usize) -> Kernel {
        let rows: Vec<_> = values.chunks_exact(outputs).collect();
        assert!(rows.len().is_multiple_of(ROWS), "{} inputs", rows.len());
        Kernel {
            inputs: rows.len(),
            outputs,
            panels: Parameter::new(panels(&rows, outputs).into_flattened()),
        }
    }

    /// Rows of outputs, one input after another.
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

    /// Rows of inputs times the kernel: [N, outputs].
    pub(crate) fn product(&self, rows: &[&[f32]]) -> Vec<f32> {
        let zeros = vec![0.0; self.inputs];
        // Filled in place: a collected flat_map does not know its length, and takes four times as long.
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
            for start in (0..self.inputs).step_by(STRETCH) {
                let kernel = &kernel[start..self.inputs.min(start + STRETCH)];
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

    /// One step of the optimizer, by the rows that came in and the gradient of what went out, [N, outputs].
    pub(crate) fn step(&mut self, rows: &[&[f32]], gradient: &[f32], adam: &Adam) {
        let gradients: Vec<_> = gradient.chunks_exact(self.outputs).collect();
        let outputs = panels(&gradients, self.outputs);
        let mut inputs = vec![[0.0; ROWS]; STEP / ROWS * rows.len()];
        let mut part = [[0.0; LANES]; STEP];
        for start in (0..self.inputs).step_by(STEP) {
            let length = STEP.min(self.inputs - start);
            for (at, row) in rows.iter().enumerate() {
                let fours = row[start..start + length].as_chunks::<ROWS>().0;
                for (inputs, four) in inputs.chunks_exact_mut(rows.len()).zip(fours) {
                    inputs[at] = *four;
                }
            }
            for (panel, outputs) in outputs.chunks_exact(rows.len()).enumerate() {
                let tiles = part.as_chunks_mut::<ROWS>().0.iter_mut();
                for (part, inputs) in tiles.zip(inputs.chunks_exact(rows.len())) {
                    *part = accumulate([[0.0; LANES]; ROWS], inputs, outputs);
                }
                let first = (panel * self.inputs + start) * LANES;
                self.panels
                    .step_at(first, part[..length].as_flattened(), adam);
            }
        }
    }
}

/// Adds the products of each number with each lane, pair by pair: the loop that takes the time. The tile goes in and out by value, for
/// behind a reference it would not stay in registers.
#[inline(always)]
pub(crate) fn accumulate(
    mut tile: [Lanes; ROWS],
    numbers: &[[f32; ROWS]],
    lanes: &[Lanes],
) -> [Lanes; ROWS] {
    for (numbers, lanes) in numbers.iter().zip(lanes) {
        for (sums, number) in tile.iter_mut().zip(numbers) {
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum += number * lane;
            }
        }
    }
    tile
}

/// Rows as panels of eight columns, [columns / 8][rows][8], with zeros where the columns end before.
fn panels(rows: &[&[f32]], columns: usize) -> Vec<Lanes> {
    let lanes = |row: &[f32], column: usize| {
        let mut lanes = [0.0; LANES];
        let there = &row[column..columns.min(column + LANES)];
        lanes[..there.len()].copy_from_slice(there);
        lanes
    };
    (0..columns)
        .step_by(LANES)
        .flat_map(|column| rows.iter().map(move |row| lanes(row, column)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * step + 7) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    #[test]
    fn product_and_step_are_the_plain_loops() {
        // Sizes that fill no tile, and more inputs than one stretch.
        for (count, inputs, outputs) in [(1, 4, 1), (5, 516, 10), (64, 2048, 17)] {
            let (x, w) = (numbers(count * inputs, 31), numbers(inputs * outputs, 17));
            let gradient = numbers(count * outputs, 13);
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

            let adam = Adam {
                rate: 0.1,
                shrink: 0.9,
                corrections: Adam::corrections(1),
            };
            kernel.step(&rows, &gradient, &adam);
            let mut plain = Parameter::new(w.clone());
            let gradients: Vec<f32> = (0..inputs * outputs)
                .map(|at| {
                    let (i, o) = (at / outputs, at % outputs);
                    (0..count)
                        .map(|n| x[n * inputs + i] * gradient[n * outputs + o])
                        .sum()
                })
                .collect();
            plain.step(&gradients, &adam);
            for ((got, want), gradient) in kernel.values().iter().zip(plain.values()).zip(gradients)
            {
                // The first step goes by the gradient's sign alone, so next to zero its rounding decides.
                assert!(
                    (got - want).abs() < 1e-3 || gradient.abs() < 1e-4,
                    "{got}, expected {want}"
                );
            }
        }
    }

    #[test]
    fn adam_steps_as_the_papers_say() {
        // Their formulas in double precision: a weight of 1, gradients 0.5 then -0.25, rate 0.1, decay 0.01.
        for (shrink, want) in [(0.999, 0.871_467_3), (1.0, 0.873_366_5)] {
            let mut parameter = Parameter::new(vec![1.0]);
            for (step, gradient) in [(1, 0.5), (2, -0.25)] {
                let corrections = Adam::corrections(step);
                let adam = Adam {
                    rate: 0.1,
                    shrink,
                    corrections,
                };
                parameter.step(&[gradient], &adam);
            }
            let got = parameter.values()[0];
            assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
        }
    }
}
