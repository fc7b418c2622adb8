/** Programs and sessions that live in a Worker. */

import type { Input } from "./convert.js";
import { CaudalError, failure } from "./errors.js";
import { checkOptions } from "./options.js";
import { type NodePort, type NodeThreads, importModule, isNode } from "./platform.js";
import { type Program, type ProgramInfo, infoOf, lookUp } from "./program.js";
import {
  type Answer,
  type Call,
  type SentObject,
  type SentTensor,
  receiveError,
  receiveTensor,
  sendTensor,
} from "./protocol.js";
import {
  type Placement,
  type Report,
  type RunOptions,
  type Session,
  type SessionOptions,
  fitInputs,
  fitState,
  programOf,
} from "./session.js";
import type { Sink } from "./source.js";
import { renamed } from "./source.js";
import type { Tensor } from "./tensor.js";
import { type CallArguments, type Functions, type Outputs, outputsOf } from "./types.js";
import { configured, wasmForWorker } from "./wasm.js";

/** A Worker as both Node and browsers have it. */
interface Port {
  post(message: unknown, transfer: ArrayBuffer[]): void;
  /** Says whether an answer is awaited, which in Node keeps the process. */
  hold(on: boolean): void;
  end(): void;
}

interface Listener {
  answer(answer: Answer): void;
  fail(why: string): void;
}

async function start(listener: Listener): Promise<Port> {
  if (isNode) {
    const { Worker } = await importModule<NodeThreads>("node:worker_threads");
    // Not as below, or bundlers would take it for a second Worker.
    return nodePort(new Worker(new URL(import.meta.url.replace(/[^/]*$/, "worker.js"))), listener);
  }
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onmessage = (event: MessageEvent<Answer>) => listener.answer(event.data);
  worker.onerror = (event) => listener.fail(event.message || "its code cannot be had");
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    hold: () => {},
    end: () => worker.terminate(),
  };
}

function nodePort(worker: NodePort, listener: Listener): Port {
  worker.on("message", (answer: Answer) => listener.answer(answer));
  worker.on("error", (error: Error) => listener.fail(error.message));
  worker.unref();
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    hold: (on) => (on ? worker.ref() : worker.unref()),
    end: () => void worker.terminate(),
  };
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The calls to one Worker, and what lives in it. */
class Connection {
  readonly #waiting = new Map<number, Waiting>();
  readonly #objects = new Set<number>();
  #port!: Port;
  #next = 1;
  #failure: CaudalError | undefined;

  static async open(): Promise<Connection> {
    const connection = new Connection();
    // Nothing waits for another: the Worker fetches its scripts while the module is compiled, or that itself.
    const module = Promise.resolve(wasmForWorker());
    module.catch(() => {});
    const port = await start({
      answer: (answer) => connection.#answer(answer),
      fail: (why) => connection.#fail(failure("internal", `the Worker failed: ${why}`)),
    });
    connection.#port = port;
    try {
      port.post({ module: await module, threads: configured().threads }, []);
    } catch (error) {
      port.end();
      throw error;
    }
    return connection;
  }

  /** Calls a method; `hand` is handed over. An abort cancels the call and rejects with the signal's reason. */
  async call<T>(
    object: number,
    method: string,
    args: unknown[],
    hand: ArrayBuffer[] = [],
    signal?: AbortSignal,
  ): Promise<T> {
    if (this.#failure) throw this.#failure;
    const id = this.#next++;
    const cancel = () => this.#port.post({ cancel: id }, []);
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
        this.#port.hold(true);
        this.#port.post({ id, object, method, args } satisfies Call, hand);
      });
    } catch (error) {
      if (signal?.aborted && (error as { sent?: boolean }).sent) throw signal.reason;
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  #answer(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#port.hold(false);
    if ("value" in answer) waiting?.resolve(answer.value);
    else
      waiting?.reject(
        answer.error.code ? receiveError(answer.error) : Object.assign(new Error(answer.error.message), { sent: true }),
      );
  }

  #fail(error: CaudalError): void {
    this.#failure = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.#port.end();
  }

  /** Counts an object that the Worker holds for this thread. */
  keep(object: number): void {
    this.#objects.add(object);
  }

  /** Lets an object go; the Worker ends when it holds none, or none but `last`. */
  async release(object: number, last?: number): Promise<void> {
    if (!this.#objects.delete(object) || this.#failure) return;
    await this.call(object, "dispose", []);
    if (this.#objects.size === 0 || (this.#objects.size === 1 && this.#objects.has(last!))) {
      this.close();
    }
  }

  /** Ends the Worker. */
  close(): void {
    this.#objects.clear();
    this.#fail(failure("closed", "the session is closed"));
  }
}

/** The net under `dispose`. */
const registry = new FinalizationRegistry<{ connection: Connection; object: number }>(({ connection, object }) => {
  connection.release(object).catch(() => {});
});

class RemoteProgram<F extends Functions> implements Program<F> {
  readonly #info: ProgramInfo;

  constructor(
    readonly connection: Connection,
    readonly sent: SentObject,
  ) {
    this.#info = infoOf(sent.json);
    connection.keep(sent.object);
    registry.register(this, { connection, object: sent.object }, this);
  }

  get functions(): ProgramInfo["functions"] {
    return this.#info.functions;
  }

  get state(): ProgramInfo["state"] {
    return this.#info.state;
  }

  get metadata(): any {
    return structuredClone(this.#info.metadata);
  }

  async value(name: string): Promise<Tensor> {
    return receiveTensor((await this.#call<SentTensor[]>("value", name))[0]!);
  }

  memory(name: keyof F & string, dims: Record<string, number> = {}): Promise<number> {
    return this.#call("memory", name, dims);
  }

  async select<N extends keyof F & string>(functions: readonly N[]): Promise<Program<Pick<F, N>>> {
    return new RemoteProgram(this.connection, await this.#call<SentObject>("select", functions));
  }

  async withoutLines(): Promise<Program<F>> {
    return new RemoteProgram<F>(this.connection, await this.#call<SentObject>("withoutLines"));
  }

  save(): Promise<Uint8Array> {
    return this.#call("save");
  }

  async text(options: { graph?: boolean } = {}): Promise<string> {
    checkOptions("text", options);
    return this.#call("text", options);
  }

  /** A session in the same Worker. */
  async session(options: SessionOptions = {}): Promise<Session<F>> {
    checkOptions("session", options);
    return new RemoteSession<F>(this, await this.#call<SentObject>("session", plainOptions(options)));
  }

  dispose(): void {
    registry.unregister(this);
    this.connection.release(this.sent.object).catch(() => {});
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #call<T>(method: string, ...args: unknown[]): Promise<T> {
    return this.connection.call<T>(this.sent.object, method, args);
  }
}

class RemoteSession<F extends Functions> implements Session<F> {
  readonly device: string;
  readonly #object: number;
  readonly #connection: Connection;
  #ended: Promise<void> | undefined;

  constructor(
    readonly program: RemoteProgram<F>,
    sent: SentObject,
  ) {
    this.#connection = program.connection;
    this.#object = sent.object;
    this.device = sent.json;
    this.#connection.keep(sent.object);
    registry.register(this, { connection: this.#connection, object: sent.object }, this);
  }

  async run<N extends keyof F & string>(
    name: N,
    ...rest: CallArguments<F[N]["inputs"], RunOptions>
  ): Promise<Outputs<F[N]["outputs"]>> {
    this.#open();
    const info = lookUp("function", this.program.functions, name);
    checkOptions("run", rest[1]);
    const { signal, ...limits } = rest[1] ?? {};
    signal?.throwIfAborted();
    const names = Object.keys(info.inputs);
    const inputs = fitInputs(info, names, rest[0] ?? {}).map(sendTensor);
    const outputs = await this.#call<SentTensor[]>("run", [name, names, inputs, limits], inputs, signal);
    return outputsOf(Object.keys(info.outputs), outputs.map(receiveTensor)) as unknown as Outputs<F[N]["outputs"]>;
  }

  runSync(): never {
    throw failure("unsupported", "a session in a Worker has no runSync; use run");
  }

  async state(name: string): Promise<Tensor> {
    return receiveTensor((await this.#call<SentTensor[]>("state", [name]))[0]!);
  }

  async setState(values: Readonly<Record<string, Input>>): Promise<void> {
    this.#open();
    const names = Object.keys(values);
    const tensors = names.map((name) => sendTensor(fitState(name, values[name], this.program)));
    await this.#call("setState", [names, tensors], tensors);
  }

  async snapshot(): Promise<Program<F>> {
    return new RemoteProgram<F>(this.#connection, await this.#call<SentObject>("snapshot", []));
  }

  async restore(from: Program | Session, options: { strict?: boolean } = {}): Promise<void> {
    this.#open();
    checkOptions("restore", options);
    const given = await programOf(from);
    const here = given instanceof RemoteProgram && given.connection === this.#connection;
    await this.#call("restore", [here ? given.sent.object : await given.save(), options.strict ?? false]);
  }

  save(): Promise<Uint8Array> {
    return this.#call("save", []);
  }

  memory(name: keyof F & string, dims: Record<string, number> = {}): Promise<number> {
    return this.#call("memory", [name, dims]);
  }

  placement(): Promise<Placement> {
    return this.#call("placement", []);
  }

  explain(name: keyof F & string): Promise<string> {
    return this.#call("explain", [name]);
  }

  report(): Promise<Report> {
    return this.#call("report", []);
  }

  dispose(): Promise<void> {
    registry.unregister(this);
    this.#ended ??= this.#connection.release(this.#object, this.program.sent.object);
    return this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #open(): void {
    if (this.#ended) throw failure("closed", "the session is closed");
  }

  async #call<T>(method: string, args: unknown[], tensors: SentTensor[] = [], signal?: AbortSignal): Promise<T> {
    this.#open();
    const buffers = tensors.map((tensor) => tensor.bytes.buffer);
    return this.#connection.call<T>(this.#object, method, args, buffers, signal);
  }
}

/** The options that a Worker is told. */
function plainOptions({ device, strict, debug, memory, seconds }: SessionOptions): SessionOptions {
  return { device, strict, debug, memory, seconds };
}

/** A session in a Worker of its own, of the file that is poured into a sink there. */
export async function loadInWorker<F extends Functions>(
  options: SessionOptions,
  fill: (sink: Sink) => Promise<string>,
): Promise<Session<F>> {
  // The file is asked for while the Worker starts.
  const opening = Connection.open();
  opening.catch(() => {});
  let connection: Connection;
  let sent: Promise<void> = Promise.resolve();
  const sink: Sink = {
    begin: async (length) => {
      connection = await opening;
      await connection.call(0, "begin", [length, options.memory]);
    },
    // A chunk goes out while the one before is taken: to wait for each would cost a turn of both threads.
    write: async (chunk) => {
      const copy = chunk.slice();
      const before = sent;
      sent = connection.call(0, "write", [copy], [copy.buffer]);
      sent.catch(() => {});
      await before;
    },
  };
  try {
    const name = await fill(sink);
    await sent;
    const made = await connection!
      .call<{ session: SentObject; program: SentObject }>(0, "open", [plainOptions(options)])
      .catch((error) => Promise.reject(renamed(error, name)));
    return new RemoteSession<F>(new RemoteProgram<F>(connection!, made.program), made.session);
  } catch (error) {
    opening.then((opened) => opened.close()).catch(() => {});
    throw error;
  }
}
