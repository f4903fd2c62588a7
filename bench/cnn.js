#!/usr/bin/env node
/**
 * Times a step of training a convolutional network: ours, in the page and native, against TF.js's backends in the same Chromium. See README.md.
 *
 *     node cnn.js [--rounds N] [--json]
 *
 * CHROMIUM: the browser, else one on the PATH, else Playwright's own. SITE: the built site, else ../target/site.
 * NATIVE: the command line, else ../target/release/inception-web.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { open, summary } from "./host.js";

/** The network of `src/baselines.rs`, without its mirrored and moved pictures: those are left to our side alone. */
const NETWORK = [
  ["conv", 32], ["pool"], ["relu"],
  ["conv", 64], ["pool"], ["relu"],
  ["conv", 128], ["pool"], ["relu"],
  ["flatten"], ["dropout", 0.3],
  ["dense", 128], ["relu"], ["dropout", 0.3],
  ["dense", 10],
];
const WORK = { rows: 1280, classes: 10, batch: 64, learningRate: 1e-3, epochs: 2, seed: 1, network: NETWORK };
/** Steps of ours in a round. */
const STEPS = WORK.epochs * Math.ceil(WORK.rows / WORK.batch);
/** TF.js, a round: as many steps as take about this long. */
const ROUND_MILLISECONDS = 2500;
/** A backend that takes longer for a step is given up: the plain JavaScript one takes minutes. */
const PATIENCE_MILLISECONDS = 30_000;
/** What people use, and what takes insight. */
const USUAL = ["fit", "loop"];
const NAMES = { fit: "model.fit", loop: "loop by hand", own: "own gradients" };
/** WebGL and WebGPU in software: this is about the CPU. */
const FLAGS = [
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan",
];

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "7" }, json: { type: "boolean", default: false } } });
const rounds = Number(options.rounds);
if (!(rounds >= 5)) throw new Error("--rounds: at least 5");
const say = (line = "") => (options.json ? console.error(line) : console.log(line));
const native = resolve(process.env.NATIVE ?? join(dirname(fileURLToPath(import.meta.url)), "../target/release/inception-web"));

/** CIFAR-10's binary files: noise, in which each class brightens a tenth of the values. */
async function writePictures(folder) {
  let state = WORK.seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  const bright = Array.from({ length: WORK.classes }, () => Uint8Array.from({ length: 3072 }, () => (next() < 0.1 ? 80 : 0)));
  const file = (rows) => Buffer.concat(Array.from({ length: rows }, (_, row) => {
    const label = row % WORK.classes;
    return Buffer.from([label, ...bright[label].map((more) => 40 + more + 100 * next())]);
  }));
  await writeFile(join(folder, "batches.meta.txt"), Array.from({ length: WORK.classes }, (_, label) => `class ${label}\n`).join(""));
  await writeFile(join(folder, "data_batch_1.bin"), file(WORK.rows));
  await writeFile(join(folder, "test_batch.bin"), file(WORK.classes));
}

/** Trains on the command line. */
async function trainNative(folder) {
  const args = ["compare", folder, "--models", "cnn", "--epochs", String(WORK.epochs), "--test-per-class", "1", "--json"];
  const { stdout } = await promisify(execFile)(native, args, { maxBuffer: 1 << 28 });
  const { models: [model], split } = JSON.parse(stdout);
  return { seconds: model.trainSeconds, pictures: split.training, losses: model.epochs.map(({ loss }) => loss), parameters: model.parameters };
}

/** Milliseconds a step of ours. */
function step({ seconds, pictures, losses, parameters }, expected) {
  if (pictures !== WORK.rows || losses.length !== WORK.epochs) throw new Error(`trained ${losses.length} epochs on ${pictures} pictures`);
  if (parameters !== expected) throw new Error(`ours has ${parameters} parameters, TF.js's network ${expected}: bring NETWORK up to date`);
  return seconds * 1000 / STEPS;
}

const folder = await mkdtemp(join(os.tmpdir(), "cnn-"));
let host;
try {
  await writePictures(folder);
  host = await open({ script: "cnn-page.js", flags: FLAGS, folders: { data: folder } });
  const { call, machine } = host;
  const device = await call("open", WORK);
  say(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}`);
  say(`ours: ${device}; batch ${WORK.batch}, Adam, ${rounds} rounds in turn after a warm-up`);

  // Each way of each backend, in short: the fastest are timed in earnest.
  const tried = [];
  let parameters;
  for (const backend of ["cpu", "wasm", "webgl", "webgpu"]) {
    let failure;
    try {
      ({ parameters } = await call("start", backend));
    } catch (error) {
      failure = error;
    }
    for (const way of [...USUAL, "own"]) {
      const attempt = { backend, way, name: `TF.js ${backend}, ${NAMES[way]}` };
      tried.push(attempt);
      try {
        if (failure) throw failure;
        await call("build", backend, way);
        const first = await Promise.race([call("theirs", backend, way, 1), wait(PATIENCE_MILLISECONDS, null, { ref: false })]);
        if (!first) {
          failure = new Error(`more than ${PATIENCE_MILLISECONDS / 1000} s a step`);
          await call("stop", backend);
          throw failure;
        }
        const one = await call("theirs", backend, way, 1);
        attempt.steps = Math.min(WORK.rows / WORK.batch, Math.max(1, Math.round(ROUND_MILLISECONDS / one.milliseconds)));
        attempt.milliseconds = attempt.steps > 1 ? (await call("theirs", backend, way, attempt.steps)).milliseconds : one.milliseconds;
        say(`tried ${attempt.name}: ${attempt.milliseconds.toFixed(0)} ms a step`);
      } catch (error) {
        attempt.error = error.message.replace(/^page\.evaluate: (Error: )?/, "").split("\n")[0];
        say(`tried ${attempt.name}: ${attempt.error}`);
      }
    }
  }
  const fastest = (ways) => tried.filter(({ way, milliseconds }) => ways.includes(way) && milliseconds).sort((a, b) => a.milliseconds - b.milliseconds)[0];
  const theirs = [fastest(USUAL), fastest(["own"])];
  // Gradients by hand are worth nothing unless they are those of autodiff.
  if (!theirs[1]) throw new Error("no backend trains by gradients written by hand");
  await call("start", "cpu");
  const agreement = await call("agree", theirs[1].backend, "own", "cpu", "loop");
  say(`gradients by hand against TF.js's own on its cpu backend: within ${agreement.toExponential(0)}`);
  if (!(agreement < 1e-3)) throw new Error("the gradients by hand are wrong");

  const sides = [
    { name: "inception-web", run: async () => { const told = await call("ours"); return { milliseconds: step(told, parameters), losses: told.losses }; } },
    { name: "inception-web, native", run: async () => { const told = await trainNative(folder); return { milliseconds: step(told, parameters), losses: told.losses }; } },
    ...theirs.map(({ name, backend, way, steps }) => ({
      name, run: async () => { const { milliseconds, loss } = await call("theirs", backend, way, steps); return { milliseconds, losses: [loss] }; },
    })),
  ].map((side) => ({ ...side, times: [], losses: [] }));
  for (const side of sides.slice(0, 2)) await side.run();
  for (const { backend, way } of theirs) {
    await call("build", backend, way);
    await call("theirs", backend, way, 1);
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const side of sides) {
      const { milliseconds, losses } = await side.run();
      side.times.push(milliseconds);
      side.losses.push(losses);
    }
  }
  say();
  say(`${"".padEnd(36)}ms a step   middle half        loss, first to last   ours / theirs: page, native`);
  const medians = sides.map(({ times }) => summary(times).median);
  const results = sides.map(({ name, times, losses }, i) => {
    // Ours starts anew in each round, theirs goes on.
    const fall = i < 2 ? [losses[0][0], losses[0].at(-1)] : [losses[0][0], losses.at(-1)[0]];
    if (!(fall[1] < fall[0])) throw new Error(`the loss of ${name} does not fall: ${JSON.stringify(losses)}`);
    const { median, low, high } = summary(times);
    const ratios = i < 2 ? null : { page: medians[0] / median, native: medians[1] / median };
    const told = ratios ? `${ratios.page.toFixed(3)}, ${ratios.native.toFixed(3)}` : "";
    say(`${name.padEnd(36)}${median.toFixed(1).padStart(9)}   ${`${low.toFixed(1)} - ${high.toFixed(1)}`.padEnd(16)}   ${fall.map((loss) => loss.toFixed(3)).join(" -> ").padEnd(19)}   ${told}`.trimEnd());
    return { name, median, low, high, ratios, times, losses };
  });
  if (options.json) console.log(JSON.stringify({ machine, work: WORK, steps: STEPS, rounds, device, tried, agreement, results }, null, 2));
} finally {
  await host?.close();
  await rm(folder, { recursive: true, force: true });
}
