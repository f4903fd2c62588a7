/**
 * Runs in the page: makes the table of latents, and gives either side it to train on. train.js asks, one side at a time.
 */
import { askable } from "./ask.js";

const LATENTS = 2048;

/** The same numbers from the same seed (mulberry32), 0 to below 1. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Latents as a base gives them: not negative, about half of them zero, 0.4 on average; each class raises a tenth of the columns. */
function table({ rows, classes, seed }) {
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

let work, engine, ask;

/** Starts both sides and gives them the same table; returns a sentence on each. */
export async function open(wish) {
  work = wish;
  const { values, labels } = table(work);
  const { createEngine } = await import("/site/engine.js");
  engine = await createEngine({ device: "cpu" });
  const name = (row) => String(row).padStart(64, "0");
  const pictures = Array.from(labels, (label, row) => ({ id: work.classes + row, name: `${row}`, label, hash: name(row), file: null }));
  const classes = Array.from({ length: work.classes }, (_, id) => ({ id, name: `class ${id}` }));
  for (const { hash } of pictures) {
    const row = Number(hash);
    engine.dataset.embedded.set(hash, { latents: values.slice(row * LATENTS, (row + 1) * LATENTS), width: 0, height: 0, thumbnail: null });
  }
  engine.dataset.project = { name: "bench", classes, pictures, nextId: work.classes + work.rows };

  ask = askable("/bench/tfjs.js");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const zeros = values.reduce((count, value) => count + Number(value === 0), 0) / values.length;
  const theirs = await ask("open", { ...work, values, labels }, [values.buffer]);
  return { theirs, ours: engine.deviceName, table: { mean, zeros } };
}

export const build = (hidden) => ask("build", { hidden });

/** One epoch of TF.js, `way` being `fit` or `loop`. */
export const theirs = (way) => ask("epoch", { way });

/** Some epochs of ours on a new head: the time of each but the first, which holds the start, and all losses. */
export async function ours(hidden, epochs) {
  const times = [performance.now()];
  const losses = [];
  const report = await engine.train(
    { hidden, epochs, batch: work.batch, learningRate: work.learningRate, optimizer: "adam", validation: 0, patience: 0, weightDecay: 0, dropout: 0, labelSmoothing: 0 },
    { onEpoch: ({ loss }) => { times.push(performance.now()); losses.push(loss); } },
  );
  if (losses.length !== epochs || report.pictures !== work.rows) throw new Error(`trained ${losses.length} epochs on ${report.pictures} pictures`);
  return { milliseconds: times.slice(2).map((time, i) => time - times[i + 1]), losses };
}
