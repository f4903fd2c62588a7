// @ts-check
/** Lines over epochs, by uPlot: named at their ends, told apart by dashes, in the page's colours whether light or dark. */
import uPlot from "../npm/uplot.js";
import { make } from "../dom.js";

/** @typedef {{ name: string, dashed: boolean, values: readonly (number | null)[] }} Line */
/** @typedef {{ lines: readonly Line[], mark: { epoch: number, name: string } | null }} Drawing */

const HEIGHT = 220;
const REDRAW_EVERY = 50;
const LINE_HEIGHT = 14;

/**
 * @param {string} title @param {(value: number) => string} inWords
 * @returns {{ element: HTMLElement, render(drawing: Drawing): void }}
 */
export function createCurves(title, inWords) {
  const box = make("div", "study-plot");
  const reading = make("p", "study-reading");
  const element = make("figure", "study-curves", make("figcaption", "", title), box, reading);
  box.setAttribute("aria-hidden", "true"); // the same is told in words and in a table
  /** @type {Drawing} */
  let drawing = { lines: [], mark: null };
  /** @type {uPlot | null} */
  let plot = null;
  let drawnAt = -REDRAW_EVERY;
  /** @type {number | undefined} */
  let later;

  new ResizeObserver(() => {
    if (plot && box.clientWidth) plot.setSize({ width: box.clientWidth, height: HEIGHT });
    else draw();
  }).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot?.redraw());

  return { element, render };

  /** @param {Drawing} wanted */
  function render(wanted) {
    if (wanted.lines.map(({ name }) => name).join("\n") !== drawing.lines.map(({ name }) => name).join("\n")) {
      plot?.destroy();
      plot = null;
    }
    drawing = wanted;
    clearTimeout(later);
    const wait = drawnAt + REDRAW_EVERY - performance.now();
    if (wait > 0) later = setTimeout(draw, wait);
    else draw();
  }

  function draw() {
    const { lines } = drawing;
    if (!lines.length || !box.clientWidth) return;
    drawnAt = performance.now();
    const epochs = Math.max(...lines.map(({ values }) => values.length));
    /** @type {[number[], ...(number | null | undefined)[][]]} */
    const data = [Array.from({ length: epochs }, (_, index) => index + 1), ...lines.map(({ values }) => [...values])];
    plot ??= new uPlot(options(lines), undefined, box);
    plot.setData(data);
  }

  /** @param {readonly Line[]} lines @returns {uPlot.Options} */
  function options(lines) {
    const axis = {
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1, size: 4 },
      font: font(box, 12),
    };
    return {
      width: box.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      padding: [12, 84, 0, 0],
      scales: { x: { time: false, range: (_, from, to) => [from, Math.max(to, from + 4)] } },
      axes: [
        { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], values: (_, ticks) => ticks.map(String) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map(inWords) },
      ],
      series: [{}, ...lines.map((line, index) => ({
        label: line.name,
        stroke: () => colour(strokes[index]),
        width: 2,
        dash: line.dashed ? [6, 4] : [],
        points: { show: (/** @type {uPlot} */ plot) => plot.data[0].length === 1 },
        spanGaps: true,
      }))],
      hooks: { draw: [annotate], setCursor: [read] },
    };
  }

  /** Names at the ends of the lines, moved apart where they would meet, and the marked epoch. @param {uPlot} plot */
  function annotate(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = font(box, 12 * ratio);
    const { mark, lines } = drawing;
    if (mark) {
      const x = Math.round(plot.valToPos(mark.epoch, "x", true));
      ctx.strokeStyle = colour("--soft");
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillStyle = colour("--soft");
      ctx.textBaseline = "bottom";
      ctx.textAlign = x > bbox.left + bbox.width / 2 ? "right" : "left";
      ctx.fillText(mark.name, x + (ctx.textAlign === "right" ? -4 : 4) * ratio, bbox.top + LINE_HEIGHT * ratio);
    }
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    const names = lines
      .map(({ name, values }, index) => {
        const last = values.findLastIndex((value) => value !== null);
        return { name, index, x: plot.valToPos(last + 1, "x", true), y: last < 0 ? NaN : plot.valToPos(values[last] ?? NaN, "y", true) };
      })
      .filter(({ y }) => Number.isFinite(y))
      .sort((a, b) => a.y - b.y);
    names.forEach((name, place) => {
      if (place) name.y = Math.max(name.y, names[place - 1].y + LINE_HEIGHT * ratio);
    });
    for (const { name, index, x, y } of names) {
      ctx.fillStyle = colour(strokes[index]);
      ctx.fillText(name, x + 6 * ratio, y);
    }
    ctx.restore();
  }

  /** @param {uPlot} plot */
  function read({ cursor: { idx } }) {
    reading.textContent = idx == null
      ? ""
      : `Epoch ${idx + 1}: ${drawing.lines.map(({ name, values }) => `${name} ${values[idx] == null ? "–" : inWords(/** @type {number} */ (values[idx]))}`).join(", ")}`;
  }

  /** @param {string} name @returns {string} */
  function colour(name) {
    return getComputedStyle(element).getPropertyValue(name);
  }
}

const strokes = ["--accent", "--second"];

/** @param {HTMLElement} element @param {number} size */
function font(element, size) {
  return `${size}px ${getComputedStyle(element).fontFamily}`;
}
