// @ts-check
/**
 * Tells when a worker is gone, also where it died without a word, as one does that the system killed: it holds a lock (Web Locks) for as
 * long as it lives. Where a browser has no locks, only a worker that says that it failed is noticed.
 */

/** A lifeline's name, to be sent to the worker that is to hold it. @returns {string} */
export function newLifeline() {
  return `inception-web worker ${performance.timeOrigin + performance.now()} ${Math.random()}`;
}

/** Holds it until this worker ends; resolves when it is held. @param {string} name @returns {Promise<void>} */
export function hold(name) {
  return new Promise((held) => {
    if (!navigator.locks) return held();
    const ever = () => (held(), new Promise(() => {}));
    navigator.locks.request(name, ever).catch(() => held()); // refused: as where there are none
  });
}

/** Calls `gone` once the worker that holds it has ended, however that came. @param {string} name @param {() => unknown} gone */
export function watch(name, gone) {
  navigator.locks?.request(name, async () => void gone()).catch(() => {}); // the page itself is going
}
