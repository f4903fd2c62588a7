// @ts-check
/** Inside of a frame with a content policy of its own: fetches one file for the page, and says how far it is. */

addEventListener("message", async ({ data, ports: [port], origin }) => {
  if (origin !== location.origin || !port) return;
  try {
    port.postMessage(await get(data.url, (done, total) => port.postMessage({ progress: [done, total] })));
  } catch (error) {
    port.postMessage({ error: /** @type {Error} */ (error).message });
  }
});

/** @param {string} url @param {(done: number, total: number) => void} tell */
async function get(url, tell) {
  const { host } = new URL(url);
  const response = await fetch(url, { credentials: "omit", referrerPolicy: "no-referrer" }).catch((error) => {
    throw new Error(
      `${host} could not be asked (${error.message}): there is no connection, or it lets no page of another site read this file. `
      + "Download it yourself and choose \"From a file\"",
    );
  });
  if (!response.ok) throw new Error(`${host} answered ${response.status}${response.status === 404 ? ", there is no such file" : ""}; check the address`);
  const head = (/** @type {string} */ name) => response.headers.get(name) ?? "";
  if (head("content-type").startsWith("text/html")) throw new Error(`${host} sent a web page, no weights; check the address`);
  const total = Number(head("x-linked-size") || head("content-length") || 0);
  const hash = [head("x-linked-etag"), head("etag")].map((tag) => tag.replaceAll(/^W\/|"/g, "")).find((tag) => /^[0-9a-f]{64}$/.test(tag));
  const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
  const parts = [];
  let done = 0;
  for (;;) {
    const { value } = await reader.read().catch((error) => {
      throw new Error(`the download from ${host} broke off (${error.message}); check the connection and try again`);
    });
    if (!value) break;
    parts.push(value);
    done += value.length;
    tell(done, total);
  }
  if (total && !head("content-encoding") && done !== total) throw new Error(`the download from ${host} broke off after ${done} of ${total} bytes; try again`);
  return { blob: new Blob(parts), sha256: hash ?? null };
}
