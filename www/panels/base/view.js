// @ts-check
/** View of the base menu: options, forms for files and URLs, progress. */
import { button, byId, make, picker } from "../../ui/dom.js";

/** @import { KeptBase } from "../../engine/types.js" */

/** Fixed options: value and label. @type {[string, string][]} */
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
      make("p", "", "Inception V3 from timm (.safetensors), torchvision (.pth), Keras (.h5, .weights.h5, .keras), TF.js (model.json with its shards) or ONNX. The file stays in this browser."),
      make("p", "base-actions", files.label, folder.label),
    ];
  }

  function addressParts() {
    const form = document.createElement("form");
    const input = document.createElement("input");
    input.type = "url";
    input.required = true;
    input.placeholder = "https://";
    form.append(make("label", "", "URL of the weights ", input), " ", button("Download", () => form.requestSubmit()));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value) on.address(input.value);
    });
    return [make("p", "", "The page requests only this URL. None of your data is sent."), form];
  }

  return {
    /** @param {{ kept: readonly KeptBase[], chosen: KeptBase | null }} bases */
    show({ kept, chosen }) {
      const own = kept.map(({ fingerprint, name }) => /** @type {[string, string]} */ ([fingerprint, name]));
      const options = [CHOICES[0], ...own, ...CHOICES.slice(1)].map(([value, label]) => {
        const option = document.createElement("option");
        option.value = value;
        option.textContent = label;
        return option;
      });
      menu.replaceChildren(...options);
      menu.value = chosen?.fingerprint ?? "built-in";
      more.replaceChildren();
    },
    /** @param {string} label @param {number | null} share */
    progress(label, share) {
      const bar = document.createElement("progress");
      bar.setAttribute("aria-label", label);
      if (share !== null) bar.value = share;
      status.replaceChildren(make("span", "", label), " ", bar, " ", button("Cancel", on.cancel));
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
