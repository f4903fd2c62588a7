"""Creates the seed corpus of the fuzz targets: small files of each format that exercise much of its reader.

    python3 -m venv venv
    venv/bin/pip install numpy==2.4.6 h5py==3.16.0 brotli==1.2.1
    venv/bin/python tests/fuzz/make.py

They are written to `tests/fuzz/corpus/TARGET`, the folder that `cargo fuzz` reads. Inputs with several files are separated by `\\n~~\\n`, see
`src/lib.rs`.
"""

import io
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path

import brotli
import h5py
import numpy as np

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
SEPARATOR = b"\n~~\n"
FIRST = "Conv2d_1a_3x3.conv.weight"


def write(target, name, *parts):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(SEPARATOR.join(parts))


def packed(name):
    return brotli.decompress((TESTS / "weights" / f"{name}.br").read_bytes())


def copies(target, folder, kinds):
    for path in (TESTS / folder).iterdir():
        if path.suffix in kinds:
            write(target, path.name, path.read_bytes())


def header(tensors, metadata):
    """A safetensors header; the fuzz targets prepend its length and append zeros."""
    sizes = {"F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1}
    listed, at = {"__metadata__": metadata}, 0
    for name, (dtype, shape) in tensors.items():
        end = at + sizes[dtype] * int(np.prod(shape))
        listed[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return json.dumps(listed, separators=(",", ":")).encode()


def convolutions():
    """Shapes of the 94 Keras kernels as [out, in, height, width]."""
    with h5py.File(io.BytesIO(packed("keras2.h5"))) as file:
        shapes = {}
        file.visititems(lambda name, item: shapes.update({name: item.shape}) if hasattr(item, "shape") else None)
    kernels = {name.split("/")[0]: shape for name, shape in shapes.items() if len(shape) == 4}
    number = lambda layer: int(layer.rsplit("_", 1)[1]) if layer[-1].isdigit() and "_" in layer else 0
    return [[o, i, h, w] for _, (h, w, i, o) in sorted(kernels.items(), key=lambda item: number(item[0]))]


def weights():
    tensors = {}
    for k, shape in enumerate(convolutions(), 1):
        tensors[f"conv2d_{k}.kernel"] = ("U8", shape)
        tensors[f"conv2d_{k}.kernel.scale"] = ("F32", shape[:1])
        tensors[f"conv2d_{k}.kernel.min"] = ("F32", shape[:1])
        tensors[f"conv2d_{k}.bias"] = ("F32", shape[:1])
    top = {"classifier.kernel": ("F16", [2048, 2]), "classifier.bias": ("F32", [2])}
    metadata = {
        "format": "inception-web weights 1", "name": "n", "source": "s", "licence": "l", "note": "", "input_range": "[-1,1]",
        "resize": "tf.image.resize bilinear antialias, stretched to 299x299",
        "padding": "same where stride 1, valid where stride 2, as Keras", "average_pool": "exclude_padding", "batch_norm": "folded",
        "dtype": "u8", "fingerprint": "0" * 64, "known_latents": "[0.5]", "classes": '["a","b"]', "sha256": "0" * 64,
    }
    write("weights", "whole", header(tensors | top, metadata))
    write("weights", "first", header(dict(list(tensors.items())[:4]), metadata))
    write("weights", "none", header({"a": ("F32", [1])}, {}))


def heads():
    metadata = {"name": "n", "classes": '["a","b"]', "layers": "1", "pictures": "3", "base": "b", "fingerprint": "0" * 64}
    one = {"dense_1.kernel": ("F32", [2048, 2]), "dense_1.bias": ("F32", [2])}
    scores = {"correct": "1", "total": "2", "accuracy": "0.5", "temperature": "1.5", "unsure_below": "0.5"}
    write("head", "linear", header(one, metadata | scores))
    hidden = {"dense_1.kernel": ("F16", [2048, 3]), "dense_1.bias": ("F32", [3]), "dense_2.kernel": ("F64", [3, 2]), "dense_2.bias": ("F32", [2])}
    write("head", "hidden", header(hidden, metadata | {"layers": "2"}))


def npy(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def latents():
    metadata = {"classes": '["a","b"]', "names": '["1","2"]', "base": "b", "fingerprint": "0" * 64}
    write("latents", "f16", header({"latents": ("F16", [2, 2048]), "labels": ("I64", [2])}, metadata))
    u8 = {"latents": ("U8", [2, 2048]), "latents.scale": ("F32", [2048]), "latents.min": ("F32", [2048]), "labels": ("U8", [2])}
    write("latents", "u8", header(u8, {"classes": '["a"]'}))
    table = np.zeros([1, 2048], "f2")
    texts = [np.array(["ca", "ox"]), np.array(["one"]), np.array("0" * 64), np.array("b")]
    write("latents", "npz", *map(npy, [table, np.zeros(1, "i8"), *texts]))
    write("latents", "bytes", *map(npy, [np.asfortranarray(table.astype(">f2")), np.zeros(1, "u1"), np.array([b"ca", b"ox"])]))
    write("latents", "objects", *map(npy, [table, np.zeros(1, "i8"), np.array(["a", None], object)]))
    out = io.BytesIO()
    np.savez_compressed(out, latents=table, labels=np.zeros(1, "i2"), classes=np.array(["a"]))
    write("latents", "packed.npz", out.getvalue())


def torch():
    write("torch", "first.safetensors", header({FIRST: ("F32", [32, 3, 3, 3])}, {"format": "pt"}))
    norm = {f"Conv2d_1a_3x3.bn.{part}": ("F16", [32]) for part in ["weight", "bias", "running_mean", "running_var"]}
    config = {"architecture": "inception_v3", "pretrained_cfg": {"tag": "x", "mean": [0.5] * 3, "std": [0.5] * 3, "license": "mit"}}
    write("torch", "config", header({FIRST: ("BF16", [32, 3, 3, 3])} | norm, {}), json.dumps(config).encode())

    # Stand-ins for torch classes that pickle like torch.save.
    module = lambda name: sys.modules.setdefault(name, types.ModuleType(name))
    named = lambda where, name: setattr(module(where), name, type(name, (), {"__module__": where})) or getattr(module(where), name)
    module("torch"), module("torch._utils")
    storage_types = [named("torch", name) for name in ["FloatStorage", "HalfStorage", "BFloat16Storage", "DoubleStorage", "LongStorage"]]
    rebuild, parameter = named("torch._utils", "_rebuild_tensor_v2"), named("torch._utils", "_rebuild_parameter")

    class Call:
        def __init__(self, callee, *arguments):
            self.call = callee, arguments

        def __reduce__(self):
            return self.call

    class Storage:
        def __init__(self, kind, key, count):
            self.name = "storage", kind, key, "cpu", count

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return value.name if isinstance(value, Storage) else None

        def save_call(self, value):
            (callee, arguments), save = value.call, self.save
            save(callee), save(arguments), self.write(pickle.REDUCE)

        dispatch = pickle._Pickler.dispatch | {Call: save_call}

    def pickled(value):
        out = io.BytesIO()
        Pickler(out, 2).dump(value)
        return out.getvalue()

    def tensor(kind, key, shape, strides):
        return Call(rebuild, Storage(kind, key, int(np.prod(shape))), 0, tuple(shape), tuple(strides), False, {})

    rows = (27, 9, 3, 1)
    states = {
        "plain": {FIRST: tensor(storage_types[0], "0", (32, 3, 3, 3), rows)},
        "columns": {"state_dict": {f"module.{FIRST}": tensor(storage_types[1], "0", (32, 3, 3, 3), (1, 32, 96, 288))}},
        "parameter": {FIRST: Call(parameter, tensor(storage_types[3], "0", (2, 2), (2, 1)), True, {})},
        "shared": {FIRST: tensor(storage_types[0], "0", (32,), (0,)), "fc.bias": tensor(storage_types[4], "0", (2,), (1,))},
    }
    for name, state in states.items():
        write("torch", f"{name}.pkl", pickled(state), b"\0" * 3456)
    begin = [b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03.", pickled({"little_endian": True})]
    write("torch", "legacy.pth", b"".join([*begin, pickled(states["plain"]), pickled(["0"]), (864).to_bytes(8, "little"), b"\0" * 3456]))
    write("torch", "asks.pkl", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), pickled(states["plain"]), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("a/byteorder"), "little", zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("a/data/0"), b"\0" * 3456, zipfile.ZIP_DEFLATED)
    write("torch", "packed.pth", out.getvalue())


def keras():
    """All 94 convolutions share one dataset, and so do the BatchNorms: the first is read, the second has a wrong shape."""
    kernel = np.random.default_rng(17).normal(size=[3, 3, 3, 32]).astype("f4")
    kinds = {
        "plain": {},
        "gzip": {"chunks": (2, 3, 3, 16), "compression": "gzip", "shuffle": True},
        "fletcher": {"chunks": (3, 2, 2, 32), "fletcher32": True},
        "lzf": {"chunks": True, "compression": "lzf"},
        "scale": {"chunks": True, "scaleoffset": 3},
        "grows": {"chunks": (3, 3, 3, 8), "maxshape": (None, 3, 3, None)},
    }
    early, late = ["plain", "gzip"], ["plain", "gzip", "fletcher", "lzf", "scale", "grows"]
    wanted = [("earliest", "f4", kind) for kind in early] + [("latest", "f4", kind) for kind in late]
    for libver, dtype, kind in [*wanted, ("latest", ">f8", "plain"), ("latest", "f2", "gzip")]:
        out = io.BytesIO()
        with h5py.File(out, "w", libver=libver) as file:
            root = file.create_group("model_weights")
            conv, norm = root.create_group("c_0"), root.create_group("n_0")
            conv.create_dataset("kernel:0", data=kernel.astype(dtype), **kinds[kind])
            for name in ["beta", "moving_mean", "moving_variance"]:
                norm.create_dataset(f"{name}:0", data=np.ones(32, "f4"))
            for k in range(1, 94):
                root[f"c_{k}"], root[f"n_{k}"] = conv, norm
        write("keras", f"{libver}_{dtype.strip('>')}_{kind}.h5", out.getvalue())
    out = io.BytesIO()
    with h5py.File(out, "w", libver="v110") as file:
        file.create_dataset("layers/conv2d/vars/0", data=kernel[:1], compression="gzip", fillvalue=2.0)
        file["layers/conv2d/vars"].attrs["name"] = "conv2d"
        file["layers/soft"] = h5py.SoftLink("/layers/conv2d")
        file["layers/far"] = h5py.ExternalLink("other.h5", "/")
        file.attrs["names"] = np.array(["one", "two"], dtype=h5py.string_dtype())
        file.create_dataset("text", data=np.array(["one"], dtype=h5py.string_dtype()))
        file.create_dataset("record", data=np.zeros(2, [("a", "f4"), ("b", "i8")]))
        dense = file.create_group("dense", track_order=True)
        for k in range(12):
            dense.attrs[f"attribute_{k}"] = k
            dense.create_group(f"group_{k}")
    write("keras", "kinds.h5", out.getvalue())
    write("keras", "zip", b"keras:" + out.getvalue())


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def fields(message):
    """Fields of a protobuf message: tag, wire type, contents."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        size = number() if kind in (0, 2) else {1: 8, 5: 4}[kind]
        if kind == 0:
            yield key >> 3, 0, varint(size)
            continue
        yield key >> 3, kind, message[at:at + size]
        at += size


def message(parts):
    return b"".join(varint(tag << 3 | kind) + (varint(len(body)) if kind == 2 else b"") + body for tag, kind, body in parts)


def onnx():
    """The complete graphs, without unused fields and without the data of large tensors."""

    def node(body):
        return message((tag, kind, own) for tag, kind, own in fields(body) if tag in (1, 2, 4, 5))

    def tensor(body):
        return message((tag, kind, own) for tag, kind, own in fields(body) if tag in (1, 2, 8) or (tag in (4, 9) and len(own) < 200))

    for name in ["torch-script", "tf2onnx"]:
        model = packed(f"{name}.onnx")
        graph = next(body for tag, _, body in fields(model) if tag == 7)
        keeps = {1: node, 5: tensor, 11: bytes, 12: bytes}
        small = message((tag, kind, keeps[tag](body)) for tag, kind, body in fields(graph) if tag in keeps)
        write("onnx", name, message([(1, 0, b"\x08"), (7, 2, small)]))
    value = lambda name: message([(1, 2, name)])
    external = message([(1, 2, b"location"), (2, 2, b"model.onnx.data")])
    kernel = message([(1, 0, b"\x02"), (1, 0, b"\x01"), (2, 0, b"\x01"), (8, 2, b"k"), (13, 2, external), (14, 0, b"\x01")])
    dense = message([(1, 2, b"x"), (1, 2, b"k"), (2, 2, b"y"), (4, 2, b"Gemm"), (5, 2, message([(1, 2, b"transB"), (3, 0, b"\x01")]))])
    mean = message([(1, 2, b"i"), (2, 2, b"x"), (4, 2, b"GlobalAveragePool")])
    graph = message([(1, 2, mean), (1, 2, dense), (5, 2, kernel), (11, 2, value(b"i")), (12, 2, value(b"y"))])
    write("onnx", "beside", message([(1, 0, b"\x08"), (7, 2, graph)]), b"\0" * 8)


def tfjs():
    """All 94 convolutions; all but the first are 1x1x1x1."""
    specs = []
    for k in range(94):
        shape = [3, 3, 3, 32] if k == 0 else [1, 1, 1, 1]
        quantized = {"quantization": {"dtype": "uint8", "min": -1, "scale": 0.01}}
        specs.append({"name": f"c_{k}/kernel", "shape": shape, "dtype": "float32"} | (quantized if k else {"quantization": {"dtype": "float16"}}))
        specs += [{"name": f"n_{k}/{part}", "shape": [shape[3]], "dtype": "float32"} | quantized for part in ["beta", "moving_mean", "moving_variance"]]
    manifest = [{"paths": ["1.bin", "2.bin"], "weights": specs}]
    size = 864 * 2 + 32 * 3 + 93 * 4
    text = lambda groups: json.dumps({"format": "layers-model", "weightsManifest": groups}, separators=(",", ":")).encode()
    write("tfjs", "whole", text(manifest), b"\1" * 1000, b"\1" * (size - 1000))
    dense = [{"name": "d/kernel", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint16", "scale": 1}}, {"name": "d/bias", "shape": [2], "dtype": "float32"}]
    write("tfjs", "dense", text([{"paths": ["1.bin"], "weights": dense[:1]}, {"paths": ["a/2.bin"], "weights": dense[1:]}]), b"12345678", b"\0" * 8)
    write("tfjs", "graph", b'{"format":"graph-model","weightsManifest":[]}')


for make in [weights, heads, latents, torch, keras, onnx, tfjs]:
    make()
copies("picture", "pictures", {".avif", ".bmp", ".gif", ".heic", ".jpg", ".png", ".webp"})
copies("cifar10", "cifar10", {".gz", ".pkl"})
