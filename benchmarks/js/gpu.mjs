/**
 * What a training step asks of WebGPU, in caudal and its peers: counts, which do not depend on how fast a machine is.
 * It runs in Node on Dawn, whose driver is Chromium's software one.
 *
 *     .venv/bin/python benchmarks/networks.py build/networks && node benchmarks/js/gpu.mjs build/networks
 *
 * Each contender and network has a process of its own. A contender whose losses are not those of caudal on the CPU is
 * left out; the demo's network is compared without its dropout.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installGpu } from "../../js/test/dawn.mjs";
import { countCalls } from "./counts.mjs";
import { batches } from "./data.mjs";

const CPU = "caudal on the CPU";
const CONTENDERS = {
  caudal: async () => (await import("./caudal.mjs")).caudal("run", "gpu:0"),
  "tfjs webgpu": async () => (await import("./tfjs.mjs")).tfjs("webgpu"),
  "jax-js webgpu": async () => (await import("./jax.mjs")).jax("webgpu"),
  [CPU]: async () => (await import("./caudal.mjs")).caudal("run"),
};
const BATCH = 64;
const STEPS = 5;
const NEAR = 1e-3;
/** Tasks, and the one whose losses say whether a contender computes the same. */
const TASKS = { convnet: "plain", mlp: "mlp" };
const COLUMNS = {
  dispatches: ({ dispatches }) => dispatches,
  passes: ({ passes }) => passes,
  submits: ({ submits }) => submits,
  "bound MB": ({ bound }) => (bound / 1e6).toFixed(2),
  "new buffers": ({ buffers }) => buffers,
  "uploaded kB": ({ uploaded }) => (uploaded / 1e3).toFixed(1),
  "copied kB": ({ copied }) => (copied / 1e3).toFixed(1),
  "read bytes": ({ read }) => read,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: Object.keys(CONTENDERS).join() },
    tasks: { type: "string", default: Object.keys(TASKS).join() },
    worker: { type: "string" },
  },
});
const [folder] = positionals;

/** Opens WebGPU; gives what counts. */
async function counter() {
  const lacking = await installGpu();
  if (lacking) throw new Error(lacking);
  // jax-js looks which browser it is in.
  navigator.userAgent ??= "Node";
  return countCalls();
}

/** A worker's side: the losses of the first steps of a task, and what each of them asked for. */
async function work(name, task) {
  const count = name === CPU ? () => ({}) : await counter();
  const { version, step } = await (await CONTENDERS[name]())(task, folder);
  const [losses, counts] = [[], []];
  count();
  for (const batch of batches(folder, BATCH).slice(0, STEPS)) {
    losses.push(Number((await step(batch))[0]));
    counts.push(count());
  }
  return { version, losses, counts };
}

/** What the process of a contender answers; undefined, with a line, where it fails. */
function ask(name, task) {
  const args = [fileURLToPath(import.meta.url), folder, "--worker", JSON.stringify([name, task])];
  const answer = execFileSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const { failed, ...found } = JSON.parse(answer);
  if (failed === undefined) return found;
  console.log(`left out: ${name}, ${task}: ${failed}`);
}

/** The counts of a step after the first two, which fill caches; that such steps differ is said. */
function steady(name, counts) {
  const [step, ...others] = counts.slice(2);
  if (others.some((other) => JSON.stringify(other) !== JSON.stringify(step))) {
    console.log(`${name}: its steps differ: ${JSON.stringify(counts.slice(2))}`);
  }
  return step;
}

/** A row for a contender whose losses are right. */
function row(name, task, expected) {
  const compared = ask(name, TASKS[task]);
  if (!compared) return;
  const far = Math.max(...expected.map((loss, at) => Math.abs(loss - compared.losses[at])));
  if (!(far <= NEAR)) {
    console.log(`left out: ${name}, ${task}: its losses are ${compared.losses}, not ${expected}`);
    return;
  }
  const found = TASKS[task] === task ? compared : ask(name, task);
  if (!found) return;
  const step = steady(name, found.counts);
  const pipelines = found.counts.map(({ pipelines }) => pipelines);
  const later = pipelines.slice(1).reduce((a, b) => a + b);
  const cells = [pipelines[0], later, ...Object.values(COLUMNS).map((cell) => cell(step))];
  return `| ${name} ${found.version} | ${cells.join(" | ")} | ${far.toPrecision(1)} |`;
}

if (values.worker) {
  // What a framework prints of its own is no answer.
  console.log = console.info = console.warn = console.error;
  const answer = await work(...JSON.parse(values.worker)).catch((error) => ({ failed: error.message }));
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit());
} else {
  for (const task of values.tasks.split(",")) {
    const expected = ask(CPU, TASKS[task]).losses;
    const names = values.only.split(",").filter((name) => name !== CPU);
    const rows = names.map((name) => row(name, task, expected)).filter(Boolean);
    const titles = [`${task}, batch ${BATCH}`, "pipelines", "later", ...Object.keys(COLUMNS), "losses off by"];
    const rule = titles.map((_, at) => (at ? "--:|" : "---|")).join("");
    console.log(`\n| ${titles.join(" | ")} |\n|${rule}\n${rows.join("\n")}`);
  }
}
