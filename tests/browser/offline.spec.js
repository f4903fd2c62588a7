// The page without a network: kept after the first visit, renewed as a whole or not at all.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { expect, test } from "@playwright/test";

const SITE = process.env.SITE ?? "target/site";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm", ".json": "application/json" };

test.use({ serviceWorkers: "allow" });

/** The built page in a folder of its own, on a server that can be stopped. @param {string} folder */
async function host(folder) {
  cpSync(SITE, folder, { recursive: true });
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
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
    stop: () => new Promise((stopped) => (server.close(stopped), server.closeAllConnections())),
    /** Changes a file, and the list of files with it if it is to be a version of its own. @param {string} name @param {string} text @param {boolean} listed */
    async change(name, text, listed) {
      writeFileSync(join(folder, name), text);
      const manifest = JSON.parse(readFileSync(join(folder, "pkg/site.json"), "utf8"));
      manifest.version = `changed ${name} ${listed}`;
      const file = manifest.files.find((/** @type {[string, number, string]} */ [own]) => own === name);
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
      file[2] = listed ? Buffer.from(digest).toString("hex") : "0".repeat(64);
      writeFileSync(join(folder, "pkg/site.json"), JSON.stringify(manifest));
    },
  };
}

/** @param {import("@playwright/test").Page} page */
const ready = (page) => expect(page.locator("#status")).toContainText("Ready ·");
/** @param {import("@playwright/test").Page} page */
const kept = (page) =>
  expect.poll(() => page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.active?.state)).toBe("activated");

test("after the first visit the page works without a server, and a new version replaces it as a whole", async ({ page }) => {
  const folder = test.info().outputPath("site");
  const site = await host(folder);
  await page.goto(`${site.address}?device=cpu`);
  await ready(page);
  await kept(page);

  await site.stop();
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.locator("#results-section .label").first()).toHaveText("cat");
  await page.getByText("Details", { exact: true }).click();
  const storage = page.getByRole("table", { name: "Kept in this browser" });
  await expect(storage.getByRole("row", { name: "This page, to work without a network" })).toBeVisible();
  await storage.getByRole("button", { name: "Free nsfwjs Inception V3" }).click();
  await expect(storage.getByRole("button", { name: "Free nsfwjs Inception V3" })).toHaveCount(0);
  rmSync(folder, { recursive: true });
});

test("what is taught is listed with its size, and can be freed and taken back", async ({ page }) => {
  await page.goto("?device=cpu");
  await ready(page);
  const details = page.getByText("Details", { exact: true });
  await details.click();
  const storage = page.getByRole("table", { name: "Kept in this browser" });
  await expect(storage.getByRole("row", { name: "You have taught no classes yet 0.0 MB" })).toBeVisible();
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  const saved = () => page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    return (await openStore()).sizes();
  });
  await expect.poll(async () => (await saved()).latents).toBeGreaterThan(5000 * 2048 * 4 - 1);
  const again = async () => {
    await details.click();
    await details.click();
  };
  await again();
  const megabytes = ((await saved()).latents / 1e6).toFixed(1);
  await expect(storage.getByRole("row", { name: `Your classes: 5,000 pictures and their latents ${megabytes} MB` })).toBeVisible();
  await expect(storage.getByRole("button", { name: "Free nsfwjs Inception V3" })).toBeVisible();

  await storage.getByRole("button", { name: "Free your classes" }).click();
  await expect(storage.getByRole("row", { name: `Classes that you removed, until your next visit ${megabytes} MB` })).toBeVisible();
  await page.getByRole("button", { name: "Take it back" }).click();
  await again();
  await expect(storage.getByRole("row", { name: "Your classes: 5,000 pictures" })).toBeVisible();

  await storage.getByRole("button", { name: "Free your classes" }).click();
  await expect.poll(() => page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    return (await (await openStore()).load("")).project.classes.length;
  })).toBe(0);
  await page.reload();
  await ready(page);
  await expect.poll(async () => (await saved()).latents).toBe(0);
  await details.click();
  await expect(storage.getByRole("row", { name: "You have taught no classes yet 0.0 MB" })).toBeVisible();
});

test("a new version waits until it is wanted, and half of one never comes", async ({ page }) => {
  const folder = test.info().outputPath("site");
  const site = await host(folder);
  const title = () => page.title();
  const html = readFileSync(join(folder, "index.html"), "utf8");
  await page.goto(`${site.address}?device=cpu`);
  await ready(page);
  await kept(page);
  const before = await title();

  // A server in the middle of an update: the list says one thing, the file another.
  await site.change("index.html", html.replace(/<title>.*<\/title>/, "<title>half</title>"), false);
  await page.reload();
  await ready(page);
  await page.waitForTimeout(1500);
  expect(await title()).toBe(before);
  await expect(page.getByRole("button", { name: "Use it now" })).toHaveCount(0);

  await site.change("index.html", html.replace(/<title>.*<\/title>/, "<title>whole</title>"), true);
  await page.reload();
  await ready(page);
  expect(await title()).toBe(before);
  await page.getByRole("button", { name: "Use it now" }).click();
  await expect(page).toHaveTitle("whole");
  await ready(page);
  await site.stop();
  await page.reload();
  await ready(page);
  expect(await title()).toBe("whole");
  rmSync(folder, { recursive: true });
});
