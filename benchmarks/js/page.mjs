/**
 * The page of examples/web in headless Chromium: how soon its first prediction stands there, what it loads, and what
 * memory its process holds while it trains.
 *
 *     python examples/web/build.py && (cd tests/browser && npm ci) && node benchmarks/js/page.mjs
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { launch } from "../../tests/browser/chromium.mjs";
import { serve } from "../../tests/browser/server.mjs";

const PAGE = fileURLToPath(new URL("../../build/page", import.meta.url));
const LOADS = 11;
const STEPS = 1000;
const BATCH = 16;
const EVERY = 200;

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Milliseconds to the first prediction from the start of navigation, and from the load event, without a cache. */
async function firstPrediction(browser, origin, requests) {
  const context = await browser.newContext();
  const page = await context.newPage();
  requests.length = 0;
  await page.goto(`${origin}/`);
  await page.waitForFunction(() => performance.getEntriesByName("first-answer").length > 0);
  const times = await page.evaluate(() => {
    const at = performance.getEntriesByName("first-answer")[0].startTime;
    return [at, at - performance.getEntriesByType("navigation")[0].loadEventEnd];
  });
  await context.close();
  return times;
}

/** The bytes of files of the page, raw and each gzipped. */
function payload(paths) {
  const files = paths.map((path) => readFileSync(join(PAGE, path === "/" ? "index.html" : path)));
  const sum = (sizes) => sizes.reduce((a, b) => a + b, 0);
  return [sum(files.map((f) => f.length)), sum(files.map((f) => gzipSync(f).length))];
}

/** The memory in RAM of all of the browser's renderers, in MB: pages and their workers. */
async function resident(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  const sizes = processInfo
    .filter(({ type }) => type === "renderer")
    .map(({ id }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "latin1"))[1]));
  return (sizes.reduce((a, b) => a + b, 0) * 1024) / 1e6;
}

/** Trains in a page, and tells the memory on the way. */
async function train(browser, origin) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${origin}/style.css`);
  await page.evaluate(async (batch) => {
    const { load } = await import("/caudal/index.js");
    const session = await load("/fashion.caudal", { worker: true });
    const x = { data: new Float32Array(batch * 784).map((_, i) => (i % 97) / 97), shape: [batch, 28, 28, 1] };
    const y = { data: new Int32Array(batch).map((_, i) => i % 10), shape: [batch] };
    globalThis.train = async (steps) => {
      for (let i = 0; i < steps; i++) {
        const out = await session.run("train_step", { x, y });
        await out.loss.item();
        out[Symbol.dispose]();
      }
    };
  }, BATCH);
  for (let done = 0; done <= STEPS; done += EVERY) {
    console.log(`  after ${String(done).padStart(4)} steps: ${(await resident(browser)).toFixed(0)} MB`);
    if (done < STEPS) await page.evaluate((steps) => globalThis.train(steps), EVERY);
  }
  await page.context().close();
}

const browser = await launch();
const server = await serve({ "/": PAGE });
try {
  console.log(`Chromium ${browser.version()}`);
  const times = [];
  for (let i = 0; i < LOADS; i++) times.push(await firstPrediction(browser, server.origin, server.requests));
  const asked = [...new Set(server.requests)].filter((path) => path !== "/favicon.ico");
  for (const [from, index] of [["navigation", 0], ["the load event", 1]]) {
    const found = times.map((time) => time[index]);
    console.log(`first prediction ${median(found).toFixed(0)} ms after ${from}, fastest ${Math.min(...found).toFixed(0)} (${LOADS} loads)`);
  }
  const kilobytes = (sizes) => sizes.map((size) => (size / 1e3).toFixed(0)).join(" kB, gzipped ") + " kB";
  console.log(`what it loads, ${asked.length} files: ${kilobytes(payload(asked))}`);
  for (const path of asked.filter((path) => /\.(wasm|caudal)$/.test(path))) console.log(`  ${path}: ${kilobytes(payload([path]))}`);
  console.log(`memory of the page's process and its worker, training with batch ${BATCH}:`);
  await train(browser, server.origin);
} finally {
  await server.close();
  await browser.close();
}
