// @ts-check
/** Measures the engine on one device and formats the results as one line. No DOM, except a canvas that decodes pictures. */
import { createEngine } from "../../engine/engine.js";

/** @import { Engine, LoadProgress } from "../../engine/types.js" */
/** @typedef {"webgpu" | "cpu"} Device */
/** Milliseconds per picture: median and quartiles. @typedef {{ median: number, low: number, high: number }} Times */
/** Times at one batch size; `times` is null if the measurement would take too long. @typedef {{ batch: number, times: Times | null }} Timed */
/**
 * `first`: milliseconds from the start of the engine to the first latents; `cached`: whether the weights were in the browser's cache;
 * `deviation`: maximum error of the self-test, relative to the largest latent.
 * @typedef {{
 *   device: Device, name: string, failure: null, first: number, cached: boolean, deviation: number, timed: Timed[], fingerprint: string, dtype: string,
 * }} Measured
 */
/** A device that could not be measured, with the reason. @typedef {{ device: Device, name: string, failure: string }} Failed */
/** @typedef {{ stage: "load", load: LoadProgress } | { stage: "first" } | { stage: "runs", batch: number, done: number, total: number }} Progress */

/** Batch sizes. */
export const BATCHES = [1, 8];
const SAMPLES = ["cat", "airplane", "boats", "horse", "rocket", "coffee"];
/** Time limit per batch size. Slower devices get fewer runs; batches expected to take longer are skipped. */
const TIME_LIMIT_MS = 30_000;
const MIN_RUNS = 3;

/**
 * Loads a new engine and measures it: the first answer including decoding, then batches of decoded pictures.
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
    const fallback = () => (engine.device === device ? null : { device, name: TITLES[device], failure: engine.notice ?? "The engine switched to another device." });
    const { fingerprint, base } = engine;
    const name = engine.deviceName;
    if (fallback()) return /** @type {Failed} */ (fallback());
    onProgress({ stage: "first" });
    await until(signal, engine.latents(files.slice(0, 1)));
    const first = performance.now() - start;
    const pixels = await until(signal, Promise.all(files.map(decoded)));
    /** @type {Timed[]} */
    const timed = [];
    for (const batch of BATCHES) {
      const pictures = Array.from({ length: batch }, (_, n) => pixels[n % pixels.length]);
      const single = timed[0]?.times;
      const times = single && single.median * batch > TIME_LIMIT_MS ? null : await time(engine, pictures, runs, { signal, onProgress });
      timed.push({ batch, times });
    }
    return fallback() ?? { device, name, failure: null, first, cached: base.cached, deviation: base.deviation, timed, fingerprint, dtype: base.dtype };
  } finally {
    engine.dispose();
  }
}

/** @type {Record<Device, string>} */
export const TITLES = { webgpu: "WebGPU", cpu: "CPU" };

/**
 * Runs once to warm up, then measures up to `runs` runs within the time limit.
 * @param {Engine} engine @param {ImageData[]} pictures @param {number} runs @param {{ signal: AbortSignal, onProgress: (progress: Progress) => void }} control
 * @returns {Promise<Times>}
 */
async function time(engine, pictures, runs, { signal, onProgress }) {
  const batch = pictures.length;
  onProgress({ stage: "runs", batch, done: 0, total: runs });
  await until(signal, engine.latents(pictures));
  const times = [];
  const begin = performance.now();
  while (times.length < runs && (times.length < MIN_RUNS || performance.now() - begin < TIME_LIMIT_MS)) {
    const start = performance.now();
    await until(signal, engine.latents(pictures));
    times.push((performance.now() - start) / batch);
    onProgress({ stage: "runs", batch, done: times.length, total: runs });
  }
  return { median: quantile(times, 0.5), low: quantile(times, 0.25), high: quantile(times, 0.75) };
}

/** Interpolates linearly between neighbouring values. @param {number[]} values @param {number} q @returns {number} */
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
  if (!context) throw new Error("the browser could not decode the sample pictures; close other tabs and try again");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Resolves with `work`, or rejects as soon as `signal` aborts. @template T @param {AbortSignal} signal @param {Promise<T>} work @returns {Promise<T>} */
function until(signal, work) {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

/** @param {number} milliseconds @returns {string} with three significant digits */
export function milliseconds(milliseconds) {
  return `${milliseconds < 100 ? milliseconds.toPrecision(3) : Math.round(milliseconds).toLocaleString("en")} ms`;
}

/** @param {Times} times @returns {string} */
export function middleHalf({ low, high }) {
  return `${milliseconds(low).slice(0, -3)} to ${milliseconds(high)}`;
}

/** @param {number} part a fraction of one @returns {string} rounded to one digit, in scientific notation */
export function share(part) {
  return part === 0 ? "0" : part.toExponential(0);
}

/**
 * One line of text with all results and the environment.
 * @param {(Measured | Failed)[]} results @param {{ version: string, browser: string, system: string, cores: number, date: string }} environment
 * @returns {string}
 */
export function line(results, { version, browser, system, cores, date }) {
  const measured = results.flatMap((result) => (result.failure === null ? [result] : []));
  const [{ fingerprint, dtype }] = measured;
  const devices = measured.map(({ name, first, cached, deviation, timed }) => {
    const speeds = timed.flatMap(({ batch, times }) => (times ? [`${milliseconds(times.median)} an image at batch ${batch} (${middleHalf(times)})`] : []));
    return `${name}: ${speeds.join(", ")}, first answer ${milliseconds(first)}${cached ? " (weights cached)" : ""}, self-test off by ${share(deviation)}`;
  });
  return [`inception-web ${version}, base ${fingerprint.slice(0, 12)} ${dtype}`, ...devices, `${browser}, ${system}, ${cores} threads`, date].join(" | ");
}

/** The browser's name and version, from its user agent string. @param {string} agent @returns {string} */
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
