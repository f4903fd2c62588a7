/** Runs in the page: trains heads on the same latents with inception-web and with TF.js. Controlled by train.js. */
import { startWorker } from "./start-worker.js";

const LATENTS = 2048;

/** A random number generator, uniform in [0, 1) (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Synthetic latents with realistic statistics: non-negative, about half zero, mean 0.4; each class raises a tenth of the columns. */
function randomLatents({ rows, classes, seed }) {
  const next = random(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const raised = Array.from({ length: classes }, () => Array.from({ length: LATENTS }, () => (next() < 0.1 ? 0.3 : 0)));
  const labels = Int32Array.from({ length: rows }, (_, row) => row % classes);
  const values = new Float32Array(rows * LATENTS);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < LATENTS; column += 1) {
      values[row * LATENTS + column] = Math.max(0, 0.08 + 0.85 * normal() + raised[labels[row]][column]);
    }
  }
  return { values, labels };
}

let task, engine, callTfjs;

/** Starts both libraries with the same latents; returns a description of each. */
export async function open(options) {
  task = options;
  const { values, labels } = randomLatents(task);
  const { createEngine } = await import("/site/engine.js");
  engine = await createEngine({ device: "cpu" });
  const hashOf = (row) => String(row).padStart(64, "0");
  const pictures = Array.from(labels, (label, row) => ({ id: task.classes + row, name: `${row}`, label, hash: hashOf(row), file: null }));
  const classes = Array.from({ length: task.classes }, (_, id) => ({ id, name: `class ${id}` }));
  for (const { hash } of pictures) {
    const row = Number(hash);
    engine.dataset.embedded.set(hash, { latents: values.slice(row * LATENTS, (row + 1) * LATENTS), width: 0, height: 0, thumbnail: null });
  }
  engine.dataset.project = { name: "bench", classes, pictures, nextId: task.classes + task.rows };

  callTfjs = startWorker("/bench/tfjs.js");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const zeros = values.reduce((count, value) => count + Number(value === 0), 0) / values.length;
  const tfjs = await callTfjs("open", { ...task, values, labels }, [values.buffer]);
  return { tfjs, ours: engine.deviceName, table: { mean, zeros } };
}

export const build = (hidden) => callTfjs("build", { hidden });

/** Trains with TF.js for one epoch; `method` is `fit`, `loop` or `gradients` (see tfjs.js). */
export const trainTfjs = (method) => callTfjs("epoch", { method });

/** Trains a new head with inception-web. Returns all losses, and the time of each epoch except the first, which includes startup. */
export async function trainOurs(hidden, epochs) {
  const times = [performance.now()];
  const losses = [];
  const report = await engine.train(
    { hidden, epochs, batch: task.batch, learningRate: task.learningRate, optimizer: "adam", validation: 0, patience: 0, weightDecay: 0, dropout: 0, labelSmoothing: 0 },
    { onEpoch: ({ loss }) => { times.push(performance.now()); losses.push(loss); } },
  );
  if (losses.length !== epochs || report.pictures !== task.rows) throw new Error(`trained ${losses.length} epochs on ${report.pictures} pictures`);
  return { milliseconds: times.slice(2).map((time, i) => time - times[i + 1]), losses };
}
