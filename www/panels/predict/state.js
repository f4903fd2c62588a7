// @ts-check
/**
 * State of the predict panel: engine phase, pictures, answers, batch progress; and the texts and files derived from it.
 * Pure: no DOM, engine or clock. Actions carry their times, in milliseconds.
 */
import { count, duration, percentNumber, numberWord, megabytes, pace, percent, pictures } from "../../ui/format.js";

/** @typedef {import("../../engine/types.js").Prediction} Prediction */
/** @typedef {import("../../engine/types.js").Answer} Answer */
/** @typedef {import("../../engine/types.js").LoadProgress} LoadProgress */
/** @typedef {Pick<import("../../engine/types.js").Engine, "device" | "deviceName" | "notice" | "fingerprint" | "classes" | "base" | "head" | "unsureBelow">} About */
/** @typedef {{ id: number, name: string, file: Blob }} Waiting */
/** @typedef {{ id: number, name: string, file: Blob, answer: Answer | null, error: string | null }} Row  Exactly one of `answer` and `error` is set. */
/** @typedef {{ done: number, total: number, broken: number, startedAt: number | null, now: number, end: "finished" | "cancelled" | null }} Batch */
/**
 * @typedef {{
 *   engine: { phase: "loading", progress: LoadProgress | null, stalled: boolean }
 *     | { phase: "ready", about: About }
 *     | { phase: "failed", message: string, kind: string },
 *   layout: "cards" | "grid",
 *   message: string | null,
 *   waiting: readonly Waiting[],
 *   rows: readonly Row[],
 *   batch: Batch | null,
 *   nextId: number,
 * }} State
 */
/**
 * @typedef {{ type: "loading", progress: LoadProgress | null }
 *   | { type: "stalled" }
 *   | { type: "ready", about: About }
 *   | { type: "failed", message: string, kind: string }
 *   | { type: "added", pictures: readonly { name: string, file: Blob }[], at: number }
 *   | { type: "started", at: number }
 *   | { type: "outcome", id: number, outcome: Answer | Error, at: number }
 *   | { type: "reanswered", predictions: ReadonlyMap<number, Prediction[]> }
 *   | { type: "cancelled", at: number }
 *   | { type: "removed", id: number }
 *   | { type: "cleared" }
 *   | { type: "layout", layout: "cards" | "grid" }
 *   | { type: "message", message: string | null }
 * } Action
 */

/** Maximum number of class names listed; above it, only the count is shown. */
const MAX_LISTED = 20;

/** @type {State} */
export const initialState = {
  engine: { phase: "loading", progress: null, stalled: false },
  layout: "cards",
  message: null,
  waiting: [],
  rows: [],
  batch: null,
  nextId: 1,
};

/**
 * Returns the state after an action. Does not modify `state`.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "loading":
      return { ...state, engine: { phase: "loading", progress: action.progress, stalled: false } };
    case "stalled":
      return state.engine.phase === "loading" ? { ...state, engine: { ...state.engine, stalled: true } } : state;
    case "ready":
      return { ...state, engine: { phase: "ready", about: action.about } };
    case "failed":
      return { ...state, engine: { phase: "failed", message: action.message, kind: action.kind } };
    case "added":
      return added(state, action.pictures, action.at);
    case "started":
      return state.batch
        ? { ...state, batch: { ...state.batch, startedAt: state.batch.startedAt ?? action.at, now: action.at } }
        : state;
    case "outcome":
      return answered(state, action);
    case "reanswered":
      return { ...state, rows: state.rows.map((row) => reanswered(row, action.predictions.get(row.id))) };
    case "cancelled":
      return isBusy(state) && state.batch
        ? { ...state, waiting: [], batch: { ...state.batch, now: action.at, end: "cancelled" } }
        : state;
    case "removed":
      return { ...state, rows: state.rows.filter((row) => row.id !== action.id) };
    case "cleared":
      return { ...state, rows: [], waiting: [], batch: null, message: null };
    case "layout":
      return { ...state, layout: action.layout };
    case "message":
      return { ...state, message: action.message };
  }
}

/** @param {State} state @param {readonly { name: string, file: Blob }[]} pictures @param {number} at @returns {State} */
function added(state, pictures, at) {
  const waiting = pictures.map((picture, index) => ({ ...picture, id: state.nextId + index }));
  const batch = isBusy(state) && state.batch
    ? { ...state.batch, total: state.batch.total + waiting.length }
    : { done: 0, total: waiting.length, broken: 0, startedAt: null, now: at, end: null };
  return {
    ...state,
    message: null,
    waiting: [...state.waiting, ...waiting],
    batch: waiting.length ? batch : state.batch,
    nextId: state.nextId + waiting.length,
  };
}

/** @param {State} state @param {{ id: number, outcome: Answer | Error, at: number }} action @returns {State} */
function answered(state, { id, outcome, at }) {
  const picture = state.waiting.find((candidate) => candidate.id === id);
  if (!picture || !state.batch) return state; // arrived after Cancel or Clear
  const waiting = state.waiting.filter((candidate) => candidate !== picture);
  const broken = outcome instanceof Error;
  const row = broken
    ? { ...picture, answer: null, error: outcome.message }
    : { ...picture, answer: outcome, error: null };
  return {
    ...state,
    waiting,
    rows: [...state.rows, row],
    batch: {
      ...state.batch,
      done: state.batch.done + 1,
      broken: state.batch.broken + (broken ? 1 : 0),
      now: at,
      end: waiting.length ? null : "finished",
    },
  };
}

/** @param {Row} row @param {Prediction[] | undefined} predictions @returns {Row} */
function reanswered(row, predictions) {
  return row.answer && predictions ? { ...row, answer: { ...row.answer, predictions } } : row;
}

/** @param {State} state @returns {boolean} whether pictures wait for an answer */
export function isBusy(state) {
  return state.waiting.length > 0;
}

// ---- texts ----

/** @param {State} state @returns {string} the status line */
export function statusText({ engine }) {
  if (engine.phase === "failed") return "The network could not be loaded";
  if (engine.phase === "loading") return engine.progress ? loadingText(engine.progress) : "Starting";
  const { deviceName, base, head } = engine.about;
  return `Ready · ${deviceName} · base ${base.name} · head: ${headText(engine.about.classes.length, head)}`;
}

/** @param {LoadProgress} progress @returns {string} */
function loadingText({ stage, done, total }) {
  const bytes = total ? `: ${megabytes(done)} of ${megabytes(total)} MB` : done ? `: ${megabytes(done)} MB` : "";
  const steps = total > 1 ? `: step ${Math.min(done + 1, total)} of ${total}` : "";
  switch (stage) {
    case "runtime": return `Downloading the runtime${bytes}`;
    case "kernels": return `Preparing the GPU${steps}`;
    case "weights": return `Downloading the network${bytes}`;
    case "prepare": return `Preparing the network${steps}`;
    case "check": return `Checking the network${steps}`;
  }
}

/** @param {number} classes @param {About["head"]} head @returns {string} */
function headText(classes, { accuracy, interval, testPictures }) {
  if (!classes) return "none yet";
  if (accuracy === null) return `${numberWord(classes)} classes`;
  const on = testPictures === null ? "held-out pictures" : `${count(testPictures)} held-out pictures`;
  const sure = interval ? ` (95 % interval ${percentNumber(interval[0])}–${percent(interval[1])})` : "";
  return `${numberWord(classes)} classes, ${percent(accuracy)} right on ${on}${sure}`;
}

/** @param {State} state @returns {string} progress of the batch: count, speed, time left */
export function batchText({ batch, engine, waiting }) {
  if (!batch) return "";
  const { done, total, broken, startedAt, now, end } = batch;
  const seconds = startedAt === null ? 0 : (now - startedAt) / 1000;
  const unread = broken ? ` · ${broken} could not be read` : "";
  if (end === "cancelled") return `Stopped: ${count(done)} of ${pictures(total)} answered${unread}`;
  if (end === "finished") return `${pictures(total)} in ${duration(seconds)}${unread}`;
  if (engine.phase !== "ready") return `${pictures(waiting.length)} waiting for the network`;
  return `${pace(batch, seconds)}${done && seconds ? unread : ""}`;
}

/** Whether the best class is below the unsure threshold. @param {Prediction} best @param {State["engine"]} engine @returns {boolean} */
export function isUnsure(best, engine) {
  return engine.phase === "ready" && best.probability < engine.about.unsureBelow;
}

/** @param {State} state @returns {string} text for screen readers, less detailed than the visible text */
export function announcement(state) {
  const { engine, batch, message, rows } = state;
  if (message) return ""; // shown as an alert, which screen readers announce
  const best = rows.at(-1)?.answer?.predictions[0];
  if (best && batch?.total === 1 && batch.end) {
    const verb = isUnsure(best, engine) ? "is unsure, perhaps" : "looks like";
    return `${rows.at(-1)?.name} ${verb} ${best.label}, ${percentNumber(best.probability)} percent sure`;
  }
  if (batch?.end) return `${batch.end === "finished" ? "Done" : "Cancelled"}: ${tally(batch)}`;
  if (batch && engine.phase === "ready") return `So far ${tally(batch)}`;
  if (engine.phase === "ready") return `The network is ready on the ${engine.about.device === "webgpu" ? "GPU" : "CPU"}`;
  if (engine.phase === "failed") return "";
  const { progress } = engine;
  if (progress?.stage === "weights" && progress.total) {
    return `Downloading the network, ${Math.round((100 * progress.done) / progress.total)} percent`;
  }
  return progress?.stage === "prepare" || progress?.stage === "check" ? "Almost ready" : "";
}

/** @param {Batch} batch @returns {string} */
function tally({ done, total, broken }) {
  return `${count(done)} of ${pictures(total)}${broken ? `, ${count(broken)} could not be read` : ""}`;
}

/** ImageNet labels list several names, separated by commas. @param {string} label */
function firstName(label) {
  return label.split(",")[0];
}

/** @param {About} about @returns {string} the limits of the head */
export function caveatText({ classes }) {
  if (!classes.length) return "This base has no classes. Add some under Teach and train a head.";
  if (classes.length > MAX_LISTED) {
    return `The network knows only ${count(classes.length)} classes, such as ${classes.slice(0, 3).map(firstName).join(", ")}. `
      + "It assigns every picture to one of them, even if none fits and whatever the percentage says.";
  }
  return `The network knows only ${numberWord(classes.length)} classes: ${classes.join(", ")}. `
    + "It assigns every picture to one of them, even if none fits and whatever the percentage says.";
}

/** @param {About} about @returns {[string, string][]} rows of the Details section */
export function facts({ base, head, fingerprint, deviceName, classes }) {
  /** @type {[string, string][]} */
  const list = [
    ["Runs on", deviceName],
    ["Base", base.name],
    ["Source", base.source],
    ["Licence", base.licence],
    ["Weights", `${base.dtype}, ${megabytes(base.bytes)} MB, ${base.cached ? "loaded from the browser's cache" : "downloaded on this visit"}`],
    ["Fingerprint", fingerprint],
    ["Head", head.name || "none yet"],
    ["Classes", classes.length > MAX_LISTED ? `${count(classes.length)}: ${classes.slice(0, MAX_LISTED).map(firstName).join(", ")}, …` : classes.join(", ") || "none yet"],
  ];
  if (head.pictures) list.push(["Head trained on", pictures(head.pictures)]);
  list.push(["Head measured", headText(classes.length, head)]);
  return list;
}

// ---- files ----

/**
 * CSV by RFC 4180. Prefixes cells that a spreadsheet would run as a formula with an apostrophe.
 * @param {readonly Row[]} rows @returns {string}
 */
export function toCsv(rows) {
  const ranks = rows.reduce((most, { answer }) => Math.max(most, answer?.predictions.length ?? 0), 1);
  const header = ["file", ...ranked(ranks, (rank) => rank === 1 ? ["label", "probability"] : [`label_${rank}`, `probability_${rank}`]), "milliseconds", "error"];
  const lines = rows.map(({ name, answer, error }) => [
    text(name),
    ...ranked(ranks, (rank) => {
      const prediction = answer?.predictions[rank - 1];
      return prediction ? [text(prediction.label), prediction.probability.toFixed(6)] : ["", ""];
    }),
    answer ? answer.milliseconds.toFixed(1) : "",
    text(error ?? ""),
  ]);
  return [header, ...lines].map((line) => `${line.join(",")}\r\n`).join("");
}

/** @param {number} ranks @param {(rank: number) => string[]} cells @returns {string[]} */
function ranked(ranks, cells) {
  return Array.from({ length: ranks }, (_, index) => cells(index + 1)).flat();
}

/** @param {string} value @returns {string} */
function text(value) {
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {readonly Row[]} rows @param {About | null} about @returns {string} */
export function toJson(rows, about) {
  const network = about && {
    base: about.base.name, dtype: about.base.dtype, fingerprint: about.fingerprint,
    head: about.head.name, classes: about.classes, device: about.deviceName,
  };
  const answers = rows.map(({ name, answer, error }) => answer
    ? { file: name, predictions: answer.predictions, milliseconds: answer.milliseconds, width: answer.width, height: answer.height }
    : { file: name, error });
  return `${JSON.stringify({ network, pictures: answers }, null, 2)}\n`;
}
