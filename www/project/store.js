// @ts-check
/**
 * What the page keeps in IndexedDB. Every save is one transaction over all that it touches, so that a tab which dies leaves the state
 * before it or after it. Saves run one after the other, in the order they were asked for.
 */
import { openDB } from "../npm/idb.js";
import { emptyProject, openFile } from "./project.js";
import { megabytes } from "../ui/format.js";

/** @typedef {import("./project.js").Project} Project */
/** @typedef {import("./project.js").Picture} Picture */
/** @typedef {import("./project.js").KeptFile} KeptFile */
/** @typedef {import("../engine/engine.js").Embedded} Embedded */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Kept} Kept */
/** @typedef {import("./store.js").Run} Run */
/** @typedef {{ fingerprint: string, hash: string, latents: Float32Array, width: number, height: number, thumbnail: ArrayBuffer | null }} KeptLatents */
/**
 * `order` is null as long as ids ascend, which they do unless somebody wrote them by hand: adding a picture then does not write all of them again.
 * @typedef {Pick<Project, "name" | "classes" | "nextId"> & { order: number[] | null, revision: number }} Frame
 */
/** @typedef {{ run: number } | { bytes: Uint8Array } | null} HeadInUse */
/**
 * Files lie apart from the pictures, by their hash: a picture that changes its class is a small record, and its file is not written again.
 * @typedef {object} Schema
 * @property {{ key: number, value: Omit<Picture, "file"> }} pictures
 * @property {{ key: string, value: { hash: string, file: Blob } }} files
 * @property {{ key: [string, string], value: KeptLatents }} latents
 * @property {{ key: number, value: Run }} runs
 * @property {{ key: string, value: Frame | HeadInUse }} state
 */
/** @typedef {"pictures" | "files" | "latents" | "runs" | "state"} StoreName */
/** @typedef {import("idb").IDBPTransaction<Schema, StoreName[], "readonly">} Reading */
/** @typedef {import("idb").IDBPTransaction<Schema, StoreName[], "readwrite">} Writing */

const NAME = "inception-web";
const VERSION = 1;
/** Records that are written at a time; the page breathes between. */
const CHUNK = 64;
/** Records that are read at a time. */
const BULK = 256;
/** Where each quarter of all hashes ends: four requests at a time are answered sooner than one. */
const QUARTERS = ["4", "8", "c", "g"];
/** @type {StoreName[]} */
const ALL = ["pictures", "files", "latents", "runs", "state"];

const UNAVAILABLE =
  'storage: this browser keeps nothing for this page (a private window, or storage is switched off); your work lives in this tab only, save it with "Save project"';
const NEWER = "storage: what is kept here was written by a newer version of this page, and is left as it is; reload the page to get that version";
const CLOSED = 'storage: the browser closed this page\'s storage, or a newer version of the page took it over; save your work with "Save project" and reload';
const BLOCKED = "storage: an older version of this page is open in another tab; close that tab and reload this one";
const OTHER =
  'storage: your classes are open in another tab, so this tab shows them and saves nothing; close the other tab and reload this one, or save your work with "Save project"';
const GONE = "storage: this picture's file is no longer kept, another tab removed it; reload the page to see what is";
/** Where a browser cannot tell tabs of each other. */
const ELSEWHERE =
  'storage: another tab changed what is kept, so this tab no longer saves; save your work with "Save project", or reload to see the other tab\'s';

export class StoreError extends Error {
  /** @param {"quota" | "unavailable" | "newer" | "failed"} kind @param {string} message @param {unknown} [cause] */
  constructor(kind, message, cause) {
    super(message, { cause });
    this.name = "StoreError";
    this.kind = kind;
  }
}

/** What the one tab that saves holds (Web Locks), until it is closed. */
const WRITER = "inception-web classes";
/** Milliseconds that a tab which is just being closed may take, and one that opens its files before it lets go of the storage. */
const CLOSING = 1000;
const LETTING_GO = 5000;
/** Whether it is this one. @type {Promise<boolean> | undefined} */
let writer;

/** @returns {Promise<boolean>} */
function becomeWriter() {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true);
    const ever = () => (resolve(true), new Promise(() => {}));
    navigator.locks.request(WRITER, { signal: AbortSignal.timeout(CLOSING) }, ever).catch((error) => resolve(named(error) !== "TimeoutError"));
  });
}

/** @returns {Promise<Store>} */
export async function openStore() {
  if (!globalThis.indexedDB) throw new StoreError("unavailable", UNAVAILABLE);
  /** @type {import("idb").IDBPDatabase<Schema>} */
  let database;
  /** @type {IndexedStore | undefined} */
  let opened;
  try {
    database = await new Promise((resolve, reject) => {
      /** @type {typeof openDB<Schema>} */ (openDB)(NAME, VERSION, {
        upgrade(fresh, from) {
          if (from < 1) {
            fresh.createObjectStore("pictures", { keyPath: "id" });
            fresh.createObjectStore("files", { keyPath: "hash" });
            fresh.createObjectStore("latents", { keyPath: ["fingerprint", "hash"] });
            fresh.createObjectStore("runs", { keyPath: "id" });
            fresh.createObjectStore("state");
          }
        },
        blocked: () => setTimeout(() => reject(new StoreError("unavailable", BLOCKED)), LETTING_GO),
        // A newer page in another tab must not wait for this one, whose pictures stay open.
        blocking: () => void (opened ? opened.letGo() : database.close()),
      }).then(resolve, reject);
    });
  } catch (error) {
    if (error instanceof StoreError) throw error;
    if (named(error) === "VersionError") throw new StoreError("newer", NEWER, error);
    if (named(error) === "QuotaExceededError") throw await told(error);
    throw new StoreError("unavailable", UNAVAILABLE, error);
  }
  writer ??= becomeWriter();
  opened = new IndexedStore(database, (await writer) ? null : new StoreError("failed", OTHER));
  return opened;
}

/** @implements {Store} */
class IndexedStore {
  /** @type {import("idb").IDBPDatabase<Schema>} */
  #database;
  /** What is really kept: where a save failed, the next one saves its changes too. @type {Project | null} */
  #kept = null;
  /** Counts saves of the project, by any tab. */
  #revision = 0;
  /** Hashes that came up in this visit, whose pictures may not be saved yet. @type {Set<string>} */
  #fresh = new Set();
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();
  #askedToPersist = false;
  /** Latents that are read while the page does not know its base yet, if all are of one. @type {ReturnType<typeof readAhead> | null} */
  #ahead = null;

  /** @param {import("idb").IDBPDatabase<Schema>} database @param {StoreError | null} refusal */
  constructor(database, refusal) {
    this.#database = database;
    this.refusal = refusal;
  }

  /** @param {string} fingerprint @returns {Promise<Kept>} */
  load(fingerprint) {
    return this.#queue(async () => {
      const ahead = await this.#ahead;
      this.#ahead = null;
      const reading = this.#database.transaction(ALL, "readonly");
      const state = reading.objectStore("state");
      const frame = /** @type {Frame | undefined} */ (await state.get("project"));
      const revision = frame?.revision ?? 0;
      const [inUse, runs, latents, project] = await Promise.all([
        state.get("head"),
        reading.objectStore("runs").getAll(),
        ahead?.fingerprint === fingerprint ? ahead.latents : readLatents(reading, fingerprint),
        this.#kept && revision === this.#revision ? this.#kept : readProject(this.#database, reading, frame),
      ]);
      if (!this.#kept) {
        // Only once: what another tab saved after that must not be taken for what this tab shows.
        this.#kept = project;
        this.#revision = revision;
      }
      /** @type {Map<string, Embedded>} */
      const embedded = new Map();
      for (const { hash } of project.pictures) {
        const found = latents.get(hash);
        if (found) embedded.set(hash, unpack(found));
      }
      const head = /** @type {HeadInUse | undefined} */ (inUse) ?? null;
      this.#persist(project);
      if (!fingerprint) this.#ahead = readAhead(this.#database);
      return {
        project,
        embedded,
        runs,
        runInUse: head && "run" in head ? head.run : null,
        head: head && "bytes" in head ? head.bytes : null,
      };
    });
  }

  /** @param {Project} before @param {Project} after @returns {Promise<void>} */
  saveProject(before, after) {
    return this.#queue(async () => {
      const kept = this.#kept ?? before;
      const { changed, gone, files, unused } = difference(kept, after);
      const going = new Set(unused);
      await openAll(kept, (hash) => going.has(hash));
      const written = await Promise.all(files.map(async ({ hash, file }) => ({ hash, file: await openFile(file) })));
      await this.#write(["pictures", "files", "state"], async (writing) => {
        await this.#stamp(writing, after);
        const pictures = writing.objectStore("pictures");
        await inChunks(gone, (id) => pictures.delete(id));
        await inChunks(changed, ({ file, ...record }) => pictures.put(record));
        const store = writing.objectStore("files");
        await inChunks(unused, (hash) => store.delete(hash));
        await inChunks(written, (record) => store.put(record));
      });
      this.#kept = after;
      this.#revision += 1;
      this.#persist(after);
    });
  }

  /** @param {string} fingerprint @param {ReadonlyMap<string, Embedded>} embedded @returns {Promise<void>} */
  saveEmbedded(fingerprint, embedded) {
    for (const hash of embedded.keys()) this.#fresh.add(hash);
    return this.#queue(async () => {
      const records = pack(fingerprint, embedded);
      await this.#write(["latents"], (writing) => {
        const store = writing.objectStore("latents");
        return inChunks(records, (record) => store.put(record));
      });
    });
  }

  /** @param {string} fingerprint @param {readonly string[]} hashes @returns {Promise<Map<string, Embedded>>} */
  findEmbedded(fingerprint, hashes) {
    for (const hash of hashes) this.#fresh.add(hash);
    return this.#queue(async () => {
      const store = this.#database.transaction("latents").store;
      /** @type {Map<string, Embedded>} */
      const found = new Map();
      for (let i = 0; i < hashes.length; i += CHUNK) {
        const some = await Promise.all(hashes.slice(i, i + CHUNK).map((hash) => store.get([fingerprint, hash])));
        for (const each of some) if (each) found.set(each.hash, unpack(each));
      }
      return found;
    });
  }

  /** @param {Run} run @returns {Promise<void>} */
  saveRun(run) {
    return this.#queue(() => this.#write(["runs"], (writing) => writing.objectStore("runs").put(run)));
  }

  /** @param {number} id @returns {Promise<void>} */
  removeRun(id) {
    return this.#queue(() =>
      this.#write(["runs", "state"], async (writing) => {
        const runs = writing.objectStore("runs");
        const state = writing.objectStore("state");
        const inUse = /** @type {HeadInUse | undefined} */ (await state.get("head"));
        const run = inUse && "run" in inUse && inUse.run === id ? await runs.get(id) : undefined;
        // Its head stays in use without it.
        if (run) await state.put({ bytes: run.head }, "head");
        await runs.delete(id);
      }),
    );
  }

  /** @param {HeadInUse} head @returns {Promise<void>} */
  saveHead(head) {
    return this.#queue(() => this.#write(["state"], (writing) => writing.objectStore("state").put(head, "head")));
  }

  /** @param {string} fingerprint @param {Kept} kept @returns {Promise<void>} */
  replace(fingerprint, kept) {
    for (const hash of kept.embedded.keys()) this.#fresh.add(hash);
    return this.#queue(async () => {
      const { changed, files } = difference(emptyProject, kept.project);
      const stays = new Set(files.map(({ hash }) => hash));
      await openAll(this.#kept, (hash) => !stays.has(hash));
      const written = await Promise.all(files.map(async ({ hash, file }) => ({ hash, file: await openFile(file) })));
      const records = pack(fingerprint, kept.embedded);
      /** @type {HeadInUse} */
      const head = kept.runInUse !== null ? { run: kept.runInUse } : kept.head && { bytes: kept.head };
      let revision = 0;
      await this.#write(ALL, async (writing) => {
        const state = writing.objectStore("state");
        // Whatever any tab saved before is gone by this, so that the others hear of it at their next save.
        revision = (/** @type {Frame | undefined} */ (await state.get("project"))?.revision ?? 0) + 1;
        for (const name of ALL) if (name !== "files") await writing.objectStore(name).clear();
        await state.put(frameOf(kept.project, revision), "project");
        await state.put(head, "head");
        await inChunks(kept.runs, (run) => writing.objectStore("runs").put(run));
        await inChunks(changed, ({ file, ...record }) => writing.objectStore("pictures").put(record));
        await inChunks(records, (record) => writing.objectStore("latents").put(record));
        // Files that both projects have stay where they are: they are by far the most to write.
        const store = writing.objectStore("files");
        const there = new Set(await store.getAllKeys());
        const missing = written.filter(({ hash }) => !there.delete(hash));
        await inChunks([...there], (hash) => store.delete(hash));
        await inChunks(missing, (record) => store.put(record));
      });
      this.#kept = kept.project;
      this.#revision = revision;
      this.#persist(kept.project);
    });
  }

  /** @returns {Promise<void>} */
  sweep() {
    return this.#queue(() =>
      this.#write(["pictures", "latents"], async (writing) => {
        const wanted = new Set(this.#fresh);
        for (const { hash } of await writing.objectStore("pictures").getAll()) wanted.add(hash);
        const latents = writing.objectStore("latents");
        const keys = await latents.getAllKeys();
        await inChunks(keys.filter(([, hash]) => !wanted.has(hash)), (key) => latents.delete(key));
      }),
    );
  }

  /** @returns {Promise<{ files: number, latents: number, heads: number }>} */
  sizes() {
    return this.#queue(async () => {
      const reading = this.#database.transaction(["files", "latents", "runs", "state"], "readonly");
      const sizes = { files: 0, latents: 0, heads: 0 };
      const files = reading.objectStore("files");
      await inBulk((after) => files.getAll(IDBKeyRange.lowerBound(after, true), BULK), ({ file }) => (sizes.files += file.size));
      const fingerprints = new Set((await reading.objectStore("latents").getAllKeys()).map(([fingerprint]) => fingerprint));
      for (const fingerprint of fingerprints) {
        await eachLatents(reading, fingerprint, ({ latents, thumbnail }) => (sizes.latents += latents.byteLength + (thumbnail?.byteLength ?? 0)));
      }
      for (const { head } of await reading.objectStore("runs").getAll()) sizes.heads += head.byteLength;
      const inUse = /** @type {HeadInUse | undefined} */ (await reading.objectStore("state").get("head"));
      if (inUse && "bytes" in inUse) sizes.heads += inUse.bytes.byteLength;
      return sizes;
    });
  }

  /** @returns {Promise<{ used: number, granted: number } | null>} */
  usage() {
    return usage();
  }

  /** Closes the storage. What is shown stays readable. */
  async letGo() {
    await openAll(this.#kept, () => true).catch(() => {});
    this.#database.close();
  }

  /**
   * One after the other, whatever became of those before.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  #queue(work) {
    const turn = this.#last.then(work).catch(async (error) => {
      throw await told(error);
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** @param {StoreName[]} names @param {(writing: Writing) => Promise<unknown>} work @returns {Promise<void>} */
  async #write(names, work) {
    if (this.refusal) throw this.refusal;
    const writing = this.#database.transaction(names, "readwrite", { durability: "strict" });
    const done = writing.done.then(() => null, (/** @type {unknown} */ error) => error);
    try {
      await work(writing);
    } catch (error) {
      try {
        writing.abort();
      } catch {
        // It ended by itself, for the reason told in `done`.
      }
      await done;
      // What a request says of a transaction that was ended is only that it was ended.
      throw writing.error ?? error;
    }
    const error = await done;
    if (error) throw writing.error ?? error;
  }

  /** Sees that no other tab saved meanwhile. @param {Writing} writing @param {Project} project */
  async #stamp(writing, project) {
    const state = writing.objectStore("state");
    const frame = /** @type {Frame | undefined} */ (await state.get("project"));
    if ((frame?.revision ?? 0) !== this.#revision) throw new StoreError("failed", ELSEWHERE);
    await state.put(frameOf(project, this.#revision + 1), "project");
  }

  /** @param {Project} project */
  #persist(project) {
    if (this.#askedToPersist || project.pictures.length === 0) return;
    this.#askedToPersist = true;
    // A refusal changes nothing that the page could do.
    navigator.storage?.persist?.().catch(() => {});
  }
}

/** @implements {KeptFile} */
class FileOnDisk {
  #database;
  #hash;
  /** @type {Promise<Blob> | undefined} */
  #opened;

  /** @param {import("idb").IDBPDatabase<Schema>} database @param {string} hash */
  constructor(database, hash) {
    this.#database = database;
    this.#hash = hash;
  }

  /** @returns {Promise<Blob>} */
  open() {
    return (this.#opened ??= this.#read());
  }

  async #read() {
    try {
      const record = await this.#database.get("files", this.#hash);
      if (record) return record.file;
      throw new StoreError("failed", GONE);
    } catch (error) {
      this.#opened = undefined;
      throw await told(error);
    }
  }
}

/** Files that are about to be deleted are opened first: what is taken back then still has them. @param {Project | null} project @param {(hash: string) => boolean} which */
async function openAll(project, which) {
  await Promise.all(project?.pictures.filter(({ hash }) => which(hash)).map(({ file }) => openFile(file)) ?? []);
}

/** @param {import("idb").IDBPDatabase<Schema>} database @param {Reading} reading @param {Frame | undefined} frame @returns {Promise<Project>} */
async function readProject(database, reading, frame) {
  if (!frame) return emptyProject;
  const hashes = await reading.objectStore("files").getAllKeys();
  const files = new Map(hashes.map((hash) => [hash, new FileOnDisk(database, hash)]));
  const records = await reading.objectStore("pictures").getAll();
  let pictures = records.map((record) => ({ ...record, file: files.get(record.hash) ?? null }));
  if (frame.order) {
    const byId = new Map(pictures.map((picture) => [picture.id, picture]));
    pictures = frame.order.flatMap((id) => byId.get(id) ?? []);
  }
  return { name: frame.name, classes: frame.classes, pictures, nextId: frame.nextId };
}

/** @param {import("idb").IDBPDatabase<Schema>} database @returns {Promise<{ fingerprint: string, latents: Map<string, KeptLatents> } | null>} */
async function readAhead(database) {
  try {
    const reading = database.transaction(ALL, "readonly");
    const store = reading.objectStore("latents");
    const fingerprint = (await store.getKey(IDBKeyRange.lowerBound([])))?.[0];
    if (!fingerprint || (await store.getKey(IDBKeyRange.lowerBound([fingerprint, []])))) return null;
    return { fingerprint, latents: await readLatents(reading, fingerprint) };
  } catch {
    return null; // it is told when they are needed
  }
}

/** @param {Reading} reading @param {string} fingerprint @returns {Promise<Map<string, KeptLatents>>} by hash */
async function readLatents(reading, fingerprint) {
  /** @type {Map<string, KeptLatents>} */
  const latents = new Map();
  await eachLatents(reading, fingerprint, (record) => latents.set(record.hash, record));
  return latents;
}

/** @param {Reading} reading @param {string} fingerprint @param {(record: KeptLatents) => unknown} take */
function eachLatents(reading, fingerprint, take) {
  const store = reading.objectStore("latents");
  return Promise.all(
    QUARTERS.map((to, i) =>
      inBulk((after) => store.getAll(IDBKeyRange.bound([fingerprint, after || (QUARTERS[i - 1] ?? "")], [fingerprint, to], true, true), BULK), take),
    ),
  );
}

/**
 * Reads a whole store or range by the hash, some records at a time: one answer of all of them would freeze the page.
 * @template {{ hash: string }} T @param {(after: string) => Promise<T[]>} read @param {(record: T) => unknown} take
 */
async function inBulk(read, take) {
  let after = "";
  for (;;) {
    const some = await read(after);
    some.forEach(take);
    if (some.length < BULK) return;
    after = some[some.length - 1].hash;
  }
}

/** @param {Project} project @param {number} revision @returns {Frame} */
function frameOf({ name, classes, pictures, nextId }, revision) {
  const ascending = pictures.every(({ id }, i) => i === 0 || pictures[i - 1].id < id);
  return { name, classes, nextId, order: ascending ? null : pictures.map(({ id }) => id), revision };
}

/** What to write and to delete. A picture that is the same object is the same. @param {Project} before @param {Project} after */
function difference(before, after) {
  const old = new Map(before.pictures.map((picture) => [picture.id, picture]));
  const unused = new Set(before.pictures.flatMap(({ hash, file }) => (file ? hash : [])));
  const filed = new Set(unused);
  /** @type {Picture[]} */
  const changed = [];
  /** @type {{ hash: string, file: NonNullable<Picture["file"]> }[]} */
  const files = [];
  for (const picture of after.pictures) {
    const { id, hash, file } = picture;
    if (old.get(id) !== picture) changed.push(picture);
    old.delete(id);
    if (!file) continue;
    unused.delete(hash);
    if (filed.has(hash)) continue;
    filed.add(hash);
    files.push({ hash, file });
  }
  return { changed, gone: [...old.keys()], files, unused: [...unused] };
}

/**
 * Asks for a chunk of requests, waits for its last one, and so on: there is always one pending, which keeps the transaction alive.
 * @template T @param {readonly T[]} items @param {(item: T) => Promise<unknown>} request @returns {Promise<void>}
 */
async function inChunks(items, request) {
  for (let i = 0; i < items.length; i += CHUNK) {
    await Promise.all(items.slice(i, i + CHUNK).map(request));
  }
}

/** @param {string} fingerprint @param {ReadonlyMap<string, Embedded>} embedded @returns {KeptLatents[]} */
function pack(fingerprint, embedded) {
  return Array.from(embedded, ([hash, { latents, width, height, thumbnail }]) => ({
    fingerprint, hash, latents, width, height, thumbnail: thumbnail && thumbnail.slice().buffer,
  }));
}

/** @param {KeptLatents} kept @returns {Embedded} */
function unpack({ latents, width, height, thumbnail }) {
  return { latents, width, height, thumbnail: thumbnail && new Uint8Array(thumbnail) };
}

/** @param {unknown} error @returns {string} */
function named(error) {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}

/** An error in words. @param {unknown} error @returns {Promise<StoreError>} */
async function told(error) {
  if (error instanceof StoreError) return error;
  if (named(error) === "QuotaExceededError") {
    const space = await usage();
    const words = `storage: the browser's space for this page is full${space ? figures(space) : ""}; what you have stays open in this tab, save it with "Save project" or remove pictures`;
    return new StoreError("quota", words, error);
  }
  if (named(error) === "InvalidStateError") return new StoreError("failed", CLOSED, error);
  const reason = error instanceof Error || error instanceof DOMException ? error.message : String(error);
  return new StoreError("failed", `storage: saving or reading failed (${reason}); save your work with "Save project" and reload`, error);
}

/** Browsers grant more than a full disk has, so that pages do not learn its size. @param {{ used: number, granted: number }} space @returns {string} */
function figures({ used, granted }) {
  return used > granted * 0.9
    ? ` (${megabytes(used)} of ${megabytes(granted)} MB used)`
    : ` (${megabytes(used)} MB used; the disk may be full)`;
}

/** @returns {Promise<{ used: number, granted: number } | null>} */
async function usage() {
  try {
    const { usage: used, quota: granted } = await navigator.storage.estimate();
    return used === undefined || granted === undefined ? null : { used, granted };
  } catch {
    return null;
  }
}
