// Whole forwards on WebGPU, on Chromium's software adapter: correct, and too slow to say anything about speed.
import { expect, test } from "@playwright/test";
import { compare, F32, golden, latentsInPage, names, picture } from "./golden.js";

test("latents on WebGPU are Keras's", async ({ page }) => {
  await page.goto(`${F32}style.css`);
  const result = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect(result.base.dtype).toBe("f32");
  expect(result.notice).toBeNull();
  expect(result.device).toBe("webgpu");
  expect(result.deviceName).toContain("WebGPU");
  const { cosine, furthest } = compare(result.latents[0], golden(`${names[0]}.latents`));
  console.log(`WebGPU, ${result.base.dtype}: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${furthest.toExponential(1)}`);
  expect(cosine).toBeGreaterThanOrEqual(0.999999);
  expect(furthest).toBeLessThanOrEqual(1e-5);
});

test("the page answers on WebGPU when it is asked to", async ({ page }) => {
  await lying(page, REFUSING);
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/, { timeout: 200_000 });
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  const card = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(card).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
});

test("a batch that takes several submissions is what its pictures are alone", async ({ page }) => {
  await page.goto(`${F32}style.css`);
  const order = [0, 1, 2, 0, 1].map((number) => names[number]);
  const { latents, device } = await latentsInPage(page, { device: "webgpu" }, order.map(picture));
  expect(device).toBe("webgpu");
  for (const [row, name] of order.entries()) expect(compare(latents[row], golden(`${name}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
});

test("a software adapter is left for the CPU unless it is asked for", async ({ page }) => {
  await page.goto("");
  await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/);
  await expect(page.getByText("WebGPU here is emulated in software, which is slower than the CPU itself, so the CPU does the work.")).toBeVisible();
});

/** Runs a script in the worker before its own, or in the first ones. @param {import("@playwright/test").Page} page @param {string} script @param {number} [times] */
async function lying(page, script, times) {
  await page.route("**/worker/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
  }, { times });
}

/** Says on the console which features every device is asked for, and what the worker warns of. @param {import("@playwright/test").Page} page */
async function askedFor(page) {
  const said = { features: /** @type {string[]} */ ([]), warnings: /** @type {string[]} */ ([]) };
  page.on("console", (message) => {
    const [, features] = /^asked for (.*)$/.exec(message.text()) ?? [];
    if (features) said.features.push(features);
    if (message.text().includes(" was left for ")) said.warnings.push(message.text());
  });
  return said;
}

const ASKING = `const ask = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (wish) {
    console.log("asked for " + JSON.stringify(wish?.requiredFeatures ?? []));
    return ask.call(this);
  };`;

/** An adapter that says it is a graphics card with f16, and has none. */
const PROMISING = `${ASKING}
  Object.defineProperty(GPUAdapter.prototype, "features", { get: () => new Set(["shader-f16"]) });
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });`;

/** Kernels for f16 pass a lie first. @param {string} lie of \`code\` */
const changing = (lie) => `{
  const make = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function ({ code }) {
    if (code.includes("enable f16;")) code = ${lie};
    return make.call(this, { code });
  };
}`;

/** Vectors of f16 as pairs of words: what WGSL can pack without the feature. */
const PACKED = changing(`code
  .replace("enable f16;", "")
  .replace("alias Number = f16;", \`
    fn wide(pair: vec2u) -> vec4f { return vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y)); }
    fn packed(four: vec4f) -> vec2u { return vec2u(pack2x16float(four.xy), pack2x16float(four.zw)); }\`)
  .replaceAll("array<vec4<Number>", "array<vec2u")
  .replaceAll("vec4f(maps[", "wide(maps[")
  .replaceAll("vec4f(weights[", "wide(weights[")
  .replaceAll("vec4<Number>(", "packed(")`);

test("an adapter without f16 is not asked for it", async ({ page }) => {
  const said = await askedFor(page);
  await lying(page, ASKING);
  await page.goto(`${F32}style.css`);
  const { device, deviceName } = await latentsInPage(page, { device: "webgpu" }, []);
  expect(device).toBe("webgpu");
  expect(deviceName).not.toContain("f16");
  expect(said.features).toEqual(["[]"]);
});

test("latents and explanations by f16 are nearly those by f32", async ({ page }) => {
  const said = await askedFor(page);
  await lying(page, PROMISING + PACKED);
  await page.goto(`${F32}style.css`);
  const { latents, device, deviceName, notice, base } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect([device, notice]).toEqual(["webgpu", null]);
  expect(deviceName).toMatch(/^WebGPU \(.*f16\)$/);
  expect(said).toEqual({ features: ['["shader-f16"]'], warnings: [] });
  const { cosine, furthest } = compare(latents[0], golden(`${names[0]}.latents`));
  console.log(`WebGPU, f16: cosine 1 - ${(1 - cosine).toExponential(1)}, max abs diff ${furthest.toExponential(1)}, self-check ${base.deviation.toExponential(1)}`);
  // Each number is rounded by up to 2^-12 of itself: measured 3e-6 from 1, and never as near as f32 is.
  expect(cosine).toBeGreaterThanOrEqual(0.99999);
  expect(furthest).toBeGreaterThan(1e-5);

  const explained = (/** @type {"webgpu" | "cpu"} */ device) =>
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
  const [ours, theirs] = [await explained("webgpu"), await explained("cpu")];
  expect(Math.max(...theirs)).toBeGreaterThan(0.5);
  for (const [place, value] of theirs.entries()) expect(Math.abs(ours[place] - value)).toBeLessThanOrEqual(0.02);
});

const LIES_OF_F16 = [
  { card: "refuses", reason: /refused a kernel|failed \(/, script: "" },
  { card: "computes wrongly with", reason: /it computes wrong latents \(off by .* at most 1e-2 is right\)/, script: PACKED + changing('code.replace("sum / f32(area)", "sum / f32(area + 2u)")') },
  { card: "finds numbers too large for", reason: /a number is too large for f16/, script: PACKED + changing('code.replace("65504.0", "0.5")') },
];

for (const { card, reason, script } of LIES_OF_F16) {
  test(`a graphics card that ${card} f16 computes with f32`, async ({ page }) => {
    const said = await askedFor(page);
    await lying(page, PROMISING + script);
    await page.goto(`${F32}style.css`);
    const { latents, device, deviceName, notice } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
    expect([device, notice]).toEqual(["webgpu", null]);
    expect(deviceName).not.toContain("f16");
    expect(said.features).toEqual(['["shader-f16"]', "[]"]);
    expect(said.warnings).toEqual([expect.stringMatching(reason)]);
    expect(compare(latents[0], golden(`${names[0]}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
  });
}

const SPEEDS = [
  { kept: "the quickest tiles are kept", tried: 16, each: 4, milliseconds: "candidate === 3 ? 2 : 3", like: 9 },
  { kept: "that has no time to try all tiles the quickest of the first are kept", tried: 4, each: 2, milliseconds: "candidate === 2 ? 50 : 60", like: 3 },
  { kept: "that has no time to try others the first tiles are kept", tried: 2, each: 2, milliseconds: "150", like: 1 },
];

for (const { kept, tried, each, milliseconds, like } of SPEEDS) {
  test(`of a graphics card ${kept}`, async ({ page }) => {
    /** @type {number[]} */
    const workgroups = [];
    page.on("console", (message) => message.text().startsWith("workgroups ") && workgroups.push(Number(message.text().slice(11))));
    // While it tries nothing is computed, and the clock says how long that took.
    await lying(page, `let [clock, submissions, workgroups] = [0, 0, 0];
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
        const tries = submissions <= ${tried};
        const candidate = Math.ceil(submissions / ${each});
        if (tries) clock += ${milliseconds};
        submit.call(this, tries ? [] : commands);
      };`);
    await page.goto(`${F32}style.css`);
    const { latents, device } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
    expect(device).toBe("webgpu");
    expect(compare(latents[0], golden(`${names[0]}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
    // Those that were tried, the self-check, and the picture.
    expect(workgroups).toHaveLength(tried + 2);
    expect(new Set(workgroups.slice(0, tried)).size).toBe(tried / each);
    expect(workgroups.slice(tried)).toEqual([workgroups[like - 1], workgroups[like - 1]]);
  });
}

/** Hides the features of the adapter, which nothing may need. */
const REFUSING = "Object.defineProperty(GPUAdapter.prototype, 'features', { get: () => new Set() });";

const LIES = [
  {
    card: "computes wrongly",
    notice: /^The graphics card was left for the CPU: it computes wrong latents \(off by .* of the largest/,
    script: `const make = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (shader) {
        return make.call(this, { ...shader, code: shader.code.replaceAll("max(", "min(") });
      };`,
  },
  {
    card: "refuses a kernel",
    notice: /^The graphics card was left for the CPU: the graphics card refused a kernel \(/,
    script: `const make = GPUDevice.prototype.createShaderModule;
      GPUDevice.prototype.createShaderModule = function (shader) {
        return make.call(this, { ...shader, code: shader.code.replaceAll("fn main", "fn mine") });
      };`,
  },
  {
    card: "has too little memory",
    notice: /^The graphics card was left for the CPU: the graphics card failed \(/,
    script: `const make = GPUDevice.prototype.createBuffer;
      GPUDevice.prototype.createBuffer = function (buffer) {
        return make.call(this, { ...buffer, size: buffer.size > 2 ** 26 ? 2 ** 40 : buffer.size });
      };`,
  },
  {
    card: "refuses to be used",
    notice: /^The graphics card was left for the CPU: the graphics card refused to be used \(no\)/,
    script: `GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error("no"));`,
  },
];

for (const { card, notice, script } of LIES) {
  test(`a graphics card that ${card} is left for the CPU`, async ({ page }) => {
    await lying(page, script);
    await page.goto("?device=webgpu");
    await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/, { timeout: 200_000 });
    await expect(page.getByText(notice)).toBeVisible();
    await page.getByRole("button", { name: "Cat", exact: true }).click();
    await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  });
}

test("a graphics card that fails while weights come leaves all of them to the CPU", async ({ page }) => {
  await lying(page, `let writes = 0;
    const write = GPUQueue.prototype.writeBuffer;
    GPUQueue.prototype.writeBuffer = function (...args) {
      if (++writes === 20) throw new Error("full");
      return write.apply(this, args);
    };`);
  await page.goto(`${F32}style.css`);
  // Of these nothing is known before they come, so that what is wrong with them ends it.
  const weights = "/pkg/base.safetensors";
  const { latents, device, notice } = await latentsInPage(page, { device: "webgpu", weights }, [picture(names[0])]);
  expect(notice).toMatch(/^The graphics card was left for the CPU: the graphics card failed \(.*full/);
  expect(device).toBe("cpu");
  expect(compare(latents[0], golden(`${names[0]}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
});

/** Loses the card in the first picture: the first submission is the self-check. */
const LOSING = `let card, submissions = 0;
  const ask = GPUAdapter.prototype.requestDevice, submit = GPUQueue.prototype.submit;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    return (card = await ask.apply(this, args));
  };
  GPUQueue.prototype.submit = function (commands) {
    submit.call(this, commands);
    if (++submissions === 2) card.destroy();
  };`;

test("a graphics card that is lost twice in the middle of a picture leaves it to the CPU", async ({ page }) => {
  await lying(page, LOSING);
  await page.goto(`${F32}style.css`);
  const { latents, device, notice } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect(notice).toBe("The graphics card was lost, so the CPU does the work.");
  expect(device).toBe("cpu");
  expect(compare(latents[0], golden(`${names[0]}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
});

test("a graphics card that is lost once is started again, a sentence says so, and what was answered stays", async ({ page }) => {
  await lying(page, LOSING.replace("=== 2", "=== 3"), 1);
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/, { timeout: 200_000 });
  const cards = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(cards).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
  await page.getByRole("button", { name: "Coffee", exact: true }).click();
  await expect(page.getByText("The graphics card was lost. It is started once more, and the work goes on.")).toBeVisible({ timeout: 200_000 });
  await expect(cards).toHaveCount(1);
  await expect(cards.nth(1)).toContainText(/coffee\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
  await expect(cards.first()).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
  await expect(page.getByText("The graphics card was lost, and was started again.")).toBeVisible();
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/);
});
