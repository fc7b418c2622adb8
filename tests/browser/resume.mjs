// Opens a program file in headless Chromium, goes on training it and evaluates, as examples/resume.py does in Python.
//
//     node tests/browser/resume.mjs FILE --data FOLDER --json OUT [--steps 20] [--batch 64]
//
// The folder holds little-endian arrays: images.f32 and labels.i32 to train on, eval_images.f32 and eval_labels.i32.

import { writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { launch } from "./chromium.mjs";
import { serve } from "./server.mjs";
import { HERE, ROOT } from "./setup.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string" },
    json: { type: "string" },
    steps: { type: "string", default: "20" },
    batch: { type: "string", default: "64" },
  },
});
if (positionals.length !== 1 || !values.data || !values.json) {
  console.error("usage: node tests/browser/resume.mjs FILE --data FOLDER --json OUT [--steps 20] [--batch 64]");
  process.exit(2);
}

/** Runs in the page. */
async function resume({ file, steps, batch }) {
  const { load } = await import("/caudal/index.js");
  const numbers = async (name, type) => new type(await (await fetch(`/data/${name}`)).arrayBuffer());
  const set = async (prefix) => [await numbers(`${prefix}images.f32`, Float32Array), await numbers(`${prefix}labels.i32`, Int32Array)];
  const inputs = (x, y) => ({ x: { data: x, shape: [y.length, 28, 28, 1] }, y: { data: y, shape: [y.length] } });
  const [x, y] = await set("");
  const session = await load(file);
  const losses = [], milliseconds = [];
  for (let step = 0; step < steps; step++) {
    const from = step * batch, to = from + batch;
    const start = performance.now();
    const out = await session.run("train_step", inputs(x.subarray(from * 784, to * 784), y.subarray(from, to)));
    losses.push(await out.loss.item());
    milliseconds.push(performance.now() - start);
    out[Symbol.dispose]();
  }
  const result = await session.run("evaluate", inputs(...(await set("eval_"))));
  return {
    losses,
    accuracy: await result.accuracy.item(),
    evaluation_loss: await result.loss.item(),
    ms_per_step: milliseconds.sort((a, b) => a - b)[Math.floor(milliseconds.length / 2)],
  };
}

const file = resolve(positionals[0]);
const server = await serve({
  "/": HERE,
  "/caudal/": join(ROOT, "js", "dist"),
  "/data/": resolve(values.data),
  "/file/": dirname(file),
});
let browser;
try {
  browser = await launch();
  const page = await browser.newPage();
  await page.goto(`${server.origin}/blank.html`);
  const given = { file: `/file/${encodeURIComponent(basename(file))}`, steps: Number(values.steps), batch: Number(values.batch) };
  writeFileSync(values.json, JSON.stringify(await page.evaluate(resume, given)));
} finally {
  await browser?.close();
  await server.close();
}
