//! The only folder that exports to JavaScript: it converts and forwards, nothing more. `www/worker.js` is its only caller.
//!
//! Here is what answers need: pictures, a base on a device, a head. The page downloads that first, and the rest when somebody asks for it:
//! [`training`] trains and evaluates, [`compare`] compares, [`convert`] reads other libraries' weights.

#[cfg(feature = "train")]
mod compare;
#[cfg(feature = "convert")]
mod convert;
#[cfg(feature = "train")]
mod training;

use std::{cell::RefCell, rc::Rc};

use js_sys::{Float32Array, Function, Promise, Reflect};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use sha2::{Digest, Sha256};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::future_to_promise;

use crate::{
    base::{self, Base, BaseLoader, self_test_image},
    error::Error,
    format::hex,
    head::{Head, Prediction, Scores, explain::activation_map, onnx},
    image::{Pixels, Resized},
    net::{gpu::dispatch::Number, inception::LATENTS},
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a loaded base says of itself. */
export interface BaseInfo { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string; deviation: number }
/** What a loaded head says of itself; accuracy and interval are 0 to 1, null where nobody measured. */
export interface HeadInfo { unsureBelow: number; name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null }
/** One class and how sure the head is of it, 0 to 1. */
export interface Prediction { label: string; probability: number }
"#;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// A decoded picture at the size that the net reads.
#[wasm_bindgen]
pub struct Picture {
    resized: Resized,
    width: usize,
    height: usize,
}

impl From<Pixels> for Picture {
    fn from(pixels: Pixels) -> Picture {
        Picture {
            resized: pixels.resize(),
            width: pixels.width(),
            height: pixels.height(),
        }
    }
}

#[wasm_bindgen]
impl Picture {
    /// Decodes a picture file; an `AVIF` error asks the caller to let the browser decode.
    pub fn decode(bytes: &[u8]) -> Result<Picture, JsValue> {
        Ok(Pixels::decode(bytes).map_err(js)?.into())
    }

    /// Takes pixels that the browser decoded: [height, width, 4].
    #[wasm_bindgen(js_name = fromRgba)]
    pub fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Picture, JsValue> {
        Ok(Pixels::from_rgba(width, height, rgba).map_err(js)?.into())
    }

    /// Pixels a row of the upright picture.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the upright picture.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Puts what the net sees into `rgba`: [299, 299, 4].
    pub fn thumbnail(&self, rgba: &mut [u8]) {
        rgba.copy_from_slice(&self.resized.rgba());
    }
}

/// What computes.
#[wasm_bindgen]
pub struct Processor(base::Processor);

#[wasm_bindgen]
impl Processor {
    /// Starts `webgpu`, `webgpu-f16` or `cpu`; `tell(done, total)` hears how many kernels are compiled.
    #[wasm_bindgen(unchecked_return_type = "Promise<Processor>")]
    pub fn start(
        name: String,
        #[wasm_bindgen(unchecked_optional_param_type = "(done: number, total: number) => void")]
        tell: Option<Function>,
    ) -> Promise {
        future_to_promise(async move {
            Ok(Processor(match name.as_str() {
                "webgpu" => webgpu(Number::F32, tell).await.map_err(js)?,
                "webgpu-f16" => webgpu(Number::F16, tell).await.map_err(js)?,
                _ => base::Processor::Cpu,
            })
            .into())
        })
    }
}

/// A base on its way to a processor: weights are put there as the bytes of their file come.
#[wasm_bindgen]
pub struct WeightsStream {
    loading: Result<BaseLoader, Error>,
    layers: usize,
    bytes: usize,
    hash: Sha256,
}

#[wasm_bindgen]
impl WeightsStream {
    /// Nothing of it yet. Of a file that is `known`, whoever takes it compares `sha256` before `finish`; others are held to what they say
    /// of their contents.
    #[wasm_bindgen(constructor)]
    pub fn new(processor: &Processor, known: bool) -> WeightsStream {
        WeightsStream {
            loading: Ok(BaseLoader::new(processor.0.clone(), known)),
            layers: 0,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    /// Takes the next bytes, and says whether they can be right; if not, the first error waits in `finish`, and what still comes is only
    /// counted, for who knows the whole file can say what came instead.
    pub fn take(&mut self, bytes: Vec<u8>) -> bool {
        self.bytes += bytes.len();
        self.hash.update(&bytes);
        match self.loading.as_mut().map(|loading| loading.take(bytes)) {
            Ok(Ok(layers)) => self.layers = layers,
            Ok(Err(error)) => self.loading = Err(error),
            Err(_) => {}
        }
        self.loading.is_ok()
    }

    /// Layers that are on the processor.
    #[wasm_bindgen(getter)]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Bytes so far.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the whole file, once its header is here.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> Option<usize> {
        self.loading.as_ref().ok()?.length()
    }

    /// SHA-256 of all bytes so far, hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// The base, when its file is whole and right, and the processor gives the latents that the file knows; `deviation` is how far
    /// off the same program was on a processor that gives the same each time, if that is known.
    #[wasm_bindgen(unchecked_return_type = "Promise<Session>")]
    pub fn finish(self, deviation: Option<f32>) -> Promise {
        future_to_promise(async move {
            let (base, weights) = self.loading.and_then(BaseLoader::finish).map_err(js)?;
            let own = weights.head().map_err(js)?;
            let deviation = match deviation {
                Some(deviation) => deviation,
                None => {
                    let picture = self_test_image();
                    base.tune(&picture).await.map_err(js)?;
                    let latents = base.latents(&[picture]).await.map_err(js)?;
                    base.check(&latents).map_err(js)?
                }
            };
            Ok(Session {
                base: Rc::new(base),
                dtype: weights.dtype.name(),
                deviation,
                head: Rc::default(),
                own,
            }
            .into())
        })
    }
}

/// A base on a device, and a head once one is loaded.
#[wasm_bindgen]
pub struct Session {
    base: Rc<Base>,
    dtype: &'static str,
    /// Of the device from the file's known latents, relative to the largest of them.
    deviation: f32,
    head: Rc<RefCell<Option<Head>>>,
    /// What the base's own file answers with.
    own: Option<Head>,
}

#[wasm_bindgen]
impl Session {
    /// What the base says of itself.
    #[wasm_bindgen(unchecked_return_type = "BaseInfo")]
    pub fn base(&self) -> JsValue {
        #[derive(Serialize)]
        struct BaseInfo<'a> {
            name: &'a str,
            source: &'a str,
            licence: &'a str,
            note: &'a str,
            dtype: &'a str,
            fingerprint: &'a str,
            deviation: f32,
        }
        let info = &self.base.info;
        plain(&BaseInfo {
            name: &info.name,
            source: &info.source,
            licence: &info.licence,
            note: &info.note,
            dtype: self.dtype,
            fingerprint: &self.base.fingerprint,
            deviation: self.deviation,
        })
    }

    /// Takes a head of this base, and says what it is.
    #[wasm_bindgen(js_name = openHead, unchecked_return_type = "HeadInfo")]
    pub fn open_head(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        let head = Head::read(bytes, &self.base.id()).map_err(js)?;
        let info = head_info(&head);
        self.head.replace(Some(head));
        Ok(info)
    }

    /// Takes the head that the base brings, and says what it is; without one there are no classes to answer with.
    #[wasm_bindgen(js_name = openOwnHead, unchecked_return_type = "HeadInfo")]
    pub fn open_own_head(&self) -> JsValue {
        self.head.replace(self.own.clone());
        match &self.own {
            Some(head) => head_info(head),
            None => no_classes(),
        }
    }

    /// Below this probability answers are called unsure; kept in the head's files.
    #[wasm_bindgen(js_name = setUnsureBelow)]
    pub fn set_unsure_below(&self, share: f32) -> Result<(), JsValue> {
        self.with_head(|head| head.unsure_below = share.clamp(0.0, 1.0))
    }

    /// The head in use as the bytes of a `safetensors`, `onnx` or `npz` file.
    #[wasm_bindgen(js_name = writeHead)]
    pub fn write_head(&self, form: &str) -> Result<Vec<u8>, JsValue> {
        match form {
            "safetensors" => self.with_head(|head| head.write()),
            "onnx" => self.with_head(|head| onnx::write(head)),
            "npz" => self.with_head(|head| head.write_npz()),
            other => Err(unknown_form(other, "safetensors, onnx or npz")),
        }
    }

    /// Where in a picture the evidence for a class lies: [8 x 8], 0 to 1.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn explain(&self, picture: Picture, label: String) -> Promise {
        let (base, head) = (self.base.clone(), self.head.clone());
        future_to_promise(async move {
            let maps = base.maps(&picture.resized).await.map_err(js)?;
            let head = head.borrow();
            let head = head.as_ref().ok_or_else(|| js(no_head()))?;
            let unknown = || {
                js(Error::Setting {
                    name: "class",
                    got: label.clone(),
                    want: "one of the head's classes",
                })
            };
            let class = head
                .classes
                .iter()
                .position(|class| *class == label)
                .ok_or_else(unknown)?;
            Ok(Float32Array::from(activation_map(head, &maps, class).as_slice()).into())
        })
    }

    fn with_head<T>(&self, verb: impl FnOnce(&mut Head) -> T) -> Result<T, JsValue> {
        let mut head = self.head.borrow_mut();
        Ok(verb(head.as_mut().ok_or_else(|| js(no_head()))?))
    }

    /// The latents of a batch, one picture after another: [N x 2048].
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn latents(&self, pictures: Vec<Picture>) -> Promise {
        let base = self.base.clone();
        future_to_promise(async move {
            let resized: Vec<_> = pictures
                .into_iter()
                .map(|picture| picture.resized)
                .collect();
            let latents = base.latents(&resized).await.map_err(js)?;
            Ok(Float32Array::from(latents.as_slice()).into())
        })
    }

    /// The `top` most probable classes for one picture's latents, best first.
    #[wasm_bindgen(unchecked_return_type = "Prediction[]")]
    pub fn predict(&self, latents: &[f32], top: usize) -> Result<JsValue, JsValue> {
        if latents.len() != LATENTS {
            let got = latents.len().to_string();
            return Err(js(Error::Setting {
                name: "latents",
                got,
                want: "2048 numbers",
            }));
        }
        Ok(match &*self.head.borrow() {
            Some(head) => plain(&head.predict(latents, top)),
            None => plain(&Vec::<Prediction>::new()),
        })
    }
}

/// What a head says of itself.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadInfo<'a> {
    name: &'a str,
    classes: &'a [String],
    pictures: usize,
    accuracy: Option<f64>,
    interval: Option<[f64; 2]>,
    test_pictures: Option<usize>,
    unsure_below: f32,
}

/// Where there is no head.
fn no_classes() -> JsValue {
    plain(&HeadInfo::default())
}

fn head_info(head: &Head) -> JsValue {
    let scores = head.scores;
    plain(&HeadInfo {
        name: &head.name,
        classes: &head.classes,
        pictures: head.pictures,
        accuracy: scores.as_ref().map(Scores::accuracy),
        interval: scores.as_ref().map(Scores::interval),
        test_pictures: scores.map(|scores| scores.total),
        unsure_below: head.unsure_below,
    })
}

fn no_head() -> Error {
    Error::Setting {
        name: "head",
        got: "none".into(),
        want: "a head to be opened first",
    }
}

fn unknown_form(got: &str, want: &'static str) -> JsValue {
    js(Error::Setting {
        name: "form",
        got: got.into(),
        want,
    })
}

#[cfg(feature = "webgpu")]
async fn webgpu(number: Number, tell: Option<Function>) -> Result<base::Processor, Error> {
    let gpu = crate::net::gpu::Gpu::new(number, |done, total| {
        // Who only listens cannot stop it.
        let _ = tell
            .as_ref()
            .map(|tell| tell.call2(&JsValue::NULL, &done.into(), &total.into()));
    });
    Ok(base::Processor::Gpu(Rc::new(gpu.await?)))
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu(_: Number, _: Option<Function>) -> Result<base::Processor, Error> {
    Err(Error::Device {
        reason: "this build has no WebGPU, pkg/webgpu has".into(),
    })
}

/// A plain JavaScript object.
fn plain(value: &impl Serialize) -> JsValue {
    value
        .serialize(&Serializer::json_compatible())
        .expect("plain data becomes an object")
}

/// An `Error` with a `kind`, and a device's also with the bare `reason`; AVIF has a kind of its own, for the browser can decode it.
fn js(error: Error) -> JsValue {
    let kind = match &error {
        Error::UnsupportedPicture { format: "AVIF" } => "avif",
        other => other.kind(),
    };
    let value = js_sys::Error::new(&error.to_string());
    set(&value, "kind", &kind.into());
    if let Error::Device { reason } = &error {
        set(&value, "reason", &reason.into());
    }
    value.unchecked_into()
}

fn set(object: &JsValue, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).expect("a plain object takes a property");
}
