//! A loaded base: the network on a device and the metadata of its weights file. Pictures -> latents.

#[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
use std::rc::Rc;

#[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
use crate::net::gpu::{Gpu, dispatch::Precision};
use crate::{
    error::Error,
    head::latents::BaseId,
    image::{Pixels, Resized},
    net::{
        cpu::Cpu,
        inception::{AveragePool, FoldedConv, LATENTS},
    },
    weights::{Info, Weights, WeightsStream},
};

/// Number of latents of the self-test image in a weights file.
const SELF_TEST_LATENTS: usize = 64;
/// Maximum error of the self-test, relative to the largest latent: about 200 times the f32 rounding error.
const TOLERANCE: f32 = 1e-3;
/// Maximum error of the self-test for f16 weights and maps. Their rounding (2^-12 relative) changes the latents of the self-test image by 1e-3
/// and those of photos by up to 4e-3. A device that computes wrong results is off by 0.1 or more.
#[cfg_attr(
    not(all(feature = "webgpu", target_arch = "wasm32")),
    allow(dead_code, reason = "only a GPU computes with f16")
)]
const TOLERANCE_F16: f32 = 1e-2;

/// Inception V3 with weights, ready to compute latents.
pub struct Base {
    /// The metadata of the weights file.
    pub info: Info,
    /// SHA-256 (hex) of the exact weights and the preprocessing.
    pub fingerprint: String,
    net: Net,
}

/// The device to load a base on.
#[derive(Clone)]
pub enum Processor {
    /// The CPU.
    Cpu,
    /// A GPU holds one base at a time; loading another replaces it.
    #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
    Gpu(Rc<Gpu>),
}

/// The network on its device.
enum Net {
    Cpu(Cpu),
    #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
    Gpu(Rc<Gpu>),
}

impl Net {
    /// A network without weights yet.
    fn new(processor: &Processor, average_pool: AveragePool) -> Result<Net, Error> {
        match processor {
            Processor::Cpu => Ok(Net::Cpu(Cpu::inception(average_pool))),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Processor::Gpu(gpu) => {
                gpu.reset(average_pool)?;
                Ok(Net::Gpu(gpu.clone()))
            }
        }
    }

    fn tolerance(&self) -> f32 {
        match self {
            Net::Cpu(_) => TOLERANCE,
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => match gpu.precision() {
                Precision::F32 => TOLERANCE,
                Precision::F16 => TOLERANCE_F16,
            },
        }
    }

    fn set_conv(&mut self, conv: usize, folded: &FoldedConv) -> Result<(), Error> {
        match self {
            Net::Cpu(cpu) => {
                cpu.set_conv(conv, folded);
                Ok(())
            }
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => gpu.set_conv(conv, folded),
        }
    }
}

impl Base {
    /// Loads a weights file on the CPU.
    ///
    /// # Errors
    /// As [`Weights::convs`].
    pub fn load(weights: &Weights) -> Result<Base, Error> {
        let mut net = Net::new(&Processor::Cpu, weights.info.average_pool)?;
        for (conv, folded) in weights.convs().enumerate() {
            net.set_conv(conv, &folded?)?;
        }
        Ok(Base::of(weights, net))
    }

    /// The name and the fingerprint, as latents and heads record them.
    pub fn id(&self) -> BaseId {
        BaseId {
            name: self.info.name.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }

    fn of(weights: &Weights, net: Net) -> Base {
        Base {
            info: weights.info.clone(),
            fingerprint: weights.fingerprint.clone(),
            net,
        }
    }

    /// Tunes the GPU kernels on a picture, for at most 0.2 s. Does nothing on the CPU.
    ///
    /// # Errors
    /// As [`latents`](Base::latents).
    #[cfg_attr(
        not(all(feature = "webgpu", target_arch = "wasm32")),
        allow(unused_variables, reason = "only the GPU is tuned")
    )]
    pub async fn tune(&self, picture: &Resized) -> Result<(), Error> {
        match &self.net {
            Net::Cpu(_) => Ok(()),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => gpu.tune(&picture.input(self.info.range)).await,
        }
    }

    /// Computes the latents of pictures. On the CPU the future is ready at the first poll.
    ///
    /// # Shapes
    /// N pictures -> [N, 2048].
    ///
    /// # Errors
    /// Device errors; none on the CPU.
    pub async fn latents<'a>(
        &self,
        pictures: impl IntoIterator<Item = &'a Resized>,
    ) -> Result<Vec<f32>, Error> {
        let inputs = pictures
            .into_iter()
            .map(|picture| picture.input(self.info.range));
        match &self.net {
            Net::Cpu(cpu) => Ok(inputs
                .flat_map(|input| means(&cpu.forward(&input)))
                .collect()),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => gpu.latents(&inputs.flatten().collect::<Vec<_>>()).await,
        }
    }

    /// Computes the last feature maps of a picture; its latents are their means.
    ///
    /// # Shapes
    /// One picture -> [8, 8, 2048].
    ///
    /// # Errors
    /// As [`latents`](Base::latents).
    pub async fn maps(&self, picture: &Resized) -> Result<Vec<f32>, Error> {
        let input = picture.input(self.info.range);
        match &self.net {
            Net::Cpu(cpu) => Ok(cpu.forward(&input)),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => gpu.maps(&input).await,
        }
    }

    /// Self-test: compares latents of [`self_test_image`] with those in the weights file. Returns the maximum error, relative to the largest
    /// latent.
    ///
    /// # Errors
    /// An error above 0.001 (0.01 with f16) or NaN: the device computes wrong results.
    pub fn check(&self, latents: &[f32]) -> Result<f32, Error> {
        let expected = &self.info.self_test_latents;
        let largest = expected
            .iter()
            .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let errors = expected
            .iter()
            .zip(latents)
            .map(|(a, b)| (a - b).abs() / largest);
        let worst = errors.fold(
            0.0,
            |m: f32, v| if v.is_nan() { f32::INFINITY } else { m.max(v) },
        );
        let tolerance = self.net.tolerance();
        if worst <= tolerance && latents.len() >= expected.len() {
            return Ok(worst);
        }
        let reason = format!(
            "it computes wrong latents (error {worst:.1e} of the largest latent, expected at most {tolerance:.0e})"
        );
        Err(Error::Device { reason })
    }
}

/// Loads a base from a stream: each convolution is put on the device as soon as its bytes have arrived.
pub struct BaseLoader {
    stream: WeightsStream<'static>,
    processor: Processor,
    net: Option<Net>,
    loaded: usize,
}

impl BaseLoader {
    /// Starts loading. With `trusted`, the contents are not verified: see [`WeightsStream::trusted`].
    pub fn new(processor: Processor, trusted: bool) -> BaseLoader {
        BaseLoader {
            stream: match trusted {
                true => WeightsStream::trusted(),
                false => WeightsStream::new(),
            },
            processor,
            net: None,
            loaded: 0,
        }
    }

    /// Appends the next bytes of a weights file; returns how many convolutions are loaded.
    ///
    /// # Errors
    /// As [`Weights::open`] and [`Weights::convs`], as soon as an error is detected; GPU errors.
    pub fn push(&mut self, bytes: Vec<u8>) -> Result<usize, Error> {
        self.stream.push(bytes.into())?;
        let Some(info) = self.stream.info() else {
            return Ok(0);
        };
        let net = match &mut self.net {
            Some(net) => net,
            none => none.insert(Net::new(&self.processor, info.average_pool)?),
        };
        while let Some((conv, folded)) = self.stream.next_conv()? {
            net.set_conv(conv, &folded)?;
            self.loaded += 1;
        }
        Ok(self.loaded)
    }

    /// The length of the whole file in bytes, once its header has arrived.
    pub fn length(&self) -> Option<usize> {
        self.stream.length()
    }

    /// Returns the base and its weights file (metadata and classifier).
    ///
    /// # Errors
    /// A truncated file, or contents that do not match the fingerprint.
    pub fn finish(self) -> Result<(Base, Weights<'static>), Error> {
        let weights = self.stream.finish()?;
        let net = self.net.expect("a whole file has a header");
        Ok((Base::of(&weights, net), weights))
    }
}

/// The self-test image: a computed 64x48 pattern, resized like any other picture.
pub fn self_test_image() -> Resized {
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

/// Computes [`Info::self_test_latents`]: the first 64 latents of the self-test image on the CPU.
pub fn self_test_latents(info: &Info, convs: &[FoldedConv]) -> Vec<f32> {
    let mut cpu = Cpu::inception(info.average_pool);
    for (conv, folded) in convs.iter().enumerate() {
        cpu.set_conv(conv, folded);
    }
    let mut latents = means(&cpu.forward(&self_test_image().input(info.range)));
    latents.truncate(SELF_TEST_LATENTS);
    latents
}

/// Global average pooling: maps [8, 8, 2048] -> latents `[2048]`.
pub(crate) fn means(maps: &[f32]) -> Vec<f32> {
    let pixels = maps.chunks_exact(LATENTS);
    let scale = 1.0 / pixels.len() as f32;
    let mut sums = vec![0.0; LATENTS];
    for pixel in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    sums.iter().map(|sum| sum * scale).collect()
}
