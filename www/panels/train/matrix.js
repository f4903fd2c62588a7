// @ts-check
/** The confusion matrix: a table of buttons with a roving tab stop. Arrow keys move between cells. */
import { button, make } from "../../ui/dom.js";
import { count } from "../../ui/format.js";
import { head, scrolling } from "../../ui/widgets.js";
import { cellText } from "./texts.js";

/** @import { Evaluation } from "../../engine/types.js" */

/** Upper limit of classes in the matrix, for readability and for the number of buttons. */
const MAX_CLASSES = 60;

/** @param {(cell: readonly [number, number] | null) => unknown} open */
export function createMatrix(open) {
  const element = make("div", "panel-block");
  /** @type {Evaluation | null} */
  let shown = null;
  /** @type {HTMLButtonElement[][]} */
  let cells = [];
  /** @type {readonly number[]} */
  let order = [];
  let cursor = [0, 0];

  return { element, render, focus: () => cells[cursor[0]]?.[cursor[1]]?.focus() };

  /** @param {Evaluation} evaluation @param {readonly [number, number] | null} cell */
  function render(evaluation, cell) {
    if (evaluation !== shown) build(evaluation);
    shown = evaluation;
    cells.forEach((row, i) => row.forEach((one, j) => {
      const opened = cell !== null && order[i] === cell[0] && order[j] === cell[1];
      if (opened || one.ariaExpanded === "true") one.ariaExpanded = String(opened);
      if (opened) goTo([i, j]);
    }));
  }

  /** @param {Evaluation} evaluation */
  function build({ classes, confusion }) {
    order = shownClasses(confusion);
    cells = order.map((truth) => {
      const total = confusion[truth].reduce((sum, pictures) => sum + pictures, 0);
      return order.map((predicted) => cellButton(confusion[truth][predicted], total, truth, predicted));
    });
    cursor = [0, 0];
    if (cells.length) cells[0][0].tabIndex = 0;
    const names = order.map((index) => classes[index].name);
    const caption = make("caption", "", "Confusion matrix");
    const columns = make("tr", "", make("td", ""), ...names.map((name) => {
      const column = head(name, "col", "panel-column");
      column.title = name;
      return column;
    }));
    const rows = cells.map((row, i) => {
      const name = head(names[i], "row");
      name.title = names[i];
      return make("tr", "", name, ...row.map((cell) => make("td", "", cell)));
    });
    const table = make("table", "panel-matrix", caption, make("thead", "", columns), make("tbody", "", ...rows));
    table.addEventListener("keydown", move);
    const left = classes.length - order.length;
    element.replaceChildren(
      make("h3", "", "Confusions between classes"),
      make("p", "panel-soft", "Rows are true classes, columns are predicted classes. Press a number to see its pictures. Arrow keys move between numbers."),
      ...(left ? [make("p", "panel-soft", `Only the ${MAX_CLASSES} classes with the most mistakes are shown; ${count(left)} others are left out.`)] : []),
      scrolling(table, "Confusion matrix, scrollable"),
    );

    /** @param {number} pictures @param {number} total @param {number} truth @param {number} predicted @returns {HTMLButtonElement} */
    function cellButton(pictures, total, truth, predicted) {
      const cell = button(count(pictures), () => open(cell.ariaExpanded === "true" ? null : [truth, predicted]));
      cell.className = pictures ? "panel-count" : "panel-count zero";
      if (truth === predicted) cell.classList.add("right");
      cell.tabIndex = -1;
      cell.ariaExpanded = "false";
      cell.setAttribute("aria-label", cellText(pictures, classes[truth].name, classes[predicted].name));
      cell.setAttribute("aria-controls", "train-cell");
      cell.style.setProperty("--share", (total ? pictures / total : 0).toFixed(3));
      return cell;
    }
  }

  /** @param {KeyboardEvent} event */
  function move(event) {
    const from = cells.findIndex((row) => row.some((cell) => cell === event.target));
    if (from < 0) return;
    const at = [from, cells[from].findIndex((cell) => cell === event.target)];
    const last = cells.length - 1;
    /** @type {Record<string, number[]>} */
    const steps = {
      ArrowUp: [at[0] - 1, at[1]], ArrowDown: [at[0] + 1, at[1]], ArrowLeft: [at[0], at[1] - 1], ArrowRight: [at[0], at[1] + 1],
      Home: [at[0], 0], End: [at[0], last], PageUp: [0, at[1]], PageDown: [last, at[1]],
    };
    if (event.key === "Escape") open(null);
    const to = steps[event.key]?.map((index) => Math.min(last, Math.max(0, index)));
    if (!to) return;
    event.preventDefault();
    goTo(to);
    cells[to[0]][to[1]].focus();
  }

  /** Moves the tab stop. @param {number[]} to */
  function goTo(to) {
    cells[cursor[0]][cursor[1]].tabIndex = -1;
    cursor = to;
    cells[to[0]][to[1]].tabIndex = 0;
  }
}

/** @param {readonly (readonly number[])[]} confusion @returns {number[]} indices of the classes to show, ascending */
function shownClasses(confusion) {
  const all = confusion.map((_, index) => index);
  if (all.length <= MAX_CLASSES) return all;
  const mistakes = all.map((index) => confusion[index].reduce((sum, pictures) => sum + pictures, 0) - confusion[index][index]);
  return [...all].sort((a, b) => mistakes[b] - mistakes[a]).slice(0, MAX_CLASSES).sort((a, b) => a - b);
}
