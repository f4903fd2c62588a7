// @ts-check
/** From a picture to its answer: what people do becomes actions, actions change the state, the state is shown. */
import { download } from "../../ui/dom.js";
import { initialState, isBusy, reduce, toCsv, toJson } from "./state.js";
import { createView } from "./view.js";

/** @import { Context } from "../../app/context.js" */
/** @import { Engine, LoadProgress, Prediction } from "../../engine/types.js" */
/** @import { Action, Row } from "./state.js" */

const STALLED_AFTER = 30_000;
const TOP_K = 5;

/**
 * @param {Context} context
 * @param {{ retry(): unknown, lost(): unknown, why(row: Row): unknown, teach(row: Row): unknown, customised: boolean }} page
 *   `lost` hears that the engine is gone; `teach`, that somebody wants to teach with an answered picture.
 */
export function createPredict(context, page) {
  let state = initialState;
  /** @type {AbortController | null} */
  let working = null;
  /** Counts heads, so that answers of an older one come to nothing. */
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

  /** @param {() => Promise<unknown>} verb @param {(error: Error) => Action} [then] */
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

  /**
   * Shows how the engine is loaded, and answers what came before it was.
   * @param {(tell: (progress: LoadProgress) => void) => Promise<Engine>} create
   * @returns {Promise<boolean>} whether it was loaded
   */
  async function load(create) {
    /** @type {number | undefined} */
    let clock;
    /** @param {LoadProgress | null} progress */
    const tell = (progress) => {
      clearTimeout(clock);
      clock = setTimeout(() => dispatch({ type: "stalled" }), STALLED_AFTER);
      dispatch({ type: "loading", progress });
    };
    tell(null);
    try {
      ready(await create(tell));
    } catch (cause) {
      console.error(cause);
      dispatch(failed(cause instanceof Error ? cause : new Error(String(cause))));
      return false;
    } finally {
      clearTimeout(clock);
    }
    attempt(work);
    return true;
  }

  /** @param {Engine} engine */
  function ready({ device, deviceName, notice, fingerprint, classes, base, head, unsureBelow }) {
    dispatch({ type: "ready", about: { device, deviceName, notice, fingerprint, classes, base, head, unsureBelow } });
  }

  /** The answers shown follow the head in use; the latents are there already. */
  async function headChanged() {
    const engine = context.engine();
    if (!engine) return;
    const number = ++headNumber;
    ready(engine);
    const asked = state.rows.filter(({ answer }) => answer);
    /** @type {Map<number, Prediction[]>} */
    const predictions = new Map();
    for (const { id, answer } of asked) if (answer) predictions.set(id, await engine.predict(answer.latents, TOP_K));
    if (number === headNumber && asked.length) dispatch({ type: "reanswered", predictions });
  }

  /** @param {readonly { name: string, file: Blob }[]} pictures */
  async function add(pictures) {
    if (!pictures.length) throw new Error("No pictures found. Choose JPEG, PNG, WebP or GIF files.");
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
    if (working || !context.engine() || !isBusy(state)) return;
    const run = new AbortController();
    working = run;
    await attempt(() => answerAll(run.signal), broken);
    working = null;
    if (!run.signal.aborted) dispatch({ type: "cancelled", at: performance.now() }); // what a failed run left over
    await work(); // what came after Cancel
  }

  /** @param {AbortSignal} signal */
  async function answerAll(signal) {
    for (let engine = context.engine(); engine && isBusy(state); engine = context.engine()) {
      const round = state.waiting;
      const asked = headNumber;
      dispatch({ type: "started", at: performance.now() });
      await engine.classify(round.map(({ file }) => file), {
        topK: TOP_K,
        thumbnails: true,
        signal,
        onPicture: (index, outcome) => dispatch({ type: "outcome", id: round[index].id, outcome, at: performance.now() }),
      });
      if (asked !== headNumber) await headChanged(); // some were answered by the head before
    }
  }

  /** @param {Error & { kind?: string }} error @returns {Action} */
  function broken(error) {
    if (error.kind === "crash" || error.kind === "disposed") {
      page.lost();
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
    download(`predictions.${form}`, blob);
  }
}
