// @ts-check
/**
 * Runs the network, off the page's main thread. This is the only importer of pkg/. Messages: messages.d.ts.
 *
 * Weights are fetched in parallel with the runtime (weights.js), and layers are built as their bytes arrive.
 */

import { holdLiveness } from "../engine/liveness.js";
import { relaxedSimd } from "../npm/wasm-feature-detect.js";
import { sha256 } from "../util/sha256.js";
import { createComparison } from "./comparison.js";
import { control, resetControl, SLICE_MS, stopRequested, yieldToEvents } from "./control.js";
import { Failure } from "./failure.js";
import { cacheKey, findWeights, forget, get, keep, openCache, storeDeviation, storedDeviation } from "./weights.js";

/** @import { WeightsStream, Processor, Session, Picture as Decoded } from "../pkg/cpu/inception_web.js" */
/** @import { TrainingSession } from "../pkg/tools/inception_web.js" */
/** @import { AnswerArgs, LoadArgs, Loaded, Methods, Outcome, Request, Trained } from "../engine/messages.js" */
/** @import { EpochReport, ErrorKind, KeptBase, LoadProgress, Picture } from "../engine/types.js" */
/** @typedef {typeof import("../pkg/cpu/inception_web.js")} Runtime  Classification only. */
/** @typedef {typeof import("../pkg/tools/inception_web.js")} Tools  Also trains, evaluates, compares and converts. */
/** @typedef {{ cpu: Runtime, relaxed: Runtime, webgpu: Runtime, tools: Tools }} Builds */
/** @import { Chunk, Source, WeightsEntry } from "./weights.js" */
/** `pending`: builds that the server has not finished. @typedef {{ weights: WeightsEntry, head: string | null, runtimes: Partial<Record<keyof Builds, { bytes: number, version: string }>>, pending: string[], training: Loaded["defaults"] }} Site */
/** @typedef {(progress: LoadProgress) => void} OnLoadProgress */

const MANIFEST = new URL("../pkg/site.json", import.meta.url);
/** Side of the network's input. */
const INPUT = 299;
const LATENTS = 2048;
/** Side of the pictures of a picture set. */
const SIDE = 32;
/** Chunk size for weights that are already in memory, in bytes. */
const CHUNK = 1 << 20;
/** Milliseconds between requests for a build that the server has not finished. */
const POLL_MS = 1000;
/** Pictures per forward pass: a GPU is faster with several, the CPU is not. */
const BATCH = { webgpu: 4, cpu: 1 };

/** @type {Site} */ let site;
/** @type {Runtime} */ let runtime;
/** @type {Session} */ let session;
let batch = 1;
/** The head file given to `load` or shipped with the site. @type {Uint8Array | null} */ let initialHead;
/** Whether it is an error if the initial head belongs to another base. */ let headMustFit = true;

/** @type {{ [M in keyof Methods]: (args: Methods[M]["args"], onProgress: (progress: Methods[M]["progress"]) => void) => Methods[M]["value"] | Promise<Methods[M]["value"]> }} */
const methods = {
  load,
  answer,
  train,
  crossValidate,
  predict: ({ latents, topK }) => session.predict(latents, topK),
  explain: async ({ picture, label }) => session.explain(await decode(picture), label),
  convert,
  openHead: ({ bytes }) => (bytes ? session.openHead(bytes) : openInitialHead()),
  writeHead: ({ form }) => copy(session.writeHead(form)),
  setUnsureBelow: ({ share }) => (session.setUnsureBelow(share), null),
  setTable: ({ latents, labels, classes, names }) => tools().then(({ trainer }) => (trainer.setTable(latents, labels, classes, names), null)),
  readLatents: ({ files }) => Promise.all(files.map(readLatents)),
  writeLatents: ({ form }) => tools().then(({ trainer }) => copy(trainer.writeLatents(form))),
  evaluate: ({ rows }) => tools().then(({ trainer }) => trainer.evaluate(session.writeHead("safetensors"), rows)),
  nearest: ({ latents, count }) => tools().then(({ trainer }) => trainer.nearest(latents, count)),
  openSet: ({ files }, onProgress) => comparison().then((comparison) => comparison.open(files, onProgress)),
  plan: ({ options }) => comparison().then((comparison) => comparison.plan(options)),
  compare: ({ options }, onProgress) => comparison().then((comparison) => comparison.compare(options, onProgress)),
  learningCurve: ({ options }, onProgress) => comparison().then((comparison) => comparison.learningCurve(options, onProgress)),
  setPictures: ({ from, rows }) => comparison().then((comparison) => comparison.pictures(from, rows)),
  layers: ({ way }) => comparison().then((comparison) => comparison.layers(way)),
  components: ({ count }) => tools().then(({ trainer }) => new Float32Array(trainer.principalComponents(count))),
  control: ({ command }) => (control(command), null),
};

self.onmessage = async ({ data }) => {
  const { id, method, args } = /** @type {Request} */ (data);
  const onProgress = (/** @type {unknown} */ progress) => self.postMessage({ id, progress });
  try {
    if (!Object.hasOwn(methods, method)) throw new Failure("setting", `the worker has no method ${method}`);
    const handler = /** @type {(args: unknown, onProgress: (progress: unknown) => void) => unknown} */ (methods[method]);
    const value = await handler(args, onProgress);
    self.postMessage({ id, value }, { transfer: transferable(value) });
  } catch (error) {
    self.postMessage({ id, error: describe(error) });
  }
};

/** The buffers of a value that are moved instead of copied: tables of latents. @param {unknown} value @returns {Transferable[]} */
function transferable(value) {
  return Array.isArray(value) ? value.flatMap(({ latents, labels }) => (latents && labels ? [latents.buffer] : [])) : [];
}

/** Copies bytes out of the wasm memory. @param {Uint8Array} bytes */
function copy(bytes) {
  return new Uint8Array(bytes);
}

/** @param {unknown} error @returns {{ kind: ErrorKind, message: string }} */
function describe(error) {
  const { kind, message } = /** @type {{ kind?: ErrorKind, message?: string }} */ (error);
  if (error instanceof WebAssembly.RuntimeError || !kind) return { kind: "crash", message: message ?? String(error) };
  return { kind, message: message ?? String(error) };
}

/** @param {LoadArgs} args @param {OnLoadProgress} onProgress @returns {Promise<Loaded>} */
async function load({ device: requested, liveness, weights, head }, onProgress) {
  await holdLiveness(liveness);
  site = await manifest();
  const { pending } = site;
  const headUrl = head ?? site.head;
  const find = () => findWeights(weights, site.weights, MANIFEST);
  const files = Promise.all([find(), headUrl ? get(new URL(headUrl, MANIFEST)) : null]);
  files.catch(() => {}); // awaited below
  const choice = await chooseDevice(requested);
  const [module, [found, headFile]] = await Promise.all([loadRuntime(choice.build, onProgress), files]);
  runtime = module;
  initialHead = headFile && new Uint8Array(await headFile.arrayBuffer());

  let { notice } = choice;
  const candidates = [...choice.candidates];
  let source = found;
  /** @type {Processor | undefined} */ let processor;
  const { version } = await entryOfBuild(choice.build);
  /** Stored result of the self-test. @type {number | undefined} */ let stored;
  /** Opens the base on the first candidate that works. @returns {ReturnType<typeof openBase>} */
  const open = async () => {
    try {
      processor ??= await runtime.Processor.start(candidates[0].processor, (done, total) => onProgress({ stage: "kernels", done, total }));
      const { entry, cached } = source;
      stored = entry && cached && candidates[0].device === "cpu" ? await storedDeviation(entry, version) : undefined;
      return await openBase(runtime, processor, source, onProgress, stored);
    } catch (error) {
      const { kind, reason } = /** @type {{ kind?: string, reason?: string }} */ (error);
      if (candidates.length === 1 || kind !== "device") throw error;
      const [failed, next] = candidates;
      candidates.shift();
      if (next.device === "cpu") notice = `Switched from the GPU to the CPU: ${reason}.`;
      else console.warn(`switched from ${failed.name} to ${next.name}: ${reason}`);
      processor?.free(); // and its GPU memory
      processor = undefined;
      return open();
    }
  };
  let opened;
  try {
    opened = await open();
  } catch (error) {
    if (!source.cached) throw error;
    await forget(source.entry);
    if (/** @type {{ kind?: string }} */ (error).kind !== "weights") throw error;
    source = await find();
    opened = await open();
  }
  session = opened.session;
  onProgress({ stage: "check", done: 1, total: 1 });

  const base = session.base();
  const { bytes, sha256 } = opened;
  const { cached } = source;
  if (!cached && typeof weights !== "object" && !(await keep(weights, { ...base, bytes, sha256 }, source.downloaded))) {
    notice = [notice, "The browser's storage is full, so the next visit downloads the weights again."].filter(Boolean).join(" ");
  }
  // The site's head need not fit a base that the user chose.
  headMustFit = Boolean(head) || !weights;
  const headInfo = openInitialHead();
  const [{ device, name }] = candidates;
  if (device === "cpu" && stored === undefined) await storeDeviation(base, version, base.deviation);
  batch = BATCH[device];
  return { device, build: choice.build, deviceName: name, notice, batch, base: { ...base, bytes, cached }, head: headInfo, defaults: site.training, complete: !pending.length };
}

/**
 * Builds layers on the processor as their bytes arrive. The checksum is verified at the end, before anything is used.
 * @param {Pick<Runtime, "WeightsStream">} module @param {Processor} processor
 * @param {Pick<Source, "chunks" | "entry">} source @param {OnLoadProgress} onProgress @param {number} [deviation] stored result of the self-test, to skip it
 */
async function openBase(module, processor, { chunks, entry }, onProgress, deviation) {
  const stream = new module.WeightsStream(processor, Boolean(entry?.sha256));
  let start = performance.now();
  try {
    for await (const chunk of chunks()) {
      const valid = stream.push(chunk);
      onProgress({ stage: "weights", done: stream.bytes, total: entry?.bytes ?? stream.length ?? 0, layers: stream.layers });
      // With a known size and checksum, read on to the end, because `mismatch` then reports the size or the checksum.
      if (!valid && !entry) break;
      if (performance.now() - start < SLICE_MS) continue;
      await yieldToEvents();
      start = performance.now();
    }
    const problem = entry && mismatch(stream, entry);
    if (problem) throw new Failure("weights", `weights: ${problem}; reload the page, or contact the operator of this site`);
  } catch (error) {
    if (!(error instanceof WebAssembly.RuntimeError)) stream.free();
    throw error;
  }
  const { bytes } = stream;
  const sha256 = stream.sha256();
  onProgress({ stage: "prepare", done: 0, total: 1 });
  return { session: await stream.finish(deviation), bytes, sha256 };
}

/** Opens the initial head if it belongs to the base, or else the base's own classifier. */
function openInitialHead() {
  try {
    if (initialHead) return session.openHead(initialHead);
  } catch (error) {
    if (headMustFit || /** @type {{ kind?: string }} */ (error).kind !== "head") throw error;
  }
  return session.openIncludedHead();
}

/** A device to try: `processor` is its name in the wasm module, `name` its display name. @typedef {{ device: "webgpu" | "cpu", processor: string, name: string }} Candidate */
/** @type {Candidate} */
const CPU = { device: "cpu", processor: "cpu", name: "CPU (wasm SIMD)" };

/**
 * Returns the devices to try, in order, and the build that contains them. A GPU with f16 support reads half the bytes, with f32 as the fallback.
 * The build `relaxed` uses fused multiply-add (relaxed SIMD). `auto` uses WebGPU only on a real GPU, `webgpu` also with a software adapter.
 * @param {LoadArgs["device"]} requested
 * @returns {Promise<{ candidates: Candidate[], build: "webgpu" | "relaxed" | "cpu", notice: string | null }>}
 */
async function chooseDevice(requested) {
  const fused = await relaxedSimd();
  // A build that the server has not finished is used from the next visit on.
  const relaxed = fused && site.runtimes.relaxed;
  const onCpu = (/** @type {string | null} */ notice) => ({ candidates: [CPU], build: relaxed ? /** @type {const} */ ("relaxed") : /** @type {const} */ ("cpu"), notice });
  if (requested === "cpu") return onCpu(null);
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  const software = adapter && (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  const obstacle = !gpu
    ? "This browser has no WebGPU"
    : !adapter
      ? "No GPU was found"
      : requested === "auto" && software
        ? "WebGPU is emulated in software here, which is slower than the CPU"
        : requested === "auto" && !site.runtimes.webgpu
          ? "The server is still building the code for the GPU"
          : null;
  if (obstacle) return onCpu(`${obstacle}, so the CPU is used.`);
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const gpuName = description || [vendor, architecture].filter(Boolean).join(" ");
  const onGpu = (/** @type {string} */ processor, /** @type {string[]} */ ...details) => {
    const text = details.filter(Boolean).join(", ");
    return { device: /** @type {const} */ ("webgpu"), processor, name: text ? `WebGPU (${text})` : "WebGPU" };
  };
  const f16 = adapter.features.has("shader-f16") && !software ? [onGpu("webgpu-f16", gpuName, "f16")] : [];
  return { candidates: [...f16, onGpu("webgpu", gpuName), CPU], build: "webgpu", notice: null };
}

/** @param {string} [query] @returns {Promise<Site>} */
async function manifest(query = "") {
  return (await get(new URL(query, MANIFEST))).json();
}

/** The manifest's entry of a build. Waits until the server has finished it. @param {keyof Builds} build */
async function entryOfBuild(build) {
  for (;;) {
    const entry = site.runtimes[build];
    if (entry) return entry;
    if (!site.pending.includes(build)) {
      throw new Failure("network", `the site has no build ${build}; see the messages of its server, then reload the page`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    site = await manifest("?fresh"); // not the service worker's copy
  }
}

/** @template {keyof Builds} B @param {B} build @param {OnLoadProgress} [onProgress] @returns {Promise<Builds[B]>} */
async function loadRuntime(build, onProgress = () => {}) {
  const { bytes, version } = await entryOfBuild(build);
  const module = await import(`../pkg/${build}/inception_web.js`).catch((error) => {
    throw new Failure("network", `the runtime could not be fetched (${error.message}); check the connection and reload the page`);
  });
  const response = await get(new URL(`../pkg/${build}/inception_web_bg.wasm?v=${version}`, import.meta.url));
  void countBytes(response.clone(), (done) => onProgress({ stage: "runtime", done, total: bytes }));
  // Pass the original response: browsers cache the compiled code of a fetched wasm response.
  await module.default({ module_or_path: response });
  return module;
}

/**
 * Converts weights files to the native format and stores the result. The memory of the wasm module never shrinks, so the caller terminates this
 * worker afterwards.
 * @param {Methods["convert"]["args"]} args @param {OnLoadProgress} onProgress @returns {Promise<KeptBase>}
 */
async function convert({ files, name, sha256: expected }, onProgress) {
  site = await manifest();
  const module = await loadRuntime("tools", onProgress);
  const importer = new module.Importer();
  for (const [index, file] of files.entries()) {
    onProgress({ stage: "prepare", done: index, total: files.length + 1 });
    const bytes = new Uint8Array(await file.arrayBuffer());
    // Without a secure context only the importer checks the content.
    const got = expected && crypto.subtle && (await sha256(bytes));
    if (got && got !== expected) throw new Failure("weights", `weights: the downloaded file has SHA-256 ${got}, expected ${expected}; try again`);
    importer.addFile(file.name, bytes);
  }
  onProgress({ stage: "prepare", done: files.length, total: files.length + 1 });
  const labels = await (await get(new URL("../npm/imagenet.json", import.meta.url))).json();
  const bytes = copy(importer.convert(labels));
  onProgress({ stage: "check", done: 0, total: 1 });
  const chunks = async function* () {
    for (let start = 0; start < bytes.length; start += CHUNK) yield bytes.subarray(start, start + CHUNK);
  };
  const opened = await openBase(module, await module.Processor.start("cpu"), { chunks, entry: null }, () => {});
  const { fingerprint, dtype, name: nameInFile } = opened.session.base();
  const entry = { name: name || nameInFile, fingerprint, dtype, bytes: bytes.length, sha256: opened.sha256 };
  const cache = await openCache();
  const stored = cache?.put(cacheKey(entry), new Response(bytes, { headers: { "x-name": encodeURIComponent(entry.name) } }));
  await stored?.catch(() => {
    throw new Failure("weights", `weights: the browser's storage has no space for ${entry.name} (${Math.ceil(bytes.length / 1e6)} MB); free some and try again`);
  });
  if (!cache) throw new Failure("weights", "weights: storage is not available, but your own base must be stored; leave private browsing");
  return entry;
}

/** Describes how a file differs from its entry; null if it does not. @param {WeightsStream} stream @param {Pick<WeightsEntry, "bytes" | "sha256">} entry */
function mismatch(stream, { bytes, sha256: expected }) {
  if (stream.bytes !== bytes) return `the file has ${stream.bytes} bytes, expected ${bytes}`;
  const got = stream.sha256();
  // Entries stored by earlier versions in an insecure context have no SHA-256.
  return expected && got !== expected ? `the file's SHA-256 is ${got}, expected ${expected}` : null;
}

/** Counts the bytes of a response. Errors are ignored: the reader of the original response gets them. @param {Response} response @param {(done: number) => void} onBytes */
async function countBytes({ body }, onBytes) {
  const reader = body?.getReader();
  for (let done = 0; reader; ) {
    const { value } = await reader.read().catch(() => ({ value: undefined }));
    if (!value) return;
    onBytes((done += value.length));
  }
}

/** Runs pictures through the network and the head. A broken picture does not stop the others. @param {AnswerArgs} args @returns {Promise<Outcome[]>} in order */
async function answer({ pictures, topK, thumbnails }) {
  const start = performance.now();
  /** @type {Outcome[]} */
  const outcomes = [];
  /** @type {{ index: number, decoded: Decoded, width: number, height: number, thumbnail: Uint8Array<ArrayBuffer> | undefined }[]} */
  const valid = [];
  for (const [index, picture] of pictures.entries()) {
    try {
      const decoded = await decode(picture);
      const thumbnail = thumbnails ? await jpeg(decoded, thumbnails) : undefined;
      valid.push({ index, decoded, width: decoded.width, height: decoded.height, thumbnail });
    } catch (error) {
      const { kind, message } = describe(error);
      if (kind === "crash") throw error;
      outcomes[index] = { error: { kind, message } };
    }
  }
  if (valid.length === 0) return outcomes;
  const latents = await session.latents(valid.map(({ decoded }) => decoded));
  const milliseconds = (performance.now() - start) / valid.length;
  for (const [n, { index, width, height, thumbnail }] of valid.entries()) {
    const own = latents.slice(n * LATENTS, (n + 1) * LATENTS);
    outcomes[index] = { latents: own, predictions: session.predict(own, topK), milliseconds, width, height, thumbnail };
  }
  return outcomes;
}

/** @type {Promise<{ module: Tools, trainer: TrainingSession }> | null} */
let loadedTools = null;

/** Loads the tools build on first use; retries after a failure. */
function tools() {
  const { name, fingerprint } = session.base();
  loadedTools ??= loadRuntime("tools").then((module) => ({ module, trainer: new module.TrainingSession(name, fingerprint) }));
  loadedTools.catch(() => (loadedTools = null));
  return loadedTools;
}

/** @param {Blob} file */
async function readLatents(file) {
  const { trainer } = await tools();
  return trainer.readLatents(new Uint8Array(await file.arrayBuffer()));
}

/** @param {Methods["train"]["args"]} args @param {(report: EpochReport) => void} onEpoch @returns {Promise<Trained>} */
async function train({ settings }, onEpoch) {
  resetControl();
  const { trainer } = await tools();
  const start = performance.now();
  const run = trainer.train(settings);
  /** @type {EpochReport[]} */
  const epochs = [];
  while (!run.done && !stopRequested()) {
    const report = run.epoch();
    epochs.push(report);
    onEpoch(report);
    await yieldToEvents(() => run.free());
  }
  const end = stopRequested() ? "stopped" : epochs.length < epochs[0].epochs ? "early" : "finished";
  const { head, ...trained } = run.finish();
  return { ...trained, head: session.openHead(head), epochs, end, seconds: (performance.now() - start) / 1000 };
}

/** @param {Methods["crossValidate"]["args"]} args @param {(progress: { done: number, total: number }) => void} onProgress */
async function crossValidate({ settings, folds }, onProgress) {
  resetControl();
  const { trainer } = await tools();
  const job = trainer.crossValidate(settings, folds);
  while (!job.done) {
    job.step();
    const [done, total] = job.progress;
    onProgress({ done, total });
    await yieldToEvents(() => job.free());
  }
  return job.finish();
}

/** @type {ReturnType<typeof createComparison> | undefined} */
let createdComparison;

/** Creates the comparison on first use, because this reads cached latents. */
async function comparison() {
  const { name, fingerprint } = session.base();
  const { module } = await tools();
  const key = new URL(`../latents/${fingerprint}`, import.meta.url);
  createdComparison ??= createComparison({
    tools: module,
    base: { name, fingerprint },
    batch,
    latents: (pictures) => session.latents(pictures.map((rgba) => runtime.Picture.fromRgba(SIDE, SIDE, rgba))),
    async decodeAvif(bytes) {
      const bitmap = await avif(bytes);
      const { width, height } = bitmap;
      return { width, height, rgba: bytesOf(pixelsOf(bitmap)) };
    },
    async loadLatents() {
      const stored = await (await openCache())?.match(key);
      return stored ? new Uint8Array(await stored.arrayBuffer()) : null;
    },
    async storeLatents(latents) {
      // If the quota is exceeded, the latents are computed again at the next visit.
      await (await openCache())?.put(key, new Response(latents)).catch(console.warn);
    },
  });
  return createdComparison;
}

/** @param {Picture} picture @returns {Promise<Decoded>} */
async function decode(picture) {
  if (picture instanceof ImageData) return runtime.Picture.fromRgba(picture.width, picture.height, bytesOf(picture));
  if (picture instanceof ImageBitmap) return fromBitmap(picture);
  if (!(picture instanceof Blob)) throw new Failure("picture", "picture: invalid type, expected a Blob, ImageBitmap or ImageData");
  const bytes = await picture.arrayBuffer().catch((error) => {
    throw new Failure("picture", `picture: the file could not be read (${error.message}); choose it again`);
  });
  try {
    return runtime.Picture.decode(new Uint8Array(bytes));
  } catch (error) {
    if (/** @type {{ kind?: string }} */ (error).kind !== "avif") throw error;
    return fromBitmap(await avif(bytes));
  }
}

/** Decodes AVIF with the browser. @param {BufferSource} bytes */
function avif(bytes) {
  return createImageBitmap(new Blob([bytes], { type: "image/avif" })).catch(() => {
    throw new Failure("picture", "picture: this browser cannot read this AVIF file; save it as JPEG or PNG");
  });
}

/** @param {ImageBitmap} bitmap */
function fromBitmap(bitmap) {
  const { width, height } = bitmap;
  return runtime.Picture.fromRgba(width, height, bytesOf(pixelsOf(bitmap)));
}

/** The pixels of a bitmap on a white background. Closes the bitmap. @param {ImageBitmap} bitmap */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const context = canvas(width, height);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** @param {ImageData} pixels */
function bytesOf({ data }) {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Reused canvases for thumbnails, by side: discarded canvases would accumulate until garbage collection. @type {Map<number, ReturnType<typeof canvas>>} */
const canvases = new Map();
const networkInput = new ImageData(INPUT, INPUT);

/** @param {number} side */
function reusedCanvas(side) {
  const context = canvases.get(side) ?? canvas(side, side);
  canvases.set(side, context);
  return context;
}

/** Encodes the network's input as a thumbnail. @param {Decoded} decoded @param {number} side */
async function jpeg(decoded, side) {
  const full = reusedCanvas(INPUT);
  decoded.thumbnail(bytesOf(networkInput));
  full.putImageData(networkInput, 0, 0);
  const scaled = reusedCanvas(side);
  scaled.imageSmoothingQuality = "high";
  if (scaled !== full) scaled.drawImage(full.canvas, 0, 0, side, side);
  const blob = await scaled.canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
  return new Uint8Array(await blob.arrayBuffer());
}

/** @param {number} width @param {number} height */
function canvas(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Failure("picture", "picture: the browser could not create a canvas; close other tabs and try again");
  return context;
}
