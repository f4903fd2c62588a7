//! Imports PyTorch weights: `model.safetensors` of timm, and a torchvision `state_dict` from `torch.save` (zip or legacy format).
//!
//! Both libraries use the layer names of torchvision and count the padding in average pooling. BatchNorm has a gamma and epsilon 1e-3. Pickles
//! are parsed without running code.
//!
//! # Source
//! [inception.py](https://github.com/pytorch/vision/blob/main/torchvision/models/inception.py),
//! [torch.save](https://docs.pytorch.org/docs/stable/notes/serialization.html)

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use half::{bf16, f16};
use safetensors::{SafeTensorError, SafeTensors};
use serde_json::Value as Json;

use crate::{
    error::Error,
    format::{
        pickle::{Index, Pickle, Value},
        safetensors::{MAX_HEADER, TOO_MANY_TENSORS, lists_too_many_tensors, numbers},
        zip::Archive,
    },
    head::Dense,
    image::InputRange,
    net::inception::{AveragePool, LATENTS, kernels},
    weights::{
        Classifier, Info, Source,
        import::layer::{File, Layer, NOTE, Norm, UNKNOWN_LICENCE},
    },
};

const EPSILON: f64 = 1e-3;
const HINT: &str = "download it again, or save the model's state_dict() again";
/// A tensor that identifies a state_dict of Inception V3.
const FIRST: &str = "Conv2d_1a_3x3.conv.weight";
/// Start of a file in the legacy format of `torch.save`: a pickle of a magic number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// Maximum size of all storages in bytes. A checkpoint with optimiser state is three times as large as the weights (109 MB).
const MAX_BYTES: u64 = 600 << 20;
/// Maximum size of the pickle in bytes; that of a state_dict has about 100 kB.
const MAX_PICKLE: u64 = 16 << 20;
/// Maximum number of dimensions; a kernel has four.
const MAX_RANK: usize = 8;
/// Maximum number of values of a tensor with overlapping strides, such as one value that is shared by all channels.
const MAX_SHARED: usize = 2048;

/// Returns the safetensors file, or the file of `torch.save`.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        let bytes = file.bytes;
        bytes.starts_with(LEGACY_MAGIC)
            || is_safetensors(bytes)
            || (Archive::is_zip(bytes)
                && Archive::open_unique(bytes).is_ok_and(|archive| pickle_name(&archive).is_some()))
    });
    found.copied()
}

/// Returns whether the bytes start with a header length below 4 GB and JSON.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.len() > 8 && bytes[8] == b'{' && bytes[4..8] == [0; 4]
}

fn pickle_name(archive: &Archive) -> Option<String> {
    let mut names = archive.names();
    names
        .find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .map(String::from)
}

/// Imports the base, and the classifier if there is one. The input range is read from `config.json` of the Hugging Face hub, if it is among
/// `files`.
///
/// # Errors
/// A damaged file, tensors that are not those of Inception V3, a pickle with anything but tensors.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let storage;
    let mut tensors = if is_safetensors(file.bytes) {
        safetensors(&file)?
    } else {
        storage = TorchFile::open(&file)?;
        storage.tensors(&file)?
    };
    let mut read = |name: String, want: &[usize]| {
        let tensor = tensors.remove(&name).ok_or_else(|| Error::MissingTensor {
            what: "weights",
            name: name.clone(),
        })?;
        tensor.values(&name, want)
    };
    let mut convs = Vec::new();
    for ((conv, shape), name) in kernels().into_iter().zip(names()) {
        let out = &shape[..1];
        let kernel = read(format!("{name}.conv.weight"), &shape)?;
        let mut norm = |part: &str| read(format!("{name}.bn.{part}"), out);
        let norm = Norm {
            gamma: Some(norm("weight")?),
            beta: norm("bias")?,
            mean: norm("running_mean")?,
            variance: norm("running_var")?,
            epsilon: EPSILON,
        };
        let layer = Layer {
            kernel,
            bias: None,
            norm: Some(norm),
        };
        convs.push(layer.fold(&format!("{conv} ({name})"))?);
    }
    let classifier = match tensors.get("fc.bias").map(|bias| bias.shape.clone()) {
        Some(shape) if shape.len() == 1 && shape[0] > 0 => {
            let classes = shape[0];
            let mut read = |name: &str, want: &[usize]| {
                let missing = || Error::MissingTensor {
                    what: "weights",
                    name: name.into(),
                };
                let tensor = tensors.remove(name).ok_or_else(missing)?;
                tensor.values(name, want)
            };
            let weight = read("fc.weight", &[classes, LATENTS])?;
            let bias = read("fc.bias", &[classes])?;
            let kernel =
                (0..LATENTS * classes).map(|i| weight[i % classes * LATENTS + i / classes]);
            Some(Classifier::new(Dense {
                kernel: kernel.map(|value| value as f32).collect(),
                bias: bias.iter().map(|value| *value as f32).collect(),
            })?)
        }
        _ => None,
    };
    let unexpected =
        |name: &&String| !name.starts_with("AuxLogits.") && !name.ends_with("num_batches_tracked");
    if let Some(name) = tensors.keys().find(unexpected) {
        return Err(Error::UnexpectedTensor {
            what: "weights",
            name: name.clone(),
        });
    }
    Ok(Source {
        info: info(&file, files)?,
        convs,
        classifier,
    })
}

/// Returns the torchvision names of the 94 convolutions, in the order of [`kernels`].
fn names() -> Vec<String> {
    let stem =
        ["1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"].map(|name| format!("Conv2d_{name}"));
    let mixed_35 = "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool";
    let reduce_35 = "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3";
    let mixed_17 = "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool";
    let reduce_17 = "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4";
    let mixed_8 = "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool";
    let blocks = [
        ("5b", mixed_35),
        ("5c", mixed_35),
        ("5d", mixed_35),
        ("6a", reduce_35),
        ("6b", mixed_17),
        ("6c", mixed_17),
        ("6d", mixed_17),
        ("6e", mixed_17),
        ("7a", reduce_17),
        ("7b", mixed_8),
        ("7c", mixed_8),
    ];
    let branches = blocks.iter().flat_map(|(block, branches)| {
        let branches = branches.split(' ');
        branches.map(move |branch| format!("Mixed_{block}.branch{branch}"))
    });
    stem.into_iter().chain(branches).collect()
}

/// Returns the metadata from `config.json` and the file name.
fn info(file: &File, files: &[File]) -> Result<Info, Error> {
    let config = files.iter().find(|file| file.name == "config.json");
    let config: Option<Json> = config.and_then(|file| serde_json::from_slice(file.bytes).ok());
    let pretrained = config.as_ref().map(|config| &config["pretrained_cfg"]);
    let three = |key: &str| -> Option<[f64; 3]> {
        let values = pretrained?[key].as_array()?.iter().map(Json::as_f64);
        <[f64; 3]>::try_from(values.collect::<Option<Vec<_>>>()?).ok()
    };
    let range = match (three("mean"), three("std")) {
        (Some(mean), Some(deviation)) if deviation.iter().all(|d| *d > 0.0) => {
            InputRange::normalised(mean, deviation)
        }
        _ if file.name.contains("gluon") => InputRange::IMAGENET,
        _ => InputRange::SIGNED,
    };
    let text = |key: &str| config.as_ref()?[key].as_str().map(String::from);
    let tag = pretrained.and_then(|pretrained| pretrained["tag"].as_str());
    let name = match (text("architecture"), tag) {
        (Some(architecture), Some(tag)) => format!("timm {architecture}.{tag}"),
        (Some(architecture), None) => format!("timm {architecture}"),
        _ => format!("Inception V3 from {}", file.name),
    };
    let licence = pretrained.and_then(|pretrained| pretrained["license"].as_str());
    Ok(Info {
        name,
        source: match is_safetensors(file.bytes) {
            true => format!("{}, safetensors with PyTorch names", file.name),
            false => format!("{}, PyTorch state_dict", file.name),
        },
        licence: licence.unwrap_or(UNKNOWN_LICENCE).into(),
        note: NOTE.into(),
        range,
        average_pool: AveragePool::IncludePadding,
        self_test_latents: Vec::new(),
    })
}

/// A tensor as stored in the file.
struct Tensor<'a> {
    dtype: &'static str,
    shape: Vec<usize>,
    /// In values; `None` means row-major.
    strides: Option<Vec<usize>>,
    bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Returns the values of a tensor of exactly this shape, row-major.
    fn values(&self, name: &str, want: &[usize]) -> Result<Vec<f64>, Error> {
        if self.shape != want {
            return Err(Error::Shape {
                what: "weights",
                name: name.into(),
                want: want.into(),
                got: self.shape.clone(),
            });
        }
        let bytes = self.bytes;
        let values: Vec<f64> = match self.dtype {
            "f16" => numbers(bytes, |b| f16::from_le_bytes(b).to_f64()).collect(),
            "bf16" => numbers(bytes, |b| bf16::from_le_bytes(b).to_f64()).collect(),
            "f32" => numbers(bytes, |b| f64::from(f32::from_le_bytes(b))).collect(),
            "f64" => numbers(bytes, f64::from_le_bytes).collect(),
            other => {
                return Err(Error::Dtype {
                    what: "weights",
                    name: name.into(),
                    want: "f32, f16, bf16 or f64",
                    got: other.into(),
                });
            }
        };
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                what: "weights",
                name: name.into(),
                index,
            });
        }
        let Some(strides) = &self.strides else {
            return Ok(values);
        };
        let offsets = (0..want.iter().product()).map(|i: usize| {
            let dims = self.shape.iter().zip(strides).rev();
            let step = |(index, offset): (usize, usize), (dim, stride): (&usize, &usize)| {
                (index / dim, offset + index % dim * stride)
            };
            dims.fold((i, 0), step).1
        });
        Ok(offsets.map(|offset| values[offset]).collect())
    }
}

type Tensors<'a> = BTreeMap<String, Tensor<'a>>;

fn safetensors<'a>(file: &File<'a>) -> Result<Tensors<'a>, Error> {
    let invalid = |reason: String| Error::Container {
        what: "weights",
        reason,
        bytes: file.bytes.len(),
    };
    let (length, header) = file.bytes.split_at(8);
    let length = u64::from_le_bytes(*length.first_chunk().expect("8 bytes"));
    if length > MAX_HEADER {
        return Err(invalid(SafeTensorError::HeaderTooLarge.to_string()));
    }
    if lists_too_many_tensors(&header[..header.len().min(length as usize)]) {
        return Err(invalid(TOO_MANY_TENSORS.into()));
    }
    let opened = SafeTensors::deserialize(file.bytes);
    let opened = opened.map_err(|error| invalid(error.to_string()))?;
    let tensors = opened.iter().map(|(name, view)| {
        let dtype = match view.dtype() {
            safetensors::Dtype::F16 => "f16",
            safetensors::Dtype::BF16 => "bf16",
            safetensors::Dtype::F32 => "f32",
            safetensors::Dtype::F64 => "f64",
            safetensors::Dtype::I64 => "i64",
            _ => "another type",
        };
        let tensor = Tensor {
            dtype,
            shape: view.shape().into(),
            strides: None,
            bytes: view.data(),
        };
        (name.strip_prefix("module.").unwrap_or(name).into(), tensor)
    });
    check_network(file, tensors.collect())
}

/// Rejects tensors of another network.
fn check_network<'a>(file: &File, tensors: Tensors<'a>) -> Result<Tensors<'a>, Error> {
    if tensors.contains_key(FIRST) {
        return Ok(tensors);
    }
    let names: Vec<_> = tensors.keys().take(3).map(String::as_str).collect();
    let got = match names.as_slice() {
        [] => "no tensors".into(),
        names => format!("{} tensors such as {}", tensors.len(), names.join(", ")),
    };
    Err(source(
        file,
        format!("got {got}, expected those of Inception V3 with PyTorch names"),
    ))
}

/// A file of `torch.save`: a pickle and its storages.
struct TorchFile<'a> {
    pickle: Cow<'a, [u8]>,
    /// By key; tensors can share a storage.
    storages: HashMap<String, Cow<'a, [u8]>>,
}

impl<'a> TorchFile<'a> {
    fn open(file: &File<'a>) -> Result<TorchFile<'a>, Error> {
        let invalid = |reason: String| source(file, reason);
        let Some(rest) = file.bytes.strip_prefix(LEGACY_MAGIC) else {
            let archive = Archive::open_unique(file.bytes).map_err(invalid)?;
            let name = pickle_name(&archive).ok_or_else(|| invalid("missing data.pkl".into()))?;
            let folder = name
                .strip_suffix("data.pkl")
                .unwrap_or_default()
                .to_string();
            if archive
                .names()
                .any(|entry| entry == format!("{folder}byteorder"))
            {
                let order = archive
                    .read(&format!("{folder}byteorder"), 16)
                    .map_err(invalid)?;
                if order.as_ref() != b"little" {
                    return Err(invalid("big-endian data are not supported".into()));
                }
            }
            let pickle = archive.read(&name, MAX_PICKLE).map_err(invalid)?;
            let sizes = storage_sizes(&Pickle::read(&pickle).map_err(invalid)?);
            let (mut storages, mut left) = (HashMap::new(), MAX_BYTES);
            for key in sizes.into_keys() {
                let data = archive.read(&format!("{folder}data/{key}"), left);
                let data = data.map_err(invalid)?;
                left -= data.len() as u64;
                storages.insert(key, data);
            }
            return Ok(TorchFile { pickle, storages });
        };
        // Pickles of the protocol, system information, the state_dict and the storage keys; then the length and the data of each storage.
        let (_, rest) = Pickle::read_first(rest).map_err(invalid)?;
        let (_, pickle) = Pickle::read_first(rest).map_err(invalid)?;
        let (state, rest) = Pickle::read_first(pickle).map_err(invalid)?;
        let sizes = storage_sizes(&state);
        let (names, mut rest) = Pickle::read_first(rest).map_err(invalid)?;
        let names = names.strings(names.root());
        let names = names.ok_or_else(|| invalid("missing list of storage keys".into()))?;
        let mut storages = HashMap::new();
        for name in names {
            let truncated = || invalid(format!("truncated before storage {name:?}"));
            let (count, after) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
            let size = sizes.get(&name).copied().unwrap_or(1);
            let length = usize::try_from(u64::from_le_bytes(*count)).ok();
            let length = length
                .and_then(|count| count.checked_mul(size))
                .ok_or_else(truncated)?;
            let (data, after) = after.split_at_checked(length).ok_or_else(truncated)?;
            storages.insert(name, Cow::Borrowed(data));
            rest = after;
        }
        Ok(TorchFile {
            pickle: Cow::Borrowed(pickle),
            storages,
        })
    }

    fn tensors(&self, file: &File) -> Result<Tensors<'_>, Error> {
        let pickle = Pickle::read(&self.pickle).map_err(|reason| source(file, reason))?;
        let mut state = pickle.root();
        for wrapper in ["state_dict", "model_state_dict", "model"] {
            if let Some(inner @ Value::Dict(_)) = pickle.field_of(state, wrapper) {
                state = inner;
            }
        }
        let Value::Dict(pairs) = state else {
            return Err(source(file, describe_unexpected(state)));
        };
        let mut tensors = Tensors::new();
        for (key, value) in pairs {
            let Some(name) = pickle.string(*key) else {
                return Err(source(file, "a tensor name is not a string".into()));
            };
            let name = name.strip_prefix("module.").unwrap_or(&name).to_string();
            let tensor = self.tensor(&pickle, pickle.get(*value));
            let tensor = tensor.map_err(|reason| source(file, format!("{name}: {reason}")))?;
            tensors.insert(name, tensor);
        }
        check_network(file, tensors)
    }

    fn tensor(&self, pickle: &Pickle, value: &Value) -> Result<Tensor<'_>, String> {
        let parameter = arguments(pickle, value, "_rebuild_parameter");
        let inner = parameter.and_then(|arguments| arguments.first().copied());
        let value = inner.map_or(value, |index| pickle.get(index));
        let Some(arguments) = arguments(pickle, value, "_rebuild_tensor_v2") else {
            return Err(describe_unexpected(value));
        };
        let [storage, offset, shape, strides, ..] = arguments else {
            return Err("a tensor with missing arguments".into());
        };
        let integers = |index: Index| -> Result<Vec<usize>, String> {
            let invalid = "shape and strides must be lists of at most 8 non-negative integers";
            let items = pickle.items(index).filter(|items| items.len() <= MAX_RANK);
            let dims = items
                .ok_or(invalid)?
                .iter()
                .map(|item| match pickle.get(*item) {
                    Value::Integer(dim) => usize::try_from(*dim).map_err(|_| invalid.to_string()),
                    _ => Err(invalid.into()),
                });
            dims.collect()
        };
        let (shape, strides) = (integers(*shape)?, integers(*strides)?);
        let Value::Integer(offset) = pickle.get(*offset) else {
            return Err("the offset is not an integer".into());
        };
        let (kind, key) =
            storage_key(pickle, pickle.get(*storage)).ok_or("a tensor without a storage")?;
        let (dtype, size) = storage_type(kind);
        let (Ok(offset), true) = (usize::try_from(*offset), shape.len() == strides.len()) else {
            return Err("invalid offset or strides".into());
        };
        // Distance from the first to the last value in the storage.
        let reach = shape
            .iter()
            .zip(&strides)
            .try_fold(0usize, |reach, (dim, stride)| {
                reach.checked_add(dim.checked_sub(1)?.checked_mul(*stride)?)
            });
        let count = shape
            .iter()
            .try_fold(1usize, |count, dim| count.checked_mul(*dim));
        let (start, length) = match (reach, count) {
            (Some(reach), Some(count)) if count <= reach.saturating_add(1).max(MAX_SHARED) => {
                let start = offset.checked_mul(size).ok_or("the offset overflows")?;
                let length = reach
                    .checked_add(1)
                    .and_then(|values| values.checked_mul(size));
                (start, length.ok_or("the shape overflows")?)
            }
            (None, Some(0)) => (0, 0),
            _ => return Err(format!("invalid shape {shape:?} with strides {strides:?}")),
        };
        let storage = self.storages.get(&key);
        let storage = storage.ok_or_else(|| format!("missing storage {key:?}"))?;
        let bytes = start
            .checked_add(length)
            .and_then(|end| storage.get(start..end));
        let bytes = bytes.ok_or_else(|| {
            let got = storage.len();
            format!("shape {shape:?} of {dtype} exceeds its storage of {got} bytes")
        })?;
        let mut row_major = Vec::new();
        let mut stride = 1usize;
        for dim in shape.iter().rev() {
            row_major.insert(0, stride);
            stride = stride.saturating_mul(*dim);
        }
        let is_row_major = shape
            .iter()
            .zip(strides.iter().zip(&row_major))
            .all(|(dim, (a, b))| *dim == 1 || a == b);
        Ok(Tensor {
            dtype,
            shape,
            strides: (!is_row_major).then_some(strides),
            bytes,
        })
    }
}

/// Returns the arguments if the value is a call of this function of `torch._utils`.
fn arguments<'a>(pickle: &'a Pickle, value: &Value, name: &str) -> Option<&'a [Index]> {
    match value {
        Value::Call {
            callee, arguments, ..
        } if *callee == ("torch._utils", name) => pickle.items(*arguments),
        _ => None,
    }
}

/// Returns the type and the key of `("storage", torch.FloatStorage, key, ...)`.
fn storage_key<'a>(pickle: &Pickle<'a>, value: &Value<'a>) -> Option<(&'a str, String)> {
    let Value::Persistent(id) = value else {
        return None;
    };
    match pickle.items(*id)? {
        [tag, kind, key, ..] if pickle.string(*tag)? == "storage" => match pickle.get(*kind) {
            Value::Global("torch", kind) => Some((kind, pickle.string(*key)?)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the dtype of a storage and its size in bytes per value.
fn storage_type(kind: &str) -> (&'static str, usize) {
    match kind {
        "FloatStorage" => ("f32", 4),
        "HalfStorage" => ("f16", 2),
        "BFloat16Storage" => ("bf16", 2),
        "DoubleStorage" => ("f64", 8),
        "LongStorage" => ("i64", 8),
        "IntStorage" => ("i32", 4),
        "ShortStorage" => ("i16", 2),
        _ => ("another type", 1),
    }
}

/// Returns the bytes per value of every storage in a pickle, by key.
fn storage_sizes(pickle: &Pickle) -> BTreeMap<String, usize> {
    let storages = pickle
        .values()
        .filter_map(|value| storage_key(pickle, value));
    storages
        .map(|(kind, key)| (key, storage_type(kind).1))
        .collect()
}

/// Describes a value that is not a tensor, for an error message.
fn describe_unexpected(value: &Value) -> String {
    match value {
        Value::Call {
            callee: (module, name),
            ..
        }
        | Value::Global(module, name) => {
            let short = |text: &str| text.chars().take(40).collect::<String>();
            format!(
                "the pickle calls {}.{}, expected only tensors; no code was run",
                short(module),
                short(name)
            )
        }
        Value::Dict(pairs) => format!(
            "got a dictionary of {} items, expected a tensor",
            pairs.len()
        ),
        _ => "got plain data, expected a tensor".into(),
    }
}

fn source(file: &File, reason: String) -> Error {
    Error::Source {
        file: file.name.into(),
        reason,
        hint: HINT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a file of `torch.save` in the legacy format.
    fn saved(state: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = LEGACY_MAGIC.to_vec();
        bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}q\x00.");
        bytes.extend(state);
        bytes.extend(b"\x80\x02]");
        for (name, _) in storages {
            bytes.extend(
                [
                    b"X",
                    &(name.len() as u32).to_le_bytes()[..],
                    name.as_bytes(),
                    b"a",
                ]
                .concat(),
            );
        }
        bytes.push(b'.');
        for (_, data) in storages {
            bytes.extend((data.len() as u64 / 4).to_le_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    /// Creates a state_dict with the tensor [`FIRST`], a view of the storage "0".
    fn tensor(offset: u8, shape: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
        let text = |text: &str| {
            [
                b"X",
                &(text.len() as u32).to_le_bytes()[..],
                text.as_bytes(),
            ]
            .concat()
        };
        [
            b"\x80\x02}",
            text(FIRST).as_slice(),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            b"K\x06tQK",
            &[
                offset, b'K', shape[0], b'K', shape[1], 0x86, b'K', strides[0], b'K', strides[1],
                0x86,
            ],
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
        .concat()
    }

    fn read_first(bytes: &[u8]) -> Result<Vec<f64>, String> {
        let file = File {
            name: "a.pth",
            bytes,
        };
        let message = |error: Error| error.to_string();
        let opened = TorchFile::open(&file).map_err(message)?;
        let tensors = opened.tensors(&file).map_err(message)?;
        let tensor = &tensors[FIRST];
        tensor.values(FIRST, &tensor.shape).map_err(message)
    }

    #[test]
    fn strided_tensors_are_read_row_major() {
        let data: Vec<u8> = (0..6).flat_map(|k| (k as f32).to_le_bytes()).collect();
        let cases = [
            (0, [2, 3], [3, 1], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            (0, [3, 2], [1, 3], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            (2, [2, 2], [2, 1], vec![2.0, 3.0, 4.0, 5.0]),
            (1, [2, 3], [0, 1], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]),
        ];
        for (offset, shape, strides, want) in cases {
            let bytes = saved(&tensor(offset, shape, strides), &[("0", &data)]);
            assert_eq!(read_first(&bytes), Ok(want), "{shape:?} by {strides:?}");
        }
    }

    #[test]
    fn pickles_with_calls_or_invalid_views_are_rejected() {
        let state =
            [b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x04\x00\x00\x00true\x85Rs.".as_slice()]
                .concat();
        let root = b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.".to_vec();
        let data = [0u8; 24];
        let short = "weights: cannot import a.pth (Conv2d_1a_3x3.conv.weight: shape [2, 3] of f32 exceeds its storage of 24 bytes)";
        let cases = [
            (
                state,
                "weights: cannot import a.pth (a: the pickle calls os.system, expected only tensors; no code was run)",
            ),
            (
                root,
                "weights: cannot import a.pth (the pickle calls builtins.eval, expected only tensors; no code was run)",
            ),
            (tensor(1, [2, 3], [3, 1]), short),
            (tensor(0, [2, 3], [4, 1]), short),
            (
                tensor(0, [200, 200], [0, 0]),
                "weights: cannot import a.pth (Conv2d_1a_3x3.conv.weight: invalid shape [200, 200] with strides [0, 0])",
            ),
        ];
        for (state, want) in cases {
            let got = read_first(&saved(&state, &[("0", &data)])).expect_err(want);
            assert_eq!(got, format!("{want}; {HINT}"));
        }
    }
}
