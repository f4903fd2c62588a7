// @ts-check
/**
 * What the study knows: what can be trained, the training under way, the kept runs and how good they are; and its words.
 * No DOM, no engine and no clock: times come in with the actions, in milliseconds.
 */
import { count, duration, hundredths, percent, pictures } from "../words.js";

/** @import { Embedded, EpochReport, Evaluation, TrainOptions, TrainReport, BatchProgress } from "../engine.js" */
/** @import { Project } from "../project.js" */
/** @import { Run } from "../store.js" */

/** @typedef {Required<TrainOptions>} Settings */
/** @typedef {"validation" | "folds" | "dataset"} Source */
/**
 * @typedef {{ classes: readonly { id: number, name: string, pictures: number, embedded: number }[], pictures: number, embedded: number }} Data
 *   What the project holds, and how much of it has latents.
 */
/**
 * @typedef {{
 *   epochs: readonly EpochReport[], limit: number, startedAt: number, now: number,
 *   pausedAt: number | null, idle: number, stopping: boolean,
 * }} Training  `idle` is the time spent paused.
 */
/**
 * @typedef {{
 *   ready: boolean,
 *   project: Project,
 *   data: Data,
 *   defaults: Settings | null,
 *   settings: Settings | null,
 *   training: Training | null,
 *   report: TrainReport | null,
 *   evaluations: Readonly<Partial<Record<Source, Evaluation>>>,
 *   source: Source,
 *   folds: number,
 *   crossing: (BatchProgress & { folds: number }) | null,
 *   cell: readonly [number, number] | null,
 *   keptLabels: ReadonlySet<number>,
 *   unsureBelow: number,
 *   runs: readonly Run[],
 *   runInUse: number | null,
 *   head: Uint8Array | null,
 *   headName: string,
 *   ticked: readonly number[],
 * }} State
 *   `report` is of the run in use; `keptLabels` are pictures whose doubtful label somebody confirmed.
 */
/**
 * @typedef {{ type: "ready", defaults: Settings, unsureBelow: number, headName: string, runs: readonly Run[], runInUse: number | null, head: Uint8Array | null }
 *   | { type: "project", project: Project, embedded: ReadonlyMap<string, Embedded> }
 *   | { type: "setting", patch: Partial<Settings> }
 *   | { type: "reset settings" }
 *   | { type: "started", limit: number, at: number }
 *   | { type: "epoch", report: EpochReport, at: number }
 *   | { type: "tick", at: number }
 *   | { type: "paused", at: number }
 *   | { type: "resumed", at: number }
 *   | { type: "stopping" }
 *   | { type: "ended" }
 *   | { type: "trained", run: Run, unsureBelow: number }
 *   | { type: "in use", run: Run | null, head: Uint8Array | null, headName: string, unsureBelow: number }
 *   | { type: "crossing", progress: (BatchProgress & { folds: number }) | null }
 *   | { type: "evaluated", evaluation: Evaluation }
 *   | { type: "source", source: Source }
 *   | { type: "folds", folds: number }
 *   | { type: "cell", cell: readonly [number, number] | null }
 *   | { type: "kept label", picture: number }
 *   | { type: "unsure", below: number }
 *   | { type: "run changed", run: Run }
 *   | { type: "run removed", id: number }
 *   | { type: "ticked", id: number, on: boolean }
 * } Action
 */

/** @type {State} */
export const initialState = {
  ready: false,
  project: { name: "", classes: [], pictures: [], nextId: 1 },
  data: { classes: [], pictures: 0, embedded: 0 },
  defaults: null,
  settings: null,
  training: null,
  report: null,
  evaluations: {},
  source: "validation",
  folds: 5,
  crossing: null,
  cell: null,
  keptLabels: new Set(),
  unsureBelow: 0,
  runs: [],
  runInUse: null,
  head: null,
  headName: "",
  ticked: [],
};

/**
 * The state after an action; the one before is left whole.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "ready": {
      const { type: _, defaults, ...kept } = action;
      const run = kept.runs.find(({ id }) => id === kept.runInUse) ?? null;
      return { ...judged(state, run), ...kept, defaults, settings: state.settings ?? defaults, ready: true, ticked: [] };
    }
    case "project":
      return { ...state, project: action.project, data: dataOf(action.project, action.embedded) };
    case "setting":
      return state.settings ? { ...state, settings: { ...state.settings, ...action.patch } } : state;
    case "reset settings":
      return { ...state, settings: state.defaults };
    case "started":
      return {
        ...state,
        training: { epochs: [], limit: action.limit, startedAt: action.at, now: action.at, pausedAt: null, idle: 0, stopping: false },
      };
    case "epoch":
      return trainingWith(state, (training) => ({ epochs: [...training.epochs, action.report], now: action.at }));
    case "tick":
      return trainingWith(state, () => ({ now: action.at }));
    case "paused":
      return trainingWith(state, () => ({ pausedAt: action.at, now: action.at }));
    case "resumed":
      return trainingWith(state, ({ pausedAt, idle }) => ({
        pausedAt: null, now: action.at, idle: idle + (pausedAt === null ? 0 : action.at - pausedAt),
      }));
    case "stopping":
      return trainingWith(state, () => ({ stopping: true, pausedAt: null }));
    case "ended":
      return { ...state, training: null };
    case "trained":
      return {
        ...judged(state, action.run),
        training: null,
        runs: [...state.runs, action.run],
        runInUse: action.run.id,
        head: null,
        headName: action.run.name,
        unsureBelow: action.unsureBelow,
      };
    case "in use":
      return {
        ...judged(state, action.run),
        runInUse: action.run?.id ?? null,
        head: action.head,
        headName: action.headName,
        unsureBelow: action.unsureBelow,
      };
    case "crossing":
      return { ...state, crossing: action.progress };
    case "evaluated": {
      const { on } = action.evaluation;
      return { ...state, evaluations: { ...state.evaluations, [on]: action.evaluation }, source: on, cell: null, keptLabels: new Set() };
    }
    case "source":
      return { ...state, source: action.source, cell: null };
    case "folds":
      return { ...state, folds: action.folds };
    case "cell":
      return { ...state, cell: action.cell };
    case "kept label":
      return { ...state, keptLabels: new Set([...state.keptLabels, action.picture]) };
    case "unsure":
      return { ...state, unsureBelow: action.below };
    case "run changed":
      return { ...state, runs: state.runs.map((run) => (run.id === action.run.id ? action.run : run)) };
    case "run removed":
      return {
        ...state,
        runs: state.runs.filter(({ id }) => id !== action.id),
        ticked: state.ticked.filter((id) => id !== action.id),
      };
    case "ticked":
      return { ...state, ticked: [...state.ticked.filter((id) => id !== action.id), ...(action.on ? [action.id] : [])].slice(-2) };
  }
}

/** What another head in use makes of the report and of the evaluations that belong to a head. @param {State} state @param {Run | null} run @returns {State} */
function judged(state, run) {
  const evaluations = { folds: state.evaluations.folds, validation: run?.report.evaluation ?? undefined };
  return {
    ...state,
    report: run?.report ?? null,
    evaluations,
    source: evaluations.validation || !evaluations.folds ? "validation" : "folds",
    cell: null,
  };
}

/** @param {State} state @param {(training: Training) => Partial<Training>} change @returns {State} */
function trainingWith(state, change) {
  return state.training ? { ...state, training: { ...state.training, ...change(state.training) } } : state;
}

/** @param {Project} project @param {ReadonlyMap<string, Embedded>} embedded @returns {Data} */
function dataOf(project, embedded) {
  const classes = project.classes.map(({ id, name }) => ({ id, name, pictures: 0, embedded: 0 }));
  const byId = new Map(classes.map((one) => [one.id, one]));
  let ready = 0;
  for (const { label, hash } of project.pictures) {
    const one = byId.get(label);
    if (!one) continue;
    one.pictures += 1;
    if (!embedded.has(hash)) continue;
    one.embedded += 1;
    ready += 1;
  }
  return { classes, pictures: project.pictures.length, embedded: ready };
}

// ---- in words ----

/** @param {State} state @returns {string | null} why training cannot start, and what to do; null where it can */
export function obstacle({ data: { classes } }) {
  if (!classes.length) return "There is nothing to train on yet. Make two classes and add pictures to them, or load the ten-class latents.";
  const empty = classes.filter((one) => !one.pictures);
  if (empty.length) {
    const names = listed(empty.map(({ name }) => name));
    return empty.length === 1
      ? `The class ${names} has no pictures. Add some, or remove the class.`
      : `The classes ${names} have no pictures. Add some, or remove the classes.`;
  }
  if (classes.length < 2) return `There is only one class, ${classes[0].name}. Add a second one with pictures: a head tells classes apart.`;
  const waiting = classes.filter((one) => !one.embedded);
  if (waiting.length) {
    return `The pictures of ${listed(waiting.map(({ name }) => name))} have not been through the network yet. Wait until they have, then train.`;
  }
  return null;
}

/** @param {State} state @returns {string} what would be trained */
export function planText({ data: { classes, pictures: all, embedded }, settings }) {
  const share = settings?.validation ?? 0;
  const held = classes.reduce((sum, one) => sum + Math.round(one.embedded * share), 0);
  const check = held ? `; about ${count(held)} of them are held out to check` : "; none of them are held out to check";
  const waiting = all - embedded;
  const left = waiting ? ` ${pictures(waiting)} ${waiting === 1 ? "has" : "have"} not been through the network yet and would be left out.` : "";
  return `${count(classes.length)} classes, ${pictures(embedded)}${check}.${left}`;
}

/** @param {Training} training @returns {string} how far, how fast, how long */
export function progressText(training) {
  const { epochs, limit, now, startedAt, idle, pausedAt, stopping } = training;
  const done = epochs.length;
  const words = [done ? `Epoch ${count(done)} of ${count(limit)}` : "Getting ready"];
  if (done) {
    const each = secondsAnEpoch(training);
    words.push(`${each < 1 ? each.toFixed(2) : each.toFixed(1)} s an epoch`);
    if (stopping) words.push("stopping");
    else if (pausedAt !== null) words.push("paused");
    else words.push(`at most ${duration(each * (limit - done))} left`);
  } else if (now - startedAt - idle > 1000) {
    words.push(duration((now - startedAt - idle) / 1000));
  }
  return words.join(" · ");
}

/** @param {Training} training @returns {number} */
function secondsAnEpoch({ epochs, now, startedAt, idle, pausedAt }) {
  return ((pausedAt ?? now) - startedAt - idle) / 1000 / Math.max(1, epochs.length);
}

/** @param {TrainReport} report @returns {string} begins "Validation accuracy" where one was measured */
export function resultText({ evaluation, epochs, bestEpoch, seconds, end }) {
  const took = `trained in ${duration(seconds)}, epoch ${count(bestEpoch)} of ${count(epochs.length)} kept`;
  const ended = end === "stopped" ? " Stopped early by hand." : "";
  if (!evaluation) return `Trained without held-out pictures, so nobody knows how good it is; ${took}.${ended}`;
  return `Validation accuracy ${accuracyText(evaluation)} on ${pictures(evaluation.total)}; ${took}.${ended}`;
}

/** @param {Evaluation} evaluation @returns {string} */
export function accuracyText({ accuracy, interval }) {
  return `${percent(accuracy)} (95 % interval ${hundredths(interval[0])}–${percent(interval[1])})`;
}

/** @param {readonly EpochReport[]} epochs @returns {string} what the curves show, for those who do not see them */
export function curvesText(epochs) {
  const first = epochs.at(0);
  const last = epochs.at(-1);
  const best = epochs.findLast((epoch) => epoch.best);
  if (!first || !last || !best) return "";
  const validation = best.validationLoss === null || best.validationAccuracy === null
    ? ""
    : ` At the best epoch, ${best.epoch}, the validation loss is ${best.validationLoss.toFixed(2)} and ${percent(best.validationAccuracy)} of the validation pictures are right.`;
  return `Over ${count(epochs.length)} ${epochs.length === 1 ? "epoch" : "epochs"} the training loss goes from ${first.loss.toFixed(2)} to ${last.loss.toFixed(2)}.${validation}`;
}

/** @param {readonly string[]} names @returns {string} "a, b and c" */
export function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
