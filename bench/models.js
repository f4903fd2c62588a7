/** Creates the models of the other runtimes in `.models`, once: a Python environment in `.models/venv`, and the output of models.py. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, ".models");
const requirements = join(here, "models.requirements.txt");
const [bin, suffix] = process.platform === "win32" ? ["Scripts", ".exe"] : ["bin", ""];

/** Python of that environment. */
export const python = join(folder, "venv", bin, `python${suffix}`);

function runChecked(tool, args, hint) {
  const { status } = spawnSync(tool, args, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: "3" } });
  if (status !== 0) throw new Error(`${tool} ${args.join(" ")} failed; ${hint}`);
}

/** Returns the folder with the models; creates it if it is missing or out of date. */
export async function models(log) {
  const recipe = [requirements, join(here, "models.py")].map((file) => readFileSync(file, "utf8")).join("\n");
  const stamp = join(folder, "made.txt");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === recipe) return folder;
  if (!existsSync(join(here, "../node_modules/nsfwjs"))) {
    throw new Error("the npm package nsfwjs is missing; first run `cargo run --release -- build --out target/site` in the project folder");
  }
  mkdirSync(folder, { recursive: true });
  log("creating the models, once: this installs a Python environment of 2 GB and takes a few minutes");
  const system = ["python3", "python"].find((tool) => spawnSync(tool, ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).status === 0);
  if (!system) throw new Error("Python 3.11 or later not found; install it with its venv module (https://www.python.org)");
  runChecked(system, ["-m", "venv", join(folder, "venv")], "install the venv module of Python (Debian: apt-get install python3-venv)");
  runChecked(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements], "see the output of pip above");
  runChecked(python, [join(here, "models.py"), folder], "see its output above");
  writeFileSync(stamp, recipe);
  return folder;
}
