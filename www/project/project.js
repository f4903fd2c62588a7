// @ts-check
/** Operations on a project: each returns a new value and leaves its argument unchanged. No DOM, no worker, no storage. */
import { sha256 } from "../util/sha256.js";

/** @import { Class, Picture, Project } from "./types.js" */
/** @typedef {Pick<Picture, "name" | "hash" | "file">} NewPicture */

/** @type {Project} */
export const emptyProject = Object.freeze({ name: "my classes", classes: [], pictures: [], nextId: 1 });

/**
 * Adds a class. Names are trimmed; without a name it is "Class N" with the first free N.
 * @param {Project} project @param {string} [name] @returns {{ project: Project, id: number }}
 * @throws {Error} if the name is empty or taken
 */
export function addClass(project, name) {
  const id = project.nextId;
  const added = { id, name: name === undefined ? freeName(project) : checkedName(project, name) };
  return { project: { ...project, classes: [...project.classes, added], nextId: id + 1 }, id };
}

/** @param {Project} project @param {number} id @param {string} name @returns {Project} @throws {Error} if the name is empty or taken (case-sensitive) */
export function renameClass(project, id, name) {
  const old = classOfId(project, id);
  const checked = checkedName(project, name, id);
  if (checked === old.name) return project;
  return { ...project, classes: project.classes.map((each) => (each === old ? { id, name: checked } : each)) };
}

/**
 * Moves the pictures of one class into another and removes the empty class. Pictures whose hash is already there are dropped.
 * @param {Project} project @param {number} from @param {number} into @returns {Project}
 */
export function mergeClasses(project, from, into) {
  if (from === into) return project;
  classOfId(project, from);
  const moving = picturesOf(project, from).map((picture) => picture.id);
  return removeClass(relabel(project, moving, into), from);
}

/** @param {Project} project @param {number} id @param {number} index @returns {Project} */
export function moveClass(project, id, index) {
  const moved = classOfId(project, id);
  const classes = project.classes.filter((each) => each !== moved);
  classes.splice(Math.max(0, Math.min(index, classes.length)), 0, moved);
  return classes.every((each, i) => each === project.classes[i]) ? project : { ...project, classes };
}

/** Removes a class with its pictures. @param {Project} project @param {number} id @returns {Project} */
export function removeClass(project, id) {
  classOfId(project, id);
  return {
    ...project,
    classes: project.classes.filter((each) => each.id !== id),
    pictures: project.pictures.filter((picture) => picture.label !== id),
  };
}

/**
 * Adds pictures to a class. Pictures whose hash is already in it are skipped and counted.
 * @param {Project} project @param {number} label @param {readonly NewPicture[]} pictures
 * @returns {{ project: Project, ids: number[], duplicates: number }}
 */
export function addPictures(project, label, pictures) {
  return append(project, pictures.map((picture) => ({ ...picture, label })));
}

/**
 * Adds pictures by the names of their classes. Missing classes are created, in order; duplicates are skipped and counted.
 * @param {Project} project @param {readonly string[]} classes @param {readonly (NewPicture & { className: string })[]} pictures
 * @returns {{ project: Project, ids: number[], duplicates: number }}
 */
export function addNamed(project, classes, pictures) {
  const ids = new Map(project.classes.map(({ name, id }) => [name, id]));
  for (const name of new Set([...classes, ...pictures.map(({ className }) => className)].map((each) => each.trim()))) {
    if (ids.has(name)) continue;
    const added = addClass(project, name);
    project = added.project;
    ids.set(name, added.id);
  }
  return append(project, pictures.map(({ className, ...picture }) => ({ ...picture, label: ids.get(className.trim()) ?? 0 })));
}

/** Moves pictures to a class. Pictures whose hash is already in it are dropped. @param {Project} project @param {Iterable<number>} ids @param {number} label @returns {Project} */
export function relabel(project, ids, label) {
  classOfId(project, label);
  const moving = new Set(ids);
  const present = hashes(project, label);
  let changed = false;
  /** @type {Picture[]} */
  const kept = [];
  for (const picture of project.pictures) {
    if (!moving.has(picture.id) || picture.label === label) {
      kept.push(picture);
      continue;
    }
    changed = true;
    if (present.has(picture.hash)) continue;
    present.add(picture.hash);
    kept.push({ ...picture, label });
  }
  return changed ? { ...project, pictures: kept } : project;
}

/** @param {Project} project @param {Iterable<number>} ids @returns {Project} */
export function removePictures(project, ids) {
  const removed = new Set(ids);
  const kept = project.pictures.filter((picture) => !removed.has(picture.id));
  return kept.length === project.pictures.length ? project : { ...project, pictures: kept };
}

/** @type {WeakMap<Project, ReadonlyMap<number, readonly Picture[]>>} */
const groupsByProject = new WeakMap();

/** Pictures by class id; an empty list for classes without pictures. Computed once per project value. @param {Project} project @returns {ReadonlyMap<number, readonly Picture[]>} */
export function byClass(project) {
  const cached = groupsByProject.get(project);
  if (cached) return cached;
  /** @type {Map<number, Picture[]>} */
  const groups = new Map(project.classes.map(({ id }) => [id, []]));
  for (const picture of project.pictures) groups.get(picture.label)?.push(picture);
  groupsByProject.set(project, groups);
  return groups;
}

/**
 * Reads a picture's file, from the storage if it is there; null if only latents were loaded.
 * @template {Picture["file"]} T @param {T} file @returns {Promise<T extends null ? null : Blob>}
 * @throws {Error} if the file was removed from the storage
 */
export async function openFile(file) {
  return /** @type {any} */ (file && "open" in file ? file.open() : file);
}

/** @param {Blob | ArrayBufferView} content @returns {Promise<string>} SHA-256 in hexadecimal */
export async function hashOf(content) {
  const bytes = content instanceof Blob ? await content.arrayBuffer() : /** @type {ArrayBufferView<ArrayBuffer>} */ (content);
  return sha256(bytes);
}

/** @param {Project} project @param {(NewPicture & { label: number })[]} pictures @returns {{ project: Project, ids: number[], duplicates: number }} */
function append(project, pictures) {
  /** @type {Map<number, Set<string>>} */
  const hashesByLabel = new Map();
  /** @type {Picture[]} */
  const added = [];
  let id = project.nextId;
  for (const { name, hash, file, label } of pictures) {
    let present = hashesByLabel.get(label);
    if (!present) {
      classOfId(project, label);
      present = hashes(project, label);
      hashesByLabel.set(label, present);
    }
    if (present.has(hash)) continue;
    present.add(hash);
    added.push({ id: id++, name, label, hash, file });
  }
  return {
    project: added.length ? { ...project, pictures: [...project.pictures, ...added], nextId: id } : project,
    ids: added.map((picture) => picture.id),
    duplicates: pictures.length - added.length,
  };
}

/** @param {Project} project @param {number} label @returns {readonly Picture[]} */
function picturesOf(project, label) {
  return byClass(project).get(label) ?? [];
}

/** @param {Project} project @param {number} label @returns {Set<string>} */
function hashes(project, label) {
  return new Set(picturesOf(project, label).map((picture) => picture.hash));
}

/** @param {Project} project @param {number} id @returns {Class} */
function classOfId(project, id) {
  const found = project.classes.find((each) => each.id === id);
  if (!found) throw new Error(`class: no class with id ${id}; it was removed`);
  return found;
}

/** @param {Project} project @param {string} name @param {number} [own] id of the class that may keep this name @returns {string} */
function checkedName(project, name, own) {
  const trimmed = name.trim();
  if (!trimmed) throw new Error("class: the name is empty; enter at least one character");
  if (project.classes.some((each) => each.name === trimmed && each.id !== own)) {
    throw new Error(`class: "${trimmed}" already exists; choose another name, or merge the two classes`);
  }
  return trimmed;
}

/** @param {Project} project @returns {string} */
function freeName(project) {
  const taken = new Set(project.classes.map((each) => each.name));
  let n = 1;
  while (taken.has(`Class ${n}`)) n += 1;
  return `Class ${n}`;
}
