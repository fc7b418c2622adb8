// Where files come from: every kind of source, progress, what goes wrong on the way, and the memory that it takes.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, openAsBlob, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { devices, load, open } from "caudal";
import { FIXTURE, failure } from "./support.mjs";

const server = spawn(process.execPath, [new URL("serve.mjs", import.meta.url).pathname], {
  stdio: ["ignore", "pipe", "inherit"],
});
const port = await new Promise((resolve) => server.stdout.once("data", (text) => resolve(Number(text))));
const at = (path) => `http://127.0.0.1:${port}/${path}`;
after(() => server.kill());

test("a file is loaded from every kind of source", async () => {
  const bytes = readFileSync(FIXTURE);
  const sources = [
    FIXTURE,
    pathToFileURL(FIXTURE),
    bytes,
    new Uint8Array(bytes).buffer,
    await openAsBlob(FIXTURE),
    new Response(bytes),
  ];
  for (const source of sources) {
    const session = await load(source);
    assert.ok("train_step" in session.program.functions);
    await session.dispose();
  }
  for (const source of [new URL(at("w")), new Request(at("w")), await fetch(at("w")), await fetch(at("unknown"))]) {
    const program = await open(source);
    assert.deepEqual([program.state.w.spec, Object.keys(program.functions)], [{ dtype: "float32", shape: [1024] }, []]);
  }
});

test("a session runs on each device that there is, and names them where there is no such one", async () => {
  const found = await devices();
  assert.ok(found.includes("cpu"));
  for (const device of found) {
    const session = await load(FIXTURE, { device });
    assert.equal(session.device, device);
    await session.dispose();
  }
  const error = await failure(load(FIXTURE, { device: "none" }));
  assert.equal(error.message, 'there is no device "none"; a device is cpu, gpu:0, ... or auto');
});

test("progress is told, of how much where that is known", async () => {
  for (const [path, known] of [
    ["w?bytes=4000000", true],
    ["unknown?bytes=4000000", false],
  ]) {
    const told = [];
    await open(new URL(at(path)), { onProgress: (...numbers) => told.push(numbers) });
    const last = told.at(-1)[0];
    assert.ok(told.length > 3 && last > 4_000_000);
    assert.ok(told.every(([n, all], index) => all === (known ? last : undefined) && n > (told[index - 1]?.[0] ?? 0)));
  }
});

test("what goes wrong on the way is named", async () => {
  const missing = "cannot open /nowhere.caudal: No such file or directory (os error 2)";
  const cases = [
    [() => load("/nowhere.caudal"), "io", missing],
    [() => load("/tmp"), "io", "cannot open /tmp: it is not a regular file"],
    [() => load(new URL(at("missing"))), "io", `cannot fetch ${at("missing")}: HTTP 404 Not Found`],
    [() => load(new URL(at("page"))), "format", `${at("page")} is a web page, not a caudal file; look at its address`],
    [() => load(new URL(at("cut?bytes=9000000"))), "io", /^the transfer of .*\/cut\?bytes=9000000 failed: /],
    [() => load(new URL("http://127.0.0.1:1/")), "io", /^cannot fetch http:\/\/127.0.0.1:1\/: /],
    [() => load(7), "argument", "load: number is no address, no bytes and no response"],
    [
      () => load(new URL(at("w?bytes=5000000")), { memory: 1000 }),
      "memory",
      /: 50000\d\d bytes more than the 0 in use pass the limit/,
    ],
    [() => load(FIXTURE, { device: "gpu:0" }), "device", 'there is no device gpu:0: no WebGPU was found'],
  ];
  for (const [work, code, message] of cases) {
    const error = await failure(work);
    assert.equal(error.code, code, String(error.stack));
    if (message instanceof RegExp) assert.match(error.message, message);
    else assert.equal(error.message, message);
  }
});

test("a file that is refused is let go", async () => {
  const fds = "/proc/self/fd/";
  const isOpen = () => readdirSync(fds).some((fd) => existsSync(fds + fd) && readlinkSync(fds + fd) === FIXTURE);
  for (const worker of [false, true]) {
    assert.equal((await failure(load(FIXTURE, { memory: 1000, worker }))).code, "memory");
    assert.equal(isOpen(), false);
    let cancelled = 0;
    const bodyOf = (chunk) =>
      new ReadableStream({ pull: (controller) => controller.enqueue(chunk), cancel: () => void cancelled++ });
    const headers = { "content-length": "5000000" };
    const refused = [
      [new Response(bodyOf(new Uint8Array(1000)), { headers }), { memory: 1000 }, "memory"],
      [new Response(bodyOf(new Uint8Array(4_000_000)), { headers }), {}, "io"],
      [new Response(bodyOf(new Uint8Array(1000)), { status: 500 }), {}, "io"],
      [new Response(bodyOf(new Uint8Array(1000)), { headers: { "content-type": "text/html" } }), {}, "format"],
    ];
    for (const [response, options, code] of refused) {
      assert.equal((await failure(load(response, { worker, ...options }))).code, code);
    }
    assert.equal(cancelled, refused.length);
    const locked = new Response(bodyOf(new Uint8Array(1000)));
    locked.body.getReader();
    assert.equal(
      (await failure(load(locked, { worker }))).message,
      "load: the body of the data has been read before",
    );
  }
});

test("an abort ends a load with the signal's reason", async () => {
  for (const worker of [false, true]) {
    const reason = new Error("no more");
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    assert.equal(
      await failure(load(new URL(at("stall?bytes=9000000")), { signal: controller.signal, worker })),
      reason,
    );
    const response = await fetch(at("stall?bytes=9000000"));
    const second = new AbortController();
    setTimeout(() => second.abort(reason), 50);
    assert.equal(await failure(load(response, { signal: second.signal, worker })), reason);
  }
  assert.equal(
    (
      await failure(
        load(FIXTURE, { signal: AbortSignal.abort("x") }).catch((error) => Promise.reject(new Error(error))),
      )
    ).message,
    "x",
  );
});

test("a file of 200 MB takes 1.1 times that and 4 MB at its peak", async (t) => {
  const bytes = 200 << 20;
  const code = `
    import { load } from "caudal";
    const warm = await load(new URL("${at("w")}"));
    await warm.dispose();
    // What fetch itself keeps of the network's buffers is not caudal's, and is there before.
    for await (const _ of (await fetch("${at(`w?bytes=${bytes}`)}")).body);
    const before = process.memoryUsage().rss;
    let peak = 0;
    const look = () => (peak = Math.max(peak, process.memoryUsage().rss));
    const timer = setInterval(look, 1);
    const s = await load(new URL("${at(`w?bytes=${bytes}`)}"), { onProgress: look });
    const w = await s.state("w");
    look();
    clearInterval(timer);
    const wasm = s.program.handle.instance.memoryBytes;
    console.log(JSON.stringify({ grown: peak - before, wasm, shape: w.shape }));`;
  const child = spawn(process.execPath, ["--expose-gc", "--input-type=module", "-e", code], {
    cwd: new URL("..", import.meta.url),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  for await (const part of child.stdout) text += part;
  const { grown, wasm, shape } = JSON.parse(text);
  t.diagnostic(`grown by ${(grown / 2 ** 20).toFixed(1)} MiB, WASM has ${(wasm / 2 ** 20).toFixed(1)} MiB`);
  assert.deepEqual(shape, [bytes / 4]);
  assert.ok(wasm < 1.1 * bytes + (4 << 20), "memory of WASM");
  assert.ok(grown < 1.1 * bytes + (4 << 20), "memory of the process");
});
