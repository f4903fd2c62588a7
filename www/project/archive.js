// @ts-check
/** A project as one .zip that people can read by hand, and pictures out of folders in a .zip. Both read and write one entry after the other. */
import { BlobWriter, Reader, Uint8ArrayReader, Uint8ArrayWriter, ZipReader, ZipWriter, configure } from "../npm/zip.js";
import { emptyProject, hashOf, openFile } from "./project.js";
import { pictures as inPictures } from "../ui/format.js";

/** @typedef {import("../engine/engine.js").Embedded} Embedded */
/** @typedef {import("../engine/engine.js").Engine} Engine */
/** @typedef {import("./project.js").Picture} Picture */
/** @typedef {import("./store.js").Kept} Kept */
/** @typedef {import("./store.js").Run} Run */
/** @typedef {import("@zip.js/zip.js").FileEntry} FileEntry */
/** @typedef {{ onProgress?: import("./archive.js").Tell, signal?: AbortSignal }} Options */
/**
 * A picture in `project.json`. `class` is a class's id; `row` counts the rows of `latents.safetensors` from 0.
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
/** Bytes that one .zip may unpack to, or one of its files: what a tab can hold. */
const MOST = 2e9;
/** Bytes that are read ahead. */
const BLOCK = 4e6;
/** File names' ends, and the types of the pictures behind them. */
const TYPES = new Map([
  ["jpg", "image/jpeg"], ["jpeg", "image/jpeg"], ["jpe", "image/jpeg"], ["jfif", "image/jpeg"], ["png", "image/png"], ["webp", "image/webp"],
  ["gif", "image/gif"], ["avif", "image/avif"], ["bmp", "image/bmp"], ["tif", "image/tiff"], ["tiff", "image/tiff"], ["heic", "image/heic"],
]);

// The page's content policy forbids workers out of blobs, and the compression is the browser's own, off the page's thread.
configure({ useWebWorkers: false });

/** @param {Kept} kept @param {Engine} engine @param {Options} [options] @returns {Promise<Blob>} */
export async function saveProject(kept, engine, { onProgress, signal } = {}) {
  const { project, embedded, runs, head } = kept;
  const withLatents = project.pictures.filter(({ hash }) => embedded.has(hash));
  const rows = new Map(withLatents.map(({ id }, row) => [id, row]));
  const known = new Map(withLatents.flatMap(({ hash }) => [[hash, /** @type {Embedded} */ (embedded.get(hash))]]));
  const thumbnails = Array.from(known, ([hash, { thumbnail }]) => ({ hash, thumbnail })).filter(({ thumbnail }) => thumbnail);
  if (engine.dataset.count !== withLatents.length) throw new Error("project: the dataset changed while it was being saved; save it again");
  // Before anything else: more latents may come while the rest is written.
  const latents = withLatents.length ? await bytesOf(await engine.exportLatents("safetensors")) : null;

  const contents = await Promise.all(project.pictures.map(({ file }) => openFile(file)));
  const folder = uniqueNames();
  const folders = new Map(project.classes.map(({ id, name }) => [id, { path: `pictures/${folder(name)}`, unique: uniqueNames() }]));
  /** @param {Picture} picture @returns {string | null} */
  const place = ({ file, label, name }) => {
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
        id, name, class: label, hash, file: place(picture), type: contents[i]?.type ?? "", row: rows.get(id) ?? null, width, height,
        thumbnail: thumbnail && thumbnailPath(hash),
      };
    }),
    runInUse: kept.runInUse,
    head: head && "heads/in-use.safetensors",
  };

  const files = description.pictures.filter(({ file }) => file).length;
  const total = 3 + files + thumbnails.length + (latents ? 1 : 0) + runs.length + (head ? 1 : 0);
  let done = 0;
  // Sizes before the bytes, not after them: there are programs that cannot unpack the latter.
  const zip = new ZipWriter(new BlobWriter("application/zip"), { bufferedWrite: true, signal });
  /** @param {string} path @param {Uint8Array} bytes @param {0 | 6} level */
  const add = async (path, bytes, level) => {
    signal?.throwIfAborted();
    await zip.add(path, new Uint8ArrayReader(bytes), { level });
    onProgress?.({ done: ++done, total });
  };
  const text = new TextEncoder();
  await add("README.txt", text.encode(readme(kept, engine)), 6);
  await add("project.json", text.encode(JSON.stringify(description, null, 1)), 6);
  await add("runs.json", text.encode(JSON.stringify(runs.map(({ head: _, ...run }) => ({ ...run, head: headPath(run.id) })), null, 1)), 6);
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

/** @param {Blob} zip @param {Engine} engine @param {Options} [options] @returns {Promise<{ kept: Kept, notice: string | null }>} */
export async function openProject(zip, engine, { onProgress, signal } = {}) {
  const files = await entriesOf(zip, "project");
  const prefix = projectFolder(files);
  if (prefix === null) throw new Error("project: there is no project.json in this .zip; open one that \"Save project\" made");
  /** @param {string} path */
  const read = (path) => {
    signal?.throwIfAborted();
    const entry = files.get(prefix + path);
    if (!entry) throw new Error(`project: ${brief(path)} is missing in the .zip; it was changed after it was saved, so open an untouched copy`);
    return unpack(entry, "project");
  };
  const description = checkedDescription(await json(read, "project.json"));
  const runs = checkedRuns(await json(read, "runs.json"));
  const rows = description.pictures.filter(({ row }) => row !== null).length;
  const { latents, notice: left } = rows ? await openLatents(description, rows, engine, read) : { latents: null, notice: null };

  const sameBase = description.base.fingerprint === engine.fingerprint;
  /** @type {Map<string, string>} */
  const thumbnails = new Map();
  if (latents) for (const { hash, row, thumbnail } of description.pictures) if (row !== null && thumbnail !== null) thumbnails.set(hash, thumbnail);
  const total = description.pictures.length + thumbnails.size + runs.length;
  let done = 0;
  // All pictures, then all thumbnails, as they lie in the file: it is read ahead.
  /** @type {(Blob | null)[]} */
  const pictureFiles = [];
  for (const entry of description.pictures) {
    pictureFiles.push(entry.file === null ? null : await openPicture(entry, entry.file, read));
    onProgress?.({ done: ++done, total });
  }
  /** @type {Map<string, Uint8Array<ArrayBuffer>>} */
  const small = new Map();
  for (const [hash, path] of thumbnails) {
    small.set(hash, await read(path));
    onProgress?.({ done: ++done, total });
  }
  /** @type {Map<string, Embedded>} */
  const embedded = new Map();
  /** @type {Picture[]} */
  const pictures = [];
  for (const [i, { id, name, class: label, hash, row, width, height }] of description.pictures.entries()) {
    const file = pictureFiles[i];
    if (latents && row !== null) {
      embedded.set(hash, { latents: latents.slice(row * LATENTS, (row + 1) * LATENTS), width, height, thumbnail: small.get(hash) ?? null });
    }
    // Without a file and without latents there is nothing left of it.
    if (file || embedded.has(hash)) pictures.push({ id, name, label, hash, file });
  }
  /** @type {Run[]} */
  const opened = [];
  for (const { head, ...run } of runs) {
    opened.push({ ...run, head: await read(head) });
    onProgress?.({ done: ++done, total });
  }
  const inUse = opened.find(({ id }) => id === description.runInUse);
  if (description.runInUse !== null && !inUse) throw damaged(`the run in use (${description.runInUse}) is none of the runs`);
  const { name, classes, nextId } = description;
  const lost = description.pictures.length - pictures.length;
  const notices = [
    ...(left ? [left] : []),
    ...(lost ? [`${inPictures(lost)} without a file could not be used and ${lost === 1 ? "was" : "were"} left out.`] : []),
    ...(!sameBase && (inUse || description.head) ? ["The head in use belongs to that other base, so the page's own head is in use."] : []),
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

/** @param {Blob} zip @returns {Promise<{ name: string, file: File }[]>} */
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
  if (size > MOST) {
    throw new Error(`${label}: its pictures are ${(size / 1e9).toFixed(1)} GB, and 2 GB is the most at a time; unpack it and drop its folders one after the other`);
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

/** @param {Blob} zip @returns {Promise<boolean>} */
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

/** @param {string} path @returns {string | null} */
export function classOf(path) {
  return path.split("/").filter(Boolean).at(-2) ?? null;
}

/** Reads a Blob in large blocks: entries lie one after the other, and each small read of a Blob takes milliseconds. @extends {Reader<Blob>} */
class ReadAhead extends Reader {
  #blob;
  #from = 0;
  #block = new Uint8Array();

  /** @param {Blob} blob */
  constructor(blob) {
    super(blob);
    this.#blob = blob;
    this.size = blob.size;
  }

  /** @param {number} index @param {number} length @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async readUint8Array(index, length) {
    if (index < this.#from || index + length > this.#from + this.#block.length) {
      this.#block = await bytesOf(this.#blob.slice(index, index + Math.max(length, BLOCK)));
      this.#from = index;
    }
    return this.#block.slice(index - this.#from, index - this.#from + length);
  }
}

/** @param {Blob} zip @param {string} label @returns {Promise<Map<string, FileEntry>>} the files in it, by their paths */
async function entriesOf(zip, label) {
  // Names are only looked up and shown, so those that would lead out of a folder do no harm.
  const reader = new ZipReader(new ReadAhead(zip), { filenameValidation: "tolerant" });
  try {
    /** @type {Map<string, FileEntry>} */
    const files = new Map();
    for (const entry of await reader.getEntries()) if (!entry.directory) files.set(entry.filename, entry);
    return files;
  } catch (error) {
    throw new Error(`${label}: this is not a .zip file, or it was cut off; save or download it again`, { cause: error });
  }
}

/** @param {FileEntry} entry @param {string} label @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function unpack(entry, label) {
  if (entry.encrypted) throw new Error(`${label}: ${entry.filename} is encrypted; unpack the .zip with its password and use the folder`);
  if (entry.uncompressedSize > MOST) throw new Error(`${label}: ${entry.filename} is larger than 2 GB; leave it out`);
  try {
    return /** @type {Uint8Array<ArrayBuffer>} */ (await entry.getData(new Uint8ArrayWriter(), { checkSignature: true }));
  } catch (error) {
    throw new Error(`${label}: ${entry.filename} in the .zip is damaged; save or download it again`, { cause: error });
  }
}

/** Where `project.json` lies: at the top, or in the one folder that unpacking and packing again makes. @param {Map<string, FileEntry>} files @returns {string | null} */
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
    throw new Error(`project: ${path} is no valid JSON; open an untouched copy of the .zip`, { cause: error });
  }
}

/** @param {PictureEntry} entry @param {string} path @param {(path: string) => Promise<Uint8Array<ArrayBuffer>>} read @returns {Promise<File>} */
async function openPicture({ name, hash, type }, path, read) {
  const bytes = await read(path);
  // Latents are found by the hash: a picture that was exchanged by hand would get those of another.
  if ((await hashOf(bytes)) !== hash) throw damaged(`${path} is not the picture that was saved there`);
  return new File([bytes], name.split("/").at(-1) ?? name, { type });
}

/**
 * Latents of the project's pictures, or the reason why there are none.
 * @param {Description} description @param {number} rows @param {Engine} engine @param {(path: string) => Promise<Uint8Array<ArrayBuffer>>} read
 * @returns {Promise<{ latents: Float32Array | null, notice: string | null }>}
 */
async function openLatents({ base }, rows, engine, read) {
  if (base.fingerprint !== engine.fingerprint) {
    return { latents: null, notice: `The project was made with another base ("${base.name}"), so its latents are of no use here and pictures are computed again.` };
  }
  const file = new Blob([await read("latents.safetensors")]);
  try {
    const [{ names, latents }] = await engine.readLatents([file]);
    if (names.length !== rows) throw damaged(`latents.safetensors has ${names.length} rows, and project.json speaks of ${rows}`);
    return { latents, notice: null };
  } catch (error) {
    if (!(error instanceof Error && "kind" in error && error.kind === "latents")) throw error;
    return { latents: null, notice: `The project's latents could not be used (${error.message}), so pictures are computed again.` };
  }
}

/** @param {unknown} value @returns {Description} */
function checkedDescription(value) {
  const found = object(value, "project.json");
  if (found.format !== FORMAT) throw new Error('project: project.json is not one of this page; open a .zip that "Save project" made');
  if (typeof found.version === "number" && found.version > VERSION) {
    throw new Error(`project: it was saved by a newer version of this page (format ${found.version}, here ${VERSION}); reload the page to get that version`);
  }
  if (found.version !== VERSION) throw damaged("project.json has no version");
  const base = object(found.base, "base");
  const ids = new Set();
  /** @param {unknown} id @param {string} of @returns {number} */
  const fresh = (id, of) => {
    const checked = whole(id, `the id of ${of}`, 1);
    if (ids.has(checked)) throw damaged(`the id ${checked} is there twice`);
    ids.add(checked);
    return checked;
  };
  const names = new Set();
  const classes = array(found.classes, "classes").map((each) => {
    const { id, name } = object(each, "a class");
    const checked = words(name, "the name of a class");
    if (!checked.trim() || names.has(checked)) throw damaged(`the class name "${checked}" is empty or there twice`);
    names.add(checked);
    return { id: fresh(id, "a class"), name: checked };
  });
  const labels = new Set(classes.map(({ id }) => id));
  const rows = new Set();
  const seen = new Set();
  const pictures = array(found.pictures, "pictures").map((each) => {
    const picture = object(each, "a picture");
    const name = words(picture.name, "the name of a picture");
    const label = whole(picture.class, `the class of "${name}"`);
    if (!labels.has(label)) throw damaged(`"${name}" is in a class (${label}) that is not there`);
    const hash = sha256(picture.hash, `the hash of "${name}"`);
    if (seen.has(`${label} ${hash}`)) throw damaged(`"${name}" is twice in its class`);
    seen.add(`${label} ${hash}`);
    const row = picture.row === null ? null : whole(picture.row, `the row of "${name}"`);
    if (row !== null) {
      if (rows.has(row)) throw damaged(`row ${row} of the latents belongs to two pictures`);
      rows.add(row);
    }
    return {
      id: fresh(picture.id, "a picture"),
      name,
      class: label,
      hash,
      file: nullable(picture.file, `the file of "${name}"`),
      type: words(picture.type, `the type of "${name}"`),
      row,
      width: whole(picture.width, `the width of "${name}"`),
      height: whole(picture.height, `the height of "${name}"`),
      thumbnail: nullable(picture.thumbnail, `the thumbnail of "${name}"`),
    };
  });
  for (const { name, row } of pictures) {
    if (row !== null && row >= rows.size) throw damaged(`"${name}" has row ${row}, and there are ${rows.size} rows of latents`);
  }
  const nextId = whole(found.nextId, "nextId", 1);
  for (const id of ids) if (id >= nextId) throw damaged(`nextId is ${nextId}, but there is an id ${id}`);
  return {
    format: FORMAT,
    version: VERSION,
    name: words(found.name, "the project's name"),
    base: { name: words(base.name, "the base's name"), fingerprint: sha256(base.fingerprint, "the base's fingerprint") },
    nextId,
    classes,
    pictures,
    runInUse: found.runInUse === null ? null : whole(found.runInUse, "the run in use"),
    head: nullable(found.head, "the head in use"),
  };
}

/** @param {unknown} value @returns {(Omit<Run, "head"> & { head: string })[]} */
function checkedRuns(value) {
  const ids = new Set();
  return array(value, "runs.json").map((each) => {
    const { id, at, name, report, head } = object(each, "a run");
    const checked = whole(id, "the id of a run");
    if (ids.has(checked)) throw damaged(`the run ${checked} is there twice`);
    ids.add(checked);
    const { settings, classes, epochs } = object(report, `the report of run ${checked}`);
    object(settings, `the settings of run ${checked}`);
    array(classes, `the classes of run ${checked}`);
    array(epochs, `the epochs of run ${checked}`);
    return {
      id: checked,
      at: whole(at, `the time of run ${checked}`),
      name: words(name, `the name of run ${checked}`),
      report: /** @type {Run["report"]} */ (report),
      head: words(head, `the head of run ${checked}`),
    };
  });
}

/** @param {string} what @returns {Error} */
function damaged(what) {
  return new Error(`project: ${brief(what)}; it was changed after it was saved, so open an untouched copy`);
}

/** Names in a damaged project may be as long as a book. @param {string} words @returns {string} */
function brief(words) {
  return words.length <= 200 ? words : `${words.slice(0, 80)} … ${words.slice(-80)}`;
}

/** @param {unknown} value @param {string} what @returns {Record<string, unknown>} */
function object(value, what) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${what} is not an object`);
  return /** @type {Record<string, unknown>} */ (value);
}

/** @param {unknown} value @param {string} what @returns {unknown[]} */
function array(value, what) {
  if (!Array.isArray(value)) throw damaged(`${what} is not a list`);
  return value;
}

/** @param {unknown} value @param {string} what @param {number} [least] @returns {number} */
function whole(value, what, least = 0) {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) throw damaged(`${what} is not a whole number from ${least} on`);
  return value;
}

/** @param {unknown} value @param {string} what @returns {string} */
function words(value, what) {
  if (typeof value !== "string") throw damaged(`${what} is not text`);
  return value;
}

/** @param {unknown} value @param {string} what @returns {string | null} */
function nullable(value, what) {
  return value === null ? null : words(value, what);
}

/** @param {unknown} value @param {string} what @returns {string} */
function sha256(value, what) {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) throw damaged(`${what} is not a SHA-256 of 64 hexadecimal digits`);
  return value;
}

/** Names that every file system takes, each one once in its folder, whatever the case of its letters. @returns {(name: string) => string} */
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
  // Windows keeps these names for devices, with any ending.
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
  return `${project.name}: a project of inception-web, with ${project.classes.length} classes and ${inPictures(project.pictures.length)}.

Open it again with "Open project" on the page. Everything in it can also be read by hand:

project.json          classes and pictures: each picture's class, file, SHA-256 and row of the latents
pictures/CLASS/       the picture files as they came, a folder for each class
thumbnails/           small pictures of what the network sees, by the SHA-256 of the picture's file
latents.safetensors   2048 numbers for each picture, by the base "${engine.base.name}"
                      (fingerprint ${engine.fingerprint})
runs.json             trainings: settings, curves and scores
heads/                the heads that they made: latents -> probabilities

In Python:

    from safetensors.numpy import load_file        # pip install safetensors numpy
    data = load_file("latents.safetensors")        # data["latents"] [N, 2048], data["labels"] [N]
    head = load_file("heads/run-1.safetensors")    # the weights and biases of a head's layers

The metadata of both files (safetensors.safe_open(FILE, "np").metadata()) tells the classes' names and the base's fingerprint.
`;
}
