// @ts-check
/** View of the teach panel. File and class names are inserted as text, never as markup. */
import { filesOf, picturesOfFolder } from "../../ui/drop.js";
import { alert, button, byId, make, isTextField } from "../../ui/dom.js";
import { pictures } from "../../ui/format.js";
import { createRenderer } from "../../ui/render.js";
import { createClasses, KEYS } from "./classes.js";
import { createGrid } from "./gallery.js";
import { gallery, jobText, missingLatents, summaryText, taskText } from "./state.js";
import { createWebcam } from "./webcam.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { ClassHandlers } from "./classes.js" */
/** @import { GridHandlers } from "./gallery.js" */
/** @import { State } from "./state.js" */
/**
 * @typedef {Omit<ClassHandlers, "webcam"> & GridHandlers & {
 *   addClass(): unknown, addFolders(files: DroppedFile[]): unknown, addZips(files: DroppedFile[]): unknown,
 *   undo(): unknown, redo(): unknown, compute(): unknown, cancelComputing(): unknown, cancelTask(): unknown, dismiss(): unknown,
 *   tenClasses(): unknown, loadLatents(files: DroppedFile[]): unknown, saveLatents(form: "safetensors" | "npz"): unknown,
 *   openProject(file: File): unknown, saveProject(): unknown, classForRow(row: number, label: number | null): unknown,
 * }} Handlers
 */

/** Maximum number of broken pictures listed by name. */
const MAX_LISTED = 20;

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
    undo.title = past.length ? `Undo: ${past[past.length - 1].label}` : "Nothing to undo";
    redo.title = future.length ? `Redo: ${future[future.length - 1].label}` : "Nothing to redo";
    const options = (/** @type {HTMLOptionElement[]} */ first) => [...first, ...project.classes.map(({ id, name }) => new Option(name, String(id)))];
    show.replaceChildren(...options([new Option("All classes", "")]));
    const chosen = moveTo.value;
    moveTo.replaceChildren(...options([]));
    if (project.classes.some(({ id }) => String(id) === chosen)) moveTo.value = chosen;
  }

  /** @param {State} state */
  function paintProgress(state) {
    const { job, task, broken, notice } = state;
    const waiting = job ? 0 : missingLatents(state).size;
    setText("teach-notice", notice);
    setText("teach-job-text", job && jobText(job));
    setText("teach-task-text", task && taskText(task));
    setText("teach-held-text", waiting && state.cancelled.size ? `${pictures(waiting)} ${waiting === 1 ? "waits" : "wait"} for latents.` : null);
    bar("teach-job", job);
    bar("teach-task", task);
    byId("teach-held", HTMLElement).hidden = !waiting || !state.cancelled.size;
    byId("teach-task-cancel", HTMLButtonElement).hidden = !task?.cancel;
    const box = byId("teach-broken", HTMLElement);
    const listed = broken.slice(-MAX_LISTED).map(({ name, reason }) => `${name}: ${reason}`).join("\n");
    box.hidden = !broken.length;
    if (box.dataset.listed === listed) return;
    box.dataset.listed = listed;
    if (!broken.length) return;
    const n = broken.length;
    const more = n > MAX_LISTED ? [make("p", "", `and ${pictures(n - MAX_LISTED)} before these`)] : [];
    box.replaceChildren(
      alert(`${pictures(n)} could not be read and ${n === 1 ? "was" : "were"} left out:`),
      make("ul", "", ...broken.slice(-MAX_LISTED).map(({ name, reason }) => make("li", "", make("b", "", name), ` ${reason}`))),
      ...more,
      make("p", "actions", button("Dismiss", on.dismiss)),
    );
  }

  /** @param {string} id @param {string | null} text */
  function setText(id, text) {
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
    byId("gallery-chosen", HTMLElement).textContent = size ? `${pictures(size)} selected` : pictures(listed.length);
    const actions = byId("gallery-actions", HTMLElement);
    const focusLost = !size && actions.contains(document.activeElement);
    actions.hidden = !size;
    byId("gallery-keys", HTMLElement).hidden = !listed.length;
    grid.render({
      pictures: listed,
      selection,
      classNames: new Map(project.classes.map(({ id, name }) => [id, name])),
      classIds: project.classes.map(({ id }) => id),
      hasLatents: ({ hash }) => embedded.has(hash),
    });
    if (focusLost) grid.focus();
  }

  /** @param {number} id */
  function nameOf(id) {
    return shown?.project.classes.find((one) => one.id === id)?.name ?? "";
  }

  /** Focuses the name of a class. Paints first, so that the user can type at once. @param {number} id */
  function nameClass(id) {
    flush();
    classes.nameClass(id);
  }

  /** The class that files dropped or pasted at `target` are added to. @param {Element | null} target @returns {number | null} */
  function classAt(target) {
    return classes.classAt(target) ?? (target?.closest("#gallery") ? (shown?.shown ?? null) : null);
  }

  /** Text that describes a drop at `target`. @param {Element | null} target @returns {string | null} null on a class card, which is highlighted instead */
  function hint(target) {
    const label = classAt(target);
    if (classes.classAt(target) !== null) return null;
    if (label !== null) return `Drop to add to ${nameOf(label)}`;
    return shown?.project.classes.length ? "Drop the files to classify them, or onto a class to add them" : "Drop the files to classify them";
  }

  /** Asks which class to add a classified picture to. @param {number} row @param {string} name */
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
    ["class-folder", (files) => on.addFolders(picturesOfFolder(files))],
    ["class-zip", (files) => on.addZips(filesOf(files))],
    ["load-latents", (files) => on.loadLatents(filesOf(files))],
    ["open-project", (files) => on.openProject(files[0])],
  ];
  for (const [id, onFiles] of pickers) {
    const input = byId(id, HTMLInputElement);
    input.addEventListener("change", () => {
      if (input.files?.length) onFiles(input.files);
      input.value = "";
    });
  }
}

/** @param {Handlers} on */
function listenForUndo(on) {
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || isTextField(event.target) || document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && !(key === "y" && !event.shiftKey)) return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) on.redo();
    else on.undo();
  });
}

/** A dialog to select a class. */
function createChooser() {
  const title = make("h2", "");
  title.id = "chooser-title";
  const list = make("div", "chooser-classes");
  const dialog = document.createElement("dialog");
  dialog.className = "chooser";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, list, make("p", "actions", button("Close", () => dialog.close())));
  document.body.append(dialog);
  dialog.addEventListener("keydown", ({ key }) => {
    const number = Number(key);
    const choice = number >= 1 && number <= KEYS ? list.children[number - 1] : null;
    if (choice instanceof HTMLButtonElement && choice.dataset.class) choice.click();
  });

  /** @param {string} name @param {readonly { id: number, name: string }[]} classes @param {(label: number | null) => unknown} onChoose */
  return (name, classes, onChoose) => {
    title.textContent = `Teach ${name} as`;
    /** @param {string} text @param {number | null} label */
    const choice = (text, label) => {
      const option = button(text, () => {
        dialog.close();
        onChoose(label);
      });
      option.dataset.class = label === null ? "" : String(label);
      return option;
    };
    const newClass = choice("New class", null);
    newClass.classList.add("fresh");
    list.replaceChildren(...classes.map((one) => choice(one.name, one.id)), newClass);
    dialog.showModal();
  };
}
