// What compiles and what does not: tsc itself is the test.
import { load, ops, tensor, type Graph, type Tensor, type Value } from "caudal";

type Fashion = {
  predict: { inputs: { x: "float32" }; outputs: { output: "float32" } };
  init: { inputs: {}; outputs: {} };
  count: { inputs: { n: "int64" }; outputs: { n: "int64"; done: "bool" } } };

export async function typed(g: Graph): Promise<void> {
  const s = await load<Fashion>("fashion.caudal");
  const { output } = await s.run("predict", { x: { data: new Float32Array(1), shape: [1] } });
  const data: Float32Array = await output.data();
  const item: number = await output.item();
  const { n, done } = s.runSync("count", { n: 1n });
  const big: bigint = await n.item();
  const flag: boolean = await done.item();
  await s.run("init");
  await s.run("predict", { x: [[1, 2]] }, { seconds: 1, signal: new AbortController().signal });
  // @ts-expect-error: no such function
  await s.run("predicts", { x: 1 });
  // @ts-expect-error: no such input
  await s.run("predict", { y: 1 });
  // @ts-expect-error: one input too many
  await s.run("predict", { x: 1, y: 1 });
  // @ts-expect-error: the inputs are missing
  await s.run("predict");
  // @ts-expect-error: an array of another dtype
  await s.run("predict", { x: new Float64Array(1) });
  // @ts-expect-error: a tensor of another dtype
  await s.run("predict", { x: tensor([1], [1], "int32") });
  // @ts-expect-error: no such output
  (await s.run("predict", { x: 1 })).loss;
  // @ts-expect-error: no such option
  await s.run("predict", { x: 1 }, { second: 1 });
  // @ts-expect-error: select keeps names that there are
  await s.program.select(["predicts"]);
  const some = await load("fashion.caudal");
  await some.run("anything", { x: 1 });

  const x = g.input("x", { dtype: "float32", shape: ["batch", 2] });
  const eager: Tensor = ops.add(tensor([1, 2]), 1);
  const value: Value = ops.add(x, 1);
  const mixed: Value = ops.add(eager, x);
  const [values, indices]: [Tensor, Tensor] = ops.topK(eager, { k: 1 });
  // @ts-expect-error: a value is no tensor
  const wrong: Tensor = ops.add(x, 1);
  // @ts-expect-error: no such attr
  ops.softmax(eager, { axes: 1 });
  // @ts-expect-error: a required attr
  ops.cast(eager);
  // @ts-expect-error: no such dtype
  ops.cast(eager, { dtype: "float" });
  void [data, item, big, flag, value, mixed, values, indices, wrong];
}
