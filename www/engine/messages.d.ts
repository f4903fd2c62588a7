/** What `engine.js` and `worker.js` say to each other. */
import type { HeadInfo, Prediction, Scored, Table, TrainedInfo } from "../pkg/tools/inception_web.js";
import type { ComparePlan, CompareOptions, CompareProgress, Comparison, CurveOptions, CurveProgress, LearningCurve, PictureSet, SetFile, Way, WayResult } from "./comparison.js";
import type { BatchProgress, EpochReport, ErrorKind, KeptBase, LoadProgress, Picture, TrainOptions, TrainReport } from "./engine.js";

/** Each method's arguments and value, and what it tells on the way. */
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
  readLatents: { args: { files: Blob[] }; value: Table[]; progress: never };
  writeLatents: { args: { form: string }; value: Uint8Array<ArrayBuffer>; progress: never };
  train: { args: { settings: TrainOptions }; value: Trained; progress: EpochReport };
  steer: { args: { wish: Wish }; value: null; progress: never };
  crossValidate: { args: { settings: TrainOptions; folds: number }; value: Scored; progress: BatchProgress };
  evaluate: { args: { rows: Uint32Array }; value: Scored; progress: never };
  nearest: { args: { latents: Float32Array; count: number }; value: Float32Array; progress: never };
  openSet: { args: { files: SetFile[] }; value: PictureSet; progress: BatchProgress };
  plan: { args: { options: CompareOptions | CurveOptions }; value: ComparePlan; progress: never };
  compare: { args: { options: CompareOptions }; value: Comparison; progress: CompareProgress | { result: WayResult } };
  learningCurve: { args: { options: CurveOptions }; value: LearningCurve; progress: CurveProgress };
  setPictures: { args: { from: "test set" | "training"; rows: number[] }; value: Uint8ClampedArray<ArrayBuffer>[]; progress: never };
  layers: { args: { way: Way }; value: Pick<WayResult, "way" | "name" | "parameters" | "frozenParameters" | "layers">; progress: never };
  components: { args: { count: number }; value: Float32Array<ArrayBuffer>; progress: never };
}

/** What people want of the long work under way. */
export type Wish = "pause" | "resume" | "stop" | "cancel";

/** `lifeline` is to be held for as long as the worker lives. */
export interface LoadArgs { device: "auto" | "webgpu" | "cpu"; lifeline: string; weights?: string | KeptBase; head?: string }

export interface Loaded {
  device: "webgpu" | "cpu";
  /** The folder of `pkg/` with the program in use. */
  build: "webgpu" | "relaxed" | "cpu";
  deviceName: string;
  notice: string | null;
  /** Pictures that one message should carry. */
  batch: number;
  base: { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string; bytes: number; cached: boolean; deviation: number };
  head: HeadInfo;
  defaults: Required<TrainOptions>;
}

/** `thumbnails` is pixels a side; 0 makes none. */
export interface AnswerArgs { pictures: Picture[]; topK: number; thumbnails: number }

/** A labelled table: [N x 2048] latents, and for each row an index into the classes, and a name. */
export interface TableArgs { latents: Float32Array; labels: Uint32Array; classes: string[]; names: string[] }

export type Trained = Omit<TrainedInfo, "head"> & { head: HeadInfo } & Pick<TrainReport, "epochs" | "end" | "seconds">;

export type Outcome =
  | { latents: Float32Array; predictions: Prediction[]; milliseconds: number; width: number; height: number; thumbnail?: Uint8Array<ArrayBuffer> }
  | { error: { kind: ErrorKind; message: string } };

export type Request = { [M in keyof Methods]: { id: number; method: M; args: Methods[M]["args"] } }[keyof Methods];

export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: { kind: ErrorKind; message: string } }
  | { id: number; progress: unknown };
