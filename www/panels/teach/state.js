// @ts-check
/**
 * What teaching knows: the project with its history, which pictures wait for latents, and what is shown and chosen; and its words.
 * No DOM, no engine and no clock: times come in with the actions, in milliseconds.
 */
import { emptyProject } from "../../project/project.js";
import { count, pace, pictures } from "../../ui/format.js";

/** @import { Embedded } from "../../engine/engine.js" */
/** @import { Picture, Project } from "../../project/project.js" */

/** @typedef {{ project: Project, words: string }} Step  The value on the far side of a step, and what the step is called. */
/** @typedef {{ done: number, total: number, startedAt: number, now: number }} Job */
/** @typedef {{ words: string, done: number, total: number, cancel: boolean }} Task  `total` 0: nobody knows how long. */
/** @typedef {{ name: string, reason: string }} Broken */
/**
 * @typedef {{
 *   loaded: boolean,
 *   notice: string | null,
 *   project: Project,
 *   past: readonly Step[],
 *   future: readonly Step[],
 *   key: string | null,
 *   embedded: ReadonlyMap<string, Embedded>,
 *   revision: number,
 *   held: ReadonlySet<string>,
 *   job: Job | null,
 *   task: Task | null,
 *   broken: readonly Broken[],
 *   shown: number | null,
 *   selection: ReadonlySet<number>,
 * }} State
 *   `embedded` grows in place, and `revision` counts its growth. `held` are hashes whose computing was cancelled.
 *   `shown` is the class that the gallery shows, null for all. `key` tells steps that are one, such as the letters of a name.
 */
/**
 * @typedef {{ type: "loaded", project: Project }
 *   | { type: "notice", words: string | null }
 *   | { type: "changed", project: Project, words: string, key?: string | null }
 *   | { type: "undone" }
 *   | { type: "redone" }
 *   | { type: "embedded", embedded: ReadonlyMap<string, Embedded> }
 *   | { type: "computing", job: Job | null }
 *   | { type: "held", hashes: ReadonlySet<string> }
 *   | { type: "task", task: Task | null }
 *   | { type: "broke", reasons: ReadonlyMap<string, string> }
 *   | { type: "dismissed" }
 *   | { type: "shown", label: number | null }
 *   | { type: "selected", ids: ReadonlySet<number> }
 * } Action
 */

/** Steps that can be taken back. */
const REMEMBERED = 100;
/** @type {ReadonlySet<number>} */
const NONE = new Set();

/** @type {State} */
export const initialState = {
  loaded: false,
  notice: null,
  project: emptyProject,
  past: [],
  future: [],
  key: null,
  embedded: new Map(),
  revision: 0,
  held: new Set(),
  job: null,
  task: null,
  broken: [],
  shown: null,
  selection: NONE,
};

/**
 * The state after an action; the one before is left whole.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "loaded":
      return { ...state, loaded: true, project: action.project };
    case "notice":
      return { ...state, notice: action.words };
    case "changed":
      return changed(state, action);
    case "undone":
      return stepped(state, "past", "future");
    case "redone":
      return stepped(state, "future", "past");
    case "embedded":
      return { ...state, embedded: action.embedded, revision: state.revision + 1 };
    case "computing":
      return { ...state, job: action.job };
    case "held":
      return { ...state, held: action.hashes };
    case "task":
      return { ...state, task: action.task };
    case "broke":
      return broke(state, action.reasons);
    case "dismissed":
      return { ...state, broken: [] };
    case "shown":
      return action.label === state.shown ? state : { ...state, shown: action.label, selection: NONE };
    case "selected":
      return { ...state, selection: action.ids };
  }
}

/** @param {State} state @param {{ project: Project, words: string, key?: string | null }} change @returns {State} */
function changed(state, { project, words, key = null }) {
  if (project === state.project) return state;
  const last = state.past.at(-1);
  const past = key !== null && key === state.key && last
    ? [...state.past.slice(0, -1), { project: last.project, words: last.words.startsWith("Add class") ? last.words : words }]
    : [...state.past, { project: state.project, words }].slice(-REMEMBERED);
  return settled({ ...state, project, past, future: [], key });
}

/** @param {State} state @param {"past" | "future"} from @param {"past" | "future"} to @returns {State} */
function stepped(state, from, to) {
  const step = state[from].at(-1);
  if (!step) return state;
  return settled({
    ...state,
    project: step.project,
    [from]: state[from].slice(0, -1),
    [to]: [...state[to], { project: state.project, words: step.words }],
    key: null,
  });
}

/** What is shown and chosen has to be there. @param {State} state @returns {State} */
function settled(state) {
  const there = new Set(state.project.pictures.map(({ id }) => id));
  const selection = new Set([...state.selection].filter((id) => there.has(id)));
  const shown = state.project.classes.some(({ id }) => id === state.shown) ? state.shown : null;
  return { ...state, shown, selection };
}

/** Broken pictures go out of every value of the project: taking a step back must not bring them again. @param {State} state @param {ReadonlyMap<string, string>} reasons @returns {State} */
function broke(state, reasons) {
  const found = state.project.pictures.filter(({ hash }) => reasons.has(hash));
  const without = (/** @type {Project} */ project) => ({ ...project, pictures: project.pictures.filter(({ hash }) => !reasons.has(hash)) });
  const mended = (/** @type {readonly Step[]} */ steps) => steps.map((step) => ({ ...step, project: without(step.project) }));
  return settled({
    ...state,
    project: without(state.project),
    past: mended(state.past),
    future: mended(state.future),
    broken: [...state.broken, ...found.map(({ name, hash }) => ({ name, reason: reasons.get(hash) ?? "" }))],
  });
}

/** Pictures that the gallery shows. @param {State} state @returns {readonly Picture[]} */
export function gallery({ project, shown }) {
  return shown === null ? project.pictures : project.pictures.filter(({ label }) => label === shown);
}

/** Files by their hash, each once, whose latents are still to be computed. @param {State} state @returns {Map<string, NonNullable<Picture["file"]>>} */
export function lacking({ project, embedded }) {
  /** @type {Map<string, NonNullable<Picture["file"]>>} */
  const found = new Map();
  for (const { hash, file } of project.pictures) if (file && !embedded.has(hash)) found.set(hash, file);
  return found;
}

// ---- in words ----

/** @param {State} state @returns {string} one line on all classes */
export function summaryText({ project }) {
  const classes = project.classes.length;
  if (!classes) return "";
  return `${classes === 1 ? "1 class" : `${count(classes)} classes`} · ${pictures(project.pictures.length)}`;
}

/** @param {Job} job @returns {string} */
export function jobText(job) {
  return `Computing latents: ${pace(job, (job.now - job.startedAt) / 1000)}`;
}

/** @param {Task} task @returns {string} */
export function taskText({ words, done, total }) {
  return total ? `${words}: ${count(done)} of ${count(total)}` : words;
}

/** What came of adding. @param {string} added what, and where to @param {number} duplicates @param {number} [passedOver] pictures in no folder @returns {string} */
export function addedText(added, duplicates, passedOver = 0) {
  const sentences = added ? [`Added ${added}.`] : [];
  if (duplicates) sentences.push(`${pictures(duplicates)} ${duplicates === 1 ? "was" : "were"} there already.`);
  if (passedOver) sentences.push(`${pictures(passedOver)} ${passedOver === 1 ? "lies" : "lie"} in no folder, and ${passedOver === 1 ? "was" : "were"} left out.`);
  return sentences.join(" ");
}
