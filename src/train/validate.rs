//! Evaluation of a trained head on its validation split, and cross-validation.

use std::{collections::HashSet, rc::Rc};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    error::Error,
    head::{
        Dense, Head, Scores,
        evaluate::{Evaluation, LabelledLogits, evaluate_rows, labels_by_name, temperature},
        latents::Latents,
    },
    train::{
        head::{HeadTrainer, TrainedHead, trainable_rows},
        settings::Settings,
    },
};

/// Calibrates a head, evaluates it on its validation split and stores the scores in it. Returns none without a validation split.
///
/// The temperature is fitted if there are at least 50 validation pictures. It is folded into the last layer, so it applies to every export.
///
/// # Source
/// [On Calibration of Modern Neural Networks](https://arxiv.org/abs/1706.04599)
pub fn validate(trained: &mut TrainedHead, latents: &Latents) -> Option<Evaluation> {
    let TrainedHead {
        head, validation, ..
    } = trained;
    if validation.is_empty() {
        return None;
    }
    calibrate(head, latents, validation);
    let evaluation = evaluate_rows(head, latents, validation);
    head.scores = Some(Scores {
        correct: evaluation.correct,
        total: evaluation.total,
    });
    Some(evaluation)
}

/// Fits the temperature on some rows and divides the logits of the head by it.
fn calibrate(head: &mut Head, latents: &Latents, rows: &[usize]) {
    let (_, labels) = labels_by_name(&head.classes, latents, rows);
    let logits: Vec<_> = rows
        .iter()
        .map(|row| head.logits(latents.row(*row)))
        .collect();
    let temperature = temperature(&logits, &labels);
    if let Some(Dense { kernel, bias }) = head.layers.last_mut() {
        kernel
            .iter_mut()
            .chain(bias)
            .for_each(|weight| *weight /= temperature);
    }
    head.temperature *= temperature;
}

/// A cross-validation run. For each fold, a head is trained on the other folds and evaluated on this one, so every picture is classified by
/// a head that was not trained on it. The result measures the training settings, not a single head.
pub struct CrossValidation {
    latents: Rc<Latents>,
    settings: Settings,
    /// Row indices of each fold.
    folds: Vec<Vec<usize>>,
    trainer: Option<HeadTrainer>,
    done: usize,
    epochs: usize,
    held_out: LabelledLogits,
}

impl CrossValidation {
    /// Distributes the pictures of each class evenly over the folds, shuffled by the seed of the settings.
    ///
    /// # Errors
    /// Fewer than 2 folds or more than 20, a class with fewer than 2 pictures, and the errors of [`trainable_rows`].
    pub fn new(
        latents: Rc<Latents>,
        settings: Settings,
        folds: usize,
    ) -> Result<CrossValidation, Error> {
        if !(2..=20).contains(&folds) {
            return Err(Error::Setting {
                name: "folds",
                got: folds.to_string(),
                want: "2 to 20",
            });
        }
        let rows = trainable_rows(&latents)?;
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let mut folds = vec![Vec::new(); folds];
        let mut next = 0;
        for (class, name) in latents.classes.iter().enumerate() {
            let mut class_rows: Vec<_> = rows
                .iter()
                .copied()
                .filter(|row| latents.labels[*row] == class as i64)
                .collect();
            if class_rows.len() < 2 {
                return Err(Error::SmallClass { name: name.clone() });
            }
            class_rows.shuffle(&mut rng);
            for row in class_rows {
                let fold = next % folds.len();
                folds[fold].push(row);
                next += 1;
            }
        }
        folds.retain(|fold| !fold.is_empty());
        Ok(CrossValidation {
            latents,
            settings,
            folds,
            trainer: None,
            done: 0,
            epochs: 0,
            held_out: LabelledLogits::default(),
        })
    }

    /// Returns whether all folds have been evaluated.
    pub fn is_done(&self) -> bool {
        self.done == self.folds.len()
    }

    /// Returns the number of finished epochs and its maximum. A fold that stopped early counts as the maximum number of epochs.
    pub fn progress(&self) -> (usize, usize) {
        let max = self.settings.epochs;
        (self.done * max + self.epochs, self.folds.len() * max)
    }

    /// Trains the head of the current fold for one epoch; evaluates it after its last epoch.
    ///
    /// # Errors
    /// The errors of [`HeadTrainer::new`].
    pub fn step(&mut self) -> Result<(), Error> {
        let trainer = match &mut self.trainer {
            Some(trainer) => trainer,
            None => {
                let held_out: HashSet<_> = self.folds[self.done].iter().collect();
                let rows: Vec<_> = (0..self.latents.len())
                    .filter(|row| !held_out.contains(row))
                    .collect();
                self.trainer.insert(HeadTrainer::new(
                    self.latents.clone(),
                    &rows,
                    self.settings.clone(),
                )?)
            }
        };
        trainer.epoch();
        self.epochs += 1;
        if let Some(trainer) = self.trainer.take_if(|trainer| trainer.is_done()) {
            let head = trainer.finish().head;
            for row in &self.folds[self.done] {
                self.held_out.rows.push(*row);
                self.held_out
                    .labels
                    .push(self.latents.labels[*row] as usize);
                self.held_out
                    .logits
                    .push(head.logits(self.latents.row(*row)));
            }
            self.done += 1;
            self.epochs = 0;
        }
        Ok(())
    }

    /// Returns the evaluation of all pictures, including doubtful labels.
    pub fn finish(self) -> Evaluation {
        let temperature = temperature(&self.held_out.logits, &self.held_out.labels);
        let mut evaluation = self
            .held_out
            .evaluation(self.latents.classes.clone(), temperature);
        evaluation.mislabels = self.held_out.mislabels(temperature);
        evaluation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        head::{
            evaluate::{
                evaluate,
                tests::{head, table},
            },
            latents::BaseId,
        },
        net::inception::LATENTS,
    };

    #[test]
    fn calibration_corrects_confidence_and_keeps_predictions() {
        // The confidence of logits [4, 0, 0] is 96 %, but 75 % are correct: softmax([t, 0, 0]) = 0.75 at t = ln 6, so T = 4 / ln 6.
        let names = ["cat", "dog", "bird"];
        let rows: Vec<_> = (0..400)
            .map(|i| {
                let mut logits = [0.0; 3];
                logits[(i % 3) as usize] = 4.0;
                (if i % 4 == 0 { (i + 1) % 3 } else { i % 3 }, logits)
            })
            .collect();
        let latents = table(&names, &rows);
        let all: Vec<_> = (0..latents.len()).collect();
        let mut head = head(names);
        let before = evaluate(&head, &latents);
        calibrate(&mut head, &latents, &all);
        let after = evaluate(&head, &latents);
        assert!(
            (head.temperature - 4.0 / 6f32.ln()).abs() < 1e-2,
            "{}",
            head.temperature
        );
        assert_eq!(before.confusion, after.confusion);
        assert!(
            before.calibration_error > 0.2 && after.calibration_error < 0.01,
            "{after:?}"
        );
        assert!((after.calibration_error_before - before.calibration_error).abs() < 1e-6);
    }

    /// Two separable classes of 80 pictures. Pictures 21, 33 and 45 have the wrong label.
    fn mislabelled() -> Latents {
        let mut latents = Latents::new(BaseId::example(), vec!["left".into(), "right".into()]);
        for i in 0..160 {
            let label = i % 2;
            let side = if [21, 33, 45].contains(&i) { 0 } else { label };
            let mut row = vec![0.0; LATENTS];
            for (c, value) in row.iter_mut().take(16).enumerate() {
                *value = ((i * 31 + c * 17) % 23) as f32 / 23.0;
            }
            row[5] += side as f32 * 10.0;
            latents.push(format!("{i}.png"), label as i64, &row);
        }
        latents
    }

    #[test]
    fn cross_validation_classifies_each_picture_once_and_finds_wrong_labels() {
        let latents = Rc::new(mislabelled());
        let settings = Settings {
            learning_rate: 1e-2,
            epochs: 30,
            batch: 8,
            ..Settings::default()
        };
        let mut folds = CrossValidation::new(latents, settings, 5).expect("enough pictures");
        while !folds.is_done() {
            folds.step().expect("two classes in every fold");
            let (done, total) = folds.progress();
            assert!(done <= total);
        }
        let evaluation = folds.finish();
        let mut rows: Vec<_> = evaluation.answers.iter().map(|answer| answer.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..160).collect::<Vec<_>>());
        assert_eq!(evaluation.correct, 157);
        let mut suspects: Vec<_> = evaluation
            .mislabels
            .iter()
            .take(3)
            .map(|m| (m.row, m.given, m.suggested))
            .collect();
        suspects.sort_unstable();
        assert_eq!(suspects, [(21, 1, 0), (33, 1, 0), (45, 1, 0)]);
    }

    #[test]
    fn invalid_folds_are_rejected() {
        let message = |latents: Latents, folds| {
            CrossValidation::new(Rc::new(latents), Settings::default(), folds)
                .err()
                .expect("rejected")
                .to_string()
        };
        assert_eq!(
            message(mislabelled(), 1),
            "invalid folds: got 1, expected 2 to 20"
        );
        let one_dog = table(
            &["cat", "dog"],
            &[(0, [1.0; 3]), (0, [2.0; 3]), (1, [3.0; 3])],
        );
        assert_eq!(
            message(one_dog, 5),
            "evaluate: the class \"dog\" has one picture, expected at least 2 for cross-validation; add pictures to it"
        );
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn folds_are_stratified_and_of_equal_size(sizes in prop::collection::vec(2usize..60, 2..6), folds in 2usize..=20, seed: u64) {
            let names: Vec<_> = (0..sizes.len()).map(|class| class.to_string()).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let rows: Vec<_> = sizes.iter().enumerate().flat_map(|(class, size)| vec![(class as i64, [class as f32; 3]); *size]).collect();
            let latents = Rc::new(table(&names, &rows));
            let validation = CrossValidation::new(latents.clone(), Settings { seed, ..Settings::default() }, folds).expect("two of each class");
            let mut all: Vec<_> = validation.folds.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows.len()).collect::<Vec<_>>());
            let even = |counts: Vec<usize>| counts.iter().max().expect("a fold") - counts.iter().min().expect("a fold") <= 1;
            prop_assert!(even(validation.folds.iter().map(Vec::len).collect()) || rows.len() < folds);
            for class in 0..sizes.len() {
                let count = |fold: &Vec<usize>| fold.iter().filter(|row| latents.labels[**row] == class as i64).count();
                prop_assert!(even(validation.folds.iter().map(count).collect()));
            }
        }
    }
}
