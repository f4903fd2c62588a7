// @ts-check
/**
 * Additional CPU workers for batches: pictures are independent, so each core can process its own. A pool worker has only the base and a head;
 * all other state is in the engine's main worker. Workers start when a batch is large enough, and end after a period without work.
 */

import { newLiveness } from "./liveness.js";
import { startWorker, WorkerClient } from "./rpc.js";

/** @import { Methods } from "./messages.js" */
/** @import { KeptBase } from "./types.js" */

/** Minimum batch size. Starting a worker takes about as long as a few pictures. */
const MIN_PICTURES = 8;
/** Maximum number of workers; each uses about 150 MB. */
const MAX_WORKERS = 3;
/** Milliseconds without work after which all workers end. */
const IDLE_MS = 15_000;

export class WorkerPool {
  /** Each worker, with the promise that it is loaded. @type {Map<PoolWorker, Promise<unknown>>} */ #workers = new Map();
  #idleTimer = 0;
  #source;

  /** @param {{ weights?: string | KeptBase, head?: string }} source */
  constructor(source) {
    this.#source = source;
  }

  /**
   * Runs `work` on every worker, as soon as the worker is loaded. A worker that fails is removed.
   * @param {number} pictures @param {(worker: PoolWorker) => Promise<void>} work
   * @returns {() => Promise<void>} waits for running work, and ignores workers that are still loading
   */
  run(pictures, work) {
    clearTimeout(this.#idleTimer);
    const wanted = pictures < MIN_PICTURES ? 0 : Math.min(navigator.hardwareConcurrency - 1, MAX_WORKERS);
    while (this.#workers.size < wanted) this.#add();
    /** @type {Set<Promise<void>>} */
    const running = new Set();
    let ended = false;
    for (const [worker, loading] of this.#workers) {
      loading
        .then(() => {
          if (ended) return;
          const promise = work(worker).finally(() => running.delete(promise));
          running.add(promise);
          return promise;
        })
        .catch((error) => {
          if (!this.#workers.has(worker)) return; // the pool was disposed
          console.warn("removed a worker from the pool:", error); // the other workers process its pictures
          this.#remove(worker);
        });
    }
    return async () => {
      ended = true;
      await Promise.allSettled(running);
      clearTimeout(this.#idleTimer); // set by a batch that ended meanwhile
      this.#idleTimer = window.setTimeout(() => this.dispose(), IDLE_MS);
    };
  }

  #add() {
    const worker = new PoolWorker();
    this.#workers.set(worker, worker.load(this.#source));
  }

  /** @param {PoolWorker} worker */
  #remove(worker) {
    this.#workers.delete(worker);
    worker.close();
  }

  dispose() {
    clearTimeout(this.#idleTimer);
    for (const worker of this.#workers.keys()) this.#remove(worker);
  }
}

export class PoolWorker {
  /** @type {WorkerClient<Methods>} */ #client;
  /** Identity of the head that this worker uses; null for the initial head. @type {object | null} */ head = null;

  constructor() {
    this.#client = new WorkerClient(startWorker(), (reason) => this.#client.close(new Error(reason ?? "the worker ended unexpectedly")));
  }

  /** @param {{ weights?: string | KeptBase, head?: string }} source */
  async load(source) {
    const liveness = newLiveness();
    await this.call("load", { device: "cpu", liveness, ...source });
    this.#client.watch(liveness);
  }

  /**
   * @template {keyof Methods} M @param {M} method @param {Methods[M]["args"]} args @returns {Promise<Methods[M]["value"]>}
   * @throws {Error} not an `EngineError`: a failure of a pool worker must not fail the batch
   */
  async call(method, args) {
    try {
      return await this.#client.call(method, args);
    } catch (error) {
      throw new Error(/** @type {Error} */ (error).message);
    }
  }

  close() {
    this.#client.close(new Error("the worker was removed from the pool"));
  }
}
