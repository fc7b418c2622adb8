// What the tests that run tests/vectors share: the cases, how one is called, and how far an answer may be from NumPy's.
import assert from "node:assert/strict";
import { bfloat16Values, float16Values, ops, tensor } from "caudal";
import { ROOT, readSafetensors } from "./support.mjs";

/** Inputs and outputs, by the name of their case. */
export const { tensors, metadata } = readSafetensors(`${ROOT}tests/vectors/vectors.safetensors`);
// Integers of 64 bits are numbers there; JavaScript takes them as text.
export const CASES = JSON.parse(metadata.cases.replace(/(?<=[:,[])-?\d{16,}(?=[,\]}])/g, '"$&"'));

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

/** The inputs of a case; undefined where one is left out. */
export function inputsOf({ case: name, inputs }) {
  return inputs.map((given, index) => {
    if (!given) return undefined;
    const input = tensors[`${name}/input_${index}`];
    assert.ok(input, `${name} lacks its input ${index}`);
    return input;
  });
}

/** What the op of a case gives for these operands: tensors, or values of a graph. */
export function applied({ op, attrs }, operands) {
  const found = ops[camel(op)];
  assert.ok(found, `there is no op ${op}`);
  const variadic = ["concat", "stack", "einsum", "global_norm"].includes(op);
  const given = Object.keys(attrs).length ? [attrsOf(attrs)] : [];
  // Optional inputs that are left out at the end come before the attrs.
  const lacking = given.length && !variadic ? Math.max(0, found.length - 1 - operands.length) : 0;
  const all = [...operands, ...Array(lacking).fill(undefined)];
  const results = variadic ? found(all, ...given) : found(...all, ...given);
  return Array.isArray(results) ? results : [results];
}

/** The numbers of a tensor, and how far apart two neighbours of one of them are. */
export function numbersOf({ dtype, data }) {
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
export function compare(what, got, expected, ulp, near) {
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
