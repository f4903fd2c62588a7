// @ts-check
/** One sentence at the foot of the page: what was done, with a way back, or what went wrong. */
import { alert, button, make } from "./dom.js";

const STAYS = 12_000;

/** @typedef {ReturnType<typeof createToast>} Toast */

/** @param {(words: string) => unknown} announce */
export function createToast(announce) {
  const words = make("div", "toast-words");
  const close = button("", hide);
  close.className = "toast-close";
  close.setAttribute("aria-label", "Dismiss message");
  const box = make("section", "toast", words, close);
  box.setAttribute("aria-label", "Message");
  box.hidden = true;
  document.body.append(box);
  /** @type {number | undefined} */
  let clock;
  box.addEventListener("pointerenter", () => clearTimeout(clock));
  box.addEventListener("focusin", () => clearTimeout(clock));

  return { say, alarm, hide };

  /** What was done. @param {string} sentence @param {{ words: string, press(): unknown }} [way] */
  function say(sentence, way) {
    const parts = [make("p", "", sentence)];
    if (way) {
      parts.push(button(way.words, () => {
        hide();
        way.press();
      }));
    }
    show(parts);
    announce(sentence);
    clock = setTimeout(hide, STAYS);
  }

  /** What went wrong; stays until it is dismissed. @param {string} sentence */
  function alarm(sentence) {
    show([alert(sentence)]);
  }

  /** @param {Node[]} parts */
  function show(parts) {
    clearTimeout(clock);
    words.replaceChildren(...parts);
    box.hidden = false;
  }

  function hide() {
    clearTimeout(clock);
    box.hidden = true;
    words.replaceChildren();
  }
}
