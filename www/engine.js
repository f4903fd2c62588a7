// @ts-check
/**
 * The JavaScript door to inception-web: a worker that computes, behind promises. Types and their documentation: engine.d.ts.
 *
 * A worker that dies is started again, on the CPU, and the picture in flight is tried once more.
 */

/** @import { Answer, Engine, EngineOptions, ErrorKind, LoadProgress, Picture, Prediction, ClassifyOptions } from "./engine.js" */
/** @import { Loaded, Methods, Outcome, Reply } from "./messages.js" */

export class EngineError extends Error {
  /** @param {ErrorKind} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.name = "EngineError";
    this.kind = kind;
  }
}

/** @type {(options?: EngineOptions) => Promise<Engine>} */
export async function createEngine({ device = "auto", weights, head, onProgress = () => {} } = {}) {
  const absolute = (/** @type {string | undefined} */ url) => url && new URL(url, document.baseURI).href;
  const wish = { weights: absolute(weights), head: absolute(head) };
  const engine = new WorkerEngine(wish);
  try {
    await engine.start(device, onProgress);
  } catch (error) {
    if (device === "cpu" || !(error instanceof EngineError && error.kind === "crash")) throw error;
    await engine.startOver(onProgress);
  }
  return engine;
}

/** @implements {Engine} */
class WorkerEngine {
  /** @type {Worker | null} */ #worker = null;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: EngineError) => void, progress: (progress: LoadProgress) => void }>} */
  #waiting = new Map();
  /** @type {Loaded | null} */ #loaded = null;
  /** @type {Promise<void>} */ #starting = Promise.resolve();
  #nextId = 0;
  #disposed = false;
  #wish;

  /** @param {{ weights?: string, head?: string }} wish */
  constructor(wish) {
    this.#wish = wish;
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [progress] */
  start(device, progress) {
    this.#starting = this.#start(device, progress);
    return this.#starting;
  }

  /** @param {"auto" | "webgpu" | "cpu"} device @param {(progress: LoadProgress) => void} [progress] */
  async #start(device, progress) {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#stop(new EngineError("crash", `the engine stopped: ${event.message || "its worker could not be loaded"}; reload the page`));
    };
    this.#worker = worker;
    try {
      this.#loaded = await this.#call("load", { device, ...this.#wish }, progress);
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

  /** @type {Engine["latents"]} */
  async latents(pictures, { signal, onProgress } = {}) {
    /** @type {Float32Array[]} */
    const latents = [];
    await this.#run(pictures, { topK: 0, thumbnails: false, signal, onProgress }, (_index, outcome) => {
      if ("error" in outcome) throw new EngineError(outcome.error.kind, outcome.error.message);
      latents.push(outcome.latents);
    });
    return latents;
  }

  /** @param {Picture[]} pictures @param {ClassifyOptions} [options] @returns {Promise<any>} */
  async classify(pictures, { topK = 5, thumbnails = false, signal, onProgress, onPicture } = {}) {
    /** @type {(Prediction[] | null)[]} */
    const answers = [];
    await this.#run(pictures, { topK, thumbnails, signal, onProgress }, (index, outcome) => {
      if ("error" in outcome) {
        const error = new EngineError(outcome.error.kind, outcome.error.message);
        if (!onPicture) throw error;
        onPicture(index, error);
        answers.push(null);
      } else {
        const { latents, ...answer } = outcome;
        onPicture?.(index, answer);
        answers.push(answer.predictions);
      }
    });
    return answers;
  }

  dispose() {
    this.#disposed = true;
    this.#stop(new EngineError("disposed", "the engine was disposed of"));
  }

  /**
   * Sends pictures a few at a time, so that cancelling is quick and memory bounded.
   * @param {Picture[]} pictures
   * @param {{ topK: number, thumbnails: boolean } & Pick<ClassifyOptions, "signal" | "onProgress">} options
   * @param {(index: number, outcome: Outcome) => void} tell
   */
  async #run(pictures, { topK, thumbnails, signal, onProgress }, tell) {
    const total = pictures.length;
    for (let done = 0; done < total; ) {
      if (signal?.aborted) throw new EngineError("cancelled", `cancelled after ${done} of ${total} pictures`);
      const batch = pictures.slice(done, done + this.#facts.batch);
      for (const outcome of await this.#answer({ pictures: batch, topK, thumbnails })) {
        tell(done, outcome);
        done += 1;
        onProgress?.({ done, total });
      }
    }
  }

  /** @param {Methods["answer"]["args"]} args @returns {Promise<Outcome[]>} */
  async #answer(args) {
    await this.#started();
    const worker = this.#worker;
    try {
      return await this.#call("answer", args);
    } catch (error) {
      if (!(error instanceof EngineError && (error.kind === "crash" || error.kind === "device")) || this.#disposed) throw error;
      if (this.#worker && this.#worker !== worker) {
        await this.#started(); // another call in flight was told first
      } else {
        this.#stop(error);
        await this.startOver();
      }
      return this.#call("answer", args);
    }
  }

  /** Waits for the start under way, and for one that took its place meanwhile. */
  async #started() {
    for (let waited; waited !== this.#starting; ) {
      waited = this.#starting;
      await waited;
    }
  }

  /** After a crash: on the CPU, and the person is told. @param {(progress: LoadProgress) => void} [progress] */
  async startOver(progress) {
    await this.start("cpu", progress);
    this.#facts.notice = "The engine stopped, and was started again on the CPU.";
  }

  /**
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: LoadProgress) => void} [progress]
   * @returns {Promise<Methods[M]["value"]>}
   */
  #call(method, args, progress = () => {}) {
    const worker = this.#worker;
    if (this.#disposed) return Promise.reject(new EngineError("disposed", "the engine was disposed of"));
    if (!worker) return Promise.reject(new EngineError("crash", "the engine is not running; reload the page"));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject, progress });
      worker.postMessage({ id, method, args });
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
