// What the tests share: where files lie, a reader of safetensors of its own, and programs built by hand.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Graph, adam, cosineSchedule, ops, randomKey, tensor, whileLoop } from "caudal";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const FIXTURE = `${ROOT}tests/fixtures/0.1.0.caudal`;

const DTYPES = {
  BOOL: "bool",
  I8: "int8",
  I16: "int16",
  I32: "int32",
  I64: "int64",
  U8: "uint8",
  U16: "uint16",
  U32: "uint32",
  U64: "uint64",
  F16: "float16",
  BF16: "bfloat16",
  F32: "float32",
  F64: "float64",
};

const ARRAYS = {
  bool: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** The tensors of a safetensors file by name, and its metadata. */
export function readSafetensors(path) {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: metadata, ...entries } = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  const tensors = {};
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [start, end],
    },
  ] of Object.entries(entries)) {
    const own = new Uint8Array(bytes.subarray(8 + length + start, 8 + length + end));
    tensors[name] = { dtype: DTYPES[dtype], shape, data: new ARRAYS[DTYPES[dtype]](own.buffer) };
  }
  return { tensors, metadata };
}

/** Numbers that look random, the same in each run. */
export function* randoms(seed) {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** A perceptron that trains: predict, train_step, and spin, which runs as long as it is told. */
export function perceptron({ features = 8, hidden = 16, classes = 3, metadata = null } = {}) {
  const g = new Graph();
  const x = g.input("x", { dtype: "float32", shape: ["batch", features] });
  const y = g.input("y", { dtype: "int32", shape: ["batch"] });
  const n = g.input("n", { dtype: "int64", shape: [] });
  const kernel = (seed, shape) => ops.mul(ops.normal(randomKey(seed), { shape }), 0.3);
  const w1 = g.state("hidden/kernel", kernel(1, [features, hidden]));
  const b1 = g.state("hidden/bias", { data: new Float32Array(hidden) });
  const w2 = g.state("output/kernel", kernel(2, [hidden, classes]));
  const count = g.state("count", tensor(0, [], "int64"), { role: "statistic" });
  const logits = ops.matmul(ops.relu(ops.add(ops.matmul(x, w1), b1)), w2);
  const loss = ops.mean(ops.softmaxCrossEntropy(logits, y));
  g.function("predict", { output: ops.softmax(logits) }, { doc: "Probabilities." });
  const step = g.function("train_step", { loss });
  step.minimize(loss, [w1, b1, w2], adam({ learningRate: 0.01, schedule: cosineSchedule({ decaySteps: 10_000 }) }));
  const spun = whileLoop(
    (i) => ops.less(i, n),
    (i) => ops.add(i, 1),
    g.constant(tensor(0, [], "int64")),
  );
  g.function("spin", spun);
  const counted = ops.add(count, spun);
  g.function("count_up", { count: counted }).update(count, counted);
  return g.program(metadata);
}

/** A batch for `perceptron`. */
export function batch(size = 32, features = 8, seed = 7) {
  const random = randoms(seed);
  const x = Float32Array.from({ length: size * features }, () => random.next().value - 0.5);
  const y = Int32Array.from(
    { length: size },
    (_, row) => (x[row * features] > 0 ? 1 : 0) + (x[row * features + 1] > 0 ? 1 : 0),
  );
  return { x: { data: x, shape: [size, features] }, y };
}

/** What a promise or function fails with. */
export async function failure(work) {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

/** A file that another step makes; the test says so where it is missing. */
export function madeBefore(t, path, how) {
  if (existsSync(path)) return true;
  t.skip(`${path} is missing: ${how}`);
  return false;
}
