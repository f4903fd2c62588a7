// @ts-check
/** List of training runs, and a comparison of two of them. */
import { button, make } from "../../ui/dom.js";
import { count, duration, percent } from "../../ui/format.js";
import { createCurves } from "../../ui/curves.js";
import { head, part, scrolling, table } from "../../ui/widgets.js";
import { picturesOf } from "./state.js";
import { accuracyText, comparisonText, differences, settingText } from "./texts.js";

/** @import { Run } from "../../project/store-types.js" */
/** @import { Settings, State } from "./state.js" */
/**
 * @typedef {{
 *   restore(id: number): unknown, removeRun(id: number): unknown, undoRemove(): unknown,
 *   renameRun(id: number, name: string): unknown, selectRun(id: number, selected: boolean): unknown,
 * }} RunsHandlers
 */

/** @param {RunsHandlers} on */
export function createRuns(on) {
  const body = make("tbody", "");
  const columns = ["Compare", "When", "Name", "Pictures", "Classes", "Changed settings", "Validation accuracy", "Duration", "In use"];
  const list = make("table", "panel-table", make("caption", "", "Runs"), make("thead", "", make("tr", "", ...columns.map((name) => head(name, "col")))), body);
  const hint = make("p", "panel-soft", "Each training run is stored here with its settings and its head. Select two to compare them.");
  const removedText = make("span", "");
  const undo = make("div", "panel-row", removedText, button("Undo", on.undoRemove));
  undo.setAttribute("role", "status");
  const compared = make("div", "");
  const curves = createCurves("Accuracy (validation accuracy if available)", (value) => `${Math.round(value * 100)} %`);
  const comparison = make("div", "panel-block", make("h3", "", "Comparison"), compared, curves.element);
  const element = part("train-runs", "Runs", hint, scrolling(list, "Runs, scrollable"), undo, comparison);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { runs, runInUse, selectedRuns, defaults, removed } = state;
    element.hidden = !runs.length && !removed;
    if (runs === before?.runs && runInUse === before.runInUse && selectedRuns === before.selectedRuns && removed === before.removed && state.training === before.training) return;
    const focused = document.activeElement instanceof HTMLElement && body.contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
    body.replaceChildren(...runs.toReversed().map((run) => row(run, state, defaults)));
    removedText.textContent = removed ? `${removed.name} was removed.` : "";
    undo.hidden = !removed;
    if (focused) restoreFocus(focused.run ?? "", focused.control ?? "");
    const [a, b] = selectedRuns.map((id) => runs.find((run) => run.id === id));
    comparison.hidden = !a || !b;
    if (a && b && (selectedRuns !== before?.selectedRuns || runs !== before.runs)) compare(a, b);
  }

  /** Focuses the same control after the rows were replaced, or the closest remaining one. @param {string} run @param {string} control */
  function restoreFocus(run, control) {
    const inRow = `[data-run="${run}"]`;
    const found = body.querySelector(`${inRow}[data-control="${control}"]`) ?? body.querySelector(inRow) ?? undo.querySelector("button");
    if (found instanceof HTMLElement) found.focus();
  }

  /** @param {Run} run @param {State} state @param {Settings | null} defaults @returns {HTMLElement} */
  function row(run, { runInUse, selectedRuns, training }, defaults) {
    const { report } = run;
    const select = document.createElement("input");
    select.type = "checkbox";
    select.checked = selectedRuns.includes(run.id);
    select.setAttribute("aria-label", `Compare ${run.name}`);
    select.addEventListener("change", () => on.selectRun(run.id, select.checked));
    const name = document.createElement("input");
    name.type = "text";
    name.className = "panel-rename";
    name.value = run.name;
    name.maxLength = 60;
    name.setAttribute("aria-label", `Name of ${run.name}`);
    name.addEventListener("change", () => on.renameRun(run.id, name.value.trim() || run.name));
    const restore = button("Restore", () => on.restore(run.id));
    restore.setAttribute("aria-label", `Restore ${run.name}`);
    restore.disabled = training !== null;
    const remove = button("Remove", () => on.removeRun(run.id));
    remove.setAttribute("aria-label", `Remove ${run.name}`);
    for (const [control, element] of Object.entries({ select, name, restore, remove })) Object.assign(element.dataset, { run: run.id, control });
    const inUse = run.id === runInUse;
    const rowName = head("", "row");
    rowName.append(name);
    const settings = defaults ? differences(report.settings, defaults).join(", ") : "";
    const element = make(
      "tr", inUse ? "in-use" : "", make("td", "", select), make("td", "", when(run.at)), rowName,
      make("td", "", count(picturesOf(run))), make("td", "", count(report.classes.length)), make("td", "panel-words", settings || "none"),
      make("td", "panel-words", report.evaluation ? accuracyText(report.evaluation) : "not measured"), make("td", "", duration(report.seconds)),
      make("td", "", make("div", "panel-row tight", inUse ? make("strong", "panel-used", "in use") : restore, remove)),
    );
    return element;
  }

  /** @param {Run} a @param {Run} b */
  function compare(a, b) {
    const accuracy = (/** @type {Run} */ run) => run.report.evaluation ? accuracyText(run.report.evaluation) : "not measured";
    /** @type {string[][]} */
    const rows = [
      ["Validation accuracy", accuracy(a), accuracy(b)],
      ["Pictures", count(picturesOf(a)), count(picturesOf(b))],
      ["Duration", duration(a.report.seconds), duration(b.report.seconds)],
      ["Epoch kept", `${a.report.bestEpoch} of ${a.report.epochs.length}`, `${b.report.bestEpoch} of ${b.report.epochs.length}`],
      ...differing(a.report.settings, b.report.settings),
    ];
    compared.replaceChildren(
      make("p", "", comparisonText(a, b)), table("Two runs side by side", ["", a.name, b.name], rows), scores(a, b),
    );
    const line = (/** @type {Run} */ run) => run.report.epochs.map(({ accuracy, validationAccuracy }) => validationAccuracy ?? accuracy);
    curves.render({
      lines: [{ name: a.name, values: line(a) }, { name: b.name, values: line(b) }], mark: null,
    });
  }
}

/** @param {number} at @returns {string} */
function when(at) {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** @param {Settings} a @param {Settings} b @returns {string[][]} */
function differing(a, b) {
  /** @type {Partial<Record<keyof Settings, string>>} */
  const names = {
    hidden: "Hidden layer", dropout: "Dropout", optimizer: "Optimizer", learningRate: "Learning rate", weightDecay: "Weight decay", batch: "Batch", epochs: "Epochs",
    patience: "Patience", labelSmoothing: "Label smoothing", classWeights: "Class weights", validation: "Held out", seed: "Seed",
  };
  return /** @type {(keyof Settings)[]} */ (Object.keys(names))
    .filter((key) => a[key] !== b[key])
    .map((key) => [names[key] ?? key, settingText(key, a), settingText(key, b)]);
}

/** @param {Run} a @param {Run} b @returns {HTMLElement} */
function scores(a, b) {
  const f1 = (/** @type {Run} */ run) => new Map(run.report.evaluation?.classes.map((one) => [one.name, one.f1]));
  const [one, other] = [f1(a), f1(b)];
  const names = [...new Set([...one.keys(), ...other.keys()])];
  if (!names.length) return make("div", "");
  return table("F1 by class", ["Class", a.name, b.name, "Difference"], names.map((name) => {
    const [x, y] = [one.get(name) ?? null, other.get(name) ?? null];
    const points = x === null || y === null ? null : (y - x) * 100;
    return [name, x === null ? "–" : percent(x), y === null ? "–" : percent(y), points === null ? "–" : signed(points)];
  }));
}

/** @param {number} points @returns {string} */
function signed(points) {
  const size = Math.abs(points).toFixed(1);
  return `${size === "0.0" ? "" : points < 0 ? "−" : "+"}${size} points`;
}
