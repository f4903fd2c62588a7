//! The few messages of ONNX that a head needs, and the head as a graph of them.
//!
//! Fields carry the numbers of [onnx.proto3](https://github.com/onnx/onnx/blob/v1.12.0/onnx/onnx.proto3); what a head does not use is
//! left out, as protobuf allows. Operators: [opset 17](https://github.com/onnx/onnx/blob/v1.12.0/docs/Operators.md).

use prost::Message;

use crate::{head::Head, inception::LATENTS};

/// The version of the file's form that came with opset 17, in ONNX 1.12.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;
/// `AttributeProto.AttributeType.INT`.
const INT: i32 = 2;

#[derive(Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(string, tag = "6")]
    doc_string: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Property>,
}

/// An empty domain is `ai.onnx`.
#[derive(Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Message)]
struct Property {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

#[derive(Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

/// One of the two: a number, or a name for any number.
#[derive(Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}

/// `latents` [N, 2048] -> Gemm (-> Relu -> Gemm) -> Softmax -> `probabilities` [N, classes].
pub(crate) fn write(head: &Head, metadata: Vec<(String, String)>) -> Vec<u8> {
    let mut node = Vec::new();
    let mut initializer = Vec::new();
    let mut last = "latents".to_string();
    for (k, layer) in (1..).zip(&head.layers) {
        let inputs = layer.kernel.len() / layer.bias.len();
        let (kernel, bias) = (format!("dense_{k}.kernel"), format!("dense_{k}.bias"));
        initializer.push(tensor(&kernel, &[inputs, layer.bias.len()], &layer.kernel));
        initializer.push(tensor(&bias, &[layer.bias.len()], &layer.bias));
        if k > 1 {
            last = push(&mut node, "Relu", format!("relu_{}", k - 1), vec![last]);
        }
        let inputs = vec![last, kernel, bias];
        last = push(&mut node, "Gemm", format!("dense_{k}"), inputs);
    }
    node.push(Node {
        input: vec![last],
        output: vec!["probabilities".into()],
        name: "softmax".into(),
        op_type: "Softmax".into(),
        attribute: vec![Attribute {
            name: "axis".into(),
            i: Some(-1),
            kind: INT,
        }],
    });
    let property = |(key, value)| Property { key, value };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "inception-web".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: "The 2048 latents of Inception V3 to the probabilities of classes.".into(),
        graph: Some(Graph {
            node,
            name: "head".into(),
            initializer,
            input: vec![rows_of("latents", LATENTS)],
            output: vec![rows_of("probabilities", head.classes.len())],
        }),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata.into_iter().map(property).collect(),
    };
    model.encode_to_vec()
}

/// Appends a node with one output, which has the node's name.
fn push(nodes: &mut Vec<Node>, operator: &str, name: String, input: Vec<String>) -> String {
    nodes.push(Node {
        input,
        output: vec![name.clone()],
        name: name.clone(),
        op_type: operator.into(),
        attribute: Vec::new(),
    });
    name
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor {
        dims: shape.iter().map(|side| *side as i64).collect(),
        data_type: FLOAT,
        name: name.into(),
        raw_data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

/// Floats [N, width].
fn rows_of(name: &str, width: usize) -> ValueInfo {
    let any = Dimension {
        value: None,
        param: Some("N".into()),
    };
    let width = Dimension {
        value: Some(width as i64),
        param: None,
    };
    let tensor = TensorType {
        elem_type: FLOAT,
        shape: Some(Shape {
            dim: vec![any, width],
        }),
    };
    ValueInfo {
        name: name.into(),
        kind: Some(Type {
            tensor: Some(tensor),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{head::Dense, latents::Stamp};

    #[test]
    fn a_hidden_head_is_gemm_relu_gemm_softmax() {
        let head = Head {
            name: "test".into(),
            stamp: Stamp {
                base: "base".into(),
                fingerprint: "1".repeat(64),
            },
            classes: vec!["left".into(), "right".into()],
            scores: None,
            pictures: 0,
            temperature: 1.0,
            unsure_below: 0.5,
            layers: vec![
                Dense {
                    kernel: vec![0.5; LATENTS * 3],
                    bias: vec![0.0; 3],
                },
                Dense {
                    kernel: vec![1.0; 6],
                    bias: vec![0.0, 2.0],
                },
            ],
        };
        let bytes = write(&head, vec![("name".into(), "test".into())]);
        let model = Model::decode(bytes.as_slice()).expect("our own message");
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        let graph = model.graph.expect("a graph");
        let walk: Vec<_> = graph
            .node
            .iter()
            .map(|node| format!("{} {:?} -> {}", node.op_type, node.input, node.output[0]))
            .collect();
        assert_eq!(
            walk,
            [
                r#"Gemm ["latents", "dense_1.kernel", "dense_1.bias"] -> dense_1"#,
                r#"Relu ["dense_1"] -> relu_1"#,
                r#"Gemm ["relu_1", "dense_2.kernel", "dense_2.bias"] -> dense_2"#,
                r#"Softmax ["dense_2"] -> probabilities"#,
            ]
        );
        let sides: Vec<_> = graph.initializer.iter().map(|t| t.dims.clone()).collect();
        assert_eq!(sides, [vec![2048, 3], vec![3], vec![3, 2], vec![2]]);
        assert_eq!(graph.initializer[3].raw_data, [0, 0, 0, 0, 0, 0, 0, 64]);
    }
}
