// End-to-end tests: add two classes, train, classify, reload, save the project, and open it again.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";

/** @typedef {import("@playwright/test").Page} Page */

const root = fileURLToPath(new URL("../../", import.meta.url));
const sample = (/** @type {string} */ name) => join(root, "www/samples", `${name}.jpg`);
const LOADING = { timeout: 90_000 };

test.setTimeout(300_000);

/** @param {Page} page */
async function ready(page) {
  await page.goto("?device=cpu");
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, LOADING);
}

/** Number of `answer` requests since the page was opened. @param {Page} page @returns {Promise<number>} */
const answerRequests = (page) => page.evaluate(() => Reflect.get(window, "answerRequests"));

/** @param {Page} page @param {string} name @param {string[]} files */
async function addClass(page, name, files) {
  await page.getByRole("button", { name: "Add class", exact: true }).click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
}

/** Classifies a picture that is not in the training set. @param {Page} page @returns {Promise<string>} */
async function classify(page) {
  await page.getByRole("button", { name: "Airplane", exact: true }).click();
  const card = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(card).toContainText(/\d %/, LOADING);
  const text = (await card.textContent()) ?? "";
  return [.../(?:animals|things)|\d+\.\d %/g[Symbol.matchAll](text)].map(([found]) => found).join(" ");
}

/** @param {Page} page @param {string} button @param {string} path */
async function save(page, button, path) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button, exact: true }).click()]);
  await download.saveAs(path);
}

test("two trained classes survive a reload, and move to another browser as a project file", async ({ page, baseURL }, info) => {
  await page.addInitScript(() => {
    Reflect.set(window, "answerRequests", 0);
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (/** @type {[any, any]} */ ...args) {
      if (args[0]?.method === "answer") Reflect.set(window, "answerRequests", Reflect.get(window, "answerRequests") + 1);
      return post.apply(this, args);
    };
  });
  await ready(page);
  await addClass(page, "animals", [sample("cat"), sample("horse")]);
  await addClass(page, "things", [sample("rocket"), sample("coffee"), sample("boats")]);
  await expect.poll(() => answerRequests(page), LOADING).toBe(5);
  const training = page.getByRole("region", { name: "Training" });
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training.getByText(/^Validation accuracy \d/)).toBeVisible(LOADING);
  await expect(page.getByRole("status").first()).toContainText("two classes");
  const first = await classify(page);
  expect(first).toMatch(/^(animals|things) \d+\.\d %/);

  await ready(page);
  await expect(page.getByRole("status").first()).toContainText("two classes", LOADING);
  await expect(page.getByRole("table", { name: "Confusion matrix" })).toBeVisible(LOADING);
  expect(await answerRequests(page)).toBe(0);
  expect(await classify(page)).toBe(first);
  expect(await answerRequests(page)).toBe(1);

  const project = info.outputPath("project.zip");
  await save(page, "Save project", project);
  const client = await page.context().newCDPSession(page);
  await page.goto("about:blank");
  await client.send("Storage.clearDataForOrigin", { origin: new URL(baseURL ?? "").origin, storageTypes: "all" });
  await ready(page);
  await expect(page.getByLabel("Add pictures to animals", { exact: true })).toHaveCount(0);
  await page.getByLabel("Open project", { exact: true }).setInputFiles(project);
  await expect(page.getByLabel("Add pictures to animals", { exact: true })).toBeAttached(LOADING);
  await expect(page.getByRole("status").first()).toContainText("two classes", LOADING);
  expect(await answerRequests(page)).toBe(0);
  expect(await classify(page)).toBe(first);
});

test("exported heads are byte-identical to those of the command line, and give the same probabilities in Python", async ({ page }, info) => {
  await page.goto("style.css");
  const files = await page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    await engine.importLatents(await (await fetch("/ten-classes/latents.safetensors")).blob());
    await engine.train({ hidden: 32, epochs: 3 });
    const text = async (/** @type {Blob} */ blob) => {
      const bytes = new Uint8Array(await blob.arrayBuffer());
      let binary = "";
      for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
      return btoa(binary);
    };
    const { latents } = engine.dataset.embedded.values().next().value;
    return {
      safetensors: await text(await engine.exportHead("safetensors")),
      onnx: await text(await engine.exportHead("onnx")),
      npz: await text(await engine.exportHead("npz")),
      latents: [...latents],
      probabilities: (await engine.predict(latents, 10)).map(({ label, probability }) => [label, probability]),
    };
  });
  const fromPage = { safetensors: info.outputPath("head.safetensors"), onnx: info.outputPath("head.onnx"), npz: info.outputPath("head.npz") };
  for (const form of /** @type {const} */ (["safetensors", "onnx", "npz"])) writeFileSync(fromPage[form], Buffer.from(files[form], "base64"));
  for (const form of /** @type {const} */ (["onnx", "npz"])) {
    const exported = info.outputPath(`exported.${form}`);
    execFileSync(join(root, "target/release/inception-web"), ["export", fromPage.safetensors, "--to", exported]);
    expect(readFileSync(exported).equals(readFileSync(fromPage[form]))).toBe(true);
  }
  // Created by tests/exports.js.
  const python = join(root, "target/venv/bin/python");
  const expected = info.outputPath("expected.json");
  writeFileSync(expected, JSON.stringify({ latents: files.latents, probabilities: files.probabilities }));
  const script = `
import json, sys
import numpy as np, onnxruntime
sys.path.insert(0, "tests")
from exports import load_npz_head
expected = json.load(open(sys.argv[1]))
latents = np.array([expected["latents"]], dtype=np.float32)
classes, probabilities = load_npz_head(sys.argv[3])
want = np.array([dict(map(tuple, expected["probabilities"]))[name] for name in classes])
onnx = onnxruntime.InferenceSession(sys.argv[2]).run(["probabilities"], {"latents": latents})[0][0]
print(max(np.abs(onnx - want).max(), np.abs(probabilities(latents)[0] - want).max()))
`;
  const maxDifference = Number(execFileSync(python, ["-c", script, expected, fromPage.onnx, fromPage.npz], { cwd: root, encoding: "utf8" }));
  console.log(`the page's head in ONNX Runtime and NumPy: max abs diff ${maxDifference.toExponential(1)}`);
  expect(maxDifference).toBeLessThan(1e-5);
});

test("a page that crashes while computing latents continues when it is opened again", async ({ page, context }) => {
  await ready(page);
  await addClass(page, "all", ["cat", "horse", "rocket", "coffee", "boats", "airplane"].map(sample));
  await expect(page.getByText(/^Computing latents: [1-5]/)).toBeVisible(LOADING);
  const client = await context.newCDPSession(page);
  client.send("Page.crash").catch(() => {}); // the crashed page sends no reply
  await page.waitForEvent("crash");

  const again = await context.newPage();
  await ready(again);
  await expect(again.getByText("1 class · 6 pictures")).toBeVisible(LOADING);
  await expect(again.getByText(/^Computing latents/)).toHaveCount(0, LOADING);
  const [download] = await Promise.all([again.waitForEvent("download"), again.getByRole("button", { name: "Save latents", exact: true }).click()]);
  const header = readFileSync(await download.path(), "latin1").slice(8, 4000);
  expect(header).toContain('"latents":{"data_offsets":[48,49200],"dtype":"F32","shape":[6,2048]}');
});

test("an exceeded storage quota is reported, and the data stays usable in the tab", async ({ page, baseURL }) => {
  await ready(page);
  const client = await page.context().newCDPSession(page);
  await client.send("Storage.overrideQuotaForOrigin", { origin: new URL(baseURL ?? "").origin, quotaSize: 30_000_000 });
  await page.getByRole("button", { name: "Ten-class latents", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText(/space for this page is full .*your work stays open in this tab, save it with "Save project"/, LOADING);
  await expect(page.getByText("10 classes · 5,000 pictures")).toBeVisible();
  const training = page.getByRole("region", { name: "Training" });
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training.getByText(/^Validation accuracy \d/)).toBeVisible(LOADING);
});
