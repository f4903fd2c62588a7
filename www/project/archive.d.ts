/** Types of `archive.js`: a project as one .zip that people can read by hand, and pictures out of folders in a .zip. */
import type { Embedded, Engine } from "../engine/engine.js";
import type { Kept } from "./store.js";

/** Progress in files. */
export type Tell = (progress: { done: number; total: number }) => void;

/**
 * The project as a .zip: `README.txt`, `project.json` (format version, base and fingerprint, classes, pictures with their class, file and
 * row of the latents), `pictures/CLASS/NAME`, `thumbnails/HASH.jpg`, `latents.safetensors`, `runs.json`, `heads/run-ID.safetensors`.
 */
export function saveProject(kept: Kept, engine: Engine, options?: { onProgress?: Tell; signal?: AbortSignal }): Promise<Blob>;
/**
 * The same back. Latents of another base are left out: pictures with files can be computed again, those without are told in `notice`.
 * @throws {Error} a sentence: not a zip, not a project, of a newer version, damaged (with the name of the entry)
 */
export function openProject(
  zip: Blob, engine: Engine, options?: { onProgress?: Tell; signal?: AbortSignal },
): Promise<{ kept: Kept; notice: string | null }>;
/**
 * Picture files of a .zip with their paths, in order of their paths; system files (`__MACOSX`, hidden ones) and what is no picture by
 * its name left out. @throws {Error} a sentence: not a zip, damaged, encrypted, more than 2 GB unpacked
 */
export function unzipPictures(zip: Blob): Promise<{ name: string; file: File }[]>;
/** Whether a zip holds a saved project. */
export function isProject(zip: Blob): Promise<boolean>;
/** Folder names as classes: `data/cat/1.jpg` -> `cat`; null for a picture in no folder. The innermost folder counts. */
export function classOf(path: string): string | null;
