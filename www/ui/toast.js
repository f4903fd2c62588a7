// @ts-check
/** One sentence at the foot of the page: what was done, with a way back, or what went wrong. */
import { alert, button, make } from "./dom.js";

const STAYS = 12_000;

/** @typedef {ReturnType<typeof createToast>} Toast */

export function createToast() {
  /** @type {number | undefined} */
  let clock;
  const words = make("div", "toast-words");
  words.setAttribute("aria-live", "polite"); // so it is always there, if only empty
  const close = button("", hide);
  close.className = "toast-close";
  close.setAttribute("aria-label", "Dismiss message");
  const box = make("section", "toast", words, close);
  box.setAttribute("aria-label", "Message");
  hide();
  document.body.append(box);
  box.addEventListener("pointerenter", () => clearTimeout(clock));
  box.addEventListener("focusin", () => clearTimeout(clock));

  return { say, offer, alarm, hide };

  /** What was done. @param {string} sentence @param {{ words: string, press(): unknown }} [way] */
  function say(sentence, way) {
    offer(sentence, way);
    clock = setTimeout(hide, STAYS);
  }

  /** What could be done; stays until somebody decides. @param {string} sentence @param {{ words: string, press(): unknown }} [way] */
  function offer(sentence, way) {
    const parts = [make("p", "", sentence)];
    if (way) {
      parts.push(button(way.words, () => {
        hide();
        way.press();
      }));
    }
    show(parts);
  }

  /** What went wrong; stays until it is dismissed. @param {string} sentence */
  function alarm(sentence) {
    show([alert(sentence)]);
  }

  /** @param {Node[]} parts */
  function show(parts) {
    clearTimeout(clock);
    words.replaceChildren(...parts);
    box.removeAttribute("data-empty");
    close.hidden = false;
  }

  function hide() {
    clearTimeout(clock);
    box.setAttribute("data-empty", "");
    close.hidden = true;
    words.replaceChildren();
  }
}
