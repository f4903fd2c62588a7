// @ts-check
/** Controller of the compare panel: opens picture sets, runs comparisons and learning curves on the engine, saves results. */
import { isCifar } from "../../ui/drop.js";
import { download } from "../../ui/dom.js";
import { openFile } from "../../project/project.js";
import { pictures } from "../../ui/format.js";
import { baseName, setFiles } from "./files.js";
import { MODEL_KINDS, MODEL_NAMES, SEEDS, busy, filters, initialState, reduce, sizesWanted } from "./state.js";
import { outcomeText, userMessage } from "./texts.js";
import { createCompareView } from "./view.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { CompareOptions, Comparison, CurveOptions, Engine, LearningCurve, PictureSet, SetFile } from "../../engine/types.js" */
/** @import { ComparePanel, Context } from "../../app/context.js" */
/** @import { Action, Choice } from "./state.js" */

/** Test pictures per page. */
const PAGE_SIZE = 60;
/** Debounce for planning after a change. */
const PLAN_AFTER_MS = 150;
const NO_SET = "There are no pictures yet. Choose CIFAR-10 files, or a folder or .zip with one folder per class.";

/** @param {Context} context @returns {ComparePanel} */
export function createCompare(context) {
  let state = initialState;
  /** @type {AbortController | null} */ let job = null;
  /** @type {number | undefined} */ let planLater;
  let plans = 0;
  let onReady = () => {};
  /** Resolves when the engine is ready. Files can be opened before that. */
  const engineReady = new Promise((resolve) => (onReady = () => resolve(null)));
  const attempt = context.attempt;
  const view = createCompareView({
    cifar: (files) => attempt(() => open(files, true)),
    files: (files) => attempt(() => open(files)),
    projectPictures: () => attempt(openProject),
    choose,
    largest: (size) => {
      dispatch({ type: "largest", size });
      attempt(plan);
    },
    compare: () => attempt(compare),
    learningCurve: () => attempt(learningCurve),
    cancel: () => job?.abort(),
    filter: (filter) => {
      dispatch({ type: "filter", filter });
      attempt(more);
    },
    more: () => attempt(more),
    saveComparison,
    saveTable,
    saveCurve,
  });
  view.render(state);

  return {
    async ready() {
      dispatch({ type: "ready" });
      onReady();
    },
    projectChanged() {
      const pictures = context.project().pictures.filter(({ file }) => file).length;
      if (pictures !== state.projectPictures) dispatch({ type: "project pictures", pictures });
    },
    contains: (target) => view.element.contains(target),
    accepts: (files, target) => files.some(({ name }) => isCifar(name)) || (files.length > 0 && view.element.contains(target)),
    onFiles: (files) => attempt(() => open(files)),
    get busy() {
      return busy(state);
    },
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  /** @returns {Engine["ways"]} */
  function comparisons() {
    const engine = context.engine();
    if (!engine) throw new Error("The network is not loaded yet. Wait until it is ready, then try again.");
    return engine.ways;
  }

  // ---- the set ----

  /** @param {readonly DroppedFile[]} dropped @param {boolean} [cifar] whether CIFAR-10 files were requested */
  async function open(dropped, cifar = false) {
    await openSet(dropped.length === 1 ? baseName(dropped[0].name) : setNameOf(dropped), async (signal) => {
      dispatch({ type: "opening", progress: { done: 0, total: 0, label: "Opening the files" } });
      const { files, refused } = await setFiles(dropped, cifar, signal);
      if (!files.length) {
        throw new Error(refused.length
          ? userMessage(refused[0].message)
          : "No pictures with classes found. Choose CIFAR-10 files, or a folder or .zip with one folder per class.");
      }
      return { files, refused };
    });
  }

  async function openProject() {
    const { classes, pictures, name } = context.project();
    const names = new Map(classes.map((one) => [one.id, one.name]));
    await openSet(name, async () => {
      const opened = await Promise.all(pictures.map(({ file }) => openFile(file)));
      const files = pictures.flatMap(({ name, label }, i) => (opened[i] ? [{ name, file: opened[i], className: names.get(label) ?? "" }] : []));
      return { files, refused: [] };
    });
  }

  /** @param {string} name @param {(signal: AbortSignal) => Promise<{ files: SetFile[], refused: PictureSet["refused"] }>} gather */
  async function openSet(name, gather) {
    const set = await exclusive(async (signal) => {
      const { files, refused } = await gather(signal);
      dispatch({ type: "opening", progress: { done: 0, total: context.engine() ? files.length : 0, label: context.engine() ? "Reading" : "Waiting for the network" } });
      await Promise.race([engineReady, new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))]);
      const opened = await comparisons().open(files, { signal, onProgress: (progress) => dispatch({ type: "opening", progress: { ...progress, label: "Reading" } }) });
      return { ...opened, refused: [...refused, ...opened.refused] };
    }, () => dispatch({ type: "opening", progress: null }));
    dispatch({ type: "opened", set, name, architectures: await Promise.all(MODEL_KINDS.map((kind) => comparisons().layers(kind))) });
    context.announce(`${name} is open: ${pictures(set.training.reduce((a, b) => a + b, 0))}`);
    await plan();
  }

  // ---- what to compare ----

  /** @param {Partial<Choice>} patch */
  function choose(patch) {
    dispatch({ type: "choice", patch });
    clearTimeout(planLater);
    planLater = setTimeout(() => attempt(plan), PLAN_AFTER_MS);
  }

  /** @returns {CompareOptions} */
  function options() {
    const { models, epochs, ...choice } = state.choice;
    return { ...choice, ways: [...models], ...(epochs === null ? {} : { epochs }) };
  }

  /** Plans the comparison and the learning curve, or shows why they cannot start. */
  async function plan() {
    if (!state.set) return;
    const number = ++plans;
    /** @type {Extract<Action, { type: "planned" }>} */
    let planned;
    try {
      const plan = await comparisons().plan(options());
      planned = { type: "planned", plan, curvePlan: await comparisons().plan(curveOptions()), obstacle: null };
    } catch (cause) {
      planned = { type: "planned", plan: null, curvePlan: null, obstacle: userMessage(cause) };
    }
    if (number === plans) dispatch(planned);
  }

  /** @returns {CurveOptions} */
  function curveOptions() {
    const { perClass: _, seed: __, ...rest } = options();
    return { ...rest, sizes: sizesWanted(state), seeds: SEEDS };
  }

  // ---- long jobs ----

  /**
   * Runs a long job. Only one at a time.
   * @template T @param {(signal: AbortSignal) => Promise<T>} work @param {() => unknown} onEnd @returns {Promise<T>}
   */
  async function exclusive(work, onEnd) {
    if (job) throw new Error("A comparison is already running. Wait until it is done, or cancel it first.");
    job = new AbortController();
    try {
      return await work(job.signal);
    } finally {
      job = null;
      onEnd();
    }
  }

  /** Throws if a comparison cannot start, before the previous results are cleared. */
  async function checkPossible() {
    if (!state.set) throw new Error(NO_SET);
    await comparisons().plan(options()).catch((cause) => {
      throw new Error(userMessage(cause), { cause });
    });
  }

  async function compare() {
    /** @type {Comparison | null} */
    let comparison = null;
    await exclusive(async (signal) => {
      await checkPossible();
      dispatch({ type: "compare started" });
      context.announce("Comparing");
      comparison = await comparisons().compare(options(), {
        signal,
        onProgress: (progress) => dispatch({ type: "compare progress", progress, at: performance.now() }),
        onWay: (result) => dispatch({ type: "result", result }),
      });
    }, () => {
      if (state.comparing) dispatch({ type: "compare ended", comparison });
      attempt(plan); // more latents are cached now
    });
    context.announce(`Comparison done. ${outcomeText(state.results) || `${MODEL_NAMES[state.results[0].way]} is done.`}`);
    await more();
  }

  async function learningCurve() {
    /** @type {LearningCurve | null} */
    let curve = null;
    await exclusive(async (signal) => {
      await checkPossible();
      const options = curveOptions();
      dispatch({ type: "curve started", sizes: options.sizes, models: state.choice.models });
      context.announce("Computing the learning curve");
      curve = await comparisons().learningCurve(options, {
        signal,
        onProgress: (progress) => dispatch({ type: "curve progress", progress, at: performance.now() }),
      });
    }, () => {
      if (state.curveJob) dispatch({ type: "curve ended", curve });
      attempt(plan);
    });
    context.announce("The learning curve is done");
  }

  // ---- results ----

  /** Shows the next page of test pictures that match the filter. */
  async function more() {
    const { comparison, filter, shown } = state;
    if (!comparison) return;
    const chosen = filters(comparison).find(({ value }) => value === filter)?.chosen ?? [];
    const places = chosen.slice(shown.length, shown.length + PAGE_SIZE);
    const { split } = comparison;
    const from = split.testFrom === "held out" ? "training" : "test set";
    const pixels = await comparisons().pictures(from, places.map((at) => split.testRows[at]));
    if (state.comparison !== comparison || state.filter !== filter || state.shown !== shown) return;
    dispatch({ type: "shown", pictures: [...shown, ...places.map((at, index) => ({ at, pixels: pixels[index] }))] });
  }

  function saveComparison() {
    if (state.comparison) download("comparison.json", json(state.comparison));
  }

  function saveCurve() {
    if (state.curve) download("learning-curve.json", json(state.curve));
  }

  function saveTable() {
    const columns = [
      "model", "parameters", "frozen parameters", "train pictures", "train accuracy", "train interval low", "train interval high",
      "test pictures", "test accuracy", "test interval low", "test interval high",
      "train seconds", "predict milliseconds", "extraction seconds", "pictures extracted", "pictures kept from before",
    ];
    const rows = state.results.map(({ name, parameters, frozenParameters, training, test, trainSeconds, predictMilliseconds, extraction }) => [
      name, parameters, frozenParameters, training.total, training.accuracy, ...training.interval, test.total, test.accuracy, ...test.interval,
      trainSeconds, predictMilliseconds, extraction?.seconds ?? "", extraction?.pictures ?? "", extraction?.kept ?? "",
    ]);
    download("comparison.csv", new Blob([[columns, ...rows].map((row) => `${row.join(",")}\r\n`).join("")], { type: "text/csv" }));
  }
}

/** Name of a set of several files: their common folder, if there is one. @param {readonly DroppedFile[]} dropped @returns {string} */
function setNameOf(dropped) {
  const folders = new Set(dropped.map(({ name }) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : "")));
  const [folder] = folders;
  if (folders.size === 1 && folder) return folder;
  return dropped.some(({ name }) => isCifar(name)) ? "CIFAR-10 files" : `${dropped.length} files`;
}


/** @param {unknown} value */
function json(value) {
  return new Blob([JSON.stringify(value, null, 2)], { type: "application/json" });
}
