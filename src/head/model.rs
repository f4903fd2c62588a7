//! The head: dense layers on the latents, followed by softmax, with class names; and its file format, `head.safetensors`.
//!
//! Tensors: `dense_K.kernel` [in, out] and `dense_K.bias` `[out]`, K from 1, with ReLU between layers and softmax after the last.
//! Metadata: `name`, `classes` (JSON list), `base` and `fingerprint` of the base, `layers`, `pictures` (number of training pictures); if
//! the head was evaluated on held-out pictures, `accuracy` (0 to 1), `correct` and `total`; optionally `temperature` and `unsure_below`.
//! Heads are also exported as `.npz` and ONNX.
//!
//! A head is small, so it runs on the CPU in plain loops, with the same results on every device.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    format::{
        npz,
        safetensors::{Container, Stored, json, write_file},
    },
    head::latents::BaseId,
    net::inception::LATENTS,
};

const WHAT: &str = "head";
const COMMAND: &str = "train";

/// A fully connected layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// [in, out], row-major.
    pub kernel: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

impl Dense {
    fn forward(&self, input: &[f32]) -> Vec<f32> {
        let mut output = self.bias.clone();
        for (value, row) in input.iter().zip(self.kernel.chunks_exact(self.bias.len())) {
            for (sum, weight) in output.iter_mut().zip(row) {
                *sum += value * weight;
            }
        }
        output
    }

    /// The gradient of the input, given the gradient of the output.
    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(gradient).map(|(w, g)| w * g).sum();
        self.kernel.chunks_exact(self.bias.len()).map(dot).collect()
    }

    /// [in, out].
    fn shape(&self) -> [usize; 2] {
        [self.kernel.len() / self.bias.len(), self.bias.len()]
    }
}

/// A classifier on latents.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// A short display name.
    pub name: String,
    /// The base whose latents it was trained on.
    pub base: BaseId,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Accuracy on held-out pictures, if measured.
    pub scores: Option<Scores>,
    /// Number of training pictures.
    pub pictures: usize,
    /// The calibration temperature, already folded into the last layer; 1 if none was fitted.
    pub temperature: f32,
    /// A prediction counts as unsure if the probability of the best class is below this, 0 to 1.
    pub unsure_below: f32,
    /// At least one layer, with ReLU between layers.
    pub layers: Vec<Dense>,
}

/// The default of [`Head::unsure_below`].
pub const UNSURE_BELOW: f32 = 0.5;

/// Correct predictions on held-out pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    /// Correctly classified pictures.
    pub correct: usize,
    /// All classified pictures.
    pub total: usize,
}

impl Scores {
    /// `correct / total`.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }

    /// The 95 % confidence interval of the accuracy.
    ///
    /// # Source
    /// [Wilson's score interval](https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval)
    pub fn interval(&self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        let (p, n) = (self.accuracy(), self.total as f64);
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        [
            (centre - half) / (1.0 + Z * Z / n),
            (centre + half) / (1.0 + Z * Z / n),
        ]
    }
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The class name.
    pub label: String,
    /// 0 to 1; the probabilities of all classes sum to 1.
    pub probability: f32,
}

impl Head {
    /// The probability of each class: the softmax of the logits.
    ///
    /// # Shapes
    /// `[2048]` -> `[classes]`.
    pub fn probabilities(&self, latents: &[f32]) -> Vec<f32> {
        softmax(&self.logits(latents))
    }

    /// The output of the last layer for each class.
    ///
    /// # Shapes
    /// `[2048]` -> `[classes]`.
    pub fn logits(&self, latents: &[f32]) -> Vec<f32> {
        let (last, hidden) = self.layers.split_last().expect("a head has a layer");
        let features = hidden.iter().fold(latents.to_vec(), |x, layer| {
            layer
                .forward(&x)
                .into_iter()
                .map(|value| value.max(0.0))
                .collect()
        });
        last.forward(&features)
    }

    /// The gradient of a class's logit with respect to the latents, by backpropagation.
    ///
    /// # Shapes
    /// `[2048]` -> `[2048]`.
    pub fn relevance(&self, latents: &[f32], class: usize) -> Vec<f32> {
        let (last, hidden) = self.layers.split_last().expect("a head has a layer");
        let mut x = latents.to_vec();
        let mut active = Vec::new();
        for layer in hidden {
            x = layer.forward(&x);
            active.push(x.iter().map(|value| *value > 0.0).collect::<Vec<_>>());
            x.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        let mut gradient = vec![0.0; self.classes.len()];
        gradient[class] = 1.0;
        gradient = last.backward(&gradient);
        for (layer, active) in hidden.iter().zip(&active).rev() {
            for (slope, active) in gradient.iter_mut().zip(active) {
                *slope *= f32::from(*active);
            }
            gradient = layer.backward(&gradient);
        }
        gradient
    }

    /// Returns the `top` most probable classes, best first.
    pub fn predict(&self, latents: &[f32], top: usize) -> Vec<Prediction> {
        let labelled = self
            .classes
            .iter()
            .cloned()
            .zip(self.probabilities(latents));
        let mut predictions: Vec<_> = labelled
            .map(|(label, probability)| Prediction { label, probability })
            .collect();
        predictions.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        predictions.truncate(top);
        predictions
    }

    /// Returns the bytes of `head.safetensors`.
    pub fn write(&self) -> Vec<u8> {
        let mut tensors = Vec::new();
        for (k, layer) in (1..).zip(&self.layers) {
            let shape = layer.shape();
            tensors.push((
                format!("dense_{k}.kernel"),
                Stored::f32(&shape, &layer.kernel),
            ));
            tensors.push((
                format!("dense_{k}.bias"),
                Stored::f32(&shape[1..], &layer.bias),
            ));
        }
        let mut metadata: HashMap<_, _> = self.base.metadata().into();
        metadata.extend([
            ("name".to_string(), self.name.clone()),
            ("classes".to_string(), json(&self.classes)),
            ("layers".to_string(), json(&self.layers.len())),
            ("pictures".to_string(), json(&self.pictures)),
            ("temperature".to_string(), json(&self.temperature)),
            ("unsure_below".to_string(), json(&self.unsure_below)),
        ]);
        if let Some(scores) = &self.scores {
            metadata.insert("correct".into(), json(&scores.correct));
            metadata.insert("total".into(), json(&scores.total));
            metadata.insert("accuracy".into(), json(&scores.accuracy()));
        }
        write_file(&tensors, metadata)
    }

    /// Returns the bytes of `head.npz`: `dense_K_kernel` [in, out] and `dense_K_bias` `[out]`, in the layout of Keras' `Dense`, and `classes`,
    /// `name`, `base`, `fingerprint`, `temperature`, `unsure_below`. `np.load` reads it without pickle.
    pub fn write_npz(&self) -> Vec<u8> {
        let mut npz = npz::Writer::new();
        for (k, layer) in (1..).zip(&self.layers) {
            let shape = layer.shape();
            npz.floats(&format!("dense_{k}_kernel"), &shape, &layer.kernel);
            npz.floats(&format!("dense_{k}_bias"), &shape[1..], &layer.bias);
        }
        npz.strings("classes", &self.classes);
        npz.string("name", &self.name);
        for (key, value) in self.base.metadata() {
            npz.string(&key, &value);
        }
        npz.floats("temperature", &[], &[self.temperature]);
        npz.floats("unsure_below", &[], &[self.unsure_below]);
        npz.finish()
    }

    /// Reads `head.safetensors`, and rejects a head of another base.
    ///
    /// # Errors
    /// A head of another base; as [`Head::open`].
    pub fn read(bytes: &[u8], base: &BaseId) -> Result<Head, Error> {
        let head = Head::open(bytes)?;
        head.base.ensure_same(base, WHAT)?;
        Ok(head)
    }

    /// Reads `head.safetensors` without checking its base; see [`Head::read`].
    ///
    /// # Errors
    /// A truncated file, another format, wrong shapes, values that are not finite or out of range.
    pub fn open(bytes: &[u8]) -> Result<Head, Error> {
        let container = Container::open(WHAT, COMMAND, bytes)?;
        let count: usize = container.metadata_json("layers", "the number of dense layers")?;
        let base = BaseId::read(&container)?;
        let classes: Vec<String> = container.metadata_json("classes", "a list of names")?;
        let mut layers = Vec::new();
        let mut inputs = LATENTS;
        for k in 1..=count {
            let bias = format!("dense_{k}.bias");
            let out = if k == count {
                classes.len()
            } else {
                container
                    .tensor_of_any_shape(&bias)?
                    .shape()
                    .first()
                    .copied()
                    .unwrap_or(0)
            };
            if out == 0 && k < count {
                return Err(Error::Shape {
                    what: WHAT,
                    name: bias,
                    want: vec![1],
                    got: vec![0],
                });
            }
            layers.push(Dense {
                kernel: container.floats(&format!("dense_{k}.kernel"), &[inputs, out])?,
                bias: container.floats(&bias, &[out])?,
            });
            inputs = out;
        }
        if classes.is_empty() || layers.is_empty() {
            let got = format!("{} classes, {} layers", classes.len(), layers.len());
            return Err(Error::Metadata {
                what: WHAT,
                key: "classes",
                got,
                want: "at least one class and one layer",
            });
        }
        let want_count = "a number of pictures";
        let scores = match container.metadata("accuracy") {
            Ok(_) => Some(Scores {
                correct: container.metadata_json("correct", want_count)?,
                total: container.metadata_json("total", want_count)?,
            }),
            Err(_) => None,
        };
        if let Some(Scores { correct, total }) =
            scores.filter(|s| s.total == 0 || s.correct > s.total)
        {
            let got = format!("{correct} correct of {total}");
            return Err(Error::Metadata {
                what: WHAT,
                key: "accuracy",
                got,
                want: "at most as many correct as total, and at least one in total",
            });
        }
        let optional = |key, want, default: f32, valid: fn(&f32) -> bool| {
            let Ok(text) = container.metadata(key) else {
                return Ok(default);
            };
            let value: f32 = container.metadata_json(key, want)?;
            let invalid = || Error::Metadata {
                what: WHAT,
                key,
                got: text.chars().take(60).collect(),
                want,
            };
            Some(value).filter(valid).ok_or_else(invalid)
        };
        let is_positive = |value: &f32| value.is_finite() && *value > 0.0;
        let is_fraction = |value: &f32| (0.0..=1.0).contains(value);
        Ok(Head {
            temperature: optional("temperature", "a number above 0", 1.0, is_positive)?,
            unsure_below: optional(
                "unsure_below",
                "a number from 0 to 1",
                UNSURE_BELOW,
                is_fraction,
            )?,
            name: container.metadata("name")?.into(),
            base,
            classes,
            scores,
            pictures: container.metadata_json("pictures", want_count)?,
            layers,
        })
    }
}

/// The index of the largest value; the first one on ties.
#[cfg(feature = "train")]
pub(crate) fn largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, index| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    })
}

/// exp(x) / sum(exp(x)), without overflow for large x.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<_> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_id(base: &str, digit: &str) -> BaseId {
        BaseId {
            name: base.into(),
            fingerprint: digit.repeat(64),
        }
    }

    fn head() -> Head {
        let mut kernel = vec![0.0; LATENTS * 2];
        kernel[..4].copy_from_slice(&[1.0, 0.0, 0.0, 2.0]);
        Head {
            name: "test".into(),
            base: base_id("base one", "1"),
            classes: vec!["left".into(), "right".into()],
            scores: Some(Scores {
                correct: 3,
                total: 4,
            }),
            pictures: 4,
            temperature: 1.5,
            unsure_below: 0.7,
            layers: vec![Dense {
                kernel,
                bias: vec![0.0, 0.5],
            }],
        }
    }

    #[test]
    fn predict_ranks_by_probability() {
        let mut latents = vec![0.0; LATENTS];
        latents[0] = 3.0;
        let predictions = head().predict(&latents, 5);
        assert_eq!(predictions[0].label, "left");
        let want = 1.0 / (1.0 + (-2.5f32).exp());
        assert!(
            (predictions[0].probability - want).abs() < 1e-6,
            "{predictions:?}"
        );
        assert_eq!(predictions.len(), 2);
    }

    #[test]
    fn softmax_does_not_overflow() {
        assert_eq!(softmax(&[1e30, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn head_is_unchanged_by_write_and_read() {
        let head = head();
        assert_eq!(
            Head::read(&head.write(), &head.base).expect("a valid file"),
            head
        );
        assert_eq!(head.write(), head.write());
    }

    #[test]
    fn head_of_another_base_is_rejected_and_both_are_named() {
        let error =
            Head::read(&head().write(), &base_id("base two", "2")).expect_err("another base");
        assert_eq!(
            error.to_string(),
            "head: made with the base \"base one\" (fingerprint 111111111111), expected \"base two\" (fingerprint \
             222222222222); load that base, or make the head again with the current one"
        );
    }

    #[test]
    fn optional_metadata_have_defaults_and_are_validated() {
        let bytes = head().write();
        let mut container = HashMap::new();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a valid file");
        container.extend(header.metadata().clone().expect("metadata"));
        let with = |key: &str, value: Option<&str>| {
            let mut metadata = container.clone();
            match value {
                Some(value) => metadata.insert(key.into(), value.into()),
                None => metadata.remove(key),
            };
            let layer = &head().layers[0];
            let tensors = [
                (
                    "dense_1.kernel".to_string(),
                    Stored::f32(&layer.shape(), &layer.kernel),
                ),
                (
                    "dense_1.bias".to_string(),
                    Stored::f32(&layer.shape()[1..], &layer.bias),
                ),
            ];
            Head::open(&write_file(&tensors, metadata))
        };
        assert_eq!(
            with("temperature", None).expect("old file").temperature,
            1.0
        );
        let unsure_below = with("unsure_below", None).expect("old file").unsure_below;
        assert_eq!(unsure_below, UNSURE_BELOW);
        let cases = [
            ("temperature", "0", "a number above 0"),
            ("temperature", "1e999", "a number above 0"),
            ("temperature", "warm", "a number above 0"),
            ("unsure_below", "1.01", "a number from 0 to 1"),
            ("unsure_below", "null", "a number from 0 to 1"),
        ];
        for (key, got, want) in cases {
            let error = with(key, Some(got)).expect_err(got).to_string();
            assert_eq!(
                error,
                format!(
                    "head: invalid metadata {key:?}: got {got:?}, expected {want}; write the file again"
                )
            );
        }
    }

    /// A head with three layers and kernels of both signs.
    fn deep() -> Head {
        let wave = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect();
        let layer = |inputs, outputs, step| Dense {
            kernel: wave(inputs * outputs, step),
            bias: wave(outputs, step + 1.0),
        };
        Head {
            layers: vec![layer(LATENTS, 7, 0.37), layer(7, 5, 0.91), layer(5, 2, 1.7)],
            ..head()
        }
    }

    #[test]
    fn relevance_is_the_gradient_of_the_logit() {
        let latents: Vec<f32> = (0..LATENTS)
            .map(|i| (i as f32 * 0.77).cos().abs())
            .collect();
        for head in [head(), deep()] {
            for class in 0..2 {
                let relevance = head.relevance(&latents, class);
                assert_eq!(relevance.len(), LATENTS);
                for at in (0..LATENTS).step_by(97) {
                    let logit = |step: f32| {
                        let mut moved = latents.clone();
                        moved[at] += step;
                        f64::from(head.logits(&moved)[class])
                    };
                    // The head is piecewise linear, so a step of 1e-2 is exact up to the f32 rounding of the logits (about 10).
                    let slope = (logit(5e-3) - logit(-5e-3)) / 1e-2;
                    let exact = f64::from(relevance[at]);
                    assert!((slope - exact).abs() < 2e-3, "{at}: {slope} for {exact}");
                }
            }
        }
    }

    #[test]
    fn relevance_of_a_linear_head_is_the_kernels_column() {
        let relevance = head().relevance(&[0.0; LATENTS], 1);
        assert_eq!(relevance[..3], [0.0, 2.0, 0.0]);
    }

    #[test]
    fn truncated_head_is_rejected() {
        let bytes = head().write();
        let error = Head::read(&bytes[..bytes.len() - 1], &base_id("base one", "1"))
            .expect_err("truncated");
        assert!(
            error
                .to_string()
                .starts_with("head: invalid safetensors file ("),
            "{error}"
        );
    }

    #[test]
    fn layer_without_outputs_is_rejected() {
        let layer = |name: &str, shape: &[usize], values: &[f32]| {
            (name.to_string(), Stored::f32(shape, values))
        };
        let tensors = [
            layer("dense_1.kernel", &[LATENTS, 0], &[]),
            layer("dense_1.bias", &[0], &[]),
            layer("dense_2.kernel", &[0, 1], &[]),
            layer("dense_2.bias", &[1], &[0.0]),
        ];
        let mut metadata: HashMap<_, _> = head().base.metadata().into();
        metadata
            .extend([("layers", "2"), ("classes", "[\"a\"]")].map(|(k, v)| (k.into(), v.into())));
        let error = Head::open(&write_file(&tensors, metadata)).expect_err("no outputs");
        assert_eq!(
            error.to_string(),
            "head: dense_1.bias has shape [0], expected [1]; write the file again"
        );
    }

    #[test]
    fn interval_matches_statsmodels() {
        // statsmodels 0.14: proportion_confint(correct, total, method="wilson")
        for (correct, total, want) in [(862, 1000, [0.83922, 0.88201]), (5, 5, [0.56551, 1.0])] {
            let got = Scores { correct, total }.interval();
            for (got, want) in got.into_iter().zip(want) {
                assert!(
                    (got - want).abs() < 1e-4,
                    "{correct} of {total}: {got}, expected {want}"
                );
            }
        }
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn softmax_is_a_distribution_in_the_order_of_the_logits(logits in prop::collection::vec(-1e30f32..1e30, 1..50), small in prop::collection::vec(-20f32..20.0, 1..50), shift in -50f32..50.0) {
            for logits in [&logits, &small] {
                let shares = softmax(logits);
                prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
                prop_assert!((shares.iter().map(|share| f64::from(*share)).sum::<f64>() - 1.0).abs() < 1e-5);
                for (a, x) in shares.iter().zip(logits) {
                    for (b, y) in shares.iter().zip(logits) {
                        prop_assert!(a <= b || x > y, "{x} has {a}, and {y} has {b}");
                    }
                }
            }
            // Softmax is invariant to shifts.
            let moved = softmax(&small.iter().map(|logit| logit + shift).collect::<Vec<_>>());
            for (a, b) in softmax(&small).iter().zip(moved) {
                prop_assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
        }

        #[test]
        fn interval_contains_the_accuracy_and_narrows_with_more_pictures(total in 1usize..100_000, share in 0f64..=1.0) {
            let scores = Scores { correct: (total as f64 * share) as usize, total };
            let [low, high] = scores.interval();
            prop_assert!(-1e-12 <= low && low <= scores.accuracy() && scores.accuracy() <= high && high <= 1.0 + 1e-12);
            let [wider_low, wider_high] = Scores { correct: scores.correct * 10, total: total * 10 }.interval();
            prop_assert!(wider_high - wider_low < high - low);
        }
    }
}
