// @ts-check
/** From the pictures to a judged head: actions change the state, the state is shown, and what is worth keeping is kept. */
import { download } from "../../ui/dom.js";
import { relabel } from "../../project/project.js";
import { pictures } from "../../ui/format.js";
import { headlineText, initialState, obstacle, reduce, resultText } from "./state.js";
import { createTrainView } from "./view.js";

/** @import { Context, TrainPanel } from "../../app/context.js" */
/** @import { Engine } from "../../engine/engine.js" */
/** @import { Kept, Run, Store } from "../../project/store.js" */
/** @import { Action } from "./state.js" */

const TICK = 500;
const KEEP_UNSURE_AFTER = 600;
const NEAREST = 8;
const EXPLAINED = 5;

/** @param {Context} context @returns {TrainPanel} */
export function createTrain(context) {
  let state = initialState;
  /** @type {AbortController | null} */
  let training = null;
  /** @type {AbortController | null} */
  let crossing = null;
  /** @type {AbortController | null} */
  let mapping = null;
  /** @type {number | undefined} */
  let unsureLater;

  const view = createTrainView({
    train: () => context.attempt(train),
    steer: (wish) => context.attempt(async () => steer(wish)),
    cancelTraining: () => training?.abort(),
    setting: (patch) => dispatch({ type: "setting", patch }),
    resetSettings: () => dispatch({ type: "reset settings" }),
    source: (source) => dispatch({ type: "source", source }),
    folds: (folds) => dispatch({ type: "folds", folds }),
    crossValidate: () => context.attempt(crossValidate),
    cancelCrossing: () => crossing?.abort(),
    check: () => context.attempt(check),
    cell: (cell) => dispatch({ type: "cell", cell }),
    relabel: giveClass,
    keepLabel: ({ id, label }) => dispatch({ type: "kept label", picture: id, label }),
    unsure: (below) => context.attempt(async () => setUnsure(below)),
    saveHead: (form) => context.attempt(() => saveHead(form)),
    loadHead: (file) => context.attempt(() => loadHead(file)),
    resetHead: () => context.attempt(resetHead),
    restore: (id) => context.attempt(() => restore(id)),
    removeRun: (id) => context.attempt(() => removeRun(id)),
    undoRemove: () => context.attempt(undoRemove),
    renameRun: (id, name) => context.attempt(() => renameRun(id, name)),
    tick: (id, on) => dispatch({ type: "ticked", id, on }),
    map: (method) => context.attempt(() => map(method)),
    cancelMap: () => mapping?.abort(),
    pictureUrl: context.pictureUrl,
    attempt: context.attempt,
    announce: context.announce,
  });
  projectChanged();

  return {
    ready,
    projectChanged,
    why,
    kept: () => ({ runs: [...state.runs], runInUse: state.runInUse, head: state.head }),
    get busy() {
      return state.training !== null || state.crossing !== null;
    },
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  /** @returns {Engine} */
  function engine() {
    const found = context.engine();
    if (!found) throw new Error("The network is not ready yet. Wait until it is loaded, then try again.");
    return found;
  }

  /** @param {Kept} kept */
  async function ready({ runs, runInUse, head }) {
    const again = state.ready;
    dispatch({ type: "ready", defaults: engine().defaults, unsureBelow: engine().unsureBelow, headName: engine().head.name, runs });
    projectChanged();
    const run = runs.find(({ id }) => id === runInUse) ?? null;
    const bytes = run?.head ?? head;
    if (bytes) await engine().openHead(bytes);
    else if (again) await engine().resetHead();
    else return;
    inUse(run, run ? null : head);
  }

  function projectChanged() {
    dispatch({ type: "project", project: context.project(), embedded: context.embedded() });
  }

  /** The engine has another head in use. @param {Run | null} run @param {Uint8Array | null} head */
  function inUse(run, head) {
    dispatch({ type: "in use", run, head, headName: engine().head.name, unsureBelow: engine().unsureBelow });
    context.headChanged();
  }

  /** What is shown has been kept; where keeping fails, it is shown all the same and the failure told. @param {(store: Store) => Promise<unknown>} save @param {() => unknown} show */
  async function kept(save, show) {
    const store = context.store();
    try {
      if (store) await save(store);
    } finally {
      show();
    }
  }

  // ---- training ----

  async function train() {
    const trouble = obstacle(state);
    if (trouble) throw new Error(trouble);
    if (training || !state.settings || !state.defaults) return;
    const options = { ...state.settings, name: state.settings.name === state.defaults.name ? state.project.name : state.settings.name };
    training = new AbortController();
    dispatch({ type: "started", limit: options.epochs, at: performance.now() });
    context.announce("Training");
    const clock = setInterval(() => dispatch({ type: "tick", at: performance.now() }), TICK);
    /** @type {Run} */
    let run;
    try {
      await keepUnsure();
      const report = await engine().train(options, {
        signal: training.signal,
        onEpoch: (report) => dispatch({ type: "epoch", report, at: performance.now() }),
      });
      const id = Math.max(state.removed?.id ?? 0, ...state.runs.map((run) => run.id)) + 1; // one that was removed may come back
      run = { id, at: Date.now(), name: `Run ${id}`, report, head: await headBytes() };
    } finally {
      clearInterval(clock);
      training = null;
      dispatch({ type: "ended" });
    }
    dispatch({ type: "trained", run, unsureBelow: engine().unsureBelow });
    context.headChanged();
    context.announce(`Training is done. ${resultText(run.report)}`);
    // Shown before it is kept: thousands of fresh latents may still be on their way to the disk.
    await context.store()?.saveRun(run);
    await context.store()?.saveHead({ run: run.id });
  }

  /** @param {"pause" | "resume" | "stop"} wish */
  function steer(wish) {
    const at = performance.now();
    engine().steer(wish);
    dispatch(wish === "stop" ? { type: "stopping" } : { type: wish === "pause" ? "paused" : "resumed", at });
  }

  /** @returns {Promise<Uint8Array>} */
  async function headBytes() {
    return new Uint8Array(await (await engine().exportHead("safetensors")).arrayBuffer());
  }

  // ---- evaluation ----

  async function crossValidate() {
    const trouble = obstacle(state);
    if (trouble) throw new Error(trouble);
    if (crossing || !state.settings) return;
    const { folds } = state;
    crossing = new AbortController();
    dispatch({ type: "crossing", progress: { done: 0, total: folds, folds } });
    try {
      const evaluation = await engine().evaluate({ ...state.settings, folds }, {
        signal: crossing.signal,
        onProgress: (progress) => dispatch({ type: "crossing", progress: { ...progress, folds } }),
      });
      dispatch({ type: "evaluated", evaluation });
      context.announce(headlineText(evaluation));
    } finally {
      crossing = null;
      dispatch({ type: "crossing", progress: null });
    }
  }

  async function check() {
    const evaluation = await engine().evaluate();
    dispatch({ type: "evaluated", evaluation });
    context.announce(headlineText(evaluation));
  }

  /** @param {readonly number[]} ids @param {number} label */
  function giveClass(ids, label) {
    const name = state.project.classes.find(({ id }) => id === label)?.name ?? "";
    context.change(relabel(context.project(), ids, label), `Relabel ${pictures(ids.length)}`);
    context.announce(`${pictures(ids.length)} now ${ids.length === 1 ? "has" : "have"} the class ${name}`);
  }

  /** @param {number} below */
  function setUnsure(below) {
    engine().unsureBelow = below;
    dispatch({ type: "unsure", below });
    context.headChanged();
    clearTimeout(unsureLater);
    unsureLater = setTimeout(() => context.attempt(keepUnsure), KEEP_UNSURE_AFTER);
  }

  /** The threshold goes into the head's file, and that is kept again. */
  async function keepUnsure() {
    if (unsureLater === undefined) return;
    clearTimeout(unsureLater);
    unsureLater = undefined;
    const head = await headBytes();
    const run = state.runs.find(({ id }) => id === state.runInUse);
    if (run) await keepRun({ ...run, head });
    else {
      await kept((store) => store.saveHead({ bytes: head }), () => dispatch({ type: "head kept", head }));
    }
  }

  // ---- heads and runs ----

  /** @param {"safetensors" | "onnx" | "npz"} form */
  async function saveHead(form) {
    download(`head.${form}`, await engine().exportHead(form));
  }

  /** @param {File} file */
  async function loadHead(file) {
    await keepUnsure();
    const bytes = new Uint8Array(await file.arrayBuffer());
    await engine().openHead(bytes);
    await kept((store) => store.saveHead({ bytes }), () => inUse(null, bytes));
    context.announce(`The head ${engine().head.name} is in use`);
  }

  async function resetHead() {
    await keepUnsure();
    await engine().resetHead();
    await kept((store) => store.saveHead(null), () => inUse(null, null));
    context.announce(`The head ${engine().head.name} is in use`);
  }

  /** @param {number} id */
  async function restore(id) {
    await keepUnsure();
    const run = state.runs.find((one) => one.id === id);
    if (!run) return;
    await engine().openHead(run.head);
    await kept((store) => store.saveHead({ run: id }), () => inUse(run, null));
    context.announce(`${run.name} is in use`);
  }

  /** @param {number} id */
  async function removeRun(id) {
    const run = state.runs.find((one) => one.id === id);
    if (!run) return;
    const used = state.runInUse === id;
    await kept(async (store) => {
      if (used) await store.saveHead({ bytes: run.head });
      await store.removeRun(id);
    }, () => {
      dispatch({ type: "run removed", id });
      if (used) inUse(null, run.head);
    });
  }

  async function undoRemove() {
    const run = state.removed;
    if (!run) return;
    await kept((store) => store.saveRun(run), () => dispatch({ type: "run back", run }));
  }

  /** @param {number} id @param {string} name */
  async function renameRun(id, name) {
    const run = state.runs.find((one) => one.id === id);
    if (run) await keepRun({ ...run, name });
  }

  /** @param {Run} run */
  async function keepRun(run) {
    await kept((store) => store.saveRun(run), () => dispatch({ type: "run changed", run }));
  }

  // ---- map and reasons ----

  /** @param {"pca" | "umap"} method */
  async function map(method) {
    if (mapping) return;
    mapping = new AbortController();
    dispatch({ type: "mapping", progress: { method, done: 0, total: 0 } });
    try {
      const atlas = await engine().map(method, {
        signal: mapping.signal,
        onProgress: (progress) => dispatch({ type: "mapping", progress: { method, ...progress } }),
      });
      dispatch({ type: "mapped", atlas: { method, ...atlas } });
    } finally {
      mapping = null;
      dispatch({ type: "mapping", progress: null });
    }
  }

  /** @param {string} name @param {Blob} picture @param {Float32Array} latents @param {string} label */
  async function why(name, picture, latents, label) {
    const [predictions, near] = await Promise.all([
      engine().predict(latents, EXPLAINED),
      engine().dataset.count ? engine().nearest(latents, NEAREST) : [],
    ]);
    const { project } = state;
    const byId = new Map(project.pictures.map((one) => [one.id, one]));
    const names = new Map(project.classes.map((one) => [one.id, one.name]));
    await view.why({
      name,
      picture: await createImageBitmap(picture),
      predictions,
      label: predictions.some((one) => one.label === label) ? label : predictions[0].label,
      nearest: near.flatMap(({ id, similarity }) => {
        const one = byId.get(id);
        return one ? [{ picture: one, className: names.get(one.label) ?? "", similarity, url: context.pictureUrl(one) }] : [];
      }),
      explain: (wanted) => engine().explain(picture, wanted),
    });
  }
}
