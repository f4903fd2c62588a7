"""Checks file exchange with Python: `train` reads tables saved by NumPy and safetensors, exported heads and latents give the same results
in NumPy and ONNX Runtime, and scores equal those of scikit-learn.

    node tests/exports.js       # creates a virtual environment from tests/exports.requirements.txt and runs this file in it
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

BINARY = Path(sys.argv[1]).resolve()
ROOT = Path(__file__).resolve().parent.parent
# f32 sums of 2048 products in another order change probabilities by about 1e-6.
TOLERANCE = 1e-5


def load_npz_head(path):
    head = np.load(path)
    layers = [(head[f"dense_{k}_kernel"], head[f"dense_{k}_bias"]) for k in (1, 2) if f"dense_{k}_kernel" in head]
    def probabilities(x):
        for k, (kernel, bias) in enumerate(layers):
            x = (np.maximum(x, 0) if k else x) @ kernel + bias
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    return head["classes"].tolist(), probabilities


def passed(fact):
    print(f"ok: {fact}", flush=True)


def check(condition, fact):
    if not condition:
        sys.exit(f"FAILED: {fact}")
    passed(fact)


def run(*arguments):
    """Runs a command that must succeed; returns stdout and stderr."""
    result = subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"FAILED: {arguments}: {result.stderr}")
    return result.stdout, result.stderr


def run_failing(*arguments):
    """Runs a command that must fail; returns stderr."""
    result = subprocess.run([BINARY, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if result.returncode == 0:
        sys.exit(f"FAILED: {arguments} should have failed")
    return result.stderr


def check_python_tables(folder, base_id):
    """Trains on one table in several file formats and data types; all heads must be identical."""
    rng = np.random.default_rng(1)
    # Exact in f16, so all formats hold the same numbers.
    latents = rng.integers(0, 8, (60, 2048)) / 4
    labels = np.arange(60) % 3
    latents[np.arange(60), labels] += 4
    classes = ["cat", "dog", "Käfer"]
    metadata = {"classes": json.dumps(classes)}
    text, encoded = np.array(classes), np.array([name.encode() for name in classes])
    files = {}

    def table(name, save):
        files[name] = folder / name
        save(files[name])

    def tensors(floats, integers, metadata):
        return lambda path: save_file({"latents": latents.astype(floats), "labels": labels.astype(integers)}, path, metadata)

    def arrays(save, floats, integers, classes, **more):
        return lambda path: save(path, latents=latents.astype(floats), labels=labels.astype(integers), classes=classes, **more)

    table("f4 i8 and the base.safetensors", tensors("f4", "i8", metadata | base_id))
    table("f8 i4.safetensors", tensors("f8", "i4", metadata))
    table("f2 u1.safetensors", tensors("f2", "u1", metadata))
    table("f4 i8 and the base.npz", arrays(np.savez, "<f4", "i8", text, **{key: np.array(value) for key, value in base_id.items()}))
    table("f8 i4 bytes.npz", arrays(np.savez, "<f8", "i4", encoded))
    table("f8 i4 bytes, deflated.npz", arrays(np.savez_compressed, "<f8", "i4", encoded))
    table("f2 u2, deflated.npz", arrays(np.savez_compressed, "<f2", "u2", text))
    table("big endian.npz", arrays(np.savez, ">f4", ">i8", text.astype(">U5")))
    table("by columns.npz", lambda path: np.savez(path, latents=np.asfortranarray(latents), labels=labels, classes=text))
    table("row names.npz", arrays(np.savez, "<f4", "i8", text, names=np.array([f"{row}.png" for row in range(60)])))
    heads = set()
    for name, path in files.items():
        head = folder / "python.safetensors"
        _, stderr = run("train", path, "--out", head, "--epochs", 3)
        heads.add(head.read_bytes())
        notice = "the file does not name its base; it is assumed to be the current base"
        check((notice in stderr) == ("the base" not in name), f"train reads {name}" + (" and reports the assumed base" if notice in stderr else ""))
    check(len(heads) == 1, f"{len(files)} formats of one table give identical heads")

    objects, empty = folder / "objects.npz", folder / "empty.npz"
    np.savez(objects, latents=latents, labels=labels, classes=np.array(classes, dtype=object))
    check("save it as np.array(classes, dtype=str)" in run_failing("train", objects), "pickled classes are rejected with advice")
    np.savez(empty, latents)
    check('has no array "latents" (found: "arr_0"); save it with np.savez(' in run_failing("train", empty), "unnamed arrays are rejected with advice")
    save_file({"latents": latents, "labels": labels}, empty)
    check('metadata={"classes": json.dumps(' in run_failing("train", empty), "safetensors without classes are rejected with advice")


def check_latents(folder, table):
    """NumPy reads exported latents with the same values and names, and converting them back gives the original file."""
    run("export", table, "--to", folder / "latents.npz")
    arrays = np.load(folder / "latents.npz", allow_pickle=False)
    with safe_open(table, "np") as tensors:
        metadata = tensors.metadata()
        check(np.array_equal(arrays["latents"], tensors.get_tensor("latents")), "np.load reads exported latents, bit for bit")
        check(np.array_equal(arrays["labels"], tensors.get_tensor("labels")), "and its labels")
    check((arrays["latents"].dtype, arrays["labels"].dtype) == (np.float32, np.int64), "as float32 and int64")
    for key in ("classes", "names"):
        check(arrays[key].tolist() == json.loads(metadata[key]), f"and its {key}, without pickle")
    for key in ("base", "fingerprint"):
        check(arrays[key].item() == metadata[key], f"and its {key}")
    run("export", folder / "latents.npz", "--to", folder / "again.safetensors")
    check((folder / "again.safetensors").read_bytes() == table.read_bytes(), "converting back gives the original file, bit for bit")


def numpy_head(path):
    """Loads a head from safetensors; returns its metadata and a function that computes probabilities in f64."""
    with safe_open(path, "np") as tensors:
        metadata = tensors.metadata()
        layers = [
            [tensors.get_tensor(f"dense_{k}.{part}").astype(np.float64) for part in ("kernel", "bias")]
            for k in range(1, int(metadata["layers"]) + 1)
        ]

    def probabilities(x):
        for kernel, bias in layers[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        logits = x @ layers[-1][0] + layers[-1][1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    return metadata, probabilities


def check_head(folder, kind, table, pictures, train):
    """One head in three file formats gives the probabilities that `predict` gives."""
    head, npz, onnx_file = (folder / f"{kind}.{extension}" for extension in ("safetensors", "npz", "onnx"))
    run("train", table, "--test", table, "--name", "träned here", "--out", head, *train)
    run("export", head, "--to", npz)
    run("export", head, "--to", onnx_file)
    metadata, by_safetensors = numpy_head(head)
    classes = json.loads(metadata["classes"])
    with safe_open(table, "np") as tensors:
        latents = tensors.get_tensor("latents")
    # Means of two rows give less certain probabilities, where errors show more.
    rows = np.concatenate([latents, (latents + np.roll(latents, 2, axis=0)) / 2])

    printed, _ = run("predict", "--head", head, "--json", "--top", len(classes), *pictures)
    own = [{answer["label"]: answer["probability"] for answer in picture["predictions"]} for picture in json.loads(printed)]
    own = np.array([[answer[name] for name in classes] for answer in own])

    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    passed(f"{kind} head: onnx.checker passes")
    properties = {prop.key: prop.value for prop in model.metadata_props}
    kept = ("name", "classes", "base", "fingerprint", "temperature", "unsure_below")
    check(properties == {key: metadata[key] for key in kept}, f"{kind} head: the ONNX metadata has {', '.join(kept)}")
    check(
        (model.ir_version, [(opset.domain, opset.version) for opset in model.opset_import], model.producer_name)
        == (8, [("", 17)], "inception-web"),
        f"{kind} head: ONNX opset is 17",
    )
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    sides = [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    check(
        sides == [("latents", "tensor(float)", ["N", 2048]), ("probabilities", "tensor(float)", ["N", len(classes)])],
        f"{kind} head: the ONNX signature is latents [N, 2048] -> probabilities [N, {len(classes)}]",
    )
    by_onnx = session.run(["probabilities"], {"latents": rows})[0]
    one = session.run(["probabilities"], {"latents": rows[:1]})[0]
    check(np.allclose(one, by_onnx[:1], atol=TOLERANCE, rtol=0), f"{kind} head: a batch of one gives the same")

    names, by_npz = load_npz_head(npz)
    arrays = np.load(npz, allow_pickle=False)
    check(names == classes, f"{kind} head: the npz file has the classes")
    for key in ("name", "base", "fingerprint"):
        check(arrays[key].item() == metadata[key], f"{kind} head: the npz file knows its {key}")
    for key in ("temperature", "unsure_below"):
        check(arrays[key].item() == np.float32(metadata[key]), f"{kind} head: the npz file knows its {key}")

    exact = by_safetensors(rows.astype(np.float64))
    check(exact.max() > 0.9 and exact.max(axis=1).min() < 0.9, f"{kind} head: the rows cover high and low confidence")
    for source, got in (("predict", own), ("ONNX Runtime", by_onnx), ("npz", by_npz(rows))):
        off = np.abs(got - exact[: len(got)]).max()
        check(len(got) in (len(pictures), len(rows)) and off < TOLERANCE, f"{kind} head: probabilities by {source} equal those by safetensors (max difference {off:.1e})")


def same(actual, expected):
    """Compares f64 scores up to rounding. Undefined scores are null in our JSON and NaN in scikit-learn."""
    actual = np.array([np.nan if score is None else score for score in actual], dtype=np.float64)
    return np.allclose(actual, expected, rtol=0, atol=1e-9, equal_nan=True)


def check_scores(folder):
    """Compares scores with scikit-learn on random tables, including classes without predictions and classes without pictures."""
    rng = np.random.default_rng(7)
    tables = never_predicted = never_present = 0
    for count in range(2, 8):
        # Latent k is large in class k, so that rows can be made for any prediction.
        classes = [f"class {k}" for k in range(count)]
        def save(path, predicted, labels, strength):
            latents = rng.normal(0, 0.05, (len(labels), 2048))
            latents[np.arange(len(labels)), predicted] += strength
            save_file({"latents": latents.astype("f4"), "labels": np.asarray(labels, "i8")}, path, {"classes": json.dumps(classes)})

        training_labels = np.arange(40 * count) % count
        save(folder / "training.safetensors", training_labels, training_labels, 4.0)
        head = folder / "drawn.safetensors"
        run("train", folder / "training.safetensors", "--out", head, "--epochs", 8, "--validation", 0)
        for size in (1, 3, 40, 700):
            labels = rng.integers(0, count if rng.random() < 0.5 else max(1, count - 1), size)
            right = rng.random(size) < rng.random()
            predicted = np.where(right, labels, rng.integers(0, max(1, count - 1), size))
            save(folder / "test.safetensors", predicted, labels, rng.uniform(0.3, 4.0, size))
            printed, _ = run("evaluate", folder / "test.safetensors", "--head", head, "--json")
            ours = json.loads(printed)["evaluation"]
            truth = np.array([answer["label"] for answer in ours["answers"]])
            answered = np.array([answer["answered"] for answer in ours["answers"]])
            sure = np.array([answer["probability"] for answer in ours["answers"]])
            every = np.arange(count)
            precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, answered, labels=every, zero_division=np.nan)
            interval = binomtest(int((truth == answered).sum()), size).proportion_ci(0.95, "wilson")
            present = support > 0
            in_bins = np.minimum((sure * 10).astype(int), 9)
            shares = np.array([(in_bins == k).sum() / size for k in range(10)])
            accuracy, confidence = calibration_curve(truth == answered, sure, n_bins=10)
            error = (np.abs(accuracy - confidence) * shares[shares > 0]).sum()
            facts = {
                "labels": np.array_equal(truth, labels),
                "accuracy": same([ours["accuracy"]], metrics.accuracy_score(truth, answered)),
                "interval": same(ours["interval"], interval),
                "confusion": np.array_equal(ours["confusion"], metrics.confusion_matrix(truth, answered, labels=every)),
                "precision": same([each["precision"] for each in ours["classes"]], precision),
                "recall": same([each["recall"] for each in ours["classes"]], recall),
                "f1": same([each["f1"] for each in ours["classes"]], f1),
                "pictures": [each["pictures"] for each in ours["classes"]] == support.tolist(),
                "macro F1": same([ours["macroF1"]], np.nan_to_num(f1[present]).mean()),
                # Probabilities are f32.
                "calibration error": abs(ours["calibrationError"] - error) < 1e-6,
            }
            wrong = [name for name, equal in facts.items() if not equal]
            if wrong:
                sys.exit(f"FAILED: {', '.join(wrong)} differ from scikit-learn for {size} answers and {count} classes: {json.dumps(ours)[:3000]}")
            tables += 1
            never_predicted += int(np.isnan(precision).sum())
            never_present += int(np.isnan(recall).sum())
    check(never_predicted > 3 and never_present > 3, f"some classes are never predicted ({never_predicted}) or never present ({never_present})")
    passed(f"accuracy, interval, confusion, precision, recall, F1 and calibration of {tables} tables equal those of scikit-learn")


def main():
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        samples = {"cat": "animals", "horse": "animals", "airplane": "machines", "rocket": "machines", "coffee": "things", "boats": "things"}
        for sample, name in samples.items():
            (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "www/samples" / f"{sample}.jpg", folder / "pictures" / name)
        table = folder / "latents.safetensors"
        run("extract", folder / "pictures", "--out", table)
        with safe_open(table, "np") as tensors:
            metadata = tensors.metadata()
        pictures = [folder / "pictures" / name for name in json.loads(metadata["names"])]

        check_python_tables(folder, {key: metadata[key] for key in ("base", "fingerprint")})
        check_latents(folder, table)
        check_scores(folder)
        check_head(folder, "linear", table, pictures, ["--validation", "0"])
        check_head(folder, "hidden", table, pictures, ["--validation", "0", "--hidden", "16", "--learning-rate", "5e-3"])
        stderr = run_failing("export", table, "--to", folder / "latents.onnx")
        check("latents cannot be exported as ONNX; use .npz or .safetensors" in stderr, "latents to ONNX are rejected with advice")
        stderr = run_failing("export", table, "--to", folder / "latents.csv")
        check("unknown output format; use the extension .npz, .onnx or .safetensors" in stderr, "unknown extensions are rejected with advice")


if __name__ == "__main__":
    main()
