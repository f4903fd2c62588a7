//! Trains a head on a table of latents.

use std::rc::Rc;

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    error::Error,
    head::{Dense, Head, UNSURE_BELOW, latents::Latents},
    net::inception::LATENTS,
    train::{
        settings::Settings,
        trainer::{
            EpochReport, Examples, MIN_VALIDATION, Normalisation, Trainer, check_two_classes,
            split_rows,
        },
    },
};

impl Examples for Latents {
    fn shape(&self) -> Vec<usize> {
        vec![LATENTS]
    }

    fn classes(&self) -> usize {
        self.classes.len()
    }

    fn label(&self, row: usize) -> usize {
        usize::try_from(self.labels[row]).expect("labels are checked on reading")
    }

    fn read(&self, row: usize, into: &mut Vec<f32>) {
        into.extend_from_slice(self.row(row));
    }
}

/// The result of training a head.
pub struct TrainedHead {
    /// The head of the best epoch, without scores.
    pub head: Head,
    /// The epoch that was kept, counted from 1.
    pub best_epoch: usize,
    /// Row indices of the training split.
    pub training: Vec<usize>,
    /// Row indices of the validation split.
    pub validation: Vec<usize>,
}

/// A training run of a head.
pub struct HeadTrainer {
    trainer: Trainer,
    latents: Rc<Latents>,
}

impl HeadTrainer {
    /// Prepares training on some rows of a table: splits them, normalises the latents and initialises the weights, all from the seed.
    ///
    /// # Errors
    /// Fewer than two classes among the rows, or an invalid setting.
    pub fn new(
        latents: Rc<Latents>,
        rows: &[usize],
        settings: Settings,
    ) -> Result<HeadTrainer, Error> {
        settings.check()?;
        check_two_classes(&*latents, rows)?;
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let (training, validation) = split_rows(
            rows,
            |row| latents.label(*row),
            latents.classes.len(),
            settings.validation,
            &mut rng,
        );
        let layers = settings.layers(latents.classes.len());
        let mut trainer = Trainer::with_rng(
            &layers,
            latents.clone(),
            training,
            validation,
            settings,
            rng,
        );
        trainer.selects_best = trainer.validation.len() >= MIN_VALIDATION;
        Ok(HeadTrainer { trainer, latents })
    }

    /// See [`Trainer::is_done`].
    pub fn is_done(&self) -> bool {
        self.trainer.is_done()
    }

    /// See [`Trainer::progress`].
    pub fn progress(&self) -> (usize, usize) {
        self.trainer.progress()
    }

    /// See [`Trainer::epoch`].
    pub fn epoch(&mut self) -> EpochReport {
        self.trainer.epoch()
    }

    /// See [`Trainer::step`].
    pub fn step(&mut self) -> bool {
        self.trainer.step()
    }

    /// See [`Trainer::finish_epoch`].
    pub fn finish_epoch(&mut self) -> EpochReport {
        self.trainer.finish_epoch()
    }

    /// Returns the head of the best epoch. The normalisation is folded into its first layer, so it reads raw latents.
    pub fn finish(self) -> TrainedHead {
        let HeadTrainer { trainer, latents } = self;
        let values = trainer
            .best
            .unwrap_or_else(|| trainer.model.network.values());
        let layer = |[kernel, bias]: &[Vec<f32>; 2]| Dense {
            kernel: kernel.clone(),
            bias: bias.clone(),
        };
        let mut layers: Vec<_> = values.as_chunks().0.iter().map(layer).collect();
        let Dense { kernel, bias } = &mut layers[0];
        let Normalisation { mean, factor } = &trainer.model.normalisation;
        for (input, row) in kernel.chunks_exact_mut(bias.len()).enumerate() {
            for (weight, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *weight *= factor[input];
                *bias -= *weight * mean[input];
            }
        }
        let head = Head {
            name: trainer.settings.name,
            base: latents.base.clone(),
            classes: latents.classes.clone(),
            scores: None,
            pictures: trainer.training.len(),
            layers,
            temperature: 1.0,
            unsure_below: UNSURE_BELOW,
        };
        TrainedHead {
            head,
            best_epoch: trainer.best_epoch,
            training: trainer.training,
            validation: trainer.validation,
        }
    }
}

/// Trains a head on all rows of a table, and calls `on_epoch` after every epoch.
///
/// # Errors
/// The errors of [`trainable_rows`] and [`HeadTrainer::new`].
pub fn train(
    latents: &Rc<Latents>,
    settings: Settings,
    mut on_epoch: impl FnMut(&EpochReport),
) -> Result<TrainedHead, Error> {
    let mut trainer = HeadTrainer::new(latents.clone(), &trainable_rows(latents)?, settings)?;
    while !trainer.is_done() {
        on_epoch(&trainer.epoch());
    }
    Ok(trainer.finish())
}

/// Checks the classes of a table and returns all its rows.
///
/// # Errors
/// The errors of [`check_classes`].
pub fn trainable_rows(latents: &Latents) -> Result<Vec<usize>, Error> {
    let mut counts = vec![0; latents.classes.len()];
    for row in 0..latents.len() {
        counts[latents.label(row)] += 1;
    }
    check_classes(&latents.classes, &counts)?;
    Ok((0..latents.len()).collect())
}

/// Checks that there are at least two classes and that every class has examples. `counts` is the number of examples of each class.
///
/// # Errors
/// Fewer than two classes with examples, or a class without examples.
pub fn check_classes(classes: &[String], counts: &[usize]) -> Result<(), Error> {
    let used = counts.iter().filter(|count| **count > 0).count();
    if used < 2 {
        return Err(Error::TooFewClasses { got: used });
    }
    match counts.iter().position(|count| *count == 0) {
        Some(empty) => Err(Error::EmptyClass {
            name: classes[empty].clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        head::{evaluate::evaluate, largest, latents::BaseId},
        train::{ClassWeights, Optimizer},
    };

    /// A table whose classes are separated by one latent, with this number of rows per class.
    fn separable(counts: &[usize]) -> Rc<Latents> {
        let base = BaseId::example();
        let names = (0..counts.len()).map(|c| format!("class {c}")).collect();
        let mut latents = Latents::new(base, names);
        for (label, count) in counts.iter().enumerate() {
            for i in 0..*count {
                let mut row = vec![0.0; LATENTS];
                for (c, value) in row.iter_mut().take(16).enumerate() {
                    *value = (((i + label) * 31 + c * 17) % 23) as f32 / 23.0;
                }
                row[5] += label as f32 * 10.0;
                latents.push(format!("{label}-{i}.png"), label as i64, &row);
            }
        }
        Rc::new(latents)
    }

    fn settings() -> Settings {
        Settings {
            epochs: 30,
            learning_rate: 1e-2,
            weight_decay: 1e-3,
            batch: 8,
            seed: 7,
            ..Settings::default()
        }
    }

    #[test]
    fn every_head_and_setting_learns_separable_classes() {
        let cases = [
            ("linear", settings()),
            (
                "hidden",
                Settings {
                    hidden: 16,
                    ..settings()
                },
            ),
            (
                "dropout",
                Settings {
                    hidden: 64,
                    dropout: 0.3,
                    ..settings()
                },
            ),
            (
                "Adam",
                Settings {
                    optimizer: Optimizer::Adam,
                    ..settings()
                },
            ),
            (
                "smoothing",
                Settings {
                    label_smoothing: 0.1,
                    ..settings()
                },
            ),
            (
                "balanced",
                Settings {
                    class_weights: ClassWeights::Balanced,
                    ..settings()
                },
            ),
            (
                "no validation",
                Settings {
                    validation: 0.0,
                    ..settings()
                },
            ),
        ];
        for (name, settings) in cases {
            let latents = separable(&[20, 20]);
            let hidden = settings.hidden;
            let TrainedHead { head, .. } = train(&latents, settings, |_| ()).expect("two classes");
            assert_eq!(evaluate(&head, &latents).correct, 40, "{name}");
            assert_eq!(head.layers.len(), 1 + usize::from(hidden > 0), "{name}");
        }
    }

    #[test]
    fn the_same_seed_gives_a_bit_identical_head() {
        for hidden in [0, 8] {
            let head = |seed| {
                let settings = Settings {
                    hidden,
                    dropout: 0.2,
                    seed,
                    ..settings()
                };
                train(&separable(&[20, 20]), settings, |_| ())
                    .expect("two classes")
                    .head
            };
            assert_eq!(head(7), head(7));
            assert_ne!(head(7), head(8));
        }
    }

    #[test]
    fn training_and_validation_split_are_stratified_and_disjoint() {
        let trained = train(&separable(&[20, 5, 2, 1]), settings(), |_| ()).expect("four classes");
        let latents = separable(&[20, 5, 2, 1]);
        let validation = |class| {
            trained
                .validation
                .iter()
                .filter(|row| latents.labels[**row] == class)
                .count()
        };
        assert_eq!([0, 1, 2, 3].map(validation), [4, 1, 1, 0]);
        let mut all: Vec<_> = trained
            .training
            .iter()
            .chain(&trained.validation)
            .copied()
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..28).collect::<Vec<_>>());
    }

    #[test]
    fn early_stopping_keeps_the_best_epoch() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 3,
            ..settings()
        };
        let mut reports = Vec::new();
        let latents = separable(&[60, 60]);
        let trained =
            train(&latents, settings, |report| reports.push(report.clone())).expect("two classes");
        let lowest = reports
            .iter()
            .min_by(|a, b| {
                a.validation_loss
                    .partial_cmp(&b.validation_loss)
                    .expect("finite")
            })
            .expect("epochs");
        assert_eq!(trained.best_epoch, lowest.epoch);
        assert!(reports.len() < 30, "stopped early");
        assert_eq!(reports.len(), lowest.epoch + 3);
        let correct = trained.validation.iter().filter(|row| {
            largest(&trained.head.probabilities(latents.row(**row))) as i64 == latents.labels[**row]
        });
        let accuracy = correct.count() as f32 / trained.validation.len() as f32;
        assert!((accuracy - lowest.validation_accuracy.expect("validation")).abs() < 1e-6);
    }

    #[test]
    fn fewer_than_20_validation_pictures_do_not_stop_training_early() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 1,
            ..settings()
        };
        let mut epochs = 0;
        let trained = train(&separable(&[20, 20]), settings, |_| epochs += 1).expect("two classes");
        assert_eq!((trained.best_epoch, epochs), (30, 30));
    }

    #[test]
    fn invalid_tables_and_settings_are_rejected() {
        let message = |counts: &[usize], settings| {
            train(&separable(counts), settings, |_| ())
                .err()
                .expect("rejected")
                .to_string()
        };
        let cases = [
            (
                message(&[20], settings()),
                "train: classes with pictures: got 1, expected at least 2; add pictures to another class",
            ),
            (
                message(&[20, 0, 3], settings()),
                "train: the class \"class 1\" has no pictures; add some, or delete the class",
            ),
            (
                message(
                    &[20, 20],
                    Settings {
                        batch: 0,
                        ..settings()
                    },
                ),
                "invalid batch: got 0, expected at least 1",
            ),
            (
                message(
                    &[20, 20],
                    Settings {
                        dropout: 1.0,
                        ..settings()
                    },
                ),
                "invalid dropout: got 1, expected 0 to below 1",
            ),
            (
                message(
                    &[20, 20],
                    Settings {
                        learning_rate: f64::NAN,
                        ..settings()
                    },
                ),
                "invalid learning rate: got NaN, expected more than 0",
            ),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn classes_without_examples_are_rejected() {
        let message = |classes: &[&str], counts: &[usize]| {
            let classes: Vec<_> = classes.iter().map(|name| name.to_string()).collect();
            check_classes(&classes, counts)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(message(&["cat", "dog"], &[1, 1]), None);
        assert_eq!(
            message(&["cat", "dog", "frog"], &[1, 0, 1]).as_deref(),
            Some("train: the class \"dog\" has no pictures; add some, or delete the class")
        );
        assert_eq!(
            message(&["cat"], &[1]).as_deref(),
            Some(
                "train: classes with pictures: got 1, expected at least 2; add pictures to another class"
            )
        );
    }
}
