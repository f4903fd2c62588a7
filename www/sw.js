// @ts-check
/**
 * Keeps one version of the page, whole, so that it works without a network. Its own address names the version and the program in use:
 * `sw.js?v=VERSION&build=cpu`. A version is kept only if every file of it came as `pkg/site.json` lists it; until then, and where that
 * fails, the version before goes on. A new one waits until the page asks for it or all tabs are closed.
 *
 * Bases are not kept here: worker.js keeps them by their fingerprints.
 */

/** @typedef {{ waitUntil(work: Promise<unknown>): void }} Lifetime */
/** @typedef {{ request: Request, respondWith(answer: Promise<Response>): void }} Asked */

/**
 * As much of a service worker's global scope as is used here: TypeScript cannot know it beside a page's.
 * @type {{
 *   addEventListener(type: "install" | "activate", heard: (event: Lifetime) => void): void,
 *   addEventListener(type: "message", heard: (event: { data: unknown }) => void): void,
 *   addEventListener(type: "fetch", heard: (event: Asked) => void): void,
 *   skipWaiting(): Promise<void>, clients: { claim(): Promise<void> },
 * }}
 */
const worker = /** @type {any} */ (self);
const query = new URL(location.href).searchParams;
const VERSION = query.get("v");
const BUILD = query.get("build");
const PREFIX = "inception-web page ";
const CACHE = `${PREFIX}${VERSION} ${BUILD}`;
/** Of the programs, the one in use, and what people may ask for later; where a graphics card may fail, also those of the CPU. */
const PROGRAMS = BUILD === "webgpu" ? ["pkg/"] : [`pkg/${BUILD}/`, "pkg/tools/"];
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
  event.respondWith(answer(event.request, url));
});

async function install() {
  const response = await fetch(`${MANIFEST}?fresh`, { cache: "no-store" });
  const text = await response.text();
  const { version, files } = JSON.parse(text);
  if (version !== VERSION) throw new Error(`the page is at version ${version} by now, not ${VERSION}`);
  const wanted = /** @type {[string, number, string][]} */ (files).filter(([name]) => !name.startsWith("pkg/") || PROGRAMS.some((program) => name.startsWith(program)));
  const cache = await caches.open(CACHE);
  const older = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  try {
    for (const [name, , sha256] of wanted) {
      const address = new URL(name, SCOPE).href;
      const good = (await kept(older, address, sha256)) ?? (await fresh(address, sha256));
      await cache.put(address, good);
      if (name === "index.html") await cache.put(SCOPE.href, (await kept([CACHE], address, sha256)) ?? (await fresh(SCOPE.href, sha256)));
    }
    await cache.put(MANIFEST, new Response(text, { headers: { "content-type": "application/json" } }));
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

/** A file that an older version has as well. @param {string[]} names @param {string} address @param {string} sha256 */
async function kept(names, address, sha256) {
  for (const name of names) {
    const found = await (await caches.open(name)).match(address);
    if (found && (await hash(found.clone())) === sha256) return found;
  }
  return null;
}

/** A file from the server, as the list has it. @param {string} address @param {string} sha256 */
async function fresh(address, sha256) {
  for (const cache of /** @type {RequestCache[]} */ (["default", "reload"])) {
    const response = await fetch(address, { cache });
    if (response.ok && (await hash(response.clone())) === sha256) return response;
  }
  throw new Error(`${address} is not of version ${VERSION}`);
}

/** @param {Response} response */
async function hash(response) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await response.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function activate() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
  await worker.clients.claim();
}

/** What belongs to the page comes from its version, whatever its query says; the rest from the network. @param {Request} request @param {URL} url */
async function answer(request, url) {
  const cache = await caches.open(CACHE);
  const own = await cache.match(`${url.origin}${url.pathname}`);
  return own ?? fetch(request);
}
