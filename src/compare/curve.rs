//! Learning curves: test accuracy as a function of the number of training pictures per class.

use std::rc::Rc;

use serde::Serialize;

use crate::{
    compare::{
        latents::Extraction,
        models::ModelKind,
        report::DatasetInfo,
        run::{Comparison, Progress},
        split::{Options, Split, TestFrom},
    },
    error::Error,
    image::small::PictureSet,
};

/// The result of a learning curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LearningCurveReport {
    /// The picture set.
    pub data: DatasetInfo,
    /// Source of the test pictures.
    pub test_from: TestFrom,
    /// Number of test pictures.
    pub test: usize,
    /// Numbers of training pictures per class.
    pub sizes: Vec<usize>,
    /// Seeds of sampling, initial weights, order of pictures and dropout.
    pub seeds: Vec<u64>,
    /// One point for each model and size.
    pub points: Vec<Point>,
}

/// Test accuracy of a model for a number of training pictures per class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// The model.
    #[serde(rename = "way")]
    pub model: ModelKind,
    /// Display name of the model.
    pub name: &'static str,
    /// Training pictures per class.
    pub per_class: usize,
    /// Test accuracy for each seed so far, 0 to 1.
    pub accuracies: Vec<f64>,
    /// Mean accuracy.
    pub mean: f64,
    /// Lowest accuracy.
    pub low: f64,
    /// Highest accuracy.
    pub high: f64,
}

/// A learning curve in progress. It runs a comparison for each size and seed.
pub struct LearningCurve {
    set: Rc<PictureSet>,
    /// Options of all comparisons, except for size and seed.
    options: Options,
    extraction: Option<Extraction>,
    sizes: Vec<usize>,
    seeds: Vec<u64>,
    /// The current comparison.
    comparison: Comparison,
    /// Number of finished comparisons. All seeds of a size are run before the next size.
    done: usize,
    points: Vec<Point>,
}

impl LearningCurve {
    /// Returns splits that together contain all pictures of a learning curve.
    ///
    /// # Errors
    /// The errors of [`Split::new`], no sizes, no seeds, or a size that is zero or larger than the smallest class.
    pub fn splits(
        set: &PictureSet,
        options: &Options,
        sizes: &[usize],
        seeds: u64,
    ) -> Result<Vec<Split>, Error> {
        let invalid = |name, got: String, want| Err(Error::Setting { name, got, want });
        let all = Split::new(
            set,
            &Options {
                per_class: 0,
                ..options.clone()
            },
        )?;
        let mut counts = vec![0; set.training.classes.len()];
        all.training
            .iter()
            .for_each(|row| counts[set.training.labels[*row]] += 1);
        let smallest = counts.into_iter().min().unwrap_or(0);
        if let Some(size) = sizes.iter().find(|size| **size == 0 || **size > smallest) {
            let got = size.to_string();
            return invalid(
                "sizes",
                got,
                "1 to the number of training pictures of the smallest class",
            );
        }
        if sizes.is_empty() || seeds == 0 {
            let got = format!("{} sizes, {seeds} seeds", sizes.len());
            return invalid("learning curve", got, "at least one size and one seed");
        }
        let largest = sizes.iter().copied().max().unwrap_or(0);
        // With the same seed, a smaller sample is a prefix of a larger one.
        let split = |seed| {
            Split::new(
                set,
                &Options {
                    per_class: largest,
                    seed,
                    ..options.clone()
                },
            )
        };
        (0..seeds).map(split).collect()
    }

    /// Prepares all comparisons. Transfer requires the latents of all pictures of [`LearningCurve::splits`].
    ///
    /// # Errors
    /// The errors of [`LearningCurve::splits`].
    pub fn new(
        set: Rc<PictureSet>,
        options: Options,
        sizes: Vec<usize>,
        seeds: u64,
        extraction: Option<Extraction>,
    ) -> Result<LearningCurve, Error> {
        LearningCurve::splits(&set, &options, &sizes, seeds)?;
        let seeds: Vec<_> = (0..seeds).collect();
        let first = comparison(&set, &options, &extraction, sizes[0], seeds[0])?;
        Ok(LearningCurve {
            set,
            options,
            extraction,
            sizes,
            seeds,
            comparison: first,
            done: 0,
            points: Vec::new(),
        })
    }

    /// Returns whether all comparisons are finished.
    pub fn is_done(&self) -> bool {
        self.done == self.comparisons()
    }

    /// Returns the number of models that are trained and tested, and the total number.
    pub fn progress(&self) -> (usize, usize) {
        let models = self.options.models.len();
        let within = self.comparison.results.len() % models;
        (self.done * models + within, self.comparisons() * models)
    }

    /// Returns the pictures per class and the seed of the current comparison, or of the last one if all are finished.
    pub fn current(&self) -> (usize, u64) {
        let at = self.done.min(self.comparisons() - 1);
        (
            self.sizes[at / self.seeds.len()],
            self.seeds[at % self.seeds.len()],
        )
    }

    /// Returns the results so far.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Advances the current comparison by one step.
    ///
    /// # Errors
    /// The errors of [`Comparison::step`].
    pub fn step(&mut self) -> Result<Progress, Error> {
        let before = self.comparison.results.len();
        let progress = self.comparison.step()?;
        if let Some(result) = self.comparison.results.get(before) {
            let (model, accuracy) = (result.model, result.test.accuracy);
            self.add(model, accuracy);
        }
        if self.comparison.is_done() {
            self.done += 1;
            if !self.is_done() {
                let (size, seed) = self.current();
                self.comparison =
                    comparison(&self.set, &self.options, &self.extraction, size, seed)?;
            }
        }
        Ok(progress)
    }

    /// Returns the report.
    pub fn finish(self) -> LearningCurveReport {
        let Comparison { split, .. } = self.comparison;
        LearningCurveReport {
            data: DatasetInfo::new(&self.set),
            test_from: split.test_from,
            test: split.test.len(),
            sizes: self.sizes,
            seeds: self.seeds,
            points: self.points,
        }
    }

    fn comparisons(&self) -> usize {
        self.sizes.len() * self.seeds.len()
    }

    fn add(&mut self, model: ModelKind, accuracy: f64) {
        let (per_class, _) = self.current();
        let same = |point: &Point| point.model == model && point.per_class == per_class;
        let at = self.points.iter().position(same).unwrap_or_else(|| {
            self.points.push(Point {
                model,
                name: model.name(),
                per_class,
                accuracies: Vec::new(),
                mean: 0.0,
                low: 1.0,
                high: 0.0,
            });
            self.points.len() - 1
        });
        let point = &mut self.points[at];
        point.accuracies.push(accuracy);
        point.mean = point.accuracies.iter().sum::<f64>() / point.accuracies.len() as f64;
        point.low = point.low.min(accuracy);
        point.high = point.high.max(accuracy);
    }
}

/// Prepares one comparison of a learning curve.
fn comparison(
    set: &Rc<PictureSet>,
    options: &Options,
    extraction: &Option<Extraction>,
    per_class: usize,
    seed: u64,
) -> Result<Comparison, Error> {
    let options = Options {
        per_class,
        seed,
        ..options.clone()
    };
    let mut comparison = Comparison::new(set.clone(), options, extraction.clone())?;
    comparison.test_accuracy_only = true;
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::{
        super::run::tests::{colour_set, extraction},
        *,
    };

    #[test]
    fn a_learning_curve_has_a_point_for_each_model_and_size() {
        let set = colour_set(8, 4);
        let options = Options {
            epochs: Some(1),
            ..Options::default()
        };
        let extraction = Some(extraction(&set));
        let mut curve = LearningCurve::new(set.clone(), options, vec![2, 5], 2, extraction)
            .expect("valid sizes");
        let mut progress = Vec::new();
        while !curve.is_done() {
            curve.step().expect("valid settings");
            progress.push(curve.progress());
        }
        assert!(progress.is_sorted());
        assert_eq!(progress.last(), Some(&(12, 12)));
        let report = curve.finish();
        assert_eq!((report.test, report.points.len()), (12, 6));
        for point in &report.points {
            let [first, second] = point.accuracies[..] else {
                panic!("two seeds")
            };
            assert_eq!(point.mean, (first + second) / 2.0);
            assert_eq!(point.low, first.min(second));
            assert_eq!(point.high, first.max(second));
        }
        let transfer = report
            .points
            .iter()
            .filter(|point| point.model == ModelKind::Transfer);
        assert!(transfer.map(|point| point.per_class).eq([2, 5]));
    }

    #[test]
    fn invalid_sizes_are_rejected() {
        let message = |sizes: &[usize], seeds| {
            LearningCurve::splits(&colour_set(5, 1), &Options::default(), sizes, seeds)
                .expect_err("rejected")
                .to_string()
        };
        let want = "invalid sizes: got 6, expected 1 to the number of training pictures of the smallest class";
        assert_eq!(message(&[2, 6], 1), want);
        let want =
            "invalid learning curve: got 0 sizes, 3 seeds, expected at least one size and one seed";
        assert_eq!(message(&[], 3), want);
    }
}
