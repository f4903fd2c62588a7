//! Kernel data as f32, or quantised to u8 with a scale and a minimum per channel.

use std::borrow::Cow;

/// The values of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum KernelData {
    /// One f32 per value.
    Floats(Vec<f32>),
    /// One byte per value.
    QuantizedU8(QuantizedU8),
}

impl KernelData {
    /// Returns the values as f32, dequantised if needed.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match self {
            KernelData::Floats(values) => values.into(),
            KernelData::QuantizedU8(quantized) => quantized.values().collect(),
        }
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            KernelData::Floats(values) => values.len(),
            KernelData::QuantizedU8(quantized) => quantized.levels.len(),
        }
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values quantised to 256 levels per index of one axis: value = level x scale + min.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedU8 {
    /// The level of each value.
    pub levels: Vec<u8>,
    /// The step between levels, per index of the axis.
    pub scale: Vec<f32>,
    /// The value of level 0, per index of the axis.
    pub min: Vec<f32>,
    /// Number of consecutive values that share an index.
    pub(crate) inner: usize,
}

impl QuantizedU8 {
    /// Returns the dequantised values.
    pub(crate) fn values(&self) -> impl Iterator<Item = f32> {
        let rows = self.levels.chunks(self.inner);
        let affine = self.scale.iter().zip(&self.min).cycle();
        rows.zip(affine).flat_map(|(row, (scale, min))| {
            row.iter().map(move |level| f32::from(*level) * scale + min)
        })
    }
}
