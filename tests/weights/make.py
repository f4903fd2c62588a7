"""Creates weights files with the original libraries, compressed to small fixtures, and the latents that those libraries compute.

    python3.11 -m venv tensorflow
    tensorflow/bin/pip install tensorflow-cpu==2.21.0 keras==3.15.1 brotli==1.2.1 safetensors==0.8.0
    tensorflow/bin/pip install --no-deps tf_keras==2.21.0 tensorflowjs==4.22.0 tf2onnx==1.17.0 onnx==1.17.0 tensorflow_hub==0.16.1
    python3.11 -m venv torch
    torch/bin/pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 onnx==1.23.2 onnxscript brotli==1.2.1 safetensors==0.8.0

    tensorflow/bin/python tests/weights/make.py pictures pictures.npy
    tensorflow/bin/python tests/weights/make.py keras pictures.npy
    TF_USE_LEGACY_KERAS=1 tensorflow/bin/python tests/weights/make.py legacy pictures.npy
    torch/bin/python tests/weights/make.py torch pictures.npy

Every file is written by its library for a full Inception V3 (95 MB of f32). The weights are synthetic: each tensor repeats a table of 1,021
random values with a different offset, so that brotli compresses a file to about 130 kB, and is scaled so that activations neither vanish nor
explode. The files are stored as `NAME.br`; folders (TF.js, ONNX with external data) as a compressed tar. `latents.safetensors` has, for each
NAME, the `NAME.latents` [3, 2048] and the `NAME.logits` [3, classes] of the pictures in `tests/golden`, computed by the library that wrote the
file with its usual preprocessing.

Compare by cosine similarity, at least 0.99999; the importers reach 1 - 1e-13. A transposed kernel, a swapped branch or a swapped BatchNorm gives
0.9 or less.
"""

import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import brotli
import numpy as np
from safetensors.numpy import load_file, safe_open, save_file

HERE = Path(__file__).resolve().parent
TABLE = np.random.default_rng(17).normal(size=1021).astype("f4")


def repeated(index, shape):
    """Returns values of mean 0 and standard deviation 1 for the tensor of this index."""
    return np.resize(np.roll(TABLE, 37 * index), shape)


def tensor_values(index, name, shape, flat):
    """Returns the values of a tensor, scaled by its role. `flat` gives all channels of a BatchNorm the same scale, so that folded kernels repeat."""
    values = repeated(index, shape) * (1 - flat * ("var" in name or name.endswith(("bn.weight", "gamma"))))
    if "var" in name:
        return np.exp(values / 4).astype("f4")
    if len(shape) == 4:
        fan_in = np.prod(shape[1:] if "torch" in sys.argv else shape[:3])
        return (values * np.sqrt(2 / fan_in)).astype("f4")
    if len(shape) == 2:
        return (values / 30).astype("f4")
    if name.endswith(("bn.weight", "gamma")):
        return (1 + values / 8).astype("f4")
    return (values / 5).astype("f4")


def keep(name, data, latents, logits, versions):
    """Writes NAME.br, and adds the latents, the logits and the library versions to latents.safetensors."""
    packed = brotli.compress(data, quality=9, lgwin=24)
    (HERE / f"{name}.br").write_bytes(packed)
    path = HERE / "latents.safetensors"
    tensors, metadata = {}, {}
    if path.exists():
        tensors = load_file(path)
        with safe_open(path, "np") as file:
            metadata = file.metadata()
    latents = np.asarray(latents)
    tensors[f"{name}.latents"] = np.asarray(latents, "f4").reshape(3, 2048)
    if logits is not None:
        tensors[f"{name}.logits"] = np.asarray(logits, "f4")
    metadata[name] = json.dumps(versions)
    save_file(tensors, path, metadata)
    print(f"{name}: {len(data)} bytes, {len(packed)} packed; latents of mean {np.mean(latents):.3f}, {np.mean(np.equal(latents, 0)):.0%} zero")


def tar(folder):
    """Returns a tar of the files of a folder, without times and owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(Path(folder).iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, path.open("rb"))
    return out.getvalue()


def pictures(path):
    import tensorflow as tf

    def resized(name):
        pixels = tf.io.decode_png((HERE.parent / "golden" / f"{name}.png").read_bytes(), channels=3)
        return tf.image.resize(pixels, (299, 299), antialias=True).numpy() / 255

    np.save(path, np.stack([resized(name) for name in ("cat", "rocket", "shuttle")]).astype("f4"))


def fill_keras(model, flat=False):
    for index, layer in enumerate(model.layers):
        names = [getattr(weight, "path", weight.name) for weight in layer.weights]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        layer.set_weights([tensor_values(3 * index + k, name, shape, flat) for k, (name, shape) in enumerate(zip(names, shapes))])
    return model


def keras_model(keras, flat=False):
    """Returns the model with a top of 1000 classes, and the model that outputs the latents."""
    model = fill_keras(keras.applications.InceptionV3(weights=None, classifier_activation=None), flat)
    return model, keras.Model(model.input, model.get_layer("avg_pool").output)


def keras3(x):
    import keras
    import tensorflow as tf

    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    model, base = keras_model(keras)
    latents, logits = (net.predict(2 * x - 1, verbose=0) for net in (base, model))
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(f"{folder}/a.weights.h5")
        keep("keras3.weights.h5", Path(f"{folder}/a.weights.h5").read_bytes(), latents, logits, versions)
        import zipfile

        model.save(f"{folder}/a.keras")
        # Store the entries uncompressed, because brotli cannot compress deflated data.
        with zipfile.ZipFile(f"{folder}/a.keras") as packed, zipfile.ZipFile(f"{folder}/b.keras", "w") as stored:
            for entry in packed.infolist():
                stored.writestr(zipfile.ZipInfo(entry.filename), packed.read(entry))
        keep("keras3.keras", Path(f"{folder}/b.keras").read_bytes(), latents, logits, versions)


def legacy(x):
    import types

    # tensorflowjs imports packages that only other converters need.
    for name in ("tensorflow_decision_forests", "jax", "jax.experimental", "jax.experimental.jax2tf"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["jax.experimental"].jax2tf = sys.modules["jax.experimental.jax2tf"]
    np.object, np.bool, np.cast = object, bool, {}
    import tensorflow as tf
    import tensorflowjs
    import tf2onnx
    import tf_keras as keras
    from tensorflowjs.converters import keras_tfjs_loader

    versions = {"tf_keras": keras.__version__, "tensorflow": tf.__version__}
    model, base = keras_model(keras)
    latents, logits = (net.predict(2 * x - 1, verbose=0) for net in (base, model))
    with tempfile.TemporaryDirectory() as folder:
        model.save_weights(f"{folder}/a.h5")
        keep("keras2.h5", Path(f"{folder}/a.h5").read_bytes(), latents, logits, versions)
        # A second model in the same session continues the layer numbers. It has no top and is saved as a whole model.
        second = fill_keras(keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg"))
        second.set_weights(model.get_weights()[:-2])
        second.save(f"{folder}/b.h5")
        keep("keras2-whole.h5", Path(f"{folder}/b.h5").read_bytes(), latents, None, versions)

        onnx = versions | {"tf2onnx": tf2onnx.__version__}
        flat, base = keras_model(keras, flat=True)
        pixels = (tf.TensorSpec((None, 299, 299, 3), tf.float32, name="x"),)
        tf2onnx.convert.from_keras(flat, input_signature=pixels, opset=15, output_path=f"{folder}/a.onnx")
        keep("tf2onnx.onnx", Path(f"{folder}/a.onnx").read_bytes(), base.predict(2 * x - 1, verbose=0), flat.predict(2 * x - 1, verbose=0), onnx)

        tfjs = versions | {"tensorflowjs": tensorflowjs.__version__}
        for kind in (None, "uint8", "uint16"):
            out = f"{folder}/tfjs-{kind}"
            tensorflowjs.converters.save_keras_model(model, out, quantization_dtype_map=kind and {kind: "*"})
            keras.backend.clear_session()
            loaded = keras_tfjs_loader.load_keras_model(f"{out}/model.json")
            base = keras.Model(loaded.input, loaded.get_layer("avg_pool").output)
            latents, logits = (net.predict(2 * x - 1, verbose=0) for net in (base, loaded))
            keep(f"tfjs-{kind or 'float32'}.tar", tar(out), latents, logits, tfjs)


def torch(x):
    import timm
    import torch
    import torchvision
    from safetensors.torch import save as to_safetensors

    def fill(net, flat=False):
        for index, (name, tensor) in enumerate(net.state_dict().items()):
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(tensor_values(index, name, tuple(tensor.shape), flat)))
        return net.eval()

    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    mean, deviation = (torch.tensor(c)[None, :, None, None] for c in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    normalised = (x - mean) / deviation
    with torch.no_grad():
        versions = {"torch": torch.__version__.split("+")[0], "timm": timm.__version__}
        net = fill(timm.create_model("inception_v3", pretrained=False))
        pooled = lambda x: net.forward_head(net.forward_features(x), pre_logits=True)
        packed = to_safetensors(net.state_dict(), {"format": "pt"})
        keep("timm.safetensors", packed, pooled(2 * x - 1), net(2 * x - 1), versions)
        gluon = {
            "architecture": "inception_v3",
            "num_classes": 1000,
            "pretrained_cfg": {"tag": "gluon_in1k", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "license": "apache-2.0"},
        }
        with tempfile.TemporaryDirectory() as folder:
            Path(f"{folder}/model.safetensors").write_bytes(packed)
            Path(f"{folder}/config.json").write_text(json.dumps(gluon))
            keep("timm-gluon.tar", tar(folder), pooled(normalised), net(normalised), versions)

        versions = {"torch": versions["torch"], "torchvision": torchvision.__version__.split("+")[0]}
        vision = fill(torchvision.models.inception_v3(weights=None, transform_input=True, aux_logits=True, init_weights=False))
        pooled_outputs = []
        vision.avgpool.register_forward_hook(lambda *arguments: pooled_outputs.append(arguments[2].flatten(1)))
        logits = vision(normalised)
        latents = pooled_outputs[0]
        for name, state, zipped in (
            ("torchvision.pth", vision.state_dict(), True),
            ("torchvision-legacy.pth", {"state_dict": {f"module.{key}": value for key, value in vision.state_dict().items()}}, False),
        ):
            out = io.BytesIO()
            torch.save(state, out, _use_new_zipfile_serialization=zipped)
            keep(name, out.getvalue(), latents, logits, versions)
        fill(vision, flat=True)
        logits, latents = vision(normalised), pooled_outputs[-1]
        with tempfile.TemporaryDirectory() as folder:
            torch.onnx.export(vision, (normalised[:1],), f"{folder}/a.onnx", dynamo=False, opset_version=17)
            keep("torch-script.onnx", Path(f"{folder}/a.onnx").read_bytes(), latents, logits, versions)
            os.mkdir(f"{folder}/b")
            torch.onnx.export(vision, (normalised[:1],), f"{folder}/b/model.onnx", dynamo=True, external_data=True)
            keep("torch-dynamo.tar", tar(f"{folder}/b"), latents, logits, versions)
            # With BatchNorm that is not folded.
            out = f"{folder}/c.onnx"
            torch.onnx.export(net, 2 * x[:1] - 1, out, dynamo=False, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)
            keep("torch-batchnorm.onnx", Path(out).read_bytes(), pooled(2 * x - 1), net(2 * x - 1), versions)


if __name__ == "__main__":
    command, path = sys.argv[1:]
    if command == "pictures":
        pictures(path)
    else:
        {"keras": keras3, "legacy": legacy, "torch": torch}[command](np.load(path))
