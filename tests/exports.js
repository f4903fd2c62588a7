// @ts-check
// Creates `target/venv` with pinned packages and runs exports.py in it, which checks that files can be exchanged with Python.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));
const target = process.env.CARGO_TARGET_DIR ?? "target";
const [folder, suffix] = process.platform === "win32" ? ["Scripts", ".exe"] : ["bin", ""];
const venv = join(target, "venv");
const python = join(venv, folder, `python${suffix}`);
const binary = join(target, "release", `inception-web${suffix}`);
const requirements = "tests/exports.requirements.txt";

/** @param {string} tool @param {string[]} args */
function run(tool, ...args) {
  return spawnSync(tool, args, { stdio: "inherit" }).status === 0;
}

/** Like `run`, without output. @param {string} tool @param {string[]} args */
function runQuietly(tool, ...args) {
  return spawnSync(tool, args, { stdio: "ignore" }).status === 0;
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

/** Whether packages can be installed with apt. */
const canInstall = process.getuid?.() === 0 && runQuietly("apt-get", "--version");

/** @param {string[]} packages */
function install(...packages) {
  return canInstall && run("apt-get", "update") && run("apt-get", "install", "-y", "--no-install-recommends", ...packages);
}

/** Finds Python 3.11 or later. */
function findPython() {
  return ["python3", "python"].find((tool) => runQuietly(tool, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"));
}

/** Debian packages the venv module separately; virtualenv is the fallback. */
function makeVenv() {
  const system = findPython() ?? (install("python3", "python3-venv") ? findPython() : undefined);
  if (!system) fail("Python 3.11 or later not found; install it (https://www.python.org) with its venv module");
  const make = () => runQuietly(system, "-m", "venv", "--clear", venv) && runQuietly(python, "-m", "pip", "--version");
  if (make()) return;
  if (install("python3-venv") && make()) return;
  const virtualenv = join(target, "virtualenv");
  rmSync(venv, { recursive: true, force: true });
  const installed = run(system, "-m", "pip", "install", "--quiet", "--target", virtualenv, "virtualenv");
  if (installed && run(system, join(virtualenv, "virtualenv"), "--clear", venv)) return;
  fail(`${system} cannot create a virtual environment; install its venv module (on Debian: apt-get install python3-venv)`);
}

if (!existsSync(binary)) fail(`${binary} is missing; run cargo build --release first`);
const required = readFileSync(requirements, "utf8");
const installedList = join(venv, "installed.txt");
if (!existsSync(installedList) || readFileSync(installedList, "utf8") !== required) {
  makeVenv();
  if (!run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements)) {
    fail(`installing ${requirements} failed; see the output of pip above`);
  }
  writeFileSync(installedList, required);
}
process.exit(run(python, "tests/exports.py", binary) ? 0 : 1);
