// What `npm pack` makes of js/ is installed in empty projects, which predict with it as Python does.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launch } from "../browser/chromium.mjs";
import { serve } from "../browser/server.mjs";
import { ROOT, python, trained } from "../browser/setup.mjs";
import { assertNear } from "../browser/steps.mjs";

const HERE = import.meta.dirname;
const LIBRARY = join(ROOT, "js");
const PICTURE = 9;

let folder, tarball, program, picture, expected;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "caudal-packages-"));
  program = trained();
  expected = JSON.parse(python("tests/browser/check.py", program)).probabilities[PICTURE];
  picture = join(folder, "picture.bin");
  const record = 785;
  writeFileSync(picture, readFileSync(join(ROOT, "examples/web/pictures.bin")).subarray(PICTURE * record + 1, (PICTURE + 1) * record));
  const [{ filename }] = JSON.parse(run(LIBRARY, "npm", "pack", "--json", "--silent", "--pack-destination", folder));
  tarball = join(folder, filename);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command in a folder; gives what it prints. */
function run(cwd, command, ...args) {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, npm_config_audit: "false", npm_config_fund: "false" };
  return execFileSync(command, args, { cwd, env, encoding: "utf8", maxBuffer: 1 << 26 });
}

/** A copy of a project with the tarball installed. */
function project(name) {
  const copy = join(folder, name);
  cpSync(join(HERE, name), copy, { recursive: true, filter: (path) => !/node_modules|dist/.test(path.slice(HERE.length)) });
  run(copy, "npm", "install", "--silent", tarball);
  return copy;
}

test("the tarball holds the library, its types and the module, and nothing of the tests", () => {
  const files = run(folder, "tar", "-tzf", tarball).trim().split("\n");
  for (const wanted of ["package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "dist/caudal.wasm"]) {
    assert.ok(files.includes(`package/${wanted}`), `${wanted} is missing of ${files}`);
  }
  assert.deepEqual(files.filter((file) => !/^package\/(dist\/|(package\.json|README\.md|LICENSE)$)/.test(file)), []);
  assert.deepEqual(files.filter((file) => /test|\.ts$/.test(file.replace(/\.d\.ts$/, ""))), []);
});

test("an ESM project in TypeScript compiles, predicts and trains, in its thread and in a worker", () => {
  const copy = project("esm");
  assert.deepEqual(readdirSync(join(copy, "node_modules")).filter((name) => !name.startsWith(".")), ["caudal"]);
  // The project's own compiler would be a download; this one is the library's.
  const resolve = createRequire(join(LIBRARY, "package.json")).resolve;
  const types = join(LIBRARY, "node_modules", "@types");
  run(copy, process.execPath, resolve("typescript/bin/tsc"), "-p", ".", "--typeRoots", types);
  const answers = run(copy, process.execPath, "main.js", program, picture).trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(answers.length, 2);
  for (const { probabilities, loss } of answers) {
    assertNear(probabilities, expected, 1e-4);
    assert.equal(loss, answers[0].loss);
  }
});

test("a CommonJS script imports it and predicts", () => {
  const { probabilities } = JSON.parse(run(project("commonjs"), process.execPath, "main.js", program, picture));
  assertNear(probabilities, expected, 1e-4);
});

for (const base of ["/", "./"]) {
  test(`a Vite project with base ${base} is built, and predicts in Chromium, in the page and in a worker`, async () => {
    const copy = project("vite");
    run(copy, join(copy, "node_modules", ".bin", "vite"), "build", "--base", base, "--logLevel", "warn");
    cpSync(program, join(copy, "dist", "fashion.caudal"));
    cpSync(picture, join(copy, "dist", "picture.bin"));
    const at = base === "/" ? "/" : "/some/where/";
    const server = await serve({ [at]: join(copy, "dist") });
    let browser;
    try {
      browser = await launch();
      const page = await browser.newPage();
      const errors = [];
      page.on("pageerror", (error) => errors.push(error.message));
      await page.goto(`${server.origin}${at}`);
      await page.waitForFunction(() => "probabilities" in window);
      for (const worker of [false, true]) assertNear(await page.evaluate((w) => window.probabilities(w), worker), expected, 1e-4);
      assert.deepEqual(errors, []);
      const outside = server.requests.filter((path) => !path.startsWith(at));
      assert.deepEqual(outside, []);
      assert.equal(server.requests.filter((path) => path.endsWith(".wasm")).length > 0, true, "the module is a file of its own");
    } finally {
      await browser?.close();
      await server.close();
    }
    rmSync(copy, { recursive: true, force: true });
  });
}
