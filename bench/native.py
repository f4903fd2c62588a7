"""Times Inception V3 natively, on one thread: our command line beside onnxruntime, with the same weights and pictures, in turn.

    node inference.js                             # once: it makes the model, and the environment that this runs in
    .models/venv/bin/python native.py [--rounds N] [--json]

NATIVE: the command line, else ../target/release/inception-web. It has no stopwatch, so a picture of ours is the time of `extract` on
ten pictures more, its start left out; it holds decoding and resizing. onnxruntime gets tensors that are resized already. CPU ms are user
and system time of the process.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent
PICTURES = ["rocket", "cat", "shuttle"]
FEW, MANY = 10, 20
FURTHEST = 1e-3
program = Path(os.environ.get("NATIVE", HERE.parent / "target" / "release" / "inception-web")).resolve()
golden = load_file(HERE.parent / "tests" / "golden" / "pictures.safetensors")


def furthest(latents, names):
    """The largest difference to Keras's latents."""
    off = max(float(np.abs(row - golden[f"{name}.latents"]).max()) for row, name in zip(latents, names, strict=True))
    if not off <= FURTHEST:
        raise SystemExit(f"latents are off by {off:.1e} from Keras's, more than {FURTHEST}")
    return off


class Ours:
    name = "inception-web, native"

    def __init__(self, folder):
        self.folder = folder
        for count in (FEW, MANY):
            (folder / str(count)).mkdir()
            for n in range(count):
                name = PICTURES[n % len(PICTURES)]
                shutil.copy(HERE.parent / "tests" / "golden" / f"{name}.png", folder / str(count) / f"{n:02}-{name}.png")
        self.furthest = 0.0

    def extract(self, count):
        out = self.folder / "latents.safetensors"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(
            [program, "extract", self.folder / str(count), "--out", out],
            cwd=HERE.parent, env=os.environ | {"RAYON_NUM_THREADS": "1"}, check=True, capture_output=True,
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        latents = load_file(out)["latents"]
        self.furthest = max(self.furthest, furthest(latents, [PICTURES[n % len(PICTURES)] for n in range(count)]))
        return np.array([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])

    def once(self):
        return (self.extract(MANY) - self.extract(FEW)) * 1000 / (MANY - FEW)


class Onnxruntime:
    def __init__(self, batch):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name = f"onnxruntime, batch {batch}"
        self.session = onnxruntime.InferenceSession(str(HERE / ".models" / "inception.onnx"), options, providers=["CPUExecutionProvider"])
        self.names = [PICTURES[n % len(PICTURES)] for n in range(batch)]
        pictures = [np.fromfile(HERE / ".models" / f"{name}.f32", "<f4").reshape(299, 299, 3) for name in self.names]
        self.inputs = {self.session.get_inputs()[0].name: np.stack(pictures)}
        self.furthest = 0.0

    def once(self):
        runs = max(1, (MANY - FEW) // len(self.names))
        start = np.array([time.perf_counter(), time.process_time()])
        for _ in range(runs):
            [latents] = self.session.run(None, self.inputs)
        end = np.array([time.perf_counter(), time.process_time()])
        self.furthest = max(self.furthest, furthest(latents, self.names))
        return (end - start) * 1000 / (runs * len(self.names))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = [Ours(Path(folder)), Onnxruntime(1), Onnxruntime(8)]
        times = {side.name: [] for side in sides}
        for round_ in range(-1, options.rounds):  # the first is not counted
            for side in sides:
                told = side.once()
                if round_ >= 0:
                    times[side.name].append(told.tolist())
    rows = []
    for side in sides:
        wall, processor = zip(*times[side.name])
        quarters = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else [wall[0]] * 3
        rows.append({"name": side.name, "median": statistics.median(wall), "low": quarters[0], "high": quarters[2],
                     "processor": statistics.median(processor), "furthest": side.furthest})
    ours, *peers = rows
    best = min(peers, key=lambda row: row["median"])
    if options.json:
        print(json.dumps({"onnxruntime": onnxruntime.__version__, "rounds": options.rounds, "rows": rows, "ratio": ours["median"] / best["median"]}))
        return
    print(f"one thread, onnxruntime {onnxruntime.__version__}, {options.rounds} rounds in turn\n")
    print("| runtime | ms an image | middle half | CPU ms an image | max abs diff to Keras |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['name']} | {row['median']:.0f} | {row['low']:.0f} - {row['high']:.0f} | {row['processor']:.0f} | {row['furthest']:.0e} |")
    print(f"\nOurs / best peer: {ours['median'] / best['median']:.2f} ({best['name']})")


main()
