/** Runs in the page: LiteRT.js. */
import { inputs, SHAPE } from "./inputs.js";

export async function start({ device, names }) {
  const { loadAndCompile, loadLiteRt, Tensor } = await import("/npm/@litertjs/core/dist/index.js");
  await loadLiteRt("/npm/@litertjs/core/wasm/");
  const accelerator = device === "cpu" ? "wasm" : "webgpu";
  const [model, values] = await Promise.all([
    loadAndCompile(`/models/inception-${names.length}.tflite`, { accelerator, gpuOptions: { precision: "fp32" } }),
    inputs(names),
  ]);
  if (!model.isFullyAccelerated) throw new Error(`LiteRT.js does not run the whole network on ${accelerator}`);
  return {
    name: `LiteRT.js, ${device === "cpu" ? "wasm" : "WebGPU"}`,
    async run() {
      const pictures = new Tensor(values, [names.length, ...SHAPE]);
      const [outputs] = await model.run(pictures);
      const latents = (await outputs.data()).slice();
      pictures.delete();
      outputs.delete();
      return latents;
    },
  };
}
