// The JavaScript API as others import it, and what the page says when its files are not what they should be.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@playwright/test";
import { compare, F32, golden, latentsInPage, names, picture } from "./golden.js";

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

test("an engine whose worker dies starts again and finishes what was under way", async ({ page }) => {
  await page.goto(EMPTY);
  const { answered, notice } = await page.evaluate(async (text) => {
    const workers = [];
    const Real = window.Worker;
    window.Worker = class extends Real {
      constructor(...args) {
        super(...args);
        workers.push(this);
      }
    };
    const { createEngine } = await import("/engine.js");
    const engine = await createEngine({ device: "cpu" });
    const good = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
    const batch = engine.classify([good, good, good], {
      onPicture: (index) => index === 0 && workers[0].dispatchEvent(new ErrorEvent("error", { message: "unreachable" })),
    });
    const another = engine.latents([good, good]);
    const answered = (await batch).length + (await another).length;
    return { answered, notice: engine.notice };
  }, picture("cat"));
  expect(answered).toBe(5);
  expect(notice).toBe("The engine stopped, and was started again on the CPU.");
});

test("the static site works from a sub-path of any web server", async ({ page }) => {
  const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".svg": "image/svg+xml" };
  const site = process.env.SITE ?? join(root, "target/site");
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://localhost").pathname.replace(/\/$/, "/index.html");
    try {
      const body = readFileSync(join(site, path.replace(/^\/some\/where\//, "")));
      response.setHeader("content-type", types[extname(path)] ?? "application/octet-stream").end(path.startsWith("/some/where/") ? body : "");
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  await page.goto(`http://127.0.0.1:${server.address().port}/some/where/?device=cpu`);
  await expect(status(page)).toHaveText(/^Ready · CPU/);
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  server.close();
});
