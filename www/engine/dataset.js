// @ts-check
/** The pictures that heads are trained on: an immutable project, and beside it the latents of its pictures by their hash. */
import { addClass, addNamed, addPictures, emptyProject, hashOf, removeClass, removePictures } from "../project/project.js";

/** @import { Embedded, EmbedOptions, Dataset as Contract, Picture } from "./engine.js" */
/** @import { Project } from "../project/project.js" */
/** @typedef {{ ids: number[], hashes: string[], labels: Uint32Array, classes: string[], names: string[] }} Rows */
/** @typedef {{ classes: string[], names: string[], labels: Uint32Array, latents: Float32Array }} Table */

const LATENTS = 2048;

/** @implements {Contract} */
export class Dataset {
  /** @type {Project} */ project = emptyProject;
  /** @type {Map<string, Embedded>} */ embedded = new Map();
  #embed;
  /** The rows told last, and of what they were. @type {{ project: Project, known: number, rows: Rows } | null} */ #told = null;

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

  /** @type {Contract["add"]} */
  async add(className, pictures, { onPicture, ...options } = {}) {
    const files = [pictures].flat();
    const hashes = await Promise.all(files.map((file) => hashOf(contentOf(file))));
    const fresh = files.flatMap((_, index) => (this.embedded.has(hashes[index]) || hashes.indexOf(hashes[index]) < index ? [] : [index]));
    const broken = new Set();
    await this.#embed(fresh.map((index) => files[index]), {
      ...options,
      onPicture: (n, outcome) => {
        const index = fresh[n];
        if (!(outcome instanceof Error)) this.embedded.set(hashes[index], outcome);
        else if (onPicture) broken.add(hashes[index]);
        else throw outcome;
        onPicture?.(index, outcome);
      },
    });
    const known = this.project.classes.find(({ name }) => name === className);
    const { project, id } = known ? { project: this.project, id: known.id } : addClass(this.project, className);
    const named = files.map((file, index) => ({
      name: file instanceof File ? file.name : `picture ${index + 1}`,
      hash: hashes[index],
      file: file instanceof Blob ? file : null,
    }));
    const added = addPictures(project, id, named.filter(({ hash }) => !broken.has(hash)));
    this.project = added.project;
    return added.ids;
  }

  /** @type {Contract["remove"]} */
  remove(what) {
    if (typeof what !== "string") {
      this.project = removePictures(this.project, [what].flat());
      return;
    }
    const named = this.project.classes.find(({ name }) => name === what);
    if (named) this.project = removeClass(this.project, named.id);
  }

  /**
   * Adds rows of tables by the names of their classes. A row whose latents are there already stands for the same picture.
   * @param {Table[]} tables
   */
  async addTables(tables) {
    const known = await Promise.all(Array.from(this.embedded, async ([hash, { latents }]) => /** @type {const} */ ([await hashOf(latents), hash])));
    const pictureOf = new Map(known);
    const named = await Promise.all(tables.map(async ({ classes, names, labels, latents }) => {
      const own = names.map((_, row) => latents.slice(row * LATENTS, (row + 1) * LATENTS));
      const hashes = await Promise.all(own.map(hashOf));
      const rows = names.map((name, row) => ({ name, hash: pictureOf.get(hashes[row]) ?? hashes[row], file: null, className: classes[labels[row]] }));
      return { classes, own, rows };
    }));
    // From here on nothing waits, so that no change by others comes between.
    const before = this.project.pictures.length;
    let duplicates = 0;
    for (const { classes, own, rows } of named) {
      for (const [row, { hash }] of rows.entries()) {
        if (!this.embedded.has(hash)) this.embedded.set(hash, { latents: own[row], width: 0, height: 0, thumbnail: null });
      }
      const added = addNamed(this.project, classes, rows);
      this.project = added.project;
      duplicates += added.duplicates;
    }
    return { classes: [...new Set(tables.flatMap(({ classes }) => classes))], pictures: this.project.pictures.length - before, duplicates };
  }

  /** Pictures whose latents are there, a row each; the same object while nothing has changed. @returns {Rows} */
  rows() {
    if (this.#told?.project === this.project && this.#told.known === this.embedded.size) return this.#told.rows;
    const { classes, pictures } = this.project;
    const found = pictures.filter(({ hash }) => this.embedded.has(hash));
    const index = new Map(classes.map(({ id }, at) => [id, at]));
    const rows = {
      ids: found.map(({ id }) => id),
      hashes: found.map(({ hash }) => hash),
      labels: Uint32Array.from(found, ({ label }) => index.get(label) ?? 0),
      classes: classes.map(({ name }) => name),
      names: found.map(({ name }) => name),
    };
    this.#told = { project: this.project, known: this.embedded.size, rows };
    return rows;
  }

  /** The rows' latents, one after another: [N x 2048]. @param {Rows} rows */
  table({ hashes }) {
    const table = new Float32Array(hashes.length * LATENTS);
    for (const [row, hash] of hashes.entries()) table.set(/** @type {Embedded} */ (this.embedded.get(hash)).latents, row * LATENTS);
    return table;
  }
}

/** What tells a picture from others: its file, or its pixels where there is none. @param {Picture} picture */
function contentOf(picture) {
  if (picture instanceof Blob) return picture;
  if (picture instanceof ImageData) return picture.data;
  const { width, height } = picture;
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d"));
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}
