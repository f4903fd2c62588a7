// The JavaScript API, and the error messages for broken or missing files.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { compare, F32, golden, keepWorkers, latentsInPage, names, picture } from "./golden.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const status = (/** @type {import("@playwright/test").Page} */ page) => page.getByRole("status");

/** A file of the site without scripts, on which tests create their own engines. */
const EMPTY = "style.css";

test("latents on wasm equal those of Keras, with f32 and with u8 weights", async ({ page }) => {
  for (const [dtype, origin] of [["f32", F32], ["u8", ""]]) {
    await page.goto(`${origin}${EMPTY}`);
    const { latents, device, base } = await latentsInPage(page, { device: "cpu" }, names.map(picture));
    expect([device, base.dtype]).toEqual(["cpu", dtype]);
    for (const [i, name] of names.entries()) {
      const { cosine, maxDifference, length } = compare(latents[i], golden(`${name}.latents`));
      console.log(`wasm, ${base.dtype}, ${name}: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${maxDifference.toExponential(1)}`);
      expect(length).toBe(2048);
      expect(cosine).toBeGreaterThanOrEqual(0.999999);
      expect(maxDifference).toBeLessThanOrEqual(1e-5);
    }
  }
});

test("a file, its bitmap and its pixels get the same predictions", async ({ page }) => {
  await page.goto(EMPTY);
  const answers = await page.evaluate(async (text) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const blob = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const bitmap = await createImageBitmap(blob);
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const answers = await engine.classify([blob, bitmap, pixels], { topK: 3 });
    const { classes, fingerprint } = engine;
    engine.dispose();
    return { answers, classes, fingerprint };
  }, picture("rocket"));
  expect(answers.classes).toHaveLength(10);
  expect(answers.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(answers.answers[0]).toHaveLength(3);
  expect(answers.answers[1]).toEqual(answers.answers[0]);
  expect(answers.answers[2]).toEqual(answers.answers[0]);
});

test("errors have a kind, progress is reported, and a broken picture does not stop the others", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async (text) => {
    const { createEngine } = await import("/engine.js");
    const kinds = [];
    const stages = new Set();
    const engine = await createEngine({ device: "cpu", onProgress: ({ stage }) => stages.add(stage) });
    const good = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const empty = new Blob([]);
    const failed = (error) => kinds.push([error instanceof Error, error.kind, error.message]);
    await engine.classify([empty]).catch(failed);
    await engine.latents([good, "no picture"]).catch(failed);
    const outcomes = [];
    const progress = [];
    const all = await engine.classify([good, empty, good], {
      onPicture: (index, outcome) => outcomes.push([index, outcome instanceof Error]),
      onProgress: ({ done, total }) => progress.push(`${done}/${total}`),
    });
    await engine.classify([good], { signal: AbortSignal.abort() }).catch(failed);
    const running = engine.classify([good, good, good]).catch(failed);
    engine.dispose();
    await running;
    await engine.classify([good]).catch(failed);
    return { kinds, stages: [...stages], outcomes, progress, slots: all.map((answer) => answer?.length ?? null) };
  }, picture("cat"));
  expect(result.kinds).toEqual([
    [true, "picture", "picture: the file is empty (0 bytes); save or download it again"],
    [true, "picture", "picture: invalid type, expected a Blob, ImageBitmap or ImageData"],
    [true, "cancelled", "cancelled after 0 of 1 pictures"],
    [true, "disposed", "the engine was disposed"],
    [true, "disposed", "the engine was disposed"],
  ]);
  expect(result.stages).toEqual(["runtime", "weights", "prepare", "check"]);
  expect(result.outcomes).toEqual([[0, false], [1, true], [2, false]]);
  expect(result.progress).toEqual(["1/3", "2/3", "3/3"]);
  expect(result.slots).toEqual([5, null, 5]);
});

test("the browser decodes AVIF; animated GIFs use the first frame", async ({ page }) => {
  await page.goto("?device=cpu");
  await expect(status(page)).toHaveText(/^Ready/);
  const files = ["picture.avif", "animation.gif", "picture.webp", "cmyk.jpg", "rgb16.png", "orientation_6.jpg"];
  await page.getByLabel("Choose pictures").setInputFiles(files.map((name) => join(root, "tests/pictures", name)));
  const cards = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(cards).toHaveCount(files.length);
  for (const [i, name] of files.entries()) {
    await expect(cards.nth(i)).toContainText(name);
    await expect(cards.nth(i)).toContainText("40 × 24");
  }
});

const invalidFiles = [
  {
    title: "truncated weights are rejected",
    path: "**/base.safetensors*",
    change: (bytes) => bytes.subarray(0, 1_000_000),
    message: /Weights: the file has 1000000 bytes, expected 21\d{6}; reload the page/,
  },
  {
    title: "an HTML page instead of weights is rejected",
    path: "**/base.safetensors*",
    change: () => Buffer.from("<!DOCTYPE html><title>Sign in</title>"),
    message: /Weights: the file has 37 bytes, expected 21\d{6}; reload the page/,
  },
  {
    title: "weights with one flipped bit are rejected",
    path: "**/base.safetensors*",
    change: (bytes) => ((bytes[bytes.length - 1] ^= 1), bytes),
    message: /Weights: the file's SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}; reload the page/,
  },
  {
    title: "a head of another base is rejected, and the message names both bases",
    path: "**/head.safetensors*",
    change: (bytes) => Buffer.from(bytes.toString("latin1").replace(/("fingerprint":")[0-9a-f]{64}/, `$1${"ab".repeat(32)}`), "latin1"),
    message: /Head: made with the base "nsfwjs Inception V3" \(fingerprint abababababab\), expected "nsfwjs Inception V3" \(fingerprint [0-9a-f]{12}\)/,
  },
];

for (const { title, path, change, message } of invalidFiles) {
  test(title, async ({ page }) => {
    await page.route(path, async (route) => {
      const response = await route.fetch();
      const body = change(await response.body());
      await route.fulfill({ response, headers: { ...response.headers(), "content-length": String(body.length) }, body });
    });
    await page.goto("?device=cpu");
    await expect(page.getByRole("alert")).toHaveText(message);
  });
}

test("a URL parameter that names a file of another format is rejected", async ({ page }) => {
  await page.goto("?device=cpu&weights=/ten-classes/head.safetensors");
  await expect(page.getByRole("alert")).toContainText('Weights: the metadata has no "format"; this is not a weights file of inception-web');
});

for (const withEvent of [true, false]) {
  test(`an engine whose worker dies ${withEvent ? "with" : "without"} an error event restarts and finishes its requests`, async ({ page }) => {
    await page.goto(EMPTY);
    await keepWorkers(page);
    const { answered, notice, notices } = await page.evaluate(async ({ text, withEvent }) => {
      const { createEngine } = await import("/engine.js");
      const notices = [];
      const engine = await createEngine({ device: "cpu", onChange: () => notices.push(engine.notice) });
      const good = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
      const kill = withEvent ? () => workers[0].dispatchEvent(new ErrorEvent("error", { message: "unreachable" })) : () => workers[0].terminate();
      const batch = engine.classify([good, good, good], { onPicture: (index) => index === 0 && kill() });
      const another = engine.latents([good, good]);
      const answered = (await batch).length + (await another).length;
      return { answered, notice: engine.notice, notices };
    }, { text: picture("cat"), withEvent });
    expect(answered).toBe(5);
    expect(notice).toBe("The engine stopped and was restarted on the CPU.");
    expect(notices).toEqual(["The engine stopped. Restarting; the work continues.", notice]);
  });
}

/** Runs in the page. Defines the globals `worker`, `replies` (by request id) and `reply`, which waits for the replies to a request. */
function startWorker() {
  self.worker = new Worker("/worker/worker.js", { type: "module" });
  self.replies = new Map();
  let onReply = () => {};
  worker.onmessage = ({ data }) => {
    if ("progress" in data) return;
    replies.set(data.id, [...(replies.get(data.id) ?? []), data]);
    onReply();
  };
  self.reply = async (id, count = 1) => {
    while ((replies.get(id)?.length ?? 0) < count) await new Promise((resolve) => (onReply = resolve));
    return replies.get(id)[0];
  };
}

test("a worker replies to every request, even an invalid one, and keeps working", async ({ page }) => {
  await page.goto(EMPTY);
  await page.evaluate(startWorker);
  const result = await page.evaluate(async (text) => {
    /** @param {number} id @param {unknown} method @param {unknown} args @param {number} [count] */
    const send = async (id, method, args, count = 1) => {
      for (let n = 0; n < count; n++) worker.postMessage({ id, method, args });
      await reply(id, count);
    };
    const file = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    await send(1, "fly", {});
    await send(2, "toString", {});
    await send(3, undefined, undefined);
    await send(4, "predict", { latents: new Float32Array(2048), topK: 1 }); // before `load`
    await send(5, "load", { device: "cpu", liveness: "a test" });
    worker.postMessage(null);
    await send(6, "answer", { pictures: "none", topK: "many" });
    await send(7, "predict", { latents: new Float32Array(3), topK: 1 });
    await send(8, "answer", undefined);
    await send(9, "predict", { latents: new Float32Array(2048), topK: 2 }, 2); // two requests with the same id
    await send(10, "answer", { pictures: [file], topK: 5, thumbnails: 0 });
    worker.terminate();
    const kinds = [...replies].map(([id, all]) => [id, all.map((reply) => (reply.error ? reply.error.kind : "value"))]);
    return { kinds, unknown: replies.get(1)?.[0].error.message, outcome: replies.get(10)?.[0].value[0].predictions.length };
  }, picture("cat"));
  expect(result.unknown).toBe("the worker has no method fly");
  expect(result.outcome).toBe(5);
  const kinds = new Map(result.kinds);
  for (const id of [1, 2, 3, 7]) expect(kinds.get(id)).toEqual(["setting"]);
  expect(kinds.get(4)).toEqual(["crash"]);
  expect(kinds.get(5)).toEqual(["value"]);
  for (const id of [6, 8]) expect(kinds.get(id)).toEqual(["crash"]);
  expect(kinds.get(9)).toEqual(["value", "value"]);
});

test("a picture that crashes the worker twice is skipped with a message, and all others are classified", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async (text) => {
    // A worker that crashes on pictures of this size in bytes, or on all pictures.
    let crashSize = 7;
    window.Worker = class extends Worker {
      postMessage(message, transfer) {
        const { id, method, args } = message;
        const crashes = method === "answer" && args.pictures.some(({ size }) => crashSize === Infinity || size === crashSize);
        if (!crashes) return super.postMessage(message, transfer);
        setTimeout(() => this.onmessage({ data: { id, error: { kind: "crash", message: "unreachable" } } }));
      }
    };
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const good = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const bad = new Blob([new Uint8Array(7)]);
    const [want] = await engine.classify([good]);
    const reasons = [];
    const onPicture = (index, outcome) => outcome instanceof Error && reasons.push(`${index} ${outcome.kind}: ${outcome.message}`);
    // With an independent request at the same time.
    const [batch, parallel] = await Promise.all([engine.classify([good, bad, good, bad, good], { onPicture }), engine.classify([good, good, good])]);
    const alone = await engine.classify([bad]).catch(({ kind }) => kind);
    crashSize = Infinity;
    const all = await engine.classify(Array(20).fill(good), { onPicture: () => {} }).catch(({ kind }) => kind);
    crashSize = 7;
    const [after] = await engine.classify([good]);
    engine.dispose();
    return { want, batch, parallel, reasons, alone, all, after };
  }, picture("cat"));
  expect(result.batch).toEqual([result.want, null, result.want, null, result.want]);
  expect(result.parallel).toEqual([result.want, result.want, result.want]);
  const reason = "picture: picture: the engine crashed on it twice; save it in another format, or leave it out";
  expect(result.reasons).toEqual([`1 ${reason}`, `3 ${reason}`]);
  expect(result.alone).toBe("picture");
  expect(result.all).toBe("crash");
  expect(result.after).toEqual(result.want);
});

test("a worker replies to each of 300 random requests, and classifies as before", async ({ page }) => {
  const interfaces = readFileSync(join(root, "www/engine/messages.d.ts"), "utf8");
  const methods = [.../export interface Methods \{(.*?)\n\}/s.exec(interfaces)[1].matchAll(/^ {2}(\w+): \{ args/gm)].map(([, name]) => name);
  expect(methods).toContain("predict");
  await page.goto(EMPTY);
  await page.evaluate(startWorker);
  const result = await page.evaluate(async ({ methods, text }) => {
    const picture = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const classify = async (id) => {
      worker.postMessage({ id, method: "answer", args: { pictures: [picture], topK: 3, thumbnails: 0 } });
      return (await reply(id)).value?.[0].predictions;
    };
    worker.postMessage({ id: -1, method: "load", args: { device: "cpu", liveness: "a test" } });
    await reply(-1);
    const before = await classify(-2);

    let state = 1;
    const random = (n) => (state = (state * 48271) % 2147483647) % n;
    const pick = (items) => items[random(items.length)];
    const randomValue = () => pick([undefined, null, -1, 0, 1, 2.5, NaN, Infinity, 2 ** 31, "", "safetensors", "cpu", "cancel", "stop", [], {}, [null], new Float32Array(2048), new Float32Array(4096), new Float32Array(0), new Uint32Array([0, 9]), new Uint8Array(30), new Blob(["x"]), [new Blob([])], [new File(["x"], "x.bin")]]);
    const names = ["pictures", "topK", "thumbnails", "latents", "labels", "classes", "names", "files", "form", "rows", "count", "bytes", "share", "settings", "folds", "options", "way", "from", "picture", "label", "command"];
    const safe = methods.filter((name) => name !== "load"); // `load` would replace the session
    for (let id = 0; id < 300; id++) {
      const args = pick([() => randomValue(), () => Object.fromEntries(Array.from({ length: random(6) }, () => [pick(names), randomValue()])), () => Object.fromEntries(names.map((name) => [name, randomValue()]))])();
      worker.postMessage({ id, method: random(12) ? pick(safe) : randomValue(), args: args instanceof Blob ? {} : args });
    }
    worker.postMessage({ id: 300, method: "control", args: { command: "resume" } });
    const counts = {};
    for (let id = 0; id <= 300; id++) {
      const { error } = await reply(id);
      const kind = error ? error.kind : "value";
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    worker.postMessage({ id: -3, method: "openHead", args: { bytes: null } });
    await reply(-3);
    const after = await classify(-4);
    worker.terminate();
    return { counts, before, after, duplicates: [...replies.values()].filter((all) => all.length > 1).length };
  }, { methods, text: picture("cat") });
  console.log(`301 requests: ${Object.entries(result.counts).map(([kind, count]) => `${count} ${kind}`).join(", ")}`);
  expect(result.duplicates).toBe(0);
  expect(result.before).toHaveLength(3);
  expect(result.after).toEqual(result.before);
});

test("results that arrive after cancellation are ignored", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async (texts) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const [cat, rocket] = texts.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
    const [want] = await engine.classify([rocket], { topK: 2 });
    const [latents] = await engine.latents([rocket]);
    const unhandled = [];
    addEventListener("unhandledrejection", ({ reason }) => unhandled.push(String(reason)));
    const failure = (promise) => promise.then(() => "finished", ({ kind, message }) => `${kind}: ${message}`);

    // Cancel while the worker processes a picture of the batch.
    const batch = new AbortController();
    const [cancelled, other] = await Promise.all([
      failure(engine.classify([cat, cat, cat, cat], { signal: batch.signal, onPicture: () => {} })),
      new Promise((resolve) => setTimeout(() => (batch.abort(), resolve(engine.classify([rocket], { topK: 2 }))), 100)),
    ]);
    const aborted = AbortSignal.abort();
    const immediately = await failure(engine.classify([cat], { signal: aborted }));

    // Cancel during training.
    await engine.dataset.add("one", [cat, rocket]);
    await engine.dataset.add("two", [new Blob([await cat.arrayBuffer(), "x"])]);
    const training = new AbortController();
    const [stopped, during] = await Promise.all([
      failure(engine.train({ epochs: 500, patience: 0 }, { signal: training.signal, onEpoch: () => training.abort() })),
      engine.predict(latents, 2),
    ]);
    const [after] = await engine.classify([rocket], { topK: 2 });
    const report = await engine.train({ epochs: 2 });
    engine.dispose();
    return { want, cancelled, other: other[0], immediately, stopped, during, after, epochs: report.epochs.length, unhandled };
  }, [picture("cat"), picture("rocket")]);
  expect(result.cancelled).toMatch(/^cancelled: cancelled after [0-4] of 4 pictures$/);
  expect(result.other).toEqual(result.want);
  expect(result.immediately).toBe("cancelled: cancelled after 0 of 1 pictures");
  expect(result.stopped).toMatch(/^cancelled: /);
  expect(result.during).toEqual(result.want);
  expect(result.after).toEqual(result.want);
  expect(result.epochs).toBe(2);
  expect(result.unhandled).toEqual([]);
});

const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".svg": "image/svg+xml" };
const site = process.env.SITE ?? join(root, "target/site");

/**
 * Serves the built site under `prefix`. `sendBase`, if given, sends the weights file.
 * @param {{ prefix?: string, sendBase?: (response: import("node:http").ServerResponse, body: Buffer) => Promise<void> }} options
 */
async function serve({ prefix = "/", sendBase }) {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname.replace(/\/$/, "/index.html");
    try {
      if (!path.startsWith(prefix)) throw new Error("outside");
      const body = readFileSync(join(site, path.slice(prefix.length)));
      response.setHeader("content-type", types[extname(path)] ?? "application/octet-stream");
      if (sendBase && path.endsWith("base.safetensors")) await sendBase(response, body);
      else response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, address: `http://127.0.0.1:${server.address().port}${prefix}` };
}

/** Starts an engine in the page, and records its progress in the global `progress`. @param {import("@playwright/test").Page} page */
function startEngine(page) {
  return page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    window.progress = [];
    const engine = await createEngine({ device: "cpu", onProgress: (progress) => window.progress.push(progress) });
    engine.dispose();
    return { bytes: engine.base.bytes, progress: window.progress };
  });
}

test("pool workers share a large batch, in order, even if one of them dies", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async () => {
    Object.defineProperty(navigator, "hardwareConcurrency", { get: () => 2 });
    /** Number of pictures sent to each worker; the first is the main worker. @type {number[]} */
    const sent = [];
    let crash = false;
    self.Worker = class extends Worker {
      number = sent.push(0) - 1;
      /** @param {any} message @param {any} [more] */
      postMessage(message, more) {
        if (message.method === "answer") sent[this.number] += 1;
        if (crash && this.number > 0 && sent[this.number] === 2) {
          this.terminate(); // without an error event
        } else super.postMessage(message, more);
      }
    };
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const [cat, rocket] = await Promise.all(["cat", "rocket"].map(async (name) => (await fetch(`/samples/${name}.jpg`)).blob()));
    const classify = async () => {
      const count = 40;
      const order = [];
      const answers = await engine.classify(Array.from({ length: count }, (_, n) => (n % 3 ? cat : rocket)), { onPicture: (index) => order.push(index) });
      return { order, answers: answers.map((answer) => answer && answer[0]) };
    };
    const alone = await Promise.all([rocket, cat].map(async (picture) => (await engine.classify([picture]))[0][0]));
    const whole = await classify();
    const shared = [...sent];
    sent.fill(0);
    crash = true;
    const broken = await classify();
    engine.dispose();
    return { alone, whole, shared, broken, sent };
  });
  const [rocket, cat] = result.alone;
  const want = { order: Array.from({ length: 40 }, (_, n) => n), answers: Array.from({ length: 40 }, (_, n) => (n % 3 ? cat : rocket)) };
  expect(result.whole).toEqual(want);
  expect(result.broken).toEqual(want);
  // 40, and the two single pictures. The second worker helps once it has started.
  expect(result.shared).toHaveLength(2);
  expect(result.shared[0] + result.shared[1]).toBe(42);
  expect(result.shared[1]).toBeGreaterThan(4);
  // The main worker also processes the picture that the dead worker had taken.
  expect(result.sent[1]).toBe(2);
  expect(result.sent[0]).toBe(39);
});

test("layers are built before the last bytes of the weights arrive", async ({ page }) => {
  let release = () => {};
  const released = new Promise((resolve) => (release = resolve));
  const { server, address } = await serve({
    async sendBase(response, body) {
      response.write(body.subarray(0, -100_000));
      await released;
      response.end(body.subarray(-100_000));
    },
  });
  await page.goto(`${address}${EMPTY}`);
  const started = startEngine(page);
  const last = () => page.evaluate(() => window.progress?.at(-1));
  // The kernel of the last layer is larger than the bytes held back.
  await expect.poll(async () => (await last())?.layers).toBe(93);
  const { stage, done, total } = await last();
  expect(stage).toBe("weights");
  expect(total - done).toBe(100_000);
  release();
  const { bytes, progress } = await started;
  expect(bytes).toBe(total);
  expect(progress.findLast(({ layers }) => layers).layers).toBe(94);
  server.close();
});

const failures = [
  {
    title: "an interrupted download is reported",
    sendBase: async (response, body) => {
      await new Promise((written) => response.write(body.subarray(0, 5_000_000), written));
      response.destroy();
    },
    message: /^weights: the download was interrupted \(.+\); check the connection and reload the page$/,
  },
  {
    title: "missing weights are reported with the HTTP status",
    sendBase: async (response) => void response.writeHead(404).end(),
    message: /^base\.safetensors could not be fetched \(HTTP status 404\); check the URL and reload the page$/,
  },
  {
    title: "a file of another format is rejected after its first bytes if its size and checksum are unknown",
    weights: "pkg/base.safetensors",
    sendBase: async (response) => void response.write("<!DOCTYPE html>"),
    message: /^weights: invalid safetensors file \(header too large, 15 bytes\); download or convert it again$/,
  },
];

for (const { title, weights, sendBase, message } of failures) {
  test(title, async ({ page }) => {
    const { server, address } = await serve({ sendBase });
    await page.goto(`${address}${EMPTY}`);
    const error = page.evaluate(async (weights) => {
      const { createEngine } = await import("/engine.js");
      return createEngine({ device: "cpu", weights: weights && new URL(weights, location.href).href }).then(() => "started", ({ message }) => message);
    }, weights);
    expect(await error).toMatch(message);
    // A failed engine leaves no worker running.
    await expect.poll(() => page.workers().length).toBe(0);
    server.closeAllConnections();
    server.close();
  });
}

test("weights read in chunks have the size, checksum and fingerprint of site.json", async ({ page }) => {
  await page.goto(EMPTY);
  const result = await page.evaluate(async () => {
    const { default: init, WeightsStream, Processor } = await import("/pkg/cpu/inception_web.js");
    await init();
    const { weights } = await (await fetch("/pkg/site.json")).json();
    const bytes = new Uint8Array(await (await fetch(`/pkg/${weights.url}`)).arrayBuffer());
    const stream = new WeightsStream(await Processor.start("cpu"));
    const chunk = 1 << 16;
    let [total, last] = [0, 0];
    for (let start = 0; start < bytes.length; start += chunk) {
      const before = performance.now();
      stream.push(bytes.subarray(start, start + chunk));
      last = performance.now() - before;
      total += last;
    }
    const { length, layers } = stream;
    const sha256 = stream.sha256();
    const { fingerprint } = (await stream.finish()).base();
    return { layers, total, last, length, sha256, fingerprint, weights };
  });
  const { total, last, weights } = result;
  const network = (weights.bytes * 8) / 100e6;
  console.log(`wasm, ${weights.bytes} bytes: decoded, verified and built in ${(total / 1000).toFixed(2)} s, ${last.toFixed(0)} ms of it after the last byte; the download takes ${network.toFixed(2)} s at 100 Mbit/s`);
  expect(result.layers).toBe(94);
  expect(result.length).toBe(weights.bytes);
  expect(result.sha256).toBe(weights.sha256);
  expect(result.fingerprint).toBe(weights.fingerprint);
});

test("corrupt cached weights are deleted and fetched again", async ({ page }) => {
  /** @type {string[]} */
  const fetched = [];
  page.on("request", (request) => request.url().includes("base.safetensors") && fetched.push(request.url()));
  await page.goto(EMPTY);
  const start = () => page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    engine.dispose();
    return engine.base.cached;
  });
  /** @param {{ from?: number, to?: number, flip?: number }} change */
  const corrupt = (change) => page.evaluate(async ({ from, to, flip = 0 }) => {
    const cache = await caches.open("inception-web weights");
    const [key] = await cache.keys();
    const entry = await cache.match(key);
    const bytes = new Uint8Array(await entry.arrayBuffer());
    if (flip) bytes[flip] ^= 1;
    await cache.put(key, new Response(bytes.subarray(from, to), { headers: entry.headers }));
  }, change);
  expect([await start(), await start()]).toEqual([false, true]);
  for (const change of [{ flip: 12_345_678 }, { flip: 100 }, { to: -7 }, { from: 100_000 }, { to: 0 }]) {
    fetched.length = 0;
    await corrupt(change);
    expect([await start(), fetched.length], JSON.stringify(change)).toEqual([false, 1]);
    expect([await start(), fetched.length], JSON.stringify(change)).toEqual([true, 1]);
  }
});

test("the self-test on the CPU runs once for each runtime and browser", async ({ page }) => {
  await page.goto(EMPTY);
  const start = () => page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    engine.dispose();
    return engine.base.deviation;
  });
  const measured = await start();
  /** Changes the stored result of the self-test, and returns the old one. @param {object} change */
  const changeStored = (change) => page.evaluate(async (change) => {
    const cache = await caches.open("inception-web checks");
    const [key] = await cache.keys();
    const stored = await (await cache.match(key)).json();
    await cache.put(key, new Response(JSON.stringify({ ...stored, ...change })));
    return stored;
  }, change);
  // No self-test gives this value, so it comes from the cache.
  expect((await changeStored({ deviation: 0.5 })).deviation).toBe(measured);
  expect(await start()).toBe(0.5);
  for (const other of [{ program: "another" }, { browser: "another" }]) {
    await changeStored({ deviation: 0.5, ...other });
    expect(await start(), JSON.stringify(other)).toBe(measured);
  }
});

test("the static site works below a path prefix", async ({ page }) => {
  const { server, address } = await serve({ prefix: "/some/where/" });
  await page.goto(`${address}?device=cpu`);
  await expect(status(page)).toHaveText(/^Ready · CPU/);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  server.close();
});
