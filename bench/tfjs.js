/**
 * The TF.js side, a classic worker: a head of dense layers on the wasm backend, trained with `model.fit` or with a loop by hand.
 * Messages: {id, method, args}; back: {id, value} | {id, error}.
 */
/* global tf */
importScripts(
  "/npm/@tensorflow/tfjs-core/dist/tf-core.min.js",
  "/npm/@tensorflow/tfjs-layers/dist/tf-layers.min.js",
  "/npm/@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
);

/** The table, and a model in training for each way to train it. */
let data, models = {};

const methods = {
  /** Starts the backend and takes the table: `values` of [rows, columns] and a label for each row. */
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

  /** Puts untrained heads in place: `hidden` units with ReLU, or 0 for none. */
  async build({ hidden }) {
    Object.values(models).forEach((model) => model.dispose());
    const columns = data.inputs.shape[1];
    const widths = hidden ? [hidden, data.classes] : [data.classes];
    for (const way of Object.keys(ways)) {
      const layers = widths.map((units, i) => tf.layers.dense({
        units,
        inputShape: [i ? widths[i - 1] : columns],
        activation: i < widths.length - 1 ? "relu" : "linear",
      }));
      models[way] = tf.sequential({ layers });
      models[way].compile({ optimizer: tf.train.adam(data.learningRate), loss: (y, logits) => tf.losses.softmaxCrossEntropy(y, logits) });
    }
  },

  /** One epoch in a new order: its time, and the mean loss over its steps. */
  async epoch({ way }) {
    const start = performance.now();
    const { loss, steps } = await ways[way](models[way]);
    return { milliseconds: performance.now() - start, loss, steps };
  },
};

const ways = {
  async fit(model) {
    let steps = 0;
    const { history } = await model.fit(data.inputs, data.targets, {
      batchSize: data.batch, epochs: 1, shuffle: true, verbose: 0, yieldEvery: "never", callbacks: { onBatchEnd: () => { steps += 1; } },
    });
    return { loss: history.loss[0], steps };
  },

  loop: (model) => loop(model, (inputs) => model.apply(inputs, { training: true })),

  /** The loop, around what costs this backend most: its product with a transposed matrix, which autodiff asks for, is about 30 times
   *  slower than to transpose first. Whoever knows that writes the products' gradients out. */
  async transposed(model) {
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

/** One epoch by hand; `forward` makes logits of a batch. */
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
