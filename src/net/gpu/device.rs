//! The net on the browser's GPU: pictures -> latents by the dispatches of [`dispatch`](crate::net::gpu::dispatch), one submission a batch.
//!
//! No optional feature of an adapter is needed; `shader-f16` is asked for by who wants numbers of half the bytes. Whatever a device refuses,
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
            HEAD_BYTES, Kernel, LANES, LAYER_BYTES, Machine, Number, PICTURES, Program, exact,
            narrow, pack, widen,
        },
        inception::{AveragePool, Folded, INPUT, LATENTS, graph, kernels},
        plan::Plan,
    },
};

/// Milliseconds in which tiles are tried.
const TRYING: f64 = 200.0;
/// Bytes of a latent, whatever the maps are.
const LATENT: usize = 4;
/// Values in one picture's last maps.
const MAPS: usize = 8 * 8 * LATENTS;

/// The net on a GPU; its weights come one convolution after another.
pub struct Gpu {
    program: RefCell<Program>,
    number: Number,
    machine: Machine,
    average_pool: Cell<AveragePool>,
    device: Device,
    pipelines: Vec<(Kernel, JsValue)>,
    bindings: JsValue,
    maps: Buffer,
    weights: Buffer,
    layers: Buffer,
    pictures: Buffer,
    results: Buffer,
    trouble: Trouble,
    /// Convolutions whose weights are not there yet.
    missing: Cell<usize>,
}

impl Gpu {
    /// Takes the fastest adapter there is, and compiles the kernels, all at once; `tell` hears how many of how many are done.
    ///
    /// # Errors
    /// There is no adapter, or it refuses something; f16, where it has no `shader-f16`.
    pub(crate) async fn new(
        number: Number,
        mut tell: impl FnMut(usize, usize),
    ) -> Result<Gpu, Error> {
        let refused = "the graphics card refused to be used";
        let adapter = adapter().await?;
        let features = match number {
            Number::F32 => list([]),
            Number::F16 => list(["shader-f16".into()]),
        };
        let asked = object([("requiredFeatures", features.into())]);
        let device = wait(adapter.request_device(&asked), refused).await?;
        let device: Device = device.unchecked_into();
        let trouble = Trouble::of(&device);

        let flag = |holder: &JsValue| get(holder, "isFallbackAdapter").is_truthy();
        let software = flag(&get(&adapter, "info")) || flag(&adapter);
        let machine = match software {
            true => Machine::Software,
            false => Machine::Gpu { lanes: LANES[0] },
        };
        let program = program(machine, number);

        let scopes = Scopes::open(&device);
        let made = Made::new(&device, &program).map_err(|error| said(refused, &error));
        let kernels = program.kernels();
        let begun = made.and_then(|made| {
            let begun = kernels
                .iter()
                .map(|kernel| made.compile(&device, &program, *kernel));
            let begun: Result<Vec<_>, _> = begun.collect();
            Ok((made, begun.map_err(|error| said(REFUSED, &error))?))
        });
        scopes.close().await?;
        let (made, begun) = begun?;
        let total = begun.len();
        let mut pipelines = Vec::new();
        for (kernel, pipeline) in kernels.into_iter().zip(begun) {
            tell(pipelines.len(), total);
            let pipeline = pipeline.await.map_err(|error| said(REFUSED, &error))?;
            pipelines.push((kernel, pipeline));
        }
        tell(total, total);
        trouble.check()?;
        let Made {
            bindings,
            maps,
            weights,
            layers,
            pictures,
            results,
            ..
        } = made;
        Ok(Gpu {
            program: program.into(),
            number,
            machine,
            average_pool: Cell::new(AveragePool::ExcludePadding),
            device,
            pipelines,
            bindings,
            maps,
            weights,
            layers,
            pictures,
            results,
            trouble,
            missing: Cell::new(crate::net::inception::kernels().len()),
        })
    }

    /// What it computes with.
    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// Uploads a convolution's weights, each once, by its number in the order of [`kernels`].
    ///
    /// # Errors
    /// The device refuses them, or f16 has no number as large.
    ///
    /// # Panics
    /// If they have other lengths than [`kernels`]: checking files is the work of `weights`.
    pub fn put(&self, conv: usize, folded: &Folded) -> Result<(), Error> {
        let (_, shape) = &kernels()[conv];
        let packed = pack(folded, *shape);
        let start = self.program.borrow().convs[conv];
        let written = self.write(&self.weights, start, &packed);
        written.map_err(|error| said(FAILED, &error))?;
        self.missing.set(self.missing.get() - 1);
        Ok(())
    }

    /// Writes numbers as the kernels read them, from the number `start` on.
    fn write(&self, buffer: &Buffer, start: usize, numbers: &[f32]) -> Result<(), JsValue> {
        let queue = self.device.queue();
        let offset = (start * self.number.bytes()) as f64;
        match self.number {
            Number::F32 => queue.write_numbers(buffer, offset, numbers),
            Number::F16 => {
                let numbers = narrow(numbers).ok_or_else(|| JsValue::from(TOO_LARGE))?;
                queue.write_halves(buffer, offset, &numbers)
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
        self.arrange(self.machine)
    }

    /// From now on computes with the tiles for such a machine.
    fn arrange(&self, machine: Machine) -> Result<(), Error> {
        let program = program(machine, self.number);
        let words = program.layers(self.average_pool.get());
        self.program.replace(program);
        let written = self.device.queue().write_words(&self.layers, 0.0, &words);
        written.map_err(|error| said(FAILED, &error))
    }

    /// Tries which tiles compute this picture's latents quickest, and keeps them; nothing is begun once the time for that is over.
    ///
    /// # Shapes
    /// [299, 299, 3], scaled to the weights' input range.
    ///
    /// # Errors
    /// As [`latents`](Gpu::latents).
    pub async fn tune(&self, image: &[f32]) -> Result<(), Error> {
        if self.machine == Machine::Software {
            return Ok(());
        }
        let end = browser::now() + TRYING;
        let mut best = (f64::INFINITY, self.machine);
        for lanes in LANES {
            let machine = Machine::Gpu { lanes };
            self.arrange(machine)?;
            let time = self.time(image, end).await?;
            if time < best.0 {
                best = (time, machine);
            }
        }
        self.arrange(best.1)
    }

    /// Milliseconds of a forward: the least of three, or of as many as there is time for, after one that warms up; infinite without any.
    async fn time(&self, image: &[f32], end: f64) -> Result<f64, Error> {
        let share = (browser::now() + TRYING / LANES.len() as f64).min(end);
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
            let bytes = images.len() / (INPUT * INPUT * 3) * LATENTS * LATENT;
            let result = self.forward(images, &self.results, HEAD_BYTES, bytes);
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
        let bytes = self.number.bytes();
        let start = self.program.borrow().output * bytes;
        let result = self.forward(image, &self.maps, start, MAPS * bytes);
        let result: &JsValue = &result.await?.into();
        Ok(match self.number {
            Number::F32 => Float32Array::new(result).to_vec(),
            Number::F16 => exact(&Uint16Array::new(result).to_vec()),
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
        self.trouble.check()?;
        let scopes = Scopes::open(&self.device);
        let begun = self.submit(images, from, start, bytes);
        let begun = begun.map_err(|error| said(FAILED, &error));
        // A device that is lost answers none of these before it says that it is.
        let (closed, read) = match begun {
            Ok((result, mapped)) => {
                let closed = scopes.close();
                let mapped = wait(Ok(mapped), FAILED).await;
                (closed.await, mapped.map(|_| result))
            }
            Err(error) => (scopes.close().await, Err(error)),
        };
        self.trouble.check()?;
        closed?;
        let result = read?;
        let range = result
            .mapped_range()
            .map_err(|error| said(FAILED, &error))?;
        if Uint32Array::new(&range).get_index(0) != 0 {
            self.trouble.tell(TOO_LARGE.into());
        }
        let copy = range.slice(HEAD_BYTES as u32);
        result.destroy_buffer();
        self.trouble.check().map(|()| copy)
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
        let result = buffer(&self.device, HEAD_BYTES + bytes, browser::MAP_READ)?;
        let queue = self.device.queue();
        let program = self.program.borrow();
        self.write(&self.maps, program.input, &widen(images))?;
        queue.write_words(&self.pictures, 0.0, &[pictures as u32, 0, 0, 0])?;
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
        let head = HEAD_BYTES as f64;
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

fn program(machine: Machine, number: Number) -> Program {
    let (steps, ends) = graph();
    let plan = Plan::new(&steps, &ends, [INPUT, INPUT, 3]);
    Program::new(&plan, PICTURES, machine, number)
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
struct Made {
    layout: JsValue,
    bindings: JsValue,
    maps: Buffer,
    weights: Buffer,
    layers: Buffer,
    pictures: Buffer,
    results: Buffer,
}

impl Made {
    fn new(device: &Device, program: &Program) -> Result<Made, JsValue> {
        let number = program.number.bytes();
        let out = browser::STORAGE | browser::COPY_SRC;
        let maps = buffer(device, program.arena * number, out)?;
        let weights = buffer(device, program.weights * number, browser::STORAGE)?;
        let layers = program.dispatches.len() * LAYER_BYTES;
        let layers = buffer(device, layers, browser::UNIFORM)?;
        let pictures = buffer(device, 16, browser::UNIFORM)?;
        let results = buffer(device, HEAD_BYTES + program.latents * LATENT, out)?;
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
        Ok(Made {
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
        let begun = device.create_compute_pipeline(&object([
            ("layout", self.layout.clone()),
            ("compute", compute.into()),
        ]));
        begun.map(JsFuture::from)
    }
}

/// A buffer of so many bytes, which can be written to.
fn buffer(device: &Device, bytes: usize, usage: u32) -> Result<Buffer, JsValue> {
    device.create_buffer(&object([
        ("size", (bytes as f64).into()),
        ("usage", (usage | browser::COPY_DST).into()),
    ]))
}

/// Scopes that catch what the device has against the calls between `open` and `close`.
struct Scopes<'a>(&'a Device);

/// Of `GPUErrorFilter`.
const FILTERS: [&str; 3] = ["validation", "out-of-memory", "internal"];

impl Scopes<'_> {
    fn open(device: &Device) -> Scopes<'_> {
        FILTERS
            .iter()
            .for_each(|filter| device.push_error_scope(filter));
        Scopes(device)
    }

    /// Ends them now, and tells later what they caught.
    fn close(self) -> impl Future<Output = Result<(), Error>> + use<> {
        let caught = FILTERS.map(|_| self.0.pop_error_scope());
        async {
            for caught in caught {
                let error = wait(Ok(caught), FAILED).await?;
                if error.is_truthy() {
                    return Err(said(FAILED, &error));
                }
            }
            Ok(())
        }
    }
}

/// Why a device cannot be used any longer, once that is so.
#[derive(Clone)]
struct Trouble(Rc<RefCell<Option<String>>>);

impl Trouble {
    /// Listens to a device.
    fn of(device: &Device) -> Trouble {
        let trouble = Trouble(Rc::default());
        let (lost, failed) = (trouble.clone(), trouble.clone());
        let loss = device.lost();
        spawn_local(async move {
            if let Ok(info) = JsFuture::from(loss).await {
                lost.tell(reason("the graphics card was lost", &info));
            }
        });
        let listener = Closure::<dyn Fn(JsValue)>::new(move |event: JsValue| {
            failed.tell(reason(FAILED, &get(&event, "error")));
        });
        device.set_onuncapturederror(Some(listener.into_js_value().unchecked_ref()));
        trouble
    }

    fn tell(&self, reason: String) {
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
    value.map_err(|error| said(what, &error))
}

fn said(what: &str, error: &JsValue) -> Error {
    let reason = reason(what, error);
    Error::Device { reason }
}

fn reason(what: &str, error: &JsValue) -> String {
    match message(error) {
        message if message.is_empty() => what.into(),
        message => format!("{what} ({message})"),
    }
}
