// @ts-check
/**
 * State of the teach panel: project with undo history, pictures without latents, progress, selection; and the texts derived from it.
 * Pure: no DOM, engine or clock. Actions carry their times, in milliseconds.
 */
import { emptyProject } from "../../project/project.js";
import { count, pace, pictures } from "../../ui/format.js";

/** @import { Embedded } from "../../engine/types.js" */
/** @import { Picture, Project } from "../../project/types.js" */

/** @typedef {{ project: Project, label: string }} Step  An undo or redo step: the project to restore, and the name of the step. */
/** @typedef {{ done: number, total: number, startedAt: number, now: number }} Job */
/** @typedef {{ label: string, done: number, total: number, cancel: boolean }} Task  `total` is 0 if unknown; `cancel`: can be cancelled. */
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
 *   cancelled: ReadonlySet<string>,
 *   job: Job | null,
 *   task: Task | null,
 *   broken: readonly Broken[],
 *   shown: number | null,
 *   selection: ReadonlySet<number>,
 * }} State
 *   `embedded` is modified in place; `revision` counts its changes. `cancelled` are the hashes whose computation was cancelled.
 *   `shown` is the class that the gallery shows, null for all. Consecutive changes with the same `key` are one undo step, such as the
 *   keystrokes in a name.
 */
/**
 * @typedef {{ type: "loaded", project: Project }
 *   | { type: "notice", message: string | null }
 *   | { type: "changed", project: Project, label: string, key?: string | null }
 *   | { type: "undone" }
 *   | { type: "redone" }
 *   | { type: "embedded", embedded: ReadonlyMap<string, Embedded> }
 *   | { type: "computing", job: Job | null }
 *   | { type: "cancelled", hashes: ReadonlySet<string> }
 *   | { type: "task", task: Task | null }
 *   | { type: "pictures broken", reasons: ReadonlyMap<string, string> }
 *   | { type: "dismissed" }
 *   | { type: "shown", label: number | null }
 *   | { type: "selected", ids: ReadonlySet<number> }
 * } Action
 */

/** Maximum length of the undo history. */
const MAX_STEPS = 100;
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
  cancelled: new Set(),
  job: null,
  task: null,
  broken: [],
  shown: null,
  selection: NONE,
};

/**
 * Returns the state after an action. Does not modify `state`.
 * @param {State} state @param {Action} action @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "loaded":
      return { ...state, loaded: true, project: action.project };
    case "notice":
      return { ...state, notice: action.message };
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
    case "cancelled":
      return { ...state, cancelled: action.hashes };
    case "task":
      return { ...state, task: action.task };
    case "pictures broken":
      return withoutBroken(state, action.reasons);
    case "dismissed":
      return { ...state, broken: [] };
    case "shown":
      return action.label === state.shown ? state : { ...state, shown: action.label, selection: NONE };
    case "selected":
      return { ...state, selection: action.ids };
  }
}

/** @param {State} state @param {{ project: Project, label: string, key?: string | null }} change @returns {State} */
function changed(state, { project, label, key = null }) {
  if (project === state.project) return state;
  const last = state.past.at(-1);
  const past = key !== null && key === state.key && last
    ? [...state.past.slice(0, -1), { project: last.project, label: last.label.startsWith("Add class") ? last.label : label }]
    : [...state.past, { project: state.project, label }].slice(-MAX_STEPS);
  return pruned({ ...state, project, past, future: [], key });
}

/** @param {State} state @param {"past" | "future"} from @param {"past" | "future"} to @returns {State} */
function stepped(state, from, to) {
  const step = state[from].at(-1);
  if (!step) return state;
  return pruned({
    ...state,
    project: step.project,
    [from]: state[from].slice(0, -1),
    [to]: [...state[to], { project: state.project, label: step.label }],
    key: null,
  });
}

/** Drops removed pictures from the selection, and a removed class from `shown`. @param {State} state @returns {State} */
function pruned(state) {
  const ids = new Set(state.project.pictures.map(({ id }) => id));
  const selection = new Set([...state.selection].filter((id) => ids.has(id)));
  const shown = state.project.classes.some(({ id }) => id === state.shown) ? state.shown : null;
  return { ...state, shown, selection };
}

/** Removes broken pictures from the project and from its history, so that undo does not bring them back. @param {State} state @param {ReadonlyMap<string, string>} reasons @returns {State} */
function withoutBroken(state, reasons) {
  const found = state.project.pictures.filter(({ hash }) => reasons.has(hash));
  const without = (/** @type {Project} */ project) => ({ ...project, pictures: project.pictures.filter(({ hash }) => !reasons.has(hash)) });
  const cleaned = (/** @type {readonly Step[]} */ steps) => steps.map((step) => ({ ...step, project: without(step.project) }));
  return pruned({
    ...state,
    project: without(state.project),
    past: cleaned(state.past),
    future: cleaned(state.future),
    broken: [...state.broken, ...found.map(({ name, hash }) => ({ name, reason: reasons.get(hash) ?? "" }))],
  });
}

/** The pictures that the gallery shows. @param {State} state @returns {readonly Picture[]} */
export function gallery({ project, shown }) {
  return shown === null ? project.pictures : project.pictures.filter(({ label }) => label === shown);
}

/** Files whose latents are missing, by hash. @param {State} state @returns {Map<string, NonNullable<Picture["file"]>>} */
export function missingLatents({ project, embedded }) {
  /** @type {Map<string, NonNullable<Picture["file"]>>} */
  const found = new Map();
  for (const { hash, file } of project.pictures) if (file && !embedded.has(hash)) found.set(hash, file);
  return found;
}

// ---- texts ----

/** @param {State} state @returns {string} number of classes and pictures */
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
export function taskText({ label, done, total }) {
  return total ? `${label}: ${count(done)} of ${count(total)}` : label;
}

/** @param {string} added what was added and to which class @param {number} duplicates @param {number} [unsorted] pictures outside of class folders @returns {string} */
export function addedText(added, duplicates, unsorted = 0) {
  const sentences = added ? [`Added ${added}.`] : [];
  if (duplicates) sentences.push(`${pictures(duplicates)} ${duplicates === 1 ? "was" : "were"} already there.`);
  if (unsorted) sentences.push(`${pictures(unsorted)} outside of class folders ${unsorted === 1 ? "was" : "were"} left out.`);
  return sentences.join(" ");
}
