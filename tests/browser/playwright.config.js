// Serves the page as `cargo run --release` does, and opens it in the Chromium that tests/run.js found.
import { defineConfig } from "@playwright/test";

const port = Number(process.env.PORT ?? 8099);
const executablePath = process.env.CHROMIUM;
const quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];

const program = "target/release/inception-web";
const f32 = "target/base-f32.safetensors";

/** @param {number} port @param {string} [weights] @param {string} [before] */
function server(port, weights = "npm", before = "true") {
  return {
    command: `${before} && ${program} serve --port ${port} --weights ${weights}`,
    cwd: "../..",
    url: `http://127.0.0.1:${port}/`,
    timeout: 300_000,
    reuseExistingServer: !process.env.CI,
  };
}

export default defineConfig({
  testDir: ".",
  outputDir: "../results",
  // Two cores: one page at a time keeps waiting times honest.
  workers: 1,
  // On a busy machine one may run out of time; one that fails twice is wrong.
  retries: 1,
  timeout: 120_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  // Pages that are kept answer from themselves; only the test of that lets them.
  use: { baseURL: `http://127.0.0.1:${port}/`, serviceWorkers: "block" },
  webServer: [
    server(port),
    server(port + 1, f32, `${program} weights --from npm --dtype f32 --out ${f32}`),
  ],
  projects: [
    {
      name: "page",
      testIgnore: "webgpu.spec.js",
      use: { launchOptions: { executablePath, args: [...quiet, "--disable-gpu"] } },
    },
    {
      name: "webgpu",
      testMatch: "webgpu.spec.js",
      timeout: 600_000,
      use: {
        launchOptions: {
          executablePath,
          args: [...quiet, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
        },
      },
    },
  ],
});
