//! A roofline model of the GPU backend: operations and memory traffic of each dispatch, computed from shapes, and the resulting time on
//! reference GPUs.
//!
//! CI has only a software adapter, whose timings say little about GPUs; these counts hold for any GPU. The roofline (Williams et al. 2009,
//! <https://doi.org/10.1145/1498765.1498785>) is the longer of two times: all multiplications at peak throughput, and the minimum memory
//! traffic (inputs, weights and outputs once each) at peak bandwidth. The kernels also multiply the padding at tile edges, and each workgroup
//! reads shared data again: [`Row::quickest`] includes the former, [`Row::slowest`] both.

use crate::net::{
    gpu::dispatch::{DeviceClass, Dispatch, Kernel, MIN_INVOCATIONS, Precision, Program, VECTOR},
    inception::{INPUT, graph, kernels},
    plan::{Plan, PlanOp},
};

/// Invocations in flight per arithmetic unit to hide memory latency.
const IN_FLIGHT: f64 = 4.0;

/// Published peak figures of a GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuSpec {
    /// Its name.
    pub name: &'static str,
    /// Peak f32 operations per second; a multiply-add counts as two.
    pub flops: f64,
    /// Peak memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// f32 multiply-adds per clock cycle.
    pub units: f64,
    /// The source of the figures.
    pub source: &'static str,
}

/// An integrated GPU, a laptop GPU and an Apple M series GPU.
pub const REFERENCE_GPUS: [GpuSpec; 3] = [
    // 96 execution units x 8 at 1.35 GHz; LPDDR4x-4267 on 128 bits.
    GpuSpec {
        name: "Intel Iris Xe",
        flops: 2.07e12,
        bandwidth: 68.3e9,
        units: 768.0,
        source: "Core i7-1185G7, ark.intel.com",
    },
    // 3,072 CUDA cores at the lowest boost clock, 1.47 GHz; GDDR6 at 16 Gbit/s on 128 bits.
    GpuSpec {
        name: "NVIDIA RTX 4060 Laptop",
        flops: 9.03e12,
        bandwidth: 256e9,
        units: 3072.0,
        source: "nvidia.com/geforce/laptops/compare",
    },
    // Ten cores x 128.
    GpuSpec {
        name: "Apple M2",
        flops: 3.6e12,
        bandwidth: 100e9,
        units: 1280.0,
        source: "apple.com/newsroom, 6 June 2022",
    },
];

/// Counts of one dispatch for one batch, in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Keras names of the convolutions, or the kind of pool.
    pub name: String,
    /// [height, width, channels] of the output.
    pub output: [usize; 3],
    /// For convolutions: pixels and channels of a tile, and the number of invocations that share it.
    pub tile: Option<[usize; 3]>,
    /// Multiply-adds of the layer.
    pub macs: usize,
    /// Multiply-adds of the kernel, including the padding at tile edges.
    pub done: usize,
    /// Number of invocations.
    pub invocations: usize,
    /// Bytes read, if each workgroup reads each value once per tap.
    pub read: usize,
    /// Bytes written.
    pub written: usize,
    /// Minimum traffic in bytes: inputs, weights and outputs once each.
    pub least: usize,
}

impl Row {
    /// Arithmetic intensity: operations per byte of minimum traffic.
    pub fn intensity(&self) -> f64 {
        2.0 * self.macs as f64 / self.least as f64
    }

    /// The lower bound for any kernel, in seconds.
    pub fn roofline(&self, gpu: &GpuSpec) -> f64 {
        let computed = 2.0 * self.macs as f64 / gpu.flops;
        computed.max(self.least as f64 / gpu.bandwidth)
    }

    /// Seconds of this kernel if all reads shared by workgroups hit the cache.
    pub fn quickest(&self, gpu: &GpuSpec) -> f64 {
        self.computing(gpu).max(self.least as f64 / gpu.bandwidth)
    }

    /// Seconds of this kernel if no read hits the cache.
    pub fn slowest(&self, gpu: &GpuSpec) -> f64 {
        let moved = (self.read + self.written) as f64;
        self.computing(gpu).max(moved / gpu.bandwidth)
    }

    /// Seconds of arithmetic; too few invocations leave arithmetic units idle.
    fn computing(&self, gpu: &GpuSpec) -> f64 {
        let occupancy = (self.invocations as f64 / (IN_FLIGHT * gpu.units)).min(1.0);
        2.0 * self.done as f64 / (gpu.flops * occupancy)
    }
}

/// The dispatches of a forward pass with this batch size, in order.
pub fn rows(pictures: usize) -> Vec<Row> {
    let (steps, ends) = graph();
    let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
    let program = Program::new(
        &plan,
        pictures,
        DeviceClass::Gpu {
            min_invocations: MIN_INVOCATIONS[0],
        },
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
    let bytes = Precision::F32.bytes();
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
        // 3x3 windows; overlaps are read again.
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
        read: read * bytes,
        written: outputs * bytes,
        least: (pictures * inputs + weights + outputs) * bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiply_adds_match_the_network() {
        // 5.71 billion multiply-adds, and those of the padded fourth channel in the first convolution.
        let padding = 149 * 149 * 32 * 9;
        let net: usize = crate::net::inception::table()
            .iter()
            .filter_map(|row| Some((row.kernel?, &row.output)))
            .map(|([out, inputs, h, w], shape)| shape[0] * shape[1] * out * inputs * h * w)
            .sum();
        let rows = rows(1);
        assert_eq!(
            rows.iter().map(|row| row.macs).sum::<usize>(),
            net + padding
        );
        assert!(rows.len() <= 110, "{} dispatches", rows.len());
    }

    #[test]
    fn traffic_and_time_are_at_least_their_lower_bounds() {
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
                for gpu in &REFERENCE_GPUS {
                    let quickest = row.quickest(gpu);
                    assert!(
                        row.roofline(gpu) <= quickest && quickest <= row.slowest(gpu),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn traffic_without_caches_is_below_12_5_times_the_minimum() {
        // Weights are read once per row of workgroups, pixels once per column and tap. The ratio is highest on small maps, which have small tiles.
        let rows = rows(1);
        let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>() as f64;
        let times = sum(|row| row.read + row.written) / sum(|row| row.least);
        assert!(times < 12.5, "{times} times the minimum");
        for row in rows.iter().filter(|row| row.tile.is_some()) {
            let operations = 2.0 * row.macs as f64 / (row.read + row.written) as f64;
            assert!(
                operations > 2.0,
                "{}: {operations} operations per byte",
                row.name
            );
        }
    }
}
