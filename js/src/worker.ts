/** The other end of a session in a Worker: the objects that it holds, and the calls that come for them. */

import { openGpu } from "./gpu.js";
import { FileSink } from "./load.js";
import { Instance } from "./instance.js";
import { type Limits, limitsOf } from "./limits.js";
import { type NodeThreads, importModule, isNode } from "./platform.js";
import { LocalProgram } from "./program.js";
import {
  type Call,
  type Cancel,
  type SentObject,
  type SentTensor,
  type Start,
  receiveTensor,
  sendError,
  fetchTensor,
  sendTensor,
} from "./protocol.js";
import { LocalSession, type SessionOptions } from "./session.js";
import type { Tensor } from "./tensor.js";
import { configure, wasmModule } from "./wasm.js";

/** What a call gives, with what of it is handed over and not copied. */
interface Result {
  value?: unknown;
  transfer?: ArrayBuffer[];
}

type Method<T> = (object: T, signal: AbortSignal, ...args: never[]) => Result | Promise<Result>;

const objects = new Map<number, LocalProgram | LocalSession>();
const cancels = new Map<number, AbortController>();
let next = 1;
let file: FileSink | undefined;

function keep(object: LocalProgram | LocalSession, json: string): SentObject {
  objects.set(next, object);
  return { object: next++, json };
}

/** The answer to a call that gives tensors; at once if none lies on a device, so that answers keep the calls' order. */
function tensors(found: readonly Tensor[]): Result | Promise<Result> {
  if (!found.some((tensor) => tensor.isOnDevice)) return sent(found, found.map(sendTensor));
  return Promise.all(found.map(fetchTensor)).then((value) => sent(found, value));
}

function sent(found: readonly Tensor[], value: SentTensor[]): Result {
  for (const tensor of found) tensor.dispose();
  return { value, transfer: value.map((tensor) => tensor.bytes.buffer) };
}

function bytes(value: Uint8Array<ArrayBuffer>): Result {
  return { value, transfer: [value.buffer] };
}

function byName(names: readonly string[], sent: readonly SentTensor[]): Record<string, Tensor> {
  return Object.fromEntries(names.map((name, index) => [name, receiveTensor(sent[index]!)]));
}

/** What the Worker itself does: takes a file, opens it. */
const host = {
  async begin(_: undefined, __: AbortSignal, length: number, memory: number | undefined): Promise<Result> {
    file = new FileSink(await Instance.create(), memory);
    file.begin(length);
    return {};
  },
  write(_: undefined, __: AbortSignal, chunk: Uint8Array): Result {
    file!.write(chunk);
    return {};
  },
  /** Makes a session of the file, and gives that, its device and its program. */
  async open(_: undefined, __: AbortSignal, options: SessionOptions): Promise<Result> {
    const { instance } = file!;
    const limits = limitsOf(instance, options);
    try {
      await openGpu(instance, options.device);
      const program = file!.read(limits);
      const session = new LocalSession(program, options, limits);
      return { value: { session: keep(session, session.device), program: keep(program, program.json()) } };
    } finally {
      limits?.free();
      file = undefined;
    }
  },
} satisfies Record<string, Method<undefined>>;

const programs = {
  async value(program: LocalProgram, _: AbortSignal, name: string): Promise<Result> {
    return tensors([await program.value(name)]);
  },
  async memory(program: LocalProgram, _: AbortSignal, name: string, dims: Record<string, number>): Promise<Result> {
    return { value: await program.memory(name, dims) };
  },
  async select(program: LocalProgram, _: AbortSignal, functions: string[]): Promise<Result> {
    const selected = await program.select(functions);
    return { value: keep(selected, selected.json()) };
  },
  async withoutLines(program: LocalProgram): Promise<Result> {
    const bare = await program.withoutLines();
    return { value: keep(bare, bare.json()) };
  },
  async save(program: LocalProgram): Promise<Result> {
    return bytes((await program.save()) as Uint8Array<ArrayBuffer>);
  },
  async text(program: LocalProgram, _: AbortSignal, options: { graph?: boolean }): Promise<Result> {
    return { value: await program.text(options) };
  },
  async session(program: LocalProgram, _: AbortSignal, options: SessionOptions): Promise<Result> {
    await openGpu(program.handle.instance, options.device);
    const session = new LocalSession(program, options);
    return { value: keep(session, session.device) };
  },
  async dispose(program: LocalProgram): Promise<Result> {
    program.dispose();
    return {};
  },
} satisfies Record<string, Method<LocalProgram>>;

const sessions = {
  async run(
    session: LocalSession,
    signal: AbortSignal,
    name: string,
    names: string[],
    sent: SentTensor[],
    limits: Limits,
  ): Promise<Result> {
    const inputs = byName(names, sent);
    try {
      return tensors(Object.values(await session.run(name, inputs, { ...limits, signal })));
    } finally {
      for (const tensor of Object.values(inputs)) tensor.dispose();
    }
  },
  async state(session: LocalSession, _: AbortSignal, name: string): Promise<Result> {
    return tensors([await session.state(name)]);
  },
  async setState(session: LocalSession, _: AbortSignal, names: string[], sent: SentTensor[]): Promise<Result> {
    await session.setState(byName(names, sent));
    return {};
  },
  async snapshot(session: LocalSession): Promise<Result> {
    const snapshot = await session.snapshot();
    return { value: keep(snapshot, snapshot.json()) };
  },
  /** Takes the state of a program of this Worker, by its number, or of the bytes of a file. */
  async restore(session: LocalSession, _: AbortSignal, from: number | Uint8Array, strict: boolean): Promise<Result> {
    const program = typeof from === "number" ? (objects.get(from) as LocalProgram) : { save: async () => from };
    await session.restore(program as LocalProgram, { strict });
    return {};
  },
  async save(session: LocalSession): Promise<Result> {
    return bytes((await session.save()) as Uint8Array<ArrayBuffer>);
  },
  async memory(session: LocalSession, _: AbortSignal, name: string, dims: Record<string, number>): Promise<Result> {
    return { value: await session.memory(name, dims) };
  },
  async placement(session: LocalSession): Promise<Result> {
    return { value: await session.placement() };
  },
  async explain(session: LocalSession, _: AbortSignal, name: string): Promise<Result> {
    return { value: await session.explain(name) };
  },
  async report(session: LocalSession): Promise<Result> {
    return { value: await session.report() };
  },
  async dispose(session: LocalSession): Promise<Result> {
    await session.dispose();
    return {};
  },
} satisfies Record<string, Method<LocalSession>>;

function methodOf(call: Call): Method<unknown> {
  const object = objects.get(call.object);
  const table = object === undefined ? host : object instanceof LocalProgram ? programs : sessions;
  return (table as Record<string, Method<never>>)[call.method] as Method<unknown>;
}

async function answer(call: Call, post: (message: unknown, transfer: ArrayBuffer[]) => void): Promise<void> {
  const controller = new AbortController();
  cancels.set(call.id, controller);
  try {
    const result = await methodOf(call)(objects.get(call.object), controller.signal, ...(call.args as never[]));
    if (call.method === "dispose") objects.delete(call.object);
    post({ id: call.id, value: result.value }, result.transfer ?? []);
  } catch (error) {
    post({ id: call.id, error: sendError(error) }, []);
  } finally {
    cancels.delete(call.id);
  }
}

async function listen(): Promise<void> {
  if (isNode) {
    const port = (await importModule<NodeThreads>("node:worker_threads")).parentPort!;
    port.on("message", (message: Start | Call | Cancel) =>
      take(message, (value, list) => port.postMessage(value, list)),
    );
  } else {
    const scope = globalThis as unknown as { postMessage(message: unknown, transfer: Transferable[]): void };
    addEventListener("message", (event: MessageEvent<Start | Call | Cancel>) =>
      take(event.data, (value, list) => scope.postMessage(value, list)),
    );
  }
}

function take(message: Start | Call | Cancel, post: (message: unknown, transfer: ArrayBuffer[]) => void): void {
  if ("module" in message) {
    const { module, threads } = message;
    configure(threads === undefined ? { wasm: module } : { wasm: module, threads });
    // Whoever needs it says what went wrong.
    wasmModule().catch(() => {});
  } else if ("cancel" in message) {
    cancels.get(message.cancel)?.abort();
  } else {
    void answer(message, post);
  }
}

void listen();
