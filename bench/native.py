"""Compares the command line with onnxruntime: Inception V3 on one thread, with the same weights and pictures, in turn.

    node inference.js                             # once: makes the model and the Python environment
    .models/venv/bin/python native.py [--rounds N] [--json]

NATIVE is the path of the command line; default: ../target/release/inception-web. The time per picture is the difference between `extract` on
20 and on 10 pictures, which excludes the start and includes decoding and resizing. onnxruntime gets resized tensors. CPU ms are the user and
system time of the process.
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
MAX_DIFFERENCE = 1e-3
BINARY = Path(os.environ.get("NATIVE", HERE.parent / "target" / "release" / "inception-web")).resolve()
golden = load_file(HERE.parent / "tests" / "golden" / "pictures.safetensors")


def largest_difference(latents, names):
    """Returns the largest difference to the latents of Keras; exits if it is too large for the same network."""
    difference = max(float(np.abs(row - golden[f"{name}.latents"]).max()) for row, name in zip(latents, names, strict=True))
    if not difference <= MAX_DIFFERENCE:
        raise SystemExit(f"wrong latents: they differ from those of Keras by {difference:.1e}, expected at most {MAX_DIFFERENCE}")
    return difference


class InceptionWeb:
    name = "inception-web, native"

    def __init__(self, folder):
        self.folder = folder
        for count in (FEW, MANY):
            (folder / str(count)).mkdir()
            for n in range(count):
                name = PICTURES[n % len(PICTURES)]
                shutil.copy(HERE.parent / "tests" / "golden" / f"{name}.png", folder / str(count) / f"{n:02}-{name}.png")
        self.difference = 0.0

    def extract(self, count):
        out = self.folder / "latents.safetensors"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(
            [BINARY, "extract", self.folder / str(count), "--out", out],
            cwd=HERE.parent, env=os.environ | {"RAYON_NUM_THREADS": "1"}, check=True, capture_output=True,
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        latents = load_file(out)["latents"]
        self.difference = max(self.difference, largest_difference(latents, [PICTURES[n % len(PICTURES)] for n in range(count)]))
        return np.array([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])

    def time_per_picture(self):
        """Milliseconds per picture: wall-clock time and CPU time."""
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
        self.difference = 0.0

    def time_per_picture(self):
        """Milliseconds per picture: wall-clock time and CPU time."""
        runs = max(1, (MANY - FEW) // len(self.names))
        start = np.array([time.perf_counter(), time.process_time()])
        for _ in range(runs):
            [latents] = self.session.run(None, self.inputs)
        end = np.array([time.perf_counter(), time.process_time()])
        self.difference = max(self.difference, largest_difference(latents, self.names))
        return (end - start) * 1000 / (runs * len(self.names))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runtimes = [InceptionWeb(Path(folder)), Onnxruntime(1), Onnxruntime(8)]
        times = {runtime.name: [] for runtime in runtimes}
        for round_ in range(-1, options.rounds):  # round -1 is the warm-up
            for runtime in runtimes:
                measured = runtime.time_per_picture()
                if round_ >= 0:
                    times[runtime.name].append(measured.tolist())
    rows = []
    for runtime in runtimes:
        wall, cpu = zip(*times[runtime.name])
        quarters = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else [wall[0]] * 3
        rows.append({"name": runtime.name, "median": statistics.median(wall), "low": quarters[0], "high": quarters[2],
                     "processor": statistics.median(cpu), "furthest": runtime.difference})
    ours, *others = rows
    best = min(others, key=lambda row: row["median"])
    if options.json:
        print(json.dumps({"onnxruntime": onnxruntime.__version__, "rounds": options.rounds, "rows": rows, "ratio": ours["median"] / best["median"]}))
        return
    print(f"one thread, onnxruntime {onnxruntime.__version__}, {options.rounds} rounds in turn\n")
    print("| runtime | ms per picture | interquartile range | CPU, ms per picture | largest difference to Keras |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['name']} | {row['median']:.0f} | {row['low']:.0f} - {row['high']:.0f} | {row['processor']:.0f} | {row['furthest']:.0e} |")
    print(f"\ninception-web relative to the fastest: {ours['median'] / best['median']:.2f} ({best['name']})")


main()
