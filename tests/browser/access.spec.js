// @ts-check
/** Accessibility: axe checks in both colour schemes, keyboard, screen reader, narrow screens and large text. */
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { stripes } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {import("@playwright/test").Locator} Locator */
/** @typedef {{ name: string, mimeType: string, buffer: Buffer }} Upload */

const SLOW = { timeout: 90_000 };
const SCHEMES = /** @type {const} */ (["light", "dark"]);

test.setTimeout(240_000);

// ---- locators and steps ----

/** @param {Page} page */
const status = (page) => page.locator("#status");
/** @param {Page} page */
const results = (page) => page.getByRole("list", { name: "Results" }).getByRole("listitem");
/** @param {Page} page */
const training = (page) => page.getByRole("region", { name: "Training", exact: true });
/** @param {Page} page */
const evaluation = (page) => page.getByRole("region", { name: "Evaluation" });
/** @param {Page} page */
const gallery = (page) => page.getByRole("listbox", { name: "Pictures of the classes" });
/** @param {Page} page */
const comparison = (page) => page.getByRole("region", { name: "Three ways" });
/** @param {Page} page */
const message = (page) => page.getByRole("region", { name: "Message" });
/** @param {Page | Locator} parent @param {string} name */
const button = (parent, name) => parent.getByRole("button", { name, exact: true });

/** @param {string} name @param {number} seed @returns {Upload} */
const picture = (name, seed) => ({ name, mimeType: "image/png", buffer: stripes(seed) });
/** @type {Upload} */
const BROKEN = { name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) };

/** A file in CIFAR-10 format with three classes, one per colour. @param {string} name @param {number} count @returns {Upload} */
function batch(name, count) {
  const records = Array.from({ length: count }, (_, i) => Buffer.from([i % 3, ...Array.from({ length: 3072 }, (_, at) => (Math.floor(at / 1024) === i % 3 ? 200 - i : at % 90))]));
  return { name, mimeType: "application/octet-stream", buffer: Buffer.concat(records) };
}

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await expect(status(page)).toHaveText(/^Ready/, SLOW);
}

/** @param {Page} page @param {string} name @param {Upload[]} files */
async function teach(page, name, files) {
  await button(page, "Add class").click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
  await expect(page.getByRole("group", { name, exact: true })).toContainText(/\d picture/);
}

/** Shows one card with an answer and one with an error. @param {Page} page */
async function classifyTwo(page) {
  await page.getByLabel("Choose pictures").setInputFiles([picture("stripes.png", 1), BROKEN]);
  await expect(results(page)).toHaveCount(2, SLOW);
}

/** @param {Page} page */
async function trainTenClasses(page) {
  await button(page, "Ten-class latents").click();
  await expect(training(page)).toContainText(/1[0-2] classes/, SLOW);
  await button(training(page), "Train").click();
  await expect(training(page).getByText(/^Validation accuracy \d/)).toBeVisible(SLOW);
}

/** Compares the MLP and the CNN, which need no latents. @param {Page} page */
async function compareModels(page) {
  const set = [batch("data_batch_1.bin", 18), batch("test_batch.bin", 9), { name: "batches.meta.txt", mimeType: "text/plain", buffer: Buffer.from("red\ngreen\nblue\n") }];
  await page.getByLabel("Choose CIFAR-10 files").setInputFiles(set);
  await expect(comparison(page)).toContainText("18 pictures of three classes to train on", SLOW);
  await comparison(page).getByRole("checkbox", { name: /^Inception transfer/ }).uncheck();
  await comparison(page).getByText("Options", { exact: true }).click();
  await comparison(page).getByLabel("Epochs").first().fill("1");
  await comparison(page).getByLabel("Epochs").first().blur();
  await button(comparison(page), "Compare").click();
  await expect(page.getByRole("table", { name: "Comparison", exact: true }).getByRole("rowheader")).toHaveText(["MLP", "CNN"], SLOW);
  await expect(button(comparison(page), "Compare")).toBeVisible(SLOW);
}

/** @param {Page} page */
async function drawMap(page) {
  await button(page, "Draw map").click();
  await expect(page.getByRole("application")).toBeVisible(SLOW);
}

// ---- axe ----

/** @param {Page} page @param {string} view @param {string[]} parts @returns {Promise<string[]>} violations that axe finds in light and dark */
async function violationsOf(page, view, ...parts) {
  const violationTexts = [];
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations, passes } = await parts.reduce((axe, part) => axe.include(part), new AxeBuilder({ page })).analyze();
    expect(passes.length).toBeGreaterThan(5);
    violationTexts.push(...violations.flatMap(({ id, impact, nodes }) => nodes.map(({ html }) => `${view}, ${colorScheme}: ${impact} ${id} in ${html}`)));
  }
  return violationTexts;
}

test("axe finds no violations in any view, light or dark", async ({ page }) => {
  /** @type {string[]} */
  const violations = [];
  let views = 0;
  const check = async (/** @type {string} */ view, /** @type {string[]} */ ...parts) => {
    views++;
    violations.push(...await violationsOf(page, view, ...parts));
  };
  await open(page);
  await check("start");
  await page.getByText("Details", { exact: true }).click();
  await expect(page.locator("#storage")).not.toBeEmpty();
  await page.getByLabel("Base", { exact: true }).selectOption("From a URL");
  await check("details and base", ".engine");
  await classifyTwo(page);
  await check("cards", "#results-section");
  await page.getByRole("radio", { name: "Grid" }).check();
  await check("grid", "#results-section");
  await page.getByRole("radio", { name: "Cards" }).check();

  await teach(page, "cat", [picture("one.png", 1), picture("two.png", 2)]);
  await teach(page, "dog", [picture("three.png", 3)]);
  await gallery(page).getByRole("option").first().click();
  await page.getByLabel("More for dog").click();
  await check("classes, selection and menu", "#teach");
  await page.keyboard.press("Escape");
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  await button(page, "Webcam for dog").click();
  await expect(page.getByRole("dialog").getByRole("alert")).toHaveText(/camera was denied/);
  await check("webcam", "dialog[open]");
  await page.keyboard.press("Escape");
  await button(results(page).first(), "Teach").click();
  await check("class chooser", "dialog[open]");
  await page.keyboard.press("Escape");

  await trainTenClasses(page);
  await expect(message(page)).toContainText("Added 5,000 pictures");
  await check("toast", ".toast");
  await training(page).getByText("Settings", { exact: true }).click();
  await training(page).getByText("Epochs as a table").click();
  await page.getByRole("table", { name: "Confusion matrix", exact: true }).getByRole("button", { name: /^[1-9]\d* pictures? of cat classified as dog$/ }).click();
  await check("training and confusion matrix", "#train");
  await evaluation(page).getByRole("spinbutton").fill("2");
  await evaluation(page).getByRole("spinbutton").blur();
  await button(evaluation(page), "Cross-validate").click();
  await expect(evaluation(page)).toContainText("each evaluated by a head that was not trained on it", SLOW);
  await check("cross-validation", "#train-evaluation");
  await drawMap(page);
  await check("map", "#train-map");
  await results(page).first().getByRole("button", { name: /^Why/ }).click();
  await expect(page.getByRole("dialog").getByText(/^Bright areas show the evidence for /)).toBeVisible(SLOW);
  await check("reasons", "dialog[open]");
  await page.keyboard.press("Escape");

  await compareModels(page);
  await check("three ways", "#compare");
  await page.goto("bench.html");
  await expect(button(page, "Measure")).toBeEnabled();
  await check("bench");
  console.log(`${views} views, each light and dark`);
  expect(violations).toEqual([]);
});

// ---- keyboard ----

/** The problem with the focused element; null if it is visible and has a focus ring. @param {Page} page @returns {Promise<string | null>} */
function focusProblem(page) {
  return page.evaluate(() => {
    const active = document.activeElement;
    if (!active || active === document.body) return "nothing has the focus";
    const hasOutline = (/** @type {Element | null} */ element) => {
      if (!element) return false;
      const { outlineStyle, outlineWidth, opacity } = getComputedStyle(element);
      return opacity !== "0" && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    };
    const name = active.getAttribute("aria-label") || active.textContent || active.id;
    if (!active.matches(":focus-visible") || !(hasOutline(active) || hasOutline(active.closest("label")))) return `${name} has no visible focus ring`;
    const { top, bottom, left, right } = active.getBoundingClientRect();
    if (bottom <= 0 || top >= innerHeight || right <= 0 || left >= innerWidth) return `${name} has the focus outside the viewport`;
    return null;
  });
}

/** Presses Tab, or Shift+Tab for an earlier element, until the target has the focus; the focus must be visible at each stop. @param {Page} page @param {Locator} target @returns {Promise<number>} number of stops */
async function tabTo(page, target) {
  const isBefore = await target.evaluate((element) => Boolean(document.activeElement?.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_PRECEDING) && document.activeElement !== document.body);
  for (let stops = 1; stops < 120; stops++) {
    await page.keyboard.press(isBefore ? "Shift+Tab" : "Tab");
    expect(await focusProblem(page)).toBeNull();
    if (await target.evaluate((element) => element === document.activeElement)) return stops;
  }
  throw new Error(`Tab never reached ${target}`);
}

/** @param {Page} page @param {string} key @param {Upload[]} files */
async function chooseFiles(page, key, files) {
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press(key)]);
  await chooser.setFiles(files);
}

/** @param {Page} page */
async function pressForDownload(page) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  return download.suggestedFilename();
}

test("classifying, teaching, training and saving work with the keyboard alone, with visible focus", async ({ page }) => {
  let stops = 0;
  const to = async (/** @type {Locator} */ target) => (stops += await tabTo(page, target));
  const expectFocusKept = () => expect(page.locator("body:focus")).toHaveCount(0);
  page.on("filechooser", () => {}); // intercept file choosers before the first key press
  page.setDefaultTimeout(60_000);
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page);

  await to(page.getByLabel("Choose pictures"));
  await chooseFiles(page, "Enter", [picture("one.png", 1), picture("two.png", 2)]);
  await expect(results(page)).toHaveCount(2, SLOW);
  await expectFocusKept();
  await to(results(page).first());
  await page.keyboard.press("ArrowRight");
  await expect(results(page).nth(1)).toBeFocused();
  await expectFocusKept();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toMatch(/^\s*two\.png.+\d+\.\d %/);

  for (const [name, seeds] of /** @type {[string, number[]][]} */ ([["stripes", [1, 2, 3]], ["others", [4, 5, 6]]])) {
    await to(button(page, "Add class"));
    await page.keyboard.press("Enter");
    await expect(page.getByLabel("Class name").last()).toBeFocused();
    await expectFocusKept();
    await page.keyboard.type(name);
    await page.keyboard.press("Enter");
    await expect(page.getByLabel(`Add pictures to ${name}`, { exact: true })).toBeFocused();
    await chooseFiles(page, "Space", seeds.map((seed) => picture(`${name}-${seed}.png`, seed)));
    await expect(page.getByRole("group", { name, exact: true })).toContainText("3 pictures");
    await expectFocusKept();
  }
  await expect(page.getByText(/^Computing latents/)).toHaveCount(0, SLOW);

  await to(button(training(page), "Train"));
  await page.keyboard.press("Enter");
  await expect(training(page).getByText(/^Validation accuracy \d/)).toBeVisible(SLOW);
  await expect(button(training(page), "Train")).toBeFocused();
  await expectFocusKept();
  await expect(status(page)).toContainText("two classes");

  await to(button(page, "Save head"));
  expect(await pressForDownload(page)).toBe("head.safetensors");
  await expectFocusKept();
  await to(button(page, "Save project"));
  expect(await pressForDownload(page)).toBe("my classes.zip");
  await expect(button(page, "Save project")).toBeFocused();
  await expectFocusKept();
  console.log(`${stops} Tab stops`);
});

// ---- screen reader ----

/** Records all texts of live regions, and the labels of visible progress bars. @param {Page} page */
async function recordAnnouncements(page) {
  await page.addInitScript(() => {
    /** @type {string[]} */
    const announced = [];
    Reflect.set(window, "announced", announced);
    const record = () => {
      const texts = [...document.querySelectorAll("[aria-live=polite], [role=status]")].map((element) => `${element.id}: ${element.textContent}`);
      const bars = [...document.querySelectorAll("progress")].filter((bar) => bar.checkVisibility()).map((bar) => `bar: ${bar.getAttribute("aria-label")}`);
      for (const text of [...texts, ...bars]) if (!announced.includes(text)) announced.push(text);
    };
    new MutationObserver(record).observe(document, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["hidden", "value"] });
  });
}

/** @param {Page} page @param {string | RegExp} text */
async function expectAnnounced(page, text) {
  await expect.poll(() => page.evaluate(() => /** @type {string[]} */ (Reflect.get(window, "announced"))), SLOW)
    .toContainEqual(typeof text === "string" ? text : expect.stringMatching(text));
}

test("live regions announce the progress and results of loading, classification and training", async ({ page }) => {
  await recordAnnouncements(page);
  await open(page);
  await expectAnnounced(page, "bar: Loading the network");
  await expectAnnounced(page, /^announcer: (Downloading the network, \d+ percent|Almost ready)$/);
  await expectAnnounced(page, "announcer: The network is ready on the CPU");

  await page.getByLabel("Choose pictures").setInputFiles([picture("alone.png", 1)]);
  await expectAnnounced(page, /^announcer: alone\.png (looks like|is unsure, perhaps) \w+, \d+\.\d percent sure$/);
  await button(page, "Clear").click();
  await page.getByLabel("Choose pictures").setInputFiles([...[1, 2, 3, 4, 5, 6, 7, 8].map((seed) => picture(`p${seed}.png`, seed)), BROKEN]);
  await expectAnnounced(page, "bar: Pictures classified");
  await expectAnnounced(page, /^announcer: So far \d of 9 pictures/);
  await expectAnnounced(page, "announcer: Done: 9 of 9 pictures, 1 could not be read");
  await expect(page.getByRole("list", { name: "Results" })).toMatchAriaSnapshot(`
    - list "Results":
      - listitem:
        - heading "p1.png" [level=3]
        - paragraph: /\\w+ \\d+\\.\\d %/
  `);
  await expect(results(page).last()).toMatchAriaSnapshot(`
    - listitem:
      - heading "nothing.png" [level=3]
      - alert: /empty/
  `);

  await teach(page, "cat", [1, 2, 3, 4].map((seed) => picture(`cat-${seed}.png`, seed)));
  await expectAnnounced(page, "bar: Latents computed");
  await expectAnnounced(page, "announcer: Computed latents of 4 pictures");
  await trainTenClasses(page);
  await expectAnnounced(page, "announcer: Training");
  await expectAnnounced(page, "bar: Epochs done");
  await expectAnnounced(page, /^announcer: Training is done\. Validation accuracy \d+\.\d %/);
});

// ---- narrow screens and large text ----

/** Opens everything that the page can show at once. @param {Page} page */
async function showEverything(page) {
  await open(page);
  await classifyTwo(page);
  await page.getByText("Details", { exact: true }).click();
  await teach(page, "a class with quite a long name of its own", [picture("one.png", 1), picture(`${"a-long-name-".repeat(8)}.png`, 2)]);
  await teach(page, "dog", [picture("three.png", 3)]);
  await trainTenClasses(page);
  await training(page).getByText("Settings", { exact: true }).click();
  await training(page).getByText("Epochs as a table").click();
  await page.getByRole("table", { name: "Confusion matrix", exact: true }).getByRole("button", { name: /^[1-9]\d* pictures? of cat classified as dog$/ }).click();
  await drawMap(page);
  await compareModels(page);
  await gallery(page).getByRole("option").first().click();
}

/** Clipped texts, overlapping buttons in one row, and horizontal overflow of the page. @param {Page} page @returns {Promise<string[]>} */
function layoutProblems(page) {
  return page.evaluate(() => {
    const problems = [];
    const root = document.documentElement;
    if (root.scrollWidth !== root.clientWidth) problems.push(`the page is ${root.scrollWidth} pixels wide, the viewport ${root.clientWidth}`);
    /** Whether the element is only for screen readers. @param {Element | null} element @returns {boolean} */
    const isVisuallyHidden = (element) => Boolean(element) && (getComputedStyle(/** @type {Element} */ (element)).clipPath === "inset(50%)" || isVisuallyHidden(/** @type {Element} */ (element).parentElement));
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const parent = text.parentElement;
      if (!text.textContent?.trim() || !parent?.checkVisibility() || parent.closest("option, .skip") || isVisuallyHidden(parent)) continue;
      const range = document.createRange();
      range.selectNodeContents(text);
      const { left, right, width } = range.getBoundingClientRect();
      if (!width) continue;
      for (let box = /** @type {Element | null} */ (parent); box; box = box.parentElement) {
        const { overflowX, textOverflow, webkitLineClamp } = getComputedStyle(box);
        if (overflowX === "auto" || overflowX === "scroll" || textOverflow === "ellipsis" || webkitLineClamp !== "none") break;
        const edge = box.getBoundingClientRect();
        if ((overflowX !== "visible" || box === document.body) && (left < edge.left - 1 || right > edge.right + 1)) {
          problems.push(`"${text.textContent.trim().slice(0, 60)}" is clipped by ${box.className || box.tagName}`);
          break;
        }
      }
    }
    const rows = document.querySelectorAll(".pickers, .tools, .bar, .top, .teach-tools, .class-head, .class-actions, .gallery-bar, .actions, .card-actions, .panel-row, .panel-form");
    for (const row of rows) {
      const all = [...row.querySelectorAll("button, label.button, select, summary, a")].filter((one) => one.checkVisibility() && !one.closest("details:not([open]) > :not(summary)"));
      for (const [at, one] of all.entries()) {
        for (const other of all.slice(at + 1)) {
          const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
          const over = Math.min(Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
          if (over > 1 && !one.contains(other)) problems.push(`"${one.textContent}" overlaps "${other.textContent}"`);
        }
      }
    }
    return [...new Set(problems)];
  });
}

/** Waits for resize observers and for the frames that they schedule. @param {Page} page */
async function renderedFrames(page) {
  for (let frame = 0; frame < 4; frame++) await page.evaluate(() => new Promise(requestAnimationFrame));
}

/** Checks that the main controls can be clicked. @param {Page} page */
async function expectClickable(page) {
  const controls = [
    page.locator("label", { has: page.locator("#files") }), button(page, "Cat"), button(page, "Add class"),
    page.locator("label", { has: page.getByLabel("Add pictures to dog", { exact: true }) }), button(training(page), "Train"), button(page, "Save head"), button(page, "Save project"),
  ];
  for (const control of controls) await control.click({ trial: true, timeout: 10_000 });
}

test("no text is clipped and nothing overlaps at 320 pixels, at 200 % zoom and with text twice as large", async ({ browser, baseURL }) => {
  const page = await browser.newPage({ baseURL, viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 });
  await showEverything(page);
  const cases = [
    { name: "200 %", width: 640, height: 400, fontSize: "" },
    { name: "320 pixels", width: 320, height: 640, fontSize: "" },
    { name: "large text", width: 1280, height: 800, fontSize: "200%" },
  ];
  /** @type {string[]} */
  const problems = [];
  for (const { name, width, height, fontSize } of cases) {
    await page.setViewportSize({ width, height });
    await page.evaluate((fontSize) => void (document.documentElement.style.fontSize = fontSize), fontSize);
    for (const layout of ["Grid", "Cards"]) {
      await page.getByRole("radio", { name: layout }).check();
      await expect(page.getByRole("list", { name: "Results" })).toHaveClass(layout.toLowerCase());
      await renderedFrames(page);
      problems.push(...(await layoutProblems(page)).map((problem) => `${name}, ${layout}: ${problem}`));
    }
    await page.getByLabel("More for dog").click();
    await expect(page.locator(".menu[open] .menu-items")).toBeVisible();
    problems.push(...(await layoutProblems(page)).map((problem) => `${name}, menu: ${problem}`));
    await page.keyboard.press("Escape");
    await expectClickable(page);
  }
  await page.close();
  expect(problems).toEqual([]);
});
