// @ts-check
/** The page that measures: what is chosen is timed device by device, and becomes a line to share. Nothing is sent. */
import { sentence } from "../../ui/format.js";
import { browserName, line, measure, systemName } from "./measure.js";
import { createView } from "./view.js";

/** @import { Device, Failed, Measured } from "./measure.js" */

/** @type {AbortController | null} */
let work = null;

const view = createView({
  start: (devices, runs) => void start(devices, runs),
  cancel: () => work?.abort(),
  copy: (words) => (navigator.clipboard ? navigator.clipboard.writeText(words) : Promise.reject(new Error("no clipboard here"))),
});

void graphicsCard().then(view.ready);

/** Whether there is a graphics card that is worth measuring. */
async function graphicsCard() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!gpu) return { words: "This browser offers no WebGPU, so only the CPU can be measured.", usable: false, wished: false };
  if (!adapter) return { words: "No graphics card answered, so only the CPU can be measured.", usable: false, wished: false };
  const software = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
  return software
    ? { words: "WebGPU is emulated in software here, which takes seconds a picture and tells nothing of a graphics card.", usable: true, wished: false }
    : { words: null, usable: true, wished: true };
}

/** @param {Device[]} devices @param {number} runs */
async function start(devices, runs) {
  if (work) return;
  work = new AbortController();
  const { signal } = work;
  /** @type {(Measured | Failed)[]} */
  const results = [];
  view.busy(true);
  view.say("Measuring.");
  try {
    const { version } = await (await fetch("pkg/site.json")).json();
    for (const device of devices) results.push(await measure(device, runs, { signal, onProgress: (progress) => view.progress(device, progress) }));
    const where = {
      version,
      browser: browserName(navigator.userAgent),
      system: systemName(navigator.userAgent),
      cores: navigator.hardwareConcurrency,
      date: new Date().toISOString().slice(0, 10),
    };
    view.busy(false);
    view.say("Done.");
    view.show(results, results.some(({ failure }) => failure === null) ? line(results, where) : null);
  } catch (cause) {
    view.busy(false);
    if (signal.aborted) view.say("Cancelled.");
    else {
      console.error(cause);
      view.say(sentence(cause instanceof Error ? cause.message : String(cause)), true);
    }
  } finally {
    work = null;
  }
}
