/** The messages between the page (rpc.js) and the workers. */
import type { HeadInfo, Prediction, TableEvaluation, LatentTable, TrainingResult } from "../pkg/tools/inception_web.js";
import type {
  BatchProgress, CompareOptions, ComparePlan, CompareProgress, Comparison, CurveOptions, CurveProgress, EpochReport, ErrorKind, KeptBase, LearningCurve,
  LoadProgress, ModelKind, ModelResult, Picture, PictureSet, SetFile, TrainOptions, TrainReport,
} from "./types.js";

/** The methods of worker.js: arguments, return value and progress messages. */
export interface Methods {
  load: { args: LoadArgs; value: Loaded; progress: LoadProgress };
  convert: { args: { files: File[]; name?: string; sha256?: string | null }; value: KeptBase; progress: LoadProgress };
  answer: { args: AnswerArgs; value: Outcome[]; progress: never };
  predict: { args: { latents: Float32Array; topK: number }; value: Prediction[]; progress: never };
  explain: { args: { picture: Picture; label: string }; value: Float32Array; progress: never };
  openHead: { args: { bytes: Uint8Array | null }; value: HeadInfo; progress: never };
  writeHead: { args: { form: string }; value: Uint8Array<ArrayBuffer>; progress: never };
  setUnsureBelow: { args: { share: number }; value: null; progress: never };
  setTable: { args: TableArgs; value: null; progress: never };
  readLatents: { args: { files: Blob[] }; value: LatentTable[]; progress: never };
  writeLatents: { args: { form: string }; value: Uint8Array<ArrayBuffer>; progress: never };
  train: { args: { settings: TrainOptions }; value: Trained; progress: EpochReport };
  control: { args: { command: JobControl }; value: null; progress: never };
  crossValidate: { args: { settings: TrainOptions; folds: number }; value: TableEvaluation; progress: BatchProgress };
  evaluate: { args: { rows: Uint32Array }; value: TableEvaluation; progress: never };
  nearest: { args: { latents: Float32Array; count: number }; value: Float32Array; progress: never };
  openSet: { args: { files: SetFile[] }; value: PictureSet; progress: BatchProgress };
  plan: { args: { options: CompareOptions | CurveOptions }; value: ComparePlan; progress: never };
  compare: { args: { options: CompareOptions }; value: Comparison; progress: CompareProgress | { result: ModelResult } };
  learningCurve: { args: { options: CurveOptions }; value: LearningCurve; progress: CurveProgress };
  setPictures: { args: { from: "test set" | "training"; rows: number[] }; value: Uint8ClampedArray<ArrayBuffer>[]; progress: never };
  layers: { args: { way: ModelKind }; value: Pick<ModelResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">; progress: never };
  components: { args: { count: number }; value: Float32Array<ArrayBuffer>; progress: never };
}

/** The method of umap.js: [N x components] principal components to [N x 2] coordinates. */
export interface UmapMethods {
  umap: { args: { table: Float32Array<ArrayBuffer>; components: number; seed: number }; value: Float32Array; progress: BatchProgress };
}

/** Commands for the running job: a training, cross-validation, comparison or import. */
export type JobControl = "pause" | "resume" | "stop" | "cancel";

/** `liveness` is the name of the lock that the worker holds for as long as it lives (liveness.js). */
export interface LoadArgs { device: "auto" | "webgpu" | "cpu"; liveness: string; weights?: string | KeptBase; head?: string }

export interface Loaded {
  device: "webgpu" | "cpu";
  /** The folder of the wasm module in use, below `pkg/`. */
  build: "webgpu" | "relaxed" | "cpu";
  /** Whether the site had all builds; a development server makes some of them while it serves the page. */
  complete: boolean;
  deviceName: string;
  notice: string | null;
  /** Number of pictures to send in one message. */
  batch: number;
  base: { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string; bytes: number; cached: boolean; deviation: number };
  head: HeadInfo;
  defaults: Required<TrainOptions>;
}

/** `thumbnails` is the side in pixels; 0 makes none. */
export interface AnswerArgs { pictures: Picture[]; topK: number; thumbnails: number }

/** [N x 2048] latents; for each row an index into the classes, and a name. */
export interface TableArgs { latents: Float32Array; labels: Uint32Array; classes: string[]; names: string[] }

export type Trained = Omit<TrainingResult, "head"> & { head: HeadInfo } & Pick<TrainReport, "epochs" | "end" | "seconds">;

export type Outcome =
  | { latents: Float32Array; predictions: Prediction[]; milliseconds: number; width: number; height: number; thumbnail?: Uint8Array<ArrayBuffer> }
  | { error: { kind: ErrorKind; message: string } };

export type Request = { [M in keyof Methods]: { id: number; method: M; args: Methods[M]["args"] } }[keyof Methods];

export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: { kind: ErrorKind; message: string } }
  | { id: number; progress: unknown };
