// @ts-check
/**
 * Detects a terminated worker, even if it was killed without an error event: a worker holds a Web Lock for as long as it lives. In browsers
 * without Web Locks, only workers that report an error are detected.
 */

/** Returns a unique name for the liveness lock of a new worker. @returns {string} */
export function newLiveness() {
  return `inception-web worker ${performance.timeOrigin + performance.now()} ${Math.random()}`;
}

/** Takes the lock until this worker ends. Resolves once the lock is held. @param {string} name @returns {Promise<void>} */
export function holdLiveness(name) {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve();
    const holdForever = () => (resolve(), new Promise(() => {}));
    navigator.locks.request(name, holdForever).catch(() => resolve()); // rejected: continue without detection
  });
}

/** Calls `onEnd` when the worker that holds the lock has ended, for any reason. @param {string} name @param {() => unknown} onEnd */
export function watchLiveness(name, onEnd) {
  navigator.locks?.request(name, async () => void onEnd()).catch(() => {}); // rejected when the page is closed
}
