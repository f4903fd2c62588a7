/** What the benchmarks share: a browser, a server for the folders that its page needs, and how many times become one. */
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

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };
/** Program text gains from a longer search, numbers do not. */
const TEXT = new Set([".html", ".js", ".mjs", ".json", ".wasm"]);
const brotli = promisify(brotliCompress);

/** A file as a server would send it to a browser that unpacks brotli: as the `.br` beside it, or else one that is made once in `packed`. */
async function packedFile(file, packed) {
  if (existsSync(`${file}.br`)) return readFile(`${file}.br`);
  const { mtimeMs, size } = await stat(file);
  const made = join(packed, createHash("sha256").update(`${file} ${mtimeMs} ${size}`).digest("hex"));
  if (existsSync(made)) return readFile(made);
  const quality = TEXT.has(extname(file)) ? 9 : 5;
  const bytes = await brotli(await readFile(file), { params: { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_LGWIN]: 24 } });
  await mkdir(packed, { recursive: true });
  await writeFile(made, bytes);
  return bytes;
}

/**
 * Serves the folders and an empty page; not cross-origin isolated, as most pages are not: neither side gets threads. With `packed`, a folder,
 * all is sent with brotli. `sent` hears of each answer's path and bytes.
 */
async function serve(folders, packed, sent) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const [, folder, ...path] = decodeURIComponent(pathname).split("/");
    const root = folders[folder];
    const file = root && join(root, ...path);
    try {
      const squeeze = packed && folder !== "";
      const body = folder === "" ? "<!doctype html><title>bench</title>" : squeeze ? await packedFile(file, packed) : await readFile(file);
      response.setHeader("content-type", folder === "" ? "text/html" : TYPES[extname(file)] ?? "application/octet-stream");
      response.setHeader("content-length", Buffer.byteLength(body));
      if (squeeze) response.setHeader("content-encoding", "br");
      response.end(body);
      sent(pathname, Buffer.byteLength(body));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

/** Starts a browser, and a server beside the built site. `folders` are served too, by their names. */
export async function launch({ flags = [], folders = {}, packed, sent = () => {} }) {
  const site = resolve(process.env.SITE ?? join(here, "../target/site"));
  if (!existsSync(join(site, "engine.js"))) {
    throw new Error(`${site}: no built site; run \`cargo run --release -- build --out target/site\`, or name its folder by SITE`);
  }
  const server = await serve({ ...folders, site, npm: join(here, "node_modules"), bench: here }, packed, sent);
  const browser = await chromium.launch({ executablePath: browserPath(), args: [...flags, ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
  const close = async () => {
    await browser.close();
    server.close();
  };
  const machine = { browser: `Chromium ${browser.version()}`, cpu: os.cpus()[0]?.model.trim() ?? "unknown", cores: os.availableParallelism(), date: new Date().toISOString() };
  return { browser, origin: `http://127.0.0.1:${server.address().port}`, site, machine, close };
}

/** Opens an empty page in such a browser; `call` calls an export of `script` in it. */
export async function open({ script, flags, folders }) {
  const { browser, origin, machine, close } = await launch({ flags, folders });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error));
  await page.goto(`${origin}/`);
  const call = (name, ...args) => page.evaluate(async ([script, name, args]) => (await import(script))[name](...args), [`/bench/${script}`, name, args]);
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
