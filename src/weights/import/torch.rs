//! PyTorch's Inception V3: timm's `model.safetensors`, and torchvision's `state_dict` as `torch.save` writes it, as a zip or as before.
//!
//! Both libraries name the layers as [torchvision](https://github.com/pytorch/vision/blob/main/torchvision/models/inception.py) does, and
//! count the padding in average pools. BatchNorm has a gamma, its epsilon is 1e-3. Nothing in a pickle is run. See also
//! [torch.save](https://docs.pytorch.org/docs/stable/notes/serialization.html).

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
        pickle::{Pickle, Place, Value},
        safetensors::{LONGEST_HEADER, TOO_MANY, lists_too_many, numbers},
        zip::Archive,
    },
    head::Dense,
    image::InputRange,
    net::inception::{AveragePool, LATENTS, kernels},
    weights::{
        Classifier, Info, Source,
        import::layer::{File, Layer, Norm},
    },
};

const EPSILON: f64 = 1e-3;
const HINT: &str = "download it again, or save the model's state_dict() anew";
/// What tells a state_dict of this net.
const FIRST: &str = "Conv2d_1a_3x3.conv.weight";
/// How a file of `torch.save` began before it was a zip: a pickle of one large number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// All storages together; a checkpoint with its optimiser's state has three times the weights' 109 MB.
const MOST: u64 = 600 << 20;
/// A pickle of a state_dict has some 100 kB.
const PICKLE: u64 = 16 << 20;
/// Sides of a tensor; a kernel has four.
const RANK: usize = 8;
/// The most numbers of a tensor that are fewer in its storage, as one number for all outputs is.
const SHARED: usize = 2048;

/// The file with tensors of torchvision's names, or any of `torch.save`.
pub(super) fn find<'a>(files: &[File<'a>]) -> Option<File<'a>> {
    let found = files.iter().find(|file| {
        let bytes = file.bytes;
        bytes.starts_with(LEGACY)
            || is_safetensors(bytes)
            || (Archive::is(bytes)
                && Archive::open_unique(bytes).is_ok_and(|archive| pickle_name(&archive).is_some()))
    });
    found.copied()
}

/// A header's length, and JSON after it.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.len() > 8 && bytes[8] == b'{' && bytes[4..8] == [0; 4]
}

fn pickle_name(archive: &Archive) -> Option<String> {
    let mut names = archive.names();
    names
        .find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"))
        .map(String::from)
}

/// Reads the base, and the classifier if there is one. `config.json` of the Hugging Face hub, where it lies among `files`, tells how
/// pictures reach the net.
///
/// # Errors
/// A damaged file, tensors that are not those of Inception V3, a pickle that holds anything but tensors.
pub(super) fn read(file: File, files: &[File]) -> Result<Source, Error> {
    let storage;
    let mut tensors = if is_safetensors(file.bytes) {
        safetensors(&file)?
    } else {
        storage = Saved::open(&file)?;
        storage.tensors(&file)?
    };
    let mut take = |name: String, want: &[usize]| {
        let tensor = tensors.remove(&name).ok_or_else(|| Error::MissingTensor {
            what: "weights",
            name: name.clone(),
        })?;
        tensor.numbers(&name, want)
    };
    let mut convs = Vec::new();
    for ((conv, shape), name) in kernels().into_iter().zip(names()) {
        let out = &shape[..1];
        let kernel = take(format!("{name}.conv.weight"), &shape)?;
        let mut norm = |part: &str| take(format!("{name}.bn.{part}"), out);
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
            let mut take = |name: &str, want: &[usize]| {
                let missing = || Error::MissingTensor {
                    what: "weights",
                    name: name.into(),
                };
                let tensor = tensors.remove(name).ok_or_else(missing)?;
                tensor.numbers(name, want)
            };
            let weight = take("fc.weight", &[classes, LATENTS])?;
            let bias = take("fc.bias", &[classes])?;
            let kernel =
                (0..LATENTS * classes).map(|i| weight[i % classes * LATENTS + i / classes]);
            Some(Classifier::new(Dense {
                kernel: kernel.map(|value| value as f32).collect(),
                bias: bias.iter().map(|value| *value as f32).collect(),
            })?)
        }
        _ => None,
    };
    let ours =
        |name: &&String| !name.starts_with("AuxLogits.") && !name.ends_with("num_batches_tracked");
    if let Some(name) = tensors.keys().find(ours) {
        return Err(Error::ForeignTensor {
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

/// torchvision's names of the 94 convolutions, in the order of [`kernels`].
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

/// What is known of the file, by what lies beside it and by its name.
fn info(file: &File, files: &[File]) -> Result<Info, Error> {
    let config = files.iter().find(|file| file.name == "config.json");
    let config: Option<Json> = config.and_then(|file| serde_json::from_slice(file.bytes).ok());
    let pretrained = config.as_ref().map(|config| &config["pretrained_cfg"]);
    let three = |key: &str| -> Option<[f64; 3]> {
        let numbers: Vec<_> = pretrained?[key]
            .as_array()?
            .iter()
            .map(Json::as_f64)
            .collect();
        <[f64; 3]>::try_from(numbers.into_iter().collect::<Option<Vec<_>>>()?).ok()
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
            true => format!("{}, safetensors in PyTorch's names", file.name),
            false => format!("{}, a state_dict of PyTorch", file.name),
        },
        licence: licence.unwrap_or("not told by the file").into(),
        note: "A base that you brought; what it is good at depends on what it was trained on."
            .into(),
        range,
        average_pool: AveragePool::IncludePadding,
        self_test_latents: Vec::new(),
    })
}

/// Values as a file has them.
struct Tensor<'a> {
    dtype: &'static str,
    shape: Vec<usize>,
    /// In steps of whole numbers; `None` is row-major.
    strides: Option<Vec<usize>>,
    bytes: &'a [u8],
}

impl Tensor<'_> {
    /// All numbers, row-major, of a tensor of exactly this shape.
    fn numbers(&self, name: &str, want: &[usize]) -> Result<Vec<f64>, Error> {
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
        let places = (0..want.iter().product()).map(|i: usize| {
            let sides = self.shape.iter().zip(strides).rev();
            let step = |(left, place): (usize, usize), (side, stride): (&usize, &usize)| {
                (left / side, place + left % side * stride)
            };
            sides.fold((i, 0), step).1
        });
        Ok(places.map(|place| values[place]).collect())
    }
}

type Tensors<'a> = BTreeMap<String, Tensor<'a>>;

fn safetensors<'a>(file: &File<'a>) -> Result<Tensors<'a>, Error> {
    let broken = |reason: String| Error::Container {
        what: "weights",
        reason,
        bytes: file.bytes.len(),
    };
    let (length, header) = file.bytes.split_at(8);
    let length = u64::from_le_bytes(*length.first_chunk().expect("8 bytes"));
    if length > LONGEST_HEADER {
        return Err(broken(SafeTensorError::HeaderTooLarge.to_string()));
    }
    if lists_too_many(&header[..header.len().min(length as usize)]) {
        return Err(broken(TOO_MANY.into()));
    }
    let opened = SafeTensors::deserialize(file.bytes);
    let opened = opened.map_err(|error| broken(error.to_string()))?;
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
    known(file, tensors.collect())
}

/// Refuses tensors of anything but this net, by what they are.
fn known<'a>(file: &File, tensors: Tensors<'a>) -> Result<Tensors<'a>, Error> {
    if tensors.contains_key(FIRST) {
        return Ok(tensors);
    }
    let names: Vec<_> = tensors.keys().take(3).map(String::as_str).collect();
    let holds = match names.as_slice() {
        [] => "no tensors".into(),
        names => format!("{} tensors such as {}", tensors.len(), names.join(", ")),
    };
    Err(source(
        file,
        format!("it holds {holds}, not those of Inception V3 in PyTorch's names"),
    ))
}

/// A file of `torch.save`: a pickle, and the storages that it speaks of.
struct Saved<'a> {
    pickle: Cow<'a, [u8]>,
    /// Each is read once, however many tensors lie in it.
    storages: HashMap<String, Cow<'a, [u8]>>,
}

impl<'a> Saved<'a> {
    fn open(file: &File<'a>) -> Result<Saved<'a>, Error> {
        let wrong = |reason: String| source(file, reason);
        let Some(rest) = file.bytes.strip_prefix(LEGACY) else {
            let archive = Archive::open_unique(file.bytes).map_err(wrong)?;
            let name = pickle_name(&archive).ok_or_else(|| wrong("it holds no data.pkl".into()))?;
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
                    .map_err(wrong)?;
                if order.as_ref() != b"little" {
                    return Err(wrong("its numbers are big endian".into()));
                }
            }
            let pickle = archive.read(&name, PICKLE).map_err(wrong)?;
            let sizes = storage_sizes(&Pickle::read(&pickle).map_err(wrong)?);
            let (mut storages, mut left) = (HashMap::new(), MOST);
            for key in sizes.into_keys() {
                let data = archive.read(&format!("{folder}data/{key}"), left);
                let data = data.map_err(wrong)?;
                left -= data.len() as u64;
                storages.insert(key, data);
            }
            return Ok(Saved { pickle, storages });
        };
        // The protocol, what the machine was like, the state_dict, the storages' names; then for each a count and the numbers.
        let (_, rest) = Pickle::read_first(rest).map_err(wrong)?;
        let (_, pickle) = Pickle::read_first(rest).map_err(wrong)?;
        let (state, rest) = Pickle::read_first(pickle).map_err(wrong)?;
        let sizes = storage_sizes(&state);
        let (names, mut rest) = Pickle::read_first(rest).map_err(wrong)?;
        let names = names.texts(names.root());
        let names = names.ok_or_else(|| wrong("its storages have no names".into()))?;
        let mut storages = HashMap::new();
        for name in names {
            let short = || wrong(format!("it ends before the storage {name:?}"));
            let (count, after) = rest.split_first_chunk::<8>().ok_or_else(short)?;
            let size = sizes.get(&name).copied().unwrap_or(1);
            let length = usize::try_from(u64::from_le_bytes(*count)).ok();
            let length = length
                .and_then(|count| count.checked_mul(size))
                .ok_or_else(short)?;
            let (data, after) = after.split_at_checked(length).ok_or_else(short)?;
            storages.insert(name, Cow::Borrowed(data));
            rest = after;
        }
        Ok(Saved {
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
            return Err(source(file, asks(state)));
        };
        let mut tensors = Tensors::new();
        for (key, value) in pairs {
            let Some(name) = pickle.text(*key) else {
                return Err(source(file, "a tensor's name is not text".into()));
            };
            let name = name.strip_prefix("module.").unwrap_or(&name).to_string();
            let tensor = self.tensor(&pickle, pickle.get(*value));
            let tensor = tensor.map_err(|reason| source(file, format!("{name}: {reason}")))?;
            tensors.insert(name, tensor);
        }
        known(file, tensors)
    }

    fn tensor(&self, pickle: &Pickle, value: &Value) -> Result<Tensor<'_>, String> {
        let parameter = arguments(pickle, value, "_rebuild_parameter");
        let inner = parameter.and_then(|arguments| arguments.first().copied());
        let value = inner.map_or(value, |place| pickle.get(place));
        let Some(arguments) = arguments(pickle, value, "_rebuild_tensor_v2") else {
            return Err(asks(value));
        };
        let [named, offset, shape, strides, ..] = arguments else {
            return Err("a tensor of too few parts".into());
        };
        let integers = |place: usize| -> Result<Vec<usize>, String> {
            let items = pickle.items(place).filter(|items| items.len() <= RANK);
            let items = items.ok_or("a shape that is no list of a few numbers")?;
            let sides = items.iter().map(|item| match pickle.get(*item) {
                Value::Integer(side) => {
                    usize::try_from(*side).map_err(|_| "a negative size".to_string())
                }
                _ => Err("a shape that is no list of a few numbers".into()),
            });
            sides.collect()
        };
        let (shape, strides) = (integers(*shape)?, integers(*strides)?);
        let Value::Integer(offset) = pickle.get(*offset) else {
            return Err("an offset that is no number".into());
        };
        let (kind, key) =
            storage_name(pickle, pickle.get(*named)).ok_or("numbers that lie nowhere")?;
        let (dtype, size) = storage_type(kind);
        let (Ok(offset), true) = (usize::try_from(*offset), shape.len() == strides.len()) else {
            return Err("an offset and strides that do not fit".into());
        };
        // From the first number to the last that the strides reach.
        let reach = shape
            .iter()
            .zip(&strides)
            .try_fold(0usize, |reach, (side, stride)| {
                reach.checked_add(side.checked_sub(1)?.checked_mul(*stride)?)
            });
        let count = shape
            .iter()
            .try_fold(1usize, |count, side| count.checked_mul(*side));
        let (start, length) = match (reach, count) {
            (Some(reach), Some(count)) if count <= reach.saturating_add(1).max(SHARED) => {
                let start = offset
                    .checked_mul(size)
                    .ok_or("an offset beyond all memory")?;
                let length = reach
                    .checked_add(1)
                    .and_then(|numbers| numbers.checked_mul(size));
                (start, length.ok_or("a shape beyond all memory")?)
            }
            (None, Some(0)) => (0, 0),
            _ => return Err(format!("the shape {shape:?} in steps of {strides:?}")),
        };
        let storage = self.storages.get(&key);
        let storage = storage.ok_or_else(|| format!("the file has no storage {key:?}"))?;
        let own = start
            .checked_add(length)
            .and_then(|end| storage.get(start..end));
        let bytes = own.ok_or_else(|| {
            let got = storage.len();
            format!("the shape {shape:?} of {dtype} needs more than its storage's {got} bytes")
        })?;
        let mut rows = Vec::new();
        let mut step = 1usize;
        for side in shape.iter().rev() {
            rows.insert(0, step);
            step = step.saturating_mul(*side);
        }
        let by_rows = shape
            .iter()
            .zip(strides.iter().zip(&rows))
            .all(|(side, (a, b))| *side == 1 || a == b);
        Ok(Tensor {
            dtype,
            shape,
            strides: (!by_rows).then_some(strides),
            bytes,
        })
    }
}

/// The arguments of a call of torch's own.
fn arguments<'a>(pickle: &'a Pickle, value: &Value, name: &str) -> Option<&'a [Place]> {
    match value {
        Value::Call {
            callee, arguments, ..
        } if *callee == ("torch._utils", name) => pickle.items(*arguments),
        _ => None,
    }
}

/// `("storage", torch.FloatStorage, key, ...)`, as the type and the key.
fn storage_name<'a>(pickle: &Pickle<'a>, value: &Value<'a>) -> Option<(&'a str, String)> {
    let Value::Persistent(place) = value else {
        return None;
    };
    match pickle.items(*place)? {
        [word, kind, key, ..] if pickle.text(*word)? == "storage" => match pickle.get(*kind) {
            Value::Global("torch", kind) => Some((kind, pickle.text(*key)?)),
            _ => None,
        },
        _ => None,
    }
}

/// A storage's number type and its bytes a number.
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

/// Bytes a number of every storage that a pickle names.
fn storage_sizes(pickle: &Pickle) -> BTreeMap<String, usize> {
    let named = pickle
        .values()
        .filter_map(|value| storage_name(pickle, value));
    named
        .map(|(kind, key)| (key, storage_type(kind).1))
        .collect()
}

/// What stands where tensors should.
fn asks(value: &Value) -> String {
    match value {
        Value::Call {
            callee: (module, name),
            ..
        }
        | Value::Global(module, name) => {
            let short = |text: &str| text.chars().take(40).collect::<String>();
            format!(
                "it asks for {}.{}, and only tensors are read; nothing of it was run",
                short(module),
                short(name)
            )
        }
        Value::Dict(pairs) => format!("a dictionary of {} where a tensor should be", pairs.len()),
        _ => "no tensor, but plain data".into(),
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

    /// A file of `torch.save` as it was before zip: this state_dict, these storages.
    fn saved(state: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = LEGACY.to_vec();
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

    /// A state_dict of the one tensor that tells the net: offset, shape and strides of a storage "0".
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

    fn opened(bytes: &[u8]) -> Result<Vec<f64>, String> {
        let file = File {
            name: "a.pth",
            bytes,
        };
        let tell = |error: Error| error.to_string();
        let saved = Saved::open(&file).map_err(tell)?;
        let tensors = saved.tensors(&file).map_err(tell)?;
        let tensor = &tensors[FIRST];
        tensor.numbers(FIRST, &tensor.shape).map_err(tell)
    }

    #[test]
    fn strides_are_walked() {
        let data: Vec<u8> = (0..6).flat_map(|k| (k as f32).to_le_bytes()).collect();
        let cases = [
            (0, [2, 3], [3, 1], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            (0, [3, 2], [1, 3], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
            (2, [2, 2], [2, 1], vec![2.0, 3.0, 4.0, 5.0]),
            (1, [2, 3], [0, 1], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]),
        ];
        for (offset, shape, strides, want) in cases {
            let bytes = saved(&tensor(offset, shape, strides), &[("0", &data)]);
            assert_eq!(opened(&bytes), Ok(want), "{shape:?} by {strides:?}");
        }
    }

    #[test]
    fn what_a_pickle_asks_for_is_named_and_not_run() {
        let state =
            [b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x04\x00\x00\x00true\x85Rs.".as_slice()]
                .concat();
        let root = b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.".to_vec();
        let data = [0u8; 24];
        let short = "weights: cannot import a.pth (Conv2d_1a_3x3.conv.weight: the shape [2, 3] of f32 needs more than its storage's 24 bytes)";
        let cases = [
            (
                state,
                "weights: cannot import a.pth (a: it asks for os.system, and only tensors are read; nothing of it was run)",
            ),
            (
                root,
                "weights: cannot import a.pth (it asks for builtins.eval, and only tensors are read; nothing of it was run)",
            ),
            (tensor(1, [2, 3], [3, 1]), short),
            (tensor(0, [2, 3], [4, 1]), short),
            (
                tensor(0, [200, 200], [0, 0]),
                "weights: cannot import a.pth (Conv2d_1a_3x3.conv.weight: the shape [200, 200] in steps of [0, 0])",
            ),
        ];
        for (state, want) in cases {
            let got = opened(&saved(&state, &[("0", &data)])).expect_err(want);
            assert_eq!(got, format!("{want}; {HINT}"));
        }
    }
}
