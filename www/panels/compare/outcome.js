// @ts-check
/** Results of a comparison: training curves, table, plot of the intervals. */
import { createCurves } from "../../ui/curves.js";
import { button, make } from "../../ui/dom.js";
import { table } from "../../ui/widgets.js";
import { count, percent } from "../../ui/format.js";
import { MODEL_KINDS, MODEL_NAMES } from "./state.js";
import { extractionText, overfittingText, outcomeText, scoreText, short } from "./texts.js";

/** @import { EpochReport, ModelResult } from "../../engine/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ saveComparison(): unknown, saveTable(): unknown }} OutcomeHandlers */

/** @param {OutcomeHandlers} on */
export function createOutcome(on) {
  const asPercent = (/** @type {number} */ value) => `${Math.round(value * 100)} %`;
  const test = createCurves("Accuracy on test pictures (at most 200)", asPercent);
  const training = createCurves("Accuracy on training pictures", asPercent);
  const curves = make("div", "panel-two", test.element, training.element);
  const summary = make("p", "panel-result");
  const overfitting = make("p", "panel-soft");
  const box = make("div", "");
  const intervals = make("div", "compare-intervals");
  const json = button("Save JSON", on.saveComparison);
  const save = make("div", "panel-row", json, button("Save CSV", on.saveTable));
  const element = make("div", "panel-block", make("h3", "", "Results"), curves, box, intervals, summary, overfitting, save);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { results, epochs } = state;
    const any = Object.keys(epochs).length > 0;
    element.hidden = !any && !results.length;
    curves.hidden = !any;
    if (epochs !== before?.epochs && any) {
      test.render({ lines: lines(epochs, "validationAccuracy") });
      training.render({ lines: lines(epochs, "accuracy") });
    }
    json.hidden = !state.comparison; // a cancelled comparison has only the table
    save.hidden = state.comparing !== null || !results.length;
    if (results === before?.results && state.comparing === before?.comparing) return;
    summary.textContent = state.comparing ? "" : outcomeText(results);
    overfitting.textContent = state.comparing ? "" : overfittingText(results);
    if (results === before?.results) return;
    box.replaceChildren(...(results.length ? [resultTable(results)] : []));
    intervals.replaceChildren(...(results.length > 1 ? [plot(results)] : []));
  }
}

/** @param {State["epochs"]} epochs @param {"accuracy" | "validationAccuracy"} which */
function lines(epochs, which) {
  const own = (/** @type {readonly EpochReport[] | undefined} */ reports) => (reports ?? []).map((report) => report[which]);
  // Always pass all models, so that each keeps its colour and dash pattern.
  return MODEL_KINDS.map((kind) => ({ name: MODEL_NAMES[kind], values: own(epochs[kind]) }));
}

/** @param {readonly ModelResult[]} results @returns {HTMLElement} */
function resultTable(results) {
  const columns = ["Model", "Parameters", "Train accuracy (95 %)", "Test accuracy (95 %)", "Training (s)", "Prediction (ms per picture)", "Computing latents"];
  return table("Comparison", columns, results.map((one) => [
    one.name,
    `${count(one.parameters)}${one.frozenParameters ? ` + ${count(one.frozenParameters)} frozen` : ""}`,
    scoreText(one.training), scoreText(one.test), short(one.trainSeconds), short(one.predictMilliseconds), extractionText(one),
  ]));
}

/** Test accuracies with their 95 % intervals. Hidden from screen readers because the table has the same numbers. @param {readonly ModelResult[]} results */
function plot(results) {
  const figure = make("figure", "compare-plot", make("figcaption", "", "Test accuracy with 95 % interval"));
  figure.setAttribute("aria-hidden", "true");
  for (const { name, test: { accuracy, interval: [low, high] } } of results) {
    const line = make("span", "compare-line");
    const dot = make("span", "compare-dot");
    line.style.insetInlineStart = `${low * 100}%`;
    line.style.inlineSize = `${(high - low) * 100}%`;
    dot.style.insetInlineStart = `${accuracy * 100}%`;
    figure.append(make("span", "", name), make("span", "compare-track", line, dot), make("span", "", percent(accuracy)));
  }
  figure.append(make("span", "compare-scale", make("span", "", "0 %"), make("span", "", "50 %"), make("span", "", "100 %")));
  return figure;
}
