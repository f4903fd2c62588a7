// @ts-check
/** Bringing a picture set, and looking at it. */
import { filesOf, datasetOfFolder } from "../../ui/drop.js";
import { button, make, picker } from "../../ui/dom.js";
import { details } from "../../ui/widgets.js";
import { count, numberWord, pictures } from "../../ui/format.js";
import { strip } from "./pixels.js";
import { plain, setText } from "./state.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { PictureSet } from "../../engine/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ cifar(files: readonly DroppedFile[]): unknown, files(files: readonly DroppedFile[]): unknown, taught(): unknown, cancel(): unknown }} SetHandlers */

/** Files left out that are listed by name. */
const LISTED = 20;

/** @param {SetHandlers} on */
export function createSet(on) {
  const cifar = picker("Choose CIFAR-10 files", (files) => on.cifar(filesOf(files)));
  cifar.input.multiple = true;
  cifar.label.classList.add("primary");
  const folder = picker("Pictures in folders", (files) => on.files(datasetOfFolder(files)));
  folder.input.multiple = true;
  folder.input.webkitdirectory = true;
  folder.label.classList.add("folder");
  folder.label.title = "Each folder becomes a class; train and test folders around them are understood";
  const zip = picker("Pictures in a .zip", (files) => on.files(filesOf(files)));
  zip.input.accept = ".zip,application/zip";
  zip.input.multiple = true;
  zip.label.title = "A .zip with a folder per class, or a .zip per class";
  const taught = button("Use the classes under Teach", on.taught);
  const opening = make("p", "panel-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Files read");
  const row = make("div", "panel-row", opening, bar, button("Cancel", on.cancel));
  const summary = make("p", "panel-result");
  const refused = make("ul", "compare-refused");
  refused.setAttribute("role", "list");
  refused.setAttribute("aria-label", "Files that were left out");
  const look = details("");
  look.open = true;
  const element = make(
    "div", "",
    make("p", "panel-soft compare-intro", "The same small pictures, classified in three ways: by a multi-layer perceptron and by a convolutional network, which learn from 32x32 pixels alone, and by a head on what Inception sees. All are trained here, one after another, and asked about pictures that they were not trained on. Bring CIFAR-10 (its .bin or Python files, or the whole .tar.gz), or pictures of your own."),
    make("div", "panel-row", cifar.label, folder.label, zip.label, taught),
    row, summary, refused, look,
  );

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    taught.disabled = !state.taught;
    if (state.opening !== before?.opening) {
      row.hidden = !state.opening;
      const { done, total, words } = state.opening ?? { done: 0, total: 0, words: "" };
      opening.textContent = total ? `${words}: ${count(done)} of ${count(total)} files` : words;
      bar.max = total || 1;
      if (total) bar.value = done;
      else bar.removeAttribute("value");
    }
    if (state.set === before?.set) return;
    summary.textContent = setText(state);
    const left = state.set?.refused ?? [];
    refused.hidden = !left.length;
    refused.replaceChildren(
      ...left.slice(0, LISTED).map(({ name, message }) => make("li", "", `Left out: ${message.startsWith(name) ? `${message}.` : `${name}: ${plain(message)}`}`)),
      ...(left.length > LISTED ? [make("li", "", `and ${count(left.length - LISTED)} more.`)] : []),
    );
    look.hidden = !state.set;
    if (state.set) look.replaceChildren(make("summary", "", "Pictures of each class, and their mean"), gallery(state.set));
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
      own.length ? strip(own, `${numberWord(own.length)} pictures of ${name}`) : make("p", "panel-soft", "No pictures to train on."),
      ...(mean ? [make("div", "compare-mean", strip([mean], `The mean picture of ${name}`), make("span", "panel-soft", "mean"))] : []),
    );
  }));
}
