//! The net on the browser's GPU: pictures -> latents by the dispatches of [`dispatch`](crate::net::gpu::dispatch), one submission a batch.
//!
//! No optional feature of an adapter is needed; `shader-f16` is asked for by who wants values of half the bytes. Whatever a device refuses,
//! and a device that is lost, comes back as [`Error::Device`]: nothing here panics. Results are not judged:
//! [`Base::check`](crate::base::Base::check) does that. JavaScript is called here, not in `web`: that is the door by which it calls us.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use js_sys::{ArrayBuffer, Float32Array, Promise, Uint16Array, Uint32Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::browser::{self, Adapter, Buffer, Device, get, list, message, object};
use crate::{
    error::Error,
    net::{
        gpu::dispatch::{
            HEADER_BYTES, Kernel, MIN_INVOCATIONS, LAYER_BYTES, DeviceClass, Precision, PICTURES, Program, f16_to_f32,
            f32_to_f16, pack, pad_channels,
        },
        inception::{AveragePool, FoldedConv, INPUT, LATENTS, graph, kernels},
        plan::Plan,
    },
};

/// Milliseconds in which tiles are tried.
const TUNING_MS: f64 = 200.0;
/// Bytes of a latent, whatever the maps are.
const LATENT_BYTES: usize = 4;
/// Values in one picture's last maps.
const LAST_MAPS_LEN: usize = 8 * 8 * LATENTS;

/// The net on a GPU; its weights come one convolution after another.
pub struct Gpu {
    program: RefCell<Program>,
    precision: Precision,
    device_class: DeviceClass,
    average_pool: Cell<AveragePool>,
    device: Device,
    pipelines: Vec<(Kernel, JsValue)>,
    bindings: JsValue,
    maps: Buffer,
    weights: Buffer,
    layers: Buffer,
    pictures: Buffer,
    results: Buffer,
    failure: DeviceFailure,
    /// Convolutions whose weights are not there yet.
    missing: Cell<usize>,
}

impl Gpu {
    /// Takes the fastest adapter there is, and compiles the kernels, all at once; `tell` hears how many of how many are done.
    ///
    /// # Errors
    /// There is no adapter, or it refuses something; f16, where it has no `shader-f16`.
    pub(crate) async fn new(
        precision: Precision,
        mut on_progress: impl FnMut(usize, usize),
    ) -> Result<Gpu, Error> {
        let refused = "the graphics card refused to be used";
        let adapter = adapter().await?;
        let features = match number {
            Precision::F32 => list([]),
            Precision::F16 => list(["shader-f16".into()]),
        };
        let asked = object([("requiredFeatures", features.into())]);
        let device = wait(adapter.request_device(&asked), refused).await?;
        let device: Device = device.unchecked_into();
        let failure = DeviceFailure::of(&device);

        let flag = |holder: &JsValue| get(holder, "isFallbackAdapter").is_truthy();
        let software = flag(&get(&adapter, "info")) || flag(&adapter);
        let device_class = match software {
            true => DeviceClass::Software,
            false => DeviceClass::Gpu { min_invocations: MIN_INVOCATIONS[0] },
        };
        let program = program(device_class, number);

        let scopes = ErrorScopes::open(&device);
        let resources = Resources::new(&device, &program).map_err(|error| device_error(refused, &error));
        let kernels = program.kernels();
        let started = resources.and_then(|resources| {
            let started = kernels
                .iter()
                .map(|kernel| resources.compile(&device, &program, *kernel));
            let started: Result<Vec<_>, _> = started.collect();
            Ok((resources, started.map_err(|error| device_error(REFUSED, &error))?))
        });
        scopes.close().await?;
        let (resources, started) = started?;
        let total = started.len();
        let mut pipelines = Vec::new();
        for (kernel, pipeline) in kernels.into_iter().zip(started) {
            on_progress(pipelines.len(), total);
            let pipeline = pipeline.await.map_err(|error| device_error(REFUSED, &error))?;
            pipelines.push((kernel, pipeline));
        }
        on_progress(total, total);
        failure.check()?;
        let Resources {
            bindings,
            maps,
            weights,
            layers,
            pictures,
            results,
            ..
        } = resources;
        Ok(Gpu {
            program: program.into(),
            number,
            device_class,
            average_pool: Cell::new(AveragePool::ExcludePadding),
            device,
            pipelines,
            bindings,
            maps,
            weights,
            layers,
            pictures,
            results,
            failure,
            missing: Cell::new(crate::net::inception::kernels().len()),
        })
    }

    /// What it computes with.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Uploads a convolution's weights, each once, by its number in the order of [`kernels`].
    ///
    /// # Errors
    /// The device refuses them, or f16 has no number as large.
    ///
    /// # Panics
    /// If they have other lengths than [`kernels`]: checking files is the work of `weights`.
    pub fn set_conv(&self, conv: usize, folded: &FoldedConv) -> Result<(), Error> {
        let (_, shape) = &kernels()[conv];
        let packed = pack(folded, *shape);
        let start = self.program.borrow().convs[conv];
        let written = self.write(&self.weights, start, &packed);
        written.map_err(|error| device_error(FAILED, &error))?;
        self.missing.set(self.missing.get() - 1);
        Ok(())
    }

    /// Writes values as the kernels read them, from the number `start` on.
    fn write(&self, buffer: &Buffer, start: usize, values: &[f32]) -> Result<(), JsValue> {
        let queue = self.device.queue();
        let offset = (start * self.precision.bytes()) as f64;
        match self.precision {
            Precision::F32 => queue.write_f32(buffer, offset, values),
            Precision::F16 => {
                let values = f32_to_f16(values).ok_or_else(|| JsValue::from(TOO_LARGE))?;
                queue.write_f16(buffer, offset, &values)
            }
        }
    }

    /// Makes ready for a net's weights, whatever was there before.
    ///
    /// # Errors
    /// The device refuses it.
    pub fn begin(&self, average_pool: AveragePool) -> Result<(), Error> {
        self.missing.set(kernels().len());
        self.average_pool.set(average_pool);
        self.select_tiles(self.device_class)
    }

    /// From now on computes with the tiles for such a device_class.
    fn select_tiles(&self, device_class: DeviceClass) -> Result<(), Error> {
        let program = program(device_class, self.precision);
        let words = program.layers(self.average_pool.get());
        self.program.replace(program);
        let written = self.device.queue().write_u32(&self.layers, 0.0, &words);
        written.map_err(|error| device_error(FAILED, &error))
    }

    /// Tries which tiles compute this picture's latents quickest, and keeps them; nothing is started once the time for that is over.
    ///
    /// # Shapes
    /// [299, 299, 3], scaled to the weights' input range.
    ///
    /// # Errors
    /// As [`latents`](Gpu::latents).
    pub async fn tune(&self, image: &[f32]) -> Result<(), Error> {
        if self.device_class == DeviceClass::Software {
            return Ok(());
        }
        let end = browser::now() + TUNING_MS;
        let mut best = (f64::INFINITY, self.device_class);
        for min_invocations in MIN_INVOCATIONS {
            let device_class = DeviceClass::Gpu { min_invocations };
            self.select_tiles(device_class)?;
            let time = self.time(image, end).await?;
            if time < best.0 {
                best = (time, device_class);
            }
        }
        self.select_tiles(best.1)
    }

    /// Milliseconds of a forward: the least of three, or of as many as there is time for, after one that warms up; infinite without any.
    async fn time(&self, image: &[f32], end: f64) -> Result<f64, Error> {
        let share = (browser::now() + TUNING_MS / MIN_INVOCATIONS.len() as f64).min(end);
        let mut least = f64::INFINITY;
        for run in 0..4 {
            let start = browser::now();
            if start > if run > 1 { share } else { end } {
                break;
            }
            self.latents(image).await?;
            if run > 0 {
                least = least.min(browser::now() - start);
            }
        }
        Ok(least)
    }

    /// The latents of some pictures.
    ///
    /// # Shapes
    /// [N, 299, 299, 3], scaled to the weights' input range -> [N, 2048].
    ///
    /// # Errors
    /// The device is lost or has no memory left, or f16 has no number as large as some are.
    pub async fn latents(&self, images: &[f32]) -> Result<Vec<f32>, Error> {
        let mut latents = Vec::new();
        for images in images.chunks(PICTURES * INPUT * INPUT * 3) {
            let bytes = images.len() / (INPUT * INPUT * 3) * LATENTS * LATENT_BYTES;
            let result = self.forward(images, &self.results, HEADER_BYTES, bytes);
            latents.extend(Float32Array::new(result.await?.as_ref()).to_vec());
        }
        Ok(latents)
    }

    /// The last block's maps, whose means the latents are.
    ///
    /// # Shapes
    /// [299, 299, 3], scaled to the weights' input range -> [8, 8, 2048].
    ///
    /// # Errors
    /// As [`latents`](Gpu::latents).
    pub async fn maps(&self, image: &[f32]) -> Result<Vec<f32>, Error> {
        let bytes = self.precision.bytes();
        let start = self.program.borrow().output * bytes;
        let result = self.forward(image, &self.maps, start, LAST_MAPS_LEN * bytes);
        let result: &JsValue = &result.await?.into();
        Ok(match self.precision {
            Precision::F32 => Float32Array::new(result).to_vec(),
            Precision::F16 => f16_to_f32(&Uint16Array::new(result).to_vec()),
        })
    }

    /// One submission; then so many bytes of a buffer, from `start`.
    async fn forward(
        &self,
        images: &[f32],
        from: &Buffer,
        start: usize,
        bytes: usize,
    ) -> Result<ArrayBuffer, Error> {
        assert_eq!(self.missing.get(), 0, "all weights are there");
        self.failure.check()?;
        let scopes = ErrorScopes::open(&self.device);
        let started = self.submit(images, from, start, bytes);
        let started = started.map_err(|error| device_error(FAILED, &error));
        // A device that is lost answers none of these before it says that it is.
        let (closed, read) = match started {
            Ok((result, mapped)) => {
                let closed = scopes.close();
                let mapped = wait(Ok(mapped), FAILED).await;
                (closed.await, mapped.map(|_| result))
            }
            Err(error) => (scopes.close().await, Err(error)),
        };
        self.failure.check()?;
        closed?;
        let result = read?;
        let range = result
            .mapped_range()
            .map_err(|error| device_error(FAILED, &error))?;
        if Uint32Array::new(&range).get_index(0) != 0 {
            self.failure.set(TOO_LARGE.into());
        }
        let copy = range.slice(HEADER_BYTES as u32);
        result.destroy_buffer();
        self.failure.check().map(|()| copy)
    }

    /// Submits all the work; returns the buffer that it ends in, and what resolves once that can be read.
    fn submit(
        &self,
        images: &[f32],
        from: &Buffer,
        start: usize,
        bytes: usize,
    ) -> Result<(Buffer, Promise), JsValue> {
        let pictures = images.len() / (INPUT * INPUT * 3);
        let result = buffer(&self.device, HEADER_BYTES + bytes, browser::MAP_READ)?;
        let queue = self.device.queue();
        let program = self.program.borrow();
        self.write(&self.maps, program.input, &pad_channels(images))?;
        queue.write_u32(&self.pictures, 0.0, &[pictures as u32, 0, 0, 0])?;
        let encoder = self.device.create_command_encoder()?;
        let pass = encoder.begin_compute_pass()?;
        for (number, dispatch) in program.dispatches.iter().enumerate() {
            let mut known = self.pipelines.iter();
            let known = known.find(|(kernel, _)| *kernel == dispatch.kernel);
            let (_, pipeline) = known.expect("all kernels were compiled");
            pass.set_pipeline(pipeline)?;
            let offset = JsValue::from((number * LAYER_BYTES) as u32);
            pass.set_bind_group(0, &self.bindings, &list([offset]))?;
            let [x, y, z] = dispatch.workgroups(pictures);
            pass.dispatch_workgroups(x, y, z)?;
        }
        pass.end()?;
        let head = HEADER_BYTES as f64;
        encoder.copy_buffer(&self.results, 0.0, &result, 0.0, head)?;
        encoder.copy_buffer(from, start as f64, &result, head, bytes as f64)?;
        queue.submit(&list([encoder.finish()?]))?;
        let mapped = result.map(browser::READ)?;
        Ok((result, mapped))
    }
}

impl Drop for Gpu {
    /// Gives the card's memory back at once, not when the browser finds the time.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

const REFUSED: &str = "the graphics card refused a kernel";
const FAILED: &str = "the graphics card failed";
const TOO_LARGE: &str = "a number is too large for f16";

fn program(device_class: DeviceClass, precision: Precision) -> Program {
    let (steps, ends) = graph();
    let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
    Program::new(&plan, PICTURES, device_class, number)
}

async fn adapter() -> Result<Adapter, Error> {
    let none = || Error::Device {
        reason: "no graphics card answered".into(),
    };
    let gpu = browser::gpu().ok_or_else(none)?;
    let options = object([("powerPreference", "high-performance".into())]);
    let asked = gpu.request_adapter(&options);
    let adapter = wait(asked, "no graphics card answered").await?;
    match adapter.is_truthy() {
        true => Ok(adapter.unchecked_into()),
        false => Err(none()),
    }
}

/// What lies on a device beside the pipelines.
struct Resources {
    layout: JsValue,
    bindings: JsValue,
    maps: Buffer,
    weights: Buffer,
    layers: Buffer,
    pictures: Buffer,
    results: Buffer,
}

impl Resources {
    fn new(device: &Device, program: &Program) -> Result<Resources, JsValue> {
        let number = program.precision.bytes();
        let out = browser::STORAGE | browser::COPY_SRC;
        let maps = buffer(device, program.arena * number, out)?;
        let weights = buffer(device, program.weights * number, browser::STORAGE)?;
        let layers = program.dispatches.len() * LAYER_BYTES;
        let layers = buffer(device, layers, browser::UNIFORM)?;
        let pictures = buffer(device, 16, browser::UNIFORM)?;
        let results = buffer(device, HEADER_BYTES + program.latents * LATENT_BYTES, out)?;
        // In the order of the bindings in `layer.wgsl`.
        let kinds = [
            ("storage", false),
            ("read-only-storage", false),
            ("uniform", true),
            ("uniform", false),
            ("storage", false),
        ];
        let entries = (0u32..).zip(kinds).map(|(binding, (kind, dynamic))| {
            let buffer = object([("type", kind.into()), ("hasDynamicOffset", dynamic.into())]);
            let entry = object([
                ("binding", binding.into()),
                ("visibility", browser::COMPUTE.into()),
                ("buffer", buffer.into()),
            ]);
            entry.into()
        });
        let descriptor = object([("entries", list(entries).into())]);
        let layout = device.create_bind_group_layout(&descriptor)?;
        let layer = object([
            ("buffer", (*layers).clone()),
            ("size", (LAYER_BYTES as u32).into()),
        ]);
        let whole = |buffer: &Buffer| object([("buffer", JsValue::from(buffer))]);
        let resources = [&maps, &weights].map(whole).into_iter().chain([layer]);
        let resources = resources.chain([&pictures, &results].map(whole));
        let entries = (0u32..).zip(resources).map(|(binding, resource)| {
            object([("binding", binding.into()), ("resource", resource.into())]).into()
        });
        let descriptor = object([
            ("layout", layout.clone()),
            ("entries", list(entries).into()),
        ]);
        let bindings = device.create_bind_group(&descriptor)?;
        let descriptor = object([("bindGroupLayouts", list([layout]).into())]);
        Ok(Resources {
            layout: device.create_pipeline_layout(&descriptor)?,
            bindings,
            maps,
            weights,
            layers,
            pictures,
            results,
        })
    }

    /// Begins to compile a kernel.
    fn compile(
        &self,
        device: &Device,
        program: &Program,
        kernel: Kernel,
    ) -> Result<JsFuture, JsValue> {
        let descriptor = object([("code", program.source(kernel).into())]);
        let module = device.create_shader_module(&descriptor)?;
        let compute = object([("module", module), ("entryPoint", "main".into())]);
        let started = device.create_compute_pipeline(&object([
            ("layout", self.layout.clone()),
            ("compute", compute.into()),
        ]));
        started.map(JsFuture::from)
    }
}

/// A buffer of so many bytes, which can be written to.
fn buffer(device: &Device, bytes: usize, usage: u32) -> Result<Buffer, JsValue> {
    device.create_buffer(&object([
        ("size", (bytes as f64).into()),
        ("usage", (usage | browser::COPY_DST).into()),
    ]))
}

/// ErrorScopes that catch what the device has against the calls between `open` and `close`.
struct ErrorScopes<'a>(&'a Device);

/// Of `GPUErrorFilter`.
const FILTERS: [&str; 3] = ["validation", "out-of-memory", "internal"];

impl ErrorScopes<'_> {
    fn open(device: &Device) -> ErrorScopes<'_> {
        FILTERS
            .iter()
            .for_each(|filter| device.push_error_scope(filter));
        ErrorScopes(device)
    }

    /// Ends them now, and tells later what they caught.
    fn close(self) -> impl Future<Output = Result<(), Error>> + use<> {
        let caught = FILTERS.map(|_| self.0.pop_error_scope());
        async {
            for caught in caught {
                let error = wait(Ok(caught), FAILED).await?;
                if error.is_truthy() {
                    return Err(device_error(FAILED, &error));
                }
            }
            Ok(())
        }
    }
}

/// Why a device cannot be used any longer, once that is so.
#[derive(Clone)]
struct DeviceFailure(Rc<RefCell<Option<String>>>);

impl DeviceFailure {
    /// Listens to a device.
    fn of(device: &Device) -> DeviceFailure {
        let failure = DeviceFailure(Rc::default());
        let (lost, failed) = (failure.clone(), failure.clone());
        let loss = device.lost();
        spawn_local(async move {
            if let Ok(info) = JsFuture::from(loss).await {
                lost.set(reason("the graphics card was lost", &info));
            }
        });
        let listener = Closure::<dyn Fn(JsValue)>::new(move |event: JsValue| {
            failed.set(reason(FAILED, &get(&event, "error")));
        });
        device.set_onuncapturederror(Some(listener.into_js_value().unchecked_ref()));
        failure
    }

    fn set(&self, reason: String) {
        self.0.borrow_mut().get_or_insert(reason);
    }

    fn check(&self) -> Result<(), Error> {
        match self.0.borrow().clone() {
            Some(reason) => Err(Error::Device { reason }),
            None => Ok(()),
        }
    }
}

/// What a promise resolves to.
async fn wait(promise: Result<Promise, JsValue>, what: &str) -> Result<JsValue, Error> {
    let value = match promise {
        Ok(promise) => JsFuture::from(promise).await,
        Err(error) => Err(error),
    };
    value.map_err(|error| device_error(what, &error))
}

fn device_error(what: &str, error: &JsValue) -> Error {
    let reason = reason(what, error);
    Error::Device { reason }
}

fn reason(what: &str, error: &JsValue) -> String {
    match message(error) {
        message if message.is_empty() => what.into(),
        message => format!("{what} ({message})"),
    }
}
