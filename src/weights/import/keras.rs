//! Keras' Inception V3: `.h5` of Keras 2 and of keras-applications, `.weights.h5` and `.keras` of Keras 3.
//!
//! Keras numbers layers as they are made (`conv2d`, `conv2d_1`, ...; a later model goes on counting), and makes them in the order of
//! [`kernels`], each BatchNorm after its convolution. Kernels are [height, width, in, out]. BatchNorm's epsilon is 1e-3 and it has no gamma,
//! but one is taken where a file has it. See [Keras' own net](https://github.com/keras-team/keras/blob/master/keras/src/applications/inception_v3.py)
//! and [its files](https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py).

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, Dataset, File as Hdf5, Group};

use crate::{
    error::Error,
    format::zip::{Archive, swells},
    head::Dense,
    image::InputRange,
    net::inception::{AveragePool, FoldedConv, LATENTS, kernels},
    weights::{
        Classifier, Info, Source,
        import::layer::{File, Layer, Norm, from_hwio},
    },
};

const EPSILON: f64 = 1e-3;
const HINT: &str = "download it again, or save the model anew";
const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// What `.keras` calls the weights in it.
const INNER: &str = "model.weights.h5";
/// A whole model with its optimiser's state has three times the weights' 96 MB.
const MOST: u64 = 600 << 20;
/// Groups and variables of a whole model: four groups for each of 313 layers, 378 variables, and an optimiser's. Where one lies in many
/// groups, it counts as often.
const PARTS: usize = 6_000;
/// Values that a chunk may have whatever its variable has.
const ROOM: u64 = 1 << 16;
/// Models lie in models, but not endlessly.
const DEPTH: usize = 12;

/// The HDF5 file, or the zip with one in it.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        file.bytes.starts_with(MAGIC)
            || (Archive::is(file.bytes)
                && Archive::open_unique(file.bytes)
                    .is_ok_and(|archive| archive.names().any(|name| name == INNER)))
    });
    found.copied()
}

/// Reads the base, and the classifier if one dense layer lies on top of it; a deeper top is left out.
///
/// # Errors
/// A damaged file, layers that are not those of Inception V3.
pub(super) fn read(file: File, _files: &[File]) -> Result<Source, Error> {
    let wrong = |reason: String| source(file.name, reason);
    let bytes = match file.bytes.starts_with(MAGIC) {
        true => file.bytes.to_vec(),
        false => {
            let archive = Archive::open_unique(file.bytes).map_err(wrong)?;
            archive.read(INNER, MOST).map_err(wrong)?.into_owned()
        }
    };
    let length = bytes.len() as u64;
    let hdf5 = Hdf5::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
    let layers = layers(&hdf5).map_err(wrong)?;
    let (convs, classifier) = assemble(file.name, layers, |path: &String| {
        let dataset = hdf5.dataset(path).map_err(|error| error.to_string());
        let values = dataset.and_then(|dataset| numbers(&dataset, length));
        values.map_err(|reason| wrong(format!("{path}: {reason}")))
    })?;
    Ok(Source {
        info: info(file.name, "Keras"),
        convs,
        classifier,
    })
}

/// What is known of a base by Keras, which its files do not tell: `keras.applications` takes pictures from -1 to 1.
pub(super) fn info(file: &str, format: &str) -> Info {
    Info {
        name: format!("Inception V3 from {file}"),
        source: format!("{file}, of {format}"),
        licence: "not told by the file".into(),
        note: "A base that you brought; what it is good at depends on what it was trained on."
            .into(),
        range: InputRange::SIGNED,
        average_pool: AveragePool::ExcludePadding,
        self_test_latents: Vec::new(),
    }
}

/// A layer's variable, as Keras calls it (`kernel`, `moving_mean`), or its number among the layer's in Keras 3's files; and where it lies.
pub(super) struct Variable<P> {
    pub name: String,
    pub shape: Vec<usize>,
    pub place: P,
}

/// Layers' names and variables.
pub(super) type Layers<P> = Vec<(String, Vec<Variable<P>>)>;

/// All layers with variables in a file.
fn layers(hdf5: &Hdf5) -> Result<Layers<String>, String> {
    let tell = |error: hdf5_pure::Error| error.to_string();
    // A whole model keeps its weights apart from its optimiser's.
    let root = match hdf5.group("model_weights") {
        Ok(group) => ("model_weights".to_string(), group),
        Err(_) => (String::new(), hdf5.root()),
    };
    let mut layers = BTreeMap::new();
    let mut unnamed = false;
    let mut left = vec![(root, 0)];
    let mut parts = 0;
    while let Some(((path, group), depth)) = left.pop() {
        let (groups, datasets) = (group.iter_groups(), group.iter_datasets());
        let (groups, datasets) = (groups.map_err(tell)?, datasets.map_err(tell)?);
        parts += groups.len() + datasets.len();
        if parts > PARTS || depth > DEPTH {
            return Err(format!(
                "its groups lie more than {DEPTH} deep, or hold more than {PARTS} parts"
            ));
        }
        let inner = |name: &str| match path.is_empty() {
            true => name.to_string(),
            false => format!("{path}/{name}"),
        };
        for (name, group) in groups {
            if !(path.is_empty() && (name == "optimizer" || name == "optimizer_weights")) {
                left.push(((inner(&name), group), depth + 1));
            }
        }
        let mut variables = Vec::new();
        for (name, dataset) in datasets {
            let place = inner(&name);
            let shape = dataset.shape();
            let shape = shape.map_err(|error| format!("{place}: {error}"))?;
            let sides = shape.iter().map(|side| usize::try_from(*side));
            variables.push(Variable {
                name: name.trim_end_matches(":0").to_string(),
                shape: sides
                    .collect::<Result<_, _>>()
                    .map_err(|_| format!("{place} is too large"))?,
                place,
            });
        }
        if variables.is_empty() {
            continue;
        }
        let folder = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
        let name = match path.strip_suffix("/vars") {
            Some(layer) => own_name(&group).unwrap_or_else(|| {
                unnamed = true;
                folder(layer)
            }),
            None => folder(&path),
        };
        layers.insert(path, (name, variables));
    }
    let mut layers: Layers<String> = layers.into_values().collect();
    if unnamed {
        rename(&mut layers);
    }
    Ok(layers)
}

/// The numbers of a variable in a file of so many bytes. Its reader makes room for what a file claims before it looks whether that is there.
fn numbers(dataset: &Dataset, length: u64) -> Result<Vec<f64>, String> {
    let tell = |error: hdf5_pure::Error| error.to_string();
    let product = |sides: &[u64]| sides.iter().fold(1, |a: u64, b| a.saturating_mul(*b));
    let sides = dataset.shape().map_err(tell)?;
    let (count, size) = (product(&sides), dataset.element_size().map_err(tell)?);
    if size > 8 || swells(length, count.saturating_mul(8)) {
        return Err(format!("{sides:?} of {size} bytes each"));
    }
    if dataset.is_chunked() {
        let chunk = dataset.chunk_shape().map_err(tell)?.unwrap_or_default();
        let stored = dataset.chunks().map_err(tell)?;
        let most = stored.iter().map(|chunk| chunk.storage_size).max();
        if chunk.is_empty() || product(&chunk) > ROOM + 4 * count || most > Some(length) {
            return Err(format!("{sides:?} in chunks of {chunk:?}"));
        }
    }
    let values = dataset.read_f64().map_err(tell)?;
    // Of floats whose bits lie as nobody's do, the reader gives none.
    match values.len() as u64 == count {
        true => Ok(values),
        false => Err(format!("{} numbers for {sides:?}", values.len())),
    }
}

/// The layer's name as Keras 3 notes it beside its variables.
fn own_name(group: &Group) -> Option<String> {
    match group.attrs().ok()?.remove("name")? {
        AttrValue::String(name) | AttrValue::AsciiString(name) => Some(name),
        AttrValue::StringSized { value, .. } | AttrValue::AsciiStringSized { value, .. } => {
            Some(value)
        }
        _ => None,
    }
}

/// Early files of Keras 3 count layers of one class as the model lists them, which is by their distance from the output: this tells which
/// convolution, in the order of [`kernels`], is the first, the second, ... of that list.
#[rustfmt::skip]
const LISTED: [usize; 94] = [
    0, 1, 2, 3, 4, 8, 6, 9, 5, 7, 10, 11, 15, 13, 16, 12, 14, 17, 18, 22, 20, 23, 19, 21, 24, 25, 27, 28, 26, 29, 34, 35,
    31, 36, 32, 37, 30, 33, 38, 39, 44, 45, 41, 46, 42, 47, 40, 43, 48, 49, 54, 55, 51, 56, 52, 57, 50, 53, 58, 59, 64, 65, 61, 66,
    62, 67, 60, 63, 68, 69, 72, 73, 70, 74, 71, 75, 80, 77, 81, 78, 79, 82, 83, 76, 84, 89, 86, 90, 87, 88, 91, 92, 85, 93,
];

/// Turns places in the model's list into the numbers that Keras made the layers by.
fn rename(layers: &mut Layers<String>) {
    for (name, _) in layers {
        for class in ["conv2d", "batch_normalization"] {
            let own = name == class
                || name
                    .strip_prefix(class)
                    .is_some_and(|rest| rest.starts_with('_'));
            if let (true, Some(made)) = (own, LISTED.get(number(name) as usize)) {
                *name = format!("{class}_{made}");
            }
        }
    }
}

/// What a layer's name ends with; the first of a class has no number.
fn number(name: &str) -> u64 {
    let last = name.rsplit('_').next().unwrap_or_default();
    last.parse().unwrap_or(0)
}

/// Puts layers that are named as Keras does in their order, checks and folds them.
///
/// # Errors
/// Another count, order or shape of layers, one that has no place, and what `read` says.
pub(super) fn assemble<P>(
    file: &str,
    layers: Layers<P>,
    mut read: impl FnMut(&P) -> Result<Vec<f64>, Error>,
) -> Result<(Vec<FoldedConv>, Option<Classifier>), Error> {
    let (mut convs, mut norms, mut tops) = (Vec::new(), Vec::new(), Vec::new());
    for (name, variables) in layers {
        let rank = variables.iter().map(|variable| variable.shape.len()).max();
        match (rank, variables.len()) {
            (Some(4), 1) => convs.push((name, variables)),
            (Some(2), 1 | 2) => tops.push((name, variables)),
            (Some(1), 3 | 4) => norms.push((name, variables)),
            _ => {
                return Err(Error::ForeignTensor {
                    what: "weights",
                    name,
                });
            }
        }
    }
    let kernels = kernels();
    if (convs.len(), norms.len()) != (kernels.len(), kernels.len()) {
        let reason = format!(
            "it has {} convolutions and {} BatchNorms, Inception V3 has {} of each",
            convs.len(),
            norms.len(),
            kernels.len()
        );
        return Err(source(file, reason));
    }
    convs.sort_by_key(|(name, _)| number(name));
    norms.sort_by_key(|(name, _)| number(name));
    let mut folded = Vec::new();
    for ((_, shape), ((conv, kernel), (norm, parts))) in
        kernels.iter().zip(convs.iter().zip(&norms))
    {
        let [out, inputs, h, w] = *shape;
        let mut take = |layer: &str, variable: &Variable<P>, want: &[usize]| {
            let name = format!("{layer}/{}", variable.name);
            if variable.shape != want {
                return Err(Error::Shape {
                    what: "weights",
                    name,
                    want: want.into(),
                    got: variable.shape.clone(),
                });
            }
            let values = read(&variable.place)?;
            match values.iter().position(|value| !value.is_finite()) {
                Some(index) => Err(Error::NotFinite {
                    what: "weights",
                    name,
                    index,
                }),
                None => Ok(values),
            }
        };
        let values = take(conv, &kernel[0], &[h, w, inputs, out])?;
        // Keras 3 numbers a layer's variables as they were made.
        let made = match parts.len() {
            3 => ["", "beta", "moving_mean", "moving_variance"],
            _ => ["gamma", "beta", "moving_mean", "moving_variance"],
        };
        let mut part = |name: &str| {
            let place = made
                .iter()
                .filter(|name| !name.is_empty())
                .position(|made| *made == name);
            let place = place.map(|place| place.to_string());
            let named =
                |part: &&Variable<P>| part.name == name || Some(&part.name) == place.as_ref();
            let found = parts.iter().find(named);
            found
                .map(|variable| take(norm, variable, &[out]))
                .transpose()
        };
        let missing = |part: &str| Error::MissingTensor {
            what: "weights",
            name: format!("{norm}/{part}"),
        };
        let layer = Layer {
            kernel: from_hwio(&values, *shape),
            bias: None,
            norm: Some(Norm {
                gamma: match parts.len() {
                    3 => None,
                    _ => Some(part("gamma")?.ok_or_else(|| missing("gamma"))?),
                },
                beta: part("beta")?.ok_or_else(|| missing("beta"))?,
                mean: part("moving_mean")?.ok_or_else(|| missing("moving_mean"))?,
                variance: part("moving_variance")?.ok_or_else(|| missing("moving_variance"))?,
                epsilon: EPSILON,
            }),
        };
        folded.push(layer.fold(conv)?);
    }
    Ok((folded, classifier(&tops, read)?))
}

/// The one dense layer on the latents, if that is all of the top.
fn classifier<P>(
    tops: &Layers<P>,
    mut read: impl FnMut(&P) -> Result<Vec<f64>, Error>,
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
        kernel: narrow(read(&kernel.place)?),
        bias: match bias {
            Some(bias) => narrow(read(&bias.place)?),
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
    fn a_chunk_larger_than_its_file_is_refused() {
        let mut file = FileBuilder::new();
        let dataset = file.create_dataset("a").with_f32_data(&[1.0; 1000]);
        dataset.with_shape(&[1000]).with_chunks(&[500]);
        let file = Hdf5::from_bytes(file.finish().expect("memory")).expect("a file");
        let dataset = file.dataset("a").expect("a dataset");
        assert_eq!(numbers(&dataset, 10_000), Ok(vec![1.0; 1000]));
        let refused = Err("[1000] in chunks of [500]".into());
        assert_eq!(numbers(&dataset, 1999), refused);
    }
}
