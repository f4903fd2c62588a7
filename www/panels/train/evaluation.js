// @ts-check
/** Evaluation of the head: accuracy, per-class scores, confusion matrix, likely mislabels, calibration, unsure threshold. */
import { button, make } from "../../ui/dom.js";
import { percent, pictures } from "../../ui/format.js";
import { createMatrix } from "./matrix.js";
import { bar, details, paged, part, table } from "../../ui/widgets.js";
import { classSelect, fileName, thumbnail } from "./widgets.js";
import { answersOf, doubtful, shownEvaluation } from "./state.js";
import { calibrationText, cellText, confusionsText, crossValidationText, headlineText, nameOf, rounded, staleText, unsureText } from "./texts.js";

/** @import { Evaluation } from "../../engine/types.js" */
/** @import { Picture } from "../../project/types.js" */
/** @import { Source, State } from "./state.js" */
/**
 * @typedef {{
 *   source(source: Source): unknown, crossValidate(): unknown, cancelCrossValidation(): unknown, folds(folds: number): unknown, check(): unknown,
 *   cell(cell: readonly [number, number] | null): unknown, relabel(pictures: readonly number[], label: number): unknown,
 *   keepLabel(picture: Picture): unknown, unsure(below: number): unknown, pictureUrl(picture: Picture): string | null,
 * }} EvaluationHandlers
 */

/** Up to this many classes, the class table fits beside the matrix. */
const MAX_SIDE_BY_SIDE = 12;
const CELL_PAGE = 24;
const DOUBTFUL_PAGE = 8;
/** @type {readonly { source: Source, label: string }[]} */
const SOURCES = [
  { source: "validation", label: "Held-out pictures" },
  { source: "folds", label: "Cross-validation" },
  { source: "dataset", label: "All pictures" },
];

/** @param {EvaluationHandlers} on */
export function createEvaluation(on) {
  const sources = SOURCES.map(({ source, label }) => {
    const radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "train-source";
    radio.addEventListener("change", () => on.source(source));
    return { source, radio, label: make("label", "", radio, label) };
  });
  const which = make("fieldset", "switch", make("legend", "visually-hidden", "Evaluated on"), ...sources.map(({ label }) => label));

  const folds = document.createElement("input");
  folds.type = "number";
  folds.min = "2";
  folds.max = "10";
  folds.step = "1";
  folds.addEventListener("change", () => folds.checkValidity() && on.folds(folds.valueAsNumber));
  const crossValidate = button("Cross-validate", () => folds.reportValidity() && on.crossValidate());
  const evaluate = button("Evaluate current head", on.check);
  const crossValidationBar = document.createElement("progress");
  crossValidationBar.setAttribute("aria-label", "Cross-validation");
  const crossValidationStatus = make("span", "panel-soft");
  const cancel = button("Cancel", on.cancelCrossValidation);
  const actions = make("div", "panel-row", crossValidate, make("label", "panel-inline", "with", folds, "folds"), evaluate);
  const crossValidation = make("div", "panel-row", crossValidationStatus, crossValidationBar, cancel);

  const empty = make("p", "panel-soft", "No evaluation yet. Train a head, or cross-validate: for each fold, a head is trained on the other folds and tested on that fold.");
  const headline = make("p", "panel-result");
  const worst = make("p", "");
  const stale = make("span", "");
  const recheck = button("Evaluate again", on.check);
  const staleRow = make("div", "panel-row", stale, recheck);
  const matrix = createMatrix(on.cell);
  const cell = createCell(on, matrix.focus);
  const classes = make("div", "panel-by-class");
  const cells = make("div", "panel-cells", matrix.element, cell.element, classes);
  const labels = createDoubtful(on);
  const calibration = make("div", "");
  const unsure = createUnsure(on.unsure);
  const results = make("div", "", headline, worst, staleRow, cells, labels.element, calibration);
  const element = part("train-evaluation", "Evaluation", make("div", "panel-row", which, actions, crossValidation), empty, results, unsure.element);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const evaluation = shownEvaluation(state);
    const fresh = !before || evaluation !== shownEvaluation(before);
    element.hidden = !evaluation && state.data.classes.length < 2;
    for (const { source, radio, label } of sources) {
      radio.disabled = !state.evaluations[source];
      radio.checked = state.source === source;
      label.hidden = radio.disabled;
    }
    which.hidden = sources.filter(({ radio }) => !radio.disabled).length < 2;
    if (document.activeElement !== folds) folds.value = String(state.folds);
    actions.hidden = state.crossValidation !== null;
    crossValidate.disabled = evaluate.disabled = !state.ready || state.training !== null;
    crossValidation.hidden = !state.crossValidation;
    if (state.crossValidation) {
      if (!before?.crossValidation) cancel.focus();
      crossValidationStatus.textContent = crossValidationText(state.crossValidation);
      crossValidationBar.max = state.crossValidation.total || 1;
      crossValidationBar.value = state.crossValidation.done;
    } else if (before?.crossValidation && (document.activeElement === document.body || crossValidation.contains(document.activeElement))) crossValidate.focus();
    empty.hidden = evaluation !== null;
    results.hidden = !evaluation;
    unsure.render(state, evaluation);
    if (!evaluation) return;
    if (fresh) {
      headline.textContent = headlineText(evaluation);
      worst.textContent = confusionsText(evaluation);
      classes.replaceChildren(classTable(evaluation));
      cells.classList.toggle("few", evaluation.classes.length <= MAX_SIDE_BY_SIDE);
      calibration.replaceChildren(...reliability(evaluation));
    }
    if (fresh || state.project !== before?.project) {
      const text = staleText(state, evaluation);
      stale.textContent = text ?? "";
      staleRow.hidden = !text;
      recheck.hidden = state.source === "folds";
    }
    if (fresh || state.cell !== before?.cell) matrix.render(evaluation, state.cell);
    if (fresh || state.cell !== before?.cell || state.project !== before?.project) cell.render(state, evaluation, fresh || state.cell !== before?.cell);
    if (fresh || state.project !== before?.project || state.keptLabels !== before?.keptLabels) labels.render(state, evaluation);
  }
}

/** @param {Evaluation} evaluation @returns {HTMLElement} */
function classTable({ classes, macroF1 }) {
  return make("div", "panel-block", make("h3", "", "By class"), table(
    `By class; mean F1 ${rounded(macroF1)}`, ["Class", "Precision", "Recall", "F1", "Pictures"],
    classes.map(({ name, precision, recall, f1, pictures: many }) => [name, bar(precision), bar(recall), bar(f1), String(many)]),
  ), make("p", "panel-soft", "Precision: share of the answers that are right. Recall: share of the pictures that are found. F1: harmonic mean of both."));
}

// ---- pictures of a cell ----

/** @param {EvaluationHandlers} on @param {() => unknown} restoreFocus  Called when the cell is closed. */
function createCell(on, restoreFocus) {
  const title = make("h3", "");
  const hint = make("p", "panel-soft");
  /** @type {State | null} */
  let shown = null;
  const list = paged(CELL_PAGE, (/** @type {{ picture: Picture, probability: number }} */ answer) => item(answer), "Pictures of the cell");
  list.list.className = "panel-pictures";
  const close = () => {
    on.cell(null);
    restoreFocus();
  };
  const element = make("section", "panel-block panel-cell", make("div", "panel-row", title, button("Close", close)), hint, list.element);
  element.id = "train-cell";
  element.setAttribute("aria-label", "Pictures of the cell");
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });

  return { element, render };

  /** @param {State} state @param {Evaluation} evaluation @param {boolean} fromStart */
  function render(state, evaluation, fromStart) {
    shown = state;
    element.hidden = !state.cell;
    if (!state.cell) return list.render([]);
    const answers = answersOf(state, evaluation, state.cell);
    const [truth, answered] = state.cell.map((index) => evaluation.classes[index].name);
    title.textContent = cellText(answers.length, truth, answered);
    hint.textContent = answers.length ? "Sorted by confidence. You can change a picture's class here." : "There are no pictures in this cell.";
    const focused = element.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
    list.render(answers, fromStart);
    if (focused) [...element.querySelectorAll("select")].find((select) => select.getAttribute("aria-label") === focused)?.focus();
  }

  /** @param {{ picture: Picture, probability: number }} answer @returns {HTMLElement} */
  function item({ picture, probability }) {
    const { project } = /** @type {State} */ (shown);
    return make(
      "li", "", thumbnail(on.pictureUrl(picture)), fileName(picture), make("span", "panel-soft", `confidence ${percent(probability)}`),
      classSelect(project, picture.label, `Class of ${nameOf(picture)}`, (label) => on.relabel([picture.id], label)),
    );
  }
}

// ---- doubtful labels ----

/** @param {EvaluationHandlers} on */
function createDoubtful(on) {
  const summary = make("p", "panel-soft");
  /** @typedef {ReturnType<typeof doubtful>[number]} Doubt */
  const list = paged(DOUBTFUL_PAGE, (/** @type {Doubt} */ doubt) => item(doubt), "Likely mislabels");
  list.list.className = "panel-doubts";
  const element = make("section", "panel-block", make("h3", "", "Likely mislabels"), summary, list.element);
  element.setAttribute("aria-label", "Likely mislabels");

  return { element, render };

  /** @param {State} state @param {Evaluation} evaluation */
  function render(state, evaluation) {
    element.hidden = evaluation.on !== "folds";
    if (element.hidden) return;
    const doubts = doubtful(state, evaluation);
    summary.textContent = doubts.length
      ? `${pictures(doubts.length)} with labels that the cross-validated heads disagree with. Check each one: the label may be wrong, or the picture may be hard to classify.`
      : "No likely mislabels.";
    const index = [...list.list.children].findIndex((one) => one.contains(document.activeElement));
    list.render(doubts);
    if (index < 0) return;
    const next = list.list.children[Math.min(index, list.list.children.length - 1)]?.querySelector("button");
    if (next) next.focus();
    else document.getElementById("train-evaluation-title")?.focus();
  }

  /** @param {Doubt} doubt @returns {HTMLElement} */
  function item({ picture, given, suggested, suggestedId, givenProbability, suggestedProbability }) {
    const relabel = button(`Relabel as ${suggested}`, () => suggestedId !== null && on.relabel([picture.id], suggestedId));
    relabel.disabled = suggestedId === null;
    const keep = button("Keep", () => on.keepLabel(picture));
    relabel.setAttribute("aria-label", `Relabel as ${suggested}: ${nameOf(picture)}`);
    keep.setAttribute("aria-label", `Keep ${given}: ${nameOf(picture)}`);
    return make(
      "li", "", thumbnail(on.pictureUrl(picture)),
      make(
        "div", "panel-doubt", fileName(picture),
        make("span", "", `Labelled ${given} (${percent(givenProbability)}), looks like ${suggested} (${percent(suggestedProbability)})`),
        make("div", "panel-row", relabel, keep),
      ),
    );
  }
}

// ---- calibration and threshold ----

/** @param {Evaluation} evaluation @returns {HTMLElement[]} */
function reliability(evaluation) {
  const columns = evaluation.bins.map(({ confidence, accuracy, pictures: many }, index) => {
    const from = index / evaluation.bins.length;
    const column = make("div", "panel-bin");
    column.title = many ? `Confidence ${rounded(confidence)}, accuracy ${rounded(accuracy)}: ${pictures(many)}` : "No answers";
    if (many) {
      const right = make("span", "panel-bin-right");
      right.style.blockSize = `${accuracy * 100}%`;
      const confidenceLine = make("span", "panel-bin-confidence");
      confidenceLine.style.insetBlockEnd = `${confidence * 100}%`;
      column.append(right, confidenceLine);
    }
    column.append(make("span", "panel-bin-name", `${Math.round(from * 100)}`));
    return column;
  });
  const plot = make("div", "panel-bins", ...columns);
  plot.setAttribute("aria-hidden", "true"); // the table below has the same data
  return [make(
    "div", "panel-block", make("h3", "", "Can the percentages be trusted?"), make("p", "", calibrationText(evaluation)), plot,
    make("p", "panel-soft", "Bars: accuracy of the answers in each range of confidence, in percent. Lines: accuracy if the confidence were exact."),
    details("Calibration as a table", table("Calibration", ["Confidence", "Accuracy", "Pictures"], evaluation.bins.map(({ confidence, accuracy, pictures: many }, index) => [
      `${index * 10}–${(index + 1) * 10} %${many ? ` (mean ${rounded(confidence)})` : ""}`, many ? rounded(accuracy) : "–", String(many),
    ]))),
  )];
}

/** @param {(below: number) => unknown} choose */
function createUnsure(choose) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = "99";
  slider.step = "1";
  slider.addEventListener("input", () => choose(slider.valueAsNumber / 100));
  const share = make("output", "");
  const effect = make("p", "panel-soft");
  const element = make(
    "div", "panel-block", make("h3", "", "Unsure answers"),
    make("label", "panel-slider", make("span", "visually-hidden", "Unsure below"), slider, share), effect,
  );
  return { element, render };

  /** @param {State} state @param {Evaluation | null} evaluation */
  function render({ unsureBelow }, evaluation) {
    element.hidden = !evaluation;
    slider.value = String(Math.round(unsureBelow * 100));
    share.textContent = rounded(unsureBelow);
    slider.setAttribute("aria-valuetext", share.textContent);
    effect.textContent = evaluation ? unsureText(evaluation, unsureBelow) : "";
  }
}
