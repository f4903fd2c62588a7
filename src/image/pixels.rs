//! Decodes picture files: size check from the header, decoding, EXIF orientation, transparency over white.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, metadata::Orientation,
};
use imagesize::{Compression, ImageType};

use super::input::{Resized, resize};
use crate::error::Error;

/// Maximum number of pixels.
const MAX_PIXELS: u64 = 50_000_000;
/// Maximum width and height in pixels.
const MAX_SIDE: u64 = 16_384;

/// A decoded picture: upright, opaque, 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Decodes JPEG, PNG, WebP, GIF (first frame) or BMP, applies the EXIF orientation and blends transparency over white.
    ///
    /// # Errors
    /// Empty, unknown, unsupported, truncated or damaged files; more than 50 megapixels or 16,384 pixels per side, checked in the header
    /// before allocation.
    pub fn decode(bytes: &[u8]) -> Result<Pixels, Error> {
        if bytes.is_empty() {
            return Err(Error::EmptyPicture);
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .expect("reading memory cannot fail");
        let Some(format) = reader.format().filter(ImageFormat::reading_enabled) else {
            return Err(unsupported(bytes));
        };
        // Check the header first, because some decoders allocate in their constructors.
        if let Ok(size) = imagesize::blob_size(bytes) {
            check_size(size.width as u64, size.height as u64)?;
        }
        if format == ImageFormat::Jpeg {
            if !has_jpeg_end(bytes) {
                return Err(Error::TruncatedPicture);
            }
            check_jpeg_sampling(bytes)?;
        }
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        check_size(width.into(), height.into())?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        picture.apply_orientation(orientation);
        Ok(Pixels::from_image(picture))
    }

    /// Blends pixels over white, such as those of a canvas or of a format that the browser decoded (AVIF).
    ///
    /// # Shapes
    /// `rgba`: [height, width, 4], row-major, with straight (not premultiplied) alpha
    ///
    /// # Errors
    /// No pixels, too many, or a length other than width x height x 4.
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
            .flat_map(|p| blend_over_white([p[0], p[1], p[2], p[3]]))
            .collect();
        Ok(Pixels {
            width: width as usize,
            height: height as usize,
            rgb,
        })
    }

    fn from_image(picture: DynamicImage) -> Pixels {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let rgb = if picture.color().has_alpha() {
            picture
                .into_rgba8()
                .pixels()
                .flat_map(|p| blend_over_white(p.0))
                .collect()
        } else {
            picture.into_rgb8().into_raw()
        };
        Pixels { width, height, rgb }
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns the pixels.
    ///
    /// # Shapes
    /// [height, width, 3]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Resizes the picture to 299x299 with TensorFlow's antialiased bilinear filter, without keeping the aspect ratio.
    pub fn resize(&self) -> Resized {
        resize(self.width, self.height, &self.rgb)
    }
}

fn blend_over_white([r, g, b, a]: [u8; 4]) -> [u8; 3] {
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

/// Returns whether the end marker of a JPEG follows its last scan. The decoder silently fills missing data with grey.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) > last(0xda)
}

/// Rejects sampling factors on which the JPEG decoder [panics](https://github.com/etemesi254/zune-image/issues/362).
fn check_jpeg_sampling(bytes: &[u8]) -> Result<(), Error> {
    let damaged = |reason: &str| Error::DamagedPicture {
        reason: reason.into(),
    };
    let truncated = || damaged("truncated header");
    let mut left = &bytes[2..];
    loop {
        // Skip bytes between segments, as the decoder does.
        let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let position = left.windows(2).position(marker).ok_or_else(truncated)?;
        let (kind, rest) = (left[position + 1], &left[position + 2..]);
        let (length, _) = rest.split_first_chunk().ok_or_else(truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let segment = rest.get(2..length).ok_or_else(truncated)?;
        left = &rest[length..];
        match kind {
            0xc0..=0xc2 => {
                let factors = segment.get(6..).ok_or_else(truncated)?.chunks_exact(3);
                let mut factors = factors.map(|component| [component[1] >> 4, component[1] & 15]);
                let [luma_x, luma_y] = factors.next().ok_or_else(truncated)?;
                // The sampling factors of chroma must divide those of luma, the first component.
                let divides = |luma: u8, chroma: u8| luma.checked_rem(chroma) == Some(0);
                return match factors.all(|[x, y]| divides(luma_x, x) && divides(luma_y, y)) {
                    true => Ok(()),
                    false => Err(damaged("unsupported chroma sampling factors")),
                };
            }
            // A scan without a frame header.
            0xda => return Err(truncated()),
            _ => {}
        }
    }
}

/// Returns the error for a format without a decoder.
fn unsupported(bytes: &[u8]) -> Error {
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

    #[test]
    fn transparency_is_blended_over_white() {
        let pixels = Pixels::from_rgba(2, 1, &[255, 0, 0, 0, 0, 0, 0, 128]).expect("pixels");
        assert_eq!(pixels.rgb(), [255, 255, 255, 127, 127, 127]);
    }
}
