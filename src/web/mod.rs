//! The exports to JavaScript. This folder only converts values and forwards calls; `www/worker/` is its only caller.
//!
//! [`session`] is in every build: it loads a base and classifies pictures. The `tools` build, which the page loads on demand, adds
//! [`training`], [`compare`] and [`convert`].

#[cfg(feature = "train")]
mod compare;
#[cfg(feature = "convert")]
mod convert;
mod js;
mod session;
#[cfg(feature = "train")]
mod training;

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}
