/** Types of `engine.js`, the JavaScript door to inception-web. */

/** A picture file, or pixels that you already have. */
export type Picture = Blob | ImageBitmap | ImageData;

/** One class and how sure the head is of it, 0 to 1. */
export interface Prediction { label: string; probability: number }

/** What went on loading: bytes for `runtime` and `weights` (0 where unknown), steps for the others. */
export interface LoadProgress { stage: "runtime" | "weights" | "prepare" | "check"; done: number; total: number }

/** Pictures done of pictures given. */
export interface BatchProgress { done: number; total: number }

/** What went wrong, for programs; the message is for people. */
export type ErrorKind =
  | "picture" | "weights" | "head" | "device" | "network" | "cancelled" | "crash" | "disposed" | "setting" | "latents" | "train";

export class EngineError extends Error {
  constructor(kind: ErrorKind, message: string);
  readonly kind: ErrorKind;
}

/** One picture's outcome. */
export interface Answer {
  /** Best first. */
  predictions: Prediction[];
  /** The time that decoding, resizing and the network took; a batch's time is shared evenly. */
  milliseconds: number;
  /** Pixels a row, of the upright picture. */
  width: number;
  /** Rows, of the upright picture. */
  height: number;
  /** JPEG, 299x299: what the network saw, stretched. Only where `thumbnails` was asked for. */
  thumbnail?: Blob;
}

export interface EngineOptions {
  /** `auto` (the default) takes WebGPU where a real GPU answers, else the CPU. */
  device?: "auto" | "webgpu" | "cpu";
  /** A base's weights file, by `inception-web weights`; by default the page's own. What lies at an address is taken not to change. */
  weights?: string;
  /** A head file, by `inception-web train`; by default the ten classes. */
  head?: string;
  onProgress?: (progress: LoadProgress) => void;
}

export interface LatentsOptions { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }

export interface ClassifyOptions extends LatentsOptions {
  /** How many classes to tell a picture; 5 by default. */
  topK?: number;
  /** Whether outcomes carry a small picture of what the network saw. */
  thumbnails?: boolean;
  /** Hears of every picture in order. With it, a broken picture does not stop the others: its slot in the result is null. */
  onPicture?: (index: number, outcome: Answer | EngineError) => void;
}

export interface Engine {
  /** The device that does the work. */
  readonly device: "webgpu" | "cpu";
  /** The same, for people. */
  readonly deviceName: string;
  /** One sentence if the wished-for device could not be used or something else is worth knowing; else null. */
  readonly notice: string | null;
  /** SHA-256 (64 hexadecimal digits) of the base's weights and preprocessing. */
  readonly fingerprint: string;
  /** The head's class names. */
  readonly classes: string[];
  readonly base: { name: string; source: string; licence: string; note: string; dtype: string; bytes: number; cached: boolean };
  /** `accuracy` and `interval` are 0 to 1, on `testPictures` pictures held out of training; null where nobody measured. */
  readonly head: {
    name: string; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null;
  };
  /**
   * The 2048 latents of each picture.
   * @throws {EngineError} the first broken picture, or kind `cancelled`
   */
  latents(pictures: Picture[], options?: LatentsOptions): Promise<Float32Array[]>;
  /**
   * Ranked classes for each picture.
   * @throws {EngineError} without `onPicture` the first broken picture; kind `cancelled` when the signal aborts
   */
  classify(pictures: Picture[], options: ClassifyOptions & { onPicture: NonNullable<ClassifyOptions["onPicture"]> }): Promise<(Prediction[] | null)[]>;
  classify(pictures: Picture[], options?: ClassifyOptions): Promise<Prediction[][]>;
  /** Ends the worker and frees its memory; what is under way is rejected with kind `disposed`. */
  dispose(): void;
}

/**
 * Loads runtime, base and head in a worker of their own, and checks that the device computes rightly.
 * @throws {EngineError} with a sentence that says what to do
 */
export function createEngine(options?: EngineOptions): Promise<Engine>;
