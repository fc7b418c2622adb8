// The sample of the surface runs as it stands, on real pictures where the machine has them.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { Graph, adam, ops, randomKey } from "caudal";
import { sample } from "../build/test/sample.js";
import { randoms } from "./support.mjs";

const PICTURES = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz";
const LABELS = "/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz";

/** 32 pictures and their labels. */
function pictures() {
  if (existsSync(PICTURES) && existsSync(LABELS)) {
    const [pixels, labels] = [
      gunzipSync(readFileSync(PICTURES)).subarray(16),
      gunzipSync(readFileSync(LABELS)).subarray(8),
    ];
    return {
      pixels: Float32Array.from(pixels.subarray(0, 32 * 784), (pixel) => pixel / 255),
      labels: Int32Array.from(labels.subarray(0, 32)),
    };
  }
  const random = randoms(3);
  const pixels = Float32Array.from({ length: 32 * 784 }, () => random.next().value);
  return { pixels, labels: Int32Array.from({ length: 32 }, (_, row) => row % 10) };
}

/** A small convolutional network that trains, as a file. */
function fashion() {
  const g = new Graph();
  const x = g.input("x", { dtype: "float32", shape: ["batch", 28, 28, 1] });
  const y = g.input("y", { dtype: "int32", shape: ["batch"] });
  const kernel = g.state("conv/kernel", ops.mul(ops.normal(randomKey(1), { shape: [3, 3, 1, 4] }), 0.3));
  const dense = g.state("dense/kernel", ops.mul(ops.normal(randomKey(2), { shape: [676, 10] }), 0.05));
  const pooled = ops.maxPool(ops.relu(ops.conv(x, kernel)), { window: [2, 2], strides: [2, 2] });
  const logits = ops.matmul(ops.reshape(pooled, { shape: ["batch", 676] }), dense);
  const loss = ops.mean(ops.softmaxCrossEntropy(logits, y));
  const right = ops.equal(ops.argmax(logits, { axis: 1 }), ops.cast(y, { dtype: "int64" }));
  const accuracy = ops.mean(ops.cast(right, { dtype: "float32" }));
  g.function("predict", { output: ops.softmax(logits) });
  g.function("train_step", { loss, accuracy }).minimize(loss, [kernel, dense], adam({ learningRate: 1e-3 }));
  return g.program({ labels: ["top", "trouser"] }).save();
}

test("the sample of the surface", async () => {
  const folder = mkdtempSync(`${tmpdir()}/caudal-`);
  const before = process.cwd();
  const told = { shown: [], files: [], errors: [], losses: [] };
  const { pixels, labels } = pictures();
  const bar = { value: 0 };
  try {
    writeFileSync(`${folder}/fashion.caudal`, await fashion());
    process.chdir(folder);
    await sample({
      pixels,
      labels,
      bar,
      n: 32,
      stop: new AbortController(),
      show: (...all) => told.shown.push(all),
      download: (file) => told.files.push(file),
      report: (...all) => told.errors.push(all),
      console: { log: (loss) => told.losses.push(loss) },
      async end(s, t, snapshot) {
        const restored = await (await s.state("dense/kernel")).data();
        assert.deepEqual(restored, await (await snapshot.value("dense/kernel")).data());
        assert.equal(await (await s.state("optimizer/learning_rate")).item(), Math.fround(1e-3));
        const first = await t.run("train_step", { x: { data: pixels, shape: [32, 784] }, y: labels });
        const second = await t.run("train_step", { x: { data: pixels, shape: [32, 784] }, y: labels });
        assert.ok((await second.loss.item()) < (await first.loss.item()));
      },
    });
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
  assert.equal(bar.value, 1);
  assert.equal(told.shown[0][0].length, 320);
  assert.deepEqual(told.shown[0][1], ["top", "trouser"]);
  assert.ok(told.losses.length === 5 && told.losses[4] < told.losses[0], told.losses.join());
  assert.ok(told.files[0].length > 10_000);
  assert.deepEqual(told.errors, [
    ["predict: x: the data has 25088 elements, which the shape [784] has not", "predict", "x", undefined],
  ]);
});
