//! The WebGPU device: runs the dispatches of [`dispatch`](crate::net::gpu::dispatch), one submission per batch.
//!
//! No optional adapter feature is required; f16 needs `shader-f16`. WebGPU errors and device loss are returned as [`Error::Device`]; nothing
//! here panics on them. The results are not validated here: see [`Base::check`](crate::base::Base::check). The bindings to WebGPU are in
//! `browser.rs`.

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
            DeviceClass, HEADER_BYTES, Kernel, LAYER_BYTES, MIN_INVOCATIONS, PICTURES, Precision,
            Program, f16_to_f32, f32_to_f16, pack, pad_channels,
        },
        inception::{AveragePool, FoldedConv, INPUT, LATENTS, graph, kernels},
        plan::Plan,
    },
};

/// Time limit for tuning, in milliseconds.
const TUNING_MS: f64 = 200.0;
/// Bytes per latent: f32 in either precision.
const LATENT_BYTES: usize = 4;
/// Values in the last maps of one picture.
const LAST_MAPS_LEN: usize = 8 * 8 * LATENTS;

/// Inception V3 on a GPU. Weights are uploaded one convolution at a time.
pub struct Gpu {
    program: RefCell<Program>,
    precision: Precision,
    device_class: DeviceClass,
    average_pool: Cell<AveragePool>,
    device: Device,
    pipelines: Vec<(Kernel, JsValue)>,
    resources: Resources,
    failure: DeviceFailure,
    /// Number of convolutions whose weights have not been uploaded.
    missing: Cell<usize>,
}

impl Gpu {
    /// Requests a high-performance adapter and compiles all kernels in parallel. `on_progress` receives the number of compiled kernels and
    /// the total.
    ///
    /// # Errors
    /// No adapter; a rejected device, buffer or kernel; f16 without `shader-f16`.
    pub(crate) async fn new(
        precision: Precision,
        mut on_progress: impl FnMut(usize, usize),
    ) -> Result<Gpu, Error> {
        let adapter = adapter().await?;
        let features = match precision {
            Precision::F32 => list([]),
            Precision::F16 => list(["shader-f16".into()]),
        };
        let descriptor = object([("requiredFeatures", features.into())]);
        let device = wait(adapter.request_device(&descriptor), DEVICE_REJECTED).await?;
        let device: Device = device.unchecked_into();
        let failure = DeviceFailure::listen(&device);

        let flag = |holder: &JsValue| get(holder, "isFallbackAdapter").is_truthy();
        let software = flag(&get(&adapter, "info")) || flag(&adapter);
        let device_class = match software {
            true => DeviceClass::Software,
            false => DeviceClass::Gpu {
                min_invocations: MIN_INVOCATIONS[0],
            },
        };
        let program = program(device_class, precision);

        let scopes = ErrorScopes::open(&device);
        let resources = Resources::new(&device, &program)
            .map_err(|error| device_error(DEVICE_REJECTED, &error));
        let kernels = program.kernels();
        let compiled = resources.and_then(|resources| {
            let pipelines = kernels
                .iter()
                .map(|kernel| resources.compile(&device, &program, *kernel));
            let pipelines: Result<Vec<_>, _> = pipelines.collect();
            Ok((
                resources,
                pipelines.map_err(|error| device_error(KERNEL_REJECTED, &error))?,
            ))
        });
        scopes.close().await?;
        let (resources, pending) = compiled?;
        let total = pending.len();
        let mut pipelines = Vec::new();
        for (kernel, pipeline) in kernels.into_iter().zip(pending) {
            on_progress(pipelines.len(), total);
            let pipeline = pipeline
                .await
                .map_err(|error| device_error(KERNEL_REJECTED, &error))?;
            pipelines.push((kernel, pipeline));
        }
        on_progress(total, total);
        failure.check()?;
        Ok(Gpu {
            program: program.into(),
            precision,
            device_class,
            average_pool: Cell::new(AveragePool::ExcludePadding),
            device,
            pipelines,
            resources,
            failure,
            missing: Cell::new(crate::net::inception::kernels().len()),
        })
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Uploads the weights of one convolution, by its index in [`kernels`]. Call once per convolution.
    ///
    /// # Errors
    /// The device rejects them, or a value overflows f16.
    ///
    /// # Panics
    /// If the lengths differ from [`kernels`]; `weights` validates files.
    pub fn set_conv(&self, conv: usize, folded: &FoldedConv) -> Result<(), Error> {
        let (_, shape) = &kernels()[conv];
        let packed = pack(folded, *shape);
        let start = self.program.borrow().convs[conv];
        let written = self.write(&self.resources.weights, start, &packed);
        written.map_err(|error| device_error(FAILED, &error))?;
        self.missing.set(self.missing.get() - 1);
        Ok(())
    }

    /// Writes values in the device's precision, starting at the value `start`.
    fn write(&self, buffer: &Buffer, start: usize, values: &[f32]) -> Result<(), JsValue> {
        let queue = self.device.queue();
        let offset = (start * self.precision.bytes()) as f64;
        match self.precision {
            Precision::F32 => queue.write_f32(buffer, offset, values),
            Precision::F16 => {
                let values = f32_to_f16(values).ok_or_else(|| JsValue::from(F16_OVERFLOW))?;
                queue.write_f16(buffer, offset, &values)
            }
        }
    }

    /// Prepares for the weights of a new base; the previous weights become invalid.
    ///
    /// # Errors
    /// The device rejects a write.
    pub fn reset(&self, average_pool: AveragePool) -> Result<(), Error> {
        self.missing.set(kernels().len());
        self.average_pool.set(average_pool);
        self.select_tiles(self.device_class)
    }

    /// Switches to the tiles for a device class.
    fn select_tiles(&self, device_class: DeviceClass) -> Result<(), Error> {
        let program = program(device_class, self.precision);
        let words = program.layers(self.average_pool.get());
        self.program.replace(program);
        let written = self
            .device
            .queue()
            .write_u32(&self.resources.layers, 0.0, &words);
        written.map_err(|error| device_error(FAILED, &error))
    }

    /// Measures the tile candidates on a picture and selects the fastest. No run starts after the time limit.
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

    /// Measures a forward pass in milliseconds: the minimum of up to three runs after a warm-up, as far as time permits. Infinite if no run was
    /// measured.
    async fn time(&self, image: &[f32], end: f64) -> Result<f64, Error> {
        let candidate_end = (browser::now() + TUNING_MS / MIN_INVOCATIONS.len() as f64).min(end);
        let mut least = f64::INFINITY;
        for run in 0..4 {
            let start = browser::now();
            let limit = if run > 1 { candidate_end } else { end };
            if start > limit {
                break;
            }
            self.latents(image).await?;
            if run > 0 {
                least = least.min(browser::now() - start);
            }
        }
        Ok(least)
    }

    /// Computes the latents of pictures.
    ///
    /// # Shapes
    /// [N, 299, 299, 3], scaled to the weights' input range -> [N, 2048].
    ///
    /// # Errors
    /// The device is lost or out of memory, or a value overflows f16.
    pub async fn latents(&self, images: &[f32]) -> Result<Vec<f32>, Error> {
        let mut latents = Vec::new();
        for images in images.chunks(PICTURES * INPUT * INPUT * 3) {
            let bytes = images.len() / (INPUT * INPUT * 3) * LATENTS * LATENT_BYTES;
            let result = self.forward(images, &self.resources.results, HEADER_BYTES, bytes);
            latents.extend(Float32Array::new(result.await?.as_ref()).to_vec());
        }
        Ok(latents)
    }

    /// Computes the last feature maps of a picture; the latents are their means.
    ///
    /// # Shapes
    /// [299, 299, 3], scaled to the weights' input range -> [8, 8, 2048].
    ///
    /// # Errors
    /// As [`latents`](Gpu::latents).
    pub async fn maps(&self, image: &[f32]) -> Result<Vec<f32>, Error> {
        let bytes = self.precision.bytes();
        let start = self.program.borrow().output * bytes;
        let result = self.forward(image, &self.resources.maps, start, LAST_MAPS_LEN * bytes);
        let result: &JsValue = &result.await?.into();
        Ok(match self.precision {
            Precision::F32 => Float32Array::new(result).to_vec(),
            Precision::F16 => f16_to_f32(&Uint16Array::new(result).to_vec()),
        })
    }

    /// Runs one submission and reads `bytes` bytes of the buffer `from`, starting at `start`.
    async fn forward(
        &self,
        images: &[f32],
        from: &Buffer,
        start: usize,
        bytes: usize,
    ) -> Result<ArrayBuffer, Error> {
        assert_eq!(self.missing.get(), 0, "all weights are uploaded");
        self.failure.check()?;
        let scopes = ErrorScopes::open(&self.device);
        let started = self.submit(images, from, start, bytes);
        let started = started.map_err(|error| device_error(FAILED, &error));
        // After a device loss these promises settle later than `device.lost`, so `failure` is checked first.
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
            self.failure.set(F16_OVERFLOW.into());
        }
        let copy = range.slice(HEADER_BYTES as u32);
        result.destroy_buffer();
        self.failure.check().map(|()| copy)
    }

    /// Submits a forward pass. Returns the result buffer and the promise of its mapping.
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
        self.write(&self.resources.maps, program.input, &pad_channels(images))?;
        queue.write_u32(&self.resources.pictures, 0.0, &[pictures as u32, 0, 0, 0])?;
        let encoder = self.device.create_command_encoder()?;
        let pass = encoder.begin_compute_pass()?;
        for (index, dispatch) in program.dispatches.iter().enumerate() {
            let mut pipelines = self.pipelines.iter();
            let found = pipelines.find(|(kernel, _)| *kernel == dispatch.kernel);
            let (_, pipeline) = found.expect("all kernels are compiled");
            pass.set_pipeline(pipeline)?;
            let offset = JsValue::from((index * LAYER_BYTES) as u32);
            pass.set_bind_group(0, &self.resources.bindings, &list([offset]))?;
            let [x, y, z] = dispatch.workgroups(pictures);
            pass.dispatch_workgroups(x, y, z)?;
        }
        pass.end()?;
        let head = HEADER_BYTES as f64;
        encoder.copy_buffer(&self.resources.results, 0.0, &result, 0.0, head)?;
        encoder.copy_buffer(from, start as f64, &result, head, bytes as f64)?;
        queue.submit(&list([encoder.finish()?]))?;
        let mapped = result.map(browser::READ)?;
        Ok((result, mapped))
    }
}

impl Drop for Gpu {
    /// Frees GPU memory immediately instead of at garbage collection.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

const NO_ADAPTER: &str = "no GPU was found";
const DEVICE_REJECTED: &str = "the GPU rejected the device request";
const KERNEL_REJECTED: &str = "the GPU rejected a kernel";
const FAILED: &str = "the GPU failed";
const LOST: &str = "the GPU was lost";
const F16_OVERFLOW: &str = "a value is too large for f16";

fn program(device_class: DeviceClass, precision: Precision) -> Program {
    let (steps, ends) = graph();
    let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
    Program::new(&plan, PICTURES, device_class, precision)
}

async fn adapter() -> Result<Adapter, Error> {
    let none = || Error::Device {
        reason: NO_ADAPTER.into(),
    };
    let gpu = browser::gpu().ok_or_else(none)?;
    let options = object([("powerPreference", "high-performance".into())]);
    let request = gpu.request_adapter(&options);
    let adapter = wait(request, NO_ADAPTER).await?;
    match adapter.is_truthy() {
        true => Ok(adapter.unchecked_into()),
        false => Err(none()),
    }
}

/// The buffers and bindings of a device.
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
        let bytes = program.precision.bytes();
        let out = browser::STORAGE | browser::COPY_SRC;
        let maps = buffer(device, program.arena * bytes, out)?;
        let weights = buffer(device, program.weights * bytes, browser::STORAGE)?;
        let layers = program.dispatches.len() * LAYER_BYTES;
        let layers = buffer(device, layers, browser::UNIFORM)?;
        let pictures = buffer(device, 16, browser::UNIFORM)?;
        let results = buffer(device, HEADER_BYTES + program.latents * LATENT_BYTES, out)?;
        // In the order of the bindings in `layer.wgsl`: type, dynamic offset.
        let bindings = [
            ("storage", false),
            ("read-only-storage", false),
            ("uniform", true),
            ("uniform", false),
            ("storage", false),
        ];
        let entries = (0u32..).zip(bindings).map(|(binding, (kind, dynamic))| {
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

    /// Starts to compile a kernel.
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

/// Creates a buffer that can be written to.
fn buffer(device: &Device, bytes: usize, usage: u32) -> Result<Buffer, JsValue> {
    device.create_buffer(&object([
        ("size", (bytes as f64).into()),
        ("usage", (usage | browser::COPY_DST).into()),
    ]))
}

/// Error scopes that catch the errors of the calls between `open` and `close`.
struct ErrorScopes<'a>(&'a Device);

const FILTERS: [&str; 3] = ["validation", "out-of-memory", "internal"];

impl ErrorScopes<'_> {
    fn open(device: &Device) -> ErrorScopes<'_> {
        FILTERS
            .iter()
            .for_each(|filter| device.push_error_scope(filter));
        ErrorScopes(device)
    }

    /// Pops the scopes immediately; the returned future resolves to the first error they caught.
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

/// The reason why a device can no longer be used, if any.
#[derive(Clone)]
struct DeviceFailure(Rc<RefCell<Option<String>>>);

impl DeviceFailure {
    /// Listens for the device's loss and uncaptured errors.
    fn listen(device: &Device) -> DeviceFailure {
        let failure = DeviceFailure(Rc::default());
        let (lost, failed) = (failure.clone(), failure.clone());
        let loss = device.lost();
        spawn_local(async move {
            if let Ok(info) = JsFuture::from(loss).await {
                lost.set(reason(LOST, &info));
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

/// Awaits a promise; `what` is the start of the error message.
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
