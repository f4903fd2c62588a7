// @ts-check
/**
 * Service worker: caches one complete version of the page for offline use. The URL has the version and the wasm build in use,
 * `sw.js?v=VERSION&build=cpu`. A version is installed only if every file matches its SHA-256 in `pkg/site.json`; otherwise the previous
 * version stays active. A new version waits until the page asks for it or all tabs are closed.
 *
 * Weights are not cached here: worker/weights.js caches them by fingerprint.
 */

/** @typedef {{ waitUntil(work: Promise<unknown>): void }} ExtendableEvent */
/** @typedef {{ request: Request, respondWith(response: Promise<Response>): void }} FetchEvent */

/**
 * The parts of ServiceWorkerGlobalScope that are used here: TypeScript's "webworker" types conflict with "dom".
 * @type {{
 *   addEventListener(type: "install" | "activate", listener: (event: ExtendableEvent) => void): void,
 *   addEventListener(type: "message", listener: (event: { data: unknown }) => void): void,
 *   addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void,
 *   skipWaiting(): Promise<void>, clients: { claim(): Promise<void> },
 * }}
 */
const worker = /** @type {any} */ (self);
const query = new URL(location.href).searchParams;
const VERSION = query.get("v");
const BUILD = query.get("build");
const PREFIX = "inception-web page ";
const CACHE = `${PREFIX}${VERSION} ${BUILD}`;
/** The wasm builds to cache: the one in use and the tools; for WebGPU all of them, because the engine falls back to the CPU. */
const BUILDS = BUILD === "webgpu" ? ["pkg/"] : [`pkg/${BUILD}/`, "pkg/tools/"];
const SCOPE = new URL("./", location.href);
const MANIFEST = new URL("pkg/site.json", SCOPE).href;

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("message", ({ data }) => {
  if (data === "take over") void worker.skipWaiting();
});
worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== SCOPE.origin || url.searchParams.has("fresh")) return;
  event.respondWith(respond(event.request, url));
});

async function install() {
  const response = await fetch(`${MANIFEST}?fresh`, { cache: "no-store" });
  const text = await response.text();
  const { version, files } = JSON.parse(text);
  if (version !== VERSION) throw new Error(`invalid page version: got ${version}, expected ${VERSION}`);
  const wanted = /** @type {[string, number, string][]} */ (files).filter(([name]) => !name.startsWith("pkg/") || BUILDS.some((build) => name.startsWith(build)));
  const cache = await caches.open(CACHE);
  const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  try {
    for (const [name, , sha256] of wanted) {
      const url = new URL(name, SCOPE).href;
      await cache.put(url, (await fromCaches(older, url, sha256)) ?? (await download(url, sha256)));
      if (name === "index.html") await cache.put(SCOPE.href, (await fromCaches([CACHE], url, sha256)) ?? (await download(SCOPE.href, sha256)));
    }
    await cache.put(MANIFEST, new Response(text, { headers: { "content-type": "application/json" } }));
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** An unchanged file from one of the caches. @param {string[]} names @param {string} url @param {string} sha256 */
async function fromCaches(names, url, sha256) {
  for (const name of names) {
    const found = await (await caches.open(name)).match(url);
    if (found && (await hash(found.clone())) === sha256) return found;
  }
  return null;
}

/** A file from the server, checked against its hash. @param {string} url @param {string} sha256 */
async function download(url, sha256) {
  for (const cache of /** @type {RequestCache[]} */ (["default", "reload"])) {
    const response = await fetch(url, { cache });
    if (response.ok && (await hash(response.clone())) === sha256) return response;
  }
  throw new Error(`${url} does not match version ${VERSION}`);
}

/** SHA-256 in hexadecimal, as in util/sha256.js: a classic service worker cannot import modules. @param {Response} response */
async function hash(response) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function activate() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
  await worker.clients.claim();
}

/** Returns files of the page from the cache, ignoring the query; everything else from the network. @param {Request} request @param {URL} url */
async function respond(request, url) {
  const cache = await caches.open(CACHE);
  const cached = await cache.match(`${url.origin}${url.pathname}`);
  return cached ?? fetch(request);
}
