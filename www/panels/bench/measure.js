// @ts-check
/** Times the engine on one device, and says what came of it in a line. No DOM but what makes pixels of pictures. */
import { createEngine } from "../../engine/engine.js";

/** @import { Engine, LoadProgress } from "../../engine/types.js" */
/** @typedef {"webgpu" | "cpu"} Device */
/** Milliseconds a picture: the median, and the bounds of the middle half. @typedef {{ median: number, low: number, high: number }} Times */
/** What is timed: so many pictures at a time; without times where it would take too long. @typedef {{ batch: number, times: Times | null }} Timed */
/**
 * `first`: milliseconds from the start of the engine to the first latents; `kept`: whether the weights were in the browser already;
 * `deviation`: of the self-check, a share of its largest latent.
 * @typedef {{
 *   device: Device, name: string, failure: null, first: number, kept: boolean, deviation: number, timed: Timed[], fingerprint: string, dtype: string,
 * }} Measured
 */
/** A device that could not be measured, with a sentence. @typedef {{ device: Device, name: string, failure: string }} Failed */
/** @typedef {{ stage: "load", load: LoadProgress } | { stage: "first" } | { stage: "runs", batch: number, done: number, total: number }} Progress */

/** Pictures at a time. */
export const BATCHES = [1, 8];
const SAMPLES = ["cat", "airplane", "boats", "horse", "rocket", "coffee"];
/** Where a device is so slow, fewer runs have to do, and a batch that takes as long is left out. */
const PATIENCE_MILLISECONDS = 30_000;
const FEWEST_RUNS = 3;

/**
 * Loads the engine anew and times it: its first answer with the picture's decoding, then pixels that are decoded already.
 * @param {Device} device @param {number} runs @param {{ signal: AbortSignal, onProgress: (progress: Progress) => void }} control
 * @returns {Promise<Measured | Failed>}
 */
export async function measure(device, runs, { signal, onProgress }) {
  const files = await until(signal, Promise.all(SAMPLES.map(async (name) => (await fetch(`samples/${name}.jpg`)).blob())));
  const start = performance.now();
  const starting = createEngine({ device, onProgress: (load) => onProgress({ stage: "load", load }) });
  starting.then((engine) => signal.aborted && engine.dispose(), () => {});
  const engine = await until(signal, starting);
  try {
    const other = () => (engine.device === device ? null : { device, name: TITLES[device], failure: engine.notice ?? "The engine changed to another device." });
    const { fingerprint, base } = engine;
    const name = engine.deviceName;
    if (other()) return /** @type {Failed} */ (other());
    onProgress({ stage: "first" });
    await until(signal, engine.latents(files.slice(0, 1)));
    const first = performance.now() - start;
    const pixels = await until(signal, Promise.all(files.map(decoded)));
    /** @type {Timed[]} */
    const timed = [];
    for (const batch of BATCHES) {
      const pictures = Array.from({ length: batch }, (_, n) => pixels[n % pixels.length]);
      const alone = timed[0]?.times;
      const times = alone && alone.median * batch > PATIENCE_MILLISECONDS ? null : await time(engine, pictures, runs, { signal, onProgress });
      timed.push({ batch, times });
    }
    return other() ?? { device, name, failure: null, first, kept: base.cached, deviation: base.deviation, timed, fingerprint, dtype: base.dtype };
  } finally {
    engine.dispose();
  }
}

/** @type {Record<Device, string>} */
export const TITLES = { webgpu: "WebGPU", cpu: "CPU" };

/**
 * After a run to warm up; less than `runs` where they take too long.
 * @param {Engine} engine @param {ImageData[]} pictures @param {number} runs @param {{ signal: AbortSignal, onProgress: (progress: Progress) => void }} control
 * @returns {Promise<Times>}
 */
async function time(engine, pictures, runs, { signal, onProgress }) {
  const batch = pictures.length;
  onProgress({ stage: "runs", batch, done: 0, total: runs });
  await until(signal, engine.latents(pictures));
  const times = [];
  const begin = performance.now();
  while (times.length < runs && (times.length < FEWEST_RUNS || performance.now() - begin < PATIENCE_MILLISECONDS)) {
    const start = performance.now();
    await until(signal, engine.latents(pictures));
    times.push((performance.now() - start) / batch);
    onProgress({ stage: "runs", batch, done: times.length, total: runs });
  }
  return { median: quantile(times, 0.5), low: quantile(times, 0.25), high: quantile(times, 0.75) };
}

/** Between its neighbours where it falls between two. @param {number[]} values @param {number} q @returns {number} */
function quantile(values, q) {
  const order = [...values].sort((a, b) => a - b);
  const at = (order.length - 1) * q;
  const [low, high] = [order[Math.floor(at)], order[Math.ceil(at)]];
  return low + (high - low) * (at % 1);
}

/** @param {Blob} file @returns {Promise<ImageData>} */
async function decoded(file) {
  const bitmap = await createImageBitmap(file);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  if (!context) throw new Error("the browser could not draw the sample pictures; close other tabs and try again");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** What comes of `work`, unless somebody cancels before. @template T @param {AbortSignal} signal @param {Promise<T>} work @returns {Promise<T>} */
function until(signal, work) {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

/** @param {number} milliseconds @returns {string} three digits, as far as they go */
export function milliseconds(milliseconds) {
  return `${milliseconds < 100 ? milliseconds.toPrecision(3) : Math.round(milliseconds).toLocaleString("en")} ms`;
}

/** @param {Times} times @returns {string} */
export function middleHalf({ low, high }) {
  return `${milliseconds(low).slice(0, -3)} to ${milliseconds(high)}`;
}

/** @param {number} part of 1, @returns {string} its order of magnitude */
export function share(part) {
  return part === 0 ? "0" : part.toExponential(0);
}

/**
 * One line of text with all that was measured, and on what.
 * @param {(Measured | Failed)[]} results @param {{ version: string, browser: string, system: string, cores: number, date: string }} where
 * @returns {string}
 */
export function line(results, { version, browser, system, cores, date }) {
  const measured = results.flatMap((result) => (result.failure === null ? [result] : []));
  const [{ fingerprint, dtype }] = measured;
  const devices = measured.map(({ name, first, kept, deviation, timed }) => {
    const speeds = timed.flatMap(({ batch, times }) => (times ? [`${milliseconds(times.median)} an image at batch ${batch} (${middleHalf(times)})`] : []));
    return `${name}: ${speeds.join(", ")}, first answer ${milliseconds(first)}${kept ? " (weights kept)" : ""}, self-check off by ${share(deviation)}`;
  });
  return [`inception-web ${version}, base ${fingerprint.slice(0, 12)} ${dtype}`, ...devices, `${browser}, ${system}, ${cores} threads`, date].join(" | ");
}

/** The browser's name and version out of what it says of itself. @param {string} agent @returns {string} */
export function browserName(agent) {
  const known = [["Edge", /Edg(?:A|iOS)?\/(\d+)/], ["Opera", /OPR\/(\d+)/], ["Firefox", /(?:Firefox|FxiOS)\/(\d+)/], ["Chrome", /(?:Chrome|CriOS)\/(\d+)/], ["Safari", /Version\/(\d+(?:\.\d+)?).*Safari/]];
  for (const [name, pattern] of known) {
    const version = agent.match(pattern)?.[1];
    if (version) return `${name} ${version}`;
  }
  return "an unknown browser";
}

/** @param {string} agent @returns {string} */
export function systemName(agent) {
  const known = [["Android", /Android/], ["iOS", /iPhone|iPad/], ["ChromeOS", /CrOS/], ["Windows", /Windows/], ["macOS", /Mac OS X/], ["Linux", /Linux/]];
  const found = known.find(([, pattern]) => /** @type {RegExp} */ (pattern).test(agent));
  return found ? String(found[0]) : "an unknown system";
}
