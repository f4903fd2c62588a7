//! The WebGPU backend: the dispatches of a forward pass, and the device that runs them.

#[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
mod browser;
#[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
mod device;
pub mod dispatch;

#[cfg(all(feature = "webgpu", target_arch = "wasm32"))]
pub use device::Gpu;
