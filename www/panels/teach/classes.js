// @ts-check
/** The classes: each with its name, its count, the ways in for its pictures, and what else can be done with it. */
import { CARRIED, named, ofFolder } from "../../ui/drop.js";
import { button, byId, make, picker } from "../../ui/dom.js";
import { byClass } from "../../project/project.js";
import { count, pictures } from "../../ui/format.js";

/** @import { Arrival } from "../../ui/drop.js" */
/** @import { Class } from "../../project/project.js" */
/** @import { State } from "./state.js" */
/**
 * @typedef {{
 *   rename(id: number, name: string, from: string): string | null, renamed(): unknown,
 *   move(id: number, index: number): unknown, merge(from: number, into: number): unknown, removeClass(id: number): unknown,
 *   add(label: number, files: Arrival[]): unknown, webcam(label: number): unknown, show(label: number | null): unknown,
 *   dropped(label: number, carried: { pictures: boolean, answer: number | null }): unknown,
 * }} ClassHandlers
 */
/** @typedef {ReturnType<typeof classCard>} Card */

/** Number keys reach so many classes. */
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
      if (card.element.contains(document.activeElement)) heirOf(card.element).focus({ preventScroll: true });
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

  /** Only what is out of place is moved, and the focus stays. @param {HTMLElement} element @param {number} index */
  function place(element, index) {
    if (container.children[index] === element) return;
    const focused = document.activeElement;
    container.insertBefore(element, container.children[index] ?? null);
    if (focused instanceof HTMLElement && element.contains(focused)) focused.focus({ preventScroll: true });
  }

  /** What has the focus after a card that goes. @param {HTMLElement} element @returns {HTMLElement} */
  function heirOf(element) {
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

/** @param {Class} made @param {ClassHandlers} on */
function classCard({ id, name: first }, on) {
  let current = first;
  /** @type {string | null} the name before the edit under way */
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
  const wrong = make("p", "class-wrong");
  wrong.setAttribute("role", "alert");
  wrong.id = `class-wrong-${id}`;

  const files = picker("Add pictures", (files) => on.add(id, named(files)));
  files.input.multiple = true;
  files.input.accept = "image/*";
  const webcam = button("Webcam", () => on.webcam(id));
  const folder = picker("Add a folder", (files) => {
    close();
    on.add(id, ofFolder(files));
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
    make("div", "class-head", grip, key, name, size), wrong,
    make("div", "class-actions", files.label, webcam, more));
  element.dataset.class = String(id);
  element.tabIndex = -1;
  element.setAttribute("role", "group");

  name.addEventListener("focus", () => {
    from = current;
    name.select();
  });
  name.addEventListener("input", () => {
    if (from !== null) say(on.rename(id, name.value, from));
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && from !== null) {
      event.preventDefault();
      name.value = from;
      say(on.rename(id, from, from));
      from = null;
    }
    if (event.key === "Enter" || event.key === "Escape") files.input.focus();
  });
  name.addEventListener("blur", () => {
    if (from !== null && name.getAttribute("aria-invalid") === "true") {
      on.rename(id, from, from); // its words stay until the next edit
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
    key.title = `Press ${index + 1} to move the chosen pictures here`;
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

  /** @param {string | null} words */
  function say(words) {
    wrong.textContent = words ?? "";
    name.toggleAttribute("data-wrong", words !== null);
    if (words === null) name.removeAttribute("aria-invalid");
    else name.setAttribute("aria-invalid", "true");
  }
}

/** @param {string} words @param {() => unknown} press @returns {HTMLButtonElement} */
function menuItem(words, press) {
  const item = button(words, press);
  item.className = "menu-item";
  return item;
}

/** Files, pictures of the gallery, answers and other classes are dragged onto a class. @param {HTMLElement} container @param {ClassHandlers} on */
function listenForDrags(container, on) {
  /** @type {Element | null} */
  let lit = null;
  /** @param {Element | null} card */
  const light = (card) => {
    if (card === lit) return;
    lit?.removeAttribute("data-over");
    card?.setAttribute("data-over", "");
    lit = card;
  };
  /** @param {Event} event @returns {HTMLElement | null} */
  const cardOf = ({ target }) => target instanceof Element ? target.closest("[data-class]") : null;

  container.addEventListener("dragstart", (event) => {
    const card = cardOf(event);
    if (!card || !(event.target instanceof Element) || !event.target.matches(".class-grip")) return;
    event.dataTransfer?.setData(CARRIED.class, card.dataset.class ?? "");
    event.dataTransfer?.setDragImage(card, 12, 20);
  });
  container.addEventListener("dragover", (event) => {
    const types = event.dataTransfer?.types ?? [];
    const card = cardOf(event);
    if (!card || !["Files", ...Object.values(CARRIED)].some((type) => types.includes(type))) return;
    event.preventDefault();
    light(card);
  });
  container.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node) || !lit?.contains(relatedTarget)) light(null);
  });
  addEventListener("drop", () => light(null), true);
  addEventListener("dragend", () => light(null), true);
  container.addEventListener("drop", (event) => {
    const card = cardOf(event);
    const carried = event.dataTransfer;
    if (!card || !carried || carried.types.includes("Files")) return; // files are heard of by the whole page
    event.preventDefault();
    const moved = carried.getData(CARRIED.class);
    if (moved) on.move(Number(moved), [...container.children].indexOf(card));
    const answer = carried.getData(CARRIED.answer);
    on.dropped(Number(card.dataset.class), { pictures: carried.types.includes(CARRIED.pictures), answer: answer ? Number(answer) : null });
  });
  addEventListener("pointerdown", ({ target }) => {
    for (const menu of container.querySelectorAll("details[open]")) {
      if (target instanceof Node && !menu.contains(target)) menu.removeAttribute("open");
    }
  });
}
