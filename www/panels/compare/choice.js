// @ts-check
/** What is to be compared, and the comparison under way. */
import { button, make } from "../../ui/dom.js";
import { details, table } from "../../ui/widgets.js";
import { count } from "../../ui/format.js";
import { NAMES, WAYS, busy, compareText, most, planText } from "./state.js";

/** @import { Architecture, Choice, State } from "./state.js" */
/** @typedef {{ choose(patch: Partial<Choice>): unknown, compare(): unknown, cancel(): unknown }} ChoiceHandlers */

const QUICK = [10, 30, 100, 300];

/** @param {ChoiceHandlers} on */
export function createChoice(on) {
  const perClass = number("Pictures a class", "to train on", 1, (value) => on.choose({ perClass: value }));
  const testPerClass = number("Test pictures a class", "to ask about", 1, (value) => on.choose({ testPerClass: value }));
  const seed = number("Seed", "same seed, same pictures: same table", 0, (value) => on.choose({ seed: value }));
  const epochs = number("Epochs", "passes over the pictures; empty: each model's own", 1, (value) => on.choose({ epochs: Number.isNaN(value) ? null : value }), true);
  const fieldsInOrder = [perClass, testPerClass, seed, epochs];
  const quick = make("div", "panel-row compare-quick");
  quick.setAttribute("role", "group");
  quick.setAttribute("aria-label", "Pictures a class, quick choices");
  const boxes = WAYS.map((way) => {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", () => on.choose({ ways: WAYS.filter((_, at) => boxes[at].checked) }));
    return box;
  });
  const models = make("fieldset", "compare-models", make("legend", "", "Models"), ...boxes.map((box, at) => make("label", "panel-check", box, NAMES[WAYS[at]])));
  const fields = make("div", "panel-form", make("div", "panel-field", perClass.element, quick), testPerClass.element, models);
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
      boxes.forEach((box, at) => (box.checked = choice.ways.includes(WAYS[at])));
      if (set !== before?.set) buildQuick(state);
      for (const one of quick.children) one.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (one).dataset.size === String(choice.perClass)));
    }
    if (state.architectures !== before?.architectures) {
      architectures.hidden = !state.architectures.length;
      layers.replaceChildren(...state.architectures.map(architecture));
    }
    const words = comparing ? "" : planText(state);
    if (plan.textContent !== words) plan.textContent = words;
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
  function buildQuick({ set }) {
    const limit = set ? most(set).perClass : 0;
    quick.hidden = !set;
    quick.replaceChildren(...[...QUICK.filter((size) => size < limit), limit].map((size) => {
      const one = button(size === limit ? `all ${count(size)}` : count(size), () => on.choose({ perClass: size }));
      one.dataset.size = String(size);
      return one;
    }));
  }

  /** @returns {boolean} whether the numbers will do; shows the first that will not */
  function valid() {
    const wrong = fieldsInOrder.find(({ input }) => !input.checkValidity());
    if (!wrong) return true;
    if (more.contains(wrong.input)) more.open = true;
    return wrong.input.reportValidity();
  }
}

/** @param {Architecture} of @returns {HTMLElement} */
function architecture({ name, layers, parameters, frozenParameters }) {
  const shape = (/** @type {readonly number[]} */ output) => `(None, ${output.join(", ")})`;
  const total = make("p", "panel-soft", `${count(parameters)} parameters are learnt${frozenParameters ? `; the ${count(frozenParameters)} of Inception V3, whose 2048 latents come in, stay as they are` : ""}.`);
  return make("div", "compare-layers", table(`${name}: layers`, ["Layer", "Output shape", "Parameters"], layers.map((row) => [row.name, shape(row.output), count(row.parameters)])), total);
}

/**
 * @param {string} words @param {string} unit @param {number} least @param {(value: number) => unknown} changed @param {boolean} [mayBeEmpty]
 * @returns {{ element: HTMLElement, input: HTMLInputElement, show(value: number | null): void }}
 */
function number(words, unit, least, changed, mayBeEmpty = false) {
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: String(least), step: "1", inputMode: "numeric", required: !mayBeEmpty });
  input.addEventListener("input", () => {
    const good = input.checkValidity();
    input.setAttribute("aria-invalid", String(!good));
    if (good) changed(input.valueAsNumber);
  });
  return {
    element: make("label", "panel-field", make("span", "", words), " ", input, " ", make("small", "", unit)),
    input,
    show(value) {
      if (document.activeElement === input) return;
      input.value = value === null ? "" : String(value);
      input.removeAttribute("aria-invalid");
    },
  };
}
