// @ts-check
/** Controller of the predict panel: loads the engine, classifies pictures in order, saves answers. */
import { download } from "../../ui/dom.js";
import { initialState, isBusy, reduce, toCsv, toJson } from "./state.js";
import { createView } from "./view.js";

/** @import { Context } from "../../app/context.js" */
/** @import { Engine, LoadProgress, Prediction } from "../../engine/types.js" */
/** @import { Action, Row } from "./state.js" */

const STALLED_AFTER_MS = 30_000;
const TOP_K = 5;

/**
 * @param {Context} context
 * @param {{ retry(): unknown, lost(): unknown, why(row: Row): unknown, teach(row: Row): unknown, customised: boolean }} page
 *   `lost` is called when the engine crashed or was disposed; `teach`, to add an answered picture to a class.
 */
export function createPredict(context, page) {
  let state = initialState;
  /** @type {AbortController | null} */
  let working = null;
  /** Incremented when the head changes, to discard answers of an older head. */
  let headNumber = 0;

  const view = createView({
    add: (pictures) => attempt(() => add(pictures)),
    sample: (url) => attempt(() => addSample(url)),
    retry: page.retry,
    cancel,
    clear() {
      working?.abort();
      dispatch({ type: "cleared" });
    },
    remove: (id) => dispatch({ type: "removed", id }),
    layout: (layout) => dispatch({ type: "layout", layout }),
    why: page.why,
    teach: page.teach,
    save,
    announce: context.announce,
    customised: page.customised,
  });

  return {
    load,
    add: (/** @type {readonly { name: string, file: Blob }[]} */ pictures) => attempt(() => add(pictures)),
    headChanged: () => context.attempt(headChanged),
    engineChanged() {
      const engine = context.engine();
      if (engine) ready(engine);
    },
    row: (/** @type {number} */ id) => state.rows.find((row) => row.id === id),
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  /** @param {() => Promise<unknown>} work @param {(error: Error) => Action} [toAction] */
  async function attempt(work, toAction = (error) => ({ type: "message", message: error.message })) {
    try {
      await work();
    } catch (cause) {
      console.error(cause);
      dispatch(toAction(cause instanceof Error ? cause : new Error(String(cause))));
    }
  }

  /** @param {Error & { kind?: string }} error @returns {Action} */
  function failed(error) {
    return { type: "failed", message: error.message, kind: error.kind ?? "" };
  }

  /**
   * Loads the engine, shows the progress, then classifies the pictures added in the meantime.
   * @param {(onProgress: (progress: LoadProgress) => void) => Promise<Engine>} create
   * @returns {Promise<boolean>} whether it was loaded
   */
  async function load(create) {
    /** @type {number | undefined} */
    let timer;
    /** @param {LoadProgress | null} progress */
    const onProgress = (progress) => {
      clearTimeout(timer);
      timer = setTimeout(() => dispatch({ type: "stalled" }), STALLED_AFTER_MS);
      dispatch({ type: "loading", progress });
    };
    onProgress(null);
    try {
      ready(await create(onProgress));
    } catch (cause) {
      console.error(cause);
      dispatch(failed(cause instanceof Error ? cause : new Error(String(cause))));
      return false;
    } finally {
      clearTimeout(timer);
    }
    attempt(classifyWaiting);
    return true;
  }

  /** @param {Engine} engine */
  function ready({ device, deviceName, notice, fingerprint, classes, base, head, unsureBelow }) {
    dispatch({ type: "ready", about: { device, deviceName, notice, fingerprint, classes, base, head, unsureBelow } });
  }

  /** Recomputes the shown answers with the new head, from their latents. */
  async function headChanged() {
    const engine = context.engine();
    if (!engine) return;
    const number = ++headNumber;
    ready(engine);
    const answered = state.rows.filter(({ answer }) => answer);
    /** @type {Map<number, Prediction[]>} */
    const predictions = new Map();
    for (const { id, answer } of answered) if (answer) predictions.set(id, await engine.predict(answer.latents, TOP_K));
    if (number === headNumber && answered.length) dispatch({ type: "reanswered", predictions });
  }

  /** @param {readonly { name: string, file: Blob }[]} pictures */
  async function add(pictures) {
    if (!pictures.length) throw new Error("No pictures found. Choose JPEG, PNG, WebP, GIF, BMP or AVIF files.");
    dispatch({ type: "added", pictures, at: performance.now() });
    await classifyWaiting();
  }

  /** @param {string} url */
  async function addSample(url) {
    const name = url.slice(url.lastIndexOf("/") + 1);
    const response = await fetch(url);
    if (!response.ok) throw new Error(`The sample ${name} could not be loaded (HTTP ${response.status}).`);
    await add([{ name, file: await response.blob() }]);
  }

  /** Classifies waiting pictures, including those added in the meantime. Only one run at a time. */
  async function classifyWaiting() {
    if (working || !context.engine() || !isBusy(state)) return;
    const run = new AbortController();
    working = run;
    await attempt(() => classifyAll(run.signal), failureAction);
    working = null;
    if (!run.signal.aborted) dispatch({ type: "cancelled", at: performance.now() }); // after a failed run
    await classifyWaiting(); // pictures added after Cancel
  }

  /** @param {AbortSignal} signal */
  async function classifyAll(signal) {
    for (let engine = context.engine(); engine && isBusy(state); engine = context.engine()) {
      const round = state.waiting;
      const number = headNumber;
      dispatch({ type: "started", at: performance.now() });
      await engine.classify(round.map(({ file }) => file), {
        topK: TOP_K,
        thumbnails: true,
        signal,
        onPicture: (index, outcome) => dispatch({ type: "outcome", id: round[index].id, outcome, at: performance.now() }),
      });
      if (number !== headNumber) await headChanged(); // some answers are from the previous head
    }
  }

  /** @param {Error & { kind?: string }} error @returns {Action} */
  function failureAction(error) {
    if (error.kind === "crash" || error.kind === "disposed") {
      page.lost();
      return failed(error);
    }
    return { type: "message", message: error.kind === "cancelled" ? null : error.message };
  }

  function cancel() {
    if (!isBusy(state)) return;
    working?.abort();
    dispatch({ type: "cancelled", at: performance.now() });
  }

  /** @param {"csv" | "json"} format */
  function save(format) {
    const about = state.engine.phase === "ready" ? state.engine.about : null;
    const blob = format === "csv"
      ? new Blob([toCsv(state.rows)], { type: "text/csv" })
      : new Blob([toJson(state.rows, about)], { type: "application/json" });
    download(`predictions.${format}`, blob);
  }
}
