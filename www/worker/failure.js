// @ts-check
/** @import { ErrorKind } from "../engine/engine.js" */

/** What went wrong in the worker, with the family that `engine.d.ts` lists. */
export class Failure extends Error {
  /** @param {ErrorKind} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}
