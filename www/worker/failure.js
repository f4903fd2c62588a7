// @ts-check
/** @import { ErrorKind } from "../engine/error.js" */

/** An error in the worker. The page receives it as an `EngineError` of the same kind. */
export class Failure extends Error {
  /** @param {ErrorKind} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}
