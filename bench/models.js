/** Makes the peers' models once: an environment for models.py in `.models/venv`, then what it writes beside that. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, ".models");
const requirements = join(here, "models.requirements.txt");
const [bin, suffix] = process.platform === "win32" ? ["Scripts", ".exe"] : ["bin", ""];

/** The environment's own Python. */
export const python = join(folder, "venv", bin, `python${suffix}`);

function run(tool, args, hint) {
  const { status } = spawnSync(tool, args, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, TF_CPP_MIN_LOG_LEVEL: "3" } });
  if (status !== 0) throw new Error(`${tool} ${args.join(" ")} failed; ${hint}`);
}

/** The folder that has them, made where it is not there or its recipe has changed. */
export async function models(say) {
  const recipe = [requirements, join(here, "models.py")].map((file) => readFileSync(file, "utf8")).join("\n");
  const stamp = join(folder, "made.txt");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === recipe) return folder;
  if (!existsSync(join(here, "../node_modules/nsfwjs"))) {
    throw new Error("the weights' package is missing: run `cargo run --release -- build --out target/site` in the project's folder first");
  }
  mkdirSync(folder, { recursive: true });
  say("making the peers' models, once: a Python environment of 2 GB, then two minutes");
  const system = ["python3", "python"].find((tool) => spawnSync(tool, ["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).status === 0);
  if (!system) throw new Error("no Python 3.11 or later was found; install it (https://www.python.org), with its venv module");
  run(system, ["-m", "venv", join(folder, "venv")], "install Python's venv module (on Debian: apt-get install python3-venv)");
  run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements], "see pip's message above");
  run(python, [join(here, "models.py"), folder], "see its message above");
  writeFileSync(stamp, recipe);
  return folder;
}
