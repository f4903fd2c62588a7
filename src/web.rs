//! The only file that knows wasm-bindgen: it converts and forwards, nothing more. `www/worker.js` is its only caller.

use std::{cell::RefCell, rc::Rc};

use burn::tensor::Device;
use js_sys::{Float32Array, Promise, Reflect, Uint8Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{Clamped, JsCast, prelude::*};
use wasm_bindgen_futures::future_to_promise;

use crate::{
    base::{Base, known_picture},
    error::Error,
    head::Head,
    image::{Pixels, Resized},
    inception::LATENTS,
    latents::Stamp,
    weights::Weights,
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a loaded base says of itself. */
export interface BaseInfo { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string }
/** What a loaded head says of itself; accuracy and interval are 0 to 1, null where nobody measured. */
export interface HeadInfo { name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null }
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

    /// What the net sees, 299x299 RGBA.
    pub fn thumbnail(&self) -> Clamped<Vec<u8>> {
        Clamped(self.resized.rgba())
    }
}

/// A base on a device, and a head once one is loaded.
#[wasm_bindgen]
pub struct Session {
    base: Rc<Base>,
    dtype: &'static str,
    head: RefCell<Option<Head>>,
}

#[wasm_bindgen]
impl Session {
    /// Opens a weights file on `webgpu` or `cpu`, and checks the device against the latents that the file knows.
    #[wasm_bindgen(unchecked_return_type = "Promise<Session>")]
    pub fn open(device: String, weights: Uint8Array) -> Promise {
        future_to_promise(async move {
            let device = match device.as_str() {
                "webgpu" => webgpu().await.map_err(js)?,
                _ => Device::flex(),
            };
            let bytes = weights.to_vec();
            let weights = Weights::open(&bytes).map_err(js)?;
            let base = Rc::new(Base::load(&weights, &device).map_err(js)?);
            let dtype = weights.dtype.name();
            drop(bytes);
            let latents = latents(&base, &[known_picture()]).await.map_err(js)?;
            base.check(&latents).map_err(js)?;
            Ok(Session {
                base,
                dtype,
                head: RefCell::new(None),
            }
            .into())
        })
    }

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
        }
        let info = &self.base.info;
        plain(&BaseInfo {
            name: &info.name,
            source: &info.source,
            licence: &info.licence,
            note: &info.note,
            dtype: self.dtype,
            fingerprint: &self.base.fingerprint,
        })
    }

    /// Takes a head of this base, and says what it is.
    #[wasm_bindgen(js_name = openHead, unchecked_return_type = "HeadInfo")]
    pub fn open_head(&self, bytes: &[u8]) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct HeadInfo<'a> {
            name: &'a str,
            classes: &'a [String],
            pictures: usize,
            accuracy: Option<f64>,
            interval: Option<[f64; 2]>,
            test_pictures: Option<usize>,
        }
        let stamp = Stamp {
            base: self.base.info.name.clone(),
            fingerprint: self.base.fingerprint.clone(),
        };
        let head = Head::read(bytes, &stamp).map_err(js)?;
        let info = plain(&HeadInfo {
            name: &head.name,
            classes: &head.classes,
            pictures: head.pictures,
            accuracy: head.scores.map(|scores| scores.accuracy()),
            interval: head.scores.map(|scores| scores.interval()),
            test_pictures: head.scores.map(|scores| scores.total),
        });
        self.head.replace(Some(head));
        Ok(info)
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
            let latents = latents(&base, &resized).await.map_err(js)?;
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
        let head = self.head.borrow();
        let none = || {
            js(Error::Setting {
                name: "head",
                got: "none".into(),
                want: "a head to be opened first",
            })
        };
        Ok(plain(
            &head.as_ref().ok_or_else(none)?.predict(latents, top),
        ))
    }
}

async fn latents(base: &Base, pictures: &[Resized]) -> Result<Vec<f32>, Error> {
    let failed = |reason: String| Error::Device { reason };
    let data = base
        .latents(pictures)
        .into_data_async()
        .await
        .map_err(|error| failed(format!("{error:?}")))?;
    data.try_to_vec::<f32>()
        .map_err(|error| failed(format!("{error:?}")))
}

#[cfg(feature = "webgpu")]
async fn webgpu() -> Result<Device, Error> {
    let refused = |error| Error::Device {
        reason: format!("WebGPU could not be started ({error})"),
    };
    Device::wgpu_options().init_async().await.map_err(refused)
}

#[cfg(not(feature = "webgpu"))]
async fn webgpu() -> Result<Device, Error> {
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
    let set = |key: &str, text: &str| {
        Reflect::set(value.as_ref(), &key.into(), &text.into()).expect("an Error takes a property");
    };
    set("kind", kind);
    if let Error::Device { reason } = &error {
        set("reason", reason);
    }
    value.unchecked_into()
}
