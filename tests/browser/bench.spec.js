// @ts-check
/** The benchmark page, on the CPU with few runs: results, privacy, cancelling, accessibility. */
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";

/** @typedef {import("@playwright/test").Page} Page */

const MEASURING = { timeout: 120_000 };

test.setTimeout(240_000);

/** @param {Page} page */
const status = (page) => page.getByRole("status");
/** @param {Page} page */
const measure = (page) => page.getByRole("button", { name: "Measure", exact: true });

/** @param {Page} page */
async function open(page) {
  await page.goto("bench.html");
  await expect(measure(page)).toBeEnabled();
  await page.getByRole("combobox", { name: "Runs" }).selectOption("3");
}

test("the benchmark works with the keyboard alone, copies the summary line and sends no data", async ({ page, context, baseURL }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  /** @type {string[]} */
  const sent = [];
  page.on("request", (request) => {
    const own = request.url().startsWith(baseURL ?? "") || request.url().startsWith("blob:");
    if (!own || request.method() !== "GET") sent.push(`${request.method()} ${request.url()}`);
  });
  await open(page);
  await measure(page).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByText(/^CPU: pictures one at a time, [12] of 3 runs$/)).toBeVisible(MEASURING);
  await expect(status(page)).toHaveText("Done.", MEASURING);
  await expect(page.getByRole("heading", { name: "Result" })).toBeFocused();

  const rows = page.getByRole("table", { name: "How long the network takes" }).getByRole("row");
  await expect(rows).toHaveText([
    "CPU (wasm SIMD)",
    /^Per picture, one at a time[\d,.]+ ms[\d,.]+ to [\d,.]+ ms$/,
    /^Per picture, eight at a time[\d,.]+ ms[\d,.]+ to [\d,.]+ ms$/,
    /^First answer[\d.]+ (s|min \d+ s)including the download$/,
    /^Self-test, maximum error(0|\de-\d+)relative to the largest latent$/,
  ]);
  const { version, weights } = await (await page.request.get("pkg/site.json")).json();
  const line = await page.getByLabel("Result as text").inputValue();
  const parts = line.split(" | ");
  expect(parts).toHaveLength(4);
  expect(parts[0]).toBe(`inception-web ${version}, base ${weights.fingerprint.slice(0, 12)} u8`);
  expect(parts[1]).toMatch(
    /^CPU \(wasm SIMD\): [\d,.]+ ms an image at batch 1 \([\d,.]+ to [\d,.]+ ms\), [\d,.]+ ms an image at batch 8 \([\d,.]+ to [\d,.]+ ms\), first answer [\d,.]+ ms, self-test off by (0|\de-\d+)$/,
  );
  expect(parts[2]).toMatch(/^Chrome \d+, \w+, \d+ threads$/);
  expect(parts[3]).toMatch(/^\d{4}-\d\d-\d\d$/);

  await page.getByRole("button", { name: "Copy", exact: true }).click();
  await expect(status(page)).toHaveText("Copied.");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(line);
  expect(sent).toEqual([]);

  // The weights are cached now, and the line says so.
  await measure(page).click();
  await expect(status(page)).toHaveText("Done.", MEASURING);
  await expect(page.getByLabel("Result as text")).toHaveValue(/ms \(weights cached\), self-test/);
});

test("a measurement is cancelled within a second, and the next one starts from the beginning", async ({ page }) => {
  await open(page);
  await measure(page).click();
  await expect(page.getByText(/^CPU: pictures one at a time/)).toBeVisible(MEASURING);
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(status(page)).toHaveText("Cancelled.", { timeout: 1000 });
  await expect(measure(page)).toBeFocused();
  await expect(page.getByRole("heading", { name: "Result" })).toBeHidden();
  // While the runtime is loading, with Escape.
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Cancel" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(status(page)).toHaveText("Cancelled.", { timeout: 1000 });
  await expect.poll(() => page.workers().length).toBe(0);
});

test("a browser without a GPU offers only the CPU", async ({ page }) => {
  await page.goto("bench.html");
  await expect(page.getByText(/^(This browser has no WebGPU|No GPU was found), so only the CPU can be measured\.$/)).toBeVisible();
  await expect(page.getByLabel("GPU (WebGPU)")).toBeDisabled();
  await page.getByLabel("CPU", { exact: true }).uncheck();
  await expect(measure(page)).toBeDisabled();
});

test("a device that the engine cannot use is reported, and there is no summary line", async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({ info: {} }) } }));
  await page.goto("bench.html");
  await page.getByLabel("CPU", { exact: true }).uncheck();
  await measure(page).click();
  await expect(page.getByText(/^WebGPU was not measured\. (This browser has no WebGPU|No GPU was found), so the CPU is used\.$/)).toBeVisible(MEASURING);
  await expect(page.getByLabel("Result as text")).toBeHidden();
});

test("the details of the main page link to the benchmark", async ({ page }) => {
  await page.goto("?device=cpu");
  await expect(status(page)).toHaveText(/^Ready/, MEASURING);
  await page.getByText("Details", { exact: true }).click();
  await page.getByRole("link", { name: "Measure how fast the network is on this device" }).click();
  await expect(page.getByRole("heading", { name: "How fast is it here?" })).toBeVisible();
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`the benchmark has no accessibility violations and fits a phone, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 320, height: 640 });
    await open(page);
    const before = await new AxeBuilder({ page }).analyze();
    expect(before.violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
    await measure(page).click();
    await expect(status(page)).toHaveText("Done.", MEASURING);
    const { violations, passes } = await new AxeBuilder({ page }).analyze();
    expect(passes.length).toBeGreaterThan(15);
    expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
  });
}
