// @ts-check
/**
 * More workers for many pictures on the CPU: pictures are independent, so that each core can read its own. Every worker has the base and a
 * head; the rest stays with the engine's own worker. They start when a batch is worth it, and end when there has been no work for a while.
 */

import { newLifeline, watch } from "./liveness.js";

/** @import { KeptBase } from "./engine.js" */
/** @import { Methods } from "./messages.js" */

/** Pictures from which on another worker is worth its start, which costs as much as a few of them. */
const WORTH = 8;
/** The most besides the engine's own: each holds some 150 MB. */
const MOST = 3;
/** Milliseconds without work after which they end. */
const IDLE = 15_000;

export class Crew {
  /** @type {Map<Worker, Promise<Mate>>} */ #mates = new Map();
  #idle = 0;
  #wish;

  /** @param {{ weights?: string | KeptBase, head?: string }} wish */
  constructor(wish) {
    this.#wish = wish;
  }

  /**
   * Lets every worker that there is, or will be in time, do some of the work; one that fails is let go.
   * @param {number} pictures @param {(mate: Mate) => Promise<void>} work
   * @returns {() => Promise<void>} ends it: waits for those that work, not for those that still start
   */
  help(pictures, work) {
    clearTimeout(this.#idle);
    const wanted = pictures < WORTH ? 0 : Math.min(navigator.hardwareConcurrency - 1, MOST);
    while (this.#mates.size < wanted) this.#start();
    /** @type {Set<Promise<void>>} */
    const working = new Set();
    let over = false;
    for (const [worker, starting] of this.#mates) {
      starting
        .then((mate) => {
          if (over) return;
          const worked = work(mate).finally(() => working.delete(worked));
          working.add(worked);
          return worked;
        })
        .catch((error) => {
          console.warn("a worker was let go:", error); // its pictures are done by the others
          this.#end(worker);
        });
    }
    return async () => {
      over = true;
      await Promise.allSettled(working);
      this.#idle = window.setTimeout(() => this.dispose(), IDLE);
    };
  }

  #start() {
    const worker = new Worker(new URL("../worker/worker.js", import.meta.url), { type: "module" });
    const mate = new Mate(worker);
    const lifeline = newLifeline();
    const starting = mate.call("load", { device: "cpu", lifeline, ...this.#wish }).then(() => {
      watch(lifeline, () => mate.gone());
      return mate;
    });
    this.#mates.set(worker, starting);
  }

  /** @param {Worker} worker */
  #end(worker) {
    worker.terminate();
    this.#mates.delete(worker);
  }

  dispose() {
    clearTimeout(this.#idle);
    for (const worker of this.#mates.keys()) this.#end(worker);
  }
}

/** One of them, which does one thing at a time. */
export class Mate {
  #worker;
  /** Hears that the worker has ended. */ #lost = () => {};
  /** What the engine calls the head that this worker answers with. @type {object | null} */ head = null;

  /** @param {Worker} worker */
  constructor(worker) {
    this.#worker = worker;
  }

  /** @template {keyof Methods} M @param {M} method @param {Methods[M]["args"]} args @returns {Promise<Methods[M]["value"]>} */
  call(method, args) {
    return new Promise((resolve, reject) => {
      this.#lost = () => reject(new Error("it ended without a word"));
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message || "its worker could not be loaded"));
      };
      this.#worker.onmessage = ({ data }) => {
        if ("value" in data) resolve(data.value);
        else if ("error" in data) reject(new Error(data.error.message));
      };
      this.#worker.postMessage({ id: 0, method, args });
    });
  }

  gone() {
    this.#lost();
  }
}
