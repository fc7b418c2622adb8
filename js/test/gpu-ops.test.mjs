// Every op on a GPU, by Dawn in Node: its values beside NumPy's, the gradients of its float inputs beside the CPU's. One in
// five of the cases; all of them where CAUDAL_GPU is "all", as `make test-gpu` has it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Graph, ops, tensor } from "caudal";
import { installGpu } from "./dawn.mjs";
import { CASES, applied, inputsOf, numbersOf, tensors } from "./vectors.mjs";

const lacking = await installGpu();
const STEP = process.env.CAUDAL_GPU === "all" ? 1 : 5;

/** How far a GPU may be from what is exact, of the largest element. */
const TOLERANCE = { float16: 2e-3, bfloat16: 1.6e-2, float32: 4e-6 };

/** The tensors that a case takes and gives. */
function tensorsOf({ case: name }) {
  return Object.keys(tensors).filter((key) => key.startsWith(`${name}/`)).map((key) => tensors[key]);
}

/** What is wrong with an output, if anything is. */
function wrong(what, got, expected) {
  if (got.dtype !== expected.dtype || String(got.shape) !== String(expected.shape))
    return `${what} is ${got.dtype}[${got.shape}], not ${expected.dtype}[${expected.shape}]`;
  const [[given], [exact]] = [numbersOf(got), numbersOf(expected)];
  let largest = 1;
  for (const x of exact) if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x));
  const allowed = (TOLERANCE[expected.dtype] ?? 0) * largest;
  for (let index = 0; index < exact.length; index++) {
    const [a, b] = [given[index], exact[index]];
    if (a === b || (a !== a && b !== b) || (typeof a === "number" && Math.abs(a - b) <= allowed)) continue;
    return `${what} has ${a} at ${index}, expected ${b}`;
  }
  return undefined;
}

/** The functions `values` and, where the op has gradients, `gradients` of a case. */
function programOf(entry, inputs) {
  const graph = new Graph();
  const operands = inputs.map((input, index) => input && graph.input(`x${index}`, { dtype: input.dtype, shape: input.shape }));
  const outputs = applied(entry, operands);
  graph.function("values", Object.fromEntries(outputs.map((output, index) => [`output${index}`, output])));
  const isFloat = (value) => value?.dtype.includes("float");
  const [floats, wanted] = [outputs.filter(isFloat), operands.filter(isFloat)];
  if (floats.length === 0 || wanted.length === 0) return graph.program();
  // Weighted, since the sums of some outputs have no gradient.
  const weighted = floats.map((output, number) => {
    const { shape } = output;
    const weights = shape.length ? ops.cos(ops.iota({ shape: [shape.at(-1)], dtype: "float32" })) : 1;
    return ops.sum(ops.mul(ops.cast(output, { dtype: "float32" }), ops.add(weights, number)));
  });
  let gradients;
  try {
    gradients = graph.grad(weighted.reduce((a, b) => ops.add(a, b)), wanted);
  } catch (error) {
    if (error.code !== "gradient") throw error;
    return graph.program();
  }
  graph.function("gradients", Object.fromEntries(gradients.map((gradient, index) => [`gradient${index}`, gradient])));
  return graph.program();
}

async function read(outputs) {
  const entries = Object.values(outputs).map(async (output) => {
    return { dtype: output.dtype, shape: output.shape, data: await output.data() };
  });
  return Promise.all(entries);
}

test("ops on a GPU have the values of NumPy and the gradients of the CPU", { skip: lacking }, async (t) => {
  const isOffered = (entry) => tensorsOf(entry).every(({ dtype }) => dtype !== "float64");
  const cases = CASES.filter(isOffered).filter((_, index) => index % STEP === 0);
  const faults = [];
  let derived = 0;
  for (const entry of cases) {
    const inputs = inputsOf(entry);
    const program = programOf(entry, inputs);
    const given = Object.fromEntries(
      inputs.flatMap((input, index) => (input ? [[`x${index}`, tensor(input.data, input.shape, input.dtype)]] : [])),
    );
    const taken = (name) => Object.fromEntries(Object.keys(program.functions[name].inputs).map((input) => [input, given[input]]));
    const [cpu, gpu] = [await program.session(), await program.session({ device: "gpu:0" })];
    const values = await read(await gpu.run("values", taken("values")));
    for (const [index, value] of values.entries())
      faults.push(wrong(`${entry.case}, output ${index},`, value, tensors[`${entry.case}/output_${index}`]));
    if (program.functions.gradients) {
      derived++;
      const own = taken("gradients");
      const [there, here] = [await gpu.run("gradients", own), await cpu.run("gradients", own)];
      const [got, expected] = [await read(there), await read(here)];
      for (const [index, gradient] of got.entries())
        faults.push(wrong(`${entry.case}, gradient ${index},`, gradient, expected[index]));
    }
    cpu.dispose();
    gpu.dispose();
  }
  const found = faults.filter((fault) => fault !== undefined);
  t.diagnostic(`${cases.length} cases, ${derived} with gradients`);
  assert.equal(found.length, 0, `${found.length}:\n${found.slice(0, 20).join("\n")}`);
});
