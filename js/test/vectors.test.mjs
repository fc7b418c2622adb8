// Every op against the answers of NumPy, and to the bit against those of the native library where these were written.
// The largest difference of each op goes to build/vectors/node.json.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { bfloat16Values, float16Values, ops, tensor } from "caudal";
import { ROOT, readSafetensors } from "./support.mjs";

const { tensors, metadata } = readSafetensors(`${ROOT}tests/vectors/vectors.safetensors`);
// Integers of 64 bits are numbers there; JavaScript takes them as text.
const CASES = JSON.parse(metadata.cases.replace(/(?<=[:,[])-?\d{16,}(?=[,\]}])/g, '"$&"'));
const FOLDER = `${ROOT}build/vectors/`;
const NATIVE = existsSync(`${FOLDER}native.json`)
  ? JSON.parse(readFileSync(`${FOLDER}native.json`, "utf8"))
  : undefined;

/** Contractions may fuse multiply and add where the machine can; all other ops give the same bits everywhere. */
const CONTRACTIONS = new Set([
  "attention",
  "conv",
  "conv_input_grad",
  "conv_kernel_grad",
  "dot_general",
  "einsum",
  "matmul",
]);

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());

/** The attrs of a case: tensors among them are given as such. In their JSON 64-bit integers are text, bools 0 and 1. */
function attrsOf(attrs) {
  const element = (entry, dtype) => {
    if (dtype === "bool") return entry !== 0;
    if (dtype.endsWith("int64")) return BigInt(entry);
    return { inf: Infinity, "-inf": -Infinity, nan: NaN }[entry] ?? entry;
  };
  const given = (value) => {
    if (!value?.data) return value;
    return tensor(
      value.data.map((entry) => element(entry, value.dtype)),
      value.shape,
      value.dtype,
    );
  };
  return Object.fromEntries(Object.entries(attrs).map(([name, value]) => [camel(name), given(value)]));
}

function outputsOf({ case: name, op, attrs, inputs }) {
  const found = ops[camel(op)];
  assert.ok(found, `there is no op ${op}`);
  const operands = inputs.map((given, index) => {
    if (!given) return undefined;
    const input = tensors[`${name}/input_${index}`];
    assert.ok(input, `${name} lacks its input ${index}`);
    return tensor(input.data, input.shape, input.dtype);
  });
  const variadic = ["concat", "stack", "einsum", "global_norm"].includes(op);
  const given = Object.keys(attrs).length ? [attrsOf(attrs)] : [];
  // Optional inputs that are left out at the end come before the attrs.
  while (given.length && !variadic && operands.length < found.length - 1) operands.push(undefined);
  const results = variadic ? found(operands, ...given) : found(...operands, ...given);
  return Array.isArray(results) ? results : [results];
}

/** The numbers of a tensor, and how far apart two neighbours of one of them are. */
function numbersOf({ dtype, data }) {
  if (dtype === "float16") return [Float64Array.from(float16Values(data)), (x) => spacing(x, 10, -14)];
  if (dtype === "bfloat16") return [Float64Array.from(bfloat16Values(data)), (x) => spacing(x, 7, -126)];
  if (dtype === "float32") return [Float64Array.from(data), (x) => spacing(x, 23, -126)];
  if (dtype === "float64") return [data, (x) => spacing(x, 52, -1022)];
  return [data, () => 1];
}

function spacing(x, bits, least) {
  const size = Math.abs(x);
  let exponent = size === 0 ? least : Math.max(Math.floor(Math.log2(size)), least);
  if (2 ** exponent > size && exponent > least) exponent--;
  return 2 ** (exponent - bits);
}

/** The largest difference of an output from the expected one in units in the last place; refuses one too large. */
function compare(what, got, expected, ulp, near) {
  const [values, unit] = numbersOf(expected);
  const [found] = numbersOf(got);
  let largest = 0;
  for (let index = 0; index < values.length; index++) {
    const [a, b] = [found[index], values[index]];
    if (a === b || (a !== a && b !== b)) continue;
    const wrong = `${what}: ${a} at ${index}, expected ${b}`;
    assert.ok(Number.isFinite(Number(a)) && Number.isFinite(Number(b)) && ulp > 0, wrong);
    const difference = Math.abs(Number(a) - Number(b));
    const units = difference / unit(Number(b));
    assert.ok(units <= ulp || difference <= near, `${wrong}, ${units} ulp`);
    if (units <= ulp) largest = Math.max(largest, units);
  }
  return largest;
}

function digest(outputs) {
  const hash = createHash("sha256");
  for (const { data } of outputs) hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest("hex");
}

test("every vector", (t) => {
  const largest = {};
  const exact = { equal: 0, other: [] };
  for (const entry of CASES) {
    const { case: name, op, ulp, near } = entry;
    const outputs = outputsOf(entry).map((output) => ({
      dtype: output.dtype,
      shape: output.shape,
      data: output.dataSync(),
    }));
    for (const [index, output] of outputs.entries()) {
      const expected = tensors[`${name}/output_${index}`];
      assert.ok(expected, `${name} lacks its output ${index}`);
      assert.deepEqual([output.dtype, output.shape], [expected.dtype, expected.shape], name);
      largest[op] = Math.max(largest[op] ?? 0, compare(name, output, expected, ulp, near[index]));
    }
    assert.ok(!(`${name}/output_${outputs.length}` in tensors), `${name} gave too few outputs`);
    if (!NATIVE || CONTRACTIONS.has(op)) continue;
    if (NATIVE[name] === digest(outputs)) exact.equal++;
    else exact.other.push(name);
  }
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}node.json`, JSON.stringify(largest));
  t.diagnostic(`${CASES.length} vectors of ${Object.keys(largest).length} ops`);
  t.diagnostic(
    NATIVE
      ? `${exact.equal} equal to the native library's to the bit`
      : `${FOLDER}native.json is missing: bits were not compared`,
  );
  assert.deepEqual(exact.other, [], "bits differ from the native library's");
});
