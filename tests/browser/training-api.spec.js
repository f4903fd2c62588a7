// Training and evaluation through the JavaScript API, also compared with the command line on the same latents.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { keepWorkers } from "./golden.js";
import { stripes } from "./pictures.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const TEN_CLASSES = "ten-classes/latents.safetensors";

/** A file of the site without scripts, on which tests create their own engines. */
const EMPTY = "style.css";

test.setTimeout(240_000);

/** Runs the command line with --json. @param {string[]} args */
function commandLine(...args) {
  const folder = join(root, "tests/results");
  mkdirSync(folder, { recursive: true });
  const out = args[0] === "train" ? ["--out", join(folder, "head.safetensors")] : [];
  return JSON.parse(execFileSync(join(root, "target/release/inception-web"), [...args, ...out, "--json"], { encoding: "utf8", maxBuffer: 1e9 }));
}

test("the command line and the page compute the same scores", async ({ page }) => {
  await page.goto(EMPTY);
  const settings = { hidden: 16, dropout: 0.2, seed: 3, epochs: 6, classWeights: "balanced", labelSmoothing: 0.05 };
  const inPage = await page.evaluate(async ([url, settings]) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const imported = await engine.importLatents(await (await fetch(`/${url}`)).blob());
    const report = await engine.train(settings);
    const folds = await engine.evaluate({ folds: 3, seed: 5, epochs: 4 });
    const everything = await engine.evaluate();
    return { imported, report, folds, everything, count: engine.dataset.count };
  }, [TEN_CLASSES, settings]);
  expect([inPage.imported.pictures, inPage.imported.duplicates, inPage.count]).toEqual([5000, 0, 5000]);
  expect([inPage.everything.on, inPage.everything.total]).toEqual(["validation", 1000]);

  const file = join(root, "www", TEN_CLASSES);
  const flags = ["--hidden", "16", "--dropout", "0.2", "--seed", "3", "--epochs", "6", "--class-weights", "balanced", "--label-smoothing", "0.05"];
  const onCommandLine = commandLine("train", file, ...flags);
  expect(inPage.report.bestEpoch).toBe(onCommandLine.bestEpoch);
  for (const [epoch, { loss, validationLoss, validationAccuracy }] of onCommandLine.epochs.entries()) {
    expect(inPage.report.epochs[epoch].loss).toBeCloseTo(loss, 4);
    expect(inPage.report.epochs[epoch].validationLoss).toBeCloseTo(validationLoss, 4);
    expect(inPage.report.epochs[epoch].validationAccuracy).toBeCloseTo(validationAccuracy, 6);
  }
  expect(inPage.report.evaluation.accuracy).toBe(onCommandLine.evaluation.accuracy);
  expect(inPage.report.evaluation.confusion).toEqual(onCommandLine.evaluation.confusion);
  expect(inPage.report.evaluation.temperature).toBeCloseTo(onCommandLine.evaluation.temperature, 3);

  const folds = commandLine("evaluate", file, "--folds", "3", "--seed", "5", "--epochs", "4").evaluation;
  expect(inPage.folds.total).toBe(5000);
  expect(inPage.folds.confusion).toEqual(folds.confusion);
  expect(inPage.folds.mislabels).toHaveLength(folds.mislabels.length);
  const margins = inPage.folds.mislabels.map(({ suggestedProbability, givenProbability }) => suggestedProbability - givenProbability);
  expect(margins).toEqual([...margins].sort((a, b) => b - a));
});

test("pictures are added to the dataset, and a head is trained on them", async ({ page }) => {
  await page.goto(EMPTY);
  const texts = [1, 2, 3, 4, 5, 6, 7].map((seed) => stripes(seed).toString("base64"));
  const result = await page.evaluate(async (texts) => {
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
    const errors = [];
    await engine.dataset.add("left", [new Blob(["no picture"])]).catch((error) => errors.push(error.message));
    await engine.train({ colour: "red" }).catch((error) => errors.push([error.kind, error.message.includes("colour")]));
    const before = [engine.classes.length, engine.head.name];
    const epochs = [];
    const report = await engine.train({ name: "sides", epochs: 30, patience: 0, validation: 0, batch: 4 }, { onEpoch: ({ epoch }) => epochs.push(epoch) });
    const [answer] = await engine.classify([files[0]]);
    const predicted = await engine.predict(engine.dataset.embedded.get(engine.dataset.project.pictures[0].hash).latents);
    const near = await engine.nearest(engine.dataset.embedded.get(engine.dataset.project.pictures[0].hash).latents, 3);
    const map = await engine.map("pca");
    const umap = await engine.map("umap", { seed: 1 });
    const sameUmap = await engine.map("umap", { seed: 1 });
    const { side, values } = await engine.explain(files[0], answer[0].label);
    engine.unsureBelow = 0.75;
    const head = await engine.exportHead("safetensors");
    await engine.resetHead();
    const reset = [engine.classes.length, engine.unsureBelow];
    await engine.openHead(head);
    const reopened = [engine.classes, engine.unsureBelow, await engine.classify([files[0]])];
    const state = [engine.dataset.classes, engine.dataset.count];
    engine.dataset.remove(first[0]);
    engine.dataset.remove("right");
    const left = [engine.dataset.classes, engine.dataset.count];
    await engine.train().catch((error) => errors.push([error.kind, error.message]));
    return {
      first, again, pixels, computed, errors, before, epochs, report, answer, predicted, near, map, umap, sameUmap, side, values: [...values], reset, reopened, state, left,
    };
  }, texts);
  expect([result.first.length, result.pixels.length]).toEqual([3, 2]);
  expect([result.again, result.computed]).toEqual([[], [0, 1, 2]]);
  expect(result.errors).toEqual([
    "picture: not a picture in a known format; use JPEG, PNG, WebP, GIF, BMP or AVIF (AVIF only in the page)",
    ["setting", true],
    ["train", "train: classes with pictures: got 1, expected at least 2; add pictures to another class"],
  ]);
  expect(result.before).toEqual([10, "ten classes"]);
  expect(result.epochs).toEqual(Array.from({ length: 30 }, (_, n) => n + 1));
  expect(result.report.evaluation).toBe(null);
  expect(result.report.classes).toEqual([{ name: "left", pictures: 3 }, { name: "right", pictures: 3 }]);
  expect([result.answer[0].label, result.predicted]).toEqual(["left", result.answer]);
  expect(result.near[0].similarity).toBeCloseTo(1, 5);
  expect(result.near[0].id).toBe(result.first[0]);
  expect(result.map.ids).toHaveLength(6);
  expect(Object.values(result.umap.points)).toEqual(Object.values(result.sameUmap.points));
  expect(Math.max(...Object.values(result.umap.points))).toBeLessThanOrEqual(1);
  expect([result.side, result.values.length, Math.max(...result.values)]).toEqual([8, 64, 1]);
  expect(result.reset).toEqual([10, 0.5]);
  expect(result.reopened).toEqual([["left", "right"], 0.75, [result.answer]]);
  expect(result.state).toEqual([["left", "right"], 6]);
  expect(result.left).toEqual([["left"], 2]);
});

test("training can be paused, stopped and cancelled, and continues after its worker died", async ({ page }) => {
  await page.goto(EMPTY);
  await keepWorkers(page);
  const result = await page.evaluate(async (url) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    await engine.importLatents(await (await fetch(`/${url}`)).blob());
    const stopped = await engine.train({ epochs: 50, patience: 0 }, { onEpoch: ({ epoch }) => epoch === 3 && engine.control("stop") });
    const head = await (await engine.exportHead("safetensors")).arrayBuffer();
    const controller = new AbortController();
    const cancelled = await engine.train({ epochs: 50, patience: 0 }, { signal: controller.signal, onEpoch: ({ epoch }) => epoch === 2 && controller.abort() })
      .catch((error) => error.kind);
    const kept = await (await engine.exportHead("safetensors")).arrayBuffer();
    let seen = 0;
    const paused = engine.train({ epochs: 4, patience: 0 }, {
      onEpoch() {
        seen += 1;
        if (seen === 2) engine.control("pause");
      },
    });
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const whilePaused = seen;
    engine.control("resume");
    const resumed = await paused;
    let killed = false;
    const restarted = await engine.train({ epochs: 3, patience: 0, seed: 9 }, {
      onEpoch() {
        if (killed) return;
        killed = true;
        workers[0].dispatchEvent(new ErrorEvent("error", { message: "unreachable" }));
      },
    });
    const again = await engine.train({ epochs: 3, patience: 0, seed: 9 });
    return {
      stopped: [stopped.end, stopped.epochs.length], same: new Uint8Array(head).every((byte, at) => byte === new Uint8Array(kept)[at]), cancelled,
      whilePaused, resumed: [resumed.end, resumed.epochs.length], workers: workers.length, restarted: restarted.evaluation, again: again.evaluation,
    };
  }, TEN_CLASSES);
  expect(result.stopped[0]).toBe("stopped");
  expect(result.stopped[1]).toBeLessThan(50);
  expect([result.cancelled, result.same]).toEqual(["cancelled", true]);
  expect(result.whilePaused).toBeLessThanOrEqual(3);
  expect(result.resumed).toEqual(["finished", 4]);
  expect(result.workers).toBe(2);
  expect(result.restarted).toEqual(result.again); // same seed and data in another worker
});

test("latents of another base are rejected as a whole; several files are merged by class name", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async (url) => {
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
    const errors = [];
    const importInvalid = (files) => engine.importLatents(files).then(() => errors.push("imported"), (error) => errors.push(`${error.kind}: ${error.message}`));
    await importInvalid([new Blob([good]), header((text) => text.replace(/("fingerprint":")[0-9a-f]{64}/, `$1${"ab".repeat(32)}`))]);
    await importInvalid(new Blob([good.subarray(0, 100_000)]));
    await importInvalid(new Blob(["PK\u0003\u0004 and nothing else"]));
    await importInvalid(new Blob(["text"]));
    const empty = [engine.dataset.count, engine.dataset.classes];
    for (const work of [() => engine.exportLatents("npz"), () => engine.map("pca"), () => engine.evaluate()]) await work().catch((error) => errors.push(error.message));
    await engine.importLatents(new Blob([good]));
    const npz = await engine.exportLatents("npz");
    const safetensors = await engine.exportLatents("safetensors");
    const twice = await engine.importLatents([npz, safetensors]);
    return { errors, empty, twice, count: engine.dataset.count };
  }, TEN_CLASSES);
  expect(result.errors[0]).toMatch(/^latents: latents: made with the base "nsfwjs Inception V3" \(fingerprint abababababab\)/);
  expect(result.errors[1]).toMatch(/^latents: latents: invalid safetensors file/);
  expect(result.errors[2]).toMatch(/^latents: latents: /);
  expect(result.errors[3]).toMatch(/^latents: latents: /);
  expect(result.errors.slice(4)).toEqual(["latents", "map", "evaluate"].map((work) => `${work}: the dataset has no pictures; add some first`));
  expect(result.errors).not.toContain("imported");
  expect(result.empty).toEqual([0, []]);
  expect([result.twice.pictures, result.twice.duplicates, result.count]).toEqual([0, 10_000, 5000]);
});
