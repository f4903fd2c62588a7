// @ts-check
/** From classes and pictures to a kept project with its latents: actions change the state, the state is shown, and what changed is saved. */
import { download } from "../../ui/dom.js";
import { addClass, addNamed, addPictures, emptyProject, hashOf, mergeClasses, moveClass, openFile, relabel, removeClass, removePictures, renameClass } from "../../project/project.js";
import { listOf, pictures, sentence } from "../../ui/format.js";
import { addedText, gallery, initialState, lacking, reduce } from "./state.js";
import { createTeachView } from "./view.js";

/** @import { Arrival, Found } from "../../ui/drop.js" */
/** @import { Context } from "../../app/context.js" */
/** @import { Embedded, Engine } from "../../engine/engine.js" */
/** @import { Picture, Project } from "../../project/project.js" */
/** @import { Kept } from "../../project/store.js" */
/** @import { Toast } from "../../ui/toast.js" */
/** @import { Row } from "../predict/state.js" */
/** @import { Action } from "./state.js" */

const TEN_CLASSES = "ten-classes/latents.safetensors";
const THUMBNAIL = 128;
/** Pictures asked for at a time, so that what is removed meanwhile is not computed. */
const ROUND = 16;
/** Latents saved in one transaction. */
const SAVED_AT_ONCE = 256;
/** Files read at a time. */
const READERS = 4;
/** Class names in a message; of more, only the number is given. */
const NAMED = 5;

/**
 * @param {Context} context
 * @param {{
 *   toast: Toast, row(id: number): Row | undefined, projectChanged(): unknown,
 *   study: { ready(kept: Kept): Promise<void>, kept(): Pick<Kept, "runs" | "runInUse" | "head"> },
 * }} page
 */
export function createTeach(context, page) {
  let state = initialState;
  /** @type {Project} what the store has */
  let saved = emptyProject;
  /** Hashes whose latents the store has. @type {Set<string>} */
  const stored = new Set();
  let saving = false;
  /** What the last save failed of. @type {string | null} */
  let trouble = null;
  /** @type {AbortController | null} */
  let computing = null;
  /** @type {AbortController | null} */
  let cancelTask = null;
  let tasks = 0;
  /** Counts the edits of names: the letters of one are one step. */
  let edits = 0;
  /** @type {{ resolve(): void, reject(error: Error): void }[]} */
  let waiting = [];

  const view = createTeachView({
    addClass: () => context.attempt(async () => newClass()),
    rename,
    renamed: () => void (edits += 1),
    move: (id, index) => context.attempt(async () => change(moveClass(state.project, id, index), `Move ${nameOf(id)}`)),
    merge: (from, into) => context.attempt(async () => {
      const words = `Merge ${nameOf(from)} into ${nameOf(into)}`;
      change(mergeClasses(state.project, from, into), words);
      tell(`Merged into ${nameOf(into)}.`);
    }),
    removeClass: (id) => context.attempt(async () => {
      const name = nameOf(id);
      const size = state.project.pictures.filter(({ label }) => label === id).length;
      change(removeClass(state.project, id), `Delete ${name}`);
      tell(`Deleted ${name}${size ? ` with ${pictures(size)}` : ""}.`);
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
      dispatch({ type: "held", hashes: new Set() });
      compute();
    },
    cancelComputing: () => computing?.abort(),
    cancelTask: () => cancelTask?.abort(),
    dismiss: () => dispatch({ type: "dismissed" }),
    tenClasses: () => context.attempt(tenClasses),
    loadLatents: (files) => context.attempt(() => loadLatents(files)),
    saveLatents: (form) => context.attempt(() => saveLatents(form)),
    openProject: (file) => context.attempt(() => openProject(file)),
    saveProject: () => context.attempt(saveProject),
    imageOf,
    classForRow: (id, label) => context.attempt(() => teach(id, label)),
  });

  return {
    open,
    ready,
    unready,
    change,
    clear,
    came,
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
    /** Whether leaving the page would lose something. */
    get busy() {
      return saving || computing !== null || tasks > 0 || trouble !== null || (!context.store() && state.project.pictures.length > 0);
    },
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  // ---- what was kept, and what is to be ----

  /** Shows what earlier visits left, or says why nothing is kept. @param {Project} project @param {Error | null} refused */
  function open(project, refused) {
    saved = project;
    if (refused) dispatch({ type: "notice", words: sentence(refused.message) });
    dispatch({ type: "loaded", project });
    page.projectChanged();
  }

  /** The engine is there: it gets the project and what is kept of its latents. */
  async function ready() {
    const engine = /** @type {Engine} */ (context.engine());
    const kept = await context.store()?.load(engine.fingerprint).catch((cause) => {
      console.error(cause);
      dispatch({ type: "notice", words: sentence(cause.message) });
    });
    for (const [hash, embedded] of state.embedded) engine.dataset.embedded.set(hash, embedded);
    for (const [hash, embedded] of kept?.embedded ?? []) {
      engine.dataset.embedded.set(hash, embedded);
      stored.add(hash);
    }
    dispatch({ type: "embedded", embedded: engine.dataset.embedded });
    await page.study.ready(kept ?? { project: state.project, embedded: new Map(), runs: [], runInUse: null, head: null });
    projectChanged();
    for (const { resolve } of waiting.splice(0)) resolve();
    const store = context.store();
    if (!store?.refusal) await store?.sweep();
  }

  /** The engine could not be loaded: nobody need wait for it. */
  function unready() {
    for (const { reject } of waiting.splice(0)) reject(new Error("The network could not be loaded; choose \"Try again\" above first."));
  }

  /** @returns {Promise<Engine>} */
  async function engineReady() {
    if (!context.engine() || !state.loaded) await new Promise((resolve, reject) => waiting.push({ resolve: () => resolve(null), reject }));
    return /** @type {Engine} */ (context.engine());
  }

  /** @param {Project} project @param {string} words @param {string} [key] */
  function change(project, words, key) {
    if (project === state.project) return;
    page.toast.hide();
    dispatch({ type: "changed", project, words, key });
    projectChanged();
  }

  function projectChanged() {
    const engine = context.engine();
    if (engine) engine.dataset.project = state.project;
    page.projectChanged();
    persist();
    compute();
  }

  /** @param {"undone" | "redone"} type */
  function step(type) {
    const words = (type === "undone" ? state.past : state.future).at(-1)?.words;
    if (!words) return;
    page.toast.hide();
    dispatch({ type });
    projectChanged();
    context.announce(`${type === "undone" ? "Undone" : "Done again"}: ${words}`);
  }

  /** Says what was done, with the way back. @param {string} words */
  function tell(words) {
    page.toast.say(words, { words: "Take it back", press: () => step("undone") });
  }

  /** Saves what differs from what the store has, until nothing does. */
  async function persist() {
    const store = context.store();
    if (!store || saving || !state.loaded) return;
    saving = true;
    try {
      for (;;) {
        const some = unsaved();
        if (some.size) { // before the pictures, for some have nothing but their latents
          await store.saveEmbedded(/** @type {Engine} */ (context.engine()).fingerprint, some);
          for (const hash of some.keys()) stored.add(hash);
        } else if (saved !== state.project) {
          const target = state.project;
          await store.saveProject(saved, target);
          saved = target;
        } else break;
      }
      if (trouble) dispatch({ type: "notice", words: null });
      trouble = null;
    } catch (cause) {
      const words = sentence(cause instanceof Error ? cause.message : String(cause));
      console.error(cause);
      if (words !== trouble) page.toast.alarm(words);
      trouble = words;
      dispatch({ type: "notice", words });
    } finally {
      saving = false;
    }
  }

  /** @returns {Map<string, Embedded>} latents of the project that the store has not */
  function unsaved() {
    /** @type {Map<string, Embedded>} */
    const some = new Map();
    if (!context.engine()) return some;
    for (const { hash } of state.project.pictures) {
      const embedded = stored.has(hash) ? undefined : state.embedded.get(hash);
      if (embedded && some.size < SAVED_AT_ONCE) some.set(hash, embedded);
    }
    return some;
  }

  // ---- latents ----

  /** Computes what lacks latents and was not cancelled; one run at a time. */
  async function compute() {
    const engine = context.engine();
    if (computing || !engine || !state.loaded || !wanted().length) return;
    const run = new AbortController();
    computing = run;
    /** @type {number | null} */
    let read = null;
    await context.attempt(async () => {
      read = await computeAll(engine, run.signal);
    });
    computing = null;
    dispatch({ type: "computing", job: null });
    if (read === null) {
      dispatch({ type: "held", hashes: new Set(lacking(state).keys()) });
      return;
    }
    if (read) context.announce(`Read ${pictures(read)}`);
    compute(); // what came at the last moment
  }

  function wanted() {
    return [...lacking(state)].filter(([hash]) => !state.held.has(hash));
  }

  /** @param {Engine} engine @param {AbortSignal} signal @returns {Promise<number>} how many pictures it has read */
  async function computeAll(engine, signal) {
    const { embedded } = engine.dataset;
    const looked = new Set();
    let done = 0;
    let startedAt = 0;
    for (let missing = wanted(); missing.length; missing = wanted()) {
      const unknown = missing.map(([hash]) => hash).filter((hash) => !looked.has(hash));
      for (const hash of unknown) looked.add(hash);
      const found = unknown.length ? await context.store()?.findEmbedded(engine.fingerprint, unknown) : undefined;
      if (found?.size) {
        for (const [hash, one] of found) {
          embedded.set(hash, one);
          stored.add(hash);
        }
        latentsCame(engine);
        continue;
      }
      const round = missing.slice(0, ROUND);
      startedAt ||= performance.now();
      const job = () => ({ done, total: done + wanted().length, startedAt, now: performance.now() });
      dispatch({ type: "computing", job: job() });
      /** @type {Map<string, string>} */
      const reasons = new Map();
      const files = await Promise.all(round.map(([, file]) => openFile(file)));
      await engine.embed(files, {
        thumbnails: THUMBNAIL,
        signal,
        onPicture(index, outcome) {
          const [hash] = round[index];
          done += 1;
          if (outcome instanceof Error) reasons.set(hash, sentence(outcome.message));
          else embedded.set(hash, outcome);
          latentsCame(engine);
          dispatch({ type: "computing", job: job() });
        },
      });
      if (reasons.size) {
        dispatch({ type: "broke", reasons });
        projectChanged();
      }
    }
    return done;
  }

  /** @param {Engine} engine */
  function latentsCame(engine) {
    dispatch({ type: "embedded", embedded: engine.dataset.embedded });
    page.projectChanged();
    persist();
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

  /** @param {number} id @param {string} name @param {string} from what it was called before the edit @returns {string | null} what is wrong with the name */
  function rename(id, name, from) {
    try {
      const fresh = state.key === `name ${edits}` && state.past.at(-1)?.words.startsWith("Add ");
      change(renameClass(state.project, id, name), fresh ? `Add ${name.trim()}` : `Rename ${from} to ${name.trim()}`, `name ${edits}`);
      return null;
    } catch (cause) {
      return sentence(cause instanceof Error ? cause.message.replace(/^class: /, "") : String(cause));
    }
  }

  // ---- pictures ----

  /** @param {Promise<Found>} found @param {Element | null} target @param {(files: Arrival[]) => unknown} otherwise */
  function came(found, target, otherwise) {
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

  /** What was dragged from elsewhere on the page onto a class. @param {number} label @param {{ pictures: boolean, answer: number | null }} carried */
  function dropped(label, carried) {
    context.attempt(async () => {
      if (carried.pictures) moveTo(state.selection, label);
      if (carried.answer !== null) await teach(carried.answer, label);
    });
  }

  /** @param {number} label @param {readonly Arrival[]} files */
  async function add(label, files) {
    if (!files.length) throw new Error("There is no picture in that. Try JPEG, PNG, WebP or GIF files.");
    const arrivals = await hashed(files);
    const { project, ids, duplicates } = addPictures(state.project, label, arrivals);
    const where = `${pictures(ids.length)} to ${nameOf(label)}`;
    change(project, `Add ${where}`);
    const words = addedText(ids.length ? where : "", duplicates);
    if (ids.length) tell(words);
    else page.toast.say(words);
  }

  /** An answered picture becomes a picture of a class. @param {number} id @param {number | null} label null makes a class */
  async function teach(id, label) {
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
      page.toast.say(`${name} is in ${nameOf(into)} already.`);
      return;
    }
    change(project, `Add ${name} to ${nameOf(into)}`);
    tell(`Added ${name} to ${nameOf(into)}.`);
  }

  /** Each folder a class. @param {readonly Arrival[]} files */
  async function addFolders(files) {
    const { classOf } = await archive();
    const sorted = files.flatMap(({ name, file }) => {
      const className = classOf(name);
      return className === null ? [] : [{ name, file, className }];
    });
    if (!sorted.length) throw new Error("There is no folder with pictures in that. Put the pictures of each class into a folder with the class's name.");
    const classNames = new Map(sorted.map(({ name, className }) => [name, className]));
    const names = [...new Set(classNames.values())].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    const arrivals = (await hashed(sorted)).map((each) => ({ ...each, className: classNames.get(each.name) ?? "" }));
    const { project, ids, duplicates } = addNamed(state.project, names, arrivals);
    const where = `${pictures(ids.length)} to ${names.length === 1 ? "the class" : `${names.length} classes`}: ${listOf(names, NAMED)}`;
    const before = state.project;
    change(project, `Add ${pictures(ids.length)} in folders`);
    const words = addedText(ids.length ? where : "", duplicates, files.length - sorted.length);
    if (project === before) page.toast.say(words);
    else tell(words);
  }

  /** @param {readonly Arrival[]} zips */
  async function addZips(zips) {
    const { isProject, unzipPictures } = await archive();
    for (const { name, file } of zips) {
      if (await isProject(file)) {
        await openProject(file);
        continue;
      }
      const files = await during({ words: `Unpacking ${name}`, cancel: false }, () => unzipPictures(file));
      if (!files.length) throw new Error(`There is no picture in ${name}. Put the pictures of each class into a folder with the class's name.`);
      await addFolders(files);
    }
  }

  /** @param {readonly Arrival[]} files @returns {Promise<{ name: string, hash: string, file: Blob }[]>} */
  function hashed(files) {
    return during({ words: "Reading pictures", cancel: true }, async (tell, signal) => {
      /** @type {{ name: string, hash: string, file: Blob }[]} */
      const arrivals = [];
      const unread = files.entries();
      let done = 0;
      await Promise.all(Array.from({ length: READERS }, async () => {
        for (const [index, { name, file }] of unread) {
          signal.throwIfAborted();
          const hash = await hashOf(file).catch((cause) => {
            throw new Error(`${name} could not be read; choose it again.`, { cause });
          });
          arrivals[index] = { name, hash, file };
          tell({ done: ++done, total: files.length });
        }
      }));
      return arrivals;
    });
  }

  /** @param {ReadonlySet<number>} ids @param {number} label */
  function moveTo(ids, label) {
    const moving = state.project.pictures.filter((picture) => ids.has(picture.id) && picture.label !== label);
    if (!moving.length) return;
    const words = `${pictures(moving.length)} to ${nameOf(label)}`;
    change(relabel(state.project, moving.map(({ id }) => id), label), `Move ${words}`);
    dispatch({ type: "selected", ids: new Set() });
    context.announce(`Moved ${words}`);
  }

  /** @param {ReadonlySet<number>} ids */
  function removeAll(ids) {
    const there = gallery(state).filter(({ id }) => ids.has(id)).length;
    if (!there) return;
    change(removePictures(state.project, ids), `Remove ${pictures(there)}`);
    tell(`Removed ${pictures(there)}.`);
  }

  /** Removes all classes, to have their room; with the way back. */
  function clear() {
    const there = state.project.pictures.length;
    change({ ...state.project, classes: [], pictures: [] }, "Remove all classes");
    tell(`Removed all classes with ${pictures(there)}.`);
  }

  /** What stands for a picture, its thumbnail or else its file, and the shape of what the thumbnail stretches. @param {Picture} picture */
  function imageOf(picture) {
    const embedded = state.embedded.get(picture.hash);
    return { image: embedded?.thumbnail ?? picture.file, ratio: embedded?.width && embedded.thumbnail ? embedded.width / embedded.height : null };
  }

  // ---- files ----

  /**
   * A long task, with its progress and perhaps a way to end it.
   * @template T
   * @param {{ words: string, cancel: boolean }} about
   * @param {(tell: (progress: { done: number, total: number }) => void, signal: AbortSignal) => Promise<T>} verb
   * @returns {Promise<T>}
   */
  async function during({ words, cancel }, verb) {
    const run = new AbortController();
    cancelTask = run;
    tasks += 1;
    /** @param {{ done: number, total: number }} progress */
    const tell = ({ done, total }) => dispatch({ type: "task", task: { words, done, total, cancel } });
    tell({ done: 0, total: 0 });
    try {
      return await verb(tell, run.signal);
    } finally {
      tasks -= 1;
      dispatch({ type: "task", task: null });
    }
  }

  async function tenClasses() {
    const file = await during({ words: "Loading the ten classes", cancel: false }, async () => {
      const response = await fetch(TEN_CLASSES);
      if (!response.ok) throw new Error(`The ten-class latents could not be loaded (HTTP ${response.status}); check the connection and try again.`);
      return response.blob();
    });
    await importLatents([file], "Load the ten classes");
  }

  /** @param {readonly Arrival[]} files */
  async function loadLatents(files) {
    await importLatents(files.map(({ file }) => file), "Load latents");
  }

  /** @param {Blob[]} files @param {string} words */
  async function importLatents(files, words) {
    await during({ words: context.engine() ? words : "Waiting for the network", cancel: false }, async () => {
      const engine = await engineReady();
      const before = state.project;
      const { classes, duplicates, notice } = await engine.importLatents(files);
      dispatch({ type: "embedded", embedded: engine.dataset.embedded });
      const after = engine.dataset.project;
      const added = after.pictures.length - before.pictures.length;
      change(after, words);
      const said = [addedText(added ? `${pictures(added)} to ${listOf(classes, NAMED)}` : "", duplicates), notice && sentence(notice)].filter(Boolean).join(" ");
      if (after === before) page.toast.say(said);
      else tell(said);
    });
  }

  /** @param {"safetensors" | "npz"} form */
  async function saveLatents(form) {
    if (!state.project.pictures.some(({ hash }) => state.embedded.has(hash))) throw new Error("There are no latents yet. Add pictures to a class first.");
    const blob = await during({ words: "Saving the latents", cancel: false }, async () => (await engineReady()).exportLatents(form));
    download(`latents.${form}`, blob);
  }

  async function saveProject() {
    if (!state.project.classes.length) throw new Error("There is nothing to save yet. Add a class first.");
    const blob = await during({ words: "Saving the project", cancel: true }, async (onProgress, signal) => {
      const { saveProject } = await archive();
      const engine = await engineReady();
      const { project, embedded } = state;
      return saveProject({ project, embedded: new Map(embedded), ...page.study.kept() }, engine, { onProgress, signal });
    });
    download(`${state.project.name}.zip`, blob);
  }

  /** @param {Blob} file */
  async function openProject(file) {
    await during({ words: "Opening the project", cancel: true }, async (onProgress, signal) => {
      const { openProject } = await archive();
      const engine = await engineReady();
      const { kept, notice } = await openProject(file, engine, { onProgress, signal });
      const wasEmpty = !state.project.classes.length;
      onProgress({ done: 0, total: 0 }); // how long saving takes, nobody knows
      await context.store()?.replace(engine.fingerprint, kept);
      stored.clear();
      for (const [hash, embedded] of kept.embedded) {
        engine.dataset.embedded.set(hash, embedded);
        stored.add(hash);
      }
      saved = context.store() ? kept.project : saved;
      dispatch({ type: "embedded", embedded: engine.dataset.embedded });
      dispatch({ type: "held", hashes: new Set() });
      change(kept.project, "Open project");
      await page.study.ready(kept);
      const { project: { name, classes, pictures: all }, runs } = kept;
      const said = `Opened "${name}": ${listOf([
        classes.length === 1 ? "1 class" : `${classes.length} classes`, pictures(all.length), ...(runs.length ? [runs.length === 1 ? "1 run" : `${runs.length} runs`] : []),
      ])}.${notice ? ` ${sentence(notice)}` : ""}`;
      if (wasEmpty) page.toast.say(said);
      else tell(said);
    });
  }

  /** Packing and unpacking is loaded when it is first needed. */
  function archive() {
    return import("../../project/archive.js");
  }
}
