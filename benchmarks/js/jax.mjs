/** jax-js on its device "wasm" or "webgpu": `predict` and training steps through `jit`. Convolutions take channels first. */
import { readFileSync } from "node:fs";
import { init, defaultDevice, jit, lax, nn, numpy as np, random, tree, valueAndGrad } from "@jax-js/jax";
import { transpose, weights } from "./data.mjs";

const DROPOUT = 0.3;
const RATE = 1e-3;
const BETA_1 = 0.9;
const BETA_2 = 0.999;
const EPSILON = 1e-7;

/** The contender of one of its devices. */
export const jax = (device) => async (task, folder) => {
  if (!(await init(device)).includes(device)) throw new Error(`jax-js has no device ${device}`);
  defaultDevice(device);
  const { version } = JSON.parse(readFileSync(new URL("./node_modules/@jax-js/jax/package.json", import.meta.url)));
  if (task === "call") {
    const add = jit((x) => x.add(1));
    return { version, step: ({ x }) => add(np.array(x)).data() };
  }
  const network = task.startsWith("predict") ? "convnet" : task;
  const shape = network === "mlp" ? [-1, 784] : [-1, 1, 28, 28];
  const logits = network === "mlp" ? perceptron : convnet;
  const parameters = arrays(weights(folder, network));
  if (task.startsWith("predict")) {
    const predict = jit((p, x) => nn.softmax(logits(p, x)));
    return { version, step: ({ x }) => predict(tree.ref(parameters), np.array(x).reshape(shape)).data() };
  }
  const train = jit(trainStep(logits, network === "convnet" ? DROPOUT : 0));
  const zeros = () => Object.fromEntries(Object.entries(parameters).map(([name, p]) => [name, np.zeros(p.shape)]));
  let state = { p: parameters, m: zeros(), v: zeros(), count: np.array(0), key: random.key(0) };
  const step = async ({ x, y }) => {
    const [after, loss] = train(state, np.array(x).reshape(shape), np.array(y));
    state = after;
    return loss.data();
  };
  return { version, step };
};

/** The parameters as arrays, the kernels of convolutions and what follows them with channels first. */
function arrays(state) {
  const parameters = Object.entries(state).filter(([name]) => !name.startsWith("optimizer/"));
  return Object.fromEntries(
    parameters.map(([name, tensor]) => {
      let { data, shape } = tensor;
      if (shape.length === 4) ({ data, shape } = transpose(tensor, [3, 2, 0, 1]));
      if (name === "dense1/kernel") ({ data } = transpose({ data, shape: [7, 7, 64, 128] }, [2, 0, 1, 3]));
      return [name, np.array(data).reshape(shape)];
    }),
  );
}

function perceptron(p, x) {
  const h = nn.relu(np.matmul(x, p["hidden/kernel"]).add(p["hidden/bias"]));
  return np.matmul(h, p["output/kernel"]).add(p["output/bias"]);
}

function convnet(p, x, drop = (h) => h) {
  let h = x;
  for (const layer of ["conv1", "conv2"]) {
    const bias = p[`${layer}/bias`].reshape([-1, 1, 1]);
    h = nn.relu(lax.conv(h, p[`${layer}/kernel`], [1, 1], "SAME").add(bias));
    h = lax.reduceWindow(h, np.max, [2, 2], [2, 2]);
  }
  h = drop(h.reshape([-1, 7 * 7 * 64]));
  h = nn.relu(np.matmul(h, p["dense1/kernel"]).add(p["dense1/bias"]));
  return np.matmul(h, p["dense2/kernel"]).add(p["dense2/bias"]);
}

/** One step of Adam; every argument is consumed, as is the rule in jax-js. */
function trainStep(logits, dropout) {
  return ({ p, m, v, count, key }, x, y) => {
    const [next, draw] = random.split(key);
    const drop = (h) => {
      if (!dropout) return h;
      return np.where(random.bernoulli(draw, 1 - dropout, h.shape), h.div(1 - dropout), 0);
    };
    const loss = (q) => np.mean(np.sum(nn.oneHot(y, 10).mul(nn.logSoftmax(logits(q, x, drop))), 1)).mul(-1);
    const [value, gradients] = valueAndGrad(loss)(tree.ref(p));
    const after = { p: {}, m: {}, v: {}, count: count.add(1), key: next };
    const power = (beta) => np.exp(after.count.ref.mul(Math.log(beta)));
    const rate = np.sqrt(np.subtract(1, power(BETA_2))).mul(RATE).div(np.subtract(1, power(BETA_1)));
    for (const [name, g] of Object.entries(gradients)) {
      const a = (after.m[name] = m[name].mul(BETA_1).add(g.ref.mul(1 - BETA_1)));
      const b = (after.v[name] = v[name].mul(BETA_2).add(np.square(g).mul(1 - BETA_2)));
      after.p[name] = p[name].sub(rate.ref.mul(a.ref).div(np.sqrt(b.ref).add(EPSILON)));
    }
    rate.dispose();
    return [after, value];
  };
}
