// Finds an installed Chromium: CHROMIUM, or one on the PATH.
import { execFileSync } from "node:child_process";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** Output of a command; empty if it is missing or fails. @param {string} tool @param {string[]} args @returns {string} */
export function output(tool, ...args) {
  try {
    return execFileSync(tool, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

/** @returns {string | undefined} its path */
export function findChromium() {
  return process.env.CHROMIUM || NAMES.map((name) => output("which", name)).find(Boolean);
}
