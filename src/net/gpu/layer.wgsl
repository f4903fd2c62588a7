// Shared by all kernels. Channel counts and offsets are in vectors of four channels. Values are stored as Value (f32 or f16) and computed in
// f32. Lines tagged [f16] are for f16 only.

// The output of one convolution or pool.
struct Output {
  // The end (exclusive) of its channel groups.
  end: u32,
  // Offset of its first block of weights, and the length of a block.
  weights: u32,
  block: u32,
  // Offset of its first pixel, and the distance between pixels.
  out: u32,
  stride: u32,
  // 1, or 0 if another kernel adds the bias.
  bias: f32,
  // The lower bound: 0 for ReLU, the lowest f32 for none.
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
  // Groups of output channels, one per column of invocations.
  groups: u32,
  // The divisor of an average; 0 for the number of pixels inside the map.
  divisor: u32,
  spare_a: u32,
  spare_b: u32,
  spare_c: u32,
  outputs: array<Output, 4>,
}

struct Results {
  // Set to 1 if a value overflows f16.
  overflow: atomic<u32>,
  latents: Latents,
}

@group(0) @binding(0) var<storage, read_write> maps: Maps;
@group(0) @binding(1) var<storage, read> weights: Weights;
@group(0) @binding(2) var<uniform> layer: Layer;
// x: the batch size.
@group(0) @binding(3) var<uniform> pictures: vec4u;
@group(0) @binding(4) var<storage, read_write> results: Results;

fn put(at: u32, value: vec4f) {
[f16]   if (any(abs(value) > vec4f(65504.0))) { atomicStore(&results.overflow, 1u); }
  maps[at] = vec4<Value>(value);
}
