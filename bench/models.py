"""Makes the models and inputs of the other runtimes: `models.py FOLDER`, with the packages of `models.requirements.txt`.

inference.js runs this script. All models have the weights of the Inception V3 in npm `nsfwjs`, up to the 2048 average-pooled latents, read by
`tests/golden/make.py`:

    inception.onnx        [N, 299, 299, 3] -> [N, 2048], float32, by tf2onnx
    inception-1.tflite    [1, 299, 299, 3] -> [1, 2048], float32, by TensorFlow's converter; LiteRT needs a fixed batch size
    inception-8.tflite    the same for a batch of eight
    tfjs/                 the layers model of the package, u8: the `model.json` and shards that were bundled into it
    cat.f32, ...          the golden pictures as network input: [299, 299, 3] float32, 0 to 1
    versions.json         versions of the packages used
"""

import base64
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
from make import HERE as GOLDEN, nsfwjs_net, resize  # noqa: E402

NSFWJS = ROOT / "node_modules" / "nsfwjs"
PICTURES = ["cat", "rocket", "shuttle"]
BATCHES = [1, 8]


def write_inputs(folder):
    for name in PICTURES:
        pixels = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB"))
        (resize(pixels) / np.float32(255)).astype("<f4").tofile(folder / f"{name}.f32")


def write_onnx(net, folder):
    import tf2onnx

    signature = [tf.TensorSpec([None, 299, 299, 3], tf.float32, name="pictures")]
    function = tf.function(lambda x: net(x, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(folder / "inception.onnx"))


def write_tflite(net, folder):
    for batch in BATCHES:
        signature = [tf.TensorSpec([batch, 299, 299, 3], tf.float32, name="pictures")]
        function = tf.function(lambda x: net(x, training=False), input_signature=signature)
        # Freeze the variables first: the converter omits those of Keras 3.
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        (folder / f"inception-{batch}.tflite").write_bytes(converter.convert())


def write_tfjs(folder):
    """Unpacks the files from the CommonJS modules that they are bundled in."""
    script = "process.stdout.write(JSON.stringify(require(process.argv[1])))"
    source = NSFWJS / "dist" / "models" / "inception_v3"

    def bundled(name):
        return json.loads(subprocess.run(["node", "-e", script, str(source / name)], check=True, capture_output=True).stdout)

    model = bundled("model.min.js")
    (folder / "tfjs").mkdir(exist_ok=True)
    (folder / "tfjs" / "model.json").write_text(json.dumps(model, separators=(",", ":")))
    for path in (path for group in model["weightsManifest"] for path in group["paths"]):
        (folder / "tfjs" / path).write_bytes(base64.b64decode(bundled(f"{path}.min.js")))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_inputs(folder)
    write_tfjs(folder)
    net = nsfwjs_net(NSFWJS)
    write_onnx(net, folder)
    write_tflite(net, folder)
    names = ["tensorflow-cpu", "keras", "tf2onnx", "onnxruntime"]
    versions = {name: importlib.metadata.version(name) for name in names}
    versions["nsfwjs"] = json.loads((NSFWJS / "package.json").read_text())["version"]
    # Written last: its presence means that all files are complete.
    (folder / "versions.json").write_text(json.dumps(versions))


main(Path(sys.argv[1]))
