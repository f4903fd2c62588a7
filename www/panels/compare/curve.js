// @ts-check
/** The learning curve: accuracy against pictures a class. */
import { createCurves } from "../../ui/curves.js";
import { button, make } from "../../ui/dom.js";
import { table } from "../../ui/widgets.js";
import { count, percent } from "../../ui/format.js";
import { NAMES, WAYS, busy, curveOutcome, curveText, curvingText, sizesOf, sizesWanted } from "./state.js";

/** @import { State } from "./state.js" */
/** @typedef {{ learningCurve(): unknown, largest(size: number): unknown, saveCurve(): unknown, cancel(): unknown }} CurveHandlers */

/** @param {CurveHandlers} on */
export function createCurve(on) {
  const words = make("p", "panel-soft");
  const start = button("Learning curve", () => on.learningCurve());
  const largest = document.createElement("select");
  largest.className = "panel-select";
  largest.addEventListener("change", () => on.largest(Number(largest.value)));
  const asking = make("div", "panel-row", start, make("label", "panel-inline", "up to ", largest, " pictures a class"));
  const progress = make("p", "panel-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Trainings done");
  const cancel = button("Cancel", on.cancel);
  const row = make("div", "panel-row", progress, bar, cancel);
  const plot = createCurves("Right on test pictures, against pictures a class", (value) => `${Math.round(value * 100)} %`, { over: "Pictures a class:", logarithmic: true });
  const note = make("p", "panel-soft", "Points are the mean of the seeds, whiskers reach from the lowest to the highest.");
  const outcome = make("p", "panel-result");
  const box = make("div", "");
  const save = make("div", "panel-row", button("Save curve as JSON", on.saveCurve));
  const drawn = make("div", "", outcome, plot.element, note, box, save);
  const element = make("div", "panel-block", make("h3", "", "With how many pictures?"), words, asking, row, drawn);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { set, curving, points } = state;
    element.hidden = !set;
    words.textContent = curving ? "" : curveText(state);
    if (set && set !== before?.set) largest.replaceChildren(...sizesOf(set).map((size) => new Option(count(size), String(size))));
    largest.value = String(sizesWanted(state).at(-1) ?? "");
    const focused = row.contains(document.activeElement);
    asking.hidden = curving !== null;
    start.disabled = busy(state);
    row.hidden = !curving;
    if (focused && !curving) start.focus();
    if (curving && !before?.curving && document.activeElement === document.body) cancel.focus();
    progress.textContent = curving ? curvingText(curving) : "";
    const told = curving?.progress;
    if (told && told.stage !== "read") {
      bar.max = told.runs;
      bar.value = told.run - 1 + (told.stage === "train" ? told.done / told.total : 1);
    } else if (told) {
      bar.max = told.total;
      bar.value = told.done;
    } else {
      bar.removeAttribute("value");
    }
    drawn.hidden = !points.length;
    save.hidden = !state.curve;
    if (points === before?.points && curving === before?.curving) return;
    outcome.textContent = curving ? "" : curveOutcome(points);
    if (points.length && !same(points, before?.points)) paint(points);
  }

  /** @param {State["points"]} points */
  function paint(points) {
    const at = [...new Set(points.map(({ perClass }) => perClass))].sort((a, b) => a - b);
    const point = (/** @type {string} */ way, /** @type {number} */ size) => points.find((one) => one.way === way && one.perClass === size);
    plot.render({
      at,
      lines: WAYS.map((way) => ({
        name: NAMES[way],
        values: at.map((size) => point(way, size)?.mean ?? null),
        spread: at.map((size) => {
          const found = point(way, size);
          return found ? /** @type {[number, number]} */ ([found.low, found.high]) : null;
        }),
      })),
    });
    const rows = WAYS.filter((way) => points.some((one) => one.way === way)).map((way) => [NAMES[way], ...at.map((size) => {
      const found = point(way, size);
      return found ? `${percent(found.mean)} (${(found.low * 100).toFixed(1)}–${(found.high * 100).toFixed(1)})` : "–";
    })]);
    box.replaceChildren(table("Learning curve: mean of the seeds, lowest to highest", ["Pictures a class", ...at.map(count)], rows));
  }
}

/** @param {State["points"]} a @param {State["points"] | undefined} b */
function same(a, b) {
  const seeds = (/** @type {State["points"]} */ points) => points.reduce((sum, { accuracies }) => sum + accuracies.length, 0);
  return b !== undefined && a.length === b.length && seeds(a) === seeds(b);
}
