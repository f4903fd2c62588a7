// @ts-check
/** Control of the running job: pause, resume, stop, cancel. A worker runs one job at a time. */
import { Failure } from "./failure.js";

/** @import { JobControl } from "../engine/messages.js" */

/** Jobs call `yieldToEvents` at least this often, in milliseconds. */
export const SLICE_MS = 50;

/** @type {JobControl} */
let command = "resume";
let wake = () => {};

/** @param {JobControl} next */
export function control(next) {
  command = next;
  wake();
}

/** Discards commands for the previous job. */
export function resetControl() {
  command = "resume";
}

/** Whether the job should end early and keep its result. */
export function stopRequested() {
  return command === "stop";
}

/** Handles pending messages, waits while paused, and throws if the job was cancelled. @param {() => void} [free] called before throwing */
export async function yieldToEvents(free = () => {}) {
  await new Promise((resolve) => setTimeout(resolve));
  while (command === "pause") await /** @type {Promise<void>} */ (new Promise((resolve) => (wake = resolve)));
  if (command !== "cancel") return;
  free();
  throw new Failure("cancelled", "cancelled; nothing was changed");
}
