// @ts-check
/** The room where people make classes and fill them. Names of files and classes go in as text, never as markup. */
import { named, ofFolder } from "../../ui/drop.js";
import { alert, button, byId, make, takesText } from "../../ui/dom.js";
import { pictures } from "../../ui/format.js";
import { createRenderer } from "../../ui/render.js";
import { createClasses, KEYS } from "./classes.js";
import { createGrid } from "./gallery.js";
import { gallery, jobText, lacking, summaryText, taskText } from "./state.js";
import { createWebcam } from "./webcam.js";

/** @import { Arrival } from "../../ui/drop.js" */
/** @import { ClassHandlers } from "./classes.js" */
/** @import { GridHandlers } from "./gallery.js" */
/** @import { State } from "./state.js" */
/**
 * @typedef {Omit<ClassHandlers, "webcam"> & GridHandlers & {
 *   addClass(): unknown, addFolders(files: Arrival[]): unknown, addZips(files: Arrival[]): unknown,
 *   undo(): unknown, redo(): unknown, compute(): unknown, cancelComputing(): unknown, cancelTask(): unknown, dismiss(): unknown,
 *   tenClasses(): unknown, loadLatents(files: Arrival[]): unknown, saveLatents(form: "safetensors" | "npz"): unknown,
 *   openProject(file: File): unknown, saveProject(): unknown, classForRow(row: number, label: number | null): unknown,
 * }} Handlers
 */

/** Broken pictures that are listed by name. */
const LISTED = 20;

/** @param {Handlers} on */
export function createTeachView(on) {
  const undo = byId("undo", HTMLButtonElement);
  const redo = byId("redo", HTMLButtonElement);
  const show = byId("gallery-show", HTMLSelectElement);
  const moveTo = byId("gallery-move", HTMLSelectElement);
  const listbox = byId("gallery-grid", HTMLElement);
  const webcam = createWebcam((files) => on.add(webcamFor, files));
  const classes = createClasses(byId("classes", HTMLElement), {
    ...on,
    webcam(label) {
      webcamFor = label;
      webcam.open(nameOf(label));
    },
  });
  const grid = createGrid(listbox, on);
  const chooser = createChooser();
  let webcamFor = 0;
  /** @type {State | null} */
  let shown = null;
  const { render, flush } = createRenderer(paint);

  listenForButtons(on, () => shown);
  listenForUndo(on);

  return { render, nameClass, classAt, hint, chooseClass };

  /** @param {State} state @param {State | null} before */
  function paint(state, before) {
    shown = state;
    paintProgress(state);
    if (state.project !== before?.project || state.loaded !== before.loaded) paintHead(state);
    if (state.project !== before?.project || state.revision !== before.revision || state.shown !== before.shown) classes.render(state);
    paintGallery(state);
  }

  /** @param {State} state */
  function paintHead(state) {
    const { past, future, project, loaded } = state;
    byId("teach-summary", HTMLElement).textContent = summaryText(state);
    byId("teach-empty", HTMLElement).hidden = !loaded || project.classes.length > 0;
    document.body.toggleAttribute("data-classes", project.classes.length > 0);
    byId("teach-tools", HTMLFieldSetElement).disabled = !loaded;
    const focused = document.activeElement;
    undo.disabled = !past.length;
    redo.disabled = !future.length;
    if (focused === undo && undo.disabled) redo.focus();
    if (focused === redo && redo.disabled) undo.focus();
    undo.title = past.length ? `Undo: ${past[past.length - 1].words}` : "Nothing to undo";
    redo.title = future.length ? `Redo: ${future[future.length - 1].words}` : "Nothing to redo";
    const options = (/** @type {HTMLOptionElement[]} */ first) => [...first, ...project.classes.map(({ id, name }) => new Option(name, String(id)))];
    show.replaceChildren(...options([new Option("All classes", "")]));
    const chosen = moveTo.value;
    moveTo.replaceChildren(...options([]));
    if (project.classes.some(({ id }) => String(id) === chosen)) moveTo.value = chosen;
  }

  /** @param {State} state */
  function paintProgress(state) {
    const { job, task, broken, notice } = state;
    const held = job ? 0 : lacking(state).size;
    words("teach-notice", notice);
    words("teach-job-text", job && jobText(job));
    words("teach-task-text", task && taskText(task));
    words("teach-held-text", held && state.held.size ? `${pictures(held)} ${held === 1 ? "waits" : "wait"} for latents.` : null);
    bar("teach-job", job);
    bar("teach-task", task);
    byId("teach-held", HTMLElement).hidden = !held || !state.held.size;
    byId("teach-task-cancel", HTMLButtonElement).hidden = !task?.cancel;
    const box = byId("teach-broken", HTMLElement);
    const listed = broken.slice(-LISTED).map(({ name, reason }) => `${name}: ${reason}`).join("\n");
    box.hidden = !broken.length;
    if (box.dataset.listed === listed) return;
    box.dataset.listed = listed;
    if (!broken.length) return;
    const n = broken.length;
    const more = n > LISTED ? [make("p", "", `and ${pictures(n - LISTED)} before`)] : [];
    box.replaceChildren(
      alert(`${pictures(n)} could not be read, and ${n === 1 ? "was" : "were"} left out:`),
      make("ul", "", ...broken.slice(-LISTED).map(({ name, reason }) => make("li", "", make("b", "", name), ` ${reason}`))),
      ...more,
      make("p", "ways", button("Dismiss", on.dismiss)),
    );
  }

  /** @param {string} id @param {string | null} text */
  function words(id, text) {
    const element = byId(id, HTMLElement);
    if (element.textContent !== (text ?? "")) element.textContent = text;
    if (id === "teach-notice") element.hidden = !text;
  }

  /** @param {string} id @param {{ done: number, total: number } | null} progress */
  function bar(id, progress) {
    byId(id, HTMLElement).hidden = !progress;
    const element = byId(`${id}-bar`, HTMLProgressElement);
    element.max = progress?.total || 1;
    if (progress?.total) element.value = progress.done;
    else element.removeAttribute("value");
  }

  /** @param {State} state */
  function paintGallery(state) {
    const { project, embedded, selection } = state;
    const listed = gallery(state);
    const size = selection.size;
    byId("gallery", HTMLElement).hidden = !project.pictures.length;
    byId("teach-body", HTMLElement).toggleAttribute("data-pictures", project.pictures.length > 0);
    show.value = String(state.shown ?? "");
    byId("gallery-none", HTMLElement).hidden = listed.length > 0;
    listbox.hidden = !listed.length;
    byId("gallery-chosen", HTMLElement).textContent = size ? `${pictures(size)} chosen` : pictures(listed.length);
    const ways = byId("gallery-actions", HTMLElement);
    const leftAlone = !size && ways.contains(document.activeElement);
    ways.hidden = !size;
    byId("gallery-keys", HTMLElement).hidden = !listed.length;
    grid.render({
      pictures: listed,
      selection,
      classNames: new Map(project.classes.map(({ id, name }) => [id, name])),
      classIds: project.classes.map(({ id }) => id),
      hasLatents: ({ hash }) => embedded.has(hash),
    });
    if (leftAlone) grid.focus();
  }

  /** @param {number} id */
  function nameOf(id) {
    return shown?.project.classes.find((one) => one.id === id)?.name ?? "";
  }

  /** Puts the cursor into a class's name, at once: people type on. @param {number} id */
  function nameClass(id) {
    flush();
    classes.nameClass(id);
  }

  /** The class that something dropped or pasted there goes to. @param {Element | null} target @returns {number | null} */
  function classAt(target) {
    return classes.classAt(target) ?? (target?.closest("#gallery") ? (shown?.shown ?? null) : null);
  }

  /** What a drop there would do. @param {Element | null} target @returns {string | null} null on a class, which lights up */
  function hint(target) {
    const label = classAt(target);
    if (classes.classAt(target) !== null) return null;
    if (label !== null) return `Drop to add to ${nameOf(label)}`;
    return shown?.project.classes.length ? "Drop to see what they are, or drop onto a class" : "Drop to see what they are";
  }

  /** Asks which class an answered picture is to be added to. @param {number} row @param {string} name */
  function chooseClass(row, name) {
    chooser(name, shown?.project.classes ?? [], (label) => on.classForRow(row, label));
  }
}

/** @param {Handlers} on @param {() => State | null} state */
function listenForButtons(on, state) {
  const chosen = () => state()?.selection ?? new Set();
  /** @type {[string, () => unknown][]} */
  const buttons = [
    ["add-class", on.addClass],
    ["ten-classes", on.tenClasses],
    ["save-latents", () => on.saveLatents(byId("latents-form", HTMLSelectElement).value === "npz" ? "npz" : "safetensors")],
    ["save-project", on.saveProject],
    ["undo", on.undo],
    ["redo", on.redo],
    ["teach-job-cancel", on.cancelComputing],
    ["teach-task-cancel", on.cancelTask],
    ["compute", on.compute],
    ["gallery-move-do", () => on.relabel(chosen(), Number(byId("gallery-move", HTMLSelectElement).value))],
    ["gallery-remove", () => on.remove(chosen())],
  ];
  for (const [id, press] of buttons) byId(id, HTMLButtonElement).addEventListener("click", () => press());
  byId("gallery-show", HTMLSelectElement).addEventListener("change", ({ target }) => {
    const { value } = /** @type {HTMLSelectElement} */ (target);
    on.show(value ? Number(value) : null);
  });
  /** @type {[string, (files: FileList) => unknown][]} */
  const pickers = [
    ["class-folder", (files) => on.addFolders(ofFolder(files))],
    ["class-zip", (files) => on.addZips(named(files))],
    ["load-latents", (files) => on.loadLatents(named(files))],
    ["open-project", (files) => on.openProject(files[0])],
  ];
  for (const [id, chose] of pickers) {
    const input = byId(id, HTMLInputElement);
    input.addEventListener("change", () => {
      if (input.files?.length) chose(input.files);
      input.value = "";
    });
  }
}

/** @param {Handlers} on */
function listenForUndo(on) {
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || takesText(event.target) || document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && !(key === "y" && !event.shiftKey)) return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) on.redo();
    else on.undo();
  });
}

/** A dialog that asks for a class. */
function createChooser() {
  const title = make("h2", "");
  title.id = "chooser-title";
  const list = make("div", "chooser-classes");
  const dialog = document.createElement("dialog");
  dialog.className = "chooser";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, list, make("p", "ways", button("Close", () => dialog.close())));
  document.body.append(dialog);
  dialog.addEventListener("keydown", ({ key }) => {
    const number = Number(key);
    const choice = number >= 1 && number <= KEYS ? list.children[number - 1] : null;
    if (choice instanceof HTMLButtonElement && choice.dataset.class) choice.click();
  });

  /** @param {string} name @param {readonly { id: number, name: string }[]} classes @param {(label: number | null) => unknown} chose */
  return (name, classes, chose) => {
    title.textContent = `Teach ${name} as`;
    /** @param {string} words @param {number | null} label */
    const choice = (words, label) => {
      const made = button(words, () => {
        dialog.close();
        chose(label);
      });
      made.dataset.class = label === null ? "" : String(label);
      return made;
    };
    const fresh = choice("New class", null);
    fresh.classList.add("fresh");
    list.replaceChildren(...classes.map((one) => choice(one.name, one.id)), fresh);
    dialog.showModal();
  };
}
