//! Shared by all importers: input files, folding of BatchNorm, default metadata.

use crate::{error::Error, format::quantized::KernelData, net::inception::FoldedConv};

/// An input file. Some models have several, such as `model.json` and its shards.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// File name without folders.
    pub name: &'a str,
    /// Contents.
    pub bytes: &'a [u8],
}

/// Metadata of files that do not specify a licence.
pub(super) const UNKNOWN_LICENCE: &str = "not specified in the file";
/// Note of every imported base.
pub(super) const NOTE: &str =
    "An imported base. Its quality depends on the data it was trained on.";

/// A convolution and its BatchNorm.
pub(super) struct Layer {
    /// [out, in, height, width], row-major.
    pub kernel: Vec<f64>,
    /// Bias of the convolution, `[out]`.
    pub bias: Option<Vec<f64>>,
    /// `None` if it is already folded.
    pub norm: Option<Norm>,
}

/// Parameters of a BatchNorm, `[out]` each.
pub(super) struct Norm {
    /// `None` means 1.
    pub gamma: Option<Vec<f64>>,
    pub beta: Vec<f64>,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    pub epsilon: f64,
}

impl Layer {
    /// Folds BatchNorm into kernel and bias. `name` is used in error messages.
    ///
    /// # Errors
    /// A value that is not finite, before or after folding.
    ///
    /// # Panics
    /// If there is neither BatchNorm nor bias.
    pub fn fold(self, name: &str) -> Result<FoldedConv, Error> {
        let outs = match (&self.norm, &self.bias) {
            (Some(norm), _) => norm.beta.len(),
            (None, Some(bias)) => bias.len(),
            (None, None) => panic!("{name} has neither BatchNorm nor bias"),
        };
        let mut bias = self.bias.unwrap_or_else(|| vec![0.0; outs]);
        let mut gain = vec![1.0; outs];
        if let Some(norm) = self.norm {
            for o in 0..outs {
                let gamma = norm.gamma.as_ref().map_or(1.0, |gamma| gamma[o]);
                gain[o] = gamma * (norm.variance[o] + norm.epsilon).sqrt().recip();
                bias[o] = norm.beta[o] + (bias[o] - norm.mean[o]) * gain[o];
            }
        }
        let inner = self.kernel.len() / outs;
        let scaled = self.kernel.iter().enumerate();
        let kernel: Vec<_> = scaled.map(|(i, k)| (k * gain[i / inner]) as f32).collect();
        let bias: Vec<_> = bias.into_iter().map(|b| b as f32).collect();
        for (part, values) in [("kernel", &kernel), ("bias", &bias)] {
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite {
                    what: "weights",
                    name: format!("{name}.{part}"),
                    index,
                });
            }
        }
        Ok(FoldedConv {
            kernel: KernelData::Floats(kernel),
            bias,
        })
    }
}

/// Transposes a TensorFlow kernel.
///
/// # Shapes
/// [height, width, in, out] -> [out, in, height, width]
pub(super) fn from_hwio(values: &[f64], [out, inputs, h, w]: [usize; 4]) -> Vec<f64> {
    let mut kernel = Vec::with_capacity(values.len());
    for o in 0..out {
        for i in 0..inputs {
            kernel.extend((0..h * w).map(|p| values[(p * inputs + i) * out + o]));
        }
    }
    kernel
}
