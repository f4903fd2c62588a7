/** Types of the three ways: an MLP and a CNN on 32x32 pixels, and a head on Inception's latents, trained and tested on the same pictures. */
import type { BatchProgress, EpochReport, TrainOptions } from "./engine.js";

export type Way = "mlp" | "cnn" | "transfer";

/**
 * A file of a picture set. Without `className` one of CIFAR-10's own: `data_batch_*.bin`, `test_batch.bin`, `batches.meta.txt`, its Python
 * version's files, or either's tarball. With it, a picture of that class, in any format that the page reads; it is shrunk to 32x32.
 */
export interface SetFile {
  name: string;
  file: Blob;
  className?: string;
  /** Of a picture: it belongs to the test pictures. */
  test?: boolean;
}

/** 32x32 pictures with classes, to train on and to test on. */
export interface PictureSet {
  /** SHA-256 of classes, labels and pixels, 64 hexadecimal digits. */
  readonly sha256: string;
  readonly classes: string[];
  /** Pictures of each class. */
  readonly training: number[];
  /** Of each class; all zero where no test pictures came: then some are held out by the seed. */
  readonly test: number[];
  /** The first pictures of each class, at most ten: RGBA, 32x32. */
  readonly samples: Uint8ClampedArray<ArrayBuffer>[][];
  /** The mean training picture of each class; null of a class without pictures. */
  readonly means: (Uint8ClampedArray<ArrayBuffer> | null)[];
  /** Files that were left out, each with its sentence. */
  readonly refused: { name: string; message: string }[];
}

/** What to compare; the same options, set and device give the same figures, times apart. */
export interface CompareOptions {
  /** In the order in which they are trained; all three by default. */
  ways?: Way[];
  /** Training pictures of each class, drawn by the seed; 0 takes all. */
  perClass: number;
  /** Test pictures of each class, the same whatever the seed; 0 takes all. */
  testPerClass: number;
  seed?: number;
  /** Passes over the training pictures; left out, each way's own. */
  epochs?: number;
}

/** What a comparison will have to do. */
export interface ComparePlan {
  /** Pictures to train on and to test on, all classes together. */
  training: number;
  test: number;
  /** Test pictures come with the set, or are held out of its training pictures. */
  testFrom: "test set" | "held out";
  /** Pictures whose latents are there already, and those that Inception has yet to read; both 0 without transfer. */
  kept: number;
  toRead: number;
  /** How long Inception took for a picture here, lately; null as long as nobody knows. */
  millisecondsAPicture: number | null;
}

/** How far a comparison is. */
export interface CompareProgress {
  /** `read`: Inception reads pictures; `train`: pictures gone through, over all epochs; `test`: pictures asked about. */
  stage: "read" | "train" | "test";
  way: Way;
  done: number;
  total: number;
  /** With `train`, at the end of each epoch: the accuracy of `validation` is on at most 200 of the test pictures, and chooses nothing. */
  epoch: EpochReport | null;
}

/** Right answers; `accuracy` and its 95 % interval (Wilson) are 0 to 1. */
export interface Score { correct: number; total: number; accuracy: number; interval: [number, number] }

/** One way's row of the table. */
export interface WayResult {
  way: Way;
  name: "MLP" | "CNN" | "Inception transfer";
  /** That were learnt here. */
  parameters: number;
  /** Of the base, which were not; 0 for the others. */
  frozenParameters: number;
  /** As Keras prints them: name, output shape without the batch, parameters. */
  layers: { name: string; output: number[]; parameters: number }[];
  /** How it was trained. */
  settings: Required<TrainOptions>;
  epochs: EpochReport[];
  training: Score;
  test: Score;
  /** Without reading, watching and testing. */
  trainSeconds: number;
  /** From a picture's pixels to its answer: networks on pixels are asked about many at once; for transfer Inception's part, for one alone, is included. */
  predictMilliseconds: number;
  /** For transfer: pictures that Inception read for this comparison, and how long that took; those whose latents were kept from before. */
  extraction: { pictures: number; kept: number; seconds: number } | null;
  /** The class answered for each of `testRows`, and its probability. */
  answers: number[];
  probabilities: number[];
}

/** The whole outcome; as JSON it is what `inception-web compare --json` prints. */
export interface Comparison {
  seed: number;
  /** The set that it was drawn from. */
  data: { sha256: string; classes: string[]; training: number; test: number };
  split: {
    perClass: number;
    testPerClass: number;
    testFrom: "test set" | "held out";
    training: number;
    test: number;
    /** Rows of the set's training pictures. */
    trainingRows: number[];
    /** Rows of the set's test pictures, or, where they were held out, of its training pictures. */
    testRows: number[];
    testLabels: number[];
  };
  /** Whose latents transfer read; null without it. */
  base: { name: string; fingerprint: string } | null;
  models: WayResult[];
}

/** Accuracy against pictures a class. */
export interface LearningCurve {
  data: Comparison["data"];
  testFrom: "test set" | "held out";
  test: number;
  sizes: number[];
  seeds: number[];
  /** One for each way and size: a test accuracy for each seed, 0 to 1, in the seeds' order. */
  points: { way: Way; name: WayResult["name"]; perClass: number; accuracies: number[]; mean: number; low: number; high: number }[];
}

export interface CurveOptions {
  ways?: Way[];
  /** Pictures a class; those that some class does not have are left out. */
  sizes: number[];
  testPerClass: number;
  /** How many; 0, 1, 2 ... */
  seeds: number;
  epochs?: number;
}

/** How far a learning curve is. */
export interface CurveProgress extends Omit<CompareProgress, "epoch"> {
  /** Of `runs` trainings (ways x sizes x seeds), from 1; 0 while pictures are read. */
  run: number;
  runs: number;
  perClass: number;
  seed: number;
  /** What is known so far. */
  points: LearningCurve["points"];
}

/** `engine.ways`. */
export interface Ways {
  /** The set in place; null before the first. */
  readonly set: PictureSet | null;
  /**
   * Reads files and puts what they hold in place of the set there was. Files that cannot be read are told in `refused`.
   * @throws {EngineError} the first file's sentence where none can be read; kind `cancelled`. The set before stays.
   */
  open(files: SetFile[], control?: { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<PictureSet>;
  /**
   * Of a learning curve: `training` is of its largest size, `kept` and `toRead` of all its draws.
   * @throws {EngineError} kind `train` where a class has no pictures or there is one class only, `setting`
   */
  plan(options: CompareOptions | CurveOptions): Promise<ComparePlan>;
  /**
   * Reads by Inception what transfer needs and has not been read, then trains and tests one way after another. Latents are kept, also where
   * it is cancelled, and for the next visit.
   * @throws {EngineError} as `plan`; kind `cancelled`
   */
  compare(
    options: CompareOptions,
    control?: { signal?: AbortSignal; onProgress?: (progress: CompareProgress) => void; onWay?: (result: WayResult) => void },
  ): Promise<Comparison>;
  /** @throws {EngineError} as `compare` */
  learningCurve(options: CurveOptions, control?: { signal?: AbortSignal; onProgress?: (progress: CurveProgress) => void }): Promise<LearningCurve>;
  /** Pixels of rows of the set, RGBA 32x32 each. */
  pictures(from: "test set" | "training", rows: number[]): Promise<Uint8ClampedArray<ArrayBuffer>[]>;
  /** The networks as they would be trained on the set's classes (ten without a set). */
  layers(way: Way): Promise<Pick<WayResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">>;
}
