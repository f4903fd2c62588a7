/**
 * The TF.js side, a classic worker: a convolutional network on one backend, trained with `model.fit`, with a loop by hand, or with a loop
 * whose gradients are written out. Messages: {id, method, args}; back: {id, value} | {id, error}.
 */
/* global tf */
const npm = "/npm/@tensorflow";

let data, models = {};

const methods = {
  /** Starts the backend and takes pictures, `values` of [rows, height, width, channels], and a label for each. */
  async open({ backend, network, values, shape, labels, classes, batch, learningRate }) {
    importScripts(`${npm}/tfjs-core/dist/tf-core.min.js`, `${npm}/tfjs-layers/dist/tf-layers.min.js`);
    // WebGPU's build and WebGL's take helpers of the CPU's.
    for (const name of new Set(["cpu", backend])) importScripts(`${npm}/tfjs-backend-${name}/dist/tf-backend-${name}.min.js`);
    if (backend === "wasm") tf.wasm.setWasmPaths(`${npm}/tfjs-backend-wasm/dist/`);
    if (!(await tf.setBackend(backend))) throw new Error(`${backend} does not start here`);
    await tf.ready();
    const targets = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, "int32"), classes), "float32"));
    data = { network, classes, batch, learningRate, rows: labels.length, inputs: tf.tensor4d(values, shape), targets };
    return { sentence: `TF.js ${tf.version_core}, backend ${tf.getBackend()}`, parameters: create().countParams() };
  },

  async build({ way }) {
    models[way]?.dispose();
    models[way] = create();
    models[way].compile({ optimizer: tf.train.adam(data.learningRate), loss: (y, logits) => tf.losses.softmaxCrossEntropy(y, logits) });
  },

  /** Some steps on pictures in a new order: the time of one, and the mean loss. */
  async train({ way, steps }) {
    const model = models[way];
    const start = performance.now();
    const loss = await ways[way](model, steps);
    // Devices work behind; a number out of the last step's result waits for them.
    await model.getWeights().at(-1).data();
    return { milliseconds: (performance.now() - start) / steps, loss };
  },

  /** Of each parameter, on two pictures with parameters that are the same everywhere, without dropout. */
  async gradients({ way }) {
    const model = create();
    model.getWeights().forEach((weight, i) => weight.assign(tf.tidy(() => tf.tensor(fixed(weight.size, i), weight.shape))));
    const weights = model.getWeights();
    const [inputs, targets] = [tf.slice(data.inputs, 0, 2), tf.slice(data.targets, 0, 2)];
    const forward = way === "own" ? (x) => own(x, weights, false) : (x) => model.apply(x, { training: false });
    const { grads } = tf.variableGrads(() => tf.losses.softmaxCrossEntropy(targets, forward(inputs)), weights);
    return Promise.all(weights.map(({ name }) => grads[name].data()));
  },
};

/** Numbers in [-0.1, 0.1) that are the same everywhere. */
function fixed(count, seed) {
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

const ways = {
  async fit(model, steps) {
    const rows = steps * data.batch;
    const [inputs, targets] = [tf.slice(data.inputs, 0, rows), tf.slice(data.targets, 0, rows)];
    const { history } = await model.fit(inputs, targets, { batchSize: data.batch, epochs: 1, shuffle: true, verbose: 0, yieldEvery: "never" });
    tf.dispose([inputs, targets]);
    return history.loss[0];
  },

  loop: (model, steps) => loop(model, steps, (inputs) => model.apply(inputs, { training: true })),

  own: (model, steps) => {
    const weights = model.getWeights();
    return loop(model, steps, (inputs) => own(inputs, weights, true));
  },
};

/** Steps by hand; `forward` makes logits of a batch. */
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

/** The network in operations that the wasm backend has and is fast in, with their gradients. */
function own(inputs, weights, training) {
  const { network } = data;
  let outputs = inputs, taken = 0;
  const take = () => weights[taken++];
  for (let i = 0; i < network.length; i += 1) {
    const [kind, value] = network[i];
    if (kind === "conv") {
      outputs = convolve(outputs, take(), i > 0);
      if (network[i + 1]?.[0] === "pool") {
        outputs = pool(outputs); // before the bias, which is the same for all four
        i += 1;
      }
      outputs = addBias(outputs, take());
    } else if (kind === "dense") outputs = addBias(multiply(outputs, take()), take());
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

/** Both gradients are convolutions again: for the kernel, pictures take the part of channels and the outputs' gradient that of a kernel. */
function convolve(inputs, kernel, learnt) {
  const forKernel = (inputs, gradient) => {
    const [pictures, height, width, filters] = gradient.shape;
    const channels = inputs.shape[3];
    const byPicture = tf.reshape(tf.transpose(tf.reshape(inputs, [pictures, height * width, channels]), [2, 1, 0]), [channels, height, width, pictures]);
    const asKernel = tf.reshape(tf.transpose(tf.reshape(gradient, [pictures, height * width, filters]), [1, 0, 2]), [height, width, pictures, filters]);
    return tf.transpose(tf.conv2d(byPicture, asKernel, 1, 1), [1, 2, 0, 3]);
  };
  if (!learnt) {
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

/** 2x2 maxima; the gradient goes to those inputs that equal the maximum. */
function pool(inputs) {
  return tf.customGrad((inputs, save) => {
    const value = tf.maxPool(inputs, 2, 2, "valid");
    save([inputs, value]);
    const gradFunc = (gradient, [inputs, value]) => {
      const [pictures, height, width, channels] = inputs.shape;
      const spread = (outputs) => {
        const row = tf.reshape(outputs, [pictures * height / 2, 1, width / 2, channels]);
        const twice = tf.concat([row, row], 3);
        return tf.reshape(tf.concat([twice, twice], 1), inputs.shape);
      };
      return tf.mul(tf.cast(tf.equal(inputs, spread(value)), "float32"), spread(gradient));
    };
    return { value, gradFunc };
  })(inputs);
}

/** The bias's gradient as a product: a sum over rows would transpose first. */
function addBias(inputs, bias) {
  return tf.customGrad((inputs, bias) => ({
    value: tf.add(inputs, bias),
    gradFunc: (gradient) => {
      const rows = gradient.size / bias.size;
      return [gradient, tf.reshape(tf.matMul(tf.ones([1, rows]), tf.reshape(gradient, [rows, bias.size])), bias.shape)];
    },
  }))(inputs, bias);
}

/** The wasm backend's product with a transposed matrix is far slower than to transpose first. */
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
