// @ts-check
/** The worker side of `engine.ways`: reads picture sets, caches latents, and runs comparisons step by step. */
import { resetControl, SLICE_MS, yieldToEvents } from "./control.js";
import { Failure } from "./failure.js";

/** @import { ComparisonProgress, PictureSetBuilder } from "../pkg/tools/inception_web.js" */
/** @import { BatchProgress, CompareOptions, ComparePlan, CompareProgress, Comparison, CurveOptions, CurveProgress, ErrorKind, LearningCurve, ModelKind, ModelResult, PictureSet, SetFile } from "../engine/types.js" */

/**
 * `decodeAvif` uses the browser's decoder; `loadLatents` and `storeLatents` access the latents cached by earlier visits.
 * @typedef {{
 *   tools: typeof import("../pkg/tools/inception_web.js"), base: { name: string, fingerprint: string }, batch: number,
 *   latents(pictures: Uint8Array[]): Promise<Float32Array>,
 *   decodeAvif(bytes: Uint8Array<ArrayBuffer>): Promise<{ width: number, height: number, rgba: Uint8Array }>,
 *   loadLatents(): Promise<Uint8Array | null>, storeLatents(latents: Uint8Array<ArrayBuffer>): Promise<void>,
 * }} Context
 */

const LATENTS = 2048;
/** Number of sample pictures of each class. */
const SAMPLES = 10;
/** Number of pictures on which the base is timed, one at a time. */
const TIMED = 2;
/** Interval in milliseconds at which computed latents are stored, so that closing the tab loses little work. */
const STORE_EVERY = 60_000;

/** @param {Context} context */
export async function createComparison({ tools, base, batch, latents, decodeAvif, loadLatents, storeLatents }) {
  const comparison = new tools.ModelComparison(base.name, base.fingerprint);
  /** @type {PictureSet | null} */ let set = null;
  /** Recent time per picture of the base. @type {number | null} */ let millisecondsAPicture = null;
  const stored = await loadLatents();
  try {
    if (stored) comparison.readLatents(stored);
  } catch (error) {
    console.warn("ignored cached latents:", error); // the file is overwritten later
  }

  return { open, plan, compare, learningCurve, pictures, layers: (/** @type {ModelKind} */ way) => comparison.layers(way) };

  /** @param {SetFile[]} files @param {(progress: BatchProgress) => void} onProgress @returns {Promise<PictureSet>} */
  async function open(files, onProgress) {
    resetControl();
    const builder = new tools.PictureSetBuilder();
    /** @type {{ name: string, message: string, kind: ErrorKind }[]} */
    const refused = [];
    // Class names first: they determine the valid labels.
    const ordered = [...files].sort((a, b) => Number(/\.meta/.test(b.name)) - Number(/\.meta/.test(a.name)));
    let last = performance.now();
    for (const [done, file] of ordered.entries()) {
      try {
        await addFile(builder, file);
      } catch (error) {
        const { kind, message } = /** @type {{ kind?: ErrorKind, message: string }} */ (error);
        if (error instanceof WebAssembly.RuntimeError || !kind) throw error;
        refused.push({ name: file.name, message, kind });
      }
      if (performance.now() - last < SLICE_MS) continue;
      last = performance.now();
      onProgress({ done: done + 1, total: files.length });
      await yieldToEvents(() => builder.free());
    }
    if (!files.length) throw new Failure("pictures", "pictures: no files; choose the CIFAR-10 files, or a folder with one subfolder per class");
    if (refused.length === files.length) throw new Failure(refused[0].kind, refused[0].message);
    const info = comparison.open(builder);
    const trainingPicture = (/** @type {number} */ row) => copyPixels(comparison.rgba(false, row));
    const means = info.classes.map((_, label) => copyPixels(comparison.mean(label)));
    set = {
      ...info,
      samples: info.classes.map((_, label) => Array.from(comparison.sampleRows(label, SAMPLES), trainingPicture)),
      means: means.map((mean) => (mean.length ? mean : null)),
      refused: refused.map(({ name, message }) => ({ name, message })),
    };
    return set;
  }

  /** @param {PictureSetBuilder} builder @param {SetFile} file */
  async function addFile(builder, { name, file, className, test = false }) {
    const bytes = new Uint8Array(await file.arrayBuffer().catch((error) => {
      throw new Failure("pictures", `${name}: the file could not be read (${error.message}); choose it again`);
    }));
    if (className === undefined) {
      builder.addFile(name, bytes);
      return;
    }
    builder.addClass(className);
    try {
      builder.addPicture(className, test, name, bytes);
    } catch (error) {
      if (/** @type {{ kind?: string }} */ (error).kind !== "avif") throw error;
      const { width, height, rgba } = await decodeAvif(bytes);
      builder.addRgba(className, test, name, width, height, rgba);
    }
  }

  /** @param {CompareOptions | CurveOptions} options @returns {ComparePlan} */
  function plan(options) {
    requireSet();
    const { sizes, seeds, ...rest } = "sizes" in options ? { ...options, perClass: Math.max(...options.sizes) } : { ...options, sizes: [], seeds: 0 };
    const given = withoutMissing(rest);
    const sampled = comparison.plan(given);
    const required = includesTransfer(options) ? comparison.requiredRows(given, Uint32Array.from(sizes), seeds) : new Uint32Array();
    const toRead = comparison.missingRows(required).length;
    return { ...sampled, kept: required.length - toRead, toRead, millisecondsAPicture };
  }

  /** @param {CompareOptions} options @param {(progress: CompareProgress | { result: ModelResult }) => void} onProgress @returns {Promise<Comparison>} */
  async function compare(options, onProgress) {
    resetControl();
    requireSet();
    const given = withoutMissing(options);
    comparison.plan(given); // throws for invalid options before latents are computed
    const extraction = includesTransfer(options)
      ? await extract(comparison.requiredRows(given, new Uint32Array(), 0), (progress) => onProgress({ ...progress, epoch: null }))
      : { read: 0, kept: 0, seconds: 0, milliseconds: 0 };
    const job = comparison.compare(given, extraction.read, extraction.kept, extraction.seconds, extraction.milliseconds);
    await run(job, (progress) => {
      onProgress(progress);
      if (progress.stage === "test" && progress.done === progress.total) onProgress({ result: job.result(job.resultCount - 1) });
    });
    return job.finish();
  }

  /** @param {CurveOptions} options @param {(progress: CurveProgress) => void} onProgress @returns {Promise<LearningCurve>} */
  async function learningCurve({ sizes, seeds, ...options }, onProgress) {
    resetControl();
    requireSet();
    const given = withoutMissing({ ...options, perClass: 0 });
    const runs = (options.ways ?? ["mlp", "cnn", "transfer"]).length * sizes.length * seeds;
    const required = comparison.requiredRows(given, Uint32Array.from(sizes), seeds);
    if (includesTransfer(options)) {
      await extract(required, (progress) => onProgress({ ...progress, run: 0, runs, perClass: sizes[0], seed: 0, points: [] }));
    }
    const job = comparison.learningCurve(given, Uint32Array.from(sizes), seeds);
    let currentRun = 0;
    await run(job, ({ epoch: _, ...progress }) => {
      const status = job.status();
      // The last progress of a run arrives when `status` already counts the run as finished.
      const finished = progress.stage === "test" && progress.done === progress.total;
      if (!finished) currentRun = status.run + 1;
      onProgress({ ...progress, ...status, run: currentRun });
    });
    return job.finish();
  }

  /** @param {"test set" | "training"} from @param {number[]} rows */
  function pictures(from, rows) {
    requireSet();
    return rows.map((row) => copyPixels(comparison.rgba(from === "test set", row)));
  }

  /**
   * Runs a job step by step, and handles messages in between.
   * @param {{ step(): ComparisonProgress, readonly done: boolean, free(): void }} job @param {(progress: ComparisonProgress) => void} onProgress
   */
  async function run(job, onProgress) {
    let last = performance.now();
    try {
      while (!job.done) {
        const progress = job.step();
        const due = performance.now() - last >= SLICE_MS;
        if (due || progress.epoch || progress.done === progress.total) onProgress(progress);
        if (!due) continue;
        last = performance.now();
        await yieldToEvents();
      }
    } catch (error) {
      job.free();
      throw error;
    }
  }

  /**
   * Computes the latents of pictures that have none yet, and caches them, even if the job is cancelled. `milliseconds` is the time per single
   * picture, measured on a few pictures.
   * @param {Uint32Array} rows @param {(progress: { stage: "read", way: "transfer", done: number, total: number }) => void} onProgress
   */
  async function extract(rows, onProgress) {
    const missing = comparison.missingRows(rows);
    const start = performance.now();
    let [storedAt, unstored] = [start, 0];
    let done = 0;
    const report = () => onProgress({ stage: "read", way: "transfer", done, total: missing.length });
    try {
      if (missing.length) report();
      while (done < missing.length) {
        const batchRows = missing.subarray(done, done + batch);
        const values = await latents(Array.from(batchRows, picture));
        batchRows.forEach((row, n) => comparison.addLatents(row, values.subarray(n * LATENTS, (n + 1) * LATENTS)));
        done += batchRows.length;
        unstored += batchRows.length;
        millisecondsAPicture = (performance.now() - start) / done;
        report();
        if (performance.now() - storedAt >= STORE_EVERY) {
          await storeLatents(new Uint8Array(comparison.writeLatents()));
          [storedAt, unstored] = [performance.now(), 0];
        }
        await yieldToEvents();
      }
    } finally {
      if (unstored) await storeLatents(new Uint8Array(comparison.writeLatents()));
    }
    const seconds = (performance.now() - start) / 1000;
    const timed = Array.from(rows.subarray(0, TIMED));
    const timedStart = performance.now();
    for (const row of timed) await latents([picture(row)]);
    const milliseconds = (performance.now() - timedStart) / timed.length;
    millisecondsAPicture ??= milliseconds;
    return { read: done, kept: rows.length - done, seconds, milliseconds };
  }

  /** @param {number} row */
  function picture(row) {
    return asBytes(comparison.picture(row));
  }

  function requireSet() {
    if (!set) throw new Failure("pictures", "pictures: no set is open; choose the CIFAR-10 files, or a folder with one subfolder per class");
  }

  /** @param {{ ways?: ModelKind[] }} options */
  function includesTransfer({ ways }) {
    return !ways || ways.includes("transfer");
  }
}

/** Removes missing options, so that the wasm module uses its defaults. @param {object} options */
function withoutMissing(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
}

/** @param {Uint8ClampedArray} rgba */
function asBytes({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Copies pixels out of the wasm memory. @param {Uint8ClampedArray | Uint8Array} rgba @returns {Uint8ClampedArray<ArrayBuffer>} */
function copyPixels(rgba) {
  return new Uint8ClampedArray(rgba);
}
