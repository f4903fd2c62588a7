// @ts-check
/** 2-D map of the latents: one point per picture, with hover, lasso selection and relabelling. */
import { button, make } from "../../ui/dom.js";
import { count, pictures } from "../../ui/format.js";
import { oncePerFrame } from "../../ui/render.js";
import { details, part, select, table } from "../../ui/widgets.js";
import { fileName, thumbnail } from "./widgets.js";
import { centres } from "./state.js";
import { nameOf } from "./texts.js";

/** @import { Picture } from "../../project/types.js" */
/** @import { State } from "./state.js" */
/** @typedef {{ map(method: "pca" | "umap"): unknown, cancelMap(): unknown, relabel(pictures: readonly number[], label: number): unknown, pictureUrl(picture: Picture): string | null }} MapHandlers */
/** @typedef {{ picture: Picture, x: number, y: number }} Point  `x` and `y` are 0 to 1. */
/** @typedef {{ side: number, pixels: Uint8ClampedArray }} Mark  Square, RGBA. */

/** Okabe-Ito colours (safe for colour-blind readers), adjusted for contrast with each theme. With the shapes they give 42 distinct marks. */
const COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#c2649a", "#b88700", "#45a5dd", "#7d5fb2"],
  dark: ["#4aa0e0", "#ff8a3d", "#2fc298", "#e79cc5", "#dcb53c", "#9ad6f7", "#b49ee6"],
};
const DARK = matchMedia("(prefers-color-scheme: dark)");
const SHAPES = 6;
const MARK_RADIUS = 4;
const HIT_RADIUS = 12;
const MARGIN = 16;
/** Opacity of points outside the selection. */
const UNSELECTED_OPACITY = 0.25;

/** @param {MapHandlers} on */
export function createMap(on) {
  const pca = button("Draw map", () => on.map("pca"));
  const umap = button("UMAP", () => on.map("umap"));
  const progressWords = make("span", "panel-soft");
  const progress = document.createElement("progress");
  progress.setAttribute("aria-label", "Drawing the map");
  const cancel = button("Cancel", on.cancelMap);
  const working = make("div", "panel-row", progressWords, progress, cancel);
  const intro = make("p", "panel-soft");
  const lassoButton = button("Select by drawing", () => setLasso(!lassoing));
  const showAll = button("Show all", () => {
    view = { scale: 1, x: 0, y: 0 };
    draw();
  });
  const zoomIn = button("+", () => zoom(1.5, frameSize.width / 2, frameSize.height / 2));
  zoomIn.setAttribute("aria-label", "Zoom in");
  const zoomOut = button("−", () => zoom(1 / 1.5, frameSize.width / 2, frameSize.height / 2));
  zoomOut.setAttribute("aria-label", "Zoom out");
  const tools = make("div", "panel-row", lassoButton, zoomIn, zoomOut, showAll, make("span", "panel-soft", "Scroll to zoom, drag to move, Shift-drag to select. Arrow keys move between points, Space selects."));
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Map of all pictures");
  const tooltip = make("div", "panel-tooltip");
  tooltip.hidden = true;
  const liveRegion = make("p", "visually-hidden");
  liveRegion.setAttribute("aria-live", "polite");
  const frame = make("div", "panel-map", canvas, tooltip, liveRegion);
  const legend = make("div", "panel-legend");
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", "Classes shown on the map");
  const selection = make("div", "panel-row panel-selection");
  selection.setAttribute("role", "group");
  selection.setAttribute("aria-label", "Selected pictures");
  const summary = make("div", "");
  const content = make("div", "", tools, frame, selection, legend, summary);
  const element = part("train-map", "Map", intro, make("div", "panel-row", pca, umap, working), content);

  /** @type {State | null} */
  let shown = null;
  /** @type {Point[]} */
  let points = [];
  /** @type {Set<number>} */
  const hidden = new Set();
  /** @type {ReadonlySet<number>} */
  let selected = new Set();
  /** @type {Point | null} */
  let focused = null;
  let view = { scale: 1, x: 0, y: 0 };
  /** Size of the frame in CSS pixels. */
  let frameSize = { width: 0, height: 0 };
  /** Centre and size of the points' bounding box. Both axes use the same scale. */
  let bounds = { x: 0, y: 0, width: 1, height: 1 };
  let lassoing = false;
  /** @type {number[][] | null} */
  let loop = null;
  /** All points, cached while only the pointer moves. @type {ImageData | null} */
  let layer = null;
  const draw = oncePerFrame(() => {
    drawLayer();
    drawOverlay();
  });

  new ResizeObserver(() => draw()).observe(frame);
  DARK.addEventListener("change", () => {
    if (shown?.latentMap) paintLegend(shown);
    draw();
  });
  listen();

  return { element, render };

  /** @param {State} state @param {State | null} before */
  function render(state, before) {
    shown = state;
    const { data, latentMap, mapProgress, project } = state;
    element.hidden = data.embedded < 3 && !latentMap;
    intro.textContent = `Each picture is a point. Pictures with similar latents are close together: ${pictures(data.embedded)}, ${data.classes.length} classes. Two dimensions show only part of the information in the latents.`;
    pca.textContent = latentMap ? "PCA" : "Draw map";
    pca.disabled = umap.disabled = !state.ready || mapProgress !== null || data.embedded < 3;
    pca.ariaPressed = latentMap ? String(latentMap.method === "pca") : null;
    umap.ariaPressed = latentMap ? String(latentMap.method === "umap") : null;
    working.hidden = !mapProgress;
    if (mapProgress) {
      progressWords.textContent = mapProgress.method === "pca" ? "PCA" : mapProgress.total ? `UMAP, step ${count(mapProgress.done)} of ${count(mapProgress.total)}` : "UMAP: finding the nearest neighbours";
      if (mapProgress.total) {
        progress.max = mapProgress.total;
        progress.value = mapProgress.done;
      } else progress.removeAttribute("value");
      if (!before?.mapProgress && document.activeElement === document.body) cancel.focus();
    } else if (before?.mapProgress && document.activeElement === document.body) umap.focus();
    content.hidden = !latentMap;
    if (!latentMap || (latentMap === before?.latentMap && project === before.project)) return;
    place(state, latentMap !== before?.latentMap);
    paintLegend(state);
    paintSummary(state);
    paintSelection();
    draw();
  }

  /** @param {State} state @param {boolean} fresh */
  function place({ project, latentMap }, fresh) {
    if (!latentMap) return;
    const byId = new Map(project.pictures.map((picture) => [picture.id, picture]));
    points = latentMap.ids.flatMap((id, index) => {
      const picture = byId.get(id);
      return picture ? [{ picture, x: latentMap.points[2 * index], y: latentMap.points[2 * index + 1] }] : [];
    });
    selected = new Set([...selected].filter((id) => byId.has(id)));
    if (fresh) {
      view = { scale: 1, x: 0, y: 0 };
      bounds = boundsOf(latentMap.points);
    }
    setFocused(null);
  }

  // ---- drawing ----

  /** Blends marks pixel by pixel: without a GPU, thousands of drawImage calls are several times slower. */
  function drawLayer() {
    const ratio = devicePixelRatio;
    frameSize = { width: frame.clientWidth, height: frame.clientHeight };
    const width = Math.round(frameSize.width * ratio);
    const height = Math.round(frameSize.height * ratio);
    if (!width || !height || !shown) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (layer?.width !== width || layer.height !== height) layer = new ImageData(width, height);
    const [red, green, blue] = (getComputedStyle(frame).backgroundColor.match(/\d+/g) ?? []).map(Number);
    new Uint32Array(layer.data.buffer).fill(new Uint32Array(new Uint8Array([red, green, blue, 255]).buffer)[0]);
    const marks = new Map(shown.project.classes.map(({ id }, index) => [id, markOf(index, ratio)]));
    for (const one of points) {
      const mark = marks.get(one.picture.label);
      if (!mark || hidden.has(one.picture.label)) continue;
      const [x, y] = position(one);
      blendMark(layer, mark, x * ratio, y * ratio, selected.size && !selected.has(one.picture.id) ? UNSELECTED_OPACITY : 1);
    }
  }

  function drawOverlay() {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context || !layer) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(layer, 0, 0);
    context.scale(devicePixelRatio, devicePixelRatio);
    context.strokeStyle = getComputedStyle(element).getPropertyValue("--ink");
    if (focused) {
      context.lineWidth = 2.5;
      ring(context, focused, 8);
    }
    if (loop && loop.length > 1) {
      context.lineWidth = 1.5;
      context.setLineDash([5, 4]);
      context.beginPath();
      loop.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.stroke();
      context.setLineDash([]);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Point} one @param {number} radius */
  function ring(context, one, radius) {
    const [x, y] = position(one);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }

  /** @param {Point} one @returns {[number, number]} in CSS pixels */
  function position({ x, y }) {
    const scale = Math.min((frameSize.width - 2 * MARGIN) / bounds.width, (frameSize.height - 2 * MARGIN) / bounds.height) * view.scale;
    return [
      frameSize.width / 2 + (x - bounds.x) * scale + view.x,
      frameSize.height / 2 - (y - bounds.y) * scale + view.y,
    ];
  }

  // ---- legend, summary and selection ----

  /** @param {State} state */
  function paintLegend({ project }) {
    const kept = new Set(project.classes.map(({ id }) => id));
    for (const id of hidden) if (!kept.has(id)) hidden.delete(id);
    legend.replaceChildren(...project.classes.map(({ id, name }, index) => {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(id);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(id);
        else hidden.add(id);
        draw();
      });
      const mark = sprite(index, 2);
      mark.className = "panel-mark";
      return make("label", "panel-check", box, mark, name);
    }));
  }

  /** @param {State} state */
  function paintSummary(state) {
    if (!state.latentMap) return;
    summary.replaceChildren(details("Distances between classes", table(
      "Classes on the map", ["Class", "Pictures", "Nearest class", "Distance between centres (share of the map's longer side)"],
      centres(state, state.latentMap).map(({ name, pictures: many, nearest, distance }) => [name, count(many), nearest ?? "–", nearest ? `${Math.round(distance * 100)} %` : "–"]),
    )));
    canvas.setAttribute("aria-label", `Map of ${pictures(points.length)} in ${state.project.classes.length} classes`);
  }

  function paintSelection() {
    selection.hidden = !selected.size;
    if (!shown || !selected.size) return;
    const classes = shown.project.classes;
    const choice = select(classes.map(({ id, name }) => ({ value: String(id), label: name })), String(classes[0]?.id ?? ""), "New class of the selected pictures");
    const relabel = button("Relabel", () => {
      const ids = [...selected];
      selectOnly([]);
      on.relabel(ids, Number(choice.value));
      canvas.focus();
    });
    const clear = button("Select none", () => {
      selectOnly([]);
      canvas.focus();
    });
    selection.replaceChildren(make("span", "", `Relabel ${pictures(selected.size)} as`), choice, relabel, clear);
  }

  /** @param {Iterable<number>} ids */
  function selectOnly(ids) {
    selected = new Set(ids);
    paintSelection();
    draw();
    if (selected.size) liveRegion.textContent = `${pictures(selected.size)} selected`;
  }

  /** Shows the tooltip of a point. @param {Point | null} one @param {boolean} [speak]  Whether to announce it to screen readers. */
  function setFocused(one, speak = false) {
    if (one === focused) return;
    focused = one;
    tooltip.hidden = !one;
    drawOverlay();
    if (!one || !shown) return;
    const className = shown.project.classes.find(({ id }) => id === one.picture.label)?.name ?? "";
    const url = on.pictureUrl(one.picture);
    tooltip.replaceChildren(...(url ? [thumbnail(url)] : []), make("strong", "", className), fileName(one.picture));
    const [x, y] = position(one);
    tooltip.style.insetInlineStart = `${Math.min(Math.max(0, x + 12), frame.clientWidth - tooltip.offsetWidth)}px`;
    tooltip.style.insetBlockStart = `${Math.max(0, y + 12 + tooltip.offsetHeight > frame.clientHeight ? y - 12 - tooltip.offsetHeight : y + 12)}px`;
    if (speak) liveRegion.textContent = `${className}, ${nameOf(one.picture)}${selected.has(one.picture.id) ? ", selected" : ""}`;
  }

  // ---- events ----

  /** @param {boolean} on */
  function setLasso(on) {
    lassoing = on;
    lassoButton.ariaPressed = String(on);
    frame.classList.toggle("drawing", on);
  }

  function listen() {
    setLasso(false);
    /** @type {{ x: number, y: number } | null} */
    let dragged = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      if (lassoing || event.shiftKey) loop = [[event.offsetX, event.offsetY]];
      else dragged = { x: event.offsetX, y: event.offsetY };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (loop) {
        loop.push([event.offsetX, event.offsetY]);
        drawOverlay();
      } else if (dragged) {
        view = { ...view, x: view.x + event.offsetX - dragged.x, y: view.y + event.offsetY - dragged.y };
        dragged = { x: event.offsetX, y: event.offsetY };
        setFocused(null);
        draw();
      } else setFocused(nearest(event.offsetX, event.offsetY));
    });
    const end = () => {
      dragged = null;
      if (!loop) return;
      const closedLoop = loop;
      loop = null;
      selectOnly(points.filter((one) => !hidden.has(one.picture.label) && inside(position(one), closedLoop)).map(({ picture }) => picture.id));
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => setFocused(null));
    canvas.addEventListener("blur", () => setFocused(null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (direction) setFocused(nearestInDirection(direction[0], direction[1]), true);
      else if (event.key === "+") zoom(1.25, frameSize.width / 2, frameSize.height / 2);
      else if (event.key === "-") zoom(0.8, frameSize.width / 2, frameSize.height / 2);
      else if (event.key === " " && focused) {
        const { id } = focused.picture;
        selectOnly(selected.has(id) ? [...selected].filter((one) => one !== id) : [...selected, id]);
      } else if (event.key === "Escape") selectOnly([]);
      else return;
      event.preventDefault();
    });
  }

  /** @param {number} by @param {number} x @param {number} y */
  function zoom(by, x, y) {
    const scale = Math.min(40, Math.max(0.5, view.scale * by));
    const ratio = scale / view.scale;
    const fromMiddle = { x: x - frameSize.width / 2, y: y - frameSize.height / 2 };
    view = { scale, x: fromMiddle.x - (fromMiddle.x - view.x) * ratio, y: fromMiddle.y - (fromMiddle.y - view.y) * ratio };
    setFocused(null);
    draw();
  }

  /** @param {number} x @param {number} y @returns {Point | null} */
  function nearest(x, y) {
    /** @type {Point | null} */
    let best = null;
    let least = HIT_RADIUS;
    for (const one of points) {
      if (hidden.has(one.picture.label)) continue;
      const [px, py] = position(one);
      const far = Math.hypot(px - x, py - y);
      if (far < least) [best, least] = [one, far];
    }
    return best;
  }

  /** @param {number} dx @param {number} dy @returns {Point | null} the nearest point in a direction */
  function nearestInDirection(dx, dy) {
    const [x, y] = focused ? position(focused) : [frameSize.width / 2, frameSize.height / 2];
    /** @type {Point | null} */
    let best = null;
    let least = Infinity;
    for (const one of points) {
      if (one === focused || hidden.has(one.picture.label)) continue;
      const [px, py] = position(one);
      const ahead = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      const cost = ahead + 2 * aside;
      if (focused ? ahead > 0.5 && cost < least : Math.hypot(px - x, py - y) < least) {
        best = one;
        least = focused ? cost : Math.hypot(px - x, py - y);
      }
    }
    return best ?? focused;
  }
}

/** @param {Float32Array} points interleaved x and y */
function boundsOf(points) {
  const axis = (/** @type {number} */ which) => {
    let [least, most] = [Infinity, -Infinity];
    for (let at = which; at < points.length; at += 2) [least, most] = [Math.min(least, points[at]), Math.max(most, points[at])];
    return { middle: (least + most) / 2, size: most - least || 1 };
  };
  const [x, y] = [axis(0), axis(1)];
  return { x: x.middle, y: y.middle, width: x.size, height: y.size };
}

/** @param {readonly [number, number]} point @param {readonly (readonly number[])[]} loop @returns {boolean} whether the point is inside, by the even-odd rule */
function inside([x, y], loop) {
  let within = false;
  loop.forEach(([ax, ay], index) => {
    const [bx, by] = loop[(index + 1) % loop.length];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  });
  return within;
}

/** @type {Map<string, Mark>} */
const marks = new Map();

/** @param {number} index the class's index @param {number} ratio device pixels per CSS pixel @returns {Mark} */
function markOf(index, ratio) {
  const key = `${index} ${ratio} ${DARK.matches}`;
  const cached = marks.get(key);
  if (cached) return cached;
  const image = sprite(index, ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (image.getContext("2d"));
  const mark = { side: image.width, pixels: context.getImageData(0, 0, image.width, image.width).data };
  marks.set(key, mark);
  return mark;
}

/** Blends a mark into the layer, centred at (x, y). @param {ImageData} layer @param {Mark} mark @param {number} x @param {number} y @param {number} opacity */
function blendMark({ data, width, height }, { side, pixels }, x, y, opacity) {
  const left = Math.round(x - side / 2);
  const top = Math.round(y - side / 2);
  const [from, to] = [Math.max(0, -left), Math.min(side, width - left)];
  for (let row = Math.max(0, -top); row < Math.min(side, height - top); row++) {
    let source = 4 * (row * side + from);
    let target = 4 * ((top + row) * width + left + from);
    for (let column = from; column < to; column++, source += 4, target += 4) {
      const alpha = (pixels[source + 3] / 255) * opacity;
      if (!alpha) continue;
      data[target] += (pixels[source] - data[target]) * alpha;
      data[target + 1] += (pixels[source + 1] - data[target + 1]) * alpha;
      data[target + 2] += (pixels[source + 2] - data[target + 2]) * alpha;
    }
  }
}

/** @param {number} index the class's index @param {number} ratio device pixels per CSS pixel @returns {HTMLCanvasElement} its mark */
function sprite(index, ratio) {
  const colours = DARK.matches ? COLOURS.dark : COLOURS.light;
  const side = Math.ceil(2 * (MARK_RADIUS + 2) * ratio);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.translate(side / 2, side / 2);
  context.scale(ratio, ratio);
  context.globalAlpha = 0.85;
  context.fillStyle = context.strokeStyle = colours[index % colours.length];
  context.lineWidth = 2;
  context.beginPath();
  /** @param {number[][]} corners */
  const polygon = (corners) => {
    corners.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.fill();
  };
  /** @param {number[][]} ends */
  const strokes = (ends) => {
    ends.forEach(([ax, ay, bx, by]) => {
      context.moveTo(ax, ay);
      context.lineTo(bx, by);
    });
    context.stroke();
  };
  const r = MARK_RADIUS;
  switch (index % SHAPES) {
    case 0:
      context.arc(0, 0, r * 0.85, 0, 2 * Math.PI);
      context.fill();
      break;
    case 1: polygon([[0, -r], [r, r * 0.8], [-r, r * 0.8]]); break;
    case 2: polygon([[-r * 0.8, -r * 0.8], [r * 0.8, -r * 0.8], [r * 0.8, r * 0.8], [-r * 0.8, r * 0.8]]); break;
    case 3: polygon([[0, -r * 1.1], [r * 1.1, 0], [0, r * 1.1], [-r * 1.1, 0]]); break;
    case 4: strokes([[-r * 0.8, -r * 0.8, r * 0.8, r * 0.8], [-r * 0.8, r * 0.8, r * 0.8, -r * 0.8]]); break;
    default: strokes([[-r, 0, r, 0], [0, -r, 0, r]]);
  }
  return canvas;
}
