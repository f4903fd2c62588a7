// @ts-check
/** The page's part of comparison.d.ts: it asks the worker, and remembers the files of the set for a worker that has to start again. */

/** @import { PictureSet, SetFile, Ways } from "./comparison.js" */
/** @import { Methods } from "./messages.js" */

/**
 * @typedef {{
 *   ask<M extends keyof Methods>(method: M, args: Methods[M]["args"], progress?: (progress: Methods[M]["progress"]) => void): Promise<Methods[M]["value"]>,
 *   steerable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T>,
 * }} Door
 */

/** @implements {Ways} */
export class EngineWays {
  /** @type {PictureSet | null} */ set = null;
  /** @type {SetFile[]} */ #files = [];
  #door;

  /** @param {Door} door */
  constructor(door) {
    this.#door = door;
  }

  /** @type {Ways["open"]} */
  async open(files, { signal, onProgress } = {}) {
    this.set = await this.#door.steerable(signal, () => this.#door.ask("openSet", { files }, onProgress));
    this.#files = files;
    return this.set;
  }

  /** Gives a worker that has been started again what the one before had. @param {Door["ask"]} ask */
  async restore(ask) {
    if (this.#files.length) await ask("openSet", { files: this.#files });
  }

  /** @type {Ways["plan"]} */
  plan(options) {
    return this.#door.ask("plan", { options });
  }

  /** @type {Ways["compare"]} */
  compare(options, { signal, onProgress, onWay } = {}) {
    return this.#door.steerable(signal, () => this.#door.ask("compare", { options }, (progress) => {
      if ("result" in progress) onWay?.(progress.result);
      else onProgress?.(progress);
    }));
  }

  /** @type {Ways["learningCurve"]} */
  learningCurve(options, { signal, onProgress } = {}) {
    return this.#door.steerable(signal, () => this.#door.ask("learningCurve", { options }, onProgress));
  }

  /** @type {Ways["pictures"]} */
  pictures(from, rows) {
    return this.#door.ask("setPictures", { from, rows });
  }

  /** @type {Ways["layers"]} */
  layers(way) {
    return this.#door.ask("layers", { way });
  }
}
