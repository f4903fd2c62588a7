// @ts-check
/** Saves the project and its latents whenever they differ from the store. */
import { emptyProject } from "../../project/project.js";
import { sentence } from "../../ui/format.js";

/** @import { Context } from "../../app/context.js" */
/** @import { Embedded, Engine } from "../../engine/types.js" */
/** @import { Project } from "../../project/types.js" */
/** @import { Toast } from "../../ui/toast.js" */
/** @import { Action, State } from "./state.js" */

/** Latents per transaction. */
const LATENTS_PER_SAVE = 256;

/**
 * @param {Context} context
 * @param {{ state(): State, dispatch(action: Action): void, toast: Toast }} panel
 */
export function createAutosave(context, { state, dispatch, toast }) {
  /** @type {Project} the project as stored */
  let saved = emptyProject;
  /** Hashes with stored latents. @type {Set<string>} */
  const stored = new Set();
  let saving = false;
  /** Message of the last save if it failed. @type {string | null} */
  let saveError = null;

  return {
    save,
    /** Records what the store contains. @param {Project} project */
    projectStored: (project) => void (saved = project),
    /** @param {Iterable<string>} hashes */
    latentsStored(hashes) {
      for (const hash of hashes) stored.add(hash);
    },
    /** Call after the contents of the store were replaced. */
    forgetLatents: () => stored.clear(),
    /** Whether closing the page now would lose changes. */
    get pending() {
      return saving || saveError !== null;
    },
  };

  /** Saves until the store matches the state. */
  async function save() {
    const store = context.store();
    if (!store || saving || !state().loaded) return;
    saving = true;
    try {
      for (;;) {
        const latents = unsavedLatents();
        if (latents.size) { // before the pictures, because some pictures consist only of their latents
          await store.saveEmbedded(/** @type {Engine} */ (context.engine()).fingerprint, latents);
          for (const hash of latents.keys()) stored.add(hash);
        } else if (saved !== state().project) {
          const target = state().project;
          await store.saveProject(saved, target);
          saved = target;
        } else break;
      }
      if (saveError) dispatch({ type: "notice", message: null });
      saveError = null;
    } catch (cause) {
      const message = sentence(cause instanceof Error ? cause.message : String(cause));
      console.error(cause);
      if (message !== saveError) toast.error(message);
      saveError = message;
      dispatch({ type: "notice", message });
    } finally {
      saving = false;
    }
  }

  /** @returns {Map<string, Embedded>} the next latents to save, by hash */
  function unsavedLatents() {
    /** @type {Map<string, Embedded>} */
    const latents = new Map();
    if (!context.engine()) return latents;
    const { project, embedded } = state();
    for (const { hash } of project.pictures) {
      const found = stored.has(hash) ? undefined : embedded.get(hash);
      if (found && latents.size < LATENTS_PER_SAVE) latents.set(hash, found);
    }
    return latents;
  }
}
