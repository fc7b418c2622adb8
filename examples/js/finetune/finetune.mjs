// Goes on training a program file on Fashion-MNIST, or on arrays of one's own, and saves it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandLine, refuse, withFiles } from "../command.mjs";
import { DEBIAN, accuracyOf, batchOf, fashionMnist, shuffled } from "../idx.mjs";

// The package as an application has it, or the build in this repository.
const { load } = await import("caudal").catch(() => import("../../../js/dist/index.js"));

const HELP = `usage: node finetune.mjs FILE [--data DIR | --arrays DIR] [--steps N] [--batch N] [--rate R] [-o OUT]

Goes on training a program that has predict and train_step, whoever saved it.

  --data DIR    IDX files of Fashion-MNIST (${DEBIAN})
  --arrays DIR  little-endian arrays of one's own: images.f32 (28 x 28 pixels in 0 to 1 each) and labels.i32
  --steps N     training steps (200)
  --batch N     pictures a step (64)
  --rate R      another learning rate
  -o OUT        where to save (tuned.caudal)`;

const flags = { data: DEBIAN, arrays: undefined, steps: 200, batch: 64, rate: undefined, output: "tuned.caudal" };
const { files, usage, ...given } = commandLine(HELP, flags, 1);
const { steps, batch, output } = given;
const rate = given.rate && Number(given.rate);
if (rate !== undefined && !(rate > 0)) usage(`--rate is a number above 0, not ${given.rate}`);

function arrays(folder) {
  const bytes = (name) => new Uint8Array(readFileSync(join(folder, name))).buffer;
  return { images: new Float32Array(bytes("images.f32")), labels: new Int32Array(bytes("labels.i32")) };
}

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
const session = await withFiles(() => load(files[0]));
const { predict, train_step: trains } = session.program.functions;
if (!predict || !trains) refuse(`${files[0]} has not both predict and train_step`);
const read = (set) => (given.arrays ? arrays(given.arrays) : fashionMnist(given.data, set));
const [train, test] = await withFiles(() => [read("train"), read("t10k")]);
const shape = predict.inputs.x.shape.slice(1);
if (rate) await session.setState({ "optimizer/learning_rate": rate });
console.log(`accuracy before: ${(await accuracyOf(session, test, shape, 2000)).toFixed(4)}`);
const order = shuffled(train.labels.length, 1);
for (let step = 0, at = 0; step < steps && !stop.signal.aborted; step++, at += batch) {
  if (at + batch > order.length) at = 0;
  const numbers = order.subarray(at, at + batch);
  try {
    const out = await session.run("train_step", batchOf(train, numbers, shape), { signal: stop.signal });
    if ((step + 1) % 20 === 0 || step + 1 === steps)
      console.log(`step ${step + 1} of ${steps}: loss ${(await out.loss.item()).toFixed(4)}`);
    out[Symbol.dispose]();
  } catch (error) {
    // Ctrl-C: the state is as it was before the step, and is saved.
    if (error !== stop.signal.reason) throw error;
  }
}
console.log(`accuracy after: ${(await accuracyOf(session, test, shape, 2000)).toFixed(4)}`);
const file = await session.save();
await withFiles(() => writeFileSync(output, file));
await session.dispose();
console.log(`saved ${output}`);
