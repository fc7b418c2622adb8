/** TensorFlow.js: `predict` and training steps as its users write them, with its fused layers. */
import tf from "@tensorflow/tfjs";
import { weights } from "./data.mjs";

const DROPOUT = 0.3;
const RATE = 1e-3;
const BETA_1 = 0.9;
const BETA_2 = 0.999;
const EPSILON = 1e-7;

/** The contender of one of its backends, "wasm", "cpu" or "webgpu". */
export const tfjs = (backend) => async (task, folder) => {
  if (backend !== "cpu") await import(`@tensorflow/tfjs-backend-${backend}`);
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no backend ${backend}`);
  const version = tf.version_core;
  if (task === "call") return { version, step: ({ x }) => tf.tidy(() => tf.add(tf.tensor1d(x), 1).dataSync()) };
  const network = task.startsWith("predict") ? "convnet" : task;
  const parameters = variables(weights(folder, network));
  const logits = network === "mlp" ? perceptron(parameters) : convnet(parameters, network === "convnet" ? DROPOUT : 0);
  if (task.startsWith("predict")) {
    return { version, step: ({ x }) => tf.tidy(() => tf.softmax(logits(x, false)).dataSync()) };
  }
  const adam = tf.train.adam(RATE, BETA_1, BETA_2, EPSILON);
  const list = Object.values(parameters);
  let count = 0;
  const loss = (x, y) => tf.losses.softmaxCrossEntropy(tf.oneHot(tf.tensor1d(y, "int32"), 10), logits(x, true));
  const step = ({ x, y }) => {
    // Adam's epsilon stands beside the second moment before its correction; in TensorFlow.js after it.
    adam.epsilon = EPSILON / Math.sqrt(1 - BETA_2 ** ++count);
    return tf.tidy(() => adam.minimize(() => loss(x, y), true, list));
  };
  // A GPU is waited for.
  const later = async (tensor) => {
    const numbers = await tensor.data();
    tensor.dispose();
    return numbers;
  };
  const now = (tensor) => {
    const numbers = tensor.dataSync();
    tensor.dispose();
    return numbers;
  };
  const read = backend === "webgpu" ? later : now;
  return { version, step: (batch) => read(step(batch)) };
};

/** The parameters: what the program holds less the optimiser's state. */
function variables(state) {
  const parameters = Object.entries(state).filter(([name]) => !name.startsWith("optimizer/"));
  return Object.fromEntries(parameters.map(([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape))]));
}

function perceptron(p) {
  return (x) => {
    const a = tf.tensor2d(x, [x.length / 784, 784]);
    const h = tf.fused.matMul({ a, b: p["hidden/kernel"], bias: p["hidden/bias"], activation: "relu" });
    return tf.fused.matMul({ a: h, b: p["output/kernel"], bias: p["output/bias"] });
  };
}

function convnet(p, dropout) {
  const block = (x, layer) => {
    const parameters = { filter: p[`${layer}/kernel`], bias: p[`${layer}/bias`] };
    return tf.maxPool(tf.fused.conv2d({ x, ...parameters, strides: 1, pad: "same", activation: "relu" }), 2, 2, "valid");
  };
  return (x, training) => {
    const pictures = tf.tensor4d(x, [x.length / 784, 28, 28, 1]);
    let h = tf.reshape(block(block(pictures, "conv1"), "conv2"), [-1, 7 * 7 * 64]);
    if (training && dropout) h = tf.dropout(h, dropout);
    h = tf.fused.matMul({ a: h, b: p["dense1/kernel"], bias: p["dense1/bias"], activation: "relu" });
    return tf.fused.matMul({ a: h, b: p["dense2/kernel"], bias: p["dense2/bias"] });
  };
}
