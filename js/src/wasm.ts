/** The compiled WASM module: found, compiled once, shared by all instances. */

import { failure } from "./errors.js";
import { type NodeFs, builtinModule, importModule, isNode } from "./platform.js";

/** Where the WASM module comes from: its address, its bytes, or the compiled module. */
export type WasmSource = string | URL | BufferSource | WebAssembly.Module;

/** What `configure` sets. */
export interface Configuration {
  /** Where the WASM module comes from; the default lies beside this package's code. */
  wasm?: WasmSource;
  /** How many threads runs use; results do not depend on it. */
  threads?: number;
}

/** As bundlers see it: they copy the file and put its address here. */
const beside = () => new URL("./caudal.wasm", import.meta.url);

const configuration: Configuration = {};
let compiled: WebAssembly.Module | undefined;
let compiling: Promise<WebAssembly.Module> | undefined;
/** Whether a Worker was told where the module is. */
let told = false;

/**
 * Says where the WASM module comes from and how many threads runs use.
 *
 * @throws CaudalError `argument`: caudal is in use already.
 */
export function configure(given: Configuration): void {
  if (compiled || compiling || told) throw failure("argument", "caudal is in use; call configure before anything else");
  Object.assign(configuration, given);
}

/** What `configure` set. */
export function configured(): Readonly<Configuration> {
  return configuration;
}

/**
 * Makes caudal ready. In Node nobody needs it; in a page it, or a first `load`, comes before graphs and eager ops.
 *
 * @throws CaudalError `io`: the WASM module cannot be had; `unsupported`: it does not run here.
 */
export async function init(): Promise<void> {
  await wasmModule();
}

/** The compiled module. */
export async function wasmModule(): Promise<WebAssembly.Module> {
  if (compiled) return compiled;
  compiling ??= compile(configuration.wasm ?? beside());
  try {
    return (compiled ??= await compiling);
  } catch (error) {
    // The next call tries again: what failed may have been the network.
    compiling = undefined;
    throw error;
  }
}

/**
 * What a Worker is given: the compiled module where this thread has it, else its address. In a page the Worker then
 * need not wait until this thread, which may be painting, has compiled it.
 */
export function wasmForWorker(): string | Promise<WebAssembly.Module> {
  const source = configuration.wasm ?? beside();
  if (isNode || compiled || compiling || !isAddress(source)) return wasmModule();
  told = true;
  return addressOf(source).href;
}

/** The compiled module at once, as Node has it without waiting. */
export function wasmModuleNow(): WebAssembly.Module {
  if (compiled) return compiled;
  const source = configuration.wasm ?? beside();
  if (source instanceof WebAssembly.Module) return (compiled = source);
  const bytes = isAddress(source) ? readNow(source) : source;
  if (!bytes) throw failure("argument", "caudal is not ready; await init() or a first load(...) before this");
  return (compiled = compileNow(bytes));
}

function isAddress(source: WasmSource): source is string | URL {
  return typeof source === "string" || source instanceof URL;
}

function compileNow(bytes: BufferSource): WebAssembly.Module {
  try {
    return new WebAssembly.Module(bytes);
  } catch (error) {
    throw uncompiled(error);
  }
}

function uncompiled(error: unknown): Error {
  return failure("unsupported", `the WASM module does not run here, which needs simd128: ${(error as Error).message}`);
}

/** The bytes of a file in Node; undefined elsewhere. */
function readNow(address: string | URL): BufferSource | undefined {
  const url = addressOf(address);
  const fs = isNode && url.protocol === "file:" ? builtinModule<NodeFs>("node:fs") : undefined;
  return fs && readFile(fs, url);
}

function readFile(fs: NodeFs, url: URL): BufferSource {
  try {
    return fs.readFileSync(url) as BufferSource;
  } catch (error) {
    throw failure("io", `cannot open the WASM module: ${(error as Error).message}`);
  }
}

function addressOf(address: string | URL): URL {
  const base = typeof location === "object" ? location.href : import.meta.url;
  return new URL(address, base);
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  const bytes = isAddress(source) ? await fetchModule(addressOf(source)) : source;
  if (bytes instanceof WebAssembly.Module) return bytes;
  return WebAssembly.compile(bytes).catch((error) => Promise.reject(uncompiled(error)));
}

async function fetchModule(url: URL): Promise<BufferSource | WebAssembly.Module> {
  if (isNode && url.protocol === "file:") {
    return readFile(await importModule<NodeFs>("node:fs"), url);
  }
  let response: Response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw failure("io", `cannot fetch ${url.href}: ${(error as Error).message}`);
  }
  if (!response.ok) throw failure("io", `cannot fetch ${url.href}: HTTP ${response.status} ${response.statusText}`);
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("text/html")) {
    throw failure("io", `${url.href} is a web page, not the WASM module; say with configure where that is`);
  }
  // Servers that do not know the type can be compiled from after the last byte only.
  if (!type.startsWith("application/wasm")) return response.arrayBuffer();
  return WebAssembly.compileStreaming(response).catch((error) => Promise.reject(uncompiled(error)));
}
