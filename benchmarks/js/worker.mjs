/** The side of benchmarks/race.py that runs in Node: `node worker.mjs CONTENDER TASK FOLDER`. */
import { createInterface } from "node:readline";
import { batches } from "./data.mjs";

const CONTENDERS = {
  caudal: async () => (await import("./caudal.mjs")).caudal("run"),
  "caudal runSync": async () => (await import("./caudal.mjs")).caudal("runSync"),
  "onnxruntime-web": async () => (await import("./onnxruntime.mjs")).onnxruntime,
  "tfjs wasm": async () => (await import("./tfjs.mjs")).tfjs("wasm"),
  "tfjs cpu": async () => (await import("./tfjs.mjs")).tfjs("cpu"),
  "jax-js": async () => (await import("./jax.mjs")).jax("wasm"),
};
const NUMBERED_STEPS = 3;

const [name, task, folder] = process.argv.slice(2);
const answer = (text) => process.stdout.write(`${text}\n`);
// What a framework prints of its own is no answer.
console.log = console.info = console.warn = console.error;

/** Answers until standard input ends. A step takes a batch and gives its numbers. */
async function serve({ version, step }) {
  const data = task === "call" ? [{ x: new Float32Array(8) }] : batches(folder, task === "predict-1" ? 1 : 64);
  let at = 0;
  const next = () => step(data[at++ % data.length]);
  const requests = {
    async steps(count) {
      const start = performance.now();
      for (let i = 0; i < count; i++) await next();
      return `seconds ${(performance.now() - start) / 1e3}`;
    },
    async numbers() {
      const numbers = [];
      for (let i = 0; i < NUMBERED_STEPS; i++) numbers.push(...(await next()));
      return `numbers ${numbers.join(" ")}`;
    },
    // Node counts in KiB.
    peak: () => `peak ${(process.resourceUsage().maxRSS * 1024) / 1e6}`,
  };
  answer(`ready ${version}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [request, argument] = line.split(" ");
    answer(await requests[request](Number(argument)));
  }
}

try {
  const contender = await CONTENDERS[name]();
  await serve(await contender(task, folder));
} catch (error) {
  answer(`absent ${error.message}`);
}
