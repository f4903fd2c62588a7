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

/** Runs a script in the worker before its own. @param {import("@playwright/test").Page} page @param {string} script */
async function lying(page, script) {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}\n${await response.text()}` });
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

test("a graphics card that is lost in the middle of a picture leaves it to the CPU", async ({ page }) => {
  // The first submission is the self-check.
  await lying(page, `let card, submissions = 0;
    const ask = GPUAdapter.prototype.requestDevice, submit = GPUQueue.prototype.submit;
    GPUAdapter.prototype.requestDevice = async function (...args) {
      return (card = await ask.apply(this, args));
    };
    GPUQueue.prototype.submit = function (commands) {
      submit.call(this, commands);
      if (++submissions === 2) card.destroy();
    };`);
  await page.goto(`${F32}style.css`);
  const { latents, device, notice } = await latentsInPage(page, { device: "webgpu" }, [picture(names[0])]);
  expect(notice).toBe("The engine stopped, and was started again on the CPU.");
  expect(device).toBe("cpu");
  expect(compare(latents[0], golden(`${names[0]}.latents`)).furthest).toBeLessThanOrEqual(1e-5);
});
