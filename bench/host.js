/** What the benchmarks share: a browser, a server for the folders that its page needs, and how many times become one. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import os from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));

/** The first of these browsers that is there; undefined leaves the choice to Playwright. */
function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      // The next one.
    }
  }
  return undefined;
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

/** Serves the folders and an empty page; not cross-origin isolated, as most pages are not: neither side gets threads. */
async function serve(folders) {
  const server = createServer(async (request, response) => {
    const [, folder, ...path] = decodeURIComponent(new URL(request.url, "http://localhost").pathname).split("/");
    const root = folders[folder];
    const file = root && join(root, ...path);
    try {
      const body = folder === "" ? "<!doctype html><title>bench</title>" : await readFile(file);
      response.setHeader("content-type", folder === "" ? "text/html" : TYPES[extname(file)] ?? "application/octet-stream");
      response.setHeader("content-length", Buffer.byteLength(body));
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

/** Opens an empty page beside the built site; `call` calls an export of `script` in it. `folders` are served too, by their names. */
export async function open({ script, flags = [], folders = {} }) {
  const site = resolve(process.env.SITE ?? join(here, "../target/site"));
  if (!existsSync(join(site, "engine.js"))) {
    throw new Error(`${site}: no built site; run \`cargo run --release -- build --out target/site\`, or name its folder by SITE`);
  }
  const server = await serve({ ...folders, site, npm: join(here, "node_modules"), bench: here });
  const browser = await chromium.launch({ executablePath: browserPath(), args: [...flags, ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
  const close = async () => {
    await browser.close();
    server.close();
  };
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const call = (name, ...args) => page.evaluate(async ([script, name, args]) => (await import(script))[name](...args), [`/bench/${script}`, name, args]);
  const machine = { browser: `Chromium ${browser.version()}`, cpu: os.cpus()[0]?.model.trim() ?? "unknown", cores: os.availableParallelism(), date: new Date().toISOString() };
  return { call, close, machine };
}

/** A quantile, between its neighbours where it falls between two. */
export function quantile(values, q) {
  const order = [...values].sort((a, b) => a - b);
  const at = (order.length - 1) * q;
  const [low, high] = [order[Math.floor(at)], order[Math.ceil(at)]];
  return low + (high - low) * (at % 1);
}

/** Median and the range of the middle half. */
export function summary(values) {
  const [low, median, high] = [0.25, 0.5, 0.75].map((q) => quantile(values, q));
  return { median, low, high };
}
