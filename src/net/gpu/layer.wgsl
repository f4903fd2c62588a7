// What all kernels share. Lengths and addresses are in vectors of four channels. Numbers are stored as Number, f32 or f16, and computed with
// as f32. Lines after [f16] are for f16 alone.

// Outputs that go to one place.
struct Part {
  // One after the last of its groups of channels.
  end: u32,
  // Where its first block of weights begins, and the length of each.
  weights: u32,
  block: u32,
  // Where its first pixel goes, and how far the next one is.
  out: u32,
  stride: u32,
  // 1, or 0 where the bias is left to another kernel.
  bias: f32,
  // 0 for ReLU, or the least number.
  floor: f32,
  spare: u32,
}

struct Layer {
  source: u32,
  height: u32,
  width: u32,
  channels: u32,
  out_height: u32,
  out_width: u32,
  kernel_height: u32,
  kernel_width: u32,
  stride: u32,
  top: u32,
  left: u32,
  // Groups of output channels, one to a column of invocations.
  groups: u32,
  // What an average is divided by; 0 for the pixels that are there.
  divisor: u32,
  spare_a: u32,
  spare_b: u32,
  spare_c: u32,
  parts: array<Part, 4>,
}

struct Results {
  // 1 once a number was larger than f16 has any.
  overflow: atomic<u32>,
  latents: Latents,
}

@group(0) @binding(0) var<storage, read_write> maps: Maps;
@group(0) @binding(1) var<storage, read> weights: Weights;
@group(0) @binding(2) var<uniform> layer: Layer;
// How many there are in this batch.
@group(0) @binding(3) var<uniform> pictures: vec4u;
@group(0) @binding(4) var<storage, read_write> results: Results;

fn put(at: u32, value: vec4f) {
[f16]   if (any(abs(value) > vec4f(65504.0))) { atomicStore(&results.overflow, 1u); }
  maps[at] = vec4<Number>(value);
}
