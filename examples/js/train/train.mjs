// Trains on Fashion-MNIST from nothing: the graph, its gradient and the optimizer are built here.
import { writeFileSync } from "node:fs";
import { commandLine, withFiles } from "../command.mjs";
import { DEBIAN, GARMENTS, accuracyOf, batchOf, fashionMnist, shuffled } from "../idx.mjs";

// The package as an application has it, or the build in this repository.
const { Graph, adam, cosineSchedule, ops, randomKey } = await import("caudal").catch(
  () => import("../../../js/dist/index.js"),
);

const HELP = `usage: node train.mjs [--data FOLDER] [--epochs N] [--batch N] [--hidden N] [-o FILE]

Trains a perceptron on Fashion-MNIST and saves it; Python, Go and C open the file and go on.

  --data FOLDER  the IDX files (${DEBIAN})
  --epochs N     how often each picture is seen (6)
  --batch N      pictures a step (64)
  --hidden N     units of the hidden layer (128)
  -o FILE        where to save (garments.caudal)`;

const flags = { data: DEBIAN, epochs: 6, batch: 64, hidden: 128, output: "garments.caudal" };
const { data, epochs, batch, hidden, output } = commandLine(HELP, flags);

/** The program: predict, evaluate and train_step. */
function build(hidden, steps) {
  const g = new Graph();
  const x = g.input("x", { dtype: "float32", shape: ["batch", 784] });
  const y = g.input("y", { dtype: "int32", shape: ["batch"] });
  const kernel = (seed, shape) => ops.mul(ops.normal(randomKey(seed), { shape }), Math.sqrt(2 / shape[0]));
  const w1 = g.state("dense1/kernel", kernel(1, [784, hidden]));
  const b1 = g.state("dense1/bias", { data: new Float32Array(hidden) });
  const w2 = g.state("dense2/kernel", kernel(2, [hidden, 10]));
  const b2 = g.state("dense2/bias", { data: new Float32Array(10) });
  const logits = ops.add(ops.matmul(ops.relu(ops.add(ops.matmul(x, w1), b1)), w2), b2);
  const loss = ops.mean(ops.softmaxCrossEntropy(logits, y));
  const right = ops.equal(ops.argmax(logits, { axis: 1 }), ops.cast(y, { dtype: "int64" }));
  const accuracy = ops.mean(ops.cast(right, { dtype: "float32" }));
  g.function(
    "predict",
    { output: ops.softmax(logits) },
    { doc: "Probabilities of the ten garments; pixels are in 0 to 1." },
  );
  g.function("evaluate", { loss, accuracy }, { doc: "Mean cross-entropy and the share of right answers." });
  const step = g.function("train_step", { loss, accuracy }, { doc: "One step of Adam on a batch." });
  step.minimize(
    loss,
    [w1, b1, w2, b2],
    adam({ learningRate: 2e-3, schedule: cosineSchedule({ decaySteps: steps, alpha: 0.02 }) }),
  );
  return g.program({ labels: GARMENTS, pixels: "0 to 1" });
}

const [train, test] = await withFiles(() => [fashionMnist(data, "train"), fashionMnist(data, "t10k")]);
const steps = Math.floor(train.labels.length / batch);
const session = await build(hidden, epochs * steps).session();
const start = performance.now();
for (let epoch = 0; epoch < epochs; epoch++) {
  const order = shuffled(train.labels.length, epoch + 1);
  let sum = 0;
  for (let step = 0; step < steps; step++) {
    const out = await session.run(
      "train_step",
      batchOf(train, order.subarray(step * batch, (step + 1) * batch), [784]),
    );
    sum += await out.loss.item();
    out[Symbol.dispose]();
    if (process.stdout.isTTY && step % 20 === 0)
      process.stdout.write(`\repoch ${epoch + 1}: ${step} of ${steps} steps`);
  }
  const accuracy = await accuracyOf(session, test, [784]);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `\repoch ${epoch + 1}: loss ${(sum / steps).toFixed(4)}, test accuracy ${accuracy.toFixed(4)}, ${seconds} s`,
  );
}
const file = await session.save();
await withFiles(() => writeFileSync(output, file));
await session.dispose();
console.log(`saved ${output}`);
