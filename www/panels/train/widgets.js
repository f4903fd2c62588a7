// @ts-check
/** Small things that several parts of the study show: pictures and choices of a class. */
import { make } from "../../ui/dom.js";
import { select } from "../../ui/widgets.js";
import { nameOf } from "./state.js";

/** @import { Picture, Project } from "../../project/project.js" */

/** @param {string | null} url @returns {HTMLElement} what stands for a picture; an empty frame where only latents are there */
export function thumbnail(url) {
  const box = make("span", url ? "study-thumb" : "study-thumb none");
  if (!url) {
    box.title = "Only its latents were loaded, not the picture";
    return box;
  }
  const image = document.createElement("img");
  image.alt = "";
  image.decoding = "async";
  image.draggable = false;
  image.src = url;
  box.append(image);
  return box;
}

/** @param {Picture} picture @returns {HTMLElement} its file's name, with its folders for those who point at it */
export function fileName(picture) {
  const path = nameOf(picture);
  const name = make("span", "study-name", path.slice(path.lastIndexOf("/") + 1));
  name.title = path;
  return name;
}

/**
 * A choice of the project's classes that acts at once.
 * @param {Project} project @param {number | null} label @param {string} name @param {(label: number) => unknown} choose @returns {HTMLSelectElement}
 */
export function classSelect(project, label, name, choose) {
  const element = select(project.classes.map((one) => ({ value: String(one.id), words: one.name })), String(label ?? ""), name);
  element.addEventListener("change", () => choose(Number(element.value)));
  return element;
}
