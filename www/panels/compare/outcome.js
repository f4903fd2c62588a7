// @ts-check
/** What the comparison comes to: curves as they grow, the table, the intervals side by side. */
import { createCurves } from "../../ui/curves.js";
import { button, make } from "../../ui/dom.js";
import { table } from "../../ui/widgets.js";
import { count, percent } from "../../ui/format.js";
import { NAMES, WAYS, extractionText, memorisedText, outcomeText, scoreText, short } from "./state.js";

/** @import { EpochReport, ModelResult } from "../../engine/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ saveComparison(): unknown, saveTable(): unknown }} OutcomeHandlers */

/** @param {OutcomeHandlers} on */
export function createOutcome(on) {
  const asPercent = (/** @type {number} */ value) => `${Math.round(value * 100)} %`;
  const test = createCurves("Right on test pictures (at most 200 of them)", asPercent);
  const training = createCurves("Right on training pictures", asPercent);
  const curves = make("div", "panel-two", test.element, training.element);
  const words = make("p", "panel-result");
  const memorised = make("p", "panel-soft");
  const box = make("div", "");
  const intervals = make("div", "compare-intervals");
  const json = button("Save JSON", on.saveComparison);
  const save = make("div", "panel-row", json, button("Save CSV", on.saveTable));
  const element = make("div", "panel-block", make("h3", "", "Side by side"), curves, box, intervals, words, memorised, save);

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
    json.hidden = !state.comparison; // of one that was cancelled there is only the table
    save.hidden = state.comparing !== null || !results.length;
    if (results === before?.results && state.comparing === before?.comparing) return;
    words.textContent = state.comparing ? "" : outcomeText(results);
    memorised.textContent = state.comparing ? "" : memorisedText(results);
    if (results === before?.results) return;
    box.replaceChildren(...(results.length ? [side(results)] : []));
    intervals.replaceChildren(...(results.length > 1 ? [plot(results)] : []));
  }
}

/** @param {State["epochs"]} epochs @param {"accuracy" | "validationAccuracy"} which */
function lines(epochs, which) {
  const own = (/** @type {readonly EpochReport[] | undefined} */ reports) => (reports ?? []).map((report) => report[which]);
  // All three, drawn or not: each keeps its colour and its dashes.
  return WAYS.map((way) => ({ name: NAMES[way], values: own(epochs[way]) }));
}

/** @param {readonly ModelResult[]} results @returns {HTMLElement} */
function side(results) {
  const columns = ["Model", "Parameters", "Train accuracy (95 %)", "Test accuracy (95 %)", "Seconds to train", "ms to predict a picture", "Extraction by Inception"];
  return table("Comparison", columns, results.map((one) => [
    one.name,
    `${count(one.parameters)}${one.frozenParameters ? ` + ${count(one.frozenParameters)} frozen` : ""}`,
    scoreText(one.training), scoreText(one.test), short(one.trainSeconds), short(one.predictMilliseconds), extractionText(one),
  ]));
}

/** A dot for each accuracy on test pictures, with its 95 % interval; the same numbers are in the table. @param {readonly ModelResult[]} results */
function plot(results) {
  const figure = make("figure", "compare-plot", make("figcaption", "", "Right on test pictures, with the 95 % interval"));
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
