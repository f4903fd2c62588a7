// @ts-check
/** The page without a network, and what it keeps in the browser: a service worker for its files (sw.js), and a table of what takes room. */
import { button, byId, make } from "./dom.js";
import { megabytes } from "./words.js";

/** @import { Toast } from "./toast.js" */

const BASES = "inception-web weights";
const PAGE = "inception-web page ";

/**
 * Keeps the page for the next visit, and says when a new version is there. Where the browser has no service workers, nothing happens.
 * @param {{ device: "cpu" | "webgpu", toast: Toast }} page
 */
export async function keepPage({ device, toast }) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const first = !workers.controller;
  let asked = false;
  workers.addEventListener("controllerchange", () => {
    if (asked) location.reload();
    else if (!first) toast.say("The page was renewed in another tab. Reload this one, too, when you are ready.");
  });
  const fresh = await fetch("pkg/site.json?fresh", { cache: "no-store" }).catch(() => null);
  if (!fresh?.ok) return; // without a network, or without a server
  const { version } = await fresh.json();
  const registration = await workers.register(`sw.js?v=${version}&runtime=${device}`).catch((cause) => {
    console.warn(cause);
    return null;
  });
  if (!registration) return;
  const offer = () => {
    if (!registration.waiting || !workers.controller) return;
    toast.offer("A new version of this page is ready.", {
      words: "Use it now",
      press() {
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

/** What the browser keeps for this page, with a way to free each base. */
export async function showStorage() {
  const place = byId("storage", HTMLElement);
  if (!self.caches) return;
  const bases = await caches.open(BASES);
  const rows = [];
  for (const key of await bases.keys()) {
    const [fingerprint] = key.url.split("/").slice(-1);
    if (!/^[0-9a-f]{64}-/.test(fingerprint)) continue;
    const entry = await bases.match(key);
    if (!entry) continue;
    const name = decodeURIComponent(entry.headers.get("x-name") ?? "") || `Base ${fingerprint.slice(0, 8)}`;
    const free = button("Free", async () => {
      await bases.delete(key);
      await showStorage();
    });
    free.setAttribute("aria-label", `Free ${name}`);
    free.title = "It is downloaded or chosen again when it is needed next";
    rows.push(row(name, (await entry.blob()).size, free));
  }
  let page = 0;
  for (const name of (await caches.keys()).filter((name) => name.startsWith(PAGE))) {
    const cache = await caches.open(name);
    for (const response of await cache.matchAll()) page += (await response.blob()).size;
  }
  rows.push(row(page ? "This page, to work without a network" : "This page is not kept yet", page));
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  const table = make("table", "storage", make("caption", "", "Kept in this browser"), make("tbody", "", ...rows));
  const total = usage ? `${megabytes(usage)} MB in all, pictures and latents of your classes included, of ${megabytes(quota)} MB that the browser allows.` : "";
  place.replaceChildren(table, make("p", "", total));
}

/** @param {string} name @param {number} bytes @param {Node[]} more */
function row(name, bytes, ...more) {
  const head = make("th", "", name);
  head.setAttribute("scope", "row");
  return make("tr", "", head, make("td", "", `${megabytes(bytes)} MB`), make("td", "", ...more));
}
