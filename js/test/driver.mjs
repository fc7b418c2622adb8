// The driver on WebGPU by itself, and what it is told: the lists that the native driver executes, too.
import assert from "node:assert/strict";
import { buildSync } from "esbuild";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../src/driver.ts", import.meta.url));

/** The module that exports `Driver`, as text. */
export const DRIVER = buildSync({ entryPoints: [source], bundle: true, format: "esm", write: false }).outputFiles[0].text;

export const CASES = JSON.parse(readFileSync(new URL("../../tests/gpu/commands.json", import.meta.url), "utf8"));

/** Checks what a case came to. */
export function verify({ name, words, error }, outcome) {
  if (error === undefined) assert.deepEqual(outcome, { answer: 0, words, failures: [] }, name);
  else assert.match(outcome.failures.join("\n"), new RegExp(error), name);
}
