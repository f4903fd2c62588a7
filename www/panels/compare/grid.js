// @ts-check
/** Test pictures with the predictions of every model. */
import { button, make } from "../../ui/dom.js";
import { count } from "../../ui/format.js";
import { pixelCanvas } from "./pixels.js";
import { filters, rights } from "./state.js";
import { agreementText, aloneText } from "./texts.js";

/** @import { Comparison } from "../../engine/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ filter(filter: string): unknown, more(): unknown }} GridHandlers */

/** @param {GridHandlers} on */
export function createGrid(on) {
  const agreement = make("p", "panel-soft");
  const filter = document.createElement("select");
  filter.className = "panel-select";
  filter.addEventListener("change", () => on.filter(filter.value));
  const list = make("ul", "compare-grid");
  list.setAttribute("role", "list");
  list.setAttribute("aria-label", "Test pictures");
  const none = make("p", "panel-soft", "No test pictures match.");
  const more = button("Show more", on.more);
  const element = make(
    "div", "panel-block",
    make("h3", "", "Test pictures and predictions"),
    make("div", "panel-row", make("label", "panel-inline", "Show ", filter)), agreement, list, none, more,
  );

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render({ comparison, filter: wanted, shown }, before) {
    element.hidden = !comparison;
    if (!comparison) return;
    if (comparison !== before?.comparison) {
      agreement.textContent = [agreementText(comparison), aloneText(comparison)].filter(Boolean).join(" ");
      filter.replaceChildren(...filters(comparison).map(({ value, label, chosen }) => new Option(`${label} (${count(chosen.length)})`, value)));
    }
    filter.value = wanted;
    if (comparison === before?.comparison && shown === before.shown && wanted === before.filter) return;
    const chosen = filters(comparison).find(({ value }) => value === wanted)?.chosen.length ?? 0;
    none.hidden = chosen > 0;
    more.hidden = shown.length >= chosen;
    const old = before && comparison === before.comparison && wanted === before.filter ? before.shown.length : 0;
    if (!old || old > shown.length) list.replaceChildren();
    list.append(...shown.slice(list.childElementCount).map(({ at, pixels }) => tile(comparison, at, pixels)));
  }
}

/** @param {Comparison} comparison @param {number} at @param {Uint8ClampedArray<ArrayBuffer>} pixels @returns {HTMLElement} */
function tile(comparison, at, pixels) {
  const { data, split, models } = comparison;
  const right = rights(comparison, at);
  const predictions = models.map(({ name, answers, probabilities }, which) => {
    const mark = make("span", "compare-mark", right[which] ? "✓" : "✗");
    mark.setAttribute("aria-hidden", "true");
    const line = make("li", right[which] ? "right" : "wrong", mark, make("span", "compare-model-name", name === "Inception transfer" ? "Transfer" : name), " ", data.classes[answers[at]], make("span", "visually-hidden", right[which] ? ", right" : ", wrong"));
    line.title = `confidence ${Math.round(probabilities[at] * 100)} %`;
    return line;
  });
  return make("li", "compare-tile", pixelCanvas(pixels), make("div", "", make("strong", "", data.classes[split.testLabels[at]]), make("ul", "", ...predictions)));
}
