// @ts-check
/** The teach panel: classes, pictures, gallery, undo, webcam, latents and project files. */
import { mkdir, writeFile } from "node:fs/promises";
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { BlobWriter, TextReader, Uint8ArrayReader, ZipWriter } from "@zip.js/zip.js";
import { stripes } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {{ name: string, mimeType: string, buffer: Buffer }} Upload */

const LOADED = { timeout: 90_000 };
const COMPUTED = { timeout: 90_000 };

test.setTimeout(180_000);

// ---- page helpers ----

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready/, LOADED);
}

/** @param {string} name @param {number} seed @returns {Upload} */
function picture(name, seed) {
  return { name, mimeType: "image/png", buffer: stripes(seed) };
}

/** @param {Page} page @param {string} name */
async function addClass(page, name) {
  await page.getByRole("button", { name: "Add class", exact: true }).click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
}

/** @param {Page} page @param {string} name @param {Upload[]} files */
async function fill(page, name, files) {
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
}

/** @param {Page} page @param {string} name */
const card = (page, name) => page.getByRole("group", { name, exact: true });
/** @param {Page} page */
const gallery = (page) => page.getByRole("listbox", { name: "Pictures of the classes" });
/** @param {Page} page @param {string} name @param {string} className */
const tile = (page, name, className) => gallery(page).getByRole("option", { name: `${name}, class ${className}`, exact: true });
/** @param {Page} page */
const message = (page) => page.getByRole("region", { name: "Message" });
/** @param {Page} page */
const waiting = (page) => page.locator(".tile[data-waiting]");

/** @param {Page} page @param {Record<string, number>} counts */
async function expectCounts(page, counts) {
  for (const [name, count] of Object.entries(counts)) {
    await expect(card(page, name)).toContainText(count === 1 ? "1 picture" : `${count} pictures`);
  }
  await expect(page.getByLabel("Class name")).toHaveCount(Object.keys(counts).length);
}

/** Adds two classes with three and two pictures. @param {Page} page */
async function twoClasses(page) {
  await addClass(page, "cat");
  await addClass(page, "dog");
  await fill(page, "cat", [1, 2, 3].map((seed) => picture(`cat-${seed}.png`, seed)));
  await fill(page, "dog", [4, 5].map((seed) => picture(`dog-${seed}.png`, seed)));
  await expectCounts(page, { cat: 3, dog: 2 });
}

/** @param {Page} page */
async function computed(page) {
  await expect(gallery(page).getByRole("option").first()).toBeVisible();
  await expect(waiting(page)).toHaveCount(0, COMPUTED);
  await expect(page.getByText(/^Computing latents/)).toHaveCount(0, COMPUTED);
}

/** Waits until pictures and latents are saved. @param {Page} page @param {number} pictures */
async function saved(page, pictures) {
  await expect.poll(() => page.evaluate(async () => {
    const database = await new Promise((resolve, reject) => {
      const request = indexedDB.open("inception-web");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const counts = await Promise.all(["pictures", "latents"].map((store) => new Promise((resolve) => {
      const request = database.transaction(store).objectStore(store).count();
      request.onsuccess = () => resolve(request.result);
    })));
    database.close();
    return counts;
  }), { timeout: 60_000 }).toEqual([pictures, pictures]);
}

/** @param {Page} page */
const horizontalOverflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// ---- tests ----

test("classes and pictures survive a reload, and no latents are recomputed", async ({ page }) => {
  await open(page);
  await twoClasses(page);
  await computed(page);
  await saved(page, 5);
  await page.reload();
  await expectCounts(page, { cat: 3, dog: 2 });
  await expect(page.getByRole("status")).toHaveText(/^Ready/, LOADED);
  await expect(waiting(page)).toHaveCount(0);
  expect(await page.locator("#teach-job").isHidden()).toBe(true);
  await expect(tile(page, "dog-4.png", "dog").locator("img")).toBeVisible();
});

test("an empty or duplicate class name shows an error and is reset", async ({ page }) => {
  await open(page);
  await addClass(page, "cat");
  await addClass(page, "dog");
  const name = card(page, "dog").getByLabel("Class name");
  await name.fill("cat");
  await expect(card(page, "dog").getByRole("alert")).toHaveText(/"cat" already exists/);
  await name.press("Enter");
  await expect(name).toHaveValue("dog");
  await name.fill("");
  await expect(card(page, "dog").getByRole("alert")).toHaveText(/empty/);
  await name.press("Tab");
  await expect(card(page, "dog").getByLabel("Class name")).toHaveValue("dog");
  await card(page, "dog").getByLabel("Class name").fill("wolf");
  await expect(card(page, "wolf")).toBeVisible();
  await page.getByRole("button", { name: "Undo", exact: true }).click();
  await expect(card(page, "dog")).toBeVisible();
});

test("pictures are moved by number key, button and drag, and every step can be undone and redone", async ({ page }) => {
  await open(page);
  await twoClasses(page);
  await tile(page, "cat-1.png", "cat").click();
  await page.keyboard.press("Shift+ArrowRight");
  await expect(page.getByText("2 pictures selected")).toBeVisible();
  await page.keyboard.press("2");
  await expectCounts(page, { cat: 1, dog: 4 });
  await expect(tile(page, "cat-1.png", "dog")).toBeVisible();

  await tile(page, "dog-5.png", "dog").dragTo(card(page, "cat"));
  await expectCounts(page, { cat: 2, dog: 3 });

  await tile(page, "cat-3.png", "cat").click();
  await page.getByLabel("Class to move to").selectOption("dog");
  await page.getByRole("button", { name: "Move", exact: true }).click();
  await expectCounts(page, { cat: 1, dog: 4 });

  const undo = page.getByRole("button", { name: "Undo", exact: true });
  await expect(undo).toHaveAttribute("title", "Undo: Move 1 picture to dog");
  await undo.click();
  await expectCounts(page, { cat: 2, dog: 3 });
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  await expectCounts(page, { cat: 3, dog: 2 });
  await page.keyboard.press("Control+Shift+Z");
  await expectCounts(page, { cat: 1, dog: 4 });
});

test("the gallery can be used with the keyboard", async ({ page }) => {
  await open(page);
  await twoClasses(page);
  await tile(page, "cat-1.png", "cat").click();
  await page.keyboard.press("ArrowRight");
  await expect(tile(page, "cat-2.png", "cat")).toBeFocused();
  await page.keyboard.press("Space");
  await expect(tile(page, "cat-2.png", "cat")).toHaveAttribute("aria-selected", "false");
  await page.keyboard.press("Control+a");
  await expect(page.getByText("5 pictures selected")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByText("selected")).toHaveCount(0);
  await page.keyboard.press("End");
  await expect(tile(page, "dog-5.png", "dog")).toBeFocused();
  await page.keyboard.press("Delete");
  await expectCounts(page, { cat: 3, dog: 1 });
  await expect(tile(page, "dog-4.png", "dog")).toBeFocused();
});

test("classes can be merged, moved and deleted, and a deletion can be undone", async ({ page }) => {
  await open(page);
  await twoClasses(page);
  await addClass(page, "bird");
  await card(page, "bird").getByLabel("More for bird").click();
  await card(page, "bird").getByRole("button", { name: "Move up" }).click();
  await expect.poll(() => page.getByLabel("Class name").evaluateAll((all) => all.map((one) => /** @type {HTMLInputElement} */ (one).value))).toEqual(["cat", "bird", "dog"]);
  await page.keyboard.press("Escape");
  await card(page, "dog").getByLabel("More for dog").click();
  await card(page, "dog").getByLabel("Merge dog into").selectOption("cat");
  await card(page, "dog").getByRole("button", { name: "Merge" }).click();
  await expectCounts(page, { cat: 5, bird: 0 });
  await card(page, "cat").getByLabel("More for cat").click();
  await card(page, "cat").getByRole("button", { name: "Delete class" }).click();
  await expectCounts(page, { bird: 0 });
  await message(page).getByRole("button", { name: "Take it back" }).click();
  await expectCounts(page, { cat: 5, bird: 0 });
});

test("a broken picture is left out with a reason, and the others stay", async ({ page }) => {
  await open(page);
  await addClass(page, "cat");
  await fill(page, "cat", [picture("one.png", 1), { name: "letter.jpg", mimeType: "image/jpeg", buffer: Buffer.from("not a picture\n") }, picture("two.png", 2)]);
  const error = page.getByRole("alert").filter({ hasText: "1 picture could not be read" });
  await expect(error).toBeVisible(COMPUTED);
  await expect(page.getByRole("listitem").filter({ hasText: "letter.jpg" })).toHaveText(/not a picture|format/i);
  await expectCounts(page, { cat: 2 });
  await computed(page);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+Shift+Z");
  await expectCounts(page, { cat: 2 });
  await page.getByRole("button", { name: "Dismiss", exact: true }).click();
  await expect(error).toHaveCount(0);
});

test("a picture that is added twice to a class is added once", async ({ page }) => {
  await open(page);
  await addClass(page, "cat");
  await fill(page, "cat", [picture("one.png", 1)]);
  await expectCounts(page, { cat: 1 });
  await fill(page, "cat", [picture("copy.png", 1), picture("two.png", 2)]);
  await expect(message(page)).toContainText("1 picture was already there.");
  await expectCounts(page, { cat: 2 });
});

test("cancelled pictures stay in their class until computing is resumed or the page is reloaded", async ({ page }) => {
  await open(page);
  await addClass(page, "many");
  await fill(page, "many", Array.from({ length: 14 }, (_, index) => picture(`p${index}.png`, index)));
  await expect(page.getByText(/^Computing latents: [1-9]/)).toBeVisible(COMPUTED);
  await page.locator("#teach-job").getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByText(/^\d+ pictures wait for latents\.$/)).toBeVisible();
  await expectCounts(page, { many: 14 });
  const left = await page.getByText(/^\d+ pictures wait for latents\.$/).textContent();
  await page.getByRole("button", { name: "Compute", exact: true }).click();
  await expect(page.getByText(/^Computing latents/)).toBeVisible();
  await page.reload();
  await expect(page.getByText(/^Computing latents/)).toBeVisible(LOADED);
  const total = Number((await page.getByText(/^Computing latents/).textContent())?.match(/of (\d+) /)?.[1]);
  expect(total).toBeLessThanOrEqual(Number(left?.match(/\d+/)?.[0])); // computed latents are not recomputed
  await computed(page);
});

test("pictures are classified while latents of others are computed", async ({ page }) => {
  await open(page);
  await addClass(page, "many");
  await fill(page, "many", Array.from({ length: 12 }, (_, index) => picture(`p${index}.png`, index)));
  await expect(page.getByText(/^Computing latents/)).toBeVisible(COMPUTED);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  const answers = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(answers).toHaveCount(1, COMPUTED);
  await expect(page.getByText(/^Computing latents/)).toBeVisible();
  await answers.getByRole("button", { name: "Teach" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "many" }).click();
  await expectCounts(page, { many: 13 });
  await expect(message(page)).toContainText("Added cat.jpg to many.");
});

test("folders become classes, selected or in a zip", async ({ page }, info) => {
  const folder = info.outputPath("pets");
  for (const [name, seeds] of Object.entries({ cat: [1, 2], dog: [3] })) {
    await mkdir(`${folder}/${name}`, { recursive: true });
    for (const seed of seeds) await writeFile(`${folder}/${name}/${seed}.png`, stripes(seed));
  }
  await writeFile(`${folder}/notes.txt`, "not a picture");
  await open(page);
  await page.getByLabel("Add folders as classes").setInputFiles(folder);
  await expectCounts(page, { cat: 2, dog: 1 });
  await expect(message(page)).toContainText("Added 3 pictures to 2 classes: cat and dog.");

  const zip = new ZipWriter(new BlobWriter("application/zip"));
  for (const [path, seed] of /** @type {[string, number][]} */ ([["more/dog/4.png", 4], ["more/bird/5.png", 5], ["more/cat/1.png", 1]])) {
    await zip.add(path, new Uint8ArrayReader(stripes(seed)));
  }
  await zip.add("more/readme.txt", new TextReader("hello"));
  const buffer = Buffer.from(await (await zip.close()).arrayBuffer());
  await page.getByLabel("Add a zip", { exact: true }).setInputFiles([{ name: "more.zip", mimeType: "application/zip", buffer }]);
  await expectCounts(page, { cat: 2, dog: 2, bird: 1 });
  await expect(message(page)).toContainText("1 picture was already there.");
});

test("pictures dropped or pasted on a class are added to it, elsewhere they are classified", async ({ page }) => {
  await open(page);
  await addClass(page, "cat");
  await card(page, "cat").focus();
  for (const [method, where, seed] of /** @type {["drop" | "paste", string, number][]} */ ([["drop", ".class", 1], ["paste", ".class", 2], ["drop", "#teach-title", 3]])) {
    await page.evaluate(({ method, where, bytes }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], `${method}.png`, { type: "image/png" }));
      document.querySelector(where)?.dispatchEvent(method === "drop"
        ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
    }, { method, where, bytes: [...stripes(seed)] });
  }
  await expectCounts(page, { cat: 2 });
  const answers = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(answers).toHaveCount(1, COMPUTED);
  await page.setViewportSize({ width: 1280, height: 1500 }); // both ends of the drag are visible
  await expect(async () => { // at the first try the layout may still be changing
    await answers.locator("img").dragTo(card(page, "cat"));
    await expect(card(page, "cat")).toContainText("3 pictures", { timeout: 5000 });
  }).toPass({ timeout: 60_000 });
});

test("the ten classes load in one step, and the gallery renders only visible tiles", async ({ page }) => {
  await open(page);
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  await expect(message(page)).toContainText("Added 5,000 pictures", { timeout: 20_000 });
  await expect(page.getByText("10 classes · 5,000 pictures")).toBeVisible();
  const options = gallery(page).getByRole("option");
  expect(await options.count()).toBeLessThan(120);
  await expect(options.first()).toHaveAttribute("aria-setsize", "5000");
  await options.first().click();
  await page.keyboard.press("End");
  await expect(gallery(page).locator(":focus")).toHaveAttribute("aria-posinset", "5000");
  expect(await options.count()).toBeLessThan(120);
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  await expect(message(page)).toContainText("5,000 pictures were already there.", { timeout: 20_000 });
  await saved(page, 5000);
  await page.reload();
  await expect(page.getByText("10 classes · 5,000 pictures")).toBeVisible(LOADED);
});

test("a saved project opens identically in another browser, and opening it can be undone", async ({ page, browser, baseURL }, info) => {
  await open(page);
  await twoClasses(page);
  await computed(page);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save project", exact: true }).click()]);
  expect(download.suggestedFilename()).toBe("my classes.zip");
  const path = info.outputPath("project.zip");
  await download.saveAs(path);

  const other = await browser.newPage({ baseURL });
  await open(other);
  await addClass(other, "bird");
  await other.getByLabel("Open project", { exact: true }).setInputFiles(path);
  await expect(message(other)).toContainText('Opened "my classes": 2 classes and 5 pictures.');
  await expectCounts(other, { cat: 3, dog: 2 });
  await expect(waiting(other)).toHaveCount(0);
  await expect(tile(other, "cat-1.png", "cat").locator("img")).toBeVisible();
  await other.getByRole("button", { name: "Undo", exact: true }).click();
  await expectCounts(other, { bird: 0 });
  await other.getByRole("button", { name: "Redo", exact: true }).click();
  await expectCounts(other, { cat: 3, dog: 2 });
  await other.getByLabel("Open project", { exact: true }).setInputFiles({ name: "no.zip", mimeType: "application/zip", buffer: Buffer.from("no") });
  await expect(message(other).getByRole("alert")).toHaveText(/not a \.zip file/);
  await expectCounts(other, { cat: 3, dog: 2 });
  await other.close();
});

test("latents are saved in two formats, and several files are loaded together", async ({ page }, info) => {
  await open(page);
  await twoClasses(page);
  await computed(page);
  const paths = [];
  for (const form of ["safetensors", "npz"]) {
    await page.getByLabel("Format of saved latents").selectOption(form);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save latents", exact: true }).click()]);
    expect(download.suggestedFilename()).toBe(`latents.${form}`);
    paths.push(info.outputPath(`latents.${form}`));
    await download.saveAs(paths[paths.length - 1]);
  }
  await page.getByLabel("Load latents", { exact: true }).setInputFiles(paths);
  await expect(message(page)).toHaveText(/10 pictures were already there\./);
  await page.getByRole("button", { name: "Undo", exact: true }).click(); // removes the pictures of dog
  await expectCounts(page, { cat: 3, dog: 0 });
  await page.getByLabel("Load latents", { exact: true }).setInputFiles(paths);
  await expectCounts(page, { cat: 3, dog: 2 });
  await page.getByLabel("Load latents", { exact: true }).setInputFiles({ name: "bad.npz", mimeType: "application/zip", buffer: Buffer.from("no") });
  await expect(message(page).getByRole("alert")).toBeVisible();
  await expectCounts(page, { cat: 3, dog: 2 });
});

test("webcam pictures are added to the class, and a denied camera shows an error", async ({ browser, baseURL }) => {
  const page = await browser.newPage({ baseURL });
  await open(page);
  await addClass(page, "me");
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  await page.getByRole("button", { name: "Webcam for me" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toHaveText(/camera was denied/);
  await page.keyboard.press("Escape");
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      const canvas = document.createElement("canvas");
      const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
      let frame = 0;
      setInterval(() => {
        context.fillStyle = `hsl(${(frame += 23)} 70% 50%)`;
        context.fillRect(0, 0, canvas.width, canvas.height);
      }, 30);
      return canvas.captureStream(30);
    };
  });
  await page.getByRole("button", { name: "Webcam for me" }).click();
  const shoot = page.getByRole("button", { name: "Hold to take pictures" });
  await expect(shoot).toBeEnabled();
  await page.keyboard.down("Space");
  await expect(page.getByText("3 pictures taken")).toBeVisible();
  await page.keyboard.up("Space");
  await page.getByRole("button", { name: /^Add \d+ pictures$/ }).click();
  await expect(card(page, "me")).toContainText(/[3-9] pictures/);
  await page.close();
});

test("closing the page asks for confirmation only while work is in progress", async ({ page }) => {
  await open(page);
  await addClass(page, "cat");
  await fill(page, "cat", [1, 2, 3, 4, 5, 6].map((seed) => picture(`p${seed}.png`, seed)));
  await expect(page.getByText(/^Computing latents/)).toBeVisible();
  const [dialog] = await Promise.all([page.waitForEvent("dialog"), page.close({ runBeforeUnload: true })]);
  expect(dialog.type()).toBe("beforeunload");
  await dialog.dismiss();
  await computed(page);
  await saved(page, 6);
  await Promise.all([page.waitForEvent("close"), page.close({ runBeforeUnload: true })]);
});

test("without storage the page works and reports that nothing is saved", async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(globalThis, "indexedDB", { value: undefined }));
  await open(page);
  await expect(page.getByText(/not available in this browser/)).toBeVisible();
  await addClass(page, "cat");
  await fill(page, "cat", [picture("one.png", 1)]);
  await expectCounts(page, { cat: 1 });
});

test("the page does not scroll horizontally on a narrow phone", async ({ page }) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await open(page);
  expect(await horizontalOverflow(page)).toBe(0);
  await twoClasses(page);
  await card(page, "cat").getByLabel("Class name").fill("a very long name ".repeat(6));
  await page.keyboard.press("Enter");
  expect(await horizontalOverflow(page)).toBe(0);
  await gallery(page).getByRole("option").first().click();
  expect(await horizontalOverflow(page)).toBe(0);
  await page.getByLabel("More for dog").click();
  expect(await horizontalOverflow(page)).toBe(0);
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`the teach panel passes the accessibility checks, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await open(page);
    await twoClasses(page);
    await gallery(page).getByRole("option").first().click();
    await page.getByLabel("More for dog").click();
    const { violations, passes } = await new AxeBuilder({ page }).include("#teach").include(".toast").analyze();
    expect(passes.length).toBeGreaterThan(20);
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
  });
}
