//! Inception V3 in a web page: pictures become 2048 latents, latents become ranked classes, all in the visitor's own browser.
//!
//! The walk, predict: bytes -> [`image`] (decoded, upright, 299x299) -> [`base`] (scaled, [`inception`] on a device) -> 2048 latents ->
//! [`head`] -> ranked classes. The walk, train: [`latents`] (a labelled table) -> [`train`] -> [`head`] -> [`evaluate`]. [`explain`] and [`components`] show
//! what latents know: why an answer was given, and a dataset as a map.
//! The walk, three ways: [`pictures`] -> [`baselines`] on pixels and a head on latents, stacks of layers in [`network`], all trained by
//! [`train`] -> [`compare`]. [`pictures`] are small and labelled, to train on as they are; [`cifar10`] reads those that the field compares itself on.
//! [`weights`] reads and writes the base's file. Data goes forward; nothing comes back to an earlier room. `web` is the door to
//! JavaScript, `src/cli` the native command line: two consumers of the same rooms.

#![deny(missing_docs)]

pub mod base;
#[cfg(feature = "train")]
pub mod compare;
pub mod error;
// Other libraries' weights need more of the zip reader than arrays do.
#[cfg_attr(not(feature = "convert"), allow(dead_code))]
pub mod format;
pub mod head;
pub mod image;
// The GPU backend is for the web; elsewhere only its costs are counted.
#[cfg_attr(not(all(feature = "webgpu", target_arch = "wasm32")), allow(dead_code))]
pub mod net;
#[cfg(feature = "train")]
pub mod train;
#[cfg(target_arch = "wasm32")]
mod web;
pub mod weights;
