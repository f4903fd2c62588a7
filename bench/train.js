#!/usr/bin/env node
/**
 * Times an epoch of head training: ours against TF.js's wasm backend, in one Chromium, in turn. See README.md.
 *
 *     node train.js [--rounds N] [--json]
 *
 * CHROMIUM: the browser, else one on the PATH, else Playwright's own. SITE: the built site, else ../target/site.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import os from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const WORK = { rows: 2000, classes: 10, batch: 64, learningRate: 1e-3, seed: 1 };
const HEADS = [{ name: "hidden 256", hidden: 256 }, { name: "linear", hidden: 0 }];
/** Of ours in a round; the first is not timed. */
const EPOCHS = 4;

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "7" }, json: { type: "boolean", default: false } } });
const rounds = Number(options.rounds);
const here = dirname(fileURLToPath(import.meta.url));
const folders = { site: resolve(process.env.SITE ?? join(here, "../target/site")), npm: join(here, "node_modules"), bench: here };
if (!(rounds >= 5)) throw new Error("--rounds: at least 5");
if (!existsSync(join(folders.site, "engine.js"))) {
  throw new Error(`${folders.site}: no built site; run \`cargo run --release -- build --out target/site\`, or name its folder by SITE`);
}
const say = (line = "") => (options.json ? console.error(line) : console.log(line));

/** The first of these browsers that is there; undefined leaves the choice to Playwright. */
function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      // The next one.
    }
  }
  return undefined;
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

/** Serves the three folders and an empty page; not cross-origin isolated, as most pages are not: neither side gets threads. */
const server = createServer(async (request, response) => {
  const [, folder, ...path] = decodeURIComponent(new URL(request.url, "http://localhost").pathname).split("/");
  const root = folders[folder];
  const file = root && join(root, ...path);
  try {
    const body = folder === "" ? "<!doctype html><title>bench</title>" : await readFile(file);
    response.setHeader("content-type", folder === "" ? "text/html" : TYPES[extname(file)] ?? "application/octet-stream");
    response.setHeader("content-length", Buffer.byteLength(body));
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, q) => {
  const at = (values.length - 1) * q;
  const [low, high] = [values[Math.floor(at)], values[Math.ceil(at)]];
  return low + (high - low) * (at % 1);
};
/** Median and the range of the middle half. */
function summary(values) {
  const order = sorted(values);
  const [low, median, high] = [0.25, 0.5, 0.75].map((q) => quantile(order, q));
  return { median, low, high };
}

const browser = await chromium.launch({ executablePath: browserPath(), args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  /** Calls an export of page.js in the page. */
  const call = (name, ...args) => page.evaluate(async ([name, args]) => (await import("/bench/page.js"))[name](...args), [name, args]);

  const opened = await call("open", WORK);
  const machine = { browser: `Chromium ${browser.version()}`, cpu: os.cpus()[0]?.model.trim() ?? "unknown", cores: os.availableParallelism(), date: new Date().toISOString() };
  say(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}`);
  say(`ours: ${opened.ours}; theirs: ${opened.theirs}`);
  say(`${WORK.rows} x 2048 latents (mean ${opened.table.mean.toFixed(2)}, ${(100 * opened.table.zeros).toFixed(0)} % zeros), ${WORK.classes} classes, batch ${WORK.batch}, Adam, ${rounds} rounds in turn after a warm-up`);

  const results = [];
  for (const { name, hidden } of HEADS) {
    // Warm-up, of every way to train with TF.js; timed are the faster of the two usual ones, and the one that takes insight.
    await call("build", hidden);
    const tried = {};
    for (const way of ["fit", "loop", "transposed"]) {
      const epochs = [await call("theirs", way), await call("theirs", way), await call("theirs", way)];
      tried[way] = Math.min(...epochs.slice(1).map((epoch) => epoch.milliseconds));
    }
    await call("ours", hidden, EPOCHS);
    await call("build", hidden);

    const usual = tried.fit <= tried.loop ? "fit" : "loop";
    const names = { ours: "inception-web", fit: "TF.js, model.fit", loop: "TF.js, loop by hand", transposed: "TF.js, own gradients" };
    const sides = Object.fromEntries(["ours", usual, "transposed"].map((side) => [side, { times: [], losses: [] }]));
    for (let round = 0; round < rounds; round += 1) {
      for (const way of [usual, "transposed"]) {
        const epoch = await call("theirs", way);
        if (epoch.steps !== Math.ceil(WORK.rows / WORK.batch)) throw new Error(`TF.js made ${epoch.steps} steps`);
        sides[way].times.push(epoch.milliseconds);
        sides[way].losses.push(epoch.loss);
      }
      const { milliseconds, losses } = await call("ours", hidden, EPOCHS);
      sides.ours.times.push(quantile(sorted(milliseconds), 0.5));
      sides.ours.losses = losses;
    }
    say();
    say(`${name.padEnd(22)}ms an epoch   middle half        loss, first to last   ours is faster by`);
    const ours = summary(sides.ours.times).median;
    const result = { head: name, tried, sides: {} };
    for (const [side, { times, losses }] of Object.entries(sides)) {
      if (!(losses.at(-1) < losses[0])) throw new Error(`${name}: the loss of ${names[side]} does not fall: ${losses.join(", ")}`);
      const { median, low, high } = summary(times);
      const ratio = median / ours;
      result.sides[side] = { name: names[side], median, low, high, ratio, times, losses };
      say(`${names[side].padEnd(22)}${median.toFixed(1).padStart(11)}   ${`${low.toFixed(1)} - ${high.toFixed(1)}`.padEnd(16)}   ${`${losses[0].toFixed(3)} -> ${losses.at(-1).toFixed(3)}`.padEnd(19)}   ${side === "ours" ? "" : `${ratio.toFixed(1)} x`}`.trimEnd());
    }
    results.push(result);
  }
  if (options.json) console.log(JSON.stringify({ machine, work: WORK, rounds, ...opened, results }, null, 2));
} finally {
  await browser.close();
  server.close();
}
