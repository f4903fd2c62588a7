// @ts-check
/** Files dropped, pasted or picked anywhere on the page, including the files of dropped folders. */
import { byId, isTextField } from "./dom.js";

/** @typedef {{ name: string, file: File }} DroppedFile  The name includes the folders. */
/** @typedef {{ files: DroppedFile[], folders: number }} DroppedFiles  `folders` is the number of dropped folders, without subfolders. */

/** Data types of drags that start on this page. */
export const DRAG_TYPES = { pictures: "application/x-pictures", answer: "application/x-answer", class: "application/x-class" };

/**
 * Listens for files dropped or pasted anywhere on the page, and shows an overlay during a drag.
 * @param {{
 *   onFiles(dropped: Promise<DroppedFiles>, target: Element | null): unknown,
 *   hint(target: Element | null): string | null,
 * }} on  `hint` describes what a drop on the target would do; null if the target highlights itself.
 */
export function listenForFiles(on) {
  const overlay = byId("overlay", HTMLElement);
  const overlayText = byId("overlay-text", HTMLElement);
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
    if (hint && hint !== overlayText.textContent) overlayText.textContent = hint;
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer || !carriesFiles(event)) return;
    event.preventDefault();
    setDepth(0);
    on.onFiles(filesOfDrop(event.dataTransfer), elementOf(event));
  });
  addEventListener("paste", (event) => {
    const files = filesOf(event.clipboardData?.files ?? null);
    if (!files.length && isTextField(event.target)) return;
    on.onFiles(Promise.resolve({ files, folders: 0 }), document.activeElement);
  });

  /** @param {number} value */
  function setDepth(value) {
    depth = Math.max(0, value);
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
 * Returns the files of a drop. Single files are not filtered, so that a wrong one gets an error message; of folders only pictures are returned.
 * @param {DataTransfer} transfer @returns {Promise<DroppedFiles>}
 */
async function filesOfDrop(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()); // before the first await, which clears the items
  const files = filesOf(transfer.files);
  const folders = entries.filter((entry) => entry?.isDirectory).length;
  if (!folders) return { files, folders };
  const nested = await Promise.all(entries.filter((entry) => entry !== null).map((entry) => walk(entry)));
  return { files: nested.flat(), folders };
}

/** @param {FileSystemEntry} entry @returns {Promise<DroppedFile[]>} */
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => /** @type {FileSystemFileEntry} */ (entry).file(done, fail));
    const name = entry.fullPath.replace(/^\//, "");
    const picture = { name, file };
    return name.includes("/") && !looksLikePicture(picture) && !isCifar(name) ? [] : [picture];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const files = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const entries = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!entries.length) return files; // readEntries returns a folder in batches, the last one empty
    for (const child of entries) files.push(...(await walk(child)));
  }
}

/** @param {DroppedFile} picture @returns {boolean} */
function looksLikePicture({ name, file }) {
  const hidden = /(^|\/)\./.test(name);
  return !hidden && (file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?)$/i.test(name));
}

/** Whether this is the name of a CIFAR-10 file. @param {string} name @returns {boolean} */
export function isCifar(name) {
  return /(\.bin|\.tar\.gz|\.tgz|\.tar)$|(^|\/)batches\.meta(\.txt)?$|(^|\/)(data_batch_\w+|test_batch)$/i.test(name);
}

/** @param {string} name @returns {boolean} */
export function isZip(name) {
  return /\.zip$/i.test(name);
}

/** @param {FileList | null} files @returns {DroppedFile[]} */
export function filesOf(files) {
  return [...(files ?? [])].map((file) => ({ name: file.name, file }));
}

/** Pictures of a picked folder. @param {FileList | null} files @returns {DroppedFile[]} */
export function picturesOfFolder(files) {
  return filesOfFolder(files).filter(looksLikePicture);
}

/** Pictures, CIFAR-10 files and zips of a picked folder. @param {FileList | null} files @returns {DroppedFile[]} */
export function datasetOfFolder(files) {
  return filesOfFolder(files).filter((item) => looksLikePicture(item) || isCifar(item.name) || isZip(item.name));
}

/** @param {FileList | null} files @returns {DroppedFile[]} */
function filesOfFolder(files) {
  return [...(files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}
