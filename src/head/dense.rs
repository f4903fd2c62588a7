//! The head: dense layers on latents, softmax, class names; and its file form, `head.safetensors`.
//!
//! Tensors: `dense_K.kernel` [in, out] and `dense_K.bias` `[out]`, K from 1, ReLU between layers, softmax after the last. Metadata: `name`,
//! `classes` (JSON list), `base` and `fingerprint` of the base whose latents it reads, `layers`, `pictures` it was trained on, and, where it was
//! measured on pictures held out of training, `accuracy` (0 to 1), `correct` and `total`; `temperature` and `unsure_below`, which may be absent.
//! Others read it as `.npz` or ONNX.
//! A head is small, so it runs on the host in plain loops, the same on every device.

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

    /// The gradient of the input from that of the output.
    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(gradient).map(|(w, g)| w * g).sum();
        self.kernel.chunks_exact(self.bias.len()).map(dot).collect()
    }

    /// [in, out].
    fn shape(&self) -> [usize; 2] {
        [self.kernel.len() / self.bias.len(), self.bias.len()]
    }
}

/// Latents -> classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// A short name, for sentences.
    pub name: String,
    /// The base whose latents it reads.
    pub base: BaseId,
    /// The classes' names, in the order of the outputs.
    pub classes: Vec<String>,
    /// How good it is on pictures it was not trained on, if that was measured.
    pub scores: Option<Scores>,
    /// How many pictures it was trained on.
    pub pictures: usize,
    /// What the logits were divided by, so that the probabilities are honest; the last layer already has it in it. 1 where nobody fitted one.
    pub temperature: f32,
    /// Below this probability of the best class the head counts as unsure, 0 to 1.
    pub unsure_below: f32,
    /// At least one; ReLU between them.
    pub layers: Vec<Dense>,
}

/// `unsure_below` where nobody chose.
pub const UNSURE_BELOW: f32 = 0.5;

/// Right answers among pictures held out of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    /// Pictures whose most probable class was theirs.
    pub correct: usize,
    /// Pictures asked.
    pub total: usize,
}

impl Scores {
    /// The share of right answers, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }

    /// The 95 % interval of the accuracy.
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

/// One class and how sure the head is of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The class's name.
    pub label: String,
    /// 0 to 1; all classes' together are 1.
    pub probability: f32,
}

impl Head {
    /// The probability of every class, in the order of the classes: the softmax of the logits.
    ///
    /// # Shapes
    /// `[2048]` -> `[classes]`.
    pub fn probabilities(&self, latents: &[f32]) -> Vec<f32> {
        softmax(&self.logits(latents))
    }

    /// What the last layer says of every class, in the order of the classes.
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

    /// How much each latent moves a class's logit here: its gradient at these latents, exact by the chain rule.
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

    /// The `top` most probable classes, best first.
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

    /// The bytes of `head.safetensors`.
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

    /// The bytes of `head.npz`: `dense_K_kernel` [in, out] and `dense_K_bias` `[out]`, as Keras' `Dense` takes them, and `classes`, `name`,
    /// `base`, `fingerprint`, `temperature`, `unsure_below`. `np.load` reads it without pickle.
    pub fn write_npz(&self) -> Vec<u8> {
        let mut npz = npz::Writer::new();
        for (k, layer) in (1..).zip(&self.layers) {
            let shape = layer.shape();
            npz.floats(&format!("dense_{k}_kernel"), &shape, &layer.kernel);
            npz.floats(&format!("dense_{k}_bias"), &shape[1..], &layer.bias);
        }
        npz.texts("classes", &self.classes);
        npz.text("name", &self.name);
        for (key, value) in self.base.metadata() {
            npz.text(&key, &value);
        }
        npz.floats("temperature", &[], &[self.temperature]);
        npz.floats("unsure_below", &[], &[self.unsure_below]);
        npz.finish()
    }

    /// Reads `head.safetensors`, whole or not at all, for a base.
    ///
    /// # Errors
    /// A head of another base, and as [`Head::open`].
    pub fn read(bytes: &[u8], base: &BaseId) -> Result<Head, Error> {
        let head = Head::open(bytes)?;
        head.base.must_be(base, WHAT)?;
        Ok(head)
    }

    /// Reads `head.safetensors`, whole or not at all, of whichever base.
    ///
    /// # Errors
    /// A truncated or foreign file, wrong shapes, numbers that are not finite or out of their range.
    pub fn open(bytes: &[u8]) -> Result<Head, Error> {
        let container = Container::open(WHAT, COMMAND, bytes)?;
        let count: usize = container.json("layers", "the number of dense layers")?;
        let base = BaseId::read(&container)?;
        let classes: Vec<String> = container.json("classes", "a list of names")?;
        let mut layers = Vec::new();
        let mut inputs = LATENTS;
        for k in 1..=count {
            let bias = format!("dense_{k}.bias");
            let out = if k == count {
                classes.len()
            } else {
                container.any(&bias)?.shape().first().copied().unwrap_or(0)
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
        let count = "a number of pictures";
        let scores = match container.text("accuracy") {
            Ok(_) => Some(Scores {
                correct: container.json("correct", count)?,
                total: container.json("total", count)?,
            }),
            Err(_) => None,
        };
        if let Some(Scores { correct, total }) =
            scores.filter(|s| s.total == 0 || s.correct > s.total)
        {
            let got = format!("{correct} right of {total}");
            return Err(Error::Metadata {
                what: WHAT,
                key: "accuracy",
                got,
                want: "some right of more",
            });
        }
        let optional = |key, want, otherwise: f32, good: fn(&f32) -> bool| {
            let Ok(text) = container.text(key) else {
                return Ok(otherwise);
            };
            let value: f32 = container.json(key, want)?;
            let bad = || Error::Metadata {
                what: WHAT,
                key,
                got: text.chars().take(60).collect(),
                want,
            };
            Some(value).filter(good).ok_or_else(bad)
        };
        let divides = |value: &f32| value.is_finite() && *value > 0.0;
        let is_share = |value: &f32| (0.0..=1.0).contains(value);
        Ok(Head {
            temperature: optional("temperature", "a number above 0", 1.0, divides)?,
            unsure_below: optional(
                "unsure_below",
                "a number from 0 to 1",
                UNSURE_BELOW,
                is_share,
            )?,
            name: container.text("name")?.into(),
            base,
            classes,
            scores,
            pictures: container.json("pictures", count)?,
            layers,
        })
    }
}

/// The index of the largest number, the first of equals.
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

/// exp(x) / sum(exp(x)), safe for large x.
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
    fn softmax_survives_large_logits() {
        assert_eq!(softmax(&[1e30, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn head_comes_back_as_it_was() {
        let head = head();
        assert_eq!(
            Head::read(&head.write(), &head.base).expect("our own file"),
            head
        );
        assert_eq!(head.write(), head.write());
    }

    #[test]
    fn head_of_another_base_is_refused_with_both_names() {
        let error = Head::read(&head().write(), &base_id("base two", "2")).expect_err("another base");
        assert_eq!(
            error.to_string(),
            "head: made with the base \"base one\" (fingerprint 111111111111), but the base here is \"base two\" (fingerprint \
             222222222222); use that base, or make the head again with this one"
        );
    }

    #[test]
    fn head_without_temperature_has_none_fitted() {
        let bytes = head().write();
        let mut container = HashMap::new();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("our own file");
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
                    "head: the metadata {key:?} is {got:?}, expected {want}; make the file again"
                )
            );
        }
    }

    /// Three layers, which no command makes, with kernels of both signs.
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
                    // The net is linear around these latents; 1e-2 leaves six digits of f32 logits of about 10.
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
    fn truncated_head_is_refused() {
        let bytes = head().write();
        let error =
            Head::read(&bytes[..bytes.len() - 1], &base_id("base one", "1")).expect_err("cut off");
        assert!(
            error
                .to_string()
                .starts_with("head: not a whole safetensors file ("),
            "{error}"
        );
    }

    #[test]
    fn a_layer_without_outputs_is_refused() {
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
            "head: dense_1.bias has shape [0], expected [1]; make the file again"
        );
    }

    #[test]
    fn interval_is_wilsons() {
        // statsmodels 0.14: proportion_confint(862, 1000, method="wilson") = (0.83922, 0.88201)
        let [low, high] = Scores {
            correct: 862,
            total: 1000,
        }
        .interval();
        assert!(
            (low - 0.83922).abs() < 1e-4 && (high - 0.88201).abs() < 1e-4,
            "{low} {high}"
        );
        let [low, high] = Scores {
            correct: 5,
            total: 5,
        }
        .interval();
        assert!(
            (low - 0.5655).abs() < 1e-4 && (high - 1.0).abs() < 1e-9,
            "{low} {high}"
        );
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
            // Only differences count.
            let moved = softmax(&small.iter().map(|logit| logit + shift).collect::<Vec<_>>());
            for (a, b) in softmax(&small).iter().zip(moved) {
                prop_assert!((a - b).abs() < 1e-4, "{a} and {b}");
            }
        }

        #[test]
        fn wilsons_interval_lies_around_the_accuracy_and_narrows(total in 1usize..100_000, share in 0f64..=1.0) {
            let scores = Scores { correct: (total as f64 * share) as usize, total };
            let [low, high] = scores.interval();
            prop_assert!(-1e-12 <= low && low <= scores.accuracy() && scores.accuracy() <= high && high <= 1.0 + 1e-12);
            let [wider_low, wider_high] = Scores { correct: scores.correct * 10, total: total * 10 }.interval();
            prop_assert!(wider_high - wider_low < high - low);
        }
    }
}
