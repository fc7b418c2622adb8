// What a session takes of memory, and what a trap leaves.
import assert from "node:assert/strict";
import { test } from "node:test";
import threads from "node:worker_threads";
import { CaudalError, load } from "caudal";
import { batch, failure, perceptron } from "./support.mjs";

const program = perceptron({ features: 64, hidden: 128 });
const given = batch(64, 64);

/** How much the memory of WASM grows in 1,000 steps after 50 others. */
async function growth(afterStep) {
  const session = await program.session();
  const { instance } = session.program.handle;
  let start;
  for (let step = 0; step < 1050; step++) {
    const out = await session.run("train_step", given);
    await afterStep(out, step);
    if (step === 50) start = instance.memoryBytes;
  }
  const grown = instance.memoryBytes - start;
  await session.dispose();
  return grown;
}

test("memory is flat over 1,000 train steps whose outputs are disposed of", async () => {
  assert.equal(await growth((out) => out[Symbol.dispose]()), 0);
});

test("memory is flat over 1,000 train steps without dispose where garbage is collected", async () => {
  const collect = async (_, step) => {
    if (step % 25) return;
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 0));
  };
  assert.ok((await growth(collect)) <= 1 << 16);
});

test("a program's memory goes with it", async () => {
  const collected = [];
  const registry = new FinalizationRegistry((name) => collected.push(name));
  await (async () => {
    const session = await load(await program.save());
    registry.register(session.program.handle.instance, "instance");
    await session.run("train_step", given);
    await session.dispose();
  })();
  for (let turn = 0; turn < 20 && collected.length === 0; turn++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.deepEqual(collected, ["instance"]);
});

test("a trap closes the instance, and its last state can be read", async () => {
  const session = await load(await program.save());
  const other = await program.session();
  for (let step = 0; step < 3; step++) await session.run("train_step", given);
  const before = await (await session.state("hidden/kernel")).data();
  const running = session.run("count_up", { n: 1e9 });
  const { instance } = session.program.handle;
  // No handle lies there.
  assert.throws(() => instance.raw.cdl_program_write(0xfffffff0, 8), { code: "internal" });
  const error = await failure(session.run("train_step", given));
  assert.equal(error.code, "internal");
  assert.match(
    error.message,
    /^caudal failed by a mistake of its own \(.+\); this program runs no more, its last state/,
  );
  assert.equal(await failure(running), error);
  assert.equal(await failure(session.setState({ count: 1 })), error);
  assert.deepEqual(await (await session.state("hidden/kernel")).data(), before);
  assert.equal(await (await session.state("optimizer/step")).item(), 3n);
  const saved = await load(await session.save());
  assert.deepEqual(await (await saved.state("hidden/kernel")).data(), before);
  await other.run("train_step", given);
  await session.dispose();
});

test("a trap in a Worker closes its instance, and its last state can be read", async (t) => {
  const { Worker } = threads;
  t.mock.method(threads, "Worker", function () {
    return new Worker(new URL("trapping.mjs", import.meta.url));
  });
  const session = await program.session({ worker: true });
  t.mock.restoreAll();
  for (let step = 0; step < 3; step++) await session.run("train_step", given);
  const before = await (await session.state("hidden/kernel")).data();
  const running = failure(session.run("count_up", { n: 1e9 }));
  const waiting = failure(session.run("train_step", given));
  const error = await failure(session.run("predict", { x: given.x }));
  assert.ok(error instanceof CaudalError);
  assert.equal(error.code, "internal");
  assert.match(
    error.message,
    /^caudal failed by a mistake of its own \(.+\); this program runs no more, its last state/,
  );
  const later = [running, waiting, failure(session.run("train_step", given)), failure(session.setState({ count: 1 }))];
  for (const { code, message } of await Promise.all(later)) {
    assert.deepEqual([code, message], ["internal", error.message]);
  }
  assert.deepEqual(await (await session.state("hidden/kernel")).data(), before);
  assert.equal(await (await session.state("optimizer/step")).item(), 3n);
  assert.equal((await session.report()).device, "cpu");
  for (const file of [await session.save(), await (await session.snapshot()).save()]) {
    const saved = await load(file);
    assert.deepEqual(await (await saved.state("hidden/kernel")).data(), before);
  }
  const other = await program.session();
  await other.restore(session);
  assert.deepEqual(await (await other.state("hidden/kernel")).data(), before);
  await session.dispose();
  assert.equal((await failure(session.run("predict", { x: given.x }))).code, "closed");
});
