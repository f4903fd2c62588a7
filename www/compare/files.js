// @ts-check
/** What files that came to the page are to the three ways: CIFAR-10's own, or pictures whose folders name their classes. No DOM. */
import { unzipPictures } from "../archive.js";
import { isCifar } from "../arrivals.js";

/** @import { Arrival } from "../arrivals.js" */
/** @import { SetFile } from "../comparison.js" */

/** @param {string} path @returns {string} */
const last = (path) => path.slice(path.lastIndexOf("/") + 1);
const TEST = /^tests?(ing)?$/i;
const TRAIN = /^train(ing)?$/i;
const NEITHER = /^val(id|idation)?$/i;

/** @param {string} name @returns {boolean} */
export function isZip(name) {
  return /\.zip$/i.test(name);
}

/**
 * Files as the engine takes them. Zips are opened; one without folders in it is a class by its own name. Where some files are CIFAR-10's,
 * others beside them are left out.
 * @param {readonly Arrival[]} arrivals @returns {Promise<SetFile[]>}
 */
export async function setFiles(arrivals) {
  const own = arrivals.filter(({ name }) => isCifar(name));
  if (own.length) return own.map(({ name, file }) => ({ name: last(name), file }));
  /** @type {Arrival[]} */
  const found = [];
  for (const { name, file } of arrivals) {
    if (!isZip(name)) found.push({ name, file });
    else for (const inside of await unzipPictures(file)) found.push({ ...inside, name: inside.name.includes("/") ? inside.name : `${last(name).slice(0, -4)}/${inside.name}` });
  }
  const folders = found.map(({ name }) => name.split("/").slice(0, -1));
  const parted = folders.some((path) => path.some((folder) => TRAIN.test(folder)));
  return found.flatMap(({ name, file }, at) => {
    const path = folders[at];
    if (parted && path.some((folder) => NEITHER.test(folder))) return [];
    const className = path.at(-1);
    if (className === undefined || TRAIN.test(className) || TEST.test(className)) return [];
    return [{ name, file, className, test: parted && path.some((folder) => TEST.test(folder)) }];
  });
}
