//! The net's plan as a GPU computes it: kernels in WGSL, and for each work which of them, on which numbers, in how many workgroups.
//!
//! Convolutions are implicit products on [height, width, channels] maps. Each invocation keeps a tile of pixels x channels in registers and
//! walks over the kernel's taps and the input's channels, four at a time; neighbours share their pixels and read weights that lie side by
//! side. Bias and ReLU are part of it, and outputs go to their slice of what the figure concatenates. All maps of a batch lie in one buffer,
//! which begins with zeros: what a tap beyond the border reads. Nothing here talks to a device; [`gpu`](crate::net::gpu) does, and
//! [`roofline`](crate::net::roofline) counts what is read and written.

use half::f16;

use crate::net::{
    inception::{AveragePool, Folded, LATENTS, kernels},
    plan::{Map, Place, Plan, Work},
};

/// Invocations in a workgroup.
const THREADS: usize = 64;
/// Of which so many lie side by side on channels, the others on pixels.
const COLUMNS: usize = 8;
/// Outputs of a convolution whose weights lie together: [bias, then taps x channels][16].
const BLOCK: usize = 16;
/// The most convolutions that one dispatch does.
const PARTS: usize = 4;
/// Zeros before the first map, in numbers: as many as a padded convolution has input channels.
const ZEROS: usize = 2048;
/// Bytes of a dispatch's numbers, as far apart as uniform offsets have to be.
pub(crate) const LAYER_BYTES: usize = 256;
/// Bytes of what lies before the latents: whether a number was too large.
pub(crate) const HEAD_BYTES: usize = 16;
/// Values in a vector, the unit in which buffers are addressed.
pub(crate) const VECTOR: usize = 4;
/// Invocations that a GPU may need to be busy; small GPUs are faster with fewer and larger tiles, large ones with more. The first is the default,
/// and those that are good for slow GPUs, which have no time to try all, come early.
pub(crate) const LANES: [usize; 4] = [4096, 1024, 16_384, 65_536];

/// Pictures in one submission; more are computed one batch after another.
pub(crate) const PICTURES: usize = 4;

/// How weights and maps lie in memory. Sums are f32 either way, and so are latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    /// Half the bytes; not every adapter reads it, and what is above 65,504 has no place.
    F16,
}

impl Number {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::F16 => 2,
        }
    }

    /// Its name in WGSL.
    fn name(self) -> &'static str {
        match self {
            Number::F32 => "f32",
            Number::F16 => "f16",
        }
    }
}

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Busy with so many invocations.
    Gpu { lanes: usize },
    /// A processor that plays GPU: busy with one invocation, and slow where it reads memory.
    Software,
}

/// What one pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Conv(Tile),
    MaxPool,
    AvgPool,
    /// Latents out of the last maps.
    Mean,
}

/// What one invocation of a convolution computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub pixels: usize,
    pub channels: usize,
    /// How many invocations share the input's channels of one tile, and add up at the end.
    pub split: usize,
}

/// For a GPU, from the most reuse of what is read to the most invocations.
const TILES: [Tile; 4] = [tile(8, 8, 1), tile(4, 8, 1), tile(4, 4, 1), tile(4, 4, 4)];
/// Larger ones take twice as long to compile, and are no faster.
const SOFTWARE: Tile = tile(12, 16, 1);

const fn tile(pixels: usize, channels: usize, split: usize) -> Tile {
    Tile {
        pixels,
        channels,
        split,
    }
}

impl Tile {
    /// Pixels of a workgroup.
    pub(crate) fn rows(&self) -> usize {
        THREADS / COLUMNS / self.split * self.pixels
    }

    /// Output channels of a workgroup.
    pub(crate) fn columns(&self) -> usize {
        COLUMNS * self.channels
    }

    /// The first that keeps a GPU busy, or else the one with the most invocations that the channels can be shared among.
    fn best(pixels: usize, outputs: usize, inputs: usize, machine: Machine) -> Tile {
        let Machine::Gpu { lanes } = machine else {
            return SOFTWARE;
        };
        let able = || {
            let tiles = TILES.iter();
            tiles.filter(|tile| inputs.is_multiple_of(tile.split * VECTOR))
        };
        let invocations =
            |tile: &Tile| pixels.div_ceil(tile.pixels) * (outputs / tile.channels) * tile.split;
        let found = able().find(|tile| invocations(tile) >= lanes);
        let found = found.or_else(|| able().next_back());
        *found.expect("every number of channels can be shared among one")
    }
}

/// One kernel over one work.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    pub kernel: Kernel,
    layer: Layer,
    /// Pixels of one picture that it writes, and channels.
    pub pixels: usize,
    pub channels: usize,
    /// A convolution's steps: taps x input channels / 4.
    pub steps: usize,
    /// The input's numbers, of one picture.
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

/// All that one forward is.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub dispatches: Vec<Dispatch>,
    pub number: Number,
    /// Values in the buffer of maps.
    pub arena: usize,
    /// Values in the buffer of weights.
    pub weights: usize,
    /// Values in the buffer of latents, which are f32.
    pub latents: usize,
    /// Where in the maps the pictures and the last of them begin.
    pub input: usize,
    pub output: usize,
    /// Where each convolution's weights begin, in its buffer.
    pub convs: Vec<usize>,
}

impl Program {
    /// For at most so many pictures at once, for one kind of machine.
    pub(crate) fn new(plan: &Plan, pictures: usize, machine: Machine, number: Number) -> Program {
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
            slots[map.slot] = slots[map.slot].max(map.pixels() * width(map));
        }
        let mut arena = ZEROS;
        let slots: Vec<_> = slots
            .into_iter()
            .map(|numbers| {
                let start = arena;
                arena += numbers * pictures;
                start
            })
            .collect();
        let start = |map: usize| slots[plan.maps[map].slot];
        let mut program = Program {
            dispatches: Vec::new(),
            number,
            arena,
            weights,
            latents: LATENTS * pictures,
            input: start(0),
            output: start(plan.output()),
            convs,
        };
        let works = plan
            .works
            .iter()
            .map(|work| program.dispatch(plan, &start, work, machine));
        let mut dispatches: Vec<_> = works.collect();
        dispatches.push(program.mean(&plan.maps[plan.output()]));
        program.dispatches = dispatches;
        program
    }

    fn dispatch(
        &self,
        plan: &Plan,
        start: &impl Fn(usize) -> usize,
        work: &Work,
        machine: Machine,
    ) -> Dispatch {
        let from = &plan.maps[work.reads()];
        let mut layer = Layer::new(start(work.reads()), from);
        let places = work.writes();
        let to = &plan.maps[places[0].map];
        layer.sizes(to);
        let target = |place: &Place| {
            let map = &plan.maps[place.map];
            [
                (start(place.map) + place.channel) / VECTOR,
                map.channels / VECTOR,
            ]
        };
        match work {
            Work::Conv {
                kernel: [h, w],
                stride,
                padding: padding @ [top, left],
                parts,
                ..
            } => {
                let channels = parts.iter().map(|part| part.channels).sum();
                let inputs = width(from);
                assert!(parts.len() <= PARTS && (padding == &[0, 0] || inputs <= ZEROS));
                let tile = Tile::best(to.pixels(), channels, inputs, machine);
                let steps = h * w * inputs / VECTOR;
                layer.window(*h, *w, *stride, *top, *left);
                layer.groups = channels / tile.channels;
                let mut end = 0;
                for part in parts {
                    end += part.channels / tile.channels;
                    layer.part(
                        end,
                        self.convs[part.conv],
                        steps,
                        target(&part.to),
                        part.bare,
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
            Work::MaxPool { to: place, .. } => {
                layer.window(3, 3, 2, 0, 0);
                layer.part(0, 0, 0, target(place), true);
                self.pool(Kernel::MaxPool, layer, from, to)
            }
            Work::AvgPool {
                bias, to: place, ..
            } => {
                layer.window(3, 3, 1, 1, 1);
                // Of that convolution's weights only the bias is wanted: its blocks are skipped.
                let steps = bias.map_or(0, |conv| {
                    let (_, [_, inputs, h, w]) = &kernels()[conv];
                    h * w * inputs / VECTOR
                });
                layer.part(
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

    fn pool(&self, kernel: Kernel, layer: Layer, from: &Map, to: &Map) -> Dispatch {
        Dispatch {
            kernel,
            layer,
            pixels: to.pixels(),
            channels: from.channels,
            steps: 0,
            inputs: from.numbers(),
        }
    }

    fn mean(&self, from: &Map) -> Dispatch {
        Dispatch {
            kernel: Kernel::Mean,
            layer: Layer::new(self.output, from),
            pixels: 1,
            channels: LATENTS,
            steps: 0,
            inputs: from.numbers(),
        }
    }

    /// The numbers of all dispatches, [`LAYER_BYTES`] each.
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

    /// The kernels of all dispatches, each once.
    pub(crate) fn kernels(&self) -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> = Vec::new();
        for Dispatch { kernel, .. } in &self.dispatches {
            if !kernels.contains(kernel) {
                kernels.push(*kernel);
            }
        }
        kernels
    }

    /// A kernel as WGSL.
    pub(crate) fn source(&self, kernel: Kernel) -> String {
        let body = match kernel {
            Kernel::Conv(tile) => conv(tile),
            Kernel::MaxPool => include_str!("max_pool.wgsl").into(),
            Kernel::AvgPool => include_str!("avg_pool.wgsl").into(),
            Kernel::Mean => include_str!("mean.wgsl").into(),
        };
        let [maps, weights, latents] =
            [self.arena, self.weights, self.latents].map(|numbers| numbers / VECTOR);
        let number = self.number.name();
        // Arrays of a length that is known make for cheaper checks of every index.
        let text = format!(
            "[f16] enable f16;
alias Number = {number};
alias Maps = array<vec4<Number>, {maps}>;
alias Weights = array<vec4<Number>, {weights}>;
alias Latents = array<vec4f, {latents}>;
{}
{body}",
            include_str!("layer.wgsl")
        );
        match self.number {
            Number::F32 => marked(&text, "[f32]", "[f16]"),
            Number::F16 => marked(&text, "[f16]", "[f32]"),
        }
    }
}

/// Channels in memory: a picture's three are four there.
fn width(map: &Map) -> usize {
    map.channels.next_multiple_of(VECTOR)
}

/// A convolution's numbers as the kernels read them: blocks of 16 outputs, each its bias and then [height, width, inputs][16].
pub(crate) fn pack(folded: &Folded, [out, inputs, h, w]: [usize; 4]) -> Vec<f32> {
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

/// Pictures as the first kernel reads them: [N, 299, 299, 3] with a fourth channel of zeros.
pub(crate) fn widen(images: &[f32]) -> Vec<f32> {
    images
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0.0])
        .collect()
}

/// Values as f16; nothing where one is too large, or is no number.
pub(crate) fn narrow(numbers: &[f32]) -> Option<Vec<u16>> {
    let narrow = |number: &f32| Some(f16::from_f32(*number)).filter(|narrow| narrow.is_finite());
    let numbers = numbers.iter();
    numbers
        .map(|number| Some(narrow(number)?.to_bits()))
        .collect()
}

/// What f16 are.
pub(crate) fn exact(numbers: &[u16]) -> Vec<f32> {
    let numbers = numbers.iter();
    numbers.map(|bits| f16::from_bits(*bits).to_f32()).collect()
}

/// The struct `Layer` of `layer.wgsl`, whose maps are measured and addressed in vectors.
#[derive(Debug, Clone, Default)]
struct Layer {
    start: usize,
    from: [usize; 3],
    to: [usize; 2],
    window: [usize; 5],
    groups: usize,
    parts: Vec<[u32; 8]>,
}

impl Layer {
    fn new(start: usize, from: &Map) -> Layer {
        Layer {
            start: start / VECTOR,
            from: [from.height, from.width, width(from) / VECTOR],
            ..Layer::default()
        }
    }

    fn sizes(&mut self, to: &Map) {
        self.to = [to.height, to.width];
    }

    fn window(&mut self, h: usize, w: usize, stride: usize, top: usize, left: usize) {
        self.window = [h, w, stride, top, left];
    }

    /// Outputs up to the group `end`; where they are `bare` there is neither bias nor ReLU.
    fn part(
        &mut self,
        end: usize,
        weights: usize,
        steps: usize,
        [to, stride]: [usize; 2],
        bare: bool,
    ) {
        let (bias, floor) = if bare {
            (0.0, f32::MIN)
        } else {
            (1.0f32, 0.0f32)
        };
        let block = BLOCK / VECTOR * (1 + steps * VECTOR);
        let numbers = [end, weights / VECTOR, block, to, stride].map(|number| number as u32);
        let [end, weights, block, to, stride] = numbers;
        self.parts.push([
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
        for (word, number) in words.iter_mut().zip(head) {
            *word = number as u32;
        }
        for (words, part) in words[16..].chunks_exact_mut(8).zip(&self.parts) {
            words.copy_from_slice(part);
        }
        words
    }
}

/// A kernel without the lines that are marked for others.
fn marked(text: &str, ours: &str, theirs: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with(theirs));
    lines
        .flat_map(|line| [line.strip_prefix(ours).unwrap_or(line), "\n"])
        .collect()
}

/// `conv.wgsl` for a tile, its lines repeated as they say.
fn conv(tile: Tile) -> String {
    let groups = tile.channels / VECTOR;
    let numbers = [
        ("#SUMS", THREADS * tile.pixels * groups),
        ("#COLUMNS", COLUMNS),
        ("#SPLIT", tile.split),
        ("#ROWS", THREADS / COLUMNS / tile.split),
        ("#PIXELS", tile.pixels),
        ("#GROUPS", groups),
        ("#THREADS", THREADS),
        ("#PER", BLOCK / tile.channels),
    ];
    let (ours, theirs) = if tile.split > 1 {
        ("[split]", "[whole]")
    } else {
        ("[whole]", "[split]")
    };
    let mut text = String::new();
    for line in marked(include_str!("conv.wgsl"), ours, theirs).lines() {
        if line.starts_with("//") {
            continue;
        }
        let line = numbers
            .iter()
            .fold(line.to_string(), |line, (name, number)| {
                line.replace(name, &number.to_string())
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

    const GPU: Machine = Machine::Gpu { lanes: LANES[0] };

    fn program(machine: Machine) -> Program {
        let (steps, ends) = graph();
        let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
        Program::new(&plan, PICTURES, machine, Number::F32)
    }

    #[test]
    fn a_forward_is_few_dispatches_within_the_limits_of_every_device() {
        for machine in [GPU, Machine::Software] {
            let program = program(machine);
            assert_eq!(program.dispatches.len(), 80);
            assert!(program.kernels().len() <= 7);
            // WebGPU promises 128 MiB a binding and 65,535 workgroups a dimension.
            assert!(program.arena * 4 <= 128 << 20, "{}", program.arena);
            assert!(program.weights * 4 <= 128 << 20, "{}", program.weights);
            for dispatch in &program.dispatches {
                let workgroups = dispatch.workgroups(PICTURES);
                assert!(workgroups.iter().all(|count| (1..=65_535).contains(count)));
            }
        }
    }

    #[test]
    fn a_gpu_is_kept_busy_and_a_processor_reads_little() {
        let tiles = |machine| {
            let kernels = program(machine).kernels();
            kernels
                .into_iter()
                .filter_map(|kernel| match kernel {
                    Kernel::Conv(tile) => Some(tile),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(tiles(Machine::Software), [SOFTWARE]);
        assert_eq!(tiles(GPU).len(), TILES.len());
    }

    #[test]
    fn other_tiles_need_neither_other_kernels_nor_other_places() {
        let first = program(GPU);
        let mut seen = Vec::new();
        for lanes in LANES {
            let program = program(Machine::Gpu { lanes });
            let known = first.kernels();
            assert!(
                program
                    .kernels()
                    .iter()
                    .all(|kernel| known.contains(kernel))
            );
            assert_eq!(program.arena, first.arena);
            assert_eq!([program.input, program.output], [first.input, first.output]);
            assert_eq!(program.convs, first.convs);
            assert_eq!(program.dispatches.len(), first.dispatches.len());
            let layers = program.layers(AveragePool::ExcludePadding);
            assert!(!seen.contains(&layers), "{lanes} is one that was tried");
            seen.push(layers);
        }
    }

    #[test]
    fn weights_lie_as_they_are_read() {
        let (out, inputs, h, w) = (32, 3, 1, 2);
        let number = |o: usize, i: usize, x: usize| (1000 * o + 10 * i + x) as f32;
        let mut kernel = Vec::new();
        for o in 0..out {
            for i in 0..inputs {
                kernel.extend((0..w).map(|x| number(o, i, x)));
            }
        }
        let kernel = KernelData::Floats(kernel);
        let bias = (0..out).map(|o| -(o as f32)).collect();
        let packed = pack(&Folded { kernel, bias }, [out, inputs, h, w]);
        let block = 16 * (1 + 2 * 4);
        assert_eq!(packed.len(), 2 * block);
        assert_eq!(packed[block + 5], -21.0, "the bias of output 21");
        for (x, i) in [(0, 0), (1, 2)] {
            assert_eq!(packed[block + 16 * (1 + 4 * x + i) + 5], number(21, i, x));
        }
        assert!(
            packed[16 * 4..16 * 5].iter().all(|value| *value == 0.0),
            "there is no fourth channel"
        );
    }

    #[test]
    fn kernels_are_valid_wgsl() {
        let tiles = TILES.map(Kernel::Conv);
        let tiles = tiles.into_iter().chain([Kernel::Conv(SOFTWARE)]);
        let others = [Kernel::MaxPool, Kernel::AvgPool, Kernel::Mean];
        let kernels: Vec<_> = tiles.chain(others).collect();
        // What every WebGPU device can do, and what those with `shader-f16` can.
        let able = [
            (Number::F32, Capabilities::empty()),
            (Number::F16, Capabilities::SHADER_FLOAT16),
        ];
        for (number, able) in able {
            let program = Program {
                number,
                ..program(GPU)
            };
            for kernel in &kernels {
                let source = program.source(*kernel);
                let module = naga::front::wgsl::parse_str(&source);
                let module =
                    module.unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                let info = Validator::new(ValidationFlags::all(), able).validate(&module);
                assert!(info.is_ok(), "{kernel:?}, {number:?}: {info:?}");
                let size = |name| {
                    let mut types = module.types.iter();
                    let found = types.find(|(_, ty)| ty.name.as_deref() == Some(name));
                    found.map(|(_, ty)| ty.inner.size(module.to_ctx()) as usize)
                };
                let layer = size("Layer");
                assert!(layer.is_some_and(|size| size <= LAYER_BYTES), "{layer:?}");
                assert_eq!(size("Results"), Some(HEAD_BYTES + program.latents * 4));
            }
        }
    }

    #[test]
    fn what_is_too_large_for_f16_is_not_narrowed() {
        let narrowed = narrow(&[1.0, -0.5, 65504.0, 1e-9]);
        assert_eq!(narrowed, Some(vec![0x3c00, 0xb800, 0x7bff, 0]));
        let back = narrowed.map(|narrowed| exact(&narrowed));
        assert_eq!(back, Some(vec![1.0, -0.5, 65504.0, 0.0]));
        for number in [65536.0, -1e9, f32::INFINITY, f32::NAN] {
            assert_eq!(narrow(&[0.0, number]), None, "{number}");
        }
    }
}
