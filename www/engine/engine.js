// @ts-check
/**
 * The JavaScript door to inception-web: a worker that computes, behind promises. Types and their documentation: engine.d.ts.
 *
 * A worker that dies is started again and asked once more what it was asked: on the graphics card, if it was there, once; then on the CPU.
 */

import { Crew } from "./pool.js";
import { newLifeline, watch } from "./liveness.js";
import { EngineWays } from "./comparison.js";
import { Dataset } from "./dataset.js";

/** @import { Answer, BatchProgress, ClassifyOptions, Embedded, Engine, EngineOptions, ErrorKind, Evaluation, KeptBase, LoadProgress, Picture, Prediction, TrainReport } from "./engine.js" */
/** @import { Mate } from "./pool.js" */
/** @import { Scored } from "../pkg/tools/inception_web.js" */
/** @import { Loaded, Methods, Outcome, Reply } from "./messages.js" */

/** Methods that need the dataset in the worker. */
const TABLE = new Set(["train", "crossValidate", "evaluate", "nearest", "components", "writeLatents"]);
/** Methods that need the picture set in the worker. */
const SET = new Set(["plan", "compare", "learningCurve", "setPictures", "layers"]);
/** Pictures on end that may stop the worker; where more do, it is not the pictures. */
const MOST_STOPPED = 3;
const STOPPED = "picture: the engine stopped at it, twice; save it anew in another format, or leave it out";
/** What thumbnails of answers measure: the picture that the network saw. */
const INPUT = 299;
/** Principal components that the finer map starts from. */
const COMPONENTS = 50;

export class EngineError extends Error {
  /** @param {ErrorKind} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.name = "EngineError";
    this.kind = kind;
  }
}

/** What calls hear whose worker was stopped by another's. */
class Bystander extends EngineError {}

/** @type {(options?: EngineOptions) => Promise<Engine>} */
export async function createEngine({ device = "auto", weights, head, onProgress = () => {}, onChange = () => {} } = {}) {
  const absolute = (/** @type {string | undefined} */ url) => url && new URL(url, document.baseURI).href;
  const wish = { weights: typeof weights === "object" ? weights : absolute(weights), head: absolute(head) };
  const engine = new WorkerEngine(wish, onChange);
  try {
    await engine.start(device, onProgress).catch((error) => {
      if (device === "cpu" || !(error instanceof EngineError && error.kind === "crash")) throw error;
      return engine.startOver(error, onProgress);
    });
  } catch (error) {
    // Its worker may still be fetching.
    engine.dispose();
    throw error;
  }
  return engine;
}

/** @implements {Engine} */
class WorkerEngine {
  /** @type {Worker | null} */ #worker = null;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: EngineError) => void, progress: (progress: any) => void }>} */
  #waiting = new Map();
  /** @type {Loaded | null} */ #loaded = null;
  /** @type {Promise<void>} */ #starting = Promise.resolve();
  #nextId = 0;
  #disposed = false;
  #wish;
  #onChange;
  #crew;
  /** Whether the graphics card was given its other chance. */ #again = false;
  /** The head in use where it is not the one that was loaded first, for a worker that has to start again. @type {Uint8Array | null} */ #headFile = null;
  /** Pictures held out when the head in use was trained. @type {Set<number> | null} */ #validation = null;
  /** What of the dataset the worker has. @type {ReturnType<Dataset["rows"]> | null} */ #sent = null;

  /** @param {{ weights?: string | KeptBase, head?: string }} wish @param {() => unknown} onChange */
  constructor(wish, onChange) {
    this.#wish = wish;
    this.#onChange = onChange;
    this.#crew = new Crew(wish);
    this.dataset = new Dataset((pictures, options) => this.embed(pictures, options));
    this.ways = new EngineWays({
      ask: (method, args, progress) => this.#ask(method, args, progress),
      steerable: (signal, work) => this.#steerable(signal, work),
    });
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [progress] */
  start(device, progress) {
    this.#starting = this.#start(device, progress);
    return this.#starting;
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [progress] */
  async #start(device, progress) {
    const worker = new Worker(new URL("../worker/worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#stop(new EngineError("crash", `the engine stopped: ${event.message || "its worker could not be loaded"}; reload the page`));
    };
    this.#worker = worker;
    this.#sent = null;
    const lifeline = newLifeline();
    try {
      this.#loaded = await this.#call("load", { device, lifeline, ...this.#wish }, progress);
      watch(lifeline, () => this.#worker === worker && this.#stop(new EngineError("crash", "the engine stopped; reload the page")));
      if (this.#headFile) this.#loaded.head = await this.#call("openHead", { bytes: this.#headFile });
    } catch (error) {
      this.#stop(new EngineError("crash", "the engine could not be started"));
      throw error;
    }
  }

  get #facts() {
    if (!this.#loaded) throw new EngineError("crash", "the engine has not been loaded");
    return this.#loaded;
  }
  get device() {
    return this.#facts.device;
  }
  get build() {
    return this.#facts.build;
  }
  get deviceName() {
    return this.#facts.deviceName;
  }
  get notice() {
    return this.#facts.notice;
  }
  get fingerprint() {
    return this.#facts.base.fingerprint;
  }
  get base() {
    return this.#facts.base;
  }
  get head() {
    return this.#facts.head;
  }
  get classes() {
    return this.#facts.head.classes;
  }
  get defaults() {
    return this.#facts.defaults;
  }
  get unsureBelow() {
    return this.#facts.head.unsureBelow;
  }
  set unsureBelow(share) {
    this.#facts.head = { ...this.#facts.head, unsureBelow: share };
    // A worker that has to start again is told with the head's file.
    this.#ask("setUnsureBelow", { share }).then(() => this.#keepHead()).catch(console.error);
  }

  /** @type {Engine["latents"]} */
  async latents(pictures, { signal, onProgress } = {}) {
    const embedded = await this.embed(pictures, { signal, onProgress });
    return embedded.map((picture) => /** @type {Embedded} */ (picture).latents);
  }

  /** @type {Engine["embed"]} */
  async embed(pictures, { thumbnails = 0, signal, onProgress, onPicture } = {}) {
    /** @type {(Embedded | null)[]} */
    const all = new Array(pictures.length);
    await this.#run(pictures, { topK: 0, thumbnails, signal, onProgress }, (index, outcome) => {
      if ("error" in outcome) {
        const error = new EngineError(outcome.error.kind, outcome.error.message);
        if (!onPicture) throw error;
        onPicture(index, error);
        all[index] = null;
        return;
      }
      const { latents, width, height, thumbnail = null } = outcome;
      const embedded = { latents, width, height, thumbnail };
      onPicture?.(index, embedded);
      all[index] = embedded;
    });
    return all;
  }

  /** @param {Picture[]} pictures @param {ClassifyOptions} [options] @returns {Promise<any>} */
  async classify(pictures, { topK = 5, thumbnails = false, signal, onProgress, onPicture } = {}) {
    /** @type {(Prediction[] | null)[]} */
    const answers = new Array(pictures.length);
    await this.#run(pictures, { topK, thumbnails: thumbnails ? INPUT : 0, signal, onProgress }, (index, outcome) => {
      if ("error" in outcome) {
        const error = new EngineError(outcome.error.kind, outcome.error.message);
        if (!onPicture) throw error;
        onPicture(index, error);
        answers[index] = null;
      } else {
        const { thumbnail } = outcome;
        onPicture?.(index, { ...outcome, thumbnail: thumbnail && new Blob([thumbnail], { type: "image/jpeg" }) });
        answers[index] = outcome.predictions;
      }
    });
    return answers;
  }

  /** @type {Engine["predict"]} */
  predict(latents, topK = 5) {
    return this.#ask("predict", { latents, topK });
  }

  /** @type {Engine["train"]} */
  async train(options = {}, { onEpoch, signal } = {}) {
    const { ids } = await this.#sync();
    const trained = await this.#steerable(signal, () => this.#ask("train", { settings: this.#settings(options) }, onEpoch));
    const { validation, head, evaluation, ...report } = trained;
    this.#facts.head = head;
    this.#validation = new Set(Array.from(validation, (row) => ids[row]));
    await this.#keepHead();
    return { ...report, evaluation: evaluation && withIds(evaluation, ids, "validation") };
  }

  /** @type {Engine["steer"]} */
  steer(wish) {
    this.#call("steer", { wish }).catch(console.error); // a worker that is gone needs no steering
  }

  /** @type {Engine["evaluate"]} */
  async evaluate({ folds = 0, ...options } = {}, { signal, onProgress } = {}) {
    const { ids } = await this.#filled("evaluate");
    if (folds) {
      const settings = this.#settings(options);
      const scored = await this.#steerable(signal, () => this.#ask("crossValidate", { settings, folds }, onProgress));
      return withIds(scored, ids, "folds", folds);
    }
    const held = ids.flatMap((id, row) => (this.#validation?.has(id) ? [row] : []));
    const rows = Uint32Array.from(held.length ? held : ids.keys());
    return withIds(await this.#ask("evaluate", { rows }), ids, held.length ? "validation" : "dataset");
  }

  /** @type {Engine["openHead"]} */
  async openHead(file) {
    const bytes = file instanceof Blob ? new Uint8Array(await file.arrayBuffer()) : file;
    this.#facts.head = await this.#ask("openHead", { bytes });
    this.#headFile = bytes;
    this.#validation = null;
  }

  /** @type {Engine["resetHead"]} */
  async resetHead() {
    this.#facts.head = await this.#ask("openHead", { bytes: null });
    this.#headFile = null;
    this.#validation = null;
  }

  /** @type {Engine["exportHead"]} */
  async exportHead(form) {
    return new Blob([await this.#ask("writeHead", { form })], { type: "application/octet-stream" });
  }

  /** @type {Engine["exportLatents"]} */
  async exportLatents(form) {
    await this.#filled("latents");
    return new Blob([await this.#ask("writeLatents", { form })], { type: "application/octet-stream" });
  }

  /** @type {Engine["readLatents"]} */
  readLatents(files) {
    return this.#ask("readLatents", { files });
  }

  /** @type {Engine["importLatents"]} */
  async importLatents(files) {
    const tables = await this.readLatents([files].flat());
    const notices = new Set(tables.flatMap(({ notice }) => notice ?? []));
    return { ...(await this.dataset.addTables(tables)), notice: [...notices].join(" ") || null };
  }

  /** @type {Engine["nearest"]} */
  async nearest(latents, count) {
    const { ids } = await this.#sync();
    const found = await this.#ask("nearest", { latents, count });
    return Array.from({ length: found.length / 2 }, (_, n) => ({ id: ids[found[n * 2]], similarity: found[n * 2 + 1] }));
  }

  /** @type {Engine["explain"]} */
  async explain(picture, label) {
    const values = await this.#ask("explain", { picture, label });
    return { side: Math.sqrt(values.length), values };
  }

  /** @type {Engine["map"]} */
  async map(method, { seed = 0, signal, onProgress } = {}) {
    const { ids } = await this.#filled("map");
    if (method === "pca") return { ids, points: fitted(await this.#ask("components", { count: 2 })) };
    const components = Math.min(COMPONENTS, ids.length);
    const table = await this.#ask("components", { count: components });
    return { ids, points: fitted(await umap({ table, components, seed }, signal, onProgress)) };
  }

  dispose() {
    this.#disposed = true;
    this.#crew.dispose();
    this.#stop(new EngineError("disposed", "the engine was disposed of"));
  }

  /**
   * Sends pictures a few at a time, so that cancelling is quick and memory bounded; many, on the CPU, to more than one worker. Outcomes
   * are told in order.
   * @param {Picture[]} pictures
   * @param {{ topK: number, thumbnails: number } & Pick<ClassifyOptions, "signal" | "onProgress">} options
   * @param {(index: number, outcome: Outcome) => void} tell
   */
  async #run(pictures, { topK, thumbnails, signal, onProgress }, tell) {
    const total = pictures.length;
    /** Those that nobody has taken. */
    const left = [...pictures.keys()];
    /** Outcomes that wait for those of pictures before them. @type {Map<number, Outcome>} */
    const ready = new Map();
    let done = 0;
    /** How many pictures on end stopped the worker whenever it was asked about them. */
    let stopped = 0;
    /** @param {number} count @param {(pictures: Picture[]) => Promise<Outcome[]>} answer */
    const work = async (count, answer) => {
      while (left.length && !signal?.aborted) {
        const taken = left.splice(0, stopped ? 1 : count);
        /** @type {Outcome[]} */
        let outcomes;
        try {
          outcomes = await answer(taken.map((index) => pictures[index]));
          stopped = 0;
        } catch (error) {
          const crash = error instanceof EngineError && error.kind === "crash";
          if (crash) stopped += 1;
          if (!crash || this.#disposed || stopped > MOST_STOPPED) {
            left.unshift(...taken);
            throw error;
          }
          if (taken.length > 1) { // one by one, to see which it is
            left.unshift(...taken);
            continue;
          }
          outcomes = [{ error: { kind: "picture", message: STOPPED } }];
        }
        taken.forEach((index, at) => ready.set(index, outcomes[at]));
        for (let next; (next = ready.get(done)); onProgress?.({ done, total })) {
          ready.delete(done);
          tell(done, next);
          done += 1;
        }
      }
    };
    const own = () => work(this.#facts.batch, (pictures) => this.#ask("answer", { pictures, topK, thumbnails }));
    /** @type {unknown[]} */
    const wrong = [];
    const helped = (/** @type {Mate} */ mate) =>
      work(1, async (pictures) => {
        if (topK) await this.#sendHead(mate);
        return mate.call("answer", { pictures, topK, thumbnails });
      }).catch((error) => {
        wrong.push(error);
        if (error instanceof EngineError) left.length = 0; // a picture that ends the whole work
        throw error;
      });
    const end = this.#facts.device === "cpu" ? this.#crew.help(total, helped) : async () => {};
    try {
      await own();
    } catch (error) {
      left.length = 0;
      throw error;
    } finally {
      await end();
    }
    const told = wrong.find((error) => error instanceof EngineError);
    if (told) throw told;
    await own(); // what a worker that was let go had taken
    if (signal?.aborted && done < total) throw new EngineError("cancelled", `cancelled after ${done} of ${total} pictures`);
  }

  /** Lets another worker answer with the head in use. @param {Mate} mate */
  async #sendHead(mate) {
    const { head } = this.#facts;
    if (mate.head === head || !head.classes.length) return;
    await mate.call("openHead", { bytes: await this.#ask("writeHead", { form: "safetensors" }) });
    mate.head = head;
  }

  /** Gives the worker the dataset as it is now. */
  async #sync() {
    await this.#started();
    const rows = this.dataset.rows();
    if (this.#sent === rows) return rows;
    const { labels, classes, names } = rows;
    const latents = this.dataset.table(rows);
    await this.#call("setTable", { latents, labels, classes, names }, undefined, [latents.buffer]);
    this.#sent = rows;
    return rows;
  }

  /** The same for work that is nothing without pictures. @param {string} work */
  async #filled(work) {
    const rows = await this.#sync();
    if (!rows.ids.length) throw new EngineError("latents", `${work}: the dataset has no pictures; add some first`);
    return rows;
  }

  /** All settings, those left out by default. @param {import("./engine.js").TrainOptions} options */
  #settings(options) {
    const said = Object.entries(options).filter(([, value]) => value !== undefined);
    const unknown = said.find(([name]) => !(name in this.defaults));
    if (unknown) throw new EngineError("setting", `${unknown[0]}: there is no such setting; use one of ${Object.keys(this.defaults).join(", ")}`);
    return { ...this.defaults, ...Object.fromEntries(said) };
  }

  /** Long work that a signal cancels. @template T @param {AbortSignal | undefined} signal @param {() => Promise<T>} work */
  async #steerable(signal, work) {
    if (signal?.aborted) throw new EngineError("cancelled", "cancelled; nothing was changed");
    const cancel = () => this.#call("steer", { wish: "cancel" }).catch(console.error);
    signal?.addEventListener("abort", cancel);
    try {
      return await work();
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Keeps the head in use, for a worker that has to start again. */
  async #keepHead() {
    this.#headFile = await this.#ask("writeHead", { form: "safetensors" });
  }

  /**
   * Asks the worker; one that dies is started again, and asked once more.
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: Methods[M]["progress"]) => void} [progress]
   * @returns {Promise<Methods[M]["value"]>}
   */
  async #ask(method, args, progress) {
    let blamed = 0;
    for (let tries = 1; ; tries++) {
      await this.#started();
      const worker = this.#worker;
      const { device } = this.#facts;
      try {
        if (tries > 1 && TABLE.has(method)) await this.#sync();
        if (tries > 1 && SET.has(method)) await this.ways.restore((method, args) => this.#call(method, args));
        return await this.#call(method, args, progress);
      } catch (error) {
        if (!(error instanceof EngineError && (error.kind === "crash" || error.kind === "device")) || this.#disposed) throw error;
        if (!(error instanceof Bystander)) blamed += 1;
        if (blamed > 1 && device === "cpu") throw error;
        if (this.#worker && this.#worker !== worker) continue; // another call in flight was told first
        this.#stop(new Bystander(error.kind, error.message));
        await this.startOver(error);
      }
    }
  }

  /** Waits for the start under way, and for one that took its place meanwhile. */
  async #started() {
    for (let waited; waited !== this.#starting; ) {
      waited = this.#starting;
      await waited;
    }
  }

  /** After a crash or a lost card; the person is told at once, and again when it is over. @param {EngineError} error @param {(progress: LoadProgress) => void} [progress] */
  async startOver({ kind }, progress) {
    const before = this.#loaded?.device;
    const card = before === "webgpu" && !this.#again;
    const what = kind === "device" ? "The graphics card was lost" : "The engine stopped";
    this.#again ||= card;
    if (this.#loaded) {
      this.#loaded.notice = `${what}. ${before === "webgpu" && !card ? "The CPU takes over" : "It is started once more"}, and the work goes on.`;
      this.#onChange();
    }
    const onCpu = () => this.#start("cpu", progress);
    this.#starting = card ? this.#start("webgpu", progress).catch(onCpu) : onCpu();
    await this.#starting;
    const { device, notice } = this.#facts;
    if (device === "webgpu") this.#facts.notice = `${what}, and was started again.`;
    else this.#facts.notice = notice ?? (kind === "device" ? `${what}, so the CPU does the work.` : `${what}, and was started again on the CPU.`);
    this.#onChange();
  }

  /**
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: Methods[M]["progress"]) => void} [progress] @param {Transferable[]} [transfer]
   * @returns {Promise<Methods[M]["value"]>}
   */
  #call(method, args, progress = () => {}, transfer = []) {
    const worker = this.#worker;
    if (this.#disposed) return Promise.reject(new EngineError("disposed", "the engine was disposed of"));
    if (!worker) return Promise.reject(new EngineError("crash", "the engine is not running; reload the page"));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject, progress });
      worker.postMessage({ id, method, args }, transfer);
    });
  }

  /** @param {Reply} reply */
  #receive(reply) {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    if ("progress" in reply) {
      waiting.progress(reply.progress);
      return;
    }
    this.#waiting.delete(reply.id);
    if ("error" in reply) waiting.reject(new EngineError(reply.error.kind, reply.error.message));
    else waiting.resolve(reply.value);
  }

  /** Ends the worker; everything that waits for it hears why. @param {EngineError} error */
  #stop(error) {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** @type {typeof import("./engine.js").convertBase} */
export function convertBase(files, { name, sha256, signal, onProgress = () => {} } = {}) {
  const worker = new Worker(new URL("../worker/worker.js", import.meta.url), { type: "module" });
  /** @type {Promise<KeptBase>} */
  const kept = new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(new EngineError("cancelled", "cancelled; nothing was changed")));
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new EngineError("crash", `the conversion stopped: ${event.message || "its worker could not be loaded"}; close other tabs and try again`));
    };
    worker.onmessage = ({ data }) => {
      if ("progress" in data) onProgress(data.progress);
      else if ("error" in data) reject(new EngineError(data.error.kind, data.error.message));
      else resolve(data.value);
    };
    worker.postMessage({ id: 0, method: "convert", args: { files, name, sha256 } });
  });
  return kept.finally(() => worker.terminate());
}

/** @param {Scored} scored @param {number[]} ids @param {Evaluation["on"]} on @param {number} [folds] @returns {Evaluation} */
function withIds(scored, ids, on, folds = 0) {
  const answers = scored.answers.map(({ row, ...answer }) => ({ id: ids[row], ...answer }));
  const mislabels = scored.mislabels.map(({ row, ...mislabel }) => ({ id: ids[row], ...mislabel }));
  return { ...scored, answers, mislabels, on, folds };
}

/** Points moved into the unit square, their shape kept. @param {Float32Array} points */
function fitted(points) {
  const axis = (/** @type {number} */ which) => {
    let [least, most] = [Infinity, -Infinity];
    for (let at = which; at < points.length; at += 2) [least, most] = [Math.min(least, points[at]), Math.max(most, points[at])];
    return { middle: (least + most) / 2, span: most - least };
  };
  const axes = [axis(0), axis(1)];
  const span = Math.max(axes[0].span, axes[1].span) || 1;
  return points.map((value, at) => 0.5 + (value - axes[at % 2].middle) / span);
}

/**
 * UMAP in a worker that lives as long as it takes.
 * @param {{ table: Float32Array<ArrayBuffer>, components: number, seed: number }} work
 * @param {AbortSignal | undefined} signal @param {((progress: BatchProgress) => void) | undefined} onProgress
 * @returns {Promise<Float32Array>}
 */
function umap(work, signal, onProgress) {
  const worker = new Worker(new URL("../worker/umap.js", import.meta.url), { type: "module" });
  /** @type {Promise<Float32Array>} */
  const points = new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(new EngineError("cancelled", "cancelled; nothing was changed")));
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new EngineError("crash", `the map stopped: ${event.message || "its worker could not be loaded"}; try again with fewer pictures`));
    };
    worker.onmessage = ({ data }) => {
      if ("points" in data) resolve(data.points);
      else if ("error" in data) reject(new EngineError("setting", data.error));
      else onProgress?.(data);
    };
    worker.postMessage(work, [work.table.buffer]);
  });
  return points.finally(() => worker.terminate());
}
