//! The input of the network: antialiased resize to 299x299, and scaling to the range that the weights expect.
//!
//! The resize streams over the rows. A general resampling library would first convert a picture of 50 megapixels to f32 (600 MB).
//!
//! # Source
//! `tf.image.resize(x, (299, 299), "bilinear", antialias=True)`, without keeping the aspect ratio; see
//! [ScaleAndTranslate](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/kernels/image/scale_and_translate_op.cc).

use crate::net::inception::INPUT;

/// A picture of 299x299 pixels, before scaling to an [`InputRange`].
#[derive(Debug, Clone, PartialEq)]
pub struct Resized(Vec<f32>);

/// The values of black and white in the input of the network; a property of the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputRange {
    /// Value of black (0), for red, green and blue.
    pub low: [f32; 3],
    /// Value of white (255), for red, green and blue.
    pub high: [f32; 3],
}

impl InputRange {
    /// 0 to 1.
    pub const UNIT: InputRange = InputRange::even(0.0, 1.0);
    /// -1 to 1: TF-Slim, Keras with `mode="tf"`, and torchvision with `transform_input`.
    pub const SIGNED: InputRange = InputRange::even(-1.0, 1.0);
    /// Normalised by the mean and standard deviation of ImageNet: torchvision without `transform_input`, Keras with `mode="torch"`.
    pub const IMAGENET: InputRange = {
        let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        InputRange::normalised(mean, deviation)
    };

    /// Returns the same range for all channels.
    pub const fn even(low: f32, high: f32) -> InputRange {
        InputRange {
            low: [low; 3],
            high: [high; 3],
        }
    }

    /// Returns the range of (x - mean) / deviation for x from 0 to 1.
    pub const fn normalised(mean: [f64; 3], deviation: [f64; 3]) -> InputRange {
        let (mut low, mut high) = ([0.0; 3], [0.0; 3]);
        let mut c = 0;
        while c < 3 {
            low[c] = (-mean[c] / deviation[c]) as f32;
            high[c] = ((1.0 - mean[c]) / deviation[c]) as f32;
            c += 1;
        }
        InputRange { low, high }
    }

    /// Returns whether all values are finite.
    pub fn is_finite(&self) -> bool {
        let values = self.low.iter().chain(&self.high);
        values.into_iter().all(|value| value.is_finite())
    }

    /// Returns [low, high] if all channels have the same range.
    pub fn as_even(&self) -> Option<[f32; 2]> {
        let (low, high) = (self.low[0], self.high[0]);
        (*self == InputRange::even(low, high)).then_some([low, high])
    }
}

impl Resized {
    /// Returns the values from 0 to 255, not rounded.
    ///
    /// # Shapes
    /// [299, 299, 3]
    pub fn rgb(&self) -> &[f32] {
        &self.0
    }

    /// Returns the input of the network, with black at `range.low` and white at `range.high`.
    ///
    /// # Shapes
    /// [299, 299, 3]
    pub fn input(&self, range: InputRange) -> Vec<f32> {
        let InputRange { low, high } = range;
        let span: [f32; 3] = std::array::from_fn(|channel| high[channel] - low[channel]);
        let pixels = self.0.as_chunks().0.iter();
        let scaled = |[r, g, b]: &[f32; 3]| {
            [
                r / 255.0 * span[0] + low[0],
                g / 255.0 * span[1] + low[1],
                b / 255.0 * span[2] + low[2],
            ]
        };
        pixels.flat_map(scaled).collect()
    }

    /// Returns the rounded pixels with an opaque alpha channel, to show the input on a canvas.
    ///
    /// # Shapes
    /// [299, 299, 4]
    pub fn rgba(&self) -> Vec<u8> {
        let level = |value: f32| value.round().clamp(0.0, 255.0) as u8;
        self.0
            .chunks_exact(3)
            .flat_map(|p| [level(p[0]), level(p[1]), level(p[2]), 255])
            .collect()
    }
}

/// Resizes a picture to 299x299.
///
/// # Shapes
/// `rgb`: [height, width, 3]
pub(super) fn resize(width: usize, height: usize, rgb: &[u8]) -> Resized {
    let columns = spans(width, INPUT);
    let rows = spans(height, INPUT);
    let mut out = vec![0.0; INPUT * INPUT * 3];
    let mut line = vec![0.0; INPUT * 3];
    let mut first = 0;
    for (y, source) in rgb.chunks_exact(width * 3).enumerate() {
        for (x, span) in columns.iter().enumerate() {
            let mut sum = [0.0f32; 3];
            let taps = source[span.start * 3..].chunks_exact(3);
            for (weight, pixel) in span.weights.iter().zip(taps) {
                sum = std::array::from_fn(|c| sum[c] + weight * f32::from(pixel[c]));
            }
            line[x * 3..][..3].copy_from_slice(&sum);
        }
        while first < INPUT && rows[first].end() <= y {
            first += 1;
        }
        for (o, span) in rows
            .iter()
            .enumerate()
            .skip(first)
            .take_while(|(_, span)| span.start <= y)
        {
            let weight = span.weights[y - span.start];
            let target = &mut out[o * INPUT * 3..][..INPUT * 3];
            for (target, value) in target.iter_mut().zip(&line) {
                *target += weight * value;
            }
        }
    }
    Resized(out)
}

/// The source pixels of one output pixel, and their weights.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

impl Span {
    fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

/// Returns a triangle filter per output pixel, in f32 as in TensorFlow. Its radius is one output pixel, but at least one source pixel.
fn spans(from: usize, to: usize) -> Vec<Span> {
    let step = from as f32 / to as f32;
    let radius = step.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * step;
            let start = (centre - radius - 0.5).ceil().max(0.0) as usize;
            let end = ((centre + radius - 0.5).floor() as usize).min(from - 1);
            let weight = |x: usize| (1.0 - ((x as f32 + 0.5 - centre) / radius).abs()).max(0.0);
            let total: f32 = (start..=end).map(weight).sum();
            Span {
                start,
                weights: (start..=end).map(|x| weight(x) / total).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Picture {
        width: usize,
        height: usize,
        rgb: Vec<u8>,
    }

    impl Picture {
        fn grey(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Picture {
            let rgb = (0..height)
                .flat_map(|y| (0..width).map(move |x| (x, y)))
                .flat_map(|(x, y)| [value(x, y); 3]);
            Picture {
                width,
                height,
                rgb: rgb.collect(),
            }
        }

        fn resize(&self) -> Resized {
            resize(self.width, self.height, &self.rgb)
        }
    }

    #[test]
    fn resize_keeps_a_constant_colour_at_any_size() {
        for (width, height) in [
            (1, 1),
            (1, 5000),
            (7, 299),
            (299, 299),
            (300, 298),
            (5000, 3),
        ] {
            let resized = Picture::grey(width, height, |_, _| 93).resize();
            let error = resized
                .rgb()
                .iter()
                .map(|v| (v - 93.0).abs())
                .fold(0.0, f32::max);
            assert!(error < 1e-3, "{width}x{height}: error {error}");
        }
    }

    #[test]
    fn resize_keeps_a_picture_of_299x299() {
        let picture = Picture::grey(INPUT, INPUT, |x, y| (x * 7 + y * 13) as u8);
        let resized = picture.resize();
        let errors = resized
            .rgb()
            .iter()
            .zip(&picture.rgb)
            .map(|(a, b)| (a - f32::from(*b)).abs());
        assert!(errors.fold(0.0, f32::max) < 1e-3);
    }

    #[test]
    fn halving_uses_a_triangle_filter() {
        // 598 -> 299: centre 2i + 1, radius 2. Source pixels at distances 1.5, 0.5, 0.5, 1.5 have weights 1/8, 3/8, 3/8, 1/8.
        let spans = spans(598, 299);
        assert_eq!(spans[10].start, 19);
        let want = [0.125, 0.375, 0.375, 0.125];
        assert_eq!(spans[10].weights.len(), want.len());
        assert!(
            spans[10]
                .weights
                .iter()
                .zip(want)
                .all(|(a, b)| (a - b).abs() < 1e-4),
            "{:?}",
            spans[10].weights
        );
    }

    #[test]
    fn input_scales_black_and_white_to_the_range() {
        let picture = Resized([[0.0, 127.5, 255.0]; INPUT * INPUT].concat());
        let input = picture.input(InputRange::SIGNED);
        assert_eq!(input.len(), INPUT * INPUT * 3);
        assert_eq!(input[..3], [-1.0, 0.0, 1.0]);
    }

    /// Pictures of up to 40x40 pixels with random values.
    fn pictures() -> impl Strategy<Value = Picture> {
        (1usize..40, 1usize..40).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), width * height * 3).prop_map(move |rgb| Picture {
                width,
                height,
                rgb,
            })
        })
    }

    fn channel(pixels: &[f32], channel: usize) -> impl Iterator<Item = f32> {
        pixels.iter().copied().skip(channel).step_by(3)
    }

    /// Largest difference between pixel (y, x) of `a` and pixel `at(y, x)` of `b`.
    fn max_difference(
        a: &Resized,
        b: &Resized,
        at: impl Fn(usize, usize) -> (usize, usize),
    ) -> f32 {
        let pixel = |of: &Resized, (y, x): (usize, usize), c| of.0[(y * INPUT + x) * 3 + c];
        (0..INPUT * INPUT * 3)
            .map(|i| (i / 3 / INPUT, i / 3 % INPUT, i % 3))
            .map(|(y, x, c)| (pixel(a, (y, x), c) - pixel(b, at(y, x), c)).abs())
            .fold(0.0, f32::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn resize_stays_within_the_range_of_each_channel(picture in pictures()) {
            let resized = picture.resize();
            for c in 0..3 {
                let (low, high) = picture.rgb.iter().skip(c).step_by(3).fold((255, 0), |(low, high), v| (low.min(*v), high.max(*v)));
                for value in channel(&resized.0, c) {
                    prop_assert!(value >= f32::from(low) - 1e-3 && value <= f32::from(high) + 1e-3, "{value}, expected {low} to {high}");
                }
            }
        }

        #[test]
        fn resize_commutes_with_mirroring_and_transposition(picture in pictures()) {
            let Picture { width, height, .. } = picture;
            let moved = |width: usize, height: usize, from: &dyn Fn(usize, usize) -> (usize, usize)| Picture {
                width,
                height,
                rgb: (0..width * height).flat_map(|i| {
                    let (y, x) = from(i / width, i % width);
                    let start = (y * picture.width + x) * 3;
                    picture.rgb[start..start + 3].to_vec()
                }).collect(),
            };
            let resized = picture.resize();
            let mirrored = moved(width, height, &|y, x| (y, width - 1 - x)).resize();
            prop_assert!(max_difference(&resized, &mirrored, |y, x| (y, INPUT - 1 - x)) < 1e-2);
            let transposed = moved(height, width, &|y, x| (x, y)).resize();
            prop_assert!(max_difference(&resized, &transposed, |y, x| (x, y)) < 1e-2);
        }

        #[test]
        fn resize_commutes_with_inversion(picture in pictures()) {
            let negative = Picture { rgb: picture.rgb.iter().map(|value| 255 - value).collect(), ..picture };
            let resized = picture.resize();
            for (value, other) in resized.0.iter().zip(&negative.resize().0) {
                prop_assert!((value + other - 255.0).abs() < 1e-2);
            }
        }
    }
}
