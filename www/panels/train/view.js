// @ts-check
/** View of the train panel: composes its sections. */
import { byId } from "../../ui/dom.js";
import { createRenderer } from "../../ui/render.js";
import { createEvaluation } from "./evaluation.js";
import { createFiles } from "./files.js";
import { createMap } from "./map.js";
import { createRuns } from "./runs.js";
import { createTraining } from "./training.js";
import { createWhy } from "./why.js";

/** @import { EvaluationHandlers } from "./evaluation.js" */
/** @import { FilesHandlers } from "./files.js" */
/** @import { MapHandlers } from "./map.js" */
/** @import { RunsHandlers } from "./runs.js" */
/** @import { State } from "./state.js" */
/** @import { TrainingHandlers } from "./training.js" */

/**
 * @typedef {TrainingHandlers & EvaluationHandlers & FilesHandlers & RunsHandlers & MapHandlers
 *   & { attempt(task: () => Promise<unknown>): unknown, announce(text: string): unknown }} Handlers
 */

/** @param {Handlers} on */
export function createTrainView(on) {
  const parts = [createTraining(on), createEvaluation(on), createFiles(on), createRuns(on), createMap(on)];
  const why = createWhy(on.attempt, on.announce);
  byId("train", HTMLElement).append(...parts.map(({ element }) => element), why.element);
  const { render } = createRenderer((/** @type {State} */ state, /** @type {State | null} */ before) => {
    for (const part of parts) part.render(state, before);
  });

  return { render, why: why.open };
}
