// @ts-check
/** Controller of the train panel: runs training, evaluation and the map on the engine, dispatches actions, saves runs and heads. */
import { download } from "../../ui/dom.js";
import { relabel } from "../../project/project.js";
import { pictures } from "../../ui/format.js";
import { initialState, reduce } from "./state.js";
import { headlineText, obstacle, resultText } from "./texts.js";
import { createTrainView } from "./view.js";

/** @import { Context, TrainPanel } from "../../app/context.js" */
/** @import { Engine } from "../../engine/types.js" */
/** @import { Kept, Run, Store } from "../../project/store-types.js" */
/** @import { Action } from "./state.js" */

/** Milliseconds between updates of the elapsed time. */
const TICK_MS = 500;
/** Debounce for saving the unsure threshold. */
const SAVE_UNSURE_AFTER_MS = 600;
/** Nearest training pictures in the explanation dialog. */
const NEAREST_COUNT = 8;
/** Classes that the explanation dialog offers. */
const TOP_K = 5;

/** @param {Context} context @returns {TrainPanel} */
export function createTrain(context) {
  let state = initialState;
  /** @type {AbortController | null} */
  let training = null;
  /** @type {AbortController | null} */
  let crossValidationRun = null;
  /** @type {AbortController | null} */
  let mapRun = null;
  /** @type {number | undefined} */
  let unsureTimer;

  const view = createTrainView({
    train: () => context.attempt(train),
    control: (command) => context.attempt(async () => control(command)),
    cancelTraining: () => training?.abort(),
    setting: (patch) => dispatch({ type: "setting", patch }),
    resetSettings: () => dispatch({ type: "reset settings" }),
    source: (source) => dispatch({ type: "source", source }),
    folds: (folds) => dispatch({ type: "folds", folds }),
    crossValidate: () => context.attempt(crossValidate),
    cancelCrossValidation: () => crossValidationRun?.abort(),
    check: () => context.attempt(check),
    cell: (cell) => dispatch({ type: "cell", cell }),
    relabel: relabelPictures,
    keepLabel: ({ id, label }) => dispatch({ type: "kept label", picture: id, label }),
    unsure: (below) => context.attempt(async () => setUnsure(below)),
    saveHead: (format) => context.attempt(() => saveHead(format)),
    loadHead: (file) => context.attempt(() => loadHead(file)),
    resetHead: () => context.attempt(resetHead),
    restore: (id) => context.attempt(() => restore(id)),
    removeRun: (id) => context.attempt(() => removeRun(id)),
    undoRemove: () => context.attempt(undoRemove),
    renameRun: (id, name) => context.attempt(() => renameRun(id, name)),
    selectRun: (id, selected) => dispatch({ type: "run selected", id, selected }),
    map: (method) => context.attempt(() => map(method)),
    cancelMap: () => mapRun?.abort(),
    pictureUrl: context.pictureUrl,
    attempt: context.attempt,
    announce: context.announce,
  });
  projectChanged();

  return {
    ready,
    projectChanged,
    setBuilding(building) {
      if (building !== state.building) dispatch({ type: "building", building });
    },
    why,
    kept: () => ({ runs: [...state.runs], runInUse: state.runInUse, head: state.head }),
    get busy() {
      return state.training !== null || state.crossValidation !== null;
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
    if (!found) throw new Error("The network is not loaded yet. Wait until it is ready, then try again.");
    return found;
  }

  /** @param {Kept} kept */
  async function ready({ runs, runInUse, head }) {
    const reopened = state.ready;
    dispatch({ type: "ready", defaults: engine().defaults, unsureBelow: engine().unsureBelow, headName: engine().head.name, runs });
    projectChanged();
    const run = runs.find(({ id }) => id === runInUse) ?? null;
    const bytes = run?.head ?? head;
    if (bytes) await engine().openHead(bytes);
    else if (reopened) await engine().resetHead();
    else return;
    headInUse(run, run ? null : head);
  }

  function projectChanged() {
    dispatch({ type: "project", project: context.project(), embedded: context.embedded() });
  }

  /** Updates the panel after the engine loaded another head. @param {Run | null} run @param {Uint8Array | null} head */
  function headInUse(run, head) {
    dispatch({ type: "in use", run, head, headName: engine().head.name, unsureBelow: engine().unsureBelow });
    context.headChanged();
  }

  /** Saves, then updates the panel. If saving fails, the panel is still updated and the error is thrown. @param {(store: Store) => Promise<unknown>} save @param {() => unknown} update */
  async function saveThen(save, update) {
    const store = context.store();
    try {
      if (store) await save(store);
    } finally {
      update();
    }
  }

  // ---- training ----

  async function train() {
    const problem = obstacle(state);
    if (problem) throw new Error(problem);
    if (training || !state.settings || !state.defaults) return;
    const options = { ...state.settings, name: state.settings.name === state.defaults.name ? state.project.name : state.settings.name };
    training = new AbortController();
    dispatch({ type: "started", limit: options.epochs, at: performance.now() });
    context.announce("Training");
    const clock = setInterval(() => dispatch({ type: "tick", at: performance.now() }), TICK_MS);
    /** @type {Run} */
    let run;
    try {
      await saveUnsure();
      const report = await engine().train(options, {
        signal: training.signal,
        onEpoch: (report) => dispatch({ type: "epoch", report, at: performance.now() }),
      });
      const id = Math.max(state.removed?.id ?? 0, ...state.runs.map((run) => run.id)) + 1; // keeps the id of a removed run free for undo
      run = { id, at: Date.now(), name: `Run ${id}`, report, head: await headBytes() };
    } finally {
      clearInterval(clock);
      training = null;
      dispatch({ type: "ended" });
    }
    dispatch({ type: "trained", run, unsureBelow: engine().unsureBelow });
    context.headChanged();
    context.announce(`Training is done. ${resultText(run.report)}`);
    // Update the panel before saving: thousands of new latents may still be queued for the disk.
    await context.store()?.saveRun(run);
    await context.store()?.saveHead({ run: run.id });
  }

  /** @param {"pause" | "resume" | "stop"} command */
  function control(command) {
    const at = performance.now();
    engine().control(command);
    dispatch(command === "stop" ? { type: "stopping" } : { type: command === "pause" ? "paused" : "resumed", at });
  }

  /** @returns {Promise<Uint8Array>} */
  async function headBytes() {
    return new Uint8Array(await (await engine().exportHead("safetensors")).arrayBuffer());
  }

  // ---- evaluation ----

  async function crossValidate() {
    const problem = obstacle(state);
    if (problem) throw new Error(problem);
    if (crossValidationRun || !state.settings) return;
    const { folds } = state;
    crossValidationRun = new AbortController();
    dispatch({ type: "cross-validation progress", progress: { done: 0, total: folds, folds } });
    try {
      const evaluation = await engine().evaluate({ ...state.settings, folds }, {
        signal: crossValidationRun.signal,
        onProgress: (progress) => dispatch({ type: "cross-validation progress", progress: { ...progress, folds } }),
      });
      dispatch({ type: "evaluated", evaluation });
      context.announce(headlineText(evaluation));
    } finally {
      crossValidationRun = null;
      dispatch({ type: "cross-validation progress", progress: null });
    }
  }

  async function check() {
    const evaluation = await engine().evaluate();
    dispatch({ type: "evaluated", evaluation });
    context.announce(headlineText(evaluation));
  }

  /** @param {readonly number[]} ids @param {number} label */
  function relabelPictures(ids, label) {
    const name = state.project.classes.find(({ id }) => id === label)?.name ?? "";
    context.change(relabel(context.project(), ids, label), `Relabel ${pictures(ids.length)}`);
    context.announce(`${pictures(ids.length)} now ${ids.length === 1 ? "has" : "have"} the class ${name}`);
  }

  /** @param {number} below */
  function setUnsure(below) {
    engine().unsureBelow = below;
    dispatch({ type: "unsure", below });
    context.headChanged();
    clearTimeout(unsureTimer);
    unsureTimer = setTimeout(() => context.attempt(saveUnsure), SAVE_UNSURE_AFTER_MS);
  }

  /** Saves the head again, because the threshold is part of its file. */
  async function saveUnsure() {
    if (unsureTimer === undefined) return;
    clearTimeout(unsureTimer);
    unsureTimer = undefined;
    const head = await headBytes();
    const run = state.runs.find(({ id }) => id === state.runInUse);
    if (run) await saveRun({ ...run, head });
    else {
      await saveThen((store) => store.saveHead({ bytes: head }), () => dispatch({ type: "head kept", head }));
    }
  }

  // ---- heads and runs ----

  /** @param {"safetensors" | "onnx" | "npz"} format */
  async function saveHead(format) {
    download(`head.${format}`, await engine().exportHead(format));
  }

  /** @param {File} file */
  async function loadHead(file) {
    await saveUnsure();
    const bytes = new Uint8Array(await file.arrayBuffer());
    await engine().openHead(bytes);
    await saveThen((store) => store.saveHead({ bytes }), () => headInUse(null, bytes));
    context.announce(`Head ${engine().head.name} is in use`);
  }

  async function resetHead() {
    await saveUnsure();
    await engine().resetHead();
    await saveThen((store) => store.saveHead(null), () => headInUse(null, null));
    context.announce(`Head ${engine().head.name} is in use`);
  }

  /** @param {number} id */
  async function restore(id) {
    await saveUnsure();
    const run = state.runs.find((one) => one.id === id);
    if (!run) return;
    await engine().openHead(run.head);
    await saveThen((store) => store.saveHead({ run: id }), () => headInUse(run, null));
    context.announce(`${run.name} is in use`);
  }

  /** @param {number} id */
  async function removeRun(id) {
    const run = state.runs.find((one) => one.id === id);
    if (!run) return;
    const inUse = state.runInUse === id;
    await saveThen(async (store) => {
      if (inUse) await store.saveHead({ bytes: run.head });
      await store.removeRun(id);
    }, () => {
      dispatch({ type: "run removed", id });
      if (inUse) headInUse(null, run.head);
    });
  }

  async function undoRemove() {
    const run = state.removed;
    if (!run) return;
    await saveThen((store) => store.saveRun(run), () => dispatch({ type: "run restored", run }));
  }

  /** @param {number} id @param {string} name */
  async function renameRun(id, name) {
    const run = state.runs.find((one) => one.id === id);
    if (run) await saveRun({ ...run, name });
  }

  /** @param {Run} run */
  async function saveRun(run) {
    await saveThen((store) => store.saveRun(run), () => dispatch({ type: "run changed", run }));
  }

  // ---- map and explanation ----

  /** @param {"pca" | "umap"} method */
  async function map(method) {
    if (mapRun) return;
    mapRun = new AbortController();
    dispatch({ type: "map progress", progress: { method, done: 0, total: 0 } });
    try {
      const latentMap = await engine().map(method, {
        signal: mapRun.signal,
        onProgress: (progress) => dispatch({ type: "map progress", progress: { method, ...progress } }),
      });
      dispatch({ type: "map ready", latentMap: { method, ...latentMap } });
    } finally {
      mapRun = null;
      dispatch({ type: "map progress", progress: null });
    }
  }

  /** @param {string} name @param {Blob} picture @param {Float32Array} latents @param {string} label */
  async function why(name, picture, latents, label) {
    const [predictions, near] = await Promise.all([
      engine().predict(latents, TOP_K),
      engine().dataset.count ? engine().nearest(latents, NEAREST_COUNT) : [],
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
