// The table of errors that every language runs; tests/errors/write.py says what an entry is.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CaudalError, Graph, load, open, ops, parseSpec, tensor } from "caudal";
import { ROOT, failure } from "./support.mjs";

const FILE = `${ROOT}tests/errors/errors.caudal`;
const ENTRIES = JSON.parse(readFileSync(`${ROOT}tests/errors/errors.json`, "utf8"));

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const camelKeys = (attrs) => Object.fromEntries(Object.entries(attrs).map(([name, value]) => [camel(name), value]));

function tensorOf(text) {
  const [spec, value = "0"] = text.split(" = ");
  const { dtype, shape } = parseSpec(spec);
  const size = shape.reduce((product, dim) => product * dim, 1);
  return tensor(new Array(size).fill(Number(value)), shape, dtype);
}

const tensors = (texts) => Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, tensorOf(text)]));

function applied(name, inputs, attrs) {
  const op = ops[camel(name)];
  return name === "concat" ? op(inputs, camelKeys(attrs)) : op(...inputs, camelKeys(attrs));
}

async function run(entry, worker) {
  const session = await load(FILE, { worker, ...entry.options });
  const before = await (await session.state("w")).data();
  const { cancelled, ...limits } = entry.limits ?? {};
  // Who cancels is the signal, and its reason is what the call fails with.
  const signal = cancelled ? AbortSignal.abort(new CaudalError(entry.code, entry.message, entry)) : undefined;
  try {
    await session.run(entry.run, tensors(entry.inputs), { signal, ...limits });
  } catch (error) {
    if (signal) assert.equal(error, signal.reason);
    throw error;
  } finally {
    assert.deepEqual(await (await session.state("w")).data(), before);
    const { output } = await session.run("train_step", { x: [0, 0] });
    assert.equal(
      await output.item(),
      before.reduce((sum, value) => sum + value),
    );
    await session.dispose();
  }
}

const DO = {
  eager: (entry) => applied(entry.eager, entry.inputs.map(tensorOf), entry.attrs),
  graph(entry) {
    const g = new Graph();
    applied(
      entry.graph,
      entry.inputs.map((text, index) => g.input(`x${index}`, parseSpec(text))),
      entry.attrs,
    );
  },
  run,
  state: async (entry, worker) => (await load(FILE, { worker })).setState(tensors(entry.state)),
  memory: async (entry, worker) => (await load(FILE, { worker })).memory(entry.memory, entry.dims),
  session: (entry, worker) => load(FILE, { worker, ...entry.session }),
  select: async (entry) => (await open(FILE)).select(entry.select),
  spec: async (entry) => parseSpec(entry.spec),
  bytes: (entry, worker) => load(new TextEncoder().encode(entry.bytes), { worker }),
  first: (entry, worker) => load(readFileSync(FILE).subarray(0, entry.first), { worker }),
};

for (const worker of [false, true]) {
  for (const [index, entry] of ENTRIES.entries()) {
    const action = Object.keys(DO).find((key) => key in entry);
    if (worker && ["eager", "graph", "select", "spec"].includes(action)) continue;
    test(`error ${index}: ${action} gives ${entry.code}${worker ? " from a Worker" : ""}`, async () => {
      const error = await failure(async () => DO[action](entry, worker));
      assert.ok(error instanceof CaudalError, String(error));
      let { message } = error;
      if (error.location) {
        const place = ` (${error.location.file}:${error.location.line})`;
        assert.ok(message.endsWith(place), message);
        message = message.slice(0, -place.length);
      }
      if (action !== "eager") assert.equal(error.location !== undefined, entry.line ?? false);
      if (entry.hint) message = message.split("; ")[0];
      assert.equal(message, entry.message);
      assert.equal(error.code, entry.code);
      assert.deepEqual([error.op, error.argument], [entry.op, entry.argument]);
    });
  }
}
