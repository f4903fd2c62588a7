// @ts-check
/** Computes missing latents in the background, a few pictures per engine call. */
import { openFile } from "../../project/project.js";
import { pictures, sentence } from "../../ui/format.js";
import { missingLatents } from "./state.js";

/** @import { Context } from "../../app/context.js" */
/** @import { Engine } from "../../engine/types.js" */
/** @import { Action, State } from "./state.js" */

const THUMBNAIL = 128;
/** Pictures per engine call. Small, so that pictures removed in the meantime are not computed. */
const ROUND = 16;

/**
 * @param {Context} context
 * @param {{
 *   state(): State, dispatch(action: Action): void, latentsStored(hashes: Iterable<string>): void,
 *   latentsChanged(engine: Engine): void, projectChanged(): void,
 * }} panel
 */
export function createLatentsJob(context, { state, dispatch, latentsStored, latentsChanged, projectChanged }) {
  /** @type {AbortController | null} */
  let computing = null;

  return {
    compute,
    cancel: () => computing?.abort(),
    get running() {
      return computing !== null;
    },
  };

  /** Computes missing latents, except cancelled ones. Only one run at a time. */
  async function compute() {
    const engine = context.engine();
    if (computing || !engine || !state().loaded || !wanted().length) return;
    const run = new AbortController();
    computing = run;
    /** @type {number | null} */
    let computed = null;
    await context.attempt(async () => {
      computed = await computeAll(engine, run.signal);
    });
    computing = null;
    dispatch({ type: "computing", job: null });
    if (computed === null) {
      dispatch({ type: "cancelled", hashes: new Set(missingLatents(state()).keys()) });
      return;
    }
    if (computed) context.announce(`Computed latents of ${pictures(computed)}`);
    compute(); // pictures added at the last moment
  }

  function wanted() {
    return [...missingLatents(state())].filter(([hash]) => !state().cancelled.has(hash));
  }

  /** @param {Engine} engine @param {AbortSignal} signal @returns {Promise<number>} number of pictures computed */
  async function computeAll(engine, signal) {
    const { embedded } = engine.dataset;
    const lookedUp = new Set();
    let done = 0;
    let startedAt = 0;
    for (let missing = wanted(); missing.length; missing = wanted()) {
      const unknown = missing.map(([hash]) => hash).filter((hash) => !lookedUp.has(hash));
      for (const hash of unknown) lookedUp.add(hash);
      const found = unknown.length ? await context.store()?.findEmbedded(engine.fingerprint, unknown) : undefined;
      if (found?.size) {
        for (const [hash, one] of found) embedded.set(hash, one);
        latentsStored(found.keys());
        latentsChanged(engine);
        continue;
      }
      const round = missing.slice(0, ROUND);
      startedAt ||= performance.now();
      const job = () => ({ done, total: done + wanted().length, startedAt, now: performance.now() });
      dispatch({ type: "computing", job: job() });
      /** @type {Map<string, string>} */
      const reasons = new Map();
      const files = await Promise.all(round.map(([, file]) => openFile(file)));
      await engine.embed(files, {
        thumbnails: THUMBNAIL,
        signal,
        onPicture(index, outcome) {
          const [hash] = round[index];
          done += 1;
          if (outcome instanceof Error) reasons.set(hash, sentence(outcome.message));
          else embedded.set(hash, outcome);
          latentsChanged(engine);
          dispatch({ type: "computing", job: job() });
        },
      });
      if (reasons.size) {
        dispatch({ type: "pictures broken", reasons });
        projectChanged();
      }
    }
    return done;
  }
}
