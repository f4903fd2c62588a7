/** Shared by the benchmarks: starts a browser and a file server, and summarizes timings. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import os from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));

/** Path of the first browser found; if undefined, Playwright uses its own. */
function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      // Not installed: try the next one.
    }
  }
  return undefined;
}

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };
/** A higher compression level helps these types, but not binary weights. */
const COMPRESSIBLE = new Set([".html", ".js", ".mjs", ".json", ".wasm"]);
const brotli = promisify(brotliCompress);

/** Returns a file compressed with brotli: its `.br` file, or else one created once in `cacheFolder`. */
async function compressedFile(file, cacheFolder) {
  if (existsSync(`${file}.br`)) return readFile(`${file}.br`);
  const { mtimeMs, size } = await stat(file);
  const cached = join(cacheFolder, createHash("sha256").update(`${file} ${mtimeMs} ${size}`).digest("hex"));
  if (existsSync(cached)) return readFile(cached);
  const quality = COMPRESSIBLE.has(extname(file)) ? 9 : 5;
  const bytes = await brotli(await readFile(file), { params: { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_LGWIN]: 24 } });
  await mkdir(cacheFolder, { recursive: true });
  await writeFile(cached, bytes);
  return bytes;
}

/**
 * Serves folders and an empty page. Like most pages, it is not cross-origin isolated, so no runtime gets threads. With `cacheFolder`, files are
 * compressed with brotli. `onSent` gets the path and size of each response.
 */
async function serve(folders, cacheFolder, onSent) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const [, folder, ...path] = decodeURIComponent(pathname).split("/");
    const root = folders[folder];
    const file = root && join(root, ...path);
    try {
      const compress = cacheFolder && folder !== "";
      const body = folder === "" ? "<!doctype html><title>bench</title>" : compress ? await compressedFile(file, cacheFolder) : await readFile(file);
      response.setHeader("content-type", folder === "" ? "text/html" : TYPES[extname(file)] ?? "application/octet-stream");
      response.setHeader("content-length", Buffer.byteLength(body));
      if (compress) response.setHeader("content-encoding", "br");
      response.end(body);
      onSent(pathname, Buffer.byteLength(body));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

/** Starts a browser and a server for the built site and `folders`, an object from URL prefix to path. */
export async function launch({ flags = [], folders = {}, cacheFolder, onSent = () => {} }) {
  const site = resolve(process.env.SITE ?? join(here, "../target/site"));
  if (!existsSync(join(site, "engine.js"))) {
    throw new Error(`${site}: no built site found; run \`cargo run --release -- build --out target/site\`, or set SITE to its folder`);
  }
  const server = await serve({ ...folders, site, npm: join(here, "node_modules"), bench: here }, cacheFolder, onSent);
  const browser = await chromium.launch({ executablePath: browserPath(), args: [...flags, ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
  const close = async () => {
    await browser.close();
    server.close();
  };
  const machine = { browser: `Chromium ${browser.version()}`, cpu: os.cpus()[0]?.model.trim() ?? "unknown", cores: os.availableParallelism(), date: new Date().toISOString() };
  return { browser, origin: `http://127.0.0.1:${server.address().port}`, site, machine, close };
}

/** Opens an empty page in a new browser. `call` calls an export of the module `script` in the page. */
export async function open({ script, flags, folders }) {
  const { browser, origin, machine, close } = await launch({ flags, folders });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.goto(`${origin}/`);
  const call = (name, ...args) => page.evaluate(async ([script, name, args]) => (await import(script))[name](...args), [`/bench/${script}`, name, args]);
  return { call, close, machine };
}

/** Quantile with linear interpolation. */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const [low, high] = [sorted[Math.floor(position)], sorted[Math.ceil(position)]];
  return low + (high - low) * (position % 1);
}

/** Median and interquartile range. */
export function summary(values) {
  const [low, median, high] = [0.25, 0.5, 0.75].map((q) => quantile(values, q));
  return { median, low, high };
}
