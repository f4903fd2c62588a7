// Serves the page for scripts that are not tests, once all of its WebAssembly builds are finished.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const POLL_MS = 500;

/** Starts `inception-web serve` with the npm weights and waits until it is complete. @param {string} port @returns {Promise<{ address: string, stop(): void }>} */
export async function startServer(port) {
  const server = spawn(`${root}target/release/inception-web`, ["serve", "--port", port, "--weights", "npm"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  const address = `http://127.0.0.1:${port}/`;
  try {
    await untilComplete(address, () => server.exitCode !== null);
  } catch (error) {
    server.kill();
    throw error;
  }
  return { address, stop: () => void server.kill() };
}

/** Waits until a served page has all builds. @param {string} address @param {() => boolean} [ended] whether the server has stopped */
export async function untilComplete(address, ended = () => false) {
  const complete = async () => {
    const response = await fetch(`${address}pkg/site.json`);
    return response.ok && !(await response.json()).pending.length;
  };
  while (!(await complete().catch(() => false))) {
    if (ended()) throw new Error("the server stopped; run `cargo run --release` once, and look at its messages");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
