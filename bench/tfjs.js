/**
 * A classic worker that trains a head of dense layers with the wasm backend of TF.js. Requests: {id, method, args}; replies: {id, value} or
 * {id, error}.
 */
/* global tf */
importScripts(
  "/npm/@tensorflow/tfjs-core/dist/tf-core.min.js",
  "/npm/@tensorflow/tfjs-layers/dist/tf-layers.min.js",
  "/npm/@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
);

/** The training data, and a model for each training method. */
let data, models = {};

const methods = {
  /** Starts the backend. `values` are latents, [rows, columns]; `labels` has one label per row. */
  async open({ values, labels, classes, batch, learningRate }) {
    tf.wasm.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/dist/");
    await tf.setBackend("wasm");
    await tf.ready();
    const rows = labels.length;
    const inputs = tf.tensor2d(values, [rows, values.length / rows]);
    const targets = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, "int32"), classes), "float32"));
    data = { rows, inputs, targets, classes, batch, learningRate };
    const [simd, threads] = await Promise.all(["WASM_HAS_SIMD_SUPPORT", "WASM_HAS_MULTITHREAD_SUPPORT"].map((flag) => tf.env().getAsync(flag)));
    return `TF.js ${tf.version_core}, backend ${tf.getBackend()}, ${simd ? "SIMD" : "no SIMD"}, ${threads ? `${tf.wasm.getThreadsCount()} threads` : "1 thread"}`;
  },

  /** Creates untrained heads with a hidden layer of `hidden` units and ReLU, or without one (0). */
  async build({ hidden }) {
    Object.values(models).forEach((model) => model.dispose());
    const columns = data.inputs.shape[1];
    const widths = hidden ? [hidden, data.classes] : [data.classes];
    for (const method of Object.keys(trainers)) {
      const layers = widths.map((units, i) => tf.layers.dense({
        units,
        inputShape: [i ? widths[i - 1] : columns],
        activation: i < widths.length - 1 ? "relu" : "linear",
      }));
      models[method] = tf.sequential({ layers });
      models[method].compile({ optimizer: tf.train.adam(data.learningRate), loss: (y, logits) => tf.losses.softmaxCrossEntropy(y, logits) });
    }
  },

  /** Trains one epoch, shuffled; returns its time and mean loss. */
  async epoch({ method }) {
    const start = performance.now();
    const { loss, steps } = await trainers[method](models[method]);
    return { milliseconds: performance.now() - start, loss, steps };
  },
};

const trainers = {
  async fit(model) {
    let steps = 0;
    const { history } = await model.fit(data.inputs, data.targets, {
      batchSize: data.batch, epochs: 1, shuffle: true, verbose: 0, yieldEvery: "never", callbacks: { onBatchEnd: () => { steps += 1; } },
    });
    return { loss: history.loss[0], steps };
  },

  loop: (model) => loop(model, (inputs) => model.apply(inputs, { training: true })),

  /**
   * Like `loop`, with custom gradients of matrix products: the matMul of this backend is about 30 times slower with a transposed argument, which
   * autodiff uses, than an explicit transpose and a matMul.
   */
  async gradients(model) {
    const [kernel, bias, ...second] = model.getWeights();
    const first = (inputs) => tf.customGrad((kernel) => ({
      value: tf.matMul(inputs, kernel), gradFunc: (gradient) => tf.matMul(tf.transpose(inputs), gradient),
    }))(kernel);
    const next = tf.customGrad((inputs, kernel, save) => {
      save([inputs, kernel]);
      const gradFunc = (gradient, [inputs, kernel]) => [tf.matMul(gradient, tf.transpose(kernel)), tf.matMul(tf.transpose(inputs), gradient)];
      return { value: tf.matMul(inputs, kernel), gradFunc };
    });
    return loop(model, (inputs) => {
      const outputs = tf.add(first(inputs), bias);
      return second.length ? tf.add(next(tf.relu(outputs), second[0]), second[1]) : outputs;
    });
  },
};

/** Trains one epoch with a custom loop; `forward` maps a batch to logits. */
async function loop(model, forward) {
  const order = new Int32Array(tf.util.createShuffledIndices(data.rows));
  let total = 0, steps = 0;
  for (let at = 0; at < data.rows; at += data.batch) {
    const rows = order.subarray(at, at + data.batch);
    const loss = tf.tidy(() => {
      const indices = tf.tensor1d(rows, "int32");
      const [inputs, targets] = [tf.gather(data.inputs, indices), tf.gather(data.targets, indices)];
      return model.optimizer.minimize(() => tf.losses.softmaxCrossEntropy(targets, forward(inputs)), true, model.getWeights());
    });
    total += loss.dataSync()[0] * rows.length;
    loss.dispose();
    steps += 1;
  }
  return { loss: total / data.rows, steps };
}

self.onmessage = async ({ data: { id, method, args } }) => {
  try {
    self.postMessage({ id, value: await methods[method](args) });
  } catch (error) {
    self.postMessage({ id, error: String(error.stack ?? error) });
  }
};
