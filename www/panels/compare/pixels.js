// @ts-check
/** 32x32 pictures on canvases; CSS enlarges them without blurring. */
import { make } from "../../ui/dom.js";

const SIDE = 32;

/** A picture, hidden from screen readers because text next to it describes it. @param {Uint8ClampedArray<ArrayBuffer>} pixels @returns {HTMLCanvasElement} */
export function pixelCanvas(pixels) {
  const canvas = document.createElement("canvas");
  canvas.className = "compare-pixels";
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute("aria-hidden", "true");
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
  return canvas;
}

/** A row of pictures with one accessible name. @param {readonly Uint8ClampedArray<ArrayBuffer>[]} pictures @param {string} name @returns {HTMLElement} */
export function strip(pictures, name) {
  const element = make("div", "compare-strip", ...pictures.map(pixelCanvas));
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", name);
  return element;
}
