// The network on WebGPU, with Chromium's software adapter. It is too slow to measure speed.
import { expect, test } from "@playwright/test";
import { compare, F32, golden, latentsInPage, names, picture } from "./golden.js";

test("latents on WebGPU equal those of Keras", async ({ page }) => {
  await page.goto(`${F32}style.css`);
  const result = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect(result.base.dtype).toBe("f32");
  expect(result.notice).toBeNull();
  expect(result.device).toBe("webgpu");
  expect(result.deviceName).toContain("WebGPU");
  const { cosine, maxDifference } = compare(result.latents[0], golden(`${names[0]}.latents`));
  console.log(`WebGPU, ${result.base.dtype}: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${maxDifference.toExponential(1)}`);
  expect(cosine).toBeGreaterThanOrEqual(0.999999);
  expect(maxDifference).toBeLessThanOrEqual(1e-5);
});

test("the page classifies on WebGPU with ?device=webgpu", async ({ page }) => {
  await patchWorker(page, NO_FEATURES);
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/, { timeout: 200_000 });
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  const card = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(card).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
});

test("a batch of several submissions gives the same latents as single pictures", async ({ page }) => {
  await page.goto(`${F32}style.css`);
  const order = [0, 1, 2, 0, 1].map((number) => names[number]);
  const { latents, device } = await latentsInPage(page, { device: "webgpu" }, order.map(picture));
  expect(device).toBe("webgpu");
  for (const [row, name] of order.entries()) expect(compare(latents[row], golden(`${name}.latents`)).maxDifference).toBeLessThanOrEqual(1e-5);
});

test("the CPU is preferred to a software adapter unless WebGPU is requested", async ({ page }) => {
  await page.goto("");
  await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/);
  await expect(page.getByText("WebGPU is emulated in software here, which is slower than the CPU, so the CPU is used.")).toBeVisible();
});

/** Prepends a script to the worker, or to the first `times` workers. @param {import("@playwright/test").Page} page @param {string} script @param {number} [times] */
async function patchWorker(page, script, times) {
  await page.route("**/worker/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
  }, { times });
}

/** Records the features requested for each device (see LOG_FEATURES), and warnings of the worker. @param {import("@playwright/test").Page} page */
async function recordConsole(page) {
  const log = { features: /** @type {string[]} */ ([]), warnings: /** @type {string[]} */ ([]) };
  page.on("console", (message) => {
    const [, features] = /^requested features (.*)$/.exec(message.text()) ?? [];
    if (features) log.features.push(features);
    if (message.text().startsWith("switched from ")) log.warnings.push(message.text());
  });
  return log;
}

const LOG_FEATURES = `const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    console.log("requested features " + JSON.stringify(descriptor?.requiredFeatures ?? []));
    return requestDevice.call(this);
  };`;

/** Makes the adapter claim to be a real GPU with f16 support. */
const CLAIM_F16 = `${LOG_FEATURES}
  Object.defineProperty(GPUAdapter.prototype, "features", { get: () => new Set(["shader-f16"]) });
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });`;

/** Transforms the f16 kernels. @param {string} transformed an expression of `code` */
const changeKernels = (transformed) => `{
  const createShaderModule = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function ({ code }) {
    if (code.includes("enable f16;")) code = ${transformed};
    return createShaderModule.call(this, { code });
  };
}`;

/** Emulates f16 vectors as pairs of u32, which WGSL can pack without the feature `shader-f16`. */
const EMULATED_F16 = changeKernels(`code
  .replace("enable f16;", "")
  .replace("alias Value = f16;", \`
    fn wide(pair: vec2u) -> vec4f { return vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y)); }
    fn packed(four: vec4f) -> vec2u { return vec2u(pack2x16float(four.xy), pack2x16float(four.zw)); }\`)
  .replaceAll("array<vec4<Value>", "array<vec2u")
  .replaceAll("vec4f(maps[", "wide(maps[")
  .replaceAll("vec4f(weights[", "wide(weights[")
  .replaceAll("vec4<Value>(", "packed(")`);

test("f16 is not requested from an adapter without it", async ({ page }) => {
  const log = await recordConsole(page);
  await patchWorker(page, LOG_FEATURES);
  await page.goto(`${F32}style.css`);
  const { device, deviceName } = await latentsInPage(page, { device: "webgpu" }, []);
  expect(device).toBe("webgpu");
  expect(deviceName).not.toContain("f16");
  expect(log.features).toEqual(["[]"]);
});

test("latents and explanations in f16 are close to those in f32", async ({ page }) => {
  const log = await recordConsole(page);
  await patchWorker(page, CLAIM_F16 + EMULATED_F16);
  await page.goto(`${F32}style.css`);
  const { latents, device, deviceName, notice, base } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect([device, notice]).toEqual(["webgpu", null]);
  expect(deviceName).toMatch(/^WebGPU \(.*f16\)$/);
  expect(log).toEqual({ features: ['["shader-f16"]'], warnings: [] });
  const { cosine, maxDifference } = compare(latents[0], golden(`${names[0]}.latents`));
  console.log(`WebGPU, f16: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${maxDifference.toExponential(1)}, self-test ${base.deviation.toExponential(1)}`);
  // f16 rounds by up to 2^-12 relative. Measured: 1 - 3e-6. The lower bound proves that f16 is used.
  expect(cosine).toBeGreaterThanOrEqual(0.99999);
  expect(maxDifference).toBeGreaterThan(1e-5);

  const explainOn = (/** @type {"webgpu" | "cpu"} */ device) =>
    page.evaluate(
      async ({ device, text }) => {
        const { createEngine } = await import(new URL("engine.js", document.baseURI).href);
        const engine = await createEngine({ device });
        const file = new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/png" });
        const { values } = await engine.explain(file, engine.classes[0]);
        engine.dispose();
        return Array.from(values);
      },
      { device, text: picture(names[0]) },
    );
  const [onGpu, onCpu] = [await explainOn("webgpu"), await explainOn("cpu")];
  expect(Math.max(...onCpu)).toBeGreaterThan(0.5);
  for (const [i, value] of onCpu.entries()) expect(Math.abs(onGpu[i] - value)).toBeLessThanOrEqual(0.02);
});

const F16_FAILURES = [
  { failure: "rejects f16 kernels", reason: /rejected a kernel|failed \(/, script: "" },
  { failure: "computes wrong f16 results", reason: /it computes wrong latents \(error .* expected at most 1e-2\)/, script: EMULATED_F16 + changeKernels('code.replace("sum / f32(area)", "sum / f32(area + 2u)")') },
  { failure: "overflows in f16", reason: /a value is too large for f16/, script: EMULATED_F16 + changeKernels('code.replace("65504.0", "0.5")') },
];

for (const { failure, reason, script } of F16_FAILURES) {
  test(`a GPU that ${failure} is used with f32`, async ({ page }) => {
    const log = await recordConsole(page);
    await patchWorker(page, CLAIM_F16 + script);
    await page.goto(`${F32}style.css`);
    const { latents, device, deviceName, notice } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
    expect([device, notice]).toEqual(["webgpu", null]);
    expect(deviceName).not.toContain("f16");
    expect(log.features).toEqual(['["shader-f16"]', "[]"]);
    expect(log.warnings).toEqual([expect.stringMatching(reason)]);
    expect(compare(latents[0], golden(`${names[0]}.latents`)).maxDifference).toBeLessThanOrEqual(1e-5);
  });
}

const TILE_TIMINGS = [
  { title: "the fastest tile size is selected", tried: 16, each: 4, milliseconds: "candidate === 3 ? 2 : 3", selected: 9 },
  { title: "on a slow GPU, the fastest of the first tile sizes is selected", tried: 4, each: 2, milliseconds: "candidate === 2 ? 50 : 60", selected: 3 },
  { title: "on a very slow GPU, the first tile size is used", tried: 2, each: 2, milliseconds: "150", selected: 1 },
];

for (const { title, tried, each, milliseconds, selected } of TILE_TIMINGS) {
  test(title, async ({ page }) => {
    /** @type {number[]} */
    const workgroups = [];
    page.on("console", (message) => message.text().startsWith("workgroups ") && workgroups.push(Number(message.text().slice(11))));
    // During tuning nothing is submitted, and a fake clock defines the time of each candidate.
    await patchWorker(page, `let [clock, submissions, workgroups] = [0, 0, 0];
      performance.now = () => clock;
      Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
      const submit = GPUQueue.prototype.submit, dispatch = GPUComputePassEncoder.prototype.dispatchWorkgroups;
      GPUComputePassEncoder.prototype.dispatchWorkgroups = function (x, y, z) {
        workgroups += x * y * z;
        dispatch.call(this, x, y, z);
      };
      GPUQueue.prototype.submit = function (commands) {
        console.log("workgroups " + workgroups);
        workgroups = 0;
        submissions++;
        const tuning = submissions <= ${tried};
        const candidate = Math.ceil(submissions / ${each});
        if (tuning) clock += ${milliseconds};
        submit.call(this, tuning ? [] : commands);
      };`);
    await page.goto(`${F32}style.css`);
    const { latents, device } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
    expect(device).toBe("webgpu");
    expect(compare(latents[0], golden(`${names[0]}.latents`)).maxDifference).toBeLessThanOrEqual(1e-5);
    // Tuning, the self-test, and the picture.
    expect(workgroups).toHaveLength(tried + 2);
    expect(new Set(workgroups.slice(0, tried)).size).toBe(tried / each);
    expect(workgroups.slice(tried)).toEqual([workgroups[selected - 1], workgroups[selected - 1]]);
  });
}

/** Hides all optional features of the adapter: none may be required. */
const NO_FEATURES = "Object.defineProperty(GPUAdapter.prototype, 'features', { get: () => new Set() });";

const FAILURES = [
  {
    failure: "computes wrong results",
    notice: /^Switched from the GPU to the CPU: it computes wrong latents \(error .* of the largest/,
    script: `const createShaderModule = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (shader) {
        return createShaderModule.call(this, { ...shader, code: shader.code.replaceAll("max(", "min(") });
      };`,
  },
  {
    failure: "rejects a kernel",
    notice: /^Switched from the GPU to the CPU: the GPU rejected a kernel \(/,
    script: `const createShaderModule = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (shader) {
        return createShaderModule.call(this, { ...shader, code: shader.code.replaceAll("fn main", "fn mine") });
      };`,
  },
  {
    failure: "has too little memory",
    notice: /^Switched from the GPU to the CPU: the GPU failed \(/,
    script: `const createBuffer = GPUDevice.prototype.createBuffer;
      GPUDevice.prototype.createBuffer = function (buffer) {
        return createBuffer.call(this, { ...buffer, size: buffer.size > 2 ** 26 ? 2 ** 40 : buffer.size });
      };`,
  },
  {
    failure: "provides no device",
    notice: /^Switched from the GPU to the CPU: the GPU rejected the device request \(no\)/,
    script: `GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error("no"));`,
  },
];

for (const { failure, notice, script } of FAILURES) {
  test(`the engine switches from a GPU that ${failure} to the CPU`, async ({ page }) => {
    await patchWorker(page, script);
    await page.goto("?device=webgpu");
    await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/, { timeout: 200_000 });
    await expect(page.getByText(notice)).toBeVisible();
    await page.getByRole("button", { name: "Cat", exact: true }).click();
    await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  });
}

test("a GPU that fails while weights are loading is replaced by the CPU", async ({ page }) => {
  await patchWorker(page, `let writes = 0;
    const writeBuffer = GPUQueue.prototype.writeBuffer;
    GPUQueue.prototype.writeBuffer = function (...args) {
      if (++writes === 20) throw new Error("full");
      return writeBuffer.apply(this, args);
    };`);
  await page.goto(`${F32}style.css`);
  // Weights without a known checksum: an error in them would end loading.
  const weights = "/pkg/base.safetensors";
  const { latents, device, notice } = await latentsInPage(page, { device: "webgpu", weights }, [picture(names[0])]);
  expect(notice).toMatch(/^Switched from the GPU to the CPU: the GPU failed \(.*full/);
  expect(device).toBe("cpu");
  expect(compare(latents[0], golden(`${names[0]}.latents`)).maxDifference).toBeLessThanOrEqual(1e-5);
});

/** Loses the GPU during the first picture; the first submission is the self-test. */
const LOSE_GPU = `let device, submissions = 0;
  const requestDevice = GPUAdapter.prototype.requestDevice, submit = GPUQueue.prototype.submit;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    return (device = await requestDevice.apply(this, args));
  };
  GPUQueue.prototype.submit = function (commands) {
    submit.call(this, commands);
    if (++submissions === 2) device.destroy();
  };`;

test("a GPU that is lost twice while one picture is processed is replaced by the CPU", async ({ page }) => {
  await patchWorker(page, LOSE_GPU);
  await page.goto(`${F32}style.css`);
  const { latents, device, notice } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect(notice).toBe("The GPU was lost, so the CPU is used.");
  expect(device).toBe("cpu");
  expect(compare(latents[0], golden(`${names[0]}.latents`)).maxDifference).toBeLessThanOrEqual(1e-5);
});

test("a GPU that is lost once is restarted with a notice, and existing results are kept", async ({ page }) => {
  await patchWorker(page, LOSE_GPU.replace("=== 2", "=== 3"), 1);
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/, { timeout: 200_000 });
  const cards = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(cards).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
  await page.getByRole("button", { name: "Coffee", exact: true }).click();
  await expect(page.getByText("The GPU was lost. Restarting; the work continues.")).toBeVisible({ timeout: 200_000 });
  await expect(cards).toHaveCount(1);
  await expect(cards.nth(1)).toContainText(/coffee\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
  await expect(cards.first()).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  await expect(page.getByText("The GPU was lost and was restarted.")).toBeVisible();
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/);
});
