// Makes the screenshots of the README, .github/{page,train,ways}-{light,dark}.png: `node tests/screenshots.js`, after `cargo run --release`. It takes minutes.
// Options: --url http://127.0.0.1:8080/ uses a running server; --port 8096 is the port of the server that is started otherwise.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { deflateSync, inflateSync } from "node:zlib";
import { chromium } from "@playwright/test";
import { chunk } from "./browser/pictures.js";
import { findChromium } from "./chromium.js";
import { startServer } from "./server.js";

/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {import("@playwright/test").Locator} Locator */

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({ options: { url: { type: "string" }, port: { type: "string", default: "8096" } } });
const LONG = { timeout: 600_000 };
const WIDTH = 1280;
/** Pixels around what is shown. */
const GAP = 24;
const MAX_BYTES = 400_000;
/** In large files, colours are rounded to multiples of this: not visible, and a quarter smaller. */
const COLOUR_STEP = 3;

// ---- a small picture set in CIFAR-10's binary format: ten shapes in random colours, sizes and positions ----

/** Each tests whether a point belongs to the shape, which reaches from -1 to 1. @type {Record<string, (x: number, y: number) => boolean>} */
const SHAPES = {
  circle: (x, y) => Math.hypot(x, y) < 0.9,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.8,
  triangle: (x, y) => y < 0.8 && y > 2 * Math.abs(x) - 0.9,
  cross: (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.27 && Math.max(Math.abs(x), Math.abs(y)) < 0.95,
  ring: (x, y) => Math.abs(Math.hypot(x, y) - 0.7) < 0.22,
  star: (x, y) => Math.hypot(x, y) < 0.62 + 0.33 * Math.cos(5 * Math.atan2(x, -y)),
  moon: (x, y) => Math.hypot(x, y) < 0.9 && Math.hypot(x - 0.45, y) > 0.75,
  heart: (x, y) => (x * x + y * y - 0.5) ** 3 + x * x * y ** 3 < 0,
  stripes: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.95 && Math.cos(10 * y) > 0,
  dots: (x, y) => Math.max(Math.abs(x), Math.abs(y)) < 0.95 && Math.hypot(Math.abs(x) - 0.47, Math.abs(y) - 0.47) < 0.33,
};
const SIDE = 32;

/** Seeded random numbers from 0 to 1 (mulberry32). @param {number} seed @returns {() => number} */
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One record: the label, then the red, green and blue plane. @param {number} label @param {() => number} random @returns {Buffer} */
function record(label, random) {
  const inside = Object.values(SHAPES)[label];
  const between = (/** @type {number} */ from, /** @type {number} */ to) => from + random() * (to - from);
  const colour = () => [between(30, 225), between(30, 225), between(30, 225)];
  const back = colour();
  let front = colour();
  while (Math.hypot(...front.map((value, at) => value - back[at])) < 110) front = colour();
  const [size, angle, left, top] = [between(8, 14), between(-0.4, 0.4), between(13, 19), between(13, 19)];
  const noise = between(5, 25);
  const bytes = Buffer.alloc(1 + 3 * SIDE * SIDE);
  bytes[0] = label;
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      let covered = 0;
      for (const [dx, dy] of [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]) {
        const [u, v] = [(x + dx - left) / size, (y + dy - top) / size];
        covered += inside(u * Math.cos(angle) + v * Math.sin(angle), v * Math.cos(angle) - u * Math.sin(angle)) ? 0.25 : 0;
      }
      for (const plane of [0, 1, 2]) {
        const value = back[plane] + covered * (front[plane] - back[plane]) + between(-noise, noise);
        bytes[1 + plane * SIDE * SIDE + y * SIDE + x] = Math.max(0, Math.min(255, Math.round(value)));
      }
    }
  }
  return bytes;
}

/** @param {string} name @param {number} perClass @param {number} seed */
function batch(name, perClass, seed) {
  const random = randomNumbers(seed);
  const classes = Object.keys(SHAPES).length;
  return file(name, Buffer.concat(Array.from({ length: perClass * classes }, (_, at) => record(at % classes, random))));
}

/** @param {string} name @param {Buffer} buffer */
function file(name, buffer) {
  return { name, mimeType: "application/octet-stream", buffer };
}

// ---- PNG (RFC 2083) ----

/** Encodes a screenshot, an RGB PNG of 8 bits, with rounded colours and the Paeth filter. @param {Buffer} png @returns {Buffer} */
function compress(png) {
  let header = Buffer.alloc(0);
  const parts = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const [type, data] = [png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + png.readUInt32BE(at))];
    if (type === "IHDR") header = data;
    if (type === "IDAT") parts.push(data);
  }
  const [width, height, bits, colours] = [header.readUInt32BE(0), header.readUInt32BE(4), header[8], header[9]];
  if (bits !== 8 || colours !== 2) throw new Error(`screenshot: got a PNG of ${bits} bits and colour type ${colours}, expected 8 and 2`);
  const filtered = inflateSync(Buffer.concat(parts));
  const row = 3 * width;
  const pixels = Buffer.alloc(row * height);
  const neighbours = (/** @type {Buffer} */ of, /** @type {number} */ x, /** @type {number} */ y) => {
    const at = y * row + x;
    return [x < 3 ? 0 : of[at - 3], y ? of[at - row] : 0, x < 3 || !y ? 0 : of[at - row - 3]];
  };
  const predictors = [() => 0, (/** @type {number[]} */ [left]) => left, (/** @type {number[]} */ [, up]) => up, (/** @type {number[]} */ [left, up]) => (left + up) >> 1, paeth];
  for (let y = 0; y < height; y++) {
    const predict = predictors[filtered[y * (row + 1)]];
    for (let x = 0; x < row; x++) pixels[y * row + x] = filtered[y * (row + 1) + 1 + x] + predict(neighbours(pixels, x, y));
  }
  const rounded = Buffer.from(pixels.map((value) => Math.min(255, Math.round(value / COLOUR_STEP) * COLOUR_STEP)));
  const lines = Buffer.alloc((row + 1) * height);
  for (let y = 0; y < height; y++) {
    lines[y * (row + 1)] = predictors.indexOf(paeth);
    for (let x = 0; x < row; x++) lines[y * (row + 1) + 1 + x] = rounded[y * row + x] - paeth(neighbours(rounded, x, y));
  }
  return Buffer.concat([png.subarray(0, 8), chunk("IHDR", header), chunk("IDAT", deflateSync(lines, { level: 9, memLevel: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

/** @param {number[]} neighbours left, above, above left @returns {number} */
function paeth([left, up, corner]) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

// ---- the page ----

/** @param {Page} page */
async function open(page) {
  await page.goto(`${address}?device=cpu`);
  await page.locator("#status").getByText(/^Ready/).waitFor(LONG);
}

/**
 * Saves the part of the page between two elements in both themes.
 * @param {Page} page @param {string} name @param {Locator} first @param {Locator} last @param {number} [above] pixels above the first @param {number} [below] pixels below the last
 */
async function save(page, name, first, last, above = GAP, below = GAP) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.mouse.move(0, 0);
    await page.evaluate(() => /** @type {HTMLElement | null} */ (document.activeElement)?.blur());
    await page.evaluate(() => Promise.all([...document.images].map((image) => image.decode().catch(() => {}))));
    await page.waitForTimeout(500); // charts are redrawn in the colours of the theme
    const top = Math.round(await first.evaluate((element) => element.getBoundingClientRect().top + scrollY) - above);
    const bottom = Math.round(await last.evaluate((element) => element.getBoundingClientRect().bottom + scrollY) + below);
    const clip = { x: 0, y: top, width: WIDTH, height: bottom - top };
    const path = `.github/${name}-${colorScheme}.png`;
    const screenshot = await page.screenshot({ fullPage: true, clip, animations: "disabled", caret: "hide" });
    const png = screenshot.length > MAX_BYTES ? compress(screenshot) : screenshot;
    if (png.length > MAX_BYTES) throw new Error(`${path}: ${png.length} bytes, expected at most ${MAX_BYTES}`);
    writeFileSync(root + path, png);
    console.log(`${path}: ${WIDTH} x ${clip.height}, ${Math.round(png.length / 1000)} kB`);
  }
}

/** Sample pictures and their answers. @param {Page} page */
async function savePage(page) {
  await open(page);
  const samples = ["Cat", "Boats", "Rocket", "Coffee"];
  for (const name of samples) await page.getByRole("button", { name, exact: true }).click();
  await page.locator("#batch-text").getByText(`${samples.length} pictures in`).waitFor(LONG);
  await save(page, "page", page.locator("body"), page.locator("#results"), 0, 14);
}

/** A head trained on the shipped latents, and its evaluation. @param {Page} page */
async function saveTraining(page) {
  await open(page);
  await page.getByRole("button", { name: "Ten-class latents" }).click();
  const training = page.locator("#training");
  await training.getByText("10 classes, 5,000 pictures").waitFor(LONG);
  await training.getByRole("button", { name: "Train", exact: true }).click();
  await training.getByText(/^Validation accuracy/).waitFor(LONG);
  const matrix = page.getByRole("table", { name: "Confusion matrix", exact: true });
  await matrix.waitFor(LONG);
  const dismiss = page.getByRole("button", { name: "Dismiss message" });
  if (await dismiss.isVisible()) await dismiss.click();
  await save(page, "train", training.getByRole("heading", { name: "Train", exact: true }), matrix);
}

/** The three models on the same pictures. @param {Page} page */
async function saveComparison(page) {
  await open(page);
  const [perClass, testPerClass] = [20, 6];
  await page.locator("#three-ways input[type=file]").first().setInputFiles([
    batch("data_batch_1.bin", perClass, 1),
    batch("test_batch.bin", testPerClass, 2),
    file("batches.meta.txt", Buffer.from(`${Object.keys(SHAPES).join("\n")}\n`)),
  ]);
  const compare = page.getByRole("button", { name: "Compare", exact: true });
  await page.getByRole("img", { name: /^The mean picture of/ }).nth(Object.keys(SHAPES).length - 1).waitFor(LONG);
  await compare.click();
  const tiles = page.getByRole("list", { name: "Test pictures" }).locator("> li");
  await tiles.first().waitFor(LONG);
  await compare.waitFor(LONG);
  const results = page.locator("#three-ways .panel-block").filter({ has: page.getByRole("table", { name: "Comparison", exact: true }) });
  await save(page, "ways", results.getByRole("heading").first(), tiles.first(), GAP, 6);
}

const { address, stop } = values.url ? { address: values.url, stop: () => {} } : await startServer(values.port);
try {
  const browser = await chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox", "--disable-gpu"] });
  try {
    for (const part of [savePage, saveTraining, saveComparison]) {
      // A new context has empty storage: no part depends on another.
      const context = await browser.newContext({ serviceWorkers: "block", viewport: { width: WIDTH, height: 900 } });
      await part(await context.newPage());
      await context.close();
    }
  } finally {
    await browser.close();
  }
} finally {
  stop();
}
