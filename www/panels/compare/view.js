// @ts-check
/** View of the compare panel: composes its sections. */
import { byId } from "../../ui/dom.js";
import { createRenderer } from "../../ui/render.js";
import { part } from "../../ui/widgets.js";
import { createChoice } from "./choice.js";
import { createCurve } from "./curve.js";
import { createGrid } from "./grid.js";
import { createOutcome } from "./outcome.js";
import { createSet } from "./set.js";

/** @import { ChoiceHandlers } from "./choice.js" */
/** @import { CurveHandlers } from "./curve.js" */
/** @import { GridHandlers } from "./grid.js" */
/** @import { OutcomeHandlers } from "./outcome.js" */
/** @import { SetHandlers } from "./set.js" */
/** @import { State } from "./state.js" */
/** @typedef {SetHandlers & ChoiceHandlers & OutcomeHandlers & GridHandlers & CurveHandlers} Handlers */

/** @param {Handlers} on */
export function createCompareView(on) {
  const parts = [createSet(on), createChoice(on), createOutcome(on), createGrid(on), createCurve(on)];
  const element = part("compare", "Three ways", ...parts.map((part) => part.element));
  byId("three-ways", HTMLElement).append(element);
  const { render } = createRenderer((/** @type {State} */ state, /** @type {State | null} */ before) => {
    for (const part of parts) part.render(state, before);
  });

  return { element, render };
}
