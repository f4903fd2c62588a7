// @ts-check
/** The compare panel: opening picture sets, comparisons, learning curves, saved results, error messages. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { png } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {{ name: string, mimeType: string, buffer: Buffer }} File */

const LOADED = { timeout: 90_000 };
const TRAINED = { timeout: 120_000 };
const CLASSES = ["red", "green", "blue"];

test.setTimeout(300_000);

/** @param {string} name @param {Buffer | string} content @returns {File} */
const file = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });

/** A CIFAR-10 file with noisy single-colour pictures, which every model can classify. @param {string} name @param {readonly number[]} labels @param {number} count @param {number} from */
function batch(name, labels, count, from = 0) {
  const records = Array.from({ length: count * labels.length }, (_, i) => {
    const record = Buffer.alloc(3073);
    const label = labels[i % labels.length];
    record[0] = label;
    for (let at = 0; at < 3072; at++) record[at + 1] = (((at * 31 + (i + from) * 17) * 7919) % 90) + (Math.floor(at / 1024) === label ? 120 : 0);
    return record;
  });
  return file(name, Buffer.concat(records));
}

const META = file("batches.meta.txt", `${CLASSES.join("\n")}\n`);
const SET = [batch("data_batch_1.bin", [0, 1, 2], 12), batch("test_batch.bin", [0, 1, 2], 6, 900), META];

/** @param {Page} page */
const panel = (page) => page.getByRole("region", { name: "Three ways" });
/** @param {Page} page */
const table = (page) => page.getByRole("table", { name: "Comparison", exact: true });
/** @param {Page} page */
const compareButton = (page) => page.getByRole("button", { name: "Compare", exact: true });

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await page.getByRole("link", { name: "Three ways" }).click();
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, LOADED);
}

/** @param {Page} page @param {File[]} files */
async function choose(page, files) {
  await page.getByLabel("Choose CIFAR-10 files").setInputFiles(files);
}

/** @param {Page} page @param {Record<string, string>} fields */
async function fill(page, fields) {
  for (const [label, value] of Object.entries(fields)) {
    const field = panel(page).getByLabel(label).first();
    await field.fill(value);
    await field.blur();
  }
}

/** @param {Page} page */
async function openSet(page) {
  await choose(page, SET);
  await expect(panel(page)).toContainText("36 pictures of three classes to train on, 18 to test on", LOADED);
}

/** @param {Page} page @param {string} button */
async function saved(page, button) {
  const [download] = await Promise.all([page.waitForEvent("download"), panel(page).getByRole("button", { name: button, exact: true }).click()]);
  return readFile(await download.path(), "utf8");
}

test("a picture set is shown, three models are compared, and every test picture has three predictions", async ({ page }) => {
  await open(page);
  await openSet(page);
  for (const name of CLASSES) {
    await expect(panel(page).getByRole("heading", { name, exact: true })).toBeVisible();
    await expect(panel(page).getByRole("img", { name: `ten pictures of ${name}` })).toBeVisible();
    await expect(panel(page).getByRole("img", { name: `The mean picture of ${name}` })).toBeVisible();
  }
  await fill(page, { "Pictures per class": "6", "Test pictures per class": "3" });
  await expect(panel(page)).toContainText("18 pictures to train on, 9 to test on. The latents of all pictures have to be computed first");

  await compareButton(page).click();
  await expect(panel(page).getByRole("progressbar", { name: "Progress of the comparison" })).toBeVisible();
  await expect(panel(page)).toContainText(/Computing latents · \d+ of 27/);
  await expect(compareButton(page)).toBeVisible(TRAINED);
  for (const name of ["MLP", "CNN", "Inception transfer"]) {
    const row = table(page).getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
    await expect(row).toContainText("100.0 %");
  }
  await expect(table(page)).toContainText(/for 27 pictures/);
  await expect(panel(page)).toContainText("MLP, CNN and Inception transfer have the same accuracy: 100.0 % of 9 pictures.");

  const tiles = panel(page).getByRole("list", { name: "Test pictures" }).locator("> li");
  await expect(tiles).toHaveCount(9);
  await expect(tiles.first()).toContainText(/✓MLP red, right.*✓CNN red, right.*✓Transfer red, right/);
  await panel(page).getByLabel("Show").selectOption({ label: "Models disagree (0)" });
  await expect(panel(page)).toContainText("No test pictures match.");
  await expect(tiles).toHaveCount(0);

  const json = JSON.parse(await saved(page, "Save JSON"));
  expect(json.seed).toBe(0);
  expect(json.data.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(json.split.trainingRows).toHaveLength(18);
  expect(json.base.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(json.models.map((/** @type {{ name: string }} */ { name }) => name)).toEqual(["MLP", "CNN", "Inception transfer"]);
  expect((await saved(page, "Save CSV")).split("\r\n")[1]).toMatch(/^MLP,1705475,0,18,1,[\d.]+,1,9,1,/);

  await page.setViewportSize({ width: 320, height: 640 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320);
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await new AxeBuilder({ page }).include("#compare").analyze();
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
  }
});

test("the same seed gives the same results, and latents are cached across reloads", async ({ page }) => {
  const compare = async () => {
    await openSet(page);
    await fill(page, { "Pictures per class": "3", "Test pictures per class": "2" });
    await compareButton(page).click();
    await expect(compareButton(page)).toBeVisible(TRAINED);
    const json = JSON.parse(await saved(page, "Save JSON"));
    const extraction = json.models[2].extraction;
    for (const model of json.models) for (const time of ["trainSeconds", "predictMilliseconds", "extraction"]) delete model[time];
    return { json, extraction };
  };
  await open(page);
  const first = await compare();
  expect(first.extraction).toMatchObject({ pictures: 15, kept: 0 });
  await open(page);
  const second = await compare();
  expect(second.extraction).toMatchObject({ pictures: 0, kept: 15 });
  expect(second.json).toEqual(first.json);
  await expect(panel(page)).toContainText("The latents of all pictures are cached.");
});

test("the learning curve has a point for each model and size; a cancelled comparison keeps the previous results", async ({ page }) => {
  await open(page);
  await openSet(page);
  await panel(page).getByLabel("Inception transfer", { exact: true }).uncheck();
  await panel(page).getByText("Options", { exact: true }).click();
  await fill(page, { "Pictures per class": "6", "Test pictures per class": "3", Epochs: "8" });
  await panel(page).getByRole("button", { name: "Learning curve" }).click();
  const curve = page.getByRole("table", { name: /^Learning curve/ });
  await expect(panel(page).getByRole("button", { name: "Save curve as JSON" })).toBeVisible(TRAINED);
  await expect(curve.getByRole("columnheader")).toHaveText(["Pictures per class", "2", "5", "10", "12"]);
  await expect(curve.getByRole("rowheader")).toHaveText(["MLP", "CNN"]);
  const { points, seeds } = JSON.parse(await saved(page, "Save curve as JSON"));
  expect(seeds).toEqual([0, 1, 2]);
  expect(points).toHaveLength(8);
  expect(points.every((/** @type {{ accuracies: number[] }} */ { accuracies }) => accuracies.length === 3)).toBe(true);

  await compareButton(page).click();
  await expect(table(page).getByRole("rowheader")).toHaveText(["MLP", "CNN"], TRAINED);
  await expect(compareButton(page)).toBeVisible(TRAINED);
  await fill(page, { Epochs: "5000" });
  await compareButton(page).click();
  await panel(page).getByRole("button", { name: "Cancel" }).click();
  await expect(compareButton(page)).toBeVisible();
  await expect(table(page).getByRole("rowheader")).toHaveText(["MLP", "CNN"]);
  await expect(panel(page).getByRole("button", { name: "Save JSON", exact: true })).toBeVisible();
});

test("each invalid file gets an error message, and the previous set stays", async ({ page }) => {
  await open(page);
  await openSet(page);
  const alert = page.getByRole("alert");
  const truncated = file("data_batch_2.bin", SET[0].buffer.subarray(0, 5000));
  await choose(page, [truncated]);
  await expect(alert.filter({ hasText: "got 5000 bytes, expected CIFAR-10 records of 3073 bytes; download the file again" })).toBeVisible();
  await choose(page, [batch("data_batch_3.bin", [0, 12], 2)]);
  await expect(alert.filter({ hasText: "record 1 has label 12, but there are 10 classes; download the file again" })).toBeVisible();
  await expect(panel(page)).toContainText("36 pictures of three classes to train on");

  // Only the invalid file is left out.
  await choose(page, [...SET, truncated]);
  await expect(panel(page).getByRole("list", { name: "Files that were left out" })).toContainText(/data_batch_2\.bin: .*5000 bytes/);
  await expect(panel(page)).toContainText("36 pictures of three classes to train on");

  await choose(page, [batch("data_batch_1.bin", [0, 1], 4), META]);
  await expect(panel(page)).toContainText('The class "blue" has no pictures; add some, or delete the class.');
  await compareButton(page).click();
  await expect(alert.filter({ hasText: 'the class "blue" has no pictures' })).toBeVisible();
  await choose(page, [batch("data_batch_1.bin", [2], 4), META]);
  await expect(panel(page)).toContainText("Classes with pictures: got 1, expected at least 2");
  await openSet(page);
  await expect(panel(page)).toContainText(/pictures to train on, \d+ to test on\./);
});

test("CIFAR-10 files can be dropped anywhere, and folders can be split into train and test", async ({ page }, info) => {
  await open(page);
  const dropped = await page.evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const { name, bytes } of files) transfer.items.add(new File([Uint8Array.from(bytes)], name));
    return transfer;
  }, SET.map(({ name, buffer }) => ({ name, bytes: [...buffer] })));
  await page.dispatchEvent("body", "drop", { dataTransfer: dropped });
  await expect(panel(page)).toContainText("36 pictures of three classes to train on, 18 to test on", LOADED);

  const folder = info.outputPath("shapes");
  for (const [part, pictures] of /** @type {const} */ ([["train", 3], ["test", 1]])) {
    for (const [name, grey] of /** @type {const} */ ([["light", 230], ["dark", 20]])) {
      await mkdir(join(folder, part, name), { recursive: true });
      for (let at = 0; at < pictures; at++) await writeFile(join(folder, part, name, `${at}.png`), png(40 + at, 50, () => [grey, grey, grey + at]));
    }
  }
  await writeFile(join(folder, "train", "dark", "broken.png"), "no picture");
  await page.getByLabel("Pictures in folders").setInputFiles(folder);
  await expect(panel(page)).toContainText("shapes: 6 pictures of two classes to train on, 2 to test on.");
  await expect(panel(page).getByRole("list", { name: "Files that were left out" })).toContainText("not a picture in a known format");
});
