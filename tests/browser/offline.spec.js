// Offline use: the page is cached on the first visit, and a new version is installed completely or not at all.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { expect, test } from "@playwright/test";

const SITE = process.env.SITE ?? "target/site";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm", ".json": "application/json" };

test.use({ serviceWorkers: "allow" });

/** Serves a copy of the built page; the copy can be changed and the server stopped. @param {string} folder */
async function host(folder) {
  cpSync(SITE, folder, { recursive: true });
  /** @type {string[]} */
  const requests = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    requests.push(path);
    try {
      const bytes = readFileSync(join(folder, path.endsWith("/") ? `${path}index.html` : path));
      response.setHeader("content-type", /** @type {Record<string, string>} */ (TYPES)[extname(path) || ".html"] ?? "application/octet-stream");
      response.end(bytes);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    address: `http://127.0.0.1:${port}/`,
    requests,
    stop: () => new Promise((stopped) => (server.close(stopped), server.closeAllConnections())),
    /** Changes a file and the version; `consistent` also updates its hash in the manifest. @param {string} name @param {string} text @param {boolean} consistent */
    async change(name, text, consistent) {
      writeFileSync(join(folder, name), text);
      const manifest = JSON.parse(readFileSync(join(folder, "pkg/site.json"), "utf8"));
      manifest.version = `changed ${name} ${consistent}`;
      const file = manifest.files.find((/** @type {[string, number, string]} */ [path]) => path === name);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
      file[2] = consistent ? Buffer.from(digest).toString("hex") : "0".repeat(64);
      writeFileSync(join(folder, "pkg/site.json"), JSON.stringify(manifest));
    },
  };
}

/** @param {import("@playwright/test").Page} page */
const ready = (page) => expect(page.locator("#status")).toContainText("Ready ·");
/** @param {import("@playwright/test").Page} page */
const cached = (page) =>
  expect.poll(() => page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.active?.state)).toBe("activated");

test("the page works offline after the first visit", async ({ page }) => {
  const folder = test.info().outputPath("site");
  const site = await host(folder);
  await page.goto(`${site.address}?device=cpu`);
  await ready(page);
  await cached(page);

  await site.stop();
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.locator("#results-section .label").first()).toHaveText("cat");
  await page.getByText("Details", { exact: true }).click();
  const storage = page.getByRole("table", { name: "Stored in this browser" });
  await expect(storage.getByRole("row", { name: "This page, for offline use" })).toBeVisible();
  await storage.getByRole("button", { name: "Delete nsfwjs Inception V3" }).click();
  await expect(storage.getByRole("button", { name: "Delete nsfwjs Inception V3" })).toHaveCount(0);
  rmSync(folder, { recursive: true });
});

test("the storage table shows the size of the classes, deletes them and follows undo", async ({ page }) => {
  await page.goto("?device=cpu");
  await ready(page);
  const details = page.getByText("Details", { exact: true });
  await details.click();
  const storage = page.getByRole("table", { name: "Stored in this browser" });
  await expect(storage.getByRole("row", { name: "No classes of your own yet 0.0 MB" })).toBeVisible();
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  const saved = () => page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    return (await openStore()).sizes();
  });
  await expect.poll(async () => (await saved()).latents).toBeGreaterThan(5000 * 2048 * 4 - 1);
  const refresh = async () => {
    await details.click();
    await details.click();
  };
  await refresh();
  const megabytes = ((await saved()).latents / 1e6).toFixed(1);
  await expect(storage.getByRole("row", { name: `Your classes: 5,000 pictures and their latents ${megabytes} MB` })).toBeVisible();
  await expect(storage.getByRole("button", { name: "Delete nsfwjs Inception V3" })).toBeVisible();

  await storage.getByRole("button", { name: "Delete your classes" }).click();
  await expect(storage.getByRole("row", { name: `Deleted classes, removed from storage on your next visit ${megabytes} MB` })).toBeVisible();
  await page.getByRole("button", { name: "Take it back" }).click();
  await refresh();
  await expect(storage.getByRole("row", { name: "Your classes: 5,000 pictures" })).toBeVisible();

  await storage.getByRole("button", { name: "Delete your classes" }).click();
  await expect.poll(() => page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    return (await (await openStore()).load("")).project.classes.length;
  })).toBe(0);
  await page.reload();
  await ready(page);
  await expect.poll(async () => (await saved()).latents).toBe(0);
  await details.click();
  await expect(storage.getByRole("row", { name: "No classes of your own yet 0.0 MB" })).toBeVisible();
});

test("a new version waits for the user, and an inconsistent one is not installed", async ({ page }) => {
  const folder = test.info().outputPath("site");
  const site = await host(folder);
  const title = () => page.title();
  const html = readFileSync(join(folder, "index.html"), "utf8");
  await page.goto(`${site.address}?device=cpu`);
  await ready(page);
  await cached(page);
  const before = await title();

  // A server during an update: the file does not match its hash in the manifest.
  site.requests.length = 0;
  await site.change("index.html", html.replace(/<title>.*<\/title>/, "<title>half</title>"), false);
  await page.reload();
  await ready(page);
  await expect.poll(() => site.requests).toContain("/index.html"); // the new service worker downloads the changed file
  await expect.poll(() => page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.installing?.state)).toBeUndefined();
  expect(await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.waiting?.state)).toBeUndefined();
  expect(await page.evaluate(async () => (await caches.keys()).filter((name) => name.includes("changed")))).toEqual([]);
  expect(await title()).toBe(before);
  await expect(page.getByRole("button", { name: "Update now" })).toHaveCount(0);

  await site.change("index.html", html.replace(/<title>.*<\/title>/, "<title>whole</title>"), true);
  await page.reload();
  await ready(page);
  expect(await title()).toBe(before);
  await page.getByRole("button", { name: "Update now" }).click();
  await expect(page).toHaveTitle("whole");
  await ready(page);
  await site.stop();
  await page.reload();
  await ready(page);
  expect(await title()).toBe("whole");
  rmSync(folder, { recursive: true });
});
