// `npm test`: installs what the tests need, runs all of them in turn, stops at the first that fails.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ask, findChromium } from "./chromium.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const site = join(root, "target", "site");
process.chdir(root);

/** @param {string} what @param {[string, ...string[]]} command @param {Record<string, string>} [env] */
function step(what, [tool, ...args], env = {}) {
  const start = Date.now();
  console.log(`\n== ${what}: ${tool} ${args.join(" ")}`);
  const { status, error } = spawnSync(tool, args, { stdio: "inherit", env: { ...process.env, ...env }, shell: process.platform === "win32" });
  const seconds = Math.round((Date.now() - start) / 1000);
  if (status !== 0) {
    console.log(`\n== ${what} failed after ${seconds} s${error ? ` (${error.message})` : ""}\n\n${passed} passed, 1 failed`);
    process.exit(1);
  }
  passed += 1;
  console.log(`== ${what}: passed in ${seconds} s`);
}

/** The Chromium to test in: one that is there, Debian's, or Playwright's own. */
function chromium() {
  if (!findChromium() && process.getuid?.() === 0 && ask("which", "apt-get")) {
    step("a browser to test in", ["apt-get", "update"]);
    step("a browser to test in", ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]);
  }
  const found = findChromium();
  if (!found) step("a browser to test in", ["npx", "playwright", "install", "--with-deps", "chromium"]);
  return found ?? "";
}

let passed = 0;
if (!existsSync("node_modules/@playwright/test")) step("npm packages", ["npm", "ci", "--no-audit", "--no-fund"]);
if (!ask("cargo", "fmt", "--version") || !ask("cargo", "clippy", "--version")) {
  step("rustfmt and clippy", ["rustup", "component", "add", "rustfmt", "clippy"]);
}
step("formatting", ["cargo", "fmt", "--check"]);
step("the page's files", ["cargo", "run", "--release", "--locked", "--", "build", "--weights", "npm", "--out", site]);
step("lints", ["cargo", "clippy", "--release", "--locked", "--all-targets", "--", "-D", "warnings"]);
const wasm = ["--target", "wasm32-unknown-unknown", "--no-default-features"];
for (const features of ["", "webgpu", "convert,train"]) {
  step("lints of the web builds", ["cargo", "clippy", "--release", "--locked", "--lib", ...wasm, "--features", features, "--", "-D", "warnings"]);
}
step("documentation", ["cargo", "doc", "--release", "--locked", "--no-deps"], { RUSTDOCFLAGS: "-D warnings" });
step("Rust tests", ["cargo", "test", "--release", "--locked"]);
step("files opened in Python", ["node", "tests/exports.js"]);
step("JavaScript types", ["npx", "tsc", "--project", "tsconfig.json"]);
const browser = chromium();
step("the page in a browser", ["npx", "playwright", "test", "--config", "tests/browser/playwright.config.js"], { CHROMIUM: browser, SITE: site });
console.log(`\n${passed} passed, 0 failed`);
