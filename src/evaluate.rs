//! How good a head is on pictures that it was not trained on.

use crate::{head::Head, latents::Latents};

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

/// Asks a head about every row of a table.
pub fn evaluate(head: &Head, latents: &Latents) -> Scores {
    let right = |row: &usize| {
        let best = head.predict(latents.row(*row), 1).swap_remove(0);
        usize::try_from(latents.labels[*row])
            .is_ok_and(|label| latents.classes[label] == best.label)
    };
    Scores {
        correct: (0..latents.len()).filter(right).count(),
        total: latents.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
