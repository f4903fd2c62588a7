"""Golden tensors for the tests, computed by real Keras: `blocks.safetensors`, `pictures.safetensors` and the pictures.

    npm install nsfwjs@4.4.0
    python3.11 -m venv venv
    venv/bin/pip install tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6 pillow==13.0.0 \
        safetensors==0.8.0 scikit-image==0.26.0
    venv/bin/python tests/golden/make.py [NSFWJS_FOLDER]      # default: node_modules/nsfwjs; needs `node`

Everything is written beside this file. The versions and the formulas are also in each file's metadata.

# blocks.safetensors

Each kind of block of Inception V3 alone, [1, H, W, C] float32, with weights and inputs given by the formulas below, so
that nothing but the outputs need be kept. The columns, their order and their paddings are those of
`keras/src/applications/inception_v3.py` (Keras 3.15.1): https://github.com/keras-team/keras, read there as `conv2d_bn`
calls from the first convolution to `mixed10`. They are typed once more here on purpose, and `check_against_keras` runs
the same weights through the very same piece cut out of `keras.applications.InceptionV3`.

Compare them within 2e-5: float32 costs up to 5e-6 (each block's figure is in the metadata), and every mistake tried, such
as an average pooling that counts its padding, or a kernel turned over, moves some output by 0.19 or more.

# pictures.safetensors

For every picture NAME.png: `NAME.resized`, every 13th row and column of `tf.image.resize(x, (299, 299), "bilinear",
antialias=True)`, [23, 23, 3] float32 from 0 to 255; and `NAME.latents`, [2048] float32, what `keras.applications.InceptionV3`
gives for that resized picture / 255 with the weights in npm `nsfwjs`, dequantised in float64 and
rounded once, as TensorFlow.js does. Dequantised in float32 the weights differ by their last bit, the latents by 3e-5.

The pictures are crops of three that come with scikit-image: `chelsea` (CC0, Stefan van der Walt), `rocket` (public
domain, SpaceX) and `astronaut` (public domain, NASA).
"""

import base64
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import PIL
import skimage
import tensorflow as tf
from PIL import Image
from safetensors.numpy import save

HERE = Path(__file__).resolve().parent
VERSIONS = {
    "tensorflow": tf.__version__,
    "keras": keras.__version__,
    "numpy": np.__version__,
    "pillow": PIL.__version__,
    "scikit-image": skimage.__version__,
}


def write(path, tensors, metadata):
    """As `safetensors` does, but with the metadata in order, which it shuffles: the same input makes the same file."""
    data = save(tensors, metadata)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = metadata
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])

# --- blocks ---------------------------------------------------------------------------------------------------------

FORMULA = {
    "layout": "[1, height, width, channels] float32; a kernel is [rows, columns]",
    "hash": "h(n): u32 n; n ^= n>>16; n *= 0x85ebca6b; n ^= n>>13; n *= 0xc2b2ae35; n ^= n>>16; n / 2^31 - 1",
    "weight": "h(10000000*k + ((o*in_channels + i)*rows + y)*columns + x) * sqrt(6 / (in_channels*rows*columns)) "
    "for output channel o, input channel i, row y, column x (all from 0) of the block's k-th convolution "
    "(from 1; column by column, each from its first convolution to its last)",
    "bias": "0.1 * h(10000000*k + 9000000 + o)",
    "input": "h((c*height + y)*width + x) for channel c, row y, column x",
    "precision": "formulas in float64, rounded once to float32; the block in float32",
}


def hashed(n):
    """Whole numbers below 2^32 -> [-1, 1), by murmur3's finaliser: exact in any language with 32 bit integers."""
    n, low = np.asarray(n, np.uint64), np.uint64(0xFFFFFFFF)
    n = (n ^ (n >> np.uint64(16))) * np.uint64(0x85EBCA6B) & low
    n = (n ^ (n >> np.uint64(13))) * np.uint64(0xC2B2AE35) & low
    return (n ^ (n >> np.uint64(16))) / 2.0**31 - 1.0


def weight(k, rows, columns, inputs, outputs):
    """The k-th convolution's kernel, in Keras's order [rows, columns, inputs, outputs]."""
    n = np.arange(outputs * inputs * rows * columns).reshape(outputs, inputs, rows, columns)
    return hashed(n.transpose(2, 3, 1, 0) + k * 10_000_000) * np.sqrt(6.0 / (inputs * rows * columns))


def bias(k, outputs):
    return 0.1 * hashed(np.arange(outputs) + k * 10_000_000 + 9_000_000)


def block_input(height, width, channels):
    return hashed(np.arange(channels * height * width).reshape(channels, height, width)).transpose(1, 2, 0)[None]


class Convolution:
    """Keras's `conv2d_bn` with a bias instead of the batch norm; counts the convolutions it makes."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.made = []  # what each was asked to be, to compare with keras.applications

    def __call__(self, x, outputs, rows, columns, strides=(1, 1), padding="same"):
        k = len(self.made) + 1
        inputs = x.shape[-1]
        layer = keras.layers.Conv2D(
            outputs,
            (rows, columns),
            strides=strides,
            padding=padding,
            use_bias=True,
            activation="relu",
            dtype=self.dtype,
        )
        layer.build(x.shape)
        kernel = weight(k, rows, columns, inputs, outputs).astype(np.float32)
        layer.set_weights([kernel, bias(k, outputs).astype(np.float32)])
        self.made.append((inputs, outputs, (rows, columns), strides, padding))
        return layer(x)


def max_pool(x):
    return keras.layers.MaxPooling2D((3, 3), strides=(2, 2), dtype=x.dtype)(x)


def average_pool(x):
    return keras.layers.AveragePooling2D((3, 3), strides=(1, 1), padding="same", dtype=x.dtype)(x)


def concatenate(columns):
    return keras.layers.Concatenate(axis=3, dtype=columns[0].dtype)(columns)


def stem(x, conv):
    x = conv(x, 32, 3, 3, strides=(2, 2), padding="valid")
    x = conv(x, 32, 3, 3, padding="valid")
    x = conv(x, 64, 3, 3)
    x = max_pool(x)
    x = conv(x, 80, 1, 1, padding="valid")
    x = conv(x, 192, 3, 3, padding="valid")
    return max_pool(x)


def mixed_35(x, conv):
    one = conv(x, 64, 1, 1)

    five = conv(x, 48, 1, 1)
    five = conv(five, 64, 5, 5)

    double = conv(x, 64, 1, 1)
    double = conv(double, 96, 3, 3)
    double = conv(double, 96, 3, 3)

    pool = conv(average_pool(x), 32, 1, 1)
    return concatenate([one, five, double, pool])


def reduce_35(x, conv):
    three = conv(x, 384, 3, 3, strides=(2, 2), padding="valid")

    double = conv(x, 64, 1, 1)
    double = conv(double, 96, 3, 3)
    double = conv(double, 96, 3, 3, strides=(2, 2), padding="valid")
    return concatenate([three, double, max_pool(x)])


def mixed_17(x, conv):
    one = conv(x, 192, 1, 1)

    seven = conv(x, 128, 1, 1)
    seven = conv(seven, 128, 1, 7)
    seven = conv(seven, 192, 7, 1)

    double = conv(x, 128, 1, 1)
    double = conv(double, 128, 7, 1)
    double = conv(double, 128, 1, 7)
    double = conv(double, 128, 7, 1)
    double = conv(double, 192, 1, 7)

    pool = conv(average_pool(x), 192, 1, 1)
    return concatenate([one, seven, double, pool])


def reduce_17(x, conv):
    three = conv(x, 192, 1, 1)
    three = conv(three, 320, 3, 3, strides=(2, 2), padding="valid")

    seven = conv(x, 192, 1, 1)
    seven = conv(seven, 192, 1, 7)
    seven = conv(seven, 192, 7, 1)
    seven = conv(seven, 192, 3, 3, strides=(2, 2), padding="valid")
    return concatenate([three, seven, max_pool(x)])


def mixed_8(x, conv):
    one = conv(x, 320, 1, 1)

    three = conv(x, 384, 1, 1)
    three = concatenate([conv(three, 384, 1, 3), conv(three, 384, 3, 1)])

    double = conv(x, 448, 1, 1)
    double = conv(double, 384, 3, 3)
    double = concatenate([conv(double, 384, 1, 3), conv(double, 384, 3, 1)])

    pool = conv(average_pool(x), 192, 1, 1)
    return concatenate([one, three, double, pool])


# block: (input [height, width, channels]; in keras.applications, the layers its input and output come from, and how
# many convolutions stand before it there). The second max pooling, the stem's end, has no name of its own.
BLOCKS = {
    stem: ((91, 91, 3), "input", "max_pooling2d_1", 0),
    mixed_35: ((9, 9, 192), "max_pooling2d_1", "mixed0", 5),
    reduce_35: ((9, 9, 288), "mixed2", "mixed3", 26),
    mixed_17: ((5, 5, 768), "mixed3", "mixed4", 30),
    reduce_17: ((7, 7, 768), "mixed7", "mixed8", 70),
    mixed_8: ((3, 3, 1280), "mixed8", "mixed9", 76),
}


def in_construction_order(model, kind):
    """Layers of that kind as Keras numbered them: `conv2d`, `conv2d_1`, ... (`model.layers` is in depth order)."""
    number = lambda layer: int((layer.name.rsplit("_", 1) + ["0"])[1]) if layer.name[-1].isdigit() else 0
    return sorted((layer for layer in model.layers if type(layer) is kind), key=number)


def check_against_keras(block, x, y, made):
    """Fails unless the same piece of keras.applications.InceptionV3, given the same numbers, computes the same."""
    _, first, last, before = BLOCKS[block]
    keras.backend.clear_session()
    net = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(None, None, 3))
    convolutions = in_construction_order(net, keras.layers.Conv2D)[before : before + len(made)]
    norms = in_construction_order(net, keras.layers.BatchNormalization)[before : before + len(made)]
    theirs = [(c.kernel.shape[2], c.filters, c.kernel_size, c.strides, c.padding) for c in convolutions]
    assert theirs == made, f"{block.__name__}: {made} is not Keras's {theirs}"
    for k, (convolution, norm) in enumerate(zip(convolutions, norms), start=1):
        inputs, outputs, (rows, columns), _, _ = made[k - 1]
        convolution.set_weights([weight(k, rows, columns, inputs, outputs).astype(np.float32)])
        # x / sqrt(variance + epsilon) is x, and beta is the bias
        mean, variance = np.zeros(outputs), np.full(outputs, 1.0 - norm.epsilon)
        norm.set_weights([bias(k, outputs), mean, variance])
    start = net.inputs[0] if first == "input" else net.get_layer(first).output
    piece = keras.Model(start, net.get_layer(last).output)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in piece.layers) == len(made)
    difference = np.abs(piece(x, training=False).numpy() - y).max()
    assert difference < 2e-5, f"{block.__name__}: differs from keras.applications by {difference}"
    return difference


def make_blocks():
    tensors, metadata = {}, VERSIONS | FORMULA
    for block, (shape, _, last, _) in BLOCKS.items():
        x = block_input(*shape).astype(np.float32)
        conv = Convolution("float32")
        y = block(tf.constant(x), conv).numpy()
        exact = block(tf.constant(x, dtype="float64"), Convolution("float64")).numpy()
        rounding = np.abs(y - exact).max()
        cut = check_against_keras(block, x, y, conv.made)
        name = block.__name__
        tensors[name] = y
        metadata[name] = f"input {list(shape)}; as {last}; max {y.max():.3f}; {rounding:.1e} from the same in float64"
        print(f"{name}: {y.shape}, mean {y.mean():.4f}, zero {(y == 0).mean():.0%}, {metadata[name]}, {cut:.1e} from Keras's")
    write(HERE / "blocks.safetensors", tensors, metadata)


# --- pictures -------------------------------------------------------------------------------------------------------


def pictures():
    """Name -> [height, width, 3] uint8: one to enlarge, one to reduce, and one to do both."""
    cat = Image.fromarray(skimage.data.chelsea()).crop((40, 0, 340, 300)).resize((32, 32), Image.Resampling.BOX)
    return {
        "cat": np.asarray(cat),
        "rocket": skimage.data.rocket()[20:400, 70:570],
        "shuttle": skimage.data.astronaut()[6:506, 396:433],
    }


def nsfwjs_weights(folder):
    """The weights of the Inception V3 in `nsfwjs`, by their names there, as float64."""
    # A TensorFlow.js layers model whose parts were bundled as CommonJS: the JSON, and its bytes in base64.
    read = """
        const path = require("path"), folder = path.resolve(process.argv[1], "dist/models/inception_v3");
        const model = require(path.join(folder, "model.min.js"));
        const shards = model.weightsManifest.flatMap(group => group.paths)
            .map(name => require(path.join(folder, name + ".min.js")));
        process.stdout.write(JSON.stringify({manifest: model.weightsManifest, shards}));
    """
    printed = subprocess.run(["node", "-e", read, str(folder)], check=True, capture_output=True).stdout
    model = json.loads(printed)
    data = b"".join(base64.b64decode(shard) for shard in model["shards"])
    weights, at = {}, 0
    for entry in (entry for group in model["manifest"] for entry in group["weights"]):
        affine, size = entry["quantization"], int(np.prod(entry["shape"]))
        assert affine["dtype"] == "uint8", entry
        quantised = np.frombuffer(data, np.uint8, size, at).reshape(entry["shape"])
        weights[entry["name"]] = quantised * affine["scale"] + affine["min"]
        at += size
    assert at == len(data), f"{len(data) - at} bytes left over"
    return weights


def nsfwjs_net(folder):
    keras.backend.clear_session()
    net = keras.applications.InceptionV3(include_top=False, pooling="avg", weights=None, input_shape=(299, 299, 3))
    weights = nsfwjs_weights(folder)
    convolutions = in_construction_order(net, keras.layers.Conv2D)
    norms = in_construction_order(net, keras.layers.BatchNormalization)
    assert len(convolutions) == len(norms) == 94
    for n, (convolution, norm) in enumerate(zip(convolutions, norms), start=1):
        assert norm.epsilon == 1e-3 and not norm.scale
        convolution.set_weights([weights[f"conv2d_{n}/kernel"]])
        norm.set_weights([weights[f"batch_normalization_{n}/{part}"] for part in ("beta", "moving_mean", "moving_variance")])
    return net


def resize(pixels):
    """[height, width, 3] uint8 -> [299, 299, 3] float32 from 0 to 255, stretched."""
    return tf.image.resize(pixels, (299, 299), method="bilinear", antialias=True).numpy()


def make_pictures(folder):
    version = json.loads((folder / "package.json").read_text())["version"]
    net = nsfwjs_net(folder)
    tensors, metadata = {}, VERSIONS | {
        "weights": f"Inception V3 in npm nsfwjs {version}, without its dense layers; a weight is q*scale + min in float64, rounded once to float32",
        "resized": 'tf.image.resize(x, (299, 299), "bilinear", antialias=True)[::13, ::13], 0 to 255',
        "latents": 'keras.applications.InceptionV3(include_top=False, pooling="avg") of resized / 255',
    }
    for name, pixels in pictures().items():
        Image.fromarray(pixels).save(HERE / f"{name}.png", optimize=True)
        assert (np.asarray(Image.open(HERE / f"{name}.png")) == pixels).all()
        resized = resize(pixels)
        latents = net(resized[None] / np.float32(255), training=False).numpy()[0]
        tensors[f"{name}.resized"] = np.ascontiguousarray(resized[::13, ::13])
        tensors[f"{name}.latents"] = latents
        print(f"{name}: {pixels.shape}, latents mean {latents.mean():.4f}, max {latents.max():.4f}")
    write(HERE / "pictures.safetensors", tensors, metadata)


if __name__ == "__main__":
    nsfwjs = Path(sys.argv[1] if len(sys.argv) > 1 else "node_modules/nsfwjs")
    make_blocks()
    make_pictures(nsfwjs)
