//! Compares resizing and latents with TensorFlow and Keras (`tests/golden/make.py`), on the CPU, for every dtype of the default base.

use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

use inception_web::{
    base::{Base, self_test_image},
    image::Pixels,
    weights::{Dtype, Weights},
};
use safetensors::SafeTensors;

const PICTURES: [&str; 3] = ["cat", "rocket", "shuttle"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(name: &str) -> Vec<f32> {
    let bytes = fs::read(folder().join("pictures.safetensors")).expect("pictures.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("a golden file");
    let tensor = file.tensor(name).expect(name);
    tensor
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn picture(name: &str) -> Pixels {
    Pixels::decode(&fs::read(folder().join(format!("{name}.png"))).expect(name)).expect(name)
}

/// The default base, converted by the command line once for all tests of this file.
fn weights(dtype: Dtype) -> &'static [u8] {
    static FILES: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    FILES[dtype as usize].get_or_init(|| {
        let name = format!("golden-{}.safetensors", dtype.name());
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let output = Command::new(env!("CARGO_BIN_EXE_inception-web"))
            .args([
                "weights",
                "--from",
                "nsfwjs",
                "--dtype",
                dtype.name(),
                "--out",
            ])
            .arg(&file)
            .output()
            .expect("the command starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read(file).expect("the written weights")
    })
}

fn latents(base: &Base, name: &str) -> Vec<f32> {
    let latents = pollster::block_on(base.latents([&picture(name).resize()]));
    latents.expect("the CPU has no device errors")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn max_abs_diff(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn resize_matches_tensorflow() {
    for name in PICTURES {
        let ours = picture(name).resize();
        let at = |y: usize, x: usize| ours.rgb()[(y * 299 + x) * 3..][..3].to_vec();
        let ours: Vec<f32> = (0..299)
            .step_by(13)
            .flat_map(|y| (0..299).step_by(13).flat_map(move |x| [(y, x)]))
            .flat_map(|(y, x)| at(y, x))
            .collect();
        let off = max_abs_diff(&ours, &golden(&format!("{name}.resized")));
        // Both use f32 and the same order of taps; the f32 step at 255 is 1.5e-5.
        assert!(off < 1e-3, "{name} is off by {off} of 255");
    }
}

#[test]
fn latents_match_keras() {
    let bytes = weights(Dtype::F32);
    let base = Base::load(&Weights::open(bytes).expect("weights")).expect("a base");
    for name in PICTURES {
        let (ours, keras) = (latents(&base, name), golden(&format!("{name}.latents")));
        let (off, cosine) = (max_abs_diff(&ours, &keras), cosine(&ours, &keras));
        println!(
            "{name}: max abs diff {off:.1e}, 1 - cosine {:.1e}",
            1.0 - cosine
        );
        // Only f32 rounding errors: Keras in f32 differs from Keras in f64 by 7e-7.
        assert!(
            off <= 1e-5 && cosine >= 0.999_999,
            "{name}: {off:e}, {cosine}"
        );
    }
}

#[test]
fn smaller_dtypes_keep_fingerprint_and_latents() {
    let exact = weights(Dtype::F32);
    let exact = Weights::open(exact).expect("weights");
    let base = Base::load(&exact).expect("a base");
    for (dtype, megabytes) in [(Dtype::F16, 44), (Dtype::U8, 22)] {
        let bytes = weights(dtype);
        let small = Weights::open(bytes).expect("weights");
        assert_eq!(small.fingerprint, exact.fingerprint);
        assert_eq!(bytes.len().div_ceil(1_000_000), megabytes);
        let small = Base::load(&small).expect("a base");
        for name in PICTURES {
            let cosine = cosine(&latents(&small, name), &latents(&base, name));
            println!("{} {name}: 1 - cosine {:.1e}", dtype.name(), 1.0 - cosine);
            assert!(cosine >= 0.9999, "{} {name}: {cosine}", dtype.name());
        }
    }
}

#[test]
fn self_test_accepts_the_cpu_and_rejects_wrong_latents() {
    let bytes = weights(Dtype::U8);
    let base = Base::load(&Weights::open(bytes).expect("weights")).expect("a base");
    let latents = pollster::block_on(base.latents([&self_test_image()]));
    let mut latents = latents.expect("the CPU has no device errors");
    assert!(base.check(&latents).expect("the CPU passes") < 1e-4);
    latents[3] += 0.1;
    let error = base.check(&latents).expect_err("wrong latents").to_string();
    assert!(
        error.starts_with("device: it computes wrong latents (error "),
        "{error}"
    );
    latents[3] = f32::NAN;
    assert!(base.check(&latents).is_err());
}

#[test]
fn damaged_weights_are_rejected_with_a_reason() {
    let good = weights(Dtype::U8);
    let message = |bytes: &[u8]| {
        Weights::open(bytes)
            .map(|weights| weights.dtype)
            .expect_err("damaged")
            .to_string()
    };
    let truncated = message(&good[..good.len() / 2]);
    assert!(
        truncated.starts_with("weights: invalid safetensors file ("),
        "{truncated}"
    );
    assert!(
        truncated.ends_with(" bytes); download or convert it again"),
        "{truncated}"
    );

    let mut flipped = good.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let flipped = message(&flipped);
    assert!(
        flipped.starts_with("weights: the SHA-256 of the contents is "),
        "{flipped}"
    );

    let range = b"[0.0,1.0]";
    let other_range = good
        .windows(range.len())
        .position(|window| window == range)
        .expect("a range");
    let mut changed = good.to_vec();
    changed[other_range + 1] = b'9';
    assert!(message(&changed).starts_with("weights: the SHA-256 of the contents is "));

    let other_format = fs::read(folder().join("blocks.safetensors")).expect("a golden file");
    assert_eq!(
        message(&other_format),
        "weights: the metadata has no \"format\"; this is not a weights file of inception-web; create one with \
         `inception-web weights`"
    );
    assert!(message(b"<!doctype html>").starts_with("weights: invalid safetensors file ("));
    assert!(message(b"").starts_with("weights: invalid safetensors file ("));
}
