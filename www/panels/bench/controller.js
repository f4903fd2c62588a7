// @ts-check
/** Controller of the benchmark page: measures the selected devices one after another and builds a one-line summary. Nothing is sent. */
import { sentence } from "../../ui/format.js";
import { browserName, line, measure, systemName } from "./measure.js";
import { createView } from "./view.js";

/** @import { Device, Failed, Measured } from "./measure.js" */

/** @type {AbortController | null} */
let run = null;

const view = createView({
  start: (devices, runs) => void start(devices, runs),
  cancel: () => run?.abort(),
  copy: (text) => (navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject(new Error("the clipboard is not available"))),
});

void gpuSupport().then(view.ready);

/** Whether the GPU can be measured (`usable`), whether to select it by default (`selected`), and a note for the user. */
async function gpuSupport() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!gpu) return { note: "This browser has no WebGPU, so only the CPU can be measured.", usable: false, selected: false };
  if (!adapter) return { note: "No GPU was found, so only the CPU can be measured.", usable: false, selected: false };
  const software = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
  return software
    ? { note: "WebGPU is emulated in software here. It takes seconds per picture and says nothing about a GPU.", usable: true, selected: false }
    : { note: null, usable: true, selected: true };
}

/** @param {Device[]} devices @param {number} runs */
async function start(devices, runs) {
  if (run) return;
  run = new AbortController();
  const { signal } = run;
  /** @type {(Measured | Failed)[]} */
  const results = [];
  view.busy(true);
  view.showStatus("Measuring.");
  try {
    const { version } = await (await fetch("pkg/site.json")).json();
    for (const device of devices) results.push(await measure(device, runs, { signal, onProgress: (progress) => view.progress(device, progress) }));
    const environment = {
      version,
      browser: browserName(navigator.userAgent),
      system: systemName(navigator.userAgent),
      cores: navigator.hardwareConcurrency,
      date: new Date().toISOString().slice(0, 10),
    };
    view.busy(false);
    view.showStatus("Done.");
    view.show(results, results.some(({ failure }) => failure === null) ? line(results, environment) : null);
  } catch (cause) {
    view.busy(false);
    if (signal.aborted) view.showStatus("Cancelled.");
    else {
      console.error(cause);
      view.showStatus(sentence(cause instanceof Error ? cause.message : String(cause)), true);
    }
  } finally {
    run = null;
  }
}
