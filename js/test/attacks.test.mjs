// Files made to do harm, and sound ones with bytes changed: an error each, never a trap.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CaudalError, load } from "caudal";
import { FIXTURE, ROOT, failure, randoms } from "./support.mjs";

const FOLDER = `${ROOT}tests/attacks/`;
const ATTACKS = JSON.parse(readFileSync(`${FOLDER}attacks.json`, "utf8"));

/** What sizes of 32 bits refuse in other words, for they end before. */
const NARROW = {
  bytes_2_66: '{file} is not a caudal file: tensor "w": its size 4294967296 is larger than memory can be',
  constant_inline:
    "{file} is not a caudal file: graph 0: node 0: value takes a tensor, not " +
    '{"data":[1],"dtype":"float32","shape":[1099511627776]}',
  folded_to_4_gb: "broadcast_to: a float32 tensor of shape [1000000000] is larger than memory can be (model.py:12)",
  output_of_2_64_bytes:
    "broadcast_to: the size 4611686018427387904 of the shape [4611686018427387904] is larger than memory can be " +
    "(model.py:12)",
  output_of_4_gb: "broadcast_to: a float32 tensor of shape [1000000000] is larger than memory can be (model.py:12)",
  stack_of_4_tb:
    "scan: the size 1099511627776 of the shape [1099511627776] is larger than memory can be (model.py:12)",
};

for (const [name, attack] of Object.entries(ATTACKS)) {
  test(`attack ${name}`, async () => {
    const path = `${FOLDER}files/${name}.caudal`;
    const { memory = 64 << 20, seconds } = attack;
    const opening = load(path, { memory, seconds });
    const session = "open" in attack ? undefined : await opening;
    const error = await failure(session ? session.run("f") : opening);
    assert.ok(error instanceof CaudalError, String(error));
    assert.equal(error.message, (NARROW[name] ?? attack.open ?? attack.call).replace("{file}", path));
    if (!(name in NARROW)) assert.equal(error.code, attack.code);
    if (!session) return;
    // The instance has not trapped: it still says what it did.
    assert.equal((await session.report()).device, "cpu");
    await session.dispose();
  });
}

/** A file with some bytes changed; its graphs in most, with their digest made right again. */
function mutated(bytes, random) {
  const place = (below) => Math.floor(random.next().value * below);
  const copy = Buffer.from(bytes);
  const start = 8 + Number(copy.readBigUInt64LE(0));
  if (place(8) === 0) return copy.subarray(0, place(copy.length));
  if (place(8) === 0) {
    copy[place(copy.length)] = place(256);
    return copy;
  }
  const [from, to] = JSON.parse(copy.toString("utf8", 8, start))["caudal.graph"].data_offsets;
  const graph = copy.subarray(start + from, start + to);
  const before = createHash("sha256").update(graph).digest("hex");
  const digits = [...graph.keys()].filter((at) => graph[at] >= 48 && graph[at] <= 57);
  // Another number is most often still sound JSON.
  for (let count = 1 + place(3); count > 0; count--) {
    if (place(8)) graph[digits[place(digits.length)]] = 48 + place(10);
    else graph[place(graph.length)] = place(256);
  }
  const at = copy.indexOf(before);
  if (at >= 0) copy.write(createHash("sha256").update(graph).digest("hex"), at);
  return copy;
}

test("600 files with bytes changed open, run or fail, and never trap", async (t) => {
  const random = randoms(20261124);
  const sources = [FIXTURE, `${ROOT}tests/errors/errors.caudal`];
  for (const name of ["a_million_calls", "folded_to_4_gb", "scan_of_2_63_steps"])
    sources.push(`${FOLDER}files/${name}.caudal`);
  const codes = {};
  for (let count = 0; count < 600; count++) {
    const bytes = mutated(readFileSync(sources[count % sources.length]), random);
    let code = "opens";
    try {
      const session = await load(bytes, { memory: 64 << 20, seconds: 0.5 });
      for (const info of Object.values(session.program.functions)) {
        if (Object.keys(info.inputs).length === 0) await session.run(info.name).catch((error) => (code = error.code));
      }
      await session.dispose();
    } catch (error) {
      assert.ok(error instanceof CaudalError, String(error.stack));
      code = error.code;
    }
    assert.notEqual(code, "internal", `the file of number ${count}`);
    codes[code] = (codes[code] ?? 0) + 1;
  }
  assert.ok(codes.format > 100 && codes.opens > 5, JSON.stringify(codes));
  t.diagnostic(JSON.stringify(codes));
});
