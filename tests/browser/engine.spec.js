// The JavaScript API as others import it, and what the page says when its files are not what they should be.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { compare, F32, golden, keepWorkers, latentsInPage, names, picture } from "./golden.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const status = (/** @type {import("@playwright/test").Page} */ page) => page.getByRole("status");

/** A file of the site with nothing in it that runs, on which a test makes engines of its own. */
const EMPTY = "style.css";

test("latents on wasm are Keras's, with f32 weights and with the 22 MB ones", async ({ page }) => {
  for (const [dtype, origin] of [["f32", F32], ["u8", ""]]) {
    await page.goto(`${origin}${EMPTY}`);
    const { latents, device, base } = await latentsInPage(page, { device: "cpu" }, names.map(picture));
    expect([device, base.dtype]).toEqual(["cpu", dtype]);
    for (const [i, name] of names.entries()) {
      const { cosine, furthest, length } = compare(latents[i], golden(`${name}.latents`));
      console.log(`wasm, ${base.dtype}, ${name}: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${furthest.toExponential(1)}`);
      expect(length).toBe(2048);
      expect(cosine).toBeGreaterThanOrEqual(0.999999);
      expect(furthest).toBeLessThanOrEqual(1e-5);
    }
  }
});

test("files, bitmaps and pixels of one picture get one answer", async ({ page }) => {
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

test("errors have a kind, progress is told, and a broken picture does not stop the others", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async (text) => {
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
  expect(told.kinds).toEqual([
    [true, "picture", "picture: the file is empty (0 bytes); save or download it again"],
    [true, "picture", "picture: neither a file nor pixels; give a Blob, ImageBitmap or ImageData"],
    [true, "cancelled", "cancelled after 0 of 1 pictures"],
    [true, "disposed", "the engine was disposed of"],
    [true, "disposed", "the engine was disposed of"],
  ]);
  expect(told.stages).toEqual(["runtime", "weights", "prepare", "check"]);
  expect(told.outcomes).toEqual([[0, false], [1, true], [2, false]]);
  expect(told.progress).toEqual(["1/3", "2/3", "3/3"]);
  expect(told.slots).toEqual([5, null, 5]);
});

test("AVIF is read by the browser, animated GIFs by their first frame", async ({ page }) => {
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

const wrongFiles = [
  {
    fact: "weights cut off on the way are refused",
    path: "**/base.safetensors*",
    change: (bytes) => bytes.subarray(0, 1_000_000),
    says: /Weights: the file has 1000000 bytes, expected 21\d{6}; reload the page/,
  },
  {
    fact: "a page in place of weights is refused",
    path: "**/base.safetensors*",
    change: () => Buffer.from("<!DOCTYPE html><title>Sign in</title>"),
    says: /Weights: the file has 37 bytes, expected 21\d{6}; reload the page/,
  },
  {
    fact: "weights with one wrong bit are refused",
    path: "**/base.safetensors*",
    change: (bytes) => ((bytes[bytes.length - 1] ^= 1), bytes),
    says: /Weights: the file's SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}; reload the page/,
  },
  {
    fact: "a head of another base is refused with both names",
    path: "**/head.safetensors*",
    change: (bytes) => Buffer.from(bytes.toString("latin1").replace(/("fingerprint":")[0-9a-f]{64}/, `$1${"ab".repeat(32)}`), "latin1"),
    says: /Head: made with the base "nsfwjs Inception V3" \(fingerprint abababababab\), but the base here is "nsfwjs Inception V3" \(fingerprint [0-9a-f]{12}\)/,
  },
];

for (const { fact, path, change, says } of wrongFiles) {
  test(fact, async ({ page }) => {
    await page.route(path, async (route) => {
      const response = await route.fetch();
      const body = change(await response.body());
      await route.fulfill({ response, headers: { ...response.headers(), "content-length": String(body.length) }, body });
    });
    await page.goto("?device=cpu");
    await expect(page.getByRole("alert")).toHaveText(says);
  });
}

test("weights of something else, named by their address, are refused", async ({ page }) => {
  await page.goto("?device=cpu&weights=/ten-classes/head.safetensors");
  await expect(page.getByRole("alert")).toContainText('Weights: the file\'s metadata has no "format"; this is not a weights file of inception-web');
});

for (const how of ["says so", "says nothing"]) {
  test(`an engine whose worker dies and ${how} starts again and finishes what was under way`, async ({ page }) => {
    await page.goto(EMPTY);
    await keepWorkers(page);
    const { answered, notice, told } = await page.evaluate(async ({ text, says }) => {
      const { createEngine } = await import("/engine.js");
      const told = [];
      const engine = await createEngine({ device: "cpu", onChange: () => told.push(engine.notice) });
      const good = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
      const kill = says ? () => workers[0].dispatchEvent(new ErrorEvent("error", { message: "unreachable" })) : () => workers[0].terminate();
      const batch = engine.classify([good, good, good], { onPicture: (index) => index === 0 && kill() });
      const another = engine.latents([good, good]);
      const answered = (await batch).length + (await another).length;
      return { answered, notice: engine.notice, told };
    }, { text: picture("cat"), says: how === "says so" });
    expect(answered).toBe(5);
    expect(notice).toBe("The engine stopped, and was started again on the CPU.");
    expect(told).toEqual(["The engine stopped. It is started once more, and the work goes on.", notice]);
  });
}

/** Runs in the page: a worker of its own as `worker`, its `replies` by their numbers, and `reply`, which waits for those of a number. */
function speak() {
  self.worker = new Worker("/worker/worker.js", { type: "module" });
  self.replies = new Map();
  let heard = () => {};
  worker.onmessage = ({ data }) => {
    if ("progress" in data) return;
    replies.set(data.id, [...(replies.get(data.id) ?? []), data]);
    heard();
  };
  self.reply = async (id, count = 1) => {
    while ((replies.get(id)?.length ?? 0) < count) await new Promise((resolve) => (heard = resolve));
    return replies.get(id)[0];
  };
}

test("a worker answers every message by its number, whatever is in it, and goes on", async ({ page }) => {
  await page.goto(EMPTY);
  await page.evaluate(speak);
  const told = await page.evaluate(async (text) => {
    /** @param {number} id @param {unknown} method @param {unknown} args @param {number} [count] */
    const say = async (id, method, args, count = 1) => {
      for (let n = 0; n < count; n++) worker.postMessage({ id, method, args });
      await reply(id, count);
    };
    const file = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    await say(1, "fly", {});
    await say(2, "toString", {});
    await say(3, undefined, undefined);
    await say(4, "predict", { latents: new Float32Array(2048), topK: 1 }); // nothing is loaded yet
    await say(5, "load", { device: "cpu", liveness: "a test" });
    worker.postMessage(null);
    await say(6, "answer", { pictures: "none", topK: "many" });
    await say(7, "predict", { latents: new Float32Array(3), topK: 1 });
    await say(8, "answer", undefined);
    await say(9, "predict", { latents: new Float32Array(2048), topK: 2 }, 2); // one number for two messages
    await say(10, "answer", { pictures: [file], topK: 5, thumbnails: 0 });
    worker.terminate();
    const kinds = [...replies].map(([id, all]) => [id, all.map((reply) => (reply.error ? reply.error.kind : "value"))]);
    return { kinds, unknown: replies.get(1)?.[0].error.message, outcome: replies.get(10)?.[0].value[0].predictions.length };
  }, picture("cat"));
  expect(told.unknown).toBe("the worker has no method fly");
  expect(told.outcome).toBe(5);
  const kinds = new Map(told.kinds);
  for (const id of [1, 2, 3, 7]) expect(kinds.get(id)).toEqual(["setting"]);
  expect(kinds.get(4)).toEqual(["crash"]);
  expect(kinds.get(5)).toEqual(["value"]);
  for (const id of [6, 8]) expect(kinds.get(id)).toEqual(["crash"]);
  expect(kinds.get(9)).toEqual(["value", "value"]);
});

test("a picture that stops the worker again and again is left out with its reason, and everything else is answered", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async (text) => {
    // A worker whose program panics at one picture, or at all.
    let poison = 7;
    window.Worker = class extends Worker {
      postMessage(message, transfer) {
        const { id, method, args } = message;
        const panics = method === "answer" && args.pictures.some(({ size }) => poison === Infinity || size === poison);
        if (!panics) return super.postMessage(message, transfer);
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
    // With another call beside it, which has nothing to do with it.
    const [batch, beside] = await Promise.all([engine.classify([good, bad, good, bad, good], { onPicture }), engine.classify([good, good, good])]);
    const alone = await engine.classify([bad]).catch(({ kind }) => kind);
    poison = Infinity;
    const all = await engine.classify(Array(20).fill(good), { onPicture: () => {} }).catch(({ kind }) => kind);
    poison = 7;
    const [after] = await engine.classify([good]);
    engine.dispose();
    return { want, batch, beside, reasons, alone, all, after };
  }, picture("cat"));
  expect(told.batch).toEqual([told.want, null, told.want, null, told.want]);
  expect(told.beside).toEqual([told.want, told.want, told.want]);
  const reason = "picture: picture: the engine stopped at it, twice; save it anew in another format, or leave it out";
  expect(told.reasons).toEqual([`1 ${reason}`, `3 ${reason}`]);
  expect(told.alone).toBe("picture");
  expect(told.all).toBe("crash");
  expect(told.after).toEqual(told.want);
});

test("three hundred messages at random get a reply each, and the worker answers as before", async ({ page }) => {
  const interfaces = readFileSync(join(root, "www/engine/messages.d.ts"), "utf8");
  const methods = [.../export interface Methods \{(.*?)\n\}/s.exec(interfaces)[1].matchAll(/^ {2}(\w+): \{ args/gm)].map(([, name]) => name);
  expect(methods).toContain("predict");
  await page.goto(EMPTY);
  await page.evaluate(speak);
  const told = await page.evaluate(async ({ methods, text }) => {
    const picture = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const known = async (id) => {
      worker.postMessage({ id, method: "answer", args: { pictures: [picture], topK: 3, thumbnails: 0 } });
      return (await reply(id)).value?.[0].predictions;
    };
    worker.postMessage({ id: -1, method: "load", args: { device: "cpu", liveness: "a test" } });
    await reply(-1);
    const before = await known(-2);

    let state = 1;
    const below = (n) => (state = (state * 48271) % 2147483647) % n;
    const one = (of) => of[below(of.length)];
    const odd = () => one([undefined, null, -1, 0, 1, 2.5, NaN, Infinity, 2 ** 31, "", "safetensors", "cpu", "cancel", "stop", [], {}, [null], new Float32Array(2048), new Float32Array(4096), new Float32Array(0), new Uint32Array([0, 9]), new Uint8Array(30), new Blob(["x"]), [new Blob([])], [new File(["x"], "x.bin")]]);
    const names = ["pictures", "topK", "thumbnails", "latents", "labels", "classes", "names", "files", "form", "rows", "count", "bytes", "share", "settings", "folds", "options", "way", "from", "picture", "label", "command"];
    const safe = methods.filter((name) => name !== "load"); // which makes a new session
    for (let id = 0; id < 300; id++) {
      const args = one([() => odd(), () => Object.fromEntries(Array.from({ length: below(6) }, () => [one(names), odd()])), () => Object.fromEntries(names.map((name) => [name, odd()]))])();
      worker.postMessage({ id, method: below(12) ? one(safe) : odd(), args: args instanceof Blob ? {} : args });
    }
    worker.postMessage({ id: 300, method: "control", args: { command: "resume" } });
    const kinds = {};
    for (let id = 0; id <= 300; id++) {
      const { error } = await reply(id);
      const kind = error ? error.kind : "value";
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
    worker.postMessage({ id: -3, method: "openHead", args: { bytes: null } });
    await reply(-3);
    const after = await known(-4);
    worker.terminate();
    return { kinds, before, after, several: [...replies.values()].filter((all) => all.length > 1).length };
  }, { methods, text: picture("cat") });
  console.log(`301 messages: ${Object.entries(told.kinds).map(([kind, count]) => `${count} ${kind}`).join(", ")}`);
  expect(told.several).toBe(0);
  expect(told.before).toHaveLength(3);
  expect(told.after).toEqual(told.before);
});

test("what comes back after its work was cancelled disturbs nothing", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async (texts) => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const [cat, rocket] = texts.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
    const [want] = await engine.classify([rocket], { topK: 2 });
    const [latents] = await engine.latents([rocket]);
    const unheard = [];
    addEventListener("unhandledrejection", ({ reason }) => unheard.push(String(reason)));
    const failure = (promise) => promise.then(() => "finished", ({ kind, message }) => `${kind}: ${message}`);

    // While the worker still has a picture of the batch.
    const batch = new AbortController();
    const [cancelled, other] = await Promise.all([
      failure(engine.classify([cat, cat, cat, cat], { signal: batch.signal, onPicture: () => {} })),
      new Promise((resolve) => setTimeout(() => (batch.abort(), resolve(engine.classify([rocket], { topK: 2 }))), 100)),
    ]);
    const gone = new AbortController();
    gone.abort();
    const atOnce = await failure(engine.classify([cat], { signal: gone.signal }));

    // While it trains.
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
    return { want, cancelled, other: other[0], atOnce, stopped, during, after, epochs: report.epochs.length, unheard };
  }, [picture("cat"), picture("rocket")]);
  expect(told.cancelled).toMatch(/^cancelled: cancelled after [0-4] of 4 pictures$/);
  expect(told.other).toEqual(told.want);
  expect(told.atOnce).toBe("cancelled: cancelled after 0 of 1 pictures");
  expect(told.stopped).toMatch(/^cancelled: /);
  expect(told.during).toEqual(told.want);
  expect(told.after).toEqual(told.want);
  expect(told.epochs).toBe(2);
  expect(told.unheard).toEqual([]);
});

const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".svg": "image/svg+xml" };
const site = process.env.SITE ?? join(root, "target/site");

/**
 * A web server with the built site under `prefix`; `sendBase`, if given, sends the base's bytes.
 * @param {{ prefix?: string, sendBase?: (response: import("node:http").ServerResponse, body: Buffer) => Promise<void> }} how
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

/** Starts an engine in the page, and notes in `told` what it tells and when. @param {import("@playwright/test").Page} page */
function startTelling(page) {
  return page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    window.told = [];
    const engine = await createEngine({ device: "cpu", onProgress: (progress) => window.told.push({ ...progress, at: Date.now() }) });
    engine.dispose();
    return { bytes: engine.base.bytes, ready: Date.now(), told: window.told };
  });
}

test("many pictures are shared among workers and answered in order, also where one of these dies", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async () => {
    Object.defineProperty(navigator, "hardwareConcurrency", { get: () => 2 });
    /** How many pictures each worker was asked about, the engine's own first. @type {number[]} */
    const asked = [];
    let dies = false;
    self.Worker = class extends Worker {
      number = asked.push(0) - 1;
      /** @param {any} message @param {any} [more] */
      postMessage(message, more) {
        if (message.method === "answer") asked[this.number] += 1;
        if (dies && this.number > 0 && asked[this.number] === 2) {
          this.terminate(); // without a word
        } else super.postMessage(message, more);
      }
    };
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const [cat, rocket] = await Promise.all(["cat", "rocket"].map(async (name) => (await fetch(`/samples/${name}.jpg`)).blob()));
    const names = async () => {
      const count = 40;
      const order = [];
      const answers = await engine.classify(Array.from({ length: count }, (_, n) => (n % 3 ? cat : rocket)), { onPicture: (index) => order.push(index) });
      return { order, answers: answers.map((answer) => answer && answer[0]) };
    };
    const alone = await Promise.all([rocket, cat].map(async (picture) => (await engine.classify([picture]))[0][0]));
    const whole = await names();
    const shared = [...asked];
    asked.fill(0);
    dies = true;
    const broken = await names();
    engine.dispose();
    return { alone, whole, shared, broken, asked };
  });
  const [rocket, cat] = told.alone;
  const want = { order: Array.from({ length: 40 }, (_, n) => n), answers: Array.from({ length: 40 }, (_, n) => (n % 3 ? cat : rocket)) };
  expect(told.whole).toEqual(want);
  expect(told.broken).toEqual(want);
  // 40 and the two alone; the second worker takes its part once it has started.
  expect(told.shared).toHaveLength(2);
  expect(told.shared[0] + told.shared[1]).toBe(42);
  expect(told.shared[1]).toBeGreaterThan(4);
  // The picture that the second one had taken is done by the first.
  expect(told.asked[1]).toBe(2);
  expect(told.asked[0]).toBe(39);
});

test("layers are ready before the last bytes of the weights are sent", async ({ page }) => {
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
  const started = startTelling(page);
  const last = () => page.evaluate(() => window.told?.at(-1));
  // The last layer's kernel has more bytes than are held back.
  await expect.poll(async () => (await last())?.layers).toBe(93);
  const { stage, done, total } = await last();
  expect(stage).toBe("weights");
  expect(total - done).toBe(100_000);
  release();
  const { bytes, told } = await started;
  expect(bytes).toBe(total);
  expect(told.findLast(({ layers }) => layers).layers).toBe(94);
  server.close();
});

const failures = [
  {
    fact: "a download that breaks off says so",
    sendBase: async (response, body) => {
      await new Promise((written) => response.write(body.subarray(0, 5_000_000), written));
      response.destroy();
    },
    says: /^weights: the download broke off \(.+\); check the connection and reload the page$/,
  },
  {
    fact: "a base that is not there is said with the server's answer",
    sendBase: async (response) => void response.writeHead(404).end(),
    says: /^base\.safetensors could not be fetched \(the server answered 404\); check the address and reload the page$/,
  },
  {
    fact: "a file of another kind is refused by its first bytes where nothing is known of it",
    weights: "pkg/base.safetensors",
    sendBase: async (response) => void response.write("<!DOCTYPE html>"),
    says: /^weights: not a whole safetensors file \(header too large, 15 bytes\); download or convert it again$/,
  },
];

for (const { fact, weights, sendBase, says } of failures) {
  test(fact, async ({ page }) => {
    const { server, address } = await serve({ sendBase });
    await page.goto(`${address}${EMPTY}`);
    const message = page.evaluate(async (weights) => {
      const { createEngine } = await import("/engine.js");
      return createEngine({ device: "cpu", weights: weights && new URL(weights, location.href).href }).then(() => "it started", ({ message }) => message);
    }, weights);
    expect(await message).toMatch(says);
    // Nothing goes on behind an engine that is not there.
    await expect.poll(() => page.workers().length).toBe(0);
    server.closeAllConnections();
    server.close();
  });
}

test("a file in pieces is the file that the site lists", async ({ page }) => {
  await page.goto(EMPTY);
  const told = await page.evaluate(async () => {
    const { default: start, Arriving, Processor } = await import("/pkg/cpu/inception_web.js");
    await start();
    const { weights } = await (await fetch("/pkg/site.json")).json();
    const bytes = new Uint8Array(await (await fetch(`/pkg/${weights.url}`)).arrayBuffer());
    const arriving = new Arriving(await Processor.start("cpu"));
    const piece = 1 << 16;
    let [all, last] = [0, 0];
    for (let at = 0; at < bytes.length; at += piece) {
      const before = performance.now();
      arriving.take(bytes.subarray(at, at + piece));
      last = performance.now() - before;
      all += last;
    }
    const { length, layers } = arriving;
    const sha256 = arriving.sha256();
    const { fingerprint } = (await arriving.finish()).base();
    return { layers, all, last, length, sha256, fingerprint, weights };
  });
  const { all, last, weights } = told;
  const network = (weights.bytes * 8) / 100e6;
  console.log(`wasm, ${weights.bytes} bytes: decoded, checked and put on the device in ${(all / 1000).toFixed(2)} s, ${last.toFixed(0)} ms of it after the last byte; 100 Mbit/s bring them in ${network.toFixed(2)} s`);
  expect(told.layers).toBe(94);
  expect(told.length).toBe(weights.bytes);
  expect(told.sha256).toBe(weights.sha256);
  expect(told.fingerprint).toBe(weights.fingerprint);
});

test("what was kept wrongly is forgotten and fetched anew", async ({ page }) => {
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
  const spoil = (change) => page.evaluate(async ({ from, to, flip = 0 }) => {
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
    await spoil(change);
    expect([await start(), fetched.length], JSON.stringify(change)).toEqual([false, 1]);
    expect([await start(), fetched.length], JSON.stringify(change)).toEqual([true, 1]);
  }
});

test("the CPU is checked once for a program and a browser, and again where either is another", async ({ page }) => {
  await page.goto(EMPTY);
  const start = () => page.evaluate(async () => {
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    engine.dispose();
    return engine.base.deviation;
  });
  const measured = await start();
  /** What is noted of the check, with changes. @param {object} change */
  const note = (change) => page.evaluate(async (change) => {
    const cache = await caches.open("inception-web checks");
    const [key] = await cache.keys();
    const noted = await (await cache.match(key)).json();
    await cache.put(key, new Response(JSON.stringify({ ...noted, ...change })));
    return noted;
  }, change);
  // A number that no check gives shows that none was made.
  expect((await note({ deviation: 0.5 })).deviation).toBe(measured);
  expect(await start()).toBe(0.5);
  for (const other of [{ program: "another" }, { browser: "another" }]) {
    await note({ deviation: 0.5, ...other });
    expect(await start(), JSON.stringify(other)).toBe(measured);
  }
});

test("the static site works from a sub-path of any web server", async ({ page }) => {
  const { server, address } = await serve({ prefix: "/some/where/" });
  await page.goto(`${address}?device=cpu`);
  await expect(status(page)).toHaveText(/^Ready · CPU/);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  server.close();
});
