// @ts-check
/** What files that came to the page are to the three ways: CIFAR-10's own, or pictures whose folders name their classes. No DOM. */
import { unzipPictures } from "../../project/archive.js";
import { isCifar, isZip } from "../../ui/drop.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { SetFile } from "../../engine/types.js" */

const TEST = /^tests?(ing)?$/i;
const TRAIN = /^train(ing)?$/i;
/** Looked at while training, so neither learnt nor asked about. */
const NEITHER = /^val(id|idation)?$/i;

/**
 * Files as the engine takes them, and those of them that could not be opened. Zips are opened; one without folders in it is a class by its
 * own name. What lies in no folder is left to the engine to refuse where CIFAR-10's files were `expected`, so that each gets its sentence.
 * @param {readonly DroppedFile[]} arrivals @param {boolean} expected @param {AbortSignal} signal
 * @returns {Promise<{ files: SetFile[], refused: { name: string, message: string }[] }>}
 */
export async function setFiles(arrivals, expected, signal) {
  const cifar = arrivals.some(({ name }) => isCifar(name));
  /** @type {DroppedFile[]} */
  const found = [];
  /** @type {{ name: string, message: string }[]} */
  const refused = [];
  for (const { name, file } of arrivals) {
    signal.throwIfAborted();
    if (!isZip(name)) {
      found.push({ name, file });
      continue;
    }
    try {
      const own = last(name).slice(0, -".zip".length);
      const inside = await unzipPictures(file);
      if (!inside.length) refused.push({ name: last(name), message: `${last(name)}: no pictures in it; put the pictures of each class into a folder with the class's name` });
      for (const one of inside) found.push({ ...one, name: one.name.includes("/") ? one.name : `${own}/${one.name}` });
    } catch (error) {
      refused.push({ name: last(name), message: error instanceof Error ? error.message : String(error) });
    }
  }
  const folders = found.map(({ name }) => name.split("/").slice(0, -1));
  const parted = folders.some((path) => path.some((folder) => TRAIN.test(folder)));
  const files = found.flatMap(({ name, file }, at) => {
    const path = folders[at];
    const className = path.at(-1);
    if (isCifar(name) || (className === undefined && (cifar || expected))) return [{ name: last(name), file }];
    if (cifar || className === undefined || TRAIN.test(className)) return [];
    if (!parted) return [{ name, file, className }];
    if (TEST.test(className) || path.some((folder) => NEITHER.test(folder))) return [];
    return [{ name, file, className, test: path.some((folder) => TEST.test(folder)) }];
  });
  return { files, refused };
}

/** @param {string} path @returns {string} */
function last(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
