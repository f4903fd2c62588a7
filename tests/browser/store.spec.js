// The project value, its storage in IndexedDB, and saved projects as .zip files.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { fuzzProjects } from "../fuzz/project.js";

/** A file of the site that runs no script. */
const BLANK = "style.css";
const FINGERPRINT = "ab".repeat(32);

/** Helpers that run inside the page. */
const helpers = `
  self.hex = (n) => n.toString(16).padStart(64, "0");
  self.bytes = (n, size) => Uint8Array.from({ length: size }, (_, i) => (n * 31 + i * 7) & 255);
  self.file = (n, size = 40) => new File([bytes(n, size)], "p" + n + ".jpg", { type: "image/jpeg" });
  self.newPicture = (n, size) => ({ name: "folder/p" + n + ".jpg", hash: hex(n), file: file(n, size) });
  self.embeddedOf = (n) => ({
    latents: Float32Array.from({ length: 2048 }, (_, i) => n + i / 2048), width: 40 + n, height: 30,
    thumbnail: bytes(n, 9),
  });
  self.runOf = (id) => ({
    id, at: 1700000000000 + id, name: "run " + id, head: bytes(id, 20),
    report: { settings: { seed: id }, classes: [{ name: "cat", pictures: 2 }], pictures: 2, epochs: [], bestEpoch: 1, end: "finished", seconds: 1, evaluation: null },
  });
  // Converts Blobs, stored files and typed arrays to comparable values.
  self.plain = async (value) => {
    if (typeof value?.open === "function") return plain(await value.open());
    if (value instanceof Blob) return { type: value.type, bytes: [...new Uint8Array(await value.arrayBuffer())].join() };
    if (ArrayBuffer.isView(value)) return value.constructor.name + " " + [...value].join();
    if (value instanceof Map) return plain(Object.fromEntries(value));
    if (Array.isArray(value)) return Promise.all(value.map(plain));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(await Promise.all(Object.keys(value).sort().map(async (key) => [key, await plain(value[key])])));
  };
  self.failure = (promise) => promise.then(() => "no error", (error) => ({ kind: error.kind, message: error.message }));
  // A stub that stores latents as raw rows, not as safetensors.
  self.engineOf = (kept, fingerprint = "ab".repeat(32)) => {
    const rows = kept ? kept.project.pictures.filter(({ hash }) => kept.embedded.has(hash)) : [];
    return {
      fingerprint, base: { name: "stub" }, dataset: { count: rows.length },
      exportLatents: async () => new Blob(rows.map(({ hash }) => kept.embedded.get(hash).latents)),
      readLatents: async ([file]) => {
        const latents = new Float32Array(await file.arrayBuffer());
        return [{ classes: [], names: Array(latents.length / 2048).fill(""), labels: new Uint32Array(), latents, notice: null }];
      },
    };
  };
`;

test.beforeEach(async ({ page, context }) => {
  await context.addInitScript({ content: helpers });
  await page.goto(BLANK);
});

test("every operation returns a new project and leaves its argument unchanged", async ({ page }) => {
  const result = await page.evaluate(async () => {
    const p = await import("/project/project.js");
    const show = ({ classes, pictures, nextId }) => [
      classes.map(({ id, name }) => `${id} ${name}`).join(", "), pictures.map(({ id, label, hash }) => `${id}:${label}:${Number.parseInt(hash, 16)}`).join(" "), nextId,
    ];
    const errorOf = (work) => {
      try {
        work();
        return "no error";
      } catch (error) {
        return error.message;
      }
    };
    let one = p.addClass(p.emptyProject).project; // 1
    one = p.addClass(one, " cat ").project; // 2
    const added = p.addPictures(one, 1, [newPicture(7), newPicture(8), newPicture(7)]);
    const two = p.addPictures(added.project, 2, [newPicture(8), newPicture(9)]).project;
    const before = JSON.stringify(two);
    const moved = p.relabel(two, [3, 4, 99], 2);
    const facts = {
      added: [added.ids, added.duplicates, show(two)],
      "adding a duplicate": p.addPictures(two, 1, [newPicture(7)]).project === two,
      named: (({ project, ids, duplicates }) => [show(project), ids, duplicates])(
        p.addNamed(two, ["dog", "cat"], [{ ...newPicture(1), className: "dog" }, { ...newPicture(9), className: "cat" }, { ...newPicture(1), className: "fox" }]),
      ),
      renamed: show(p.renameClass(two, 1, "dog")),
      "letter case counts": show(p.renameClass(two, 1, "Cat")),
      "the same name": p.renameClass(two, 2, "cat ") === two,
      merged: show(p.mergeClasses(two, 1, 2)),
      "moved first": show(p.moveClass(two, 2, 0)),
      "moved far": show(p.moveClass(two, 1, 99)),
      "moved nowhere": p.moveClass(two, 1, 0) === two,
      removed: show(p.removeClass(two, 1)),
      relabelled: show(moved),
      "others stay the same objects": moved.pictures.at(-1) === two.pictures.at(-1),
      "without pictures": show(p.removePictures(two, [3, 5])),
      "removing none": p.removePictures(two, [77]) === two,
      grouped: [...p.byClass(p.addClass(two, "none").project)].map(([id, pictures]) => [id, pictures.length]),
      "grouped once": p.byClass(two) === p.byClass(two),
      "first free name": p.addClass(p.removeClass(p.addClass(p.addClass(p.emptyProject).project).project, 1)).project.classes.at(-1).name,
      hash: [await p.hashOf(new Blob(["abc"])), await p.hashOf(new TextEncoder().encode("abc"))],
      empty: errorOf(() => p.addClass(two, "  ")),
      taken: errorOf(() => p.renameClass(two, 1, "cat")),
      gone: errorOf(() => p.addPictures(two, 77, [newPicture(1)])),
    };
    const large = p.addPictures(one, 1, Array.from({ length: 10_000 }, (_, n) => newPicture(n, 1))).project;
    const start = performance.now();
    p.byClass(p.addPictures(p.mergeClasses(large, 1, 2), 2, [newPicture(10_001)]).project);
    return { facts, unchanged: JSON.stringify(two) === before, milliseconds: performance.now() - start };
  });
  const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  expect(result.facts).toEqual({
    added: [[3, 4], 1, ["1 Class 1, 2 cat", "3:1:7 4:1:8 5:2:8 6:2:9", 7]],
    "adding a duplicate": true,
    named: [["1 Class 1, 2 cat, 7 dog, 8 fox", "3:1:7 4:1:8 5:2:8 6:2:9 9:7:1 10:8:1", 11], [9, 10], 1],
    renamed: ["1 dog, 2 cat", "3:1:7 4:1:8 5:2:8 6:2:9", 7],
    "letter case counts": ["1 Cat, 2 cat", "3:1:7 4:1:8 5:2:8 6:2:9", 7],
    "the same name": true,
    merged: ["2 cat", "3:2:7 5:2:8 6:2:9", 7],
    "moved first": ["2 cat, 1 Class 1", "3:1:7 4:1:8 5:2:8 6:2:9", 7],
    "moved far": ["2 cat, 1 Class 1", "3:1:7 4:1:8 5:2:8 6:2:9", 7],
    "moved nowhere": true,
    removed: ["2 cat", "5:2:8 6:2:9", 7],
    relabelled: ["1 Class 1, 2 cat", "3:2:7 5:2:8 6:2:9", 7],
    "others stay the same objects": true,
    "without pictures": ["1 Class 1, 2 cat", "4:1:8 6:2:9", 7],
    "removing none": true,
    grouped: [[1, 2], [2, 2], [7, 0]],
    "grouped once": true,
    "first free name": "Class 1",
    hash: [abc, abc],
    empty: "class: the name is empty; enter at least one character",
    taken: 'class: "cat" already exists; choose another name, or merge the two classes',
    gone: "class: no class with id 77; it was removed",
  });
  expect(result.unchanged).toBe(true);
  expect(result.milliseconds).toBeLessThan(500);
});

test("a reload restores the project, its order and the head in use", async ({ page }) => {
  const saved = await page.evaluate(async (fingerprint) => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    const store = await openStore();
    const first = await plain(await store.load(fingerprint));
    let project = p.addClass(p.emptyProject, "cat").project;
    project = p.addClass(project, "dog").project;
    project = p.addPictures(project, 2, [newPicture(5), newPicture(4), newPicture(3)]).project;
    project = p.addPictures(project, 1, [newPicture(4), { name: "row", hash: hex(9), file: null }]).project;
    const handWritten = { ...project, pictures: project.pictures.toReversed() };
    const embedded = new Map([3, 4, 9].map((n) => [hex(n), embeddedOf(n)]));
    await store.saveEmbedded(fingerprint, embedded);
    await store.saveEmbedded("cd".repeat(32), new Map([[hex(5), embeddedOf(55)]]));
    await store.saveProject(p.emptyProject, handWritten);
    await store.saveRun(runOf(1));
    await store.saveRun(runOf(2));
    await store.saveHead({ run: 2 });
    const found = await store.findEmbedded(fingerprint, [hex(3), hex(5), hex(77)]);
    return { first, found: [...found.keys()], kept: await plain({ project: handWritten, embedded, runs: [runOf(1), runOf(2)], runInUse: 2, head: null }) };
  }, FINGERPRINT);
  expect(saved.first).toEqual({ project: { name: "my classes", classes: [], pictures: [], nextId: 1 }, embedded: {}, runs: [], runInUse: null, head: null });
  expect(saved.found).toEqual(["3".padStart(64, "0")]);
  await page.reload();
  const loaded = await page.evaluate(async (fingerprint) => {
    const { openStore } = await import("/project/store.js");
    const store = await openStore();
    const kept = await store.load(fingerprint);
    const here = await plain(kept);
    await store.removeRun(2);
    const without = await plain(await store.load("cd".repeat(32)));
    // sweep() deletes latents of removed pictures and keeps those of other bases.
    const { removePictures } = await import("/project/project.js");
    const same = (await store.load(fingerprint)).project === kept.project;
    const fewer = removePictures(kept.project, kept.project.pictures.filter(({ hash }) => hash === hex(3)).map(({ id }) => id));
    await store.saveProject(kept.project, fewer);
    await store.sweep();
    const left = [...(await store.findEmbedded(fingerprint, [hex(3), hex(4)])).keys(), ...(await store.findEmbedded("cd".repeat(32), [hex(5)])).keys()];
    await store.replace(fingerprint, { ...kept, project: fewer, runInUse: null, head: bytes(3, 5) });
    return { here, without, same, left, again: await plain(await (await openStore()).load(fingerprint)), fewer: await plain(fewer), usage: await store.usage() };
  }, FINGERPRINT);
  expect(loaded.here).toEqual(saved.kept);
  expect(loaded.without).toMatchObject({ runInUse: null, head: saved.kept.runs[1].head, runs: [{ id: 1 }] });
  expect(Object.keys(loaded.without.embedded)).toEqual(["5".padStart(64, "0")]);
  expect(loaded.same).toBe(true);
  expect(loaded.left).toEqual(["4", "5"].map((n) => n.padStart(64, "0")));
  expect(loaded.again).toMatchObject({ project: loaded.fewer, runInUse: null, head: "Uint8Array 93,100,107,114,121" });
  expect(loaded.usage.used).toBeGreaterThan(0);
});

test("a save writes only changes, saves run in order, and the next save repairs a failed one", async ({ page }) => {
  const result = await page.evaluate(async () => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    const store = await openStore();
    await store.load("x");
    const written = [];
    for (const method of ["put", "delete"]) {
      const real = IDBObjectStore.prototype[method];
      IDBObjectStore.prototype[method] = function (...args) {
        written.push(`${method} ${this.name}`);
        return real.apply(this, args);
      };
    }
    const count = () => Object.fromEntries([...Map.groupBy(written.splice(0), (each) => each)].map(([each, all]) => [each, all.length]));
    const zero = p.addClass(p.addClass(p.emptyProject, "a").project, "b").project;
    const one = p.addPictures(zero, 1, Array.from({ length: 300 }, (_, n) => newPicture(n))).project;
    const counts = [];
    await store.saveProject(p.emptyProject, one);
    counts.push(count());
    const two = p.relabel(one, [one.pictures[7].id], 2);
    await store.saveProject(one, two);
    counts.push(count());
    const three = p.renameClass(two, 1, "c");
    await store.saveProject(two, three);
    counts.push(count());
    const four = p.removePictures(three, [three.pictures[0].id]);
    await store.saveProject(three, four);
    counts.push(count());
    // A file that cannot be cloned makes the whole save fail.
    const broken = p.addPictures(p.addClass(four, "d").project, 1, [{ name: "x", hash: hex(999), file: () => {} }]).project;
    const failed = await failure(store.saveProject(four, broken));
    const mended = p.addPictures({ ...broken, pictures: four.pictures }, broken.classes.at(-1).id, [newPicture(1000)]).project;
    const late = Promise.all([store.saveProject(broken, mended), store.saveProject(mended, p.renameClass(mended, 2, "last"))]);
    await late;
    const kept = await (await openStore()).load("x");
    return { counts, failed, classes: kept.project.classes.map(({ name }) => name), pictures: kept.project.pictures.length };
  });
  expect(result.counts).toEqual([
    { "put state": 1, "put pictures": 300, "put files": 300 },
    { "put state": 1, "put pictures": 1 },
    { "put state": 1 },
    { "put state": 1, "delete pictures": 1, "delete files": 1 },
  ]);
  expect(result.failed).toMatchObject({ kind: "failed", message: expect.stringMatching(/^storage: saving or reading failed \(/) });
  expect(result.classes).toEqual(["c", "last", "d"]);
  expect(result.pictures).toBe(300);
});

test("an exceeded quota gives an error message and keeps the previous state", async ({ page, baseURL }) => {
  const cdp = await page.context().newCDPSession(page);
  const origin = new URL(baseURL ?? "").origin;
  // Set it before the first save, because the browser caches the remaining quota.
  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 2_000_000 });
  const project = await page.evaluate(async () => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    self.store = await openStore();
    await store.load("x");
    self.one = p.addPictures(p.addClass(p.emptyProject, "cat").project, 1, [newPicture(1), newPicture(2)]).project;
    await store.saveProject(p.emptyProject, one);
    return plain(one);
  });
  const result = await page.evaluate(async () => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    self.two = p.addPictures(one, 1, Array.from({ length: 100 }, (_, n) => newPicture(n + 10, 100_000))).project;
    const failed = await failure(store.saveProject(one, two));
    const latents = await failure(store.saveEmbedded("x", new Map(Array.from({ length: 1000 }, (_, n) => [hex(n), embeddedOf(n)]))));
    return { failed, latents, kept: await plain((await (await openStore()).load("x")).project) };
  });
  const message =
    /^storage: the browser's space for this page is full \(.* used.*\); your work stays open in this tab, save it with "Save project" or remove pictures$/;
  expect(result.failed).toEqual({ kind: "quota", message: expect.stringMatching(message) });
  expect(result.latents).toEqual({ kind: "quota", message: expect.stringMatching(message) });
  expect(result.kept).toEqual(project);
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  const after = await page.evaluate(async () => {
    await store.saveProject(one, two);
    const { openStore } = await import("/project/store.js");
    return (await (await openStore()).load("x")).project.pictures.length;
  });
  expect(after).toBe(102);
});

test("a crash during a save leaves the old or the new state, never a mixture", async ({ playwright, baseURL }) => {
  const profile = mkdtempSync(join(tmpdir(), "inception-web-"));
  const { launchOptions } = test.info().project.use;
  const open = async () => {
    const context = await playwright.chromium.launchPersistentContext(profile, { ...launchOptions, baseURL });
    await context.addInitScript({ content: helpers });
    const page = await context.newPage();
    await page.goto(BLANK);
    return { context, page };
  };
  try {
    for (const crashAfter of [0, 400, Infinity]) {
      const { context, page } = await open();
      await page.evaluate(async (fingerprint) => {
        const p = await import("/project/project.js");
        const { openStore } = await import("/project/store.js");
        self.store = await openStore();
        const before = (await store.load(fingerprint)).project;
        self.one = p.addPictures(p.addClass(p.emptyProject, "cat").project, 1, [newPicture(1), newPicture(2)]).project;
        await store.saveEmbedded(fingerprint, new Map([1, 2].map((n) => [hex(n), embeddedOf(n)])));
        await store.saveProject(before, one);
        const named = p.addNamed(p.removePictures(one, [2]), ["dog"], Array.from({ length: 1500 }, (_, n) => ({ ...newPicture(n + 10, 20_000), className: "dog" })));
        self.puts = 0;
        const { put } = IDBObjectStore.prototype;
        IDBObjectStore.prototype.put = function (...args) {
          self.puts += 1;
          return put.apply(this, args);
        };
        self.saving = "running";
        store.saveProject(one, named.project).then(() => (self.saving = "done"));
      }, FINGERPRINT);
      await page.waitForFunction((puts) => self.saving === "done" || self.puts >= puts, crashAfter, { polling: 5 });
      const saving = await page.evaluate(() => self.saving);
      const crash = await context.newCDPSession(page);
      await Promise.race([crash.send("Page.crash").catch(() => {}), page.waitForEvent("crash")]);
      await context.close();
      const again = await open();
      const found = await again.page.evaluate(async (fingerprint) => {
        const { openStore } = await import("/project/store.js");
        const { project, embedded } = await (await openStore()).load(fingerprint);
        const labels = new Set(project.classes.map(({ id }) => id));
        return {
          names: project.classes.map(({ name }) => name), pictures: project.pictures.length, embedded: embedded.size,
          lost: project.pictures.filter(({ label }) => !labels.has(label)).length,
          bytes: (await Promise.all(project.pictures.map(async ({ file }) => (await file.open()).size))).reduce((sum, size) => sum + size, 0),
        };
      }, FINGERPRINT);
      await again.context.close();
      console.log(`crash after ${crashAfter} writes, save ${saving}: ${found.pictures} pictures`);
      if (saving === "done") expect(found.pictures).toBe(1501);
      expect(found.lost).toBe(0);
      expect([
        { names: ["cat"], pictures: 2, embedded: 2, bytes: 80 },
        { names: ["cat", "dog"], pictures: 1501, embedded: 1, bytes: 1500 * 20_000 + 40 },
      ]).toContainEqual({ names: found.names, pictures: found.pictures, embedded: found.embedded, bytes: found.bytes });
    }
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
});

test("closing the tab at any step of a save keeps the previous state", async ({ context }) => {
  const saves = ["saveProject", "saveEmbedded", "saveRun", "removeRun", "saveHead", "replace"];
  const open = async () => {
    const page = await context.newPage();
    await page.goto(BLANK);
    return page;
  };
  // Sets up the state before, and one function for each kind of save.
  const start = async (fingerprint) => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    self.store = await openStore();
    const before = p.addNamed(p.emptyProject, ["cat", "dog"], [1, 2, 3].map((n) => ({ ...newPicture(n), className: "cat" }))).project;
    const embedded = new Map([1, 2].map((n) => [hex(n), embeddedOf(n)]));
    await store.load(fingerprint);
    await store.replace(fingerprint, { project: before, embedded, runs: [runOf(1), runOf(2)], runInUse: 1, head: null });
    const other = p.addNamed(p.emptyProject, ["fox"], [2, 7].map((n) => ({ ...newPicture(n), className: "fox" }))).project;
    const changed = p.addPictures(p.relabel(p.removePictures(before, [before.pictures[0].id]), [before.pictures[1].id], before.classes[1].id), before.classes[1].id, [newPicture(5), newPicture(6)]);
    self.saves = {
      saveProject: () => store.saveProject(before, changed.project),
      saveEmbedded: () => store.saveEmbedded(fingerprint, new Map([1, 3].map((n) => [hex(n), embeddedOf(n + 50)]))),
      saveRun: () => store.saveRun(runOf(9)),
      removeRun: () => store.removeRun(1),
      saveHead: () => store.saveHead({ bytes: bytes(4, 6) }),
      replace: () => store.replace(fingerprint, { project: other, embedded: new Map([[hex(7), embeddedOf(7)]]), runs: [runOf(5)], runInUse: null, head: bytes(1, 3) }),
    };
  };
  const kept = async (fingerprint) => {
    const { openStore } = await import("/project/store.js");
    return plain(await (await openStore()).load(fingerprint));
  };
  let steps = 0;
  for (const save of saves) {
    /** @type {unknown} */
    let before;
    for (let step = 1, ended = false; !ended; step++) {
      const page = await open();
      await page.evaluate(start, FINGERPRINT);
      before ??= await page.evaluate(kept, FINGERPRINT);
      const reached = page.waitForEvent("console", (message) => ["blocked", "ended"].includes(message.text()));
      await page.evaluate(([save, step]) => {
        let left = step;
        for (const method of ["put", "delete", "clear"]) {
          const real = IDBObjectStore.prototype[method];
          IDBObjectStore.prototype[method] = function (...args) {
            const request = real.apply(this, args);
            left -= 1;
            if (left === 0) {
              console.log("blocked");
              for (;;); // until the tab is closed
            }
            return request;
          };
        }
        setTimeout(() => saves[save]().then(() => console.log("ended")));
      }, /** @type {const} */ ([save, step]));
      ended = (await reached).text() === "ended";
      await page.close();
      const after = await open();
      const found = await after.evaluate(kept, FINGERPRINT);
      if (ended) expect(found).not.toEqual(before);
      else expect([save, step, found]).toEqual([save, step, before]);
      await after.close();
      steps += 1;
    }
  }
  console.log(`closed at ${steps} steps of ${saves.length} kinds of save`);
  expect(steps).toBeGreaterThan(30);
});

test("files are opened on first use, and undo still has removed files", async ({ page }) => {
  const result = await page.evaluate(async () => {
    const p = await import("/project/project.js");
    const { openStore } = await import("/project/store.js");
    const first = await openStore();
    await first.load("x");
    await first.saveProject(p.emptyProject, p.addPictures(p.addClass(p.emptyProject, "cat").project, 1, [1, 2, 3, 4].map((n) => newPicture(n))).project);

    const store = await openStore();
    const { project } = await store.load("x");
    const kinds = project.pictures.map(({ file }) => file instanceof Blob);
    const fewer = p.removePictures(project, project.pictures.slice(0, 2).map(({ id }) => id));
    await store.saveProject(project, fewer);
    const left = (await (await openStore()).load("x")).project.pictures.length;
    // Undo of one removal by a save, of the other by replace().
    await store.saveProject(fewer, { ...project, pictures: project.pictures.slice(1) });
    await store.replace("x", { project, embedded: new Map(), runs: [], runInUse: null, head: null });
    const back = await plain((await (await openStore()).load("x")).project.pictures);

    // A file that another tab removed cannot be read. Files stay readable after a newer version of the page takes over.
    const reader = (await (await openStore()).load("x")).project.pictures;
    await store.saveProject(project, p.removePictures(project, [project.pictures[3].id]));
    const gone = await failure(reader[3].file.open());
    const last = await openStore();
    const { pictures } = (await last.load("x")).project;
    await new Promise((resolve) => (indexedDB.open("inception-web", 99).onsuccess = resolve));
    return { kinds, left, back, gone, open: await plain(pictures[0].file) };
  });
  expect(result.kinds).toEqual([false, false, false, false]);
  expect(result.left).toBe(2);
  expect(result.back).toHaveLength(4);
  for (const [i, { file }] of result.back.entries()) {
    expect(file).toEqual({ type: "image/jpeg", bytes: Array.from({ length: 40 }, (_, k) => ((i + 1) * 31 + k * 7) & 255).join() });
  }
  expect(result.gone).toEqual({
    kind: "failed",
    message: "storage: another tab removed this picture's file; reload the page to see the current project",
  });
  expect(result.open).toEqual(result.back[0].file);
});

test("data stored by the first version of the page can be opened", async ({ page }) => {
  // The records as that version wrote them, without current code. Every later version must open them.
  await page.evaluate(async (fingerprint) => {
    const database = await new Promise((resolve) => {
      const request = indexedDB.open("inception-web", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("pictures", { keyPath: "id" });
        request.result.createObjectStore("files", { keyPath: "hash" });
        request.result.createObjectStore("latents", { keyPath: ["fingerprint", "hash"] });
        request.result.createObjectStore("runs", { keyPath: "id" });
        request.result.createObjectStore("state");
      };
      request.onsuccess = () => resolve(request.result);
    });
    const transaction = database.transaction(["pictures", "files", "latents", "runs", "state"], "readwrite");
    const put = (store, value, key) => transaction.objectStore(store).put(value, key);
    put("state", { name: "old", classes: [{ id: 1, name: "cat" }, { id: 2, name: "dog" }], nextId: 6, order: [5, 3, 4], revision: 12 }, "project");
    put("state", { run: 1 }, "head");
    put("pictures", { id: 3, name: "a/p1.jpg", label: 1, hash: hex(1) });
    put("pictures", { id: 4, name: "p2.jpg", label: 2, hash: hex(2) });
    put("pictures", { id: 5, name: "row 0", label: 2, hash: hex(3) });
    put("files", { hash: hex(1), file: file(1) });
    put("files", { hash: hex(2), file: new Blob([bytes(2, 40)], { type: "image/jpeg" }) });
    put("latents", { fingerprint, hash: hex(1), latents: embeddedOf(1).latents, width: 41, height: 30, thumbnail: bytes(1, 9).buffer });
    put("latents", { fingerprint, hash: hex(3), latents: embeddedOf(3).latents, width: 0, height: 0, thumbnail: null });
    put("runs", runOf(1));
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    database.close();
  }, FINGERPRINT);
  const result = await page.evaluate(async (fingerprint) => {
    const { openStore } = await import("/project/store.js");
    const { renameClass } = await import("/project/project.js");
    const store = await openStore();
    const kept = await store.load(fingerprint);
    const renamed = renameClass(kept.project, 1, "kitten");
    await store.saveProject(kept.project, renamed);
    const again = await (await openStore()).load(fingerprint);
    return {
      project: await plain(kept.project), embedded: await plain(kept.embedded), runs: await plain(kept.runs), runInUse: kept.runInUse,
      want: await plain({ embedded: new Map([[hex(3), { ...embeddedOf(3), width: 0, height: 0, thumbnail: null }], [hex(1), embeddedOf(1)]]), runs: [runOf(1)], file: file(1) }),
      again: again.project.classes.map(({ name }) => name),
    };
  }, FINGERPRINT);
  expect(result.project.classes).toEqual([{ id: 1, name: "cat" }, { id: 2, name: "dog" }]);
  expect(result.project.pictures.map(({ id, name, label }) => [id, name, label])).toEqual([[5, "row 0", 2], [3, "a/p1.jpg", 1], [4, "p2.jpg", 2]]);
  expect(result.project.pictures[0].file).toBeNull();
  expect(result.project.pictures[1].file).toEqual(result.want.file);
  expect(result.project).toMatchObject({ name: "old", nextId: 6 });
  expect(result.embedded).toEqual(result.want.embedded);
  expect(result.runs).toEqual(result.want.runs);
  expect(result.runInUse).toBe(1);
  expect(result.again).toEqual(["kitten", "dog"]);
});

test("only one tab saves, a second one is read-only", async ({ page, context }) => {
  const open = async () => {
    const { openStore } = await import("/project/store.js");
    self.store = await openStore();
    self.kept = (await store.load("x")).project;
    return store.refusal?.message ?? null;
  };
  const save = async (name) => {
    const p = await import("/project/project.js");
    const next = p.addClass(kept, name).project;
    const result = await failure(store.saveProject(kept, next));
    if (result === "no error") self.kept = next;
    return result;
  };
  const message = 'storage: another tab saves your classes, so this tab is read-only; close the other tab and reload this one, or save your work with "Save project"';
  expect(await page.evaluate(open)).toBeNull();
  expect(await page.evaluate(save, "cat")).toBe("no error");
  const other = await context.newPage();
  await other.goto(BLANK);
  expect(await other.evaluate(open)).toBe(message);
  expect(await other.evaluate(() => kept.classes.map(({ name }) => name))).toEqual(["cat"]);
  expect(await other.evaluate(save, "dog")).toEqual({ kind: "failed", message });
  expect(await page.evaluate(save, "fox")).toBe("no error");
  await page.close();
  await other.reload();
  expect(await other.evaluate(open)).toBeNull();
  expect(await other.evaluate(() => kept.classes.map(({ name }) => name))).toEqual(["cat", "fox"]);
  expect(await other.evaluate(save, "dog")).toBe("no error");
});

test("newer storage, missing storage and, without Web Locks, changes by another tab are reported", async ({ page, context }) => {
  const other = await context.newPage();
  await other.goto(BLANK);
  for (const tab of [page, other]) await tab.evaluate(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  const open = async () => {
    const { openStore } = await import("/project/store.js");
    self.store = await openStore();
    self.kept = (await store.load("x")).project;
  };
  const save = async (name) => {
    const p = await import("/project/project.js");
    const next = p.addClass(kept, name).project;
    const result = await failure(store.saveProject(kept, next));
    self.kept = next;
    return result;
  };
  await page.evaluate(open);
  await other.evaluate(open);
  expect(await page.evaluate(save, "cat")).toBe("no error");
  expect(await other.evaluate(save, "dog")).toEqual({
    kind: "failed",
    message: 'storage: another tab changed the stored project, so this tab no longer saves; save your work with "Save project", or reload to see the other tab\'s version',
  });
  expect(await page.evaluate(save, "fox")).toBe("no error");
  await other.evaluate(open);
  expect(await other.evaluate(() => kept.classes.map(({ name }) => name))).toEqual(["cat", "fox"]);

  const result = await page.evaluate(async () => {
    const { openStore } = await import("/project/store.js");
    // Both tabs close the database for the newer version.
    const newer = await new Promise((resolve) => {
      const request = indexedDB.open("inception-web", 99);
      request.onsuccess = () => resolve(request.result);
    });
    const stores = [...newer.objectStoreNames].length;
    const closed = await failure(store.saveHead(null));
    newer.close();
    const refused = await failure(openStore());
    const version = (await indexedDB.databases()).find(({ name }) => name === "inception-web").version;
    Object.defineProperty(globalThis, "indexedDB", { value: undefined });
    return { stores, closed, refused, version, none: await failure(openStore()) };
  });
  expect(result).toEqual({
    stores: 5,
    version: 99,
    closed: {
      kind: "failed",
      message: 'storage: closed by the browser or by a newer version of this page in another tab; save your work with "Save project" and reload',
    },
    refused: {
      kind: "newer",
      message: "storage: the stored data was written by a newer version of this page and is not changed; reload the page to get that version",
    },
    none: {
      kind: "unavailable",
      message:
        'storage: not available in this browser (a private window, or storage is turned off); your work is lost when this tab closes, save it with "Save project"',
    },
  });
});

/** A project with unusual file names, one picture in two classes, latents without a file, and runs. */
async function awkward() {
  const p = await import("/project/project.js");
  const pictures = await Promise.all(
    ["../../up.jpg", "/abs\u0000olute.jpg", "A.jpg", "sub/a.JPG", "con.jpg", "x".repeat(300) + ".png", "..", "日本.png"].map(async (name, n) => {
      const picture = new Blob([bytes(n, 50)], { type: "image/jpeg" });
      return { name, hash: await p.hashOf(picture), file: picture };
    }),
  );
  let project = p.addClass(p.emptyProject, "../cat").project;
  project = p.addClass(project, "..\\CAT").project;
  project = p.addClass(project, "empty").project;
  project = p.addPictures(project, 1, pictures).project;
  project = p.addPictures(project, 2, [pictures[2], { name: "row 7", hash: hex(7), file: null }]).project;
  project = { ...p.relabel(project, [4], 2), name: "pets & <co>" };
  const embedded = new Map([pictures[0].hash, pictures[2].hash, hex(7)].map((hash, n) => [hash, embeddedOf(n)]));
  embedded.get(hex(7)).thumbnail = null;
  return { project, embedded, runs: [runOf(1), runOf(3)], runInUse: 3, head: null };
}

test("saving and opening a project restores all of it", async ({ page }) => {
  const result = await page.evaluate(async (make) => {
    const { saveProject, openProject, isProject } = await import("/project/archive.js");
    const { ZipReader, BlobReader, ZipWriter, BlobWriter } = await import("/npm/zip.js");
    const kept = await (0, make)();
    const progress = [];
    const zip = await saveProject(kept, engineOf(kept), { onProgress: ({ done, total }) => progress.push(`${done}/${total}`) });
    const opened = await openProject(zip, engineOf());
    const names = (await new ZipReader(new BlobReader(zip)).getEntries()).map(({ filename }) => filename);
    // Unpacked and packed again, inside a folder.
    const packed = new ZipWriter(new BlobWriter());
    for (const entry of await new ZipReader(new BlobReader(zip)).getEntries()) {
      await packed.add(`folder/${entry.filename}`, new BlobReader(await entry.getData(new BlobWriter())));
    }
    const again = await openProject(await packed.close(), engineOf());
    const elsewhere = await openProject(zip, engineOf(null, "cd".repeat(32)));
    const refused = await openProject(zip, {
      ...engineOf(), readLatents: () => Promise.reject(Object.assign(new Error("latents: no"), { kind: "latents" })),
    });
    return {
      kept: await plain(kept), opened: await plain(opened), again: await plain(again), names, progress: [progress.length, progress[0], progress.at(-1)],
      elsewhere: { notice: elsewhere.notice, embedded: elsewhere.kept.embedded.size, pictures: elsewhere.kept.project.pictures.length, runInUse: elsewhere.kept.runInUse },
      refused: refused.notice,
      cancelled: await failure(saveProject(kept, engineOf(kept), { signal: AbortSignal.abort() })),
      is: [await isProject(zip), await isProject(new Blob(["PK"])), await isProject(new Blob([]))],
    };
  }, await page.evaluateHandle(`(${awkward})`));
  expect(result.opened).toEqual({ kept: result.kept, notice: null });
  expect(result.again).toEqual({ kept: result.kept, notice: null });
  expect(result.progress).toEqual([17, "1/17", "17/17"]);
  expect(result.names.filter((name) => name.startsWith("pictures/"))).toEqual([
    "pictures/_CAT (2)/up.jpg", "pictures/_cat/abs_olute.jpg", "pictures/_cat/A.jpg", "pictures/_cat/a (2).JPG", "pictures/_cat/_con.jpg",
    `pictures/_cat/${"x".repeat(60)}${"x".repeat(26)}.png`, "pictures/_cat/_", "pictures/_cat/日本.png", "pictures/_CAT (2)/A.jpg",
  ]);
  expect(result.elsewhere).toEqual({
    notice: 'The project was saved with another base ("stub"), so its latents are not used and pictures are computed again.'
      + " 1 picture without a file could not be used and was left out. Its head needs that base too, so the built-in head is used.",
    embedded: 0,
    pictures: 9,
    runInUse: null,
  });
  expect(result.refused).toBe(
    "The project's latents could not be used (latents: no), so pictures are computed again. 1 picture without a file could not be used and was left out.",
  );
  expect(result.cancelled.message).toMatch(/abort/);
  expect(result.is).toEqual([true, false, false]);
});

const damages = [
  ["another format", (d) => (d.format = "x"), "project: project.json is not from this page; open a file made with \"Save project\""],
  ["a newer version", (d) => (d.version = 2), "project: saved by a newer version of this page (format 2, expected 1); reload the page to get that version"],
  ["a missing class", (d) => (d.pictures[0].class = 77), /^project: "..\/..\/up.jpg" has the class 77, which does not exist, so /],
  ["a duplicate id", (d) => (d.pictures[0].id = 1), /^project: the id 1 is used twice, so /],
  ["a string as id", (d) => (d.pictures[0].id = "5"), /^project: the id of a picture is not an integer of at least 1, so /],
  ["a used nextId", (d) => (d.nextId = 3), /^project: nextId is 3, and the id \d+ is not below it, so /],
  ["a duplicate class name", (d) => (d.classes[1].name = d.classes[0].name), /^project: the class name "..\/cat" is empty or used twice, so /],
  ["an invalid hash", (d) => (d.pictures[0].hash = "../x"), /^project: the hash of "..\/..\/up.jpg" is not a SHA-256/],
  ["a missing row", (d) => (d.pictures[0].row = 99), /^project: "..\/..\/up.jpg" has the latents row 99, and there are 4 rows, so /],
  ["a missing file", (d) => (d.pictures[0].file = "../../etc/passwd"), /^project: ..\/..\/etc\/passwd is missing in the .zip, so /],
  ["a replaced file", (d) => (d.pictures[0].file = d.pictures[1].file), /abs_olute.jpg was replaced \(its SHA-256 differs\), so /],
  ["a missing run", (d) => (d.runInUse = 9), /^project: runInUse is 9, and there is no such run, so /],
  ["pictures as an object", (d) => (d.pictures = {}), /^project: pictures is not an array, so /],
];

test("damaged projects are rejected with the reason", async ({ page }) => {
  await page.evaluate(async (make) => {
    const { saveProject } = await import("/project/archive.js");
    self.kept = await (0, make)();
    self.zip = await saveProject(kept, engineOf(kept));
  }, await page.evaluateHandle(`(${awkward})`));
  for (const [name, change, message] of damages) {
    const result = await page.evaluate(async (change) => {
      const { openProject } = await import("/project/archive.js");
      const { ZipReader, BlobReader, ZipWriter, BlobWriter, TextReader, TextWriter } = await import("/npm/zip.js");
      const packed = new ZipWriter(new BlobWriter(), { level: 0 });
      for (const entry of await new ZipReader(new BlobReader(zip)).getEntries()) {
        if (entry.filename !== "project.json") {
          await packed.add(entry.filename, new BlobReader(await entry.getData(new BlobWriter())));
          continue;
        }
        const description = JSON.parse(await entry.getData(new TextWriter()));
        change(description);
        await packed.add(entry.filename, new TextReader(JSON.stringify(description)));
      }
      return (await failure(openProject(await packed.close(), engineOf()))).message;
    }, await page.evaluateHandle(`(${change})`));
    expect(result, name).toMatch(message instanceof RegExp ? message : new RegExp(`^${message.replace(/[.()]/g, "\\$&")}$`));
  }
  const broken = await page.evaluate(async () => {
    const { openProject } = await import("/project/archive.js");
    const whole = new Uint8Array(await zip.arrayBuffer());
    const text = new TextDecoder("latin1").decode(whole);
    const flipped = whole.slice();
    flipped[text.indexOf("pictures/_CAT (2)/up.jpg") + 60] ^= 1;
    const messages = [];
    for (const bytes of [flipped, whole.slice(0, -100), new Uint8Array(10)]) messages.push((await failure(openProject(new Blob([bytes]), engineOf()))).message);
    return messages;
  });
  const noZip = "project: not a .zip file, or truncated; save or download it again";
  expect(broken).toEqual(["project: pictures/_CAT (2)/up.jpg in the .zip is damaged; save or download it again", noZip, noZip]);
});

test("a project .zip with random changes is opened completely or rejected with a message", async ({ page }) => {
  const { inputs, opened, rejected, slowest, wrong } = await page.evaluate(fuzzProjects, { seed: 7, inputs: 600 });
  console.log(`${inputs} changed projects: ${opened} opened, the others rejected with ${rejected.length} kinds of message; slowest ${slowest.toFixed(0)} ms`);
  expect(wrong).toEqual([]);
  expect(opened).toBeGreaterThan(20);
  expect(rejected.length).toBeGreaterThan(20);
});

test("unzipPictures returns pictures with their folders and skips system files and other file types", async ({ page }) => {
  const result = await page.evaluate(async () => {
    const { unzipPictures, classOf } = await import("/project/archive.js");
    const { ZipWriter, BlobWriter, BlobReader } = await import("/npm/zip.js");
    const pack = async (names, options = {}) => {
      const zip = new ZipWriter(new BlobWriter(), options);
      for (const [n, name] of names.entries()) await zip.add(name, name.endsWith("/") ? undefined : new BlobReader(new Blob([bytes(n, 3000)])));
      return new File([await zip.close()], "pets.zip");
    };
    const zip = await pack([
      "data/", "data/cat/10.jpg", "data/cat/2.JPG", "data/dog/deep/1.png", "data/cat/.hidden.jpg", "__MACOSX/data/cat/._2.jpg", ".git/a.jpg",
      "data/notes.txt", "top.webp", "../../up.gif", "/abs/x.avif", "data\\win\\1.bmp", "data/Thumbs.db",
    ]);
    const found = await unzipPictures(zip);
    const damaged = new Uint8Array(await zip.arrayBuffer());
    damaged[new TextDecoder("latin1").decode(damaged).indexOf("data/cat/10.jpg") + 60] ^= 255;
    const encrypted = await pack(["a/1.jpg"], { password: "x" });
    // Its directory claims an unpacked size of 3 GB.
    const large = new Uint8Array(await (await pack(["a/1.jpg"])).arrayBuffer());
    const text = new TextDecoder("latin1").decode(large);
    new DataView(large.buffer).setUint32(text.indexOf("PK\u0001\u0002") + 24, 3e9, true);
    const messages = [];
    for (const each of [new Blob([damaged]), encrypted, new File([large], "large.zip"), new File(["no zip"], "no.zip"), new Blob([(await zip.arrayBuffer()).slice(0, -40)])]) {
      messages.push((await failure(unzipPictures(each))).message);
    }
    return {
      found: found.map(({ name, file }) => [name, file.name, file.type, classOf(name)]),
      bytes: (await plain(found.find(({ name }) => name === "data/cat/2.JPG").file)).bytes === [...bytes(2, 3000)].join(),
      messages,
      empty: await unzipPictures(await pack([])),
    };
  });
  expect(result.found).toEqual([
    ["abs/x.avif", "x.avif", "image/avif", "abs"],
    ["data/cat/2.JPG", "2.JPG", "image/jpeg", "cat"],
    ["data/cat/10.jpg", "10.jpg", "image/jpeg", "cat"],
    ["data/dog/deep/1.png", "1.png", "image/png", "deep"],
    ["data/win/1.bmp", "1.bmp", "image/bmp", "win"],
    ["top.webp", "top.webp", "image/webp", null],
    ["up.gif", "up.gif", "image/gif", null],
  ]);
  expect(result.bytes).toBe(true);
  expect(result.messages).toEqual([
    "zip: data/cat/10.jpg in the .zip is damaged; save or download it again",
    "pets.zip: a/1.jpg is encrypted; unpack the .zip and use the folder",
    "large.zip: its pictures are 3.0 GB unpacked, the limit is 2 GB; unpack it and drop the folders one by one",
    "no.zip: not a .zip file, or truncated; save or download it again",
    "zip: not a .zip file, or truncated; save or download it again",
  ]);
  expect(result.empty).toEqual([]);
});
