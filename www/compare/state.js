// @ts-check
/**
 * What the three ways know: the set, what is to be compared, the comparison or learning curve under way, and what came of it; and its words.
 * No DOM, no engine and no clock: times come in with the actions, in milliseconds.
 */
import { count, duration, inWords, percent, pictures, sentence } from "../words.js";

/** @import { ComparePlan, CompareProgress, Comparison, CurveProgress, LearningCurve, PictureSet, Way, WayResult } from "../comparison.js" */
/** @import { BatchProgress, EpochReport } from "../engine.js" */

/** @typedef {{ perClass: number, testPerClass: number, ways: readonly Way[], seed: number, epochs: number | null }} Choice */
/** @typedef {{ done: number, total: number, key: string, since: number, now: number }} Pace  Since when the same kind of work goes on. */
/** @typedef {Pick<WayResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">} Architecture */
/**
 * @typedef {{
 *   ready: boolean,
 *   set: PictureSet | null,
 *   setName: string,
 *   opening: BatchProgress | null,
 *   taught: number,
 *   choice: Choice,
 *   plan: ComparePlan | null,
 *   curvePlan: ComparePlan | null,
 *   trouble: string | null,
 *   architectures: readonly Architecture[],
 *   comparing: { progress: CompareProgress | null, pace: Pace | null } | null,
 *   epochs: Readonly<Partial<Record<Way, readonly EpochReport[]>>>,
 *   results: readonly WayResult[],
 *   comparison: Comparison | null,
 *   filter: string,
 *   shown: readonly { at: number, pixels: Uint8ClampedArray<ArrayBuffer> }[],
 *   curving: { progress: CurveProgress | null, pace: Pace | null } | null,
 *   points: LearningCurve["points"],
 *   curve: LearningCurve | null,
 * }} State
 *   `taught` counts the pictures under Teach that have files; `trouble` says why nothing can be compared; `shown` are test pictures by
 *   their place in the comparison.
 */
/**
 * @typedef {{ type: "ready", architectures: readonly Architecture[] }
 *   | { type: "taught", pictures: number }
 *   | { type: "opening", progress: BatchProgress | null }
 *   | { type: "opened", set: PictureSet, name: string, architectures: readonly Architecture[] }
 *   | { type: "choice", patch: Partial<Choice> }
 *   | { type: "planned", plan: ComparePlan | null, curvePlan: ComparePlan | null, trouble: string | null }
 *   | { type: "comparing" }
 *   | { type: "compare progress", progress: CompareProgress, at: number }
 *   | { type: "result", result: WayResult }
 *   | { type: "compared", comparison: Comparison | null }
 *   | { type: "filter", filter: string }
 *   | { type: "shown", pictures: State["shown"] }
 *   | { type: "curving" }
 *   | { type: "curve progress", progress: CurveProgress, at: number }
 *   | { type: "curved", curve: LearningCurve | null }
 * } Action
 */

/** @type {readonly Way[]} */
export const WAYS = ["mlp", "cnn", "transfer"];
/** @type {Readonly<Record<Way, WayResult["name"]>>} */
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
      return { ...state, ready: true, architectures: action.architectures };
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
    case "comparing":
      return { ...state, comparing: { progress: null, pace: null }, epochs: {}, results: [], comparison: null, shown: [], filter: "all" };
    case "compare progress": {
      const { progress, at } = action;
      const { way, epoch } = progress;
      const epochs = epoch ? { ...state.epochs, [way]: [...(state.epochs[way] ?? []), epoch] } : state.epochs;
      return { ...state, epochs, comparing: { progress, pace: paceOf(state.comparing?.pace ?? null, progress, `${progress.stage} ${way}`, at) } };
    }
    case "result":
      return { ...state, results: [...state.results, action.result] };
    case "compared":
      return { ...state, comparing: null, comparison: action.comparison };
    case "filter":
      return { ...state, filter: action.filter, shown: [] };
    case "shown":
      return { ...state, shown: action.pictures };
    case "curving":
      return { ...state, curving: { progress: null, pace: null }, points: [], curve: null };
    case "curve progress": {
      const { progress, at } = action;
      const pace = paceOf(state.curving?.pace ?? null, progress, `${progress.stage} ${progress.run}`, at);
      return { ...state, points: progress.points, curving: { progress, pace } };
    }
    case "curved":
      return { ...state, curving: null, curve: action.curve, points: action.curve?.points ?? state.points };
  }
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

/** Sizes of the learning curve, up to a number of pictures a class. @param {PictureSet} set @param {number} perClass @returns {number[]} */
export function sizesOf(set, perClass) {
  const limit = Math.min(most(set).perClass, perClass || Infinity);
  const below = SIZES.filter((size) => size < limit);
  return [...(below.length ? below : FEWER_SIZES.filter((size) => size < limit)), limit];
}

/** @param {State} state @returns {boolean} whether something long is under way */
export function busy({ opening, comparing, curving }) {
  return opening !== null || comparing !== null || curving !== null;
}

// ---- words ----

/** An error's sentence, without the word that tells programs what it is about. @param {unknown} cause @returns {string} */
export function plain(cause) {
  const message = cause instanceof Error ? cause.message : String(cause);
  return sentence(message.replace(/^(train|pictures): /, ""));
}

/** @param {State} state @returns {string} */
export function setText({ set, setName }) {
  if (!set) return "";
  const [training, test] = [set.training, set.test].map((counts) => counts.reduce((a, b) => a + b, 0));
  const tests = test ? `, ${count(test)} to test on` : "; test pictures will be held out of them";
  return `${setName}: ${pictures(training)} of ${inWords(set.classes.length)} classes to train on${tests}.`;
}

/** @param {State} state @returns {string} */
export function planText({ set, plan, trouble, ready }) {
  if (!ready) return "The network is still loading.";
  if (!set) return "Bring pictures first.";
  if (trouble) return trouble;
  if (!plan) return "";
  const { training, test, testFrom, kept, toRead, millisecondsAPicture } = plan;
  const words = [`${pictures(training)} to train on, ${count(test)} to test on${testFrom === "held out" ? ", held out of the set" : ""}.`];
  if (toRead) {
    words.push(`Inception has to read ${toRead === training + test ? "them" : `${count(toRead)} of them`} first${readingTime(toRead, millisecondsAPicture)}; what it has read is kept for next time.`);
  } else if (kept) {
    words.push("Inception has read all of them already.");
  }
  return words.join(" ");
}

/** @param {number} toRead @param {number | null} milliseconds a picture */
function readingTime(toRead, milliseconds) {
  return milliseconds === null ? "" : `, about ${duration((toRead * milliseconds) / 1000)} here`;
}

const STAGES = { read: "Inception reads the pictures", train: "is trained", test: "is tested" };

/** @param {NonNullable<State["comparing"]>} comparing @returns {string} */
export function compareText({ progress, pace }) {
  if (!progress || !pace) return "Getting ready";
  const { stage, way, epoch } = progress;
  const what = stage === "read" ? STAGES.read : `${NAMES[way]} ${STAGES[stage]}`;
  return [what, epoch ? `epoch ${epoch.epoch} of ${epoch.epochs}` : "", paceText(pace)].filter(Boolean).join(" · ");
}

/** @param {NonNullable<State["curving"]>} curving @returns {string} */
export function curvingText({ progress, pace }) {
  if (!progress || !pace) return "Getting ready";
  const { stage, way, run, runs, perClass } = progress;
  if (stage === "read") return `${STAGES.read} · ${paceText(pace)}`;
  return `Training ${run} of ${runs} · ${NAMES[way]}, ${perClass} pictures a class · ${percent(pace.done / pace.total)}`;
}

/** @param {Pace} pace @returns {string} */
function paceText({ done, total, since, now }) {
  const words = `${count(done)} of ${count(total)}`;
  const seconds = (now - since) / 1000;
  return done && seconds > 1 ? `${words} · about ${duration((total - done) * (seconds / done))} left` : words;
}

/** `46.4 % (43.3–49.5)`. @param {{ accuracy: number, interval: readonly [number, number] }} score */
export function scoreText({ accuracy, interval: [low, high] }) {
  return `${percent(accuracy)} (${(low * 100).toFixed(1)}–${(high * 100).toFixed(1)})`;
}

/** @param {WayResult} result @returns {string} */
export function extractionText({ extraction }) {
  if (!extraction) return "–";
  const { pictures: read, kept, seconds } = extraction;
  const before = kept ? `${count(kept)} kept from before` : "";
  return [read ? `${duration(seconds)} for ${pictures(read)}` : "", before].filter(Boolean).join(", ");
}

/** @param {number} ms */
export function milliseconds(ms) {
  return ms < 10 ? ms.toFixed(2) : Math.round(ms).toLocaleString("en");
}

/** What the figures say, and what they do not. @param {readonly WayResult[]} results @returns {string} */
export function outcomeText(results) {
  if (results.length < 2) return "";
  const order = [...results].sort((a, b) => b.test.accuracy - a.test.accuracy);
  const [best, ...others] = order;
  if (others.every(({ test }) => test.correct === best.test.correct)) return `All have the same number right: ${count(best.test.correct)} of ${pictures(best.test.total)}.`;
  const near = others.filter(({ test }) => test.interval[1] >= best.test.interval[0]);
  const lead = `${best.name} has the most right: ${percent(best.test.accuracy)} of ${pictures(best.test.total)}.`;
  if (!near.length) return `${lead} Its interval lies above all others.`;
  const names = near.map(({ name }) => name).join(" and ");
  return `${lead} But its interval overlaps with that of ${names}: so few test pictures cannot tell them apart for sure.`;
}

/** @param {readonly WayResult[]} results @returns {string} */
export function memorisedText(results) {
  const learnt = results.filter(({ training, test }) => training.accuracy - test.accuracy > 0.25);
  if (!learnt.length) return "";
  const names = learnt.map(({ name }) => name);
  const subject = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)} know` : `${names[0]} knows`;
  return `${subject} the training pictures far better than new ones: more was memorised than understood.`;
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
  return `The same answer: ${pairs.join(", ")} of the time.`;
}

// ---- learning curve ----

/** @param {State} state @returns {string} */
export function curveText({ set, choice, curvePlan }) {
  if (!set) return "";
  const sizes = sizesOf(set, choice.perClass);
  const runs = sizes.length * SEEDS * choice.ways.length;
  const words = [`Trains with ${sizes.map(count).join(", ")} pictures a class (up to the number chosen above), ${SEEDS} times each with other pictures and another start: ${count(runs)} trainings.`];
  if (curvePlan?.toRead) words.push(`Inception has to read ${pictures(curvePlan.toRead)} first${readingTime(curvePlan.toRead, curvePlan.millisecondsAPicture)}.`);
  return [...words, "Cancel keeps what there is."].join(" ");
}

/** @param {LearningCurve["points"]} points @returns {string} */
export function curveOutcome(points) {
  const sizes = [...new Set(points.map(({ perClass }) => perClass))];
  const sentences = sizes.map((size) => {
    const order = points.filter(({ perClass }) => perClass === size).sort((a, b) => b.mean - a.mean);
    return { size, best: order[0] };
  });
  if (!sentences.length) return "";
  const [first, last] = [sentences[0], sentences[sentences.length - 1]];
  if (first.best.way === last.best.way) return `${first.best.name} has the most right from ${first.size} to ${last.size} pictures a class, on average.`;
  return `With ${first.size} pictures a class ${first.best.name} has the most right on average, with ${last.size} it is ${last.best.name}.`;
}
