// @ts-check
/** The page's rooms, put together: base, predict, teach, study, compare. Each has its own state; what they share goes through here. */
import { listenForFiles } from "../ui/drop.js";
import { chosenBase, createBase, forgetBase } from "../panels/base/controller.js";
import { createCompare } from "../panels/compare/controller.js";
import { byId, jpegUrl } from "../ui/dom.js";
import { createEngine } from "../engine/engine.js";
import { keepPage, showStorage } from "./offline.js";
import { createPredict } from "../panels/predict/controller.js";
import { emptyProject } from "../project/project.js";
import { openStore } from "../project/store.js";
import { createStudy } from "../panels/train/controller.js";
import { createTeach } from "../panels/teach/controller.js";
import { createToast } from "../ui/toast.js";
import { sentence } from "../ui/format.js";

/** @import { Context } from "./context.js" */
/** @import { Engine } from "../engine/engine.js" */
/** @import { Store } from "../project/store.js" */

/** Addresses of pictures that are kept at a time. */
const ADDRESSES = 1000;
const query = new URLSearchParams(location.search);

/** @type {Engine | null} */
let engine = null;
/** @type {Store | null} */
let store = null;
/** Addresses by what they show, the one used longest ago first. @type {Map<Blob, string>} */
const addresses = new Map();
const toast = createToast();

/** @type {Context} */
const context = {
  engine: () => engine,
  store: () => store,
  project: () => teach.project,
  embedded: () => teach.embedded,
  change: (project, words) => teach.change(project, words),
  attempt,
  announce,
  headChanged: () => void predict.headChanged(),
  pictureUrl(picture) {
    const image = teach.imageOf(picture);
    if (image instanceof Uint8Array) return jpegUrl(image);
    return image instanceof Blob ? addressOf(image) : null;
  },
};

const teach = createTeach(context, {
  toast,
  row: (id) => predict.row(id),
  projectChanged() {
    study.projectChanged();
    compare.projectChanged();
  },
  study: { ready: (kept) => study.ready(kept), kept: () => study.kept() },
});
const study = createStudy(context);
const compare = createCompare(context);
const base = createBase(context);
const predict = createPredict(context, {
  retry: start,
  lost: () => void (engine = null),
  why: ({ name, file, answer }) => answer?.predictions.length && attempt(() => study.why(name, file, answer.latents, answer.predictions[0].label)),
  teach: ({ id, name }) => teach.chooseClass(id, name),
  customised: ["device", "weights", "head"].some((name) => query.has(name)),
});

listenForFiles({
  came: (found, target) => attempt(async () => {
    const { files } = await found;
    if (await base.takes(files)) await base.came(files);
    else if (compare.takes(files, target)) await compare.came(files);
    else await teach.came(found, target, (pictures) => predict.add(pictures));
  }),
  hint: (target) => (compare.holds(target) ? "Drop to compare three ways" : teach.hint(target)),
});
addEventListener("beforeunload", (event) => {
  if (teach.busy || study.busy || compare.busy || base.busy) event.preventDefault();
});

/** What the browser keeps of the classes. */
const kept = {
  get project() {
    return teach.project;
  },
  sizes: async () => (store ? store.sizes() : null),
  clear: () => teach.clear(),
};

const opened = open();
start();

/** What is kept is shown at once; its latents come when the engine says which base they have to be of. */
async function open() {
  try {
    const found = await openStore();
    const { project } = await found.load("");
    store = found;
    teach.open(project, found.refusal);
  } catch (cause) {
    console.error(cause);
    teach.open(emptyProject, cause instanceof Error ? cause : new Error(String(cause)));
  }
}

async function start() {
  const chosen = query.has("weights") ? undefined : chosenBase();
  const loaded = await predict.load(async (onProgress) => {
    const options = { device: wishedDevice(), head: query.get("head") ?? undefined, onProgress, onChange: () => predict.engineChanged() };
    engine = await createEngine({ ...options, weights: query.get("weights") ?? chosen }).catch((cause) => {
      if (!chosen || cause.kind !== "weights") throw cause;
      forgetBase();
      toast.alarm(sentence(`${cause.message}. The built-in base is used`));
      return createEngine(options);
    });
    return engine;
  });
  if (!loaded) {
    teach.unready();
    return;
  }
  await opened;
  await attempt(teach.ready);
  await attempt(compare.ready);
  const { build } = /** @type {Engine} */ (/** @type {unknown} */ (engine));
  const details = byId("details", HTMLDetailsElement);
  const show = () => attempt(() => showStorage(kept));
  details.addEventListener("toggle", () => void show());
  if (details.open) await show(); // somebody was quicker
  await attempt(() => keepPage({ build, toast }));
}

/** @returns {"auto" | "webgpu" | "cpu"} */
function wishedDevice() {
  const wish = query.get("device");
  return wish === "webgpu" || wish === "cpu" ? wish : "auto";
}

/** The sentence is shown, the cause goes to the console; what somebody cancelled is no error. @param {() => Promise<unknown>} verb */
async function attempt(verb) {
  try {
    await verb();
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    if (error.name === "AbortError" || /** @type {{ kind?: string }} */ (error).kind === "cancelled") return;
    console.error(cause);
    toast.alarm(sentence(error.message));
  }
}

/** @param {string} words */
function announce(words) {
  byId("announcer", HTMLElement).textContent = words;
}

/** @param {Blob} image @returns {string} */
function addressOf(image) {
  const url = addresses.get(image) ?? URL.createObjectURL(image);
  addresses.delete(image);
  addresses.set(image, url);
  for (const [old, address] of addresses) {
    if (addresses.size <= ADDRESSES) break;
    URL.revokeObjectURL(address);
    addresses.delete(old);
  }
  return url;
}
