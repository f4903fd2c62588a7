// @ts-check
/** Controller of the teach panel: edits classes and pictures, computes latents, saves every change, reads and writes project files. */
import { download } from "../../ui/dom.js";
import { addClass, addNamed, addPictures, hashOf, mergeClasses, moveClass, relabel, removeClass, removePictures, renameClass } from "../../project/project.js";
import { listOf, pictures, sentence } from "../../ui/format.js";
import { createAutosave } from "./autosave.js";
import { createLatentsJob } from "./latents.js";
import { addedText, gallery, initialState, reduce } from "./state.js";
import { createTeachView } from "./view.js";

/** @import { DroppedFile, DroppedFiles } from "../../ui/drop.js" */
/** @import { Context } from "../../app/context.js" */
/** @import { Answer, Embedded, Engine } from "../../engine/types.js" */
/** @import { Picture, Project } from "../../project/types.js" */
/** @import { Kept } from "../../project/store-types.js" */
/** @import { Toast } from "../../ui/toast.js" */
/** @import { Action } from "./state.js" */

const TEN_CLASSES = "ten-classes/latents.safetensors";
/** Files read in parallel. */
const READERS = 4;
/** Maximum number of class names in a message. */
const MAX_NAMES = 5;

/**
 * @param {Context} context
 * @param {{
 *   toast: Toast, row(id: number): { name: string, file: Blob, answer: Answer | null } | undefined, projectChanged(): unknown,
 *   train: { ready(kept: Kept): Promise<void>, kept(): Pick<Kept, "runs" | "runInUse" | "head"> },
 * }} page
 */
export function createTeach(context, page) {
  let state = initialState;
  /** @type {AbortController | null} */
  let cancelTask = null;
  let tasks = 0;
  /** Number of name edits. All keystrokes of one edit are one undo step. */
  let edits = 0;
  /** @type {{ resolve(): void, reject(error: Error): void }[]} */
  let waiting = [];

  const autosave = createAutosave(context, { state: () => state, dispatch, toast: page.toast });
  const latentsJob = createLatentsJob(context, { state: () => state, dispatch, latentsStored: autosave.latentsStored, latentsChanged, projectChanged });
  const view = createTeachView({
    addClass: () => context.attempt(async () => newClass()),
    rename,
    renamed: () => void (edits += 1),
    move: (id, index) => context.attempt(async () => change(moveClass(state.project, id, index), `Move ${nameOf(id)}`)),
    merge: (from, into) => context.attempt(async () => {
      const label = `Merge ${nameOf(from)} into ${nameOf(into)}`;
      change(mergeClasses(state.project, from, into), label);
      notifyWithUndo(`Merged into ${nameOf(into)}.`);
    }),
    removeClass: (id) => context.attempt(async () => {
      const name = nameOf(id);
      const size = state.project.pictures.filter(({ label }) => label === id).length;
      change(removeClass(state.project, id), `Delete ${name}`);
      notifyWithUndo(`Deleted ${name}${size ? ` with ${pictures(size)}` : ""}.`);
    }),
    add: (label, files) => context.attempt(() => add(label, files)),
    addFolders: (files) => context.attempt(() => addFolders(files)),
    addZips: (files) => context.attempt(() => addZips(files)),
    dropped,
    show: (label) => dispatch({ type: "shown", label }),
    select: (ids) => dispatch({ type: "selected", ids }),
    relabel: (ids, label) => context.attempt(async () => moveTo(ids, label)),
    remove: (ids) => context.attempt(async () => removeAll(ids)),
    undo: () => step("undone"),
    redo: () => step("redone"),
    compute() {
      dispatch({ type: "cancelled", hashes: new Set() });
      latentsJob.compute();
    },
    cancelComputing: latentsJob.cancel,
    cancelTask: () => cancelTask?.abort(),
    dismiss: () => dispatch({ type: "dismissed" }),
    tenClasses: () => context.attempt(tenClasses),
    loadLatents: (files) => context.attempt(() => loadLatents(files)),
    saveLatents: (format) => context.attempt(() => saveLatents(format)),
    openProject: (file) => context.attempt(() => openProject(file)),
    saveProject: () => context.attempt(saveProject),
    imageOf,
    classForRow: (id, label) => context.attempt(() => addAnswered(id, label)),
  });

  return {
    open,
    ready,
    loadFailed,
    change,
    clear,
    onFiles,
    hint: view.hint,
    chooseClass: view.chooseClass,
    get project() {
      return state.project;
    },
    /** @returns {ReadonlyMap<string, Embedded>} */
    get embedded() {
      return context.engine()?.dataset.embedded ?? state.embedded;
    },
    /** @param {Picture} picture */
    imageOf: (picture) => imageOf(picture).image,
    /** Whether closing the page would lose data. */
    get busy() {
      return autosave.pending || latentsJob.running || tasks > 0 || (!context.store() && state.project.pictures.length > 0);
    },
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  // ---- loading and saving ----

  /** Shows the stored project. `refused` is the reason if changes cannot be saved. @param {Project} project @param {Error | null} refused */
  function open(project, refused) {
    autosave.projectStored(project);
    if (refused) dispatch({ type: "notice", message: sentence(refused.message) });
    dispatch({ type: "loaded", project });
    page.projectChanged();
  }

  /** Call when the engine is loaded: gives it the project and the stored latents. */
  async function ready() {
    const engine = /** @type {Engine} */ (context.engine());
    const kept = await context.store()?.load(engine.fingerprint).catch((cause) => {
      console.error(cause);
      dispatch({ type: "notice", message: sentence(cause.message) });
    });
    for (const [hash, embedded] of state.embedded) engine.dataset.embedded.set(hash, embedded);
    for (const [hash, embedded] of kept?.embedded ?? []) engine.dataset.embedded.set(hash, embedded);
    autosave.latentsStored(kept?.embedded.keys() ?? []);
    dispatch({ type: "embedded", embedded: engine.dataset.embedded });
    await page.train.ready(kept ?? { project: state.project, embedded: new Map(), runs: [], runInUse: null, head: null });
    projectChanged();
    for (const { resolve } of waiting.splice(0)) resolve();
    const store = context.store();
    if (!store?.refusal) await store?.sweep();
  }

  /** Call when the engine failed to load: rejects the tasks that wait for it. */
  function loadFailed() {
    for (const { reject } of waiting.splice(0)) reject(new Error("The network could not be loaded. Choose \"Try again\" above first."));
  }

  /** @returns {Promise<Engine>} */
  async function engineReady() {
    if (!context.engine() || !state.loaded) await new Promise((resolve, reject) => waiting.push({ resolve: () => resolve(null), reject }));
    return /** @type {Engine} */ (context.engine());
  }

  /** @param {Project} project @param {string} label name of the undo step @param {string} [key] */
  function change(project, label, key) {
    if (project === state.project) return;
    page.toast.hide();
    dispatch({ type: "changed", project, label, key });
    projectChanged();
  }

  function projectChanged() {
    const engine = context.engine();
    if (engine) engine.dataset.project = state.project;
    page.projectChanged();
    autosave.save();
    latentsJob.compute();
  }

  /** @param {"undone" | "redone"} type */
  function step(type) {
    const label = (type === "undone" ? state.past : state.future).at(-1)?.label;
    if (!label) return;
    page.toast.hide();
    dispatch({ type });
    projectChanged();
    context.announce(`${type === "undone" ? "Undone" : "Redone"}: ${label}`);
  }

  /** @param {string} message */
  function notifyWithUndo(message) {
    page.toast.notify(message, { label: "Take it back", onClick: () => step("undone") });
  }

  /** @param {Engine} engine */
  function latentsChanged(engine) {
    dispatch({ type: "embedded", embedded: engine.dataset.embedded });
    page.projectChanged();
    autosave.save();
  }

  // ---- classes ----

  /** @param {number} id @returns {string} */
  function nameOf(id) {
    return state.project.classes.find((one) => one.id === id)?.name ?? "";
  }

  /** @returns {number} */
  function newClass() {
    edits += 1;
    const { project, id } = addClass(state.project);
    change(project, `Add ${project.classes.at(-1)?.name}`, `name ${edits}`);
    view.nameClass(id);
    return id;
  }

  /** @param {number} id @param {string} name @param {string} from the name before the edit @returns {string | null} error message if the name is invalid */
  function rename(id, name, from) {
    try {
      const isNew = state.key === `name ${edits}` && state.past.at(-1)?.label.startsWith("Add ");
      change(renameClass(state.project, id, name), isNew ? `Add ${name.trim()}` : `Rename ${from} to ${name.trim()}`, `name ${edits}`);
      return null;
    } catch (cause) {
      return sentence(cause instanceof Error ? cause.message.replace(/^class: /, "") : String(cause));
    }
  }

  // ---- pictures ----

  /** @param {Promise<DroppedFiles>} found @param {Element | null} target @param {(files: DroppedFile[]) => unknown} otherwise */
  function onFiles(found, target, otherwise) {
    const label = view.classAt(target);
    return context.attempt(async () => {
      const { files, folders } = await found;
      const zips = files.filter(({ name, file }) => /\.zip$/i.test(name) || file.type === "application/zip");
      const tables = files.filter(({ name }) => /\.(safetensors|npz)$/i.test(name));
      const images = files.filter((each) => !zips.includes(each) && !tables.includes(each));
      if (zips.length) await addZips(zips);
      if (tables.length) await loadLatents(tables);
      if (!images.length && (zips.length || tables.length)) return;
      if (label !== null) await add(label, images);
      else if (folders > 1 || (folders && images.some(({ name }) => name.split("/").length > 2))) await addFolders(images);
      else otherwise(images);
    });
  }

  /** Handles pictures or an answer dragged onto a class. @param {number} label @param {{ pictures: boolean, answer: number | null }} items */
  function dropped(label, items) {
    context.attempt(async () => {
      if (items.pictures) moveTo(state.selection, label);
      if (items.answer !== null) await addAnswered(items.answer, label);
    });
  }

  /** @param {number} label @param {readonly DroppedFile[]} files */
  async function add(label, files) {
    if (!files.length) throw new Error("No pictures found. Choose JPEG, PNG, WebP, GIF, BMP or AVIF files.");
    const added = await hashed(files);
    const { project, ids, duplicates } = addPictures(state.project, label, added);
    const where = `${pictures(ids.length)} to ${nameOf(label)}`;
    change(project, `Add ${where}`);
    const message = addedText(ids.length ? where : "", duplicates);
    if (ids.length) notifyWithUndo(message);
    else page.toast.notify(message);
  }

  /** Adds a classified picture to a class. @param {number} id @param {number | null} label null creates a class */
  async function addAnswered(id, label) {
    const row = page.row(id);
    const engine = context.engine();
    if (!row?.answer || !engine) return;
    const { name, file, answer: { latents, width, height, thumbnail: seen } } = row;
    const [hash, thumbnail] = await Promise.all([hashOf(file), seen ? seen.arrayBuffer().then((bytes) => new Uint8Array(bytes)) : null]);
    if (!engine.dataset.embedded.has(hash)) engine.dataset.embedded.set(hash, { latents, width, height, thumbnail });
    dispatch({ type: "embedded", embedded: engine.dataset.embedded });
    const into = label ?? newClass();
    const { project, duplicates } = addPictures(state.project, into, [{ name, hash, file }]);
    if (duplicates) {
      page.toast.notify(`${name} is already in ${nameOf(into)}.`);
      return;
    }
    change(project, `Add ${name} to ${nameOf(into)}`);
    notifyWithUndo(`Added ${name} to ${nameOf(into)}.`);
  }

  /** Adds each folder as a class. @param {readonly DroppedFile[]} files */
  async function addFolders(files) {
    const { classOf } = await archive();
    const sorted = files.flatMap(({ name, file }) => {
      const className = classOf(name);
      return className === null ? [] : [{ name, file, className }];
    });
    if (!sorted.length) throw new Error("No folders with pictures found. Put the pictures of each class into a folder named after the class.");
    const classNames = new Map(sorted.map(({ name, className }) => [name, className]));
    const names = [...new Set(classNames.values())].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const added = (await hashed(sorted)).map((each) => ({ ...each, className: classNames.get(each.name) ?? "" }));
    const { project, ids, duplicates } = addNamed(state.project, names, added);
    const where = `${pictures(ids.length)} to ${names.length === 1 ? "the class" : `${names.length} classes`}: ${listOf(names, MAX_NAMES)}`;
    const before = state.project;
    change(project, `Add ${pictures(ids.length)} in folders`);
    const message = addedText(ids.length ? where : "", duplicates, files.length - sorted.length);
    if (project === before) page.toast.notify(message);
    else notifyWithUndo(message);
  }

  /** @param {readonly DroppedFile[]} zips */
  async function addZips(zips) {
    const { isProject, unzipPictures } = await archive();
    for (const { name, file } of zips) {
      if (await isProject(file)) {
        await openProject(file);
        continue;
      }
      const files = await withProgress({ label: `Unpacking ${name}`, cancel: false }, () => unzipPictures(file));
      if (!files.length) throw new Error(`No pictures found in ${name}. Put the pictures of each class into a folder named after the class.`);
      await addFolders(files);
    }
  }

  /** @param {readonly DroppedFile[]} files @returns {Promise<{ name: string, hash: string, file: Blob }[]>} */
  function hashed(files) {
    return withProgress({ label: "Reading pictures", cancel: true }, async (onProgress, signal) => {
      /** @type {{ name: string, hash: string, file: Blob }[]} */
      const results = [];
      const queue = files.entries();
      let done = 0;
      await Promise.all(Array.from({ length: READERS }, async () => {
        for (const [index, { name, file }] of queue) {
          signal.throwIfAborted();
          const hash = await hashOf(file).catch((cause) => {
            throw new Error(`${name} could not be read; choose it again.`, { cause });
          });
          results[index] = { name, hash, file };
          onProgress({ done: ++done, total: files.length });
        }
      }));
      return results;
    });
  }

  /** @param {ReadonlySet<number>} ids @param {number} label */
  function moveTo(ids, label) {
    const moving = state.project.pictures.filter((picture) => ids.has(picture.id) && picture.label !== label);
    if (!moving.length) return;
    const text = `${pictures(moving.length)} to ${nameOf(label)}`;
    change(relabel(state.project, moving.map(({ id }) => id), label), `Move ${text}`);
    dispatch({ type: "selected", ids: new Set() });
    context.announce(`Moved ${text}`);
  }

  /** @param {ReadonlySet<number>} ids */
  function removeAll(ids) {
    const size = gallery(state).filter(({ id }) => ids.has(id)).length;
    if (!size) return;
    change(removePictures(state.project, ids), `Remove ${pictures(size)}`);
    notifyWithUndo(`Removed ${pictures(size)}.`);
  }

  /** Deletes all classes, to free storage. Can be undone. */
  function clear() {
    const size = state.project.pictures.length;
    change({ ...state.project, classes: [], pictures: [] }, "Delete all classes");
    notifyWithUndo(`Deleted all classes with ${pictures(size)}.`);
  }

  /** A picture's thumbnail or, without one, its file. `ratio` is the aspect ratio of the original, because thumbnails are square. @param {Picture} picture */
  function imageOf(picture) {
    const embedded = state.embedded.get(picture.hash);
    return { image: embedded?.thumbnail ?? picture.file, ratio: embedded?.width && embedded.thumbnail ? embedded.width / embedded.height : null };
  }

  // ---- files ----

  /**
   * Runs a long task and shows its progress.
   * @template T
   * @param {{ label: string, cancel: boolean }} options  `cancel`: whether it can be cancelled.
   * @param {(onProgress: (progress: { done: number, total: number }) => void, signal: AbortSignal) => Promise<T>} work
   * @returns {Promise<T>}
   */
  async function withProgress({ label, cancel }, work) {
    const run = new AbortController();
    cancelTask = run;
    tasks += 1;
    /** @param {{ done: number, total: number }} progress */
    const onProgress = ({ done, total }) => dispatch({ type: "task", task: { label, done, total, cancel } });
    onProgress({ done: 0, total: 0 });
    try {
      return await work(onProgress, run.signal);
    } finally {
      tasks -= 1;
      dispatch({ type: "task", task: null });
    }
  }

  async function tenClasses() {
    const file = await withProgress({ label: "Loading the ten classes", cancel: false }, async () => {
      const response = await fetch(TEN_CLASSES);
      if (!response.ok) throw new Error(`The ten-class latents could not be loaded (HTTP ${response.status}); check the connection and try again.`);
      return response.blob();
    });
    await importLatents([file], "Load the ten classes");
  }

  /** @param {readonly DroppedFile[]} files */
  async function loadLatents(files) {
    await importLatents(files.map(({ file }) => file), "Load latents");
  }

  /** @param {Blob[]} files @param {string} label */
  async function importLatents(files, label) {
    await withProgress({ label: context.engine() ? label : "Waiting for the network", cancel: false }, async () => {
      const engine = await engineReady();
      const before = state.project;
      const { classes, duplicates, notice } = await engine.importLatents(files);
      dispatch({ type: "embedded", embedded: engine.dataset.embedded });
      const after = engine.dataset.project;
      const added = after.pictures.length - before.pictures.length;
      change(after, label);
      const message = [addedText(added ? `${pictures(added)} to ${listOf(classes, MAX_NAMES)}` : "", duplicates), notice && sentence(notice)].filter(Boolean).join(" ");
      if (after === before) page.toast.notify(message);
      else notifyWithUndo(message);
    });
  }

  /** @param {"safetensors" | "npz"} format */
  async function saveLatents(format) {
    if (!state.project.pictures.some(({ hash }) => state.embedded.has(hash))) throw new Error("There are no latents yet. Add pictures to a class first.");
    const blob = await withProgress({ label: "Saving the latents", cancel: false }, async () => (await engineReady()).exportLatents(format));
    download(`latents.${format}`, blob);
  }

  async function saveProject() {
    if (!state.project.classes.length) throw new Error("There is nothing to save yet. Add a class first.");
    const blob = await withProgress({ label: "Saving the project", cancel: true }, async (onProgress, signal) => {
      const { saveProject } = await archive();
      const engine = await engineReady();
      const { project, embedded } = state;
      return saveProject({ project, embedded: new Map(embedded), ...page.train.kept() }, engine, { onProgress, signal });
    });
    download(`${state.project.name}.zip`, blob);
  }

  /** @param {Blob} file */
  async function openProject(file) {
    await withProgress({ label: "Opening the project", cancel: true }, async (onProgress, signal) => {
      const { openProject } = await archive();
      const engine = await engineReady();
      const { kept, notice } = await openProject(file, engine, { onProgress, signal });
      const wasEmpty = !state.project.classes.length;
      onProgress({ done: 0, total: 0 }); // the duration of saving is unknown
      await context.store()?.replace(engine.fingerprint, kept);
      autosave.forgetLatents();
      for (const [hash, embedded] of kept.embedded) engine.dataset.embedded.set(hash, embedded);
      autosave.latentsStored(kept.embedded.keys());
      if (context.store()) autosave.projectStored(kept.project);
      dispatch({ type: "embedded", embedded: engine.dataset.embedded });
      dispatch({ type: "cancelled", hashes: new Set() });
      change(kept.project, "Open project");
      await page.train.ready(kept);
      const { project: { name, classes, pictures: all }, runs } = kept;
      const message = `Opened "${name}": ${listOf([
        classes.length === 1 ? "1 class" : `${classes.length} classes`, pictures(all.length), ...(runs.length ? [runs.length === 1 ? "1 run" : `${runs.length} runs`] : []),
      ])}.${notice ? ` ${sentence(notice)}` : ""}`;
      if (wasEmpty) page.toast.notify(message);
      else notifyWithUndo(message);
    });
  }

  /** Loads the code for zip files on first use. */
  function archive() {
    return import("../../project/archive.js");
  }
}
