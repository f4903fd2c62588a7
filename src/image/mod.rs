//! Pictures: decoding, the input of the network, and sets of 32x32 pictures such as CIFAR-10.

#[cfg(feature = "train")]
pub mod cifar10;
mod input;
mod pixels;
#[cfg(feature = "train")]
pub mod small;

pub use input::{InputRange, Resized};
pub use pixels::Pixels;
