//! The plan as GPU dispatches: WGSL kernels, their parameters and workgroup counts. No device is used here.
//!
//! Convolutions are implicit matrix products on [height, width, channels] maps. Each invocation accumulates a tile of pixels x channels in
//! registers and loops over the kernel's taps and the input channels, four at a time. Neighbouring invocations read the same pixels and
//! adjacent weights. Bias and ReLU are fused, and outputs go to their channel range of the concatenated map. All maps of a batch are in one
//! buffer that starts with zeros, which are read for taps in the padding.

use half::f16;

use crate::net::{
    inception::{AveragePool, FoldedConv, LATENTS, kernels},
    plan::{Destination, FeatureMap, Plan, PlanOp},
};

/// Invocations in a workgroup.
const THREADS: usize = 64;
/// Invocations of a workgroup along the channels; the rest are along the pixels.
const COLUMNS: usize = 8;
/// Output channels per block of weights: [bias, then taps x input channels][16].
const BLOCK: usize = 16;
/// Maximum number of convolutions per dispatch.
const MAX_OUTPUTS: usize = 4;
/// Zeros before the first map, in values: the maximum number of input channels of a padded convolution.
const ZEROS: usize = 2048;
/// Bytes of a dispatch's parameters, equal to the required alignment of uniform offsets.
pub(crate) const LAYER_BYTES: usize = 256;
/// Bytes before the latents in the results buffer: the overflow flag.
pub(crate) const HEADER_BYTES: usize = 16;
/// Values per vector, the unit in which buffers are addressed.
pub(crate) const VECTOR: usize = 4;
/// Numbers of invocations that may be needed to occupy a GPU, to be tried in this order: small GPUs are faster with fewer, larger tiles, large
/// GPUs with more. The first is the default. Candidates for slow GPUs come early, because a slow GPU has no time to try all.
pub(crate) const MIN_INVOCATIONS: [usize; 4] = [4096, 1024, 16_384, 65_536];

/// Maximum batch size of one submission.
pub(crate) const PICTURES: usize = 4;

/// The type of weights and maps in GPU memory. Accumulators and latents are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    /// Half the memory, but needs `shader-f16`, and the largest value is 65,504.
    F16,
}

impl Precision {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    fn wgsl_name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        }
    }
}

/// The kind of device, which decides the tile sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceClass {
    /// A GPU that needs this many invocations to be occupied.
    Gpu { min_invocations: usize },
    /// A software adapter (CPU): one invocation occupies it, and memory reads are slow.
    Software,
}

/// One compute pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Conv(Tile),
    MaxPool,
    AvgPool,
    /// The global average pool: last maps -> latents.
    Mean,
}

/// The outputs of one convolution invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub pixels: usize,
    pub channels: usize,
    /// How many invocations split the input channels of a tile and add their sums at the end.
    pub split: usize,
}

/// Tiles for GPUs, from the most data reuse to the most invocations.
const TILES: [Tile; 4] = [tile(8, 8, 1), tile(4, 8, 1), tile(4, 4, 1), tile(4, 4, 4)];
/// The tile for software adapters. Larger ones take twice as long to compile and are no faster.
const SOFTWARE: Tile = tile(12, 16, 1);

const fn tile(pixels: usize, channels: usize, split: usize) -> Tile {
    Tile {
        pixels,
        channels,
        split,
    }
}

impl Tile {
    /// Pixels per workgroup.
    pub(crate) fn rows(&self) -> usize {
        THREADS / COLUMNS / self.split * self.pixels
    }

    /// Output channels per workgroup.
    pub(crate) fn columns(&self) -> usize {
        COLUMNS * self.channels
    }

    /// The first tile with enough invocations to occupy the device, or else the usable tile with the most invocations.
    fn best(pixels: usize, outputs: usize, inputs: usize, device_class: DeviceClass) -> Tile {
        let DeviceClass::Gpu { min_invocations } = device_class else {
            return SOFTWARE;
        };
        let usable = || {
            let tiles = TILES.iter();
            tiles.filter(|tile| inputs.is_multiple_of(tile.split * VECTOR))
        };
        let invocations =
            |tile: &Tile| pixels.div_ceil(tile.pixels) * (outputs / tile.channels) * tile.split;
        let found = usable().find(|tile| invocations(tile) >= min_invocations);
        let found = found.or_else(|| usable().next_back());
        *found.expect("a split of 1 is always usable")
    }
}

/// A kernel and its parameters for one op.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub kernel: Kernel,
    layer: Layer,
    /// Output pixels of one picture, and output channels.
    pub pixels: usize,
    pub channels: usize,
    /// Inner loop iterations of a convolution: taps x input channels / 4.
    pub steps: usize,
    /// Input values of one picture.
    pub inputs: usize,
}

impl Dispatch {
    pub(crate) fn workgroups(&self, pictures: usize) -> [u32; 3] {
        let pixels = pictures * self.pixels;
        let (columns, rows) = match self.kernel {
            Kernel::Conv(tile) => (
                self.channels.div_ceil(tile.columns()),
                pixels.div_ceil(tile.rows()),
            ),
            Kernel::MaxPool | Kernel::AvgPool | Kernel::Mean => {
                ((pixels * self.channels / VECTOR).div_ceil(THREADS), 1)
            }
        };
        [columns as u32, rows as u32, 1]
    }
}

/// All dispatches and the buffer layout of a forward pass.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub dispatches: Vec<Dispatch>,
    pub precision: Precision,
    /// Length of the map buffer, in values.
    pub arena: usize,
    /// Length of the weight buffer, in values.
    pub weights: usize,
    /// Length of the latent buffer, in f32 values.
    pub latents: usize,
    /// Offsets of the pictures and of the last maps in the map buffer, in values.
    pub input: usize,
    pub output: usize,
    /// The offset of each convolution's weights in the weight buffer, in values.
    pub convs: Vec<usize>,
}

impl Program {
    /// Builds the dispatches for a maximum batch size, a device class and a precision.
    pub(crate) fn new(
        plan: &Plan,
        pictures: usize,
        device_class: DeviceClass,
        precision: Precision,
    ) -> Program {
        let mut weights = 0;
        let convs = kernels().into_iter().map(|(_, [out, inputs, h, w])| {
            assert!(
                out.is_multiple_of(BLOCK),
                "outputs come in blocks of {BLOCK}"
            );
            let start = weights;
            weights += out * (1 + h * w * inputs.next_multiple_of(VECTOR));
            start
        });
        let convs: Vec<_> = convs.collect();
        let mut slots = vec![0; plan.slots.len()];
        for map in &plan.maps {
            slots[map.slot] = slots[map.slot].max(map.pixels() * padded_channels(map));
        }
        let mut arena = ZEROS;
        let slots: Vec<_> = slots
            .into_iter()
            .map(|len| {
                let start = arena;
                arena += len * pictures;
                start
            })
            .collect();
        let start = |map: usize| slots[plan.maps[map].slot];
        let mut program = Program {
            dispatches: Vec::new(),
            precision,
            arena,
            weights,
            latents: LATENTS * pictures,
            input: start(0),
            output: start(plan.output()),
            convs,
        };
        let ops = plan
            .ops
            .iter()
            .map(|op| program.dispatch(plan, &start, op, device_class));
        let mut dispatches: Vec<_> = ops.collect();
        dispatches.push(program.mean(&plan.maps[plan.output()]));
        program.dispatches = dispatches;
        program
    }

    fn dispatch(
        &self,
        plan: &Plan,
        start: &impl Fn(usize) -> usize,
        op: &PlanOp,
        device_class: DeviceClass,
    ) -> Dispatch {
        let from = &plan.maps[op.input_map()];
        let mut layer = Layer::new(start(op.input_map()), from);
        let places = op.destinations();
        let to = &plan.maps[places[0].map];
        layer.sizes(to);
        let target = |place: &Destination| {
            let map = &plan.maps[place.map];
            [
                (start(place.map) + place.channel) / VECTOR,
                map.channels / VECTOR,
            ]
        };
        match op {
            PlanOp::Conv {
                kernel: [h, w],
                stride,
                padding: padding @ [top, left],
                outputs,
                ..
            } => {
                let channels = outputs.iter().map(|output| output.channels).sum();
                let inputs = padded_channels(from);
                assert!(outputs.len() <= MAX_OUTPUTS && (padding == &[0, 0] || inputs <= ZEROS));
                let tile = Tile::best(to.pixels(), channels, inputs, device_class);
                let steps = h * w * inputs / VECTOR;
                layer.window(*h, *w, *stride, *top, *left);
                layer.groups = channels / tile.channels;
                let mut end = 0;
                for output in outputs {
                    end += output.channels / tile.channels;
                    layer.add_output(
                        end,
                        self.convs[output.conv],
                        steps,
                        target(&output.to),
                        output.raw,
                    );
                }
                Dispatch {
                    kernel: Kernel::Conv(tile),
                    layer,
                    pixels: to.pixels(),
                    channels,
                    steps,
                    inputs: from.pixels() * inputs,
                }
            }
            PlanOp::MaxPool { to: place, .. } => {
                layer.window(3, 3, 2, 0, 0);
                layer.add_output(0, 0, 0, target(place), true);
                self.pool(Kernel::MaxPool, layer, from, to)
            }
            PlanOp::AvgPool {
                bias, to: place, ..
            } => {
                layer.window(3, 3, 1, 1, 1);
                // Only the bias of the convolution is read; `steps` gives the distance between its blocks.
                let steps = bias.map_or(0, |conv| {
                    let (_, [_, inputs, h, w]) = &kernels()[conv];
                    h * w * inputs / VECTOR
                });
                layer.add_output(
                    0,
                    bias.map_or(0, |conv| self.convs[conv]),
                    steps,
                    target(place),
                    bias.is_none(),
                );
                self.pool(Kernel::AvgPool, layer, from, to)
            }
        }
    }

    fn pool(&self, kernel: Kernel, layer: Layer, from: &FeatureMap, to: &FeatureMap) -> Dispatch {
        Dispatch {
            kernel,
            layer,
            pixels: to.pixels(),
            channels: from.channels,
            steps: 0,
            inputs: from.len(),
        }
    }

    fn mean(&self, from: &FeatureMap) -> Dispatch {
        Dispatch {
            kernel: Kernel::Mean,
            layer: Layer::new(self.output, from),
            pixels: 1,
            channels: LATENTS,
            steps: 0,
            inputs: from.len(),
        }
    }

    /// The uniform parameters of all dispatches, [`LAYER_BYTES`] each.
    pub(crate) fn layers(&self, average_pool: AveragePool) -> Vec<u32> {
        let divisor = match average_pool {
            AveragePool::ExcludePadding => 0,
            AveragePool::IncludePadding => 9,
        };
        let dispatches = self.dispatches.iter();
        dispatches
            .flat_map(|dispatch| dispatch.layer.words(divisor))
            .collect()
    }

    /// The distinct kernels of all dispatches.
    pub(crate) fn kernels(&self) -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> = Vec::new();
        for Dispatch { kernel, .. } in &self.dispatches {
            if !kernels.contains(kernel) {
                kernels.push(*kernel);
            }
        }
        kernels
    }

    /// The WGSL source of a kernel.
    pub(crate) fn source(&self, kernel: Kernel) -> String {
        let body = match kernel {
            Kernel::Conv(tile) => conv(tile),
            Kernel::MaxPool => include_str!("max_pool.wgsl").into(),
            Kernel::AvgPool => include_str!("avg_pool.wgsl").into(),
            Kernel::Mean => include_str!("mean.wgsl").into(),
        };
        let [maps, weights, latents] =
            [self.arena, self.weights, self.latents].map(|len| len / VECTOR);
        let precision = self.precision.wgsl_name();
        // Fixed-size arrays have cheaper bounds checks.
        let text = format!(
            "[f16] enable f16;
alias Value = {precision};
alias Maps = array<vec4<Value>, {maps}>;
alias Weights = array<vec4<Value>, {weights}>;
alias Latents = array<vec4f, {latents}>;
{}
{body}",
            include_str!("layer.wgsl")
        );
        match self.precision {
            Precision::F32 => select_lines(&text, "[f32]", "[f16]"),
            Precision::F16 => select_lines(&text, "[f16]", "[f32]"),
        }
    }
}

/// The number of channels in memory: padded to a multiple of four.
fn padded_channels(map: &FeatureMap) -> usize {
    map.channels.next_multiple_of(VECTOR)
}

/// Packs a convolution's weights for the kernels: blocks of 16 outputs, each the bias followed by [height, width, inputs][16].
pub(crate) fn pack(folded: &FoldedConv, [out, inputs, h, w]: [usize; 4]) -> Vec<f32> {
    let padded = inputs.next_multiple_of(VECTOR);
    let mut packed = vec![0.0; out * (1 + h * w * padded)];
    let blocks = packed.chunks_exact_mut(BLOCK * (1 + h * w * padded));
    let kernel = folded.kernel.floats();
    let kernels = kernel.chunks_exact(BLOCK * inputs * h * w);
    for ((block, bias), kernel) in blocks.zip(folded.bias.chunks_exact(BLOCK)).zip(kernels) {
        let (first, rest) = block.split_at_mut(BLOCK);
        first.copy_from_slice(bias);
        for (column, kernel) in kernel.chunks_exact(inputs * h * w).enumerate() {
            for (input, taps) in kernel.chunks_exact(h * w).enumerate() {
                for (tap, value) in taps.iter().enumerate() {
                    rest[(tap * padded + input) * BLOCK + column] = *value;
                }
            }
        }
    }
    packed
}

/// Pads pictures [N, 299, 299, 3] to four channels with zeros.
pub(crate) fn pad_channels(images: &[f32]) -> Vec<f32> {
    images
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0.0])
        .collect()
}

/// Converts to f16 bits; `None` if a value overflows or is not finite.
pub(crate) fn f32_to_f16(values: &[f32]) -> Option<Vec<u16>> {
    let values = values.iter().map(|value| f16::from_f32(*value));
    values
        .map(|value| value.is_finite().then(|| value.to_bits()))
        .collect()
}

/// Converts f16 bits to f32.
pub(crate) fn f16_to_f32(values: &[u16]) -> Vec<f32> {
    let values = values.iter();
    values.map(|bits| f16::from_bits(*bits).to_f32()).collect()
}

/// The struct `Layer` of `layer.wgsl`. Channels and offsets are in vectors.
#[derive(Debug, Clone, Default)]
struct Layer {
    start: usize,
    from: [usize; 3],
    to: [usize; 2],
    window: [usize; 5],
    groups: usize,
    outputs: Vec<[u32; 8]>,
}

impl Layer {
    fn new(start: usize, from: &FeatureMap) -> Layer {
        Layer {
            start: start / VECTOR,
            from: [from.height, from.width, padded_channels(from) / VECTOR],
            ..Layer::default()
        }
    }

    fn sizes(&mut self, to: &FeatureMap) {
        self.to = [to.height, to.width];
    }

    fn window(&mut self, h: usize, w: usize, stride: usize, top: usize, left: usize) {
        self.window = [h, w, stride, top, left];
    }

    /// Adds an output for the channel groups up to `end`. With `raw`, neither bias nor ReLU is applied.
    fn add_output(
        &mut self,
        end: usize,
        weights: usize,
        steps: usize,
        [to, stride]: [usize; 2],
        raw: bool,
    ) {
        let (bias, floor) = if raw {
            (0.0, f32::MIN)
        } else {
            (1.0f32, 0.0f32)
        };
        let block = BLOCK / VECTOR * (1 + steps * VECTOR);
        let words = [end, weights / VECTOR, block, to, stride].map(|value| value as u32);
        let [end, weights, block, to, stride] = words;
        self.outputs.push([
            end,
            weights,
            block,
            to,
            stride,
            bias.to_bits(),
            floor.to_bits(),
            0,
        ]);
    }

    fn words(&self, divisor: usize) -> [u32; LAYER_BYTES / 4] {
        let mut words = [0; LAYER_BYTES / 4];
        let head = [self.start]
            .into_iter()
            .chain(self.from)
            .chain(self.to)
            .chain(self.window);
        let head = head.chain([self.groups, divisor]);
        for (word, value) in words.iter_mut().zip(head) {
            *word = value as u32;
        }
        for (words, output) in words[16..].chunks_exact_mut(8).zip(&self.outputs) {
            words.copy_from_slice(output);
        }
        words
    }
}

/// Keeps the lines that start with the tag `keep`, drops those that start with `drop`, and strips the tags.
fn select_lines(text: &str, keep: &str, drop: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(drop));
    lines
        .flat_map(|line| [line.strip_prefix(keep).unwrap_or(line), "\n"])
        .collect()
}

/// Instantiates `conv.wgsl` for a tile: replaces constants and repeats lines for pixels (`#p`) and channel groups (`#g`).
fn conv(tile: Tile) -> String {
    let groups = tile.channels / VECTOR;
    let constants = [
        ("#SUMS", THREADS * tile.pixels * groups),
        ("#COLUMNS", COLUMNS),
        ("#SPLIT", tile.split),
        ("#ROWS", THREADS / COLUMNS / tile.split),
        ("#PIXELS", tile.pixels),
        ("#GROUPS", groups),
        ("#THREADS", THREADS),
        ("#PER", BLOCK / tile.channels),
    ];
    let (keep, drop) = if tile.split > 1 {
        ("[split]", "[whole]")
    } else {
        ("[whole]", "[split]")
    };
    let mut text = String::new();
    for line in select_lines(include_str!("conv.wgsl"), keep, drop).lines() {
        if line.starts_with("//") {
            continue;
        }
        let line = constants
            .iter()
            .fold(line.to_string(), |line, (name, value)| {
                line.replace(name, &value.to_string())
            });
        let times = |name, count| if line.contains(name) { count } else { 1 };
        for pixel in 0..times("#p", tile.pixels) {
            for group in 0..times("#g", groups) {
                let line = line.replace("#p", &pixel.to_string());
                text += &line.replace("#g", &group.to_string());
                text += "\n";
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::{
        format::quantized::KernelData,
        net::inception::{INPUT, graph},
    };

    const GPU: DeviceClass = DeviceClass::Gpu {
        min_invocations: MIN_INVOCATIONS[0],
    };

    fn program(device_class: DeviceClass) -> Program {
        let (steps, ends) = graph();
        let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
        Program::new(&plan, PICTURES, device_class, Precision::F32)
    }

    #[test]
    fn dispatches_and_buffers_are_within_the_default_limits() {
        for device_class in [GPU, DeviceClass::Software] {
            let program = program(device_class);
            assert_eq!(program.dispatches.len(), 80);
            assert!(program.kernels().len() <= 7);
            // The default limits of WebGPU: 128 MiB per binding and 65,535 workgroups per dimension.
            assert!(program.arena * 4 <= 128 << 20, "{}", program.arena);
            assert!(program.weights * 4 <= 128 << 20, "{}", program.weights);
            for dispatch in &program.dispatches {
                let workgroups = dispatch.workgroups(PICTURES);
                assert!(workgroups.iter().all(|count| (1..=65_535).contains(count)));
            }
        }
    }

    #[test]
    fn gpus_use_all_tiles_and_software_adapters_one() {
        let tiles = |device_class| {
            let kernels = program(device_class).kernels();
            kernels
                .into_iter()
                .filter_map(|kernel| match kernel {
                    Kernel::Conv(tile) => Some(tile),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(tiles(DeviceClass::Software), [SOFTWARE]);
        assert_eq!(tiles(GPU).len(), TILES.len());
    }

    #[test]
    fn tuning_candidates_share_kernels_and_buffer_layout() {
        let first = program(GPU);
        let mut seen = Vec::new();
        for min_invocations in MIN_INVOCATIONS {
            let program = program(DeviceClass::Gpu { min_invocations });
            let compiled = first.kernels();
            assert!(
                program
                    .kernels()
                    .iter()
                    .all(|kernel| compiled.contains(kernel))
            );
            assert_eq!(program.arena, first.arena);
            assert_eq!([program.input, program.output], [first.input, first.output]);
            assert_eq!(program.convs, first.convs);
            assert_eq!(program.dispatches.len(), first.dispatches.len());
            let layers = program.layers(AveragePool::ExcludePadding);
            assert!(
                !seen.contains(&layers),
                "{min_invocations} selects the same tiles as an earlier candidate"
            );
            seen.push(layers);
        }
    }

    #[test]
    fn weights_are_packed_in_blocks_of_16_outputs() {
        let (out, inputs, h, w) = (32, 3, 1, 2);
        let value = |o: usize, i: usize, x: usize| (1000 * o + 10 * i + x) as f32;
        let mut kernel = Vec::new();
        for o in 0..out {
            for i in 0..inputs {
                kernel.extend((0..w).map(|x| value(o, i, x)));
            }
        }
        let kernel = KernelData::Floats(kernel);
        let bias = (0..out).map(|o| -(o as f32)).collect();
        let packed = pack(&FoldedConv { kernel, bias }, [out, inputs, h, w]);
        let block = 16 * (1 + 2 * 4);
        assert_eq!(packed.len(), 2 * block);
        assert_eq!(packed[block + 5], -21.0, "the bias of output 21");
        for (x, i) in [(0, 0), (1, 2)] {
            assert_eq!(packed[block + 16 * (1 + 4 * x + i) + 5], value(21, i, x));
        }
        assert!(
            packed[16 * 4..16 * 5].iter().all(|value| *value == 0.0),
            "the fourth input channel is padding"
        );
    }

    #[test]
    fn kernels_are_valid_wgsl() {
        let tiles = TILES.map(Kernel::Conv);
        let tiles = tiles.into_iter().chain([Kernel::Conv(SOFTWARE)]);
        let others = [Kernel::MaxPool, Kernel::AvgPool, Kernel::Mean];
        let kernels: Vec<_> = tiles.chain(others).collect();
        // The base feature set, and devices with `shader-f16`.
        let capabilities = [
            (Precision::F32, Capabilities::empty()),
            (Precision::F16, Capabilities::SHADER_FLOAT16),
        ];
        for (precision, capabilities) in capabilities {
            let program = Program {
                precision,
                ..program(GPU)
            };
            for kernel in &kernels {
                let source = program.source(*kernel);
                let module = naga::front::wgsl::parse_str(&source);
                let module =
                    module.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
                assert!(info.is_ok(), "{kernel:?}, {precision:?}: {info:?}");
                let size = |name| {
                    let mut types = module.types.iter();
                    let found = types.find(|(_, ty)| ty.name.as_deref() == Some(name));
                    found.map(|(_, ty)| ty.inner.size(module.to_ctx()) as usize)
                };
                let layer = size("Layer");
                assert!(layer.is_some_and(|size| size <= LAYER_BYTES), "{layer:?}");
                assert_eq!(size("Results"), Some(HEADER_BYTES + program.latents * 4));
            }
        }
    }

    #[test]
    fn values_too_large_for_f16_are_rejected() {
        let halves = f32_to_f16(&[1.0, -0.5, 65504.0, 1e-9]);
        assert_eq!(halves, Some(vec![0x3c00, 0xb800, 0x7bff, 0]));
        let back = halves.map(|halves| f16_to_f32(&halves));
        assert_eq!(back, Some(vec![1.0, -0.5, 65504.0, 0.0]));
        for value in [65536.0, -1e9, f32::INFINITY, f32::NAN] {
            assert_eq!(f32_to_f16(&[0.0, value]), None, "{value}");
        }
    }
}
