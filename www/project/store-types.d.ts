/** The data that the page stores in IndexedDB, and the interface of `store.js`. */
import type { Embedded, TrainReport } from "../engine/types.js";
import type { Project } from "./types.js";

/** One training run, with everything needed to compare and restore it. */
export interface Run {
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly name: string;
  readonly report: TrainReport;
  /** The head as a safetensors file. */
  readonly head: Uint8Array;
}

export interface Kept {
  project: Project;
  /** Latents of the requested base, by the picture's hash. */
  embedded: Map<string, Embedded>;
  runs: Run[];
  /** The id of the run whose head is in use; null for the built-in head, or one loaded from a file. */
  runInUse: number | null;
  /** A head in use that belongs to no run. */
  head: Uint8Array | null;
}

export interface StoreError extends Error {
  /** `quota`: no disk space left for this page; `unavailable`: no storage; `newer`: saved by a newer version of the page; `failed`: anything else. */
  readonly kind: "quota" | "unavailable" | "newer" | "failed";
}

/** Every save is one transaction: it is stored completely or not at all. */
export interface Store {
  /** Why this tab cannot save; null if it can. Only one tab can save, others are read-only. */
  readonly refusal: StoreError | null;
  /**
   * Returns what earlier visits saved; an empty project on the first visit. With an empty fingerprint (the base is not known yet), `embedded` is
   * empty and the latents are read ahead for the next call.
   */
  load(fingerprint: string): Promise<Kept>;
  /** Saves the difference between two projects; asks for persistent storage once there are pictures. @throws {StoreError} */
  saveProject(before: Project, after: Project): Promise<void>;
  /** Saves latents and thumbnails, by the picture's hash, in one transaction. @throws {StoreError} */
  saveEmbedded(fingerprint: string, embedded: ReadonlyMap<string, Embedded>): Promise<void>;
  /** Returns the stored latents of these hashes for one base, of any project. */
  findEmbedded(fingerprint: string, hashes: readonly string[]): Promise<Map<string, Embedded>>;
  saveRun(run: Run): Promise<void>;
  removeRun(id: number): Promise<void>;
  /** Saves which head is used after a reload. */
  saveHead(head: { run: number } | { bytes: Uint8Array } | null): Promise<void>;
  /** Replaces everything in one transaction. */
  replace(fingerprint: string, kept: Kept): Promise<void>;
  /** Deletes latents and thumbnails of pictures that are no longer in the project. Call once after `load`. */
  sweep(): Promise<void>;
  /** Bytes stored: picture files; latents of all bases, with thumbnails; heads of runs. */
  sizes(): Promise<{ files: number; latents: number; heads: number }>;
  /** Bytes used and the quota in bytes; null if the browser does not report them. */
  usage(): Promise<{ used: number; quota: number } | null>;
}
