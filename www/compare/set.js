// @ts-check
/** Bringing a picture set, and looking at it. */
import { isZip, named, setOfFolder } from "../arrivals.js";
import { button, make, picker } from "../dom.js";
import { details } from "../pieces.js";
import { count, inWords, pictures } from "../words.js";
import { strip } from "./pixels.js";
import { busy, setText } from "./state.js";

/** @import { Arrival } from "../arrivals.js" */
/** @import { PictureSet } from "../comparison.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ files(files: readonly Arrival[], expected: boolean): unknown, taught(): unknown, cancel(): unknown }} SetHandlers */

/** @param {SetHandlers} on */
export function createSet(on) {
  const cifar = picker("Choose CIFAR-10 files", (files) => on.files(named(files), !named(files).some(({ name }) => isZip(name))));
  cifar.input.multiple = true;
  cifar.label.classList.add("primary");
  const folder = picker("Folder per class", (files) => on.files(setOfFolder(files), false));
  folder.input.multiple = true;
  folder.input.webkitdirectory = true;
  folder.label.classList.add("folder");
  folder.label.title = "Each folder becomes a class; train and test folders around them are understood";
  const zip = picker("Zip", (files) => on.files(named(files), false));
  zip.input.accept = ".zip,application/zip";
  zip.input.multiple = true;
  zip.label.title = "A .zip with a folder per class, or a .zip per class";
  const taught = button("Use the classes under Teach", on.taught);
  const pickers = [cifar, folder, zip];
  const opening = make("p", "study-progress");
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Files read");
  const row = make("div", "study-row", opening, bar, button("Cancel", on.cancel));
  const summary = make("p", "study-result");
  const refused = make("ul", "compare-refused");
  refused.setAttribute("aria-label", "Files that were left out");
  const look = details("");
  look.open = true;
  const element = make(
    "div", "",
    make("p", "study-soft", "The same small pictures, classified in three ways: by a multi-layer perceptron and by a convolutional network, which learn from 32x32 pixels alone, and by a head on what Inception sees. All are trained here, one after another, and asked about pictures that they were not trained on. Bring CIFAR-10 (its .bin or Python files, or the whole .tar.gz), or pictures of your own."),
    make("div", "study-row", ...pickers.map(({ label }) => label), taught),
    row, summary, refused, look,
  );

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    const away = busy(state);
    for (const { input, label } of pickers) {
      input.disabled = away;
      label.classList.toggle("disabled", away);
    }
    taught.disabled = away || !state.ready || !state.taught;
    if (state.opening !== before?.opening) {
      row.hidden = !state.opening;
      bar.max = state.opening?.total || 1;
      bar.value = state.opening?.done ?? 0;
      opening.textContent = !state.opening ? "" : state.opening.total ? `Reading ${count(state.opening.done)} of ${count(state.opening.total)} files` : state.ready ? "Reading" : "Waiting for the network";
    }
    if (state.set === before?.set) return;
    summary.textContent = setText(state);
    const left = state.set?.refused ?? [];
    refused.hidden = !left.length;
    refused.replaceChildren(...left.map(({ message }) => make("li", "", `Left out: ${message}.`)));
    look.hidden = !state.set;
    if (state.set) {
      look.replaceChildren(make("summary", "", `Ten pictures of each class, and the mean of all`), gallery(state.set));
    }
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
      make("h3", "", name), make("p", "study-soft", counts),
      own.length ? strip(own, `${inWords(own.length)} pictures of ${name}`, 10) : make("p", "study-soft", "No pictures to train on."),
      ...(mean ? [make("div", "compare-mean", strip([mean], `The mean picture of ${name}`), make("span", "study-soft", "mean"))] : []),
    );
  }));
}
