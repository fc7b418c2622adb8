// Files made to do harm, and sound ones with bytes changed: an error each, never a trap.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { CaudalError, load } from "caudal";
import { FIXTURE, ROOT, failure, randoms } from "./support.mjs";

const FOLDER = `${ROOT}tests/attacks/`;
const ATTACKS = JSON.parse(readFileSync(`${FOLDER}attacks.json`, "utf8"));

for (const [name, attack] of Object.entries(ATTACKS)) {
  test(`attack ${name}`, async () => {
    const path = `${FOLDER}files/${name}.caudal`;
    const { memory = 64 << 20, seconds } = attack;
    const opening = load(path, { memory, seconds });
    const session = "open" in attack ? undefined : await opening;
    const error = await failure(session ? session.run("f") : opening);
    assert.ok(error instanceof CaudalError, String(error));
    assert.equal(error.message, (attack.open ?? attack.call).replace("{file}", path));
    assert.equal(error.code, attack.code);
    if (!session) return;
    // The instance has not trapped: it still says what it did.
    assert.equal((await session.report()).device, "cpu");
    await session.dispose();
  });
}

/** A file with some bytes changed, a part taken out, or cut short. */
function mutated(bytes, random) {
  const copy = Uint8Array.from(bytes);
  const place = (below) => Math.floor(random.next().value * below);
  const header = 8 + Number(new DataView(copy.buffer).getBigUint64(0, true));
  for (let count = 1 + place(4); count > 0; count--) copy[place(place(2) ? copy.length : header)] = place(256);
  const kind = place(4);
  if (kind === 0) return copy.subarray(0, place(copy.length));
  if (kind === 1) copy.copyWithin(place(copy.length), place(copy.length), place(copy.length));
  return copy;
}

test("600 files with bytes changed open, run or fail, and never trap", async (t) => {
  const random = randoms(20261124);
  const sources = [FIXTURE, `${ROOT}tests/errors/errors.caudal`];
  for (const name of readdirSync(`${FOLDER}files`).slice(0, 8)) sources.push(`${FOLDER}files/${name}`);
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
