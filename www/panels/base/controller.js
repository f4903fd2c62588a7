// @ts-check
/**
 * Which base the page works with: the built-in one, ImageNet's, or one that somebody brings as files or by its address. A base is
 * converted and kept first; then the page starts again with it. Classes and pictures stay.
 */
import { convertBase } from "../../engine/engine.js";
import { numberWord, megabytes } from "../../ui/format.js";
import { fetchFrom } from "./remote.js";
import { createBaseView } from "./view.js";

/** @import { Context } from "../../app/context.js" */
/** @import { KeptBase, LoadProgress } from "../../engine/types.js" */

const CHOSEN = "inception-web base";
const KEPT = "inception-web bases";
/** timm's port of the weights that Keras ships too. */
const HUB = "https://huggingface.co/timm/inception_v3.tf_in1k/resolve/main/model.safetensors";
const HUB_NAME = "timm inception_v3.tf_in1k";
/** How files of weights are called. */
const WEIGHTS = /\.(pth|pt|h5|hdf5|keras|onnx)$|(^|\/)model\.json$/i;

/** The base that was chosen on this page, if it was not the built-in one. @returns {KeptBase | undefined} */
export function chosenBase() {
  return read(CHOSEN) ?? undefined;
}

/** Goes back to the built-in base, at the next start. */
export function forgetBase() {
  const lost = chosenBase();
  localStorage.removeItem(CHOSEN);
  localStorage.setItem(KEPT, JSON.stringify(keptBases().filter(({ fingerprint }) => fingerprint !== lost?.fingerprint)));
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
    files: (files) => context.attempt(() => bring("Reading the file", async () => ({ files }))),
    address: (url) => context.attempt(() => bring("Fetching", (signal) => fetched(url, "any", signal))),
    cancel: () => working?.abort(),
  });
  show();

  return {
    /** Whether files that were dropped are a base's. @param {readonly { name: string, file: File }[]} files */
    accepts: (files) => files.some(({ name }) => WEIGHTS.test(name)) || Promise.all(files.map(({ name, file }) => isBase(name, file))).then((are) => are.includes(true)),
    onFiles: (/** @type {readonly { file: File }[]} */ files) => bring("Reading the file", async () => ({ files: files.map(({ file }) => file) })),
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
    else if (choice === "hub") await bring("Fetching", (signal) => fetched(HUB, "hub", signal));
    else if (choice !== "file" && choice !== "address") restart(keptBases().find(({ fingerprint }) => fingerprint === choice) ?? null);
  }

  /**
   * @param {string} words @param {(signal: AbortSignal) => Promise<{ files: File[], name?: string, sha256?: string | null }>} get
   */
  async function bring(words, get) {
    working?.abort();
    const run = new AbortController();
    working = run;
    view.progress(words, null);
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

  /** @param {string} url @param {"hub" | "any"} door @param {AbortSignal} signal */
  async function fetched(url, door, signal) {
    const { blob, sha256 } = await fetchFrom(url, door, signal, (done, total) => {
      view.progress(`Fetching: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ""} MB`, total ? done / total : null);
    });
    const name = new URL(url).pathname.split("/").pop() || "weights";
    return { files: [new File([blob], name)], name: url === HUB ? HUB_NAME : undefined, sha256 };
  }

  /** @param {LoadProgress} progress */
  function converting({ stage, done, total }) {
    const words = stage === "runtime" ? "Getting the converter" : stage === "check" ? "Checking the base" : `Converting, step ${numberWord(done + 1)} of ${numberWord(total)}`;
    view.progress(words, stage === "prepare" ? done / total : null);
  }

  /** @param {KeptBase | null} base */
  function restart(base) {
    if (base) localStorage.setItem(CHOSEN, JSON.stringify(base));
    else localStorage.removeItem(CHOSEN);
    context.announce("The page starts again with the other base.");
    location.reload();
  }
}

/** Whether a file is a base's, where the name does not tell it from a head or latents. @param {string} name @param {File} file */
async function isBase(name, file) {
  if (!/\.safetensors$/i.test(name)) return false;
  const start = await file.slice(0, 1 << 16).text();
  return start.includes("Conv2d_1a_3x3") || start.includes("inception-web weights");
}
