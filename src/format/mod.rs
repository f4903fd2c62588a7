//! Readers and writers of general file formats. Input is untrusted: every reader checks sizes first, and none runs code from a file.

pub(crate) mod npz;
pub(crate) mod onnx;
#[cfg(any(feature = "convert", feature = "train"))]
pub(crate) mod pickle;
pub(crate) mod quantized;
pub(crate) mod safetensors;
pub mod zip;

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
