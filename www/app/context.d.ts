/** What `app.js` lends to the wires of each room of the page. */
import type { Arrival } from "../ui/drop.js";
import type { Embedded, Engine } from "../engine/engine.js";
import type { Picture, Project } from "../project/project.js";
import type { Kept, Store } from "../project/store.js";

export interface Context {
  /** Null until it is loaded, and after it failed. */
  engine(): Engine | null;
  /** Null where the browser grants no storage. */
  store(): Store | null;
  project(): Project;
  embedded(): ReadonlyMap<string, Embedded>;
  /** Puts a changed project in place: shown, told to the engine, saved, and undone by one step that is called `words` ("Relabel 3 pictures"). */
  change(project: Project, words: string): void;
  /** The one place that catches: shows the error's sentence, keeps the cause for the console. Cancelled work is no error. */
  attempt(verb: () => Promise<unknown>): Promise<void>;
  /** Tells a screen reader. */
  announce(words: string): void;
  /** The engine has another head in use: the status line and the answers shown follow. */
  headChanged(): void;
  /** An address of what stands for a picture: its thumbnail, or its file of this visit; null if it has neither. Those of files are kept and revoked by the page. */
  pictureUrl(picture: Picture): string | null;
}

/** `study/wires.js`: training, evaluation, runs, map, and why an answer was given. Its views fill the element `#study`. */
export interface Study {
  /** The engine is ready, and what was kept has been loaded: runs are shown, and the head that was in use is put in use again. */
  ready(kept: Kept): Promise<void>;
  /** The project or its latents changed. */
  projectChanged(): void;
  /** Opens the reasons for an answer in a dialog: where the evidence lies, and the nearest training pictures. */
  why(name: string, picture: Blob, latents: Float32Array, label: string): Promise<void>;
  /** All runs and the head in use, to go into a saved project. */
  kept(): Pick<Kept, "runs" | "runInUse" | "head">;
  /** Whether training or cross-validation is under way (leaving the page then asks first). */
  readonly busy: boolean;
}

/** `compare/wires.js`: three ways to classify small pictures, side by side. Its view fills the element `#three-ways`. */
export interface Compare {
  /** The engine is ready. */
  ready(): Promise<void>;
  /** The project changed: its pictures can be compared too. */
  projectChanged(): void;
  /** Whether a place of the page is in this room. */
  holds(target: Element | null): boolean;
  /** Whether files that came to a place of the page are for this room: CIFAR-10's by their names, or any that came onto it. */
  takes(files: readonly Arrival[], target: Element | null): boolean;
  came(files: readonly Arrival[]): Promise<void>;
  /** Whether something long is under way (leaving the page then asks first). */
  readonly busy: boolean;
}
