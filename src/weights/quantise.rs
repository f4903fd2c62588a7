//! A base with its kernels on fewer levels: smaller as it is served, and another base, with a fingerprint of its own.
//!
//! Values are rounded, and the file's form stays: a level takes a byte of a u8 table as before, and brotli saves what it does not use.
//! Nothing that is shipped is made by this; `tests/quantise.rs` measures why.

use std::ops::Range;

use crate::{
    format::{
        quantized::KernelData,
        safetensors::{Affine, range},
    },
    net::inception::kernels,
    weights::Source,
};

/// The convolutions after the stem and `mixed0` to `mixed2`. Those have 4 % of the numbers, and all others build on what they see: on 16 levels
/// the stem alone costs more than all of these.
pub const LATER: Range<usize> = 26..94;

/// Shares of an output channel's range that the levels may cover: a finer step can be worth more than the outermost numbers.
const SHARES: [f64; 5] = [1.0, 0.9, 0.8, 0.7, 0.6];

/// The base with the kernels of some convolutions on 2^`bits` levels for each output channel, where they lie with the least squared error.
///
/// # Panics
/// If `bits` are not 1 to 8, or `convs` not among the 94.
pub fn quantise(mut source: Source, bits: u8, convs: Range<usize>) -> Source {
    assert!((1..=8).contains(&bits), "{bits} bits");
    let top = u8::MAX >> (8 - bits);
    for ((_, shape), conv) in kernels()[convs.clone()]
        .iter()
        .zip(&mut source.convs[convs])
    {
        let mut values = conv.kernel.floats().into_owned();
        let channels = values.chunks_exact_mut(shape[1..].iter().product());
        channels.for_each(|channel| round(channel, top));
        conv.kernel = KernelData::Floats(values);
    }
    source.info.name += &format!(", {bits} bits");
    source
}

/// Puts an output channel on its levels, and leaves its mean alone: most of what a kernel meets is above zero, so that a mean error would add up.
fn round(channel: &mut [f32], top: u8) {
    let levels = levels(channel, top);
    let off = channel
        .iter()
        .map(|value| levels.nearest(*value, top) - value);
    let mean = off.sum::<f32>() / channel.len() as f32;
    for value in channel {
        *value = levels.nearest(*value, top) - mean;
    }
}

/// The grid that the values lie on already, or else the best of [`SHARES`].
fn levels(values: &[f32], top: u8) -> Affine {
    Affine::grid(values.iter().copied(), top).unwrap_or_else(|| {
        let (min, max) = range(values.iter().copied());
        let (centre, half) = ((min + max) / 2.0, (max - min) / 2.0);
        SHARES
            .map(|share| Affine::between(centre - half * share, centre + half * share, top))
            .into_iter()
            .min_by(|a, b| error(values, a, top).total_cmp(&error(values, b, top)))
            .expect("there are shares")
    })
}

/// The squared error that levels leave.
fn error(values: &[f32], levels: &Affine, top: u8) -> f64 {
    let off = values
        .iter()
        .map(|value| levels.nearest(*value, top) - value);
    off.map(|off| f64::from(off).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_of_so_few_levels_is_kept() {
        for (top, used) in [(63, [0u8, 3, 4, 9, 50, 63]), (15, [0, 1, 3, 9, 10, 14])] {
            let values = used.map(|level| f32::from(level) * 0.0173 - 0.9);
            let mut rounded = values;
            round(&mut rounded, top);
            for (value, rounded) in values.iter().zip(rounded) {
                assert!((rounded - value).abs() < 1e-6, "{value} became {rounded}");
            }
        }
    }

    #[test]
    fn elsewhere_so_many_levels_are_left_and_the_mean() {
        for (top, left) in [(63, 64), (15, 16)] {
            let mut values: Vec<f32> = (0..1000u16).map(|i| f32::from(i).sin().exp()).collect();
            let before: f32 = values.iter().sum();
            round(&mut values, top);
            let after: f32 = values.iter().sum();
            assert!((after - before).abs() < 0.01, "{before} became {after}");
            values.sort_by(f32::total_cmp);
            values.dedup();
            assert_eq!(values.len(), left);
        }
    }

    #[test]
    fn the_outermost_numbers_are_given_up_for_a_finer_step() {
        // Most numbers of a kernel lie near its middle, as sums do of twelve that lie evenly.
        let even = |i: u32| (f64::from(i).sin() * 43_758.545_3).fract();
        let values: Vec<f32> = (0..1000u32)
            .map(|i| (0..12).map(|k| even(12 * i + k)).sum::<f64>() as f32)
            .collect();
        let (min, max) = range(values.iter().copied());
        let whole = error(&values, &Affine::between(min, max, 15), 15);
        let best = error(&values, &levels(&values, 15), 15);
        assert!(best < 0.8 * whole, "{best} of {whole}");
    }
}
