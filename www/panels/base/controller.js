// @ts-check
/**
 * Controller of the base menu: the built-in base, ImageNet weights from Hugging Face, or weights from files or a URL. A new base is
 * converted and stored, then the page reloads with it. Classes and pictures stay.
 */
import { convertBase } from "../../engine/engine.js";
import { numberWord, megabytes } from "../../ui/format.js";
import { fetchFrom } from "./remote.js";
import { createBaseView } from "./view.js";

/** @import { Context } from "../../app/context.js" */
/** @import { KeptBase, LoadProgress } from "../../engine/types.js" */

/** Keys in localStorage. */
const CHOSEN = "inception-web base";
const KEPT = "inception-web bases";
/** timm's port of the weights that Keras also ships. */
const HUB = "https://huggingface.co/timm/inception_v3.tf_in1k/resolve/main/model.safetensors";
const HUB_NAME = "timm inception_v3.tf_in1k";
/** Names of weights files. */
const WEIGHTS = /\.(pth|pt|h5|hdf5|keras|onnx)$|(^|\/)model\.json$/i;

/** The selected base, undefined for the built-in one. @returns {KeptBase | undefined} */
export function chosenBase() {
  return read(CHOSEN) ?? undefined;
}

/** Removes the selected base. The next page load uses the built-in one. */
export function forgetBase() {
  const chosen = chosenBase();
  localStorage.removeItem(CHOSEN);
  localStorage.setItem(KEPT, JSON.stringify(keptBases().filter(({ fingerprint }) => fingerprint !== chosen?.fingerprint)));
}

/** @returns {KeptBase[]} */
function keptBases() {
  return read(KEPT) ?? [];
}

/** @param {string} key */
function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** @param {Context} context */
export function createBase(context) {
  /** @type {AbortController | null} */
  let working = null;

  const view = createBaseView({
    choose: (choice) => context.attempt(() => choose(choice)),
    files: (files) => context.attempt(() => addBase("Reading the file", async () => ({ files }))),
    address: (url) => context.attempt(() => addBase("Downloading", (signal) => fetched(url, "any", signal))),
    cancel: () => working?.abort(),
  });
  show();

  return {
    /** Whether dropped files are weights of a base. @param {readonly { name: string, file: File }[]} files */
    accepts: (files) => files.some(({ name }) => WEIGHTS.test(name)) || Promise.all(files.map(({ name, file }) => isBase(name, file))).then((are) => are.includes(true)),
    onFiles: (/** @type {readonly { file: File }[]} */ files) => addBase("Reading the file", async () => ({ files: files.map(({ file }) => file) })),
    get busy() {
      return working !== null;
    },
  };

  function show() {
    view.show({ kept: keptBases(), chosen: chosenBase() ?? null });
  }

  /** @param {string} choice */
  async function choose(choice) {
    if (choice === "built-in") restart(null);
    else if (choice === "hub") await addBase("Downloading", (signal) => fetched(HUB, "hub", signal));
    else if (choice !== "file" && choice !== "address") restart(keptBases().find(({ fingerprint }) => fingerprint === choice) ?? null);
  }

  /**
   * Gets files, converts them to a base, stores it and reloads the page.
   * @param {string} label @param {(signal: AbortSignal) => Promise<{ files: File[], name?: string, sha256?: string | null }>} get
   */
  async function addBase(label, get) {
    working?.abort();
    const run = new AbortController();
    working = run;
    view.progress(label, null);
    try {
      const { files, name, sha256 } = await get(run.signal);
      const base = await convertBase(files, { name, sha256, signal: run.signal, onProgress: converting });
      localStorage.setItem(KEPT, JSON.stringify([base, ...keptBases().filter(({ fingerprint }) => fingerprint !== base.fingerprint)]));
      restart(base);
    } catch (cause) {
      show();
      throw cause;
    } finally {
      if (working === run) {
        working = null;
        view.idle();
      }
    }
  }

  /** @param {string} url @param {"hub" | "any"} policy @param {AbortSignal} signal */
  async function fetched(url, policy, signal) {
    const { blob, sha256 } = await fetchFrom(url, policy, signal, (done, total) => {
      view.progress(`Downloading: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ""} MB`, total ? done / total : null);
    });
    const name = new URL(url).pathname.split("/").pop() || "weights";
    return { files: [new File([blob], name)], name: url === HUB ? HUB_NAME : undefined, sha256 };
  }

  /** @param {LoadProgress} progress */
  function converting({ stage, done, total }) {
    const label = stage === "runtime" ? "Loading the converter" : stage === "check" ? "Checking the base" : `Converting, step ${numberWord(done + 1)} of ${numberWord(total)}`;
    view.progress(label, stage === "prepare" ? done / total : null);
  }

  /** @param {KeptBase | null} base */
  function restart(base) {
    if (base) localStorage.setItem(CHOSEN, JSON.stringify(base));
    else localStorage.removeItem(CHOSEN);
    context.announce("The page reloads with the other base.");
    location.reload();
  }
}

/** Tells a base in .safetensors format from a head or latents, by its contents. @param {string} name @param {File} file */
async function isBase(name, file) {
  if (!/\.safetensors$/i.test(name)) return false;
  const start = await file.slice(0, 1 << 16).text();
  return start.includes("Conv2d_1a_3x3") || start.includes("inception-web weights");
}
