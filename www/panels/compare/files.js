// @ts-check
/** Sorts dropped files into a picture set: CIFAR-10 files, or pictures with class names from their folders. No DOM. */
import { unzipPictures } from "../../project/archive.js";
import { isCifar, isZip } from "../../ui/drop.js";

/** @import { DroppedFile } from "../../ui/drop.js" */
/** @import { SetFile } from "../../engine/types.js" */

const TEST = /^tests?(ing)?$/i;
const TRAIN = /^train(ing)?$/i;
/** Validation folders, used neither for training nor for testing. */
const VALIDATION = /^val(id|idation)?$/i;

/**
 * Returns files in the engine's format, and the files that could not be opened. Unpacks zips; a zip without folders is a class with the
 * zip's name. If CIFAR-10 files were `expected`, files outside of folders are passed on, so that the engine reports an error for each.
 * @param {readonly DroppedFile[]} dropped @param {boolean} expected @param {AbortSignal} signal
 * @returns {Promise<{ files: SetFile[], refused: { name: string, message: string }[] }>}
 */
export async function setFiles(dropped, expected, signal) {
  const cifar = dropped.some(({ name }) => isCifar(name));
  /** @type {DroppedFile[]} */
  const found = [];
  /** @type {{ name: string, message: string }[]} */
  const refused = [];
  for (const { name, file } of dropped) {
    signal.throwIfAborted();
    if (!isZip(name)) {
      found.push({ name, file });
      continue;
    }
    try {
      const own = baseName(name).slice(0, -".zip".length);
      const inside = await unzipPictures(file);
      if (!inside.length) refused.push({ name: baseName(name), message: `${baseName(name)}: no pictures found; put the pictures of each class into a folder named after the class` });
      for (const one of inside) found.push({ ...one, name: one.name.includes("/") ? one.name : `${own}/${one.name}` });
    } catch (error) {
      refused.push({ name: baseName(name), message: error instanceof Error ? error.message : String(error) });
    }
  }
  const folders = found.map(({ name }) => name.split("/").slice(0, -1));
  const hasSplit = folders.some((path) => path.some((folder) => TRAIN.test(folder)));
  const files = found.flatMap(({ name, file }, at) => {
    const path = folders[at];
    const className = path.at(-1);
    if (isCifar(name) || (className === undefined && (cifar || expected))) return [{ name: baseName(name), file }];
    if (cifar || className === undefined || TRAIN.test(className)) return [];
    if (!hasSplit) return [{ name, file, className }];
    if (TEST.test(className) || path.some((folder) => VALIDATION.test(folder))) return [];
    return [{ name, file, className, test: path.some((folder) => TEST.test(folder)) }];
  });
  return { files, refused };
}

/** @param {string} path @returns {string} the name without folders */
export function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}
