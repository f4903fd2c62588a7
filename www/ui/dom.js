// @ts-check
/** Small helpers of the views: elements made, found and saved. Words go in as text, never as markup. */

/** @param {string} name @param {Blob} blob */
export function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const anchor = link("", url);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** An address that is the picture itself: thousands are made as somebody scrolls, and those of Blobs take a millisecond each. @param {Uint8Array} jpeg */
export function jpegUrl(jpeg) {
  let text = "";
  for (let i = 0; i < jpeg.length; i += 8192) text += String.fromCharCode(...jpeg.subarray(i, i + 8192));
  return `data:image/jpeg;base64,${btoa(text)}`;
}

/** @template {HTMLElement} T @param {string} id @param {{ new (): T, prototype: T }} type @returns {T} */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`page: no #${id}`);
  return element;
}

/** @param {string} tag @param {string} className @param {(Node | string)[]} children @returns {HTMLElement} */
export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** @param {string} words @returns {HTMLElement} */
export function alert(words) {
  const element = make("p", "alert", words);
  element.setAttribute("role", "alert");
  return element;
}

/** @param {string} words @param {() => unknown} press @returns {HTMLButtonElement} */
export function button(words, press) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "button small";
  element.textContent = words;
  element.addEventListener("click", () => press());
  return element;
}

/** @param {string} words @param {string} href @returns {HTMLAnchorElement} */
export function link(words, href) {
  const element = document.createElement("a");
  element.textContent = words;
  element.href = href;
  return element;
}

/** @returns {boolean} */
export function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** A button that picks files. @param {string} words @param {(files: FileList) => unknown} chosen @returns {{ label: HTMLElement, input: HTMLInputElement }} */
export function picker(words, chosen) {
  const input = document.createElement("input");
  input.type = "file";
  input.addEventListener("change", () => {
    if (input.files?.length) chosen(input.files);
    input.value = ""; // the same file may be chosen again
  });
  return { label: make("label", "button small picker", words, input), input };
}

/** Whether keys pressed here are words being typed. @param {EventTarget | null} target @returns {boolean} */
export function takesText(target) {
  if (target instanceof HTMLInputElement) return !["button", "checkbox", "file", "radio", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
