/** What differs between Node and browsers. No module of Node is imported where a bundler could see it. */

interface Process {
  versions?: { node?: string };
  getBuiltinModule?(name: string): unknown;
}

const host = (globalThis as { process?: Process }).process;

/** Whether this is Node, or what behaves like it. */
export const isNode = typeof host?.versions?.node === "string";

/** A module of Node at once; undefined where only `importModule` gets it (before Node 20.16). */
export function builtinModule<T>(name: string): T | undefined {
  return host?.getBuiltinModule?.(name) as T | undefined;
}

/** Whether this thread is a Worker, where no page or server has to stay responsive. */
export const isWorker = isNode
  ? builtinModule<NodeThreads>("node:worker_threads")?.isMainThread === false
  : "WorkerGlobalScope" in globalThis;

/** A module of Node. */
export async function importModule<T>(name: string): Promise<T> {
  return builtinModule<T>(name) ?? ((await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as T);
}

/** What a port of Node's workers and their threads can do. */
export interface NodePort {
  postMessage(message: unknown, transfer?: readonly unknown[]): void;
  on(event: string, listener: (value: never) => void): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

/** The part of `node:worker_threads` that is used. */
export interface NodeThreads {
  isMainThread: boolean;
  parentPort: NodePort | null;
  Worker: new (file: URL) => NodePort;
}

/** A file of Node's `fs/promises`. */
export interface NodeFile {
  stat(): Promise<{ size: number; isFile(): boolean }>;
  read(buffer: Uint8Array, offset: number, length: number, position: null): Promise<{ bytesRead: number }>;
  close(): Promise<void>;
}

/** The part of `node:fs` that is used. */
export interface NodeFs {
  readFileSync(path: URL): Uint8Array;
  promises: { open(path: string | URL, flags: string): Promise<NodeFile> };
}

const immediate = (globalThis as { setImmediate?: (f: () => void) => void }).setImmediate;
let channel: MessageChannel | undefined;
const waiting: (() => void)[] = [];

/** Lets the event loop turn: events, timers and painting come first. */
export function nextTurn(): Promise<void> {
  if (isNode && immediate) return new Promise((resolve) => immediate(resolve));
  // Not scheduler.yield: what goes on after that comes before timers and messages, which could then not cancel a run.
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()?.();
  }
  const { port2 } = channel;
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(0);
  });
}

/** Seconds that a piece of a run takes before the event loop turns. */
export const PIECE_SECONDS = isWorker ? 0.05 : 0.008;

/** Sets a well-known symbol where the engine lacks it, so that `using` works once compiled down. */
function define(name: "dispose" | "asyncDispose"): void {
  if (!(name in Symbol)) Object.defineProperty(Symbol, name, { value: Symbol(`Symbol.${name}`) });
}

define("dispose");
define("asyncDispose");
