// Sessions on a GPU, and the driver by itself, on Dawn in Node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Graph, cond, devices, load, ops, tensor, whileLoop } from "caudal";
import { outcome } from "./core.mjs";
import { installGpu, opened } from "./dawn.mjs";
import { CASES, DRIVER, verify } from "./driver.mjs";
import { FIXTURE, batch, failure, perceptron } from "./support.mjs";

const lacking = await installGpu();
const options = { skip: lacking };
const { Driver } = await import(`data:text/javascript,${encodeURIComponent(DRIVER)}`);
const LONG = 1_000_000_000;
const program = perceptron();

for (const entry of CASES) {
  test(`driver: ${entry.name}`, options, async () => {
    verify(entry, await outcome(Driver, navigator.gpu, entry));
  });
}

test("devices lists the GPU", options, async () => {
  assert.deepEqual(await devices(), ["cpu", "gpu:0"]);
});

test("rows are summed through subgroups where shaders know them, and through memory where not", options, async () => {
  const values = Float32Array.from({ length: 3 * 5000 }, (_, i) => (i % 7) - 2);
  const graph = new Graph();
  graph.function("total", ops.sum(graph.input("x", { dtype: "float32", shape: [3, 5000] }), { axis: [1] }));
  const built = graph.program();
  const totals = async () => {
    const texts = [];
    const { createShaderModule } = GPUDevice.prototype;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      texts.push(descriptor.code);
      return createShaderModule.call(this, descriptor);
    };
    try {
      const session = await built.session({ device: "gpu:0" });
      const { output } = await session.run("total", { x: tensor(values, [3, 5000]) });
      return [Array.from(await output.data()), texts.some((text) => text.includes("subgroupShuffleXor"))];
    } finally {
      GPUDevice.prototype.createShaderModule = createShaderModule;
    }
  };
  const expected = [0, 1, 2].map((row) => values.subarray(5000 * row, 5000 * (row + 1)).reduce((a, b) => a + b, 0));
  const { features, info } = await navigator.gpu.requestAdapter();
  const knowsSubgroups = features.has("subgroups") && info.subgroupMinSize === info.subgroupMaxSize;
  assert.deepEqual(await totals(), [expected, knowsSubgroups]);
});

test("a session on a GPU trains as on the CPU; state is read, set, saved and undone", options, async () => {
  const [cpu, gpu] = [await program.session(), await program.session({ device: "gpu:0" })];
  assert.deepEqual([gpu.device, (await gpu.report()).device], ["gpu:0", "gpu:0"]);
  const before = await gpu.snapshot();
  const losses = [];
  for (let step = 0; step < 20; step++) {
    const [a, b] = [await cpu.run("train_step", batch()), await gpu.run("train_step", batch())];
    losses.push(await b.loss.item());
    assert.ok(Math.abs((await a.loss.item()) - losses[step]) < 1e-3, losses.join());
  }
  assert.ok(losses[19] < losses[0] / 1.2, losses.join());
  const kernel = await gpu.state("hidden/kernel");
  const error = await failure(() => kernel.dataSync());
  assert.deepEqual(
    [error.code, error.message],
    ["unsupported", "the tensor lies on gpu:0, where reading takes a while; await its data()"],
  );
  const [data, expected] = [await kernel.data(), await (await cpu.state("hidden/kernel")).data()];
  data.forEach((value, index) => assert.ok(Math.abs(value - expected[index]) < 1e-3));
  const again = await load(await gpu.save(), { device: "gpu:0" });
  assert.deepEqual(await (await again.state("hidden/kernel")).data(), data);
  await gpu.restore(before);
  assert.equal(await (await gpu.run("train_step", batch())).loss.item(), losses[0]);
  await gpu.setState({ "hidden/bias": new Array(16).fill(2), count: 3 });
  assert.deepEqual(Array.from(await (await gpu.state("hidden/bias")).data()), new Array(16).fill(2));
  assert.deepEqual(Array.from(await kernel.data()), Array.from(data), "what was read stays");
  for (const session of [cpu, gpu, again]) await session.dispose();
});

test("what a session on a GPU gives goes into others, there and on the CPU", options, async () => {
  const [cpu, gpu] = [await program.session(), await program.session({ device: "gpu:0" })];
  const { x, y } = batch();
  const { output } = await gpu.run("predict", { x });
  const given = await output.data();
  const near = (found) => given.forEach((value, index) => assert.ok(Math.abs(value - found[index]) < 1e-5));
  near(await (await cpu.run("predict", { x })).output.data());
  const biases = await gpu.state("hidden/bias");
  const kernel = await gpu.state("hidden/kernel");
  await gpu.run("train_step", { x, y });
  await cpu.setState({ "hidden/bias": biases, "hidden/kernel": kernel });
  near(await (await cpu.run("predict", { x })).output.data());
  // Eager ops run in another instance, where nothing of this device is.
  const error = await failure(() => ops.mul(output, 2));
  assert.match(error.message, /^mul: the tensor lies on gpu:0, where reading takes a while; await its data\(\) /);
  await cpu.dispose();
  await gpu.dispose();
});

test("control flow waits for its flags, and nothing else for the GPU", options, async () => {
  const g = new Graph();
  const x = g.input("x", { dtype: "float32", shape: [] });
  const doubled = whileLoop(
    (v) => ops.less(v, 100),
    (v) => ops.mul(v, 2),
    x,
  );
  const chosen = cond(
    ops.less(doubled, 150),
    () => ops.neg(doubled),
    () => ops.add(doubled, 1),
  );
  g.function("run", { doubled, chosen });
  const session = await g.program().session({ device: "gpu:0" });
  const runs = await Promise.all([1, 3, 90, 500].map((x) => session.run("run", { x })));
  const found = await Promise.all(runs.map(async ({ doubled, chosen }) => [await doubled.item(), await chosen.item()]));
  assert.deepEqual(found, [[128, -128], [192, 193], [180, 181], [500, 501]]);
  await session.dispose();
});

test("a run without an end gives way to its deadline and to an abort; the state is as before", options, async () => {
  const session = await program.session({ device: "gpu:0" });
  const late = await failure(session.run("count_up", { n: LONG }, { seconds: 0.2 }));
  assert.equal(late.code, "deadline");
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), 100);
  assert.equal((await failure(session.run("count_up", { n: LONG }, { signal: stop.signal }))).message, "enough");
  assert.equal(await (await session.state("count")).item(), 0n);
  assert.equal(await (await session.run("count_up", { n: 3 })).count.item(), 3n);
  await session.dispose();
});

test("the file of release 0.1.0 trains as it did there", options, async () => {
  const session = await load(FIXTURE, { device: "gpu:0" });
  for (const expected of session.program.metadata) {
    const { x, y } = await session.run("batch");
    assert.ok(Math.abs((await (await session.run("train_step", { x, y })).loss.item()) - expected) < 1e-3);
  }
  await session.dispose();
});

test("what a GPU does not do is an error that says so", options, async () => {
  const session = await program.session({ device: "gpu:0" });
  const sync = await failure(() => session.runSync("predict", { x: batch().x }));
  assert.deepEqual([sync.code, sync.message], ["unsupported", "a session on gpu:0 has no runSync; use run"]);
  const missing = await failure(program.session({ device: "gpu:1" }));
  assert.deepEqual(
    [missing.code, missing.argument, missing.message],
    ["device", "device", "there is no device gpu:1: there is one GPU at most, gpu:0"],
  );
  // A software adapter is no reason to leave the CPU.
  const auto = await program.session({ device: "auto" });
  assert.ok(["cpu", "gpu:0"].includes(auto.device));
  await auto.dispose();
  await session.dispose();
});

test("a device that is lost fails its sessions, and the next session opens another", options, async () => {
  const session = await program.session({ device: "gpu:0" });
  await session.run("train_step", batch());
  const kept = await session.snapshot();
  const { loss } = await session.run("train_step", batch());
  opened.at(-1).destroy();
  const error = await failure(async () => {
    for (let turn = 0; turn < 20; turn++) await (await session.run("train_step", batch())).loss.item();
  });
  assert.equal(error.code, "device", error.message);
  assert.match(error.message, /is lost: .*; open a new session/);
  assert.equal((await failure(loss.data())).code, "device");
  const next = await kept.session({ device: "gpu:0" });
  const again = await (await next.run("train_step", batch())).loss.item();
  const cpu = await kept.session();
  assert.ok(Math.abs(again - (await (await cpu.run("train_step", batch())).loss.item())) < 1e-3);
  for (const s of [session, next, cpu]) await s.dispose();
});
