// @ts-check
/** `engine.ways`: forwards requests to the worker, and remembers the files of the picture set so that a restarted worker can read them again. */

/** @import { Methods } from "./messages.js" */
/** @import { ModelComparison, PictureSet, SetFile } from "./types.js" */

/**
 * @typedef {{
 *   request<M extends keyof Methods>(method: M, args: Methods[M]["args"], onProgress?: (progress: Methods[M]["progress"]) => void): Promise<Methods[M]["value"]>,
 *   cancellable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>,
 * }} Requests
 */

/** @implements {ModelComparison} */
export class WorkerComparison {
  /** @type {PictureSet | null} */ set = null;
  /** @type {SetFile[]} */ #files = [];
  #requests;

  /** @param {Requests} requests */
  constructor(requests) {
    this.#requests = requests;
  }

  /** @type {ModelComparison["open"]} */
  async open(files, { signal, onProgress } = {}) {
    this.set = await this.#requests.cancellable(signal, () => this.#requests.request("openSet", { files }, onProgress));
    this.#files = files;
    return this.set;
  }

  /** Opens the set again in a restarted worker. @param {Requests["request"]} request */
  async restore(request) {
    if (this.#files.length) await request("openSet", { files: this.#files });
  }

  /** @type {ModelComparison["plan"]} */
  plan(options) {
    return this.#requests.request("plan", { options });
  }

  /** @type {ModelComparison["compare"]} */
  compare(options, { signal, onProgress, onWay } = {}) {
    return this.#requests.cancellable(signal, () => this.#requests.request("compare", { options }, (progress) => {
      if ("result" in progress) onWay?.(progress.result);
      else onProgress?.(progress);
    }));
  }

  /** @type {ModelComparison["learningCurve"]} */
  learningCurve(options, { signal, onProgress } = {}) {
    return this.#requests.cancellable(signal, () => this.#requests.request("learningCurve", { options }, onProgress));
  }

  /** @type {ModelComparison["pictures"]} */
  pictures(from, rows) {
    return this.#requests.request("setPictures", { from, rows });
  }

  /** @type {ModelComparison["layers"]} */
  layers(way) {
    return this.#requests.request("layers", { way });
  }
}
