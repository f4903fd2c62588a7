// @ts-check
/** Form of a comparison, and its progress. */
import { button, make } from "../../ui/dom.js";
import { details, table } from "../../ui/widgets.js";
import { count } from "../../ui/format.js";
import { MODEL_KINDS, MODEL_NAMES, busy, largestSizes } from "./state.js";
import { compareText, planText } from "./texts.js";

/** @import { Architecture, Choice, State } from "./state.js" */
/** @typedef {{ choose(patch: Partial<Choice>): unknown, compare(): unknown, cancel(): unknown }} ChoiceHandlers */

const PRESETS = [10, 30, 100, 300];

/** @param {ChoiceHandlers} on */
export function createChoice(on) {
  const perClass = number("Pictures per class", "to train on", 1, (value) => on.choose({ perClass: value }));
  const testPerClass = number("Test pictures per class", "to test on", 1, (value) => on.choose({ testPerClass: value }));
  const seed = number("Seed", "the same seed and pictures give the same results", 0, (value) => on.choose({ seed: value }));
  const epochs = number("Epochs", "passes over the pictures; empty: each model's default", 1, (value) => on.choose({ epochs: Number.isNaN(value) ? null : value }), true);
  const fieldsInOrder = [perClass, testPerClass, seed, epochs];
  const presets = make("div", "panel-row compare-presets");
  presets.setAttribute("role", "group");
  presets.setAttribute("aria-label", "Pictures per class, presets");
  const boxes = MODEL_KINDS.map(() => {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => on.choose({ models: MODEL_KINDS.filter((_, at) => boxes[at].checked) }));
    return box;
  });
  const models = make("fieldset", "compare-models", make("legend", "", "Models"), ...boxes.map((box, at) => make("label", "panel-check", box, MODEL_NAMES[MODEL_KINDS[at]])));
  const fields = make("div", "panel-form", make("div", "panel-field", perClass.element, presets), testPerClass.element, models);
  const more = details("Options", make("div", "panel-form", seed.element, epochs.element));
  const layers = make("div", "");
  const architectures = details("Layers and parameters", layers);
  const plan = make("p", "panel-soft");
  plan.setAttribute("aria-live", "polite");
  const start = button("Compare", () => valid() && on.compare());
  start.className = "button primary";
  const progress = make("p", "panel-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Progress of the comparison");
  const cancel = button("Cancel", on.cancel);
  const row = make("div", "panel-row", progress, bar, cancel);
  const element = make("div", "panel-block", make("h3", "", "What to compare"), fields, more, architectures, plan, start, row);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { set, choice, comparing } = state;
    if (choice !== before?.choice || set !== before?.set) {
      perClass.show(choice.perClass);
      testPerClass.show(choice.testPerClass);
      seed.show(choice.seed);
      epochs.show(choice.epochs);
      boxes.forEach((box, at) => (box.checked = choice.models.includes(MODEL_KINDS[at])));
      if (set !== before?.set) buildPresets(state);
      for (const one of presets.children) one.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (one).dataset.size === String(choice.perClass)));
    }
    if (state.architectures !== before?.architectures) {
      architectures.hidden = !state.architectures.length;
      layers.replaceChildren(...state.architectures.map(architecture));
    }
    const text = comparing ? "" : planText(state);
    if (plan.textContent !== text) plan.textContent = text;
    const focused = row.contains(document.activeElement);
    start.hidden = comparing !== null;
    start.disabled = busy(state);
    row.hidden = !comparing;
    if (focused && !comparing) start.focus();
    if (comparing && !before?.comparing && document.activeElement === document.body) cancel.focus();
    progress.textContent = comparing ? compareText(state) : "";
    if (comparing?.pace) {
      bar.max = comparing.pace.total;
      bar.value = comparing.pace.done;
    } else {
      bar.removeAttribute("value");
    }
  }

  /** @param {State} state */
  function buildPresets({ set }) {
    const max = set ? largestSizes(set).perClass : 0;
    presets.hidden = !set;
    presets.replaceChildren(...[...PRESETS.filter((size) => size < max), max].map((size) => {
      const one = button(size === max ? `all ${count(size)}` : count(size), () => on.choose({ perClass: size }));
      one.dataset.size = String(size);
      return one;
    }));
  }

  /** @returns {boolean} whether all numbers are valid; focuses the first invalid one */
  function valid() {
    const invalid = fieldsInOrder.find(({ input }) => !input.checkValidity());
    if (!invalid) return true;
    if (more.contains(invalid.input)) more.open = true;
    return invalid.input.reportValidity();
  }
}

/** @param {Architecture} of @returns {HTMLElement} */
function architecture({ name, layers, parameters, frozenParameters }) {
  const shape = (/** @type {readonly number[]} */ output) => `(None, ${output.join(", ")})`;
  const total = make("p", "panel-soft", `${count(parameters)} trainable parameters${frozenParameters ? `; the ${count(frozenParameters)} parameters of Inception V3, which computes the 2048 latents, are frozen` : ""}.`);
  return make("div", "compare-layers", table(`${name}: layers`, ["Layer", "Output shape", "Parameters"], layers.map((row) => [row.name, shape(row.output), count(row.parameters)])), total);
}

/**
 * @param {string} label @param {string} hint @param {number} min @param {(value: number) => unknown} onChange @param {boolean} [optional]
 * @returns {{ element: HTMLElement, input: HTMLInputElement, show(value: number | null): void }}
 */
function number(label, hint, min, onChange, optional = false) {
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: String(min), step: "1", inputMode: "numeric", required: !optional });
  input.addEventListener("input", () => {
    const valid = input.checkValidity();
    input.setAttribute("aria-invalid", String(!valid));
    if (valid) onChange(input.valueAsNumber);
  });
  return {
    element: make("label", "panel-field", make("span", "", label), " ", input, " ", make("small", "", hint)),
    input,
    show(value) {
      if (document.activeElement === input) return;
      input.value = value === null ? "" : String(value);
      input.removeAttribute("aria-invalid");
    },
  };
}
