// @ts-check
/** For everybody: by keys alone, by ear, in light and dark, on a narrow screen and with large type. */
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { stripes } from "./pictures.js";

/** @typedef {import("@playwright/test").Page} Page */
/** @typedef {import("@playwright/test").Locator} Locator */
/** @typedef {{ name: string, mimeType: string, buffer: Buffer }} Upload */

const PATIENT = { timeout: 90_000 };
const SCHEMES = /** @type {const} */ (["light", "dark"]);

test.setTimeout(240_000);

// ---- the page, in the words of these tests ----

/** @param {Page} page */
const status = (page) => page.locator("#status");
/** @param {Page} page */
const results = (page) => page.getByRole("list", { name: "Results" }).getByRole("listitem");
/** @param {Page} page */
const training = (page) => page.getByRole("region", { name: "Training", exact: true });
/** @param {Page} page */
const judged = (page) => page.getByRole("region", { name: "Evaluation" });
/** @param {Page} page */
const gallery = (page) => page.getByRole("listbox", { name: "Pictures of the classes" });
/** @param {Page} page */
const ways = (page) => page.getByRole("region", { name: "Three ways" });
/** @param {Page} page */
const message = (page) => page.getByRole("region", { name: "Message" });
/** @param {Page | Locator} place @param {string} name */
const button = (place, name) => place.getByRole("button", { name, exact: true });

/** @param {string} name @param {number} seed @returns {Upload} */
const picture = (name, seed) => ({ name, mimeType: "image/png", buffer: stripes(seed) });
/** @type {Upload} */
const BROKEN = { name: "nothing.png", mimeType: "image/png", buffer: Buffer.alloc(0) };

/** CIFAR-10's form, three classes by their colour. @param {string} name @param {number} count @returns {Upload} */
function batch(name, count) {
  const records = Array.from({ length: count }, (_, i) => Buffer.from([i % 3, ...Array.from({ length: 3072 }, (_, at) => (Math.floor(at / 1024) === i % 3 ? 200 - i : at % 90))]));
  return { name, mimeType: "application/octet-stream", buffer: Buffer.concat(records) };
}

/** @param {Page} page */
async function open(page) {
  await page.goto("?device=cpu");
  await expect(status(page)).toHaveText(/^Ready/, PATIENT);
}

/** @param {Page} page @param {string} name @param {Upload[]} files */
async function teach(page, name, files) {
  await button(page, "Add class").click();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByLabel(`Add pictures to ${name}`, { exact: true }).setInputFiles(files);
  await expect(page.getByRole("group", { name, exact: true })).toContainText(/\d picture/);
}

/** Cards with an answer, and one without. @param {Page} page */
async function ask(page) {
  await page.getByLabel("Choose pictures").setInputFiles([picture("stripes.png", 1), BROKEN]);
  await expect(results(page)).toHaveCount(2, PATIENT);
}

/** @param {Page} page */
async function trainTen(page) {
  await button(page, "Ten-class latents").click();
  await expect(training(page)).toContainText(/1[0-2] classes/, PATIENT);
  await button(training(page), "Train").click();
  await expect(training(page).getByText(/^Validation accuracy \d/)).toBeVisible(PATIENT);
}

/** The MLP and the CNN, which need no latents. @param {Page} page */
async function compare(page) {
  const set = [batch("data_batch_1.bin", 18), batch("test_batch.bin", 9), { name: "batches.meta.txt", mimeType: "text/plain", buffer: Buffer.from("red\ngreen\nblue\n") }];
  await page.getByLabel("Choose CIFAR-10 files").setInputFiles(set);
  await expect(ways(page)).toContainText("18 pictures of three classes to train on", PATIENT);
  await ways(page).getByRole("checkbox", { name: /^Inception transfer/ }).uncheck();
  await ways(page).getByText("Options", { exact: true }).click();
  await ways(page).getByLabel("Epochs").first().fill("1");
  await ways(page).getByLabel("Epochs").first().blur();
  await button(ways(page), "Compare").click();
  await expect(page.getByRole("table", { name: "Comparison", exact: true }).getByRole("rowheader")).toHaveText(["MLP", "CNN"], PATIENT);
  await expect(button(ways(page), "Compare")).toBeVisible(PATIENT);
}

/** @param {Page} page */
async function drawMap(page) {
  await button(page, "Draw map").click();
  await expect(page.getByRole("application")).toBeVisible(PATIENT);
}

// ---- by the rules ----

/** @param {Page} page @param {string} view @param {string[]} parts @returns {Promise<string[]>} what an accessibility checker finds wrong, in light and dark */
async function findings(page, view, ...parts) {
  const found = [];
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations, passes } = await parts.reduce((axe, part) => axe.include(part), new AxeBuilder({ page })).analyze();
    expect(passes.length).toBeGreaterThan(5);
    found.push(...violations.flatMap(({ id, impact, nodes }) => nodes.map(({ html }) => `${view}, ${colorScheme}: ${impact} ${id} in ${html}`)));
  }
  return found;
}

test("an accessibility checker finds nothing wrong in any view, light or dark", async ({ page }) => {
  /** @type {string[]} */
  const wrong = [];
  let views = 0;
  const check = async (/** @type {string} */ view, /** @type {string[]} */ ...parts) => {
    views++;
    wrong.push(...await findings(page, view, ...parts));
  };
  await open(page);
  await check("start");
  await page.getByText("Details", { exact: true }).click();
  await expect(page.locator("#storage")).not.toBeEmpty();
  await page.getByLabel("Base", { exact: true }).selectOption("From a URL");
  await check("details and base", ".engine");
  await ask(page);
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

  await trainTen(page);
  await expect(message(page)).toContainText("Added 5,000 pictures");
  await check("toast", ".toast");
  await training(page).getByText("Settings", { exact: true }).click();
  await training(page).getByText("Epochs as a table").click();
  await page.getByRole("table", { name: "Confusion matrix", exact: true }).getByRole("button", { name: /^[1-9]\d* pictures? of cat answered as dog$/ }).click();
  await check("training and confusion matrix", "#train");
  await judged(page).getByRole("spinbutton").fill("2");
  await judged(page).getByRole("spinbutton").blur();
  await button(judged(page), "Cross-validate").click();
  await expect(judged(page)).toContainText("each evaluated by a head that was not trained on it", PATIENT);
  await check("cross-validation", "#train-evaluation");
  await drawMap(page);
  await check("map", "#train-map");
  await results(page).first().getByRole("button", { name: /^Why/ }).click();
  await expect(page.getByRole("dialog").getByText(/^Bright areas show the evidence for /)).toBeVisible(PATIENT);
  await check("reasons", "dialog[open]");
  await page.keyboard.press("Escape");

  await compare(page);
  await check("three ways", "#compare");
  await page.goto("bench.html");
  await expect(button(page, "Measure")).toBeEnabled();
  await check("bench");
  console.log(`${views} views, each light and dark`);
  expect(wrong).toEqual([]);
});

// ---- by keys alone ----

/** What is wrong with the place that the keys have reached; nothing, if it can be seen. @param {Page} page @returns {Promise<string | null>} */
function lost(page) {
  return page.evaluate(() => {
    const active = document.activeElement;
    if (!active || active === document.body) return "the focus is lost";
    const shows = (/** @type {Element | null} */ element) => {
      if (!element) return false;
      const { outlineStyle, outlineWidth, opacity } = getComputedStyle(element);
      return opacity !== "0" && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    };
    const name = active.getAttribute("aria-label") || active.textContent || active.id;
    if (!active.matches(":focus-visible") || !(shows(active) || shows(active.closest("label")))) return `the focus on ${name} is not seen`;
    const { top, bottom, left, right } = active.getBoundingClientRect();
    if (bottom <= 0 || top >= innerHeight || right <= 0 || left >= innerWidth) return `${name} has the focus out of sight`;
    return null;
  });
}

/** Tab, or Shift and Tab where it lies behind, until it has the focus, which is seen all the way. @param {Page} page @param {Locator} target @returns {Promise<number>} the stops on the way */
async function walk(page, target) {
  const behind = await target.evaluate((element) => Boolean(document.activeElement?.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_PRECEDING) && document.activeElement !== document.body);
  for (let stops = 1; stops < 120; stops++) {
    await page.keyboard.press(behind ? "Shift+Tab" : "Tab");
    expect(await lost(page)).toBeNull();
    if (await target.evaluate((element) => element === document.activeElement)) return stops;
  }
  throw new Error(`the keys never reached ${target}`);
}

/** @param {Page} page @param {string} key @param {Upload[]} files */
async function answerChooser(page, key, files) {
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press(key)]);
  await chooser.setFiles(files);
}

/** @param {Page} page */
async function pressForFile(page) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Enter")]);
  return download.suggestedFilename();
}

test("pictures are classified, classes made, trained and saved by keys alone, and the focus is always seen", async ({ page }) => {
  let stops = 0;
  const to = async (/** @type {Locator} */ target) => (stops += await walk(page, target));
  const kept = () => expect(page.locator("body:focus")).toHaveCount(0);
  page.on("filechooser", () => {}); // heard of from the start, so that no key is faster
  page.setDefaultTimeout(60_000);
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page);

  await to(page.getByLabel("Choose pictures"));
  await answerChooser(page, "Enter", [picture("one.png", 1), picture("two.png", 2)]);
  await expect(results(page)).toHaveCount(2, PATIENT);
  await kept();
  await to(results(page).first());
  await page.keyboard.press("ArrowRight");
  await expect(results(page).nth(1)).toBeFocused();
  await kept();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toMatch(/^\s*two\.png.+\d+\.\d %/);

  for (const [name, seeds] of /** @type {[string, number[]][]} */ ([["stripes", [1, 2, 3]], ["others", [4, 5, 6]]])) {
    await to(button(page, "Add class"));
    await page.keyboard.press("Enter");
    await expect(page.getByLabel("Class name").last()).toBeFocused();
    await kept();
    await page.keyboard.type(name);
    await page.keyboard.press("Enter");
    await expect(page.getByLabel(`Add pictures to ${name}`, { exact: true })).toBeFocused();
    await answerChooser(page, "Space", seeds.map((seed) => picture(`${name}-${seed}.png`, seed)));
    await expect(page.getByRole("group", { name, exact: true })).toContainText("3 pictures");
    await kept();
  }
  await expect(page.getByText(/^Computing latents/)).toHaveCount(0, PATIENT);

  await to(button(training(page), "Train"));
  await page.keyboard.press("Enter");
  await expect(training(page).getByText(/^Validation accuracy \d/)).toBeVisible(PATIENT);
  await expect(button(training(page), "Train")).toBeFocused();
  await kept();
  await expect(status(page)).toContainText("two classes");

  await to(button(page, "Save head"));
  expect(await pressForFile(page)).toBe("head.safetensors");
  await kept();
  await to(button(page, "Save project"));
  expect(await pressForFile(page)).toBe("my classes.zip");
  await expect(button(page, "Save project")).toBeFocused();
  await kept();
  console.log(`${stops} stops on the way`);
});

// ---- by ear ----

/** From now on remembers what is said, and how the bars of progress are called. @param {Page} page */
async function listen(page) {
  await page.addInitScript(() => {
    /** @type {string[]} */
    const heard = [];
    Reflect.set(window, "heard", heard);
    const hear = () => {
      const said = [...document.querySelectorAll("[aria-live=polite], [role=status]")].map((place) => `${place.id}: ${place.textContent}`);
      const bars = [...document.querySelectorAll("progress")].filter((bar) => bar.checkVisibility()).map((bar) => `bar: ${bar.getAttribute("aria-label")}`);
      for (const words of [...said, ...bars]) if (!heard.includes(words)) heard.push(words);
    };
    new MutationObserver(hear).observe(document, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["hidden", "value"] });
  });
}

/** @param {Page} page @param {string | RegExp} words */
async function expectHeard(page, words) {
  await expect.poll(() => page.evaluate(() => /** @type {string[]} */ (Reflect.get(window, "heard"))), PATIENT)
    .toContainEqual(typeof words === "string" ? words : expect.stringMatching(words));
}

test("a screen reader is told what comes of loading, of pictures and of training", async ({ page }) => {
  await listen(page);
  await open(page);
  await expectHeard(page, "bar: Loading the network");
  await expectHeard(page, /^announcer: (Downloading the network, \d+ percent|Almost ready)$/);
  await expectHeard(page, "announcer: The network is ready on the CPU");

  await page.getByLabel("Choose pictures").setInputFiles([picture("alone.png", 1)]);
  await expectHeard(page, /^announcer: alone\.png (looks like|is unsure, perhaps) \w+, \d+\.\d percent sure$/);
  await button(page, "Clear").click();
  await page.getByLabel("Choose pictures").setInputFiles([...[1, 2, 3, 4, 5, 6, 7, 8].map((seed) => picture(`p${seed}.png`, seed)), BROKEN]);
  await expectHeard(page, "bar: Pictures classified");
  await expectHeard(page, /^announcer: So far \d of 9 pictures/);
  await expectHeard(page, "announcer: Done: 9 of 9 pictures, 1 could not be read");
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
  await expectHeard(page, "bar: Latents computed");
  await expectHeard(page, "announcer: Computed latents of 4 pictures");
  await trainTen(page);
  await expectHeard(page, "announcer: Training");
  await expectHeard(page, "bar: Epochs done");
  await expectHeard(page, /^announcer: Training is done\. Validation accuracy \d+\.\d %/);
});

// ---- narrow, and large ----

/** Everything that the page can show, one under the other. @param {Page} page */
async function everything(page) {
  await open(page);
  await ask(page);
  await page.getByText("Details", { exact: true }).click();
  await teach(page, "a class with quite a long name of its own", [picture("one.png", 1), picture(`${"a-long-name-".repeat(8)}.png`, 2)]);
  await teach(page, "dog", [picture("three.png", 3)]);
  await trainTen(page);
  await training(page).getByText("Settings", { exact: true }).click();
  await training(page).getByText("Epochs as a table").click();
  await page.getByRole("table", { name: "Confusion matrix", exact: true }).getByRole("button", { name: /^[1-9]\d* pictures? of cat answered as dog$/ }).click();
  await drawMap(page);
  await compare(page);
  await gallery(page).getByRole("option").first().click();
}

/** Words that reach over the edge of what shows them, and buttons of one row that lie on each other. @param {Page} page @returns {Promise<string[]>} */
function crowded(page) {
  return page.evaluate(() => {
    const wrong = [];
    const root = document.documentElement;
    if (root.scrollWidth !== root.clientWidth) wrong.push(`the page is ${root.scrollWidth} wide in ${root.clientWidth}`);
    /** Hidden from the eye alone. @param {Element | null} element @returns {boolean} */
    const isUnseen = (element) => Boolean(element) && (getComputedStyle(/** @type {Element} */ (element)).clipPath === "inset(50%)" || isUnseen(/** @type {Element} */ (element).parentElement));
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const parent = text.parentElement;
      if (!text.textContent?.trim() || !parent?.checkVisibility() || parent.closest("option, .skip") || isUnseen(parent)) continue;
      const range = document.createRange();
      range.selectNodeContents(text);
      const { left, right, width } = range.getBoundingClientRect();
      if (!width) continue;
      for (let box = /** @type {Element | null} */ (parent); box; box = box.parentElement) {
        const { overflowX, textOverflow, webkitLineClamp } = getComputedStyle(box);
        if (overflowX === "auto" || overflowX === "scroll" || textOverflow === "ellipsis" || webkitLineClamp !== "none") break;
        const edge = box.getBoundingClientRect();
        if ((overflowX !== "visible" || box === document.body) && (left < edge.left - 1 || right > edge.right + 1)) {
          wrong.push(`"${text.textContent.trim().slice(0, 60)}" is cut off by ${box.className || box.tagName}`);
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
          if (over > 1 && !one.contains(other)) wrong.push(`"${one.textContent}" lies on "${other.textContent}"`);
        }
      }
    }
    return [...new Set(wrong)];
  });
}

/** The mouse would reach them. @param {Page} page */
async function expectWithinReach(page) {
  const controls = [
    page.locator("label", { has: page.locator("#files") }), button(page, "Cat"), button(page, "Add class"),
    page.locator("label", { has: page.getByLabel("Add pictures to dog", { exact: true }) }), button(training(page), "Train"), button(page, "Save head"), button(page, "Save project"),
  ];
  for (const control of controls) await control.click({ trial: true, timeout: 10_000 });
}

test("nothing is cut off, nor wider than the page: at 320 pixels, at 200 percent, and with type twice as large", async ({ browser, baseURL }) => {
  const page = await browser.newPage({ baseURL, viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 });
  await everything(page);
  const cases = [
    { what: "200 %", width: 640, height: 400, type: "" },
    { what: "320 pixels", width: 320, height: 640, type: "" },
    { what: "large type", width: 1280, height: 800, type: "200%" },
  ];
  /** @type {string[]} */
  const wrong = [];
  for (const { what, width, height, type } of cases) {
    await page.setViewportSize({ width, height });
    await page.evaluate((type) => void (document.documentElement.style.fontSize = type), type);
    await page.waitForTimeout(300); // the gallery and the map are drawn anew
    for (const layout of ["Grid", "Cards"]) {
      await page.getByRole("radio", { name: layout }).check();
      wrong.push(...(await crowded(page)).map((words) => `${what}, ${layout}: ${words}`));
    }
    await page.getByLabel("More for dog").click();
    wrong.push(...(await crowded(page)).map((words) => `${what}, menu: ${words}`));
    await page.keyboard.press("Escape");
    await expectWithinReach(page);
  }
  await page.close();
  expect(wrong).toEqual([]);
});
