// @ts-check
/** The page without a network, and what it keeps in the browser: a service worker for its files (sw.js), and a table of what takes room. */
import { button, byId, make } from "../ui/dom.js";
import { megabytes, pictures } from "../ui/format.js";

/** @import { Project } from "../project/types.js" */
/** @import { Store } from "../project/store-types.js" */
/** @import { Toast } from "../ui/toast.js" */

const BASES = "inception-web weights";
const PAGE = "inception-web page ";

/**
 * Keeps the page for the next visit, and says when a new version is there. Where the browser has no service workers, nothing happens.
 * @param {{ build: string, toast: Toast }} page
 */
export async function keepPage({ build, toast }) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const first = !workers.controller;
  let asked = false;
  workers.addEventListener("controllerchange", () => {
    if (asked) location.reload();
    else if (!first) toast.notify("The page was renewed in another tab. Reload this one, too, when you are ready.");
  });
  const fresh = await fetch("pkg/site.json?fresh", { cache: "no-store" }).catch(() => null);
  if (!fresh?.ok) return; // without a network, or without a server
  const { version } = await fresh.json();
  const registration = await workers.register(`sw.js?v=${version}&build=${build}`).catch((cause) => {
    console.warn(cause);
    return null;
  });
  if (!registration) return;
  const offer = () => {
    if (!registration.waiting || !workers.controller) return;
    toast.prompt("A new version of this page is ready.", {
      label: "Use it now",
      onClick() {
        asked = true;
        registration.waiting?.postMessage("take over");
      },
    });
  };
  offer();
  registration.addEventListener("updatefound", () => {
    const coming = registration.installing;
    coming?.addEventListener("statechange", () => {
      if (coming.state === "installed") offer();
    });
  });
}

/**
 * What the browser keeps for this page, with a way to free each base, and the classes.
 * @param {{ project: Project, sizes(): Promise<Awaited<ReturnType<Store["sizes"]>> | null>, clear(): void }} own
 */
export async function showStorage(own) {
  const place = byId("storage", HTMLElement);
  const rows = [...(await basesKept(() => showStorage(own))), ...(await classesKept(own)), await pageKept()];
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  const table = make("table", "storage", make("caption", "", "Kept in this browser"), make("tbody", "", ...rows));
  const total = usage ? `${megabytes(usage)} MB in all, as the browser counts, of ${megabytes(quota)} MB that it allows.` : "";
  place.replaceChildren(table, make("p", "", total));
}

/** Bases, and what "Three ways" had them read. @param {() => Promise<void>} again */
async function basesKept(again) {
  if (!self.caches) return [];
  const bases = await caches.open(BASES);
  /** @type {Map<string, string>} */
  const names = new Map();
  const rows = [];
  for (const key of await bases.keys()) {
    const [folder, file] = key.url.split("/").slice(-2);
    const fingerprint = /^[0-9a-f]{64}/.exec(file)?.[0];
    const entry = fingerprint && (await bases.match(key));
    if (!entry) continue;
    const known = decodeURIComponent(entry.headers.get("x-name") ?? "");
    if (known) names.set(fingerprint, known);
    rows.push({ key, fingerprint, latents: folder === "latents", bytes: (await entry.blob()).size });
  }
  return rows.map(({ key, fingerprint, latents, bytes }) => {
    const base = names.get(fingerprint) ?? `Base ${fingerprint.slice(0, 8)}`;
    const name = latents ? `Pictures compared in Three ways, as ${base} reads them` : base;
    const free = button("Free", async () => {
      await bases.delete(key);
      await again();
    });
    free.setAttribute("aria-label", `Free ${name}`);
    free.title = latents ? "They are read again when they are compared next" : "It is downloaded or chosen again when it is needed next";
    return row(name, sized(bytes), free);
  });
}

/** What was taught. @param {Parameters<typeof showStorage>[0]} own */
async function classesKept(own) {
  const { classes, pictures: all } = own.project;
  const sizes = await own.sizes().catch((cause) => {
    console.warn(cause);
    return null;
  });
  const heads = sizes?.heads ? [row("Your trained heads", sized(sizes.heads))] : [];
  const bytes = sizes && sizes.files + sizes.latents;
  if (!classes.length) return [row(bytes ? "Classes that you removed, until your next visit" : "You have taught no classes yet", sized(bytes)), ...heads];
  const free = button("Free", async () => {
    own.clear();
    await showStorage(own);
  });
  free.setAttribute("aria-label", "Free your classes");
  free.title = "Removes all classes; can be taken back until you leave the page";
  return [row(`Your classes: ${pictures(all.length)} and their latents`, sized(bytes), free), ...heads];
}

/** The page's own files. */
async function pageKept() {
  let bytes = 0;
  for (const name of self.caches ? await caches.keys() : []) {
    if (!name.startsWith(PAGE)) continue;
    for (const response of await (await caches.open(name)).matchAll()) bytes += (await response.blob()).size;
  }
  return row(bytes ? "This page, to work without a network" : "This page is not kept yet", sized(bytes));
}

/** @param {number | null} bytes */
function sized(bytes) {
  return bytes === null ? "unknown" : `${megabytes(bytes)} MB`;
}

/** @param {string} name @param {string} size @param {Node[]} more */
function row(name, size, ...more) {
  const head = make("th", "", name);
  head.setAttribute("scope", "row");
  return make("tr", "", head, make("td", "", size), make("td", "", ...more));
}
