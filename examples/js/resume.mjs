// Opens a program file, goes on training it and evaluates: as examples/resume.py does.
//
//     node examples/js/resume.mjs FILE --data FOLDER --json OUT
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandLine, withFiles } from "./command.mjs";

// The package as an application has it, or the build in this repository.
const { load } = await import("caudal").catch(() => import("../../js/dist/index.js"));

const HELP = `usage: node resume.mjs FILE --data FOLDER --json OUT [--steps N] [--batch N]

Opens a program that has train_step and evaluate, goes on training it, evaluates it and writes the result.

  --data FOLDER  little-endian arrays: images.f32 and labels.i32 to train on, eval_images.f32 and eval_labels.i32
  --json OUT     where to write the result
  --steps N      training steps (20)
  --batch N      pictures a step (64)`;

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

const flags = { data: undefined, steps: 20, batch: 64, json: undefined };
const { files, usage, data, steps, batch, json } = commandLine(HELP, flags, 1);
if (!data || !json) usage(`--${data ? "json" : "data"} is missing`);
const [train, evaluated] = await withFiles(() => [read(data, ""), read(data, "eval_")]);
const session = await withFiles(() => load(files[0]));
const losses = [];
const milliseconds = [];
for (let step = 0; step < steps; step++) {
  const start = performance.now();
  const out = await session.run("train_step", part(train, step * batch, (step + 1) * batch));
  losses.push(await out.loss.item());
  milliseconds.push(performance.now() - start);
  out[Symbol.dispose]();
}
const result = await session.run("evaluate", part(evaluated, 0, Infinity));
const middle = milliseconds.sort((a, b) => a - b)[Math.floor(steps / 2)];
const report = {
  losses,
  accuracy: await result.accuracy.item(),
  evaluation_loss: await result.loss.item(),
  ms_per_step: middle,
};
await withFiles(() => writeFileSync(json, JSON.stringify(report)));
await session.dispose();
