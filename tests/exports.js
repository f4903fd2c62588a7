// @ts-check
// What is written here is opened in Python, and the other way round: makes `target/venv` with the pinned packages, and runs exports.py in it.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));
const target = process.env.CARGO_TARGET_DIR ?? "target";
const [folder, suffix] = process.platform === "win32" ? ["Scripts", ".exe"] : ["bin", ""];
const venv = join(target, "venv");
const python = join(venv, folder, `python${suffix}`);
const program = join(target, "release", `inception-web${suffix}`);
const requirements = "tests/exports.requirements.txt";

/** @param {string} tool @param {string[]} args */
function run(tool, ...args) {
  return spawnSync(tool, args, { stdio: "inherit" }).status === 0;
}

/** @param {string} tool @param {string[]} args */
function quietly(tool, ...args) {
  return spawnSync(tool, args, { stdio: "ignore" }).status === 0;
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

/** Where this may install packages. */
const debian = process.getuid?.() === 0 && quietly("apt-get", "--version");

/** @param {string[]} packages */
function install(...packages) {
  return debian && run("apt-get", "update") && run("apt-get", "install", "-y", "--no-install-recommends", ...packages);
}

/** A Python that is new enough. */
function findPython() {
  return ["python3", "python"].find((tool) => quietly(tool, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"));
}

/** Debian parts `venv` from Python; where that cannot be installed, virtualenv does the same. */
function makeVenv() {
  const system = findPython() ?? (install("python3", "python3-venv") ? findPython() : undefined);
  if (!system) fail("no Python 3.11 or later was found; install it (https://www.python.org), with its venv module");
  const make = () => quietly(system, "-m", "venv", "--clear", venv) && quietly(python, "-m", "pip", "--version");
  if (make()) return;
  if (install("python3-venv") && make()) return;
  const beside = join(target, "virtualenv");
  rmSync(venv, { recursive: true, force: true });
  const installed = run(system, "-m", "pip", "install", "--quiet", "--target", beside, "virtualenv");
  if (installed && run(system, join(beside, "virtualenv"), "--clear", venv)) return;
  fail(`${system} can make no virtual environment; install its venv module (on Debian: apt-get install python3-venv)`);
}

if (!existsSync(program)) fail(`${program} is missing; run cargo build --release first`);
const wanted = readFileSync(requirements, "utf8");
const stamp = join(venv, "installed.txt");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
  makeVenv();
  if (!run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements)) {
    fail(`the packages in ${requirements} could not be installed; see pip's message above`);
  }
  writeFileSync(stamp, wanted);
}
process.exit(run(python, "tests/exports.py", program) ? 0 : 1);
