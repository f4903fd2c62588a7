#!/usr/bin/env node
/**
 * Times an epoch of head training: inception-web and the wasm backend of TF.js alternate in one Chromium. See README.md.
 *
 *     node train.js [--rounds N] [--json]
 *
 * Environment variables: CHROMIUM (default: from PATH, else Playwright's), SITE (the built site; default: ../target/site).
 */
import { parseArgs } from "node:util";
import { open, quantile, summary } from "./host.js";

const TASK = { rows: 2000, classes: 10, batch: 64, learningRate: 1e-3, seed: 1 };
const HEADS = [{ name: "hidden 256", hidden: 256 }, { name: "linear", hidden: 0 }];
/** Epochs of inception-web in a round; the first is not timed. */
const EPOCHS = 4;

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "7" }, json: { type: "boolean", default: false } } });
const rounds = Number(options.rounds);
if (!(rounds >= 5)) throw new Error(`invalid --rounds: got ${options.rounds}, expected at least 5`);
const log = (line = "") => (options.json ? console.error(line) : console.log(line));

const { call, close, machine } = await open({ script: "page.js" });
try {
  const opened = await call("open", TASK);
  log(`${machine.browser} on ${machine.cpu} (${machine.cores} cores), ${machine.date.slice(0, 10)}`);
  log(`inception-web: ${opened.ours}; ${opened.tfjs}`);
  log(`${TASK.rows} x 2048 latents (mean ${opened.table.mean.toFixed(2)}, ${(100 * opened.table.zeros).toFixed(0)} % zeros), ${TASK.classes} classes, batch ${TASK.batch}, Adam, ${rounds} alternating rounds after a warm-up`);

  const results = [];
  for (const { name, hidden } of HEADS) {
    // Warm-up of all methods of TF.js. Timed are the faster of `fit` and `loop`, and `gradients`, which is hand-optimized.
    await call("build", hidden);
    const tried = {};
    for (const method of ["fit", "loop", "gradients"]) {
      const epochs = [await call("trainTfjs", method), await call("trainTfjs", method), await call("trainTfjs", method)];
      tried[method] = Math.min(...epochs.slice(1).map((epoch) => epoch.milliseconds));
    }
    await call("trainOurs", hidden, EPOCHS);
    await call("build", hidden);

    const usual = tried.fit <= tried.loop ? "fit" : "loop";
    const names = { ours: "inception-web", fit: "TF.js, model.fit", loop: "TF.js, custom loop", gradients: "TF.js, custom gradients" };
    const sides = Object.fromEntries(["ours", usual, "gradients"].map((side) => [side, { times: [], losses: [] }]));
    for (let round = 0; round < rounds; round += 1) {
      for (const method of [usual, "gradients"]) {
        const epoch = await call("trainTfjs", method);
        if (epoch.steps !== Math.ceil(TASK.rows / TASK.batch)) throw new Error(`TF.js ran ${epoch.steps} steps`);
        sides[method].times.push(epoch.milliseconds);
        sides[method].losses.push(epoch.loss);
      }
      const { milliseconds, losses } = await call("trainOurs", hidden, EPOCHS);
      sides.ours.times.push(quantile(milliseconds, 0.5));
      sides.ours.losses = losses;
    }
    log();
    log(`${name.padEnd(22)}ms / epoch    middle half        loss, first to last   inception-web is faster by`);
    const ours = summary(sides.ours.times).median;
    const result = { head: name, tried, sides: {} };
    for (const [side, { times, losses }] of Object.entries(sides)) {
      if (!(losses.at(-1) < losses[0])) throw new Error(`${name}: the loss of ${names[side]} does not decrease: ${losses.join(", ")}`);
      const { median, low, high } = summary(times);
      const ratio = median / ours;
      result.sides[side] = { name: names[side], median, low, high, ratio, times, losses };
      log(`${names[side].padEnd(22)}${median.toFixed(1).padStart(11)}   ${`${low.toFixed(1)} - ${high.toFixed(1)}`.padEnd(16)}   ${`${losses[0].toFixed(3)} -> ${losses.at(-1).toFixed(3)}`.padEnd(19)}   ${side === "ours" ? "" : `${ratio.toFixed(1)} x`}`.trimEnd());
    }
    results.push(result);
  }
  if (options.json) console.log(JSON.stringify({ machine, work: TASK, rounds, ...opened, results }, null, 2));
} finally {
  await close();
}
