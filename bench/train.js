#!/usr/bin/env node
/**
 * Times an epoch of head training: ours against TF.js's wasm backend, in one Chromium, in turn. See README.md.
 *
 *     node train.js [--rounds N] [--json]
 *
 * CHROMIUM: the browser, else one on the PATH, else Playwright's own. SITE: the built site, else ../target/site.
 */
import { parseArgs } from "node:util";
import { open, quantile, summary } from "./host.js";

const WORK = { rows: 2000, classes: 10, batch: 64, learningRate: 1e-3, seed: 1 };
const HEADS = [{ name: "hidden 256", hidden: 256 }, { name: "linear", hidden: 0 }];
/** Of ours in a round; the first is not timed. */
const EPOCHS = 4;

const { values: options } = parseArgs({ options: { rounds: { type: "string", default: "7" }, json: { type: "boolean", default: false } } });
const rounds = Number(options.rounds);
if (!(rounds >= 5)) throw new Error("--rounds: at least 5");
const say = (line = "") => (options.json ? console.error(line) : console.log(line));

const { call, close, machine } = await open({ script: "page.js" });
try {
  const opened = await call("open", WORK);
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
      sides.ours.times.push(quantile(milliseconds, 0.5));
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
  await close();
}
