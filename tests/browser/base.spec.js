// The base menu: weights of other libraries from a file or a URL, and switching back to the built-in base.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { AxeBuilder } from "@axe-core/playwright";
import { expect, test } from "@playwright/test";

const packed = (/** @type {string} */ name) => readFileSync(fileURLToPath(new URL(`../weights/${name}.br`, import.meta.url)));
/** A timm file with 1,000 classes and random weights. */
const timm = () => brotliDecompressSync(packed("timm.safetensors"));

/** @param {import("@playwright/test").Page} page */
const ready = (page) => expect(page.locator("#status")).toContainText("Ready ·");
/** @param {import("@playwright/test").Page} page */
const menu = (page) => page.getByLabel("Base", { exact: true });

/** @param {import("@playwright/test").Page} page */
async function useTimmFile(page) {
  await menu(page).selectOption("From a file");
  const path = test.info().outputPath("model.safetensors");
  const { writeFileSync } = await import("node:fs");
  writeFileSync(path, timm());
  await page.getByLabel("Choose weights files").setInputFiles(path);
  await expect(page.locator("#status")).toContainText("Inception V3 from model.safetensors", { timeout: 100_000 });
}

test("a timm file replaces the base and its classes, and the built-in base can be restored", async ({ page }) => {
  await page.goto("?device=cpu");
  await ready(page);
  expect(await menu(page).locator("option").allTextContents()).toEqual(["Built in", "ImageNet (Hugging Face, 95 MB)", "From a file", "From a URL"]);
  await useTimmFile(page);
  await expect(page.locator("#status")).toContainText("1,000 classes");
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.locator("#results-section .label").first()).not.toBeEmpty();

  await page.reload();
  await expect(page.locator("#status")).toContainText("Inception V3 from model.safetensors");
  await expect(menu(page)).toHaveValue(/^[0-9a-f]{64}$/);
  expect((await new AxeBuilder({ page }).include(".engine").analyze()).violations).toEqual([]);

  await menu(page).selectOption("Built in");
  await expect(page.locator("#status")).toContainText("nsfwjs");
  await expect(page.locator("#status")).toContainText("ten classes");
  await expect(menu(page).locator("option")).toHaveCount(5);
});

test("a base without classes processes pictures and reports that there are no classes", async ({ page }) => {
  await page.goto("?device=cpu");
  await ready(page);
  const path = test.info().outputPath("base.h5");
  const { writeFileSync } = await import("node:fs");
  writeFileSync(path, brotliDecompressSync(packed("keras2-whole.h5")));
  await menu(page).selectOption("From a file");
  await page.getByLabel("Choose weights files").setInputFiles(path);
  await expect(page.locator("#status")).toContainText("head: none yet", { timeout: 100_000 });
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByText("Processed, but there are no classes yet")).toBeVisible();
  await page.getByText("Details", { exact: true }).click();
  await expect(page.locator("#head-note")).toHaveText("This base has no classes. Add some under Teach and train a head.");
});

test("a URL without weights shows an error, and the base in use stays", async ({ page }) => {
  const server = createServer((request, response) => {
    if (request.url !== "/closed.safetensors") response.setHeader("Access-Control-Allow-Origin", "*");
    if (request.url === "/page.safetensors") response.setHeader("Content-Type", "text/html");
    if (request.url === "/hash.safetensors") {
      response.setHeader("Access-Control-Expose-Headers", "X-Linked-Etag");
      response.setHeader("X-Linked-Etag", `"${"a".repeat(64)}"`);
    }
    response.statusCode = request.url === "/missing.safetensors" ? 404 : 200;
    response.end("something");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const host = `127.0.0.1:${port}`;
  try {
    await page.goto("?device=cpu");
    await ready(page);
    for (const [file, sentence] of [
      ["missing", `${host} returned status 404 (file not found); check the URL`],
      ["page", `${host} returned a web page instead of weights; check the URL`],
      ["closed", `no response from ${host} (Failed to fetch): there is no connection, or the server does not allow other sites to read the file (CORS).`],
      ["hash", `expected ${"a".repeat(64)}; try again`],
      ["text", "cannot import text.safetensors (unknown format)"],
    ]) {
      await menu(page).selectOption("From a URL");
      await page.getByLabel("URL of the weights").fill(`http://${host}/${file}.safetensors`);
      await page.getByRole("button", { name: "Download", exact: true }).click();
      await expect(page.getByRole("alert").filter({ hasText: sentence }).first()).toBeVisible();
      await expect(menu(page)).toBeEnabled();
      await expect(menu(page)).toHaveValue("built-in");
    }
    await expect(page.locator("#status")).toContainText("nsfwjs");
  } finally {
    server.close();
  }
});

test("weights from a URL replace the base", async ({ page }) => {
  const file = timm();
  const server = createServer((_, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Content-Length", file.length);
    response.end(file);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  try {
    await page.goto("?device=cpu");
    await ready(page);
    await menu(page).selectOption("From a URL");
    await page.getByLabel("URL of the weights").fill(`http://127.0.0.1:${port}/inception.safetensors`);
    await page.keyboard.press("Enter");
    await expect(page.locator("#status")).toContainText("Inception V3 from inception.safetensors", { timeout: 100_000 });
  } finally {
    server.close();
  }
});
