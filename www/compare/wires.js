// @ts-check
/** Joins the view, the state and the engine for the three ways. */
import { isCifar, isZip } from "../arrivals.js";
import { download } from "../dom.js";
import { pictures } from "../words.js";
import { setFiles } from "./files.js";
import { NAMES, SEEDS, WAYS, busy, filters, initialState, outcomeText, plain, reduce, sizesOf } from "./state.js";
import { createCompareView } from "./view.js";

/** @import { Arrival } from "../arrivals.js" */
/** @import { CompareOptions, CurveOptions, PictureSet, SetFile } from "../comparison.js" */
/** @import { Compare, Context } from "../context.js" */
/** @import { Engine } from "../engine.js" */
/** @import { Action, Choice } from "./state.js" */

/** Test pictures shown at first, and with each press on "Show more". */
const SHOWN = 60;
/** Milliseconds without another change after which the plan is made. */
const PLAN_AFTER = 150;

/** @param {Context} context @returns {Compare} */
export function createCompare(context) {
  let state = initialState;
  /** @type {AbortController | null} */ let work = null;
  /** @type {() => void} */ let isReady;
  /** What comes before the network is there waits for it. @type {Promise<void>} */
  const readiness = new Promise((resolve) => (isReady = resolve));
  /** @type {number | undefined} */ let planLater;
  let plans = 0;
  const attempt = context.attempt;
  const view = createCompareView({
    files: (files, expected) => attempt(() => open(files, expected)),
    taught: () => attempt(openTaught),
    choose,
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
    ready,
    projectChanged() {
      const pictures = context.project().pictures.filter(({ file }) => file).length;
      if (pictures !== state.taught) dispatch({ type: "taught", pictures });
    },
    holds: (target) => view.element.contains(target),
    takes: (files, target) => files.some(({ name }) => isCifar(name)) || (view.element.contains(target) && files.length > 0),
    came: (files) => attempt(() => open(files, false)),
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

  async function ready() {
    dispatch({ type: "ready", architectures: await architectures() });
    isReady();
  }

  function architectures() {
    return Promise.all(WAYS.map((way) => ways().layers(way)));
  }

  // ---- the set ----

  /** @param {readonly Arrival[]} arrivals @param {boolean} expected  CIFAR-10's files, and no others. */
  async function open(arrivals, expected) {
    const chosen = [...arrivals];
    await openFiles(async (signal) => {
      const { files, refused } = await setFiles(chosen, expected, signal);
      if (files.length) return { files, refused, name: nameOf(chosen, files) };
      throw new Error(refused[0]?.message ?? "There are no pictures with classes in that. Choose CIFAR-10's .bin files, or a folder or .zip with a folder per class.");
    });
  }

  async function openTaught() {
    const { classes, pictures, name } = context.project();
    const names = new Map(classes.map((one) => [one.id, one.name]));
    const files = pictures.flatMap(({ name, label, file }) => (file ? [{ name, file, className: names.get(label) ?? "" }] : []));
    await openFiles(async () => ({ files, refused: [], name }));
  }

  /** @param {(signal: AbortSignal) => Promise<{ files: SetFile[], refused: PictureSet["refused"], name: string }>} find */
  async function openFiles(find) {
    const opened = await alone(async (signal) => {
      dispatch({ type: "opening", progress: { done: 0, total: 0 } });
      await readiness;
      signal.throwIfAborted();
      const { files, refused, name } = await find(signal);
      const set = await ways().open(files, { signal, onProgress: (progress) => dispatch({ type: "opening", progress }) });
      return { name, set: { ...set, refused: [...refused, ...set.refused] } };
    }, () => dispatch({ type: "opening", progress: null }));
    if (!opened) return;
    const { name, set } = opened;
    dispatch({ type: "opened", set, name, architectures: await architectures() });
    context.announce(`${name} is open: ${pictures(set.training.reduce((a, b) => a + b, 0))}`);
    await plan();
  }

  /** @param {readonly Arrival[]} arrivals @param {readonly SetFile[]} files */
  function nameOf(arrivals, files) {
    const [first] = arrivals;
    if (files[0].className === undefined) return "CIFAR-10";
    return isZip(first.name) || !first.name.includes("/") ? first.name : first.name.slice(0, first.name.indexOf("/"));
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
    if (!state.set || state.comparing || state.curving) return;
    const mine = ++plans;
    try {
      const [plan, curvePlan] = [await ways().plan(options()), await ways().plan(curveOptions(state.set))];
      if (mine === plans) dispatch({ type: "planned", plan, curvePlan, trouble: null });
    } catch (cause) {
      if (mine === plans) dispatch({ type: "planned", plan: null, curvePlan: null, trouble: plain(cause) });
    }
  }

  /** @param {PictureSet} set @returns {CurveOptions} */
  function curveOptions(set) {
    const { perClass, seed: _, ...rest } = options();
    return { ...rest, sizes: sizesOf(set, perClass), seeds: SEEDS };
  }

  // ---- long work ----

  /**
   * One long work at a time; undefined where another is under way.
   * @template T @param {(signal: AbortSignal) => Promise<T>} verb @param {() => unknown} ended @returns {Promise<T | undefined>}
   */
  async function alone(verb, ended) {
    if (work) return undefined;
    work = new AbortController();
    try {
      return await verb(work.signal);
    } finally {
      work = null;
      ended();
    }
  }

  async function compare() {
    if (!state.set) throw new Error("There are no pictures yet. Choose CIFAR-10's files, or a folder or .zip with a folder per class.");
    const before = state;
    /** @type {import("../comparison.js").Comparison | null} */
    let comparison = null;
    const table = await alone(async (signal) => {
      await ways().plan(options()); // what cannot be compared leaves the last table in place
      dispatch({ type: "comparing" });
      comparison = await ways().compare(options(), {
        signal,
        onProgress: (progress) => dispatch({ type: "compare progress", progress, at: performance.now() }),
        onWay: (result) => dispatch({ type: "result", result }),
      });
      return comparison;
    }, () => {
      if (state.comparing && !comparison && !state.results.length) state = { ...before, choice: state.choice, plan: state.plan, trouble: state.trouble };
      if (state.comparing) dispatch({ type: "compared", comparison });
      else view.render(state);
    });
    if (!table) return;
    context.announce(`Compared. ${outcomeText(table.models) || `${NAMES[table.models[0].way]} is done.`}`);
    await more();
    await plan();
  }

  async function learningCurve() {
    const { set } = state;
    if (!set) throw new Error("There are no pictures yet. Choose CIFAR-10's files, or a folder or .zip with a folder per class.");
    /** @type {import("../comparison.js").LearningCurve | null} */
    let curve = null;
    await alone(async (signal) => {
      await ways().plan(curveOptions(set)); // what cannot be drawn leaves the last curve in place
      dispatch({ type: "curving" });
      curve = await ways().learningCurve(curveOptions(set), {
        signal,
        onProgress: (progress) => dispatch({ type: "curve progress", progress, at: performance.now() }),
      });
    }, () => state.curving && dispatch({ type: "curved", curve }));
    if (curve) context.announce("The learning curve is drawn");
    await plan();
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
    const columns = ["model", "parameters", "frozen parameters", "train correct", "train pictures", "test correct", "test pictures", "test accuracy", "interval low", "interval high", "train seconds", "predict milliseconds", "extraction seconds"];
    const rows = state.results.map((one) => [
      one.name, one.parameters, one.frozenParameters, one.training.correct, one.training.total, one.test.correct, one.test.total,
      one.test.accuracy, ...one.test.interval, one.trainSeconds, one.predictMilliseconds, one.extraction?.seconds ?? "",
    ]);
    download("comparison.csv", new Blob([[columns, ...rows].map((row) => `${row.join(",")}\r\n`).join("")], { type: "text/csv" }));
  }
}

/** @param {unknown} value */
function json(value) {
  return new Blob([JSON.stringify(value, null, 2)], { type: "application/json" });
}
