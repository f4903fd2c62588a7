// @ts-check
/** Pictures as they come to the page: dropped, pasted and picked, folders walked. Where they go is for others to say. */
import { byId, takesText } from "./dom.js";

/** @typedef {{ name: string, file: File }} Arrival  The name has the file's folders. */
/** @typedef {{ files: Arrival[], folders: number }} Found  How many folders were dropped, not counting those inside of others. */

/** What a drag carries that began on this page. */
export const CARRIED = { pictures: "application/x-pictures", answer: "application/x-answer", class: "application/x-class" };

/**
 * Hears of files dropped and pasted anywhere on the page.
 * @param {{
 *   came(found: Promise<Found>, target: Element | null): unknown,
 *   hint(target: Element | null): string | null,
 * }} on  `hint` says what a drop there would do; null where the place lights up itself.
 */
export function listenForFiles(on) {
  const overlay = byId("overlay", HTMLElement);
  const words = byId("overlay-text", HTMLElement);
  let depth = 0;

  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    setDepth(depth + 1);
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) setDepth(depth - 1);
  });
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    const hint = on.hint(elementOf(event));
    overlay.toggleAttribute("data-aside", hint === null);
    if (hint && hint !== words.textContent) words.textContent = hint;
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer || !carriesFiles(event)) return;
    event.preventDefault();
    setDepth(0);
    on.came(dropped(event.dataTransfer), elementOf(event));
  });
  addEventListener("paste", (event) => {
    const files = named(event.clipboardData?.files ?? null);
    if (!files.length && takesText(event.target)) return;
    on.came(Promise.resolve({ files, folders: 0 }), document.activeElement);
  });

  /** @param {number} to */
  function setDepth(to) {
    depth = Math.max(0, to);
    overlay.hidden = depth === 0;
  }
}

/** @param {DragEvent} event @returns {boolean} */
function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** @param {Event} event @returns {Element | null} */
function elementOf({ target }) {
  return target instanceof Element ? target : null;
}

/**
 * The files of a drop. Files dropped by hand are all taken, so that a wrong one gets its reason; of folders only the pictures.
 * @param {DataTransfer} transfer @returns {Promise<Found>}
 */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()); // before the first await: a drop forgets its items
  const files = named(transfer.files);
  const folders = entries.filter((entry) => entry?.isDirectory).length;
  if (!folders) return { files, folders };
  const found = await Promise.all(entries.filter((entry) => entry !== null).map((entry) => walk(entry)));
  return { files: found.flat(), folders };
}

/** @param {FileSystemEntry} entry @returns {Promise<Arrival[]>} */
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => /** @type {FileSystemFileEntry} */ (entry).file(done, fail));
    const name = entry.fullPath.replace(/^\//, "");
    const picture = { name, file };
    return name.includes("/") && !looksLikePicture(picture) && !isCifar(name) ? [] : [picture];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found; // a reader hands out a folder in parts
    for (const child of some) found.push(...(await walk(child)));
  }
}

/** @param {Arrival} picture @returns {boolean} */
function looksLikePicture({ name, file }) {
  const hidden = /(^|\/)\./.test(name);
  return !hidden && (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?)$/i.test(name));
}

/** Whether a file of this name is one of CIFAR-10's. @param {string} name @returns {boolean} */
export function isCifar(name) {
  return /(\.bin|\.tar\.gz|\.tgz|\.tar)$|(^|\/)batches\.meta(\.txt)?$|(^|\/)(data_batch_\w+|test_batch)$/i.test(name);
}

/** @param {string} name @returns {boolean} */
export function isZip(name) {
  return /\.zip$/i.test(name);
}

/** @param {FileList | null} files @returns {Arrival[]} */
export function named(files) {
  return [...(files ?? [])].map((file) => ({ name: file.name, file }));
}

/** The pictures of a folder that was picked. @param {FileList | null} files @returns {Arrival[]} */
export function ofFolder(files) {
  return allOfFolder(files).filter(looksLikePicture);
}

/** The same, with CIFAR-10's files and zips in it. @param {FileList | null} files @returns {Arrival[]} */
export function setOfFolder(files) {
  return allOfFolder(files).filter((one) => looksLikePicture(one) || isCifar(one.name) || isZip(one.name));
}

/** @param {FileList | null} files @returns {Arrival[]} */
function allOfFolder(files) {
  return [...(files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}
