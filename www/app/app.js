// @ts-check
/** Composes the panels: base, predict, teach, train and compare. Each panel has its own state; they share data only through this module. */
import { listenForFiles } from "../ui/drop.js";
import { chosenBase, createBase, forgetBase } from "../panels/base/controller.js";
import { createCompare } from "../panels/compare/controller.js";
import { byId, jpegUrl } from "../ui/dom.js";
import { createEngine } from "../engine/engine.js";
import { followBuilds, keepPage, showStorage } from "./offline.js";
import { createPredict } from "../panels/predict/controller.js";
import { emptyProject } from "../project/project.js";
import { openStore } from "../project/store.js";
import { createTrain } from "../panels/train/controller.js";
import { createTeach } from "../panels/teach/controller.js";
import { createToast } from "../ui/toast.js";
import { sentence } from "../ui/format.js";

/** @import { Context } from "./context.js" */
/** @import { Engine } from "../engine/types.js" */
/** @import { Store } from "../project/store-types.js" */

/** Maximum number of object URLs at a time. */
const MAX_URLS = 1000;
const query = new URLSearchParams(location.search);

/** @type {Engine | null} */
let engine = null;
/** @type {Store | null} */
let store = null;
/** Object URLs by their Blob, least recently used first. @type {Map<Blob, string>} */
const urls = new Map();
const toast = createToast();

/** @type {Context} */
const context = {
  engine: () => engine,
  store: () => store,
  project: () => teach.project,
  embedded: () => teach.embedded,
  change: (project, label) => teach.change(project, label),
  attempt,
  announce,
  headChanged: () => void predict.headChanged(),
  pictureUrl(picture) {
    const image = teach.imageOf(picture);
    if (image instanceof Uint8Array) return jpegUrl(image);
    return image instanceof Blob ? objectUrl(image) : null;
  },
};

const teach = createTeach(context, {
  toast,
  row: (id) => predict.row(id),
  projectChanged() {
    train.projectChanged();
    compare.projectChanged();
  },
  train: { ready: (kept) => train.ready(kept), kept: () => train.kept() },
});
const train = createTrain(context);
const compare = createCompare(context);
const base = createBase(context);
const predict = createPredict(context, {
  retry: start,
  lost: () => void (engine = null),
  why: ({ name, file, answer }) => answer?.predictions.length && attempt(() => train.why(name, file, answer.latents, answer.predictions[0].label)),
  teach: ({ id, name }) => teach.chooseClass(id, name),
  customised: ["device", "weights", "head"].some((name) => query.has(name)),
});

listenForFiles({
  onFiles: (dropped, target) => attempt(async () => {
    const { files } = await dropped;
    if (await base.accepts(files)) await base.onFiles(files);
    else if (compare.accepts(files, target)) await compare.onFiles(files);
    else await teach.onFiles(dropped, target, (pictures) => predict.add(pictures));
  }),
  hint: (target) => (compare.contains(target) ? "Drop to compare models" : teach.hint(target)),
});
addEventListener("beforeunload", (event) => {
  if (teach.busy || train.busy || compare.busy || base.busy) event.preventDefault();
});

/** The project as the storage table needs it. */
const storedProject = {
  get project() {
    return teach.project;
  },
  sizes: async () => (store ? store.sizes() : null),
  clear: () => teach.clear(),
};

const opened = open();
start();

/** Shows the stored project at once. `teach.ready` loads its latents later, because they depend on the engine's base. */
async function open() {
  try {
    const newStore = await openStore();
    const { project } = await newStore.load("");
    store = newStore;
    teach.open(project, newStore.refusal);
  } catch (cause) {
    console.error(cause);
    teach.open(emptyProject, cause instanceof Error ? cause : new Error(String(cause)));
  }
}

async function start() {
  const chosen = query.has("weights") ? undefined : chosenBase();
  const loaded = await predict.load(async (onProgress) => {
    const options = { device: requestedDevice(), head: query.get("head") ?? undefined, onProgress, onChange: () => predict.engineChanged() };
    engine = await createEngine({ ...options, weights: query.get("weights") ?? chosen }).catch((cause) => {
      if (!chosen || cause.kind !== "weights") throw cause;
      forgetBase();
      toast.error(sentence(`${cause.message}. The built-in base is used`));
      return createEngine(options);
    });
    return engine;
  });
  if (!loaded) {
    teach.loadFailed();
    return;
  }
  await opened;
  await attempt(teach.ready);
  await attempt(compare.ready);
  const { build, complete } = /** @type {Engine} */ (/** @type {unknown} */ (engine));
  const details = byId("details", HTMLDetailsElement);
  const show = () => attempt(() => showStorage(storedProject));
  details.addEventListener("toggle", () => void show());
  if (details.open) await show(); // opened before the listener was there
  // While builds are missing, `build` may be a substitute, so the page is cached on a later visit.
  await attempt(() => (complete ? keepPage({ build, toast }) : followBuilds(showPending)));
}

/** Says what the server is still building, and enables training when its build is there. @param {readonly string[]} pending */
function showPending(pending) {
  const element = byId("building", HTMLElement);
  const training = pending.includes("tools");
  train.setBuilding(training);
  element.hidden = !pending.length;
  if (training) element.textContent = "The server is still building the code for training. This takes a few minutes; pictures can already be classified.";
  else if (pending.length) element.textContent = "The server is still building a faster version. Reload the page in a few minutes to use it.";
}

/** @returns {"auto" | "webgpu" | "cpu"} */
function requestedDevice() {
  const device = query.get("device");
  return device === "webgpu" || device === "cpu" ? device : "auto";
}

/** Shows the message of an error and logs its cause. Cancelled work is ignored. @param {() => Promise<unknown>} action */
async function attempt(action) {
  try {
    await action();
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    if (error.name === "AbortError" || /** @type {{ kind?: string }} */ (error).kind === "cancelled") return;
    console.error(cause);
    toast.error(sentence(error.message));
  }
}

/** @param {string} text */
function announce(text) {
  byId("announcer", HTMLElement).textContent = text;
}

/** @param {Blob} image @returns {string} */
function objectUrl(image) {
  const url = urls.get(image) ?? URL.createObjectURL(image);
  urls.delete(image);
  urls.set(image, url);
  for (const [oldest, oldUrl] of urls) {
    if (urls.size <= MAX_URLS) break;
    URL.revokeObjectURL(oldUrl);
    urls.delete(oldest);
  }
  return url;
}
