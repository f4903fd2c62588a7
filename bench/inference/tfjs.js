/** Runs in the page: a backend of TF.js, with the layers model of the npm package up to the average pool. */
/* global tf */
import { inputs, SHAPE } from "./inputs.js";

const LATENTS = 2048;
const TITLES = { wasm: "wasm", webgpu: "WebGPU", webgl: "WebGL" };

/** Loads a classic script: these packages are not modules. */
function loadScript(url) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src: url, onload: resolve, onerror: () => reject(new Error(`${url} could not be loaded`)) });
    document.head.append(element);
  });
}

export async function start({ device, names }) {
  const backend = device === "cpu" ? "wasm" : device;
  for (const name of ["core/dist/tf-core", "layers/dist/tf-layers", `backend-${backend}/dist/tf-backend-${backend}`]) await loadScript(`/npm/@tensorflow/tfjs-${name}.min.js`);
  if (backend === "wasm") tf.wasm.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/dist/");
  if (!(await tf.setBackend(backend))) throw new Error(`the TF.js backend ${backend} could not be started`);
  await tf.ready();
  const [model, values] = await Promise.all([load(), inputs(names)]);
  return {
    name: `TF.js, ${TITLES[backend]}`,
    async run() {
      const latents = tf.tidy(() => model.predict(tf.tensor4d(values, [names.length, ...SHAPE]), { batchSize: names.length }));
      const copy = await latents.data();
      latents.dispose();
      return copy;
    },
  };
}

/** Loads the network from pictures to latents. */
async function load() {
  const whole = await tf.loadLayersModel("/models/tfjs/model.json");
  const pool = whole.layers.find(({ outputShape }) => outputShape.length === 2 && outputShape[1] === LATENTS);
  return tf.model({ inputs: whole.inputs, outputs: pool.output });
}
