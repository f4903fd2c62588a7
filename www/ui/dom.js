// @ts-check
/** DOM helpers. Strings are always inserted as text, never as markup. */

/** @param {string} name @param {Blob} blob */
export function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const anchor = link("", url);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Data URL of a JPEG. Scrolling a gallery needs thousands, and object URLs take a millisecond each. @param {Uint8Array} jpeg */
export function jpegUrl(jpeg) {
  let text = "";
  for (let i = 0; i < jpeg.length; i += 8192) text += String.fromCharCode(...jpeg.subarray(i, i + 8192));
  return `data:image/jpeg;base64,${btoa(text)}`;
}

/** @template {HTMLElement} T @param {string} id @param {{ new (): T, prototype: T }} type @returns {T} */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`page: missing element #${id}`);
  return element;
}

/** @param {string} tag @param {string} className @param {(Node | string)[]} children @returns {HTMLElement} */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** @param {string} text @returns {HTMLElement} */
export function alert(text) {
  const element = make("p", "alert", text);
  element.setAttribute("role", "alert");
  return element;
}

/** @param {string} label @param {() => unknown} onClick @returns {HTMLButtonElement} */
export function button(label, onClick) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "button small";
  element.textContent = label;
  element.addEventListener("click", () => onClick());
  return element;
}

/** @param {string} text @param {string} href @returns {HTMLAnchorElement} */
export function link(text, href) {
  const element = document.createElement("a");
  element.textContent = text;
  element.href = href;
  return element;
}

/** @returns {boolean} */
export function prefersReducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** A button that opens a file picker. @param {string} text @param {(files: FileList) => unknown} onFiles @returns {{ label: HTMLElement, input: HTMLInputElement }} */
export function picker(text, onFiles) {
  const input = document.createElement("input");
  input.type = "file";
  input.addEventListener("change", () => {
    if (input.files?.length) onFiles(input.files);
    input.value = ""; // otherwise picking the same file again fires no event
  });
  return { label: make("label", "button small picker", text, input), input };
}

/** Whether the element accepts typed text. @param {EventTarget | null} target @returns {boolean} */
export function isTextField(target) {
  if (target instanceof HTMLInputElement) return !["button", "checkbox", "file", "radio", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
