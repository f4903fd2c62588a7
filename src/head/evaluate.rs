//! Evaluation of a head on held-out pictures: scores, confusion matrix, calibration and probable label errors.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::head::{
    latents::Latents,
    model::{Head, Scores, largest, softmax},
};

/// Minimum number of pictures to fit a temperature; fewer would overfit.
const MIN_PICTURES_FOR_TEMPERATURE: usize = 50;
const BINS: usize = 10;

/// The evaluation of a head on labelled pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// Correct predictions.
    pub correct: usize,
    /// All pictures.
    pub total: usize,
    /// 0 to 1.
    pub accuracy: f64,
    /// The 95 % confidence interval of the accuracy (Wilson).
    pub interval: [f64; 2],
    /// The mean F1 over the classes with pictures.
    pub macro_f1: f64,
    /// Scores per class: the head's classes, then classes that only the pictures have.
    pub classes: Vec<ClassScores>,
    /// Numbers of pictures, [true class][predicted class].
    pub confusion: Vec<Vec<usize>>,
    /// Expected calibration error, 0 to 1, with the temperature.
    pub calibration_error: f64,
    /// Expected calibration error without the temperature.
    pub calibration_error_before: f64,
    /// The divisor of the logits; 1 if none was fitted.
    pub temperature: f32,
    /// Predictions by confidence, in ten bins.
    pub bins: Vec<Bin>,
    /// One prediction per picture.
    pub answers: Vec<Answer>,
    /// Probable label errors, most probable first; only from cross-validation.
    pub mislabels: Vec<Mislabel>,
}

/// The scores of one class. Precision is `None` without predictions of the class, recall without pictures of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// The class name.
    pub name: String,
    /// Pictures of the class.
    pub pictures: usize,
    /// The fraction of its predictions that are correct.
    pub precision: Option<f64>,
    /// The fraction of its pictures that are classified correctly.
    pub recall: Option<f64>,
    /// The harmonic mean of precision and recall.
    pub f1: Option<f64>,
}

/// Predictions of similar confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Mean probability.
    pub confidence: f64,
    /// The fraction of correct predictions.
    pub accuracy: f64,
    /// Number of predictions.
    pub pictures: usize,
}

/// The prediction for one picture. Classes are indices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answer {
    /// Row in the table.
    pub row: usize,
    /// The label's class.
    pub label: usize,
    /// The predicted class.
    pub answered: usize,
    /// The probability of the predicted class.
    pub probability: f32,
}

/// A probable label error. Classes are indices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mislabel {
    /// Row in the table.
    pub row: usize,
    /// The label's class.
    pub given: usize,
    /// The class that a head trained without this picture predicts.
    pub suggested: usize,
    /// The probability of the label's class.
    pub given_probability: f32,
    /// The probability of the suggested class.
    pub suggested_probability: f32,
}

/// Logits of rows of a table, without temperature, and the labels.
#[derive(Default)]
pub(crate) struct LabelledLogits {
    pub(crate) rows: Vec<usize>,
    pub(crate) labels: Vec<usize>,
    pub(crate) logits: Vec<Vec<f32>>,
}

/// Evaluates a head on all rows of a table.
pub fn evaluate(head: &Head, latents: &Latents) -> Evaluation {
    evaluate_rows(head, latents, &(0..latents.len()).collect::<Vec<_>>())
}

/// Evaluates a head on some rows of a table. Classes are matched by name.
pub fn evaluate_rows(head: &Head, latents: &Latents, rows: &[usize]) -> Evaluation {
    let (names, labels) = labels_by_name(&head.classes, latents, rows);
    let unscaled = |row: &usize| {
        let logits = head.logits(latents.row(*row));
        logits
            .into_iter()
            .map(|logit| logit * head.temperature)
            .collect()
    };
    let logits = LabelledLogits {
        logits: rows.iter().map(unscaled).collect(),
        rows: rows.to_vec(),
        labels,
    };
    logits.evaluation(names, head.temperature)
}

impl LabelledLogits {
    pub(crate) fn evaluation(&self, names: Vec<String>, temperature: f32) -> Evaluation {
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        let answers = self.answers(temperature);
        for answer in &answers {
            confusion[answer.label][answer.answered] += 1;
        }
        let correct = (0..names.len()).map(|class| confusion[class][class]).sum();
        let scores = Scores {
            correct,
            total: answers.len(),
        };
        let classes: Vec<_> = names
            .into_iter()
            .enumerate()
            .map(|(class, name)| class_scores(class, name, &confusion))
            .collect();
        let f1: Vec<_> = classes
            .iter()
            .filter(|class| class.pictures > 0)
            .map(|class| class.f1.unwrap_or(0.0))
            .collect();
        let bins = bins(&answers);
        Evaluation {
            correct,
            total: scores.total,
            accuracy: scores.accuracy(),
            interval: scores.interval(),
            macro_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
            classes,
            confusion,
            calibration_error: calibration_error(&bins),
            calibration_error_before: calibration_error(&self::bins(&self.answers(1.0))),
            temperature,
            bins,
            answers,
            mislabels: Vec::new(),
        }
    }

    fn probabilities(&self, temperature: f32) -> impl Iterator<Item = Vec<f32>> {
        self.logits
            .iter()
            .map(move |logits| softmax(&scaled(logits, temperature)))
    }

    fn answers(&self, temperature: f32) -> Vec<Answer> {
        let labelled = self.rows.iter().zip(&self.labels);
        let answer = |((row, label), probabilities): ((&usize, &usize), Vec<f32>)| {
            let answered = largest(&probabilities);
            Answer {
                row: *row,
                label: *label,
                answered,
                probability: probabilities[answered],
            }
        };
        labelled
            .zip(self.probabilities(temperature))
            .map(answer)
            .collect()
    }

    /// Finds probable label errors: another class has a probability above 0.5 and at least its average on its own pictures, and the label's
    /// class is below its average.
    ///
    /// # Source
    /// [Confident Learning](https://arxiv.org/abs/1911.00068)
    pub(crate) fn mislabels(&self, temperature: f32) -> Vec<Mislabel> {
        let probabilities: Vec<_> = self.probabilities(temperature).collect();
        let classes = probabilities.first().map_or(0, Vec::len);
        let mut sums = vec![(0.0, 0.0); classes];
        for (label, probabilities) in self.labels.iter().zip(&probabilities) {
            sums[*label].0 += probabilities[*label];
            sums[*label].1 += 1.0;
        }
        let thresholds: Vec<f32> = sums
            .iter()
            .map(|(sum, count)| {
                if *count > 0.0 {
                    sum / count
                } else {
                    f32::INFINITY
                }
            })
            .collect();
        let label_error = |((row, given), probabilities): ((&usize, &usize), &Vec<f32>)| {
            let candidates =
                (0..classes).filter(|class| probabilities[*class] >= thresholds[*class]);
            let suggested =
                candidates.max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))?;
            (suggested != *given && probabilities[*given] < thresholds[*given]).then(|| Mislabel {
                row: *row,
                given: *given,
                suggested,
                given_probability: probabilities[*given],
                suggested_probability: probabilities[suggested],
            })
        };
        let mut mislabels: Vec<_> = self
            .rows
            .iter()
            .zip(&self.labels)
            .zip(&probabilities)
            .filter_map(label_error)
            .collect();
        let margin = |m: &Mislabel| m.suggested_probability - m.given_probability;
        mislabels.retain(|mislabel| mislabel.suggested_probability > 0.5);
        mislabels.sort_by(|a, b| margin(b).total_cmp(&margin(a)));
        mislabels
    }
}

/// Returns the head's classes followed by classes that only the table has, and the index of each row's class among them.
pub(crate) fn labels_by_name(
    classes: &[String],
    latents: &Latents,
    rows: &[usize],
) -> (Vec<String>, Vec<usize>) {
    let mut names = classes.to_vec();
    let used: BTreeSet<_> = rows.iter().map(|row| latents.labels[*row]).collect();
    let mut index = vec![0; latents.classes.len()];
    for label in used.into_iter().map(|label| label as usize) {
        let name = &latents.classes[label];
        index[label] = names
            .iter()
            .position(|class| class == name)
            .unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            });
    }
    let labels = rows
        .iter()
        .map(|row| index[latents.labels[*row] as usize])
        .collect();
    (names, labels)
}

fn class_scores(class: usize, name: String, confusion: &[Vec<usize>]) -> ClassScores {
    let correct = confusion[class][class] as f64;
    let pictures: usize = confusion[class].iter().sum();
    let answered: usize = confusion.iter().map(|row| row[class]).sum();
    let fraction = |of: usize| (of > 0).then(|| correct / of as f64);
    let f1 = (pictures + answered > 0).then(|| 2.0 * correct / (pictures + answered) as f64);
    ClassScores {
        name,
        pictures,
        precision: fraction(answered),
        recall: fraction(pictures),
        f1,
    }
}

fn scaled(logits: &[f32], temperature: f32) -> Vec<f32> {
    logits.iter().map(|logit| logit / temperature).collect()
}

fn bins(answers: &[Answer]) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for answer in answers {
        let bin = &mut bins[((answer.probability * BINS as f32) as usize).min(BINS - 1)];
        bin.confidence += f64::from(answer.probability);
        bin.accuracy += f64::from(u8::from(answer.answered == answer.label));
        bin.pictures += 1;
    }
    for bin in bins.iter_mut().filter(|bin| bin.pictures > 0) {
        bin.confidence /= bin.pictures as f64;
        bin.accuracy /= bin.pictures as f64;
    }
    bins
}

/// The mean difference between confidence and accuracy, weighted by pictures.
fn calibration_error(bins: &[Bin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.pictures).sum();
    let errors = bins
        .iter()
        .map(|bin| (bin.confidence - bin.accuracy).abs() * bin.pictures as f64);
    errors.sum::<f64>() / total.max(1) as f64
}

/// Fits the temperature (0.05 to 20) that maximises the likelihood of the labels; 1 for too few pictures.
pub(crate) fn temperature(logits: &[Vec<f32>], labels: &[usize]) -> f32 {
    if logits.len() < MIN_PICTURES_FOR_TEMPERATURE {
        return 1.0;
    }
    // Classes that the head does not have are ignored.
    let loss = |log_temperature: f64| -> f64 {
        let labelled = logits
            .iter()
            .zip(labels)
            .filter(|(logits, label)| **label < logits.len());
        labelled
            .map(|(logits, label)| {
                let scaled = logits
                    .iter()
                    .map(|logit| f64::from(*logit) / log_temperature.exp());
                let max = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scaled.clone().map(|value| (value - max).exp()).sum();
                max + total.ln() - f64::from(logits[*label]) / log_temperature.exp()
            })
            .sum()
    };
    // The loss is convex in the inverse temperature, hence unimodal in the logarithm: golden-section search finds the minimum.
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.05f64.ln(), 20f64.ln());
    while high - low > 1e-4 {
        let span = golden * (high - low);
        if loss(high - span) < loss(low + span) {
            high = low + span;
        } else {
            low += (high - low) - span;
        }
    }
    ((low + high) / 2.0).exp() as f32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        head::{latents::BaseId, model::Dense},
        net::inception::LATENTS,
    };

    /// A head whose logits are the first three latents.
    pub(crate) fn head(classes: [&str; 3]) -> Head {
        let mut kernel = vec![0.0; LATENTS * 3];
        for class in 0..3 {
            kernel[class * 3 + class] = 1.0;
        }
        Head {
            name: "test".into(),
            base: BaseId::example(),
            classes: classes.map(String::from).into(),
            scores: None,
            pictures: 0,
            temperature: 1.0,
            unsure_below: 0.5,
            layers: vec![Dense {
                kernel,
                bias: vec![0.0; 3],
            }],
        }
    }

    /// A table of (label, logits) rows for [`head`].
    pub(crate) fn table(classes: &[&str], rows: &[(i64, [f32; 3])]) -> Latents {
        let mut latents = Latents::new(
            BaseId::example(),
            classes.iter().map(|name| name.to_string()).collect(),
        );
        for (label, logits) in rows {
            let mut row = [0.0; LATENTS];
            row[..3].copy_from_slice(logits);
            latents.push("picture".into(), *label, &row);
        }
        latents
    }

    #[test]
    fn scores_match_scikit_learn() {
        // scikit-learn 1.7: classification_report and confusion_matrix of y_true 0 0 0 0 1 1 1 2 2 2, y_pred 0 0 1 2 1 1 0 2 2 2.
        let truth = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2];
        let answers = [0, 0, 1, 2, 1, 1, 0, 2, 2, 2];
        let rows: Vec<_> = truth
            .iter()
            .zip(answers)
            .map(|(label, answered)| {
                let mut logits = [0.0; 3];
                logits[answered] = 2.0;
                (*label, logits)
            })
            .collect();
        let names = ["cat", "dog", "bird"];
        let got = evaluate(&head(names), &table(&names, &rows));
        assert_eq!(got.confusion, [[2, 1, 1], [1, 2, 0], [0, 0, 3]]);
        assert_eq!((got.correct, got.total), (7, 10));
        let want = [
            (0.666_667, 0.5, 0.571_429),
            (0.666_667, 0.666_667, 0.666_667),
            (0.75, 1.0, 0.857_143),
        ];
        for (class, (precision, recall, f1)) in got.classes.iter().zip(want) {
            let got = [class.precision, class.recall, class.f1]
                .map(|score| score.expect("the class has pictures and predictions"));
            for (got, want) in got.into_iter().zip([precision, recall, f1]) {
                assert!((got - want).abs() < 1e-5, "{class:?}");
            }
        }
        assert!((got.macro_f1 - 0.698_413).abs() < 1e-5);
    }

    #[test]
    fn classes_are_matched_by_name_and_unknown_classes_count_as_errors() {
        let latents = table(
            &["fish", "bird", "cat"],
            &[
                (2, [9.0, 0.0, 0.0]),
                (1, [0.0, 0.0, 9.0]),
                (0, [9.0, 0.0, 0.0]),
            ],
        );
        let got = evaluate(&head(["cat", "dog", "bird"]), &latents);
        assert_eq!((got.correct, got.total), (2, 3));
        assert_eq!(
            got.classes
                .iter()
                .map(|class| class.name.as_str())
                .collect::<Vec<_>>(),
            ["cat", "dog", "bird", "fish"]
        );
        assert_eq!(got.confusion[3], [1, 0, 0, 0]);
        assert_eq!(
            (
                got.classes[1].precision,
                got.classes[1].recall,
                got.classes[3].precision
            ),
            (None, None, None)
        );
    }

    #[test]
    fn calibration_error_is_the_difference_of_confidence_and_accuracy() {
        // Four predictions of probability 1/(1+2e^-2) = 0.7870, three of them correct: the error is 0.0370.
        let rows = [
            (0, [2.0, 0.0, 0.0]),
            (1, [0.0, 2.0, 0.0]),
            (2, [0.0, 0.0, 2.0]),
            (0, [0.0, 0.0, 2.0]),
        ];
        let names = ["cat", "dog", "bird"];
        let got = evaluate(&head(names), &table(&names, &rows));
        assert!(
            (got.calibration_error - 0.037_0).abs() < 1e-3,
            "{}",
            got.calibration_error
        );
        assert_eq!(got.bins[7].pictures, 4);
    }
}
