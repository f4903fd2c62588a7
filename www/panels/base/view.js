// @ts-check
/** The menu of bases: choices, what each still needs, progress. */
import { button, byId, make, picker } from "../../ui/dom.js";

/** @import { KeptBase } from "../../engine/types.js" */

/** Choices that are always there, by their values. @type {[string, string][]} */
const CHOICES = [
  ["built-in", "Built in"],
  ["hub", "ImageNet (Hugging Face, 95 MB)"],
  ["file", "From a file"],
  ["address", "From a URL"],
];

/**
 * @param {{ choose(choice: string): unknown, files(files: File[]): unknown, address(url: string): unknown, cancel(): unknown }} on
 */
export function createBaseView(on) {
  const menu = byId("base", HTMLSelectElement);
  const more = byId("base-more", HTMLElement);
  const status = byId("base-progress", HTMLElement);
  /** The choice in use. */ let inUse = "built-in";

  menu.addEventListener("change", () => {
    const choice = menu.value;
    more.replaceChildren(...(choice === "file" ? fileParts() : choice === "address" ? addressParts() : []));
    on.choose(choice);
  });

  function fileParts() {
    const files = picker("Choose weights files", (chosen) => on.files([...chosen]));
    files.input.multiple = true;
    const folder = picker("Choose a folder", (chosen) => on.files([...chosen]));
    folder.input.webkitdirectory = true;
    return [
      make("p", "", "Inception V3 by timm (.safetensors), torchvision (.pth), Keras (.h5, .weights.h5, .keras), TF.js (model.json with its shards) or ONNX. It stays in this browser."),
      make("p", "base-actions", files.label, folder.label),
    ];
  }

  function addressParts() {
    const form = document.createElement("form");
    const input = document.createElement("input");
    input.type = "url";
    input.required = true;
    input.placeholder = "https://";
    form.append(make("label", "", "Address of the weights ", input), " ", button("Fetch", () => form.requestSubmit()));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value) on.address(input.value);
    });
    return [make("p", "", "The page asks this one address, because you say so. Nothing of yours is sent there."), form];
  }

  return {
    /** @param {{ kept: readonly KeptBase[], chosen: KeptBase | null }} bases */
    show({ kept, chosen }) {
      const own = kept.map(({ fingerprint, name }) => /** @type {[string, string]} */ ([fingerprint, name]));
      const options = [CHOICES[0], ...own, ...CHOICES.slice(1)].map(([value, words]) => {
        const option = document.createElement("option");
        option.value = value;
        option.textContent = words;
        return option;
      });
      menu.replaceChildren(...options);
      inUse = chosen?.fingerprint ?? "built-in";
      menu.value = inUse;
      more.replaceChildren();
    },
    /** @param {string} words @param {number | null} share */
    progress(words, share) {
      const bar = document.createElement("progress");
      bar.setAttribute("aria-label", words);
      if (share !== null) bar.value = share;
      status.replaceChildren(make("span", "", words), " ", bar, " ", button("Cancel", on.cancel));
      status.hidden = false;
      menu.disabled = true;
    },
    idle() {
      status.hidden = true;
      status.replaceChildren();
      menu.disabled = false;
    },
  };
}
