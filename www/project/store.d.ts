/** Types of `store.js`: what the page keeps in IndexedDB. Every save is one transaction: it is kept whole or not at all. */
import type { Embedded, TrainReport } from "../engine/engine.js";
import type { Project } from "./project.js";

/** One training with all that it takes to compare and restore it. */
export interface Run {
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly name: string;
  readonly report: TrainReport;
  /** The head's file, safetensors. */
  readonly head: Uint8Array;
}

export interface Kept {
  project: Project;
  /** Latents of the fingerprint asked for, by the picture's hash. */
  embedded: Map<string, Embedded>;
  runs: Run[];
  /** The id of the run whose head is in use; null for the head that the page ships, or one loaded from a file. */
  runInUse: number | null;
  /** A head in use that belongs to no run. */
  head: Uint8Array | null;
}

export class StoreError extends Error {
  /** `quota`: the disk space that the browser grants is used up; `unavailable`: no storage at all; `newer`: kept by a newer version of the page. */
  readonly kind: "quota" | "unavailable" | "newer" | "failed";
}

export interface Store {
  /** Why nothing can be saved, only read: another tab does the saving. */
  readonly refusal: StoreError | null;
  /** What earlier visits left; an empty project at the first. */
  load(fingerprint: string): Promise<Kept>;
  /** Saves what differs between two values of the project; asks for persistent storage once there are pictures. @throws {StoreError} */
  saveProject(before: Project, after: Project): Promise<void>;
  /** Saves latents (and thumbnails) of pictures by their hash, all of them in one transaction. @throws {StoreError} */
  saveEmbedded(fingerprint: string, embedded: ReadonlyMap<string, Embedded>): Promise<void>;
  /** Those of the hashes whose latents of this base are kept, whatever project they came from. */
  findEmbedded(fingerprint: string, hashes: readonly string[]): Promise<Map<string, Embedded>>;
  saveRun(run: Run): Promise<void>;
  removeRun(id: number): Promise<void>;
  /** Which head is in use after a reload. */
  saveHead(head: { run: number } | { bytes: Uint8Array } | null): Promise<void>;
  /** Replaces everything, in one transaction. */
  replace(fingerprint: string, kept: Kept): Promise<void>;
  /** Forgets latents and thumbnails of pictures that are in no project any more. Called once after load. */
  sweep(): Promise<void>;
  /** Bytes of what is kept: pictures' files, their latents by any base with thumbnails, heads of trainings. */
  sizes(): Promise<{ files: number; latents: number; heads: number }>;
  /** Bytes used and granted, where the browser tells. */
  usage(): Promise<{ used: number; granted: number } | null>;
}

/** Opens the storage. @throws {StoreError} */
export function openStore(): Promise<Store>;
