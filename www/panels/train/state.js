// @ts-check
/**
 * State of the train panel: data, settings, training in progress, runs, evaluations, map; and the texts derived from it.
 * Pure: no DOM, engine or clock. Actions carry their times, in milliseconds.
 */
import { count, duration, percentNumber, numberWord, listOf, percent, pictures } from "../../ui/format.js";

/** @import { Embedded, EpochReport, Evaluation, TrainOptions, TrainReport, BatchProgress } from "../../engine/types.js" */
/** @import { Picture, Project } from "../../project/types.js" */
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
/** @typedef {{ method: "pca" | "umap", ids: readonly number[], points: Float32Array }} Atlas  The map: `points` holds x and y of each id. */
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
 *   keptLabels: ReadonlySet<string>,
 *   unsureBelow: number,
 *   runs: readonly Run[],
 *   runInUse: number | null,
 *   head: Uint8Array | null,
 *   headName: string,
 *   selectedRuns: readonly number[],
 *   removed: Run | null,
 *   atlas: Atlas | null,
 *   mapping: (BatchProgress & { method: "pca" | "umap" }) | null,
 * }} State
 *   `report` belongs to the run in use; `keptLabels` are doubtful labels that the user confirmed; removing `removed` can be undone.
 */
/**
 * @typedef {{ type: "ready", defaults: Settings, unsureBelow: number, headName: string, runs: readonly Run[] }
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
 *   | { type: "kept label", picture: number, label: number }
 *   | { type: "unsure", below: number }
 *   | { type: "head kept", head: Uint8Array }
 *   | { type: "run changed", run: Run }
 *   | { type: "run removed", id: number }
 *   | { type: "run restored", run: Run }
 *   | { type: "run selected", id: number, selected: boolean }
 *   | { type: "mapping", progress: State["mapping"] }
 *   | { type: "mapped", atlas: Atlas }
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
  selectedRuns: [],
  removed: null,
  atlas: null,
  mapping: null,
};

/**
 * Returns the state after an action. Does not modify `state`.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
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
    case "crossing":
      return { ...state, crossing: action.progress };
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
    case "mapping":
      return { ...state, mapping: action.progress };
    case "mapped":
      return { ...state, atlas: action.atlas, mapping: null };
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

// ---- texts: training ----

/** @param {State} state @returns {string | null} why training cannot start and what to do; null if it can */
export function obstacle({ data: { classes } }) {
  if (!classes.length) return "There is nothing to train on yet. Add two classes with pictures, or load the ten-class latents.";
  const empty = classes.filter((one) => !one.pictures);
  if (empty.length) {
    const names = listOf(empty.map(({ name }) => name));
    return empty.length === 1
      ? `The class ${names} has no pictures. Add some, or remove the class.`
      : `The classes ${names} have no pictures. Add some, or remove the classes.`;
  }
  if (classes.length < 2) return `There is only one class, ${classes[0].name}. Add a second class with pictures.`;
  const waiting = classes.filter((one) => !one.embedded);
  if (waiting.length) {
    return `The pictures of ${listOf(waiting.map(({ name }) => name))} have no latents yet. Wait until the latents are computed, then train.`;
  }
  return null;
}

/** @param {State} state @returns {string} what training will use */
export function planText({ data: { classes, pictures: all, embedded }, settings }) {
  const share = settings?.validation ?? 0;
  // Same rule as in training: a share of each class, at least one picture, and at least one is left to train on.
  const held = share ? classes.reduce((sum, { embedded: all }) => sum + Math.max(0, Math.min(Math.max(Math.round(all * share), 1), all - 1)), 0) : 0;
  const heldText = held ? `; ${count(held)} of them ${held === 1 ? "is" : "are"} held out for validation` : "; none of them are held out for validation";
  const waiting = all - embedded;
  const left = waiting ? ` ${pictures(waiting)} ${waiting === 1 ? "has" : "have"} no latents yet and will be left out.` : "";
  return `${count(classes.length)} classes, ${pictures(embedded)}${heldText}.${left}`;
}

/** @param {Training} training @returns {string} epoch, speed and remaining time */
export function progressText(training) {
  const { epochs, limit, now, startedAt, worked, idle, pausedAt, stopping } = training;
  const done = epochs.length;
  const words = [done ? `Epoch ${count(done)} of ${count(limit)}` : "Preparing"];
  if (done) {
    const each = worked / 1000 / done;
    words.push(`${each < 1 ? each.toFixed(2) : each.toFixed(1)} s per epoch`);
    if (stopping) words.push("stopping");
    else if (pausedAt !== null) words.push("paused");
    else words.push(`at most ${duration(each * (limit - done))} left`);
  } else if (now - startedAt - idle > 1000) {
    words.push(duration((now - startedAt - idle) / 1000));
  }
  return words.join(" · ");
}

/** @param {TrainReport} report @returns {string} starts with "Validation accuracy" if it was measured */
export function resultText({ evaluation, epochs, bestEpoch, seconds, end }) {
  const took = `trained in ${duration(seconds)}, epoch ${count(bestEpoch)} of ${count(epochs.length)} kept`;
  const ended = end === "stopped" ? " Stopped manually." : "";
  if (!evaluation) return `Trained without held-out pictures, so the accuracy is unknown; ${took}.${ended}`;
  return `Validation accuracy ${accuracyText(evaluation)} on ${pictures(evaluation.total)}; ${took}.${ended}`;
}

/** @param {Evaluation} evaluation @returns {string} */
export function accuracyText({ accuracy, interval }) {
  return `${percent(accuracy)} (95 % interval ${percentNumber(interval[0])}–${percent(interval[1])})`;
}

/** @param {readonly EpochReport[]} epochs @returns {string} text alternative of the curves */
export function curvesText(epochs) {
  const first = epochs.at(0);
  const last = epochs.at(-1);
  const best = epochs.findLast((epoch) => epoch.best);
  if (!first || !last || !best) return "";
  const validation = best.validationLoss === null || best.validationAccuracy === null
    ? ""
    : ` At the best epoch, ${best.epoch}, the validation loss is ${best.validationLoss.toFixed(2)} and the validation accuracy ${percent(best.validationAccuracy)}.`;
  return `Over ${count(epochs.length)} ${epochs.length === 1 ? "epoch" : "epochs"} the training loss goes from ${first.loss.toFixed(2)} to ${last.loss.toFixed(2)}.${validation}`;
}

// ---- texts: evaluation ----

/** @param {State} state @returns {Evaluation | null} the selected evaluation */
export function shownEvaluation({ evaluations, source }) {
  return evaluations[source] ?? null;
}

/** @param {Evaluation} evaluation @returns {string} */
export function headlineText(evaluation) {
  const on = {
    validation: `on ${pictures(evaluation.total)} held out of training`,
    folds: `on ${pictures(evaluation.total)}, each evaluated by a head that was not trained on it (${numberWord(evaluation.folds)} folds)`,
    dataset: `on all ${pictures(evaluation.total)}; some may be training pictures, so the accuracy on new pictures may be lower`,
  }[evaluation.on];
  return `Accuracy ${accuracyText(evaluation)} ${on}.`;
}

/** @param {Evaluation} evaluation @returns {string} the most frequent confusions */
export function confusionsText({ classes, confusion, total, correct }) {
  const worst = confusion
    .flatMap((row, truth) => row.map((pictures, answered) => ({ truth, answered, pictures })))
    .filter(({ truth, answered, pictures }) => truth !== answered && pictures)
    .sort((a, b) => b.pictures - a.pictures)
    .slice(0, 3)
    .map(({ truth, answered, pictures }) => `${classes[truth].name} taken for ${classes[answered].name} (${count(pictures)})`);
  if (!worst.length) return total ? "No mistakes." : "";
  return total - correct === 1 ? `One mistake: ${worst[0].replace(/ \(1\)$/, "")}.` : `Most common mistakes: ${worst.join(", ")}.`;
}

/** @param {NonNullable<State["crossing"]>} crossing @returns {string} */
export function crossingText({ done, total, folds }) {
  return `Fold ${Math.min(folds, Math.floor((folds * done) / (total || 1)) + 1)} of ${folds}`;
}

/** @param {number} pictures @param {string} truth @param {string} answered @returns {string} accessible name of a confusion matrix cell */
export function cellText(pictures, truth, answered) {
  const many = pictures === 1 ? "1 picture" : `${count(pictures)} pictures`;
  return truth === answered ? `${many} of ${truth} answered correctly` : `${many} of ${truth} answered as ${answered}`;
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

/** @param {State} state @param {Evaluation} evaluation @returns {string | null} how many pictures were relabelled or removed since the evaluation */
export function staleText({ project }, { answers, classes }) {
  const names = new Map(project.classes.map(({ id, name }) => [id, name]));
  const labels = new Map(project.pictures.map(({ id, label }) => [id, names.get(label)]));
  let relabelled = 0;
  let removed = 0;
  for (const { id, label } of answers) {
    if (!labels.has(id)) removed += 1;
    else if (labels.get(id) !== classes[label].name) relabelled += 1;
  }
  const changes = [relabelled ? `${pictures(relabelled)} relabelled` : "", removed ? `${pictures(removed)} removed` : ""].filter(Boolean);
  return changes.length ? `Since this evaluation: ${changes.join(", ")}.` : null;
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

/** @param {Evaluation} evaluation @returns {string} */
export function calibrationText({ calibrationError, calibrationErrorBefore, temperature, bins }) {
  const error = `Expected calibration error ${percent(calibrationError)}`;
  const before = temperature === 1 ? "" : `; without the temperature of ${temperature.toFixed(2)} it would be ${percent(calibrationErrorBefore)}`;
  const fullest = bins.reduce((most, bin) => (bin.pictures > most.pictures ? bin : most));
  if (!fullest.pictures) return `${error}${before}.`;
  return `${error}${before}. Answers with a confidence of about ${rounded(fullest.confidence)} are right ${rounded(fullest.accuracy)} of the time.`;
}

/** @param {Evaluation} evaluation @param {number} below @returns {string} the effect of a threshold */
export function unsureText({ answers }, below) {
  if (!below) return "No answer is marked as unsure.";
  const sure = answers.filter(({ probability }) => probability >= below);
  const right = sure.filter(({ label, answered }) => label === answered).length;
  const share = rounded(1 - sure.length / Math.max(1, answers.length));
  const others = sure.length ? ` Of the others, ${rounded(right / sure.length)} are right.` : "";
  return `Answers below ${rounded(below)} are marked as unsure: ${share} of these pictures.${others}`;
}

/** @param {number} share @returns {string} whole percent */
export function rounded(share) {
  return `${Math.round(share * 100)} %`;
}

// ---- texts: settings and runs ----

/** @param {Settings} settings @param {Settings} defaults @returns {string[]} a short text for each setting that differs */
export function differences(settings, defaults) {
  /** @type {(keyof Settings)[]} */
  const keys = ["hidden", "dropout", "optimizer", "learningRate", "weightDecay", "batch", "epochs", "patience", "labelSmoothing", "classWeights", "validation", "seed"];
  return keys
    .filter((key) => settings[key] !== defaults[key] && !(key === "dropout" && !settings.hidden))
    .map((key) => settingText(key, settings));
}

/** @param {keyof Settings} key @param {Settings} settings @returns {string} */
export function settingText(key, settings) {
  switch (key) {
    case "hidden": return settings.hidden ? `hidden layer of ${count(settings.hidden)}` : "no hidden layer";
    case "dropout": return `dropout ${rounded(settings.dropout)}`;
    case "optimizer": return settings.optimizer === "adam" ? "Adam" : "AdamW";
    case "learningRate": return `learning rate ${settings.learningRate}`;
    case "weightDecay": return `weight decay ${settings.weightDecay}`;
    case "batch": return `batch of ${count(settings.batch)}`;
    case "epochs": return `${count(settings.epochs)} epochs at most`;
    case "patience": return settings.patience ? `patience ${count(settings.patience)}` : "no early stopping";
    case "labelSmoothing": return `label smoothing ${rounded(settings.labelSmoothing)}`;
    case "classWeights": return settings.classWeights === "balanced" ? "balanced class weights" : "no class weights";
    case "validation": return settings.validation ? `${rounded(settings.validation)} held out` : "none held out";
    case "seed": return `seed ${settings.seed}`;
    case "name": return settings.name;
  }
}

/** @param {Run} run @returns {number} pictures of all classes, held-out ones included */
export function picturesOf({ report }) {
  return report.classes.reduce((sum, one) => sum + one.pictures, 0);
}

/** @param {Run} a @param {Run} b @returns {string} which run is better, and whether the difference is significant */
export function comparisonText(a, b) {
  const [one, other] = [a.report.evaluation, b.report.evaluation];
  if (!one || !other) return "At least one run was trained without held-out pictures, so the runs cannot be compared.";
  const points = Math.abs(one.accuracy - other.accuracy) * 100;
  if (points < 0.05) return "Both have the same accuracy.";
  const [better, worse] = one.accuracy > other.accuracy ? [a.name, b.name] : [b.name, a.name];
  const overlap = one.interval[0] <= other.interval[1] && other.interval[0] <= one.interval[1];
  return `${better} is ${points.toFixed(1)} points more accurate than ${worse}. `
    + (overlap ? "The intervals overlap, so the difference may be chance." : "The intervals do not overlap, so the difference is unlikely to be chance.");
}

// ---- map ----

/**
 * Each class's centre on the map and the class whose centre is nearest.
 * @param {State} state @param {Atlas} atlas
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

/** @param {Picture} picture @returns {string} a fallback for rows of latents without a name */
export function nameOf({ id, name }) {
  return name || `picture ${id}`;
}
