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
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · WebGPU/, { timeout: 200_000 });
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  const card = page.getByRole("list", { name: "Results" }).getByRole("listitem");
  await expect(card).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/, { timeout: 200_000 });
});

test("a software adapter is left for the CPU unless it is asked for", async ({ page }) => {
  await page.goto("");
  await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/);
  await expect(page.getByText("WebGPU here is emulated in software, which is slower than the CPU itself, so the CPU does the work.")).toBeVisible();
});

test("a graphics card that computes wrongly is left for the CPU", async ({ page }) => {
  const lie = `const make = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (shader) {
      return make.call(this, { ...shader, code: shader.code.replaceAll("max(", "min(") });
    };`;
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${lie}\n${await response.text()}` });
  });
  await page.goto("?device=webgpu");
  await expect(page.getByRole("status")).toHaveText(/^Ready · CPU/, { timeout: 200_000 });
  await expect(page.getByText(/^The graphics card was left for the CPU: it computes wrong latents \(off by .* of the largest/)).toBeVisible();
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem")).toContainText(/cat\.jpg[\s\S]*\d+\.\d %/);
});
