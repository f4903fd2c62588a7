// Reference values computed by Keras (tests/golden/make.py), for tests that run the network in the browser.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = new URL("../golden/", import.meta.url);

/** The server with f32 weights (playwright.config.js). */
export const F32 = `http://127.0.0.1:${Number(process.env.PORT ?? 8099) + 1}/`;

export const names = ["cat", "rocket", "shuttle"];

/** Reads a golden picture as base64, for `page.evaluate`. @param {string} name */
export function picture(name) {
  return readFileSync(fileURLToPath(new URL(`${name}.png`, folder))).toString("base64");
}

/** Reads an f32 tensor of pictures.safetensors. @param {string} tensor */
export function golden(tensor) {
  const bytes = readFileSync(fileURLToPath(new URL("pictures.safetensors", folder)));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const [from, to] = JSON.parse(bytes.subarray(8, start).toString())[tensor].data_offsets;
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start + from, bytes.byteOffset + start + to));
}

/** Cosine similarity and maximum absolute difference. @param {Float32Array | number[]} got @param {Float32Array} expected */
export function compare(got, expected) {
  let [dot, a, b, maxDifference] = [0, 0, 0, 0];
  for (const [i, value] of expected.entries()) {
    dot += got[i] * value;
    a += got[i] ** 2;
    b += value ** 2;
    maxDifference = Math.max(maxDifference, Math.abs(got[i] - value));
  }
  return { cosine: dot / Math.sqrt(a * b), maxDifference, length: got.length };
}

/** Computes latents with a new engine in the page. @param {import("@playwright/test").Page} page */
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

/** Records workers that the page starts in the global `workers`, so that a test can terminate them. @param {import("@playwright/test").Page} page */
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
