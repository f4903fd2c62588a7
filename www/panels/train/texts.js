// @ts-check
/** Texts of the train panel, derived from its state: plans, progress, results. Pure functions. */
import { count, duration, listOf, numberWord, percent, percentNumber, pictures } from "../../ui/format.js";

/** @import { EpochReport, Evaluation, TrainReport } from "../../engine/types.js" */
/** @import { Picture } from "../../project/types.js" */
/** @import { Run } from "../../project/store-types.js" */
/** @import { Settings, State, Training } from "./state.js" */

// ---- training ----

/** @param {State} state @returns {string | null} why training cannot start and what to do; null if it can */
export function obstacle({ data: { classes }, building }) {
  if (building) return "The server is still building the code for training. Training can start in a few minutes.";
  if (!classes.length) return "There is nothing to train on yet. Add two classes with pictures, or load the ten-class latents.";
  const empty = classes.filter((one) => !one.pictures);
  if (empty.length) {
    const names = listOf(empty.map(({ name }) => name));
    return empty.length === 1
      ? `The class ${names} has no pictures. Add some, or delete the class.`
      : `The classes ${names} have no pictures. Add some, or delete the classes.`;
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
  const held = share ? classes.reduce((sum, { embedded: own }) => sum + Math.max(0, Math.min(Math.max(Math.round(own * share), 1), own - 1)), 0) : 0;
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

// ---- evaluation ----

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
    .flatMap((row, truth) => row.map((mistakes, answered) => ({ truth, answered, mistakes })))
    .filter(({ truth, answered, mistakes }) => truth !== answered && mistakes)
    .sort((a, b) => b.mistakes - a.mistakes)
    .slice(0, 3)
    .map(({ truth, answered, mistakes }) => `${classes[truth].name} classified as ${classes[answered].name} (${count(mistakes)})`);
  if (!worst.length) return total ? "No mistakes." : "";
  return total - correct === 1 ? `One mistake: ${worst[0].replace(/ \(1\)$/, "")}.` : `Most common mistakes: ${worst.join(", ")}.`;
}

/** @param {NonNullable<State["crossValidation"]>} crossValidation @returns {string} */
export function crossValidationText({ done, total, folds }) {
  return `Fold ${Math.min(folds, Math.floor((folds * done) / (total || 1)) + 1)} of ${folds}`;
}

/** @param {number} number @param {string} truth @param {string} answered @returns {string} accessible name of a confusion matrix cell */
export function cellText(number, truth, answered) {
  return `${pictures(number)} of ${truth} classified ${truth === answered ? "correctly" : `as ${answered}`}`;
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
  return `Answers with a probability below ${rounded(below)} are marked as unsure: ${share} of the evaluated pictures.${others}`;
}

/** @param {number} share @returns {string} whole percent */
export function rounded(share) {
  return `${Math.round(share * 100)} %`;
}

// ---- settings and runs ----

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

/** @param {Run} a @param {Run} b @returns {string} which run is better, and whether the difference is significant */
export function comparisonText(a, b) {
  const [one, other] = [a.report.evaluation, b.report.evaluation];
  if (!one || !other) return "At least one run was trained without held-out pictures, so the runs cannot be compared.";
  const points = Math.abs(one.accuracy - other.accuracy) * 100;
  if (points < 0.05) return "Both have the same accuracy.";
  const [better, worse] = one.accuracy > other.accuracy ? [a.name, b.name] : [b.name, a.name];
  const overlap = one.interval[0] <= other.interval[1] && other.interval[0] <= one.interval[1];
  return `${better} is ${points.toFixed(1)} percentage points more accurate than ${worse}. `
    + (overlap ? "The intervals overlap, so the difference may be due to chance." : "The intervals do not overlap, so the difference is unlikely to be due to chance.");
}

// ---- pictures ----

/** @param {Picture} picture @returns {string} a fallback for rows of latents without a name */
export function nameOf({ id, name }) {
  return name || `picture ${id}`;
}
