// @ts-check
/**
 * What the three ways know: the set, what is to be compared, the comparison or learning curve under way, and what came of it; and its words.
 * No DOM, no engine and no clock: times come in with the actions, in milliseconds.
 */
import { count, duration, numberWord, listOf, percent, pictures, sentence } from "../../ui/format.js";

/** @import { ComparePlan, CompareProgress, Comparison, CurveProgress, EpochReport, LearningCurve, PictureSet, ModelKind, ModelResult } from "../../engine/types.js" */

/** @typedef {{ perClass: number, testPerClass: number, ways: readonly ModelKind[], seed: number, epochs: number | null }} Choice */
/** @typedef {{ done: number, total: number, key: string, since: number, now: number }} Pace  Since when the same kind of work goes on. */
/** @typedef {Pick<ModelResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">} Architecture */
/** @typedef {{ done: number, total: number, words: string }} Opening  `total` 0: nobody knows how long. */
/** @typedef {Pick<State, "epochs" | "results" | "comparison" | "shown" | "filter">} Outcome */
/**
 * @typedef {{
 *   progress: CurveProgress | null, pace: Pace | null, sizes: readonly number[], ways: readonly ModelKind[],
 *   speeds: Readonly<Partial<Record<ModelKind, number>>>, before: Pick<State, "points" | "curve">,
 * }} Curving  `speeds` are milliseconds that a model's last training took for each picture a class.
 */
/**
 * @typedef {{
 *   ready: boolean,
 *   set: PictureSet | null,
 *   setName: string,
 *   opening: Opening | null,
 *   taught: number,
 *   choice: Choice,
 *   largest: number | null,
 *   plan: ComparePlan | null,
 *   curvePlan: ComparePlan | null,
 *   trouble: string | null,
 *   architectures: readonly Architecture[],
 *   comparing: { progress: CompareProgress | null, pace: Pace | null, before: Outcome } | null,
 *   epochs: Readonly<Partial<Record<ModelKind, readonly EpochReport[]>>>,
 *   results: readonly ModelResult[],
 *   comparison: Comparison | null,
 *   filter: string,
 *   shown: readonly { at: number, pixels: Uint8ClampedArray<ArrayBuffer> }[],
 *   curving: Curving | null,
 *   points: LearningCurve["points"],
 *   curve: LearningCurve | null,
 * }} State
 *   `taught` counts the pictures under Teach that have files; `trouble` says why nothing can be compared; `shown` are test pictures by
 *   their place in the comparison; `largest` is the learning curve's last size, null as long as nobody chose
 *   it, and `curvePlan` what the curve would have to do.
 */
/**
 * @typedef {{ type: "ready" }
 *   | { type: "taught", pictures: number }
 *   | { type: "opening", progress: Opening | null }
 *   | { type: "opened", set: PictureSet, name: string, architectures: readonly Architecture[] }
 *   | { type: "choice", patch: Partial<Choice> }
 *   | { type: "planned", plan: ComparePlan | null, curvePlan: ComparePlan | null, trouble: string | null }
 *   | { type: "largest", size: number }
 *   | { type: "comparing" }
 *   | { type: "compare progress", progress: CompareProgress, at: number }
 *   | { type: "result", result: ModelResult }
 *   | { type: "compared", comparison: Comparison | null }
 *   | { type: "filter", filter: string }
 *   | { type: "shown", pictures: State["shown"] }
 *   | { type: "curving", sizes: readonly number[], ways: readonly ModelKind[] }
 *   | { type: "curve progress", progress: CurveProgress, at: number }
 *   | { type: "curved", curve: LearningCurve | null }
 * } Action
 */

/** @type {readonly ModelKind[]} */
export const WAYS = ["mlp", "cnn", "transfer"];
/** @type {Readonly<Record<ModelKind, ModelResult["name"]>>} */
export const NAMES = { mlp: "MLP", cnn: "CNN", transfer: "Inception transfer" };
/** What a person starts with: enough to see something, little enough to wait for. */
const AT_FIRST = { perClass: 30, testPerClass: 20 };
/** Sizes of the learning curve, as far as the set goes. */
const SIZES = [10, 30, 100, 300, 1000, 3000];
const FEWER_SIZES = [2, 5];
/** Trainings for each point of the curve. */
export const SEEDS = 3;

/** @type {State} */
export const initialState = {
  ready: false,
  set: null,
  setName: "",
  opening: null,
  taught: 0,
  choice: { perClass: AT_FIRST.perClass, testPerClass: AT_FIRST.testPerClass, ways: WAYS, seed: 0, epochs: null },
  largest: null,
  plan: null,
  curvePlan: null,
  trouble: null,
  architectures: [],
  comparing: null,
  epochs: {},
  results: [],
  comparison: null,
  filter: "all",
  shown: [],
  curving: null,
  points: [],
  curve: null,
};

/**
 * The state after an action; the one before is left whole.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "ready":
      return { ...state, ready: true };
    case "taught":
      return { ...state, taught: action.pictures };
    case "opening":
      return { ...state, opening: action.progress };
    case "opened": {
      const { set, name, architectures } = action;
      return {
        ...initialState, ready: true, taught: state.taught, set, setName: name, architectures,
        choice: {
          ...state.choice,
          perClass: Math.min(AT_FIRST.perClass, most(set).perClass),
          testPerClass: Math.min(AT_FIRST.testPerClass, most(set).testPerClass),
        },
      };
    }
    case "choice":
      return { ...state, choice: { ...state.choice, ...action.patch } };
    case "planned":
      return { ...state, plan: action.plan, curvePlan: action.curvePlan, trouble: action.trouble };
    case "largest":
      return { ...state, largest: action.size };
    case "comparing": {
      const { epochs, results, comparison, shown, filter } = state;
      const before = { epochs, results, comparison, shown, filter };
      return { ...state, comparing: { progress: null, pace: null, before }, epochs: {}, results: [], comparison: null, shown: [], filter: "all" };
    }
    case "compare progress": {
      const { progress, at } = action;
      const { way, epoch } = progress;
      const epochs = epoch ? { ...state.epochs, [way]: [...(state.epochs[way] ?? []), epoch] } : state.epochs;
      if (!state.comparing) return state;
      return { ...state, epochs, comparing: { ...state.comparing, progress, pace: paceOf(state.comparing.pace, progress, `${progress.stage} ${way}`, at) } };
    }
    case "result":
      return { ...state, results: [...state.results, action.result] };
    case "compared":
      return compared(state, action.comparison);
    case "filter":
      return { ...state, filter: action.filter, shown: [] };
    case "shown":
      return { ...state, shown: action.pictures };
    case "curving": {
      const { points, curve } = state;
      const { sizes, ways } = action;
      return { ...state, curving: { progress: null, pace: null, sizes, ways, speeds: {}, before: { points, curve } }, points: [], curve: null };
    }
    case "curve progress":
      return state.curving ? { ...state, points: action.progress.points, curving: curvingOn(state.curving, action.progress, action.at) } : state;
    case "curved": {
      const { curve } = action;
      if (curve) return { ...state, curving: null, curve, points: curve.points };
      return { ...state, curving: null, ...(state.points.length ? {} : state.curving?.before) };
    }
  }
}

/** A comparison that was cancelled gives way to the whole one before it; without one, the models that were done stay. @param {State} state @param {Comparison | null} comparison @returns {State} */
function compared(state, comparison) {
  const { comparing, results, epochs } = state;
  if (comparison) return { ...state, comparing: null, comparison };
  if (comparing?.before.comparison || !results.length) return { ...state, ...comparing?.before, comparing: null };
  return { ...state, comparing: null, epochs: Object.fromEntries(results.map(({ way }) => [way, epochs[way]])) };
}

/** @param {Curving} curving @param {CurveProgress} progress @param {number} at @returns {Curving} */
function curvingOn(curving, progress, at) {
  const { progress: last, pace: lastPace } = curving;
  // A run's stages are one piece of work.
  const pace = paceOf(lastPace, progress, progress.stage === "read" ? "read" : `run ${progress.run}`, at);
  const ended = last && lastPace && last.run > 0 && progress.run > last.run;
  const speeds = ended ? { ...curving.speeds, [last.way]: (at - lastPace.since) / last.perClass } : curving.speeds;
  return { ...curving, progress, pace, speeds };
}

/** @param {Pace | null} pace @param {{ done: number, total: number }} progress @param {string} key @param {number} at @returns {Pace} */
function paceOf(pace, { done, total }, key, at) {
  return { done, total, key, since: pace?.key === key ? pace.since : at, now: at };
}

/** The largest numbers of pictures a class that all classes with pictures have. @param {PictureSet} set */
export function most({ training, test }) {
  const held = Math.max(1, Math.floor(Math.min(...training) / 5));
  const own = test.some((pictures) => pictures > 0);
  const perClass = Math.min(...training) - (own ? 0 : held);
  return { perClass: Math.max(1, perClass), testPerClass: Math.max(1, own ? Math.min(...test.filter((pictures) => pictures > 0)) : held) };
}

/** All sizes of the learning curve that the set has. @param {PictureSet} set @returns {number[]} */
export function sizesOf(set) {
  const { perClass } = most(set);
  const sizes = SIZES.filter((size) => size <= perClass);
  if (sizes.length > 1) return sizes;
  const few = [...FEWER_SIZES, ...sizes].filter((size) => size < perClass);
  return [...few, perClass].sort((a, b) => a - b);
}

/** Those of them that are wanted. @param {State} state @returns {number[]} */
export function sizesWanted({ set, largest }) {
  return set ? sizesOf(set).filter((size) => size <= (largest ?? AT_FIRST.perClass)) : [];
}

/** @param {State} state @returns {boolean} whether something long is under way */
export function busy({ opening, comparing, curving }) {
  return opening !== null || comparing !== null || curving !== null;
}

// ---- words ----

/** A sentence about pictures without the word that tells programs what it is about. @param {unknown} cause @returns {string} */
export function plain(cause) {
  const message = cause instanceof Error ? cause.message : String(cause);
  return sentence(message.replace(/^(train|pictures): /, ""));
}

/** How long still, no finer than anybody can know. @param {number} seconds @returns {string} */
export function about(seconds) {
  if (seconds < 60) return `about ${Math.max(1, Math.ceil(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `about ${minutes} min` : `about ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {State} state @returns {string} */
export function setText({ set, setName }) {
  if (!set) return "";
  const [training, test] = [set.training, set.test].map((counts) => counts.reduce((a, b) => a + b, 0));
  const tests = test ? `, ${count(test)} to test on` : "; test pictures will be held out of them";
  return `${setName}: ${pictures(training)} of ${set.classes.length === 1 ? "one class" : `${numberWord(set.classes.length)} classes`} to train on${tests}.`;
}

/** @param {State} state @returns {string} */
export function planText({ set, plan, trouble, ready }) {
  if (!set) return "Bring pictures first, above.";
  if (!ready) return "The network is still loading.";
  if (trouble) return trouble;
  if (!plan) return "";
  const { training, test, testFrom, kept, toRead, millisecondsAPicture } = plan;
  const words = [`${pictures(training)} to train on, ${count(test)} to test on${testFrom === "held out" ? ", held out of the set" : ""}.`];
  if (toRead) {
    const which = toRead === training + test ? "them" : `${count(toRead)} of them`;
    words.push(`Inception has to read ${which} first${readingTime(toRead, millisecondsAPicture)}; what it has read is kept.`);
  } else if (kept) {
    words.push("Inception has read all of them already.");
  }
  return words.join(" ");
}

/** @param {number} toRead @param {number | null} milliseconds a picture */
function readingTime(toRead, milliseconds) {
  return milliseconds === null ? "" : `: ${about((toRead * milliseconds) / 1000)} here`;
}

const READS = "Inception reads the pictures";

/** @param {State} state @returns {string} */
export function compareText({ comparing, epochs }) {
  const { progress = null, pace = null } = comparing ?? {};
  if (!progress || !pace) return "Getting ready";
  const { stage, way } = progress;
  if (stage === "read") return `${READS} · ${paceText(pace)}`;
  if (stage === "test") return `${NAMES[way]} is tested · ${paceText(pace)}`;
  const reports = epochs[way] ?? [];
  const last = reports.at(-1);
  const epoch = last ? ` · epoch ${Math.min(reports.length + 1, last.epochs)} of ${last.epochs}` : "";
  return `${NAMES[way]} is trained${epoch} · ${paceText(pace)}`;
}

/** @param {Curving} curving @returns {string} */
export function curvingText(curving) {
  const { progress, pace } = curving;
  if (!progress || !pace) return "Getting ready";
  const { stage, way, run, runs, perClass } = progress;
  if (stage === "read") return `${READS} · ${paceText(pace)}`;
  const left = secondsLeft(curving);
  return [`Training ${run} of ${runs}`, `${NAMES[way]} with ${pictures(perClass)} a class`, ...(left === null ? [] : [`${about(left)} left`])].join(" · ");
}

/** By what each model's last training took; null as long as one has not been trained. @param {Curving} curving @returns {number | null} */
function secondsLeft({ progress, pace, sizes, ways, speeds }) {
  if (!progress || !pace || ways.some((way) => speeds[way] === undefined)) return null;
  let left = 0;
  const seeds = progress.runs / (ways.length * sizes.length);
  for (let run = progress.run; run <= progress.runs; run++) {
    const time = sizes[Math.floor((run - 1) / (ways.length * seeds))] * (speeds[ways[(run - 1) % ways.length]] ?? 0);
    left += run === progress.run ? Math.max(0, time - (pace.now - pace.since)) : time;
  }
  return left / 1000;
}

/** @param {Pace} pace @returns {string} */
function paceText({ done, total, since, now }) {
  const words = `${count(done)} of ${count(total)}`;
  const seconds = (now - since) / 1000;
  return done && done < total && seconds > 1 ? `${words} · ${about((total - done) * (seconds / done))} left` : words;
}

/** `46.4 % (43.3–49.5)`. @param {{ accuracy: number, interval: readonly [number, number] }} score */
export function scoreText({ accuracy, interval: [low, high] }) {
  return `${percent(accuracy)} (${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)})`;
}

/** @param {ModelResult} result @returns {string} */
export function extractionText({ extraction }) {
  if (!extraction) return "–";
  const { pictures: read, kept, seconds } = extraction;
  const before = kept ? `${count(kept)} kept from before` : "";
  return [read ? `${duration(seconds)} for ${pictures(read)}` : "", before].filter(Boolean).join(", ");
}

/** Three digits or all whole ones. @param {number} time @returns {string} */
export function short(time) {
  return time < 10 ? time.toFixed(2) : time < 100 ? time.toFixed(1) : count(Math.round(time));
}

/** What the figures say, and what they do not. @param {readonly ModelResult[]} results @returns {string} */
export function outcomeText(results) {
  if (results.length < 2) return "";
  const most = Math.max(...results.map(({ test }) => test.correct));
  const best = results.filter(({ test }) => test.correct === most);
  const others = results.filter(({ test }) => test.correct !== most);
  const { test } = best[0];
  const near = others.filter((other) => other.test.interval[1] >= test.interval[0]);
  const score = `${percent(test.accuracy)} of ${pictures(test.total)}`;
  const alike = best.length > 1 ? "are right equally often" : "is right most often";
  const lead = `${listOf(best.map(({ name }) => name))} ${alike}${others.length && best.length > 1 ? ", and most often" : ""}: ${score}.`;
  if (!near.length) return best.length > 1 ? lead : `${lead} Its interval lies above ${others.length > 1 ? "the others" : "the other's"}.`;
  return `${lead} The intervals of ${listOf([...best, ...near].map(({ name }) => name))} overlap: ${count(test.total)} test pictures cannot tell them apart.`;
}

/** @param {readonly ModelResult[]} results @returns {string} */
export function memorisedText(results) {
  const learnt = results.filter(({ training, test }) => training.accuracy - test.accuracy > 0.25);
  if (!learnt.length) return "";
  return `${listOf(learnt.map(({ name }) => name))} ${learnt.length > 1 ? "know" : "knows"} the training pictures far better than new ones: more was memorised than understood.`;
}

// ---- test pictures ----

/** @param {Comparison} comparison @param {number} at @returns {readonly boolean[]} which models are right about a test picture */
export function rights({ models, split }, at) {
  return models.map(({ answers }) => answers[at] === split.testLabels[at]);
}

/** Ways to choose among the test pictures, each with those that it chooses. @param {Comparison} comparison */
export function filters(comparison) {
  const { models, split } = comparison;
  const all = split.testLabels.map((_, at) => at);
  const right = all.map((at) => rights(comparison, at));
  const answers = (/** @type {number} */ at) => new Set(models.map((model) => model.answers[at]));
  /** @type {{ value: string, words: string, chosen: number[] }[]} */
  const found = [{ value: "all", words: "All test pictures", chosen: all }];
  if (models.length > 1) found.push({ value: "disagree", words: "Where they disagree", chosen: all.filter((at) => answers(at).size > 1) });
  found.push({ value: "none", words: models.length > 1 ? "All are wrong" : "It is wrong", chosen: all.filter((at) => !right[at].includes(true)) });
  if (models.length > 1) {
    found.push({ value: "every", words: "All are right", chosen: all.filter((at) => !right[at].includes(false)) });
    for (const [which, { name, way }] of models.entries()) {
      found.push({ value: way, words: `Only ${name} is right`, chosen: all.filter((at) => right[at].every((good, other) => good === (other === which))) });
    }
  }
  return found;
}

/** How often two give the same answer. @param {Comparison} comparison @returns {string} */
export function agreementText({ models, split }) {
  if (models.length < 2) return "";
  const total = split.testLabels.length;
  const pairs = models.flatMap((a, first) => models.slice(first + 1).map((b) => {
    const same = a.answers.filter((answer, at) => answer === b.answers[at]).length;
    return `${a.name} and ${b.name} ${percent(same / total)}`;
  }));
  return `The same answer: ${listOf(pairs)} of the time.`;
}

/** How many pictures one model alone is right about. @param {Comparison} comparison @returns {string} */
export function aloneText(comparison) {
  const { models } = comparison;
  if (models.length < 2) return "";
  const only = new Map(filters(comparison).map(({ value, chosen }) => [value, chosen.length]));
  return `Only one is right: ${listOf(models.map(({ way, name }) => `${name} on ${pictures(only.get(way) ?? 0)}`))}.`;
}

// ---- learning curve ----

/** @param {State} state @returns {string} */
export function curveText(state) {
  const { set, choice, curvePlan, trouble } = state;
  if (!set) return "";
  if (trouble) return trouble;
  const sizes = sizesWanted(state);
  const runs = sizes.length * SEEDS * choice.ways.length;
  const words = [`Trains each model with ${listOf(sizes.map(count))} pictures a class, ${SEEDS} times with other pictures and another start: ${count(runs)} trainings.`];
  if (curvePlan?.toRead) {
    const { toRead, millisecondsAPicture } = curvePlan;
    words.push(`Inception has to read ${pictures(toRead)} first${readingTime(toRead, millisecondsAPicture)}; what it has read is kept.`);
  }
  return [...words, "Cancel keeps the points so far."].join(" ");
}

/** @param {LearningCurve["points"]} points @returns {string} */
export function curveOutcome(points) {
  const sizes = [...new Set(points.map(({ perClass }) => perClass))];
  if (new Set(points.map(({ way }) => way)).size < 2) return "";
  const bests = sizes.map((size) => {
    const own = points.filter(({ perClass }) => perClass === size);
    const most = Math.max(...own.map(({ mean }) => mean));
    return { size, names: listOf(own.filter(({ mean }) => mean === most).map(({ name }) => name)) };
  });
  // Neighbouring sizes with the same best are told once.
  const runs = bests.filter(({ names }, at) => names !== bests[at - 1]?.names).map(({ size, names }, at, starts) => {
    const next = starts[at + 1]?.size;
    const last = bests.findLast((one) => next === undefined || one.size < next)?.size ?? size;
    return `${names} with ${size === last ? count(size) : `${count(size)} to ${count(last)}`}`;
  });
  return `Right most often, by the mean of the seeds: ${listOf(runs)} pictures a class.`;
}
