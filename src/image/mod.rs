//! Picture files to the 299x299 numbers that the net reads: header check, decoding, orientation, resize, scale.
//!
//! The resize is `tf.image.resize(x, (299, 299), "bilinear", antialias=True)`, stretched; see
//! [ScaleAndTranslate](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/kernels/image/scale_and_translate_op.cc).
//! It streams over the picture's rows, since a resampling library would want 50 megapixels as f32 (600 MB) first.

#[cfg(feature = "train")]
pub mod cifar10;
#[cfg(feature = "train")]
pub mod small;

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, metadata::Orientation,
};
use imagesize::{Compression, ImageType};

use crate::{error::Error, net::inception::INPUT};

/// The most pixels a picture may have.
const MAX_PIXELS: u64 = 50_000_000;
/// The longest side a picture may have, in pixels.
const MAX_SIDE: u64 = 16_384;

/// A decoded picture, upright and opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// A picture as the net sees it before scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct Resized(Vec<f32>);

/// The numbers that a net was trained on for black and for white; it belongs to the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputRange {
    /// What black (0) becomes, in red, green and blue.
    pub low: [f32; 3],
    /// What white (255) becomes, in red, green and blue.
    pub high: [f32; 3],
}

impl InputRange {
    /// 0 to 1.
    pub const UNIT: InputRange = InputRange::even(0.0, 1.0);
    /// -1 to 1: TF-Slim, Keras' `mode="tf"`, and torchvision with `transform_input`.
    pub const SIGNED: InputRange = InputRange::even(-1.0, 1.0);
    /// Less the mean of ImageNet's pixels, by their deviation: torchvision without `transform_input`, Keras' `mode="torch"`.
    pub const IMAGENET: InputRange = {
        let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        InputRange::normalised(mean, deviation)
    };

    /// The same for all colours.
    pub const fn even(low: f32, high: f32) -> InputRange {
        InputRange {
            low: [low; 3],
            high: [high; 3],
        }
    }

    /// 0 to 1, less a mean, by a deviation.
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

    /// Whether black and white become numbers.
    pub fn is_finite(&self) -> bool {
        let ends = self.low.iter().chain(&self.high);
        ends.into_iter().all(|value| value.is_finite())
    }

    /// Black and white, where all colours have the same.
    pub fn both(&self) -> Option<[f32; 2]> {
        let (low, high) = (self.low[0], self.high[0]);
        (*self == InputRange::even(low, high)).then_some([low, high])
    }
}

impl Pixels {
    /// Decodes JPEG, PNG, WebP, GIF (first frame) or BMP; turns it upright by its EXIF orientation; lays it over white.
    ///
    /// # Errors
    /// Empty, unknown, unsupported, truncated or damaged files; more than 50 megapixels or 16,384 a side, told from the header
    /// before anything of that size is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Pixels, Error> {
        if bytes.is_empty() {
            return Err(Error::EmptyPicture);
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .expect("reading memory cannot fail");
        let Some(format) = reader.format().filter(ImageFormat::reading_enabled) else {
            return Err(foreign(bytes));
        };
        // The header's own claim first: some decoders allocate as soon as they are made.
        if let Ok(size) = imagesize::blob_size(bytes) {
            check_size(size.width as u64, size.height as u64)?;
        }
        if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
            return Err(Error::TruncatedPicture);
        }
        if format == ImageFormat::Jpeg {
            jpeg_sampled(bytes)?;
        }
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        check_size(width.into(), height.into())?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        picture.apply_orientation(orientation);
        Ok(Pixels::over_white(picture))
    }

    /// Takes pixels that the browser decoded (AVIF, canvas), and lays them over white.
    ///
    /// # Shapes
    /// `rgba`: [height, width, 4], row-major, alpha not multiplied in.
    ///
    /// # Errors
    /// A length other than width x height x 4, or too many pixels.
    pub fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Pixels, Error> {
        check_size(width.into(), height.into())?;
        let want = width as usize * height as usize * 4;
        if rgba.len() != want || want == 0 {
            return Err(Error::PixelCount {
                width,
                height,
                want,
                got: rgba.len(),
            });
        }
        let rgb = rgba
            .chunks_exact(4)
            .flat_map(|p| over_white([p[0], p[1], p[2], p[3]]))
            .collect();
        Ok(Pixels {
            width: width as usize,
            height: height as usize,
            rgb,
        })
    }

    fn over_white(picture: DynamicImage) -> Pixels {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let rgb = if picture.color().has_alpha() {
            picture
                .into_rgba8()
                .pixels()
                .flat_map(|p| over_white(p.0))
                .collect()
        } else {
            picture.into_rgb8().into_raw()
        };
        Pixels { width, height, rgb }
    }

    /// Pixels a row, of the upright picture.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the upright picture.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The picture's colours, [height, width, 3].
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Stretches the picture to 299x299 as TensorFlow's antialiased bilinear resize does.
    pub fn resize(&self) -> Resized {
        let columns = spans(self.width, INPUT);
        let rows = spans(self.height, INPUT);
        let mut out = vec![0.0; INPUT * INPUT * 3];
        let mut line = vec![0.0; INPUT * 3];
        let mut first = 0;
        for (y, source) in self.rgb.chunks_exact(self.width * 3).enumerate() {
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
}

impl Resized {
    /// [299, 299, 3], 0 to 255, not rounded.
    pub fn rgb(&self) -> &[f32] {
        &self.0
    }

    /// What the net reads, black at `range.low` and white at `range.high`: [299, 299, 3].
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

    /// The same as [`rgb`](Resized::rgb), rounded, with an opaque alpha: [299, 299, 4], for a canvas to show what the net sees.
    pub fn rgba(&self) -> Vec<u8> {
        let level = |value: f32| value.round().clamp(0.0, 255.0) as u8;
        self.0
            .chunks_exact(3)
            .flat_map(|p| [level(p[0]), level(p[1]), level(p[2]), 255])
            .collect()
    }
}

/// The source pixels of one output pixel, and their shares.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

impl Span {
    fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

/// A triangle as wide as one output pixel (at least one source pixel) around each output pixel's centre, in f32 as TensorFlow.
fn spans(from: usize, to: usize) -> Vec<Span> {
    let step = from as f32 / to as f32;
    let radius = step.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * step;
            let start = (centre - radius - 0.5).ceil().max(0.0) as usize;
            let end = ((centre + radius - 0.5).floor() as usize).min(from - 1);
            let share = |x: usize| (1.0 - ((x as f32 + 0.5 - centre) / radius).abs()).max(0.0);
            let total: f32 = (start..=end).map(share).sum();
            Span {
                start,
                weights: (start..=end).map(|x| share(x) / total).collect(),
            }
        })
        .collect()
}

fn over_white([r, g, b, a]: [u8; 4]) -> [u8; 3] {
    let a = u32::from(a);
    [r, g, b].map(|c| ((u32::from(c) * a + 255 * (255 - a) + 127) / 255) as u8)
}

fn check_size(width: u64, height: u64) -> Result<(), Error> {
    let fits = width <= MAX_SIDE && height <= MAX_SIDE && width * height <= MAX_PIXELS;
    if fits {
        Ok(())
    } else {
        Err(Error::HugePicture { width, height })
    }
}

/// Whether a JPEG's last scan is followed by its end marker: its decoder fills what is missing with grey and says nothing.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) > last(0xda)
}

/// Refuses JPEGs whose colours are sampled as nobody's are, for their decoder [panics](https://github.com/etemesi254/zune-image/issues/362).
fn jpeg_sampled(bytes: &[u8]) -> Result<(), Error> {
    let wrong = |reason: &str| Error::DamagedPicture {
        reason: reason.into(),
    };
    let cut = || wrong("its header is cut off");
    let mut left = &bytes[2..];
    loop {
        // What lies between segments is passed over, as the decoder does.
        let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let at = left.windows(2).position(marker).ok_or_else(cut)?;
        let (kind, rest) = (left[at + 1], &left[at + 2..]);
        let (length, _) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let segment = rest.get(2..length).ok_or_else(cut)?;
        left = &rest[length..];
        match kind {
            0xc0..=0xc2 => {
                let factors = segment.get(6..).ok_or_else(cut)?.chunks_exact(3);
                let mut factors = factors.map(|component| [component[1] >> 4, component[1] & 15]);
                let [across, down] = factors.next().ok_or_else(cut)?;
                // Brightness comes first, and each of its samples belongs to one of a colour.
                let divides = |whole: u8, part: u8| whole.checked_rem(part) == Some(0);
                return match factors.all(|[x, y]| divides(across, x) && divides(down, y)) {
                    true => Ok(()),
                    false => Err(wrong("its colours are sampled finer than its brightness")),
                };
            }
            // The picture's data, of which no frame has told anything.
            0xda => return Err(cut()),
            _ => {}
        }
    }
}

/// Names a format that the decoders here do not know.
fn foreign(bytes: &[u8]) -> Error {
    if let Ok(size) = imagesize::blob_size(bytes)
        && let Err(error) = check_size(size.width as u64, size.height as u64)
    {
        return error;
    }
    let format = match imagesize::image_type(bytes) {
        Ok(ImageType::Heif(Compression::Av1)) => "AVIF",
        Ok(ImageType::Heif(_)) => "HEIC",
        Ok(ImageType::Jxl) => "JPEG XL",
        Ok(ImageType::Tiff) => "TIFF",
        Ok(ImageType::Psd) => "PSD",
        Ok(ImageType::Ico) => "ICO",
        _ if bytes.get(4..8) == Some(b"ftyp") => "HEIC or video",
        _ => return Error::UnknownPicture,
    };
    Error::UnsupportedPicture { format }
}

fn damaged(error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::TruncatedPicture
        }
        other => Error::DamagedPicture {
            reason: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Pixels {
        let rgb = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| [value(x, y); 3]);
        Pixels {
            width,
            height,
            rgb: rgb.collect(),
        }
    }

    #[test]
    fn resize_keeps_a_plain_colour_at_any_size() {
        for (width, height) in [
            (1, 1),
            (1, 5000),
            (7, 299),
            (299, 299),
            (300, 298),
            (5000, 3),
        ] {
            let resized = grey(width, height, |_, _| 93).resize();
            let off = resized
                .rgb()
                .iter()
                .map(|v| (v - 93.0).abs())
                .fold(0.0, f32::max);
            assert!(off < 1e-3, "{width}x{height} is off by {off}");
        }
    }

    #[test]
    fn resize_of_299_is_the_picture_itself() {
        let picture = grey(INPUT, INPUT, |x, y| (x * 7 + y * 13) as u8);
        let resized = picture.resize();
        let off = resized
            .rgb()
            .iter()
            .zip(picture.rgb())
            .map(|(a, b)| (a - f32::from(*b)).abs());
        assert!(off.fold(0.0, f32::max) < 1e-3);
    }

    #[test]
    fn halving_weighs_neighbours_as_a_triangle() {
        // 598 -> 299: centre 2i + 1, radius 2: source pixels at distances 1.5, 0.5, 0.5, 1.5 weigh 1, 3, 3, 1 eighths.
        let spans = spans(598, 299);
        assert_eq!(spans[10].start, 19);
        let want = [0.125, 0.375, 0.375, 0.125];
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
    fn transparency_is_laid_over_white() {
        let pixels = Pixels::from_rgba(2, 1, &[255, 0, 0, 0, 0, 0, 0, 128]).expect("pixels");
        assert_eq!(pixels.rgb(), [255, 255, 255, 127, 127, 127]);
    }

    #[test]
    fn input_scales_black_and_white_to_the_range() {
        let picture = Resized([[0.0, 127.5, 255.0]; INPUT * INPUT].concat());
        let input = picture.input(InputRange::SIGNED);
        assert_eq!(input.len(), INPUT * INPUT * 3);
        assert_eq!(input[..3], [-1.0, 0.0, 1.0]);
    }

    use proptest::prelude::*;

    /// Pictures of up to 40 pixels a side, of one shade in every channel or of many.
    fn pictures() -> impl Strategy<Value = Pixels> {
        (1usize..40, 1usize..40).prop_flat_map(|(width, height)| {
            prop::collection::vec(any::<u8>(), width * height * 3).prop_map(move |rgb| Pixels {
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
    fn off(a: &Resized, b: &Resized, at: impl Fn(usize, usize) -> (usize, usize)) -> f32 {
        let pixel = |of: &Resized, (y, x): (usize, usize), c| of.0[(y * INPUT + x) * 3 + c];
        (0..INPUT * INPUT * 3)
            .map(|i| (i / 3 / INPUT, i / 3 % INPUT, i % 3))
            .map(|(y, x, c)| (pixel(a, (y, x), c) - pixel(b, at(y, x), c)).abs())
            .fold(0.0, f32::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn resize_makes_no_colour_that_was_not_between_those_there(picture in pictures()) {
            let resized = picture.resize();
            for c in 0..3 {
                let (low, high) = picture.rgb.iter().skip(c).step_by(3).fold((255, 0), |(low, high), v| (low.min(*v), high.max(*v)));
                for value in channel(&resized.0, c) {
                    prop_assert!(value >= f32::from(low) - 1e-3 && value <= f32::from(high) + 1e-3, "{value} of {low} to {high}");
                }
            }
        }

        #[test]
        fn resize_does_not_care_which_side_is_up(picture in pictures()) {
            let Pixels { width, height, .. } = picture;
            let moved = |width: usize, height: usize, from: &dyn Fn(usize, usize) -> (usize, usize)| Pixels {
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
            prop_assert!(off(&resized, &mirrored, |y, x| (y, INPUT - 1 - x)) < 1e-2);
            let turned = moved(height, width, &|y, x| (x, y)).resize();
            prop_assert!(off(&resized, &turned, |y, x| (x, y)) < 1e-2);
        }

        #[test]
        fn a_negative_resizes_to_the_negative(picture in pictures()) {
            let negative = Pixels { rgb: picture.rgb.iter().map(|value| 255 - value).collect(), ..picture };
            let resized = picture.resize();
            for (value, other) in resized.0.iter().zip(&negative.resize().0) {
                prop_assert!((value + other - 255.0).abs() < 1e-2);
            }
        }
    }
}
