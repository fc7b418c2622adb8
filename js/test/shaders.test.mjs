// Every shader that the core's tests on a GPU have compiled, in Tint: wgpu has shown them to Naga alone. CAUDAL_SHADERS
// names the folder that they left them in, as `make test` does.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const FOLDER = process.env.CAUDAL_SHADERS;

const dawn = await import("webgpu").catch((error) => ({
  lacking: `the package webgpu does not load: ${error.message.split("\n")[0]}`,
}));

/** Kept: its devices fail once it is collected. */
let gpu;

/** A device that computes nothing, and so has every feature, on every machine. */
async function device() {
  gpu ??= dawn.create(["backend=null"]);
  const adapter = await gpu.requestAdapter();
  const own = await adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups"] });
  // What is wrong with a shader is told by its compilation info.
  own.pushErrorScope("validation");
  return own;
}

/** The first error in a text, with its line; undefined where there is none. */
async function wrong(device, name, code) {
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  const error = messages.find(({ type }) => type === "error");
  if (!error) return undefined;
  return `${name}:${error.lineNum}:${error.linePos}: ${error.message}\n    ${code.split("\n")[error.lineNum - 1]}`;
}

test("Tint names the line of what it refuses, and Naga takes", { skip: dawn.lacking }, async () => {
  const code = "fn f(x: u32, y: u32) -> u32 {\n  return x | y & 1u;\n}";
  const expected = "a.wgsl:2:12: mixing '|' and '&' requires parenthesis\n      return x | y & 1u;";
  assert.equal(await wrong(await device(), "a.wgsl", code), expected);
});

const lacking = dawn.lacking ?? (FOLDER ? false : "CAUDAL_SHADERS names no folder");

test("Tint takes every shader that the core's tests compiled", { skip: lacking }, async (t) => {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith(".wgsl"));
  assert.notEqual(names.length, 0, `${FOLDER} has no shaders`);
  const own = await device();
  const errors = [];
  for (const name of names) errors.push(await wrong(own, name, readFileSync(join(FOLDER, name), "utf8")));
  const found = errors.filter((error) => error !== undefined);
  assert.equal(found.length, 0, `${found.length} of ${names.length}:\n${found.slice(0, 10).join("\n")}`);
  t.diagnostic(`${names.length} shaders`);
});
