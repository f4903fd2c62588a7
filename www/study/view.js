// @ts-check
/** The study's room on the page: its parts in order, rendered at most once a frame. */
import { byId } from "../dom.js";
import { createTraining } from "./training.js";

/** @import { State } from "./state.js" */
/** @import { TrainingHandlers } from "./training.js" */

/** @typedef {TrainingHandlers} Handlers */

/** @param {Handlers} on */
export function createStudyView(on) {
  const parts = [createTraining(on)];
  byId("study", HTMLElement).append(...parts.map(({ element }) => element));
  /** @type {State | null} */
  let shown = null;
  /** @type {State | null} */
  let wanted = null;

  return { render };

  /** @param {State} state */
  function render(state) {
    if (!wanted) requestAnimationFrame(paint);
    wanted = state;
  }

  function paint() {
    const state = /** @type {State} */ (wanted);
    wanted = null;
    for (const part of parts) part.render(state, shown);
    shown = state;
  }
}
