// @ts-check
/** A message at the bottom of the page, with an optional action such as undo. */
import { alert, button, make } from "./dom.js";

const HIDE_AFTER_MS = 12_000;

/** @typedef {ReturnType<typeof createToast>} Toast */
/** @typedef {{ label: string, onClick(): unknown }} ToastAction */

export function createToast() {
  /** @type {number | undefined} */
  let timer;
  const content = make("div", "toast-content");
  content.setAttribute("aria-live", "polite"); // a live region must exist before its content changes
  const close = button("", hide);
  close.className = "toast-close";
  close.setAttribute("aria-label", "Dismiss message");
  const box = make("section", "toast", content, close);
  box.setAttribute("aria-label", "Message");
  hide();
  document.body.append(box);
  box.addEventListener("pointerenter", () => clearTimeout(timer));
  box.addEventListener("focusin", () => clearTimeout(timer));

  return { notify, prompt, error, hide };

  /** Shows a message for some seconds. @param {string} text @param {ToastAction} [action] */
  function notify(text, action) {
    prompt(text, action);
    timer = setTimeout(hide, HIDE_AFTER_MS);
  }

  /** Shows a message until it is dismissed or its action is used. @param {string} text @param {ToastAction} [action] */
  function prompt(text, action) {
    const children = [make("p", "", text)];
    if (action) {
      children.push(button(action.label, () => {
        hide();
        action.onClick();
      }));
    }
    show(children);
  }

  /** Shows an error until it is dismissed. @param {string} text */
  function error(text) {
    show([alert(text)]);
  }

  /** @param {Node[]} children */
  function show(children) {
    clearTimeout(timer);
    content.replaceChildren(...children);
    box.removeAttribute("data-empty");
    close.hidden = false;
  }

  function hide() {
    clearTimeout(timer);
    box.setAttribute("data-empty", "");
    close.hidden = true;
    content.replaceChildren();
  }
}
