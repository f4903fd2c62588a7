// @ts-check
/**
 * Loads weights from Cache Storage, or else from the network, and stores them for later visits. Cache entries are keyed by fingerprint.
 * A source can be read from the beginning more than once.
 */
import { Failure } from "./failure.js";

/** @import { KeptBase } from "../engine/types.js" */
/** @typedef {Omit<KeptBase, "name"> & { url: string }} WeightsEntry */
/** @typedef {Uint8Array<ArrayBuffer>} Chunk */
/**
 * `downloaded` holds the chunks received from the network so far; empty for cached weights.
 * @typedef {{ entry: WeightsEntry | null, cached: boolean, downloaded: Chunk[], chunks(): AsyncIterable<Chunk> }} Source
 */

const CACHE = "inception-web weights";
const CHECKS = "inception-web checks";

/**
 * Finds the requested weights: those at a URL, a stored base, or the site's own.
 * @param {string | KeptBase | undefined} requested @param {WeightsEntry} own @param {URL} base for relative URLs
 * @returns {Promise<Source>}
 */
export async function findWeights(requested, own, base) {
  const entry = typeof requested === "object" ? { ...requested, url: "" } : requested ? await entryOfUrl(requested) : own;
  const cached = entry && (await (await openCache())?.match(cacheKey(entry)));
  if (cached) return fromCache(entry, cached);
  if (typeof requested === "object") throw new Failure("weights", `weights: ${requested.name} is no longer stored in this browser; choose it again`);
  return fromNetwork(entry, await get(new URL(requested ?? own.url, base)));
}

/** @param {WeightsEntry} entry @param {Response} first @returns {Source} */
function fromCache(entry, first) {
  /** @type {Response | null} */
  let next = first;
  return {
    entry,
    cached: true,
    downloaded: [],
    async *chunks() {
      const response = next ?? (await (await openCache())?.match(cacheKey(entry)));
      next = null;
      try {
        if (response?.body) yield* chunksOf(response.body.getReader());
      } catch (error) {
        throw new Failure("weights", `weights: the cache could not be read (${/** @type {Error} */ (error).message}); reload the page`);
      }
    },
  };
}

/**
 * Downloads at full speed, independent of the consumer, and holds all chunks in memory: they are stored once they are verified, and a second
 * device reads them again if the first one fails.
 * @param {WeightsEntry | null} entry @param {Response} response @returns {Source}
 */
function fromNetwork(entry, response) {
  /** @type {Chunk[]} */
  const downloaded = [];
  /** @type {Failure | null} */
  let failure = null;
  let ended = false;
  let wake = () => {};
  const reader = response.body?.getReader();
  void (async () => {
    try {
      if (reader) {
        for await (const chunk of chunksOf(reader)) {
          downloaded.push(chunk);
          wake();
        }
      }
    } catch (error) {
      failure = new Failure("network", `weights: the download was interrupted (${/** @type {Error} */ (error).message}); check the connection and reload the page`);
    }
    ended = true;
    wake();
  })();
  return {
    entry,
    cached: false,
    downloaded,
    async *chunks() {
      for (let next = 0; next < downloaded.length || !ended; ) {
        if (next < downloaded.length) yield downloaded[next++];
        else await /** @type {Promise<void>} */ (new Promise((resolve) => (wake = resolve)));
      }
      if (failure) throw failure;
    },
  };
}

/** @param {ReadableStreamDefaultReader<Chunk>} reader */
async function* chunksOf(reader) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** Opens a cache; null if the browser has no Cache Storage or denies access. */
export function openCache(name = CACHE) {
  return self.caches ? caches.open(name).catch(() => null) : Promise.resolve(null);
}

/** @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry */
export function cacheKey({ fingerprint, dtype }) {
  return new URL(`../weights/${fingerprint}-${dtype}`, import.meta.url);
}

/** The cache key of the entry for a URL. @param {string} url */
function urlKey(url) {
  return new URL(`../weights/from?${encodeURIComponent(url)}`, import.meta.url);
}

/** Returns what an earlier visit stored about the weights at a URL. @param {string} url @returns {Promise<WeightsEntry | null>} */
async function entryOfUrl(url) {
  const stored = await (await openCache())?.match(urlKey(url));
  return stored ? stored.json() : null;
}

/**
 * Stores verified weights for later visits, and deletes older weights of the same source.
 * @param {string | undefined} url @param {KeptBase} entry @param {Chunk[]} chunks
 * @returns {Promise<boolean>} false if the storage quota is exceeded
 */
export async function keep(url, entry, chunks) {
  const cache = await openCache();
  if (!cache) return true;
  try {
    const from = url ?? "the page's own";
    for (const key of await cache.keys()) {
      const old = await cache.match(key);
      if (old?.headers.get("x-from") === encodeURIComponent(from)) await cache.delete(key);
    }
    await cache.put(cacheKey(entry), new Response(new Blob(chunks), { headers: { "x-from": encodeURIComponent(from), "x-name": encodeURIComponent(entry.name) } }));
    if (url) {
      const { fingerprint, dtype, sha256, bytes } = entry;
      await cache.put(urlKey(url), new Response(JSON.stringify({ url, fingerprint, dtype, sha256, bytes })));
    }
    return true;
  } catch {
    return false;
  }
}

/**
 * Returns the stored deviation of the self-test, if this runtime ran it in this browser before. The result on the CPU is deterministic, so the
 * self-test need not run again.
 * @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry @param {string} version of the runtime @returns {Promise<number | undefined>}
 */
export async function storedDeviation(entry, version) {
  const stored = await (await openCache(CHECKS))?.match(cacheKey(entry));
  const check = await stored?.json().catch(() => null);
  return check?.program === version && check.browser === navigator.userAgent ? check.deviation : undefined;
}

/** @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry @param {string} version of the runtime @param {number} deviation */
export async function storeDeviation(entry, version, deviation) {
  const check = { program: version, browser: navigator.userAgent, deviation };
  // If the quota is exceeded, the self-test runs again at the next visit.
  await (await openCache(CHECKS))?.put(cacheKey(entry), new Response(JSON.stringify(check))).catch(() => {});
}

/** @param {WeightsEntry | null} entry */
export async function forget(entry) {
  if (entry) await (await openCache())?.delete(cacheKey(entry));
}

/** Fetches a URL. @param {URL} url @throws {Failure} kind `network`, also for an HTTP error status */
export async function get(url) {
  const name = url.pathname.split("/").pop();
  const response = await fetch(url).catch((error) => {
    throw new Failure("network", `${name} could not be fetched (${error.message}); check the connection and reload the page`);
  });
  if (!response.ok) {
    throw new Failure("network", `${name} could not be fetched (HTTP status ${response.status}); check the URL and reload the page`);
  }
  return response;
}
