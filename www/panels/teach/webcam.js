// @ts-check
/** Takes pictures with the camera, one every 0.3 s while a button is held. Nothing leaves the tab. */
import { alert, button, make } from "../../ui/dom.js";
import { pictures } from "../../ui/format.js";

/** @import { DroppedFile } from "../../ui/drop.js" */

const INTERVAL_MS = 300;
/** Number of recent pictures shown. */
const STRIP_LENGTH = 8;

/** @param {(files: DroppedFile[]) => unknown} done */
export function createWebcam(done) {
  const title = make("h2", "");
  title.id = "webcam-title";
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  const strip = make("div", "webcam-strip");
  strip.setAttribute("aria-hidden", "true");
  const countText = make("p", "webcam-count");
  countText.setAttribute("aria-live", "polite");
  const problem = make("div", "");
  const shutter = button("Hold to take pictures", () => {});
  shutter.className = "button primary";
  const keep = button("Done", () => dialog.close());
  const discard = button("Discard", () => {
    taken = [];
    dialog.close();
  });
  const dialog = document.createElement("dialog");
  dialog.className = "webcam";
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, video, problem, strip, countText, make("p", "actions", shutter, keep, discard));
  document.body.append(dialog);

  /** @type {DroppedFile[]} */
  let taken = [];
  /** @type {MediaStream | null} */
  let stream = null;
  /** @type {number | undefined} */
  let timer;

  shutter.addEventListener("pointerdown", start);
  for (const event of ["pointerup", "pointerleave", "pointercancel", "blur"]) shutter.addEventListener(event, stop);
  shutter.addEventListener("click", ({ detail }) => detail || timer || take()); // a click from a screen reader takes one picture
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== " " || (event.target instanceof HTMLButtonElement && event.target !== shutter)) return;
    event.preventDefault();
    if (!event.repeat) start();
  });
  dialog.addEventListener("keyup", (event) => {
    if (event.key !== " " || !timer) return;
    event.preventDefault(); // the button must not get a click as well
    stop();
  });
  dialog.addEventListener("close", onClose);

  return { open };

  /** @param {string} className */
  async function open(className) {
    title.textContent = `Webcam for ${className}`;
    taken = [];
    problem.replaceChildren();
    strip.replaceChildren();
    shutter.disabled = true;
    count();
    dialog.showModal();
    try {
      if (!navigator.mediaDevices) throw new Error("The browser does not offer a camera to this page. Open the page over HTTPS, or choose picture files.");
      const media = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (!dialog.open) {
        for (const track of media.getTracks()) track.stop();
        return;
      }
      stream = media;
      video.srcObject = stream;
      await video.play();
      shutter.disabled = false;
      shutter.focus();
    } catch (cause) {
      console.error(cause);
      problem.replaceChildren(alert(errorMessage(cause)));
    }
  }

  function start() {
    if (shutter.disabled || timer) return;
    timer = setInterval(take, INTERVAL_MS);
    take();
  }

  function stop() {
    clearInterval(timer);
    timer = undefined;
  }

  async function take() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    if (!canvas.width) return;
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!blob) return;
    const timestamp = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
    const name = `webcam ${timestamp} ${String(taken.length + 1).padStart(3, "0")}.jpg`;
    taken.push({ name, file: new File([blob], name, { type: "image/jpeg" }) });
    strip.append(canvas);
    if (strip.childElementCount > STRIP_LENGTH) strip.firstElementChild?.remove();
    count();
  }

  function count() {
    countText.textContent = taken.length ? `${pictures(taken.length)} taken` : "Hold the button or the Space key to take pictures.";
    keep.textContent = taken.length ? `Add ${pictures(taken.length)}` : "Close";
    discard.hidden = !taken.length;
  }

  function onClose() {
    stop();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.srcObject = null;
    if (taken.length) done(taken);
    taken = [];
  }
}

/** @param {unknown} cause @returns {string} */
function errorMessage(cause) {
  const { name, message } = cause instanceof Error ? cause : { name: "", message: String(cause) };
  if (name === "NotAllowedError") return "Access to the camera was denied. Allow it for this page in the browser's address bar, then open this dialog again.";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "No camera found. Connect one, or choose picture files.";
  if (name === "NotReadableError") return "The camera is in use by another program. Close it, then open this dialog again.";
  return message;
}
