/** Where a file comes from: opened, checked, and read chunk by chunk. */

import { described } from "./convert.js";
import { CaudalError, failure, reworded } from "./errors.js";
import { type NodeFs, importModule, isNode } from "./platform.js";

/** A file: its address, a request or response, a blob, its bytes; a string is a path in Node, a URL in a page. */
export type Source = string | URL | Request | Response | Blob | ArrayBuffer | ArrayBufferView;

/** Where a file goes. */
export interface Sink {
  /** Makes room for so many bytes. */
  begin(length: number): void | Promise<void>;
  /** Takes the next bytes, which are the caller's again once it returns. */
  write(chunk: Uint8Array): void | Promise<void>;
}

/** How a file is read. */
export interface SourceOptions {
  signal?: AbortSignal | undefined;
  /** Called with how many bytes have come, of how many; undefined where that is not known. */
  onProgress?: ((loaded: number, all: number | undefined) => void) | undefined;
}

/** An open file. */
interface Opened {
  /** What messages call it. */
  readonly name: string;
  /** How many bytes it has, where that is known. */
  readonly length: number | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Lets it go, read to its end or not. */
  close(): Promise<void>;
}

/** How many bytes of a file in Node are read at a time. */
const CHUNK_BYTES = 1 << 20;

/** What messages call a file that has no name. */
export const NAMELESS = "the data";

/**
 * Reads a file into a sink; gives the name that messages call it.
 *
 * @throws CaudalError `io`: it cannot be had, or is cut off; `format`: a web page in its place. The signal's reason.
 */
export async function pour(source: Source, options: SourceOptions, sink: Sink): Promise<string> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const { name, length, chunks, close } = await open(source, signal);
  let loaded = 0;
  const pieces: Uint8Array[] = [];
  try {
    if (length !== undefined) await sink.begin(length);
    for await (const chunk of chunks) {
      signal?.throwIfAborted();
      loaded += chunk.length;
      if (length === undefined) pieces.push(chunk);
      else if (loaded > length) throw cutOff(name, `more came than the ${length} bytes that were announced`);
      else await sink.write(chunk);
      onProgress?.(loaded, length);
    }
    signal?.throwIfAborted();
    if (length === undefined) {
      await sink.begin(loaded);
      for (const piece of pieces.splice(0)) await sink.write(piece);
    } else if (loaded < length) {
      throw cutOff(name, `it ended after ${loaded} of ${length} bytes`);
    }
  } catch (error) {
    throw renamed(error, name);
  } finally {
    await close();
  }
  return name;
}

/** An error that begins with "the data", with the name of the file, as the core has it for files that it opens. */
export function renamed(error: unknown, name: string): unknown {
  if (!(error instanceof CaudalError) || !error.message.startsWith(NAMELESS)) return error;
  return reworded(error, name + error.message.slice(NAMELESS.length));
}

function cutOff(name: string, why: string, cause?: unknown): Error {
  return Object.assign(failure("io", `the transfer of ${name} failed: ${why}`), cause === undefined ? {} : { cause });
}

async function open(source: Source, signal: AbortSignal | undefined): Promise<Opened> {
  if (typeof source === "string") {
    return isNode ? openPath(source, source) : openUrl(new URL(source, location.href), signal);
  }
  if (source instanceof URL) {
    return isNode && source.protocol === "file:" ? openPath(source, source.href) : openUrl(source, signal);
  }
  if (source instanceof Request) return openUrl(source, signal);
  if (source instanceof Response) return ofResponse(source, source.url, signal);
  if (source instanceof Blob) {
    return {
      name: (source as Blob & { name?: string }).name ?? NAMELESS,
      length: source.size,
      ...ofStream(NAMELESS, source.stream(), signal),
    };
  }
  if (source instanceof ArrayBuffer) return ofBytes(new Uint8Array(source));
  if (ArrayBuffer.isView(source)) return ofBytes(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
  const text = `${described(source)} is no address, no bytes and no response`;
  throw failure("argument", text, { op: "load", argument: "source" });
}

function ofBytes(bytes: Uint8Array): Opened {
  const chunks = async function* () {
    if (bytes.length) yield bytes;
  };
  return { name: NAMELESS, length: bytes.length, chunks: chunks(), close: async () => {} };
}

async function openUrl(request: URL | Request, signal: AbortSignal | undefined): Promise<Opened> {
  const address = request instanceof URL ? request.href : request.url;
  let response: Response;
  try {
    response = await fetch(request, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    const cause = (error as { cause?: { message?: string } }).cause?.message;
    throw Object.assign(failure("io", `cannot fetch ${address}: ${cause ?? (error as Error).message}`), {
      cause: error,
    });
  }
  return ofResponse(response, address, signal);
}

async function ofResponse(response: Response, address: string, signal: AbortSignal | undefined): Promise<Opened> {
  const name = address || NAMELESS;
  const wrong = noFile(response, name);
  if (wrong) {
    // Of no effect where somebody else reads it.
    await response.body?.cancel().catch(() => {});
    throw wrong;
  }
  // A coded body has another length than what it is decoded to.
  const announced = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
  const length = announced === null ? undefined : Number(announced);
  const body = response.body ? ofStream(name, response.body, signal) : ofBytes(new Uint8Array());
  return { ...body, name, length: Number.isSafeInteger(length) ? length : undefined };
}

/** Why a response has no file to read, if it has none. */
function noFile(response: Response, name: string): CaudalError | undefined {
  if (!response.ok) {
    return failure("io", `cannot fetch ${name}: HTTP ${`${response.status} ${response.statusText}`.trim()}`);
  }
  if (/^(text\/html|application\/xhtml)/.test(response.headers.get("content-type") ?? "")) {
    return failure("format", `${name} is a web page, not a caudal file; look at its address`);
  }
  if (!response.bodyUsed && !response.body?.locked) return undefined;
  return failure("argument", `the body of ${name} has been read before`, { op: "load", argument: "source" });
}

/** The chunks of a stream; an abort ends them, a failure is an error that names the file. */
function ofStream(
  name: string,
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): Pick<Opened, "chunks" | "close"> {
  const reader = stream.getReader();
  const abort = () => void reader.cancel(signal!.reason).catch(() => {});
  signal?.addEventListener("abort", abort, { once: true });
  const chunks = async function* () {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw cutOff(name, (error as Error).message, error);
    }
  };
  const close = async () => {
    signal?.removeEventListener("abort", abort);
    // Of no effect where it has ended.
    await reader.cancel().catch(() => {});
  };
  return { chunks: chunks(), close };
}

async function openPath(path: string | URL, name: string): Promise<Opened> {
  const { promises } = await importModule<NodeFs>("node:fs");
  const refused = (error: unknown) => Promise.reject(failure("io", `cannot open ${name}: ${systemText(error)}`));
  const file = await promises.open(path, "r").catch(refused);
  const stat = await file.stat();
  if (!stat.isFile()) {
    await file.close();
    throw failure("io", `cannot open ${name}: it is not a regular file`);
  }
  const chunks = async function* () {
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, stat.size));
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null).catch(refused);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  };
  return { name, length: stat.size, chunks: chunks(), close: () => file.close() };
}

const SYSTEM: Record<string, string> = {
  ENOENT: "No such file or directory",
  EACCES: "Permission denied",
  EISDIR: "Is a directory",
  ENOTDIR: "Not a directory",
  EMFILE: "Too many open files",
};

/** What the system says, in the words of the core. */
function systemText(error: unknown): string {
  const { code, errno, message } = error as { code?: string; errno?: number; message: string };
  const text = code === undefined ? undefined : SYSTEM[code];
  return text !== undefined && errno !== undefined ? `${text} (os error ${-errno})` : message;
}
