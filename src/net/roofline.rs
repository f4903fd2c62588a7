//! What a forward on a GPU reads, writes and multiplies, layer by layer, from shapes alone, and how long that takes published GPUs at best.
//!
//! A software adapter says little about a GPU, but these numbers hold on any. The roofline (Williams et al. 2009,
//! <https://doi.org/10.1145/1498765.1498785>) is the longer of two times: all multiplications at the published peak, and all bytes that must
//! move (inputs, weights and outputs once each) at the published bandwidth. Our kernels multiply at the edges of their tiles in vain and
//! read what is shared by workgroups once for each: [`Row::quickest`] counts the former and [`Row::slowest`] both.

use crate::net::{
    gpu::dispatch::{Dispatch, Kernel, MIN_INVOCATIONS, DeviceClass, Precision, Program, VECTOR},
    inception::{INPUT, graph, kernels},
    plan::{Plan, PlanOp},
};

/// Invocations that each arithmetic unit needs in flight, so that it need not wait for what is read.
const IN_FLIGHT: f64 = 4.0;

/// What is published of a GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// Its name.
    pub name: &'static str,
    /// Multiplications and additions a second in f32, at most.
    pub flops: f64,
    /// Bytes a second from and to memory, at most.
    pub bandwidth: f64,
    /// Multiply-adds in f32 that it begins in each clock.
    pub units: f64,
    /// Where that stands.
    pub source: &'static str,
}

/// An integrated one, a laptop's and one of Apple's M series.
pub const CARDS: [Card; 3] = [
    // 96 execution units x 8 at 1.35 GHz; LPDDR4x-4267 on 128 bits.
    Card {
        name: "Intel Iris Xe",
        flops: 2.07e12,
        bandwidth: 68.3e9,
        units: 768.0,
        source: "Core i7-1185G7, ark.intel.com",
    },
    // 3,072 CUDA cores at the lower of its boost clocks, 1.47 GHz; GDDR6 at 16 Gbit/s on 128 bits.
    Card {
        name: "NVIDIA RTX 4060 Laptop",
        flops: 9.03e12,
        bandwidth: 256e9,
        units: 3072.0,
        source: "nvidia.com/geforce/laptops/compare",
    },
    // Ten cores x 128.
    Card {
        name: "Apple M2",
        flops: 3.6e12,
        bandwidth: 100e9,
        units: 1280.0,
        source: "apple.com/newsroom, 6 June 2022",
    },
];

/// One dispatch, for one batch; bytes are those of f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The convolutions by Keras's names, or the kind of pool.
    pub name: String,
    /// [height, width, channels] of the output.
    pub output: [usize; 3],
    /// Pixels x channels of a tile, and how many invocations share one; for convolutions.
    pub tile: Option<[usize; 3]>,
    /// Multiply-adds that the layer consists of.
    pub macs: usize,
    /// Multiply-adds that the kernel does, with those at the edges of its tiles.
    pub done: usize,
    /// Invocations.
    pub invocations: usize,
    /// What the kernel's workgroups read, each value once a workgroup and tap.
    pub read: usize,
    /// What it writes: the output, once.
    pub written: usize,
    /// The least that has to be moved: inputs, weights and outputs once each.
    pub least: usize,
}

impl Row {
    /// Floating-point operations for each byte that has to be moved.
    pub fn intensity(&self) -> f64 {
        2.0 * self.macs as f64 / self.least as f64
    }

    /// Seconds that no kernel can stay below on a card.
    pub fn roofline(&self, card: &Card) -> f64 {
        let computed = 2.0 * self.macs as f64 / card.flops;
        computed.max(self.least as f64 / card.bandwidth)
    }

    /// Seconds of this kernel, where the card's caches keep what its workgroups share.
    pub fn quickest(&self, card: &Card) -> f64 {
        self.computing(card).max(self.least as f64 / card.bandwidth)
    }

    /// Seconds of this kernel, where its workgroups read all from memory, whatever others have read.
    pub fn slowest(&self, card: &Card) -> f64 {
        let moved = (self.read + self.written) as f64;
        self.computing(card).max(moved / card.bandwidth)
    }

    /// Few invocations leave some of a card idle.
    fn computing(&self, card: &Card) -> f64 {
        let busy = (self.invocations as f64 / (IN_FLIGHT * card.units)).min(1.0);
        2.0 * self.done as f64 / (card.flops * busy)
    }
}

/// The dispatches of one forward of so many pictures, in order.
pub fn rows(pictures: usize) -> Vec<Row> {
    let (steps, ends) = graph();
    let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
    let program = Program::new(
        &plan,
        pictures,
        DeviceClass::Gpu { min_invocations: MIN_INVOCATIONS[0] },
        Precision::F32,
    );
    let ops = plan.ops.iter().map(Some).chain([None]);
    let dispatches = program.dispatches.iter().zip(ops);
    dispatches
        .map(|(dispatch, op)| {
            let to = op.map(|op| plan.maps[op.destinations()[0].map]);
            let [height, width] = to.map_or([1, 1], |map| [map.height, map.width]);
            Row {
                name: name(op),
                output: [height, width, dispatch.channels],
                ..row(dispatch, pictures)
            }
        })
        .collect()
}

fn name(op: Option<&PlanOp>) -> String {
    match op {
        Some(PlanOp::Conv { outputs, .. }) => {
            let kernels = kernels();
            let names = outputs.iter().map(|output| kernels[output.conv].0.as_str());
            names.collect::<Vec<_>>().join(" ")
        }
        Some(PlanOp::MaxPool { .. }) => "max pool".into(),
        Some(PlanOp::AvgPool { .. }) => "average pool".into(),
        None => "global average pool".into(),
    }
}

fn row(dispatch: &Dispatch, pictures: usize) -> Row {
    let Dispatch {
        kernel,
        pixels,
        channels,
        steps,
        inputs,
        ..
    } = dispatch;
    let number = Precision::F32.bytes();
    let pixels = pictures * pixels;
    let [columns, rows, _] = dispatch.workgroups(pictures).map(|count| count as usize);
    let outputs = pixels * channels;
    let (tile, weights, done, invocations, read) = match kernel {
        Kernel::Conv(tile) => {
            let depth = steps * VECTOR;
            let weights = channels * (depth + 1);
            let done = rows * tile.rows() * channels * depth;
            let invocations = pixels.div_ceil(tile.pixels) * channels / tile.channels * tile.split;
            let read = columns * pixels * depth + rows * weights;
            let tile = [tile.pixels, tile.channels, tile.split];
            (Some(tile), weights, done, invocations, read)
        }
        // Each output's window; neighbours read it again.
        Kernel::MaxPool | Kernel::AvgPool => (None, 0, 0, outputs / VECTOR, 9 * outputs),
        Kernel::Mean => (None, 0, 0, outputs / VECTOR, pictures * inputs),
    };
    Row {
        name: String::new(),
        output: [0; 3],
        tile,
        macs: pixels * channels * steps * VECTOR,
        done,
        invocations,
        read: read * number,
        written: outputs * number,
        least: (pictures * inputs + weights + outputs) * number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_multiplications_are_counted_once() {
        // Keras's net with [h, w, channels] of each convolution's output: 5.71 billion, and a fourth channel of zeros in the first.
        let first = 149 * 149 * 32 * 9;
        let net: usize = crate::net::inception::table()
            .iter()
            .filter_map(|row| Some((row.kernel?, &row.output)))
            .map(|([out, inputs, h, w], shape)| shape[0] * shape[1] * out * inputs * h * w)
            .sum();
        let rows = rows(1);
        assert_eq!(rows.iter().map(|row| row.macs).sum::<usize>(), net + first);
        assert!(rows.len() <= 110, "{} dispatches", rows.len());
    }

    #[test]
    fn no_kernel_moves_less_than_the_least_nor_is_faster_than_the_roofline() {
        for pictures in [1, 4] {
            for row in rows(pictures) {
                let Row {
                    name,
                    macs,
                    done,
                    read,
                    written,
                    least,
                    ..
                } = &row;
                assert!(done >= macs && read + written >= *least, "{name}: {row:?}");
                for card in &CARDS {
                    let quickest = row.quickest(card);
                    assert!(
                        row.roofline(card) <= quickest && quickest <= row.slowest(card),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn caches_have_to_keep_a_twelfth_at_most() {
        // Weights are read once for each row of workgroups, pixels once for each column and tap: most often on small maps, where tiles are small.
        let rows = rows(1);
        let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>() as f64;
        let times = sum(|row| row.read + row.written) / sum(|row| row.least);
        assert!(times < 12.5, "{times} times the least");
        for row in rows.iter().filter(|row| row.tile.is_some()) {
            let operations = 2.0 * row.macs as f64 / (row.read + row.written) as f64;
            assert!(
                operations > 2.0,
                "{}: {operations} operations a byte",
                row.name
            );
        }
    }
}
