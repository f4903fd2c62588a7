// Serves the page like `cargo run --release` and opens it in the Chromium found by tests/run.js.
import { defineConfig } from "@playwright/test";

const port = Number(process.env.PORT ?? 8099);
const executablePath = process.env.CHROMIUM;
const commonArgs = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];

const binary = "target/release/inception-web";
const f32Weights = "target/base-f32.safetensors";

/** @param {number} port @param {string} [weights] @param {string} [setup] a command to run first */
function server(port, weights = "npm", setup = "true") {
  return {
    command: `${setup} && ${binary} serve --port ${port} --weights ${weights}`,
    cwd: "../..",
    url: `http://127.0.0.1:${port}/`,
    timeout: 300_000,
    reuseExistingServer: !process.env.CI,
  };
}

export default defineConfig({
  testDir: ".",
  outputDir: "../results",
  // The engine uses all cores, so parallel pages would slow each other down.
  workers: 1,
  retries: 0,
  timeout: 120_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  // Only offline.spec.js allows service workers: a cached page would hide changes.
  use: { baseURL: `http://127.0.0.1:${port}/`, serviceWorkers: "block" },
  webServer: [
    server(port),
    server(port + 1, f32Weights, `${binary} weights --from npm --dtype f32 --out ${f32Weights}`),
  ],
  projects: [
    {
      name: "page",
      testIgnore: "webgpu.spec.js",
      use: { launchOptions: { executablePath, args: [...commonArgs, "--disable-gpu"] } },
    },
    {
      name: "webgpu",
      testMatch: "webgpu.spec.js",
      timeout: 600_000,
      use: {
        launchOptions: {
          executablePath,
          args: [...commonArgs, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
        },
      },
    },
  ],
});
