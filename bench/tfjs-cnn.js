/**
 * A classic worker that trains a convolutional network with a backend of TF.js: with `model.fit`, with a custom loop, or with custom gradients.
 * Requests: {id, method, args}; replies: {id, value} or {id, error}.
 */
/* global tf */
const npm = "/npm/@tensorflow";

let data, models = {};

const methods = {
  /** Starts the backend. `values` are pictures, [rows, height, width, channels]; `labels` has one label per picture. */
  async open({ backend, network, values, shape, labels, classes, batch, learningRate }) {
    importScripts(`${npm}/tfjs-core/dist/tf-core.min.js`, `${npm}/tfjs-layers/dist/tf-layers.min.js`);
    // The builds for WebGPU and WebGL depend on the one for the CPU.
    for (const name of new Set(["cpu", backend])) importScripts(`${npm}/tfjs-backend-${name}/dist/tf-backend-${name}.min.js`);
    if (backend === "wasm") tf.wasm.setWasmPaths(`${npm}/tfjs-backend-wasm/dist/`);
    if (!(await tf.setBackend(backend))) throw new Error(`the backend ${backend} could not be started`);
    await tf.ready();
    const targets = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, "int32"), classes), "float32"));
    data = { network, classes, batch, learningRate, rows: labels.length, inputs: tf.tensor4d(values, shape), targets };
    return { description: `TF.js ${tf.version_core}, backend ${tf.getBackend()}`, parameters: create().countParams() };
  },

  async build({ method }) {
    models[method]?.dispose();
    models[method] = create();
    models[method].compile({ optimizer: tf.train.adam(data.learningRate), loss: (y, logits) => tf.losses.softmaxCrossEntropy(y, logits) });
  },

  /** Trains some steps on shuffled pictures; returns the time per step and the mean loss. */
  async train({ method, steps }) {
    const model = models[method];
    const start = performance.now();
    const loss = await trainers[method](model, steps);
    // GPU work is asynchronous: reading a result waits for it.
    await model.getWeights().at(-1).data();
    return { milliseconds: (performance.now() - start) / steps, loss };
  },

  /** Computes the gradient of each parameter for two pictures, with deterministic parameters and without dropout. */
  async gradients({ method }) {
    const model = create();
    model.getWeights().forEach((weight, i) => weight.assign(tf.tidy(() => tf.tensor(deterministic(weight.size, i), weight.shape))));
    const weights = model.getWeights();
    const [inputs, targets] = [tf.slice(data.inputs, 0, 2), tf.slice(data.targets, 0, 2)];
    const forward = method === "gradients" ? (x) => customForward(x, weights, false) : (x) => model.apply(x, { training: false });
    const { grads } = tf.variableGrads(() => tf.losses.softmaxCrossEntropy(targets, forward(inputs)), weights);
    return Promise.all(weights.map(({ name }) => grads[name].data()));
  },
};

/** Deterministic pseudo-random numbers in [-0.1, 0.1). */
function deterministic(count, seed) {
  let state = seed + 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31 / 10;
  });
}

function create() {
  const make = {
    conv: (filters) => tf.layers.conv2d({ filters, kernelSize: 3, padding: "same" }),
    pool: () => tf.layers.maxPooling2d({ poolSize: 2 }),
    relu: () => tf.layers.reLU(),
    flatten: () => tf.layers.flatten(),
    dropout: (rate) => tf.layers.dropout({ rate }),
    dense: (units) => tf.layers.dense({ units }),
  };
  const inputs = tf.layers.inputLayer({ inputShape: data.inputs.shape.slice(1) });
  return tf.sequential({ layers: [inputs, ...data.network.map(([kind, value]) => make[kind](value))] });
}

const trainers = {
  async fit(model, steps) {
    const rows = steps * data.batch;
    const [inputs, targets] = [tf.slice(data.inputs, 0, rows), tf.slice(data.targets, 0, rows)];
    const { history } = await model.fit(inputs, targets, { batchSize: data.batch, epochs: 1, shuffle: true, verbose: 0, yieldEvery: "never" });
    tf.dispose([inputs, targets]);
    return history.loss[0];
  },

  loop: (model, steps) => loop(model, steps, (inputs) => model.apply(inputs, { training: true })),

  gradients: (model, steps) => {
    const weights = model.getWeights();
    return loop(model, steps, (inputs) => customForward(inputs, weights, true));
  },
};

/** Trains with a custom loop; `forward` maps a batch to logits. */
async function loop(model, steps, forward) {
  const order = new Int32Array(tf.util.createShuffledIndices(data.rows));
  const losses = [];
  for (let at = 0; at < steps * data.batch; at += data.batch) {
    losses.push(tf.tidy(() => {
      const indices = tf.tensor1d(order.subarray(at, at + data.batch), "int32");
      const [inputs, targets] = [tf.gather(data.inputs, indices), tf.gather(data.targets, indices)];
      return model.optimizer.minimize(() => tf.losses.softmaxCrossEntropy(targets, forward(inputs)), true, model.getWeights());
    }));
  }
  const values = await Promise.all(losses.map((loss) => loss.data()));
  tf.dispose(losses);
  return values.reduce((sum, [loss]) => sum + loss, 0) / steps;
}

/** The forward pass, with operations and custom gradients that are supported and fast on the wasm backend. */
function customForward(inputs, weights, training) {
  const { network } = data;
  let outputs = inputs, used = 0;
  const nextWeight = () => weights[used++];
  for (let i = 0; i < network.length; i += 1) {
    const [kind, value] = network[i];
    if (kind === "conv") {
      outputs = convolve(outputs, nextWeight(), i > 0);
      if (network[i + 1]?.[0] === "pool") {
        outputs = pool(outputs); // before the bias, which is equal for all four inputs
        i += 1;
      }
      outputs = addBias(outputs, nextWeight());
    } else if (kind === "dense") outputs = addBias(multiply(outputs, nextWeight()), nextWeight());
    else if (kind === "pool") outputs = pool(outputs);
    else if (kind === "relu") outputs = tf.relu(outputs);
    else if (kind === "flatten") outputs = tf.reshape(outputs, [outputs.shape[0], -1]);
    else if (kind === "dropout" && training) outputs = tf.mul(outputs, mask(outputs, value));
  }
  return outputs;
}

function mask({ size, shape }, rate) {
  return tf.tensor(Float32Array.from({ length: size }, () => (Math.random() < rate ? 0 : 1 / (1 - rate))), shape);
}

/** Both gradients are convolutions. For the kernel gradient, pictures and channels are swapped, and the output gradient is the kernel. */
function convolve(inputs, kernel, needsInputGradient) {
  const forKernel = (inputs, gradient) => {
    const [pictures, height, width, filters] = gradient.shape;
    const channels = inputs.shape[3];
    const swapped = tf.reshape(tf.transpose(tf.reshape(inputs, [pictures, height * width, channels]), [2, 1, 0]), [channels, height, width, pictures]);
    const asKernel = tf.reshape(tf.transpose(tf.reshape(gradient, [pictures, height * width, filters]), [1, 0, 2]), [height, width, pictures, filters]);
    return tf.transpose(tf.conv2d(swapped, asKernel, 1, 1), [1, 2, 0, 3]);
  };
  if (!needsInputGradient) {
    return tf.customGrad((kernel) => ({ value: tf.conv2d(inputs, kernel, 1, "same"), gradFunc: (gradient) => forKernel(inputs, gradient) }))(kernel);
  }
  return tf.customGrad((inputs, kernel, save) => {
    save([inputs, kernel]);
    const gradFunc = (gradient, [inputs, kernel]) => [
      tf.conv2d(gradient, tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2]), 1, "same"),
      forKernel(inputs, gradient),
    ];
    return { value: tf.conv2d(inputs, kernel, 1, "same"), gradFunc };
  })(inputs, kernel);
}

/** 2x2 max pooling. The gradient is passed to all inputs that equal the maximum. */
function pool(inputs) {
  return tf.customGrad((inputs, save) => {
    const value = tf.maxPool(inputs, 2, 2, "valid");
    save([inputs, value]);
    const gradFunc = (gradient, [inputs, value]) => {
      const [pictures, height, width, channels] = inputs.shape;
      const upsample = (outputs) => {
        const row = tf.reshape(outputs, [pictures * height / 2, 1, width / 2, channels]);
        const twice = tf.concat([row, row], 3);
        return tf.reshape(tf.concat([twice, twice], 1), inputs.shape);
      };
      return tf.mul(tf.cast(tf.equal(inputs, upsample(value)), "float32"), upsample(gradient));
    };
    return { value, gradFunc };
  })(inputs);
}

/** Computes the bias gradient as a matrix product: a sum over rows would be transposed first, which is slow. */
function addBias(inputs, bias) {
  return tf.customGrad((inputs, bias) => ({
    value: tf.add(inputs, bias),
    gradFunc: (gradient) => {
      const rows = gradient.size / bias.size;
      return [gradient, tf.reshape(tf.matMul(tf.ones([1, rows]), tf.reshape(gradient, [rows, bias.size])), bias.shape)];
    },
  }))(inputs, bias);
}

/** On the wasm backend, matMul with a transposed argument is much slower than an explicit transpose and a matMul. */
function multiply(inputs, kernel) {
  return tf.customGrad((inputs, kernel, save) => {
    save([inputs, kernel]);
    const gradFunc = (gradient, [inputs, kernel]) => [tf.matMul(gradient, tf.transpose(kernel)), tf.matMul(tf.transpose(inputs), gradient)];
    return { value: tf.matMul(inputs, kernel), gradFunc };
  })(inputs, kernel);
}

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    self.postMessage({ id, value: await methods[method](args) });
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
};
