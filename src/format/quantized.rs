//! Many numbers as floats, or in a byte each: the form in which a base's kernels travel from their file to whoever multiplies by them.

use std::borrow::Cow;

/// Values in one of two forms.
#[derive(Debug, Clone, PartialEq)]
pub enum KernelData {
    /// As they are.
    Floats(Vec<f32>),
    /// Each in one byte.
    QuantizedU8(QuantizedU8),
}

impl KernelData {
    /// As they are, whatever the form.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match self {
            KernelData::Floats(values) => values.into(),
            KernelData::QuantizedU8(levels) => levels.values().collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            KernelData::Floats(values) => values.len(),
            KernelData::QuantizedU8(levels) => levels.levels.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Values on 256 levels for each index of one axis: value = level x scale + min.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedU8 {
    /// One for each number.
    pub levels: Vec<u8>,
    /// The step from one level to the next, for each index.
    pub scale: Vec<f32>,
    /// The value of level 0, for each index.
    pub min: Vec<f32>,
    /// Neighbours that share an index.
    pub(crate) inner: usize,
}

impl QuantizedU8 {
    /// What they stand for.
    pub(crate) fn values(&self) -> impl Iterator<Item = f32> {
        let rows = self.levels.chunks(self.inner);
        let affine = self.scale.iter().zip(&self.min).cycle();
        rows.zip(affine).flat_map(|(row, (scale, min))| {
            row.iter().map(move |level| f32::from(*level) * scale + min)
        })
    }
}
