#!/usr/bin/env node
/**
 * Times Inception V3 from pictures to latents: our page beside onnxruntime-web, TF.js and LiteRT.js, in one Chromium, in turn. See README.md.
 *
 *     node inference.js [--device cpu|webgpu|all] [--batch 1,8] [--rounds N] [--gpu software|hardware] [--only ours,ort,...] [--patience SECONDS] [--json]
 *
 * CHROMIUM: the browser, else one on the PATH, else Playwright's own. SITE: the built site, else ../target/site.
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
/** Of the pictures of `tests/golden`; a batch takes them in turn. */
const PICTURES = ["rocket", "cat", "shuttle"];
/** On each device: the script of a side, and how it is called there. Ours is first. */
const SIDES = {
  cpu: [["ours", "cpu"], ["ort", "cpu"], ["tfjs", "cpu"], ["litert", "cpu"]],
  webgpu: [["ours", "webgpu"], ["ort", "webgpu"], ["tfjs", "webgpu"], ["tfjs", "webgl"], ["litert", "webgpu"]],
};
const NAMES = { ours: "inception-web", ort: "onnxruntime-web", tfjs: "TF.js", litert: "LiteRT.js" };
const WAYS = { cpu: "wasm", webgpu: "WebGPU", webgl: "WebGL" };
/** Latents that are further from Keras's are not Inception V3's: the row tells no time. */
const FURTHEST = 1e-3;
/** What is timed in a visit: as many runs as take about this long, after a first answer and a warm-up. */
const VISIT_MILLISECONDS = 3000, WARM_UP_MILLISECONDS = 500;
/** A batch that would take longer than this at the speed of one picture is left out. */
const BATCH_MILLISECONDS = 20_000;
/** In software a GPU takes ten times as long as the CPU: a round more tells nothing new. */
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
/** A visit that takes longer is given up. */
const patience = Number(options.patience) * 1000;
const rounds = Number(options.rounds);
if (!(rounds >= 1)) throw new Error("--rounds: at least 1");
const batches = options.batch.split(",").map(Number);
if (!batches.every((batch) => batch === 1 || batch === 8)) throw new Error("--batch: 1, 8 or 1,8");
if (!(options.gpu in GPU)) throw new Error(`--gpu: ${Object.keys(GPU).join(" or ")}`);
if (options.device !== "all" && !(options.device in SIDES)) throw new Error(`--device: ${Object.keys(SIDES).join(", ")} or all`);
const devices = options.device === "all" ? Object.keys(SIDES) : [options.device];
const only = options.only.split(",");
const say = (line = "") => (options.json ? console.error(line) : console.log(line));

/** What it is that ran. */
const version = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8")).version;
const peers = Object.fromEntries(["onnxruntime-web", "@tensorflow/tfjs-core", "@litertjs/core"].map((name) => [name, version(name)]));

/** Processor seconds of all the browser's processes so far, and the processes of pages. */
async function processes(client) {
  const { processInfo } = await client.send("SystemInfo.getProcessInfo");
  return { seconds: processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0), pages: processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id) };
}

/** The most memory that a process has had, in MB; nothing where the system does not tell. */
function peak(id) {
  const file = `/proc/${id}/status`;
  const found = existsSync(file) && readFileSync(file, "utf8").match(/^VmHWM:\s+(\d+) kB$/m);
  return found ? Number(found[1]) * 1024 / 1e6 : null;
}

/** How far latents are from Keras's. */
function deviation(latents, names) {
  if (latents.length !== names.length * LATENTS) throw new Error(`gave ${latents.length} numbers for ${names.length} pictures`);
  const differences = names.map((name, row) => compare(latents.slice(row * LATENTS, (row + 1) * LATENTS), golden(`${name}.latents`)).furthest);
  // NaN is no maximum.
  return differences.some(Number.isNaN) ? Infinity : Math.max(...differences);
}

function rightOrThrow(latents, names) {
  const furthest = deviation(latents, names);
  if (!(furthest <= FURTHEST)) throw new Error(`its latents are wrong: off by ${furthest.toExponential(1)} from Keras's, more than ${FURTHEST}`);
  return furthest;
}

/** What failed, in a line. */
const sentence = (error) => String(error.message ?? error).replace(/^page\.\w+: (Error: )?/, "").split("\n")[0];

/** Opens a page anew and lets it answer; closes it. */
async function visit({ browser, client, origin, sent }, { script, device, names, timed }) {
  const before = await processes(client);
  const context = await browser.newContext();
  const late = wait(patience, null, { ref: false }).then(() => { throw new Error(`no answer in ${patience / 1000} s`); });
  late.catch(() => {});
  try {
    const page = await context.newPage();
    const broken = new Promise((_, reject) => {
      page.on("pageerror", (error) => reject(error));
      page.on("crash", () => reject(new Error("the page crashed")));
    });
    broken.catch(() => {});
    const call = (work, argument) => Promise.race([page.evaluate(work, argument), late, broken]);
    sent.clear();
    await page.goto(`${origin}/bench/inference/index.html?runtime=${script}&device=${device}&pictures=${names.join(",")}`, { waitUntil: "commit" });
    const first = await call(async () => (await import("/bench/inference/visit.js")).first);
    const bytes = [...sent].reduce((sum, [path, bytes]) => sum + (/\.(f32|png|html)$|\/bench\//.test(path) ? 0 : bytes), 0);
    const told = { name: first.name, first: first.milliseconds, bytes, furthest: rightOrThrow(first.latents, names) };
    if (timed) {
      await call(async () => (await import("/bench/inference/visit.js")).settle());
      const again = (runs) => call(async (runs) => (await import("/bench/inference/visit.js")).again(runs), runs);
      const measure = async (runs) => {
        const start = await processes(client);
        const { times, latents } = await again(runs);
        const end = await processes(client);
        return { times, latents, pages: end.pages, processor: (end.seconds - start.seconds) * 1000 / runs };
      };
      let measured = await measure(1);
      const [one] = measured.times;
      // What takes long has no need of more warming up than the first answer.
      if (one < VISIT_MILLISECONDS) {
        await again(Math.ceil(WARM_UP_MILLISECONDS / one));
        measured = await measure(Math.max(2, Math.round(VISIT_MILLISECONDS / one)));
      }
      told.times = measured.times.map((time) => time / names.length);
      told.processor = measured.processor / names.length;
      told.furthest = Math.max(told.furthest, rightOrThrow(measured.latents, names));
      const peaks = measured.pages.filter((id) => !before.pages.includes(id)).map(peak);
      told.memory = peaks.length && peaks.every((one) => one !== null) ? Math.max(...peaks) : null;
    }
    return told;
  } finally {
    await context.close();
  }
}

/** All sides on one device with one batch, round by round. */
async function timeDevice(host, device, batch, alone) {
  const names = Array.from({ length: batch }, (_, row) => PICTURES[row % PICTURES.length]);
  const sides = SIDES[device].filter(([script]) => only.includes(script)).map(([script, way]) => ({ script, way, name: `${NAMES[script]}, ${WAYS[way]}`, visits: [], failure: null }));
  const attempt = async (side, timed) => {
    try {
      return await visit(host, { script: side.script, device: side.way, names, timed });
    } catch (error) {
      side.failure = sentence(error);
      say(`${side.name}, batch ${batch}: ${side.failure}`);
      return null;
    }
  };
  // Not timed: the server packs its files, and the browser's own start is over.
  for (const side of sides) {
    const slow = alone?.find(({ name }) => name === side.name);
    if (slow?.failure) side.failure = slow.failure;
    else if (slow && slow.steady.median * batch > BATCH_MILLISECONDS) side.failure = `left out: at ${Math.round(slow.steady.median)} ms a picture, a batch of ${batch} takes too long`;
    else if (!alone) await attempt(side, false);
  }
  const most = device === "webgpu" && options.gpu === "software" ? Math.min(rounds, SOFTWARE_ROUNDS) : rounds;
  for (let round = 0; round < most; round += 1) {
    for (const side of sides.filter(({ failure }) => !failure)) {
      const told = await attempt(side, true);
      if (!told) continue;
      side.visits.push(told);
      say(`round ${round + 1}, batch ${batch}, ${told.name}: first ${Math.round(told.first)} ms, then ${summary(told.times).median.toFixed(0)} ms a picture`);
    }
  }
  return sides.map(({ script, name, visits, failure }) => {
    if (failure) return { device, batch, script, name, failure };
    const of = (part) => visits.map((told) => told[part]);
    const memory = of("memory");
    return {
      device, batch, script, name,
      told: visits[0].name,
      first: summary(of("first")),
      steady: summary(visits.flatMap(({ times }) => times)),
      processor: summary(of("processor")),
      memory: memory.includes(null) ? null : Math.max(...memory),
      bytes: Math.max(...of("bytes")),
      furthest: Math.max(...of("furthest")),
      visits,
    };
  });
}

/** Ours as a share of the best peer's, where ours and a peer's are there. */
function ratios(rows) {
  const [ours, ...peers] = rows.filter(({ failure }) => !failure);
  if (ours?.script !== "ours" || !peers.length) return null;
  const share = (value) => {
    const best = peers.reduce((best, peer) => (value(peer) < value(best) ? peer : best));
    return { ratio: value(ours) / value(best), peer: best.name };
  };
  return { steady: share((row) => row.steady.median), processor: share((row) => row.processor.median), first: share((row) => row.first.median) };
}

const whole = (value) => Math.round(value).toLocaleString("en-GB");

function table(rows) {
  const head = ["batch", "runtime", "first answer, ms", "steady, ms an image", "middle half", "CPU ms an image", "peak memory of the tab, MB", "over the wire, MB", "max abs diff to Keras"];
  const body = rows.map((row) => row.failure
    ? [row.batch, row.name, row.failure, "", "", "", "", "", ""]
    : [row.batch, row.name, whole(row.first.median), whole(row.steady.median), `${whole(row.steady.low)} - ${whole(row.steady.high)}`, whole(row.processor.median), row.memory === null ? "not told here" : whole(row.memory), (row.bytes / 1e6).toFixed(1), row.furthest.toExponential(0)]);
  const lines = [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |`);
  return lines.join("\n");
}

const folder = await models(say);
const sent = new Map();
const host = await launch({
  flags: GPU[options.gpu],
  folders: { models: folder, golden: join(here, "../tests/golden") },
  packed: join(folder, "packed"),
  sent: (path, bytes) => sent.set(path, (sent.get(path) ?? 0) + bytes),
});
try {
  const { machine, site } = host;
  const page = JSON.parse(readFileSync(join(site, "pkg/site.json"), "utf8")).version;
  const versions = { "inception-web": page, ...peers };
  const client = await host.browser.newBrowserCDPSession();
  say(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}; ${rounds} rounds in turn`);
  say(Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", "));
  const results = [];
  for (const device of devices) {
    let alone;
    for (const batch of batches) {
      const rows = await timeDevice({ ...host, client, sent }, device, batch, alone);
      if (batch === 1) alone = rows;
      results.push({ device, batch, rows, ratios: ratios(rows) });
    }
  }
  for (const device of devices) {
    const own = results.filter((result) => result.device === device);
    say(`\n${device === "cpu" ? "CPU" : `GPU, ${options.gpu}`}\n`);
    say(table(own.flatMap(({ rows }) => rows)));
    for (const { batch, ratios } of own) {
      if (!ratios) continue;
      const part = (name, { ratio, peer }) => `${name} ${ratio.toFixed(2)} (${peer})`;
      say(`\nOurs / best peer, batch ${batch}: ${part("steady", ratios.steady)}, ${part("CPU time", ratios.processor)}, ${part("first answer", ratios.first)}`);
    }
  }
  if (options.json) console.log(JSON.stringify({ machine, versions, gpu: options.gpu, rounds, results }, null, 2));
  if (results.some(({ rows }) => rows.every(({ failure }) => failure))) process.exitCode = 1;
} finally {
  await host.close();
}
