// @ts-check
/** Client side of the messages between page and workers (messages.d.ts): matches replies to requests and detects dead workers. */

import { EngineError } from "./error.js";
import { watchLiveness } from "./liveness.js";

/** @import { Reply } from "./messages.js" */
/** @typedef {{ args: any, value: any, progress: any }} Method */

/** Starts the worker that runs the network. */
export function startWorker() {
  return new Worker(new URL("../worker/worker.js", import.meta.url), { type: "module" });
}

/** @template {{ [M in keyof Methods]: Method }} Methods */
export class WorkerClient {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void, onProgress: (progress: any) => void }>} */
  #pending = new Map();
  #nextId = 0;
  /** Set once the worker is terminated. @type {Error | null} */ #closed = null;
  #worker;
  #onCrash;

  /** @param {Worker} worker @param {(reason: string | null) => void} onCrash called with the error, if known, when the worker fails; must call `close` */
  constructor(worker, onCrash) {
    this.#worker = worker;
    this.#onCrash = onCrash;
    worker.onmessage = ({ data }) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      onCrash(event.message || "its worker could not be loaded");
    };
  }

  /**
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args @param {(progress: Methods[M]["progress"]) => void} [onProgress] @param {Transferable[]} [transfer]
   * @returns {Promise<Methods[M]["value"]>}
   */
  call(method, args, onProgress = () => {}, transfer = []) {
    if (this.#closed) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, method, args }, transfer);
    });
  }

  /**
   * Sends the only request of this worker, and terminates the worker afterwards.
   * @template {keyof Methods} M
   * @param {M} method @param {Methods[M]["args"]} args
   * @param {{ signal?: AbortSignal, onProgress?: (progress: Methods[M]["progress"]) => void, transfer?: Transferable[] }} options
   * @returns {Promise<Methods[M]["value"]>}
   */
  async callOnce(method, args, { signal, onProgress, transfer }) {
    const cancel = () => this.close(new EngineError("cancelled", "cancelled; nothing was changed"));
    signal?.addEventListener("abort", cancel);
    try {
      return await this.call(method, args, onProgress, transfer);
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.close(new EngineError("disposed", "the worker was terminated"));
    }
  }

  /** Reports a crash when the worker ends, even without an error event. @param {string} liveness the lock that the worker holds */
  watch(liveness) {
    watchLiveness(liveness, () => this.#closed || this.#onCrash(null));
  }

  /** Terminates the worker and rejects pending and later requests. @param {Error} error */
  close(error) {
    if (this.#closed) return;
    this.#closed = error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** @param {Reply} reply */
  #receive(reply) {
    const request = this.#pending.get(reply.id);
    if (!request) return;
    if ("progress" in reply) {
      request.onProgress(reply.progress);
      return;
    }
    this.#pending.delete(reply.id);
    if ("error" in reply) request.reject(new EngineError(reply.error.kind, reply.error.message));
    else request.resolve(reply.value);
  }
}
