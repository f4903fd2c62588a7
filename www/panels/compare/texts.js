// @ts-check
/** Texts of the compare panel, derived from its state: plans, progress, results. Pure functions. */
import { count, duration, listOf, numberWord, percent, pictures, sentence } from "../../ui/format.js";
import { MODEL_NAMES, SEEDS, filters, sizesWanted } from "./state.js";

/** @import { Comparison, LearningCurve, ModelResult } from "../../engine/types.js" */
/** @import { CurveJob, Pace, State } from "./state.js" */

/** An error message without its machine-readable prefix. @param {unknown} cause @returns {string} */
export function userMessage(cause) {
  const message = cause instanceof Error ? cause.message : String(cause);
  return sentence(message.replace(/^(train|pictures): /, ""));
}

/** Remaining time, rounded. @param {number} seconds @returns {string} */
function about(seconds) {
  if (seconds < 60) return `about ${Math.max(1, Math.ceil(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `about ${minutes} min` : `about ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {State} state @returns {string} */
export function setText({ set, setName }) {
  if (!set) return "";
  const [training, test] = [set.training, set.test].map((counts) => counts.reduce((a, b) => a + b, 0));
  const tests = test ? `, ${count(test)} to test on` : "; some of them will be held out to test on";
  return `${setName}: ${pictures(training)} of ${set.classes.length === 1 ? "one class" : `${numberWord(set.classes.length)} classes`} to train on${tests}.`;
}

/** @param {State} state @returns {string} */
export function planText({ set, plan, obstacle, ready }) {
  if (!set) return "Choose pictures first (above).";
  if (!ready) return "The network is still loading.";
  if (obstacle) return obstacle;
  if (!plan) return "";
  const { training, test, testFrom, kept, toRead, millisecondsAPicture } = plan;
  const sentences = [`${pictures(training)} to train on, ${count(test)} to test on${testFrom === "held out" ? ", held out of the set" : ""}.`];
  if (toRead) sentences.push(latentsText(toRead === training + test ? "all pictures" : pictures(toRead), toRead, millisecondsAPicture));
  else if (kept) sentences.push("The latents of all pictures are cached.");
  return sentences.join(" ");
}

/** @param {string} which @param {number} toRead @param {number | null} milliseconds per picture, null if unknown @returns {string} */
function latentsText(which, toRead, milliseconds) {
  const time = milliseconds === null ? "" : ` (${about((toRead * milliseconds) / 1000)})`;
  return `The latents of ${which} have to be computed first${time} and are then cached.`;
}

/** @param {State} state @returns {string} */
export function compareText({ comparing, epochs }) {
  const { progress = null, pace = null } = comparing ?? {};
  if (!progress || !pace) return "Preparing";
  const { stage, way: kind } = progress;
  if (stage === "read") return `Computing latents · ${paceText(pace)}`;
  if (stage === "test") return `Testing ${MODEL_NAMES[kind]} · ${paceText(pace)}`;
  const reports = epochs[kind] ?? [];
  const last = reports.at(-1);
  const epoch = last ? ` · epoch ${Math.min(reports.length + 1, last.epochs)} of ${last.epochs}` : "";
  return `Training ${MODEL_NAMES[kind]}${epoch} · ${paceText(pace)}`;
}

/** @param {CurveJob} curveJob @returns {string} */
export function curveProgressText(curveJob) {
  const { progress, pace } = curveJob;
  if (!progress || !pace) return "Preparing";
  const { stage, way: kind, run, runs, perClass } = progress;
  if (stage === "read") return `Computing latents · ${paceText(pace)}`;
  const left = secondsLeft(curveJob);
  return [`Run ${run} of ${runs}`, `${MODEL_NAMES[kind]} with ${pictures(perClass)} per class`, ...(left === null ? [] : [`${about(left)} left`])].join(" · ");
}

/** Estimate from each model's last run; null until every model has run once. @param {CurveJob} curveJob @returns {number | null} */
function secondsLeft({ progress, pace, sizes, models, speeds }) {
  if (!progress || !pace || models.some((kind) => speeds[kind] === undefined)) return null;
  let left = 0;
  const seeds = progress.runs / (models.length * sizes.length);
  for (let run = progress.run; run <= progress.runs; run++) {
    const time = sizes[Math.floor((run - 1) / (models.length * seeds))] * (speeds[models[(run - 1) % models.length]] ?? 0);
    left += run === progress.run ? Math.max(0, time - (pace.now - pace.since)) : time;
  }
  return left / 1000;
}

/** @param {Pace} pace @returns {string} */
function paceText({ done, total, since, now }) {
  const progress = `${count(done)} of ${count(total)}`;
  const seconds = (now - since) / 1000;
  return done && done < total && seconds > 1 ? `${progress} · ${about((total - done) * (seconds / done))} left` : progress;
}

/** `46.4 % (43.3–49.5)`. @param {{ accuracy: number, interval: readonly [number, number] }} score */
export function scoreText({ accuracy, interval: [low, high] }) {
  return `${percent(accuracy)} (${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)})`;
}

/** @param {ModelResult} result @returns {string} */
export function extractionText({ extraction }) {
  if (!extraction) return "–";
  const { pictures: computed, kept, seconds } = extraction;
  const cached = kept ? `${count(kept)} cached` : "";
  return [computed ? `${duration(seconds)} for ${pictures(computed)}` : "", cached].filter(Boolean).join(", ");
}

/** Formats with two decimals below 10, one below 100, and none otherwise. @param {number} time @returns {string} */
export function short(time) {
  return time < 10 ? time.toFixed(2) : time < 100 ? time.toFixed(1) : count(Math.round(time));
}

/** Which model has the highest test accuracy, and whether the intervals overlap. @param {readonly ModelResult[]} results @returns {string} */
export function outcomeText(results) {
  if (results.length < 2) return "";
  const most = Math.max(...results.map(({ test }) => test.correct));
  const best = results.filter(({ test }) => test.correct === most);
  const others = results.filter(({ test }) => test.correct !== most);
  const { test } = best[0];
  const near = others.filter((other) => other.test.interval[1] >= test.interval[0]);
  const score = `${percent(test.accuracy)} of ${pictures(test.total)}`;
  const claim = best.length > 1 ? `have the same ${others.length ? "highest " : ""}accuracy` : "has the highest accuracy";
  const lead = `${listOf(best.map(({ name }) => name))} ${claim}: ${score}.`;
  if (!near.length) return best.length > 1 ? lead : `${lead} Its interval lies above ${others.length > 1 ? "those of the others" : "that of the other"}.`;
  return `${lead} The intervals of ${listOf([...best, ...near].map(({ name }) => name))} overlap: ${count(test.total)} test pictures are too few to tell them apart.`;
}

/** @param {readonly ModelResult[]} results @returns {string} */
export function overfittingText(results) {
  const overfitted = results.filter(({ training, test }) => training.accuracy - test.accuracy > 0.25);
  if (!overfitted.length) return "";
  return `${listOf(overfitted.map(({ name }) => name))} ${overfitted.length > 1 ? "are" : "is"} far more accurate on training pictures than on test pictures: overfitting.`;
}

// ---- test pictures ----

/** How often pairs of models give the same answer. @param {Comparison} comparison @returns {string} */
export function agreementText({ models, split }) {
  if (models.length < 2) return "";
  const total = split.testLabels.length;
  const pairs = models.flatMap((a, first) => models.slice(first + 1).map((b) => {
    const same = a.answers.filter((answer, at) => answer === b.answers[at]).length;
    return `${a.name} and ${b.name} ${percent(same / total)}`;
  }));
  return `Share of pictures with the same answer: ${listOf(pairs)}.`;
}

/** How many pictures only one model classifies correctly. @param {Comparison} comparison @returns {string} */
export function aloneText(comparison) {
  const { models } = comparison;
  if (models.length < 2) return "";
  const only = new Map(filters(comparison).map(({ value, chosen }) => [value, chosen.length]));
  return `Pictures that only one model classified correctly: ${listOf(models.map(({ way: kind, name }) => `${name} ${count(only.get(kind) ?? 0)}`))}.`;
}

// ---- learning curve ----

/** @param {State} state @returns {string} */
export function curveText(state) {
  const { set, choice, curvePlan, obstacle } = state;
  if (!set) return "";
  if (obstacle) return obstacle;
  const sizes = sizesWanted(state);
  const runs = sizes.length * SEEDS * choice.models.length;
  const sentences = [`Trains each model with ${listOf(sizes.map(count))} pictures per class, each ${SEEDS} times with different pictures and initial weights: ${count(runs)} runs.`];
  if (curvePlan?.toRead) {
    const { toRead, millisecondsAPicture } = curvePlan;
    sentences.push(latentsText(pictures(toRead), toRead, millisecondsAPicture));
  }
  return [...sentences, "Cancelling keeps the points that are done."].join(" ");
}

/** @param {LearningCurve["points"]} points @returns {string} */
export function curveOutcome(points) {
  const sizes = [...new Set(points.map(({ perClass }) => perClass))];
  if (new Set(points.map(({ way: kind }) => kind)).size < 2) return "";
  const bests = sizes.map((size) => {
    const own = points.filter(({ perClass }) => perClass === size);
    const most = Math.max(...own.map(({ mean }) => mean));
    return { size, names: listOf(own.filter(({ mean }) => mean === most).map(({ name }) => name)) };
  });
  // Merge neighbouring sizes with the same best model.
  const runs = bests.filter(({ names }, at) => names !== bests[at - 1]?.names).map(({ size, names }, at, starts) => {
    const next = starts[at + 1]?.size;
    const last = bests.findLast((one) => next === undefined || one.size < next)?.size ?? size;
    return `${names} with ${size === last ? count(size) : `${count(size)} to ${count(last)}`}`;
  });
  return `Highest mean accuracy: ${listOf(runs)} pictures per class.`;
}
