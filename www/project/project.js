// @ts-check
/** Classes and their pictures as one immutable value, and what each change makes of it. No DOM, no worker, no storage. */

/** @typedef {import("./project.js").Project} Project */
/** @typedef {import("./project.js").Picture} Picture */
/** @typedef {import("./project.js").Class} Class */
/** @typedef {Pick<Picture, "name" | "hash" | "file">} Arrival */

/** @type {Project} */
export const emptyProject = Object.freeze({ name: "my classes", classes: [], pictures: [], nextId: 1 });

/** @param {Project} project @param {string} [name] @returns {{ project: Project, id: number }} */
export function addClass(project, name) {
  const id = project.nextId;
  const added = { id, name: name === undefined ? freeName(project) : checkedName(project, name) };
  return { project: { ...project, classes: [...project.classes, added], nextId: id + 1 }, id };
}

/** @param {Project} project @param {number} id @param {string} name @returns {Project} */
export function renameClass(project, id, name) {
  const old = classOfId(project, id);
  const checked = checkedName(project, name, id);
  if (checked === old.name) return project;
  return { ...project, classes: project.classes.map((each) => (each === old ? { id, name: checked } : each)) };
}

/** @param {Project} project @param {number} from @param {number} into @returns {Project} */
export function mergeClasses(project, from, into) {
  if (from === into) return project;
  classOfId(project, from);
  const moving = pictures(project, from).map((picture) => picture.id);
  return removeClass(relabel(project, moving, into), from);
}

/** @param {Project} project @param {number} id @param {number} index @returns {Project} */
export function moveClass(project, id, index) {
  const moved = classOfId(project, id);
  const classes = project.classes.filter((each) => each !== moved);
  classes.splice(Math.max(0, Math.min(index, classes.length)), 0, moved);
  return classes.every((each, i) => each === project.classes[i]) ? project : { ...project, classes };
}

/** @param {Project} project @param {number} id @returns {Project} */
export function removeClass(project, id) {
  classOfId(project, id);
  return {
    ...project,
    classes: project.classes.filter((each) => each.id !== id),
    pictures: project.pictures.filter((picture) => picture.label !== id),
  };
}

/** @param {Project} project @param {number} label @param {readonly Arrival[]} arrivals @returns {{ project: Project, ids: number[], duplicates: number }} */
export function addPictures(project, label, arrivals) {
  return append(project, arrivals.map((arrival) => ({ ...arrival, label })));
}

/**
 * @param {Project} project @param {readonly string[]} classes @param {readonly (Arrival & { className: string })[]} arrivals
 * @returns {{ project: Project, ids: number[], duplicates: number }}
 */
export function addNamed(project, classes, arrivals) {
  const ids = new Map(project.classes.map(({ name, id }) => [name, id]));
  for (const name of new Set([...classes, ...arrivals.map(({ className }) => className)].map((each) => each.trim()))) {
    if (ids.has(name)) continue;
    const added = addClass(project, name);
    project = added.project;
    ids.set(name, added.id);
  }
  return append(project, arrivals.map(({ className, ...arrival }) => ({ ...arrival, label: ids.get(className.trim()) ?? 0 })));
}

/** @param {Project} project @param {Iterable<number>} chosen @param {number} label @returns {Project} */
export function relabel(project, chosen, label) {
  classOfId(project, label);
  const moving = new Set(chosen);
  const there = hashes(project, label);
  let changed = false;
  /** @type {Picture[]} */
  const kept = [];
  for (const picture of project.pictures) {
    if (!moving.has(picture.id) || picture.label === label) {
      kept.push(picture);
      continue;
    }
    changed = true;
    if (there.has(picture.hash)) continue;
    there.add(picture.hash);
    kept.push({ ...picture, label });
  }
  return changed ? { ...project, pictures: kept } : project;
}

/** @param {Project} project @param {Iterable<number>} chosen @returns {Project} */
export function removePictures(project, chosen) {
  const going = new Set(chosen);
  const kept = project.pictures.filter((picture) => !going.has(picture.id));
  return kept.length === project.pictures.length ? project : { ...project, pictures: kept };
}

/** @type {WeakMap<Project, ReadonlyMap<number, readonly Picture[]>>} */
const grouped = new WeakMap();

/** @param {Project} project @returns {ReadonlyMap<number, readonly Picture[]>} */
export function byClass(project) {
  const known = grouped.get(project);
  if (known) return known;
  /** @type {Map<number, Picture[]>} */
  const groups = new Map(project.classes.map(({ id }) => [id, []]));
  for (const picture of project.pictures) groups.get(picture.label)?.push(picture);
  grouped.set(project, groups);
  return groups;
}

/** @param {Picture["file"]} file @returns {Promise<Blob | null>} */
export async function openFile(file) {
  return file && "open" in file ? file.open() : file;
}

/** @param {Blob | ArrayBufferView} content @returns {Promise<string>} */
export async function hashOf(content) {
  const bytes = content instanceof Blob ? await content.arrayBuffer() : /** @type {ArrayBufferView<ArrayBuffer>} */ (content);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Project} project @param {(Arrival & { label: number })[]} arrivals @returns {{ project: Project, ids: number[], duplicates: number }} */
function append(project, arrivals) {
  /** @type {Map<number, Set<string>>} */
  const seen = new Map();
  /** @type {Picture[]} */
  const added = [];
  let id = project.nextId;
  for (const { name, hash, file, label } of arrivals) {
    let there = seen.get(label);
    if (!there) {
      classOfId(project, label);
      there = hashes(project, label);
      seen.set(label, there);
    }
    if (there.has(hash)) continue;
    there.add(hash);
    added.push({ id: id++, name, label, hash, file });
  }
  return {
    project: added.length ? { ...project, pictures: [...project.pictures, ...added], nextId: id } : project,
    ids: added.map((picture) => picture.id),
    duplicates: arrivals.length - added.length,
  };
}

/** @param {Project} project @param {number} label @returns {readonly Picture[]} */
function pictures(project, label) {
  return byClass(project).get(label) ?? [];
}

/** @param {Project} project @param {number} label @returns {Set<string>} */
function hashes(project, label) {
  return new Set(pictures(project, label).map((picture) => picture.hash));
}

/** @param {Project} project @param {number} id @returns {Class} */
function classOfId(project, id) {
  const found = project.classes.find((each) => each.id === id);
  if (!found) throw new Error(`class: there is none with the id ${id}; it was removed`);
  return found;
}

/** @param {Project} project @param {string} name @param {number} [own] the id of the class that may have it @returns {string} */
function checkedName(project, name, own) {
  const trimmed = name.trim();
  if (!trimmed) throw new Error("class: the name is empty; give it at least one letter");
  if (project.classes.some((each) => each.name === trimmed && each.id !== own)) {
    throw new Error(`class: there is one named "${trimmed}" already; choose another name, or merge the two`);
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
