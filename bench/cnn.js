#!/usr/bin/env node
/**
 * Times a training step of a convolutional network: inception-web in the browser and native, and the TF.js backends in the same Chromium. See
 * README.md.
 *
 *     node cnn.js [--rounds N] [--json]
 *
 * Environment variables: CHROMIUM (default: from PATH, else Playwright's), SITE (the built site; default: ../target/site), NATIVE (the command
 * line; default: ../target/release/inception-web).
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { open, summary } from "./host.js";

/** The CNN of `src/compare/baselines.rs`. TF.js trains without its data augmentation. */
const NETWORK = [
  ["conv", 32], ["pool"], ["relu"],
  ["conv", 64], ["pool"], ["relu"],
  ["conv", 128], ["pool"], ["relu"],
  ["flatten"], ["dropout", 0.3],
  ["dense", 128], ["relu"], ["dropout", 0.3],
  ["dense", 10],
];
const TASK = { rows: 1280, classes: 10, batch: 64, learningRate: 1e-3, epochs: 2, seed: 1, network: NETWORK };
/** Steps of inception-web in a round. */
const STEPS = TASK.epochs * Math.ceil(TASK.rows / TASK.batch);
/** Approximate duration of a round of TF.js. */
const ROUND_MILLISECONDS = 2500;
/** Timeout for a step: the JavaScript backend takes minutes. */
const TIMEOUT_MILLISECONDS = 30_000;
/** The usual methods of training; `gradients` is hand-optimized. */
const USUAL = ["fit", "loop"];
const NAMES = { fit: "model.fit", loop: "custom loop", gradients: "custom gradients" };
/** WebGL and WebGPU in software: this benchmark measures the CPU. */
const FLAGS = [
  "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
  "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan",
];

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "7" }, json: { type: "boolean", default: false } } });
const rounds = Number(options.rounds);
if (!(rounds >= 5)) throw new Error(`invalid --rounds: got ${options.rounds}, expected at least 5`);
const log = (line = "") => (options.json ? console.error(line) : console.log(line));
const native = resolve(process.env.NATIVE ?? join(dirname(fileURLToPath(import.meta.url)), "../target/release/inception-web"));

/** Writes pictures in the binary format of CIFAR-10: noise, with a tenth of the values brightened for each class. */
async function writePictures(folder) {
  let state = TASK.seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  const bright = Array.from({ length: TASK.classes }, () => Uint8Array.from({ length: 3072 }, () => (next() < 0.1 ? 80 : 0)));
  const file = (rows) => Buffer.concat(Array.from({ length: rows }, (_, row) => {
    const label = row % TASK.classes;
    return Buffer.from([label, ...bright[label].map((extra) => 40 + extra + 100 * next())]);
  }));
  await writeFile(join(folder, "batches.meta.txt"), Array.from({ length: TASK.classes }, (_, label) => `class ${label}\n`).join(""));
  await writeFile(join(folder, "data_batch_1.bin"), file(TASK.rows));
  await writeFile(join(folder, "test_batch.bin"), file(TASK.classes));
}

/** Trains with the command line. */
async function trainNative(folder) {
  const args = ["compare", folder, "--models", "cnn", "--epochs", String(TASK.epochs), "--test-per-class", "1", "--json"];
  const { stdout } = await promisify(execFile)(native, args, { maxBuffer: 1 << 28 });
  const { models: [model], split } = JSON.parse(stdout);
  return { seconds: model.trainSeconds, pictures: split.training, losses: model.epochs.map(({ loss }) => loss), parameters: model.parameters };
}

/** Milliseconds per step of inception-web. */
function millisecondsPerStep({ seconds, pictures, losses, parameters }, expected) {
  if (pictures !== TASK.rows || losses.length !== TASK.epochs) throw new Error(`trained ${losses.length} epochs on ${pictures} pictures`);
  if (parameters !== expected) throw new Error(`inception-web has ${parameters} parameters, TF.js has ${expected}; update NETWORK`);
  return seconds * 1000 / STEPS;
}

const folder = await mkdtemp(join(os.tmpdir(), "cnn-"));
let host;
try {
  await writePictures(folder);
  host = await open({ script: "cnn-page.js", flags: FLAGS, folders: { data: folder } });
  const { call, machine } = host;
  const device = await call("open", TASK);
  log(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}`);
  log(`inception-web: ${device}; batch ${TASK.batch}, Adam, ${rounds} alternating rounds after a warm-up`);

  // Short runs of each method on each backend select the fastest ones.
  const tried = [];
  let parameters;
  for (const backend of ["cpu", "wasm", "webgl", "webgpu"]) {
    let failure;
    try {
      ({ parameters } = await call("start", backend));
    } catch (error) {
      failure = error;
    }
    for (const method of [...USUAL, "gradients"]) {
      const attempt = { backend, method, name: `TF.js ${backend}, ${NAMES[method]}` };
      tried.push(attempt);
      try {
        if (failure) throw failure;
        await call("build", backend, method);
        const first = await Promise.race([call("trainTfjs", backend, method, 1), wait(TIMEOUT_MILLISECONDS, null, { ref: false })]);
        if (!first) {
          failure = new Error(`more than ${TIMEOUT_MILLISECONDS / 1000} s per step`);
          await call("stop", backend);
          throw failure;
        }
        const one = await call("trainTfjs", backend, method, 1);
        attempt.steps = Math.min(TASK.rows / TASK.batch, Math.max(1, Math.round(ROUND_MILLISECONDS / one.milliseconds)));
        attempt.milliseconds = attempt.steps > 1 ? (await call("trainTfjs", backend, method, attempt.steps)).milliseconds : one.milliseconds;
        log(`${attempt.name}: ${attempt.milliseconds.toFixed(0)} ms per step`);
      } catch (error) {
        attempt.error = error.message.replace(/^page\.evaluate: (Error: )?/, "").split("\n")[0];
        log(`${attempt.name}: ${attempt.error}`);
      }
    }
  }
  const fastest = (methods) => tried.filter(({ method, milliseconds }) => methods.includes(method) && milliseconds).sort((a, b) => a.milliseconds - b.milliseconds)[0];
  const selected = [fastest(USUAL), fastest(["gradients"])];
  if (!selected[1]) throw new Error("no backend trains with custom gradients");
  await call("start", "cpu");
  const gradientError = await call("gradientError", selected[1].backend, "gradients", "cpu", "loop");
  log(`custom gradients compared with autodiff on the cpu backend of TF.js: max relative error ${gradientError.toExponential(0)}`);
  if (!(gradientError < 1e-3)) throw new Error("the custom gradients are wrong");

  const sides = [
    { name: "inception-web", run: async () => { const result = await call("trainOurs"); return { milliseconds: millisecondsPerStep(result, parameters), losses: result.losses }; } },
    { name: "inception-web, native", run: async () => { const result = await trainNative(folder); return { milliseconds: millisecondsPerStep(result, parameters), losses: result.losses }; } },
    ...selected.map(({ name, backend, method, steps }) => ({
      name, run: async () => { const { milliseconds, loss } = await call("trainTfjs", backend, method, steps); return { milliseconds, losses: [loss] }; },
    })),
  ].map((side) => ({ ...side, times: [], losses: [] }));
  for (const side of sides.slice(0, 2)) await side.run();
  for (const { backend, method } of selected) {
    await call("build", backend, method);
    await call("trainTfjs", backend, method, 1);
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const side of sides) {
      const { milliseconds, losses } = await side.run();
      side.times.push(milliseconds);
      side.losses.push(losses);
    }
  }
  log();
  log(`${"".padEnd(36)}ms / step   middle half        loss, first to last   time ratio to TF.js: page, native`);
  const medians = sides.map(({ times }) => summary(times).median);
  const results = sides.map(({ name, times, losses }, i) => {
    // inception-web restarts in each round, TF.js continues.
    const change = i < 2 ? [losses[0][0], losses[0].at(-1)] : [losses[0][0], losses.at(-1)[0]];
    if (!(change[1] < change[0])) throw new Error(`the loss of ${name} does not decrease: ${JSON.stringify(losses)}`);
    const { median, low, high } = summary(times);
    const ratios = i < 2 ? null : { page: medians[0] / median, native: medians[1] / median };
    const ratioText = ratios ? `${ratios.page.toFixed(3)}, ${ratios.native.toFixed(3)}` : "";
    log(`${name.padEnd(36)}${median.toFixed(1).padStart(9)}   ${`${low.toFixed(1)} - ${high.toFixed(1)}`.padEnd(16)}   ${change.map((loss) => loss.toFixed(3)).join(" -> ").padEnd(19)}   ${ratioText}`.trimEnd());
    return { name, median, low, high, ratios, times, losses };
  });
  if (options.json) console.log(JSON.stringify({ machine, work: TASK, steps: STEPS, rounds, device, tried, gradientError, results }, null, 2));
} finally {
  await host?.close();
  await rm(folder, { recursive: true, force: true });
}
