#!/usr/bin/env node
/**
 * Times Inception V3 from pictures to latents: inception-web, onnxruntime-web, TF.js and LiteRT.js alternate in one Chromium. See README.md.
 *
 *     node inference.js [--device cpu|webgpu|all] [--batch 1,8] [--rounds N] [--gpu software|hardware] [--only ours,ort,...] [--patience SECONDS] [--json]
 *
 * Environment variables: CHROMIUM (default: from PATH, else Playwright's), SITE (the built site; default: ../target/site).
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compare, golden } from "../tests/browser/golden.js";
import { launch, summary } from "./host.js";
import { models } from "./models.js";

const here = dirname(fileURLToPath(import.meta.url));
const LATENTS = 2048;
/** Pictures of `tests/golden`; a batch repeats them. */
const PICTURES = ["rocket", "cat", "shuttle"];
/** For each device: the script of each runtime, and its backend. inception-web is first. */
const RUNTIMES = {
  cpu: [["ours", "cpu"], ["ort", "cpu"], ["tfjs", "cpu"], ["litert", "cpu"]],
  webgpu: [["ours", "webgpu"], ["ort", "webgpu"], ["tfjs", "webgpu"], ["tfjs", "webgl"], ["litert", "webgpu"]],
};
const NAMES = { ours: "inception-web", ort: "onnxruntime-web", tfjs: "TF.js", litert: "LiteRT.js" };
const BACKENDS = { cpu: "wasm", webgpu: "WebGPU", webgl: "WebGL" };
/** Tolerance for latents, compared with Keras. A runtime that exceeds it gets no timing. */
const MAX_DIFFERENCE = 1e-3;
/** Approximate durations of the timed runs and of the warm-up, after the first result. */
const VISIT_MILLISECONDS = 3000, WARM_UP_MILLISECONDS = 500;
/** A batch is skipped if it is expected to take longer. */
const BATCH_MILLISECONDS = 20_000;
/** A software GPU is ten times slower than the CPU, so more rounds are not worth their time. */
const SOFTWARE_ROUNDS = 2;
const GPU = {
  software: ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
  hardware: ["--enable-unsafe-webgpu", "--enable-features=Vulkan", "--ignore-gpu-blocklist"],
};

const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "all" },
    batch: { type: "string", default: "1,8" },
    rounds: { type: "string", default: "5" },
    gpu: { type: "string", default: "software" },
    patience: { type: "string", default: "180" },
    only: { type: "string", default: Object.keys(NAMES).join(",") },
    json: { type: "boolean", default: false },
  },
});
/** Timeout of a visit. */
const timeout = Number(options.patience) * 1000;
const rounds = Number(options.rounds);
if (!(rounds >= 1)) throw new Error(`invalid --rounds: got ${options.rounds}, expected at least 1`);
const batches = options.batch.split(",").map(Number);
if (!batches.every((batch) => batch === 1 || batch === 8)) throw new Error(`invalid --batch: got ${options.batch}, expected 1, 8 or 1,8`);
if (!(options.gpu in GPU)) throw new Error(`invalid --gpu: got ${options.gpu}, expected ${Object.keys(GPU).join(" or ")}`);
if (options.device !== "all" && !(options.device in RUNTIMES)) throw new Error(`invalid --device: got ${options.device}, expected ${Object.keys(RUNTIMES).join(", ")} or all`);
const devices = options.device === "all" ? Object.keys(RUNTIMES) : [options.device];
const only = options.only.split(",");
const log = (line = "") => (options.json ? console.error(line) : console.log(line));

const version = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8")).version;
const peers = Object.fromEntries(["onnxruntime-web", "@tensorflow/tfjs-core", "@litertjs/core"].map((name) => [name, version(name)]));

/** Total CPU time of all browser processes, and the process ids of pages. */
async function processes(client) {
  const { processInfo } = await client.send("SystemInfo.getProcessInfo");
  return { seconds: processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0), pages: processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id) };
}

/** Peak memory of a process in MB; null if /proc is not available. */
function peakMemory(id) {
  const file = `/proc/${id}/status`;
  const found = existsSync(file) && readFileSync(file, "utf8").match(/^VmHWM:\s+(\d+) kB$/m);
  return found ? Number(found[1]) * 1024 / 1e6 : null;
}

/** Maximum absolute difference of latents from those of Keras. */
function maxDifferenceToKeras(latents, names) {
  if (latents.length !== names.length * LATENTS) throw new Error(`got ${latents.length} numbers for ${names.length} pictures`);
  const differences = names.map((name, row) => compare(latents.slice(row * LATENTS, (row + 1) * LATENTS), golden(`${name}.latents`)).maxDifference);
  return differences.some(Number.isNaN) ? Infinity : Math.max(...differences);
}

/** @throws {Error} if the latents are wrong */
function verify(latents, names) {
  const maxDifference = maxDifferenceToKeras(latents, names);
  if (!(maxDifference <= MAX_DIFFERENCE)) throw new Error(`wrong latents: max abs diff to Keras is ${maxDifference.toExponential(1)}, expected at most ${MAX_DIFFERENCE}`);
  return maxDifference;
}

/** The first line of an error message, without the prefix of Playwright. */
const messageOf = (error) => String(error.message ?? error).replace(/^page\.\w+: (Error: )?/, "").split("\n")[0];

/** Measures a runtime in a new page. */
async function visit({ browser, client, origin, sentBytes }, { script, device, names, timed }) {
  const before = await processes(client);
  const context = await browser.newContext();
  const timedOut = wait(timeout, null, { ref: false }).then(() => { throw new Error(`timeout after ${timeout / 1000} s`); });
  timedOut.catch(() => {});
  try {
    const page = await context.newPage();
    const failed = new Promise((_, reject) => {
      page.on("pageerror", (error) => reject(error));
      page.on("crash", () => reject(new Error("the page crashed")));
    });
    failed.catch(() => {});
    const call = (pageFunction, argument) => Promise.race([page.evaluate(pageFunction, argument), timedOut, failed]);
    sentBytes.clear();
    await page.goto(`${origin}/bench/inference/index.html?runtime=${script}&device=${device}&pictures=${names.join(",")}`, { waitUntil: "commit" });
    const first = await call(async () => (await import("/bench/inference/visit.js")).first);
    const bytes = [...sentBytes].reduce((sum, [path, bytes]) => sum + (/\.(f32|png|html)$|\/bench\//.test(path) ? 0 : bytes), 0);
    const result = { name: first.name, first: first.milliseconds, bytes, maxDifference: verify(first.latents, names) };
    if (timed) {
      await call(async () => (await import("/bench/inference/visit.js")).prepare());
      const repeat = (runs) => call(async (runs) => (await import("/bench/inference/visit.js")).repeat(runs), runs);
      const measure = async (runs) => {
        const start = await processes(client);
        const { times, latents } = await repeat(runs);
        const end = await processes(client);
        return { times, latents, pages: end.pages, processor: (end.seconds - start.seconds) * 1000 / runs };
      };
      let measured = await measure(1);
      const [one] = measured.times;
      // A slow runtime needs no more warm-up than the first result.
      if (one < VISIT_MILLISECONDS) {
        await repeat(Math.ceil(WARM_UP_MILLISECONDS / one));
        measured = await measure(Math.max(2, Math.round(VISIT_MILLISECONDS / one)));
      }
      result.times = measured.times.map((time) => time / names.length);
      result.processor = measured.processor / names.length;
      result.maxDifference = Math.max(result.maxDifference, verify(measured.latents, names));
      const peaks = measured.pages.filter((id) => !before.pages.includes(id)).map(peakMemory);
      result.memory = peaks.length && peaks.every((peak) => peak !== null) ? Math.max(...peaks) : null;
    }
    return result;
  } finally {
    await context.close();
  }
}

/** Times all runtimes on a device with a batch size. `singles` are the results with batch 1, if known. */
async function timeDevice(host, device, batch, singles) {
  const names = Array.from({ length: batch }, (_, row) => PICTURES[row % PICTURES.length]);
  const runtimes = RUNTIMES[device].filter(([script]) => only.includes(script)).map(([script, backend]) => ({ script, backend, name: `${NAMES[script]}, ${BACKENDS[backend]}`, visits: [], failure: null }));
  const attempt = async (runtime, timed) => {
    try {
      return await visit(host, { script: runtime.script, device: runtime.backend, names, timed });
    } catch (error) {
      runtime.failure = messageOf(error);
      log(`${runtime.name}, batch ${batch}: ${runtime.failure}`);
      return null;
    }
  };
  // An untimed first visit: the server compresses its files, and the browser finishes its startup.
  for (const runtime of runtimes) {
    const single = singles?.find(({ name }) => name === runtime.name);
    if (single?.failure) runtime.failure = single.failure;
    else if (single && single.steady.median * batch > BATCH_MILLISECONDS) runtime.failure = `skipped: a batch of ${batch} takes too long at ${Math.round(single.steady.median)} ms per picture`;
    else if (!singles) await attempt(runtime, false);
  }
  const maxRounds = device === "webgpu" && options.gpu === "software" ? Math.min(rounds, SOFTWARE_ROUNDS) : rounds;
  for (let round = 0; round < maxRounds; round += 1) {
    for (const runtime of runtimes.filter(({ failure }) => !failure)) {
      const result = await attempt(runtime, true);
      if (!result) continue;
      runtime.visits.push(result);
      log(`round ${round + 1}, batch ${batch}, ${result.name}: first result ${Math.round(result.first)} ms, then ${summary(result.times).median.toFixed(0)} ms per picture`);
    }
  }
  return runtimes.map(({ script, name, visits, failure }) => {
    if (failure) return { device, batch, script, name, failure };
    const values = (key) => visits.map((visit) => visit[key]);
    const memory = values("memory");
    return {
      device, batch, script, name,
      deviceName: visits[0].name,
      first: summary(values("first")),
      steady: summary(visits.flatMap(({ times }) => times)),
      processor: summary(values("processor")),
      memory: memory.includes(null) ? null : Math.max(...memory),
      bytes: Math.max(...values("bytes")),
      maxDifference: Math.max(...values("maxDifference")),
      visits,
    };
  });
}

/** Ratios of inception-web to the best other runtime; null if either is missing. */
function ratios(rows) {
  const [ours, ...peers] = rows.filter(({ failure }) => !failure);
  if (ours?.script !== "ours" || !peers.length) return null;
  const ratioOf = (value) => {
    const best = peers.reduce((best, peer) => (value(peer) < value(best) ? peer : best));
    return { ratio: value(ours) / value(best), peer: best.name };
  };
  return { steady: ratioOf((row) => row.steady.median), processor: ratioOf((row) => row.processor.median), first: ratioOf((row) => row.first.median) };
}

const integer = (value) => Math.round(value).toLocaleString("en-GB");

function table(rows) {
  const head = ["batch", "runtime", "first result, ms", "steady state, ms / image", "middle half", "CPU ms / image", "peak memory of the tab, MB", "download, MB", "max abs diff to Keras"];
  const body = rows.map((row) => row.failure
    ? [row.batch, row.name, row.failure, "", "", "", "", "", ""]
    : [row.batch, row.name, integer(row.first.median), integer(row.steady.median), `${integer(row.steady.low)} - ${integer(row.steady.high)}`, integer(row.processor.median), row.memory === null ? "unknown" : integer(row.memory), (row.bytes / 1e6).toFixed(1), row.maxDifference.toExponential(0)]);
  const lines = [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`);
  return lines.join("\n");
}

const folder = await models(log);
const sentBytes = new Map();
const host = await launch({
  flags: GPU[options.gpu],
  folders: { models: folder, golden: join(here, "../tests/golden") },
  cacheFolder: join(folder, "packed"),
  onSent: (path, bytes) => sentBytes.set(path, (sentBytes.get(path) ?? 0) + bytes),
});
try {
  const { machine, site } = host;
  const siteVersion = JSON.parse(readFileSync(join(site, "pkg/site.json"), "utf8")).version;
  const versions = { "inception-web": siteVersion, ...peers };
  const client = await host.browser.newBrowserCDPSession();
  log(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}; ${rounds} alternating rounds`);
  log(Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", "));
  const results = [];
  for (const device of devices) {
    let singles;
    for (const batch of batches) {
      const rows = await timeDevice({ ...host, client, sentBytes }, device, batch, singles);
      if (batch === 1) singles = rows;
      results.push({ device, batch, rows, ratios: ratios(rows) });
    }
  }
  for (const device of devices) {
    const deviceResults = results.filter((result) => result.device === device);
    log(`\n${device === "cpu" ? "CPU" : `GPU, ${options.gpu}`}\n`);
    log(table(deviceResults.flatMap(({ rows }) => rows)));
    for (const { batch, ratios } of deviceResults) {
      if (!ratios) continue;
      const text = (name, { ratio, peer }) => `${name} ${ratio.toFixed(2)} (${peer})`;
      log(`\ninception-web / best other runtime, batch ${batch}: ${text("steady state", ratios.steady)}, ${text("CPU time", ratios.processor)}, ${text("first result", ratios.first)}`);
    }
  }
  if (options.json) console.log(JSON.stringify({ machine, versions, gpu: options.gpu, rounds, results }, null, 2));
  if (results.some(({ rows }) => rows.every(({ failure }) => failure))) process.exitCode = 1;
} finally {
  await host.close();
}
