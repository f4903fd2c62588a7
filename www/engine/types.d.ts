/** The types of the JavaScript API. `engine.d.ts` exports all of them. */
import type { EngineError, ErrorKind } from "./error.js";
import type { Project } from "../project/types.js";

export type { EngineError, ErrorKind };

// ---- pictures and answers ----

/** A picture file, or decoded pixels. */
export type Picture = Blob | ImageBitmap | ImageData;

/** A class and its probability, 0 to 1. */
export interface Prediction { label: string; probability: number }

/** The result for one picture. */
export interface Answer {
  /** Sorted by probability, highest first. */
  predictions: Prediction[];
  /** The input of the head: 2048 numbers. */
  latents: Float32Array;
  /** Time for decoding, resizing and the network. The time of a batch is divided equally among its pictures. */
  milliseconds: number;
  /** Width in pixels, after EXIF rotation. */
  width: number;
  /** Height in pixels, after EXIF rotation. */
  height: number;
  /** The network's input as a JPEG, 299x299, stretched to a square. Present only if `thumbnails` was requested. */
  thumbnail?: Blob;
}

/** The values that are computed once for each picture and stored. */
export interface Embedded {
  /** 2048 numbers. */
  latents: Float32Array;
  /** Size in pixels, after EXIF rotation; 0 if only latents were imported. */
  width: number;
  height: number;
  /** The network's input as a square JPEG, stretched. */
  thumbnail: Uint8Array<ArrayBuffer> | null;
}

// ---- loading ----

export interface EngineOptions {
  /** `auto` (the default) uses WebGPU on a real GPU, and the CPU otherwise. */
  device?: "auto" | "webgpu" | "cpu";
  /**
   * The URL of a weights file written by `inception-web weights`, or a base stored by `convertBase`; by default the built-in base.
   * The content of a URL must never change: it is cached.
   */
  weights?: string | KeptBase;
  /** The URL of a head file written by `inception-web train`. Default: the site's head if it fits the base, else the base's own classifier. */
  head?: string;
  onProgress?: (progress: LoadProgress) => void;
  /** Called when `device`, `deviceName` or `notice` changed: when a lost GPU or a dead worker is detected, and after the restart. */
  onChange?: () => void;
}

/**
 * Progress of loading: bytes for `runtime` and `weights` (0 if unknown), steps for the other stages. Only WebGPU has the stage `kernels`.
 * During `weights`, `layers` is the number of layers that are ready, of 94.
 */
export interface LoadProgress { stage: "runtime" | "kernels" | "weights" | "prepare" | "check"; done: number; total: number; layers?: number }

/** A base that is stored in this browser. */
export interface KeptBase { name: string; fingerprint: string; dtype: string; bytes: number; sha256: string }

export interface ConvertOptions {
  name?: string;
  /** Expected SHA-256 of every file, in hexadecimal. */
  sha256?: string | null;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

// ---- requests ----

/** Finished and total work items, usually pictures. */
export interface BatchProgress { done: number; total: number }

export interface LatentsOptions { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }

export interface EmbedOptions extends LatentsOptions {
  /** Side of the thumbnails in pixels; 0 (the default) makes none. */
  thumbnails?: number;
  /** Called for every picture, in order. If given, a broken picture does not stop the others: its entry in the result is null. */
  onPicture?: (index: number, outcome: Embedded | EngineError) => void;
}

export interface ClassifyOptions extends LatentsOptions {
  /** Number of classes to return for each picture; 5 by default. */
  topK?: number;
  /** Whether answers include a thumbnail of the network's input. */
  thumbnails?: boolean;
  /** Called for every picture, in order. If given, a broken picture does not stop the others: its entry in the result is null. */
  onPicture?: (index: number, outcome: Answer | EngineError) => void;
}

// ---- training and evaluation ----

/** Settings of a training. Omitted settings take their value from `engine.defaults`. */
export interface TrainOptions {
  /** Units of the hidden layer; 0 for a linear head. */
  hidden?: number;
  /** Dropout rate of the hidden layer, 0 to below 1. */
  dropout?: number;
  optimizer?: "adamw" | "adam";
  learningRate?: number;
  /** AdamW only; multiplied by the learning rate. */
  weightDecay?: number;
  /** Batch size in pictures. */
  batch?: number;
  /** Maximum number of epochs. */
  epochs?: number;
  /** Share of the target that is spread evenly over all classes, 0 to below 1. */
  labelSmoothing?: number;
  /** `balanced` weights each picture by the inverse frequency of its class. */
  classWeights?: "none" | "balanced";
  /** The same seed and data give a bit-identical head on the same machine. */
  seed?: number;
  /** Share of each class in the validation split, 0 to 0.9. */
  validation?: number;
  /**
   * Number of epochs without a lower validation loss after which training stops and the best epoch is kept; 0 disables early stopping.
   * With fewer than 20 validation pictures all epochs are run and the last one is kept, because the best one would be chosen by chance.
   */
  patience?: number;
  /** Display name of the head. */
  name?: string;
}

/**
 * Losses are mean cross-entropies in nats, accuracies are 0 to 1. `validationLoss` and `validationAccuracy` are null without validation
 * pictures.
 */
export interface EpochReport {
  /** Counted from 1. */
  epoch: number;
  /** Maximum number of epochs. */
  epochs: number;
  loss: number;
  accuracy: number;
  validationLoss: number | null;
  validationAccuracy: number | null;
  /** Whether this is the best epoch so far. */
  best: boolean;
}

export interface TrainControl {
  onEpoch?: (report: EpochReport) => void;
  /** Cancels the training; the current head stays in use. */
  signal?: AbortSignal;
}

export interface TrainReport {
  /** All settings, defaults included. */
  settings: Required<TrainOptions>;
  /** Classes of the head with their number of pictures, validation included. */
  classes: { name: string; pictures: number }[];
  /** Number of training pictures. */
  pictures: number;
  epochs: EpochReport[];
  /** The epoch whose weights were kept. */
  bestEpoch: number;
  /** `finished`: all epochs were run. `early`: patience ran out. `stopped`: stopped by `control("stop")`. */
  end: "finished" | "early" | "stopped";
  seconds: number;
  /** Evaluation on the validation split; null without one. */
  evaluation: Evaluation | null;
}

/** Quality of a head on labelled pictures. */
export interface Evaluation {
  /** `validation`, `folds`: pictures that the head was not trained on. `dataset`: may include training pictures. */
  on: "validation" | "folds" | "dataset";
  /** Number of cross-validation folds; 0 without cross-validation. */
  folds: number;
  correct: number;
  total: number;
  /** 0 to 1, with its 95 % interval (Wilson). */
  accuracy: number;
  interval: [number, number];
  macroF1: number;
  /** In the order of the head. Precision is null for a class that was never predicted, recall for a class without pictures. */
  classes: { name: string; pictures: number; precision: number | null; recall: number | null; f1: number | null }[];
  /** Number of pictures, [true class][predicted class]. */
  confusion: number[][];
  /** Expected calibration error over ten bins, 0 to 1, with the fitted temperature and without. */
  calibrationError: number;
  calibrationErrorBefore: number;
  /** Divisor of the logits; 1 if none was fitted. */
  temperature: number;
  /** The ten bins: mean confidence and accuracy of their predictions. */
  bins: { confidence: number; accuracy: number; pictures: number }[];
  /** One entry per picture; `id` is its id in the dataset, `label` and `answered` are indices into `classes`. */
  answers: { id: number; label: number; answered: number; probability: number }[];
  /** Pictures with a doubtful label, most doubtful first; only with folds. `given` and `suggested` are indices into `classes`. */
  mislabels: { id: number; given: number; suggested: number; givenProbability: number; suggestedProbability: number }[];
}

export interface EvaluateOptions extends TrainOptions {
  /** Number of cross-validation folds. For each fold, a head is trained on the other folds and evaluated on this one. */
  folds?: number;
}

// ---- the dataset ----

/** The result of importing latents. */
export interface Imported {
  classes: string[];
  pictures: number;
  /** Rows that were already in the dataset. */
  duplicates: number;
  /** A message for the user, for example that a file does not name the base that computed it; else null. */
  notice: string | null;
}

/** The pictures that heads are trained on: a project (see ../project/types.d.ts), and the latents of its pictures, keyed by hash. */
export interface Dataset {
  /** Class names, in order. */
  readonly classes: string[];
  /** Number of pictures that have latents. */
  readonly count: number;
  /** The project, an immutable value. Assign a new one to replace it. */
  project: Project;
  /** Latents, keyed by the hash of the picture. Entries are never removed, so that undo keeps them. */
  readonly embedded: Map<string, Embedded>;
  /**
   * Computes the latents of pictures and adds the pictures to a class; creates the class if it does not exist. A picture that is already in
   * the class is not added again.
   * @returns ids of the added pictures
   * @throws {EngineError} for the first broken picture; kind `cancelled`
   */
  add(className: string, pictures: Picture | Picture[], options?: EmbedOptions): Promise<number[]>;
  /** Removes pictures by id, or a whole class by name. */
  remove(what: number | number[] | string): void;
}

// ---- the engine ----

export interface Engine {
  /** The device in use. */
  readonly device: "webgpu" | "cpu";
  /** The folder of the wasm module in use, below `pkg/`. */
  readonly build: "webgpu" | "relaxed" | "cpu";
  /** Whether the site had all WebAssembly builds when the engine was loaded; a development server makes some while it serves the page. */
  readonly complete: boolean;
  /** Display name of the device. */
  readonly deviceName: string;
  /** A message for the user, for example that the requested device could not be used; else null. */
  readonly notice: string | null;
  /** SHA-256 of the base's weights and preprocessing, 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** Class names of the head; empty if the base has no classifier of its own and no head has been trained yet. */
  readonly classes: string[];
  /**
   * `deviation` is the result of the self-test: the largest difference from the latents stored in the weights file, relative to the largest
   * of these. On the CPU the self-test runs once for each combination of runtime, base and browser.
   */
  readonly base: { name: string; source: string; licence: string; note: string; dtype: string; bytes: number; cached: boolean; deviation: number };
  /** `accuracy` and `interval` are 0 to 1, measured on `testPictures` held-out pictures; null if not measured. */
  readonly head: {
    name: string; classes: string[]; pictures: number; accuracy: number | null; interval: [number, number] | null; testPictures: number | null;
  };
  /**
   * Computes the 2048 latents of each picture.
   * @throws {EngineError} for the first broken picture; kind `cancelled`
   */
  latents(pictures: Picture[], options?: LatentsOptions): Promise<Float32Array[]>;
  /**
   * Returns the most probable classes for each picture.
   * @throws {EngineError} for the first broken picture if there is no `onPicture`; kind `cancelled`
   */
  classify(pictures: Picture[], options: ClassifyOptions & { onPicture: NonNullable<ClassifyOptions["onPicture"]> }): Promise<(Prediction[] | null)[]>;
  classify(pictures: Picture[], options?: ClassifyOptions): Promise<Prediction[][]>;
  /** Like `latents`, but also returns sizes and thumbnails, and can skip broken pictures. */
  embed(pictures: Picture[], options?: EmbedOptions): Promise<(Embedded | null)[]>;
  /** Classifies existing latents with the current head. Fast: the network is not run. */
  predict(latents: Float32Array, topK?: number): Promise<Prediction[]>;
  readonly dataset: Dataset;
  /** Default training settings. */
  readonly defaults: Required<TrainOptions>;
  /**
   * Trains a head on the latents of the dataset, on the CPU, and makes it the current head.
   * @throws {EngineError} kind `train` if there are too few pictures or classes; kinds `setting`, `cancelled`
   */
  train(options?: TrainOptions, control?: TrainControl): Promise<TrainReport>;
  /** Controls the running training. `stop` ends it after the current epoch and keeps the best one. */
  control(command: "pause" | "resume" | "stop"): void;
  /**
   * Without `folds`: evaluates the current head on the pictures of its validation split that are still in the dataset, or on the whole dataset
   * if the head was not trained in this session. With `folds`: cross-validates heads trained with these options.
   */
  evaluate(options?: EvaluateOptions, control?: { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<Evaluation>;
  /** Loads a head file (safetensors, for this base) and makes it the current head. */
  openHead(file: Blob | Uint8Array): Promise<void>;
  /** Restores the initial head. */
  resetHead(): Promise<void>;
  /** Writes the current head to a file. `onnx` (opset 17) maps latents to probabilities; `npz` holds the arrays of the layers. */
  exportHead(form: "safetensors" | "onnx" | "npz"): Promise<Blob>;
  /** Writes the dataset to a file: latents in f32, with labels. */
  exportLatents(form: "safetensors" | "npz"): Promise<Blob>;
  /** Reads files of latents without adding them to the dataset: [N x 2048] numbers, labels as indices into the classes. Fails if any file is invalid. */
  readLatents(files: Blob[]): Promise<{ classes: string[]; names: string[]; labels: Uint32Array; latents: Float32Array; notice: string | null }[]>;
  /** Reads files of latents and adds their rows to the dataset, matching classes by name. Adds nothing if any file is invalid. */
  importLatents(files: Blob | Blob[]): Promise<Imported>;
  /** Returns the pictures of the dataset with the highest cosine similarity (-1 to 1) to the given latents, highest first. */
  nearest(latents: Float32Array, count: number): Promise<{ id: number; similarity: number }[]>;
  /** Computes the class activation map of a picture for a class: 8x8, row-major, 0 to 1. */
  explain(picture: Picture, label: string): Promise<{ side: number; values: Float32Array }>;
  /** Projects the dataset to two dimensions: x, y for each id, 0 to 1. UMAP runs in its own worker. */
  map(method: "pca" | "umap", options?: { seed?: number; signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<{ ids: number[]; points: Float32Array }>;
  /** Comparison of three models on 32x32 pictures. */
  readonly ways: ModelComparison;
  /** The page reports predictions below this probability as unsure. Stored in the head file. */
  unsureBelow: number;
  /** Terminates the workers. Pending requests are rejected with kind `disposed`. */
  dispose(): void;
}

// ---- comparison of models ----

/** An MLP or a CNN on 32x32 pixels, or a head on the latents of the base. */
export type ModelKind = "mlp" | "cnn" | "transfer";

/**
 * A file of a picture set. Without `className` it is a CIFAR-10 file: `data_batch_*.bin`, `test_batch.bin`, `batches.meta.txt`, a file of the
 * Python version, or a tarball of either. With `className` it is a picture of that class in any supported format; it is resized to 32x32.
 */
export interface SetFile {
  name: string;
  file: Blob;
  className?: string;
  /** Whether a picture belongs to the test set. */
  test?: boolean;
}

/** Labelled 32x32 pictures for training and testing. */
export interface PictureSet {
  /** SHA-256 of classes, labels and pixels, 64 hexadecimal digits. */
  readonly sha256: string;
  readonly classes: string[];
  /** Number of training pictures of each class. */
  readonly training: number[];
  /** Number of test pictures of each class. All zero if the set has none; then part of the training pictures is held out by the seed. */
  readonly test: number[];
  /** The first pictures of each class, at most ten: RGBA, 32x32. */
  readonly samples: Uint8ClampedArray<ArrayBuffer>[][];
  /** The mean training picture of each class; null for a class without pictures. */
  readonly means: (Uint8ClampedArray<ArrayBuffer> | null)[];
  /** Files that could not be read, with the error message. */
  readonly refused: { name: string; message: string }[];
}

/** Options of a comparison. The same options, set and device give the same results, except for times. */
export interface CompareOptions {
  /** In the order in which they are trained; all three by default. */
  ways?: ModelKind[];
  /** Training pictures for each class, sampled by the seed; 0 uses all. */
  perClass: number;
  /** Test pictures for each class, independent of the seed; 0 uses all. */
  testPerClass: number;
  seed?: number;
  /** Number of epochs; by default each model's own. */
  epochs?: number;
}

/** The work that a comparison requires. */
export interface ComparePlan {
  /** Training and test pictures, summed over all classes. */
  training: number;
  test: number;
  /** Whether test pictures come from the test set or are held out from the training pictures. */
  testFrom: "test set" | "held out";
  /** Pictures with cached latents, and pictures whose latents must be computed; both 0 without transfer. */
  kept: number;
  toRead: number;
  /** Recent time per picture of the network on this device; null if not measured yet. */
  millisecondsAPicture: number | null;
}

/** Progress of a comparison. */
export interface CompareProgress {
  /** `read`: latents are computed. `train`: `done` counts pictures over all epochs. `test`: pictures are classified. */
  stage: "read" | "train" | "test";
  way: ModelKind;
  done: number;
  total: number;
  /** With `train`, at the end of each epoch. Its `validation` values are measured on at most 200 test pictures and do not affect training. */
  epoch: EpochReport | null;
}

/** Number of correct predictions; `accuracy` and its 95 % interval (Wilson) are 0 to 1. */
export interface Score { correct: number; total: number; accuracy: number; interval: [number, number] }

/** The result of one model. */
export interface ModelResult {
  way: ModelKind;
  name: "MLP" | "CNN" | "Inception transfer";
  /** Number of trained parameters. */
  parameters: number;
  /** Number of parameters of the base; 0 for the other models. */
  frozenParameters: number;
  /** Like the summary of Keras: name, output shape without the batch, parameters. */
  layers: { name: string; output: number[]; parameters: number }[];
  /** Training settings. */
  settings: Required<TrainOptions>;
  epochs: EpochReport[];
  training: Score;
  test: Score;
  /** Excludes computing latents, evaluation after each epoch, and testing. */
  trainSeconds: number;
  /** Time per picture from pixels to prediction. MLP and CNN are timed in batches; for transfer it includes the base, timed on single pictures. */
  predictMilliseconds: number;
  /** For transfer: number of pictures whose latents were computed and the time this took, and number of pictures with cached latents. */
  extraction: { pictures: number; kept: number; seconds: number } | null;
  /** The predicted class for each of `testRows`, and its probability. */
  answers: number[];
  probabilities: number[];
}

/** The result of a comparison. Its JSON is the same as the output of `inception-web compare --json`. */
export interface Comparison {
  seed: number;
  /** The picture set. */
  data: { sha256: string; classes: string[]; training: number; test: number };
  split: {
    perClass: number;
    testPerClass: number;
    testFrom: "test set" | "held out";
    training: number;
    test: number;
    /** Row indices into the training pictures of the set. */
    trainingRows: number[];
    /** Row indices into the test pictures of the set, or into its training pictures if test pictures were held out. */
    testRows: number[];
    testLabels: number[];
  };
  /** The base that computed the latents for transfer; null without transfer. */
  base: { name: string; fingerprint: string } | null;
  models: ModelResult[];
}

/** Accuracy as a function of the number of pictures per class. */
export interface LearningCurve {
  data: Comparison["data"];
  testFrom: "test set" | "held out";
  test: number;
  sizes: number[];
  seeds: number[];
  /** One for each model and size; `accuracies` are test accuracies, 0 to 1, in the order of the seeds. */
  points: { way: ModelKind; name: ModelResult["name"]; perClass: number; accuracies: number[]; mean: number; low: number; high: number }[];
}

export interface CurveOptions {
  ways?: ModelKind[];
  /** Numbers of pictures per class. Sizes larger than the smallest class are skipped. */
  sizes: number[];
  testPerClass: number;
  /** Number of seeds: 0, 1, 2 ... */
  seeds: number;
  epochs?: number;
}

/** Progress of a learning curve. */
export interface CurveProgress extends Omit<CompareProgress, "epoch"> {
  /** The current training, from 1 to `runs` (models x sizes x seeds); 0 while latents are computed. */
  run: number;
  runs: number;
  perClass: number;
  seed: number;
  /** Results so far. */
  points: LearningCurve["points"];
}

/** `engine.ways`: trains and tests three models on the same pictures. */
export interface ModelComparison {
  /** The current picture set; null before the first one is opened. */
  readonly set: PictureSet | null;
  /**
   * Reads files and replaces the current set. Files that cannot be read are listed in `refused`.
   * @throws {EngineError} the error of the first file if none can be read; kind `cancelled`. The current set is kept.
   */
  open(files: SetFile[], control?: { signal?: AbortSignal; onProgress?: (progress: BatchProgress) => void }): Promise<PictureSet>;
  /**
   * Returns the work of a comparison or a learning curve. For a learning curve, `training` refers to the largest size, and `kept` and `toRead`
   * to all samples.
   * @throws {EngineError} kind `train` if a class has no pictures or there is only one class; kind `setting`
   */
  plan(options: CompareOptions | CurveOptions): Promise<ComparePlan>;
  /**
   * Computes missing latents for transfer, then trains and tests one model after another. Latents are cached for later visits, even if the
   * comparison is cancelled.
   * @throws {EngineError} the same as `plan`; kind `cancelled`
   */
  compare(
    options: CompareOptions,
    control?: { signal?: AbortSignal; onProgress?: (progress: CompareProgress) => void; onWay?: (result: ModelResult) => void },
  ): Promise<Comparison>;
  /** @throws {EngineError} the same as `compare` */
  learningCurve(options: CurveOptions, control?: { signal?: AbortSignal; onProgress?: (progress: CurveProgress) => void }): Promise<LearningCurve>;
  /** Returns the pixels of rows of the set, RGBA, 32x32 each. */
  pictures(from: "test set" | "training", rows: number[]): Promise<Uint8ClampedArray<ArrayBuffer>[]>;
  /** Describes a network for the classes of the current set (ten without a set). */
  layers(way: ModelKind): Promise<Pick<ModelResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">>;
}
