//! Training of a head: examples are rows of a table of latents, and the best epoch's network becomes the head.

use std::rc::Rc;

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    error::Error,
    head::{Dense, Head, UNSURE_BELOW, latents::Latents},
    net::inception::LATENTS,
    train::{
        settings::Settings,
        trainer::{Examples, FEWEST_TO_JUDGE, Report, Scale, Trainer, hold_out, two_classes},
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
        usize::try_from(self.labels[row]).expect("labels were checked when read")
    }

    fn read(&self, row: usize, into: &mut Vec<f32>) {
        into.extend_from_slice(self.row(row));
    }
}

/// What a training ends with.
pub struct Trained {
    /// The best epoch's head, not yet measured.
    pub head: Head,
    /// The epoch that was kept.
    pub best_epoch: usize,
    /// Rows of the table that were trained on.
    pub training: Vec<usize>,
    /// Rows of the table that were held out.
    pub validation: Vec<usize>,
}

/// A head in training.
pub struct HeadTrainer {
    trainer: Trainer,
    latents: Rc<Latents>,
}

impl HeadTrainer {
    /// Prepares training of a head on some rows of a table: holds out validation pictures of each class, brings the columns to one scale,
    /// and draws the first weights from the seed.
    ///
    /// # Errors
    /// Fewer than two classes among the rows, or a setting that cannot work.
    pub fn new(
        latents: Rc<Latents>,
        rows: &[usize],
        settings: Settings,
    ) -> Result<HeadTrainer, Error> {
        settings.check()?;
        two_classes(&*latents, rows)?;
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let (training, validation) = hold_out(
            rows,
            |row| latents.label(*row),
            latents.classes.len(),
            settings.validation,
            &mut rng,
        );
        let layers = settings.layers(latents.classes.len());
        let mut trainer = Trainer::start(
            &layers,
            latents.clone(),
            training,
            validation,
            settings,
            rng,
        );
        trainer.judged = trainer.validation.len() >= FEWEST_TO_JUDGE;
        Ok(HeadTrainer { trainer, latents })
    }

    /// As [`Trainer::is_done`].
    pub fn is_done(&self) -> bool {
        self.trainer.is_done()
    }

    /// As [`Trainer::progress`].
    pub fn progress(&self) -> (usize, usize) {
        self.trainer.progress()
    }

    /// As [`Trainer::epoch`].
    pub fn epoch(&mut self) -> Report {
        self.trainer.epoch()
    }

    /// As [`Trainer::step`].
    pub fn step(&mut self) -> bool {
        self.trainer.step()
    }

    /// As [`Trainer::report`].
    pub fn report(&mut self) -> Report {
        self.trainer.report()
    }

    /// The best epoch's head, the scaling of latents folded into the first layer, so that it reads latents as they are.
    pub fn finish(self) -> Trained {
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
        let Scale { mean, factor } = &trainer.model.scale;
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
        Trained {
            head,
            best_epoch: trainer.best_epoch,
            training: trainer.training,
            validation: trainer.validation,
        }
    }
}

/// Trains on a whole table to the end; `report` hears of every epoch.
///
/// # Errors
/// A class without pictures, and as [`HeadTrainer::new`].
pub fn train(
    latents: &Rc<Latents>,
    settings: Settings,
    mut report: impl FnMut(&Report),
) -> Result<Trained, Error> {
    let mut trainer = HeadTrainer::new(latents.clone(), &usable(latents)?, settings)?;
    while !trainer.is_done() {
        report(&trainer.epoch());
    }
    Ok(trainer.finish())
}

/// All rows of a table whose classes all have examples.
///
/// # Errors
/// As [`check_classes`].
pub fn usable(latents: &Latents) -> Result<Vec<usize>, Error> {
    let mut counts = vec![0; latents.classes.len()];
    for row in 0..latents.len() {
        counts[latents.label(row)] += 1;
    }
    check_classes(&latents.classes, &counts)?;
    Ok((0..latents.len()).collect())
}

/// Checks that there are at least two classes and that each has examples; `counts` are in the order of `classes`.
///
/// # Errors
/// Fewer than two classes with examples, or the first class without any.
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

    /// Clouds that one latent tells apart.
    fn clouds(counts: &[usize]) -> Rc<Latents> {
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
    fn clouds_are_learnt_by_every_kind_of_head() {
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
            let latents = clouds(&[20, 20]);
            let hidden = settings.hidden;
            let Trained { head, .. } = train(&latents, settings, |_| ()).expect("two classes");
            assert_eq!(evaluate(&head, &latents).correct, 40, "{name}");
            assert_eq!(head.layers.len(), 1 + usize::from(hidden > 0), "{name}");
        }
    }

    #[test]
    fn same_seed_gives_the_same_head_to_the_bit_and_another_seed_another() {
        for hidden in [0, 8] {
            let once = |seed| {
                let settings = Settings {
                    hidden,
                    dropout: 0.2,
                    seed,
                    ..settings()
                };
                train(&clouds(&[20, 20]), settings, |_| ())
                    .expect("two classes")
                    .head
            };
            assert_eq!(once(7), once(7));
            assert_ne!(once(7), once(8));
        }
    }

    #[test]
    fn validation_holds_out_a_share_of_each_class_and_trains_on_none_of_it() {
        let trained = train(&clouds(&[20, 5, 2, 1]), settings(), |_| ()).expect("four classes");
        let latents = clouds(&[20, 5, 2, 1]);
        let held = |class| {
            trained
                .validation
                .iter()
                .filter(|row| latents.labels[**row] == class)
                .count()
        };
        assert_eq!([held(0), held(1), held(2), held(3)], [4, 1, 1, 0]);
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
    fn patience_ends_training_and_the_best_epoch_is_kept() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 3,
            ..settings()
        };
        let mut reports = Vec::new();
        let latents = clouds(&[60, 60]);
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
        assert!(
            reports.len() == 30 || reports.len() == lowest.epoch + 3,
            "{} epochs",
            reports.len()
        );
        let right = trained.validation.iter().filter(|row| {
            largest(&trained.head.probabilities(latents.row(**row))) as i64 == latents.labels[**row]
        });
        let accuracy = right.count() as f32 / trained.validation.len() as f32;
        assert!((accuracy - lowest.validation_accuracy.expect("validation")).abs() < 1e-6);
    }

    #[test]
    fn few_validation_pictures_choose_no_epoch() {
        let settings = Settings {
            learning_rate: 5.0,
            patience: 1,
            ..settings()
        };
        let mut epochs = 0;
        let trained = train(&clouds(&[20, 20]), settings, |_| epochs += 1).expect("two classes");
        assert_eq!((trained.best_epoch, epochs), (30, 30));
    }

    #[test]
    fn what_cannot_be_trained_on_is_refused() {
        let sentence = |counts: &[usize], settings| {
            train(&clouds(counts), settings, |_| ())
                .err()
                .expect("refused")
                .to_string()
        };
        let cases = [
            (
                sentence(&[20], settings()),
                "train: 1 of the classes have pictures, at least two are needed; add pictures to another class",
            ),
            (
                sentence(&[20, 0, 3], settings()),
                "train: the class \"class 1\" has no pictures; add some, or delete the class",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        batch: 0,
                        ..settings()
                    },
                ),
                "batch: 0 will not do, expected at least 1",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        dropout: 1.0,
                        ..settings()
                    },
                ),
                "dropout: 1 will not do, expected 0 to below 1",
            ),
            (
                sentence(
                    &[20, 20],
                    Settings {
                        learning_rate: f64::NAN,
                        ..settings()
                    },
                ),
                "learning rate: NaN will not do, expected more than 0",
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
                "train: 1 of the classes have pictures, at least two are needed; add pictures to another class"
            )
        );
    }
}
