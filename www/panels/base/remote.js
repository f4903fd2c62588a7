// @ts-check
/**
 * Downloads a file from another host. The page's Content Security Policy blocks other hosts, so the download runs in a temporary iframe
 * with its own policy, created on user request: `fetch/hub.html` allows the Hugging Face Hub, `fetch/any.html` any host.
 */

/** @typedef {{ progress: [number, number] } | { blob: Blob, sha256: string | null } | { error: string }} Message */

/**
 * @param {string} url @param {"hub" | "any"} policy @param {AbortSignal} signal @param {(done: number, total: number) => void} onProgress  In bytes.
 * @returns {Promise<{ blob: Blob, sha256: string | null }>}
 */
export function fetchFrom(url, policy, signal, onProgress) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.title = "Downloads a base";
  frame.src = new URL(`../../fetch/${policy}.html`, import.meta.url).href;
  const channel = new MessageChannel();
  /** @type {Promise<{ blob: Blob, sha256: string | null }>} */
  const downloaded = new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(Object.assign(new Error("cancelled; nothing was changed"), { kind: "cancelled" })));
    frame.addEventListener("load", () => frame.contentWindow?.postMessage({ url }, location.origin, [channel.port2]));
    channel.port1.onmessage = ({ data }) => {
      const message = /** @type {Message} */ (data);
      if ("progress" in message) onProgress(...message.progress);
      else if ("error" in message) reject(new Error(message.error));
      else resolve(message);
    };
  });
  document.body.append(frame);
  return downloaded.finally(() => {
    frame.remove();
    channel.port1.close();
  });
}
