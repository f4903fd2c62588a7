// @ts-check
/**
 * State of the compare panel: picture set, choices, running comparison or learning curve, results.
 * Pure: no DOM, engine or clock. Actions carry their times, in milliseconds.
 */

/** @import { ComparePlan, CompareProgress, Comparison, CurveProgress, EpochReport, LearningCurve, ModelKind, ModelResult, PictureSet } from "../../engine/types.js" */

/** @typedef {{ perClass: number, testPerClass: number, models: readonly ModelKind[], seed: number, epochs: number | null }} Choice */
/** @typedef {{ done: number, total: number, key: string, since: number, now: number }} Pace  `since` is the start of the current stage, identified by `key`. */
/** @typedef {Pick<ModelResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">} Architecture */
/** @typedef {{ done: number, total: number, label: string }} Opening  `total` is 0 if unknown. */
/** @typedef {Pick<State, "epochs" | "results" | "comparison" | "shown" | "filter">} Outcome */
/**
 * @typedef {{
 *   progress: CurveProgress | null, pace: Pace | null, sizes: readonly number[], models: readonly ModelKind[],
 *   speeds: Readonly<Partial<Record<ModelKind, number>>>, before: Pick<State, "points" | "curve">,
 * }} CurveJob  `speeds`: duration of a model's last run divided by the pictures per class, in milliseconds.
 */
/**
 * @typedef {{
 *   ready: boolean,
 *   set: PictureSet | null,
 *   setName: string,
 *   opening: Opening | null,
 *   projectPictures: number,
 *   choice: Choice,
 *   largest: number | null,
 *   plan: ComparePlan | null,
 *   curvePlan: ComparePlan | null,
 *   obstacle: string | null,
 *   architectures: readonly Architecture[],
 *   comparing: { progress: CompareProgress | null, pace: Pace | null, before: Outcome } | null,
 *   epochs: Readonly<Partial<Record<ModelKind, readonly EpochReport[]>>>,
 *   results: readonly ModelResult[],
 *   comparison: Comparison | null,
 *   filter: string,
 *   shown: readonly { at: number, pixels: Uint8ClampedArray<ArrayBuffer> }[],
 *   curveJob: CurveJob | null,
 *   points: LearningCurve["points"],
 *   curve: LearningCurve | null,
 * }} State
 *   `projectPictures`: number of pictures under Teach that have files. `obstacle`: why a comparison cannot start. `shown`: test pictures
 *   on the page, `at` is the index in the comparison. `largest`: largest size of the learning curve, null for the default. `curvePlan`: plan
 *   of the learning curve.
 */
/**
 * @typedef {{ type: "ready" }
 *   | { type: "project pictures", pictures: number }
 *   | { type: "opening", progress: Opening | null }
 *   | { type: "opened", set: PictureSet, name: string, architectures: readonly Architecture[] }
 *   | { type: "choice", patch: Partial<Choice> }
 *   | { type: "planned", plan: ComparePlan | null, curvePlan: ComparePlan | null, obstacle: string | null }
 *   | { type: "largest", size: number }
 *   | { type: "compare started" }
 *   | { type: "compare progress", progress: CompareProgress, at: number }
 *   | { type: "result", result: ModelResult }
 *   | { type: "compare ended", comparison: Comparison | null }
 *   | { type: "filter", filter: string }
 *   | { type: "shown", pictures: State["shown"] }
 *   | { type: "curve started", sizes: readonly number[], models: readonly ModelKind[] }
 *   | { type: "curve progress", progress: CurveProgress, at: number }
 *   | { type: "curve ended", curve: LearningCurve | null }
 * } Action
 */

/** @type {readonly ModelKind[]} */
export const MODEL_KINDS = ["mlp", "cnn", "transfer"];
/** @type {Readonly<Record<ModelKind, ModelResult["name"]>>} */
export const MODEL_NAMES = { mlp: "MLP", cnn: "CNN", transfer: "Inception transfer" };
/** Initial sizes: large enough for a meaningful result, small enough for a short run. */
const DEFAULTS = { perClass: 30, testPerClass: 20 };
/** Sizes of the learning curve in pictures per class, limited by the set. */
const SIZES = [10, 30, 100, 300, 1000, 3000];
/** Additional sizes for small sets. */
const SMALL_SIZES = [2, 5];
/** Runs per point of the learning curve. */
export const SEEDS = 3;

/** @type {State} */
export const initialState = {
  ready: false,
  set: null,
  setName: "",
  opening: null,
  projectPictures: 0,
  choice: { perClass: DEFAULTS.perClass, testPerClass: DEFAULTS.testPerClass, models: MODEL_KINDS, seed: 0, epochs: null },
  largest: null,
  plan: null,
  curvePlan: null,
  obstacle: null,
  architectures: [],
  comparing: null,
  epochs: {},
  results: [],
  comparison: null,
  filter: "all",
  shown: [],
  curveJob: null,
  points: [],
  curve: null,
};

/**
 * Returns the state after an action. Does not modify `state`.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "ready":
      return { ...state, ready: true };
    case "project pictures":
      return { ...state, projectPictures: action.pictures };
    case "opening":
      return { ...state, opening: action.progress };
    case "opened": {
      const { set, name, architectures } = action;
      return {
        ...initialState, ready: true, projectPictures: state.projectPictures, set, setName: name, architectures,
        choice: {
          ...state.choice,
          perClass: Math.min(DEFAULTS.perClass, largestSizes(set).perClass),
          testPerClass: Math.min(DEFAULTS.testPerClass, largestSizes(set).testPerClass),
        },
      };
    }
    case "choice":
      return { ...state, choice: { ...state.choice, ...action.patch } };
    case "planned":
      return { ...state, plan: action.plan, curvePlan: action.curvePlan, obstacle: action.obstacle };
    case "largest":
      return { ...state, largest: action.size };
    case "compare started": {
      const { epochs, results, comparison, shown, filter } = state;
      const before = { epochs, results, comparison, shown, filter };
      return { ...state, comparing: { progress: null, pace: null, before }, epochs: {}, results: [], comparison: null, shown: [], filter: "all" };
    }
    case "compare progress": {
      const { progress, at } = action;
      const { way: kind, epoch } = progress;
      const epochs = epoch ? { ...state.epochs, [kind]: [...(state.epochs[kind] ?? []), epoch] } : state.epochs;
      if (!state.comparing) return state;
      return { ...state, epochs, comparing: { ...state.comparing, progress, pace: paceOf(state.comparing.pace, progress, `${progress.stage} ${kind}`, at) } };
    }
    case "result":
      return { ...state, results: [...state.results, action.result] };
    case "compare ended":
      return compared(state, action.comparison);
    case "filter":
      return { ...state, filter: action.filter, shown: [] };
    case "shown":
      return { ...state, shown: action.pictures };
    case "curve started": {
      const { points, curve } = state;
      const { sizes, models } = action;
      return { ...state, curveJob: { progress: null, pace: null, sizes, models, speeds: {}, before: { points, curve } }, points: [], curve: null };
    }
    case "curve progress":
      return state.curveJob ? { ...state, points: action.progress.points, curveJob: withCurveProgress(state.curveJob, action.progress, action.at) } : state;
    case "curve ended": {
      const { curve } = action;
      if (curve) return { ...state, curveJob: null, curve, points: curve.points };
      return { ...state, curveJob: null, ...(state.points.length ? {} : state.curveJob?.before) };
    }
  }
}

/** After a cancelled comparison, restores the previous complete one or, without one, keeps the models that are done. @param {State} state @param {Comparison | null} comparison @returns {State} */
function compared(state, comparison) {
  const { comparing, results, epochs } = state;
  if (comparison) return { ...state, comparing: null, comparison };
  if (comparing?.before.comparison || !results.length) return { ...state, ...comparing?.before, comparing: null };
  return { ...state, comparing: null, epochs: Object.fromEntries(results.map(({ way: kind }) => [kind, epochs[kind]])) };
}

/** @param {CurveJob} curveJob @param {CurveProgress} progress @param {number} at @returns {CurveJob} */
function withCurveProgress(curveJob, progress, at) {
  const { progress: last, pace: lastPace } = curveJob;
  // All stages of a run share one pace.
  const pace = paceOf(lastPace, progress, progress.stage === "read" ? "read" : `run ${progress.run}`, at);
  const ended = last && lastPace && last.run > 0 && progress.run > last.run;
  const speeds = ended ? { ...curveJob.speeds, [last.way]: (at - lastPace.since) / last.perClass } : curveJob.speeds;
  return { ...curveJob, progress, pace, speeds };
}

/** @param {Pace | null} pace @param {{ done: number, total: number }} progress @param {string} key @param {number} at @returns {Pace} */
function paceOf(pace, { done, total }, key, at) {
  return { done, total, key, since: pace?.key === key ? pace.since : at, now: at };
}

/** The largest numbers of pictures per class that every class of the set can provide. @param {PictureSet} set */
export function largestSizes({ training, test }) {
  const held = Math.max(1, Math.floor(Math.min(...training) / 5));
  const own = test.some((pictures) => pictures > 0);
  const perClass = Math.min(...training) - (own ? 0 : held);
  return { perClass: Math.max(1, perClass), testPerClass: Math.max(1, own ? Math.min(...test.filter((pictures) => pictures > 0)) : held) };
}

/** Sizes of the learning curve that the set allows. @param {PictureSet} set @returns {number[]} */
export function sizesOf(set) {
  const { perClass } = largestSizes(set);
  const sizes = SIZES.filter((size) => size <= perClass);
  if (sizes.length > 1) return sizes;
  const few = [...SMALL_SIZES, ...sizes].filter((size) => size < perClass);
  return [...few, perClass].sort((a, b) => a - b);
}

/** Sizes up to the selected largest one. @param {State} state @returns {number[]} */
export function sizesWanted({ set, largest }) {
  return set ? sizesOf(set).filter((size) => size <= (largest ?? DEFAULTS.perClass)) : [];
}

/** @param {State} state @returns {boolean} whether a long job is running */
export function busy({ opening, comparing, curveJob }) {
  return opening !== null || comparing !== null || curveJob !== null;
}

/** @param {Comparison} comparison @param {number} at @returns {readonly boolean[]} which models are right about a test picture */
export function rights({ models, split }, at) {
  return models.map(({ answers }) => answers[at] === split.testLabels[at]);
}

/** Filters for the test pictures, with the matching pictures. @param {Comparison} comparison */
export function filters(comparison) {
  const { models, split } = comparison;
  const all = split.testLabels.map((_, at) => at);
  const right = all.map((at) => rights(comparison, at));
  const answers = (/** @type {number} */ at) => new Set(models.map((model) => model.answers[at]));
  /** @type {{ value: string, label: string, chosen: number[] }[]} */
  const found = [{ value: "all", label: "All test pictures", chosen: all }];
  if (models.length > 1) found.push({ value: "disagree", label: "Models disagree", chosen: all.filter((at) => answers(at).size > 1) });
  found.push({ value: "none", label: models.length > 1 ? "All are wrong" : "It is wrong", chosen: all.filter((at) => !right[at].includes(true)) });
  if (models.length > 1) {
    found.push({ value: "every", label: "All are right", chosen: all.filter((at) => !right[at].includes(false)) });
    for (const [which, { name, way: kind }] of models.entries()) {
      found.push({ value: kind, label: `Only ${name} is right`, chosen: all.filter((at) => right[at].every((good, other) => good === (other === which))) });
    }
  }
  return found;
}
