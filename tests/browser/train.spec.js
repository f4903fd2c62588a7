// @ts-check
/** The train panel with the shipped latents: training, evaluation, relabelling, runs, head files, map, explanations. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";

/** @typedef {import("@playwright/test").Page} Page */

const LOADED = { timeout: 90_000 };
const TRAINED = { timeout: 60_000 };
const PICTURES = 5000;
const HELD_OUT = 1000;

test.setTimeout(240_000);

// ---- page helpers ----

/** @param {Page} page */
const training = (page) => page.getByRole("region", { name: "Training", exact: true });
/** @param {Page} page */
const result = (page) => training(page).getByText(/^Validation accuracy \d/);
/** @param {Page} page */
const matrix = (page) => page.getByRole("table", { name: "Confusion matrix", exact: true });
/** @param {Page} page */
const evaluation = (page) => page.getByRole("region", { name: "Evaluation" });
/** @param {Page} page */
const runs = (page) => page.getByRole("table", { name: "Runs", exact: true }).getByRole("row");

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, LOADED);
}

/** @param {Page} page */
async function openTenClasses(page) {
  await open(page);
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  await expect(training(page)).toContainText("10 classes, 5,000 pictures", TRAINED);
}

/** @param {Page} page */
async function train(page) {
  const before = await runs(page).count();
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(runs(page)).toHaveCount(Math.max(2, before + 1), TRAINED);
  await expect(page.getByRole("button", { name: "Train", exact: true })).toBeVisible();
}

/** @param {Page} page @param {Record<string, string>} settings */
async function set(page, settings) {
  const summary = training(page).getByText("Settings", { exact: true });
  if (!(await training(page).getByLabel("Seed").isVisible())) await summary.click();
  for (const [label, value] of Object.entries(settings)) {
    const field = training(page).getByLabel(label, { exact: false }).first();
    await field.fill(value);
    await field.blur();
  }
}

/** @param {Page} page @returns {Promise<Buffer>} */
async function saveHead(page) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save head" }).click()]);
  return readFile(await download.path());
}

/** @param {Buffer} bytes */
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
/** @param {string[]} words @returns {number} */
const sum = (words) => words.reduce((total, word) => total + Number(word.replaceAll(",", "")), 0);
/** @param {Page} page */
const horizontalOverflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// ---- tests ----

test("training shows curves and the validation accuracy", async ({ page }) => {
  await openTenClasses(page);
  await train(page);
  const words = (await result(page).textContent()) ?? "";
  const [, accuracy, low, high, pictures] = /^Validation accuracy (\d+\.\d) % \(95 % interval (\d+\.\d)–(\d+\.\d) %\) on ([\d,]+) pictures; trained in /.exec(words) ?? [];
  expect(Number(accuracy)).toBeGreaterThan(40);
  expect(Number(low)).toBeLessThan(Number(accuracy));
  expect(Number(high)).toBeGreaterThan(Number(accuracy));
  expect(sum([pictures])).toBe(HELD_OUT);
  await expect(training(page).locator("canvas")).toHaveCount(2);
  await expect(training(page).getByText(/^Over \d+ epochs? the training loss goes from/)).toBeVisible();
  await training(page).getByText("Epochs as a table").click();
  const epochs = Number(/of (\d+) kept/.exec(words)?.[1]);
  await expect(training(page).getByRole("table", { name: "Epochs" }).getByRole("row")).toHaveCount(epochs + 1);
});

test("a cell of the confusion matrix lists its pictures, which can be relabelled", async ({ page }) => {
  await openTenClasses(page);
  await train(page);
  expect(sum(await matrix(page).getByRole("button").allTextContents())).toBe(HELD_OUT);
  const cell = matrix(page).getByRole("button", { name: /pictures? of cat classified as dog$/ });
  const pictures = Number(await cell.textContent());
  expect(pictures).toBeGreaterThan(0);
  await cell.click();
  const shown = page.getByRole("region", { name: "Pictures of the cell" });
  await expect(shown.getByRole("listitem")).toHaveCount(Math.min(pictures, 24));
  const choice = shown.getByRole("combobox").first();
  await choice.selectOption({ label: "dog" });
  await expect(evaluation(page)).toContainText("Since this evaluation: 1 picture relabelled.");
  await expect(choice).toHaveValue(await choice.locator("option", { hasText: /^dog$/ }).getAttribute("value") ?? "");
  await page.keyboard.press("Escape");
  await expect(shown).toBeHidden();
  await cell.press("ArrowDown");
  await expect(matrix(page).getByRole("button", { name: /of deer classified as dog$/ })).toBeFocused();
});

test("cross-validation evaluates every picture and lists likely mislabels", async ({ page }) => {
  await openTenClasses(page);
  await evaluation(page).getByRole("spinbutton").fill("3");
  await evaluation(page).getByRole("spinbutton").blur();
  await page.getByRole("button", { name: "Cross-validate" }).click();
  await expect(evaluation(page)).toContainText("each evaluated by a head that was not trained on it (three folds)", { timeout: 120_000 });
  expect(sum(await matrix(page).getByRole("button").allTextContents())).toBe(PICTURES);
  const doubts = page.getByRole("region", { name: "Likely mislabels" });
  const words = doubts.getByText(/with labels that the cross-validated heads/);
  const many = sum([/^([\d,]+) /.exec((await words.textContent()) ?? "")?.[1] ?? "0"]);
  expect(many).toBeGreaterThan(2);
  await doubts.getByRole("button", { name: /^Keep/ }).first().click();
  await doubts.getByRole("button", { name: /^Relabel as/ }).first().click();
  await expect(words).toHaveText(new RegExp(`^${(many - 2).toLocaleString("en")} picture`));
});

test("cross-validation can be cancelled", async ({ page }) => {
  await openTenClasses(page);
  await page.getByRole("button", { name: "Cross-validate" }).click();
  await evaluation(page).getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("button", { name: "Cross-validate" })).toBeVisible();
  await expect(matrix(page)).toBeHidden();
});

test("runs can be compared, are restored after a reload, and removing one can be undone", async ({ page }) => {
  await openTenClasses(page);
  await train(page);
  const first = await result(page).textContent();
  await set(page, { Seed: "7", "Maximum epochs": "2" });
  await train(page);
  await expect(runs(page).filter({ hasText: "2 epochs at most, seed 7" })).toHaveCount(1);
  for (const run of ["Run 1", "Run 2"]) await page.getByRole("checkbox", { name: `Compare ${run}` }).check();
  await expect(page.getByText(/is \d+\.\d percentage points more accurate than|Both have the same accuracy/)).toBeVisible();
  await expect(page.getByRole("table", { name: "F1 by class" }).getByRole("row")).toHaveCount(11);
  await page.getByRole("button", { name: "Restore Run 1" }).click();
  await expect(result(page)).toHaveText(first ?? "");
  await page.reload();
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, LOADED);
  await expect(result(page)).toHaveText(first ?? "", TRAINED);
  await expect(runs(page).filter({ hasText: "in use" }).getByRole("textbox")).toHaveValue("Run 1");
  await page.getByRole("button", { name: "Remove Run 2" }).click();
  await expect(runs(page)).toHaveCount(2);
  // A new run does not reuse the id of the removed one.
  await train(page);
  await page.getByRole("button", { name: "Undo", exact: true }).last().click();
  await expect(runs(page)).toHaveCount(4);
  await page.reload();
  await expect(runs(page)).toHaveCount(4, LOADED);
  await expect(page.getByRole("button", { name: /^Remove Run/ })).toHaveCount(3);
});

test("the same seed gives an identical head file; heads are saved in three formats and loaded from one", async ({ page }) => {
  await openTenClasses(page);
  await set(page, { "Maximum epochs": "2" });
  await train(page);
  const one = await saveHead(page);
  await train(page);
  const other = await saveHead(page);
  expect(sha256(other)).toBe(sha256(one));
  await page.getByRole("combobox", { name: "Head file format" }).selectOption("onnx");
  expect((await saveHead(page)).includes("latents")).toBe(true);
  await page.getByRole("combobox", { name: "Head file format" }).selectOption("npz");
  expect((await saveHead(page)).subarray(0, 2).toString()).toBe("PK");
  await page.getByRole("button", { name: "Use the shipped head" }).click();
  await expect(page.getByText("In use: the shipped head")).toBeVisible();
  await page.getByLabel("Load head").setInputFiles({ name: "head.safetensors", mimeType: "application/octet-stream", buffer: one });
  await expect(page.getByText("loaded from a file.")).toBeVisible();
  await page.getByRole("combobox", { name: "Head file format" }).selectOption("safetensors");
  expect(sha256(await saveHead(page))).toBe(sha256(one));
  await page.getByLabel("Load head").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no head") });
  await expect(page.getByRole("alert")).toHaveCount(1);
  await expect(page.getByText("loaded from a file.")).toBeVisible();
});

test("stop and keep uses the head trained so far, cancel keeps the previous head", async ({ page }) => {
  await openTenClasses(page);
  await set(page, { "Maximum epochs": "5000", Patience: "0" });
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training(page).getByText(/^Epoch \d+ of 5,000/)).toBeVisible();
  await page.getByRole("button", { name: "Pause" }).click();
  await expect(training(page).getByText(/paused$/)).toBeVisible();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "Stop and keep" }).click();
  await expect(result(page)).toContainText("Stopped manually.", TRAINED);
  const kept = await saveHead(page);
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training(page).getByText(/^Epoch \d+ of 5,000/)).toBeVisible();
  await training(page).getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("button", { name: "Train", exact: true })).toBeVisible(TRAINED);
  await expect(runs(page)).toHaveCount(2);
  expect(sha256(await saveHead(page))).toBe(sha256(kept));
});

test("training without held-out pictures reports an unknown accuracy", async ({ page }) => {
  await openTenClasses(page);
  await set(page, { "Maximum epochs": "2", "Held out": "0" });
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training(page).getByText(/^Trained without held-out pictures, so the accuracy is unknown/)).toBeVisible(TRAINED);
});

test("training without classes or with an empty class shows an error", async ({ page }) => {
  await open(page);
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training(page)).toContainText("There is nothing to train on yet.");
  await page.getByRole("button", { name: "Add class" }).click();
  await expect(training(page)).toContainText("has no pictures. Add some, or delete the class.");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText("has no pictures. Add some, or delete the class.");
});

test("the unsure threshold is saved with the head", async ({ page }) => {
  await openTenClasses(page);
  await set(page, { "Maximum epochs": "2" });
  await train(page);
  const slider = page.getByRole("slider", { name: "Unsure below" });
  await slider.fill("70");
  await expect(evaluation(page)).toContainText(/Answers with a probability below 70 % are marked as unsure: \d+ % of the evaluated pictures\. Of the others, \d+ % are right\./);
  await expect.poll(async () => (await saveHead(page)).includes('"unsure_below":"0.7')).toBe(true);
  // The page saves the threshold some time after the last change.
  const stored = () => page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    const { head, runs, runInUse } = await (await openStore()).load("");
    const bytes = head ?? runs.find(({ id }) => id === runInUse)?.head;
    return new TextDecoder().decode(bytes).includes('"unsure_below":"0.7');
  });
  await expect.poll(stored).toBe(true);
  await page.reload();
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, LOADED);
  await expect(slider).toHaveValue("70", TRAINED);
});

test("the map shows every picture, and a lasso selection can be relabelled", async ({ page }) => {
  await openTenClasses(page);
  await page.getByRole("button", { name: "Draw map" }).click();
  const map = page.getByRole("application", { name: "Map of 5,000 pictures in 10 classes" });
  await expect(map).toBeVisible(TRAINED);
  await map.scrollIntoViewIfNeeded();
  await map.focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Space");
  await expect(page.getByRole("group", { name: "Selected pictures" })).toContainText("Relabel 1 picture as");
  const box = await map.boundingBox();
  if (!box) throw new Error("the map is not visible");
  await page.getByRole("button", { name: "Select by drawing" }).click();
  await map.scrollIntoViewIfNeeded();
  const at = (/** @type {number} */ x, /** @type {number} */ y) => /** @type {const} */ ([box.x + box.width * x, box.y + box.height * y]);
  await page.mouse.move(...at(0.4, 0.3));
  await page.mouse.down();
  for (const corner of [at(0.7, 0.3), at(0.7, 0.8), at(0.4, 0.8)]) await page.mouse.move(...corner, { steps: 4 });
  await page.mouse.up();
  const selected = page.getByRole("group", { name: "Selected pictures" });
  await expect(selected).toContainText(/Relabel [\d,]+ pictures as/);
  const many = /Relabel ([\d,]+ pictures)/.exec((await selected.textContent()) ?? "")?.[1] ?? "";
  await selected.getByRole("combobox").selectOption({ label: "frog" });
  await selected.getByRole("button", { name: "Relabel", exact: true }).click();
  await expect(page.getByText(`${many} now have the class frog`)).toBeAttached();
});

test("the explanation of an answer shows the evidence and the nearest pictures", async ({ page }) => {
  await openTenClasses(page);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await page.getByRole("button", { name: /^Why/ }).first().click({ timeout: 60_000 });
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByText(/^Bright areas show the evidence for /)).toBeVisible(TRAINED);
  await expect(dialog.getByRole("listitem")).toHaveCount(8);
  await dialog.getByRole("combobox", { name: "Class to explain" }).selectOption({ index: 1 });
  await expect(dialog.getByRole("heading", { level: 2 })).toHaveText(`Why ${await dialog.getByRole("combobox").inputValue()}?`);
  await page.keyboard.press("Escape");
  await expect(dialog).toBeHidden();
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`the train panel fits a phone and passes the accessibility checks, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 320, height: 640 });
    await openTenClasses(page);
    await set(page, { "Maximum epochs": "2" });
    await train(page);
    await matrix(page).getByRole("button", { name: /pictures? of cat classified as dog$/ }).click();
    await page.getByRole("button", { name: "Draw map" }).click();
    await expect(page.getByRole("application")).toBeVisible(TRAINED);
    expect(await horizontalOverflow(page)).toBe(0);
    const { violations, passes } = await new AxeBuilder({ page }).include("#train").analyze();
    expect(passes.length).toBeGreaterThan(20);
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
  });
}
