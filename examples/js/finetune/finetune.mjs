// Goes on training a program file on Fashion-MNIST, or on arrays of one's own, and saves it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DEBIAN, accuracyOf, batchOf, fashionMnist, shuffled } from "../idx.mjs";

// The package as an application has it, or the build in this repository.
const { load } = await import("caudal").catch(() => import("../../../js/dist/index.js"));

const HELP = `usage: node finetune.mjs FILE [--data FOLDER | --arrays FOLDER] [--steps N] [--batch N] [--rate R] [-o FILE]

Goes on training a program that has predict and train_step, whoever saved it.

  --data FOLDER    IDX files of Fashion-MNIST (${DEBIAN})
  --arrays FOLDER  little-endian arrays of one's own: images.f32 (28 x 28 pixels in 0 to 1 each) and labels.i32
  --steps N        training steps (200)
  --batch N        pictures a step (64)
  --rate R         another learning rate
  -o FILE          where to save (tuned.caudal)`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: DEBIAN },
    arrays: { type: "string" },
    steps: { type: "string", default: "200" },
    batch: { type: "string", default: "64" },
    rate: { type: "string" },
    output: { type: "string", short: "o", default: "tuned.caudal" },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help || positionals.length !== 1) {
  console.log(HELP);
  process.exit(values.help ? 0 : 2);
}

function arrays(folder) {
  const bytes = (name) => new Uint8Array(readFileSync(join(folder, name))).buffer;
  return { images: new Float32Array(bytes("images.f32")), labels: new Int32Array(bytes("labels.i32")) };
}

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
const train = values.arrays ? arrays(values.arrays) : fashionMnist(values.data, "train");
const test = values.arrays ? train : fashionMnist(values.data, "t10k");
const session = await load(positionals[0]);
const shape = session.program.functions.predict.inputs.x.shape.slice(1);
if (values.rate) await session.setState({ "optimizer/learning_rate": Number(values.rate) });
console.log(`accuracy before: ${(await accuracyOf(session, test, shape, 2000)).toFixed(4)}`);
const [steps, batch] = [Number(values.steps), Number(values.batch)];
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
writeFileSync(values.output, await session.save());
await session.dispose();
console.log(`saved ${values.output}`);
