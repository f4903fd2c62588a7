// @ts-check
/** Widgets that several panels use: sections with a heading, selects, tables, paged lists. */
import { button, make } from "./dom.js";
import { count } from "./format.js";

/** @param {string} id @param {string} title @param {(Node | string)[]} children @returns {HTMLElement} a section with a heading */
export function part(id, title, ...children) {
  const heading = make("h2", "", title);
  heading.id = `${id}-title`;
  heading.tabIndex = -1;
  const element = make("section", "panel-part", heading, ...children);
  element.id = id;
  element.setAttribute("aria-labelledby", heading.id);
  return element;
}

/** @param {string} summary @param {(Node | string)[]} children @returns {HTMLDetailsElement} */
export function details(summary, ...children) {
  const element = document.createElement("details");
  element.className = "panel-details";
  element.append(make("summary", "", summary), ...children);
  return element;
}

/** @param {readonly { value: string, label: string }[]} choices @param {string} value @param {string} label @returns {HTMLSelectElement} */
export function select(choices, value, label) {
  const element = document.createElement("select");
  element.className = "panel-select";
  element.setAttribute("aria-label", label);
  element.append(...choices.map((choice) => new Option(choice.label, choice.value)));
  element.value = value;
  return element;
}

/** @param {string} text @param {"col" | "row"} scope @param {string} [className] @returns {HTMLElement} */
export function head(text, scope, className = "") {
  const cell = make("th", className, text);
  cell.setAttribute("scope", scope);
  return cell;
}

/**
 * A table in a box that scrolls horizontally on narrow pages.
 * @param {string} caption @param {readonly string[]} columns @param {readonly (readonly (Node | string)[])[]} rows  The first cell of each row is its header.
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows) {
  const element = make(
    "table", "panel-table",
    make("caption", "", caption),
    make("thead", "", make("tr", "", ...columns.map((name) => (name ? head(name, "col") : make("td", ""))))),
    make("tbody", "", ...rows.map(([first, ...rest]) => {
      const name = make("th", "", first);
      name.setAttribute("scope", "row");
      return make("tr", "", name, ...rest.map((cell) => make("td", "", cell)));
    })),
  );
  return scrolling(element, caption);
}

/** @param {HTMLElement} content @param {string} name @returns {HTMLElement} a scrollable box that the keyboard can focus */
export function scrolling(content, name) {
  const box = make("div", "panel-scroll", content);
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", name);
  return box;
}

/** @param {number | null} share @returns {HTMLElement} a share (0..1) as a bar and a percentage */
export function bar(share) {
  const fill = make("span", "fill");
  fill.style.inlineSize = `${(share ?? 0) * 100}%`;
  const track = make("span", "track", ...(share === null ? [] : [fill]));
  return make("span", "panel-bar", track, make("span", "", share === null ? "–" : `${Math.round(share * 100)} %`));
}

/**
 * A list with pages.
 * @template T
 * @param {number} size @param {(item: T) => HTMLElement} show @param {string} name
 */
export function paged(size, show, name) {
  const list = make("ul", "");
  list.setAttribute("role", "list");
  list.setAttribute("aria-label", name);
  const position = make("span", "panel-soft");
  const previous = button("Previous", () => turn(-1));
  const next = button("Next", () => turn(1));
  const row = make("div", "panel-row", previous, position, next);
  /** @type {readonly T[]} */
  let items = [];
  let page = 0;

  return { list, element: make("div", "", list, row), render };

  /** @param {readonly T[]} newItems @param {boolean} [fromStart] */
  function render(newItems, fromStart = false) {
    items = newItems;
    const last = Math.max(0, Math.ceil(items.length / size) - 1);
    page = fromStart ? 0 : Math.min(page, last);
    list.replaceChildren(...items.slice(page * size, (page + 1) * size).map(show));
    row.hidden = !last;
    position.textContent = `${count(page * size + 1)}–${count(Math.min(items.length, (page + 1) * size))} of ${count(items.length)}`;
    previous.disabled = page === 0;
    next.disabled = page === last;
  }

  /** @param {number} by */
  function turn(by) {
    page += by;
    render(items);
    const [pressed, other] = by < 0 ? [previous, next] : [next, previous];
    (pressed.disabled ? other : pressed).focus();
  }
}
