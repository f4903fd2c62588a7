// @ts-check
/** Dialog that explains an answer: a heat map of the evidence over the picture, and the nearest training pictures. */
import { button, make } from "../../ui/dom.js";
import { percent } from "../../ui/format.js";
import { select } from "../../ui/widgets.js";
import { fileName, thumbnail } from "./widgets.js";

/** @import { Prediction } from "../../engine/types.js" */
/** @import { Picture } from "../../project/types.js" */
/**
 * @typedef {{
 *   name: string, picture: ImageBitmap, predictions: readonly Prediction[], label: string,
 *   nearest: readonly { picture: Picture, className: string, similarity: number, url: string | null }[],
 *   explain(label: string): Promise<{ side: number, values: Float32Array }>,
 * }} Explanation
 */

const SIDE = 299;
/** Eight stops of the Inferno colour map (Smith and van der Walt). Its lightness increases uniformly with the value. */
const INFERNO = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

/** @param {(task: () => Promise<unknown>) => unknown} attempt @param {(text: string) => unknown} announce */
export function createWhy(attempt, announce) {
  const dialog = document.createElement("dialog");
  dialog.className = "panel-why";
  const title = make("h2", "");
  title.id = "train-why-title";
  dialog.setAttribute("aria-labelledby", title.id);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("role", "img");
  const status = make("p", "panel-soft");
  const opacity = document.createElement("input");
  opacity.type = "range";
  opacity.min = "0";
  opacity.max = "100";
  opacity.value = "60";
  const choices = make("div", "");
  const list = make("ul", "panel-pictures");
  list.setAttribute("role", "list");
  const listTitle = make("h3", "", "Nearest training pictures");
  const none = make("p", "panel-soft", "Add pictures to see the nearest ones.");
  const close = button("Close", () => dialog.close());
  close.autofocus = true;
  dialog.append(
    make("div", "panel-row spread", title, close),
    make(
      "div", "panel-reasons",
      make("div", "", canvas, make("label", "panel-slider", make("span", "", "Evidence"), opacity), choices, status),
      make("div", "", listTitle, none, list),
    ),
  );
  /** @type {Explanation | null} */
  let shown = null;
  /** @type {{ side: number, values: Float32Array } | null} */
  let evidence = null;
  opacity.addEventListener("input", draw);
  dialog.addEventListener("close", () => {
    shown?.picture.close();
    shown = null;
    list.replaceChildren();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  return { element: dialog, open };

  /** @param {Explanation} explanation */
  async function open(explanation) {
    shown?.picture.close();
    shown = explanation;
    evidence = null;
    const { label, predictions, nearest, name } = explanation;
    title.textContent = `Why ${label}?`;
    const choice = select(predictions.map((one) => ({ value: one.label, label: `${one.label} (${percent(one.probability)})` })), label, "Class to explain");
    choice.addEventListener("change", () => attempt(() => explain(choice.value)));
    choices.replaceChildren(choice);
    none.hidden = nearest.length > 0;
    list.replaceChildren(...nearest.map(({ picture, className, similarity, url }) => make(
      "li", "", thumbnail(url), make("strong", "", className), fileName(picture), make("span", "panel-soft", `${Math.round(similarity * 100)} % similar`),
    )));
    canvas.setAttribute("aria-label", name);
    draw();
    if (!dialog.open) dialog.showModal();
    await explain(label);
  }

  /** @param {string} label */
  async function explain(label) {
    const requested = shown;
    if (!requested) return;
    title.textContent = `Why ${label}?`;
    status.textContent = "Computing the evidence";
    const result = await requested.explain(label);
    if (shown !== requested) return;
    evidence = result;
    status.textContent = `Bright areas show the evidence for ${label}. Most of it is ${locationText(result)}.`;
    canvas.setAttribute("aria-label", `${requested.name}, evidence for ${label} mostly ${locationText(result)}`);
    announce(status.textContent);
    draw();
  }

  function draw() {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context || !shown) return;
    context.drawImage(shown.picture, 0, 0, SIDE, SIDE);
    if (!evidence) return;
    const pixels = context.getImageData(0, 0, SIDE, SIDE);
    blendHeatmap(pixels.data, evidence, opacity.valueAsNumber / 100);
    context.putImageData(pixels, 0, 0);
  }
}

/** Upsamples the evidence bilinearly and blends it over the pixels. @param {Uint8ClampedArray} pixels @param {{ side: number, values: Float32Array }} evidence @param {number} opacity */
function blendHeatmap(pixels, { side, values }, opacity) {
  for (let y = 0; y < SIDE; y++) {
    const v = Math.min(side - 1, Math.max(0, ((y + 0.5) / SIDE) * side - 0.5));
    const top = Math.min(side - 2, Math.floor(v));
    for (let x = 0; x < SIDE; x++) {
      const u = Math.min(side - 1, Math.max(0, ((x + 0.5) / SIDE) * side - 0.5));
      const left = Math.min(side - 2, Math.floor(u));
      const at = top * side + left;
      const value = mix(mix(values[at], values[at + 1], u - left), mix(values[at + side], values[at + side + 1], u - left), v - top);
      const step = Math.min(INFERNO.length - 1.001, Math.max(0, value) * (INFERNO.length - 1));
      const [from, to] = [INFERNO[Math.floor(step)], INFERNO[Math.floor(step) + 1]];
      const pixel = 4 * (y * SIDE + x);
      for (let channel = 0; channel < 3; channel++) {
        pixels[pixel + channel] = mix(pixels[pixel + channel], mix(from[channel], to[channel], step % 1), opacity);
      }
    }
  }
}

/** @param {number} a @param {number} b @param {number} share @returns {number} */
function mix(a, b, share) {
  return a + (b - a) * share;
}

/** @param {{ side: number, values: Float32Array }} evidence @returns {string} the location of its centre of mass */
function locationText({ side, values }) {
  let [sum, x, y] = [0, 0, 0];
  values.forEach((value, index) => {
    const weight = value * value;
    sum += weight;
    x += weight * ((index % side) + 0.5);
    y += weight * (Math.floor(index / side) + 0.5);
  });
  const third = (/** @type {number} */ mean) => Math.min(2, Math.floor((3 * mean) / (sum || 1) / side));
  const row = ["at the top", "", "at the bottom"][third(y)];
  const column = ["left", "", "right"][third(x)];
  if (!sum) return "nowhere in particular";
  return row && column ? `${row} ${column}` : row || (column ? `on the ${column}` : "in the middle");
}
