//! How good a head is on pictures that it was not trained on.

use crate::{
    head::{Head, Scores},
    latents::Latents,
};

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
    use crate::{head::Dense, inception::LATENTS, latents::Stamp};

    #[test]
    fn classes_are_compared_by_name() {
        let stamp = Stamp {
            base: "test".into(),
            fingerprint: "0".repeat(64),
        };
        let head = Head {
            name: "always the second".into(),
            stamp: stamp.clone(),
            classes: vec!["cat".into(), "dog".into()],
            scores: None,
            pictures: 0,
            temperature: 1.0,
            unsure_below: 0.5,
            layers: vec![Dense {
                kernel: vec![0.0; LATENTS * 2],
                bias: vec![0.0, 1.0],
            }],
        };
        let mut latents = Latents::new(stamp, vec!["dog".into(), "cat".into()]);
        for label in [0, 0, 1] {
            latents.push("picture".into(), label, &[0.0; LATENTS]);
        }
        assert_eq!(
            evaluate(&head, &latents),
            Scores {
                correct: 2,
                total: 3
            }
        );
    }
}
