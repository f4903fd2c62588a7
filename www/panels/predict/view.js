// @ts-check
/** View of the predict panel. File names and error messages are inserted as text, never as markup. */
import { DRAG_TYPES, filesOf, picturesOfFolder } from "../../ui/drop.js";
import { alert, button, byId, prefersReducedMotion, link, make } from "../../ui/dom.js";
import { percent, sentence } from "../../ui/format.js";
import { createRenderer } from "../../ui/render.js";
import { announcement, batchText, caveatText, facts, isBusy, isUnsure, statusText } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Row} Row */
/** @typedef {import("./state.js").Answer} Answer */
/** @typedef {{ item: HTMLElement, row: Row, url: string | null }} Card */
/**
 * @typedef {{
 *   add(pictures: { name: string, file: File }[]): unknown, sample(url: string): unknown, retry(): unknown, cancel(): unknown,
 *   clear(): unknown, remove(id: number): unknown, layout(layout: "cards" | "grid"): unknown,
 *   why(row: Row): unknown, teach(row: Row): unknown,
 *   save(format: "csv" | "json"): unknown, announce(text: string): unknown, customised: boolean,
 * }} Handlers
 */

/** New cards rendered per frame. */
const CARDS_PER_FRAME = 40;
/** Only the first cards are animated; more would repaint the page all the time. */
const MAX_ANIMATED = 12;
/** Classes shown per card. */
const BARS = 4;
const ANNOUNCE_EVERY_MS = 5000;

/**
 * Connects the page's elements to the handlers in `on`.
 * @param {Handlers} on
 */
export function createView(on) {
  const body = document.body;
  const status = byId("status", HTMLElement);
  const loading = byId("loading", HTMLProgressElement);
  const notice = byId("notice", HTMLElement);
  const errors = byId("trouble", HTMLElement);
  const details = byId("details", HTMLDetailsElement);
  const section = byId("results-section", HTMLElement);
  const batchProgress = byId("batch-progress", HTMLProgressElement);
  const cancel = byId("cancel", HTMLButtonElement);
  const list = byId("results", HTMLUListElement);

  /** @type {Map<number, Card>} */
  const cards = new Map();
  const { render } = createRenderer(paint);
  let scrollToNext = false;
  let announcedAt = -ANNOUNCE_EVERY_MS;
  let announced = "";

  byId("stuck", HTMLElement).remove();
  listenForPickers(on.add);
  listenForKeys(list, on);
  listenForButtons(on);

  return { render };

  /** @param {State} state @param {State | null} before */
  function paint(state, before) {
    if (state.engine !== before?.engine) paintEngine(state);
    if (state.engine.phase !== before?.engine.phase || state.message !== before?.message) paintErrors(state);
    if (state.batch !== before?.batch || state.rows !== before?.rows || state.engine !== before?.engine) paintBatch(state, before);
    if (state.layout !== before?.layout) list.className = state.layout;
    paintCards(state, before);
    announce(state, before);
  }

  /** @param {State} state */
  function paintEngine(state) {
    const { engine } = state;
    body.dataset.engine = engine.phase;
    status.textContent = statusText(state);
    const progress = engine.phase === "loading" ? engine.progress : null;
    loading.hidden = engine.phase !== "loading";
    if (progress?.total) {
      loading.max = progress.total;
      loading.value = progress.done;
    } else {
      loading.removeAttribute("value");
    }
    const text = engine.phase === "ready" ? engine.about.notice
      : engine.phase === "loading" && engine.stalled
        ? "No data received for 30 seconds. If the download does not continue, check the connection and reload the page."
        : null;
    notice.textContent = text;
    notice.hidden = !text;
    if (engine.phase !== "ready") details.open = false;
    if (engine.phase !== "ready") return;
    byId("facts", HTMLElement).replaceChildren(
      ...facts(engine.about).map(([term, fact]) => make("div", "", make("dt", "", term), " ", make("dd", "", fact))),
    );
    byId("base-note", HTMLElement).textContent = engine.about.base.note;
    byId("head-note", HTMLElement).textContent = caveatText(engine.about);
    byId("caveat", HTMLElement).textContent = caveatText(engine.about);
  }

  /** @param {State} state */
  function paintErrors({ engine, message }) {
    const boxes = [];
    if (engine.phase === "failed") {
      const actions = make("p", "actions", button("Try again", on.retry));
      if (["device", "crash"].includes(engine.kind)) actions.append(" ", link("Run on the CPU", "?device=cpu"));
      if (on.customised) actions.append(" ", link("Open the default page", "?"));
      boxes.push(make("div", "box", alert(sentence(engine.message)), actions));
    }
    if (message) boxes.push(make("div", "box", alert(sentence(message))));
    errors.replaceChildren(...boxes);
    errors.hidden = !boxes.length;
  }

  /** @param {State} state @param {State | null} before */
  function paintBatch(state, before) {
    const { batch, rows } = state;
    const busy = isBusy(state);
    if (busy && !(before && isBusy(before))) scrollToNext = true;
    section.hidden = !batch && !rows.length;
    body.toggleAttribute("data-busy", busy);
    body.dataset.stage = section.hidden ? "fresh" : "results";
    byId("batch-text", HTMLElement).textContent = batchText(state);
    batchProgress.hidden = !busy;
    batchProgress.max = batch?.total ?? 1;
    batchProgress.value = batch?.done ?? 0;
    if (!busy && document.activeElement === cancel) byId("results-title", HTMLElement).focus();
    cancel.hidden = !busy;
    for (const id of ["save-csv", "save-json"]) byId(id, HTMLButtonElement).disabled = !rows.length;
  }

  /** @param {State} state @param {State | null} before */
  function paintCards(state, before) {
    const { rows, engine } = state;
    const kept = new Map(rows.map((row) => [row.id, row]));
    for (const [id, card] of cards) {
      const row = kept.get(id);
      if (!row) removeCard(id, card);
      else if (row !== card.row || engine !== before?.engine) fill(card, row, engine);
    }
    const fresh = rows.filter(({ id }) => !cards.has(id));
    const items = fresh.slice(0, CARDS_PER_FRAME).map((row) => addCard(row, engine));
    list.append(...items);
    if (!current(list) && list.firstElementChild) setTabStop(list.firstElementChild, true);
    if (scrollToNext && items.length) {
      scrollToNext = false;
      items[0].scrollIntoView({ block: "nearest", behavior: prefersReducedMotion() ? "auto" : "smooth" });
    }
    if (fresh.length > items.length) render(state);
  }

  /** @param {Row} row @param {State["engine"]} engine @returns {HTMLElement} */
  function addCard(row, engine) {
    const url = row.answer?.thumbnail ? URL.createObjectURL(row.answer.thumbnail) : null;
    const card = { item: make("li", row.answer ? "card" : "card broken"), row, url };
    card.item.classList.toggle("arriving", cards.size < MAX_ANIMATED);
    card.item.tabIndex = -1;
    card.item.dataset.id = String(row.id);
    cards.set(row.id, card);
    fill(card, row, engine);
    return card.item;
  }

  /** @param {Card} card @param {Row} row @param {State["engine"]} engine */
  function fill(card, row, engine) {
    card.row = row;
    const hadFocus = card.item.contains(document.activeElement);
    card.item.replaceChildren(...cardParts(card, engine, on));
    setTabStop(card.item, card.item.tabIndex === 0);
    if (hadFocus && !card.item.contains(document.activeElement)) card.item.focus({ preventScroll: true });
  }

  /** @param {number} id @param {Card} card */
  function removeCard(id, { item, url }) {
    if (url) URL.revokeObjectURL(url);
    item.remove();
    cards.delete(id);
  }

  /** @param {State} state @param {State | null} before */
  function announce(state, before) {
    const phaseChanged = state.engine.phase !== before?.engine.phase || state.batch?.end !== before?.batch?.end;
    const text = announcement(state);
    if (text === announced || (!phaseChanged && performance.now() - announcedAt < ANNOUNCE_EVERY_MS)) return;
    announcedAt = performance.now();
    announced = text;
    on.announce(text);
  }
}

// ---- cards ----

/** @param {Card} card @param {State["engine"]} engine @param {Handlers} on @returns {(HTMLElement | string)[]} */
function cardParts({ item, row, url }, engine, on) {
  const { id, name, answer, error } = row;
  const title = make("h3", "name", name);
  title.title = name;
  const close = button("", () => {
    passFocusOn(item);
    on.remove(id);
  });
  close.className = "remove";
  close.tabIndex = -1; // keyboard users press Delete
  close.setAttribute("aria-label", `Remove ${name}`);
  const content = answer ? [...answerParts(answer, engine), " ", cardActions(row, on)] : [alert(error ?? "")];
  return [frame(row, url), " ", title, " ", ...content, " ", close];
}

/** @param {Row} row @param {Handlers} on @returns {HTMLElement} */
function cardActions(row, on) {
  const why = button("Why?", () => on.why(row));
  const teach = button("Teach", () => on.teach(row));
  teach.title = "Add this picture to one of your classes";
  return make("p", "card-actions", why, " ", teach);
}

/** @param {Row} row @param {string | null} url @returns {HTMLElement} */
function frame({ id, answer }, url) {
  const box = make("div", "frame");
  if (!answer || !url) return box;
  box.draggable = true;
  box.addEventListener("dragstart", (event) => event.dataTransfer?.setData(DRAG_TYPES.answer, String(id)));
  const picture = document.createElement("img");
  picture.alt = "";
  picture.decoding = "async";
  picture.draggable = false;
  picture.src = url;
  picture.style.setProperty("--ratio", String(answer.width / answer.height)); // thumbnails are square like the network's input
  box.append(picture);
  return box;
}

/** @param {Answer} answer @param {State["engine"]} engine @returns {(HTMLElement | string)[]} */
function answerParts({ predictions, milliseconds, width, height }, engine) {
  const meta = make("p", "meta", `${Math.round(milliseconds)} ms · ${width} × ${height}`);
  const [best, ...others] = predictions;
  if (!best) return [make("p", "best", "Processed, but there are no classes yet"), meta];
  const unsure = isUnsure(best, engine) ? [make("span", "unsure", "Unsure"), " · perhaps "] : [];
  const headline = make("p", "best", make("span", "", ...unsure, make("span", "label", best.label)), " ", make("span", "share", percent(best.probability)));
  if (unsure.length) headline.classList.add("guess");
  const bars = make("dl", "bars", ...others.slice(0, BARS - 1).flatMap(({ label, probability }) => {
    const bar = make("span", "fill");
    bar.style.inlineSize = `${probability * 100}%`;
    return [make("div", "", make("dt", "", label), " ", make("dd", "", make("span", "track", bar), percent(probability))), " "];
  }));
  const fill = make("span", "fill");
  fill.style.inlineSize = `${best.probability * 100}%`;
  return [headline, make("span", "track main", fill), " ", bars, " ", meta];
}

// ---- events ----

/** @param {Handlers} on */
function listenForButtons(on) {
  byId("cancel", HTMLElement).addEventListener("click", () => on.cancel());
  byId("clear", HTMLElement).addEventListener("click", () => {
    on.clear();
    byId("files", HTMLElement).focus();
  });
  byId("save-csv", HTMLElement).addEventListener("click", () => on.save("csv"));
  byId("save-json", HTMLElement).addEventListener("click", () => on.save("json"));
  for (const sample of document.querySelectorAll("[data-sample]")) {
    sample.addEventListener("click", () => on.sample(/** @type {HTMLElement} */ (sample).dataset.sample ?? ""));
  }
  for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('[name="layout"]'))) {
    radio.addEventListener("change", () => on.layout(radio.value === "grid" ? "grid" : "cards"));
    if (radio.value === "cards") radio.checked = true; // browsers restore the old choice on reload
  }
}

/** @param {Handlers["add"]} add */
function listenForPickers(add) {
  const files = byId("files", HTMLInputElement);
  const folder = byId("folder", HTMLInputElement);
  files.addEventListener("change", () => {
    const chosen = filesOf(files.files);
    files.value = "";
    if (chosen.length) add(chosen);
  });
  folder.addEventListener("change", () => {
    const chosen = picturesOfFolder(folder.files);
    folder.value = "";
    add(chosen);
  });
  byId("drop", HTMLElement).addEventListener("click", ({ target }) => {
    if (target instanceof Element && !target.closest("input, label")) files.click();
  });
}

/** @param {HTMLElement} list @param {Handlers} on */
function listenForKeys(list, on) {
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) on.cancel();
  });
  list.addEventListener("focusin", ({ target }) => {
    const item = target instanceof Element ? target.closest("li") : null;
    if (!item) return;
    const left = current(list);
    if (left) setTabStop(left, false);
    setTabStop(item, true);
  });
  list.addEventListener("keydown", (event) => {
    const item = event.target;
    if (!(item instanceof HTMLElement) || item.parentElement !== list || event.altKey || event.ctrlKey || event.metaKey) return;
    const items = /** @type {HTMLElement[]} */ ([...list.children]);
    const at = items.indexOf(item);
    if (event.key === "Delete") {
      event.preventDefault();
      passFocusOn(item);
      on.remove(Number(item.dataset.id));
      return;
    }
    const to = targetIndex(event.key, at, items);
    if (to === null) return;
    event.preventDefault();
    items[to]?.focus();
  });
}

/** The card with the tab stop. @param {HTMLElement} list @returns {Element | null} */
function current(list) {
  return list.querySelector(':scope > [tabindex="0"]');
}

/** Adds a card and its buttons to the tab order, or removes them. One card has the tab stop; arrow keys move between cards. @param {Element} item @param {boolean} on */
function setTabStop(item, on) {
  for (const part of [item, ...item.querySelectorAll(".card-actions button")]) part.setAttribute("tabindex", on ? "0" : "-1");
}

/** Moves the focus to a neighbour before a card is removed; after the last card, to the file input. @param {HTMLElement} item */
function passFocusOn(item) {
  const next = item.nextElementSibling ?? item.previousElementSibling ?? byId("files", HTMLElement);
  /** @type {HTMLElement} */ (next).focus({ preventScroll: true });
}

/** @param {string} key @param {number} at @param {HTMLElement[]} items @returns {number | null} */
function targetIndex(key, at, items) {
  const top = items[0]?.offsetTop;
  const next = items.findIndex(({ offsetTop }) => offsetTop !== top);
  const columns = next === -1 ? items.length : next;
  switch (key) {
    case "ArrowRight": return at + 1;
    case "ArrowLeft": return at - 1;
    case "ArrowDown": return at + columns;
    case "ArrowUp": return at - columns;
    case "Home": return 0;
    case "End": return items.length - 1;
    default: return null;
  }
}
