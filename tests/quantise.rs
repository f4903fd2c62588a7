//! What fewer bits for the kernels of the default base cost, in the latents and in the answers of the shipped head.

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
/// Where the blocks of the figure begin among the convolutions.
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

/// The default base as the command line converts it, and what it says of it.
fn converted(name: &str, arguments: &[&str]) -> (Vec<u8>, String) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let made = Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args(["weights", "--from", "npm", "--out"])
        .arg(&file)
        .args(arguments)
        .output()
        .expect("the command line starts");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    (
        fs::read(file).expect("the weights just written"),
        String::from_utf8(made.stdout).expect("text"),
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
    pollster::block_on(base.latents([picture])).expect("a CPU does not fail")
}

fn pictures() -> [Resized; 3] {
    PICTURES.map(|name| {
        let bytes = fs::read(project(&format!("tests/golden/{name}.png"))).expect(name);
        Pixels::decode(&bytes).expect(name).resize()
    })
}

/// What real Keras computes for them.
fn keras() -> [Vec<f32>; 3] {
    let bytes = fs::read(project("tests/golden/pictures.safetensors")).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a golden file");
    PICTURES.map(|name| {
        let tensor = file.tensor(&format!("{name}.latents")).expect(name);
        let numbers = tensor.data().as_chunks().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    })
}

/// One minus the least cosine among pairs.
fn worst(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f64 {
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
fn fewer_bits_make_another_base_in_the_same_form() {
    let (eight, _) = converted("quantise-8.safetensors", &["--dtype", "u8"]);
    let eight = Weights::open(&eight).expect("weights").fingerprint;
    let head = fs::read(project("www/ten-classes/head.safetensors")).expect("the shipped head");
    for (bits, least, most) in [("6", 1e-4, 1e-2), ("4", 1e-2, 0.2)] {
        let name = format!("quantise-{bits}.safetensors");
        let (file, said) = converted(&name, &["--dtype", "u8", "--bits", bits]);
        let weights = Weights::open(&file).expect("weights");
        assert_eq!(weights.dtype, Dtype::U8);
        assert_eq!(file.len().div_ceil(1_000_000), 22);
        assert!(weights.info.name.ends_with(&format!(", {bits} bits")));
        assert!(said.contains(&weights.fingerprint), "{said}");
        assert_ne!(weights.fingerprint, eight);
        let base_id = weights.id();
        Head::read(&head, &base_id).expect_err("the head of the exact base");

        let base = loaded(&file);
        let ours = pictures().map(|picture| latents(&base, &picture));
        // Far above what the file's u8 costs, 3e-11, so the levels are really fewer.
        let off = worst(&ours, &keras());
        println!("{bits} bits: 1 - cosine to Keras {off:.1e}");
        assert!((least..most).contains(&off), "{bits} bits: {off:e}");
    }
}

#[test]
#[ignore = "takes minutes, and CIFAR10=FOLDER with test_batch.bin in it"]
fn only_8_bits_answer_as_the_exact_numbers_do() {
    let folder = env::var("CIFAR10").expect("CIFAR10=FOLDER with test_batch.bin in it");
    let bytes = fs::read(PathBuf::from(folder).join("test_batch.bin")).expect("test_batch.bin");
    let mut files = cifar10::Files::new();
    files
        .add("test_batch.bin", &bytes)
        .expect("CIFAR-10's test batch");
    let set = files.finish().expect("CIFAR-10's test batch").test;
    let rows: Vec<_> = (0..set.len().min(1000)).collect();
    let head = fs::read(project("www/ten-classes/head.safetensors")).expect("the shipped head");
    let head = Head::open(&head).expect("the shipped head");
    let exact = exact();

    let mut reference: Option<(Vec<usize>, Vec<Vec<f32>>)> = None;
    println!(
        "| levels | file | as served | 1 - cosine to Keras | to f32 | shipped head | answers as f32 | heads trained on it |"
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
        let to_keras = worst(
            &pictures().map(|picture| latents(&base, &picture)),
            &keras(),
        );
        let of_row = |row: &usize| latents(&base, &set.as_pixels(*row).resize());
        let computed: Vec<_> = rows.par_iter().map(of_row).collect();
        let answer = |latents: &Vec<f32>| {
            let logits = head.logits(latents);
            (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        };
        let answers: Vec<_> = computed.iter().filter_map(answer).collect();
        let right = |(row, answer): (&usize, &usize)| set.labels[*row] == *answer;
        let scores = Scores {
            correct: rows
                .iter()
                .zip(&answers)
                .filter(|pair| right(*pair))
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

        let (exact_answers, exact_latents) =
            reference.get_or_insert_with(|| (answers.clone(), computed.clone()));
        let same = answers
            .iter()
            .zip(exact_answers)
            .filter(|(a, b)| a == b)
            .count();
        let same = same as f64 / rows.len() as f64;
        let [low, high] = scores.interval().map(|share| 100.0 * share);
        println!(
            "| {name} | {:.1} MB | {:.1} MB | {to_keras:.0e} | {:.0e} | {:.1} % ({low:.1} to {high:.1}) | {:.1} % | {:.1} % |",
            file.len() as f64 / 1e6,
            served.len() as f64 / 1e6,
            worst(&computed, exact_latents),
            100.0 * scores.accuracy(),
            100.0 * same,
            100.0 * folds.finish().accuracy
        );
        match bits {
            8 => assert_eq!(same, 1.0, "{name} answers otherwise"),
            _ => assert!(same < 0.95, "{name} may be harmless: ship it"),
        }
    }

    let theirs = keras();
    for ends in BLOCKS.windows(2) {
        let (name, convs) = (ends[0].0, ends[0].1..ends[1].1);
        let source = quantise(exact.clone(), 4, convs);
        let base = loaded(&write(&source, &"0".repeat(64), Dtype::U8));
        let off = worst(&pictures().map(|picture| latents(&base, &picture)), &theirs);
        println!("u4 in {name} alone: 1 - cosine to Keras {off:.0e}");
        assert!(off > 1e-4, "{name} bears 4 bits");
    }
}
