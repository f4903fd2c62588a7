// @ts-check
/** Starting, watching and ending a training. */
import { button, make } from "../dom.js";
import { curvesText, obstacle, planText, progressText, resultText } from "./state.js";

/** @import { Settings, State } from "./state.js" */
/**
 * @typedef {{
 *   train(): unknown, steer(wish: "pause" | "resume" | "stop"): unknown, cancelTraining(): unknown,
 *   setting(patch: Partial<Settings>): unknown, resetSettings(): unknown,
 * }} TrainingHandlers
 */

/** @param {TrainingHandlers} on */
export function createTraining(on) {
  const plan = make("p", "study-plan");
  const start = button("Train", on.train);
  start.className = "button primary";
  const progress = make("p", "study-progress");
  const pause = button("Pause", () => on.steer(pause.textContent === "Pause" ? "pause" : "resume"));
  const stop = button("Stop and keep", () => on.steer("stop"));
  const cancel = button("Cancel", on.cancelTraining);
  const controls = make("div", "study-row", progress, pause, stop, cancel);
  const result = make("p", "study-result");
  const curves = make("p", "unseen");
  const element = make("section", "study-part", make("h2", "", "Train"), plan, start, controls, result, curves);
  element.setAttribute("aria-label", "Training");

  return { element, render };

  /** @param {State} state @param {State | null} _before */
  function render(state, _before) {
    const { training, report } = state;
    plan.textContent = obstacle(state) ?? planText(state);
    start.hidden = !state.ready || training !== null;
    controls.hidden = !training;
    progress.textContent = training ? progressText(training) : "";
    pause.textContent = training?.pausedAt != null ? "Resume" : "Pause";
    result.textContent = training || !report ? "" : resultText(report);
    curves.textContent = training || !report ? "" : curvesText(report.epochs);
  }
}
