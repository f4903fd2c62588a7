// @ts-check
/** Pictures by the camera: as long as a button is held, one every 0.3 seconds. Nothing of it leaves the tab. */
import { alert, button, make } from "../../ui/dom.js";
import { pictures } from "../../ui/format.js";

/** @import { Arrival } from "../../ui/drop.js" */

const EVERY = 300;
/** The last pictures are shown. */
const STRIP = 8;

/** @param {(files: Arrival[]) => unknown} done */
export function createWebcam(done) {
  const title = make("h2", "");
  title.id = "webcam-title";
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  const strip = make("div", "webcam-strip");
  strip.setAttribute("aria-hidden", "true");
  const tally = make("p", "webcam-count");
  tally.setAttribute("aria-live", "polite");
  const trouble = make("div", "");
  const shoot = button("Hold to take pictures", () => {});
  shoot.className = "button primary";
  const keep = button("Done", () => dialog.close());
  const discard = button("Discard", () => {
    taken = [];
    dialog.close();
  });
  const dialog = document.createElement("dialog");
  dialog.className = "webcam";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, video, trouble, strip, tally, make("p", "ways", shoot, keep, discard));
  document.body.append(dialog);

  /** @type {Arrival[]} */
  let taken = [];
  /** @type {MediaStream | null} */
  let stream = null;
  /** @type {number | undefined} */
  let clock;

  shoot.addEventListener("pointerdown", start);
  for (const event of ["pointerup", "pointerleave", "pointercancel", "blur"]) shoot.addEventListener(event, stop);
  shoot.addEventListener("click", ({ detail }) => detail || clock || take()); // by a screen reader: one
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== " " || (event.target instanceof HTMLButtonElement && event.target !== shoot)) return;
    event.preventDefault();
    if (!event.repeat) start();
  });
  dialog.addEventListener("keyup", (event) => {
    if (event.key !== " " || !clock) return;
    event.preventDefault(); // else it would be a click as well
    stop();
  });
  dialog.addEventListener("close", closed);

  return { open };

  /** @param {string} className */
  async function open(className) {
    title.textContent = `Webcam for ${className}`;
    taken = [];
    trouble.replaceChildren();
    strip.replaceChildren();
    shoot.disabled = true;
    count();
    dialog.showModal();
    try {
      if (!navigator.mediaDevices) throw new Error("This browser gives pages no camera here; open the page by https, or choose picture files.");
      const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (!dialog.open) {
        for (const track of opened.getTracks()) track.stop();
        return;
      }
      stream = opened;
      video.srcObject = stream;
      await video.play();
      shoot.disabled = false;
      shoot.focus();
    } catch (cause) {
      console.error(cause);
      trouble.replaceChildren(alert(reason(cause)));
    }
  }

  function start() {
    if (shoot.disabled || clock) return;
    clock = setInterval(take, EVERY);
    take();
  }

  function stop() {
    clearInterval(clock);
    clock = undefined;
  }

  async function take() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    if (!canvas.width) return;
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!blob) return;
    const stamp = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
    const name = `webcam ${stamp} ${String(taken.length + 1).padStart(3, "0")}.jpg`;
    taken.push({ name, file: new File([blob], name, { type: "image/jpeg" }) });
    strip.append(canvas);
    if (strip.childElementCount > STRIP) strip.firstElementChild?.remove();
    count();
  }

  function count() {
    tally.textContent = taken.length ? `${pictures(taken.length)} taken` : "Hold the button, or Space, to take pictures.";
    keep.textContent = taken.length ? `Add ${pictures(taken.length)}` : "Close";
    discard.hidden = !taken.length;
  }

  function closed() {
    stop();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    if (taken.length) done(taken);
    taken = [];
  }
}

/** @param {unknown} cause @returns {string} */
function reason(cause) {
  const { name, message } = cause instanceof Error ? cause : { name: "", message: String(cause) };
  if (name === "NotAllowedError") return "The camera was refused. Allow it for this page in the browser's address bar, then open this again.";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "There is no camera here. Plug one in, or choose picture files.";
  if (name === "NotReadableError") return "The camera is in use by another program. Close that, then open this again.";
  return message;
}
