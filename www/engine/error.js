// @ts-check

/**
 * The category of an error, for code; the message is for people.
 * @typedef {"picture" | "weights" | "head" | "device" | "network" | "cancelled" | "crash" | "disposed" | "setting" | "latents" | "train" | "pictures"} ErrorKind
 */

export class EngineError extends Error {
  /** @param {ErrorKind} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.name = "EngineError";
    /** @readonly */
    this.kind = kind;
  }
}
