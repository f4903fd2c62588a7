//! Inception V3 image classification in a web page. A picture becomes 2048 latents, and a head turns latents into class probabilities.
//!
//! - Prediction: bytes -> [`image`] (decoded, rotated, resized to 299x299) -> [`base`] ([`net`] with [`weights`]) -> latents -> [`head`].
//! - Training: [`head::latents`] (a labelled table) -> [`train`] -> [`head`] -> [`head::evaluate`].
//! - Comparison: [`image::small`] (labelled 32x32 pictures) -> [`compare`], which trains networks on pixels and a head on latents.
//!
//! [`mod@format`] has the file formats. `web` exports the crate to JavaScript, and `src/cli` is the native command line.

#![deny(missing_docs)]

pub mod base;
#[cfg(feature = "train")]
pub mod compare;
pub mod error;
// Parts of the zip reader are only used by the importers.
#[cfg_attr(not(feature = "convert"), allow(dead_code))]
pub mod format;
pub mod head;
pub mod image;
// The GPU backend is for the web. Native builds only estimate its costs.
#[cfg_attr(not(all(feature = "webgpu", target_arch = "wasm32")), allow(dead_code))]
pub mod net;
#[cfg(feature = "train")]
pub mod train;
#[cfg(target_arch = "wasm32")]
mod web;
pub mod weights;
