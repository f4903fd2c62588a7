// What real Keras computed (tests/golden/make.py), for tests that compare whole forwards in the browser with it.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = new URL("../golden/", import.meta.url);

/** Where the same page is served with the base in f32 (playwright.config.js). */
export const F32 = `http://127.0.0.1:${Number(process.env.PORT ?? 8099) + 1}/`;

export const names = ["cat", "rocket", "shuttle"];

/** A golden picture's file as base64, for `page.evaluate`. @param {string} name */
export function picture(name) {
  return readFileSync(fileURLToPath(new URL(`${name}.png`, folder))).toString("base64");
}

/** One f32 tensor of a safetensors file. @param {string} tensor */
export function golden(tensor) {
  const bytes = readFileSync(fileURLToPath(new URL("pictures.safetensors", folder)));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const [from, to] = JSON.parse(bytes.subarray(8, start).toString())[tensor].data_offsets;
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start + from, bytes.byteOffset + start + to));
}

/** @param {Float32Array | number[]} ours @param {Float32Array} theirs */
export function compare(ours, theirs) {
  let [dot, a, b, furthest] = [0, 0, 0, 0];
  for (const [i, value] of theirs.entries()) {
    dot += ours[i] * value;
    a += ours[i] ** 2;
    b += value ** 2;
    furthest = Math.max(furthest, Math.abs(ours[i] - value));
  }
  return { cosine: dot / Math.sqrt(a * b), furthest, length: ours.length };
}

/** Latents of golden pictures by the page's own engine, in the page. @param {import("@playwright/test").Page} page */
export async function latentsInPage(page, options, pictures) {
  return page.evaluate(
    async ({ options, pictures }) => {
      const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
      const engine = await createEngine(options);
      const files = pictures.map((text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/png" }));
      const latents = await engine.latents(files);
      const { device, deviceName, notice, fingerprint, base } = engine;
      engine.dispose();
      return { latents: latents.map((row) => Array.from(row)), device, deviceName, notice, fingerprint, base };
    },
    { options, pictures },
  );
}

/** Keeps the workers that a page starts from now on in its global `workers`, so that they can be killed. @param {import("@playwright/test").Page} page */
export function keepWorkers(page) {
  return page.evaluate(() => {
    window.workers = [];
    window.Worker = class extends Worker {
      constructor(...args) {
        super(...args);
        window.workers.push(this);
      }
    };
  });
}
