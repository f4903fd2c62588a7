// @ts-check
/** 32x32 pictures on a canvas; CSS enlarges them without blurring. */

const SIDE = 32;

/**
 * Pictures side by side, in rows of so many.
 * @param {readonly Uint8ClampedArray<ArrayBuffer>[]} pictures @param {string} words  For those who cannot see it; empty where words are beside it.
 * @param {number} [across] @returns {HTMLCanvasElement}
 */
export function strip(pictures, words, across = 1) {
  const canvas = document.createElement("canvas");
  canvas.className = "compare-pixels";
  canvas.width = Math.max(across, 1) * SIDE;
  canvas.height = Math.ceil(pictures.length / across) * SIDE;
  if (words) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
  } else {
    canvas.setAttribute("aria-hidden", "true");
  }
  const context = canvas.getContext("2d");
  for (const [at, pixels] of pictures.entries()) {
    context?.putImageData(new ImageData(pixels, SIDE, SIDE), (at % across) * SIDE, Math.floor(at / across) * SIDE);
  }
  return canvas;
}
