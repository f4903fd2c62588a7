// @ts-check
/**
 * The JavaScript API: sends requests to a worker that runs the network. Types and documentation: engine.d.ts.
 *
 * When the worker dies, it is restarted and its pending requests are sent again. If the GPU was in use, the first restart uses the GPU;
 * later ones use the CPU.
 */

import { WorkerComparison } from "./comparison.js";
import { Dataset } from "./dataset.js";
import { EngineError } from "./error.js";
import { newLiveness } from "./liveness.js";
import { startWorker, WorkerClient } from "./rpc.js";
import { WorkerPool } from "./worker-pool.js";

/** @import { TableEvaluation } from "../pkg/tools/inception_web.js" */
/** @import { Loaded, Methods, Outcome, UmapMethods } from "./messages.js" */
/** @import { BatchProgress, ClassifyOptions, ConvertOptions, Embedded, Engine, EngineOptions, Evaluation, KeptBase, LoadProgress, Picture, Prediction, TrainOptions } from "./types.js" */
/** @import { PoolWorker } from "./worker-pool.js" */

/** Methods that need the dataset in the worker. */
const DATASET_METHODS = new Set(["train", "crossValidate", "evaluate", "nearest", "components", "writeLatents"]);
/** Methods that need the picture set in the worker. */
const SET_METHODS = new Set(["plan", "compare", "learningCurve", "setPictures", "layers"]);
/** Number of consecutive pictures that may crash the worker; if more do, the pictures are not the cause. */
const MAX_CRASHES = 3;
const CRASH_MESSAGE = "picture: the engine crashed on it twice; save it in another format, or leave it out";
/** Side of the network's input, and of the thumbnails of answers. */
const INPUT = 299;
/** Number of principal components that UMAP gets. */
const COMPONENTS = 50;

export { EngineError };

/** Rejects the requests of a worker that was terminated because of another request. */
class RestartError extends EngineError {}

/** @type {(options?: EngineOptions) => Promise<Engine>} */
export async function createEngine({ device = "auto", weights, head, onProgress = () => {}, onChange = () => {} } = {}) {
  const absolute = (/** @type {string | undefined} */ url) => url && new URL(url, document.baseURI).href;
  const source = { weights: typeof weights === "object" ? weights : absolute(weights), head: absolute(head) };
  const engine = new WorkerEngine(source, onChange);
  try {
    await engine.start(device, onProgress).catch((error) => {
      if (device === "cpu" || !(error instanceof EngineError && error.kind === "crash")) throw error;
      return engine.restart(error, onProgress);
    });
  } catch (error) {
    // The worker may still be fetching files.
    engine.dispose();
    throw error;
  }
  return engine;
}

/** @typedef {{ topK: number, thumbnails: number } & Pick<ClassifyOptions, "signal" | "onProgress">} RunOptions  `thumbnails` is the side in pixels. */

/** @implements {Engine} */
class WorkerEngine {
  /** @type {WorkerClient<Methods> | null} */ #client = null;
  /** @type {Loaded | null} */ #loaded = null;
  /** The latest start or restart. @type {Promise<void>} */ #starting = Promise.resolve();
  #disposed = false;
  #source;
  #onChange;
  #pool;
  /** Whether the GPU was restarted; it is restarted only once. */ #gpuRestarted = false;
  /** The current head if it is not the initial one, for a restarted worker. @type {Uint8Array | null} */ #headFile = null;
  /** Ids of the validation pictures of the current head. @type {Set<number> | null} */ #validation = null;
  /** The rows of the dataset that the worker has. @type {ReturnType<Dataset["rows"]> | null} */ #sentRows = null;

  /** @param {{ weights?: string | KeptBase, head?: string }} source @param {() => unknown} onChange */
  constructor(source, onChange) {
    this.#source = source;
    this.#onChange = onChange;
    this.#pool = new WorkerPool(source);
    this.dataset = new Dataset((pictures, options) => this.embed(pictures, options));
    this.ways = new WorkerComparison({
      request: (method, args, onProgress) => this.#request(method, args, onProgress),
      cancellable: (signal, work) => this.#cancellable(signal, work),
    });
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [onProgress] */
  start(device, onProgress) {
    this.#starting = this.#start(device, onProgress);
    return this.#starting;
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [onProgress] */
  async #start(device, onProgress) {
    /** @type {WorkerClient<Methods>} */
    const client = new WorkerClient(startWorker(), (reason) => {
      this.#stop(new EngineError("crash", `the engine stopped${reason ? `: ${reason}` : ""}; reload the page`));
    });
    this.#client = client;
    this.#sentRows = null;
    const liveness = newLiveness();
    try {
      this.#loaded = await this.#call("load", { device, liveness, ...this.#source }, onProgress);
      client.watch(liveness);
      if (this.#headFile) this.#loaded.head = await this.#call("openHead", { bytes: this.#headFile });
    } catch (error) {
      this.#stop(new EngineError("crash", "the engine could not be started"));
      throw error;
    }
  }

  get #info() {
    if (!this.#loaded) throw new EngineError("crash", "the engine has not been loaded");
    return this.#loaded;
  }
  get device() {
    return this.#info.device;
  }
  get build() {
    return this.#info.build;
  }
  get complete() {
    return this.#info.complete;
  }
  get deviceName() {
    return this.#info.deviceName;
  }
  get notice() {
    return this.#info.notice;
  }
  get fingerprint() {
    return this.#info.base.fingerprint;
  }
  get base() {
    return this.#info.base;
  }
  get head() {
    return this.#info.head;
  }
  get classes() {
    return this.#info.head.classes;
  }
  get defaults() {
    return this.#info.defaults;
  }
  get unsureBelow() {
    return this.#info.head.unsureBelow;
  }
  set unsureBelow(share) {
    this.#info.head = { ...this.#info.head, unsureBelow: share };
    // A restarted worker reads the threshold from the head file.
    this.#request("setUnsureBelow", { share }).then(() => this.#keepHead()).catch(console.error);
  }

  /** @type {Engine["latents"]} */
  async latents(pictures, { signal, onProgress } = {}) {
    const embedded = await this.embed(pictures, { signal, onProgress });
    return embedded.map((picture) => /** @type {Embedded} */ (picture).latents);
  }

  /** @type {Engine["embed"]} */
  async embed(pictures, { thumbnails = 0, onPicture, ...options } = {}) {
    return this.#collect(pictures, { ...options, topK: 0, thumbnails, onPicture }, ({ latents, width, height, thumbnail = null }, index) => {
      const embedded = { latents, width, height, thumbnail };
      onPicture?.(index, embedded);
      return embedded;
    });
  }

  /** @param {Picture[]} pictures @param {ClassifyOptions} [options] @returns {Promise<any>} */
  async classify(pictures, { topK = 5, thumbnails = false, onPicture, ...options } = {}) {
    return this.#collect(pictures, { ...options, topK, thumbnails: thumbnails ? INPUT : 0, onPicture }, ({ thumbnail, ...answer }, index) => {
      onPicture?.(index, { ...answer, thumbnail: thumbnail && new Blob([thumbnail], { type: "image/jpeg" }) });
      return answer.predictions;
    });
  }

  /**
   * Runs pictures through the network. The result is null for a broken picture; without `onPicture`, a broken picture is an error.
   * @template T
   * @param {Picture[]} pictures
   * @param {RunOptions & { onPicture?: (index: number, error: EngineError) => void }} options
   * @param {(outcome: Exclude<Outcome, { error: unknown }>, index: number) => T} convert called in order
   * @returns {Promise<(T | null)[]>}
   */
  async #collect(pictures, { onPicture, ...options }, convert) {
    /** @type {(T | null)[]} */
    const results = new Array(pictures.length);
    await this.#run(pictures, options, (index, outcome) => {
      if ("error" in outcome) {
        const error = new EngineError(outcome.error.kind, outcome.error.message);
        if (!onPicture) throw error;
        onPicture(index, error);
        results[index] = null;
      } else {
        results[index] = convert(outcome, index);
      }
    });
    return results;
  }

  /** @type {Engine["predict"]} */
  predict(latents, topK = 5) {
    return this.#request("predict", { latents, topK });
  }

  /** @type {Engine["train"]} */
  async train(options = {}, { onEpoch, signal } = {}) {
    const { ids } = await this.#sync();
    const trained = await this.#cancellable(signal, () => this.#request("train", { settings: this.#settings(options) }, onEpoch));
    const { validation, head, evaluation, ...report } = trained;
    this.#info.head = head;
    this.#validation = new Set(Array.from(validation, (row) => ids[row]));
    await this.#keepHead();
    return { ...report, evaluation: evaluation && withIds(evaluation, ids, "validation") };
  }

  /** @type {Engine["control"]} */
  control(command) {
    this.#call("control", { command }).catch(console.error); // fails only if the worker has died
  }

  /** @type {Engine["evaluate"]} */
  async evaluate({ folds = 0, ...options } = {}, { signal, onProgress } = {}) {
    const { ids } = await this.#syncNonEmpty("evaluate");
    if (folds) {
      const settings = this.#settings(options);
      const scored = await this.#cancellable(signal, () => this.#request("crossValidate", { settings, folds }, onProgress));
      return withIds(scored, ids, "folds", folds);
    }
    const validation = ids.flatMap((id, row) => (this.#validation?.has(id) ? [row] : []));
    const rows = Uint32Array.from(validation.length ? validation : ids.keys());
    return withIds(await this.#request("evaluate", { rows }), ids, validation.length ? "validation" : "dataset");
  }

  /** @type {Engine["openHead"]} */
  async openHead(file) {
    const bytes = file instanceof Blob ? new Uint8Array(await file.arrayBuffer()) : file;
    this.#info.head = await this.#request("openHead", { bytes });
    this.#headFile = bytes;
    this.#validation = null;
  }

  /** @type {Engine["resetHead"]} */
  async resetHead() {
    this.#info.head = await this.#request("openHead", { bytes: null });
    this.#headFile = null;
    this.#validation = null;
  }

  /** @type {Engine["exportHead"]} */
  async exportHead(form) {
    return new Blob([await this.#request("writeHead", { form })], { type: "application/octet-stream" });
  }

  /** @type {Engine["exportLatents"]} */
  async exportLatents(form) {
    await this.#syncNonEmpty("latents");
    return new Blob([await this.#request("writeLatents", { form })], { type: "application/octet-stream" });
  }

  /** @type {Engine["readLatents"]} */
  readLatents(files) {
    return this.#request("readLatents", { files });
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
    const pairs = await this.#request("nearest", { latents, count }); // row, similarity
    return Array.from({ length: pairs.length / 2 }, (_, n) => ({ id: ids[pairs[n * 2]], similarity: pairs[n * 2 + 1] }));
  }

  /** @type {Engine["explain"]} */
  async explain(picture, label) {
    const values = await this.#request("explain", { picture, label });
    return { side: Math.sqrt(values.length), values };
  }

  /** @type {Engine["map"]} */
  async map(method, { seed = 0, signal, onProgress } = {}) {
    const { ids } = await this.#syncNonEmpty("map");
    if (method === "pca") return { ids, points: toUnitSquare(await this.#request("components", { count: 2 })) };
    const components = Math.min(COMPONENTS, ids.length);
    const table = await this.#request("components", { count: components });
    return { ids, points: toUnitSquare(await umap({ table, components, seed }, signal, onProgress)) };
  }

  dispose() {
    this.#disposed = true;
    this.#pool.dispose();
    this.#stop(new EngineError("disposed", "the engine was disposed"));
  }

  /**
   * Sends pictures to the worker in small batches, so that cancelling is fast and memory is bounded. On the CPU, pool workers help with large
   * batches. Outcomes are reported in order.
   * @param {Picture[]} pictures @param {RunOptions} options @param {(index: number, outcome: Outcome) => void} onOutcome
   */
  async #run(pictures, { topK, thumbnails, signal, onProgress }, onOutcome) {
    const total = pictures.length;
    /** Indices of the pictures that no worker has taken. */
    const queue = [...pictures.keys()];
    /** Outcomes that wait for the outcomes of earlier pictures. @type {Map<number, Outcome>} */
    const ready = new Map();
    let done = 0;
    /** Consecutive pictures that crashed the worker. */
    let crashes = 0;
    /** @param {number} batch @param {(pictures: Picture[]) => Promise<Outcome[]>} answer */
    const processQueue = async (batch, answer) => {
      while (queue.length && !signal?.aborted) {
        const taken = queue.splice(0, crashes ? 1 : batch);
        /** @type {Outcome[]} */
        let outcomes;
        try {
          outcomes = await answer(taken.map((index) => pictures[index]));
          crashes = 0;
        } catch (error) {
          const crash = error instanceof EngineError && error.kind === "crash";
          if (crash) crashes += 1;
          if (!crash || this.#disposed || crashes > MAX_CRASHES) {
            queue.unshift(...taken);
            throw error;
          }
          if (taken.length > 1) { // retry one by one to find the picture that causes the crash
            queue.unshift(...taken);
            continue;
          }
          outcomes = [{ error: { kind: "picture", message: CRASH_MESSAGE } }];
        }
        taken.forEach((index, n) => ready.set(index, outcomes[n]));
        for (let next; (next = ready.get(done)); onProgress?.({ done, total })) {
          ready.delete(done);
          onOutcome(done, next);
          done += 1;
        }
      }
    };
    const processHere = () => processQueue(this.#info.batch, (pictures) => this.#request("answer", { pictures, topK, thumbnails }));
    /** @type {unknown[]} */
    const poolErrors = [];
    const processInPool = (/** @type {PoolWorker} */ worker) =>
      processQueue(1, async (pictures) => {
        if (topK) await this.#sendHead(worker);
        return worker.call("answer", { pictures, topK, thumbnails });
      }).catch((error) => {
        poolErrors.push(error);
        if (error instanceof EngineError) queue.length = 0; // a broken picture, or the main worker failed: stop the batch
        throw error;
      });
    const endPool = this.#info.device === "cpu" ? this.#pool.run(total, processInPool) : async () => {};
    try {
      await processHere();
    } catch (error) {
      queue.length = 0;
      throw error;
    } finally {
      await endPool();
    }
    const fatal = poolErrors.find((error) => error instanceof EngineError);
    if (fatal) throw fatal;
    await processHere(); // pictures that a failed pool worker put back
    if (signal?.aborted && done < total) throw new EngineError("cancelled", `cancelled after ${done} of ${total} pictures`);
  }

  /** Gives a pool worker the current head. @param {PoolWorker} worker */
  async #sendHead(worker) {
    const { head } = this.#info;
    if (worker.head === head || !head.classes.length) return;
    await worker.call("openHead", { bytes: await this.#request("writeHead", { form: "safetensors" }) });
    worker.head = head;
  }

  /** Sends the dataset to the worker if it changed. */
  async #sync() {
    await this.#started();
    const rows = this.dataset.rows();
    if (this.#sentRows === rows) return rows;
    const { labels, classes, names } = rows;
    const latents = this.dataset.table(rows);
    await this.#call("setTable", { latents, labels, classes, names }, undefined, [latents.buffer]);
    this.#sentRows = rows;
    return rows;
  }

  /** Sends the dataset, which must not be empty. @param {string} method for the error message */
  async #syncNonEmpty(method) {
    const rows = await this.#sync();
    if (!rows.ids.length) throw new EngineError("latents", `${method}: the dataset has no pictures; add some first`);
    return rows;
  }

  /** Fills in default settings. @param {TrainOptions} options */
  #settings(options) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    const unknown = given.find(([name]) => !(name in this.defaults));
    if (unknown) throw new EngineError("setting", `unknown setting ${unknown[0]}; use one of ${Object.keys(this.defaults).join(", ")}`);
    return { ...this.defaults, ...Object.fromEntries(given) };
  }

  /** Runs a job that the signal can cancel. @template T @param {AbortSignal | undefined} signal @param {() => Promise<T>} work */
  async #cancellable(signal, work) {
    if (signal?.aborted) throw new EngineError("cancelled", "cancelled; nothing was changed");
    const cancel = () => this.#call("control", { command: "cancel" }).catch(console.error);
    signal?.addEventListener("abort", cancel);
    try {
      return await work();
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Saves the current head for a restarted worker. */
  async #keepHead() {
    this.#headFile = await this.#request("writeHead", { form: "safetensors" });
  }

  /**
   * Sends a request. If the worker dies, restarts it and sends the request once more.
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: Methods[M]["progress"]) => void} [onProgress]
   * @returns {Promise<Methods[M]["value"]>}
   */
  async #request(method, args, onProgress) {
    let ownCrashes = 0;
    for (let tries = 1; ; tries++) {
      await this.#started();
      const client = this.#client;
      const { device } = this.#info;
      try {
        if (tries > 1 && DATASET_METHODS.has(method)) await this.#sync();
        if (tries > 1 && SET_METHODS.has(method)) await this.ways.restore((method, args) => this.#call(method, args));
        return await this.#call(method, args, onProgress);
      } catch (error) {
        if (!(error instanceof EngineError && (error.kind === "crash" || error.kind === "device")) || this.#disposed) throw error;
        if (!(error instanceof RestartError)) ownCrashes += 1;
        if (ownCrashes > 1 && device === "cpu") throw error;
        if (this.#client && this.#client !== client) continue; // another request has already restarted the worker
        this.#stop(new RestartError(error.kind, error.message));
        await this.restart(error);
      }
    }
  }

  /** Waits until the worker is loaded, including restarts in the meantime. */
  async #started() {
    for (let awaited; awaited !== this.#starting; ) {
      awaited = this.#starting;
      await awaited;
    }
  }

  /**
   * Restarts after a crash or a lost GPU, and updates `notice` before and after.
   * @param {EngineError} error @param {(progress: LoadProgress) => void} [onProgress]
   */
  async restart({ kind }, onProgress) {
    const before = this.#loaded?.device;
    const onGpu = before === "webgpu" && !this.#gpuRestarted;
    const event = kind === "device" ? "The GPU was lost" : "The engine stopped";
    this.#gpuRestarted ||= onGpu;
    if (this.#loaded) {
      this.#loaded.notice = `${event}. ${before === "webgpu" && !onGpu ? "Switching to the CPU" : "Restarting"}; the work continues.`;
      this.#onChange();
    }
    const startOnCpu = () => this.#start("cpu", onProgress);
    this.#starting = onGpu ? this.#start("webgpu", onProgress).catch(startOnCpu) : startOnCpu();
    await this.#starting;
    const { device, notice } = this.#info;
    if (device === "webgpu") this.#info.notice = `${event} and was restarted.`;
    else this.#info.notice = notice ?? (kind === "device" ? `${event}, so the CPU is used.` : `${event} and was restarted on the CPU.`);
    this.#onChange();
  }

  /**
   * Sends a request to the current worker.
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: Methods[M]["progress"]) => void} [onProgress] @param {Transferable[]} [transfer]
   * @returns {Promise<Methods[M]["value"]>}
   */
  #call(method, args, onProgress, transfer) {
    if (this.#disposed) return Promise.reject(new EngineError("disposed", "the engine was disposed"));
    if (!this.#client) return Promise.reject(new EngineError("crash", "the engine is not running; reload the page"));
    return this.#client.call(method, args, onProgress, transfer);
  }

  /** Terminates the worker and rejects its pending requests. @param {EngineError} error */
  #stop(error) {
    const client = this.#client;
    this.#client = null;
    client?.close(error);
  }
}

/** @type {(files: File[], options?: ConvertOptions) => Promise<KeptBase>} */
export function convertBase(files, { name, sha256, signal, onProgress } = {}) {
  /** @type {WorkerClient<Methods>} */
  const client = new WorkerClient(startWorker(), (reason) => {
    client.close(new EngineError("crash", `the conversion stopped: ${reason}; close other tabs and try again`));
  });
  return client.callOnce("convert", { files, name, sha256 }, { signal, onProgress });
}

/** Replaces row indices of the dataset by picture ids. @param {TableEvaluation} scored @param {number[]} ids @param {Evaluation["on"]} on @param {number} [folds] @returns {Evaluation} */
function withIds(scored, ids, on, folds = 0) {
  const answers = scored.answers.map(({ row, ...answer }) => ({ id: ids[row], ...answer }));
  const mislabels = scored.mislabels.map(({ row, ...mislabel }) => ({ id: ids[row], ...mislabel }));
  return { ...scored, answers, mislabels, on, folds };
}

/** Moves and scales points into the unit square, with the same scale for both axes. @param {Float32Array} points x and y alternate */
function toUnitSquare(points) {
  const axis = (/** @type {number} */ offset) => {
    let [min, max] = [Infinity, -Infinity];
    for (let i = offset; i < points.length; i += 2) [min, max] = [Math.min(min, points[i]), Math.max(max, points[i])];
    return { middle: (min + max) / 2, span: max - min };
  };
  const axes = [axis(0), axis(1)];
  const span = Math.max(axes[0].span, axes[1].span) || 1;
  return points.map((value, i) => 0.5 + (value - axes[i % 2].middle) / span);
}

/**
 * @param {UmapMethods["umap"]["args"]} args
 * @param {AbortSignal | undefined} signal @param {((progress: BatchProgress) => void) | undefined} onProgress
 */
function umap(args, signal, onProgress) {
  const worker = new Worker(new URL("../worker/umap.js", import.meta.url), { type: "module" });
  /** @type {WorkerClient<UmapMethods>} */
  const client = new WorkerClient(worker, (reason) => client.close(new EngineError("crash", `the map stopped: ${reason}; try again with fewer pictures`)));
  return client.callOnce("umap", args, { signal, onProgress, transfer: [args.table.buffer] });
}
