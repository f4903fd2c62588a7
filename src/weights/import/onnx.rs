//! Imports ONNX files exported by torch (both exporters) and by tf2onnx.
//!
//! The names and the order of nodes differ between exporters. The graph is therefore traced back from its output, and each step is compared
//! with `graph` of `net::inception`. BatchNorm may be folded or not. Operations before the first convolution, such as the
//! `transform_input` of torchvision or a rescaling, determine the input range.

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
        import::layer::{File, Layer, NOTE, Norm, UNKNOWN_LICENCE},
    },
};

const HINT: &str = "export an Inception V3 of torchvision, timm or Keras, in eval mode";
/// Maximum number of nodes; exported networks have at most about 480.
const MAX_NODES: usize = 20_000;
/// Maximum size of all nodes in bytes, including documentation strings.
const MAX_NODE_BYTES: usize = 8 << 20;
/// Maximum number of consecutive nodes from the input to the output.
const MAX_DEPTH: usize = 1000;
/// Maximum size of a tensor message in bytes, without its values.
const MAX_TENSOR_OVERHEAD: usize = 64 << 10;
/// Maximum encoded size of a value in bytes.
const MAX_VALUE_BYTES: usize = 12;
/// Maximum number of dimensions of a tensor.
const MAX_RANK: usize = 8;

/// `TensorProto` without values.
#[derive(Message)]
struct TensorHeader {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
}

/// Returns the file with an ONNX model.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        // `ir_version`, the first field.
        file.bytes.first() == Some(&0x08)
            && fields(file.bytes).is_ok_and(|fields| fields.iter().any(|(tag, _)| *tag == GRAPH))
    });
    found.copied()
}

// Field numbers of `ModelProto.graph` and of `GraphProto`.
const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;

/// Imports the base, and the classifier if the top is a single dense layer. External data are looked up in `files` by name.
///
/// # Errors
/// A damaged file, another graph than that of Inception V3, tensors of wrong shapes.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let invalid = |reason: String| Error::Source {
        file: file.name.into(),
        reason,
        hint: HINT,
    };
    let model = OpenedModel::open(file.bytes, files).map_err(invalid)?;
    let mut tracer = Tracer {
        model: &model,
        steps: Vec::new(),
        convs: Vec::new(),
        values: HashMap::new(),
        open: HashSet::new(),
        padding_counts: None,
        affine: None,
    };
    let (last, top) = model.top().map_err(invalid)?;
    let ends = tracer.value(&last, 0).map_err(invalid)?;
    let (steps, want_ends) = graph();
    if let Some((k, (got, want))) = (1..)
        .zip(tracer.steps.iter().zip(&steps))
        .find(|(_, (got, want))| got != want)
    {
        let reason = format!("step {k} of the graph is {got:?}, expected {want:?}");
        return Err(invalid(reason));
    }
    if (tracer.steps.len(), &ends) != (steps.len(), &Value::Maps(want_ends)) {
        let reason = format!(
            "the graph has {} steps, expected {}",
            tracer.steps.len(),
            steps.len()
        );
        return Err(invalid(reason));
    }
    let mut convs = Vec::new();
    for ((name, shape), conv) in kernels().into_iter().zip(&tracer.convs) {
        let out = &shape[..1];
        let read = |tensor: &str, want: &[usize]| {
            let got = model.shape(tensor).map_err(invalid)?;
            if got != want {
                return Err(Error::Shape {
                    what: "weights",
                    name: tensor.into(),
                    want: want.into(),
                    got,
                });
            }
            let (_, values) = model.tensor(tensor).map_err(invalid)?;
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
            Some(([gamma, beta, mean, variance], epsilon)) => Some(Norm {
                gamma: Some(read(gamma, out)?),
                beta: read(beta, out)?,
                mean: read(mean, out)?,
                variance: read(variance, out)?,
                epsilon: *epsilon,
            }),
            None => None,
        };
        let bias = conv.bias.as_ref().map(|bias| read(bias, out)).transpose()?;
        let layer = Layer {
            kernel: read(&conv.kernel, &shape)?,
            // Without BatchNorm and bias, the bias is zero.
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
                .map_err(invalid)?
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
        licence: UNKNOWN_LICENCE.into(),
        note: NOTE.into(),
        range: tracer.affine.as_ref().map_or(InputRange::SIGNED, range),
        average_pool: match tracer.padding_counts {
            Some(true) => AveragePool::IncludePadding,
            _ => AveragePool::ExcludePadding,
        },
        self_test_latents: Vec::new(),
    }
}

/// Derives the input range from the operations before the first convolution.
fn range(affine: &[Channel; 3]) -> InputRange {
    let apply = |black: f64, white: f64, c: usize| {
        let Channel { scale, offset, .. } = affine[c];
        [black * scale + offset, white * scale + offset]
    };
    let both: [[f64; 2]; 3] = std::array::from_fn(|c| match affine[c] {
        // No operations: the known models were trained on -1 to 1.
        Channel {
            scale: 1.0,
            offset: 0.0,
            ..
        } => [-1.0, 1.0],
        // A rescaling of 0 to 255.
        Channel { scale, .. } if scale.abs() < 0.05 => apply(0.0, 255.0, c),
        // The `transform_input` of torchvision, which expects input normalised for ImageNet.
        _ => {
            let InputRange { low, high } = InputRange::IMAGENET;
            apply(low[c].into(), high[c].into(), c)
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

/// Returns the length-delimited fields of a message with their tags; skips other fields.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u32, &[u8])>, String> {
    let message = |error: prost::DecodeError| format!("invalid ONNX: {error}");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).map_err(message)?;
        let skip = match wire {
            WireType::Varint => {
                decode_varint(&mut bytes).map_err(message)?;
                continue;
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => decode_varint(&mut bytes).map_err(message)?,
            _ => return Err("invalid ONNX: unsupported wire type".into()),
        };
        let length = usize::try_from(skip).unwrap_or(usize::MAX);
        let (field, rest) = bytes.split_at_checked(length).ok_or("unexpected end")?;
        if wire == WireType::LengthDelimited {
            found.push((tag, field));
        }
        if found.len() > 10 * MAX_NODES {
            return Err("too many fields".into());
        }
        bytes = rest;
    }
    Ok(found)
}

/// A parsed graph. Tensors are decoded on demand.
struct OpenedModel<'a> {
    nodes: Vec<Node>,
    /// Index of the node that computes a value, by name of the value.
    producers: HashMap<String, usize>,
    /// Shape and encoded message, by name.
    tensors: HashMap<String, (Vec<usize>, &'a [u8])>,
    inputs: HashSet<String>,
    outputs: Vec<String>,
    files: &'a [File<'a>],
}

impl<'a> OpenedModel<'a> {
    fn open(bytes: &'a [u8], files: &'a [File<'a>]) -> Result<OpenedModel<'a>, String> {
        let message = |error: prost::DecodeError| error.to_string();
        let graph = fields(bytes)?.into_iter().find(|(tag, _)| *tag == GRAPH);
        let (_, graph) = graph.ok_or("missing graph")?;
        let mut model = OpenedModel {
            nodes: Vec::new(),
            producers: HashMap::new(),
            tensors: HashMap::new(),
            inputs: HashSet::new(),
            outputs: Vec::new(),
            files,
        };
        let mut node_bytes = 0;
        for (tag, field) in fields(graph)? {
            match tag {
                NODE => {
                    node_bytes += field.len();
                    if node_bytes > MAX_NODE_BYTES || model.nodes.len() >= MAX_NODES {
                        return Err("the graph is too large for Inception V3".into());
                    }
                    let node = Node::decode(field).map_err(message)?;
                    for output in &node.output {
                        let earlier = model.producers.insert(output.clone(), model.nodes.len());
                        if earlier.is_some() {
                            return Err(format!("two nodes have the output {output:?}"));
                        }
                    }
                    model.nodes.push(node);
                }
                INITIALIZER => {
                    let TensorHeader { dims, name } =
                        TensorHeader::decode(field).map_err(message)?;
                    let shape = to_shape(&dims).map_err(|reason| format!("{name}: {reason}"))?;
                    model.tensors.insert(name, (shape, field));
                }
                INPUT => {
                    model
                        .inputs
                        .insert(ValueInfo::decode(field).map_err(message)?.name);
                }
                OUTPUT => model
                    .outputs
                    .push(ValueInfo::decode(field).map_err(message)?.name),
                _ => {}
            }
        }
        Ok(model)
    }

    fn producer(&self, value: &str) -> Option<&Node> {
        self.producers.get(value).map(|node| &self.nodes[*node])
    }

    /// Returns the shape and the values of an initializer or a constant node.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), String> {
        let decoded;
        let tensor = match (self.tensors.get(name), self.producer(name)) {
            (Some((shape, encoded)), _) => {
                let max = shape
                    .iter()
                    .fold(MAX_VALUE_BYTES, |a, b| a.saturating_mul(*b))
                    .saturating_add(MAX_TENSOR_OVERHEAD);
                if encoded.len() > max {
                    let got = encoded.len();
                    return Err(format!("{name}: {got} bytes for shape {shape:?}"));
                }
                decoded = Tensor::decode(*encoded).map_err(|error| format!("{name}: {error}"))?;
                &decoded
            }
            (None, Some(node)) if node.op_type == "Constant" => {
                let value = node.attribute("value").and_then(|value| value.t.as_ref());
                value.ok_or_else(|| format!("constant {name} without a value"))?
            }
            (None, Some(node)) if node.op_type == "Identity" && !node.input.is_empty() => {
                let inner = &node.input[0];
                match self.tensors.contains_key(inner) {
                    true => return self.tensor(inner),
                    false => return Err(format!("{name} is not a constant")),
                }
            }
            _ => return Err(format!("missing tensor {name}")),
        };
        self.values(tensor)
            .map_err(|reason| format!("{name}: {reason}"))
    }

    fn values(&self, tensor: &Tensor) -> Result<(Vec<usize>, Vec<f64>), String> {
        let shape = to_shape(&tensor.dims)?;
        let count = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
        let count = count.ok_or_else(|| format!("invalid shape {shape:?}"))?;
        let raw = match tensor.data_location {
            0 => tensor.raw_data.as_slice(),
            _ => self.external(&tensor.external_data)?,
        };
        // `TensorProto.DataType`: 1 is f32, 7 i64, 10 f16, 11 f64, 16 bf16.
        let size = match tensor.data_type {
            1 => 4,
            7 | 11 => 8,
            10 | 16 => 2,
            other => return Err(format!("unsupported data type {other}")),
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
                return Err(format!("{} bytes for shape {shape:?}", raw.len()));
            }
            1 => numbers(raw, |b| f32::from_le_bytes(b).into()).collect(),
            7 => numbers(raw, |b| i64::from_le_bytes(b) as f64).collect(),
            10 => numbers(raw, |b| f16::from_le_bytes(b).to_f64()).collect(),
            11 => numbers(raw, f64::from_le_bytes).collect(),
            _ => numbers(raw, |b| bf16::from_le_bytes(b).to_f64()).collect(),
        };
        match values.len() == count {
            true => Ok((shape, values)),
            false => Err(format!("{} values for shape {shape:?}", values.len())),
        }
    }

    /// Returns the data of a tensor in another file.
    fn external(&self, entries: &[Property]) -> Result<&'a [u8], String> {
        let value = |key: &str| entries.iter().find(|entry| entry.key == key);
        let number = |key: &str| match value(key) {
            Some(entry) => entry.value.parse::<usize>().map(Some),
            None => Ok(None),
        };
        let location = value("location").map_or("", |entry| entry.value.as_str());
        let name = location.rsplit(['/', '\\']).next().unwrap_or_default();
        let file = self.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| format!("the data are in {name:?}; choose that file too"))?;
        let range = number("offset").and_then(|offset| Ok((offset, number("length")?)));
        let (offset, length) = range.map_err(|_| format!("invalid range in {name:?}"))?;
        let rest = file.bytes.get(offset.unwrap_or(0)..);
        let data = rest.and_then(|rest| rest.get(..length.unwrap_or(rest.len())));
        data.ok_or_else(|| format!("{name:?} is truncated"))
    }

    /// Traces from the output back to the global average pooling. Returns its input, and the dense layer after it if there is exactly one.
    fn top(&self) -> Result<(String, Option<Top>), String> {
        let mut value = self
            .outputs
            .first()
            .ok_or("the graph has no output")?
            .clone();
        let (mut top, mut layers) = (Top::default(), 0);
        for _ in 0..MAX_DEPTH {
            let Some(node) = self.producer(&value) else {
                break;
            };
            let constant = |input: &String| self.shape(input).is_ok();
            let mut next = node.input.first().cloned();
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
                    next = Some(input.clone());
                }
                (
                    "Softmax" | "Identity" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
                    | "Dropout" | "Gather" | "Relu" | "Cast" | "Transpose",
                    _,
                ) => {}
                (other, _) => {
                    return Err(format!(
                        "unsupported operator {other} after the last feature maps"
                    ));
                }
            }
            value = next.ok_or("a node has no input")?;
        }
        Err("the output is neither a global average pooling nor a dense layer on one".into())
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
        let source = |i: usize| match top.transposed {
            true => i % classes * LATENTS + i / classes,
            false => i,
        };
        Ok(Some(Dense {
            kernel: (0..kernel.len())
                .map(|i| kernel[source(i)] as f32)
                .collect(),
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

    /// Returns an integer attribute, 0 by default.
    fn integer(&self, name: &str) -> i64 {
        self.attribute(name).map_or(0, |attribute| attribute.i)
    }

    /// Returns an attribute with one value each for height and width.
    fn pair(&self, name: &str, default: usize) -> Result<[usize; 2], String> {
        let Some(attribute) = self.attribute(name) else {
            return Ok([default; 2]);
        };
        match attribute.ints.as_slice() {
            [h, w] if (0..100).contains(h) && (0..100).contains(w) => {
                Ok([*h as usize, *w as usize])
            }
            other => Err(format!("invalid {name} of {}: {other:?}", self.op_type)),
        }
    }

    /// Returns the padding of height and width; it must be symmetric.
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
                other => Err(format!("invalid pads of {}: {other:?}", self.op_type)),
            },
            ("" | "NOTSET" | "VALID", _) => Ok([0, 0]),
            (other, _) => Err(format!("invalid auto_pad of {}: {other}", self.op_type)),
        }
    }
}

/// A traced value.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// Channels of the picture, each with an affine transform.
    Colours(Vec<Channel>),
    /// Concatenated feature maps, by step numbers.
    Maps(Vec<usize>),
    /// Output of a convolution before ReLU, by step number.
    BeforeRelu(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Channel {
    colour: usize,
    scale: f64,
    offset: f64,
}

/// A convolution and the names of its tensors.
struct Conv {
    /// Step number.
    step: usize,
    kernel: String,
    bias: Option<String>,
    /// Names of gamma, beta, mean and variance; epsilon.
    norm: Option<([String; 4], f64)>,
}

struct Tracer<'a> {
    model: &'a OpenedModel<'a>,
    steps: Vec<Step>,
    convs: Vec<Conv>,
    values: HashMap<String, Value>,
    /// Values being traced, to detect cycles.
    open: HashSet<String>,
    /// Whether average pooling counts the padding; must be the same everywhere.
    padding_counts: Option<bool>,
    /// Transform of the picture before the first convolution.
    affine: Option<[Channel; 3]>,
}

impl Tracer<'_> {
    /// Traces a value back to the picture, depth first and in the order of the inputs. Each step is added after its inputs.
    fn value(&mut self, name: &str, depth: usize) -> Result<Value, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        if depth > MAX_DEPTH || !self.open.insert(name.into()) {
            return Err(format!(
                "{name:?} is part of a cycle or of a chain of more than {MAX_DEPTH} nodes"
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
            None => return Err(format!("{name:?} is not computed by any node")),
        };
        self.open.remove(name);
        self.values.insert(name.into(), value.clone());
        Ok(value)
    }

    fn node(&mut self, node: &Node, depth: usize) -> Result<Value, String> {
        let input = |k: usize| node.input.get(k).filter(|name| !name.is_empty());
        let first = input(0).ok_or_else(|| format!("{} has no input", node.op_type))?;
        let unexpected = |what: &str| Err(format!("unexpected {} with {what}", node.op_type));
        match node.op_type.as_str() {
            "Conv" => {
                let value = self.value(first, depth + 1)?;
                let inputs = self.maps(value)?;
                let kernel_name = input(1).ok_or("a convolution without a kernel")?.clone();
                let shape = self.model.shape(&kernel_name)?;
                let [out, _, h, w] = shape.as_slice() else {
                    return unexpected(&format!("kernel shape {shape:?}"));
                };
                let [stride, stride_x] = node.pair("strides", 1)?;
                if stride != stride_x
                    || node.pair("dilations", 1)? != [1, 1]
                    || node.attribute("group").is_some_and(|group| group.i != 1)
                {
                    return unexpected("different strides, dilations or groups");
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
                Ok(Value::BeforeRelu(self.steps.len()))
            }
            "BatchNormalization" => match (self.value(first, depth + 1)?, &node.input[1..]) {
                (Value::BeforeRelu(step), [gamma, beta, mean, variance]) => {
                    let names = [gamma, beta, mean, variance].map(String::clone);
                    let epsilon = node.attribute("epsilon").map_or(1e-5, |epsilon| {
                        // 0.001 is not exact in f32; round to the decimal number.
                        (f64::from(epsilon.f) * 1e9).round() / 1e9
                    });
                    let conv = self.convs.iter_mut().find(|conv| conv.step == step);
                    let conv = conv.filter(|conv| conv.norm.is_none());
                    conv.ok_or("a convolution with two BatchNorms")?.norm = Some((names, epsilon));
                    Ok(Value::BeforeRelu(step))
                }
                _ => unexpected("an input that is not a convolution"),
            },
            "Relu" => match self.value(first, depth + 1)? {
                Value::BeforeRelu(step) => Ok(Value::Maps(vec![step])),
                _ => unexpected("an input that is not a convolution"),
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
                    return unexpected(&format!(
                        "kernel {kernel:?}, strides {strides:?}, padding {padding:?}"
                    ));
                }
                if average {
                    let counts = node.integer("count_include_pad") == 1;
                    if *self.padding_counts.get_or_insert(counts) != counts {
                        return Err("only some average pooling layers count the padding".into());
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
                        Value::Maps(inputs) => maps.extend(inputs),
                        Value::Colours(inputs) => colours.extend(inputs),
                        Value::BeforeRelu(_) => return unexpected("a convolution without ReLU"),
                    }
                    if maps.len() + colours.len() > 100 {
                        return unexpected("too many inputs");
                    }
                }
                match (maps.is_empty(), colours.is_empty()) {
                    (false, true) => Ok(Value::Maps(maps)),
                    (true, false) => Ok(Value::Colours(colours)),
                    _ => unexpected("feature maps and picture channels"),
                }
            }
            "Identity" | "Cast" => self.value(first, depth + 1),
            "Transpose" | "Unsqueeze" | "Reshape" | "Gather" | "Mul" | "Add" | "Sub" | "Div" => {
                self.colours(node, depth)
            }
            other => Err(format!("unsupported operator {other}")),
        }
    }

    /// Traces an operation on the picture before the first convolution.
    fn colours(&mut self, node: &Node, depth: usize) -> Result<Value, String> {
        let unexpected = || format!("unexpected operator {} in the network", node.op_type);
        let [first, rest @ ..] = node.input.as_slice() else {
            return Err(unexpected());
        };
        // The constant may be the first operand.
        let (value, constant) = match rest.first() {
            Some(second) if self.model.shape(first).is_ok() => (second, Some(first)),
            second => (first, second),
        };
        let swapped = value != first;
        let Value::Colours(mut colours) = self.value(value, depth + 1)? else {
            return Err(unexpected());
        };
        let constants = match (node.op_type.as_str(), constant) {
            ("Transpose" | "Unsqueeze" | "Reshape", _) | (_, None) => Vec::new(),
            (_, Some(constant)) => {
                let shape = self.model.shape(constant)?;
                match shape.iter().fold(1usize, |a, b| a.saturating_mul(*b)) {
                    0..=3 => self.model.tensor(constant)?.1,
                    _ => return Err(unexpected()),
                }
            }
        };
        if node.op_type == "Gather" {
            let index = constants.first().copied().unwrap_or(-1.0);
            let chosen = colours.get(index as usize).copied();
            return match (constants.len(), chosen) {
                (1, Some(channel)) if index >= 0.0 => Ok(Value::Colours(vec![channel])),
                _ => Err(unexpected()),
            };
        }
        if constants.is_empty() {
            return match node.op_type.as_str() {
                "Transpose" | "Unsqueeze" | "Reshape" => Ok(Value::Colours(colours)),
                _ => Err(unexpected()),
            };
        }
        if constants.len() != 1 && constants.len() != colours.len() {
            return Err(unexpected());
        }
        for (channel, constant) in colours.iter_mut().zip(constants.iter().cycle()) {
            match (node.op_type.as_str(), swapped) {
                ("Mul", _) => {
                    (channel.scale, channel.offset) =
                        (channel.scale * constant, channel.offset * constant)
                }
                ("Div", false) => {
                    (channel.scale, channel.offset) =
                        (channel.scale / constant, channel.offset / constant)
                }
                ("Add", _) => channel.offset += constant,
                ("Sub", false) => channel.offset -= constant,
                _ => return Err(unexpected()),
            }
        }
        Ok(Value::Colours(colours))
    }

    /// Returns the step numbers of the inputs of a layer; 0 is the picture.
    fn maps(&mut self, value: Value) -> Result<Vec<usize>, String> {
        match value {
            Value::Maps(maps) => Ok(maps),
            Value::BeforeRelu(_) => Err("a convolution without ReLU".into()),
            Value::Colours(colours) => match <[Channel; 3]>::try_from(colours) {
                Ok(colours) if [0, 1, 2] == colours.map(|channel| channel.colour) => {
                    self.affine = Some(colours);
                    Ok(vec![0])
                }
                _ => {
                    Err("the channels of the picture are not in the order red, green, blue".into())
                }
            },
        }
    }
}

impl OpenedModel<'_> {
    /// Returns the shape of a tensor without decoding its values.
    fn shape(&self, name: &str) -> Result<Vec<usize>, String> {
        match (self.tensors.get(name), self.producer(name)) {
            (Some((shape, _)), _) => Ok(shape.clone()),
            (None, Some(node)) if node.op_type == "Constant" => {
                let value = node.attribute("value").and_then(|value| value.t.as_ref());
                let value = value.ok_or_else(|| format!("constant {name} without a value"))?;
                to_shape(&value.dims)
            }
            (None, Some(node)) if node.op_type == "Identity" => {
                let inner = node.input.first().and_then(|inner| self.tensors.get(inner));
                let (shape, _) = inner.ok_or_else(|| format!("{name} is not a constant"))?;
                Ok(shape.clone())
            }
            _ => Err(format!("missing tensor {name}")),
        }
    }
}

fn to_shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!(
            "got {} dimensions, expected at most {MAX_RANK}",
            dims.len()
        ));
    }
    let shape = dims.iter().map(|dim| usize::try_from(*dim));
    shape
        .collect::<Result<_, _>>()
        .map_err(|_| "negative dimension".into())
}
