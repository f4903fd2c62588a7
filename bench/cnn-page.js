/** Runs in the page: gives the same pictures to our engine and to TF.js, one worker a backend. cnn.js asks, one side at a time. */
import { askable } from "./ask.js";

const FILES = ["batches.meta.txt", "data_batch_1.bin", "test_batch.bin"];
const SIDE = 32, CHANNELS = 3;

let work, engine;
const backends = {};

/** Starts our side; returns the device's name. */
export async function open(wish) {
  work = wish;
  const { createEngine } = await import("/site/engine.js");
  engine = await createEngine({ device: "cpu" });
  const files = await Promise.all(FILES.map(async (name) => ({ name, file: await (await fetch(`/data/${name}`)).blob() })));
  await engine.ways.open(files);
  return engine.deviceName;
}

/** Trains ours on all the pictures. */
export async function ours() {
  const { models: [model], split } = await engine.ways.compare({ ways: ["cnn"], perClass: 0, testPerClass: 1, epochs: work.epochs });
  return { seconds: model.trainSeconds, pictures: split.training, losses: model.epochs.map(({ loss }) => loss), parameters: model.parameters };
}

/** Starts TF.js on a backend; returns a sentence on it, and its parameters. */
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
  backends[backend] = askable("/bench/tfjs-cnn.js");
  return backends[backend]("open", { ...work, backend, values, labels, shape: [rows, SIDE, SIDE, CHANNELS] }, [values.buffer]);
}

/** Ends a backend's worker, whatever it is at; nothing that it was asked is answered. */
export const stop = (backend) => backends[backend].stop();

/** Puts an untrained network in place, to be trained in `way`. */
export const build = (backend, way) => backends[backend]("build", { way });

/** Some steps of TF.js. */
export const theirs = (backend, way, steps) => backends[backend]("train", { way, steps });

/** The largest difference of a gradient to that of another backend, as a share of that gradient's largest number. */
export async function agree(backend, way, reference, referenceWay) {
  const ours = await backends[backend]("gradients", { way });
  const theirs = await backends[reference]("gradients", { way: referenceWay });
  return Math.max(...theirs.map((gradient, i) => {
    const scale = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return gradient.reduce((most, value, at) => Math.max(most, Math.abs(value - ours[i][at])), 0) / scale;
  }));
}
