// @ts-check
/**
 * Where the worker gets weights from, and keeps them: Cache Storage under their fingerprint, so that a second visit asks the network for
 * nothing of them, or else the network. They come in chunks, and whoever asks can have them from the first one again.
 */
import { Failure } from "./failure.js";

/** @import { KeptBase } from "../engine/engine.js" */
/** @typedef {Omit<KeptBase, "name"> & { url: string }} WeightsEntry */
/** @typedef {Uint8Array<ArrayBuffer>} Chunk */
/**
 * `came` is what the network brought so far, nothing of what was kept.
 * @typedef {{ entry: WeightsEntry | null, cached: boolean, came: Chunk[], chunks(): AsyncIterable<Chunk> }} Source
 */

const CACHE = "inception-web weights";
const CHECKS = "inception-web checks";

/**
 * The weights wished: of this address, kept from an earlier visit, or the site's own.
 * @param {string | KeptBase | undefined} wish @param {WeightsEntry} own @param {URL} base what addresses are relative to
 * @returns {Promise<Source>}
 */
export async function findWeights(wish, own, base) {
  const entry = typeof wish === "object" ? { ...wish, url: "" } : wish ? await remembered(wish) : own;
  const kept = entry && (await (await openCache())?.match(cacheKey(entry)));
  if (kept) return fromCache(entry, kept);
  if (typeof wish === "object") throw new Failure("weights", `weights: ${wish.name} is no longer kept in this browser; choose it again`);
  return fromNetwork(entry, await get(new URL(wish ?? own.url, base)));
}

/** @param {WeightsEntry} entry @param {Response} first @returns {Source} */
function fromCache(entry, first) {
  /** @type {Response | null} */
  let next = first;
  return {
    entry,
    cached: true,
    came: [],
    async *chunks() {
      const kept = next ?? (await (await openCache())?.match(cacheKey(entry)));
      next = null;
      try {
        if (kept?.body) yield* chunksOf(kept.body.getReader());
      } catch (error) {
        throw new Failure("weights", `weights: what was kept could not be read (${/** @type {Error} */ (error).message}); reload the page`);
      }
    },
  };
}

/**
 * What comes is read as fast as it comes, also while nobody takes it, and stays until it is known whether it is worth keeping: a processor
 * that fails with some of it leaves it to another.
 * @param {WeightsEntry | null} entry @param {Response} response @returns {Source}
 */
function fromNetwork(entry, response) {
  /** @type {Chunk[]} */
  const came = [];
  /** @type {Failure | null} */
  let broken = null;
  let ended = false;
  let wake = () => {};
  const reader = response.body?.getReader();
  void (async () => {
    try {
      if (reader) {
        for await (const chunk of chunksOf(reader)) {
          came.push(chunk);
          wake();
        }
      }
    } catch (error) {
      broken = new Failure("network", `weights: the download broke off (${/** @type {Error} */ (error).message}); check the connection and reload the page`);
    }
    ended = true;
    wake();
  })();
  return {
    entry,
    cached: false,
    came,
    async *chunks() {
      for (let at = 0; at < came.length || !ended; ) {
        if (at < came.length) yield came[at++];
        else await /** @type {Promise<void>} */ (new Promise((resume) => (wake = resume)));
      }
      if (broken) throw broken;
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

/** Cache Storage, or nothing where the browser refuses it. */
export function openCache(name = CACHE) {
  return self.caches ? caches.open(name).catch(() => null) : Promise.resolve(null);
}

/** @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry */
export function cacheKey({ fingerprint, dtype }) {
  return new URL(`../weights/${fingerprint}-${dtype}`, import.meta.url);
}

/** Where it is written which weights came from an address. @param {string} url */
function addressKey(url) {
  return new URL(`../weights/from?${encodeURIComponent(url)}`, import.meta.url);
}

/** What an earlier visit learnt of the weights at an address. @param {string} url @returns {Promise<WeightsEntry | null>} */
async function remembered(url) {
  const known = await (await openCache())?.match(addressKey(url));
  return known ? known.json() : null;
}

/**
 * Keeps checked weights for the next visit, and lets go of those that came from the same place before.
 * @param {string | undefined} url @param {KeptBase} entry @param {Chunk[]} chunks
 * @returns {Promise<boolean>} false if the browser has no room
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
      await cache.put(addressKey(url), new Response(JSON.stringify({ url, fingerprint, dtype, sha256, bytes })));
    }
    return true;
  } catch {
    return false;
  }
}

/**
 * How far off the self-check was by this program in this browser, if it was made before. The CPU computes the same each time, so it need
 * not be made again there.
 * @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry @param {string} program its version @returns {Promise<number | undefined>}
 */
export async function checkedBefore(entry, program) {
  const known = await (await openCache(CHECKS))?.match(cacheKey(entry));
  const check = await known?.json().catch(() => null);
  return check?.program === program && check.browser === navigator.userAgent ? check.deviation : undefined;
}

/** @param {Pick<WeightsEntry, "fingerprint" | "dtype">} entry @param {string} program @param {number} deviation */
export async function rememberCheck(entry, program, deviation) {
  const check = { program, browser: navigator.userAgent, deviation };
  // Where there is no room, it is made again.
  await (await openCache(CHECKS))?.put(cacheKey(entry), new Response(JSON.stringify(check))).catch(() => {});
}

/** @param {WeightsEntry | null} entry */
export async function forget(entry) {
  if (entry) await (await openCache())?.delete(cacheKey(entry));
}

/** @param {URL} url */
export async function get(url) {
  const name = url.pathname.split("/").pop();
  const response = await fetch(url).catch((error) => {
    throw new Failure("network", `${name} could not be fetched (${error.message}); check the connection and reload the page`);
  });
  if (!response.ok) {
    throw new Failure("network", `${name} could not be fetched (the server answered ${response.status}); check the address and reload the page`);
  }
  return response;
}
