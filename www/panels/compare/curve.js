// @ts-check
/** The learning curve: test accuracy by number of training pictures per class. */
import { createCurves } from "../../ui/curves.js";
import { button, make } from "../../ui/dom.js";
import { table } from "../../ui/widgets.js";
import { count, percent } from "../../ui/format.js";
import { MODEL_KINDS, MODEL_NAMES, busy, sizesOf, sizesWanted } from "./state.js";
import { curveOutcome, curveText, curveProgressText } from "./texts.js";

/** @import { State } from "./state.js" */
/** @typedef {{ learningCurve(): unknown, largest(size: number): unknown, saveCurve(): unknown, cancel(): unknown }} CurveHandlers */

/** @param {CurveHandlers} on */
export function createCurve(on) {
  const plan = make("p", "panel-soft");
  const start = button("Learning curve", () => on.learningCurve());
  const largest = document.createElement("select");
  largest.className = "panel-select";
  largest.addEventListener("change", () => on.largest(Number(largest.value)));
  const actions = make("div", "panel-row", start, make("label", "panel-inline", "up to ", largest, " pictures per class"));
  const progress = make("p", "panel-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Runs done");
  const cancel = button("Cancel", on.cancel);
  const row = make("div", "panel-row", progress, bar, cancel);
  const plot = createCurves("Test accuracy by pictures per class", (value) => `${Math.round(value * 100)} %`, { over: "Pictures per class:", logarithmic: true });
  const note = make("p", "panel-soft", "Points are means over the seeds; whiskers show the lowest and the highest accuracy.");
  const outcome = make("p", "panel-result");
  const box = make("div", "");
  const save = make("div", "panel-row", button("Save curve as JSON", on.saveCurve));
  const content = make("div", "", outcome, plot.element, note, box, save);
  const element = make("div", "panel-block", make("h3", "", "Learning curve"), plan, actions, row, content);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { set, curveJob, points } = state;
    element.hidden = !set;
    plan.textContent = curveJob ? "" : curveText(state);
    if (set && set !== before?.set) largest.replaceChildren(...sizesOf(set).map((size) => new Option(count(size), String(size))));
    largest.value = String(sizesWanted(state).at(-1) ?? "");
    const focused = row.contains(document.activeElement);
    actions.hidden = curveJob !== null;
    start.disabled = busy(state);
    row.hidden = !curveJob;
    if (focused && !curveJob) start.focus();
    if (curveJob && !before?.curveJob && document.activeElement === document.body) cancel.focus();
    progress.textContent = curveJob ? curveProgressText(curveJob) : "";
    const job = curveJob?.progress;
    if (job && job.stage !== "read") {
      bar.max = job.runs;
      bar.value = job.run - 1 + (job.stage === "train" ? job.done / job.total : 1);
    } else if (job) {
      bar.max = job.total;
      bar.value = job.done;
    } else {
      bar.removeAttribute("value");
    }
    content.hidden = !points.length;
    save.hidden = !state.curve;
    if (points === before?.points && curveJob === before?.curveJob) return;
    outcome.textContent = curveJob ? "" : curveOutcome(points);
    if (points.length && !same(points, before?.points)) paint(points);
  }

  /** @param {State["points"]} points */
  function paint(points) {
    const at = [...new Set(points.map(({ perClass }) => perClass))].sort((a, b) => a - b);
    const point = (/** @type {string} */ kind, /** @type {number} */ size) => points.find((one) => one.way === kind && one.perClass === size);
    plot.render({
      at,
      lines: MODEL_KINDS.map((kind) => ({
        name: MODEL_NAMES[kind],
        values: at.map((size) => point(kind, size)?.mean ?? null),
        spread: at.map((size) => {
          const found = point(kind, size);
          return found ? /** @type {[number, number]} */ ([found.low, found.high]) : null;
        }),
      })),
    });
    const rows = MODEL_KINDS.filter((kind) => points.some((one) => one.way === kind)).map((kind) => [MODEL_NAMES[kind], ...at.map((size) => {
      const found = point(kind, size);
      return found ? `${percent(found.mean)} (${(found.low * 100).toFixed(1)}–${(found.high * 100).toFixed(1)})` : "–";
    })]);
    box.replaceChildren(table("Learning curve: mean over the seeds, lowest to highest", ["Pictures per class", ...at.map(count)], rows));
  }
}

/** @param {State["points"]} a @param {State["points"] | undefined} b */
function same(a, b) {
  const seeds = (/** @type {State["points"]} */ points) => points.reduce((sum, { accuracies }) => sum + accuracies.length, 0);
  return b !== undefined && a.length === b.length && seeds(a) === seeds(b);
}
