// Every vector through the library in a page: decoded, run and judged by the rules in tests/vectors/write.py.

import { ops, tensor } from "/caudal/index.js";

const ARRAYS = {
  BOOL: ["bool", Uint8Array],
  I8: ["int8", Int8Array], I16: ["int16", Int16Array], I32: ["int32", Int32Array], I64: ["int64", BigInt64Array],
  U8: ["uint8", Uint8Array], U16: ["uint16", Uint16Array], U32: ["uint32", Uint32Array], U64: ["uint64", BigUint64Array],
  F16: ["float16", Uint16Array], BF16: ["bfloat16", Uint16Array], F32: ["float32", Float32Array], F64: ["float64", Float64Array],
};
// Of each float: the bits of its significand, and the exponent of its least normal number.
const FLOATS = { float16: [11, -14], bfloat16: [8, -126], float32: [24, -126], float64: [53, -1022] };

/** The cases of a file, and its tensors by name. */
function decode(buffer) {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...header } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const tensors = new Map(
    Object.entries(header).map(([name, { dtype: code, shape, data_offsets: [first, last] }]) => {
      const [dtype, type] = ARRAYS[code];
      return [name, { dtype, shape, data: new type(buffer.slice(start + first, start + last)) }];
    }),
  );
  // Integers that a number does not hold are BigInts, as users give them.
  const whole = (_, value, { source }) => (/^-?\d+$/.test(source) && !Number.isSafeInteger(value) ? BigInt(source) : value);
  return { cases: JSON.parse(metadata.cases, whole), tensors };
}

const camelCase = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** The outputs of a case, by the function that a user calls. */
async function answer(entry, tensors, records) {
  const call = ops[camelCase(entry.op)];
  if (!call) throw new Error(`there is no ops.${camelCase(entry.op)}`);
  const { inputs: takes } = records.get(entry.op);
  const variadic = takes.findIndex(({ arity }) => arity === "variadic");
  const inputs = Array.from({ length: Math.max(entry.inputs.length, variadic < 0 ? takes.length : 0) }, (_, i) => {
    if (!entry.inputs[i]) return null;
    const { data, shape, dtype } = tensors.get(`${entry.case}/input_${i}`);
    return tensor(data, shape, dtype);
  });
  const operands = variadic < 0 ? inputs : [...inputs.slice(0, variadic), inputs.slice(variadic)];
  const attrs = Object.fromEntries(Object.entries(entry.attrs).map(([name, value]) => [camelCase(name), value]));
  if (attrs.value?.dtype === "bool") attrs.value = { ...attrs.value, data: attrs.value.data.map(Boolean) };
  const outputs = [call(...operands, ...(Object.keys(attrs).length ? [attrs] : []))].flat();
  const answers = await Promise.all(outputs.map(async (out) => ({ dtype: out.dtype, shape: out.shape, data: await out.data() })));
  for (const used of [...inputs, ...outputs]) used?.dispose();
  return answers;
}

/** The value of an element of a float's array, 16-bit ones by their bits. */
function widened(element, dtype) {
  if (dtype === "bfloat16") return new Float32Array(Uint32Array.of(element << 16).buffer)[0];
  if (dtype !== "float16") return element;
  const sign = element & 0x8000 ? -1 : 1, exponent = (element >> 10) & 31, fraction = element & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** The unit in the last place of a dtype at a value. */
function unit(value, dtype) {
  const [bits, least] = FLOATS[dtype];
  const high = new DataView(Float64Array.of(value).buffer).getUint32(4, true);
  return 2 ** (Math.max(((high >>> 20) & 2047) - 1023, least) - bits + 1);
}

/** How many ulps one output is off, and by how much at most. */
function apart(got, expected) {
  const { dtype } = expected;
  let ulps = 0, most = 0;
  expected.data.forEach((element, i) => {
    if (!(dtype in FLOATS)) {
      if (got.data[i] !== element) ulps = most = Infinity;
      return;
    }
    const value = widened(got.data[i], dtype), wanted = widened(element, dtype);
    if (value === wanted || (Number.isNaN(value) && Number.isNaN(wanted))) return;
    const difference = Math.abs(value - wanted);
    // A NaN or infinity that is not expected is off without bounds.
    most = Number.isNaN(difference) ? Infinity : Math.max(most, difference);
    ulps = Number.isFinite(difference) ? Math.max(ulps, difference / unit(wanted, dtype)) : Infinity;
  });
  return { ulps, most };
}

/** How many ulps a case is off; one that is only near enough counts as 0. Throws where one is too far. */
function judge(entry, outputs, tensors) {
  if (outputs.length !== entry.near.length) throw new Error(`${outputs.length} outputs, not ${entry.near.length}`);
  let largest = 0;
  outputs.forEach((got, i) => {
    const expected = tensors.get(`${entry.case}/output_${i}`);
    const [is, should] = [got, expected].map(({ dtype, shape, data }) => `${dtype}[${shape}] of ${data.length}`);
    if (is !== should) throw new Error(`output ${i} is ${is}, not ${should}`);
    const { ulps, most } = apart(got, expected);
    if (ulps <= entry.ulp) largest = Math.max(largest, ulps);
    else if (!(most <= entry.near[i])) throw new Error(`output ${i} is ${ulps} ulp off, ${most}; allowed are ${entry.ulp}, ${entry.near[i]}`);
  });
  return largest;
}

/** The SHA-256 of the bytes of a case's outputs. */
async function digest(outputs) {
  const parts = outputs.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Runs all: the number of cases, the largest difference of each op, the digest of each case, and what failed. */
export async function runVectors() {
  const [file, samples] = await Promise.all(["vectors.safetensors", "samples.json"].map((name) => fetch(`/vectors/${name}`)));
  const { cases, tensors } = decode(await file.arrayBuffer());
  const records = new Map((await samples.json()).map((record) => [record.name, record]));
  const found = { cases: cases.length, ulps: {}, digests: {}, failed: [] };
  for (const entry of cases) {
    try {
      const outputs = await answer(entry, tensors, records);
      found.ulps[entry.op] = Math.max(found.ulps[entry.op] ?? 0, judge(entry, outputs, tensors));
      found.digests[entry.case] = await digest(outputs);
    } catch (error) {
      found.failed.push(`${entry.case}: ${error.message}`);
    }
  }
  return found;
}
