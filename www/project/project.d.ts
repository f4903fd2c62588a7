/**
 * Types of `project.js`: classes and their pictures as one immutable value, and what each change makes of it.
 *
 * No DOM, no worker, no storage. Latents are not in here: they are kept beside it by the picture's hash, so that undo never loses them.
 */

export interface Class {
  /** Stays when the class is renamed or moved. */
  readonly id: number;
  readonly name: string;
}

/** A file that lies in the browser's storage, and is opened when somebody needs it: to open thousands takes a second. */
export interface KeptFile {
  /** The file, the same each time; it stays readable when it is removed from the storage later. @throws {Error} a sentence: it is gone */
  open(): Promise<Blob>;
}

export interface Picture {
  readonly id: number;
  /** The file's name, with its folders. */
  readonly name: string;
  /** A class's id. */
  readonly label: number;
  /** SHA-256 of the file, 64 hexadecimal digits; of the latents' bytes where there is no file. */
  readonly hash: string;
  /** Null where only latents were loaded. */
  readonly file: Blob | KeptFile | null;
}

export interface Project {
  readonly name: string;
  /** In the order people gave them. */
  readonly classes: readonly Class[];
  /** In the order they came. */
  readonly pictures: readonly Picture[];
  /** The next free id, for classes and pictures alike. */
  readonly nextId: number;
}

/** What a project starts as: named "my classes", without classes. */
export const emptyProject: Project;

/** Adds a class; without a name, "Class N" with the first free N. Names are trimmed. @throws {Error} a sentence: empty, or taken */
export function addClass(project: Project, name?: string): { project: Project; id: number };
/** @throws {Error} a sentence: empty, or taken by another class (letter case counts) */
export function renameClass(project: Project, id: number, name: string): Project;
/** Moves a class's pictures into another class, and drops the emptied one; pictures whose hash is there already are dropped. */
export function mergeClasses(project: Project, from: number, into: number): Project;
/** Moves a class to an index. */
export function moveClass(project: Project, id: number, index: number): Project;
/** Removes a class with its pictures. */
export function removeClass(project: Project, id: number): Project;
/** Adds pictures to a class; those whose hash is in that class already are left out and counted. */
export function addPictures(
  project: Project, label: number, pictures: readonly { name: string; hash: string; file: Picture["file"] }[],
): { project: Project; ids: number[]; duplicates: number };
/** Adds pictures by the names of their classes, which are made where missing, in order; duplicates are left out and counted. */
export function addNamed(
  project: Project, classes: readonly string[], pictures: readonly { name: string; hash: string; file: Picture["file"]; className: string }[],
): { project: Project; ids: number[]; duplicates: number };
/** Gives pictures another class; where their hash is in it already, the moved one is dropped. */
export function relabel(project: Project, pictures: Iterable<number>, label: number): Project;
export function removePictures(project: Project, pictures: Iterable<number>): Project;
/** Pictures by class id; classes without pictures are there with an empty list. Computed once a project value. */
export function byClass(project: Project): ReadonlyMap<number, readonly Picture[]>;
/** A picture's file, read from the storage if it lies there; null where only latents were loaded. @throws {Error} a sentence: it is gone */
export function openFile<T extends Picture["file"]>(file: T): Promise<T extends null ? null : Blob>;
/** SHA-256 in hexadecimal. */
export function hashOf(content: Blob | ArrayBufferView): Promise<string>;
