//! Inception V3 exported to ONNX, by torch (both exporters) and by tf2onnx.
//!
//! Names and the order of nodes say nothing here: the file's graph is traced from its output, and must be the net's own graph step for
//! step (`graph` of `inception.rs`). BatchNorm may be folded already or not. What an exporter put before the first convolution (torchvision's
//! `transform_input`, a rescaling) becomes part of how pictures reach the net.

use std::collections::{HashMap, HashSet};

use half::{bf16, f16};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};

use crate::{
    error::Error,
    format::{
        onnx::{Attribute, Node, Property, Tensor, ValueInfo},
        safetensors::numbers,
    },
    head::Dense,
    image::InputRange,
    net::inception::{AveragePool, LATENTS, Op, Step, graph, kernels},
    weights::{
        Classifier, Info, Source,
        import::layer::{File, Layer, Norm},
    },
};

const HINT: &str = "export an Inception V3 of torchvision, timm or Keras, in eval mode";
/// Nodes of an exported net, some 480 at most, and their bytes, notes about the exporter's own code included.
const NODES: usize = 20_000;
const NODE_BYTES: usize = 8 << 20;
/// Nodes one after another, from the output to the picture.
const DEPTH: usize = 1000;
/// What a tensor's message has besides its numbers: its name, a note.
const NOTES: usize = 64 << 10;
/// The most bytes of a number in a message: a field of its own.
const NUMBER: usize = 12;
/// Sides of a tensor.
const RANK: usize = 8;

/// A tensor's name and shape alone: the numbers are skipped.
#[derive(Message)]
struct Named {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
}

/// The file whose one graph has nodes.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        // A model's version comes first.
        file.bytes.first() == Some(&0x08)
            && fields(file.bytes).is_ok_and(|fields| fields.iter().any(|(tag, _)| *tag == GRAPH))
    });
    found.copied()
}

/// A model's graph; a graph's nodes, tensors, inputs and outputs.
const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;

/// Reads the base, and the classifier if one dense layer lies on top of it; a deeper top is left out. Weights kept beside the model are
/// looked for among `files`.
///
/// # Errors
/// A damaged file, a graph that is not Inception V3's, tensors of other shapes.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let wrong = |reason: String| Error::Source {
        file: file.name.into(),
        reason,
        hint: HINT,
    };
    let model = OpenedModel::open(file.bytes, files).map_err(wrong)?;
    let mut tracer = Tracer {
        model: &model,
        steps: Vec::new(),
        convs: Vec::new(),
        values: HashMap::new(),
        open: HashSet::new(),
        padding_counts: None,
        affine: None,
    };
    let (last, top) = model.top().map_err(wrong)?;
    let ends = tracer.value(&last, 0).map_err(wrong)?;
    let (steps, want_ends) = graph();
    if let Some((k, (got, want))) = (1..)
        .zip(tracer.steps.iter().zip(&steps))
        .find(|(_, (got, want))| got != want)
    {
        let reason = format!("step {k} of its graph is {got:?}, Inception V3's is {want:?}");
        return Err(wrong(reason));
    }
    if (tracer.steps.len(), &ends) != (steps.len(), &Value::Maps(want_ends)) {
        let reason = format!(
            "its graph has {} steps, Inception V3's has {}",
            tracer.steps.len(),
            steps.len()
        );
        return Err(wrong(reason));
    }
    let mut convs = Vec::new();
    for ((name, shape), conv) in kernels().into_iter().zip(&tracer.convs) {
        let out = &shape[..1];
        let take = |tensor: &str, want: &[usize]| {
            let got = model.shape(tensor).map_err(wrong)?;
            if got != want {
                return Err(Error::Shape {
                    what: "weights",
                    name: tensor.into(),
                    want: want.into(),
                    got,
                });
            }
            let (_, values) = model.tensor(tensor).map_err(wrong)?;
            match values.iter().position(|value| !value.is_finite()) {
                Some(index) => Err(Error::NotFinite {
                    what: "weights",
                    name: tensor.into(),
                    index,
                }),
                None => Ok(values),
            }
        };
        let norm = match &conv.norm {
            Some((parts, epsilon)) => Some(Norm {
                gamma: Some(take(&parts[0], out)?),
                beta: take(&parts[1], out)?,
                mean: take(&parts[2], out)?,
                variance: take(&parts[3], out)?,
                epsilon: *epsilon,
            }),
            None => None,
        };
        let bias = conv.bias.as_ref().map(|bias| take(bias, out)).transpose()?;
        let layer = Layer {
            kernel: take(&conv.kernel, &shape)?,
            // Without BatchNorm and without a bias of its own the bias is nothing.
            bias: bias.or_else(|| norm.is_none().then(|| vec![0.0; shape[0]])),
            norm,
        };
        convs.push(layer.fold(&name)?);
    }
    Ok(Source {
        info: info(&file, &tracer),
        convs,
        classifier: match top {
            Some(top) => model
                .classifier(&top)
                .map_err(wrong)?
                .map(Classifier::new)
                .transpose()?,
            None => None,
        },
    })
}

fn info(file: &File, tracer: &Tracer) -> Info {
    Info {
        name: format!("Inception V3 from {}", file.name),
        source: format!("{}, ONNX", file.name),
        licence: "not told by the file".into(),
        note: "A base that you brought; what it is good at depends on what it was trained on."
            .into(),
        range: tracer.affine.as_ref().map_or(InputRange::SIGNED, range),
        average_pool: match tracer.padding_counts {
            Some(true) => AveragePool::IncludePadding,
            _ => AveragePool::ExcludePadding,
        },
        self_test_latents: Vec::new(),
    }
}

/// How pictures reach the net, from what the graph does to them before the first convolution.
fn range(affine: &[Channel; 3]) -> InputRange {
    let through = |black: f64, white: f64, c: usize| {
        let Channel { scale, offset, .. } = affine[c];
        [black * scale + offset, white * scale + offset]
    };
    let both: [[f64; 2]; 3] = std::array::from_fn(|c| match affine[c] {
        // As it is: every net here was trained from -1 to 1.
        Channel {
            scale: 1.0,
            offset: 0.0,
            ..
        } => [-1.0, 1.0],
        // Made for pixels from 0 to 255.
        Channel { scale, .. } if scale.abs() < 0.05 => through(0.0, 255.0, c),
        // Made for what torchvision's transforms give.
        _ => {
            let InputRange { low, high } = InputRange::IMAGENET;
            through(low[c].into(), high[c].into(), c)
        }
    });
    let signed = both
        .iter()
        .all(|[low, high]| (low + 1.0).abs() + (high - 1.0).abs() < 1e-5);
    match signed {
        true => InputRange::SIGNED,
        false => InputRange {
            low: both.map(|[low, _]| low as f32),
            high: both.map(|[_, high]| high as f32),
        },
    }
}

/// Length-delimited fields of a message, with their tags; others are passed over.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u32, &[u8])>, String> {
    let tell = |error: prost::DecodeError| format!("no ONNX: {error}");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).map_err(tell)?;
        let skip = match wire {
            WireType::Varint => {
                decode_varint(&mut bytes).map_err(tell)?;
                continue;
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => decode_varint(&mut bytes).map_err(tell)?,
            _ => return Err("no ONNX: it has groups".into()),
        };
        let length = usize::try_from(skip).unwrap_or(usize::MAX);
        let (own, rest) = bytes.split_at_checked(length).ok_or("it ends too early")?;
        if wire == WireType::LengthDelimited {
            found.push((tag, own));
        }
        if found.len() > 10 * NODES {
            return Err("it has too many parts".into());
        }
        bytes = rest;
    }
    Ok(found)
}

/// An opened graph: its nodes by what they put out, its tensors still packed.
struct OpenedModel<'a> {
    nodes: Vec<Node>,
    producers: HashMap<String, usize>,
    /// Shapes, and messages still packed.
    tensors: HashMap<String, (Vec<usize>, &'a [u8])>,
    inputs: HashSet<String>,
    outputs: Vec<String>,
    files: &'a [File<'a>],
}

impl<'a> OpenedModel<'a> {
    fn open(bytes: &'a [u8], files: &'a [File<'a>]) -> Result<OpenedModel<'a>, String> {
        let tell = |error: prost::DecodeError| error.to_string();
        let graph = fields(bytes)?.into_iter().find(|(tag, _)| *tag == GRAPH);
        let (_, graph) = graph.ok_or("it holds no graph")?;
        let mut model = OpenedModel {
            nodes: Vec::new(),
            producers: HashMap::new(),
            tensors: HashMap::new(),
            inputs: HashSet::new(),
            outputs: Vec::new(),
            files,
        };
        let mut node_bytes = 0;
        for (tag, own) in fields(graph)? {
            match tag {
                NODE => {
                    node_bytes += own.len();
                    if node_bytes > NODE_BYTES || model.nodes.len() >= NODES {
                        return Err("its graph is too large for Inception V3".into());
                    }
                    let node = Node::decode(own).map_err(tell)?;
                    for output in &node.output {
                        let earlier = model.producers.insert(output.clone(), model.nodes.len());
                        if earlier.is_some() {
                            return Err(format!("{output:?} comes out of two nodes"));
                        }
                    }
                    model.nodes.push(node);
                }
                INITIALIZER => {
                    let Named { dims, name } = Named::decode(own).map_err(tell)?;
                    let shape = sides(&dims).map_err(|reason| format!("{name}: {reason}"))?;
                    model.tensors.insert(name, (shape, own));
                }
                INPUT => {
                    model
                        .inputs
                        .insert(ValueInfo::decode(own).map_err(tell)?.name);
                }
                OUTPUT => model
                    .outputs
                    .push(ValueInfo::decode(own).map_err(tell)?.name),
                _ => {}
            }
        }
        Ok(model)
    }

    fn producer(&self, value: &str) -> Option<&Node> {
        self.producers.get(value).map(|node| &self.nodes[*node])
    }

    /// A tensor's shape and numbers, also one that a node holds.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), String> {
        let decoded;
        let tensor = match (self.tensors.get(name), self.producer(name)) {
            (Some((shape, packed)), _) => {
                let count = shape.iter().fold(NUMBER, |a, b| a.saturating_mul(*b));
                if packed.len() > count.saturating_add(NOTES) {
                    let got = packed.len();
                    return Err(format!("{name}: {got} bytes for the shape {shape:?}"));
                }
                decoded = Tensor::decode(*packed).map_err(|error| format!("{name}: {error}"))?;
                &decoded
            }
            (None, Some(node)) if node.op_type == "Constant" => {
                let value = node.attribute("value").and_then(|value| value.t.as_ref());
                value.ok_or_else(|| format!("{name} is a constant without a value"))?
            }
            (None, Some(node)) if node.op_type == "Identity" && !node.input.is_empty() => {
                let inner = &node.input[0];
                match self.tensors.contains_key(inner) {
                    true => return self.tensor(inner),
                    false => return Err(format!("{name} is no constant")),
                }
            }
            _ => return Err(format!("the tensor {name} is missing")),
        };
        self.numbers(tensor)
            .map_err(|reason| format!("{name}: {reason}"))
    }

    fn numbers(&self, tensor: &Tensor) -> Result<(Vec<usize>, Vec<f64>), String> {
        let shape = sides(&tensor.dims)?;
        let count = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
        let count = count.ok_or_else(|| format!("its shape is {shape:?}"))?;
        let raw = match tensor.data_location {
            0 => tensor.raw_data.as_slice(),
            _ => self.external(&tensor.external_data)?,
        };
        // TensorProto.DataType
        let size = match tensor.data_type {
            1 => 4,
            7 | 11 => 8,
            10 | 16 => 2,
            other => return Err(format!("its numbers are of type {other}")),
        };
        let values: Vec<f64> = match tensor.data_type {
            1 if raw.is_empty() => tensor
                .float_data
                .iter()
                .map(|value| f64::from(*value))
                .collect(),
            7 if raw.is_empty() => tensor
                .int64_data
                .iter()
                .map(|value| *value as f64)
                .collect(),
            _ if count.checked_mul(size) != Some(raw.len()) => {
                return Err(format!("{} bytes for the shape {shape:?}", raw.len()));
            }
            1 => numbers(raw, |b| f32::from_le_bytes(b).into()).collect(),
            7 => numbers(raw, |b| i64::from_le_bytes(b) as f64).collect(),
            10 => numbers(raw, |b| f16::from_le_bytes(b).to_f64()).collect(),
            11 => numbers(raw, f64::from_le_bytes).collect(),
            _ => numbers(raw, |b| bf16::from_le_bytes(b).to_f64()).collect(),
        };
        match values.len() == count {
            true => Ok((shape, values)),
            false => Err(format!("{} numbers for the shape {shape:?}", values.len())),
        }
    }

    /// Values in a file beside the model.
    fn external(&self, entries: &[Property]) -> Result<&'a [u8], String> {
        let value = |key: &str| entries.iter().find(|entry| entry.key == key);
        let number = |key: &str| match value(key) {
            Some(entry) => entry.value.parse::<usize>().map(Some),
            None => Ok(None),
        };
        let location = value("location").map_or("", |entry| entry.value.as_str());
        let name = location.rsplit(['/', '\\']).next().unwrap_or_default();
        let file = self.files.iter().find(|file| file.name == name);
        let file =
            file.ok_or_else(|| format!("its numbers are in {name:?}; choose that file too"))?;
        let place = number("offset").and_then(|offset| Ok((offset, number("length")?)));
        let (offset, length) = place.map_err(|_| format!("its place in {name:?} is no number"))?;
        let rest = file.bytes.get(offset.unwrap_or(0)..);
        let own = rest.and_then(|rest| rest.get(..length.unwrap_or(rest.len())));
        own.ok_or_else(|| format!("{name:?} ends before its numbers"))
    }

    /// From the output back to the mean over the last maps: what the mean is of, and the dense layer on the way, if there is just one.
    fn top(&self) -> Result<(String, Option<Top>), String> {
        let mut value = self
            .outputs
            .first()
            .ok_or("its graph has no output")?
            .clone();
        let (mut top, mut layers) = (Top::default(), 0);
        for _ in 0..DEPTH {
            let Some(node) = self.producer(&value) else {
                break;
            };
            let constant = |input: &String| self.shape(input).is_ok();
            let mut onward = node.input.first().cloned();
            match (node.op_type.as_str(), node.input.as_slice()) {
                ("GlobalAveragePool" | "ReduceMean", [maps, ..]) => {
                    return Ok((maps.clone(), (layers == 1).then_some(top)));
                }
                ("Gemm", [_, kernel, rest @ ..]) => {
                    layers += 1;
                    top.kernel = kernel.clone();
                    top.bias = rest.first().cloned().or(top.bias);
                    top.transposed = node.integer("transB") == 1;
                }
                ("MatMul", [_, kernel]) => {
                    layers += 1;
                    top.kernel = kernel.clone();
                }
                ("Add", [a, b]) => {
                    let (input, bias) = if constant(b) { (a, b) } else { (b, a) };
                    top.bias = Some(bias.clone());
                    onward = Some(input.clone());
                }
                (
                    "Softmax" | "Identity" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
                    | "Dropout" | "Gather" | "Relu" | "Cast" | "Transpose",
                    _,
                ) => {}
                (other, _) => {
                    return Err(format!(
                        "after its last maps comes {other}, which Inception V3 has not"
                    ));
                }
            }
            value = onward.ok_or("a node has no input")?;
        }
        Err("its output is not the mean over maps, nor a dense layer on that".into())
    }

    fn classifier(&self, top: &Top) -> Result<Option<Dense>, String> {
        let shape = self.shape(&top.kernel)?;
        let classes = match (shape.as_slice(), top.transposed) {
            ([classes, LATENTS], true) | ([LATENTS, classes], false) => *classes,
            _ => return Ok(None),
        };
        let bias = match &top.bias {
            Some(bias) if self.shape(bias)? != [classes] => return Ok(None),
            _ if classes == 0 => return Ok(None),
            Some(bias) => Some(self.tensor(bias)?.1),
            None => None,
        };
        let (_, kernel) = self.tensor(&top.kernel)?;
        let bias = bias.unwrap_or_else(|| vec![0.0; classes]);
        let place = |i: usize| match top.transposed {
            true => i % classes * LATENTS + i / classes,
            false => i,
        };
        Ok(Some(Dense {
            kernel: (0..kernel.len()).map(|i| kernel[place(i)] as f32).collect(),
            bias: bias.into_iter().map(|value| value as f32).collect(),
        }))
    }
}

/// The dense layer on the latents.
#[derive(Default)]
struct Top {
    kernel: String,
    /// Whether the kernel is [classes, 2048].
    transposed: bool,
    bias: Option<String>,
}

impl Node {
    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// 0 where it is not given.
    fn integer(&self, name: &str) -> i64 {
        self.attribute(name).map_or(0, |attribute| attribute.i)
    }

    /// Values for height and width, or what they are where they are not given.
    fn pair(&self, name: &str, otherwise: usize) -> Result<[usize; 2], String> {
        let Some(attribute) = self.attribute(name) else {
            return Ok([otherwise; 2]);
        };
        match attribute.ints.as_slice() {
            [h, w] if (0..100).contains(h) && (0..100).contains(w) => {
                Ok([*h as usize, *w as usize])
            }
            other => Err(format!("{name} of {} is {other:?}", self.op_type)),
        }
    }

    /// Padding of height and width, the same on opposite sides.
    fn padding(&self, kernel: [usize; 2], stride: usize) -> Result<[usize; 2], String> {
        let auto = self
            .attribute("auto_pad")
            .map_or("", |auto| std::str::from_utf8(&auto.s).unwrap_or_default());
        match (auto, self.attribute("pads")) {
            ("SAME_UPPER" | "SAME_LOWER", _) if stride == 1 => Ok(kernel.map(|side| side / 2)),
            ("" | "NOTSET", Some(pads)) => match pads.ints.as_slice() {
                [top, left, bottom, right]
                    if top == bottom
                        && left == right
                        && (0..100).contains(top)
                        && (0..100).contains(left) =>
                {
                    Ok([*top as usize, *left as usize])
                }
                other => Err(format!("pads of {} are {other:?}", self.op_type)),
            },
            ("" | "NOTSET" | "VALID", _) => Ok([0, 0]),
            (other, _) => Err(format!("pads of {} are {other}", self.op_type)),
        }
    }
}

/// What flows between nodes.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// The picture, or colours of it, each times a number plus another.
    Colours(Vec<Channel>),
    /// Maps side by side, by the numbers of their steps.
    Maps(Vec<usize>),
    /// A convolution's, not yet rectified.
    Raw(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Channel {
    colour: usize,
    scale: f64,
    offset: f64,
}

/// The tensors of a convolution, by name.
struct Conv {
    /// Its place among the steps.
    step: usize,
    kernel: String,
    bias: Option<String>,
    /// gamma, beta, mean, variance; and epsilon.
    norm: Option<([String; 4], f64)>,
}

struct Tracer<'a> {
    model: &'a OpenedModel<'a>,
    steps: Vec<Step>,
    convs: Vec<Conv>,
    values: HashMap<String, Value>,
    /// Values that are being traced: one that needs itself is a cycle.
    open: HashSet<String>,
    /// Whether average pools count the padding; all must agree.
    padding_counts: Option<bool>,
    affine: Option<[Channel; 3]>,
}

impl Tracer<'_> {
    /// Traces a value back to the picture; columns of a concatenation in their order, each step after those that it needs.
    fn value(&mut self, name: &str, depth: usize) -> Result<Value, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        if depth > DEPTH || !self.open.insert(name.into()) {
            return Err(format!(
                "{name:?} needs itself, or too many nodes one after another"
            ));
        }
        let value = match self.model.producer(name) {
            Some(node) => self.node(node, depth)?,
            None if self.model.inputs.contains(name) && !self.model.tensors.contains_key(name) => {
                Value::Colours(
                    (0..3)
                        .map(|colour| Channel {
                            colour,
                            scale: 1.0,
                            offset: 0.0,
                        })
                        .collect(),
                )
            }
            None => return Err(format!("{name:?} comes from nowhere")),
        };
        self.open.remove(name);
        self.values.insert(name.into(), value.clone());
        Ok(value)
    }

    fn node(&mut self, node: &Node, depth: usize) -> Result<Value, String> {
        let input = |k: usize| node.input.get(k).filter(|name| !name.is_empty());
        let first = input(0).ok_or_else(|| format!("{} has no input", node.op_type))?;
        let strange = |what: &str| {
            Err(format!(
                "{} of {what}, which Inception V3 has not",
                node.op_type
            ))
        };
        match node.op_type.as_str() {
            "Conv" => {
                let value = self.value(first, depth + 1)?;
                let inputs = self.maps(value)?;
                let kernel_name = input(1).ok_or("a convolution has no kernel")?.clone();
                let shape = self.model.shape(&kernel_name)?;
                let [out, _, h, w] = shape.as_slice() else {
                    return strange(&format!("the kernel {shape:?}"));
                };
                let [stride, across] = node.pair("strides", 1)?;
                if stride != across
                    || node.pair("dilations", 1)? != [1, 1]
                    || node.attribute("group").is_some_and(|group| group.i != 1)
                {
                    return strange("uneven strides, dilations or groups");
                }
                let kernel = [*h, *w];
                self.steps.push(Step {
                    op: Op::Conv {
                        out: *out,
                        kernel,
                        stride,
                        padding: node.padding(kernel, stride)?,
                    },
                    inputs,
                });
                self.convs.push(Conv {
                    step: self.steps.len(),
                    kernel: kernel_name,
                    bias: input(2).cloned(),
                    norm: None,
                });
                Ok(Value::Raw(self.steps.len()))
            }
            "BatchNormalization" => match (self.value(first, depth + 1)?, &node.input[1..]) {
                (Value::Raw(step), [gamma, beta, mean, variance]) => {
                    let parts = [gamma, beta, mean, variance].map(String::clone);
                    let epsilon = node.attribute("epsilon").map_or(1e-5, |epsilon| {
                        // The nearest decimal, as 0.001 is not a float.
                        (f64::from(epsilon.f) * 1e9).round() / 1e9
                    });
                    let conv = self.convs.iter_mut().find(|conv| conv.step == step);
                    let conv = conv.filter(|conv| conv.norm.is_none());
                    conv.ok_or("a convolution has two BatchNorms")?.norm = Some((parts, epsilon));
                    Ok(Value::Raw(step))
                }
                _ => strange("anything but a convolution"),
            },
            "Relu" => match self.value(first, depth + 1)? {
                Value::Raw(step) => Ok(Value::Maps(vec![step])),
                _ => strange("anything but a convolution"),
            },
            "MaxPool" | "AveragePool" => {
                let value = self.value(first, depth + 1)?;
                let inputs = self.maps(value)?;
                let average = node.op_type == "AveragePool";
                let stride = if average { 1 } else { 2 };
                let (kernel, strides) = (node.pair("kernel_shape", 0)?, node.pair("strides", 1)?);
                let padding = node.padding(kernel, stride)?;
                let want = if average { [1, 1] } else { [0, 0] };
                if kernel != [3, 3]
                    || strides != [stride; 2]
                    || padding != want
                    || node.integer("ceil_mode") != 0
                {
                    return strange(&format!("{kernel:?} by {strides:?}, padded by {padding:?}"));
                }
                if average {
                    let counts = node.integer("count_include_pad") == 1;
                    if *self.padding_counts.get_or_insert(counts) != counts {
                        return Err(
                            "some of its average pools count the padding, others do not".into()
                        );
                    }
                }
                let op = if average { Op::AvgPool } else { Op::MaxPool };
                self.steps.push(Step { op, inputs });
                Ok(Value::Maps(vec![self.steps.len()]))
            }
            "Concat" => {
                let (mut maps, mut colours) = (Vec::new(), Vec::new());
                for name in &node.input {
                    match self.value(name, depth + 1)? {
                        Value::Maps(own) => maps.extend(own),
                        Value::Colours(own) => colours.extend(own),
                        Value::Raw(_) => return strange("a convolution that is not rectified"),
                    }
                    if maps.len() + colours.len() > 100 {
                        return strange("too many columns");
                    }
                }
                match (maps.is_empty(), colours.is_empty()) {
                    (false, true) => Ok(Value::Maps(maps)),
                    (true, false) => Ok(Value::Colours(colours)),
                    _ => strange("maps and colours"),
                }
            }
            "Identity" | "Cast" => self.value(first, depth + 1),
            "Transpose" | "Unsqueeze" | "Reshape" | "Gather" | "Mul" | "Add" | "Sub" | "Div" => {
                self.colours(node, depth)
            }
            other => Err(format!("its graph has {other}, which Inception V3 has not")),
        }
    }

    /// What is done to colours before the first convolution.
    fn colours(&mut self, node: &Node, depth: usize) -> Result<Value, String> {
        let strange = || {
            format!(
                "{} among its layers, which Inception V3 has not",
                node.op_type
            )
        };
        let [first, rest @ ..] = node.input.as_slice() else {
            return Err(strange());
        };
        // A constant may come first in what is done with two.
        let (value, constant) = match rest.first() {
            Some(second) if self.model.shape(first).is_ok() => (second, Some(first)),
            second => (first, second),
        };
        let swapped = value != first;
        let Value::Colours(mut colours) = self.value(value, depth + 1)? else {
            return Err(strange());
        };
        let number = match (node.op_type.as_str(), constant) {
            ("Transpose" | "Unsqueeze" | "Reshape", _) | (_, None) => Vec::new(),
            (_, Some(constant)) => {
                let shape = self.model.shape(constant)?;
                match shape.iter().fold(1usize, |a, b| a.saturating_mul(*b)) {
                    0..=3 => self.model.tensor(constant)?.1,
                    _ => return Err(strange()),
                }
            }
        };
        if node.op_type == "Gather" {
            let place = number.first().copied().unwrap_or(-1.0);
            let chosen = colours.get(place as usize).copied();
            return match (number.len(), chosen) {
                (1, Some(channel)) if place >= 0.0 => Ok(Value::Colours(vec![channel])),
                _ => Err(strange()),
            };
        }
        if number.is_empty() {
            return match node.op_type.as_str() {
                "Transpose" | "Unsqueeze" | "Reshape" => Ok(Value::Colours(colours)),
                _ => Err(strange()),
            };
        }
        if number.len() != 1 && number.len() != colours.len() {
            return Err(strange());
        }
        for (channel, number) in colours.iter_mut().zip(number.iter().cycle()) {
            match (node.op_type.as_str(), swapped) {
                ("Mul", _) => {
                    (channel.scale, channel.offset) =
                        (channel.scale * number, channel.offset * number)
                }
                ("Div", false) => {
                    (channel.scale, channel.offset) =
                        (channel.scale / number, channel.offset / number)
                }
                ("Add", _) => channel.offset += number,
                ("Sub", false) => channel.offset -= number,
                _ => return Err(strange()),
            }
        }
        Ok(Value::Colours(colours))
    }

    /// The numbers of steps that a layer reads; the first reads the picture.
    fn maps(&mut self, value: Value) -> Result<Vec<usize>, String> {
        match value {
            Value::Maps(maps) => Ok(maps),
            Value::Raw(_) => Err("a convolution is not rectified before the next layer".into()),
            Value::Colours(colours) => match <[Channel; 3]>::try_from(colours) {
                Ok(colours) if [0, 1, 2] == colours.map(|channel| channel.colour) => {
                    self.affine = Some(colours);
                    Ok(vec![0])
                }
                _ => Err("its first layer does not read red, green and blue".into()),
            },
        }
    }
}

impl OpenedModel<'_> {
    /// A tensor's shape, without its numbers.
    fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        match (self.tensors.get(name), self.producer(name)) {
            (Some((shape, _)), _) => Ok(shape.clone()),
            (None, Some(node)) if node.op_type == "Constant" => {
                let value = node.attribute("value").and_then(|value| value.t.as_ref());
                let value = value.ok_or_else(|| format!("{name} is a constant without a value"))?;
                sides(&value.dims)
            }
            (None, Some(node)) if node.op_type == "Identity" => {
                let inner = node.input.first().and_then(|inner| self.tensors.get(inner));
                let (shape, _) = inner.ok_or_else(|| format!("{name} is no constant"))?;
                Ok(shape.clone())
            }
            _ => Err(format!("the tensor {name} is missing")),
        }
    }
}

/// A tensor's sides, of which a kernel has four.
fn sides(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > RANK {
        return Err(format!("it has {} sides", dims.len()));
    }
    let sides = dims.iter().map(|side| usize::try_from(*side));
    sides
        .collect::<Result<_, _>>()
        .map_err(|_| "a negative size".into())
}
