// @ts-check
/**
 * Stores the project in IndexedDB. Every save is one transaction over all stores it changes, so a crash leaves either the old or the new state.
 * Operations run one at a time, in the order of the calls.
 */
import { openDB } from "../npm/idb.js";
import { emptyProject, openFile } from "./project.js";
import { megabytes } from "../ui/format.js";

/** @import { Embedded } from "../engine/types.js" */
/** @import { Kept, Run, Store, StoreError as StoreErrorType } from "./store-types.js" */
/** @import { KeptFile, Picture, Project } from "./types.js" */
/** @typedef {{ fingerprint: string, hash: string, latents: Float32Array, width: number, height: number, thumbnail: ArrayBuffer | null }} KeptLatents */
/**
 * `order` is null while the pictures' ids ascend (always, unless a project.json was edited by hand), so adding a picture need not write all ids.
 * @typedef {Pick<Project, "name" | "classes" | "nextId"> & { order: number[] | null, revision: number }} ProjectRecord
 */
/** @typedef {{ run: number } | { bytes: Uint8Array } | null} HeadInUse */
/**
 * Files are stored separately, by hash: moving a picture to another class rewrites a small record and not its file.
 * @typedef {object} Schema
 * @property {{ key: number, value: Omit<Picture, "file"> }} pictures
 * @property {{ key: string, value: { hash: string, file: Blob } }} files
 * @property {{ key: [string, string], value: KeptLatents }} latents
 * @property {{ key: number, value: Run }} runs
 * @property {{ key: string, value: ProjectRecord | HeadInUse }} state
 */
/** @typedef {"pictures" | "files" | "latents" | "runs" | "state"} StoreName */
/** @typedef {import("idb").IDBPTransaction<Schema, StoreName[], "readonly">} ReadTransaction */
/** @typedef {import("idb").IDBPTransaction<Schema, StoreName[], "readwrite">} WriteTransaction */

const NAME = "inception-web";
const VERSION = 1;
/** Records written at a time. The page stays responsive between chunks. */
const WRITE_CHUNK = 64;
/** Records read at a time. */
const READ_CHUNK = 256;
/** Upper bounds of four ranges of hashes. Four parallel requests are faster than one. */
const HASH_RANGES = ["4", "8", "c", "g"];
/** @type {StoreName[]} */
const ALL = ["pictures", "files", "latents", "runs", "state"];

const UNAVAILABLE =
  'storage: not available in this browser (a private window, or storage is turned off); your work is lost when this tab closes, save it with "Save project"';
const NEWER = "storage: the stored data was written by a newer version of this page and is not changed; reload the page to get that version";
const CLOSED = 'storage: closed by the browser or by a newer version of this page in another tab; save your work with "Save project" and reload';
const BLOCKED = "storage: an older version of this page is open in another tab; close that tab and reload this one";
const READ_ONLY =
  'storage: another tab saves your classes, so this tab is read-only; close the other tab and reload this one, or save your work with "Save project"';
const FILE_REMOVED = "storage: another tab removed this picture's file; reload the page to see the current project";
/** For browsers without Web Locks. */
const CHANGED_ELSEWHERE =
  'storage: another tab changed the stored project, so this tab no longer saves; save your work with "Save project", or reload to see the other tab\'s version';

/** @implements {StoreErrorType} */
export class StoreError extends Error {
  /** @param {"quota" | "unavailable" | "newer" | "failed"} kind @param {string} message @param {unknown} [cause] */
  constructor(kind, message, cause) {
    super(message, { cause });
    this.name = "StoreError";
    this.kind = kind;
  }
}

/** The Web Lock that the saving tab holds until it closes. */
const WRITER_LOCK = "inception-web classes";
/** Milliseconds to wait for the lock of a tab that is closing. */
const LOCK_TIMEOUT_MS = 1000;
/** Milliseconds to wait for an older tab to read its files and close the database. */
const BLOCKED_TIMEOUT_MS = 5000;
/** Whether this tab holds the lock. @type {Promise<boolean> | undefined} */
let isWriter;

/** @returns {Promise<boolean>} */
function acquireWriterLock() {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true);
    const holdForever = () => (resolve(true), new Promise(() => {}));
    navigator.locks
      .request(WRITER_LOCK, { signal: AbortSignal.timeout(LOCK_TIMEOUT_MS) }, holdForever)
      .catch((error) => resolve(nameOf(error) !== "TimeoutError"));
  });
}

/** Opens the storage. @returns {Promise<Store>} @throws {StoreError} */
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
        blocked: () => setTimeout(() => reject(new StoreError("unavailable", BLOCKED)), BLOCKED_TIMEOUT_MS),
        // Close at once, so that a newer page in another tab need not wait. The shown pictures stay readable.
        blocking: () => void (opened ? opened.close() : database.close()),
      }).then(resolve, reject);
    });
  } catch (error) {
    if (error instanceof StoreError) throw error;
    if (nameOf(error) === "VersionError") throw new StoreError("newer", NEWER, error);
    if (nameOf(error) === "QuotaExceededError") throw await storeErrorOf(error);
    throw new StoreError("unavailable", UNAVAILABLE, error);
  }
  isWriter ??= acquireWriterLock();
  opened = new IndexedStore(database, (await isWriter) ? null : new StoreError("failed", READ_ONLY));
  return opened;
}

/** @implements {Store} */
class IndexedStore {
  /** @type {import("idb").IDBPDatabase<Schema>} */
  #database;
  /** The project as stored. After a failed save, the next one saves those changes too. @type {Project | null} */
  #kept = null;
  /** Number of saves of the project, by any tab. */
  #revision = 0;
  /** Hashes used in this visit. `sweep` keeps them, because their pictures may not be saved yet. @type {Set<string>} */
  #recent = new Set();
  /** @type {Promise<unknown>} */
  #last = Promise.resolve();
  #askedToPersist = false;
  /** Latents read before the engine reports its base, if all of them belong to one base. @type {ReturnType<typeof prefetchLatents> | null} */
  #prefetched = null;

  /** @param {import("idb").IDBPDatabase<Schema>} database @param {StoreError | null} refusal */
  constructor(database, refusal) {
    this.#database = database;
    this.refusal = refusal;
  }

  /** @param {string} fingerprint @returns {Promise<Kept>} */
  load(fingerprint) {
    return this.#queue(async () => {
      const prefetched = await this.#prefetched;
      this.#prefetched = null;
      const transaction = this.#database.transaction(ALL, "readonly");
      const state = transaction.objectStore("state");
      const record = /** @type {ProjectRecord | undefined} */ (await state.get("project"));
      const revision = record?.revision ?? 0;
      const [inUse, runs, latents, project] = await Promise.all([
        state.get("head"),
        transaction.objectStore("runs").getAll(),
        prefetched?.fingerprint === fingerprint ? prefetched.latents : readLatents(transaction, fingerprint),
        this.#kept && revision === this.#revision ? this.#kept : readProject(this.#database, transaction, record),
      ]);
      if (!this.#kept) {
        // Only the first time: a later load may read what another tab saved, which this tab does not show.
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
      if (!fingerprint) this.#prefetched = prefetchLatents(this.#database);
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
      const { changed, removed, files, unused } = difference(kept, after);
      const deleted = new Set(unused);
      await openAll(kept, (hash) => deleted.has(hash));
      const written = await Promise.all(files.map(async ({ hash, file }) => ({ hash, file: await openFile(file) })));
      await this.#write(["pictures", "files", "state"], async (transaction) => {
        await this.#putProject(transaction, after);
        const pictures = transaction.objectStore("pictures");
        await inChunks(removed, (id) => pictures.delete(id));
        await inChunks(changed, ({ file, ...record }) => pictures.put(record));
        const store = transaction.objectStore("files");
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
    for (const hash of embedded.keys()) this.#recent.add(hash);
    return this.#queue(async () => {
      const records = pack(fingerprint, embedded);
      await this.#write(["latents"], (transaction) => {
        const store = transaction.objectStore("latents");
        return inChunks(records, (record) => store.put(record));
      });
    });
  }

  /** @param {string} fingerprint @param {readonly string[]} hashes @returns {Promise<Map<string, Embedded>>} */
  findEmbedded(fingerprint, hashes) {
    for (const hash of hashes) this.#recent.add(hash);
    return this.#queue(async () => {
      const store = this.#database.transaction("latents").store;
      /** @type {Map<string, Embedded>} */
      const found = new Map();
      for (let i = 0; i < hashes.length; i += WRITE_CHUNK) {
        const records = await Promise.all(hashes.slice(i, i + WRITE_CHUNK).map((hash) => store.get([fingerprint, hash])));
        for (const record of records) if (record) found.set(record.hash, unpack(record));
      }
      return found;
    });
  }

  /** @param {Run} run @returns {Promise<void>} */
  saveRun(run) {
    return this.#queue(() => this.#write(["runs"], (transaction) => transaction.objectStore("runs").put(run)));
  }

  /** @param {number} id @returns {Promise<void>} */
  removeRun(id) {
    return this.#queue(() =>
      this.#write(["runs", "state"], async (transaction) => {
        const runs = transaction.objectStore("runs");
        const state = transaction.objectStore("state");
        const inUse = /** @type {HeadInUse | undefined} */ (await state.get("head"));
        const run = inUse && "run" in inUse && inUse.run === id ? await runs.get(id) : undefined;
        // The head stays in use after its run is removed.
        if (run) await state.put({ bytes: run.head }, "head");
        await runs.delete(id);
      }),
    );
  }

  /** @param {HeadInUse} head @returns {Promise<void>} */
  saveHead(head) {
    return this.#queue(() => this.#write(["state"], (transaction) => transaction.objectStore("state").put(head, "head")));
  }

  /** @param {string} fingerprint @param {Kept} kept @returns {Promise<void>} */
  replace(fingerprint, kept) {
    for (const hash of kept.embedded.keys()) this.#recent.add(hash);
    return this.#queue(async () => {
      const { changed, files } = difference(emptyProject, kept.project);
      const reused = new Set(files.map(({ hash }) => hash));
      await openAll(this.#kept, (hash) => !reused.has(hash));
      const written = await Promise.all(files.map(async ({ hash, file }) => ({ hash, file: await openFile(file) })));
      const records = pack(fingerprint, kept.embedded);
      /** @type {HeadInUse} */
      const head = kept.runInUse !== null ? { run: kept.runInUse } : kept.head && { bytes: kept.head };
      let revision = 0;
      await this.#write(ALL, async (transaction) => {
        const state = transaction.objectStore("state");
        // Continue the stored count, so that other tabs detect the change at their next save.
        revision = (/** @type {ProjectRecord | undefined} */ (await state.get("project"))?.revision ?? 0) + 1;
        for (const name of ALL) if (name !== "files") await transaction.objectStore(name).clear();
        await state.put(projectRecord(kept.project, revision), "project");
        await state.put(head, "head");
        await inChunks(kept.runs, (run) => transaction.objectStore("runs").put(run));
        await inChunks(changed, ({ file, ...record }) => transaction.objectStore("pictures").put(record));
        await inChunks(records, (record) => transaction.objectStore("latents").put(record));
        // Files that both projects contain are not rewritten: they are most of the data.
        const store = transaction.objectStore("files");
        const obsolete = new Set(await store.getAllKeys());
        const missing = written.filter(({ hash }) => !obsolete.delete(hash));
        await inChunks([...obsolete], (hash) => store.delete(hash));
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
      this.#write(["pictures", "latents"], async (transaction) => {
        const wanted = new Set(this.#recent);
        for (const { hash } of await transaction.objectStore("pictures").getAll()) wanted.add(hash);
        const latents = transaction.objectStore("latents");
        const keys = await latents.getAllKeys();
        await inChunks(keys.filter(([, hash]) => !wanted.has(hash)), (key) => latents.delete(key));
      }),
    );
  }

  /** @returns {Promise<{ files: number, latents: number, heads: number }>} */
  sizes() {
    return this.#queue(async () => {
      const transaction = this.#database.transaction(["files", "latents", "runs", "state"], "readonly");
      const sizes = { files: 0, latents: 0, heads: 0 };
      const files = transaction.objectStore("files");
      await readInChunks((after) => files.getAll(IDBKeyRange.lowerBound(after, true), READ_CHUNK), ({ file }) => (sizes.files += file.size));
      const fingerprints = new Set((await transaction.objectStore("latents").getAllKeys()).map(([fingerprint]) => fingerprint));
      for (const fingerprint of fingerprints) {
        await eachLatents(transaction, fingerprint, ({ latents, thumbnail }) => (sizes.latents += latents.byteLength + (thumbnail?.byteLength ?? 0)));
      }
      for (const { head } of await transaction.objectStore("runs").getAll()) sizes.heads += head.byteLength;
      const inUse = /** @type {HeadInUse | undefined} */ (await transaction.objectStore("state").get("head"));
      if (inUse && "bytes" in inUse) sizes.heads += inUse.bytes.byteLength;
      return sizes;
    });
  }

  /** @returns {Promise<{ used: number, quota: number } | null>} */
  usage() {
    return usage();
  }

  /** Closes the database. The shown pictures stay readable. */
  async close() {
    await openAll(this.#kept, () => true).catch(() => {});
    this.#database.close();
  }

  /**
   * Runs `work` after all earlier operations, whether or not they failed.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  #queue(work) {
    const turn = this.#last.then(work).catch(async (error) => {
      throw await storeErrorOf(error);
    });
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** @param {StoreName[]} names @param {(transaction: WriteTransaction) => Promise<unknown>} work @returns {Promise<void>} */
  async #write(names, work) {
    if (this.refusal) throw this.refusal;
    const transaction = this.#database.transaction(names, "readwrite", { durability: "strict" });
    const done = transaction.done.then(() => null, (/** @type {unknown} */ error) => error);
    try {
      await work(transaction);
    } catch (error) {
      try {
        transaction.abort();
      } catch {
        // The transaction has already ended; `done` has the reason.
      }
      await done;
      // `error` of an aborted transaction only says that it was aborted.
      throw transaction.error ?? error;
    }
    const error = await done;
    if (error) throw transaction.error ?? error;
  }

  /** Writes the project record, unless another tab saved in between. @param {WriteTransaction} transaction @param {Project} project */
  async #putProject(transaction, project) {
    const state = transaction.objectStore("state");
    const record = /** @type {ProjectRecord | undefined} */ (await state.get("project"));
    if ((record?.revision ?? 0) !== this.#revision) throw new StoreError("failed", CHANGED_ELSEWHERE);
    await state.put(projectRecord(project, this.#revision + 1), "project");
  }

  /** @param {Project} project */
  #persist(project) {
    if (this.#askedToPersist || project.pictures.length === 0) return;
    this.#askedToPersist = true;
    // Saving works without persistence too, so a refusal is ignored.
    navigator.storage?.persist?.().catch(() => {});
  }
}

/** @implements {KeptFile} */
class StoredFile {
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
      throw new StoreError("failed", FILE_REMOVED);
    } catch (error) {
      this.#opened = undefined;
      throw await storeErrorOf(error);
    }
  }
}

/** Reads files into memory before they are deleted or the database is closed. @param {Project | null} project @param {(hash: string) => boolean} which */
async function openAll(project, which) {
  await Promise.all(project?.pictures.filter(({ hash }) => which(hash)).map(({ file }) => openFile(file)) ?? []);
}

/** @param {import("idb").IDBPDatabase<Schema>} database @param {ReadTransaction} transaction @param {ProjectRecord | undefined} record @returns {Promise<Project>} */
async function readProject(database, transaction, record) {
  if (!record) return emptyProject;
  const hashes = await transaction.objectStore("files").getAllKeys();
  const files = new Map(hashes.map((hash) => [hash, new StoredFile(database, hash)]));
  const records = await transaction.objectStore("pictures").getAll();
  let pictures = records.map((record) => ({ ...record, file: files.get(record.hash) ?? null }));
  if (record.order) {
    const byId = new Map(pictures.map((picture) => [picture.id, picture]));
    pictures = record.order.flatMap((id) => byId.get(id) ?? []);
  }
  return { name: record.name, classes: record.classes, pictures, nextId: record.nextId };
}

/** @param {import("idb").IDBPDatabase<Schema>} database @returns {Promise<{ fingerprint: string, latents: Map<string, KeptLatents> } | null>} */
async function prefetchLatents(database) {
  try {
    const transaction = database.transaction(ALL, "readonly");
    const store = transaction.objectStore("latents");
    const fingerprint = (await store.getKey(IDBKeyRange.lowerBound([])))?.[0];
    if (!fingerprint || (await store.getKey(IDBKeyRange.lowerBound([fingerprint, []])))) return null;
    return { fingerprint, latents: await readLatents(transaction, fingerprint) };
  } catch {
    return null; // `load` reports the error
  }
}

/** @param {ReadTransaction} transaction @param {string} fingerprint @returns {Promise<Map<string, KeptLatents>>} by hash */
async function readLatents(transaction, fingerprint) {
  /** @type {Map<string, KeptLatents>} */
  const latents = new Map();
  await eachLatents(transaction, fingerprint, (record) => latents.set(record.hash, record));
  return latents;
}

/** @param {ReadTransaction} transaction @param {string} fingerprint @param {(record: KeptLatents) => unknown} visit */
function eachLatents(transaction, fingerprint, visit) {
  const store = transaction.objectStore("latents");
  return Promise.all(
    HASH_RANGES.map((to, i) =>
      readInChunks(
        (after) => store.getAll(IDBKeyRange.bound([fingerprint, after || (HASH_RANGES[i - 1] ?? "")], [fingerprint, to], true, true), READ_CHUNK),
        visit,
      ),
    ),
  );
}

/**
 * Reads a store or a range in the order of hashes, in chunks: one response with all records would block the page.
 * @template {{ hash: string }} T @param {(after: string) => Promise<T[]>} read @param {(record: T) => unknown} visit
 */
async function readInChunks(read, visit) {
  let after = "";
  for (;;) {
    const records = await read(after);
    records.forEach(visit);
    if (records.length < READ_CHUNK) return;
    after = records[records.length - 1].hash;
  }
}

/** @param {Project} project @param {number} revision @returns {ProjectRecord} */
function projectRecord({ name, classes, pictures, nextId }, revision) {
  const ascending = pictures.every(({ id }, i) => i === 0 || pictures[i - 1].id < id);
  return { name, classes, nextId, order: ascending ? null : pictures.map(({ id }) => id), revision };
}

/** What to write and what to delete. Pictures are compared by object identity. @param {Project} before @param {Project} after */
function difference(before, after) {
  const old = new Map(before.pictures.map((picture) => [picture.id, picture]));
  const unused = new Set(before.pictures.flatMap(({ hash, file }) => (file ? hash : [])));
  const stored = new Set(unused);
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
    if (stored.has(hash)) continue;
    stored.add(hash);
    files.push({ hash, file });
  }
  return { changed, removed: [...old.keys()], files, unused: [...unused] };
}

/**
 * Issues requests in chunks. At least one request is always pending, which keeps the transaction alive.
 * @template T @param {readonly T[]} items @param {(item: T) => Promise<unknown>} request @returns {Promise<void>}
 */
async function inChunks(items, request) {
  for (let i = 0; i < items.length; i += WRITE_CHUNK) {
    await Promise.all(items.slice(i, i + WRITE_CHUNK).map(request));
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
function nameOf(error) {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}

/** Turns any error into a StoreError with a message for people. @param {unknown} error @returns {Promise<StoreError>} */
async function storeErrorOf(error) {
  if (error instanceof StoreError) return error;
  if (nameOf(error) === "QuotaExceededError") {
    const space = await usage();
    const message = `storage: the browser's space for this page is full${space ? spaceText(space) : ""}; your work stays open in this tab, save it with "Save project" or remove pictures`;
    return new StoreError("quota", message, error);
  }
  if (nameOf(error) === "InvalidStateError") return new StoreError("failed", CLOSED, error);
  const reason = error instanceof Error || error instanceof DOMException ? error.message : String(error);
  return new StoreError("failed", `storage: saving or reading failed (${reason}); save your work with "Save project" and reload`, error);
}

/** On a full disk, browsers still report a larger quota, to hide the size of the disk. @param {{ used: number, quota: number }} space @returns {string} */
function spaceText({ used, quota }) {
  return used > quota * 0.9
    ? ` (${megabytes(used)} of ${megabytes(quota)} MB used)`
    : ` (${megabytes(used)} MB used; the disk may be full)`;
}

/** @returns {Promise<{ used: number, quota: number } | null>} */
async function usage() {
  try {
    const { usage: used, quota } = await navigator.storage.estimate();
    return used === undefined || quota === undefined ? null : { used, quota };
  } catch {
    return null;
  }
}
