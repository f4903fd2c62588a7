//! Measures the effect of quantising the default base to fewer bits, on the latents and on the predictions of the included head.

use std::{env, fs, path::PathBuf, process::Command, rc::Rc};

use brotli::{BrotliCompress, enc::BrotliEncoderParams};
use inception_web::{
    base::Base,
    head::{
        Head, Scores,
        latents::{BaseId, Latents},
    },
    image::{Pixels, Resized, cifar10},
    train::{CrossValidation, Settings},
    weights::{
        Dtype, Source, Weights,
        quantise::{LATER, quantise},
        write,
    },
};
use rayon::prelude::*;
use safetensors::SafeTensors;

const PICTURES: [&str; 3] = ["cat", "rocket", "shuttle"];
/// The blocks of the network and the index of their first convolution.
const BLOCKS: [(&str, usize); 13] = [
    ("stem", 0),
    ("mixed0", 5),
    ("mixed1", 12),
    ("mixed2", 19),
    ("mixed3", 26),
    ("mixed4", 30),
    ("mixed5", 40),
    ("mixed6", 50),
    ("mixed7", 60),
    ("mixed8", 70),
    ("mixed9", 76),
    ("mixed10", 85),
    ("", 94),
];

fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Converts the default base by the command line; returns the file and the output.
fn converted(name: &str, arguments: &[&str]) -> (Vec<u8>, String) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args(["weights", "--from", "npm", "--out"])
        .arg(&file)
        .args(arguments)
        .output()
        .expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    (
        fs::read(file).expect("the written weights"),
        String::from_utf8(output.stdout).expect("text"),
    )
}

fn exact() -> Source {
    let (bytes, _) = converted("quantise-exact.safetensors", &[]);
    let weights = Weights::open(&bytes).expect("weights");
    weights.source().expect("weights")
}

fn loaded(file: &[u8]) -> Base {
    let weights = Weights::open(file).expect("weights");
    Base::load(&weights).expect("a base")
}

fn latents(base: &Base, picture: &Resized) -> Vec<f32> {
    pollster::block_on(base.latents([picture])).expect("the CPU has no device errors")
}

fn pictures() -> [Resized; 3] {
    PICTURES.map(|name| {
        let bytes = fs::read(project(&format!("tests/golden/{name}.png"))).expect(name);
        Pixels::decode(&bytes).expect(name).resize()
    })
}

/// The latents that Keras computes for them.
fn keras() -> [Vec<f32>; 3] {
    let bytes = fs::read(project("tests/golden/pictures.safetensors")).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a golden file");
    PICTURES.map(|name| {
        let tensor = file.tensor(&format!("{name}.latents")).expect(name);
        let numbers = tensor.data().as_chunks().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    })
}

/// The largest cosine distance between pairs.
fn max_cosine_distance(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let pairs = ours.iter().zip(theirs);
    pairs
        .map(|(a, b)| 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
        .fold(0.0, f64::max)
}

#[test]
fn fewer_bits_give_another_base_in_the_same_format() {
    let (eight, _) = converted("quantise-8.safetensors", &["--dtype", "u8"]);
    let eight = Weights::open(&eight).expect("weights").fingerprint;
    let head = fs::read(project("www/ten-classes/head.safetensors")).expect("the included head");
    for (bits, min, max) in [("6", 1e-4, 1e-2), ("4", 1e-2, 0.2)] {
        let name = format!("quantise-{bits}.safetensors");
        let (file, output) = converted(&name, &["--dtype", "u8", "--bits", bits]);
        let weights = Weights::open(&file).expect("weights");
        assert_eq!(weights.dtype, Dtype::U8);
        assert_eq!(file.len().div_ceil(1_000_000), 22);
        assert!(weights.info.name.ends_with(&format!(", {bits} bits")));
        assert!(output.contains(&weights.fingerprint), "{output}");
        assert_ne!(weights.fingerprint, eight);
        let base_id = weights.id();
        Head::read(&head, &base_id).expect_err("the head of the exact base");

        let base = loaded(&file);
        let ours = pictures().map(|picture| latents(&base, &picture));
        // The u8 file format alone has a distance of 3e-11, so this is the effect of the fewer levels.
        let off = max_cosine_distance(&ours, &keras());
        println!("{bits} bits: 1 - cosine to Keras {off:.1e}");
        assert!((min..max).contains(&off), "{bits} bits: {off:e}");
    }
}

#[test]
#[ignore = "takes minutes, and CIFAR10=FOLDER with test_batch.bin in it"]
fn only_8_bits_give_the_same_predictions_as_exact_weights() {
    let folder = env::var("CIFAR10").expect("CIFAR10=FOLDER with test_batch.bin in it");
    let bytes = fs::read(PathBuf::from(folder).join("test_batch.bin")).expect("test_batch.bin");
    let mut files = cifar10::Files::new();
    files
        .add("test_batch.bin", &bytes)
        .expect("CIFAR-10's test batch");
    let set = files.finish().expect("CIFAR-10's test batch").test;
    let rows: Vec<_> = (0..set.len().min(1000)).collect();
    let head = fs::read(project("www/ten-classes/head.safetensors")).expect("the included head");
    let head = Head::open(&head).expect("the included head");
    let exact = exact();

    let mut reference: Option<(Vec<usize>, Vec<Vec<f32>>)> = None;
    println!(
        "| levels | file | as served | 1 - cosine to Keras | to f32 | included head | same predictions as f32 | heads trained on it |"
    );
    for (name, bits, dtype) in [
        ("f32", 8, Dtype::F32),
        ("u8", 8, Dtype::U8),
        ("u6", 6, Dtype::U8),
        ("u4", 4, Dtype::U8),
    ] {
        let source = match bits {
            8 => exact.clone(),
            _ => quantise(exact.clone(), bits, LATER),
        };
        let file = write(&source, &"0".repeat(64), dtype);
        let settings = BrotliEncoderParams {
            quality: 5,
            lgwin: 24,
            size_hint: file.len(),
            ..Default::default()
        };
        let mut served = Vec::new();
        BrotliCompress(&mut file.as_slice(), &mut served, &settings).expect("brotli");

        let base = loaded(&file);
        let to_keras = max_cosine_distance(
            &pictures().map(|picture| latents(&base, &picture)),
            &keras(),
        );
        let compute = |row: &usize| latents(&base, &set.as_pixels(*row).resize());
        let computed: Vec<_> = rows.par_iter().map(compute).collect();
        let predict = |latents: &Vec<f32>| {
            let logits = head.logits(latents);
            (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        };
        let predictions: Vec<_> = computed.iter().filter_map(predict).collect();
        let correct = |(row, prediction): (&usize, &usize)| set.labels[*row] == *prediction;
        let scores = Scores {
            correct: rows
                .iter()
                .zip(&predictions)
                .filter(|pair| correct(*pair))
                .count(),
            total: rows.len(),
        };

        let base_id = BaseId {
            name: name.into(),
            fingerprint: "0".repeat(64),
        };
        let mut table = Latents::new(base_id, set.classes.clone());
        for (row, latents) in rows.iter().zip(&computed) {
            table.push(set.names[*row].clone(), set.labels[*row] as i64, latents);
        }
        let mut folds =
            CrossValidation::new(Rc::new(table), Settings::default(), 5).expect("five folds");
        while !folds.is_done() {
            folds.step().expect("an epoch");
        }

        let (exact_predictions, exact_latents) =
            reference.get_or_insert_with(|| (predictions.clone(), computed.clone()));
        let same = predictions
            .iter()
            .zip(exact_predictions)
            .filter(|(a, b)| a == b)
            .count();
        let same = same as f64 / rows.len() as f64;
        let [low, high] = scores.interval().map(|bound| 100.0 * bound);
        println!(
            "| {name} | {:.1} MB | {:.1} MB | {to_keras:.0e} | {:.0e} | {:.1} % ({low:.1} to {high:.1}) | {:.1} % | {:.1} % |",
            file.len() as f64 / 1e6,
            served.len() as f64 / 1e6,
            max_cosine_distance(&computed, exact_latents),
            100.0 * scores.accuracy(),
            100.0 * same,
            100.0 * folds.finish().accuracy
        );
        match bits {
            8 => assert_eq!(same, 1.0, "{name} predictions otherwise"),
            _ => assert!(same < 0.95, "{name} keeps at least 95 % of the predictions"),
        }
    }

    let theirs = keras();
    for pair in BLOCKS.windows(2) {
        let (name, convs) = (pair[0].0, pair[0].1..pair[1].1);
        let source = quantise(exact.clone(), 4, convs);
        let base = loaded(&write(&source, &"0".repeat(64), Dtype::U8));
        let off = max_cosine_distance(&pictures().map(|picture| latents(&base, &picture)), &theirs);
        println!("u4 only in {name}: 1 - cosine to Keras {off:.0e}");
        assert!(off > 1e-4, "{name} tolerates 4 bits");
    }
}
