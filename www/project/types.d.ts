/** The project: classes and their pictures as one immutable value. Latents are stored separately, by the picture's hash, so undo never loses them. */

export interface Class {
  /** Does not change when the class is renamed or moved. */
  readonly id: number;
  readonly name: string;
}

/** A file in the browser's storage. It is opened on first use, because opening thousands takes a second. */
export interface KeptFile {
  /** Returns the same Blob each time; it stays readable after it is removed from the storage. @throws {Error} if the file was removed before */
  open(): Promise<Blob>;
}

export interface Picture {
  readonly id: number;
  /** The file's name, with its folders. */
  readonly name: string;
  /** The id of its class. */
  readonly label: number;
  /** SHA-256 of the file as 64 hexadecimal digits; without a file, of the latents' bytes. */
  readonly hash: string;
  /** Null if only latents were loaded. */
  readonly file: Blob | KeptFile | null;
}

export interface Project {
  readonly name: string;
  /** In display order. */
  readonly classes: readonly Class[];
  /** In the order they were added. */
  readonly pictures: readonly Picture[];
  /** The next free id; classes and pictures share one sequence. */
  readonly nextId: number;
}
