// The whole walk of a person: teach two classes, train, ask, come back, take everything away, and bring it back.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";

/** @typedef {import("@playwright/test").Page} Page */

const root = fileURLToPath(new URL("../../", import.meta.url));
const sample = (/** @type {string} */ name) => join(root, "www/samples", `${name}.jpg`);
const PATIENT = { timeout: 90_000 };

test.setTimeout(300_000);

/** @param {Page} page */
async function ready(page) {
  await page.goto("?device=cpu");
  await expect(page.getByRole("status").first()).toHaveText(/^Ready/, PATIENT);
}

/** How often the network was asked for latents since the page was opened. @param {Page} page @returns {Promise<number>} */
const asked = (page) => page.evaluate(() => Reflect.get(window, "asked"));

/** @param {Page} page @param {string} name @param {string[]} files */
async function addClass(page, name, files) {
  await page.getByRole("button", { name: "Add class", exact: true }).click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
}

/** The answer for a picture that nobody was taught. @param {Page} page @returns {Promise<string>} */
async function answer(page) {
  await page.getByRole("button", { name: "Airplane", exact: true }).click();
  const card = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(card).toContainText(/\d %/, PATIENT);
  const words = (await card.textContent()) ?? "";
  return [.../(?:animals|things)|\d+\.\d %/g[Symbol.matchAll](words)].map(([found]) => found).join(" ");
}

/** @param {Page} page @param {string} button @param {string} path */
async function save(page, button, path) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button, exact: true }).click()]);
  await download.saveAs(path);
}

test("a person teaches two classes, comes back to them, and takes them elsewhere", async ({ page, baseURL }, info) => {
  await page.addInitScript(() => {
    Reflect.set(window, "asked", 0);
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (/** @type {[any, any]} */ ...args) {
      if (args[0]?.method === "answer") Reflect.set(window, "asked", Reflect.get(window, "asked") + 1);
      return post.apply(this, args);
    };
  });
  await ready(page);
  await addClass(page, "animals", [sample("cat"), sample("horse")]);
  await addClass(page, "things", [sample("rocket"), sample("coffee"), sample("boats")]);
  await expect.poll(() => asked(page), PATIENT).toBe(5);
  const training = page.getByRole("region", { name: "Training" });
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training.getByText(/^Validation accuracy \d/)).toBeVisible(PATIENT);
  await expect(page.getByRole("status").first()).toContainText("two classes");
  const first = await answer(page);
  expect(first).toMatch(/^(animals|things) \d+\.\d %/);

  await ready(page);
  await expect(page.getByRole("status").first()).toContainText("two classes", PATIENT);
  await expect(page.getByRole("table", { name: "Confusion matrix" })).toBeVisible(PATIENT);
  expect(await asked(page)).toBe(0);
  expect(await answer(page)).toBe(first);
  expect(await asked(page)).toBe(1);

  const project = info.outputPath("project.zip");
  await save(page, "Save project", project);
  const client = await page.context().newCDPSession(page);
  await page.goto("about:blank");
  await client.send("Storage.clearDataForOrigin", { origin: new URL(baseURL ?? "").origin, storageTypes: "all" });
  await ready(page);
  await expect(page.getByLabel("Add pictures to animals", { exact: true })).toHaveCount(0);
  await page.getByLabel("Open project", { exact: true }).setInputFiles(project);
  await expect(page.getByLabel("Add pictures to animals", { exact: true })).toBeAttached(PATIENT);
  await expect(page.getByRole("status").first()).toContainText("two classes", PATIENT);
  expect(await asked(page)).toBe(0);
  expect(await answer(page)).toBe(first);
});

test("heads and latents saved by the page are the program's to the byte, and Python's", async ({ page }, info) => {
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
  const own = { safetensors: info.outputPath("head.safetensors"), onnx: info.outputPath("head.onnx"), npz: info.outputPath("head.npz") };
  for (const form of /** @type {const} */ (["safetensors", "onnx", "npz"])) writeFileSync(own[form], Buffer.from(files[form], "base64"));
  for (const form of /** @type {const} */ (["onnx", "npz"])) {
    const theirs = info.outputPath(`theirs.${form}`);
    execFileSync(join(root, "target/release/inception-web"), ["export", own.safetensors, "--to", theirs]);
    expect(readFileSync(theirs).equals(readFileSync(own[form]))).toBe(true);
  }
  // The environment that tests/exports.js has made.
  const python = join(root, "target/venv/bin/python");
  const asked = info.outputPath("asked.json");
  writeFileSync(asked, JSON.stringify({ latents: files.latents, probabilities: files.probabilities }));
  const script = `
import json, sys
import numpy as np, onnxruntime
sys.path.insert(0, "tests")
from exports import load_npz_head
asked = json.load(open(sys.argv[1]))
latents = np.array([asked["latents"]], dtype=np.float32)
classes, probabilities = load_npz_head(sys.argv[3])
want = np.array([dict(map(tuple, asked["probabilities"]))[name] for name in classes])
onnx = onnxruntime.InferenceSession(sys.argv[2]).run(["probabilities"], {"latents": latents})[0][0]
print(max(np.abs(onnx - want).max(), np.abs(probabilities(latents)[0] - want).max()))
`;
  const furthest = Number(execFileSync(python, ["-c", script, asked, own.onnx, own.npz], { cwd: root, encoding: "utf8" }));
  console.log(`the page's head in ONNX Runtime and NumPy: off by ${furthest.toExponential(1)} at most`);
  expect(furthest).toBeLessThan(1e-5);
});

test("a page that is killed while it learns pictures goes on with them when it is opened again", async ({ page, context }) => {
  await ready(page);
  await addClass(page, "all", ["cat", "horse", "rocket", "coffee", "boats", "airplane"].map(sample));
  await expect(page.getByText(/^Computing latents: [1-5]/)).toBeVisible(PATIENT);
  const client = await context.newCDPSession(page);
  client.send("Page.crash").catch(() => {}); // nobody is left to answer
  await page.waitForEvent("crash");

  const again = await context.newPage();
  await ready(again);
  await expect(again.getByText("1 class · 6 pictures")).toBeVisible(PATIENT);
  await expect(again.getByText(/^Computing latents/)).toHaveCount(0, PATIENT);
  const [download] = await Promise.all([again.waitForEvent("download"), again.getByRole("button", { name: "Save latents", exact: true }).click()]);
  const header = readFileSync(await download.path(), "latin1").slice(8, 4000);
  expect(header).toContain('"latents":{"data_offsets":[48,49200],"dtype":"F32","shape":[6,2048]}');
});

test("a full quota is told, and everything stays in the tab", async ({ page, baseURL }) => {
  await ready(page);
  const client = await page.context().newCDPSession(page);
  await client.send("Storage.overrideQuotaForOrigin", { origin: new URL(baseURL ?? "").origin, quotaSize: 30_000_000 });
  await page.getByRole("button", { name: "Ten-class latents", exact: true }).click();
  await expect(page.getByRole("alert")).toContainText(/space for this page is full .*what you have stays open in this tab, save it with "Save project"/, PATIENT);
  await expect(page.getByText("10 classes · 5,000 pictures")).toBeVisible();
  const training = page.getByRole("region", { name: "Training" });
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await expect(training.getByText(/^Validation accuracy \d/)).toBeVisible(PATIENT);
});
