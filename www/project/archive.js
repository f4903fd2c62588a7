// @ts-check
/** Saves and opens a project as one human-readable .zip, and unpacks pictures from a .zip of folders. Entries are read and written one at a time. */
import { BlobWriter, Reader, Uint8ArrayReader, Uint8ArrayWriter, ZipReader, ZipWriter, configure } from "../npm/zip.js";
import { emptyProject, hashOf, openFile } from "./project.js";
import { pictures as pictureCount } from "../ui/format.js";

/** @import { FileEntry } from "@zip.js/zip.js" */
/** @import { Embedded, Engine } from "../engine/types.js" */
/** @import { Kept, Run } from "./store-types.js" */
/** @import { Picture } from "./types.js" */
/** @typedef {{ onProgress?: (progress: { done: number, total: number }) => void, signal?: AbortSignal }} Options  Progress counts zip entries. */
/**
 * A picture in `project.json`. `class` is the id of a class; `row` is the row in `latents.safetensors`, from 0.
 * @typedef {object} PictureEntry
 * @property {number} id
 * @property {string} name
 * @property {number} class
 * @property {string} hash
 * @property {string | null} file
 * @property {string} type
 * @property {number | null} row
 * @property {number} width
 * @property {number} height
 * @property {string | null} thumbnail
 */
/**
 * `project.json`.
 * @typedef {object} Description
 * @property {typeof FORMAT} format
 * @property {number} version
 * @property {string} name
 * @property {{ name: string, fingerprint: string }} base
 * @property {number} nextId
 * @property {{ id: number, name: string }[]} classes
 * @property {PictureEntry[]} pictures
 * @property {number | null} runInUse
 * @property {string | null} head  A head in use that belongs to no run.
 */

const FORMAT = "inception-web project";
const VERSION = 1;
const LATENTS = 2048;
/** Unpacked size limit in bytes, for one file and for all pictures of a .zip. A tab cannot hold much more. */
const MAX_BYTES = 2e9;
/** Bytes read at a time. */
const BLOCK_BYTES = 4e6;
/** MIME types by file extension. */
const TYPES = new Map([
  ["jpg", "image/jpeg"], ["jpeg", "image/jpeg"], ["jpe", "image/jpeg"], ["jfif", "image/jpeg"], ["png", "image/png"], ["webp", "image/webp"],
  ["gif", "image/gif"], ["avif", "image/avif"], ["bmp", "image/bmp"], ["tif", "image/tiff"], ["tiff", "image/tiff"], ["heic", "image/heic"],
]);

// The page's content security policy forbids workers from blob URLs. Compression is native and runs off the main thread anyway.
configure({ useWebWorkers: false });

/**
 * Saves the project as a .zip: `README.txt`, `project.json` (format version, base, classes, and each picture's class, file and latents row),
 * `pictures/CLASS/NAME`, `thumbnails/HASH.jpg`, `latents.safetensors`, `runs.json`, `heads/run-ID.safetensors`.
 * @param {Kept} kept @param {Engine} engine @param {Options} [options] @returns {Promise<Blob>}
 */
export async function saveProject(kept, engine, { onProgress, signal } = {}) {
  const { project, embedded, runs, head } = kept;
  const withLatents = project.pictures.filter(({ hash }) => embedded.has(hash));
  const rows = new Map(withLatents.map(({ id }, row) => [id, row]));
  const embeddedByHash = new Map(withLatents.flatMap(({ hash }) => [[hash, /** @type {Embedded} */ (embedded.get(hash))]]));
  const thumbnails = Array.from(embeddedByHash, ([hash, { thumbnail }]) => ({ hash, thumbnail })).filter(({ thumbnail }) => thumbnail);
  if (engine.dataset.count !== withLatents.length) throw new Error("project: the dataset changed during saving; save again");
  // Export the latents first: the dataset may grow while the other entries are written.
  const latents = withLatents.length ? await bytesOf(await engine.exportLatents("safetensors")) : null;

  const contents = await Promise.all(project.pictures.map(({ file }) => openFile(file)));
  const folder = uniqueNames();
  const folders = new Map(project.classes.map(({ id, name }) => [id, { path: `pictures/${folder(name)}`, unique: uniqueNames() }]));
  /** @param {Picture} picture @returns {string | null} */
  const pathOf = ({ file, label, name }) => {
    const into = folders.get(label);
    return file && into ? `${into.path}/${into.unique(name.split("/").at(-1) ?? "")}` : null;
  };
  /** @type {Description} */
  const description = {
    format: FORMAT,
    version: VERSION,
    name: project.name,
    base: { name: engine.base.name, fingerprint: engine.fingerprint },
    nextId: project.nextId,
    classes: project.classes.map(({ id, name }) => ({ id, name })),
    pictures: project.pictures.map((picture, i) => {
      const { id, name, label, hash } = picture;
      const { width = 0, height = 0, thumbnail = null } = embedded.get(hash) ?? {};
      return {
        id, name, class: label, hash, file: pathOf(picture), type: contents[i]?.type ?? "", row: rows.get(id) ?? null, width, height,
        thumbnail: thumbnail && thumbnailPath(hash),
      };
    }),
    runInUse: kept.runInUse,
    head: head && "heads/in-use.safetensors",
  };

  const files = description.pictures.filter(({ file }) => file).length;
  const total = 3 + files + thumbnails.length + (latents ? 1 : 0) + runs.length + (head ? 1 : 0);
  let done = 0;
  // Buffered writes put sizes into the local headers; some programs cannot unpack entries with a data descriptor.
  const zip = new ZipWriter(new BlobWriter("application/zip"), { bufferedWrite: true, signal });
  /** @param {string} path @param {Uint8Array} bytes @param {0 | 6} level */
  const add = async (path, bytes, level) => {
    signal?.throwIfAborted();
    await zip.add(path, new Uint8ArrayReader(bytes), { level });
    onProgress?.({ done: ++done, total });
  };
  const encoder = new TextEncoder();
  await add("README.txt", encoder.encode(readme(kept, engine)), 6);
  await add("project.json", encoder.encode(JSON.stringify(description, null, 1)), 6);
  await add("runs.json", encoder.encode(JSON.stringify(runs.map(({ head: _, ...run }) => ({ ...run, head: headPath(run.id) })), null, 1)), 6);
  if (latents) await add("latents.safetensors", latents, 0);
  for (const run of runs) await add(headPath(run.id), run.head, 0);
  if (head) await add("heads/in-use.safetensors", head, 0);
  for (const [i, { file }] of description.pictures.entries()) {
    const content = contents[i];
    if (file && content) await add(file, await bytesOf(content), 0);
  }
  for (const { hash, thumbnail } of thumbnails) if (thumbnail) await add(thumbnailPath(hash), thumbnail, 0);
  return zip.close();
}

/**
 * Opens a saved project. Latents of another base are skipped: pictures with files can be computed again, `notice` reports those without.
 * @param {Blob} zip @param {Engine} engine @param {Options} [options] @returns {Promise<{ kept: Kept, notice: string | null }>}
 * @throws {Error} if it is not a zip or not a project, was saved by a newer version, or is damaged (the message names the entry)
 */
export async function openProject(zip, engine, { onProgress, signal } = {}) {
  const files = await entriesOf(zip, "project");
  const prefix = projectFolder(files);
  if (prefix === null) throw new Error("project: this .zip has no project.json; open a file made with \"Save project\"");
  /** @param {string} path */
  const read = (path) => {
    signal?.throwIfAborted();
    const entry = files.get(prefix + path);
    if (!entry) throw new Error(`project: ${shorten(path)} is missing in the .zip, so the file was changed after saving; open an unchanged copy`);
    return unpack(entry, "project");
  };
  const description = checkedDescription(await json(read, "project.json"));
  const runs = checkedRuns(await json(read, "runs.json"));
  const rows = description.pictures.filter(({ row }) => row !== null).length;
  const { latents, notice: latentsNotice } = rows ? await openLatents(description, rows, engine, read) : { latents: null, notice: null };

  const sameBase = description.base.fingerprint === engine.fingerprint;
  /** @type {Map<string, string>} */
  const thumbnails = new Map();
  if (latents) for (const { hash, row, thumbnail } of description.pictures) if (row !== null && thumbnail !== null) thumbnails.set(hash, thumbnail);
  const total = description.pictures.length + thumbnails.size + runs.length;
  let done = 0;
  // In the order of the zip entries, because the file is read in large blocks.
  /** @type {(Blob | null)[]} */
  const pictureFiles = [];
  for (const entry of description.pictures) {
    pictureFiles.push(entry.file === null ? null : await openPicture(entry, entry.file, read));
    onProgress?.({ done: ++done, total });
  }
  /** @type {Map<string, Uint8Array<ArrayBuffer>>} */
  const thumbnailBytes = new Map();
  for (const [hash, path] of thumbnails) {
    thumbnailBytes.set(hash, await read(path));
    onProgress?.({ done: ++done, total });
  }
  /** @type {Map<string, Embedded>} */
  const embedded = new Map();
  /** @type {Picture[]} */
  const pictures = [];
  for (const [i, { id, name, class: label, hash, row, width, height }] of description.pictures.entries()) {
    const file = pictureFiles[i];
    if (latents && row !== null) {
      embedded.set(hash, { latents: latents.slice(row * LATENTS, (row + 1) * LATENTS), width, height, thumbnail: thumbnailBytes.get(hash) ?? null });
    }
    // A picture with neither file nor usable latents is dropped.
    if (file || embedded.has(hash)) pictures.push({ id, name, label, hash, file });
  }
  /** @type {Run[]} */
  const opened = [];
  for (const { head, ...run } of runs) {
    opened.push({ ...run, head: await read(head) });
    onProgress?.({ done: ++done, total });
  }
  const inUse = opened.find(({ id }) => id === description.runInUse);
  if (description.runInUse !== null && !inUse) throw damaged(`runInUse is ${description.runInUse}, and there is no such run`);
  const { name, classes, nextId } = description;
  const dropped = description.pictures.length - pictures.length;
  const notices = [
    ...(latentsNotice ? [latentsNotice] : []),
    ...(dropped ? [`${pictureCount(dropped)} without a file could not be used and ${dropped === 1 ? "was" : "were"} left out.`] : []),
    ...(!sameBase && (inUse || description.head) ? ["Its head needs that base too, so the built-in head is used."] : []),
  ];
  return {
    kept: {
      project: { ...emptyProject, name, classes, pictures, nextId },
      embedded,
      runs: opened,
      runInUse: sameBase && inUse ? inUse.id : null,
      head: sameBase && description.head !== null ? await read(description.head) : null,
    },
    notice: notices.join(" ") || null,
  };
}

/**
 * Unpacks the picture files of a .zip, sorted by path. System files (`__MACOSX`, hidden files) and other file types are skipped.
 * @param {Blob} zip @returns {Promise<{ name: string, file: File }[]>}
 * @throws {Error} if it is not a zip, or is damaged, encrypted or larger than 2 GB unpacked
 */
export async function unzipPictures(zip) {
  const label = zip instanceof File ? zip.name : "zip";
  const found = [];
  let size = 0;
  for (const entry of (await entriesOf(zip, label)).values()) {
    const parts = entry.filename.split(/[/\\]/).filter((part) => part && part !== "." && part !== "..");
    const type = typeOf(parts.at(-1) ?? "");
    if (!type || parts.some((part) => part.startsWith(".") || part === "__MACOSX")) continue;
    found.push({ name: parts.join("/"), type, entry });
    size += entry.uncompressedSize;
  }
  if (size > MAX_BYTES) {
    throw new Error(`${label}: its pictures are ${(size / 1e9).toFixed(1)} GB unpacked, the limit is 2 GB; unpack it and drop the folders one by one`);
  }
  const { compare } = new Intl.Collator("en", { numeric: true });
  found.sort((a, b) => compare(a.name, b.name));
  const pictures = [];
  for (const { name, type, entry } of found) {
    const bytes = await unpack(entry, label);
    pictures.push({ name, file: new File([bytes], name.split("/").at(-1) ?? name, { type, lastModified: entry.lastModDate.getTime() }) });
  }
  return pictures;
}

/** Whether a .zip contains a saved project. @param {Blob} zip @returns {Promise<boolean>} */
export async function isProject(zip) {
  try {
    const files = await entriesOf(zip, "project");
    const prefix = projectFolder(files);
    const entry = prefix === null ? undefined : files.get(`${prefix}project.json`);
    return entry !== undefined && JSON.parse(new TextDecoder().decode(await unpack(entry, "project")))?.format === FORMAT;
  } catch {
    return false;
  }
}

/** Class name from the innermost folder, `data/cat/1.jpg` -> `cat`; null without a folder. @param {string} path @returns {string | null} */
export function classOf(path) {
  return path.split("/").filter(Boolean).at(-2) ?? null;
}

/** Reads a Blob in large blocks, because each small read takes milliseconds and entries are mostly read in sequence. @extends {Reader<Blob>} */
class BlockReader extends Reader {
  #blob;
  #start = 0;
  #block = new Uint8Array();

  /** @param {Blob} blob */
  constructor(blob) {
    super(blob);
    this.#blob = blob;
    this.size = blob.size;
  }

  /** @param {number} index @param {number} length @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async readUint8Array(index, length) {
    if (index < this.#start || index + length > this.#start + this.#block.length) {
      this.#block = await bytesOf(this.#blob.slice(index, index + Math.max(length, BLOCK_BYTES)));
      this.#start = index;
    }
    return this.#block.slice(index - this.#start, index - this.#start + length);
  }
}

/** @param {Blob} zip @param {string} label @returns {Promise<Map<string, FileEntry>>} files by path */
async function entriesOf(zip, label) {
  // Paths are only looked up and shown, so names such as `../x` are harmless.
  const reader = new ZipReader(new BlockReader(zip), { filenameValidation: "tolerant" });
  try {
    /** @type {Map<string, FileEntry>} */
    const files = new Map();
    for (const entry of await reader.getEntries()) if (!entry.directory) files.set(entry.filename, entry);
    return files;
  } catch (error) {
    throw new Error(`${label}: not a .zip file, or truncated; save or download it again`, { cause: error });
  }
}

/** @param {FileEntry} entry @param {string} label @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function unpack(entry, label) {
  if (entry.encrypted) throw new Error(`${label}: ${entry.filename} is encrypted; unpack the .zip and use the folder`);
  if (entry.uncompressedSize > MAX_BYTES) throw new Error(`${label}: ${entry.filename} is larger than 2 GB; remove it from the .zip`);
  try {
    return /** @type {Uint8Array<ArrayBuffer>} */ (await entry.getData(new Uint8ArrayWriter(), { checkSignature: true }));
  } catch (error) {
    throw new Error(`${label}: ${entry.filename} in the .zip is damaged; save or download it again`, { cause: error });
  }
}

/** The folder of `project.json`: "", or one folder if the .zip was unpacked and packed again. @param {Map<string, FileEntry>} files @returns {string | null} */
function projectFolder(files) {
  for (const path of files.keys()) {
    const [, folder] = /^([^/]+\/)?project\.json$/.exec(path) ?? [null, null];
    if (folder !== null && folder !== "__MACOSX/") return folder ?? "";
  }
  return null;
}

/** @param {(path: string) => Promise<Uint8Array>} read @param {string} path @returns {Promise<unknown>} */
async function json(read, path) {
  const bytes = await read(path);
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new Error(`project: ${path} is not valid JSON; open an unchanged copy of the .zip`, { cause: error });
  }
}

/** @param {PictureEntry} entry @param {string} path @param {(path: string) => Promise<Uint8Array<ArrayBuffer>>} read @returns {Promise<File>} */
async function openPicture({ name, hash, type }, path, read) {
  const bytes = await read(path);
  // Latents are stored by hash, so a replaced file would get the latents of the original.
  if ((await hashOf(bytes)) !== hash) throw damaged(`${path} was replaced (its SHA-256 differs)`);
  return new File([bytes], name.split("/").at(-1) ?? name, { type });
}

/**
 * Reads the latents of the project's pictures; without them, `notice` has the reason.
 * @param {Description} description @param {number} rows @param {Engine} engine @param {(path: string) => Promise<Uint8Array<ArrayBuffer>>} read
 * @returns {Promise<{ latents: Float32Array | null, notice: string | null }>}
 */
async function openLatents({ base }, rows, engine, read) {
  if (base.fingerprint !== engine.fingerprint) {
    return { latents: null, notice: `The project was saved with another base ("${base.name}"), so its latents are not used and pictures are computed again.` };
  }
  const file = new Blob([await read("latents.safetensors")]);
  try {
    const [{ names, latents }] = await engine.readLatents([file]);
    if (names.length !== rows) throw damaged(`latents.safetensors has ${names.length} rows, project.json has ${rows}`);
    return { latents, notice: null };
  } catch (error) {
    if (!(error instanceof Error && "kind" in error && error.kind === "latents")) throw error;
    return { latents: null, notice: `The project's latents could not be used (${error.message}), so pictures are computed again.` };
  }
}

/** @param {unknown} value @returns {Description} */
function checkedDescription(value) {
  const found = object(value, "project.json");
  if (found.format !== FORMAT) throw new Error('project: project.json is not from this page; open a file made with "Save project"');
  if (typeof found.version === "number" && found.version > VERSION) {
    throw new Error(`project: saved by a newer version of this page (format ${found.version}, expected ${VERSION}); reload the page to get that version`);
  }
  if (found.version !== VERSION) throw damaged("project.json has no version");
  const base = object(found.base, "base");
  const ids = new Set();
  /** @param {unknown} id @param {string} of @returns {number} */
  const uniqueId = (id, of) => {
    const checked = integer(id, `the id of ${of}`, 1);
    if (ids.has(checked)) throw damaged(`the id ${checked} is used twice`);
    ids.add(checked);
    return checked;
  };
  const names = new Set();
  const classes = array(found.classes, "classes").map((each) => {
    const { id, name } = object(each, "a class");
    const checked = text(name, "the name of a class");
    if (!checked.trim() || names.has(checked)) throw damaged(`the class name "${checked}" is empty or used twice`);
    names.add(checked);
    return { id: uniqueId(id, "a class"), name: checked };
  });
  const labels = new Set(classes.map(({ id }) => id));
  const rows = new Set();
  const seen = new Set();
  const pictures = array(found.pictures, "pictures").map((each) => {
    const picture = object(each, "a picture");
    const name = text(picture.name, "the name of a picture");
    const label = integer(picture.class, `the class of "${name}"`);
    if (!labels.has(label)) throw damaged(`"${name}" has the class ${label}, which does not exist`);
    const hash = sha256(picture.hash, `the hash of "${name}"`);
    if (seen.has(`${label} ${hash}`)) throw damaged(`"${name}" is in its class twice`);
    seen.add(`${label} ${hash}`);
    const row = picture.row === null ? null : integer(picture.row, `the row of "${name}"`);
    if (row !== null) {
      if (rows.has(row)) throw damaged(`row ${row} of the latents belongs to two pictures`);
      rows.add(row);
    }
    return {
      id: uniqueId(picture.id, "a picture"),
      name,
      class: label,
      hash,
      file: textOrNull(picture.file, `the file of "${name}"`),
      type: text(picture.type, `the type of "${name}"`),
      row,
      width: integer(picture.width, `the width of "${name}"`),
      height: integer(picture.height, `the height of "${name}"`),
      thumbnail: textOrNull(picture.thumbnail, `the thumbnail of "${name}"`),
    };
  });
  for (const { name, row } of pictures) {
    if (row !== null && row >= rows.size) throw damaged(`"${name}" has the latents row ${row}, and there are ${rows.size} rows`);
  }
  const nextId = integer(found.nextId, "nextId", 1);
  for (const id of ids) if (id >= nextId) throw damaged(`nextId is ${nextId}, and the id ${id} is not below it`);
  return {
    format: FORMAT,
    version: VERSION,
    name: text(found.name, "the project's name"),
    base: { name: text(base.name, "the base's name"), fingerprint: sha256(base.fingerprint, "the base's fingerprint") },
    nextId,
    classes,
    pictures,
    runInUse: found.runInUse === null ? null : integer(found.runInUse, "the run in use"),
    head: textOrNull(found.head, "the head in use"),
  };
}

/** @param {unknown} value @returns {(Omit<Run, "head"> & { head: string })[]} */
function checkedRuns(value) {
  const ids = new Set();
  return array(value, "runs.json").map((each) => {
    const { id, at, name, report, head } = object(each, "a run");
    const checked = integer(id, "the id of a run");
    if (ids.has(checked)) throw damaged(`the run id ${checked} is used twice`);
    ids.add(checked);
    const { settings, classes, epochs } = object(report, `the report of run ${checked}`);
    object(settings, `the settings of run ${checked}`);
    array(classes, `the classes of run ${checked}`);
    array(epochs, `the epochs of run ${checked}`);
    return {
      id: checked,
      at: integer(at, `the time of run ${checked}`),
      name: text(name, `the name of run ${checked}`),
      report: /** @type {Run["report"]} */ (report),
      head: text(head, `the head of run ${checked}`),
    };
  });
}

/** @param {string} what @returns {Error} */
function damaged(what) {
  return new Error(`project: ${shorten(what)}, so the file was changed after saving; open an unchanged copy`);
}

/** Names in a damaged project have no length limit. @param {string} text @returns {string} */
function shorten(text) {
  return text.length <= 200 ? text : `${text.slice(0, 80)} … ${text.slice(-80)}`;
}

/** @param {unknown} value @param {string} what @returns {Record<string, unknown>} */
function object(value, what) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${what} is not an object`);
  return /** @type {Record<string, unknown>} */ (value);
}

/** @param {unknown} value @param {string} what @returns {unknown[]} */
function array(value, what) {
  if (!Array.isArray(value)) throw damaged(`${what} is not an array`);
  return value;
}

/** @param {unknown} value @param {string} what @param {number} [min] @returns {number} */
function integer(value, what, min = 0) {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) throw damaged(`${what} is not an integer of at least ${min}`);
  return value;
}

/** @param {unknown} value @param {string} what @returns {string} */
function text(value, what) {
  if (typeof value !== "string") throw damaged(`${what} is not a string`);
  return value;
}

/** @param {unknown} value @param {string} what @returns {string | null} */
function textOrNull(value, what) {
  return value === null ? null : text(value, what);
}

/** @param {unknown} value @param {string} what @returns {string} */
function sha256(value, what) {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) throw damaged(`${what} is not a SHA-256 in hexadecimal`);
  return value;
}

/** Makes file names valid on every file system and unique, ignoring case. @returns {(name: string) => string} */
function uniqueNames() {
  const taken = new Set();
  return (name) => {
    const safe = safeName(name);
    const [, stem, end] = /^(.*?)(\.[^.]{1,8})?$/s.exec(safe) ?? ["", safe, ""];
    for (let n = 1; ; n += 1) {
      const candidate = n === 1 ? safe : `${stem} (${n})${end ?? ""}`;
      const key = candidate.normalize("NFC").toLowerCase();
      if (taken.has(key)) continue;
      taken.add(key);
      return candidate;
    }
  };
}

/** @param {string} name @returns {string} */
function safeName(name) {
  const plain = name.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_C}<>:"/\\|?*]/gu, "_").replace(/^[\s.]+|[\s.]+$/g, "");
  const short = plain.length <= 100 ? plain : [...plain].slice(0, 60).join("") + [...plain].slice(-30).join("");
  // Reserved device names on Windows, with any extension.
  return /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(short) ? `_${short}` : short || "_";
}

/** @param {string} name @returns {string | undefined} */
function typeOf(name) {
  return TYPES.get(/\.([^.]+)$/.exec(name)?.[1].toLowerCase() ?? "");
}

/** @param {string} hash @returns {string} */
function thumbnailPath(hash) {
  return `thumbnails/${hash}.jpg`;
}

/** @param {number} id @returns {string} */
function headPath(id) {
  return `heads/run-${id}.safetensors`;
}

/** @param {Blob} blob @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function bytesOf(blob) {
  return new Uint8Array(await blob.arrayBuffer());
}

/** @param {Kept} kept @param {Engine} engine @returns {string} */
function readme({ project }, engine) {
  return `${project.name}: a project of inception-web, with ${project.classes.length} classes and ${pictureCount(project.pictures.length)}.

Open it on the page with "Open project". The files in it:

project.json          classes and pictures: each picture's class, file, SHA-256 and row of the latents
pictures/CLASS/       the original picture files, one folder per class
thumbnails/           the network's input as small pictures, named by the SHA-256 of the picture file
latents.safetensors   2048 numbers per picture, computed by the base "${engine.base.name}"
                      (fingerprint ${engine.fingerprint})
runs.json             training runs: settings, curves and scores
heads/                the trained heads: latents -> probabilities

In Python:

    from safetensors.numpy import load_file        # pip install safetensors numpy
    data = load_file("latents.safetensors")        # data["latents"] [N, 2048], data["labels"] [N]
    head = load_file("heads/run-1.safetensors")    # weights and biases of the head's layers

The metadata of both files (safetensors.safe_open(FILE, "np").metadata()) has the class names and the fingerprint of the base.
`;
}
