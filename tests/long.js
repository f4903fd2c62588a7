// Soak test: `node tests/long.js`, after `npm test` or `cargo run --release`. It prints the figures quoted in the documentation.
//   1. Classifies pictures and trains heads repeatedly, and checks for leaks and slowdown.
//   2. Opens a project with many pictures, and measures loading and scrolling.
// Options: --device cpu|webgpu, --pictures 1000, --trainings 50, --project 10000 (0 skips a part).
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { chromium } from "@playwright/test";
import { findChromium } from "./chromium.js";
import { startServer } from "./server.js";

/** @typedef {import("@playwright/test").BrowserContext} BrowserContext */
/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {import("@playwright/test").CDPSession} CDPSession */

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({
  options: {
    device: { type: "string", default: "cpu" },
    pictures: { type: "string", default: "1000" },
    trainings: { type: "string", default: "50" },
    project: { type: "string", default: "10000" },
    port: { type: "string", default: "8097" },
  },
});
const [PICTURES, TRAININGS, PROJECT] = [values.pictures, values.trainings, values.project].map(Number);
/** The first round is the warm-up. */
const ROUNDS = 10;
const LONG = { timeout: 600_000 };

/** Instruments a page or a worker to count object URLs, GPU buffers and WebAssembly memory. Must run before any other script. */
function instrument() {
  const held = { urls: 0, buffers: 0, bufferBytes: 0 };
  const { createObjectURL, revokeObjectURL } = URL;
  const urls = new Set();
  URL.createObjectURL = (object) => {
    const url = createObjectURL.call(URL, object);
    urls.add(url);
    return url;
  };
  URL.revokeObjectURL = (url) => {
    urls.delete(url);
    revokeObjectURL.call(URL, url);
  };
  /** @type {WebAssembly.Memory[]} */
  const memories = [];
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (...args) => {
      const result = await original.apply(WebAssembly, args);
      const { memory } = (result.instance ?? result).exports;
      if (memory) memories.push(memory);
      return result;
    };
  }
  if (self.GPUDevice) {
    const { createBuffer } = GPUDevice.prototype;
    const live = new Map();
    let lastId = 0;
    const forget = (id) => {
      held.bufferBytes -= live.get(id) ?? 0;
      if (live.delete(id)) held.buffers -= 1;
    };
    const collected = new FinalizationRegistry(forget);
    GPUDevice.prototype.createBuffer = function (description) {
      const buffer = createBuffer.call(this, description);
      const id = (lastId += 1);
      live.set(id, description.size);
      held.buffers += 1;
      held.bufferBytes += description.size;
      collected.register(buffer, id);
      const { destroy } = buffer;
      buffer.destroy = () => {
        forget(id);
        destroy.call(buffer);
      };
      return buffer;
    };
  }
  self.held = () => ({ ...held, urls: urls.size, wasm: memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0) });
}

/** @param {BrowserContext} context */
async function instrumentAll(context) {
  await context.addInitScript(instrument);
  await context.route(/\/worker\/worker\.js$/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `(${instrument})();\n${await response.text()}` });
  });
}

/**
 * Resources in use after garbage collection.
 * @param {Page} page @param {CDPSession} cdp
 */
async function resources(page, cdp) {
  for (let i = 0; i < 2; i++) {
    await cdp.send("HeapProfiler.collectGarbage");
    await page.waitForTimeout(500);
  }
  const all = await Promise.all([page, ...page.workers()].map((each) => each.evaluate(() => self.held())));
  const sum = (/** @type {string} */ name) => all.reduce((total, each) => total + each[name], 0);
  const { metrics } = await cdp.send("Performance.getMetrics");
  const metric = (/** @type {string} */ name) => metrics.find((each) => each.name === name)?.value ?? 0;
  return {
    wasm: sum("wasm") / 1e6, buffers: sum("buffers"), bufferBytes: sum("bufferBytes") / 1e6, urls: sum("urls"),
    listeners: metric("JSEventListeners"), nodes: metric("Nodes"), heap: metric("JSHeapUsedSize") / 1e6, workers: page.workers().length,
  };
}

/** Resident memory of the largest renderer process in MB. @param {import("@playwright/test").Browser} browser @returns {Promise<string>} */
async function resident(browser) {
  if (process.platform !== "linux") return "?";
  const cdp = await browser.newBrowserCDPSession();
  const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
  await cdp.detach();
  const sizes = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"))?.[1] ?? 0) / 1000);
  return Math.max(...sizes).toFixed(0);
}

/** Milliseconds of a fixed computation on two cores. Times are divided by it, to compensate for other load on the machine. */
async function referenceTime() {
  const work = "let x = 1; for (let i = 0; i < 4e7; i++) x = (x * 48271) % 2147483647;";
  const start = performance.now();
  await Promise.all([1, 2].map(() => new Promise((resolve) => new Worker(work, { eval: true }).on("exit", resolve))));
  return performance.now() - start;
}

/** @param {number[]} numbers @returns {number} */
function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** @param {Page} page @param {string} [device] */
async function open(page, device = values.device) {
  await page.goto(`${address}?device=${device}`);
  await page.waitForFunction(() => /^Ready/.test(document.querySelector("#status")?.textContent ?? ""), null, LONG);
}

async function repeatedWork() {
  const browser = await chromium.launch(launch);
  const context = await browser.newContext({ serviceWorkers: "block" });
  await instrumentAll(context);
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("Performance.enable");
  await open(page);
  console.log(`\n${await page.locator("#status").textContent()}`);
  const training = page.getByRole("region", { name: "Training", exact: true });
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  await training.getByText("10 classes, 5,000 pictures").waitFor(LONG);

  const samples = ["cat", "airplane", "boats", "horse", "rocket", "coffee"].map((name) => readFileSync(`${root}www/samples/${name}.jpg`));
  const rows = [];
  const [each, heads] = [PICTURES / ROUNDS, TRAININGS / ROUNDS];
  for (let round = 0; round < ROUNDS; round++) {
    const files = Array.from({ length: each }, (_, n) => {
      // The suffix makes every file different.
      const buffer = Buffer.concat([samples[n % samples.length], Buffer.from(`${round} ${n}`)]);
      return { name: `${round} ${n}.jpg`, mimeType: "image/jpeg", buffer };
    });
    const references = [await referenceTime()];
    let start = Date.now();
    await page.getByLabel("Choose pictures").setInputFiles(files);
    await page.locator("#batch-text").getByText(new RegExp(`^${each} pictures in `)).waitFor(LONG);
    const picture = (Date.now() - start) / each;
    await page.getByRole("button", { name: "Clear", exact: true }).click();
    references.push(await referenceTime());
    start = Date.now();
    const runs = page.getByRole("table", { name: "Runs", exact: true }).locator("tbody tr");
    for (let n = 0; n < heads; n++) {
      await page.getByRole("button", { name: "Train", exact: true }).click();
      await runs.nth(n + (round ? 1 : 0)).waitFor(LONG);
      await page.getByRole("button", { name: "Train", exact: true }).waitFor(LONG);
    }
    const head = (Date.now() - start) / heads;
    references.push(await referenceTime());
    // Keep one run, so that the list has the same length in every round.
    for (let left = await runs.count(); left > 1; left--) {
      await runs.last().getByRole("button", { name: /^Remove/ }).click();
      await runs.nth(left - 1).waitFor({ state: "detached" });
    }
    const found = await resources(page, cdp);
    const [before, between, after] = references;
    rows.push({ picture: picture / (before + between), head: head / (between + after), ...found });
    console.log(
      `${String((round + 1) * each).padStart(5)} pictures, ${String((round + 1) * heads).padStart(2)} trainings: ${picture.toFixed(0)} ms per picture, ${head.toFixed(0)} ms per training; ` +
        `WebAssembly ${found.wasm.toFixed(1)} MB, ${found.buffers} GPU buffers of ${found.bufferBytes.toFixed(1)} MB, JavaScript ${found.heap.toFixed(1)} MB, ` +
        `${found.urls} object URLs, ${found.listeners} listeners, ${found.nodes} nodes, ${found.workers} workers; tab ${await resident(browser)} MB; reference ${median(references).toFixed(0)} ms`,
    );
  }
  const warm = rows.slice(1);
  const [early, late] = [warm.slice(0, 3), warm.slice(-3)];
  /** @param {"picture" | "head"} key */
  const slowdown = (key) => (median(late.map((row) => row[key])) / median(early.map((row) => row[key])) - 1) * 100;
  console.log(`last three rounds against the first three after the warm-up, relative to the reference: picture ${slowdown("picture").toFixed(1)} %, training ${slowdown("head").toFixed(1)} % slower`);
  for (const name of /** @type {const} */ (["wasm", "buffers", "bufferBytes", "urls", "listeners", "nodes"])) {
    const [first, last] = [warm[0][name], warm[warm.length - 1][name]];
    console.log(`${name}: ${first.toFixed(1)} -> ${last.toFixed(1)}${last > first * 1.02 + 1 ? "  GROWS" : ""}`);
    if (last > first * 1.02 + 1) process.exitCode = 1;
  }
  await browser.close();
}

/** Uses a profile on disk, like a real browser. */
async function manyPictures() {
  const profile = mkdtempSync(join(tmpdir(), "inception-web-long-"));
  const context = await chromium.launchPersistentContext(profile, { ...launch, serviceWorkers: "block", viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await open(page, "cpu");
  const fingerprint = await page.evaluate(async () => {
    const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
    const engine = await createEngine({ device: "cpu" });
    const { fingerprint } = engine;
    engine.dispose();
    return fingerprint;
  });
  // Every picture has its own file and thumbnail. The latents are random, because the network is not used.
  await page.goto(`${address}style.css`);
  await page.evaluate(async ({ fingerprint, count }) => {
    const { addClass, addPictures, emptyProject } = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    const store = await openStore();
    await store.load(fingerprint);
    let project = emptyProject;
    for (let n = 0; n < 10; n++) project = addClass(project, `class ${n}`).project;
    const canvas = new OffscreenCanvas(128, 128);
    const drawing = canvas.getContext("2d");
    const embedded = new Map();
    const pictures = [];
    for (let n = 0; n < count; n++) {
      drawing.fillStyle = `hsl(${n % 360} 60% 50%)`;
      drawing.fillRect(0, 0, 128, 128);
      drawing.fillStyle = "white";
      drawing.font = "30px sans-serif";
      drawing.fillText(String(n), 10, 70);
      const blob = await canvas.convertToBlob({ type: "image/jpeg" });
      const bytes = new Uint8Array(await blob.arrayBuffer());
      const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      embedded.set(hash, { latents: Float32Array.from({ length: 2048 }, () => Math.random()), width: 128, height: 128, thumbnail: bytes });
      pictures.push({ name: `${n}.jpg`, hash, file: new File([bytes], `${n}.jpg`, { type: "image/jpeg" }) });
    }
    for (const [i, { id }] of project.classes.entries()) project = addPictures(project, id, pictures.filter((_, n) => n % 10 === i)).project;
    await store.saveEmbedded(fingerprint, embedded);
    await store.saveProject(emptyProject, project);
  }, { fingerprint, count: PROJECT });
  await page.close();

  const summary = `10 classes · ${PROJECT.toLocaleString("en")} pictures`;
  for (let visit = 1; visit <= 3; visit++) {
    const page = await context.newPage();
    await page.addInitScript((summary) => {
      const seen = (self.seen = {});
      const check = () => {
        if (!seen.classes && document.querySelector("#teach-summary")?.textContent?.includes(summary)) seen.classes = performance.now();
        if (!seen.picture && [...document.querySelectorAll(".tile img")].some((image) => image.complete && image.naturalWidth)) seen.picture = performance.now();
        const tiles = [...document.querySelectorAll(".tile")];
        if (!seen.latents && tiles.length && tiles.every((tile) => !tile.hasAttribute("data-waiting"))) seen.latents = performance.now();
        if (!seen.ready && /^Ready/.test(document.querySelector("#status")?.textContent ?? "")) seen.ready = performance.now();
        if (!seen.latents || !seen.picture || !seen.ready) requestAnimationFrame(check);
      };
      requestAnimationFrame(check);
      seen.longest = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (seen.longest = Math.max(seen.longest, duration)))).observe({ type: "longtask", buffered: true });
    }, summary);
    await page.goto(`${address}?device=cpu`);
    await page.waitForFunction(() => self.seen.latents && self.seen.picture && self.seen.ready, null, LONG);
    const seen = await page.evaluate(() => self.seen);
    console.log(
      `visit ${visit}: ${PROJECT} pictures listed after ${(seen.classes / 1000).toFixed(2)} s, first thumbnail after ${(seen.picture / 1000).toFixed(2)} s, ` +
        `network ready after ${(seen.ready / 1000).toFixed(2)} s, latents loaded after ${(seen.latents / 1000).toFixed(2)} s; longest task ${seen.longest.toFixed(0)} ms`,
    );
    if (visit === 3) await scroll(page);
    await page.close();
  }
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}

/** @param {Page} page */
async function scroll(page) {
  const gallery = page.getByRole("listbox", { name: /pictures/i }).first();
  await gallery.scrollIntoViewIfNeeded();
  await page.waitForTimeout(1000);
  const box = await gallery.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.evaluate(() => {
    self.frames = [];
    let last = performance.now();
    const tick = (/** @type {number} */ now) => {
      self.frames.push(now - last);
      last = now;
      self.raf = requestAnimationFrame(tick);
    };
    self.raf = requestAnimationFrame((now) => ((last = now), (self.raf = requestAnimationFrame(tick))));
  });
  const start = Date.now();
  while (Date.now() - start < 8000) {
    await page.mouse.wheel(0, 240);
    await page.waitForTimeout(16);
  }
  const { frames, top, tiles } = await page.evaluate(() => {
    cancelAnimationFrame(self.raf);
    return { frames: self.frames, top: document.querySelector(".tile")?.closest("[role=listbox]")?.scrollTop, tiles: document.querySelectorAll(".tile").length };
  });
  const sorted = frames.toSorted((a, b) => a - b);
  const total = frames.reduce((sum, each) => sum + each, 0);
  console.log(
    `scrolling: ${(frames.length / total * 1000).toFixed(1)} frames per second over ${(total / 1000).toFixed(1)} s and ${top.toFixed(0)} pixels; ` +
      `median ${median(frames).toFixed(1)} ms, 95 % within ${sorted[Math.floor(sorted.length * 0.95)].toFixed(1)} ms, longest ${sorted.at(-1).toFixed(1)} ms; ${tiles} tiles in the document`,
  );
}

const { address, stop } = await startServer(values.port);
const gpu = values.device === "webgpu" ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"] : ["--disable-gpu"];
const launch = { executablePath: findChromium(), args: ["--no-sandbox", ...gpu] };
try {
  if (PICTURES && TRAININGS) await repeatedWork();
  if (PROJECT) await manyPictures();
} finally {
  stop();
}
