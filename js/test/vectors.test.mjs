// Every op against the answers of NumPy, and to the bit against those of the native library where these were written.
// The largest difference of each op goes to build/vectors/node.json.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { tensor } from "caudal";
import { ROOT } from "./support.mjs";
import { CASES, applied, compare, inputsOf, tensors } from "./vectors.mjs";

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
    const operands = inputsOf(entry).map((input) => input && tensor(input.data, input.shape, input.dtype));
    const outputs = applied(entry, operands).map((output) => ({
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
