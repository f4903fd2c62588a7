// @ts-check
/**
 * State of the train panel: data, settings, training in progress, runs, evaluations, map.
 * Pure: no DOM, engine or clock. Actions carry their times, in milliseconds.
 */

/** @import { Embedded, EpochReport, Evaluation, TrainOptions, TrainReport, BatchProgress } from "../../engine/types.js" */
/** @import { Project } from "../../project/types.js" */
/** @import { Run } from "../../project/store-types.js" */

/** @typedef {Required<TrainOptions>} Settings */
/** @typedef {"validation" | "folds" | "dataset"} Source */
/**
 * @typedef {{ classes: readonly { id: number, name: string, pictures: number, embedded: number }[], pictures: number, embedded: number }} Data
 *   Number of pictures per class and in total, and how many of them have latents.
 */
/**
 * @typedef {{
 *   epochs: readonly EpochReport[], limit: number, startedAt: number, now: number,
 *   worked: number, pausedAt: number | null, idle: number, stopping: boolean,
 * }} Training  Times in milliseconds: `worked` is spent in epochs, `idle` paused.
 */
/** @typedef {{ method: "pca" | "umap", ids: readonly number[], points: Float32Array }} LatentMap  The map: `points` holds x and y of each id. */
/**
 * @typedef {{
 *   ready: boolean,
 *   building: boolean,
 *   project: Project,
 *   data: Data,
 *   defaults: Settings | null,
 *   settings: Settings | null,
 *   training: Training | null,
 *   report: TrainReport | null,
 *   evaluations: Readonly<Partial<Record<Source, Evaluation>>>,
 *   source: Source,
 *   folds: number,
 *   crossValidation: (BatchProgress & { folds: number }) | null,
 *   cell: readonly [number, number] | null,
 *   keptLabels: ReadonlySet<string>,
 *   unsureBelow: number,
 *   runs: readonly Run[],
 *   runInUse: number | null,
 *   head: Uint8Array | null,
 *   headName: string,
 *   selectedRuns: readonly number[],
 *   removed: Run | null,
 *   latentMap: LatentMap | null,
 *   mapProgress: (BatchProgress & { method: "pca" | "umap" }) | null,
 * }} State
 *   `report` belongs to the run in use; `keptLabels` are doubtful labels that the user confirmed; removing `removed` can be undone.
 */
/**
 * @typedef {{ type: "building", building: boolean } | { type: "ready", defaults: Settings, unsureBelow: number, headName: string, runs: readonly Run[] }
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
 *   | { type: "cross-validation progress", progress: (BatchProgress & { folds: number }) | null }
 *   | { type: "evaluated", evaluation: Evaluation }
 *   | { type: "source", source: Source }
 *   | { type: "folds", folds: number }
 *   | { type: "cell", cell: readonly [number, number] | null }
 *   | { type: "kept label", picture: number, label: number }
 *   | { type: "unsure", below: number }
 *   | { type: "head kept", head: Uint8Array }
 *   | { type: "run changed", run: Run }
 *   | { type: "run removed", id: number }
 *   | { type: "run restored", run: Run }
 *   | { type: "run selected", id: number, selected: boolean }
 *   | { type: "map progress", progress: State["mapProgress"] }
 *   | { type: "map ready", latentMap: LatentMap }
 * } Action
 */

/** @type {State} */
export const initialState = {
  ready: false,
  building: false,
  project: { name: "", classes: [], pictures: [], nextId: 1 },
  data: { classes: [], pictures: 0, embedded: 0 },
  defaults: null,
  settings: null,
  training: null,
  report: null,
  evaluations: {},
  source: "validation",
  folds: 5,
  crossValidation: null,
  cell: null,
  keptLabels: new Set(),
  unsureBelow: 0,
  runs: [],
  runInUse: null,
  head: null,
  headName: "",
  selectedRuns: [],
  removed: null,
  latentMap: null,
  mapProgress: null,
};

/**
 * Returns the state after an action. Does not modify `state`.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "building":
      return { ...state, building: action.building };
    case "ready":
      return {
        ...withReportOf(state, null),
        runs: action.runs,
        runInUse: null,
        head: null,
        headName: action.headName,
        unsureBelow: action.unsureBelow,
        defaults: action.defaults,
        settings: state.settings ?? action.defaults,
        ready: true,
        selectedRuns: [],
        removed: null,
      };
    case "project":
      return { ...state, project: action.project, data: dataOf(action.project, action.embedded) };
    case "setting":
      return state.settings ? { ...state, settings: { ...state.settings, ...action.patch } } : state;
    case "reset settings":
      return { ...state, settings: state.defaults };
    case "started":
      return {
        ...state,
        training: { epochs: [], limit: action.limit, startedAt: action.at, now: action.at, worked: 0, pausedAt: null, idle: 0, stopping: false },
      };
    case "epoch":
      return trainingWith(state, ({ epochs, startedAt, idle }) => ({
        epochs: [...epochs, action.report], now: action.at, worked: action.at - startedAt - idle,
      }));
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
        ...withReportOf(state, action.run),
        training: null,
        runs: [...state.runs, action.run],
        runInUse: action.run.id,
        head: null,
        headName: action.run.name,
        unsureBelow: action.unsureBelow,
      };
    case "in use":
      return {
        ...withReportOf(state, action.run),
        runInUse: action.run?.id ?? null,
        head: action.head,
        headName: action.headName,
        unsureBelow: action.unsureBelow,
      };
    case "cross-validation progress":
      return { ...state, crossValidation: action.progress };
    case "evaluated": {
      const { on } = action.evaluation;
      return { ...state, evaluations: { ...state.evaluations, [on]: action.evaluation }, source: on, cell: null };
    }
    case "source":
      return { ...state, source: action.source, cell: null };
    case "folds":
      return { ...state, folds: action.folds };
    case "cell":
      return { ...state, cell: action.cell };
    case "kept label":
      return { ...state, keptLabels: new Set([...state.keptLabels, keptLabel(action.picture, action.label)]) };
    case "unsure":
      return { ...state, unsureBelow: action.below };
    case "head kept":
      return { ...state, head: action.head };
    case "run changed":
      return { ...state, runs: state.runs.map((run) => (run.id === action.run.id ? action.run : run)) };
    case "run removed":
      return {
        ...state,
        runs: state.runs.filter(({ id }) => id !== action.id),
        removed: state.runs.find(({ id }) => id === action.id) ?? null,
        selectedRuns: state.selectedRuns.filter((id) => id !== action.id),
      };
    case "run restored":
      return { ...state, runs: [...state.runs, action.run].sort((a, b) => a.id - b.id), removed: null };
    case "run selected":
      return { ...state, selectedRuns: [...state.selectedRuns.filter((id) => id !== action.id), ...(action.selected ? [action.id] : [])].slice(-2) };
    case "map progress":
      return { ...state, mapProgress: action.progress };
    case "map ready":
      return { ...state, latentMap: action.latentMap, mapProgress: null };
  }
}

/** Replaces the report and the evaluations that belong to a head. Cross-validation stays. @param {State} state @param {Run | null} run @returns {State} */
function withReportOf(state, run) {
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

/** @param {State} state @returns {Evaluation | null} the selected evaluation */
export function shownEvaluation({ evaluations, source }) {
  return evaluations[source] ?? null;
}

/**
 * Answers of a confusion matrix cell, sorted by confidence. Skips pictures that were removed.
 * @param {State} state @param {Evaluation} evaluation @param {readonly [number, number]} cell
 */
export function answersOf({ project }, evaluation, [truth, answered]) {
  const byId = new Map(project.pictures.map((picture) => [picture.id, picture]));
  return evaluation.answers
    .filter((answer) => answer.label === truth && answer.answered === answered)
    .flatMap((answer) => {
      const picture = byId.get(answer.id);
      return picture ? [{ picture, probability: answer.probability }] : [];
    })
    .sort((a, b) => b.probability - a.probability);
}

/** @param {number} picture @param {number} label @returns {string} */
function keptLabel(picture, label) {
  return `${picture} ${label}`;
}

/**
 * Doubtful labels that are neither confirmed nor changed. `suggestedId` is null if the suggested class was deleted.
 * @param {State} state @param {Evaluation} evaluation
 */
export function doubtful({ project, keptLabels }, { mislabels, classes }) {
  const byId = new Map(project.pictures.map((picture) => [picture.id, picture]));
  const byName = new Map(project.classes.map(({ id, name }) => [name, id]));
  return mislabels.flatMap(({ id, given, suggested, givenProbability, suggestedProbability }) => {
    const picture = byId.get(id);
    if (!picture || picture.label !== byName.get(classes[given].name) || keptLabels.has(keptLabel(id, picture.label))) return [];
    return [{
      picture, given: classes[given].name, suggested: classes[suggested].name, suggestedId: byName.get(classes[suggested].name) ?? null,
      givenProbability, suggestedProbability,
    }];
  });
}

/** @param {Run} run @returns {number} pictures of all classes, held-out ones included */
export function picturesOf({ report }) {
  return report.classes.reduce((sum, one) => sum + one.pictures, 0);
}

/**
 * Each class's centre on the map and the class whose centre is nearest.
 * @param {State} state @param {LatentMap} latentMap
 * @returns {{ name: string, pictures: number, nearest: string | null, distance: number }[]}
 */
export function centres({ project }, { ids, points }) {
  const labels = new Map(project.pictures.map(({ id, label }) => [id, label]));
  const sums = new Map(project.classes.map(({ id, name }) => [id, { name, x: 0, y: 0, pictures: 0 }]));
  ids.forEach((id, index) => {
    const sum = sums.get(labels.get(id) ?? -1);
    if (!sum) return;
    sum.x += points[2 * index];
    sum.y += points[2 * index + 1];
    sum.pictures += 1;
  });
  const means = [...sums.values()].filter((sum) => sum.pictures).map(({ name, x, y, pictures }) => ({ name, x: x / pictures, y: y / pictures, pictures }));
  return means.map((one) => {
    const others = means.filter((other) => other !== one).map((other) => ({ name: other.name, distance: Math.hypot(one.x - other.x, one.y - other.y) }));
    const nearest = others.sort((a, b) => a.distance - b.distance).at(0);
    return { name: one.name, pictures: one.pictures, nearest: nearest?.name ?? null, distance: nearest?.distance ?? 0 };
  });
}
