// @ts-check
/** How answers are shown, and what people do with them. Names of files and words of errors go in as text, never as markup. */
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
 *   save(form: "csv" | "json"): unknown, announce(words: string): unknown, customised: boolean,
 * }} Handlers
 */

const CARDS_A_FRAME = 40;
/** The first cards come with a movement; were a thousand to, the page would be painted all the time. */
const MOVING = 12;
const BARS = 4;
const SPEAK_EVERY = 5000;

/**
 * Wires the page to `on`; render() shows a state, at most once a frame.
 * @param {Handlers} on
 */
export function createView(on) {
  const body = document.body;
  const status = byId("status", HTMLElement);
  const loading = byId("loading", HTMLProgressElement);
  const notice = byId("notice", HTMLElement);
  const trouble = byId("trouble", HTMLElement);
  const details = byId("details", HTMLDetailsElement);
  const section = byId("results-section", HTMLElement);
  const batchProgress = byId("batch-progress", HTMLProgressElement);
  const cancel = byId("cancel", HTMLButtonElement);
  const list = byId("results", HTMLUListElement);

  /** @type {Map<number, Card>} */
  const cards = new Map();
  const { render } = createRenderer(paint);
  let scrollToNext = false;
  let spokenAt = -SPEAK_EVERY;
  let spoken = "";

  byId("stuck", HTMLElement).remove();
  listenForPickers(on.add);
  listenForKeys(list, on);
  listenForButtons(on);

  return { render };

  /** @param {State} state @param {State | null} before */
  function paint(state, before) {
    if (state.engine !== before?.engine) paintEngine(state);
    if (state.engine.phase !== before?.engine.phase || state.message !== before?.message) paintTrouble(state);
    if (state.batch !== before?.batch || state.rows !== before?.rows || state.engine !== before?.engine) paintBatch(state, before);
    if (state.layout !== before?.layout) list.className = state.layout;
    paintCards(state, before);
    speak(state, before);
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
    const words = engine.phase === "ready" ? engine.about.notice
      : engine.phase === "loading" && engine.stalled
        ? "Nothing has come for half a minute. It may still arrive; if not, check the connection and reload the page."
        : null;
    notice.textContent = words;
    notice.hidden = !words;
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
  function paintTrouble({ engine, message }) {
    const boxes = [];
    if (engine.phase === "failed") {
      const ways = make("p", "ways", button("Try again", on.retry));
      if (["device", "crash"].includes(engine.kind)) ways.append(" ", link("Run it on the CPU", "?device=cpu"));
      if (on.customised) ways.append(" ", link("Open the plain page", "?"));
      boxes.push(make("div", "box", alert(sentence(engine.message)), ways));
    }
    if (message) boxes.push(make("div", "box", alert(sentence(message))));
    trouble.replaceChildren(...boxes);
    trouble.hidden = !boxes.length;
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
    const items = fresh.slice(0, CARDS_A_FRAME).map((row) => addCard(row, engine));
    list.append(...items);
    if (!current(list) && list.firstElementChild) reach(list.firstElementChild, true);
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
    card.item.classList.toggle("arriving", cards.size < MOVING);
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
    reach(card.item, card.item.tabIndex === 0);
    if (hadFocus && !card.item.contains(document.activeElement)) card.item.focus({ preventScroll: true });
  }

  /** @param {number} id @param {Card} card */
  function removeCard(id, { item, url }) {
    if (url) URL.revokeObjectURL(url);
    item.remove();
    cards.delete(id);
  }

  /** @param {State} state @param {State | null} before */
  function speak(state, before) {
    const turning = state.engine.phase !== before?.engine.phase || state.batch?.end !== before?.batch?.end;
    const words = announcement(state);
    if (words === spoken || (!turning && performance.now() - spokenAt < SPEAK_EVERY)) return;
    spokenAt = performance.now();
    spoken = words;
    on.announce(words);
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
  close.tabIndex = -1; // the Delete key does it for the keyboard
  close.setAttribute("aria-label", `Remove ${name}`);
  const words = answer ? [...answerWords(answer, engine), " ", cardWays(row, on)] : [alert(error ?? "")];
  return [frame(row, url), " ", title, " ", ...words, " ", close];
}

/** @param {Row} row @param {Handlers} on @returns {HTMLElement} */
function cardWays(row, on) {
  const why = button("Why?", () => on.why(row));
  const teach = button("Teach", () => on.teach(row));
  teach.title = "Add this picture to a class of your own";
  return make("p", "card-ways", why, " ", teach);
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
  picture.style.setProperty("--ratio", String(answer.width / answer.height)); // the thumbnail is square: what the network saw
  box.append(picture);
  return box;
}

/** @param {Answer} answer @param {State["engine"]} engine @returns {(HTMLElement | string)[]} */
function answerWords({ predictions, milliseconds, width, height }, engine) {
  const meta = make("p", "meta", `${Math.round(milliseconds)} ms · ${width} × ${height}`);
  const [best, ...others] = predictions;
  if (!best) return [make("p", "best", "Read, but no classes to answer with yet"), meta];
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

// ---- what people do ----

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
    if (radio.value === "cards") radio.checked = true; // browsers bring back the old choice on reload
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
    if (left) reach(left, false);
    reach(item, true);
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
    const to = goal(event.key, at, items);
    if (to === null) return;
    event.preventDefault();
    items[to]?.focus();
  });
}

/** The card that Tab reaches. @param {HTMLElement} list @returns {Element | null} */
function current(list) {
  return list.querySelector(':scope > [tabindex="0"]');
}

/** Whether Tab reaches a card and its ways: of all the cards it is one, the arrows do the rest. @param {Element} item @param {boolean} on */
function reach(item, on) {
  for (const part of [item, ...item.querySelectorAll(".card-ways button")]) part.setAttribute("tabindex", on ? "0" : "-1");
}

/** Before a card goes: its neighbour, or the file input after the last one, takes the focus. @param {HTMLElement} item */
function passFocusOn(item) {
  const heir = item.nextElementSibling ?? item.previousElementSibling ?? byId("files", HTMLElement);
  /** @type {HTMLElement} */ (heir).focus({ preventScroll: true });
}

/** @param {string} key @param {number} at @param {HTMLElement[]} items @returns {number | null} */
function goal(key, at, items) {
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
