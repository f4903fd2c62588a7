/** Types of the npm packages that `inception-web serve` and `build` bundle into `npm/`, one file each. */
declare module "*/npm/idb.js" {
  export * from "idb";
}

declare module "*/npm/uplot.js" {
  export { default } from "uplot";
}

declare module "*/npm/zip.js" {
  export * from "@zip.js/zip.js";
}

declare module "*/npm/umap.js" {
  export { UMAP } from "umap-js";
}

declare module "*/npm/wasm-feature-detect.js" {
  export { relaxedSimd } from "wasm-feature-detect";
}
