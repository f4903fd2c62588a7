//! A loaded base: the net on a device together with what its weights file says, pictures -> latents.

use burn::tensor::{Device, Tensor};

use crate::{
    error::Error,
    image::{Pixels, Resized, batch},
    inception::{Folded, Inception},
    weights::{Info, Weights},
};

/// How many latents of the known picture a weights file carries.
pub const KNOWN: usize = 64;
/// How far a device's latents of the known picture may lie from the file's, relative to the largest of them.
const TOLERANCE: f32 = 1e-3;

/// Inception V3 with weights, ready to turn pictures into latents.
pub struct Base {
    /// What the weights file says of itself.
    pub info: Info,
    /// SHA-256 (hex) of the exact weights and the preprocessing.
    pub fingerprint: String,
    net: Inception,
    device: Device,
}

impl Base {
    /// Puts an opened weights file on a device.
    ///
    /// # Errors
    /// As [`Weights::inception`].
    pub fn load(weights: &Weights, device: &Device) -> Result<Base, Error> {
        Ok(Base {
            info: weights.info.clone(),
            fingerprint: weights.fingerprint.clone(),
            net: weights.inception(device)?,
            device: device.clone(),
        })
    }

    /// The latents of a batch, still on the device: read them with `into_data` natively, `into_data_async` on the web.
    ///
    /// # Shapes
    /// N pictures -> [N, 2048].
    pub fn latents<'a>(&self, pictures: impl IntoIterator<Item = &'a Resized>) -> Tensor<2> {
        self.net
            .forward(batch(pictures, self.info.range, &self.device))
    }

    /// The maps that the latents of one picture are the means of, still on the device.
    ///
    /// # Shapes
    /// One picture -> [1, 2048, 8, 8].
    pub fn maps(&self, picture: &Resized) -> Tensor<4> {
        self.net
            .maps(batch([picture], self.info.range, &self.device))
    }

    /// How far latents of [`known_picture`] are from those in the weights file, relative to the largest of them.
    ///
    /// # Errors
    /// A deviation above 0.001, NaN included: this device computes wrongly.
    pub fn check(&self, latents: &[f32]) -> Result<f32, Error> {
        let known = &self.info.known_latents;
        let largest = known.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let off = known
            .iter()
            .zip(latents)
            .map(|(a, b)| (a - b).abs() / largest);
        let worst = off.fold(
            0.0,
            |m: f32, v| if v.is_nan() { f32::INFINITY } else { m.max(v) },
        );
        if worst <= TOLERANCE && latents.len() >= known.len() {
            return Ok(worst);
        }
        let reason = format!(
            "it computes wrong latents (off by {worst:.1e} of the largest, at most {TOLERANCE:.0e} is right)"
        );
        Err(Error::Device { reason })
    }
}

/// A picture that every build can draw: a 64x48 pattern of all colours, which passes the resize as any other does.
pub fn known_picture() -> Resized {
    let rgba: Vec<u8> = (0..48u32)
        .flat_map(|y| (0..64u32).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            [
                (x * 37 + y * 11) as u8,
                (x * y) as u8,
                (x * 4 + y * y) as u8,
                255,
            ]
        })
        .collect();
    Pixels::from_rgba(64, 48, &rgba)
        .expect("64 x 48 x 4 bytes")
        .resize()
}

/// The latents of the known picture by these exact weights on the CPU, not yet read; the first [`KNOWN`] of them belong in [`Info`].
///
/// # Shapes
/// [1, 2048].
pub fn latents_to_know(info: &Info, convs: &[Folded]) -> Tensor<2> {
    let device = Device::flex();
    let convs = convs.iter().cloned().map(Ok::<_, std::convert::Infallible>);
    let Ok(net) = Inception::new(convs, info.average_pool, &device);
    net.forward(batch([&known_picture()], info.range, &device))
}
