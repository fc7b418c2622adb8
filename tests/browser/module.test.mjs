// How a page and its Workers come by the WASM module.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { launch } from "./chromium.mjs";
import { serve } from "./server.mjs";
import { HERE, ROOT } from "./setup.mjs";

test("a Worker fetches the module itself; that settles where it is, and a missing one is an error", async () => {
  const browser = await launch();
  const server = await serve({ "/": HERE, "/caudal/": join(ROOT, "js", "dist"), "/files/": join(ROOT, "tests", "fixtures") });
  /** What a fresh page tells of some steps, each of them its result or its error. */
  const tell = async (steps) => {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/blank.html`);
    const told = await page.evaluate(async (names) => {
      const { configure, load } = await import("/caudal/index.js");
      const known = {
        elsewhere: () => configure({ wasm: "/none.wasm" }),
        worker: async () => Object.keys((await load("/files/0.1.0.caudal", { worker: true })).program.functions)[0],
        here: async () => Object.keys((await load("/files/0.1.0.caudal")).program.functions)[0],
      };
      const answers = [];
      for (const name of names) {
        try {
          answers.push((await known[name]()) ?? "done");
        } catch (error) {
          answers.push(`${error.code}: ${error.message}`);
        }
      }
      return answers;
    }, steps);
    await page.close();
    return told;
  };
  try {
    const inUse = "argument: caudal is in use; call configure before anything else";
    assert.deepEqual(await tell(["worker", "elsewhere", "here", "worker"]), ["batch", inUse, "batch", "batch"]);
    assert.deepEqual(await tell(["here", "worker", "elsewhere"]), ["batch", "batch", inUse]);
    const missing = `io: cannot fetch ${server.origin}/none.wasm: HTTP 404 Not Found`;
    assert.deepEqual(await tell(["elsewhere", "worker", "here", "worker"]), ["done", missing, missing, missing]);
  } finally {
    await browser.close();
    await server.close();
  }
});
