// @ts-check
/** Training: settings form, progress, controls, curves. */
import { button, make } from "../../ui/dom.js";
import { count, percent } from "../../ui/format.js";
import { createCurves } from "../../ui/curves.js";
import { details, select, table } from "../../ui/widgets.js";
import { curvesText, obstacle, planText, progressText, resultText } from "./texts.js";

/** @import { EpochReport } from "../../engine/types.js" */
/** @import { Settings, State } from "./state.js" */
/**
 * @typedef {{
 *   train(): unknown, control(command: "pause" | "resume" | "stop"): unknown, cancelTraining(): unknown,
 *   setting(patch: Partial<Settings>): unknown, resetSettings(): unknown,
 * }} TrainingHandlers
 */

/** @param {TrainingHandlers} on */
export function createTraining(on) {
  const plan = make("p", "panel-soft");
  const start = button("Train", () => settings.valid() && on.train());
  start.className = "button primary";
  const settings = createSettings(on);
  const progress = make("p", "panel-progress");
  const pause = button("Pause", () => on.control(pause.textContent === "Pause" ? "pause" : "resume"));
  const stop = button("Stop and keep", () => on.control("stop"));
  const cancel = button("Cancel", on.cancelTraining);
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Epochs done");
  const controls = make("div", "panel-row", progress, bar, pause, stop, cancel);
  const result = make("p", "panel-result");
  const loss = createCurves("Loss (cross-entropy)", (value) => value.toFixed(2));
  const accuracy = createCurves("Accuracy", (value) => `${Math.round(value * 100)} %`);
  const summary = make("p", "panel-soft");
  const epochs = details("Epochs as a table");
  const curves = make("div", "panel-two", loss.element, accuracy.element);
  const element = make("section", "panel-part", make("h2", "", "Train"), plan, start, controls, result, settings.element, curves, summary, epochs);
  element.id = "training";
  element.setAttribute("aria-label", "Training");

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    if (state.settings && state.settings !== before?.settings) settings.render(state.settings);
    if (state.data !== before?.data || state.settings !== before?.settings || state.building !== before?.building) plan.textContent = obstacle(state) ?? planText(state);
    if (state.ready !== before?.ready || state.building !== before?.building || state.training !== before?.training || state.report !== before?.report) paintTraining(state, before);
  }

  /** @param {State} state @param {State | null} before */
  function paintTraining({ ready, building, training, report }, before) {
    const focused = controls.contains(document.activeElement);
    start.hidden = training !== null;
    start.disabled = !ready || building;
    controls.hidden = !training;
    if (focused && !training) start.focus();
    if (training && !before?.training && document.activeElement === document.body) pause.focus();
    progress.textContent = training ? progressText(training) : "";
    bar.max = training?.limit ?? 1;
    bar.value = training?.epochs.length ?? 0;
    pause.textContent = training?.pausedAt != null ? "Resume" : "Pause";
    pause.disabled = stop.disabled = training?.stopping ?? false;
    result.textContent = training || !report ? "" : resultText(report);
    const shown = training?.epochs ?? report?.epochs ?? [];
    for (const part of [curves, summary, epochs]) part.hidden = !shown.length;
    paintCurves(shown, report && !training ? report.bestEpoch : shown.findLast(({ best }) => best)?.epoch ?? null);
    summary.textContent = training ? "" : curvesText(shown);
    if (training) epochs.open = false;
    else if (report !== before?.report || before?.training) epochs.replaceChildren(epochs.firstElementChild ?? "", epochTable(shown));
  }

  /** @param {readonly EpochReport[]} shown @param {number | null} best */
  function paintCurves(shown, best) {
    if (!shown.length) return;
    const validated = shown.some(({ validationLoss }) => validationLoss !== null);
    const mark = best === null ? null : { epoch: best, name: `best: ${best}` };
    /** @param {keyof EpochReport} training @param {keyof EpochReport} validation */
    const lines = (training, validation) => [
      { name: "training", values: shown.map((epoch) => /** @type {number} */ (epoch[training])) },
      ...(validated ? [{ name: "validation", values: shown.map((epoch) => /** @type {number | null} */ (epoch[validation])) }] : []),
    ];
    loss.render({ lines: lines("loss", "validationLoss"), mark });
    accuracy.render({ lines: lines("accuracy", "validationAccuracy"), mark });
  }
}

/** @param {readonly EpochReport[]} epochs @returns {HTMLElement} */
function epochTable(epochs) {
  const number = (/** @type {number | null} */ value) => value === null ? "–" : value.toFixed(4);
  const share = (/** @type {number | null} */ value) => value === null ? "–" : percent(value);
  return table(
    "Epochs", ["Epoch", "Loss, training", "Accuracy, training", "Loss, validation", "Accuracy, validation"],
    epochs.map((epoch) => [
      count(epoch.epoch), number(epoch.loss), share(epoch.accuracy), number(epoch.validationLoss), share(epoch.validationAccuracy),
    ]),
  );
}

// ---- settings ----

const DEFAULT_HIDDEN_UNITS = 256;

/** @typedef {{ key: "learningRate" | "weightDecay" | "batch" | "epochs" | "patience" | "seed", label: string, hint: string, min: number, max: number, whole: boolean }} NumberField */
/** @typedef {{ key: "dropout" | "labelSmoothing" | "validation", label: string, hint: string, max: number }} ShareField  In percent. */

/** @type {readonly NumberField[]} */
const NUMBERS = [
  { key: "epochs", label: "Maximum epochs", hint: "passes over the pictures, 1 to 10,000", min: 1, max: 10_000, whole: true },
  { key: "patience", label: "Patience", hint: "epochs without a better validation loss before stopping; 0: never stop early", min: 0, max: 10_000, whole: true },
  { key: "batch", label: "Batch", hint: "pictures per step, 1 to 8,192", min: 1, max: 8192, whole: true },
  { key: "learningRate", label: "Learning rate", hint: "initial step size, at most 10", min: 1e-8, max: 10, whole: false },
  { key: "weightDecay", label: "Weight decay", hint: "0 to 100", min: 0, max: 100, whole: false },
  { key: "seed", label: "Seed", hint: "the same seed and pictures give the same head", min: 0, max: Number.MAX_SAFE_INTEGER, whole: true },
];
/** @type {readonly ShareField[]} */
const SHARES = [
  { key: "validation", label: "Held out", hint: "% of each class to validate on, 0 to 90", max: 90 },
  { key: "labelSmoothing", label: "Label smoothing", hint: "% spread over all classes, 0 to 90", max: 90 },
];

/** @param {TrainingHandlers} on */
function createSettings(on) {
  const form = document.createElement("form");
  form.className = "panel-form";
  form.noValidate = true;
  form.addEventListener("submit", (event) => event.preventDefault());

  const numbers = NUMBERS.map((field) => {
    const input = number(field.min, field.max, field.whole ? "1" : "any");
    listen(input, () => on.setting({ [field.key]: input.valueAsNumber }));
    return { ...field, input, element: labelled(field.label, input, field.hint) };
  });
  const shares = SHARES.map((field) => {
    const input = number(0, field.max, "any");
    listen(input, () => on.setting({ [field.key]: input.valueAsNumber / 100 }));
    return { ...field, input, element: labelled(field.label, input, field.hint) };
  });
  const layer = document.createElement("input");
  layer.type = "checkbox";
  const units = number(1, 8192, "1");
  const dropout = number(0, 95, "any");
  units.value = String(DEFAULT_HIDDEN_UNITS);
  layer.addEventListener("change", () => on.setting({ hidden: layer.checked ? units.valueAsNumber || DEFAULT_HIDDEN_UNITS : 0 }));
  listen(units, () => on.setting({ hidden: units.valueAsNumber }));
  listen(dropout, () => on.setting({ dropout: dropout.valueAsNumber / 100 }));
  const unitsField = labelled("Units", units, "of the hidden layer, 1 to 8,192");
  const dropoutField = labelled("Dropout", dropout, "% of the units dropped in each step, 0 to 95");
  const optimizer = select([{ value: "adamw", label: "AdamW" }, { value: "adam", label: "Adam" }], "adamw", "Optimizer");
  optimizer.addEventListener("change", () => on.setting({ optimizer: optimizer.value === "adam" ? "adam" : "adamw" }));
  const weights = select(
    [{ value: "none", label: "none" }, { value: "balanced", label: "balanced: rare classes count more" }], "none", "Class weights",
  );
  weights.addEventListener("change", () => on.setting({ classWeights: weights.value === "balanced" ? "balanced" : "none" }));
  const name = document.createElement("input");
  name.type = "text";
  name.maxLength = 80;
  name.addEventListener("change", () => on.setting({ name: name.value.trim() }));

  const layerLabel = make("label", "panel-check", layer, "Hidden layer");
  form.append(
    layerLabel, unitsField, dropoutField,
    ...numbers.map((field) => field.element), ...shares.map((field) => field.element),
    labelled("Optimizer", optimizer, ""), labelled("Class weights", weights, ""), labelled("Name of the head", name, "stored in its file"),
    make("div", "panel-row", button("Reset to defaults", on.resetSettings)),
  );
  const element = details("Settings", form);

  return { element, render, valid };

  /** @param {Settings} settings */
  function render(settings) {
    for (const { key, input } of numbers) show(input, settings[key]);
    for (const { key, input } of shares) show(input, percentOf(settings[key]));
    layer.checked = settings.hidden > 0;
    if (settings.hidden) show(units, settings.hidden);
    show(dropout, percentOf(settings.dropout));
    units.disabled = dropout.disabled = !settings.hidden;
    unitsField.hidden = dropoutField.hidden = !settings.hidden;
    optimizer.value = settings.optimizer;
    weights.value = settings.classWeights;
    name.value = settings.name;
  }

  /** @returns {boolean} whether all settings are valid; focuses the first invalid one */
  function valid() {
    if (form.checkValidity()) return true;
    element.open = true;
    return form.reportValidity();
  }
}

/** @param {number} min @param {number} max @param {string} step @returns {HTMLInputElement} */
function number(min, max, step) {
  const input = document.createElement("input");
  input.type = "number";
  input.required = true;
  input.min = String(min);
  input.max = String(max);
  input.step = step;
  input.inputMode = "decimal";
  return input;
}

/** @param {HTMLInputElement} input @param {() => unknown} onValid */
function listen(input, onValid) {
  input.addEventListener("change", () => {
    const valid = input.checkValidity();
    input.setAttribute("aria-invalid", String(!valid));
    if (valid) onValid();
  });
}

/** @param {HTMLInputElement} input @param {number} value */
function show(input, value) {
  input.value = String(value);
  input.removeAttribute("aria-invalid");
}

/** @param {number} share @returns {number} percent, without floating-point noise */
function percentOf(share) {
  return Number((share * 100).toFixed(4));
}

/** @param {string} label @param {HTMLElement} field @param {string} hint @returns {HTMLElement} */
function labelled(label, field, hint) {
  field.removeAttribute("aria-label");
  return make("label", "panel-field", make("span", "", label), " ", field, " ", make("small", "", hint));
}
