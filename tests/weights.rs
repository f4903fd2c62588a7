//! Imports weights files written by timm, torchvision, Keras, TensorFlow.js and ONNX exporters (`tests/weights/make.py`). The latents must equal
//! those of the original library, and damaged files must be rejected.

use std::{fs, io::Read, path::PathBuf, time::Instant};

use inception_web::{
    base::Base,
    image::Pixels,
    net::inception::kernels,
    weights::{
        Classifier, Dtype, Source, Weights,
        import::{self, File},
        write,
    },
};
use safetensors::SafeTensors;

const PICTURES: [&str; 3] = ["cat", "rocket", "shuttle"];
/// Names of the files in `tests/weights`.
const FILES: [&str; 15] = [
    "timm.safetensors",
    "timm-gluon.tar",
    "torchvision.pth",
    "torchvision-legacy.pth",
    "torch-script.onnx",
    "torch-dynamo.tar",
    "torch-batchnorm.onnx",
    "keras2.h5",
    "keras2-whole.h5",
    "keras3.weights.h5",
    "keras3.keras",
    "tf2onnx.onnx",
    "tfjs-float32.tar",
    "tfjs-uint8.tar",
    "tfjs-uint16.tar",
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The files of a model: name and contents.
type Files = Vec<(String, Vec<u8>)>;

/// Unpacks a model of one or several files.
fn unpack(name: &str) -> Files {
    let packed = fs::read(folder("weights").join(format!("{name}.br"))).expect(name);
    let mut bytes = Vec::new();
    brotli::Decompressor::new(packed.as_slice(), 1 << 16)
        .read_to_end(&mut bytes)
        .expect(name);
    if !name.ends_with(".tar") {
        return vec![(name.into(), bytes)];
    }
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().expect("a tarball");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("contents");
            (path, bytes)
        })
        .collect()
}

fn read(files: &Files) -> Result<Source, inception_web::error::Error> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    import::import(&files, None)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn latents_equal_those_of_the_original_library() {
    let bytes = fs::read(folder("weights").join("latents.safetensors")).expect("latents");
    let expected = SafeTensors::deserialize(&bytes).expect("latents");
    let expected = |name: &str| -> Option<Vec<f32>> {
        let tensor = expected.tensor(name).ok()?;
        let values = tensor.data().as_chunks().0.iter();
        Some(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let pictures = PICTURES.map(|name| {
        let bytes = fs::read(folder("golden").join(format!("{name}.png"))).expect(name);
        Pixels::decode(&bytes).expect(name).resize()
    });
    for name in FILES {
        let start = Instant::now();
        let mut source = read(&unpack(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let seconds = start.elapsed().as_secs_f64();
        source.info.self_test_latents = vec![0.0];
        let file = write(&source, &"0".repeat(64), Dtype::F32);
        let weights = Weights::open(&file).expect("a valid file");
        let base = Base::load(&weights).expect("a valid file");
        let latents = pollster::block_on(base.latents(&pictures));
        let latents = latents.expect("the CPU cannot fail");

        let want = expected(&format!("{name}.latents")).expect(name);
        let rows = latents.chunks_exact(2048).zip(want.chunks_exact(2048));
        let worst = rows.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min);
        println!(
            "{name}: 1 - cosine {:.1e}, read in {seconds:.1} s",
            1.0 - worst
        );
        // The rounding of f32 gives 1e-13; the smallest bug that was tried gave 0.1.
        assert!(worst >= 0.999_999_9, "{name}: cosine {worst}");

        let head = weights.head().expect("a valid file");
        match expected(&format!("{name}.logits")) {
            None => assert!(head.is_none(), "{name}"),
            Some(want) => {
                let head = head.expect(name);
                assert_eq!(head.classes.len(), 1000, "{name}");
                for (latents, want) in latents.chunks_exact(2048).zip(want.chunks_exact(1000)) {
                    let cosine = cosine(&head.logits(latents), want);
                    assert!(cosine >= 0.999_999_9, "{name}: cosine of logits {cosine}");
                }
            }
        }
    }
}

#[test]
fn truncated_files_are_rejected() {
    for name in FILES {
        let whole = unpack(name);
        // Truncate the largest file by at least 2 %, because the end may be padding.
        let (largest, length) = (0..)
            .zip(&whole)
            .map(|(k, (_, bytes))| (k, bytes.len()))
            .max_by_key(|(_, length)| *length)
            .expect("files");
        for keep in [
            0,
            1,
            7,
            8,
            9,
            100,
            4_000,
            60_000,
            length / 3,
            length - length / 50,
        ] {
            let mut files = whole.clone();
            files[largest].1.truncate(keep);
            let start = Instant::now();
            assert!(
                read(&files).is_err(),
                "{name} with {keep} bytes of {length}"
            );
            let seconds = start.elapsed().as_secs_f64();
            assert!(seconds < 20.0, "{name} with {keep} bytes took {seconds} s");
        }
    }
}

#[test]
fn changed_bytes_give_an_error_or_a_valid_base() {
    // The structure of a file is at its start or end.
    let mut random = 1u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    for name in [
        "timm.safetensors",
        "torchvision.pth",
        "keras2.h5",
        "keras3.keras",
        "tf2onnx.onnx",
        "tfjs-uint8.tar",
    ] {
        let mut files = unpack(name);
        let last = files.len() - 1;
        for _ in 0..25 {
            let bytes = &mut files[last].1;
            let window = bytes.len().min(100_000);
            let positions: Vec<_> = (0..8)
                .map(|k| {
                    if k % 2 == 0 {
                        next(window)
                    } else {
                        bytes.len() - 1 - next(window)
                    }
                })
                .collect();
            let original: Vec<_> = positions.iter().map(|position| bytes[*position]).collect();
            for position in &positions {
                bytes[*position] = next(256) as u8;
            }
            match read(&files) {
                Err(error) => assert_eq!(error.kind(), "weights", "{name}: {error}"),
                Ok(source) => assert_valid(name, &source),
            }
            for (position, byte) in positions.iter().zip(original).rev() {
                files[last].1[*position] = byte;
            }
        }
    }
}

/// Asserts the shapes of a base, and that all values are finite.
fn assert_valid(name: &str, source: &Source) {
    let kernels = kernels();
    assert_eq!(source.convs.len(), kernels.len(), "{name}");
    for ((conv, shape), folded) in kernels.iter().zip(&source.convs) {
        let kernel = folded.kernel.floats();
        let count: usize = shape.iter().product();
        assert_eq!(kernel.len(), count, "{name}: {conv}");
        assert_eq!(folded.bias.len(), shape[0], "{name}: {conv}");
        let mut values = kernel.iter().chain(&folded.bias);
        assert!(values.all(|value| value.is_finite()), "{name}: {conv}");
    }
    assert!(source.info.range.is_finite(), "{name}");
    if let Some(Classifier { layer, classes }) = &source.classifier {
        assert_eq!(layer.bias.len(), classes.len(), "{name}");
        assert_eq!(layer.kernel.len(), 2048 * classes.len(), "{name}");
    }
}

/// Creates a safetensors file of f32 zeros.
fn zeros(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let data: Vec<_> = tensors
        .iter()
        .map(|(_, shape)| vec![0u8; 4 * shape.iter().product::<usize>()])
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data);
        (*name, view.expect("lengths fit"))
    });
    safetensors::serialize(views, None).expect("a file")
}

#[test]
fn errors_describe_files_that_are_not_a_base() {
    let first = "Conv2d_1a_3x3.conv.weight";
    let long = [&(1u64 << 31).to_le_bytes()[..], b"{}"].concat();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        (
            "cat.jpg",
            b"\xff\xd8\xff".to_vec(),
            "weights: cannot import cat.jpg (unknown format); use model.safetensors of timm, .pth of torchvision, .h5, .weights.h5 or .keras of Keras, model.json of TF.js with its shards, or ONNX",
        ),
        (
            "long.safetensors",
            long,
            "weights: invalid safetensors file (header too large, 10 bytes); download or convert it again",
        ),
        (
            "resnet.safetensors",
            zeros(&[("conv1.weight", &[64, 3, 7, 7]), ("bn1.weight", &[64])]),
            "weights: cannot import resnet.safetensors (got 2 tensors such as bn1.weight, conv1.weight, expected those of Inception V3 with PyTorch names); download it again, or save the model's state_dict() again",
        ),
        (
            "part.safetensors",
            zeros(&[(first, &[32, 3, 3, 3])]),
            "weights: Conv2d_1a_3x3.bn.weight is missing; write the file again",
        ),
        (
            "other.safetensors",
            zeros(&[(first, &[3, 32, 3, 3])]),
            "weights: Conv2d_1a_3x3.conv.weight has shape [3, 32, 3, 3], expected [32, 3, 3, 3]; write the file again",
        ),
        (
            "model.json",
            br#"{"format": "graph-model", "weightsManifest": []}"#.to_vec(),
            "weights: cannot import model.json (graph models are not supported, because they do not keep the layer names); convert the Keras model with --output_format tfjs_layers_model",
        ),
    ];
    for (name, bytes, want) in cases {
        let got = read(&vec![(name.into(), bytes)]).expect_err(name);
        assert_eq!(got.to_string(), want);
    }
}

#[test]
fn a_nan_is_rejected_with_its_tensor_and_index() {
    let mut files = unpack("timm.safetensors");
    let bytes = &mut files[0].1;
    let header = u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    let text = String::from_utf8_lossy(&bytes[8..8 + header]).into_owned();
    let header_json: serde_json::Value = serde_json::from_str(&text).expect("a header");
    let start = header_json["Mixed_6a.branch3x3.bn.bias"]["data_offsets"][0]
        .as_u64()
        .expect("an offset") as usize;
    bytes[8 + header + start + 8..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(
        read(&files).expect_err("a NaN").to_string(),
        "weights: Mixed_6a.branch3x3.bn.bias is not finite at index 2; write the file again"
    );
}

#[test]
fn hdf5_files_with_unusual_float_types_are_rejected() {
    // The datatype message of f32. One case changes the exponent size from 8 to 10 bits, the other the value size from 4 to 65,540 bytes.
    let float = b"\x11\x20\x1f\0\x04\0\0\0\0\0\x20\0\x17\x08\0\x17";
    for (offset, value, reason) in [
        (13, 10, "got 0 values for shape [192]"),
        (6, 1, "shape [192] with 65540 bytes per value"),
    ] {
        let mut files = unpack("keras2.h5");
        let bytes = &mut files[0].1;
        let position = bytes
            .windows(float.len())
            .position(|window| window == float);
        bytes[position.expect("a float") + offset] = value;
        assert_eq!(
            read(&files).expect_err(reason).to_string(),
            format!(
                "weights: cannot import keras2.h5 (batch_normalization_49/batch_normalization_49/beta:0: {reason}); download it again, or save the model again"
            )
        );
    }
}

#[test]
fn missing_files_of_a_model_are_named() {
    let mut shards = unpack("tfjs-uint8.tar");
    shards.retain(|(name, _)| !name.contains("shard3of"));
    assert_eq!(
        read(&shards).expect_err("no shard").to_string(),
        "weights: cannot import group1-shard3of6.bin (missing shard); choose model.json and all of its shards together, or convert the model again"
    );
    let mut model = unpack("torch-dynamo.tar");
    model.retain(|(name, _)| name == "model.onnx");
    assert_eq!(
        read(&model).expect_err("no data").to_string(),
        "weights: cannot import model.onnx (Conv2d_1a_3x3.conv.weight: the data are in \"model.onnx.data\"; choose that file too); export an Inception V3 of torchvision, timm or Keras, in eval mode"
    );
}
