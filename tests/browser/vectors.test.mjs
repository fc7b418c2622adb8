// Every vector in headless Chromium. Leaves build/vectors/chromium.json: for each op the largest difference in ulp.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { launch } from "./chromium.mjs";
import { serve } from "./server.mjs";
import { HERE, ROOT } from "./setup.mjs";

const FOLDER = join(ROOT, "build", "vectors");

test("every vector passes in Chromium, and bits that are the same on every machine are the native library's", async (context) => {
  const browser = await launch();
  const server = await serve({ "/": HERE, "/caudal/": join(ROOT, "js", "dist"), "/vectors/": join(ROOT, "tests", "vectors") });
  try {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/blank.html`);
    const found = await page.evaluate(async () => {
      await (await import("/caudal/index.js")).init();
      return (await import("/vectors.js")).runVectors();
    });
    assert.deepEqual(found.failed, []);
    assert.equal(Object.keys(found.digests).length, found.cases);
    assert.ok(found.cases > 1800, `${found.cases} cases`);
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, "chromium.json"), JSON.stringify(found.ulps, null, 1) + "\n");
    context.diagnostic(`${found.cases} vectors of ${Object.keys(found.ulps).length} ops`);
    const native = join(FOLDER, "native.json");
    if (!existsSync(native)) {
      context.diagnostic(`not compared with the native library's bits: there is no ${native}, which tests/vectors/test_vectors.py makes`);
      return;
    }
    const wanted = Object.entries(JSON.parse(readFileSync(native, "utf8")));
    assert.deepEqual(wanted.filter(([name, digest]) => found.digests[name] !== digest).map(([name]) => name), []);
    assert.ok(wanted.length > 1500, `${wanted.length} digests`);
    context.diagnostic(`${wanted.length} compared with the native library to the bit`);
  } finally {
    await browser.close();
    await server.close();
  }
});
