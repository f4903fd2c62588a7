// @ts-check
/** From the pictures to a judged head: actions change the state, the state is shown, and what is worth keeping is kept. */
import { initialState, obstacle, reduce } from "./state.js";
import { createStudyView } from "./view.js";

/** @import { Context, Study } from "../context.js" */
/** @import { Engine } from "../engine.js" */
/** @import { Kept, Run } from "../store.js" */
/** @import { Action } from "./state.js" */

/** @param {Context} context @returns {Study} */
export function createStudy(context) {
  let state = initialState;
  /** @type {AbortController | null} */
  let training = null;

  const view = createStudyView({
    train: () => context.attempt(train),
    steer,
    cancelTraining: () => training?.abort(),
    setting: (patch) => dispatch({ type: "setting", patch }),
    resetSettings: () => dispatch({ type: "reset settings" }),
  });
  projectChanged();

  return {
    ready,
    projectChanged,
    why: async () => {},
    kept: () => ({ runs: [...state.runs], runInUse: state.runInUse, head: state.head }),
    get busy() {
      return state.training !== null || state.crossing !== null;
    },
  };

  /** @param {Action} action */
  function dispatch(action) {
    state = reduce(state, action);
    view.render(state);
  }

  /** @returns {Engine} */
  function engine() {
    const found = context.engine();
    if (!found) throw new Error("The network is not ready yet. Wait until it is loaded, then try again.");
    return found;
  }

  /** @param {Kept} kept */
  async function ready(kept) {
    const { runs, runInUse, head } = kept;
    const run = runs.find(({ id }) => id === runInUse) ?? null;
    const bytes = run?.head ?? head;
    if (bytes) await engine().openHead(bytes);
    const { defaults, unsureBelow, head: { name: headName } } = engine();
    dispatch({ type: "ready", defaults, unsureBelow, headName, runs, runInUse: run?.id ?? null, head: run ? null : head });
    projectChanged();
    if (bytes) context.headChanged();
  }

  function projectChanged() {
    dispatch({ type: "project", project: context.project(), embedded: context.embedded() });
  }

  async function train() {
    const trouble = obstacle(state);
    if (trouble) throw new Error(trouble);
    if (training || !state.settings) return;
    const options = state.settings;
    training = new AbortController();
    dispatch({ type: "started", limit: options.epochs, at: performance.now() });
    try {
      const report = await engine().train(options, {
        signal: training.signal,
        onEpoch: (report) => dispatch({ type: "epoch", report, at: performance.now() }),
      });
      const head = new Uint8Array(await (await engine().exportHead("safetensors")).arrayBuffer());
      const id = Math.max(0, ...state.runs.map((run) => run.id)) + 1;
      /** @type {Run} */
      const run = { id, at: Date.now(), name: `Run ${id}`, report, head };
      dispatch({ type: "trained", run, unsureBelow: engine().unsureBelow });
      context.headChanged();
      await context.store()?.saveRun(run);
      await context.store()?.saveHead({ run: id });
    } finally {
      training = null;
      dispatch({ type: "ended" });
    }
  }

  /** @param {"pause" | "resume" | "stop"} wish */
  function steer(wish) {
    const at = performance.now();
    engine().steer(wish);
    dispatch(wish === "stop" ? { type: "stopping" } : { type: wish === "pause" ? "paused" : "resumed", at });
  }
}
