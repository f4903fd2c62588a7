// @ts-check
/** The worker's part of comparison.d.ts: sets of small pictures, what Inception has read of them, comparisons step by step. */

/** @import { SetFiles, Told } from "../pkg/tools/inception_web.js" */
/** @import { CompareOptions, ComparePlan, CompareProgress, Comparison, CurveOptions, CurveProgress, LearningCurve, PictureSet, SetFile, Way, WayResult } from "../engine/comparison.js" */
/** @import { BatchProgress, ErrorKind } from "../engine/engine.js" */

/**
 * @typedef {{
 *   tools: typeof import("../pkg/tools/inception_web.js"), base: { name: string, fingerprint: string }, batch: number,
 *   latents(pictures: Uint8Array[]): Promise<Float32Array>,
 *   begin(): void, breath(free?: () => void): Promise<void>,
 *   fromBrowser(bytes: Uint8Array<ArrayBuffer>): Promise<{ width: number, height: number, rgba: Uint8Array }>,
 *   failure(kind: ErrorKind, message: string): Error,
 *   kept(): Promise<Uint8Array | null>, keep(latents: Uint8Array<ArrayBuffer>): Promise<void>,
 * }} Lent  What the worker lends: the base, work that can be cancelled, decoding by the browser, and where latents are kept for the next visit.
 */

const LATENTS = 2048;
/** Pictures of a class to show. */
const SAMPLES = 10;
/** Milliseconds of work between two looks at what the page wants. */
const STINT = 50;
/** Pictures that Inception is timed on, one at a time. */
const TIMED = 2;
/** Milliseconds after which latents are kept on the way, so that a closed tab loses few. */
const KEEP_EVERY = 60_000;

/** @param {Lent} lent */
export async function createWays({ tools, base, batch, latents, begin, breath, fromBrowser, failure, kept, keep }) {
  const ways = new tools.Ways(base.name, base.fingerprint);
  /** @type {PictureSet | null} */ let set = null;
  /** Milliseconds that Inception took for a picture, lately. @type {number | null} */ let pace = null;
  const before = await kept();
  try {
    if (before) ways.readKnown(before);
  } catch (error) {
    console.warn("kept latents were left aside:", error); // a file of nobody's use is written anew
  }

  return { open, plan, compare, learningCurve, pictures, layers: (/** @type {Way} */ way) => ways.layers(way) };

  /** @param {SetFile[]} files @param {(progress: BatchProgress) => void} tell @returns {Promise<PictureSet>} */
  async function open(files, tell) {
    begin();
    const gathered = new tools.SetFiles();
    /** @type {{ name: string, message: string, kind: ErrorKind }[]} */
    const refused = [];
    // Class names first: they say which labels there may be.
    const ordered = [...files].sort((a, b) => Number(/\.meta/.test(b.name)) - Number(/\.meta/.test(a.name)));
    let last = performance.now();
    for (const [done, file] of ordered.entries()) {
      try {
        await take(gathered, file);
      } catch (error) {
        const { kind, message } = /** @type {{ kind?: ErrorKind, message: string }} */ (error);
        if (error instanceof WebAssembly.RuntimeError || !kind) throw error;
        refused.push({ name: file.name, message, kind });
      }
      if (performance.now() - last < STINT) continue;
      last = performance.now();
      tell({ done: done + 1, total: files.length });
      await breath(() => gathered.free());
    }
    if (!files.length) throw failure("pictures", "pictures: no files; choose CIFAR-10's files, or a folder with a folder per class");
    if (refused.length === files.length) throw failure(refused[0].kind, refused[0].message);
    const info = ways.open(gathered);
    const one = (/** @type {number} */ row) => pixels(ways.rgba(false, row));
    const means = info.classes.map((_, label) => pixels(ways.mean(label)));
    set = {
      ...info,
      samples: info.classes.map((_, label) => Array.from(ways.samples(label, SAMPLES), one)),
      means: means.map((mean) => (mean.length ? mean : null)),
      refused: refused.map(({ name, message }) => ({ name, message })),
    };
    return set;
  }

  /** @param {SetFiles} gathered @param {SetFile} file */
  async function take(gathered, { name, file, className, test = false }) {
    const bytes = new Uint8Array(await file.arrayBuffer().catch((error) => {
      throw failure("pictures", `${name}: the file could not be read (${error.message}); choose it again`);
    }));
    if (className === undefined) {
      gathered.addFile(name, bytes);
      return;
    }
    gathered.addClass(className);
    try {
      gathered.addPicture(className, test, name, bytes);
    } catch (error) {
      if (/** @type {{ kind?: string }} */ (error).kind !== "avif") throw error;
      const { width, height, rgba } = await fromBrowser(bytes);
      gathered.addRgba(className, test, name, width, height, rgba);
    }
  }

  /** @param {CompareOptions | CurveOptions} options @returns {ComparePlan} */
  function plan(options) {
    ready();
    const { sizes, seeds, ...rest } = "sizes" in options ? { ...options, perClass: Math.max(...options.sizes) } : { ...options, sizes: [], seeds: 0 };
    const wanted = complete(rest);
    const drawn = ways.plan(wanted);
    const needed = transfers(options) ? ways.needed(wanted, Uint32Array.from(sizes), seeds) : new Uint32Array();
    const toRead = ways.missing(needed).length;
    return { ...drawn, kept: needed.length - toRead, toRead, millisecondsAPicture: pace };
  }

  /** @param {CompareOptions} options @param {(progress: CompareProgress | { result: WayResult }) => void} tell @returns {Promise<Comparison>} */
  async function compare(options, tell) {
    begin();
    ready();
    const wanted = complete(options);
    ways.plan(wanted); // what cannot be compared is refused before anything is read
    const read = transfers(options)
      ? await readAll(ways.needed(wanted, new Uint32Array(), 0), (progress) => tell({ ...progress, epoch: null }))
      : { read: 0, kept: 0, seconds: 0, milliseconds: 0 };
    const comparing = ways.compare(wanted, read.read, read.kept, read.seconds, read.milliseconds);
    await work(comparing, (progress) => {
      tell(progress);
      if (progress.stage === "test" && progress.done === progress.total) tell({ result: comparing.row(comparing.rows - 1) });
    });
    return comparing.finish();
  }

  /** @param {CurveOptions} options @param {(progress: CurveProgress) => void} tell @returns {Promise<LearningCurve>} */
  async function learningCurve({ sizes, seeds, ...options }, tell) {
    begin();
    ready();
    const wanted = complete({ ...options, perClass: 0 });
    const runs = (options.ways ?? ["mlp", "cnn", "transfer"]).length * sizes.length * seeds;
    const needed = ways.needed(wanted, Uint32Array.from(sizes), seeds);
    if (transfers(options)) {
      await readAll(needed, (progress) => tell({ ...progress, run: 0, runs, perClass: sizes[0], seed: 0, points: [] }));
    }
    const curving = ways.learningCurve(wanted, Uint32Array.from(sizes), seeds);
    let run = 0;
    await work(curving, ({ epoch: _, ...progress }) => {
      const soFar = curving.soFar();
      // A training that has just ended is still the one that is told of.
      const ended = progress.stage === "test" && progress.done === progress.total;
      if (!ended) run = soFar.run + 1;
      tell({ ...progress, ...soFar, run });
    });
    return curving.finish();
  }

  /** @param {"test set" | "training"} from @param {number[]} rows */
  function pictures(from, rows) {
    ready();
    return rows.map((row) => pixels(ways.rgba(from === "test set", row)));
  }

  /**
   * Steps until all is done; the page is heard, and told, between stints.
   * @param {{ step(): Told, readonly done: boolean, free(): void }} work @param {(progress: Told) => void} tell
   */
  async function work(work, tell) {
    let last = performance.now();
    try {
      while (!work.done) {
        const progress = work.step();
        const due = performance.now() - last >= STINT;
        if (due || progress.epoch || progress.done === progress.total) tell(progress);
        if (!due) continue;
        last = performance.now();
        await breath();
      }
    } catch (error) {
      work.free();
      throw error;
    }
  }

  /**
   * Lets Inception read those pictures that it has not read; what is read is kept, also where the work is cancelled.
   * @param {Uint32Array} rows @param {(progress: { stage: "read", way: "transfer", done: number, total: number }) => void} tell
   */
  async function readAll(rows, tell) {
    const missing = ways.missing(rows);
    const start = performance.now();
    let [keptAt, unkept] = [start, 0];
    let done = 0;
    const report = () => tell({ stage: "read", way: "transfer", done, total: missing.length });
    try {
      if (missing.length) report();
      while (done < missing.length) {
        const part = missing.subarray(done, done + batch);
        const numbers = await latents(Array.from(part, picture));
        part.forEach((row, at) => ways.learn(row, numbers.subarray(at * LATENTS, (at + 1) * LATENTS)));
        done += part.length;
        unkept += part.length;
        pace = (performance.now() - start) / done;
        report();
        if (performance.now() - keptAt >= KEEP_EVERY) {
          await keep(new Uint8Array(ways.writeKnown()));
          [keptAt, unkept] = [performance.now(), 0];
        }
        await breath();
      }
    } finally {
      if (unkept) await keep(new Uint8Array(ways.writeKnown()));
    }
    const seconds = (performance.now() - start) / 1000;
    const timed = Array.from(rows.subarray(0, TIMED));
    const alone = performance.now();
    for (const row of timed) await latents([picture(row)]);
    const milliseconds = (performance.now() - alone) / timed.length;
    pace ??= milliseconds;
    return { read: done, kept: rows.length - done, seconds, milliseconds };
  }

  /** @param {number} row */
  function picture(row) {
    return bytesOf(ways.picture(row));
  }

  function ready() {
    if (!set) throw failure("pictures", "pictures: none yet; choose CIFAR-10's files, or a folder with a folder per class");
  }

  /** @param {{ ways?: Way[] }} options */
  function transfers({ ways }) {
    return !ways || ways.includes("transfer");
  }
}

/** What is left out takes its default there. @param {object} options */
function complete(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== null));
}

/** @param {Uint8ClampedArray} rgba */
function bytesOf({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Pixels that own their buffer. @param {Uint8ClampedArray | Uint8Array} rgba @returns {Uint8ClampedArray<ArrayBuffer>} */
function pixels(rgba) {
  return new Uint8ClampedArray(rgba);
}
