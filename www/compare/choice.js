// @ts-check
/** What is to be compared, and the comparison under way. */
import { button, make } from "../dom.js";
import { details, table } from "../pieces.js";
import { count } from "../words.js";
import { NAMES, WAYS, busy, compareText, most, planText } from "./state.js";

/** @import { Way } from "../comparison.js" */
/** @import { Architecture, Choice, State } from "./state.js" */
/** @typedef {{ choose(patch: Partial<Choice>): unknown, compare(): unknown, cancel(): unknown }} ChoiceHandlers */

const QUICK = [10, 30, 100, 300];

/** @param {ChoiceHandlers} on */
export function createChoice(on) {
  const perClass = number("Pictures a class", "to train on", 1, (value) => on.choose({ perClass: value }));
  const testPerClass = number("Test pictures a class", "to ask about", 1, (value) => on.choose({ testPerClass: value }));
  const seed = number("Seed", "same seed, same pictures: same table", 0, (value) => on.choose({ seed: value }));
  const epochs = number("Epochs", "passes over the pictures; empty: each model's own", 1, (value) => on.choose({ epochs: Number.isNaN(value) ? null : value }), true);
  const quick = make("div", "study-row compare-quick");
  quick.setAttribute("role", "group");
  quick.setAttribute("aria-label", "Pictures a class, quick choices");
  const boxes = WAYS.map((way) => {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => on.choose({ ways: WAYS.filter((_, at) => boxes[at].checked) }));
    return box;
  });
  const models = make("fieldset", "compare-models", make("legend", "", "Models"), ...boxes.map((box, at) => make("label", "study-check", box, NAMES[WAYS[at]])));
  const fields = make("div", "study-form", make("div", "study-field", perClass.element, quick), testPerClass.element, models);
  const more = details("Seed and epochs", make("div", "study-form", seed.element, epochs.element));
  const layers = WAYS.map((way) => ({ way, element: details(`Layers of ${NAMES[way]}`) }));
  const plan = make("p", "study-soft");
  plan.setAttribute("aria-live", "polite");
  const start = button("Compare", () => on.compare());
  start.className = "button primary";
  const progress = make("p", "study-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Progress of the comparison");
  const cancel = button("Cancel", on.cancel);
  const row = make("div", "study-row", progress, bar, cancel);
  const element = make("div", "study-block", make("h3", "", "What to compare"), fields, more, ...layers.map((one) => one.element), plan, start, row);

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const { set, choice, comparing } = state;
    element.hidden = !set;
    if (choice !== before?.choice || set !== before?.set) {
      perClass.show(choice.perClass);
      testPerClass.show(choice.testPerClass);
      seed.show(choice.seed);
      epochs.show(choice.epochs);
      boxes.forEach((box, at) => (box.checked = choice.ways.includes(WAYS[at])));
      paintQuick(state);
    }
    if (state.architectures !== before?.architectures) {
      for (const { way, element } of layers) {
        const found = state.architectures.find((one) => one.way === way);
        element.hidden = !found;
        if (found) element.replaceChildren(element.firstElementChild ?? "", architecture(found));
      }
    }
    plan.textContent = comparing ? "" : planText(state);
    const focused = row.contains(document.activeElement);
    start.hidden = comparing !== null;
    start.disabled = !state.ready || busy(state);
    row.hidden = !comparing;
    if (focused && !comparing) start.focus();
    if (comparing && !before?.comparing && document.activeElement === document.body) cancel.focus();
    progress.textContent = comparing ? compareText(comparing) : "";
    if (comparing?.pace) {
      bar.max = comparing.pace.total;
      bar.value = comparing.pace.done;
    } else {
      bar.removeAttribute("value");
    }
  }

  /** @param {State} state */
  function paintQuick({ set, choice }) {
    const limit = set ? most(set).perClass : 0;
    const sizes = QUICK.filter((size) => size < limit);
    quick.replaceChildren(...[...sizes, 0].map((size) => {
      const chosen = choice.perClass === size || (size === 0 && choice.perClass === limit);
      const one = button(size ? count(size) : `all ${count(limit)}`, () => on.choose({ perClass: size || limit }));
      one.setAttribute("aria-pressed", String(chosen));
      return one;
    }));
  }
}

/** @param {Architecture} of @returns {HTMLElement} */
function architecture({ name, layers, parameters, frozenParameters }) {
  const shape = (/** @type {readonly number[]} */ output) => `(None, ${output.join(", ")})`;
  const total = make("p", "study-soft", `${count(parameters)} parameters are learnt${frozenParameters ? `; the ${count(frozenParameters)} of Inception V3, whose 2048 latents come in, stay as they are` : ""}.`);
  return make("div", "", table(`${name}: layers`, ["Layer", "Output shape", "Parameters"], layers.map((row) => [row.name, shape(row.output), count(row.parameters)])), total);
}

/**
 * @param {string} words @param {string} unit @param {number} least @param {(value: number) => unknown} changed @param {boolean} [mayBeEmpty]
 * @returns {{ element: HTMLElement, show(value: number | null): void }}
 */
function number(words, unit, least, changed, mayBeEmpty = false) {
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: String(least), step: "1", inputMode: "numeric" });
  input.addEventListener("input", () => {
    const empty = input.value === "" && mayBeEmpty && !input.validity.badInput;
    const good = empty || (input.validity.valid && input.value !== "");
    input.setAttribute("aria-invalid", String(!good));
    if (good) changed(input.valueAsNumber);
  });
  return {
    element: make("label", "study-field", words, input, make("small", "", unit)),
    show(value) {
      if (document.activeElement === input) return;
      input.value = value === null ? "" : String(value);
      input.removeAttribute("aria-invalid");
    },
  };
}
