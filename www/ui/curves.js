// @ts-check
/** Line charts with uPlot: labels at the line ends, dashes, and colours of the current theme. */
import uPlot from "../npm/uplot.js";
import { make } from "./dom.js";

/**
 * @typedef {{ name: string, values: readonly (number | null)[], spread?: readonly ([number, number] | null)[] }} Line
 *   The first line is solid, the others are dashed. `spread` is drawn as whiskers.
 */
/** @typedef {{ lines: readonly Line[], mark?: { epoch: number, name: string } | null, at?: readonly number[] }} Drawing  `at` holds the x values; 1, 2, 3 ... by default. */

const HEIGHT = 220;
const REDRAW_INTERVAL_MS = 50;
const LINE_HEIGHT = 14;
/** Pixels between the end of a line and its label. */
const GAP = 6;

/**
 * @param {string} title @param {(value: number) => string} format @param {{ over?: string, logarithmic?: boolean }} [options]  `over` is the title of the x axis.
 * @returns {{ element: HTMLElement, render(drawing: Drawing): void }}
 */
export function createCurves(title, format, { over = "Epoch", logarithmic = false } = {}) {
  const box = make("div", "panel-plot");
  const values = make("p", "panel-reading");
  const element = make("figure", "panel-curves", make("figcaption", "", title), box, values);
  box.setAttribute("aria-hidden", "true"); // text and a table have the same data
  /** @type {Drawing} */
  let drawing = { lines: [] };
  /** @type {uPlot | null} */
  let plot = null;
  let drawnAt = -REDRAW_INTERVAL_MS;
  /** @type {number | undefined} */
  let timer;

  new ResizeObserver(() => {
    if (plot && box.clientWidth) plot.setSize({ width: box.clientWidth, height: HEIGHT });
    else draw();
  }).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot?.redraw());

  return { element, render };

  /** @param {Drawing} next */
  function render(next) {
    if (next.lines.map(({ name }) => name).join("\n") !== drawing.lines.map(({ name }) => name).join("\n")) {
      plot?.destroy();
      plot = null;
    }
    drawing = next;
    clearTimeout(timer);
    const wait = drawnAt + REDRAW_INTERVAL_MS - performance.now();
    if (wait > 0) timer = setTimeout(draw, wait);
    else draw();
  }

  function draw() {
    const { lines } = drawing;
    if (!lines.length || !box.clientWidth) return;
    drawnAt = performance.now();
    const places = Math.max(...lines.map(({ values }) => values.length));
    const at = drawing.at ?? Array.from({ length: places }, (_, index) => index + 1);
    /** @type {[number[], ...(number | null | undefined)[][]]} */
    const data = [[...at], ...lines.map(({ values }) => [...values])];
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
      padding: [12, Math.max(84, GAP + 4 + labelWidth(lines)), 0, 0],
      scales: {
        x: logarithmic
          ? { time: false, distr: 3, range: (_, from, to) => [from / 1.3, to * 1.3] }
          : { time: false, range: (_, from, to) => [from, Math.max(to, from + 4)] },
        ...(lines.some(({ spread }) => spread) ? { y: { range: (_, from, to) => withSpread(from, to) } } : {}),
      },
      axes: [
        logarithmic
          ? { ...axis, size: 30, splits: () => [...(drawing.at ?? [])], filter: (_, ticks) => ticks, values: (_, ticks) => ticks.map(String) }
          : { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], values: (_, ticks) => ticks.map(String) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map(format) },
      ],
      series: [{}, ...lines.map((line, index) => ({
        label: line.name,
        stroke: () => colour(strokes[index]),
        width: 2,
        dash: dashes[index],
        points: { show: (/** @type {uPlot} */ plot) => logarithmic || plot.data[0].length === 1 },
        spanGaps: true,
      }))],
      hooks: { draw: [drawWhiskers, drawLabels], setCursor: [showValues] },
    };
  }

  /** The y range including the whiskers. @param {number} from @param {number} to @returns {uPlot.Range.MinMax} */
  function withSpread(from, to) {
    const ends = drawing.lines.flatMap(({ spread }) => (spread ?? []).flatMap((pair) => pair ?? []));
    return uPlot.rangeNum(Math.min(from ?? Infinity, ...ends), Math.max(to ?? -Infinity, ...ends), 0.1, true);
  }

  /** Width of the longest label in pixels. @param {readonly Line[]} lines @returns {number} */
  function labelWidth(lines) {
    const context = document.createElement("canvas").getContext("2d");
    if (!context) return 0;
    context.font = font(box, 12);
    return Math.ceil(Math.max(...lines.map(({ name }) => context.measureText(name).width)));
  }

  /** @param {uPlot} plot */
  function drawWhiskers(plot) {
    const { ctx } = plot;
    const ratio = devicePixelRatio;
    const at = drawing.at ?? [];
    ctx.save();
    ctx.lineWidth = 1.5 * ratio;
    for (const [index, { spread }] of drawing.lines.entries()) {
      ctx.strokeStyle = colour(strokes[index]);
      for (const [place, ends] of (spread ?? []).entries()) {
        if (!ends) continue;
        const x = plot.valToPos(at[place], "x", true) + (index - 1) * 3 * ratio; // shifted, so that whiskers at the same x do not overlap
        const [low, high] = ends.map((value) => plot.valToPos(value, "y", true));
        ctx.beginPath();
        for (const y of [low, high]) {
          ctx.moveTo(x - 4 * ratio, y);
          ctx.lineTo(x + 4 * ratio, y);
        }
        ctx.moveTo(x, low);
        ctx.lineTo(x, high);
        ctx.stroke();
      }
    }
    ctx.restore();
  }

  /** Draws the marked epoch, and labels at the line ends, moved down where they would overlap. @param {uPlot} plot */
  function drawLabels(plot) {
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
    const labels = lines
      .map(({ name, values }, index) => {
        const last = values.findLastIndex((value) => value !== null);
        return { name, index, x: plot.valToPos(drawing.at?.[last] ?? last + 1, "x", true), y: last < 0 ? NaN : plot.valToPos(values[last] ?? NaN, "y", true) };
      })
      .filter(({ y }) => Number.isFinite(y))
      .sort((a, b) => a.y - b.y);
    labels.forEach((label, place) => {
      if (place) label.y = Math.max(label.y, labels[place - 1].y + LINE_HEIGHT * ratio);
    });
    for (const { name, index, x, y } of labels) {
      const [from, width] = [x + GAP * ratio, ctx.measureText(name).width];
      ctx.fillStyle = colour("--surface"); // background, so that longer lines do not cross the label
      ctx.fillRect(from - 2 * ratio, y - LINE_HEIGHT * ratio / 2, width + 4 * ratio, LINE_HEIGHT * ratio);
      ctx.fillStyle = colour(strokes[index]);
      ctx.fillText(name, from, y);
    }
    ctx.restore();
  }

  /** @param {uPlot} plot */
  function showValues({ cursor: { idx } }) {
    values.textContent = idx == null
      ? ""
      : `${over} ${drawing.at?.[idx] ?? idx + 1}: ${drawing.lines.map(({ name, values }) => `${name} ${values[idx] == null ? "–" : format(/** @type {number} */ (values[idx]))}`).join(", ")}`;
  }

  /** @param {string} name @returns {string} */
  function colour(name) {
    return getComputedStyle(element).getPropertyValue(name);
  }
}

const strokes = ["--accent", "--second", "--third"];
const dashes = [[], [6, 4], [2, 3]];

/** @param {HTMLElement} element @param {number} size */
function font(element, size) {
  return `${size}px ${getComputedStyle(element).fontFamily}`;
}
