// @ts-check
/**
 * A file from another host. This page's own content policy lets it talk to nobody; so a frame with a policy of its own fetches, made
 * when a person asks for it and removed afterwards. `fetch/hub.html` may talk to the Hugging Face hub, `fetch/any.html` to any host.
 */

/** @typedef {{ progress: [number, number] } | { blob: Blob, sha256: string | null } | { error: string }} Word */

/**
 * @param {string} url @param {"hub" | "any"} door @param {AbortSignal} signal @param {(done: number, total: number) => void} tell
 * @returns {Promise<{ blob: Blob, sha256: string | null }>}
 */
export function fetchFrom(url, door, signal, tell) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.title = "Fetches a base";
  frame.src = new URL(`../../fetch/${door}.html`, import.meta.url).href;
  const channel = new MessageChannel();
  /** @type {Promise<{ blob: Blob, sha256: string | null }>} */
  const come = new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(Object.assign(new Error("cancelled; nothing was changed"), { kind: "cancelled" })));
    frame.addEventListener("load", () => frame.contentWindow?.postMessage({ url }, location.origin, [channel.port2]));
    channel.port1.onmessage = ({ data }) => {
      const word = /** @type {Word} */ (data);
      if ("progress" in word) tell(...word.progress);
      else if ("error" in word) reject(new Error(word.error));
      else resolve(word);
    };
  });
  document.body.append(frame);
  return come.finally(() => {
    frame.remove();
    channel.port1.close();
  });
}
