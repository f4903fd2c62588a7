//! Exports a head as an ONNX model.
//!
//! Operators: [opset 17](https://github.com/onnx/onnx/blob/v1.12.0/docs/Operators.md).

use prost::Message;

use crate::{
    format::{
        onnx::{
            Attribute, Dimension, FLOAT, Graph, INT, Model, Node, OperatorSet, Property, Shape,
            Tensor, TensorType, Type, ValueInfo,
        },
        safetensors::json,
    },
    head::model::Head,
    net::inception::LATENTS,
};

/// The IR version of ONNX 1.12, which introduced opset 17.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Returns the bytes of an ONNX model: `latents` [N, 2048] -> Gemm (-> Relu -> Gemm) -> Softmax -> `probabilities` [N, classes].
///
/// The metadata are those of `head.safetensors`: `name`, `classes`, `temperature`, `unsure_below` and the base.
pub fn write(head: &Head) -> Vec<u8> {
    let mut metadata = vec![
        ("name".to_string(), head.name.clone()),
        ("classes".to_string(), json(&head.classes)),
        ("temperature".to_string(), json(&head.temperature)),
        ("unsure_below".to_string(), json(&head.unsure_below)),
    ];
    metadata.extend(head.base.metadata());
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
            i: -1,
            kind: INT,
            ..Attribute::default()
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
            input: vec![matrix("latents", LATENTS)],
            output: vec![matrix("probabilities", head.classes.len())],
        }),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata.into_iter().map(property).collect(),
    };
    model.encode_to_vec()
}

/// Appends a node whose output has the node's name; returns the name.
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
        ..Tensor::default()
    }
}

/// A float tensor [N, width].
fn matrix(name: &str, width: usize) -> ValueInfo {
    let rows = Dimension {
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
            dim: vec![rows, width],
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
    use crate::head::{latents::BaseId, model::Dense};

    #[test]
    fn head_with_a_hidden_layer_is_gemm_relu_gemm_softmax() {
        let head = Head {
            name: "test".into(),
            base: BaseId {
                name: "base".into(),
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
        let bytes = write(&head);
        let model = Model::decode(bytes.as_slice()).expect("a valid model");
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        let graph = model.graph.expect("a graph");
        let nodes: Vec<_> = graph
            .node
            .iter()
            .map(|node| format!("{} {:?} -> {}", node.op_type, node.input, node.output[0]))
            .collect();
        assert_eq!(
            nodes,
            [
                r#"Gemm ["latents", "dense_1.kernel", "dense_1.bias"] -> dense_1"#,
                r#"Relu ["dense_1"] -> relu_1"#,
                r#"Gemm ["relu_1", "dense_2.kernel", "dense_2.bias"] -> dense_2"#,
                r#"Softmax ["dense_2"] -> probabilities"#,
            ]
        );
        let shapes: Vec<_> = graph.initializer.iter().map(|t| t.dims.clone()).collect();
        assert_eq!(shapes, [vec![2048, 3], vec![3], vec![3, 2], vec![2]]);
        assert_eq!(graph.initializer[3].raw_data, [0, 0, 0, 0, 0, 0, 0, 64]);
    }
}
