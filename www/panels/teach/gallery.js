// @ts-check
/** Virtualised picture grid: only visible tiles are in the document, so that thousands of pictures scroll smoothly. */
import { DRAG_TYPES } from "../../ui/drop.js";
import { jpegUrl, make } from "../../ui/dom.js";
import { oncePerFrame } from "../../ui/render.js";
import { openFile } from "../../project/project.js";
import { KEYS } from "./classes.js";

/** @import { Picture } from "../../project/types.js" */
/** A thumbnail (JPEG bytes) or the picture's file. @typedef {Uint8Array | NonNullable<Picture["file"]>} Image */
/** @typedef {{ pictures: readonly Picture[], selection: ReadonlySet<number>, classNames: ReadonlyMap<number, string>, classIds: readonly number[], hasLatents(picture: Picture): boolean }} Shown */
/** @typedef {{ element: HTMLElement, image: HTMLImageElement, name: HTMLElement, label: HTMLElement, picture: Picture | null, shown: Image | null, url: string | null }} Tile */
/**
 * @typedef {{
 *   select(ids: ReadonlySet<number>): unknown, relabel(ids: ReadonlySet<number>, label: number): unknown, remove(ids: ReadonlySet<number>): unknown,
 *   imageOf(picture: Picture): { image: Image | null, ratio: number | null },
 * }} GridHandlers
 */

/** Smallest side of a tile, in pixels at the default font size. */
const MIN_SIDE = 92;
const GAP = 10;
/** Height of the caption under a tile, in pixels at the default font size. */
const CAPTION = 22;
const DEFAULT_FONT_SIZE = 16;
/** Extra rows rendered above and below the visible ones. */
const MARGIN = 2;

/** @param {HTMLElement} scroller a listbox @param {GridHandlers} on */
export function createGrid(scroller, on) {
  const sheet = make("div", "sheet");
  sheet.setAttribute("role", "presentation");
  scroller.append(sheet);
  /** Tiles by index. @type {Map<number, Tile>} */
  const tiles = new Map();
  /** @type {Shown} */
  let shown = { pictures: [], selection: new Set(), classNames: new Map(), classIds: [], hasLatents: () => true };
  let columns = 1;
  let side = MIN_SIDE;
  let rowHeight = MIN_SIDE + CAPTION + GAP;
  /** Index of the tile with the tab stop, and start of a range selection. */
  let current = 0;
  let anchor = 0;
  const schedulePaint = oncePerFrame(paint);

  new ResizeObserver(schedulePaint).observe(scroller);
  scroller.addEventListener("scroll", schedulePaint, { passive: true });
  scroller.addEventListener("click", onClick);
  scroller.addEventListener("keydown", onKey);
  scroller.addEventListener("dragstart", onDrag);

  return { render, focus };

  /** @param {Shown} next */
  function render(next) {
    shown = next;
    current = Math.max(0, Math.min(current, shown.pictures.length - 1));
    anchor = Math.min(anchor, current);
    paint();
  }

  function focus() {
    tiles.get(current)?.element.focus({ preventScroll: true });
  }

  function paint() {
    const { length } = shown.pictures;
    const { clientHeight, clientWidth, scrollTop } = scroller;
    const width = clientWidth - 2 * GAP;
    if (width <= 0) return;
    const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / DEFAULT_FONT_SIZE;
    columns = Math.max(1, Math.floor((width + GAP) / (MIN_SIDE * scale + GAP)));
    side = Math.floor((width - GAP * (columns - 1)) / columns);
    rowHeight = side + CAPTION * scale + GAP;
    sheet.style.blockSize = `${Math.ceil(length / columns) * rowHeight + GAP}px`;
    const from = Math.max(0, (Math.floor(scrollTop / rowHeight) - MARGIN) * columns);
    const to = Math.min(length, (Math.ceil((scrollTop + clientHeight) / rowHeight) + MARGIN) * columns);
    const hadFocus = scroller.contains(document.activeElement);
    /** @type {Tile[]} */
    const spare = [];
    for (const [index, tile] of tiles) {
      if ((index >= from && index < to) || (index === current && index < length)) continue;
      tiles.delete(index);
      spare.push(tile);
    }
    for (let index = from; index < to; index++) fill(index, spare);
    if (length && (current < from || current >= to)) fill(current, spare);
    for (const tile of spare) {
      clearTile(tile);
      tile.element.remove();
    }
    if (hadFocus && !scroller.contains(document.activeElement)) focus();
  }

  /** @param {number} index @param {Tile[]} spare tiles that are no longer visible, for reuse */
  function fill(index, spare) {
    const tile = tiles.get(index) ?? spare.pop() ?? newTile();
    tiles.set(index, tile);
    const { element } = tile;
    element.dataset.index = String(index);
    const picture = shown.pictures[index];
    const className = shown.classNames.get(picture.label) ?? "";
    const ready = shown.hasLatents(picture);
    element.style.inlineSize = `${side}px`;
    element.style.translate = `${GAP + (index % columns) * (side + GAP)}px ${GAP + Math.floor(index / columns) * rowHeight}px`;
    element.tabIndex = index === current ? 0 : -1;
    /** Avoids DOM writes that change nothing. @param {string} name @param {string} value */
    const setAttribute = (name, value) => element.getAttribute(name) !== value && element.setAttribute(name, value);
    setAttribute("aria-setsize", String(shown.pictures.length));
    setAttribute("aria-posinset", String(index + 1));
    setAttribute("aria-selected", String(shown.selection.has(picture.id)));
    setAttribute("aria-label", `${picture.name}, class ${className}${ready ? "" : ", waiting"}`);
    element.toggleAttribute("data-waiting", !ready);
    setAttribute("title", picture.name);
    if (tile.label.textContent !== className) tile.label.textContent = className;
    const { image, ratio } = on.imageOf(picture);
    const name = image ? "" : picture.name;
    if (tile.name.textContent !== name) tile.name.textContent = name;
    tile.image.classList.toggle("whole", ratio === null);
    tile.image.style.width = ratio === null ? "" : `${side * Math.min(1, ratio)}px`; // thumbnails are square like the network's input
    tile.image.style.height = ratio === null ? "" : `${side / Math.max(1, ratio)}px`;
    if (tile.picture?.id === picture.id && tile.shown === image) return;
    clearTile(tile);
    tile.picture = picture;
    tile.shown = image;
    element.dataset.id = String(picture.id);
    tile.image.hidden = !image;
    if (image instanceof Uint8Array) tile.image.src = jpegUrl(image);
    else if (image) showFile(tile, image);
  }

  /** @param {Tile} tile @param {NonNullable<Picture["file"]>} file */
  async function showFile(tile, file) {
    const blob = await openFile(file).catch(() => null);
    if (!blob || tile.shown !== file) return;
    tile.url = URL.createObjectURL(blob);
    tile.image.src = tile.url;
  }

  /** @returns {Tile} */
  function newTile() {
    const image = document.createElement("img");
    image.alt = "";
    image.decoding = "async";
    image.draggable = false;
    const name = make("span", "tile-name");
    const label = make("span", "tile-label");
    const element = make("div", "tile", make("div", "tile-frame", image, name), label);
    element.setAttribute("role", "option");
    element.draggable = true;
    sheet.append(element);
    return { element, image, name, label, picture: null, shown: null, url: null };
  }

  /** @param {Tile} tile */
  function clearTile(tile) {
    if (tile.url) URL.revokeObjectURL(tile.url);
    tile.url = tile.shown = null;
    tile.image.removeAttribute("src");
  }

  // ---- selection ----

  /** @param {number} from @param {number} to @returns {Set<number>} */
  function range(from, to) {
    return new Set(shown.pictures.slice(Math.min(from, to), Math.max(from, to) + 1).map(({ id }) => id));
  }

  /** @param {number} index @returns {Set<number>} */
  function toggled(index) {
    const selection = new Set(shown.selection);
    const { id } = shown.pictures[index];
    if (!selection.delete(id)) selection.add(id);
    return selection;
  }

  /** Pictures that keys act on: the selection, or the current tile if there is none. @returns {ReadonlySet<number>} */
  function targets() {
    return shown.selection.size ? shown.selection : range(current, current);
  }

  /** @param {Event} event @returns {number | null} */
  function indexOf({ target }) {
    const tile = target instanceof Element ? target.closest(".tile") : null;
    return tile instanceof HTMLElement ? Number(tile.dataset.index) : null;
  }

  /** @param {MouseEvent} event */
  function onClick(event) {
    const index = indexOf(event);
    if (index === null) {
      on.select(new Set());
      return;
    }
    const toggles = event.ctrlKey || event.metaKey || ("pointerType" in event && event.pointerType === "touch");
    if (!event.shiftKey) anchor = index;
    moveTo(index);
    on.select(event.shiftKey ? range(anchor, index) : toggles ? toggled(index) : range(index, index));
  }

  /** @param {DragEvent} event */
  function onDrag(event) {
    const index = indexOf(event);
    const transfer = event.dataTransfer;
    if (index === null || !transfer) return;
    current = anchor = index;
    const selection = shown.selection.has(shown.pictures[index].id) ? shown.selection : range(index, index);
    on.select(selection);
    transfer.setData(DRAG_TYPES.pictures, String(selection.size));
    transfer.effectAllowed = "move";
    const badge = make("div", "drag-badge", String(selection.size));
    document.body.append(badge);
    transfer.setDragImage(badge, -8, -8);
    setTimeout(() => badge.remove());
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const { length } = shown.pictures;
    if (!length || event.altKey) return;
    const ctrl = event.ctrlKey || event.metaKey;
    const to = targetIndex(event.key, length);
    const number = Number(event.key);
    if (to !== null) {
      moveTo(Math.max(0, Math.min(to, length - 1)));
      if (event.shiftKey) on.select(range(anchor, current));
      else if (!ctrl) on.select(range((anchor = current), current));
    } else if (ctrl && event.key.toLowerCase() === "a") {
      on.select(range(0, length - 1));
    } else if (ctrl) {
      return;
    } else if (event.key === " ") {
      anchor = current;
      on.select(toggled(current));
    } else if (event.key === "Delete" || event.key === "Backspace") {
      on.remove(targets());
    } else if (event.key === "Escape" && shown.selection.size) {
      on.select(new Set());
    } else if (number >= 1 && number <= KEYS && shown.classIds[number - 1] !== undefined) {
      on.relabel(targets(), shown.classIds[number - 1]);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** @param {string} key @param {number} length @returns {number | null} */
  function targetIndex(key, length) {
    const page = columns * Math.max(1, Math.floor(scroller.clientHeight / rowHeight));
    switch (key) {
      case "ArrowRight": return current + 1;
      case "ArrowLeft": return current - 1;
      case "ArrowDown": return current + columns < length || Math.floor(current / columns) < Math.floor((length - 1) / columns) ? current + columns : current;
      case "ArrowUp": return current - columns < 0 ? current : current - columns;
      case "PageDown": return current + page;
      case "PageUp": return current - page;
      case "Home": return 0;
      case "End": return length - 1;
      default: return null;
    }
  }

  /** @param {number} index */
  function moveTo(index) {
    current = index;
    const top = Math.floor(index / columns) * rowHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + rowHeight + GAP > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + rowHeight + GAP - scroller.clientHeight;
    paint();
    focus();
  }
}
