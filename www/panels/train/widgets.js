// @ts-check
/** Widgets shared by the train panel: thumbnails, file names, class menus. */
import { make } from "../../ui/dom.js";
import { select } from "../../ui/widgets.js";
import { nameOf } from "./texts.js";

/** @import { Picture, Project } from "../../project/types.js" */

/** @param {string | null} url @returns {HTMLElement} an empty frame where the picture has no image, only latents */
export function thumbnail(url) {
  const box = make("span", url ? "panel-thumb" : "panel-thumb none");
  if (!url) {
    box.title = "Only the latents were loaded, not the picture";
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

/** @param {Picture} picture @returns {HTMLElement} the file name; its tooltip is the full path */
export function fileName(picture) {
  const path = nameOf(picture);
  const name = make("span", "panel-name", path.slice(path.lastIndexOf("/") + 1));
  name.title = path;
  return name;
}

/**
 * Menu of the project's classes. Selecting one calls `choose`.
 * @param {Project} project @param {number | null} label @param {string} name @param {(label: number) => unknown} choose @returns {HTMLSelectElement}
 */
export function classSelect(project, label, name, choose) {
  const element = select(project.classes.map((one) => ({ value: String(one.id), label: one.name })), String(label ?? ""), name);
  element.addEventListener("change", () => choose(Number(element.value)));
  return element;
}
