// @ts-check
/** The wires: what people do becomes actions, actions change the state, the state is shown. */
import { createEngine } from "./engine.js";
import { initialState, isBusy, reduce, toCsv, toJson } from "./predict/state.js";
import { createView } from "./predict/view.js";

/** @typedef {import("./predict/state.js").Action} Action */

const STALLED_AFTER = 30_000;
const TOP_K = 5;
const query = new URLSearchParams(location.search);

let state = initialState;
/** @type {import("./engine.js").Engine | null} */
let engine = null;
/** @type {AbortController | null} */
let working = null;

const view = createView({
  add: (found) => attempt(async () => add(await found)),
  sample: (url) => attempt(() => addSample(url)),
  retry: () => attempt(start, failed),
  cancel,
  clear() {
    working?.abort();
    dispatch({ type: "cleared" });
  },
  remove: (id) => dispatch({ type: "removed", id }),
  layout: (layout) => dispatch({ type: "layout", layout }),
  save,
  customised: ["device", "weights", "head"].some((name) => query.has(name)),
});

attempt(start, failed);

/** @param {Action} action */
function dispatch(action) {
  state = reduce(state, action);
  view.render(state);
}

/**
 * The one place that catches: the sentence is shown, the cause goes to the console.
 * @param {() => Promise<unknown>} verb @param {(error: Error) => Action} [then]
 */
async function attempt(verb, then = (error) => ({ type: "said", message: error.message })) {
  try {
    await verb();
  } catch (cause) {
    console.error(cause);
    dispatch(then(cause instanceof Error ? cause : new Error(String(cause))));
  }
}

/** @param {Error & { kind?: string }} error @returns {Action} */
function failed(error) {
  return { type: "failed", message: error.message, kind: error.kind ?? "" };
}

async function start() {
  /** @type {number | undefined} */
  let clock;
  /** @param {import("./engine.js").LoadProgress | null} progress */
  const tell = (progress) => {
    clearTimeout(clock);
    clock = setTimeout(() => dispatch({ type: "stalled" }), STALLED_AFTER);
    dispatch({ type: "loading", progress });
  };
  tell(null);
  try {
    engine = await createEngine({
      device: wishedDevice(),
      weights: query.get("weights") ?? undefined,
      head: query.get("head") ?? undefined,
      onProgress: tell,
    });
  } finally {
    clearTimeout(clock);
  }
  const { device, deviceName, notice, fingerprint, classes, base, head } = engine;
  dispatch({ type: "ready", about: { device, deviceName, notice, fingerprint, classes, base, head } });
  await work();
}

/** @returns {"auto" | "webgpu" | "cpu"} */
function wishedDevice() {
  const wish = query.get("device");
  return wish === "webgpu" || wish === "cpu" ? wish : "auto";
}

/** @param {{ name: string, file: Blob }[]} pictures */
async function add(pictures) {
  if (!pictures.length) throw new Error("There is no picture in that. Try JPEG, PNG, WebP or GIF files.");
  dispatch({ type: "added", pictures, at: performance.now() });
  await work();
}

/** @param {string} url */
async function addSample(url) {
  const name = url.slice(url.lastIndexOf("/") + 1);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The sample ${name} could not be loaded (HTTP ${response.status}).`);
  await add([{ name, file: await response.blob() }]);
}

/** Answers what waits, and what comes to wait meanwhile; one run at a time. */
async function work() {
  if (working || !engine || !isBusy(state)) return;
  const run = new AbortController();
  working = run;
  await attempt(() => answerAll(run.signal), broken);
  working = null;
  if (!run.signal.aborted) dispatch({ type: "cancelled", at: performance.now() }); // what a failed run left over
  await work(); // what came after Cancel
}

/** @param {AbortSignal} signal */
async function answerAll(signal) {
  while (engine && isBusy(state)) {
    const round = state.waiting;
    dispatch({ type: "started", at: performance.now() });
    await engine.classify(round.map(({ file }) => file), {
      topK: TOP_K,
      thumbnails: true,
      signal,
      onPicture: (index, outcome) => dispatch({ type: "outcome", id: round[index].id, outcome, at: performance.now() }),
    });
  }
}

/** @param {Error & { kind?: string }} error @returns {Action} */
function broken(error) {
  if (error.kind === "crash" || error.kind === "disposed") {
    engine = null;
    return failed(error);
  }
  return { type: "said", message: error.kind === "cancelled" ? null : error.message };
}

function cancel() {
  if (!isBusy(state)) return;
  working?.abort();
  dispatch({ type: "cancelled", at: performance.now() });
}

/** @param {"csv" | "json"} form */
function save(form) {
  const about = state.engine.phase === "ready" ? state.engine.about : null;
  const blob = form === "csv"
    ? new Blob([toCsv(state.rows)], { type: "text/csv" })
    : new Blob([toJson(state.rows, about)], { type: "application/json" });
  view.download(`predictions.${form}`, blob);
}
