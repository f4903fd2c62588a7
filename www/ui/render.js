// @ts-check
/** Renders at most once per animation frame. */

/**
 * Runs `work` in the next animation frame, once for any number of calls before it.
 * @param {() => void} work @returns {() => void} schedules `work`
 */
export function oncePerFrame(work) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      work();
    });
  };
}

/**
 * Paints the latest state in the next animation frame.
 * @template State
 * @param {(state: State, before: State | null) => void} paint  `before` is the state of the previous paint, null at the first one.
 * @returns {{ render(state: State): void, flush(): void }} `render` schedules a paint; `flush` paints at once and needs a rendered state.
 */
export function createRenderer(paint) {
  /** @type {State | null} */
  let shown = null;
  /** @type {State | null} */
  let latest = null;
  const schedule = oncePerFrame(flush);

  return { render, flush };

  /** @param {State} state */
  function render(state) {
    latest = state;
    schedule();
  }

  function flush() {
    const before = shown;
    shown = /** @type {State} */ (latest);
    paint(shown, before);
  }
}
