// @ts-check
/** Security guarantees: no data leaves the browser, names are never interpreted as markup, and broken files do not affect others. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipReader, ZipWriter } from "@zip.js/zip.js";
import { black, chunk, claim, stripes } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */

const root = fileURLToPath(new URL("../../", import.meta.url));
const fixture = (/** @type {string} */ name) => readFileSync(join(root, "tests/pictures", name));
const sample = (/** @type {string} */ name) => readFileSync(join(root, "www/samples", `${name}.jpg`));
const SLOW = { timeout: 120_000 };

test.setTimeout(1_000_000);

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, SLOW);
}

/** @param {Page} page */
const results = (page) => page.getByRole("list", { name: "Results" }).getByRole("listitem");

/** @param {string} name @param {Buffer} [buffer] */
const file = (name, buffer = stripes(1)) => ({ name, mimeType: "image/png", buffer });

/** @param {Page} page @param {string} name @param {{ name: string, mimeType: string, buffer: Buffer }[]} files */
async function addClass(page, name, files) {
  await page.getByRole("button", { name: "Add class", exact: true }).click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
}

/** @param {Page} page @param {string} button @returns {Promise<string>} path of the downloaded file */
async function downloaded(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button, exact: true }).click()]);
  return download.path();
}

/** Copies a saved project with `name` in place of all names, and another base. @param {string} path @param {string} name @returns {Promise<string>} */
async function renamedProject(path, name) {
  const zip = new ZipWriter(new Uint8ArrayWriter());
  for (const entry of await new ZipReader(new Uint8ArrayReader(readFileSync(path))).getEntries()) {
    if (entry.directory) continue;
    let bytes = await entry.getData(new Uint8ArrayWriter());
    if (entry.filename.endsWith(".json")) {
      const value = JSON.parse(new TextDecoder().decode(bytes));
      if (entry.filename === "project.json") {
        Object.assign(value, { name, base: { name, fingerprint: "0".repeat(64) } });
        for (const picture of value.pictures) picture.name = name;
      } else {
        for (const run of value) {
          run.name = run.report.settings.name = name;
          for (const one of [...run.report.classes, ...(run.report.evaluation?.classes ?? [])]) one.name = name;
        }
      }
      bytes = new TextEncoder().encode(JSON.stringify(value));
    }
    await zip.add(entry.filename, new Uint8ArrayReader(bytes));
  }
  const out = test.info().outputPath("renamed.zip");
  writeFileSync(out, await zip.close());
  return out;
}

test("a whole session sends no data, violates no policy and shows names as text", async ({ page, context }) => {
  /** @type {import("@playwright/test").Request[]} */
  const requests = [];
  /** @type {string[]} */
  const violations = [];
  context.on("request", (request) => requests.push(request));
  context.on("console", (message) => /content security policy/i.test(message.text()) && violations.push(message.text()));
  page.on("dialog", (dialog) => {
    violations.push(`a name was executed: ${dialog.message()}`);
    return dialog.dismiss();
  });
  await page.addInitScript(() => addEventListener("securitypolicyviolation", ({ violatedDirective }) => console.error(`Content Security Policy: ${violatedDirective}`)));

  await open(page);
  const markup = "<img src=x onerror=alert(1)>";
  const formula = '=HYPERLINK("x")';
  await addClass(page, markup, [file(`${markup}.png`, sample("cat")), file(`${formula}.png`, sample("horse"))]);
  await addClass(page, formula, [file("+1.png", sample("rocket")), file("-1.png", sample("coffee")), file("@1.png", sample("boats"))]);
  const training = page.getByRole("region", { name: "Training" });
  await expect(training.getByRole("button", { name: "Train", exact: true })).toBeEnabled(SLOW);
  await expect(page.locator("#teach-job")).toBeHidden(SLOW);
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training.getByText(/^Validation accuracy \d/)).toBeVisible(SLOW);

  const names = [`${markup}.png`, `${formula}.png`, "+1.png", "-1.png", "@1.png"];
  await page.getByLabel("Choose pictures").setInputFiles(names.map((name) => file(name)));
  await expect(results(page)).toHaveCount(names.length, SLOW);
  for (const [index, name] of names.entries()) await expect(results(page).nth(index).getByRole("heading")).toHaveText(name);
  await expect(results(page).first().locator(".label")).toHaveText(new RegExp("^(<img src=x onerror=alert\\(1\\)>|=HYPERLINK\\(\"x\"\\))$"));

  // Cells that a spreadsheet would run as a formula start with an apostrophe.
  const lines = readFileSync(await downloaded(page, "Save CSV"), "utf8").split("\r\n").slice(1, -1);
  expect(lines).toHaveLength(names.length);
  expect(lines.map((line) => line.split(",")[0])).toEqual([`${markup}.png`, `"'=HYPERLINK(""x"").png"`, "'+1.png", "'-1.png", "'@1.png"]);
  for (const line of lines) for (const cell of line.split(",")) expect(cell).not.toMatch(/^"?[=+@\t-]/);

  const project = await downloaded(page, "Save project");
  await open(page);
  await page.getByLabel("Open project", { exact: true }).setInputFiles(project);
  await expect(page.getByLabel(`Add pictures to ${markup}`, { exact: true })).toBeAttached(SLOW);
  await expect(page.getByLabel(`Add pictures to ${formula}`, { exact: true })).toBeAttached();
  await expect(page.locator('img[src="x"]')).toHaveCount(0);

  // A project with markup in every text.
  await page.getByLabel("Open project", { exact: true }).setInputFiles(await renamedProject(project, markup));
  await expect(page.getByText(`The project was saved with another base ("${markup}")`)).toBeVisible(SLOW);
  await expect(page.getByLabel(`Name of ${markup}`)).toHaveValue(markup);
  await expect(page.getByRole("listbox").getByRole("option", { name: markup }).first()).toHaveAttribute("title", markup);
  await page.getByLabel(`Compare ${markup}`).check();
  await expect(page.locator('img[src="x"]')).toHaveCount(0);

  expect(violations).toEqual([]);
  const here = new URL(page.url()).origin;
  const network = requests.filter((request) => !/^(blob|data):/.test(request.url()));
  console.log(`${network.length} requests in the session`);
  expect(network.length).toBeGreaterThan(30);
  expect(network.filter((request) => new URL(request.url()).origin !== here).map((request) => request.url())).toEqual([]);
  expect(network.filter((request) => request.method() !== "GET" || request.postData()).map((request) => request.url())).toEqual([]);
});

/** Adds the chunks of an animated PNG to a still one. @param {Buffer} still */
function animated(still) {
  const control = Buffer.alloc(8);
  control.writeUInt32BE(1, 0);
  const frame = Buffer.alloc(26);
  still.copy(frame, 4, 16, 24); // width and height
  frame.writeUInt16BE(1, 20);
  frame.writeUInt16BE(10, 22);
  return Buffer.concat([still.subarray(0, 33), chunk("acTL", control), chunk("fcTL", frame), still.subarray(33)]);
}

test("among 500 pictures, 50 broken ones show their error and the others are answered", async ({ page }) => {
  const valid = ["grey.png", "grey16.png", "rgb16.png", "cmyk.jpg", "cmyk_adobe.jpg", "animation.gif", "one.png", "tall.png", "picture.webp", "picture.bmp", "picture.avif"];
  const good = [...valid.map((name) => file(name, fixture(name))), file("animated.png", animated(fixture("rgba.png")))];
  const unknownFormat = /use JPEG, PNG, WebP, GIF, BMP/;
  /** @type {[string, Buffer, RegExp][]} */
  const bad = [
    ["empty.jpg", fixture("empty.jpg"), /empty \(0 bytes\)/],
    ["claims.png", fixture("huge_header.png"), /got 100000 x 100000 pixels, expected at most/],
    ["square.png", claim(16384, 16384), /got 16384 x 16384 pixels, expected at most/],
    ["cut.jpg", fixture("truncated.jpg"), /the file is truncated/],
    ["cut.png", fixture("truncated.png"), /the file is truncated/],
    ["text.png", Buffer.from("Not a picture.\n"), unknownFormat],
    ["page.png", Buffer.from("<!doctype html><script>alert(1)</script>"), unknownFormat],
    ["phone.heic", fixture("picture.heic"), /HEIC cannot be decoded here/],
  ];
  const files = Array.from({ length: 500 }, (_, n) => {
    if (n === 250) return file("49 megapixels in 6 kilobytes.png", black(7000, 7000));
    const [name, bytes] = n % 10 === 9 ? bad[Math.floor(n / 10) % bad.length] : [good[n % good.length].name, good[n % good.length].buffer];
    return file(`${n} ${name}`, bytes);
  });
  await open(page);
  await page.getByLabel("Choose pictures").setInputFiles(files);
  await expect(page.getByText(/^500 pictures in .* · 50 could not be read$/)).toBeVisible({ timeout: 900_000 });
  const cards = await results(page).evaluateAll((items) =>
    items.map((item) => ({ name: item.querySelector("h3")?.textContent ?? "", reason: item.querySelector('[role="alert"]')?.textContent ?? "", share: /\d %/.test(item.textContent ?? "") })),
  );
  expect(cards.map(({ name }) => name)).toEqual(files.map(({ name }) => name));
  for (const [n, { reason, share }] of cards.entries()) {
    const broken = n % 10 === 9;
    expect([n, share]).toEqual([n, !broken]);
    if (broken) expect(reason).toMatch(bad[Math.floor(n / 10) % bad.length][2]);
    else expect([n, reason]).toEqual([n, ""]);
  }

  // Time until each broken file is rejected.
  const milliseconds = await page.evaluate(async (texts) => {
    const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
    const engine = await createEngine({ device: "cpu" });
    /** @type {number[]} */
    const durations = [];
    for (const text of texts) {
      const start = performance.now();
      await engine.classify([new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))])], { onPicture: () => durations.push(performance.now() - start) });
    }
    engine.dispose();
    return durations;
  }, bad.map(([, bytes]) => bytes.toString("base64")));
  console.log(`rejected after ${bad.map(([name], n) => `${name} ${milliseconds[n].toFixed(1)}`).join(", ")} ms`);
  expect(milliseconds).toHaveLength(bad.length);
});

test("a folder without pictures gives a message", async ({ page }, info) => {
  const folder = info.outputPath("no-pictures");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "notes.txt"), "no picture");
  await open(page);
  await page.getByLabel("Choose a folder").setInputFiles(folder);
  await expect(page.getByRole("alert")).toHaveText("No pictures found. Choose JPEG, PNG, WebP, GIF, BMP or AVIF files.");
  await expect(results(page)).toHaveCount(0);
});
