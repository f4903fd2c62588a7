//! The learning curve: accuracy against pictures a class, a comparison for each size and seed.

use std::rc::Rc;

use serde::Serialize;

use crate::{
    compare::{
        latents::Extraction,
        models::ModelKind,
        report::Data,
        run::{Comparison, Progress},
        split::{Options, Split, TestFrom},
    },
    error::Error,
    image::small::PictureSet,
};

/// Accuracy against pictures a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurveTable {
    /// The set that pictures were drawn from.
    pub data: Data,
    /// Where test pictures come from.
    pub test_from: TestFrom,
    /// How many are asked about.
    pub test: usize,
    /// Training pictures a class.
    pub sizes: Vec<usize>,
    /// Of the draws, the first weights, the order and dropout.
    pub seeds: Vec<u64>,
    /// One for each way and size.
    pub points: Vec<Point>,
}

/// How good a way is with so many pictures a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Which way.
    pub way: ModelKind,
    /// The same for people.
    pub name: &'static str,
    /// Training pictures a class.
    pub per_class: usize,
    /// On the test pictures, 0 to 1, for each seed so far.
    pub accuracies: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// A learning curve under way: a comparison for each size and seed.
pub struct Curve {
    set: Rc<PictureSet>,
    /// Of the first run; the others differ in size and seed.
    options: Options,
    reading: Option<Extraction>,
    sizes: Vec<usize>,
    seeds: Vec<u64>,
    /// The run under way.
    comparison: Comparison,
    /// Runs done, smallest sizes first.
    done: usize,
    points: Vec<Point>,
}

impl Curve {
    /// All splits of it, to know which latents it needs.
    ///
    /// # Errors
    /// As [`Split::new`]; no sizes, a size of none or of more pictures than a class has, no seeds.
    pub fn splits(
        set: &PictureSet,
        options: &Options,
        sizes: &[usize],
        seeds: u64,
    ) -> Result<Vec<Split>, Error> {
        let wrong = |name, got: String, want| Err(Error::Setting { name, got, want });
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
        let fewest = counts.into_iter().min().unwrap_or(0);
        if let Some(size) = sizes.iter().find(|size| **size == 0 || **size > fewest) {
            let got = size.to_string();
            return wrong(
                "sizes",
                got,
                "1 to as many pictures as the smallest class has to train on",
            );
        }
        if sizes.is_empty() || seeds == 0 {
            let got = format!("{} sizes, {seeds} seeds", sizes.len());
            return wrong("learning curve", got, "at least one size and one seed");
        }
        let largest = sizes.iter().copied().max().unwrap_or(0);
        // Fewer pictures are the first of more by the same seed.
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

    /// Plans the runs. Transfer needs a reading of all pictures of [`Curve::splits`].
    ///
    /// # Errors
    /// As [`Curve::splits`].
    pub fn new(
        set: Rc<PictureSet>,
        options: Options,
        sizes: Vec<usize>,
        seeds: u64,
        reading: Option<Extraction>,
    ) -> Result<Curve, Error> {
        Curve::splits(&set, &options, &sizes, seeds)?;
        let seeds: Vec<_> = (0..seeds).collect();
        let first = run(&set, &options, &reading, sizes[0], seeds[0])?;
        Ok(Curve {
            set,
            options,
            reading,
            sizes,
            seeds,
            comparison: first,
            done: 0,
            points: Vec::new(),
        })
    }

    /// Whether all runs are done.
    pub fn is_done(&self) -> bool {
        self.done == self.runs()
    }

    /// Trainings, of one way each: those before the one under way, and all.
    pub fn progress(&self) -> (usize, usize) {
        let ways = self.options.ways.len();
        let within = self.comparison.results.len() % ways;
        (self.done * ways + within, self.runs() * ways)
    }

    /// Pictures a class and the seed of the run under way, or of the last.
    pub fn run(&self) -> (usize, u64) {
        let at = self.done.min(self.runs() - 1);
        (
            self.sizes[at / self.seeds.len()],
            self.seeds[at % self.seeds.len()],
        )
    }

    /// What is known so far.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// A little work of the run under way.
    ///
    /// # Errors
    /// As [`Comparison::step`].
    pub fn step(&mut self) -> Result<Progress, Error> {
        let before = self.comparison.results.len();
        let progress = self.comparison.step()?;
        if let Some(result) = self.comparison.results.get(before) {
            let (way, accuracy) = (result.way, result.test.accuracy);
            self.add(way, accuracy);
        }
        if self.comparison.is_done() {
            self.done += 1;
            if !self.is_done() {
                let (size, seed) = self.run();
                self.comparison = run(&self.set, &self.options, &self.reading, size, seed)?;
            }
        }
        Ok(progress)
    }

    /// The curve.
    pub fn finish(self) -> CurveTable {
        let Comparison { split, .. } = self.comparison;
        CurveTable {
            data: Data::of(&self.set),
            test_from: split.test_from,
            test: split.test.len(),
            sizes: self.sizes,
            seeds: self.seeds,
            points: self.points,
        }
    }

    fn runs(&self) -> usize {
        self.sizes.len() * self.seeds.len()
    }

    fn add(&mut self, way: ModelKind, accuracy: f64) {
        let (per_class, _) = self.run();
        let same = |point: &Point| point.way == way && point.per_class == per_class;
        let at = self.points.iter().position(same).unwrap_or_else(|| {
            self.points.push(Point {
                way,
                name: way.name(),
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

/// One run of a curve: only its test pictures are asked about.
fn run(
    set: &Rc<PictureSet>,
    options: &Options,
    reading: &Option<Extraction>,
    per_class: usize,
    seed: u64,
) -> Result<Comparison, Error> {
    let options = Options {
        per_class,
        seed,
        ..options.clone()
    };
    let mut comparison = Comparison::new(set.clone(), options, reading.clone())?;
    comparison.whole = false;
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::{
        super::run::tests::{colours, reading},
        *,
    };

    #[test]
    fn a_learning_curve_has_a_point_for_each_way_and_size() {
        let set = colours(8, 4);
        let options = Options {
            epochs: Some(1),
            ..Options::default()
        };
        let mut curve = Curve::new(set.clone(), options, vec![2, 5], 2, Some(reading(&set)))
            .expect("good sizes");
        let mut seen = Vec::new();
        while !curve.is_done() {
            curve.step().expect("good settings");
            seen.push(curve.progress());
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.last(), Some(&(12, 12)));
        let table = curve.finish();
        assert_eq!((table.test, table.points.len()), (12, 6));
        for point in &table.points {
            assert_eq!(point.accuracies.len(), 2);
            assert!(point.low <= point.mean && point.mean <= point.high);
        }
        let transfer = table
            .points
            .iter()
            .filter(|point| point.way == ModelKind::Transfer);
        assert!(transfer.map(|point| point.per_class).eq([2, 5]));
    }

    #[test]
    fn sizes_that_some_class_does_not_have_are_refused() {
        let sentence = |sizes: &[usize], seeds| {
            Curve::splits(&colours(5, 1), &Options::default(), sizes, seeds)
                .expect_err("refused")
                .to_string()
        };
        let want = "sizes: 6 will not do, expected 1 to as many pictures as the smallest class has to train on";
        assert_eq!(sentence(&[2, 6], 1), want);
        let want =
            "learning curve: 0 sizes, 3 seeds will not do, expected at least one size and one seed";
        assert_eq!(sentence(&[], 3), want);
    }
}
