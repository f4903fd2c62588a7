//! Explanations of a prediction: class activation maps and similar training pictures.

use crate::{
    base::means,
    head::{latents::Latents, model::Head},
    net::inception::LATENTS,
};

/// The class activation map: 1 at the position with the strongest evidence for the class, 0 without evidence or with evidence for other classes.
///
/// # Shapes
/// The last feature maps of one picture [H, W, 2048] -> [H, W].
///
/// # Source
/// [Class activation maps](https://arxiv.org/abs/1512.04150). For heads with hidden layers, the weights are the gradient at these latents, as
/// in [Grad-CAM](https://arxiv.org/abs/1610.02391). Softmax depends only on differences of logits, so the mean over all classes is subtracted
/// from the weights of the class.
pub fn activation_map(head: &Head, maps: &[f32], class: usize) -> Vec<f32> {
    let latents = means(maps);
    let classes = head.classes.len();
    let mut weights = head.relevance(&latents, class);
    for other in 0..classes {
        for (weight, gradient) in weights.iter_mut().zip(head.relevance(&latents, other)) {
            *weight -= gradient / classes as f32;
        }
    }
    let pixels = maps.chunks_exact(LATENTS);
    let evidence: Vec<_> = pixels.map(|values| dot(values, &weights)).collect();
    let strongest = evidence.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    evidence
        .iter()
        .map(|value| (value / strongest).max(0.0))
        .collect()
}

/// The rows of a table nearest to the latents `query`, with their cosine similarity (-1 to 1), best first.
pub fn nearest(latents: &Latents, query: &[f32], count: usize) -> Vec<(usize, f32)> {
    let length = |values: &[f32]| dot(values, values).sqrt().max(f32::MIN_POSITIVE);
    let query_length = length(query);
    let similarity =
        |row: usize| dot(latents.row(row), query) / (length(latents.row(row)) * query_length);
    let mut rows: Vec<_> = (0..latents.len())
        .map(|row| (row, similarity(row)))
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows.truncate(count);
    rows
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{latents::BaseId, model::Dense};

    #[test]
    fn activation_map_is_largest_at_the_evidence_of_the_class() {
        // Latent 0 is evidence for the first class, active at position 1; latent 1 for the second class, mainly at position 2.
        let mut kernel = vec![0.0; LATENTS * 2];
        kernel[0] = 1.0;
        kernel[3] = 1.0;
        let head = Head {
            name: "two".into(),
            base: BaseId::example(),
            classes: vec!["left".into(), "right".into()],
            scores: None,
            pictures: 0,
            layers: vec![Dense {
                kernel,
                bias: vec![0.0; 2],
            }],
            temperature: 1.0,
            unsure_below: 0.5,
        };
        let mut maps = vec![0.0; LATENTS * 4];
        maps[LATENTS] = 3.0;
        maps[2 * LATENTS + 1] = 5.0;
        maps[LATENTS + 1] = 1.0;
        assert_eq!(activation_map(&head, &maps, 0), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(activation_map(&head, &maps, 1), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn nearest_compares_directions_and_not_lengths() {
        let mut latents = Latents::new(BaseId::example(), vec!["any".into()]);
        for (x, y) in [(1.0, 0.0), (100.0, 100.0), (0.0, 0.5)] {
            let mut row = [0.0; LATENTS];
            (row[0], row[1]) = (x, y);
            latents.push("picture".into(), 0, &row);
        }
        let mut query = [0.0; LATENTS];
        (query[0], query[1]) = (1.0, 0.9);
        let rows: Vec<_> = nearest(&latents, &query, 2)
            .into_iter()
            .map(|(row, _)| row)
            .collect();
        assert_eq!(rows, [1, 0]);
    }
}
