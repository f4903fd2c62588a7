// The Chromium that is there already: the one named by CHROMIUM, one on the PATH, or Debian's.
import { execFileSync } from "node:child_process";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** What a tool says, or nothing where there is no such tool. @param {string} tool @param {string[]} args @returns {string} */
export function ask(tool, ...args) {
  try {
    return execFileSync(tool, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

/** @returns {string | undefined} its path */
export function findChromium() {
  return process.env.CHROMIUM || NAMES.map((name) => ask("which", name)).find(Boolean);
}
