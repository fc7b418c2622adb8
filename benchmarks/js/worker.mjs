/** The side of benchmarks/race.py that runs in Node: `node worker.mjs CONTENDER TASK FOLDER`. */
import { createInterface } from "node:readline";
import { batches } from "./data.mjs";

const CONTENDERS = {
  "onnxruntime-web": async () => (await import("./onnxruntime.mjs")).onnxruntime,
  "tfjs wasm": async () => (await import("./tfjs.mjs")).tfjs("wasm"),
  "tfjs cpu": async () => (await import("./tfjs.mjs")).tfjs("cpu"),
  "jax-js": async () => (await import("./jax.mjs")).jax,
};
const CHECKED_STEPS = 5;

const [name, task, folder] = process.argv.slice(2);
const answer = (text) => process.stdout.write(`${text}\n`);
// What a framework prints of its own is no answer.
console.log = console.info = console.warn = console.error;

const data = task === "call" ? [{ x: new Float32Array(8) }] : batches(folder, task === "predict-1" ? 1 : 64);
let at = 0;
let step;

/** One training step or prediction on the next batch; its numbers. */
const next = () => step(data[at++ % data.length]);

const requests = {
  async numbers() {
    const numbers = [];
    for (let i = 0; i < CHECKED_STEPS; i++) numbers.push(...(await next()));
    return numbers.join(" ");
  },
  async seconds(count) {
    const start = performance.now();
    for (let i = 0; i < count; i++) await next();
    return (performance.now() - start) / 1e3;
  },
  // Node gives KiB.
  peak: async () => ((process.resourceUsage().maxRSS * 1024) / 1e6).toFixed(1),
};

try {
  const made = await (await CONTENDERS[name]())(task, folder);
  step = made.step;
  const numbers = await requests.numbers();
  answer(`ready ${made.version}`);
  if (!numbers.split(" ").every((n) => isFinite(n))) throw new Error(`not finite: ${numbers}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [request, argument] = line.split(" ");
    answer(await requests[request](Number(argument)));
  }
} catch (error) {
  answer(`absent ${error.message}`);
}
