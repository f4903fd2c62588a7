// @ts-check
/** How pictures come in and answers are shown. Names of files and words of errors go in as text, never as markup. */
import { alert, button, byId, calm, download, link, make } from "../dom.js";
import { percent, sentence } from "../words.js";
import { announcement, batchText, caveatText, facts, isBusy, statusText, UNSURE_BELOW } from "./state.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Row} Row */
/** @typedef {import("./state.js").Answer} Answer */
/** @typedef {{ name: string, file: File }} Picture */
/**
 * @typedef {{
 *   add(found: Promise<Picture[]>): unknown, sample(url: string): unknown, retry(): unknown, cancel(): unknown,
 *   clear(): unknown, remove(id: number): unknown, layout(layout: "cards" | "grid"): unknown,
 *   save(form: "csv" | "json"): unknown, customised: boolean,
 * }} Handlers
 */

const CARDS_A_FRAME = 40;
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
  const announcer = byId("announcer", HTMLElement);

  /** @type {Map<number, { item: HTMLElement, url: string | null }>} */
  const cards = new Map();
  /** @type {State | null} */
  let shown = null;
  /** @type {State | null} */
  let wanted = null;
  let scrollToNext = false;
  let spokenAt = -SPEAK_EVERY;

  byId("stuck", HTMLElement).remove();
  listenForPictures(on.add);
  listenForKeys(list, on);
  listenForButtons(on);

  return { render, download };

  /** @param {State} state */
  function render(state) {
    if (!wanted) requestAnimationFrame(paint);
    wanted = state;
  }

  function paint() {
    const state = /** @type {State} */ (wanted);
    const before = shown;
    wanted = null;
    shown = state;
    if (state.engine !== before?.engine) paintEngine(state);
    if (state.engine.phase !== before?.engine.phase || state.message !== before?.message) paintTrouble(state);
    if (state.batch !== before?.batch || state.rows !== before?.rows || state.engine !== before?.engine) paintBatch(state, before);
    if (state.layout !== before?.layout) list.className = state.layout;
    paintCards(state);
    speak(state, before);
  }

  /** @param {State} state */
  function paintEngine({ engine }) {
    body.dataset.engine = engine.phase;
    status.textContent = statusText({ .../** @type {State} */ (shown), engine });
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

  /** @param {State} state */
  function paintCards({ rows }) {
    const kept = new Set(rows.map(({ id }) => id));
    for (const id of cards.keys()) if (!kept.has(id)) removeCard(id);
    const fresh = rows.filter(({ id }) => !cards.has(id));
    const items = fresh.slice(0, CARDS_A_FRAME).map(addCard);
    list.append(...items);
    if (!list.querySelector('[tabindex="0"]')) list.firstElementChild?.setAttribute("tabindex", "0");
    if (scrollToNext && items.length) {
      scrollToNext = false;
      items[0].scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    }
    if (fresh.length > items.length && shown) render(shown);
  }

  /** @param {Row} row @returns {HTMLElement} */
  function addCard(row) {
    const url = row.answer?.thumbnail ? URL.createObjectURL(row.answer.thumbnail) : null;
    const item = card(row, url, on.remove);
    cards.set(row.id, { item, url });
    return item;
  }

  /** @param {number} id */
  function removeCard(id) {
    const { item, url } = /** @type {{ item: HTMLElement, url: string | null }} */ (cards.get(id));
    if (url) URL.revokeObjectURL(url);
    item.remove();
    cards.delete(id);
  }

  /** @param {State} state @param {State | null} before */
  function speak(state, before) {
    const turning = state.engine.phase !== before?.engine.phase || state.batch?.end !== before?.batch?.end;
    const words = announcement(state);
    if (words === announcer.textContent || (!turning && performance.now() - spokenAt < SPEAK_EVERY)) return;
    spokenAt = performance.now();
    announcer.textContent = words;
  }
}

// ---- cards ----

/** @param {Row} row @param {string | null} url @param {Handlers["remove"]} remove @returns {HTMLElement} */
function card({ id, name, answer, error }, url, remove) {
  const item = make("li", answer ? "card" : "card broken");
  item.tabIndex = -1;
  item.dataset.id = String(id);
  const title = make("h3", "name", name);
  title.title = name;
  const close = button("", () => {
    passFocusOn(item);
    remove(id);
  });
  close.className = "remove";
  close.tabIndex = -1; // the Delete key does it for the keyboard
  close.setAttribute("aria-label", `Remove ${name}`);
  const words = answer ? answerWords(answer) : [alert(error ?? "")];
  item.append(frame(answer, url), " ", title, " ", ...words, " ", close);
  return item;
}

/** @param {Answer | null} answer @param {string | null} url @returns {HTMLElement} */
function frame(answer, url) {
  const box = make("div", "frame");
  if (!answer || !url) return box;
  const picture = document.createElement("img");
  picture.alt = "";
  picture.decoding = "async";
  picture.draggable = false;
  picture.src = url;
  picture.style.setProperty("--ratio", String(answer.width / answer.height)); // the thumbnail is square: what the network saw
  box.append(picture);
  return box;
}

/** @param {Answer} answer @returns {(HTMLElement | string)[]} */
function answerWords({ predictions, milliseconds, width, height }) {
  const [best, ...others] = predictions;
  const unsure = best.probability < UNSURE_BELOW ? [make("span", "unsure", "unsure"), " · "] : [];
  const headline = make("p", "best", make("span", "label", best.label), " ", make("span", "share", percent(best.probability)));
  const bars = make("dl", "bars", ...others.slice(0, BARS - 1).flatMap(({ label, probability }) => {
    const bar = make("span", "fill");
    bar.style.inlineSize = `${probability * 100}%`;
    return [make("div", "", make("dt", "", label), " ", make("dd", "", make("span", "track", bar), percent(probability))), " "];
  }));
  const fill = make("span", "fill");
  fill.style.inlineSize = `${best.probability * 100}%`;
  const meta = make("p", "meta", ...unsure, `${Math.round(milliseconds)} ms · ${width} × ${height}`);
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
function listenForPictures(add) {
  const overlay = byId("overlay", HTMLElement);
  const drop = byId("drop", HTMLElement);
  const files = byId("files", HTMLInputElement);
  const folder = byId("folder", HTMLInputElement);
  let depth = 0;

  /** @param {DragEvent} event */
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
  /** @param {number} to */
  const setDepth = (to) => {
    depth = Math.max(0, to);
    overlay.hidden = depth === 0;
  };

  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    setDepth(depth + 1);
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) setDepth(depth - 1);
  });
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer || !carriesFiles(event)) return;
    event.preventDefault();
    setDepth(0);
    add(dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData) add(Promise.resolve(named(event.clipboardData.files)));
  });
  files.addEventListener("change", () => {
    const chosen = named(files.files);
    files.value = "";
    if (chosen.length) add(Promise.resolve(chosen));
  });
  folder.addEventListener("change", () => {
    const chosen = [...(folder.files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file })).filter(looksLikePicture);
    folder.value = "";
    add(Promise.resolve(chosen));
  });
  drop.addEventListener("click", ({ target }) => {
    if (target instanceof Element && !target.closest("input, label")) files.click();
  });
}

/** @param {HTMLElement} list @param {Handlers} on */
function listenForKeys(list, on) {
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") on.cancel();
  });
  list.addEventListener("focusin", ({ target }) => {
    const item = target instanceof Element ? target.closest("li") : null;
    if (!item) return;
    list.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    item.tabIndex = 0;
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

// ---- dropped things ----

/**
 * The files of a drop, folders walked. Files dropped by hand are all taken, so that a wrong one gets its reason.
 * @param {DataTransfer} transfer @returns {Promise<Picture[]>}
 */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()); // before the first await: a drop forgets its items
  const files = named(transfer.files);
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.filter((entry) => entry !== null).map((entry) => walk(entry)));
  return found.flat();
}

/** @param {FileSystemEntry} entry @returns {Promise<Picture[]>} */
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => /** @type {FileSystemFileEntry} */ (entry).file(done, fail));
    const name = entry.fullPath.replace(/^\//, "");
    const picture = { name, file };
    return name.includes("/") && !looksLikePicture(picture) ? [] : [picture];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found; // a reader hands out a folder in parts
    for (const child of some) found.push(...(await walk(child)));
  }
}

/** @param {Picture} picture @returns {boolean} */
function looksLikePicture({ name, file }) {
  const hidden = /(^|\/)\./.test(name);
  return !hidden && (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?)$/i.test(name));
}

/** @param {FileList | null} files @returns {Picture[]} */
function named(files) {
  return [...(files ?? [])].map((file) => ({ name: file.name, file }));
}
