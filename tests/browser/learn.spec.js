// Training and evaluation as others import them, and beside the command line on the same latents.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { keepWorkers } from "./golden.js";
import { stripes } from "./pictures.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const TEN_CLASSES = "ten-classes/latents.safetensors";

/** A file of the site with nothing in it that runs, on which a test makes engines of its own. */
const EMPTY = "style.css";

test.setTimeout(240_000);

/** What the program prints as JSON. @param {string[]} args */
function program(...args) {
  const folder = join(root, "tests/results");
  mkdirSync(folder, { recursive: true });
  const out = args[0] === "train" ? ["--out", join(folder, "head.safetensors")] : [];
  return JSON.parse(execFileSync(join(root, "target/release/inception-web"), [...args, ...out, "--json"], { encoding: "utf8", maxBuffer: 1e9 }));
}

test("the command line and the page come to the same scores", async ({ page }) => {
  await page.goto(EMPTY);
  const settings = { hidden: 16, dropout: 0.2, seed: 3, epochs: 6, classWeights: "balanced", labelSmoothing: 0.05 };
  const here = await page.evaluate(async ([url, settings]) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const imported = await engine.importLatents(await (await fetch(`/${url}`)).blob());
    const report = await engine.train(settings);
    const folds = await engine.evaluate({ folds: 3, seed: 5, epochs: 4 });
    const everything = await engine.evaluate();
    return { imported, report, folds, everything, count: engine.dataset.count };
  }, [TEN_CLASSES, settings]);
  expect([here.imported.pictures, here.imported.duplicates, here.count]).toEqual([5000, 0, 5000]);
  expect([here.everything.on, here.everything.total]).toEqual(["validation", 1000]);

  const file = join(root, "www", TEN_CLASSES);
  const flags = ["--hidden", "16", "--dropout", "0.2", "--seed", "3", "--epochs", "6", "--class-weights", "balanced", "--label-smoothing", "0.05"];
  const there = program("train", file, ...flags);
  expect(here.report.bestEpoch).toBe(there.bestEpoch);
  for (const [epoch, { loss, validationLoss, validationAccuracy }] of there.epochs.entries()) {
    expect(here.report.epochs[epoch].loss).toBeCloseTo(loss, 4);
    expect(here.report.epochs[epoch].validationLoss).toBeCloseTo(validationLoss, 4);
    expect(here.report.epochs[epoch].validationAccuracy).toBeCloseTo(validationAccuracy, 6);
  }
  expect(here.report.evaluation.accuracy).toBe(there.evaluation.accuracy);
  expect(here.report.evaluation.confusion).toEqual(there.evaluation.confusion);
  expect(here.report.evaluation.temperature).toBeCloseTo(there.evaluation.temperature, 3);

  const folds = program("evaluate", file, "--folds", "3", "--seed", "5", "--epochs", "4").evaluation;
  expect(here.folds.total).toBe(5000);
  expect(here.folds.confusion).toEqual(folds.confusion);
  expect(here.folds.mislabels).toHaveLength(folds.mislabels.length);
  const rate = here.folds.mislabels.map(({ suggestedProbability, givenProbability }) => suggestedProbability - givenProbability);
  expect(rate).toEqual([...rate].sort((a, b) => b - a));
});

test("a dataset grows by pictures, and a head learns them", async ({ page }) => {
  await page.goto(EMPTY);
  const texts = [1, 2, 3, 4, 5, 6, 7].map((seed) => stripes(seed).toString("base64"));
  const told = await page.evaluate(async (texts) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const files = texts.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
    const computed = [];
    const onPicture = (index) => computed.push(index);
    const first = await engine.dataset.add("left", files.slice(0, 3), { onPicture });
    await engine.dataset.add("right", files.slice(3, 6));
    const again = await engine.dataset.add("left", files.slice(0, 1), { onPicture });
    const bitmap = await createImageBitmap(files[6]);
    const pixels = await engine.dataset.add("pixels", [bitmap, new ImageData(8, 8)]);
    engine.dataset.remove("pixels");
    const said = [];
    await engine.dataset.add("left", [new Blob(["no picture"])]).catch((error) => said.push(error.message));
    await engine.train({ colour: "red" }).catch((error) => said.push([error.kind, error.message.includes("colour")]));
    const before = [engine.classes.length, engine.head.name];
    const epochs = [];
    const report = await engine.train({ name: "sides", epochs: 30, patience: 0, validation: 0, batch: 4 }, { onEpoch: ({ epoch }) => epochs.push(epoch) });
    const [answer] = await engine.classify([files[0]]);
    const predicted = await engine.predict(engine.dataset.embedded.get(engine.dataset.project.pictures[0].hash).latents);
    const near = await engine.nearest(engine.dataset.embedded.get(engine.dataset.project.pictures[0].hash).latents, 3);
    const map = await engine.map("pca");
    const finer = await engine.map("umap", { seed: 1 });
    const same = await engine.map("umap", { seed: 1 });
    const { side, values } = await engine.explain(files[0], answer[0].label);
    engine.unsureBelow = 0.75;
    const head = await engine.exportHead("safetensors");
    await engine.resetHead();
    const reset = [engine.classes.length, engine.unsureBelow];
    await engine.openHead(head);
    const back = [engine.classes, engine.unsureBelow, await engine.classify([files[0]])];
    const state = [engine.dataset.classes, engine.dataset.count];
    engine.dataset.remove(first[0]);
    engine.dataset.remove("right");
    const left = [engine.dataset.classes, engine.dataset.count];
    await engine.train().catch((error) => said.push([error.kind, error.message]));
    return {
      first, again, pixels, computed, said, before, epochs, report, answer, predicted, near, map, finer, same, side, values: [...values], reset, back, state, left,
    };
  }, texts);
  expect([told.first.length, told.pixels.length]).toEqual([3, 2]);
  expect([told.again, told.computed]).toEqual([[], [0, 1, 2]]);
  expect(told.said).toEqual([
    "picture: not a picture in a known format; use JPEG, PNG, WebP, GIF, BMP or, in the browser, AVIF",
    ["setting", true],
    ["train", "train: 1 of the classes have pictures, at least two are needed; add pictures to another class"],
  ]);
  expect(told.before).toEqual([10, "ten classes"]);
  expect(told.epochs).toEqual(Array.from({ length: 30 }, (_, n) => n + 1));
  expect(told.report.evaluation).toBe(null);
  expect(told.report.classes).toEqual([{ name: "left", pictures: 3 }, { name: "right", pictures: 3 }]);
  expect([told.answer[0].label, told.predicted]).toEqual(["left", told.answer]);
  expect(told.near[0].similarity).toBeCloseTo(1, 5);
  expect(told.near[0].id).toBe(told.first[0]);
  expect(told.map.ids).toHaveLength(6);
  expect(Object.values(told.finer.points)).toEqual(Object.values(told.same.points));
  expect(Math.max(...Object.values(told.finer.points))).toBeLessThanOrEqual(1);
  expect([told.side, told.values.length, Math.max(...told.values)]).toEqual([8, 64, 1]);
  expect(told.reset).toEqual([10, 0.5]);
  expect(told.back).toEqual([["left", "right"], 0.75, [told.answer]]);
  expect(told.state).toEqual([["left", "right"], 6]);
  expect(told.left).toEqual([["left"], 2]);
});

test("training is paused, stopped and cancelled, and survives its worker", async ({ page }) => {
  await page.goto(EMPTY);
  await keepWorkers(page);
  const told = await page.evaluate(async (url) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    await engine.importLatents(await (await fetch(`/${url}`)).blob());
    const stopped = await engine.train({ epochs: 50, patience: 0 }, { onEpoch: ({ epoch }) => epoch === 3 && engine.steer("stop") });
    const head = await (await engine.exportHead("safetensors")).arrayBuffer();
    const controller = new AbortController();
    const cancelled = await engine.train({ epochs: 50, patience: 0 }, { signal: controller.signal, onEpoch: ({ epoch }) => epoch === 2 && controller.abort() })
      .catch((error) => error.kind);
    const kept = await (await engine.exportHead("safetensors")).arrayBuffer();
    let seen = 0;
    const paused = engine.train({ epochs: 4, patience: 0 }, {
      onEpoch() {
        seen += 1;
        if (seen === 2) engine.steer("pause");
      },
    });
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const whilePaused = seen;
    engine.steer("resume");
    const resumed = await paused;
    let dead = false;
    const revived = await engine.train({ epochs: 3, patience: 0, seed: 9 }, {
      onEpoch() {
        if (dead) return;
        dead = true;
        workers[0].dispatchEvent(new ErrorEvent("error", { message: "unreachable" }));
      },
    });
    const again = await engine.train({ epochs: 3, patience: 0, seed: 9 });
    return {
      stopped: [stopped.end, stopped.epochs.length], same: new Uint8Array(head).every((byte, at) => byte === new Uint8Array(kept)[at]), cancelled,
      whilePaused, resumed: [resumed.end, resumed.epochs.length], workers: workers.length, revived: revived.evaluation, again: again.evaluation,
    };
  }, TEN_CLASSES);
  expect(told.stopped[0]).toBe("stopped");
  expect(told.stopped[1]).toBeLessThan(50);
  expect([told.cancelled, told.same]).toEqual(["cancelled", true]);
  expect(told.whilePaused).toBeLessThanOrEqual(3);
  expect(told.resumed).toEqual(["finished", 4]);
  expect(told.workers).toBe(2);
  expect(told.revived).toEqual(told.again); // the same seed and data, in another worker
});

test("latents that do not belong are refused whole, several files join by the names of their classes", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async (url) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const good = new Uint8Array(await (await fetch(`/${url}`)).arrayBuffer());
    const header = (change) => {
      const length = Number(new DataView(good.buffer).getBigUint64(0, true));
      const text = new TextDecoder("latin1").decode(good.subarray(8, 8 + length));
      const changed = change(text);
      if (changed.length !== text.length) throw new Error("the length must stay");
      const copy = good.slice();
      copy.set(Uint8Array.from(changed, (c) => c.charCodeAt(0)), 8);
      return new Blob([copy]);
    };
    const said = [];
    const refuse = (files) => engine.importLatents(files).then(() => said.push("taken"), (error) => said.push(`${error.kind}: ${error.message}`));
    await refuse([new Blob([good]), header((text) => text.replace(/("fingerprint":")[0-9a-f]{64}/, `$1${"ab".repeat(32)}`))]);
    await refuse(new Blob([good.subarray(0, 100_000)]));
    await refuse(new Blob(["PK\u0003\u0004 and nothing else"]));
    await refuse(new Blob(["text"]));
    const empty = [engine.dataset.count, engine.dataset.classes];
    for (const work of [() => engine.exportLatents("npz"), () => engine.map("pca"), () => engine.evaluate()]) await work().catch((error) => said.push(error.message));
    await engine.importLatents(new Blob([good]));
    const npz = await engine.exportLatents("npz");
    const safetensors = await engine.exportLatents("safetensors");
    const twice = await engine.importLatents([npz, safetensors]);
    return { said, empty, twice, count: engine.dataset.count };
  }, TEN_CLASSES);
  expect(told.said[0]).toMatch(/^latents: latents: made with the base "nsfwjs Inception V3" \(fingerprint abababababab\)/);
  expect(told.said[1]).toMatch(/^latents: latents: not a whole safetensors file/);
  expect(told.said[2]).toMatch(/^latents: latents: /);
  expect(told.said[3]).toMatch(/^latents: latents: /);
  expect(told.said.slice(4)).toEqual(["latents", "map", "evaluate"].map((work) => `${work}: the dataset has no pictures; add some first`));
  expect(told.said).not.toContain("taken");
  expect(told.empty).toEqual([0, []]);
  expect([told.twice.pictures, told.twice.duplicates, told.count]).toEqual([0, 10_000, 5000]);
});
