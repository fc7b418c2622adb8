// Graphs by hand: gradients, optimizers, control flow, the user's lines, eager ops.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  Graph,
  adagrad,
  adam,
  adamw,
  cond,
  constantSchedule,
  exponentialSchedule,
  ops,
  randomKey,
  rmsprop,
  scan,
  sgd,
  tensor,
  whileLoop,
} from "caudal";

const float = (shape) => ({ dtype: "float32", shape });
const list = (given) => Array.from(given.dataSync());

/** The line of this file that holds a text. */
function lineOf(text) {
  return (
    readFileSync(new URL(import.meta.url), "utf8")
      .split("\n")
      .findIndex((line) => line.includes(text)) + 1
  );
}

test("the gradient of a graph is that of its formula", async () => {
  const g = new Graph();
  const x = g.input("x", float(["n"]));
  const w = g.state("w", 3);
  const loss = ops.sum(ops.mul(ops.square(x), w));
  const [dx, dw] = g.grad(loss, [x, w]);
  const [second] = g.grad(ops.sum(dx), [x]);
  g.function("grads", { dx, dw, second });
  const s = await g.program().session();
  const { dx: found, dw: by, second: again } = await s.run("grads", { x: [1, 2, 4] });
  assert.deepEqual([list(found), list(by), list(again)], [[6, 12, 24], [21], [6, 6, 6]]);
});

test("every optimizer makes its step", async () => {
  const { sqrt } = Math;
  // w = 1 and its gradient 2, with what each makes of that in one step.
  const cases = [
    [sgd({ learningRate: 0.1 }), 0.8],
    [sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }), 1 - 0.1 * 2 * 1.9],
    [rmsprop({ learningRate: 0.1 }), 1 - 0.2 / sqrt(0.4)],
    [rmsprop({ learningRate: 0.1, momentum: 0.5, centered: true }), 1 - 0.2 / sqrt(0.4 - 0.04)],
    [adagrad({ learningRate: 0.1 }), 1 - 0.2 / sqrt(4.1)],
    [adam({ learningRate: 0.1 }), 0.9],
    [
      adam({
        learningRate: 0.1,
        beta1: 0.5,
        beta2: 0.5,
        schedule: exponentialSchedule({ decaySteps: 1, decayRate: 0.5 }),
      }),
      0.9,
    ],
    [adamw({ learningRate: 0.1, weightDecay: 0.5 }), 0.85],
    [sgd({ learningRate: 0.1, schedule: constantSchedule({ warmupSteps: 4 }) }), 1],
  ];
  for (const [optimizer, expected] of cases) {
    const g = new Graph();
    const w = g.state("w", 1);
    const loss = ops.square(w);
    g.function("step", { loss }).minimize(loss, [w], { ...optimizer, name: "own" });
    const s = await g.program().session();
    await s.run("step");
    const found = await (await s.state("w")).item();
    assert.ok(Math.abs(found - expected) < 1e-5, `${optimizer.op.name}: ${found}, expected ${expected}`);
    assert.equal(await (await s.state("own/step")).item(), 1n);
    await s.dispose();
  }
  assert.throws(() => sgd({ nesterov: true }), { message: "sgd: nesterov needs a momentum above 0" });
});

test("a function writes state, and trains by gradients that it changed", async () => {
  const g = new Graph();
  const w = g.state("w", [1, 2]);
  const seen = g.state("seen", tensor(0, [], "int64"), { role: "statistic" });
  const loss = ops.sum(ops.square(w));
  const clipped = g.grad(loss, [w]).map((grad) => ops.minimum(ops.maximum(grad, -1), 1));
  const step = g.function("step", { loss }, { doc: "Clipped.", inputs: [] });
  step.apply(clipped, [w], sgd({ learningRate: 0.5 }));
  step.update(seen, ops.add(seen, 1));
  const p = g.program({ by: "hand" });
  const s = await p.session();
  await s.run("step");
  assert.deepEqual(list(await s.state("w")), [0.5, 1.5]);
  assert.equal(await (await s.state("seen")).item(), 1n);
  assert.deepEqual([p.state.seen.role, p.functions.step.doc], ["statistic", "Clipped."]);
  assert.ok("step_apply" in p.functions && "step_gradients" in p.functions);
});

test("control flow in a graph gives what it gives of tensors", async () => {
  const halved = (x) =>
    cond(
      ops.greater(ops.sum(x), 2),
      () => ops.div(x, 2),
      () => ops.neg(x),
    );
  const doubled = (x) =>
    whileLoop(
      (v) => ops.less(ops.sum(v), 100),
      (v) => ops.mul(v, 2),
      x,
    );
  const sums = (x) =>
    scan((s, row) => [ops.add(s, row), { sum: ops.add(s, row), row }], tensor([0, 0]), x, { reverse: true });
  const g = new Graph();
  const x = g.input("x", float(["n", 2]));
  g.function("halved", halved(x));
  g.function("doubled", doubled(x));
  const [total, { sum, row }] = sums(x);
  g.function("sums", { total, sum, row });
  const s = await g.program().session();
  for (const given of [
    [
      [1, 2],
      [3, 4],
    ],
    [
      [-1, 1],
      [0, 1],
    ],
  ]) {
    const eager = tensor(given);
    assert.deepEqual(list((await s.run("halved", { x: given })).output), list(halved(eager)));
    const all = await s.run("sums", { x: given });
    const [last, parts] = sums(eager);
    assert.deepEqual([list(all.total), list(all.sum), list(all.row)], [list(last), list(parts.sum), list(parts.row)]);
  }
  assert.deepEqual(
    list(
      (
        await s.run("doubled", {
          x: [
            [1, 2],
            [3, 4],
          ],
        })
      ).output,
    ),
    list(
      doubled(
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ),
    ),
  );
  const n = g.input("n", float([]));
  assert.throws(
    () =>
      whileLoop(
        (v) => ops.less(v, 3),
        (v) => ops.stack([v, v]),
        n,
      ),
    {
      code: "shape",
      message:
        /^while_loop: the carried value is float32\[\] before a step and float32\[2\] after it \(.+graph.+:\d+\)$/,
    },
  );
});

test("a gradient goes through control flow", async () => {
  const g = new Graph();
  const x = g.input("x", float([]));
  const cubed = whileLoop(
    ({ i }) => ops.less(i, 3),
    ({ i, v }) => ({ i: ops.add(i, 1), v: ops.mul(v, x) }),
    { i: tensor(0), v: ops.mul(x, 1) },
    { maxSteps: 4 },
  );
  g.function("grad", g.grad(cubed.v, [x])[0]);
  const s = await g.program().session();
  assert.deepEqual(list((await s.run("grad", { x: 2 })).output), [32]);
});

test("errors show the line of the caller, also after the file was saved", async () => {
  const g = new Graph();
  const x = g.input("x", float(["n"]));
  const place = (text) => `(test/graph.test.mjs:${lineOf(text)})`;
  const wrong = () => ops.sum(x, { axis: 3 }); // the line of the sum
  assert.throws(wrong, {
    message: `sum: axis 3 is out of range for rank 1 ${place("// the line of the sum")}`,
    location: { file: "test/graph.test.mjs", line: lineOf("// the line of the sum") },
  });
  g.function("four", ops.add(x, tensor([1, 2, 3, 4]))); // the line of four
  const s = await g.program().session();
  await assert.rejects(
    s.run("four", { x: [1] }).then(() => s.run("four", { x: [1, 2] })),
    {
      message: `add: n = 1 and 4 must be equal ${place("// the line of four")}`,
    },
  );
  const bare = await (await s.program.withoutLines()).session();
  await assert.rejects(bare.run("four", { x: [1, 2] }), { message: "add: n = 2 and 4 must be equal" });
});

test("what a graph refuses", () => {
  const [g, other] = [new Graph(), new Graph()];
  const x = g.input("x", float(["n"]));
  assert.throws(() => g.state("w", 1, { role: "weights" }), {
    message: "state: there is no role 'weights'; there are parameter, optimizer, statistic, random, other",
  });
  assert.throws(() => ops.add(x, other.input("x", float(["n"]))), { code: "argument" });
  assert.throws(() => g.input("x", float([])), { code: "argument" });
  assert.throws(() => g.input("z", "float32[n]"), { code: "argument", message: /"float32\[n\]" is not a spec such as/ });
  assert.throws(() => ops.add(ops.cast(x, { dtype: "int32" }), 1.5), { code: "dtype" });
  g.dispose();
  assert.throws(() => g.input("y", float([])), { code: "closed", message: "the graph was disposed" });
});

test("random keys are those of every language, and draws differ from call to call", async () => {
  assert.deepEqual(list(randomKey(42)), [0, 42]);
  assert.deepEqual(list(randomKey(2n ** 64n - 1n)), [0xffffffff, 0xffffffff]);
  // As python's cd.random.bits(cd.asarray([7, 42], dtype="uint32"), (2,)).
  assert.deepEqual(list(ops.randomBits(tensor([7, 42], [2], "uint32"), { shape: [2] })), [1608166506, 2351936236]);
  for (const seed of [-1, 1.5, 2n ** 64n]) {
    assert.throws(() => randomKey(seed), { message: `key: ${seed} is not in 0 to 2^64 - 1` });
  }
  const g = new Graph();
  g.function("draw", ops.normal(g.draw(), { shape: [4] }));
  const s = await g.program().session();
  const [a, b] = [list((await s.run("draw")).output), list((await s.run("draw")).output)];
  assert.notDeepEqual(a, b);
});

test("numbers take the dtype of the other operand, or the usual one", () => {
  assert.equal(ops.add(tensor([1n]), 2).dtype, "int64");
  assert.equal(ops.add(tensor([1], [1], "int8"), 2).dtype, "int8");
  assert.equal(ops.add(1, 2).dtype, "float32");
  assert.equal(ops.mul(Float64Array.of(2), 3).dtype, "float64");
  assert.equal(ops.logicalNot(true).dtype, "bool");
  assert.deepEqual(
    list(
      ops.softmaxCrossEntropy(
        [
          [0, 0],
          [0, 0],
        ],
        [0, 1],
      ),
    ),
    [Math.fround(Math.log(2)), Math.fround(Math.log(2))],
  );
  assert.throws(
    () => ops.add(tensor([1], [1], "int8"), 300),
    (error) => {
      return (
        error.code === "dtype" && error.message.startsWith("add: 300 is out of range for int8 (test/graph.test.mjs:")
      );
    },
  );
});
