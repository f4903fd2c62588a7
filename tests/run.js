// `npm test`: installs what the tests need, runs all checks, and stops at the first failure.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findChromium, output } from "./chromium.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const site = join(root, "target", "site");
process.chdir(root);

/** @param {string} name @param {[string, ...string[]]} command @param {Record<string, string>} [env] */
function step(name, [tool, ...args], env = {}) {
  const start = Date.now();
  console.log(`\n== ${name}: ${tool} ${args.join(" ")}`);
  const { status, error } = spawnSync(tool, args, { stdio: "inherit", env: { ...process.env, ...env }, shell: process.platform === "win32" });
  const seconds = Math.round((Date.now() - start) / 1000);
  if (status !== 0) {
    console.log(`\n== ${name} failed after ${seconds} s${error ? ` (${error.message})` : ""}\n\n${passed} passed, 1 failed`);
    process.exit(1);
  }
  passed += 1;
  console.log(`== ${name}: passed in ${seconds} s`);
}

/** Finds Chromium, or installs it: from apt as root on Debian, else Playwright's own. Returns the path, or "" for Playwright's own. */
function ensureChromium() {
  if (!findChromium() && process.getuid?.() === 0 && output("which", "apt-get")) {
    step("Chromium", ["apt-get", "update"]);
    step("Chromium", ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]);
  }
  const found = findChromium();
  if (!found) step("Chromium", ["npx", "playwright", "install", "--with-deps", "chromium"]);
  return found ?? "";
}

let passed = 0;
if (!existsSync("node_modules/@playwright/test")) step("npm packages", ["npm", "ci", "--no-audit", "--no-fund"]);
if (!output("cargo", "fmt", "--version") || !output("cargo", "clippy", "--version")) {
  step("rustfmt and clippy", ["rustup", "component", "add", "rustfmt", "clippy"]);
}
step("formatting", ["cargo", "fmt", "--check"]);
step("static site", ["cargo", "run", "--release", "--locked", "--", "build", "--weights", "npm", "--out", site]);
step("lints", ["cargo", "clippy", "--release", "--locked", "--all-targets", "--", "-D", "warnings"]);
const wasm = ["--target", "wasm32-unknown-unknown", "--no-default-features"];
for (const features of ["", "webgpu", "convert,train"]) {
  step("lints of the wasm builds", ["cargo", "clippy", "--release", "--locked", "--lib", ...wasm, "--features", features, "--", "-D", "warnings"]);
}
step("documentation", ["cargo", "doc", "--release", "--locked", "--no-deps"], { RUSTDOCFLAGS: "-D warnings" });
step("Rust tests", ["cargo", "test", "--release", "--locked"]);
step("exports in Python", ["node", "tests/exports.js"]);
step("JavaScript types", ["npx", "tsc", "--project", "tsconfig.json"]);
const browser = ensureChromium();
step("browser tests", ["npx", "playwright", "test", "--config", "tests/browser/playwright.config.js"], { CHROMIUM: browser, SITE: site });
console.log(`\n${passed} passed, 0 failed`);
