// @ts-check
/**
 * Where all the computing happens, off the page's thread. The only importer of pkg/. Messages: messages.d.ts.
 *
 * Weights are fetched beside the program (worker-weights.js), and are put into the net's layers as they come.
 */

import { relaxedSimd } from "../npm/wasm-feature-detect.js";
import { Failure } from "./failure.js";
import { hold } from "../engine/liveness.js";
import { createWays } from "./comparison.js";
import { cacheKey, checkedBefore, findWeights, forget, get, keep, openCache, rememberCheck } from "./weights.js";

/** @import { Arriving, Processor, Session, Picture as Decoded } from "../pkg/cpu/inception_web.js" */
/** @import { Learner } from "../pkg/tools/inception_web.js" */
/** @import { AnswerArgs, LoadArgs, Loaded, Methods, Outcome, Request, Trained, Wish } from "../engine/messages.js" */
/** @import { EpochReport, ErrorKind, KeptBase, LoadProgress, Picture } from "../engine/engine.js" */
/** @typedef {typeof import("../pkg/cpu/inception_web.js")} Runtime  What answers need. */
/** @typedef {typeof import("../pkg/tools/inception_web.js")} Tools  The same, and what trains, evaluates, compares and converts. */
/** @typedef {{ cpu: Runtime, relaxed: Runtime, webgpu: Runtime, tools: Tools }} Builds */
/** @import { Chunk, Source, WeightsEntry } from "./weights.js" */
/** @typedef {{ weights: WeightsEntry, head: string | null, runtimes: Record<keyof Builds, { bytes: number, version: string }>, training: Loaded["defaults"] }} Site */
/** @typedef {(progress: LoadProgress) => void} Tell */

const MANIFEST = new URL("../pkg/site.json", import.meta.url);
const INPUT = 299;
const LATENTS = 2048;
/** Height and width of a set's pictures. */
const SIDE = 32;
/** Bytes of a file at hand that are taken at a time. */
const CHUNK = 1 << 20;
/** Milliseconds of work on weights that are there, between which messages come through. */
const STRETCH = 50;
/** Pictures in one forward: a GPU likes several, the CPU gains nothing from it. */
const BATCH = { webgpu: 4, cpu: 1 };

/** @type {Site} */ let site;
/** @type {Runtime} */ let runtime;
/** @type {Session} */ let session;
/** Pictures in one forward on the device in use. */ let batch = 1;
/** The head that the page ships, if it ships one for its base. @type {Uint8Array | null} */ let shippedHead;
/** Whether it is an error if that head belongs to another base. */ let headMustFit = true;
/** What people want of the long work under way. @type {{ now: Wish, wake: () => void }} */
const wish = { now: "resume", wake: () => {} };

/** @type {{ [M in keyof Methods]: (args: Methods[M]["args"], tell: (progress: Methods[M]["progress"]) => void) => Methods[M]["value"] | Promise<Methods[M]["value"]> }} */
const methods = {
  load,
  answer,
  train,
  crossValidate,
  predict: ({ latents, topK }) => session.predict(latents, topK),
  explain: async ({ picture, label }) => session.explain(await decode(picture), label),
  convert,
  openHead: ({ bytes }) => (bytes ? session.openHead(bytes) : standardHead()),
  writeHead: ({ form }) => copied(session.writeHead(form)),
  setUnsureBelow: ({ share }) => (session.setUnsureBelow(share), null),
  setTable: ({ latents, labels, classes, names }) => learning().then(({ learner }) => (learner.setTable(latents, labels, classes, names), null)),
  readLatents: ({ files }) => Promise.all(files.map(readLatents)),
  writeLatents: ({ form }) => learning().then(({ learner }) => copied(learner.writeLatents(form))),
  evaluate: ({ rows }) => learning().then(({ learner }) => learner.evaluate(session.writeHead("safetensors"), rows)),
  nearest: ({ latents, count }) => learning().then(({ learner }) => learner.nearest(latents, count)),
  openSet: ({ files }, tell) => threeWays().then((ways) => ways.open(files, tell)),
  plan: ({ options }) => threeWays().then((ways) => ways.plan(options)),
  compare: ({ options }, tell) => threeWays().then((ways) => ways.compare(options, tell)),
  learningCurve: ({ options }, tell) => threeWays().then((ways) => ways.learningCurve(options, tell)),
  setPictures: ({ from, rows }) => threeWays().then((ways) => ways.pictures(from, rows)),
  layers: ({ way }) => threeWays().then((ways) => ways.layers(way)),
  components: ({ count }) => learning().then(({ learner }) => new Float32Array(learner.components(count))),
  steer(args) {
    wish.now = args.wish;
    wish.wake();
    return null;
  },
};

self.onmessage = async ({ data }) => {
  const { id, method, args } = /** @type {Request} */ (data);
  const tell = (/** @type {unknown} */ progress) => self.postMessage({ id, progress });
  try {
    if (!Object.hasOwn(methods, method)) throw new Failure("setting", `the worker has no method ${method}`);
    const verb = /** @type {(args: unknown, tell: (progress: unknown) => void) => unknown} */ (methods[method]);
    const value = await verb(args, tell);
    self.postMessage({ id, value }, { transfer: large(value) });
  } catch (error) {
    self.postMessage({ id, error: explain(error) });
  }
};

/** What of a value is handed over instead of copied: tables of latents. @param {unknown} value @returns {Transferable[]} */
function large(value) {
  return Array.isArray(value) ? value.flatMap(({ latents, labels }) => (latents && labels ? [latents.buffer] : [])) : [];
}

/** Bytes that own their buffer. @param {Uint8Array} bytes */
function copied(bytes) {
  return new Uint8Array(bytes);
}

/** @param {unknown} error @returns {{ kind: ErrorKind, message: string }} */
function explain(error) {
  const { kind, message } = /** @type {{ kind?: ErrorKind, message?: string }} */ (error);
  if (error instanceof WebAssembly.RuntimeError || !kind) return { kind: "crash", message: message ?? String(error) };
  return { kind, message: message ?? String(error) };
}

/** @param {LoadArgs} args @param {Tell} tell @returns {Promise<Loaded>} */
async function load({ device: wished, lifeline, weights, head }, tell) {
  await hold(lifeline);
  site = await manifest();
  const place = head ?? site.head;
  const find = () => findWeights(weights, site.weights, MANIFEST);
  const files = Promise.all([find(), place ? get(new URL(place, MANIFEST)) : null]);
  files.catch(() => {}); // waited for below
  const choice = await chooseDevice(wished);
  const [program, [found, headFile]] = await Promise.all([loadRuntime(choice.build, tell), files]);
  runtime = program;
  shippedHead = headFile && new Uint8Array(await headFile.arrayBuffer());

  let { notice } = choice;
  const candidates = [...choice.candidates];
  let source = found;
  /** @type {Processor | undefined} */ let processor;
  const { version } = site.runtimes[choice.build];
  /** What is known of the self-check. @type {number | undefined} */ let before;
  /** @returns {ReturnType<typeof openBase>} */
  const open = async () => {
    try {
      processor ??= await runtime.Processor.start(candidates[0].start, (done, total) => tell({ stage: "kernels", done, total }));
      const { entry, cached } = source;
      before = entry && cached && candidates[0].device === "cpu" ? await checkedBefore(entry, version) : undefined;
      return await openBase(runtime, processor, source, tell, before);
    } catch (error) {
      const { kind, reason } = /** @type {{ kind?: string, reason?: string }} */ (error);
      if (candidates.length === 1 || kind !== "device") throw error;
      const [left, next] = candidates;
      candidates.shift();
      if (next.device === "cpu") notice = `The graphics card was left for the CPU: ${reason}.`;
      else console.warn(`${left.name} was left for ${next.name}: ${reason}`);
      processor?.free(); // and the card's memory with it
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
  tell({ stage: "check", done: 1, total: 1 });

  const base = session.base();
  const { bytes, sha256 } = opened;
  const { cached } = source;
  if (!cached && typeof weights !== "object" && !(await keep(weights, { ...base, bytes, sha256 }, source.came))) {
    notice = [notice, "The browser has no room to keep the weights, so the next visit downloads them again."].filter(Boolean).join(" ");
  }
  // What was asked for, or comes with the base, has to fit; where somebody brings a base it need not.
  headMustFit = Boolean(head) || !weights;
  const headInfo = standardHead();
  const [{ device, name }] = candidates;
  if (device === "cpu" && before === undefined) await rememberCheck(base, version, base.deviation);
  batch = BATCH[device];
  return { device, build: choice.build, deviceName: name, notice, batch, base: { ...base, bytes, cached }, head: headInfo, defaults: site.training };
}

/**
 * Layers are put on the processor as their bytes come; that all of them were right is known at the end, and nothing is used before.
 * @param {Pick<Runtime, "Arriving">} program @param {Processor} processor
 * @param {Pick<Source, "chunks" | "entry">} source @param {Tell} tell @param {number} [deviation] of its self-check, if that need not be made
 */
async function openBase(program, processor, { chunks, entry }, tell, deviation) {
  const arriving = new program.Arriving(processor, Boolean(entry?.sha256));
  let start = performance.now();
  try {
    for await (const chunk of chunks()) {
      const good = arriving.take(chunk);
      tell({ stage: "weights", done: arriving.bytes, total: entry?.bytes ?? arriving.length ?? 0, layers: arriving.layers });
      // Of a file that is listed, the whole says best what is wrong with it.
      if (!good && !entry) break;
      if (performance.now() - start < STRETCH) continue;
      await breath();
      start = performance.now();
    }
    const wrong = entry && wrongWith(arriving, entry);
    if (wrong) throw new Failure("weights", `weights: ${wrong}; reload the page, or ask who runs this site`);
  } catch (error) {
    if (!(error instanceof WebAssembly.RuntimeError)) arriving.free();
    throw error;
  }
  const { bytes } = arriving;
  const sha256 = arriving.sha256();
  tell({ stage: "prepare", done: 0, total: 1 });
  return { session: await arriving.finish(deviation), bytes, sha256 };
}

/** The head to begin with: the page's where it belongs to the base, or else what the base itself answers with. */
function standardHead() {
  try {
    if (shippedHead) return session.openHead(shippedHead);
  } catch (error) {
    if (headMustFit || /** @type {{ kind?: string }} */ (error).kind !== "head") throw error;
  }
  return session.openOwnHead();
}

/** What computes: the name of a processor in the program, and the one that people read. @typedef {{ device: "webgpu" | "cpu", start: string, name: string }} Candidate */
/** @type {Candidate} */
const CPU = { device: "cpu", start: "cpu", name: "CPU (wasm SIMD)" };

/**
 * What can compute, to be tried in turn: a GPU that reads f16 moves half the bytes so, and does without where that fails. The CPU's build
 * `relaxed` is for browsers that multiply and add in one instruction. `auto` takes WebGPU only where a real GPU answers; asking for it by
 * name takes a software adapter too.
 * @param {LoadArgs["device"]} wished
 * @returns {Promise<{ candidates: Candidate[], build: "webgpu" | "relaxed" | "cpu", notice: string | null }>}
 */
async function chooseDevice(wished) {
  const fused = await relaxedSimd();
  const cpu = (/** @type {string | null} */ notice) => ({ candidates: [CPU], build: fused ? /** @type {const} */ ("relaxed") : /** @type {const} */ ("cpu"), notice });
  if (wished === "cpu") return cpu(null);
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  const software = adapter && (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  const obstacle = !gpu
    ? "This browser offers no WebGPU"
    : !adapter
      ? "No graphics card answered"
      : wished === "auto" && software
        ? "WebGPU here is emulated in software, which is slower than the CPU itself"
        : null;
  if (obstacle) return cpu(`${obstacle}, so the CPU does the work.`);
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  const card = description || [vendor, architecture].filter(Boolean).join(" ");
  const onCard = (/** @type {string} */ start, /** @type {string[]} */ ...about) => {
    const said = about.filter(Boolean).join(", ");
    return { device: /** @type {const} */ ("webgpu"), start, name: said ? `WebGPU (${said})` : "WebGPU" };
  };
  const narrow = adapter.features.has("shader-f16") && !software ? [onCard("webgpu-f16", card, "f16")] : [];
  return { candidates: [...narrow, onCard("webgpu", card), CPU], build: "webgpu", notice: null };
}

/** @returns {Promise<Site>} */
async function manifest() {
  return (await get(MANIFEST)).json();
}

/** @template {keyof Builds} B @param {B} build @param {Tell} [tell] @returns {Promise<Builds[B]>} */
async function loadRuntime(build, tell = () => {}) {
  const { bytes, version } = site.runtimes[build];
  const glue = await import(`../pkg/${build}/inception_web.js`).catch((error) => {
    throw new Failure("network", `the program could not be fetched (${error.message}); check the connection and reload the page`);
  });
  const response = await get(new URL(`../pkg/${build}/inception_web_bg.wasm?v=${version}`, import.meta.url));
  void count(response.clone(), (done) => tell({ stage: "runtime", done, total: bytes }));
  // The response as it came: the browser keeps the machine code that it makes of one, for the next visit.
  await glue.default({ module_or_path: response });
  return glue;
}

/**
 * Weights files of any kind become one of ours, which is kept. Its own memory never shrinks: whoever asks ends this worker afterwards.
 * @param {Methods["convert"]["args"]} args @param {Tell} tell @returns {Promise<KeptBase>}
 */
async function convert({ files, name, sha256: want }, tell) {
  site = await manifest();
  const glue = await loadRuntime("tools", tell);
  const foreign = new glue.Foreign();
  for (const [index, file] of files.entries()) {
    tell({ stage: "prepare", done: index, total: files.length + 1 });
    const bytes = new Uint8Array(await file.arrayBuffer());
    const got = want && (await sha256(bytes));
    if (got && got !== want) throw new Failure("weights", `weights: the SHA-256 of what came is ${got}, the server said ${want}; try again`);
    foreign.addFile(file.name, bytes);
  }
  tell({ stage: "prepare", done: files.length, total: files.length + 1 });
  const labels = await (await get(new URL("../npm/imagenet.json", import.meta.url))).json();
  const bytes = copied(foreign.convert(labels));
  tell({ stage: "check", done: 0, total: 1 });
  const chunks = async function* () {
    for (let at = 0; at < bytes.length; at += CHUNK) yield bytes.subarray(at, at + CHUNK);
  };
  const opened = await openBase(glue, await glue.Processor.start("cpu"), { chunks, entry: null }, () => {});
  const { fingerprint, dtype, name: own } = opened.session.base();
  const entry = { name: name || own, fingerprint, dtype, bytes: bytes.length, sha256: opened.sha256 };
  const cache = await openCache();
  const kept = cache?.put(cacheKey(entry), new Response(bytes, { headers: { "x-name": encodeURIComponent(entry.name) } }));
  await kept?.catch(() => {
    throw new Failure("weights", `weights: the browser has no room to keep ${entry.name} (${Math.ceil(bytes.length / 1e6)} MB); free some and try again`);
  });
  if (!cache) throw new Failure("weights", "weights: this browser keeps nothing for this page, and a base of your own has to be kept; leave private browsing");
  return entry;
}

/** Why a file is not the expected one, or null. @param {Arriving} arriving @param {Pick<WeightsEntry, "bytes" | "sha256">} entry */
function wrongWith(arriving, { bytes: length, sha256: want }) {
  if (arriving.bytes !== length) return `the file has ${arriving.bytes} bytes, expected ${length}`;
  const got = arriving.sha256();
  // Earlier versions could not tell it where the page was not served securely.
  return want && got !== want ? `the file's SHA-256 is ${got}, expected ${want}` : null;
}

/** Hexadecimal; empty where the page is not served securely, there the runtime's own check of the contents has to do. @param {Uint8Array<ArrayBuffer>} bytes */
async function sha256(bytes) {
  if (!crypto.subtle) return "";
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Tells how many bytes have come; of what goes wrong hears whoever reads them for good. @param {Response} response @param {(done: number) => void} tell */
async function count({ body }, tell) {
  const reader = body?.getReader();
  for (let done = 0; reader; ) {
    const { value } = await reader.read().catch(() => ({ value: undefined }));
    if (!value) return;
    tell((done += value.length));
  }
}

/** Pictures to outcomes in order; a broken one does not stop the others. @param {AnswerArgs} args @returns {Promise<Outcome[]>} */
async function answer({ pictures, topK, thumbnails }) {
  const start = performance.now();
  /** @type {Outcome[]} */
  const outcomes = [];
  /** @type {{ index: number, decoded: Decoded, width: number, height: number, thumbnail: Uint8Array<ArrayBuffer> | undefined }[]} */
  const good = [];
  for (const [index, picture] of pictures.entries()) {
    try {
      const decoded = await decode(picture);
      const thumbnail = thumbnails ? await jpeg(decoded, thumbnails) : undefined;
      good.push({ index, decoded, width: decoded.width, height: decoded.height, thumbnail });
    } catch (error) {
      const { kind, message } = explain(error);
      if (kind === "crash") throw error;
      outcomes[index] = { error: { kind, message } };
    }
  }
  if (good.length === 0) return outcomes;
  const latents = await session.latents(good.map(({ decoded }) => decoded));
  const milliseconds = (performance.now() - start) / good.length;
  for (const [n, { index, width, height, thumbnail }] of good.entries()) {
    const own = latents.slice(n * LATENTS, (n + 1) * LATENTS);
    outcomes[index] = { latents: own, predictions: session.predict(own, topK), milliseconds, width, height, thumbnail };
  }
  return outcomes;
}

/** @type {Promise<{ tools: Tools, learner: Learner }> | null} */
let learns = null;

/** What learns from latents of this base, fetched when somebody asks for it; after a failure, anew. */
function learning() {
  const { name, fingerprint } = session.base();
  learns ??= loadRuntime("tools").then((tools) => ({ tools, learner: new tools.Learner(name, fingerprint) }));
  learns.catch(() => (learns = null));
  return learns;
}

/** @param {Blob} file */
async function readLatents(file) {
  const { learner } = await learning();
  return learner.readLatents(new Uint8Array(await file.arrayBuffer()));
}

/** @param {Methods["train"]["args"]} args @param {(report: EpochReport) => void} tell @returns {Promise<Trained>} */
async function train({ settings }, tell) {
  begin();
  const { learner } = await learning();
  const start = performance.now();
  const training = learner.train(settings);
  /** @type {EpochReport[]} */
  const epochs = [];
  while (!training.done && wish.now !== "stop") {
    const report = training.epoch();
    epochs.push(report);
    tell(report);
    await breath(() => training.free());
  }
  const end = wish.now === "stop" ? "stopped" : epochs.length < epochs[0].epochs ? "early" : "finished";
  const { head, ...trained } = learner.adopt(training);
  return { ...trained, head: session.openHead(head), epochs, end, seconds: (performance.now() - start) / 1000 };
}

/** @param {Methods["crossValidate"]["args"]} args @param {(progress: { done: number, total: number }) => void} tell */
async function crossValidate({ settings, folds: parts }, tell) {
  begin();
  const { learner } = await learning();
  const folds = learner.crossValidate(settings, parts);
  while (!folds.done) {
    folds.step();
    const [done, total] = folds.progress;
    tell({ done, total });
    await breath(() => folds.free());
  }
  return folds.finish();
}

/** Made when somebody asks for it: it has latents to fetch out of the cache. @type {ReturnType<typeof createWays> | undefined} */
let ways;

async function threeWays() {
  const { name, fingerprint } = session.base();
  const { tools } = await learning();
  const file = new URL(`../latents/${fingerprint}`, import.meta.url);
  ways ??= createWays({
    tools,
    base: { name, fingerprint },
    batch,
    latents: (pictures) => session.latents(pictures.map((rgba) => runtime.Picture.fromRgba(SIDE, SIDE, rgba))),
    begin,
    breath,
    failure: (kind, message) => new Failure(kind, message),
    async fromBrowser(bytes) {
      const bitmap = await avif(bytes);
      const { width, height } = bitmap;
      return { width, height, rgba: bytesOf(pixelsOf(bitmap)) };
    },
    async kept() {
      const found = await (await openCache())?.match(file);
      return found ? new Uint8Array(await found.arrayBuffer()) : null;
    },
    async keep(latents) {
      // Where there is no room, they are read again at the next visit.
      await (await openCache())?.put(file, new Response(latents)).catch(console.warn);
    },
  });
  return ways;
}

/** Nobody has said anything yet. */
function begin() {
  wish.now = "resume";
}

/** Lets messages in between two pieces of work, waits out a pause, and ends cancelled work. @param {() => void} [free] */
async function breath(free = () => {}) {
  await new Promise((resume) => setTimeout(resume));
  while (wish.now === "pause") await /** @type {Promise<void>} */ (new Promise((resume) => (wish.wake = resume)));
  if (wish.now !== "cancel") return;
  free();
  throw new Failure("cancelled", "cancelled; nothing was changed");
}

/** @param {Picture} picture @returns {Promise<Decoded>} */
async function decode(picture) {
  if (picture instanceof ImageData) return runtime.Picture.fromRgba(picture.width, picture.height, bytesOf(picture));
  if (picture instanceof ImageBitmap) return drawn(picture);
  if (!(picture instanceof Blob)) throw new Failure("picture", "picture: neither a file nor pixels; give a Blob, ImageBitmap or ImageData");
  const bytes = await picture.arrayBuffer().catch((error) => {
    throw new Failure("picture", `picture: the file could not be read (${error.message}); choose it again`);
  });
  try {
    return runtime.Picture.decode(new Uint8Array(bytes));
  } catch (error) {
    if (/** @type {{ kind?: string }} */ (error).kind !== "avif") throw error;
    return drawn(await avif(bytes));
  }
}

/** @param {BufferSource} bytes */
function avif(bytes) {
  return createImageBitmap(new Blob([bytes], { type: "image/avif" })).catch(() => {
    throw new Failure("picture", "picture: this browser cannot read this AVIF file; save it as JPEG or PNG");
  });
}

/** @param {ImageBitmap} bitmap */
function drawn(bitmap) {
  const { width, height } = bitmap;
  return runtime.Picture.fromRgba(width, height, bytesOf(pixelsOf(bitmap)));
}

/** Pixels that the browser decoded, laid over white. @param {ImageBitmap} bitmap */
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

/**
 * What thumbnails are drawn on, by their sides, and what the net sees of the picture: thrown away after each, they would pile up until the
 * browser sees to it. @type {Map<number, ReturnType<typeof canvas>>}
 */
const boards = new Map();
const seen = new ImageData(INPUT, INPUT);

/** @param {number} side */
function board(side) {
  const context = boards.get(side) ?? canvas(side, side);
  boards.set(side, context);
  return context;
}

/** @param {Decoded} decoded @param {number} side */
async function jpeg(decoded, side) {
  const whole = board(INPUT);
  decoded.thumbnail(bytesOf(seen));
  whole.putImageData(seen, 0, 0);
  const drawn = board(side);
  drawn.imageSmoothingQuality = "high";
  if (drawn !== whole) drawn.drawImage(whole.canvas, 0, 0, side, side);
  const blob = await drawn.canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
  return new Uint8Array(await blob.arrayBuffer());
}

/** @param {number} width @param {number} height */
function canvas(width, height) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Failure("picture", "picture: the browser could not draw it; close other tabs and try again");
  return context;
}
