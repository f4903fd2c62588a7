// Fuzzes saved projects: changes a .zip at random and checks that the page opens it completely or rejects it with a message.
// `node tests/fuzz/project.js --seconds 600` (--seed N), after `npm test` or `cargo run --release`; tests/browser/store.spec.js runs some hundred inputs.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/**
 * Runs inside a page of the site.
 * @param {{ seed: number, inputs?: number, seconds?: number }} options
 * @returns {Promise<{ inputs: number, opened: number, rejected: [string, number][], slowest: number, wrong: { input: number, what: string }[] }>}
 */
export async function fuzzProjects({ seed, inputs = Infinity, seconds = Infinity }) {
  const { isProject, openProject, saveProject, unzipPictures } = await import("/project/archive.js");
  const { addNamed, emptyProject, hashOf } = await import("/project/project.js");
  const { BlobReader, BlobWriter, Uint8ArrayReader, Uint8ArrayWriter, ZipReader, ZipWriter } = await import("/npm/zip.js");
  const LATENTS = 2048;

  // ---- seeded random numbers (mulberry32) ----

  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const randomBelow = (/** @type {number} */ n) => Math.floor(random() * n);
  const pick = (/** @type {readonly any[]} */ items) => items[randomBelow(items.length)];

  // ---- the project to change ----

  const engine = {
    fingerprint: "ab".repeat(32), base: { name: "stub" }, dataset: { count: 0 },
    exportLatents: async () => new Blob([new Float32Array(LATENTS * 2)]),
    readLatents: async ([file]) => {
      if (file.size === 0 || file.size % (4 * LATENTS)) throw Object.assign(new Error("latents: not a table"), { kind: "latents" });
      const latents = new Float32Array(await file.arrayBuffer());
      return [{ names: Array(latents.length / LATENTS).fill("") , latents }];
    },
  };
  const pictures = await Promise.all(["a/cat.jpg", "dog.png", "fox.webp"].map(async (name, n) => {
    const file = new Blob([new Uint8Array(60).fill(n + 1)], { type: "image/jpeg" });
    return { name, hash: await hashOf(file), file, className: pick(["cat", "dog"]) };
  }));
  const { project } = addNamed(emptyProject, ["cat", "dog"], pictures);
  const embedded = new Map(pictures.slice(0, 2).map(({ hash }) => [hash, { latents: new Float32Array(LATENTS), width: 3, height: 2, thumbnail: new Uint8Array(9) }]));
  engine.dataset.count = 2;
  const report = { settings: { seed: 1 }, classes: [{ name: "cat", pictures: 2 }], pictures: 2, epochs: [], bestEpoch: 1, end: "finished", seconds: 1, evaluation: null };
  const runs = [1, 2].map((id) => ({ id, at: 1, name: `Run ${id}`, head: new Uint8Array(20), report }));
  const saved = await saveProject({ project, embedded, runs, runInUse: 1, head: null }, engine);
  const whole = new Uint8Array(await saved.arrayBuffer());
  const entries = [];
  for (const entry of await new ZipReader(new BlobReader(saved)).getEntries()) {
    entries.push({ name: entry.filename, bytes: await entry.getData(new Uint8ArrayWriter()) });
  }

  // ---- changes ----

  const NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];
  /** @param {Uint8Array} bytes @returns {Uint8Array} */
  const mutate = (bytes) => {
    const copy = bytes.slice();
    for (let n = 1 + randomBelow(6); n && copy.length; n--) {
      const at = randomBelow(copy.length);
      if (random() < 0.5) copy[at] = randomBelow(256);
      else if (at + 4 <= copy.length) new DataView(copy.buffer).setUint32(at, pick(NUMBERS), true);
    }
    const [from, to] = [randomBelow(copy.length + 1), randomBelow(copy.length + 1)].sort((a, b) => a - b);
    const kind = random();
    if (kind < 0.1) return copy.slice(0, from);
    if (kind < 0.15) return new Uint8Array([...copy.slice(0, from), ...copy.slice(to)]);
    if (kind < 0.2) return new Uint8Array([...copy.slice(0, to), ...copy.slice(from)]);
    return copy;
  };
  const oddValue = () => pick([
    null, true, -1, 0, 1, 1.5, 1e308, 2 ** 53, "", " ", "x".repeat(100_000), "__proto__", "../../x", "constructor", "\u0000", "\ud800", "<img src=x onerror=alert(1)>", "=1+1",
    [], {}, [[]], { length: 1e9 }, "ab".repeat(32), Array(1000).fill(0), { toString: 1 }, "2 ** 53", [null], "heads/run-1.safetensors", "project.json",
  ]);
  /** Every property in a JSON value, as holder and key. @param {any} value @param {[any, string | number][]} [all] @returns {[any, string | number][]} */
  const properties = (value, all = []) => {
    if (value && typeof value === "object") for (const key of Object.keys(value)) properties(value[key], (all.push([value, key]), all));
    return all;
  };
  /** @param {Uint8Array} bytes @returns {Uint8Array} */
  const mutateJson = (bytes) => {
    const value = { top: JSON.parse(new TextDecoder().decode(bytes)) };
    for (let n = 1 + randomBelow(3); n; n--) {
      const [holder, key] = pick(properties(value));
      const kind = random();
      if (kind < 0.15 && key !== "top") Array.isArray(holder) ? holder.splice(Number(key), 1) : delete holder[key];
      else if (kind < 0.3 && Array.isArray(holder)) holder.push(structuredClone(holder[key]));
      else if (kind < 0.5) holder[key] = structuredClone(pick(properties(value))[0]);
      else holder[key] = oddValue();
    }
    const text = JSON.stringify(value.top) ?? "";
    return new TextEncoder().encode(random() < 0.05 ? "[".repeat(50_000) + text : text);
  };
  /** @returns {Promise<Blob>} */
  const mutatedZip = async () => {
    const files = entries.map(({ name, bytes }) => ({ name, bytes, json: name.endsWith(".json") ? bytes : null }));
    for (let n = 1 + randomBelow(3); n; n--) {
      const file = pick(files);
      const kind = random();
      if (kind < 0.6) {
        const jsonFile = pick(files.filter(({ json }) => json));
        if (jsonFile?.json) jsonFile.bytes = mutateJson(jsonFile.json);
      } else if (kind < 0.7) file.bytes = mutate(file.bytes);
      else if (kind < 0.78) files.splice(files.indexOf(file), 1);
      else if (kind < 0.86) file.name = pick(["project.json", "x/project.json", "../up.jpg", "/abs.jpg", "__proto__", "a//b.png", "c:\\d.png", "x".repeat(3000), "__MACOSX/project.json"]);
      else if (kind < 0.94) file.bytes = pick(files).bytes;
      else file.bytes = new Uint8Array(5_000_000); // compresses to some kilobytes
      if (!files.length) break;
    }
    const zip = new ZipWriter(new BlobWriter("application/zip"), { bufferedWrite: true });
    const taken = new Set();
    for (const { name, bytes } of files) {
      if (taken.has(name)) continue;
      taken.add(name);
      await zip.add(name, new Uint8ArrayReader(bytes), { level: pick([0, 6]) });
    }
    return zip.close();
  };

  // ---- checks ----

  /** The invalid part of an opened project; null if it is valid. @param {any} kept @returns {string | null} */
  const invalidPart = ({ project, embedded, runs, runInUse }) => {
    const ids = [...project.classes, ...project.pictures].map(({ id }) => id);
    const labels = new Set(project.classes.map(({ id }) => id));
    if (new Set(ids).size !== ids.length || ids.some((id) => id >= project.nextId)) return "ids";
    if (project.pictures.some(({ label, hash, file }) => !labels.has(label) || !/^[0-9a-f]{64}$/.test(hash) || !(file || embedded.has(hash)))) return "pictures";
    if (project.classes.some(({ name }) => typeof name !== "string" || !name.trim())) return "names";
    for (const { latents, thumbnail } of embedded.values()) if (latents.length !== LATENTS || !(thumbnail === null || thumbnail instanceof Uint8Array)) return "latents";
    if (runInUse !== null && !runs.some(({ id }) => id === runInUse)) return "runs";
    return null;
  };
  /** @type {Map<string, number>} */
  const rejected = new Map();
  /** @type {{ input: number, what: string }[]} */
  const wrong = [];
  let [opened, slowest, input] = [0, 0, 0];
  const start = performance.now();
  for (; input < inputs && performance.now() - start < seconds * 1000; input++) {
    const blob = random() < 0.3 ? new Blob([mutate(whole)]) : await mutatedZip();
    const before = performance.now();
    for (const [operation, work] of /** @type {const} */ ([
      ["isProject", () => isProject(blob)],
      ["unzipPictures", () => unzipPictures(blob)],
      ["openProject", () => openProject(blob, engine)],
    ])) {
      try {
        const value = await work();
        if (operation !== "openProject") continue;
        opened += 1;
        const what = invalidPart(value.kept);
        if (what) wrong.push({ input, what: `opened with invalid ${what}` });
      } catch (error) {
        const isMessage = error?.constructor === Error && /^(project|zip): .{10,400}$/s.test(error.message) && operation !== "isProject";
        if (!isMessage) wrong.push({ input, what: `${operation}: ${error?.stack ?? error}` });
        else if (operation === "openProject") {
          const kind = error.message.replace(/".*"|\(.*\)|[\d.]+/gs, "…").slice(0, 70);
          rejected.set(kind, (rejected.get(kind) ?? 0) + 1);
        }
      }
    }
    slowest = Math.max(slowest, performance.now() - before);
  }
  return { inputs: input, opened, rejected: [...rejected].sort((a, b) => b[1] - a[1]), slowest, wrong };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { chromium } = await import("@playwright/test");
  const { findChromium } = await import("../chromium.js");
  const { startServer } = await import("../server.js");
  const { values } = parseArgs({ options: { seconds: { type: "string", default: "600" }, seed: { type: "string", default: "1" }, port: { type: "string", default: "8096" } } });
  const { address, stop } = await startServer(values.port);
  try {
    const browser = await chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox"] });
    const page = await browser.newPage();
    await page.goto(`${address}style.css`);
    const { inputs, opened, rejected, slowest, wrong } = await page.evaluate(fuzzProjects, { seed: Number(values.seed), seconds: Number(values.seconds) });
    const memory = await page.evaluate(() => performance.memory.usedJSHeapSize / 1e6);
    await browser.close();
    console.log(`${inputs} inputs, ${opened} opened, ${inputs - opened} rejected with ${rejected.length} kinds of message; slowest ${slowest.toFixed(0)} ms; JavaScript heap ${memory.toFixed(0)} MB at the end`);
    for (const [message, count] of rejected) console.log(`${String(count).padStart(7)}  ${message}`);
    for (const { input, what } of wrong.slice(0, 20)) console.log(`WRONG: input ${input}: ${what}`);
    process.exitCode = wrong.length ? 1 : 0;
  } finally {
    stop();
  }
}
