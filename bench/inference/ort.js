/** Runs in the page: onnxruntime-web, with the build that its documentation recommends for each device. */
import { inputs, SHAPE } from "./inputs.js";

export async function start({ device, names }) {
  const ort = await import(device === "cpu" ? "/npm/onnxruntime-web/dist/ort.wasm.min.mjs" : "/npm/onnxruntime-web/dist/ort.webgpu.min.mjs");
  ort.env.wasm.wasmPaths = "/npm/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = 1;
  const [session, values] = await Promise.all([
    ort.InferenceSession.create("/models/inception.onnx", { executionProviders: [device === "cpu" ? "wasm" : "webgpu"] }),
    inputs(names),
  ]);
  return {
    name: `onnxruntime-web, ${device === "cpu" ? "wasm" : "WebGPU"}`,
    async run() {
      const pictures = new ort.Tensor("float32", values, [names.length, ...SHAPE]);
      const outputs = await session.run({ [session.inputNames[0]]: pictures });
      return outputs[session.outputNames[0]].getData();
    },
  };
}
