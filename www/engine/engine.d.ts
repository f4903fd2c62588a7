/** Types of `engine.js`, the JavaScript door to inception-web. */
import type { Ways } from "./comparison.js";
import type { Project } from "../project/project.js";

/** A picture file, or pixels that you already have. */
export type Picture = Blob | ImageBitmap | ImageData;

/** One class and how sure the head is of it, 0 to 1. */
export interface Prediction { label: string; probability: number }

/**
 * What went on loading: bytes for `runtime` and `weights` (0 where unknown), steps for the others, of which only a GPU has `kernels`. While weights come, `layers` says how
 * many of the network's 94 layers are ready already.
 */
export interface LoadProgress { stage: "runtime" | "kernels" | "weights" | "prepare" | "check"; done: number; total: number; layers?: number }

/** Pictures done of pictures given. */
export interface BatchProgress { done: number; total: number }

/** What went wrong, for programs; the message is for people. */
export type ErrorKind =
  | "picture" | "weights" | "head" | "device" | "network" | "cancelled" | "crash" | "disposed" | "setting" | "latents" | "train" | "pictures";

export class EngineError extends Error {
  constructor(kind: ErrorKind, message: string);
  readonly kind: ErrorKind;
}

/** One picture's outcome. */
export interface Answer {
  /** Best first. */
  predictions: Prediction[];
  /** What the head read. */
  latents: Float32Array;
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
  /**
   * The address of a weights file by `inception-web weights`, or a base that `convertBase` kept; by default the page's own. What lies at
   * an address is taken not to change.
   */
  weights?: string | KeptBase;
  /** A head file, by `inception-web train`; by default the ten classes. */
  head?: string;
  onProgress?: (progress: LoadProgress) => void;
  /** Hears when `device`, `deviceName` or `notice` changed: as soon as a lost card or a dead worker is noticed, and when another computes. */
  onChange?: () => void;
}

/** A base that this browser keeps. */
export interface KeptBase { name: string; fingerprint: string; dtype: string; bytes: number; sha256: string }

export interface LatentsOptions { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }

/** What is computed once for each picture and kept. */
export interface Embedded {
  /** 2048 numbers. */
  latents: Float32Array;
  /** Pixels of the upright picture; 0 where there was none, only latents. */
  width: number;
  height: number;
  /** JPEG, square: what the network saw, stretched. */
  thumbnail: Uint8Array<ArrayBuffer> | null;
}

export interface EmbedOptions extends LatentsOptions {
  /** Pixels a side of the thumbnails; 0, the default, makes none. */
  thumbnails?: number;
  /** Hears of every picture in order. With it, a broken picture does not stop the others: its slot in the result is null. */
  onPicture?: (index: number, outcome: Embedded | EngineError) => void;
}

export interface ClassifyOptions extends LatentsOptions {
  /** How many classes to tell a picture; 5 by default. */
  topK?: number;
  /** Whether outcomes carry a small picture of what the network saw. */
  thumbnails?: boolean;
  /** Hears of every picture in order. With it, a broken picture does not stop the others: its slot in the result is null. */
  onPicture?: (index: number, outcome: Answer | EngineError) => void;
}

/** How to train; whatever is left out takes the default that `engine.defaults` tells. */
export interface TrainOptions {
  /** Units of a hidden layer; 0 for a linear head. */
  hidden?: number;
  /** Share of the hidden units left out in each step, 0 to below 1. */
  dropout?: number;
  optimizer?: "adamw" | "adam";
  learningRate?: number;
  /** AdamW's alone, a share of the step size. */
  weightDecay?: number;
  /** Pictures a step. */
  batch?: number;
  /** Passes over the pictures, at most. */
  epochs?: number;
  /** Share of the target that is spread over all classes, 0 to below 1. */
  labelSmoothing?: number;
  /** `balanced` weighs each picture by how rare its class is. */
  classWeights?: "none" | "balanced";
  /** Same seed, data and device: the same head to the bit. */
  seed?: number;
  /** Share of each class held out to validate on, 0 to 0.9. */
  validation?: number;
  /**
   * Epochs without a lower validation loss after which training ends and the best epoch is kept; 0 never ends early. Fewer than 20
   * validation pictures would choose by chance, so with them all epochs are made and the last is kept.
   */
  patience?: number;
  /** The head's name, for people. */
  name?: string;
}

/** Losses are mean cross-entropies in nats; accuracies 0 to 1; null without validation pictures. */
export interface EpochReport {
  /** From 1. */
  epoch: number;
  /** At most. */
  epochs: number;
  loss: number;
  accuracy: number;
  validationLoss: number | null;
  validationAccuracy: number | null;
  /** Whether it is the best so far. */
  best: boolean;
}

export interface TrainControl {
  onEpoch?: (report: EpochReport) => void;
  /** Cancels: the head in use stays. */
  signal?: AbortSignal;
}

export interface TrainReport {
  /** All of them, as they were used. */
  settings: Required<TrainOptions>;
  /** Classes of the head, and their pictures, validation included. */
  classes: { name: string; pictures: number }[];
  /** Trained on. */
  pictures: number;
  epochs: EpochReport[];
  /** The epoch that was kept. */
  bestEpoch: number;
  /** All epochs, the patience's end, or somebody's. */
  end: "finished" | "early" | "stopped";
  seconds: number;
  /** On the validation pictures; null without any. */
  evaluation: Evaluation | null;
}

/** How good answers are on pictures that their head was not trained on (`on: "dataset"`: on all, trained on or not). */
export interface Evaluation {
  on: "validation" | "folds" | "dataset";
  /** Folds that the pictures were parted into; 0 elsewhere. */
  folds: number;
  correct: number;
  total: number;
  /** 0 to 1, with its 95 % interval (Wilson). */
  accuracy: number;
  interval: [number, number];
  macroF1: number;
  /** In the head's order. Precision is null where nothing was answered so, recall where there are no pictures. */
  classes: { name: string; pictures: number; precision: number | null; recall: number | null; f1: number | null }[];
  /** Pictures, [true class][answered class]. */
  confusion: number[][];
  /** Expected calibration error over ten bins, 0 to 1, with the temperature in use and without any. */
  calibrationError: number;
  calibrationErrorBefore: number;
  /** What the logits are divided by; 1 where none was fitted. */
  temperature: number;
  /** The ten bins: mean confidence and accuracy of the answers in them. */
  bins: { confidence: number; accuracy: number; pictures: number }[];
  /** Every answer, by the picture's id in the dataset. Classes are indices into `classes`. */
  answers: { id: number; label: number; answered: number; probability: number }[];
  /** Pictures whose label is doubtful, the most doubtful first; only by folds. `given` and `suggested` are indices into `classes`. */
  mislabels: { id: number; given: number; suggested: number; givenProbability: number; suggestedProbability: number }[];
}

export interface EvaluateOptions extends TrainOptions {
  /** Trains anew on all but one part of the pictures and asks about that part, for each of so many parts. */
  folds?: number;
}

/** What came of loading latents. */
export interface Imported {
  classes: string[];
  pictures: number;
  /** Rows that were there already. */
  duplicates: number;
  /** One sentence worth knowing, such as that a file does not say which base made it. */
  notice: string | null;
}

/** The pictures that heads are trained on: a project (see project.d.ts), and the latents of its pictures by their hash. */
export interface Dataset {
  /** Classes' names, in order. */
  readonly classes: string[];
  /** Pictures whose latents are there. */
  readonly count: number;
  /** The whole value; setting it replaces it. */
  project: Project;
  /** Latents by the picture's hash; grows, and is never cleared by undo. */
  readonly embedded: Map<string, Embedded>;
  /**
   * Computes latents of pictures, and adds them to a class, which is made where it is missing. The same picture twice in a class counts once.
   * @returns ids of the pictures added
   * @throws {EngineError} the first broken picture; kind `cancelled`
   */
  add(className: string, pictures: Picture | Picture[], options?: EmbedOptions): Promise<number[]>;
  /** Removes pictures by id, or a whole class by name. */
  remove(what: number | number[] | string): void;
}

export interface Engine {
  /** The device that does the work. */
  readonly device: "webgpu" | "cpu";
  /** The folder of `pkg/` with the program in use. */
  readonly build: "webgpu" | "relaxed" | "cpu";
  /** The same, for people. */
  readonly deviceName: string;
  /** One sentence if the wished-for device could not be used or something else is worth knowing; else null. */
  readonly notice: string | null;
  /** SHA-256 (64 hexadecimal digits) of the base's weights and preprocessing. */
  readonly fingerprint: string;
  /** The head's class names; none where a base of your own brings none and nothing has been taught yet. */
  readonly classes: string[];
  /** `deviation`: how far the self-check found the device from the latents that the weights file knows, as a share of the largest; on the CPU it is made once for a program, base and browser. */
  readonly base: { name: string; source: string; licence: string; note: string; dtype: string; bytes: number; cached: boolean; deviation: number };
  /** `accuracy` and `interval` are 0 to 1, on `testPictures` pictures held out of training; null where nobody measured. */
  readonly head: {
    name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null;
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
  /** As `latents`, with sizes and thumbnails, and able to go on past broken pictures. */
  embed(pictures: Picture[], options?: EmbedOptions): Promise<(Embedded | null)[]>;
  /** Ranked classes by the head in use for latents that are there already: takes no time. */
  predict(latents: Float32Array, topK?: number): Promise<Prediction[]>;
  readonly dataset: Dataset;
  /** What training does where nothing else is said. */
  readonly defaults: Required<TrainOptions>;
  /**
   * Trains a head on the dataset's latents, on the CPU, and puts it in use.
   * @throws {EngineError} kind `train` if there are too few pictures or classes, `setting`, `cancelled`
   */
  train(options?: TrainOptions, control?: TrainControl): Promise<TrainReport>;
  /** Acts on the training under way: `stop` ends it after this epoch and keeps the best one. */
  steer(wish: "pause" | "resume" | "stop"): void;
  /**
   * Without `folds`: the head in use, on its validation pictures as far as they are still in the dataset, or, where it was not trained
   * here, on the whole dataset. With `folds`: heads trained by these options, each on pictures it did not see.
   */
  evaluate(options?: EvaluateOptions, control?: { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<Evaluation>;
  /** Puts a head file (safetensors, of this base) in use. */
  openHead(file: Blob | Uint8Array): Promise<void>;
  /** Puts the head that the page ships in use again. */
  resetHead(): Promise<void>;
  /** The head in use as a file; `onnx` (opset 17) and `npz` take latents to probabilities. */
  exportHead(form: "safetensors" | "onnx" | "npz"): Promise<Blob>;
  /** The dataset as a labelled table, whole f32. */
  exportLatents(form: "safetensors" | "npz"): Promise<Blob>;
  /** Opens tables of latents, all of them or none, without adding them to the dataset: [N x 2048] numbers, labels as indices into the classes. */
  readLatents(files: Blob[]): Promise<{ classes: string[]; names: string[]; labels: Uint32Array; latents: Float32Array; notice: string | null }[]>;
  /** Reads tables, all of them or none, and adds their rows to the dataset's classes by name. */
  importLatents(files: Blob | Blob[]): Promise<Imported>;
  /** The dataset's pictures that are nearest to some latents, by cosine similarity (-1 to 1), best first. */
  nearest(latents: Float32Array, count: number): Promise<{ id: number; similarity: number }[]>;
  /** Where in a picture the evidence for a class lies: 8x8, row by row, 0 to 1 (class activation map). */
  explain(picture: Picture, label: string): Promise<{ side: number; values: Float32Array }>;
  /** The dataset in the plane: x, y of each id, within 0 to 1. UMAP runs in a worker of its own. */
  map(method: "pca" | "umap", options?: { seed?: number; signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<{ ids: number[]; points: Float32Array }>;
  /** Three ways to classify 32x32 pictures, side by side. */
  readonly ways: Ways;
  /** Below this probability the page says that it is unsure; kept in the head's file. */
  unsureBelow: number;
  /** Ends the worker and frees its memory; what is under way is rejected with kind `disposed`. */
  dispose(): void;
}

/**
 * Makes a base of weights files as others hand them round (timm, torchvision, Keras, TF.js with its shards, ONNX), and keeps it in this
 * browser for `createEngine`.
 * @throws {EngineError} kind `weights` if they cannot be used, with a sentence that says why; kind `cancelled`
 */
export function convertBase(
  files: File[], options?: { name?: string; sha256?: string | null; signal?: AbortSignal; onProgress?: (progress: LoadProgress) => void },
): Promise<KeptBase>;

/**
 * Loads runtime, base and head in a worker of their own, and checks that the device computes rightly.
 * @throws {EngineError} with a sentence that says what to do
 */
export function createEngine(options?: EngineOptions): Promise<Engine>;
