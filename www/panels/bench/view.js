// @ts-check
/** The only one here that touches the document. */
import { byId, make } from "../../ui/dom.js";
import { duration, megabytes } from "../../ui/format.js";
import { BATCHES, middleHalf, milliseconds, share, TITLES } from "./measure.js";

/** @import { Device, Failed, Measured, Progress } from "./measure.js" */
/** @typedef {{ start: (devices: Device[], runs: number) => void, cancel: () => void, copy: (line: string) => Promise<void> }} Handlers */

/** Batches, as people say it. @type {Record<number, string>} */
const AT_A_TIME = { 1: "one at a time", 8: "eight at a time" };

/** @param {Handlers} on */
export function createView(on) {
  const form = byId("form", HTMLFormElement);
  const choice = byId("choice", HTMLFieldSetElement);
  const start = byId("start", HTMLButtonElement);
  const cancel = byId("cancel", HTMLButtonElement);
  const running = byId("running", HTMLElement);
  const text = byId("running-text", HTMLElement);
  const bar = byId("running-bar", HTMLProgressElement);
  const status = byId("status", HTMLElement);
  const results = byId("results", HTMLElement);
  const line = byId("line", HTMLTextAreaElement);
  const boxes = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll('[name="device"]')]);

  const chosen = () => boxes.filter(({ checked, disabled }) => checked && !disabled).map(({ value }) => /** @type {Device} */ (value));
  const allow = () => (start.disabled = choice.disabled || chosen().length === 0);
  form.addEventListener("change", allow);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!start.disabled) on.start(chosen(), Number(new FormData(form).get("runs")));
  });
  cancel.addEventListener("click", () => on.cancel());
  addEventListener("keydown", ({ key }) => key === "Escape" && on.cancel());
  byId("copy", HTMLButtonElement).addEventListener("click", async () => {
    await on.copy(line.value).then(
      () => say("Copied."),
      () => {
        line.select();
        say("The browser does not let the page copy. The line is selected: copy it by Ctrl+C.");
      },
    );
  });

  /** @param {string} words @param {boolean} [failed] */
  function say(words, failed = false) {
    status.textContent = words;
    status.classList.toggle("failed", failed);
  }

  return {
    say,

    /** What there is of a graphics card: a sentence against it, and whether it may be measured all the same. @param {{ words: string | null, usable: boolean, wished: boolean }} gpu */
    ready({ words, usable, wished }) {
      const [gpu] = boxes.filter(({ value }) => value === "webgpu");
      gpu.disabled = !usable;
      gpu.checked = wished;
      byId("gpu-words", HTMLElement).textContent = words ?? "";
      byId("gpu-words", HTMLElement).hidden = !words;
      choice.disabled = false;
      allow();
    },

    /** @param {boolean} busy */
    busy(busy) {
      const focused = [start, cancel].includes(/** @type {HTMLButtonElement} */ (document.activeElement));
      choice.disabled = busy;
      start.hidden = busy;
      cancel.hidden = running.hidden = !busy;
      allow();
      if (busy) results.hidden = true;
      if (focused) (busy ? cancel : start).focus();
    },

    /** @param {Device} device @param {Progress} progress */
    progress(device, progress) {
      const { words, share } = told(progress);
      text.textContent = `${TITLES[device]}: ${words}`;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
    },

    /** @param {(Measured | Failed)[]} all @param {string | null} words */
    show(all, words) {
      const measured = all.flatMap((result) => (result.failure === null ? [result] : []));
      byId("table", HTMLTableElement).replaceChildren(...(measured.length ? tableParts(measured) : []));
      byId("failures", HTMLElement).replaceChildren(...all.flatMap(({ name, failure }) => (failure === null ? [] : [make("li", "", `${name} was not measured. ${failure}`)])));
      line.value = words ?? "";
      for (const part of [line, byId("copy", HTMLElement), ...results.querySelectorAll(".bench-line, .hint")]) /** @type {HTMLElement} */ (part).hidden = !words;
      results.hidden = false;
      byId("results-title", HTMLElement).focus();
    },
  };
}

/** @param {Progress} progress @returns {{ words: string, share: number | null }} */
function told(progress) {
  if (progress.stage === "first") return { words: "the first answer", share: null };
  if (progress.stage === "runs") {
    const { batch, done, total } = progress;
    return { words: `pictures ${AT_A_TIME[batch]}, ${done} of ${total} runs`, share: done / total };
  }
  const { stage, done, total } = progress.load;
  const share = total ? done / total : null;
  if (stage === "runtime") return { words: `loading the program, ${megabytes(done)} MB`, share };
  if (stage === "weights") return { words: `loading the weights, ${megabytes(done)} MB`, share };
  return { words: stage === "prepare" ? "preparing the network" : "checking what it computes", share: null };
}

/** @param {Measured[]} measured @returns {HTMLElement[]} */
function tableParts(measured) {
  /** @param {string} words @param {(result: Measured) => (Node | string)[]} cell */
  const row = (words, cell) => {
    const head = make("th", "", words);
    head.setAttribute("scope", "row");
    return make("tr", "", head, ...measured.map((result) => make("td", "", ...cell(result))));
  };
  const heads = measured.map(({ name }) => {
    const head = make("th", "", name);
    head.setAttribute("scope", "col");
    return head;
  });
  const rows = BATCHES.map((batch) => row(`A picture, ${AT_A_TIME[batch]}`, ({ timed }) => {
    const times = timed.find((one) => one.batch === batch)?.times;
    return times ? [milliseconds(times.median), make("small", "", middleHalf(times))] : ["left out: it takes too long"];
  }));
  return [
    make("caption", "unseen", "How long the network takes"),
    make("thead", "", make("tr", "", make("td", ""), ...heads)),
    make("tbody", "", ...rows,
      row("First answer", ({ first, kept }) => [duration(first / 1000), make("small", "", kept ? "weights were kept from before" : "with the download")]),
      row("Self-check, off by at most", ({ deviation }) => [share(deviation), make("small", "", "of the largest latent")])),
  ];
}
