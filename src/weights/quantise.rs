//! Experimental quantisation of kernels to fewer than 8 bits. The result is a new base with its own fingerprint.
//!
//! The file format does not change: a level still takes a byte of a u8 tensor, and brotli compresses the unused bits. The published site does
//! not use this; `tests/quantise.rs` measures the loss of accuracy.

use std::ops::Range;

use crate::{
    format::{
        quantized::KernelData,
        safetensors::{Affine, range},
    },
    net::inception::kernels,
    weights::Source,
};

/// The convolutions after the stem and `mixed0` to `mixed2`. The earlier ones have only 4 % of the weights, and all others depend on them:
/// quantising the stem to 16 levels costs more accuracy than quantising all of these.
pub const LATER: Range<usize> = 26..94;

/// Candidate shares of the range of an output channel that the levels cover. Clipping outliers allows a finer step.
const SHARES: [f64; 5] = [1.0, 0.9, 0.8, 0.7, 0.6];

/// Quantises the kernels of some convolutions to 2^`bits` levels per output channel, with the least squared error.
///
/// # Panics
/// If `bits` is not 1 to 8, or `convs` is not within 0..94.
pub fn quantise(mut source: Source, bits: u8, convs: Range<usize>) -> Source {
    assert!((1..=8).contains(&bits), "{bits} bits");
    let max_level = u8::MAX >> (8 - bits);
    for ((_, shape), conv) in kernels()[convs.clone()]
        .iter()
        .zip(&mut source.convs[convs])
    {
        let mut values = conv.kernel.floats().into_owned();
        let channels = values.chunks_exact_mut(shape[1..].iter().product());
        channels.for_each(|channel| round(channel, max_level));
        conv.kernel = KernelData::Floats(values);
    }
    source.info.name += &format!(", {bits} bits");
    source
}

/// Rounds the kernel of an output channel and preserves its mean. Most activations are positive, so errors of the mean would add up.
fn round(channel: &mut [f32], max_level: u8) {
    let levels = levels(channel, max_level);
    let errors = channel
        .iter()
        .map(|value| levels.round(*value, max_level) - value);
    let mean = errors.sum::<f32>() / channel.len() as f32;
    for value in channel {
        *value = levels.round(*value, max_level) - mean;
    }
}

/// Returns the grid that the values are already on, or the best of [`SHARES`].
fn levels(values: &[f32], max_level: u8) -> Affine {
    Affine::grid(values.iter().copied(), max_level).unwrap_or_else(|| {
        let (min, max) = range(values.iter().copied());
        let (centre, half) = ((min + max) / 2.0, (max - min) / 2.0);
        SHARES
            .map(|share| Affine::between(centre - half * share, centre + half * share, max_level))
            .into_iter()
            .min_by(|a, b| {
                let (a, b) = (error(values, a, max_level), error(values, b, max_level));
                a.total_cmp(&b)
            })
            .expect("SHARES is not empty")
    })
}

/// Returns the squared rounding error.
fn error(values: &[f32], levels: &Affine, max_level: u8) -> f64 {
    let errors = values
        .iter()
        .map(|value| levels.round(*value, max_level) - value);
    errors.map(|error| f64::from(error).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_a_grid_are_kept() {
        for (max_level, used) in [(63, [0u8, 3, 4, 9, 50, 63]), (15, [0, 1, 3, 9, 10, 14])] {
            let values = used.map(|level| f32::from(level) * 0.0173 - 0.9);
            let mut rounded = values;
            round(&mut rounded, max_level);
            for (value, rounded) in values.iter().zip(rounded) {
                assert!((rounded - value).abs() < 1e-6, "{value} became {rounded}");
            }
        }
    }

    #[test]
    fn other_values_are_rounded_to_all_levels_and_keep_their_mean() {
        for (max_level, levels) in [(63, 64), (15, 16)] {
            let mut values: Vec<f32> = (0..1000u16).map(|i| f32::from(i).sin().exp()).collect();
            let before: f32 = values.iter().sum();
            round(&mut values, max_level);
            let after: f32 = values.iter().sum();
            assert!((after - before).abs() < 0.01, "{before} became {after}");
            values.sort_by(f32::total_cmp);
            values.dedup();
            assert_eq!(values.len(), levels);
        }
    }

    #[test]
    fn outliers_are_clipped_for_a_finer_step() {
        // Approximately normal values, like those of a kernel: sums of twelve uniform ones.
        let uniform = |i: u32| (f64::from(i).sin() * 43_758.545_3).fract();
        let values: Vec<f32> = (0..1000u32)
            .map(|i| (0..12).map(|k| uniform(12 * i + k)).sum::<f64>() as f32)
            .collect();
        let (min, max) = range(values.iter().copied());
        let whole = error(&values, &Affine::between(min, max, 15), 15);
        let best = error(&values, &levels(&values, 15), 15);
        assert!(best < 0.8 * whole, "{best} of {whole}");
    }
}
