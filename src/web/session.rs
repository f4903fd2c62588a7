//! Loads a base and a head, and classifies pictures.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Float32Array, Function, Promise};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::js::{invalid, to_js_error, to_object};
use crate::{
    base::{self, Base, BaseLoader, self_test_image},
    error::Error,
    format::hex,
    head::{Head, Prediction, Scores, explain::activation_map, onnx},
    image::{Pixels, Resized},
    net::{gpu::dispatch::Precision, inception::LATENTS},
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The metadata of a base; `deviation` is the result of its self-test. */
export interface BaseInfo { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string; deviation: number }
/** The metadata of a head. `accuracy` and `interval` are 0 to 1, null if not measured. */
export interface HeadInfo { unsureBelow: number; name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null }
/** A class and its probability, 0 to 1. */
export interface Prediction { label: string; probability: number }
"#;

/// A decoded picture, resized to the input of the network.
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
    /// Decodes a picture file. Fails with kind `avif` if the caller has to decode it with the browser.
    pub fn decode(bytes: &[u8]) -> Result<Picture, JsValue> {
        Ok(Pixels::decode(bytes).map_err(to_js_error)?.into())
    }

    /// Takes decoded pixels: [height, width, 4].
    #[wasm_bindgen(js_name = fromRgba)]
    pub fn from_rgba(width: u32, height: u32, rgba: &[u8]) -> Result<Picture, JsValue> {
        let pixels = Pixels::from_rgba(width, height, rgba).map_err(to_js_error)?;
        Ok(pixels.into())
    }

    /// Width of the original in pixels, after EXIF rotation.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the original in pixels, after EXIF rotation.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Writes the network's input to `rgba`: [299, 299, 4].
    pub fn thumbnail(&self, rgba: &mut [u8]) {
        rgba.copy_from_slice(&self.resized.rgba());
    }
}

/// A device that runs the network.
#[wasm_bindgen]
pub struct Processor(base::Processor);

#[wasm_bindgen]
impl Processor {
    /// Starts the device `webgpu`, `webgpu-f16` or `cpu`. `onProgress(done, total)` counts compiled kernels.
    #[wasm_bindgen(unchecked_return_type = "Promise<Processor>")]
    pub fn start(
        name: String,
        #[wasm_bindgen(
            js_name = onProgress,
            unchecked_optional_param_type = "(done: number, total: number) => void"
        )]
        on_progress: Option<Function>,
    ) -> Promise {
        future_to_promise(async move {
            let processor = match name.as_str() {
                "webgpu" => webgpu(Precision::F32, on_progress).await,
                "webgpu-f16" => webgpu(Precision::F16, on_progress).await,
                _ => Ok(base::Processor::Cpu),
            };
            Ok(Processor(processor.map_err(to_js_error)?).into())
        })
    }
}

#[cfg(feature = "webgpu")]
async fn webgpu(
    precision: Precision,
    on_progress: Option<Function>,
) -> Result<base::Processor, Error> {
    let gpu = crate::net::gpu::Gpu::new(precision, |done, total| {
        // An exception in the callback does not stop the compilation.
        let _ = on_progress
            .as_ref()
            .map(|callback| callback.call2(&JsValue::NULL, &done.into(), &total.into()));
    });
    Ok(base::Processor::Gpu(Rc::new(gpu.await?)))
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu(_: Precision, _: Option<Function>) -> Result<base::Processor, Error> {
    Err(Error::Device {
        reason: "this build does not support WebGPU, pkg/webgpu does".into(),
    })
}

/// Loads a weights file as its bytes arrive. Each layer is placed on the processor when it is complete.
#[wasm_bindgen]
pub struct WeightsStream {
    loader: Result<BaseLoader, Error>,
    layers: usize,
    bytes: usize,
    hash: Sha256,
}

#[wasm_bindgen]
impl WeightsStream {
    /// Starts loading. If the file is `trusted`, its fingerprint is not verified: the caller must compare `sha256` before `finish`.
    #[wasm_bindgen(constructor)]
    pub fn new(processor: &Processor, trusted: bool) -> WeightsStream {
        WeightsStream {
            loader: Ok(BaseLoader::new(processor.0.clone(), trusted)),
            layers: 0,
            bytes: 0,
            hash: Sha256::new(),
        }
    }

    /// Appends bytes. Returns false if the file is invalid; `finish` then fails with the first error.
    ///
    /// Bytes after an error still count for `bytes` and `sha256`, so that the caller can compare the whole file with the expected one.
    pub fn push(&mut self, bytes: Vec<u8>) -> bool {
        self.bytes += bytes.len();
        self.hash.update(&bytes);
        match self.loader.as_mut().map(|loader| loader.push(bytes)) {
            Ok(Ok(layers)) => self.layers = layers,
            Ok(Err(error)) => self.loader = Err(error),
            Err(_) => {}
        }
        self.loader.is_ok()
    }

    /// Number of layers on the processor.
    #[wasm_bindgen(getter)]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of bytes so far.
    #[wasm_bindgen(getter)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Size of the file in bytes, once its header has been read.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> Option<usize> {
        self.loader.as_ref().ok()?.length()
    }

    /// SHA-256 of all bytes so far, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// Returns the base if the file is complete and valid and the self-test passes.
    ///
    /// Skips the self-test if `deviation`, its result, is given. This is for devices on which the result never changes.
    #[wasm_bindgen(unchecked_return_type = "Promise<Session>")]
    pub fn finish(self, deviation: Option<f32>) -> Promise {
        future_to_promise(async move {
            let (base, weights) = self
                .loader
                .and_then(BaseLoader::finish)
                .map_err(to_js_error)?;
            let included_head = weights.head().map_err(to_js_error)?;
            let deviation = match deviation {
                Some(deviation) => deviation,
                None => self_test(&base).await.map_err(to_js_error)?,
            };
            Ok(Session {
                base: Rc::new(base),
                dtype: weights.dtype.name(),
                deviation,
                head: Rc::default(),
                included_head,
            }
            .into())
        })
    }
}

async fn self_test(base: &Base) -> Result<f32, Error> {
    let image = self_test_image();
    base.tune(&image).await?;
    let latents = base.latents(&[image]).await?;
    base.check(&latents)
}

/// A base on a device, and the current head.
#[wasm_bindgen]
pub struct Session {
    base: Rc<Base>,
    dtype: &'static str,
    /// Result of the self-test.
    deviation: f32,
    head: Rc<RefCell<Option<Head>>>,
    /// The classifier in the weights file.
    included_head: Option<Head>,
}

#[wasm_bindgen]
impl Session {
    /// Returns the metadata of the base.
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
        to_object(&BaseInfo {
            name: &info.name,
            source: &info.source,
            licence: &info.licence,
            note: &info.note,
            dtype: self.dtype,
            fingerprint: &self.base.fingerprint,
            deviation: self.deviation,
        })
    }

    /// Opens a head file for this base and makes it the current head.
    #[wasm_bindgen(js_name = openHead, unchecked_return_type = "HeadInfo")]
    pub fn open_head(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        let head = Head::read(bytes, &self.base.id()).map_err(to_js_error)?;
        let info = head_info(&head);
        self.head.replace(Some(head));
        Ok(info)
    }

    /// Makes the classifier of the weights file the current head. Without one there is no current head, and the result has no classes.
    #[wasm_bindgen(js_name = openIncludedHead, unchecked_return_type = "HeadInfo")]
    pub fn open_included_head(&self) -> JsValue {
        self.head.replace(self.included_head.clone());
        match &self.included_head {
            Some(head) => head_info(head),
            None => to_object(&HeadInfo::default()),
        }
    }

    /// Sets the probability below which predictions are reported as unsure. It is stored in the head file.
    #[wasm_bindgen(js_name = setUnsureBelow)]
    pub fn set_unsure_below(&self, share: f32) -> Result<(), JsValue> {
        self.with_head(|head| head.unsure_below = share.clamp(0.0, 1.0))
    }

    /// Writes the current head as a `safetensors`, `onnx` or `npz` file.
    #[wasm_bindgen(js_name = writeHead)]
    pub fn write_head(&self, format: &str) -> Result<Vec<u8>, JsValue> {
        match format {
            "safetensors" => self.with_head(|head| head.write()),
            "onnx" => self.with_head(|head| onnx::write(head)),
            "npz" => self.with_head(|head| head.write_npz()),
            other => Err(invalid("format", other, "safetensors, onnx or npz")),
        }
    }

    /// Computes the class activation map of a picture: [8 x 8], 0 to 1.
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn explain(&self, picture: Picture, label: String) -> Promise {
        let (base, head) = (self.base.clone(), self.head.clone());
        future_to_promise(async move {
            let maps = base.maps(&picture.resized).await.map_err(to_js_error)?;
            let head = head.borrow();
            let head = head.as_ref().ok_or_else(no_head)?;
            let class = head
                .classes
                .iter()
                .position(|class| *class == label)
                .ok_or_else(|| invalid("class", &label, "a class of the head"))?;
            Ok(Float32Array::from(activation_map(head, &maps, class).as_slice()).into())
        })
    }

    fn with_head<T>(&self, action: impl FnOnce(&mut Head) -> T) -> Result<T, JsValue> {
        let mut head = self.head.borrow_mut();
        Ok(action(head.as_mut().ok_or_else(no_head)?))
    }

    /// Computes the latents of a batch: [N x 2048].
    #[wasm_bindgen(unchecked_return_type = "Promise<Float32Array>")]
    pub fn latents(&self, pictures: Vec<Picture>) -> Promise {
        let base = self.base.clone();
        future_to_promise(async move {
            let resized: Vec<_> = pictures
                .into_iter()
                .map(|picture| picture.resized)
                .collect();
            let latents = base.latents(&resized).await.map_err(to_js_error)?;
            Ok(Float32Array::from(latents.as_slice()).into())
        })
    }

    /// Returns the `top` most probable classes for the latents of one picture, most probable first.
    #[wasm_bindgen(unchecked_return_type = "Prediction[]")]
    pub fn predict(&self, latents: &[f32], top: usize) -> Result<JsValue, JsValue> {
        if latents.len() != LATENTS {
            return Err(invalid("latents", latents.len(), "2048 numbers"));
        }
        Ok(match &*self.head.borrow() {
            Some(head) => to_object(&head.predict(latents, top)),
            None => to_object(&Vec::<Prediction>::new()),
        })
    }
}

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

fn head_info(head: &Head) -> JsValue {
    let scores = head.scores;
    to_object(&HeadInfo {
        name: &head.name,
        classes: &head.classes,
        pictures: head.pictures,
        accuracy: scores.as_ref().map(Scores::accuracy),
        interval: scores.as_ref().map(Scores::interval),
        test_pictures: scores.map(|scores| scores.total),
        unsure_below: head.unsure_below,
    })
}

fn no_head() -> JsValue {
    invalid("head", "none", "an open head")
}
