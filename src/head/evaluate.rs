//! How good a head is on pictures that it was not trained on: scores, confusion, calibration, folds, and labels that look wrong.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::head::{
    dense::{Head, Scores, largest, softmax},
    latents::Latents,
};

/// Pictures that a temperature is fitted on, at least: fewer would fit it to chance.
const FEWEST_FOR_TEMPERATURE: usize = 50;
const BINS: usize = 10;

/// What came of asking a head about pictures whose classes are known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// Right answers.
    pub correct: usize,
    /// Pictures asked about.
    pub total: usize,
    /// 0 to 1.
    pub accuracy: f64,
    /// The 95 % interval of the accuracy, by Wilson.
    pub interval: [f64; 2],
    /// The mean F1 of the classes that have pictures.
    pub macro_f1: f64,
    /// Scores by class: the head's, then those that only the pictures have.
    pub classes: Vec<ClassScores>,
    /// Pictures, [true class][answered class].
    pub confusion: Vec<Vec<usize>>,
    /// Expected calibration error, 0 to 1, with the temperature.
    pub calibration_error: f64,
    /// The same without it.
    pub calibration_error_before: f64,
    /// What the logits are divided by; 1 where none was fitted.
    pub temperature: f32,
    /// Answers by confidence, in ten bins.
    pub bins: Vec<Bin>,
    /// One for each picture.
    pub answers: Vec<Answer>,
    /// Pictures whose label is doubtful, the most doubtful first; only known by folds.
    pub mislabels: Vec<Mislabel>,
}

/// How good the answers are for one class; precision is none where nothing was answered so, recall where there are no pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// The class's name.
    pub name: String,
    /// Pictures of the class.
    pub pictures: usize,
    /// Right among those answered so, 0 to 1.
    pub precision: Option<f64>,
    /// Right among its pictures, 0 to 1.
    pub recall: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
}

/// Answers of about the same confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Their mean probability.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
    /// How many.
    pub pictures: usize,
}

/// The answer for one picture; classes are indices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answer {
    /// The row of the table.
    pub row: usize,
    /// Its class.
    pub label: usize,
    /// The most probable class.
    pub answered: usize,
    /// How probable.
    pub probability: f32,
}

/// A picture whose label is doubtful; classes are indices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mislabel {
    /// The row of the table.
    pub row: usize,
    /// Its class.
    pub given: usize,
    /// The class that heads which never saw the picture find more probable.
    pub suggested: usize,
    /// How probable the given class is.
    pub given_probability: f32,
    /// How probable the suggested class is.
    pub suggested_probability: f32,
}

/// Logits for some rows of a table, before any temperature, and what is true of the rows.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) rows: Vec<usize>,
    pub(crate) labels: Vec<usize>,
    pub(crate) logits: Vec<Vec<f32>>,
}

/// Asks a head about every row of a table.
pub fn evaluate(head: &Head, latents: &Latents) -> Evaluation {
    evaluate_rows(head, latents, &(0..latents.len()).collect::<Vec<_>>())
}

/// Asks a head about some rows of a table; classes are compared by name.
pub fn evaluate_rows(head: &Head, latents: &Latents, rows: &[usize]) -> Evaluation {
    let (names, labels) = labels_by_name(&head.classes, latents, rows);
    let unscaled = |row: &usize| {
        let logits = head.logits(latents.row(*row));
        logits
            .into_iter()
            .map(|logit| logit * head.temperature)
            .collect()
    };
    let asked = Asked {
        logits: rows.iter().map(unscaled).collect(),
        rows: rows.to_vec(),
        labels,
    };
    asked.evaluation(names, head.temperature)
}

impl Asked {
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
        let truth = self.rows.iter().zip(&self.labels);
        let answer = |((row, label), probabilities): ((&usize, &usize), Vec<f32>)| {
            let answered = largest(&probabilities);
            Answer {
                row: *row,
                label: *label,
                answered,
                probability: probabilities[answered],
            }
        };
        truth
            .zip(self.probabilities(temperature))
            .map(answer)
            .collect()
    }

    /// Pictures that another class claims: it is more likely than not, and at least as probable as it is on average for its own pictures,
    /// and the label is less so.
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
        let usual: Vec<f32> = sums
            .iter()
            .map(|(sum, count)| {
                if *count > 0.0 {
                    sum / count
                } else {
                    f32::INFINITY
                }
            })
            .collect();
        let doubt = |((row, given), probabilities): ((&usize, &usize), &Vec<f32>)| {
            let claims = (0..classes).filter(|class| probabilities[*class] >= usual[*class]);
            let suggested =
                claims.max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))?;
            (suggested != *given && probabilities[*given] < usual[*given]).then(|| Mislabel {
                row: *row,
                given: *given,
                suggested,
                given_probability: probabilities[*given],
                suggested_probability: probabilities[suggested],
            })
        };
        let mut doubtful: Vec<_> = self
            .rows
            .iter()
            .zip(&self.labels)
            .zip(&probabilities)
            .filter_map(doubt)
            .collect();
        let margin = |m: &Mislabel| m.suggested_probability - m.given_probability;
        doubtful.retain(|mislabel| mislabel.suggested_probability > 0.5);
        doubtful.sort_by(|a, b| margin(b).total_cmp(&margin(a)));
        doubtful
    }
}

/// The head's classes, then those that only the table has; and the index of each row's class among them.
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
            .position(|known| known == name)
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
    let right = confusion[class][class] as f64;
    let pictures: usize = confusion[class].iter().sum();
    let answered: usize = confusion.iter().map(|row| row[class]).sum();
    let share = |of: usize| (of > 0).then(|| right / of as f64);
    let f1 = (pictures + answered > 0).then(|| 2.0 * right / (pictures + answered) as f64);
    ClassScores {
        name,
        pictures,
        precision: share(answered),
        recall: share(pictures),
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

/// The mean distance of confidence and accuracy over the pictures.
fn calibration_error(bins: &[Bin]) -> f64 {
    let total: usize = bins.iter().map(|bin| bin.pictures).sum();
    let off = bins
        .iter()
        .map(|bin| (bin.confidence - bin.accuracy).abs() * bin.pictures as f64);
    off.sum::<f64>() / total.max(1) as f64
}

/// The temperature under which the labels are most probable, 0.05 to 20; 1 for too few pictures to tell.
pub(crate) fn temperature(logits: &[Vec<f32>], labels: &[usize]) -> f32 {
    if logits.len() < FEWEST_FOR_TEMPERATURE {
        return 1.0;
    }
    // A class that the head does not know can be no evidence on its confidence.
    let loss = |log_temperature: f64| -> f64 {
        let known = logits
            .iter()
            .zip(labels)
            .filter(|(logits, label)| **label < logits.len());
        known
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
    // The loss has one valley in the inverse temperature, so also in its logarithm: a golden-section search finds its floor.
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
        head::{Dense, latents::BaseId},
        net::inception::LATENTS,
    };

    /// A head that reads its answer off the first three latents.
    pub(crate) fn head(classes: [&str; 3]) -> Head {
        let mut kernel = vec![0.0; LATENTS * 3];
        for class in 0..3 {
            kernel[class * 3 + class] = 1.0;
        }
        Head {
            name: "reads off".into(),
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

    /// Rows of (label, logits).
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
    fn scores_are_scikit_learns() {
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
                .map(|score| score.expect("asked and answered"));
            for (got, want) in got.into_iter().zip([precision, recall, f1]) {
                assert!((got - want).abs() < 1e-5, "{class:?}");
            }
        }
        assert!((got.macro_f1 - 0.698_413).abs() < 1e-5);
    }

    #[test]
    fn classes_are_compared_by_name_and_unknown_ones_are_wrong() {
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
    fn calibration_error_is_the_gap_of_confidence_and_accuracy() {
        // Four answers of probability 1/(1+2e^-2) = 0.7870, three of them right: off by 0.0370.
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
