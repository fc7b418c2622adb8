// Sessions, in this thread and in a Worker: state, order of calls, cancelling, limits, closing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CaudalError, load, open, ops, tensor } from "caudal";
import { FIXTURE, batch, failure, perceptron } from "./support.mjs";

const program = perceptron({ metadata: { labels: ["a", "b", "c"] } });
const LONG = 10_000_000_000;
const data = async (found) => Array.from(await (await found).data());

for (const worker of [false, true]) {
  const where = worker ? " in a Worker" : "";
  const session = (options = {}) => program.session({ worker, ...options });

  test(`a session trains, and undoes it${where}`, async () => {
    const s = await session();
    assert.deepEqual(s.program.metadata, { labels: ["a", "b", "c"] });
    const info = s.program.functions.predict;
    assert.deepEqual([info.doc, info.inputs.x], ["Probabilities.", { dtype: "float32", shape: ["batch", 8] }]);
    const before = await s.snapshot();
    const losses = [];
    for (let step = 0; step < 30; step++) losses.push(await (await s.run("train_step", batch())).loss.item());
    assert.ok(losses[29] < losses[0] / 1.5, losses.join());
    await s.restore(before);
    assert.equal(await (await s.run("train_step", batch())).loss.item(), losses[0]);
    const file = await s.save();
    const again = await load(file);
    assert.equal(await (await again.run("train_step", batch())).loss.item(), losses[1]);
    await again.restore(before, { strict: true });
    assert.equal(await (await again.run("train_step", batch())).loss.item(), losses[0]);
    assert.equal(await (await before.value("optimizer/step")).item(), 0n);
    assert.ok((await s.memory("predict", { batch: 1000 })) > 64 * 1000);
    assert.deepEqual([s.device, (await s.placement()).predict], ["cpu", "cpu"]);
    const { seconds, ...counts } = (await s.report()).preparation.train_step;
    assert.deepEqual(counts, { sizes: 1, pipelines: 0 });
    assert.ok(seconds > 0);
    const explained = await s.explain("predict");
    assert.match(explained, / = fused\(.*  # ends at %\d+: dot_general begins its cluster/s);
    assert.equal((await failure(s.explain("other"))).code, "name");
    await s.dispose();
  });

  test(`the file of release 0.1.0 trains as it did there${where}`, async () => {
    const s = await load(FIXTURE, { worker });
    const losses = [];
    for (const expected of s.program.metadata) {
      const { x, y } = await s.run("batch");
      losses.push(await (await s.run("train_step", { x, y })).loss.item());
      assert.ok(Math.abs(losses.at(-1) - expected) < 1e-4, `${losses} and ${s.program.metadata}`);
    }
    await s.dispose();
  });

  test(`state is set all or none, and a tensor that was read stays${where}`, async () => {
    const s = await session();
    const bias = await s.state("hidden/bias");
    await s.setState({ "hidden/bias": new Array(16).fill(2), "optimizer/learning_rate": 0.5, count: 3 });
    assert.deepEqual(await data(s.state("hidden/bias")), new Array(16).fill(2));
    assert.deepEqual(await data(bias), new Array(16).fill(0));
    assert.equal(await (await s.state("count")).item(), 3n);
    const error = await failure(s.setState({ count: 9, "hidden/bias": [1, 2] }));
    assert.equal(error.message, "hidden/bias is float32[16], the new value is float32[2]");
    assert.equal(
      (await failure(s.setState({ count: 1.5 }))).message,
      "count: 1.5 is a float, which int64 does not hold; cast one of them",
    );
    assert.equal(await (await s.state("count")).item(), 3n);
    await s.dispose();
  });

  test(`data that is malformed is an error with the name of its input${where}`, async () => {
    const s = await session();
    const { data: x } = batch(1).x;
    const taken = "caudal takes tensors, typed arrays, numbers and lists of numbers";
    for (const [given, message] of [
      [{ data: x, shape: "1,8" }, 'the shape is "1,8", not a list of sizes such as [2, 3]'],
      [{ data: x, shape: 8 }, "the shape is 8, not a list of sizes such as [2, 3]"],
      [{ data: x, shape: [1.5] }, "1.5 is not a size"],
      [{ data: x, shape: ["batch", 8] }, '"batch" is not a size'],
      [{ data: null, shape: [1, 8] }, `null is not an array; ${taken}`],
      [{ data: "text" }, `string is not an array; ${taken}`],
      [[1, "a"], `string is not an array; ${taken}`],
    ]) {
      const error = await failure(s.run("predict", { x: given }));
      assert.deepEqual(
        [error.code, error.op, error.argument, error.message],
        ["argument", "predict", "x", `predict: x: ${message}`],
      );
      const refused = await failure(s.setState({ "hidden/bias": given }));
      assert.deepEqual(
        [refused.code, refused.argument, refused.message],
        ["argument", "hidden/bias", `hidden/bias: ${message}`],
      );
    }
    await s.dispose();
  });

  test(`runs that write go one after the other, others beside them${where}`, async () => {
    const s = await session();
    const order = [];
    const note = (name, promise) => promise.then(() => order.push(name));
    await Promise.all([
      note("first", s.run("count_up", { n: 300_000 })),
      note("second", s.run("count_up", { n: 1 })),
      note("reads", s.run("predict", { x: batch(1).x })),
      note("set", s.setState({ "optimizer/learning_rate": 0.1 })),
      note("third", s.run("count_up", { n: 2 })),
    ]);
    assert.deepEqual(order, ["reads", "first", "second", "set", "third"]);
    assert.equal(await (await s.state("count")).item(), 300_003n);
    await s.dispose();
  });

  test(`inputs are read before run returns${where}`, async () => {
    const s = await session();
    const { x, y } = batch();
    const given = tensor(x.data, x.shape);
    const expected = await data((await s.run("predict", { x })).output);
    const [long, queued] = [s.run("count_up", { n: 100_000 }), s.run("train_step", { x: given, y })];
    const later = s.run("predict", { x });
    given.dispose();
    x.data.fill(9);
    assert.deepEqual(await data((await later).output), expected);
    await Promise.all([long, queued]);
    assert.equal((await failure(() => given.data())).code, "closed");
    await s.dispose();
  });

  test(`an abort cancels a run with its reason, in the middle or before its turn${where}`, async () => {
    const s = await session();
    const reason = new Error("enough");
    for (const name of ["spin", "count_up"]) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), 30);
      assert.equal(await failure(s.run(name, { n: LONG }, { signal: controller.signal })), reason);
    }
    const [first, second] = [new AbortController(), new AbortController()];
    const running = s.run("count_up", { n: LONG }, { signal: first.signal });
    const waiting = s.run("count_up", { n: LONG }, { signal: second.signal });
    setTimeout(() => second.abort(reason), 20);
    assert.equal(await failure(waiting), reason);
    first.abort(reason);
    assert.equal(await failure(running), reason);
    assert.equal(await failure(s.run("spin", { n: 1 }, { signal: AbortSignal.abort(reason) })), reason);
    assert.equal(await (await s.state("count")).item(), 0n);
    assert.equal(await (await s.run("count_up", { n: 2 })).count.item(), 2n);
    await s.dispose();
  });

  test(`the event loop turns while a session works${where}`, async () => {
    const s = await session();
    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => ++turns === 3 && controller.abort("three turns"), 1);
    await assert.rejects(
      s.run("spin", { n: LONG }, { signal: controller.signal }).catch((reason) => Promise.reject(new Error(reason))),
      {
        message: "three turns",
      },
    );
    turns = 0;
    for (let step = 0; step < 50_000 && turns < 3; step++) (await s.run("train_step", batch(4)))[Symbol.dispose]();
    clearInterval(timer);
    assert.ok(turns >= 3);
    await s.dispose();
  });

  test(`limits end a call, and the session lives on${where}`, async () => {
    const s = await session({ memory: 1 << 20, seconds: 0.2 });
    for (const [name, inputs, limits] of [
      ["spin", { n: LONG }, {}],
      ["count_up", { n: LONG }, { seconds: 0.05 }],
    ]) {
      const error = await failure(s.run(name, inputs, limits));
      assert.equal(error.code, "deadline");
      assert.equal(error.message, `${name}: the call took longer than its limit in seconds`);
    }
    const error = await failure(s.run("train_step", batch(20_000)));
    assert.equal(error.code, "memory");
    assert.match(error.message, /^train_step: a call needs \d+ bytes, the limit is 1048576$/);
    assert.equal(await (await s.state("optimizer/step")).item(), 0n);
    await s.run("train_step", batch(8));
    assert.equal(await (await s.state("optimizer/step")).item(), 1n);
    await s.dispose();
  });

  test(`options that there are not are refused, and limits that are none${where}`, async () => {
    const s = await session();
    const predict = (options) => s.run("predict", { x: batch(1).x }, options);
    const limits = "memory, seconds";
    const ofSession = `device, strict, debug, worker, ${limits}`;
    for (const [work, op, argument, known] of [
      [() => load(FIXTURE, { worker, devce: "cpu" }), "load", "devce", `${ofSession}, signal, onProgress`],
      [() => open(FIXTURE, { device: "cpu" }), "open", "device", `${limits}, signal, onProgress`],
      [() => session({ onProgress() {} }), "session", "onProgress", ofSession],
      [() => s.program.session({ debugging: true }), "session", "debugging", ofSession],
      [() => predict({ second: 1 }), "run", "second", `signal, ${limits}`],
      [() => s.restore(s, { Strict: true }), "restore", "Strict", "strict"],
      [() => s.program.text({ graphs: true }), "text", "graphs", "graph"],
    ]) {
      const { code, message, ...parts } = await failure(work);
      assert.deepEqual([code, parts.op, parts.argument], ["argument", op, argument]);
      assert.equal(message, `${op}: there is no option '${argument}'; there are: ${known}`);
    }
    for (const [given, what] of [
      ["cpu", "string"],
      [null, "null"],
    ]) {
      const expected = `load: ${what} is no object of options; there are: ${ofSession}, signal, onProgress`;
      assert.equal((await failure(load(FIXTURE, given))).message, expected);
    }
    for (const [given, message] of [
      [{ memory: -1 }, "a limit is 0 or more, not memory=-1, seconds=0"],
      [{ memory: NaN }, "a limit is 0 or more, not memory=NaN, seconds=0"],
      [{ memory: Infinity }, "a limit is 0 or more, not memory=Infinity, seconds=0"],
      [{ memory: null }, "a limit is 0 or more, not memory=null, seconds=0"],
      [{ memory: 1e6 + 0.5 }, "a limit is 0 or more, and memory is whole bytes, not memory=1000000.5, seconds=0"],
      [{ seconds: -0.5 }, "a limit is 0 or more, not memory=0, seconds=-0.5"],
      [{ memory: 1000, seconds: NaN }, "a limit is 0 or more, not memory=1000, seconds=NaN"],
      [{ seconds: "1" }, 'a limit is 0 or more, not memory=0, seconds="1"'],
    ]) {
      for (const work of [
        () => load(FIXTURE, { worker, ...given }),
        () => open(FIXTURE, given),
        () => session(given),
        () => predict(given),
      ]) {
        const error = await failure(work);
        assert.deepEqual(
          [error.code, error.op, error.message],
          ["argument", "Limits", `Limits: ${message}`],
        );
      }
    }
    await predict({ memory: undefined, seconds: Infinity });
    await s.dispose();
  });

  test(`dispose waits for calls that were made, and refuses later ones${where}`, async () => {
    const s = await session();
    const calls = [s.run("count_up", { n: 100_000 }), s.run("count_up", { n: 1 }), s.run("predict", { x: batch(2).x })];
    const ended = s.dispose();
    const late = await failure(s.run("predict", { x: batch(1).x }));
    assert.deepEqual([late.code, late.message], ["closed", "the session is closed"]);
    const [, second, predicted] = await Promise.all(calls);
    await ended;
    assert.equal(await second.count.item(), 100_001n);
    assert.equal((await predicted.output.data()).length, 6);
    await s.dispose();
    for (const call of [
      () => s.state("count"),
      () => s.setState({ count: 1 }),
      () => s.snapshot(),
      () => s.save(),
      () => s.report(),
    ]) {
      assert.equal((await failure(call)).code, "closed");
    }
  });

  test(`weights come from any program or session${where}`, async () => {
    const [a, b] = [await session(), await program.session({ worker: !worker })];
    for (let step = 0; step < 3; step++) await a.run("train_step", batch());
    await b.restore(a);
    assert.deepEqual(await data(b.state("hidden/kernel")), await data(a.state("hidden/kernel")));
    const selected = await (await a.snapshot()).select(["predict"]);
    assert.deepEqual(Object.keys(selected.functions), ["predict"]);
    assert.equal((await failure(b.restore(selected, { strict: true }))).code, "name");
    await (await program.session({ worker })).restore(await open(await selected.save()));
    assert.equal((await failure(a.restore(7))).code, "argument");
    await Promise.all([a.dispose(), b.dispose()]);
  });
}

test("runSync runs at once, and not in a Worker", async () => {
  const s = await program.session();
  const { output } = s.runSync("predict", { x: batch(2).x });
  assert.deepEqual(output.shape, [2, 3]);
  assert.throws(() => s.runSync("predict", {}), { code: "argument" });
  assert.throws(() => s.runSync("predict", { x: batch(2).x }, { signal: AbortSignal.abort() }), {
    message: "runSync: there is no option 'signal'; there are: memory, seconds",
  });
  await s.dispose();
  const remote = await program.session({ worker: true });
  assert.throws(() => remote.runSync("predict", { x: batch(2).x }), { code: "unsupported" });
  await remote.dispose();
});

test("outputs of one session are inputs of another and of ops", async () => {
  const [a, b] = [await program.session(), await program.session()];
  const { output } = await a.run("predict", { x: batch(4).x });
  const wide = ops.concat([output, output, output], { axis: 1 });
  assert.deepEqual(wide.shape, [4, 9]);
  const x = ops.slice(wide, { start: [0, 0], stop: [4, 8] });
  const got = await b.run("predict", { x });
  assert.deepEqual(
    await data(got.output),
    await data((await b.run("predict", { x: { data: await x.data(), shape: [4, 8] } })).output),
  );
  await Promise.all([a.dispose(), b.dispose()]);
});
