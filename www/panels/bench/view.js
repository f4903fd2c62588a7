// @ts-check
/** View of the benchmark page. */
import { byId, make } from "../../ui/dom.js";
import { duration, megabytes } from "../../ui/format.js";
import { BATCHES, middleHalf, milliseconds, share, TITLES } from "./measure.js";

/** @import { Device, Failed, Measured, Progress } from "./measure.js" */
/** @typedef {{ start: (devices: Device[], runs: number) => void, cancel: () => void, copy: (line: string) => Promise<void> }} Handlers */

/** Labels of the batch sizes. @type {Record<number, string>} */
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
      () => showStatus("Copied."),
      () => {
        line.select();
        showStatus("The browser does not allow copying. The line is selected: press Ctrl+C to copy it.");
      },
    );
  });

  /** @param {string} text @param {boolean} [failed] */
  function showStatus(text, failed = false) {
    status.textContent = text;
    status.classList.toggle("failed", failed);
  }

  return {
    showStatus,

    /** Enables the form. @param {{ note: string | null, usable: boolean, selected: boolean }} support  Of the GPU. */
    ready({ note, usable, selected }) {
      const [gpu] = boxes.filter(({ value }) => value === "webgpu");
      gpu.disabled = !usable;
      gpu.checked = selected;
      byId("gpu-note", HTMLElement).textContent = note ?? "";
      byId("gpu-note", HTMLElement).hidden = !note;
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
      const { label, share } = progressText(progress);
      text.textContent = `${TITLES[device]}: ${label}`;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
    },

    /** @param {(Measured | Failed)[]} all @param {string | null} summary  The line to share. */
    show(all, summary) {
      const measured = all.flatMap((result) => (result.failure === null ? [result] : []));
      byId("table", HTMLTableElement).replaceChildren(...(measured.length ? tableParts(measured) : []));
      byId("failures", HTMLElement).replaceChildren(...all.flatMap(({ name, failure }) => (failure === null ? [] : [make("li", "", `${name} was not measured. ${failure}`)])));
      line.value = summary ?? "";
      for (const part of [line, byId("copy", HTMLElement), ...results.querySelectorAll(".bench-line, .hint")]) /** @type {HTMLElement} */ (part).hidden = !summary;
      results.hidden = false;
      byId("results-title", HTMLElement).focus();
    },
  };
}

/** @param {Progress} progress @returns {{ label: string, share: number | null }} */
function progressText(progress) {
  if (progress.stage === "first") return { label: "first answer", share: null };
  if (progress.stage === "runs") {
    const { batch, done, total } = progress;
    return { label: `pictures ${AT_A_TIME[batch]}, ${done} of ${total} runs`, share: done / total };
  }
  const { stage, done, total } = progress.load;
  const share = total ? done / total : null;
  if (stage === "runtime") return { label: `loading the runtime, ${megabytes(done)} MB`, share };
  if (stage === "weights") return { label: `loading the weights, ${megabytes(done)} MB`, share };
  return { label: stage === "prepare" ? "preparing the network" : "running the self-test", share: null };
}

/** @param {Measured[]} measured @returns {HTMLElement[]} */
function tableParts(measured) {
  /** @param {string} label @param {(result: Measured) => (Node | string)[]} cell */
  const row = (label, cell) => {
    const head = make("th", "", label);
    head.setAttribute("scope", "row");
    return make("tr", "", head, ...measured.map((result) => make("td", "", ...cell(result))));
  };
  const heads = measured.map(({ name }) => {
    const head = make("th", "", name);
    head.setAttribute("scope", "col");
    return head;
  });
  const rows = BATCHES.map((batch) => row(`Per picture, ${AT_A_TIME[batch]}`, ({ timed }) => {
    const times = timed.find((one) => one.batch === batch)?.times;
    return times ? [milliseconds(times.median), make("small", "", middleHalf(times))] : ["skipped: takes too long"];
  }));
  return [
    make("caption", "visually-hidden", "How long the network takes"),
    make("thead", "", make("tr", "", make("td", ""), ...heads)),
    make("tbody", "", ...rows,
      row("First answer", ({ first, cached }) => [duration(first / 1000), make("small", "", cached ? "weights from the cache" : "including the download")]),
      row("Self-test, maximum error", ({ deviation }) => [share(deviation), make("small", "", "relative to the largest latent")])),
  ];
}
