// @ts-check
// The page while its server is still making some of the WebAssembly builds.
import { expect, test } from "@playwright/test";

/** Hides builds from the page until they are released. @param {import("@playwright/test").Page} page @param {string[]} pending */
async function hideBuilds(page, pending) {
  let hidden = pending;
  await page.route("**/pkg/site.json*", async (route) => {
    const response = await route.fetch();
    const site = await response.json();
    for (const name of hidden) delete site.runtimes[name];
    await route.fulfill({ response, json: { ...site, pending: [...site.pending, ...hidden] } });
  });
  return () => (hidden = []);
}

test("the page answers before the training build exists, and trains as soon as it does", async ({ page }) => {
  const release = await hideBuilds(page, ["tools", "webgpu", "relaxed"]);
  const builds = new Set();
  page.on("request", (request) => {
    const build = /pkg\/(\w+)\/inception_web_bg\.wasm/.exec(request.url());
    if (build) builds.add(build[1]);
  });
  await page.goto("/?device=cpu");
  const building = page.getByText("The server is still building the code for training. This takes a few minutes; pictures can already be classified.");
  await expect(building).toBeVisible();
  await page.getByRole("button", { name: "Cat", exact: true }).click();
  await expect(page.getByRole("list", { name: "Results" }).getByRole("listitem").first()).toContainText("cat");
  expect([...builds]).toEqual(["cpu"]);
  const train = page.getByRole("button", { name: "Train", exact: true });
  await expect(train).toBeDisabled();
  await expect(page.locator("#training")).toContainText("The server is still building the code for training. Training can start in a few minutes.");

  release();
  await expect(building).toBeHidden();
  await expect(train).toBeEnabled();
});

test("an API call waits until the build that it needs is ready", async ({ page }) => {
  const release = await hideBuilds(page, ["tools"]);
  await page.goto("style.css"); // without the page's own engine and its requests
  await page.evaluate(async () => {
    const { createEngine } = await import(/** @type {string} */ ("/engine.js"));
    const engine = await createEngine({ device: "cpu" });
    Object.assign(self, { engine, layers: engine.ways.layers("mlp") });
    self.layers.then(() => (self.answered = true));
  });
  await page.waitForRequest("**/pkg/site.json?fresh");
  expect(await page.evaluate(() => self.answered)).toBeUndefined();
  release();
  const layers = await page.evaluate(async () => (await self.layers).layers.length);
  expect(layers).toBeGreaterThan(3);
  await page.evaluate(() => self.engine.dispose());
});

test.describe("with service workers", () => {
  test.use({ serviceWorkers: "allow" });

  test("a page that started during a build is cached on the next visit, with the build that it then uses", async ({ page }) => {
    const release = await hideBuilds(page, ["relaxed"]);
    const registered = () => page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).map(({ installing, waiting, active }) => (installing ?? waiting ?? active)?.scriptURL));
    await page.goto("/?device=cpu");
    const building = page.getByText("The server is still building a faster version. Reload the page in a few minutes to use it.");
    await expect(building).toBeVisible();
    release();
    await expect(building).toBeHidden();
    expect(await registered()).toEqual([]);

    await page.reload();
    await expect.poll(registered).toEqual([expect.stringMatching(/sw\.js\?v=\w+&build=relaxed$/)]);
  });
});
