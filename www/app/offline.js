// @ts-check
/** Offline use: registers the service worker (sw.js) that caches the page, and shows a table of the storage in use. */
import { button, byId, make } from "../ui/dom.js";
import { megabytes, pictures } from "../ui/format.js";

/** @import { Project } from "../project/types.js" */
/** @import { Store } from "../project/store-types.js" */
/** @import { Toast } from "../ui/toast.js" */

const WEIGHTS_CACHE = "inception-web weights";
const PAGE_CACHE_PREFIX = "inception-web page ";

/** Milliseconds between requests for the state of the server's builds. */
const POLL_MS = 2000;

/**
 * Follows the builds that a development server makes while it serves the page, until all are finished.
 * @param {(pending: readonly string[]) => unknown} onChange  called with the names of the missing builds, with none at the end
 */
export async function followBuilds(onChange) {
  for (let shown = "none yet"; shown; ) {
    // The server may be restarted meanwhile.
    const response = await fetch("pkg/site.json?fresh", { cache: "no-store" }).catch(() => null);
    if (response?.ok) {
      const { pending } = await response.json();
      if (shown !== pending.join()) onChange(pending);
      shown = pending.join();
    }
    if (shown) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * Caches the page for the next visit and offers new versions. Does nothing in a browser without service workers.
 * @param {{ build: string, toast: Toast }} page
 */
export async function keepPage({ build, toast }) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const firstVisit = !workers.controller;
  let updateRequested = false;
  workers.addEventListener("controllerchange", () => {
    if (updateRequested) location.reload();
    else if (!firstVisit) toast.notify("Another tab updated this page. Reload this tab when you are ready.");
  });
  const response = await fetch("pkg/site.json?fresh", { cache: "no-store" }).catch(() => null);
  if (!response?.ok) return; // offline
  const { version, pending } = await response.json();
  if (pending.length) return; // the server is still building the new version
  const registration = await workers.register(`sw.js?v=${version}&build=${build}`).catch((cause) => {
    console.warn(cause);
    return null;
  });
  if (!registration) return;
  const offerUpdate = () => {
    if (!registration.waiting || !workers.controller) return;
    toast.prompt("A new version of this page is ready.", {
      label: "Update now",
      onClick() {
        updateRequested = true;
        registration.waiting?.postMessage("take over");
      },
    });
  };
  offerUpdate();
  registration.addEventListener("updatefound", () => {
    const installing = registration.installing;
    installing?.addEventListener("statechange", () => {
      if (installing.state === "installed") offerUpdate();
    });
  });
}

/**
 * Shows the data that the browser stores for this page, with a button to delete each base and the classes.
 * @param {{ project: Project, sizes(): Promise<Awaited<ReturnType<Store["sizes"]>> | null>, clear(): void }} stored
 */
export async function showStorage(stored) {
  const rows = [...(await baseRows(() => showStorage(stored))), ...(await classRows(stored)), await pageRow()];
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  const table = make("table", "storage", make("caption", "", "Stored in this browser"), make("tbody", "", ...rows));
  const total = usage ? `The browser reports ${megabytes(usage)} MB used of ${megabytes(quota)} MB allowed.` : "";
  byId("storage", HTMLElement).replaceChildren(table, make("p", "", total));
}

/** Bases, and the latents that "Three ways" computed with them. @param {() => Promise<void>} refresh */
async function baseRows(refresh) {
  if (!self.caches) return [];
  const cache = await caches.open(WEIGHTS_CACHE);
  /** @type {Map<string, string>} */
  const names = new Map();
  const rows = [];
  for (const key of await cache.keys()) {
    const [folder, file] = key.url.split("/").slice(-2);
    const fingerprint = /^[0-9a-f]{64}/.exec(file)?.[0];
    const entry = fingerprint && (await cache.match(key));
    if (!entry) continue;
    const name = decodeURIComponent(entry.headers.get("x-name") ?? "");
    if (name) names.set(fingerprint, name);
    rows.push({ key, fingerprint, latents: folder === "latents", bytes: (await entry.blob()).size });
  }
  return rows.map(({ key, fingerprint, latents, bytes }) => {
    const base = names.get(fingerprint) ?? `Base ${fingerprint.slice(0, 8)}`;
    const name = latents ? `Latents of the pictures in Three ways, by ${base}` : base;
    const remove = button("Delete", async () => {
      await cache.delete(key);
      await refresh();
    });
    remove.setAttribute("aria-label", `Delete ${name}`);
    remove.title = latents ? "They are computed again for the next comparison" : "It has to be downloaded or chosen again for the next use";
    return row(name, sizeText(bytes), remove);
  });
}

/** The project and its heads. @param {Parameters<typeof showStorage>[0]} stored */
async function classRows(stored) {
  const { classes, pictures: all } = stored.project;
  const sizes = await stored.sizes().catch((cause) => {
    console.warn(cause);
    return null;
  });
  const heads = sizes?.heads ? [row("Your trained heads", sizeText(sizes.heads))] : [];
  const bytes = sizes && sizes.files + sizes.latents;
  if (!classes.length) return [row(bytes ? "Deleted classes, removed from storage on your next visit" : "No classes of your own yet", sizeText(bytes)), ...heads];
  const remove = button("Delete", async () => {
    stored.clear();
    await showStorage(stored);
  });
  remove.setAttribute("aria-label", "Delete your classes");
  remove.title = "Deletes all classes; you can undo this until you leave the page";
  return [row(`Your classes: ${pictures(all.length)} and their latents`, sizeText(bytes), remove), ...heads];
}

/** The files of the page itself. */
async function pageRow() {
  let bytes = 0;
  for (const name of self.caches ? await caches.keys() : []) {
    if (!name.startsWith(PAGE_CACHE_PREFIX)) continue;
    for (const response of await (await caches.open(name)).matchAll()) bytes += (await response.blob()).size;
  }
  return row(bytes ? "This page, for offline use" : "This page is not stored yet", sizeText(bytes));
}

/** @param {number | null} bytes */
function sizeText(bytes) {
  return bytes === null ? "unknown" : `${megabytes(bytes)} MB`;
}

/** @param {string} name @param {string} size @param {Node[]} more */
function row(name, size, ...more) {
  const head = make("th", "", name);
  head.setAttribute("scope", "row");
  return make("tr", "", head, make("td", "", size), make("td", "", ...more));
}
