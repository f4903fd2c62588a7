// @ts-check
/** End-to-end tests of classification: the real network on the CPU, checked only through the page and its downloads. */
import { readFile, mkdir, writeFile } from "node:fs/promises";
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { stripes } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */

const TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const LOADED = { timeout: 90_000 };
const ANSWERED = { timeout: 60_000 };

test.setTimeout(180_000);

// ---- locators and steps ----

/** @param {Page} page */
const status = (page) => page.getByRole("status");
/** @param {Page} page */
const results = (page) => page.getByRole("list", { name: "Results" }).getByRole("listitem");

/** @param {Page} page @param {string} [query] */
async function open(page, query = "?device=cpu") {
  await page.goto(query);
  await expect(status(page)).toHaveText(/^Ready/, LOADED);
}

/** @param {Page} page @param {{ name: string, mimeType: string, buffer: Buffer }[]} files */
async function choose(page, files) {
  await page.getByLabel("Choose pictures").setInputFiles(files);
}

/** @param {string} name @param {number} [seed] */
function picture(name, seed = 1) {
  return { name, mimeType: "image/png", buffer: stripes(seed) };
}

/** @param {Page} page @param {string} name */
async function clickSample(page, name) {
  await page.getByRole("button", { name, exact: true }).click();
}

/** @param {Page} page @returns {Promise<{ name: string, label: string, share: number }[]>} */
async function answers(page) {
  const found = [];
  for (const item of await results(page).all()) {
    const name = (await item.getByRole("heading").textContent()) ?? "";
    const match = new RegExp(`(${TEN.join("|")}) (\\d+\\.\\d) %`).exec(((await item.textContent()) ?? "").replace(name, ""));
    found.push({ name, label: match?.[1] ?? "", share: Number(match?.[2] ?? NaN) });
  }
  return found;
}

/** @param {Page} page @param {string} button @returns {Promise<string>} the downloaded text */
async function downloaded(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button }).click()]);
  return readFile(await download.path(), "utf8");
}

/** A strict RFC 4180 parser. @param {string} text @returns {string[][]} */
function parseCsv(text) {
  expect(text.endsWith("\r\n")).toBe(true);
  /** @type {string[][]} */
  const rows = [[]];
  const cell = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r\n)/gy;
  for (let match = cell.exec(text); match; match = cell.exec(text)) {
    const [, raw, end] = match;
    rows[rows.length - 1].push(raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw);
    if (end !== ",") rows.push([]);
  }
  return rows.slice(0, -1);
}

/** @param {Page} page @param {import("@playwright/test").Locator} target */
async function tabTo(page, target) {
  for (let step = 0; step < 60; step++) {
    await page.keyboard.press("Tab");
    if (await target.evaluate((element) => element === document.activeElement)) return;
  }
  throw new Error(`Tab never reached ${target}`);
}

/** @param {Page} page */
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// ---- tests ----

test("the page becomes ready and shows the CPU as its device", async ({ page }) => {
  await open(page);
  await expect(status(page)).toContainText("CPU");
  await expect(page.getByText("Nothing you drop leaves your browser")).toBeVisible();
  await expect(page.getByRole("alert")).toHaveCount(0);
});

test("a sample gives a card with its file name, a class and a percentage", async ({ page }) => {
  await open(page);
  await clickSample(page, "Cat");
  await expect(results(page)).toHaveCount(1, ANSWERED);
  const [answer] = await answers(page);
  expect(answer.name).toBe("cat.jpg");
  expect(TEN).toContain(answer.label);
  expect(answer.share).toBeGreaterThanOrEqual(10); // the highest of ten probabilities is at least 0.1
  expect(answer.share).toBeLessThanOrEqual(100);
  const shares = [...((await results(page).textContent()) ?? "").matchAll(/(\d+\.\d) %/g)].map(([, share]) => Number(share));
  expect(shares.length).toBeGreaterThan(1);
  expect(shares).toEqual([...shares].sort((a, b) => b - a));
  expect(shares.reduce((a, b) => a + b)).toBeLessThanOrEqual(100.5); // rounded to one digit each
  const seen = await results(page).locator("img").evaluate((/** @type {HTMLImageElement} */ image) => image.decode().then(() => image.clientWidth / image.clientHeight));
  expect(seen).toBeCloseTo(451 / 300, 1); // the original aspect ratio, not the square input of the network
});

test("answers below the threshold start with Unsure", async ({ page }) => {
  await open(page);
  await clickSample(page, "Cat");
  await choose(page, [1, 2, 3, 4, 5].map((seed) => picture(`p${seed}.png`, seed)));
  await expect(results(page)).toHaveCount(6, ANSWERED);
  const shares = (await answers(page)).map(({ share }) => share);
  const unsure = await results(page).evaluateAll((items) => items.map((item) => item.querySelector(".best")?.textContent?.startsWith("Unsure · perhaps ")));
  expect(unsure).toEqual(shares.map((share) => share < 50));
  expect(new Set(unsure).size).toBe(2); // both kinds occur
});

test("the same picture twice gives the same answer", async ({ page }) => {
  await open(page);
  await clickSample(page, "Cat");
  await expect(results(page)).toHaveCount(1, ANSWERED);
  await clickSample(page, "Cat");
  await expect(results(page)).toHaveCount(2, ANSWERED);
  const [first, second] = await answers(page);
  expect(second).toEqual(first);
});

test("broken pictures show an error and the others are answered in order", async ({ page }) => {
  await open(page);
  await choose(page, [
    picture("first.png", 1),
    { name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) },
    picture("second.png", 2),
    { name: "letter.jpg", mimeType: "image/jpeg", buffer: Buffer.from("This is not a picture.\n") },
    picture("third.png", 3),
  ]);
  await expect(results(page)).toHaveCount(5, ANSWERED);
  expect((await answers(page)).map(({ name }) => name)).toEqual(["first.png", "nothing.png", "second.png", "letter.jpg", "third.png"]);
  await expect(results(page).nth(1).getByRole("alert")).toHaveText(/empty|0 bytes/i);
  await expect(results(page).nth(3).getByRole("alert")).toHaveText(/not a picture|format/i);
  for (const index of [0, 2, 4]) {
    await expect(results(page).nth(index)).toHaveText(/\d+\.\d %/);
    await expect(results(page).nth(index).getByRole("alert")).toHaveCount(0);
  }
});

test("cancel keeps the answered cards, and the next picture is answered", async ({ page }) => {
  await open(page);
  await choose(page, Array.from({ length: 60 }, (_, index) => picture(`p${index}.png`, index)));
  await expect.poll(() => results(page).count(), ANSWERED).toBeGreaterThanOrEqual(2);
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByText(/^Stopped: /)).toBeVisible();
  const kept = await results(page).count();
  expect(kept).toBeGreaterThanOrEqual(2);
  expect(kept).toBeLessThan(60);
  await clickSample(page, "Cat");
  await expect(results(page)).toHaveCount(kept + 1, ANSWERED);
  await expect(results(page).last()).toContainText("cat.jpg");
});

test("escape cancels a batch", async ({ page }) => {
  await open(page);
  await choose(page, Array.from({ length: 60 }, (_, index) => picture(`p${index}.png`, index)));
  await expect.poll(() => results(page).count(), ANSWERED).toBeGreaterThanOrEqual(1);
  await page.keyboard.press("Escape");
  await expect(page.getByText(/^Stopped: /)).toBeVisible();
});

test("pictures added during a batch are answered after it", async ({ page }) => {
  await open(page);
  await choose(page, [1, 2, 3, 4].map((seed) => picture(`early-${seed}.png`, seed)));
  await choose(page, [picture("late.png", 9)]);
  await expect(results(page)).toHaveCount(5, ANSWERED);
  await expect(results(page).last()).toContainText("late.png");
});

test("a picture added while the network loads is answered once it is ready", async ({ page }) => {
  await page.goto("?device=cpu");
  await choose(page, [picture("early.png")]);
  await expect(results(page)).toHaveCount(1, LOADED);
  await expect(results(page)).toContainText("early.png");
});

test("the saved CSV and JSON contain the answers on the cards", async ({ page }) => {
  await open(page);
  await choose(page, [
    picture("plain.png", 1),
    picture('comma, "quote".png', 2),
    picture("=1+1.png", 3),
    { name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) },
  ]);
  await expect(results(page)).toHaveCount(4, ANSWERED);
  const shown = await answers(page);
  const reason = await results(page).nth(3).getByRole("alert").textContent();

  const [header, ...rows] = parseCsv(await downloaded(page, "Save CSV"));
  expect(header.slice(0, 5)).toEqual(["file", "label", "probability", "label_2", "probability_2"]);
  expect(header.slice(-2)).toEqual(["milliseconds", "error"]);
  expect(rows.map(([file]) => file)).toEqual(["plain.png", 'comma, "quote".png', "'=1+1.png", "nothing.png"]);
  for (const row of rows) expect(row).toHaveLength(header.length);
  for (const [index, { label, share }] of shown.slice(0, 3).entries()) {
    expect(rows[index][1]).toBe(label);
    expect((Number(rows[index][2]) * 100).toFixed(1)).toBe(share.toFixed(1));
  }
  expect(rows[3].at(-1)).toBe(reason);

  const { network, pictures } = JSON.parse(await downloaded(page, "Save JSON"));
  expect(network.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(network.classes).toEqual(TEN);
  expect(pictures.map((/** @type {any} */ row) => row.file)).toEqual(shown.map(({ name }) => name));
  for (const [index, { label, share }] of shown.slice(0, 3).entries()) {
    expect(pictures[index].predictions[0].label).toBe(label);
    expect((pictures[index].predictions[0].probability * 100).toFixed(1)).toBe(share.toFixed(1));
  }
  expect(pictures[3].error).toBe(reason);
});

test("HTML in a file name is shown as text", async ({ page }) => {
  const name = "<img src=x onerror=alert(1)>.png";
  let dialogs = 0;
  page.on("dialog", (dialog) => {
    dialogs++;
    return dialog.dismiss();
  });
  await open(page);
  await choose(page, [picture(name)]);
  await expect(results(page)).toHaveCount(1, ANSWERED);
  await expect(results(page).getByRole("heading")).toHaveText(name);
  await expect(page.locator('img[src="x"]')).toHaveCount(0);
  expect(dialogs).toBe(0);
});

test("the page sends only GET requests to its own origin", async ({ page, context }) => {
  /** @type {import("@playwright/test").Request[]} */
  const requests = [];
  context.on("request", (request) => requests.push(request));
  await open(page);
  await clickSample(page, "Boats");
  await choose(page, [picture("mine.png")]);
  await expect(results(page)).toHaveCount(2, ANSWERED);
  await downloaded(page, "Save CSV");
  const here = new URL(page.url()).origin;
  const network = requests.filter((request) => !/^(blob|data):/.test(request.url()));
  expect(network.length).toBeGreaterThan(3);
  expect(network.filter((request) => new URL(request.url()).origin !== here).map((request) => request.url())).toEqual([]);
  expect(network.filter((request) => request.method() !== "GET" || request.postData()).map((request) => request.url())).toEqual([]);
});

test("a second visit downloads no weights", async ({ page, context }) => {
  /** @type {string[]} */
  const weights = [];
  context.on("request", (request) => {
    const file = new URL(request.url()).pathname.split("/").at(-1) ?? "";
    if (file.endsWith(".safetensors") && !file.startsWith("head")) weights.push(request.url()); // the head is small and is not cached
  });
  await open(page);
  expect(weights.length).toBeGreaterThan(0);
  weights.length = 0;
  await page.close();
  const again = await context.newPage();
  await open(again);
  expect(weights).toEqual([]);
});

test("missing weights give an error message", async ({ page }) => {
  await page.goto("?device=cpu&weights=missing.safetensors");
  await expect(page.getByRole("alert")).toHaveText(/\S/, LOADED);
  await expect(page.getByRole("button", { name: "Try again" })).toBeVisible();
  await expect(page.getByRole("progressbar")).toHaveCount(0);
  await expect(status(page)).toHaveText("The network could not be loaded");
});

test("a dropped and a pasted picture are answered", async ({ page }) => {
  await open(page);
  const bytes = [...stripes(5)];
  for (const type of ["drop", "paste"]) {
    await page.evaluate(({ type, bytes }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], `${type}.png`, { type: "image/png" }));
      document.body.dispatchEvent(type === "drop"
        ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
    }, { type, bytes });
  }
  await expect(results(page)).toHaveCount(2, ANSWERED);
  expect((await answers(page)).map(({ name }) => name)).toEqual(["drop.png", "paste.png"]);
});

test("a folder gives a card for each picture and ignores other files", async ({ page }, info) => {
  const folder = info.outputPath("holiday");
  await mkdir(`${folder}/day`, { recursive: true });
  await writeFile(`${folder}/one.png`, stripes(1));
  await writeFile(`${folder}/day/two.png`, stripes(2));
  await writeFile(`${folder}/notes.txt`, "not a picture");
  await open(page);
  await page.getByLabel("Choose a folder").setInputFiles(folder);
  await expect(results(page)).toHaveCount(2, ANSWERED);
  expect((await answers(page)).map(({ name }) => name).sort()).toEqual(["holiday/day/two.png", "holiday/one.png"]);
});

test("the page works with the keyboard alone", async ({ page }) => {
  await open(page);
  await tabTo(page, page.getByLabel("Choose pictures"));
  for (const name of ["Cat", "Coffee"]) {
    await tabTo(page, page.getByRole("button", { name, exact: true }));
    await page.keyboard.press("Enter");
  }
  await expect(results(page)).toHaveCount(2, ANSWERED);
  await tabTo(page, page.getByRole("radio", { name: "Cards" }));
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("radio", { name: "Grid" })).toBeChecked();
  await tabTo(page, page.getByRole("button", { name: "Save JSON" }));
  await tabTo(page, results(page).first());
  expect(await results(page).first().evaluate((item) => getComputedStyle(item).outlineStyle)).not.toBe("none");
  await page.keyboard.press("ArrowRight");
  await expect(results(page).nth(1)).toBeFocused();
  await page.keyboard.press("ArrowLeft");
  await expect(results(page).first()).toBeFocused();
  await page.keyboard.press("Delete");
  await expect(results(page)).toHaveCount(1);
  await expect(results(page).first()).toContainText("coffee.jpg");
  await expect(results(page).first()).toBeFocused();
});

test("the grid shows the label of every picture above it", async ({ page }) => {
  await open(page);
  await choose(page, [1, 2, 3].map((seed) => picture(`p${seed}.png`, seed)));
  await expect(results(page)).toHaveCount(3, ANSWERED);
  const before = await answers(page);
  await page.getByRole("radio", { name: "Grid" }).check();
  expect(await answers(page)).toEqual(before);
  const label = await results(page).first().getByText(before[0].label, { exact: true }).first().boundingBox();
  const image = await results(page).first().locator("img").boundingBox();
  expect(label && image && label.y + label.height <= image.y + 1).toBe(true);
});

test("removing and clearing cards revokes their object URLs", async ({ page }) => {
  await page.addInitScript(() => {
    const live = new Set();
    Object.assign(globalThis, { liveUrls: live });
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (blob) => {
      const url = createObjectURL.call(URL, blob);
      live.add(url);
      return url;
    };
    URL.revokeObjectURL = (url) => {
      live.delete(url);
      revokeObjectURL.call(URL, url);
    };
  });
  /** @returns {Promise<number>} */
  const live = () => page.evaluate(() => /** @type {any} */ (globalThis).liveUrls.size);
  await open(page);
  await choose(page, [1, 2, 3].map((seed) => picture(`p${seed}.png`, seed)));
  await expect(results(page)).toHaveCount(3, ANSWERED);
  expect(await live()).toBe(3);
  await page.getByRole("button", { name: "Remove p2.png" }).click();
  await expect(results(page)).toHaveCount(2);
  expect(await live()).toBe(2);
  await page.getByRole("button", { name: "Clear" }).click();
  await expect(results(page)).toHaveCount(0);
  expect(await live()).toBe(0);
});

test("a 320 pixel wide page does not scroll horizontally", async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await open(page);
  expect(await overflow(page)).toBe(0);
  await clickSample(page, "Cat");
  await choose(page, [picture(`${"a-very-long-name-".repeat(12)}.png`), { name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) }]);
  await expect(results(page)).toHaveCount(3, ANSWERED);
  expect(await overflow(page)).toBe(0);
  await page.getByRole("radio", { name: "Grid" }).check();
  expect(await overflow(page)).toBe(0);
  await page.getByText("Details", { exact: true }).click();
  expect(await overflow(page)).toBe(0);
});

test("the page follows the colour scheme", async ({ page }) => {
  /** @returns {Promise<{ paper: number, ink: number }>} mean of red, green and blue */
  const tones = () => page.evaluate(() => {
    const mean = (/** @type {string} */ colour) => (colour.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part) / 3, 0);
    const { backgroundColor, color } = getComputedStyle(document.body);
    return { paper: mean(backgroundColor), ink: mean(color) };
  });
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto("?device=cpu");
  const light = await tones();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await tones();
  expect(light.paper).toBeGreaterThan(200);
  expect(light.ink).toBeLessThan(80);
  expect(dark.paper).toBeLessThan(50);
  expect(dark.ink).toBeGreaterThan(200);
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`axe finds no violations in answers and errors, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await open(page);
    await clickSample(page, "Cat");
    await choose(page, [{ name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) }]);
    await expect(results(page)).toHaveCount(2, ANSWERED);
    await page.getByText("Details", { exact: true }).click();
    const { violations, passes } = await new AxeBuilder({ page }).analyze();
    expect(passes.length).toBeGreaterThan(20);
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
  });
}
