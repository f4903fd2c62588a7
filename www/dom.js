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
