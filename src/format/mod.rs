//! File formats that several modules share, read with limits and checks, and without running anything in them.

pub(crate) mod npz;
pub(crate) mod onnx;
#[cfg(any(feature = "convert", feature = "train"))]
pub(crate) mod pickle;
pub(crate) mod quantized;
pub(crate) mod safetensors;
pub mod zip;

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
