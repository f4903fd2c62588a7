// @ts-check
/** Picture set: pickers, progress, and samples of each class. */
import { filesOf, datasetOfFolder } from "../../ui/drop.js";
import { button, make, picker } from "../../ui/dom.js";
import { details } from "../../ui/widgets.js";
import { count, numberWord, pictures } from "../../ui/format.js";
import { strip } from "./pixels.js";
import { userMessage, setText } from "./texts.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { PictureSet } from "../../engine/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ cifar(files: readonly DroppedFile[]): unknown, files(files: readonly DroppedFile[]): unknown, projectPictures(): unknown, cancel(): unknown }} SetHandlers */

/** Maximum number of rejected files listed by name. */
const MAX_LISTED = 20;

/** @param {SetHandlers} on */
export function createSet(on) {
  const cifar = picker("Choose CIFAR-10 files", (files) => on.cifar(filesOf(files)));
  cifar.input.multiple = true;
  cifar.label.classList.add("primary");
  const folder = picker("Pictures in folders", (files) => on.files(datasetOfFolder(files)));
  folder.input.multiple = true;
  folder.input.webkitdirectory = true;
  folder.label.classList.add("folder");
  folder.label.title = "Each folder becomes a class. Parent folders named train and test separate training and test pictures";
  const zip = picker("Pictures in a .zip", (files) => on.files(filesOf(files)));
  zip.input.accept = ".zip,application/zip";
  zip.input.multiple = true;
  zip.label.title = "A .zip with one folder per class, or one .zip per class";
  const projectPictures = button("Use the classes from Teach", on.projectPictures);
  const opening = make("p", "panel-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Files read");
  const row = make("div", "panel-row", opening, bar, button("Cancel", on.cancel));
  const summary = make("p", "panel-result");
  const refused = make("ul", "compare-refused");
  refused.setAttribute("role", "list");
  refused.setAttribute("aria-label", "Files that were left out");
  const samples = details("");
  samples.open = true;
  const element = make(
    "div", "",
    make("p", "panel-soft compare-intro", "Compares three models on the same small pictures: a multi-layer perceptron and a convolutional network, both trained on 32x32 pixels, and a head trained on Inception's latents. They are trained in this browser, one after another, and tested on pictures that they were not trained on. Choose CIFAR-10 (.bin or Python files, or the whole .tar.gz) or your own pictures."),
    make("div", "panel-row", cifar.label, folder.label, zip.label, projectPictures),
    row, summary, refused, samples,
  );

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    projectPictures.disabled = !state.projectPictures;
    if (state.opening !== before?.opening) {
      row.hidden = !state.opening;
      const { done, total, label } = state.opening ?? { done: 0, total: 0, label: "" };
      opening.textContent = total ? `${label}: ${count(done)} of ${count(total)} files` : label;
      bar.max = total || 1;
      if (total) bar.value = done;
      else bar.removeAttribute("value");
    }
    if (state.set === before?.set) return;
    summary.textContent = setText(state);
    const rejected = state.set?.refused ?? [];
    refused.hidden = !rejected.length;
    refused.replaceChildren(
      ...rejected.slice(0, MAX_LISTED).map(({ name, message }) => make("li", "", `Left out: ${message.startsWith(name) ? `${message}.` : `${name}: ${userMessage(message)}`}`)),
      ...(rejected.length > MAX_LISTED ? [make("li", "", `and ${count(rejected.length - MAX_LISTED)} more.`)] : []),
    );
    samples.hidden = !state.set;
    if (state.set) samples.replaceChildren(make("summary", "", "Samples and mean picture of each class"), gallery(state.set));
  }
}

/** @param {PictureSet} set @returns {HTMLElement} */
function gallery({ classes, samples, means, training, test }) {
  return make("div", "compare-classes", ...classes.map((name, label) => {
    const own = samples[label];
    const mean = means[label];
    const counts = `${pictures(training[label])}${test[label] ? `, ${count(test[label])} to test on` : ""}`;
    return make(
      "div", "compare-class",
      make("div", "compare-class-head", make("h3", "", name), make("span", "panel-soft", counts)),
      own.length ? strip(own, `${numberWord(own.length)} pictures of ${name}`) : make("p", "panel-soft", "No training pictures."),
      ...(mean ? [make("div", "compare-mean", strip([mean], `The mean picture of ${name}`), make("span", "panel-soft", "mean"))] : []),
    );
  }));
}
