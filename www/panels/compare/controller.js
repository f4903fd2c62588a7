// @ts-check
/** Joins the view, the state and the engine for the three ways. */
import { isCifar } from "../../ui/drop.js";
import { download } from "../../ui/dom.js";
import { openFile } from "../../project/project.js";
import { pictures } from "../../ui/format.js";
import { setFiles } from "./files.js";
import { NAMES, SEEDS, WAYS, busy, filters, initialState, outcomeText, plain, reduce, sizesWanted } from "./state.js";
import { createCompareView } from "./view.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { CompareOptions, Comparison, CurveOptions, Engine, LearningCurve, PictureSet, SetFile } from "../../engine/types.js" */
/** @import { ComparePanel, Context } from "../../app/context.js" */
/** @import { Action, Choice } from "./state.js" */

/** Test pictures shown at first, and with each press on "Show more". */
const SHOWN = 60;
/** Milliseconds without another change after which the plan is made. */
const PLAN_AFTER = 150;
const NO_SET = "There are no pictures yet. Choose CIFAR-10's files, or a folder or .zip with a folder per class.";

/** @param {Context} context @returns {ComparePanel} */
export function createCompare(context) {
  let state = initialState;
  /** @type {AbortController | null} */ let work = null;
  /** @type {number | undefined} */ let planLater;
  let plans = 0;
  /** Files may come before the network does. */
  let arrived = () => {};
  const there = new Promise((resolve) => (arrived = () => resolve(null)));
  const attempt = context.attempt;
  const view = createCompareView({
    cifar: (files) => attempt(() => open(files, true)),
    files: (files) => attempt(() => open(files)),
    taught: () => attempt(openTaught),
    choose,
    largest: (size) => {
      dispatch({ type: "largest", size });
      attempt(plan);
    },
    compare: () => attempt(compare),
    learningCurve: () => attempt(learningCurve),
    cancel: () => work?.abort(),
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
      arrived();
    },
    projectChanged() {
      const pictures = context.project().pictures.filter(({ file }) => file).length;
      if (pictures !== state.taught) dispatch({ type: "taught", pictures });
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
  function ways() {
    const engine = context.engine();
    if (!engine) throw new Error("The network is not ready yet. Wait until it is loaded, then try again.");
    return engine.ways;
  }

  // ---- the set ----

  /** @param {readonly DroppedFile[]} arrivals @param {boolean} [cifar] whether CIFAR-10's files were asked for */
  async function open(arrivals, cifar = false) {
    await openSet(arrivals.length === 1 ? last(arrivals[0].name) : placeOf(arrivals), async (signal) => {
      dispatch({ type: "opening", progress: { done: 0, total: 0, words: "Looking into the files" } });
      const { files, refused } = await setFiles(arrivals, cifar, signal);
      if (!files.length) {
        throw new Error(refused.length
          ? plain(refused[0].message)
          : "There are no pictures with classes in that. Choose CIFAR-10's files, or a folder or .zip with a folder per class.");
      }
      return { files, refused };
    });
  }

  async function openTaught() {
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
    const set = await alone(async (signal) => {
      const { files, refused } = await gather(signal);
      dispatch({ type: "opening", progress: { done: 0, total: context.engine() ? files.length : 0, words: context.engine() ? "Reading" : "Waiting for the network" } });
      await Promise.race([there, new Promise((_, stop) => signal.addEventListener("abort", () => stop(signal.reason)))]);
      const opened = await ways().open(files, { signal, onProgress: (progress) => dispatch({ type: "opening", progress: { ...progress, words: "Reading" } }) });
      return { ...opened, refused: [...refused, ...opened.refused] };
    }, () => dispatch({ type: "opening", progress: null }));
    dispatch({ type: "opened", set, name, architectures: await Promise.all(WAYS.map((way) => ways().layers(way))) });
    context.announce(`${name} is open: ${pictures(set.training.reduce((a, b) => a + b, 0))}`);
    await plan();
  }

  // ---- what to compare ----

  /** @param {Partial<Choice>} patch */
  function choose(patch) {
    dispatch({ type: "choice", patch });
    clearTimeout(planLater);
    planLater = setTimeout(() => attempt(plan), PLAN_AFTER);
  }

  /** @returns {CompareOptions} */
  function options() {
    const { ways, epochs, ...choice } = state.choice;
    return { ...choice, ways: [...ways], ...(epochs === null ? {} : { epochs }) };
  }

  /** Asks what would be done; what stands in the way is shown in its place. */
  async function plan() {
    if (!state.set) return;
    const mine = ++plans;
    /** @type {Extract<Action, { type: "planned" }>} */
    let planned;
    try {
      const plan = await ways().plan(options());
      planned = { type: "planned", plan, curvePlan: await ways().plan(curveOptions()), trouble: null };
    } catch (cause) {
      planned = { type: "planned", plan: null, curvePlan: null, trouble: plain(cause) };
    }
    if (mine === plans) dispatch(planned);
  }

  /** @returns {CurveOptions} */
  function curveOptions() {
    const { perClass: _, seed: __, ...rest } = options();
    return { ...rest, sizes: sizesWanted(state), seeds: SEEDS };
  }

  // ---- long work ----

  /**
   * One long work at a time.
   * @template T @param {(signal: AbortSignal) => Promise<T>} verb @param {() => unknown} ended @returns {Promise<T>}
   */
  async function alone(verb, ended) {
    if (work) throw new Error("The three ways are at work. Wait until they are done, or cancel them first.");
    work = new AbortController();
    try {
      return await verb(work.signal);
    } finally {
      work = null;
      ended();
    }
  }

  /** Refuses what cannot be compared before anything that is there gives way. */
  async function possible() {
    if (!state.set) throw new Error(NO_SET);
    await ways().plan(options()).catch((cause) => {
      throw new Error(plain(cause), { cause });
    });
  }

  async function compare() {
    /** @type {Comparison | null} */
    let comparison = null;
    await alone(async (signal) => {
      await possible();
      dispatch({ type: "comparing" });
      context.announce("Comparing");
      comparison = await ways().compare(options(), {
        signal,
        onProgress: (progress) => dispatch({ type: "compare progress", progress, at: performance.now() }),
        onWay: (result) => dispatch({ type: "result", result }),
      });
    }, () => {
      if (state.comparing) dispatch({ type: "compared", comparison });
      attempt(plan); // what has been read need not be read again
    });
    context.announce(`Compared. ${outcomeText(state.results) || `${NAMES[state.results[0].way]} is done.`}`);
    await more();
  }

  async function learningCurve() {
    /** @type {LearningCurve | null} */
    let curve = null;
    await alone(async (signal) => {
      await possible();
      const wanted = curveOptions();
      dispatch({ type: "curving", sizes: wanted.sizes, ways: state.choice.ways });
      context.announce("Drawing the learning curve");
      curve = await ways().learningCurve(wanted, {
        signal,
        onProgress: (progress) => dispatch({ type: "curve progress", progress, at: performance.now() }),
      });
    }, () => {
      if (state.curving) dispatch({ type: "curved", curve });
      attempt(plan);
    });
    context.announce("The learning curve is drawn");
  }

  // ---- what came of it ----

  /** Shows more of the test pictures that the filter chooses. */
  async function more() {
    const { comparison, filter, shown } = state;
    if (!comparison) return;
    const chosen = filters(comparison).find(({ value }) => value === filter)?.chosen ?? [];
    const places = chosen.slice(shown.length, shown.length + SHOWN);
    const { split } = comparison;
    const from = split.testFrom === "held out" ? "training" : "test set";
    const pixels = await ways().pictures(from, places.map((at) => split.testRows[at]));
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

/** What a set of several files is called: their folder, if they lie in one. @param {readonly DroppedFile[]} arrivals @returns {string} */
function placeOf(arrivals) {
  const folders = new Set(arrivals.map(({ name }) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : "")));
  const [folder] = folders;
  if (folders.size === 1 && folder) return folder;
  return arrivals.some(({ name }) => isCifar(name)) ? "CIFAR-10 files" : `${arrivals.length} files`;
}

/** @param {string} path @returns {string} */
function last(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** @param {unknown} value */
function json(value) {
  return new Blob([JSON.stringify(value, null, 2)], { type: "application/json" });
}
