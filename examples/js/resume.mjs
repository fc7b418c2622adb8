// Opens a program file, goes on training it and evaluates: as examples/resume.py does.
//
//     node examples/js/resume.mjs FILE --data FOLDER --json OUT
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

// The package as an application has it, or the build in this repository.
const { load } = await import("caudal").catch(() => import("../../js/dist/index.js"));

/** Pictures and labels of one set, little-endian arrays. */
function read(folder, prefix) {
  const bytes = (name) => new Uint8Array(readFileSync(join(folder, prefix + name))).buffer;
  return { images: new Float32Array(bytes("images.f32")), labels: new Int32Array(bytes("labels.i32")) };
}

/** Some pictures with their labels, as the functions take them. */
function part({ images, labels }, from, to) {
  const count = Math.min(to, labels.length) - from;
  const x = { data: images.subarray(from * 784, (from + count) * 784), shape: [count, 28, 28, 1] };
  return { x, y: labels.subarray(from, from + count) };
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string" },
    steps: { type: "string", default: "20" },
    batch: { type: "string", default: "64" },
    json: { type: "string" },
  },
});
if (positionals.length !== 1 || !values.data || !values.json) {
  console.error("usage: node resume.mjs FILE --data FOLDER [--steps N] [--batch N] --json OUT");
  process.exit(2);
}
const [steps, batch] = [Number(values.steps), Number(values.batch)];
const train = read(values.data, "");
const session = await load(positionals[0]);
const losses = [];
const milliseconds = [];
for (let step = 0; step < steps; step++) {
  const start = performance.now();
  const out = await session.run("train_step", part(train, step * batch, (step + 1) * batch));
  losses.push(await out.loss.item());
  milliseconds.push(performance.now() - start);
  out[Symbol.dispose]();
}
const result = await session.run("evaluate", part(read(values.data, "eval_"), 0, Infinity));
const middle = milliseconds.sort((a, b) => a - b)[Math.floor(steps / 2)];
const report = {
  losses,
  accuracy: await result.accuracy.item(),
  evaluation_loss: await result.loss.item(),
  ms_per_step: middle,
};
writeFileSync(values.json, JSON.stringify(report));
await session.dispose();
