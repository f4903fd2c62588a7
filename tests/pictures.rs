//! Decodes pictures of many formats and compares them with Pillow and TensorFlow (`tests/pictures/make.py`).

use std::{collections::BTreeMap, fs, path::PathBuf};

use inception_web::{error::Error, image::Pixels};
use serde::Deserialize;

fn decode(name: &str) -> Result<Pixels, Error> {
    Pixels::decode(&fs::read(folder().join(name)).expect(name))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

#[derive(Deserialize)]
struct Expected {
    width: usize,
    height: usize,
    tolerance: u8,
    pixels: Vec<Pixel>,
}

#[derive(Deserialize)]
struct Pixel {
    x: usize,
    y: usize,
    rgb: [u8; 3],
}

#[test]
fn supported_pictures_have_the_right_size_and_colours() {
    let text = fs::read_to_string(folder().join("expected.json")).expect("expected.json");
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&text).expect("expected.json");
    assert!(expected.len() > 15);
    // AVIF is decoded by the browser and tested there.
    for (name, expected) in expected.iter().filter(|(name, _)| !name.ends_with(".avif")) {
        let pixels = decode(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (pixels.width(), pixels.height()),
            (expected.width, expected.height),
            "{name}"
        );
        for Pixel { x, y, rgb } in &expected.pixels {
            let got = &pixels.rgb()[(y * expected.width + x) * 3..][..3];
            let difference = got.iter().zip(rgb).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(
                difference <= Some(expected.tolerance),
                "{name} at {x}, {y} is {got:?}, expected {rgb:?}"
            );
        }
    }
}

#[test]
fn invalid_pictures_are_rejected_with_a_message() {
    let huge = |size| {
        format!(
            "picture: got {size} pixels, expected at most 50 megapixels and 16384 pixels per side; make it smaller"
        )
    };
    let truncated = "picture: the file is truncated; save or download it again".to_string();
    let cases = [
        ("empty.jpg", "picture: the file is empty (0 bytes); save or download it again".to_string()),
        (
            "text.jpg",
            "picture: not a picture in a known format; use JPEG, PNG, WebP, GIF, BMP or AVIF (AVIF only in the page)".to_string(),
        ),
        ("picture.heic", "picture: HEIC cannot be decoded here; save it as JPEG or PNG".to_string()),
        ("picture.avif", "picture: AVIF cannot be decoded here; save it as JPEG or PNG".to_string()),
        ("huge_header.png", huge("100000 x 100000")),
        ("wide_header.png", huge("17000 x 10")),
        ("many_pixels.png", huge("16000 x 16000")),
        ("truncated.jpg", truncated.clone()),
        ("truncated.png", truncated),
    ];
    for (name, message) in cases {
        let error = decode(name)
            .map(|pixels| (pixels.width(), pixels.height()))
            .expect_err(name);
        assert_eq!(error.to_string(), message, "{name}");
        assert_eq!(error.kind(), "picture", "{name}");
    }
}
