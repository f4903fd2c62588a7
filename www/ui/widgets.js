// @ts-check
/** Small things that several rooms show: parts with a heading, choices, tables, pages. */
import { button, make } from "./dom.js";
import { count } from "./format.js";

/** @param {string} id @param {string} title @param {(Node | string)[]} children @returns {HTMLElement} a part with its heading */
export function part(id, title, ...children) {
  const heading = make("h2", "", title);
  heading.id = `${id}-title`;
  heading.tabIndex = -1;
  const element = make("section", "study-part", heading, ...children);
  element.id = id;
  element.setAttribute("aria-labelledby", heading.id);
  return element;
}

/** @param {string} summary @param {(Node | string)[]} children @returns {HTMLDetailsElement} */
export function details(summary, ...children) {
  const element = document.createElement("details");
  element.className = "study-details";
  element.append(make("summary", "", summary), ...children);
  return element;
}

/** @param {readonly { value: string, words: string }[]} choices @param {string} value @param {string} label @returns {HTMLSelectElement} */
export function select(choices, value, label) {
  const element = document.createElement("select");
  element.className = "study-select";
  element.setAttribute("aria-label", label);
  element.append(...choices.map((choice) => new Option(choice.words, choice.value)));
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
 * A table of words and numbers in a box that scrolls by itself where the page is narrow.
 * @param {string} caption @param {readonly string[]} columns @param {readonly (readonly (Node | string)[])[]} rows  The first cell of each names its row.
 * @returns {HTMLElement}
 */
export function table(caption, columns, rows) {
  const element = make(
    "table", "study-table",
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

/** @param {HTMLElement} content @param {string} name @returns {HTMLElement} a box that scrolls by itself, by keyboard too */
export function scrolling(content, name) {
  const box = make("div", "study-scroll", content);
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", name);
  return box;
}

/** @param {number | null} share @returns {HTMLElement} a share of one as a bar and a number */
export function bar(share) {
  const fill = make("span", "fill");
  fill.style.inlineSize = `${(share ?? 0) * 100}%`;
  const track = make("span", "track", ...(share === null ? [] : [fill]));
  return make("span", "study-bar", track, make("span", "", share === null ? "–" : `${Math.round(share * 100)} %`));
}

/**
 * A list shown a page at a time.
 * @template T
 * @param {number} size @param {(item: T) => HTMLElement} show @param {string} name
 */
export function paged(size, show, name) {
  const list = make("ul", "");
  list.setAttribute("role", "list");
  list.setAttribute("aria-label", name);
  const where = make("span", "study-soft");
  const previous = button("Previous", () => turn(-1));
  const next = button("Next", () => turn(1));
  const row = make("div", "study-row", previous, where, next);
  /** @type {readonly T[]} */
  let items = [];
  let page = 0;

  return { list, element: make("div", "", list, row), render };

  /** @param {readonly T[]} fresh @param {boolean} [fromStart] */
  function render(fresh, fromStart = false) {
    items = fresh;
    const last = Math.max(0, Math.ceil(items.length / size) - 1);
    page = fromStart ? 0 : Math.min(page, last);
    list.replaceChildren(...items.slice(page * size, (page + 1) * size).map(show));
    row.hidden = !last;
    where.textContent = `${count(page * size + 1)}–${count(Math.min(items.length, (page + 1) * size))} of ${count(items.length)}`;
    previous.disabled = page === 0;
    next.disabled = page === last;
  }

  /** @param {number} by */
  function turn(by) {
    page += by;
    render(items);
    const way = by < 0 ? previous : next;
    (way.disabled ? (by < 0 ? next : previous) : way).focus();
  }
}
