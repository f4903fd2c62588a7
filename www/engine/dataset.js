// @ts-check
/** The dataset: an immutable project, and the latents of its pictures, keyed by hash. */
import { addClass, addNamed, addPictures, emptyProject, hashOf, removeClass, removePictures } from "../project/project.js";

/** @import { Embedded, EmbedOptions, Dataset as DatasetInterface, Picture } from "./types.js" */
/** @import { Project } from "../project/types.js" */
/** @typedef {{ ids: number[], hashes: string[], labels: Uint32Array, classes: string[], names: string[] }} Rows */
/** @typedef {{ classes: string[], names: string[], labels: Uint32Array, latents: Float32Array }} Table */

const LATENTS = 2048;

/** @implements {DatasetInterface} */
export class Dataset {
  /** @type {Project} */ project = emptyProject;
  /** @type {Map<string, Embedded>} */ embedded = new Map();
  #embed;
  /** The last result of `rows`, and its inputs. @type {{ project: Project, embedded: number, rows: Rows } | null} */ #cached = null;

  /** @param {(pictures: Picture[], options?: EmbedOptions) => Promise<(Embedded | null)[]>} embed */
  constructor(embed) {
    this.#embed = embed;
  }

  get classes() {
    return this.project.classes.map(({ name }) => name);
  }
  get count() {
    return this.project.pictures.reduce((count, { hash }) => count + Number(this.embedded.has(hash)), 0);
  }

  /** @type {DatasetInterface["add"]} */
  async add(className, pictures, { onPicture, ...options } = {}) {
    const files = [pictures].flat();
    const hashes = await Promise.all(files.map((file) => hashOf(contentOf(file))));
    const missing = files.flatMap((_, index) => (this.embedded.has(hashes[index]) || hashes.indexOf(hashes[index]) < index ? [] : [index]));
    const broken = new Set();
    await this.#embed(missing.map((index) => files[index]), {
      ...options,
      onPicture: (n, outcome) => {
        const index = missing[n];
        if (!(outcome instanceof Error)) this.embedded.set(hashes[index], outcome);
        else if (onPicture) broken.add(hashes[index]);
        else throw outcome;
        onPicture?.(index, outcome);
      },
    });
    const existing = this.project.classes.find(({ name }) => name === className);
    const { project, id } = existing ? { project: this.project, id: existing.id } : addClass(this.project, className);
    const entries = files.map((file, index) => ({
      name: file instanceof File ? file.name : `picture ${index + 1}`,
      hash: hashes[index],
      file: file instanceof Blob ? file : null,
    }));
    const added = addPictures(project, id, entries.filter(({ hash }) => !broken.has(hash)));
    this.project = added.project;
    return added.ids;
  }

  /** @type {DatasetInterface["remove"]} */
  remove(what) {
    if (typeof what !== "string") {
      this.project = removePictures(this.project, [what].flat());
      return;
    }
    const existing = this.project.classes.find(({ name }) => name === what);
    if (existing) this.project = removeClass(this.project, existing.id);
  }

  /**
   * Adds rows of tables, matching classes by name. A row with the same latents as a known picture is treated as that picture.
   * @param {Table[]} tables
   */
  async addTables(tables) {
    const hashPairs = await Promise.all(Array.from(this.embedded, async ([hash, { latents }]) => /** @type {const} */ ([await hashOf(latents), hash])));
    const hashByLatents = new Map(hashPairs);
    const hashed = await Promise.all(tables.map(async ({ classes, names, labels, latents }) => {
      const rowLatents = names.map((_, row) => latents.slice(row * LATENTS, (row + 1) * LATENTS));
      const hashes = await Promise.all(rowLatents.map(hashOf));
      const rows = names.map((name, row) => ({ name, hash: hashByLatents.get(hashes[row]) ?? hashes[row], file: null, className: classes[labels[row]] }));
      return { classes, rowLatents, rows };
    }));
    // No await from here on: the project must not change in between.
    const before = this.project.pictures.length;
    let duplicates = 0;
    for (const { classes, rowLatents, rows } of hashed) {
      for (const [row, { hash }] of rows.entries()) {
        if (!this.embedded.has(hash)) this.embedded.set(hash, { latents: rowLatents[row], width: 0, height: 0, thumbnail: null });
      }
      const added = addNamed(this.project, classes, rows);
      this.project = added.project;
      duplicates += added.duplicates;
    }
    return { classes: [...new Set(tables.flatMap(({ classes }) => classes))], pictures: this.project.pictures.length - before, duplicates };
  }

  /** Returns one row for each picture that has latents; the same object until the dataset changes. @returns {Rows} */
  rows() {
    if (this.#cached?.project === this.project && this.#cached.embedded === this.embedded.size) return this.#cached.rows;
    const { classes, pictures } = this.project;
    const withLatents = pictures.filter(({ hash }) => this.embedded.has(hash));
    const indexById = new Map(classes.map(({ id }, index) => [id, index]));
    const rows = {
      ids: withLatents.map(({ id }) => id),
      hashes: withLatents.map(({ hash }) => hash),
      labels: Uint32Array.from(withLatents, ({ label }) => indexById.get(label) ?? 0),
      classes: classes.map(({ name }) => name),
      names: withLatents.map(({ name }) => name),
    };
    this.#cached = { project: this.project, embedded: this.embedded.size, rows };
    return rows;
  }

  /** Returns the latents of rows, [N x 2048]. @param {Rows} rows */
  table({ hashes }) {
    const table = new Float32Array(hashes.length * LATENTS);
    for (const [row, hash] of hashes.entries()) table.set(/** @type {Embedded} */ (this.embedded.get(hash)).latents, row * LATENTS);
    return table;
  }
}

/** Returns the content that is hashed: the file, or the pixels of a decoded picture. @param {Picture} picture */
function contentOf(picture) {
  if (picture instanceof Blob) return picture;
  if (picture instanceof ImageData) return picture.data;
  const { width, height } = picture;
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d"));
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}
