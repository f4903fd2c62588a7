// @ts-check
/** Saves the head in use in one of three formats, loads a head from a file, or restores the shipped one. */
import { button, make } from "../../ui/dom.js";
import { details, part, select } from "../../ui/widgets.js";

/** @import { State } from "./state.js" */
/** @typedef {"safetensors" | "onnx" | "npz"} HeadFormat */
/** @typedef {{ saveHead(format: HeadFormat): unknown, loadHead(file: File): unknown, resetHead(): unknown }} FilesHandlers */

const FORMATS = [
  { value: "safetensors", label: ".safetensors" },
  { value: "onnx", label: ".onnx" },
  { value: "npz", label: ".npz (Keras)" },
];

const LOADER = `import keras, numpy as np

file = np.load("head.npz")
depth = sum(name.endswith("_kernel") for name in file.files)
layers = [keras.layers.Dense(file[f"dense_{k}_bias"].size, "relu" if k < depth else None) for k in range(1, depth + 1)]
head = keras.Sequential([keras.Input((2048,)), *layers, keras.layers.Rescaling(1 / float(file["temperature"])), keras.layers.Softmax()])
for k, layer in enumerate(layers, 1):
    layer.set_weights([file[f"dense_{k}_kernel"], file[f"dense_{k}_bias"]])
probabilities = head.predict(latents)  # [N, 2048] -> [N, len(file["classes"])]
`;

/** @param {FilesHandlers} on */
export function createFiles(on) {
  const inUse = make("p", "panel-soft");
  const format = select(FORMATS, "safetensors", "Head file format");
  const save = button("Save head", () => on.saveHead(/** @type {HeadFormat} */ (format.value)));
  const input = document.createElement("input");
  input.type = "file";
  input.accept = ".safetensors";
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    input.value = "";
    if (file) on.loadHead(file);
  });
  const load = make("label", "button small picker", "Load head", input);
  const reset = button("Use the shipped head", on.resetHead);
  const code = make("pre", "panel-code", make("code", "", LOADER));
  code.tabIndex = 0;
  const copied = make("span", "panel-soft");
  copied.setAttribute("role", "status");
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(LOADER);
    copied.textContent = "Copied";
  });
  const keras = details("Open the .npz in Keras", code, make("div", "panel-row", copy, copied));
  const element = part("train-files", "The head", inUse, make("div", "panel-row", make("span", "joined", save, format), load, reset), keras);

  return { element, render };

  /** @param {State} state @param {State | null} _before */
  function render({ ready, training, headName, runInUse, runs, head }, _before) {
    const run = runs.find(({ id }) => id === runInUse);
    inUse.textContent = !ready ? "" : run ? `In use: the head of ${run.name}.` : head ? `In use: ${headName}, loaded from a file.` : `In use: the shipped head, ${headName}.`;
    save.disabled = reset.disabled = input.disabled = !ready || training !== null;
  }
}
