// @ts-check
/** A worker that projects principal components to two dimensions by UMAP. The result depends only on input and seed. */
import { UMAP } from "../npm/umap.js";

const NEIGHBOURS = 15;
/** Number of epochs between progress messages. */
const PROGRESS_EPOCHS = 5;

self.onmessage = ({ data: { id, args: { table, components, seed } } }) => {
  const rows = Array.from({ length: table.length / components }, (_, row) => Array.from(table.subarray(row * components, (row + 1) * components)));
  if (rows.length < 3) {
    self.postMessage({ id, error: { kind: "setting", message: "map: UMAP needs at least 3 pictures; add some, or draw the PCA map" } });
    return;
  }
  const umap = new UMAP({ nNeighbors: Math.min(NEIGHBOURS, rows.length - 1), random: mulberry32(seed) });
  const total = umap.initializeFit(rows);
  for (let done = 0; done < total; done++) {
    umap.step();
    if (done % PROGRESS_EPOCHS === 0) self.postMessage({ id, progress: { done, total } });
  }
  self.postMessage({ id, value: Float32Array.from(umap.getEmbedding().flat()) });
};

/**
 * A random number generator, uniform in [0, 1).
 *
 * Source: https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 * @param {number} seed
 */
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
