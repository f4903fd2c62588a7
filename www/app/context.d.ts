/** The interfaces between `app.js` and the panels. */
import type { DroppedFile } from "../ui/drop.js";
import type { Embedded, Engine } from "../engine/types.js";
import type { Kept, Store } from "../project/store-types.js";
import type { Picture, Project } from "../project/types.js";

/** What `app.js` provides to every panel. */
export interface Context {
  /** Null while the engine loads, and after it failed. */
  engine(): Engine | null;
  /** Null if the browser grants no storage. */
  store(): Store | null;
  project(): Project;
  embedded(): ReadonlyMap<string, Embedded>;
  /** Replaces the project: renders it, updates the engine, saves it, and adds one undo step named `label` ("Relabel 3 pictures"). */
  change(project: Project, label: string): void;
  /** Runs `action` and catches its errors: shows the message, logs the cause. Cancelled work is ignored. */
  attempt(action: () => Promise<unknown>): Promise<void>;
  /** Announces `text` to screen readers. */
  announce(text: string): void;
  /** Updates the status line and the shown answers after the engine changed its head. */
  headChanged(): void;
  /** URL of a picture's thumbnail or, without one, of its file; null if it has neither. The page caches and revokes the URLs of files. */
  pictureUrl(picture: Picture): string | null;
}

/** `panels/train/controller.js`: training, evaluation, runs, map and explanations. It fills the element `#train`. */
export interface TrainPanel {
  /** Call when the engine is ready and the stored data is loaded: shows the runs and restores the head in use. */
  ready(kept: Kept): Promise<void>;
  /** Call when the project or its latents changed. */
  projectChanged(): void;
  /** Disables training while the server is still building its code. */
  setBuilding(building: boolean): void;
  /** Opens a dialog that explains an answer: an evidence map and the nearest training pictures. */
  why(name: string, picture: Blob, latents: Float32Array, label: string): Promise<void>;
  /** All runs and the head in use, for a saved project. */
  kept(): Pick<Kept, "runs" | "runInUse" | "head">;
  /** Whether training or cross-validation is running; if so, the page asks before it closes. */
  readonly busy: boolean;
}

/** `panels/compare/controller.js`: trains and compares three models on small pictures. It fills the element `#three-ways`. */
export interface ComparePanel {
  /** Call when the engine is ready. */
  ready(): Promise<void>;
  /** Call when the project changed, because its pictures can be compared too. */
  projectChanged(): void;
  /** Whether `target` is inside this panel. */
  contains(target: Element | null): boolean;
  /** Whether this panel handles dropped files: CIFAR-10 files by name, and any files dropped onto it. */
  accepts(files: readonly DroppedFile[], target: Element | null): boolean;
  onFiles(files: readonly DroppedFile[]): Promise<void>;
  /** Whether a long job is running; if so, the page asks before it closes. */
  readonly busy: boolean;
}
