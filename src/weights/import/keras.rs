//! Imports Keras weights: `.h5` of Keras 2 and keras-applications, `.weights.h5` and `.keras` of Keras 3.
//!
//! Keras numbers layers in the order of their creation (`conv2d`, `conv2d_1`, ...; a second model continues the numbers). This is the order of
//! [`kernels`], with each BatchNorm after its convolution. Kernels are [height, width, in, out]. BatchNorm has epsilon 1e-3 and an optional
//! gamma.
//!
//! # Source
//! [inception_v3.py](https://github.com/keras-team/keras/blob/master/keras/src/applications/inception_v3.py),
//! [saving_lib.py](https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py)

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, Dataset, File as Hdf5, Group};

use crate::{
    error::Error,
    format::zip::{Archive, suspicious_ratio},
    head::Dense,
    image::InputRange,
    net::inception::{AveragePool, FoldedConv, LATENTS, kernels},
    weights::{
        Classifier, Info, Source,
        import::layer::{File, Layer, NOTE, Norm, UNKNOWN_LICENCE, from_hwio},
    },
};

const EPSILON: f64 = 1e-3;
const HINT: &str = "download it again, or save the model again";
const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Name of the weights in a `.keras` archive.
const WEIGHTS_ENTRY: &str = "model.weights.h5";
/// Maximum size of the weights in bytes. A model with its optimiser state is three times as large as the weights (96 MB).
const MAX_BYTES: u64 = 600 << 20;
/// Maximum number of groups and datasets. A model has four groups for each of 313 layers, 378 variables, and those of the optimiser.
const MAX_OBJECTS: usize = 6_000;
/// A chunk may have this many values more than four times its dataset.
const MAX_CHUNK_EXCESS: u64 = 1 << 16;
/// Maximum nesting depth of groups; models can be nested.
const MAX_DEPTH: usize = 12;

/// Returns the HDF5 file, or the zip that contains one.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        file.bytes.starts_with(MAGIC)
            || (Archive::is_zip(file.bytes)
                && Archive::open_unique(file.bytes)
                    .is_ok_and(|archive| archive.names().any(|name| name == WEIGHTS_ENTRY)))
    });
    found.copied()
}

/// Imports the base, and the classifier if the top is a single dense layer.
///
/// # Errors
/// A damaged file, layers that are not those of Inception V3.
pub(super) fn read(file: File, _files: &[File]) -> Result<Source, Error> {
    let invalid = |reason: String| source(file.name, reason);
    let bytes = match file.bytes.starts_with(MAGIC) {
        true => file.bytes.to_vec(),
        false => {
            let archive = Archive::open_unique(file.bytes).map_err(invalid)?;
            archive
                .read(WEIGHTS_ENTRY, MAX_BYTES)
                .map_err(invalid)?
                .into_owned()
        }
    };
    let length = bytes.len() as u64;
    let hdf5 = Hdf5::from_bytes(bytes).map_err(|error| invalid(error.to_string()))?;
    let layers = layers(&hdf5).map_err(invalid)?;
    let (convs, classifier) = assemble(file.name, layers, |path: &String| {
        let dataset = hdf5.dataset(path).map_err(|error| error.to_string());
        let values = dataset.and_then(|dataset| read_values(&dataset, length));
        values.map_err(|reason| invalid(format!("{path}: {reason}")))
    })?;
    Ok(Source {
        info: info(file.name, "Keras"),
        convs,
        classifier,
    })
}

/// Returns the metadata of a Keras model. Its files do not have the input range; `keras.applications` uses -1 to 1.
pub(super) fn info(file: &str, format: &str) -> Info {
    Info {
        name: format!("Inception V3 from {file}"),
        source: format!("{file}, {format}"),
        licence: UNKNOWN_LICENCE.into(),
        note: NOTE.into(),
        range: InputRange::SIGNED,
        average_pool: AveragePool::ExcludePadding,
        self_test_latents: Vec::new(),
    }
}

/// A variable of a layer. Its name is that of Keras (`kernel`, `moving_mean`), or its index within the layer in files of Keras 3.
pub(super) struct Variable<L> {
    pub name: String,
    pub shape: Vec<usize>,
    pub location: L,
}

/// Layers: name and variables.
pub(super) type Layers<L> = Vec<(String, Vec<Variable<L>>)>;

/// Lists all layers with variables.
fn layers(hdf5: &Hdf5) -> Result<Layers<String>, String> {
    let message = |error: hdf5_pure::Error| error.to_string();
    // A saved model has separate groups for weights and optimiser.
    let root = match hdf5.group("model_weights") {
        Ok(group) => ("model_weights".to_string(), group),
        Err(_) => (String::new(), hdf5.root()),
    };
    let mut layers = BTreeMap::new();
    let mut unnamed = false;
    let mut left = vec![(root, 0)];
    let mut objects = 0;
    while let Some(((path, group), depth)) = left.pop() {
        let (groups, datasets) = (group.iter_groups(), group.iter_datasets());
        let (groups, datasets) = (groups.map_err(message)?, datasets.map_err(message)?);
        objects += groups.len() + datasets.len();
        if objects > MAX_OBJECTS || depth > MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} nested groups, or more than {MAX_OBJECTS} groups and datasets"
            ));
        }
        let join = |name: &str| match path.is_empty() {
            true => name.to_string(),
            false => format!("{path}/{name}"),
        };
        for (name, group) in groups {
            if !(path.is_empty() && (name == "optimizer" || name == "optimizer_weights")) {
                left.push(((join(&name), group), depth + 1));
            }
        }
        let mut variables = Vec::new();
        for (name, dataset) in datasets {
            let path = join(&name);
            let shape = dataset.shape();
            let shape = shape.map_err(|error| format!("{path}: {error}"))?;
            let dims = shape.iter().map(|dim| usize::try_from(*dim));
            variables.push(Variable {
                name: name.trim_end_matches(":0").to_string(),
                shape: dims
                    .collect::<Result<_, _>>()
                    .map_err(|_| format!("{path}: too large"))?,
                location: path,
            });
        }
        if variables.is_empty() {
            continue;
        }
        let last_component = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
        let name = match path.strip_suffix("/vars") {
            Some(layer) => layer_name(&group).unwrap_or_else(|| {
                unnamed = true;
                last_component(layer)
            }),
            None => last_component(&path),
        };
        layers.insert(path, (name, variables));
    }
    let mut layers: Layers<String> = layers.into_values().collect();
    if unnamed {
        renumber(&mut layers);
    }
    Ok(layers)
}

/// Reads a dataset. Checks its size against the length of the file first, because the HDF5 library allocates before it reads.
fn read_values(dataset: &Dataset, file_length: u64) -> Result<Vec<f64>, String> {
    let message = |error: hdf5_pure::Error| error.to_string();
    let product = |dims: &[u64]| dims.iter().fold(1, |a: u64, b| a.saturating_mul(*b));
    let shape = dataset.shape().map_err(message)?;
    let (count, size) = (product(&shape), dataset.element_size().map_err(message)?);
    if size > 8 || suspicious_ratio(file_length, count.saturating_mul(8)) {
        return Err(format!("shape {shape:?} with {size} bytes per value"));
    }
    if dataset.is_chunked() {
        let chunk = dataset.chunk_shape().map_err(message)?.unwrap_or_default();
        let stored = dataset.chunks().map_err(message)?;
        let largest = stored.iter().map(|chunk| chunk.storage_size).max();
        let max_values = MAX_CHUNK_EXCESS + 4 * count;
        if chunk.is_empty() || product(&chunk) > max_values || largest > Some(file_length) {
            return Err(format!("shape {shape:?} in chunks of {chunk:?}"));
        }
    }
    let values = dataset.read_f64().map_err(message)?;
    // The library returns no values for float types with an unusual bit layout.
    match values.len() as u64 == count {
        true => Ok(values),
        false => Err(format!("got {} values for shape {shape:?}", values.len())),
    }
}

/// Returns the layer name that newer versions of Keras 3 store as an attribute.
fn layer_name(group: &Group) -> Option<String> {
    match group.attrs().ok()?.remove("name")? {
        AttrValue::String(name) | AttrValue::AsciiString(name) => Some(name),
        AttrValue::StringSized { value, .. } | AttrValue::AsciiStringSized { value, .. } => {
            Some(value)
        }
        _ => None,
    }
}

/// Early versions of Keras 3 number the layers of a class in the order of `model.layers`, which is sorted by distance from the output. This
/// table maps that number to the index in [`kernels`].
#[rustfmt::skip]
const MODEL_ORDER: [usize; 94] = [
    0, 1, 2, 3, 4, 8, 6, 9, 5, 7, 10, 11, 15, 13, 16, 12, 14, 17, 18, 22, 20, 23, 19, 21, 24, 25, 27, 28, 26, 29, 34, 35,
    31, 36, 32, 37, 30, 33, 38, 39, 44, 45, 41, 46, 42, 47, 40, 43, 48, 49, 54, 55, 51, 56, 52, 57, 50, 53, 58, 59, 64, 65, 61, 66,
    62, 67, 60, 63, 68, 69, 72, 73, 70, 74, 71, 75, 80, 77, 81, 78, 79, 82, 83, 76, 84, 89, 86, 90, 87, 88, 91, 92, 85, 93,
];

/// Renumbers the layers of [`MODEL_ORDER`] in the order of their creation.
fn renumber(layers: &mut Layers<String>) {
    for (name, _) in layers {
        for class in ["conv2d", "batch_normalization"] {
            let is_of_class = name == class
                || name
                    .strip_prefix(class)
                    .is_some_and(|rest| rest.starts_with('_'));
            if let (true, Some(index)) = (is_of_class, MODEL_ORDER.get(number(name) as usize)) {
                *name = format!("{class}_{index}");
            }
        }
    }
}

/// Returns the number at the end of a layer name; the first layer of a class has none.
fn number(name: &str) -> u64 {
    let last = name.rsplit('_').next().unwrap_or_default();
    last.parse().unwrap_or(0)
}

/// Sorts, checks and folds layers with Keras names. `read` returns the values at a location.
///
/// # Errors
/// A missing or unexpected layer, a wrong shape, and the errors of `read`.
pub(super) fn assemble<L>(
    file: &str,
    layers: Layers<L>,
    mut read: impl FnMut(&L) -> Result<Vec<f64>, Error>,
) -> Result<(Vec<FoldedConv>, Option<Classifier>), Error> {
    let (mut convs, mut norms, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for (name, variables) in layers {
        let rank = variables.iter().map(|variable| variable.shape.len()).max();
        match (rank, variables.len()) {
            (Some(4), 1) => convs.push((name, variables)),
            (Some(2), 1 | 2) => tops.push((name, variables)),
            (Some(1), 3 | 4) => norms.push((name, variables)),
            _ => {
                return Err(Error::UnexpectedTensor {
                    what: "weights",
                    name,
                });
            }
        }
    }
    let kernels = kernels();
    if (convs.len(), norms.len()) != (kernels.len(), kernels.len()) {
        let reason = format!(
            "got {} convolutions and {} BatchNorms, expected {} of each",
            convs.len(),
            norms.len(),
            kernels.len()
        );
        return Err(source(file, reason));
    }
    convs.sort_by_key(|(name, _)| number(name));
    norms.sort_by_key(|(name, _)| number(name));
    let mut folded = Vec::new();
    for ((_, shape), ((conv, kernel), (norm, variables))) in
        kernels.iter().zip(convs.iter().zip(&norms))
    {
        let [out, inputs, h, w] = *shape;
        let mut checked = |layer: &str, variable: &Variable<L>, want: &[usize]| {
            let name = format!("{layer}/{}", variable.name);
            if variable.shape != want {
                return Err(Error::Shape {
                    what: "weights",
                    name,
                    want: want.into(),
                    got: variable.shape.clone(),
                });
            }
            let values = read(&variable.location)?;
            match values.iter().position(|value| !value.is_finite()) {
                Some(index) => Err(Error::NotFinite {
                    what: "weights",
                    name,
                    index,
                }),
                None => Ok(values),
            }
        };
        let values = checked(conv, &kernel[0], &[h, w, inputs, out])?;
        // Keras 3 names the variables of a layer by their order of creation: "0", "1", ...
        let creation_order: &[&str] = match variables.len() {
            3 => &["beta", "moving_mean", "moving_variance"],
            _ => &["gamma", "beta", "moving_mean", "moving_variance"],
        };
        let mut optional = |name: &str| {
            let index = creation_order.iter().position(|other| *other == name);
            let index = index.map(|index| index.to_string());
            let matches = |variable: &&Variable<L>| {
                variable.name == name || Some(&variable.name) == index.as_ref()
            };
            let found = variables.iter().find(matches);
            found
                .map(|variable| checked(norm, variable, &[out]))
                .transpose()
        };
        let mut required = |name: &str| {
            optional(name)?.ok_or_else(|| Error::MissingTensor {
                what: "weights",
                name: format!("{norm}/{name}"),
            })
        };
        let layer = Layer {
            kernel: from_hwio(&values, *shape),
            bias: None,
            norm: Some(Norm {
                gamma: match variables.len() {
                    3 => None,
                    _ => Some(required("gamma")?),
                },
                beta: required("beta")?,
                mean: required("moving_mean")?,
                variance: required("moving_variance")?,
                epsilon: EPSILON,
            }),
        };
        folded.push(layer.fold(conv)?);
    }
    Ok((folded, classifier(&tops, read)?))
}

/// Returns the classifier if the top is a single dense layer on the latents.
fn classifier<L>(
    tops: &Layers<L>,
    mut read: impl FnMut(&L) -> Result<Vec<f64>, Error>,
) -> Result<Option<Classifier>, Error> {
    let [(_, variables)] = tops.as_slice() else {
        return Ok(None);
    };
    let of_rank = |rank: usize| {
        variables
            .iter()
            .find(|variable| variable.shape.len() == rank)
    };
    let (Some(kernel), bias) = (of_rank(2), of_rank(1)) else {
        return Ok(None);
    };
    let classes = kernel.shape[1];
    if kernel.shape[0] != LATENTS
        || classes == 0
        || bias.is_some_and(|bias| bias.shape != [classes])
    {
        return Ok(None);
    }
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    let layer = Dense {
        kernel: narrow(read(&kernel.location)?),
        bias: match bias {
            Some(bias) => narrow(read(&bias.location)?),
            None => vec![0.0; classes],
        },
    };
    Classifier::new(layer).map(Some)
}

fn source(file: &str, reason: String) -> Error {
    Error::Source {
        file: file.into(),
        reason,
        hint: HINT,
    }
}

#[cfg(test)]
mod tests {
    use hdf5_pure::FileBuilder;

    use super::*;

    #[test]
    fn a_chunk_larger_than_its_file_is_rejected() {
        let mut file = FileBuilder::new();
        let dataset = file.create_dataset("a").with_f32_data(&[1.0; 1000]);
        dataset.with_shape(&[1000]).with_chunks(&[500]);
        let file = Hdf5::from_bytes(file.finish().expect("memory")).expect("a file");
        let dataset = file.dataset("a").expect("a dataset");
        assert_eq!(read_values(&dataset, 10_000), Ok(vec![1.0; 1000]));
        let error = Err("shape [1000] in chunks of [500]".into());
        assert_eq!(read_values(&dataset, 1999), error);
    }
}
