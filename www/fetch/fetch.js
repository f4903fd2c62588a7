// @ts-check
/** Runs in a frame with its own Content-Security-Policy: downloads one file for the page and reports progress. */

addEventListener("message", async ({ data, ports: [port], origin }) => {
  if (origin !== location.origin || !port) return;
  try {
    port.postMessage(await download(data.url, (done, total) => port.postMessage({ progress: [done, total] })));
  } catch (error) {
    port.postMessage({ error: /** @type {Error} */ (error).message });
  }
});

/** @param {string} url @param {(done: number, total: number) => void} onProgress */
async function download(url, onProgress) {
  const { host } = new URL(url);
  const response = await fetch(url, { credentials: "omit", referrerPolicy: "no-referrer" }).catch((error) => {
    throw new Error(
      `no response from ${host} (${error.message}): there is no connection, or the server does not allow other sites to read the file (CORS). `
      + "Download it yourself and choose \"From a file\"",
    );
  });
  if (!response.ok) throw new Error(`${host} returned status ${response.status}${response.status === 404 ? " (file not found)" : ""}; check the URL`);
  const header = (/** @type {string} */ name) => response.headers.get(name) ?? "";
  if (header("content-type").startsWith("text/html")) throw new Error(`${host} returned a web page instead of weights; check the URL`);
  const total = Number(header("x-linked-size") || header("content-length") || 0);
  const hash = [header("x-linked-etag"), header("etag")].map((tag) => tag.replaceAll(/^W\/|"/g, "")).find((tag) => /^[0-9a-f]{64}$/.test(tag));
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
  const chunks = [];
  let done = 0;
  for (;;) {
    const { value } = await reader.read().catch((error) => {
      throw new Error(`the download from ${host} was interrupted (${error.message}); check the connection and try again`);
    });
    if (!value) break;
    chunks.push(value);
    done += value.length;
    onProgress(done, total);
  }
  if (total && !header("content-encoding") && done !== total) throw new Error(`the download from ${host} ended after ${done} of ${total} bytes; try again`);
  return { blob: new Blob(chunks), sha256: hash ?? null };
}
