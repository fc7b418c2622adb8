// The sample of the surface; what is around it gives its names a meaning.
import { CaudalError, Graph, adam, load, ops, randomKey, type Program, type Session } from "caudal";

/** What the sample is given, and what it tells. */
export interface Surroundings {
  pixels: Float32Array;
  labels: Int32Array;
  n: number;
  stop: AbortController;
  bar: { value: number };
  show(probabilities: Float32Array, labels: unknown): void;
  download(file: Uint8Array): void;
  report(message: string, op: unknown, argument: unknown, location: unknown): void;
  console: { log(loss: number): void };
  end(s: Session, t: Session, before: Program): Promise<void>;
}

export async function sample(given: Surroundings): Promise<void> {
  const { pixels, labels, n, stop, bar, show, download, report, console, end } = given;
  type Fashion = {                                                 // printed by: caudal info FILE --typescript
    predict: { inputs: { x: "float32" }; outputs: { output: "float32" } };
    train_step: { inputs: { x: "float32"; y: "int32" }; outputs: { loss: "float32"; accuracy: "float32" } } };
  const s = await load<Fashion>("fashion.caudal", {
    device: "auto", memory: 256 << 20, onProgress: (n, all) => (bar.value = n / (all ?? n)) });
  { const inputs = { x: { data: pixels, shape: [n, 28, 28, 1] } };
    using out = await s.run("predict", inputs, { signal: stop.signal, seconds: 1 });
    show(await out.output.data(), s.program.metadata["labels"]); } // Float32Array; a wrong name does not compile
  const before = await s.snapshot();
  await s.setState({ "optimizer/learning_rate": 1e-4 });
  for (let i = 0; i < 50; i++) {
    using m = await s.run("train_step", {
      x: { data: pixels, shape: [32, 28, 28, 1] }, y: { data: labels, shape: [32] } });
    if (i % 10 === 9) console.log(await m.loss.item());            // the only wait for the GPU
  }
  await s.restore(before);                                         // undo
  download(await s.save());
  try { await s.run("predict", { x: { data: pixels, shape: [784] } }); }
  catch (e) {
    if (e instanceof CaudalError && e.code === "shape") report(e.message, e.op, e.argument, e.location); else throw e; }

  const g = new Graph();                                           // from nothing
  const x = g.input("x", { dtype: "float32", shape: ["batch", 784] });
  const y = g.input("y", { dtype: "int32", shape: ["batch"] });
  const w = g.state("dense/kernel", ops.mul(ops.normal(randomKey(0), { shape: [784, 10] }), 0.05));
  const b = g.state("dense/bias", { data: new Float32Array(10), shape: [10] });
  const logits = ops.add(ops.matmul(x, w), b), loss = ops.mean(ops.softmaxCrossEntropy(logits, y));
  g.function("predict", { output: ops.softmax(logits) });
  g.function("train_step", { loss }).minimize(loss, [w, b], adam({ learningRate: 1e-3 }));
  await using t = await g.program({ labels }).session({ worker: true });
  await end(s as unknown as Session, t, before as unknown as Program);
  await s.dispose();
}
