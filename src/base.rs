//! A loaded base: the net on a device together with what its weights file says, pictures -> latents.

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

/// How many latents of the known picture a weights file carries.
const SELF_TEST_LATENTS: usize = 64;
/// How far a device's latents of the known picture may lie from the file's, relative to the largest of them: some 200 times what f32 does.
const TOLERANCE: f32 = 1e-3;
/// The same where weights and maps are f16. Each of them is rounded by up to 2^-12 of itself, which moves latents of the known picture by 1e-3
/// and those of photos by up to 4e-3; what computes wrongly is off by a tenth and more.
#[cfg_attr(
    not(all(feature = "webgpu", target_arch = "wasm32")),
    allow(dead_code, reason = "only a GPU computes with f16")
)]
const TOLERANCE_F16: f32 = 1e-2;

/// Inception V3 with weights, ready to turn pictures into latents.
pub struct Base {
    /// What the weights file says of itself.
    pub info: Info,
    /// SHA-256 (hex) of the exact weights and the preprocessing.
    pub fingerprint: String,
    net: Net,
}

/// What computes.
#[derive(Clone)]
pub enum Processor {
    /// This one.
    Cpu,
    /// A GPU, which holds one base at a time: the one that is put there last.
    #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
    Gpu(Rc<Gpu>),
}

/// The net where it computes.
enum Net {
    Cpu(Cpu),
    #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
    Gpu(Rc<Gpu>),
}

impl Net {
    /// Without weights yet.
    fn new(processor: &Processor, average_pool: AveragePool) -> Result<Net, Error> {
        match processor {
            Processor::Cpu => Ok(Net::Cpu(Cpu::inception(average_pool))),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Processor::Gpu(gpu) => {
                gpu.begin(average_pool)?;
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
    /// Puts an opened weights file on the CPU.
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

    /// Lets a GPU try how it computes a picture quickest, for a fifth of a second; the CPU knows.
    ///
    /// # Errors
    /// As [`latents`](Base::latents).
    #[cfg_attr(
        not(all(feature = "webgpu", target_arch = "wasm32")),
        allow(unused_variables, reason = "the CPU tries nothing")
    )]
    pub async fn tune(&self, picture: &Resized) -> Result<(), Error> {
        match &self.net {
            Net::Cpu(_) => Ok(()),
            #[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
            Net::Gpu(gpu) => gpu.tune(&picture.input(self.info.range)).await,
        }
    }

    /// The latents of some pictures; on the CPU they are there when this is first asked.
    ///
    /// # Shapes
    /// N pictures -> [N, 2048].
    ///
    /// # Errors
    /// Those of the device; the CPU has none.
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

    /// The maps that the latents of one picture are the means of.
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

    /// How far latents of [`self_test_image`] are from those in the weights file, relative to the largest of them.
    ///
    /// # Errors
    /// A deviation above 0.001, or 0.01 where the device computes with f16, NaN included: this device computes wrongly.
    pub fn check(&self, latents: &[f32]) -> Result<f32, Error> {
        let known = &self.info.self_test_latents;
        let largest = known.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let off = known
            .iter()
            .zip(latents)
            .map(|(a, b)| (a - b).abs() / largest);
        let worst = off.fold(
            0.0,
            |m: f32, v| if v.is_nan() { f32::INFINITY } else { m.max(v) },
        );
        let tolerance = self.net.tolerance();
        if worst <= tolerance && latents.len() >= known.len() {
            return Ok(worst);
        }
        let reason = format!(
            "it computes wrong latents (off by {worst:.1e} of the largest, at most {tolerance:.0e} is right)"
        );
        Err(Error::Device { reason })
    }
}

/// A base on its way: its weights go to a processor as their bytes come.
pub struct BaseLoader {
    arriving: WeightsStream<'static>,
    processor: Processor,
    net: Option<Net>,
    placed: usize,
}

impl BaseLoader {
    /// Nothing of it yet; of a file that is `known`, as [`WeightsStream::known`].
    pub fn new(processor: Processor, known: bool) -> BaseLoader {
        BaseLoader {
            arriving: match known {
                true => WeightsStream::known(),
                false => WeightsStream::new(),
            },
            processor,
            net: None,
            placed: 0,
        }
    }

    /// Takes the next bytes of a weights file; says how many convolutions are on the processor.
    ///
    /// # Errors
    /// As [`Weights::open`] and [`Weights::convs`], for what can be wrong so far, and what a GPU refuses.
    pub fn take(&mut self, bytes: Vec<u8>) -> Result<usize, Error> {
        self.arriving.take(bytes.into())?;
        let Some(info) = self.arriving.info() else {
            return Ok(0);
        };
        let net = match &mut self.net {
            Some(net) => net,
            none => none.insert(Net::new(&self.processor, info.average_pool)?),
        };
        while let Some((conv, folded)) = self.arriving.next_conv()? {
            net.set_conv(conv, &folded)?;
            self.placed += 1;
        }
        Ok(self.placed)
    }

    /// The bytes that the whole file has, once its header is here.
    pub fn length(&self) -> Option<usize> {
        self.arriving.length()
    }

    /// The base, and the rest of its file: what it says and answers by itself.
    ///
    /// # Errors
    /// A file that ends early, or has other contents than it says.
    pub fn finish(self) -> Result<(Base, Weights<'static>), Error> {
        let weights = self.arriving.finish()?;
        let net = self.net.expect("a whole file has a header");
        Ok((Base::of(&weights, net), weights))
    }
}

/// A picture that every build can draw: a 64x48 pattern of all colours, which passes the resize as any other does.
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

/// The latents of the known picture by these exact weights on the CPU; the first [`SELF_TEST_LATENTS`] of them belong in [`Info`].
///
/// # Shapes
/// `[2048]`.
pub fn self_test_latents(info: &Info, convs: &[FoldedConv]) -> Vec<f32> {
    let mut cpu = Cpu::inception(info.average_pool);
    for (conv, folded) in convs.iter().enumerate() {
        cpu.set_conv(conv, folded);
    }
    let mut latents = means(&cpu.forward(&self_test_image().input(info.range)));
    latents.truncate(SELF_TEST_LATENTS);
    latents
}

/// Maps [8, 8, 2048] -> latents `[2048]`, the means over their pixels.
pub(crate) fn means(maps: &[f32]) -> Vec<f32> {
    let pixels = maps.chunks_exact(LATENTS);
    let share = 1.0 / pixels.len() as f32;
    let mut sums = vec![0.0; LATENTS];
    for pixel in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
    sums.iter().map(|sum| sum * share).collect()
}
