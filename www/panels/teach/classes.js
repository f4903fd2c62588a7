// @ts-check
/** Class cards: name, picture count, buttons that add pictures, and a menu of further actions. */
import { DRAG_TYPES, filesOf, picturesOfFolder } from "../../ui/drop.js";
import { button, byId, make, picker } from "../../ui/dom.js";
import { byClass } from "../../project/project.js";
import { count, pictures } from "../../ui/format.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { Class } from "../../project/types.js" */
/** @import { State } from "./state.js" */
/**
 * @typedef {{
 *   rename(id: number, name: string, from: string): string | null, renamed(): unknown,
 *   move(id: number, index: number): unknown, merge(from: number, into: number): unknown, removeClass(id: number): unknown,
 *   add(label: number, files: DroppedFile[]): unknown, webcam(label: number): unknown, show(label: number | null): unknown,
 *   dropped(label: number, dropped: { pictures: boolean, answer: number | null }): unknown,
 * }} ClassHandlers
 */
/** @typedef {ReturnType<typeof classCard>} Card */

/** Number of classes that have a number key. */
export const KEYS = 9;

/** @param {HTMLElement} container @param {ClassHandlers} on */
export function createClasses(container, on) {
  /** @type {Map<number, Card>} */
  const cards = new Map();
  listenForDrags(container, on);

  return { render, nameClass, classAt };

  /** @param {State} state */
  function render(state) {
    const { project, embedded, shown } = state;
    const groups = byClass(project);
    for (const [id, card] of cards) {
      if (groups.has(id)) continue;
      if (card.element.contains(document.activeElement)) focusAfterRemoval(card.element).focus({ preventScroll: true });
      card.element.remove();
      cards.delete(id);
    }
    for (const [index, one] of project.classes.entries()) {
      let card = cards.get(one.id);
      if (!card) {
        card = classCard(one, on);
        cards.set(one.id, card);
      }
      place(card.element, index);
      const own = groups.get(one.id) ?? [];
      const waiting = own.reduce((n, { hash }) => n + (embedded.has(hash) ? 0 : 1), 0);
      card.render({ one, index, size: own.length, waiting, shown: shown === one.id, classes: project.classes });
    }
  }

  /** Moves the element only if its position changed, and keeps the focus. @param {HTMLElement} element @param {number} index */
  function place(element, index) {
    if (container.children[index] === element) return;
    const focused = document.activeElement;
    container.insertBefore(element, container.children[index] ?? null);
    if (focused instanceof HTMLElement && element.contains(focused)) focused.focus({ preventScroll: true });
  }

  /** The element to focus after a card is removed. @param {HTMLElement} element @returns {HTMLElement} */
  function focusAfterRemoval(element) {
    const near = element.nextElementSibling ?? element.previousElementSibling;
    return near instanceof HTMLElement ? near : byId("add-class", HTMLElement);
  }

  /** @param {number} id */
  function nameClass(id) {
    cards.get(id)?.edit();
  }

  /** @param {Element | null} target @returns {number | null} */
  function classAt(target) {
    const card = target?.closest("[data-class]");
    return card instanceof HTMLElement ? Number(card.dataset.class) : null;
  }
}

/** @param {Class} newClass @param {ClassHandlers} on */
function classCard({ id, name: initialName }, on) {
  let current = initialName;
  /** @type {string | null} the name before the current edit; null while the name is not edited */
  let from = null;

  const grip = make("span", "class-grip");
  grip.draggable = true;
  grip.title = "Drag to reorder";
  grip.setAttribute("aria-hidden", "true");
  const key = make("kbd", "class-key");
  const name = document.createElement("input");
  name.className = "class-name";
  name.setAttribute("aria-label", "Class name");
  name.autocomplete = "off";
  name.spellcheck = false;
  const size = button("", () => on.show(size.getAttribute("aria-pressed") === "true" ? null : id));
  size.className = "class-size";
  const error = make("p", "class-error");
  error.setAttribute("role", "alert");
  error.id = `class-error-${id}`;

  const files = picker("Add pictures", (files) => on.add(id, filesOf(files)));
  files.input.multiple = true;
  files.input.accept = "image/*";
  const webcam = button("Webcam", () => on.webcam(id));
  const folder = picker("Add a folder", (files) => {
    close();
    on.add(id, picturesOfFolder(files));
  });
  folder.input.webkitdirectory = true;
  folder.label.className = "menu-item picker folder";
  const up = menuItem("Move up", () => on.move(id, index - 1));
  const down = menuItem("Move down", () => on.move(id, index + 1));
  const into = document.createElement("select");
  const merge = button("Merge", () => {
    close();
    on.merge(id, Number(into.value));
  });
  const merging = make("div", "menu-merge", make("span", "", "Merge into"), into, merge);
  const remove = menuItem("Delete class", () => {
    close();
    on.removeClass(id);
  });
  const more = document.createElement("details");
  more.className = "menu";
  const summary = make("summary", "button small");
  summary.append("More");
  more.append(summary, make("div", "menu-items", folder.label, up, down, merging, remove));
  more.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget instanceof Node && !more.contains(relatedTarget)) close();
  });
  more.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !more.open) return;
    event.preventDefault();
    close();
    summary.focus();
  });
  let index = 0;

  const element = make("div", "class",
    make("div", "class-head", grip, key, name, size), error,
    make("div", "class-actions", files.label, webcam, more));
  element.dataset.class = String(id);
  element.tabIndex = -1;
  element.setAttribute("role", "group");

  name.addEventListener("focus", () => {
    from = current;
    name.select();
  });
  name.addEventListener("input", () => {
    if (from !== null) showError(on.rename(id, name.value, from));
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && from !== null) {
      event.preventDefault();
      name.value = from;
      showError(on.rename(id, from, from));
      from = null;
    }
    if (event.key === "Enter" || event.key === "Escape") files.input.focus();
  });
  name.addEventListener("blur", () => {
    if (from !== null && name.getAttribute("aria-invalid") === "true") {
      on.rename(id, from, from); // the error message stays until the next edit
      name.removeAttribute("aria-invalid");
    }
    from = null;
    name.value = current;
    on.renamed();
  });

  return { element, render, edit };

  /** @param {{ one: Class, index: number, size: number, waiting: number, shown: boolean, classes: readonly Class[] }} of */
  function render(of) {
    const { one, shown, waiting, classes } = of;
    index = of.index;
    current = one.name;
    if (from === null) name.value = current;
    element.setAttribute("aria-label", current);
    element.toggleAttribute("data-shown", shown);
    key.hidden = index >= KEYS;
    key.textContent = String(index + 1);
    key.title = `Press ${index + 1} to move the selected pictures here`;
    size.textContent = `${pictures(of.size)}${waiting ? ` · ${count(waiting)} waiting` : ""}`;
    size.title = shown ? "Show all classes" : `Show the pictures of ${current}`;
    size.setAttribute("aria-pressed", String(shown));
    files.input.setAttribute("aria-label", `Add pictures to ${current}`);
    folder.input.setAttribute("aria-label", `Add a folder to ${current}`);
    webcam.setAttribute("aria-label", `Webcam for ${current}`);
    summary.setAttribute("aria-label", `More for ${current}`);
    const focused = document.activeElement;
    up.disabled = index === 0;
    down.disabled = index === classes.length - 1;
    if (focused === up && up.disabled) down.focus();
    if (focused === down && down.disabled) up.focus();
    merging.hidden = classes.length < 2;
    into.setAttribute("aria-label", `Merge ${current} into`);
    const others = classes.filter((other) => other.id !== id);
    const listed = others.map((other) => `${other.id} ${other.name}`).join("\n");
    if (into.dataset.listed !== listed) {
      const chosen = into.value;
      into.dataset.listed = listed;
      into.replaceChildren(...others.map((other) => new Option(other.name, String(other.id))));
      if (others.some((other) => String(other.id) === chosen)) into.value = chosen;
    }
  }

  function edit() {
    name.focus();
    name.select();
    element.scrollIntoView({ block: "nearest" });
  }

  function close() {
    more.open = false;
  }

  /** @param {string | null} message */
  function showError(message) {
    error.textContent = message ?? "";
    name.toggleAttribute("data-error", message !== null);
    if (message === null) name.removeAttribute("aria-invalid");
    else name.setAttribute("aria-invalid", "true");
  }
}

/** @param {string} label @param {() => unknown} press @returns {HTMLButtonElement} */
function menuItem(label, press) {
  const item = button(label, press);
  item.className = "menu-item";
  return item;
}

/** Handles drags onto a class card: files, gallery pictures, answers, other classes. @param {HTMLElement} container @param {ClassHandlers} on */
function listenForDrags(container, on) {
  /** @type {Element | null} */
  let highlighted = null;
  /** @param {Element | null} card */
  const highlight = (card) => {
    if (card === highlighted) return;
    highlighted?.removeAttribute("data-over");
    card?.setAttribute("data-over", "");
    highlighted = card;
  };
  /** @param {Event} event @returns {HTMLElement | null} */
  const cardOf = ({ target }) => target instanceof Element ? target.closest("[data-class]") : null;

  container.addEventListener("dragstart", (event) => {
    const card = cardOf(event);
    if (!card || !(event.target instanceof Element) || !event.target.matches(".class-grip")) return;
    event.dataTransfer?.setData(DRAG_TYPES.class, card.dataset.class ?? "");
    event.dataTransfer?.setDragImage(card, 12, 20);
  });
  container.addEventListener("dragover", (event) => {
    const types = event.dataTransfer?.types ?? [];
    const card = cardOf(event);
    if (!card || !["Files", ...Object.values(DRAG_TYPES)].some((type) => types.includes(type))) return;
    event.preventDefault();
    highlight(card);
  });
  container.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node) || !highlighted?.contains(relatedTarget)) highlight(null);
  });
  addEventListener("drop", () => highlight(null), true);
  addEventListener("dragend", () => highlight(null), true);
  container.addEventListener("drop", (event) => {
    const card = cardOf(event);
    const transfer = event.dataTransfer;
    if (!card || !transfer || transfer.types.includes("Files")) return; // file drops are handled by the page
    event.preventDefault();
    const moved = transfer.getData(DRAG_TYPES.class);
    if (moved) on.move(Number(moved), [...container.children].indexOf(card));
    const answer = transfer.getData(DRAG_TYPES.answer);
    on.dropped(Number(card.dataset.class), { pictures: transfer.types.includes(DRAG_TYPES.pictures), answer: answer ? Number(answer) : null });
  });
  addEventListener("pointerdown", ({ target }) => {
    for (const menu of container.querySelectorAll("details[open]")) {
      if (target instanceof Node && !menu.contains(target)) menu.removeAttribute("open");
    }
  });
}
