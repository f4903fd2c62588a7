//! Principal components of latents: the map of a dataset, and the starting point of UMAP.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{head::latents::Latents, net::inception::LATENTS, train::network::into_values};

/// Additional directions, which speed up convergence.
const OVERSAMPLING: usize = 6;
const ITERATIONS: usize = 10;

/// Projects a table on its principal components, by subspace iteration on the CPU.
///
/// # Shapes
/// [N, 2048] -> [N, `count`], in order of decreasing variance.
///
/// # Source
/// [Finding structure with randomness](https://arxiv.org/abs/0909.4061)
pub fn principal_components(latents: &Latents, count: usize) -> Vec<f32> {
    let rows = latents.len();
    let device = Device::flex();
    let tensor = |values: Vec<f32>, shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values, shape), &device)
    };
    let table = tensor(latents.values.clone(), [rows, LATENTS]);
    let table = table.clone() - table.mean_dim(0);
    let width = (count + OVERSAMPLING).min(LATENTS);
    let mut rng = StdRng::seed_from_u64(0);
    let mut basis: Vec<Vec<f32>> = (0..width)
        .map(|_| (0..LATENTS).map(|_| rng.random_range(-1.0..1.0)).collect())
        .collect();
    for _ in 0..ITERATIONS {
        orthonormalise(&mut basis);
        let directions = tensor(basis.concat(), [width, LATENTS]).transpose();
        let spread = table
            .clone()
            .transpose()
            .matmul(table.clone().matmul(directions));
        basis = into_values(spread.transpose())
            .chunks_exact(LATENTS)
            .map(<[f32]>::to_vec)
            .collect();
        // Longest first, so that Gram-Schmidt makes the others perpendicular to it.
        basis.sort_by(|a, b| length(b).total_cmp(&length(a)));
    }
    orthonormalise(&mut basis);
    basis.truncate(count);
    into_values(table.matmul(tensor(basis.concat(), [count, LATENTS]).transpose()))
}

/// Gram-Schmidt orthonormalisation, repeated once for numerical stability. Linearly dependent directions become zero.
fn orthonormalise(basis: &mut [Vec<f32>]) {
    for index in 0..basis.len() {
        let (done, rest) = basis.split_at_mut(index);
        let vector = &mut rest[0];
        let scale = length(vector).max(f32::MIN_POSITIVE);
        for _ in 0..2 {
            for other in done.iter() {
                let shared: f32 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector
                    .iter_mut()
                    .zip(other)
                    .for_each(|(a, b)| *a -= shared * b);
            }
        }
        let remaining = length(vector);
        let factor = if remaining > 1e-5 * scale {
            1.0 / remaining
        } else {
            0.0
        };
        vector.iter_mut().for_each(|value| *value *= factor);
    }
}

fn length(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::latents::BaseId;

    fn table() -> Latents {
        Latents::new(BaseId::example(), vec!["any".into()])
    }

    #[test]
    fn components_are_the_axes_with_the_largest_variance() {
        // Amplitude 9 along latent 3, 4 along latent 100, almost 0 elsewhere, around a mean of 5.
        let mut latents = table();
        for i in 0..200 {
            let mut row: Vec<f32> = (0..LATENTS)
                .map(|c| 5.0 + ((i * 31 + c * 17) % 23) as f32 * 1e-4)
                .collect();
            row[3] += 9.0 * (i as f32 * 0.7).sin();
            row[100] += 4.0 * (i as f32 * 1.3).cos();
            latents.push("picture".into(), 0, &row);
        }
        let points = principal_components(&latents, 2);
        for (axis, latent) in [(0, 3), (1, 100)] {
            let mean = (0..200).map(|row| latents.row(row)[latent]).sum::<f32>() / 200.0;
            // The sign of a component is arbitrary.
            let sign = (points[2 + axis] * (latents.row(1)[latent] - mean)).signum();
            for row in 0..200 {
                let want = latents.row(row)[latent] - mean;
                let got = points[row * 2 + axis] * sign;
                assert!(
                    (got - want).abs() < 0.2,
                    "axis {axis}, row {row}: {got}, expected {want}"
                );
            }
        }
    }

    #[test]
    fn components_of_a_single_picture_are_zero() {
        let mut latents = table();
        latents.push("picture".into(), 0, &[1.0; LATENTS]);
        assert_eq!(principal_components(&latents, 2), [0.0, 0.0]);
    }
}
