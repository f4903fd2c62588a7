/** Runs in the page: trains on the same pictures with inception-web and with TF.js (one worker per backend). Controlled by cnn.js. */
import { startWorker } from "./start-worker.js";

const FILES = ["batches.meta.txt", "data_batch_1.bin", "test_batch.bin"];
const SIDE = 32, CHANNELS = 3;

let task, engine;
const backends = {};

/** Starts inception-web; returns the name of its device. */
export async function open(options) {
  task = options;
  const { createEngine } = await import("/site/engine.js");
  engine = await createEngine({ device: "cpu" });
  const files = await Promise.all(FILES.map(async (name) => ({ name, file: await (await fetch(`/data/${name}`)).blob() })));
  await engine.ways.open(files);
  return engine.deviceName;
}

/** Trains with inception-web on all pictures. */
export async function trainOurs() {
  const { models: [model], split } = await engine.ways.compare({ ways: ["cnn"], perClass: 0, testPerClass: 1, epochs: task.epochs });
  return { seconds: model.trainSeconds, pictures: split.training, losses: model.epochs.map(({ loss }) => loss), parameters: model.parameters };
}

/** Starts TF.js on a backend; returns its description, and the number of parameters. */
export async function start(backend) {
  const bytes = new Uint8Array(await (await fetch("/data/data_batch_1.bin")).arrayBuffer());
  const plane = SIDE * SIDE, record = 1 + CHANNELS * plane, rows = bytes.length / record;
  const labels = new Int32Array(rows), values = new Float32Array(rows * CHANNELS * plane);
  for (let row = 0; row < rows; row += 1) {
    labels[row] = bytes[row * record];
    for (let channel = 0; channel < CHANNELS; channel += 1) {
      for (let at = 0; at < plane; at += 1) {
        values[(row * plane + at) * CHANNELS + channel] = bytes[row * record + 1 + channel * plane + at] / 127.5 - 1;
      }
    }
  }
  backends[backend] = startWorker("/bench/tfjs-cnn.js");
  return backends[backend]("open", { ...task, backend, values, labels, shape: [rows, SIDE, SIDE, CHANNELS] }, [values.buffer]);
}

/** Terminates the worker of a backend; pending requests get no reply. */
export const stop = (backend) => backends[backend].terminate();

/** Creates an untrained network, to be trained with `method`: `fit`, `loop` or `gradients` (see tfjs-cnn.js). */
export const build = (backend, method) => backends[backend]("build", { method });

/** Trains with TF.js for some steps. */
export const trainTfjs = (backend, method, steps) => backends[backend]("train", { method, steps });

/** Compares gradients with those of another backend: the maximum absolute difference, relative to the largest value of the tensor. */
export async function gradientError(backend, method, referenceBackend, referenceMethod) {
  const tested = await backends[backend]("gradients", { method });
  const reference = await backends[referenceBackend]("gradients", { method: referenceMethod });
  return Math.max(...reference.map((gradient, i) => {
    const scale = gradient.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    return gradient.reduce((max, value, at) => Math.max(max, Math.abs(value - tested[i][at])), 0) / scale;
  }));
}
