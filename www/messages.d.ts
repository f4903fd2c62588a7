/** What `engine.js` and `worker.js` say to each other. */
import type { HeadInfo, Prediction } from "./pkg/cpu/inception_web.js";
import type { ErrorKind, LoadProgress, Picture } from "./engine.js";

/** Each method's arguments and value. */
export interface Methods {
  load: { args: LoadArgs; value: Loaded };
  answer: { args: AnswerArgs; value: Outcome[] };
}

export interface LoadArgs { device: "auto" | "webgpu" | "cpu"; weights?: string; head?: string }

export interface Loaded {
  device: "webgpu" | "cpu";
  deviceName: string;
  notice: string | null;
  /** Pictures that one message should carry. */
  batch: number;
  base: { name: string; source: string; licence: string; note: string; dtype: string; fingerprint: string; bytes: number; cached: boolean };
  head: HeadInfo;
}

export interface AnswerArgs { pictures: Picture[]; topK: number; thumbnails: boolean }

export type Outcome =
  | { latents: Float32Array; predictions: Prediction[]; milliseconds: number; width: number; height: number; thumbnail?: Blob }
  | { error: { kind: ErrorKind; message: string } };

export type Request = { [M in keyof Methods]: { id: number; method: M; args: Methods[M]["args"] } }[keyof Methods];

export type Reply =
  | { id: number; value: unknown }
  | { id: number; error: { kind: ErrorKind; message: string } }
  | { id: number; progress: LoadProgress };
