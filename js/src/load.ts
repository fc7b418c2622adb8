import { dtypeInfo } from "./dtype.js";
import { failure } from "./errors.js";
import { openGpu } from "./gpu.js";
import { type Handle, Instance } from "./instance.js";
import { type Limits, limitsOf } from "./limits.js";
import { LocalProgram, type Program } from "./program.js";
import { checkOptions } from "./options.js";
import { loadInWorker } from "./remote.js";
import { LocalSession, type Session, type SessionOptions } from "./session.js";
import { NAMELESS, type Sink, type Source, type SourceOptions, pour, renamed } from "./source.js";
import type { Functions } from "./types.js";

/** How a file is loaded. */
export interface LoadOptions extends SessionOptions, SourceOptions {}

/** A file in the memory of an instance: the one allocation that becomes the storage of the program's state. */
export class FileSink implements Sink {
  #file: Handle | undefined;
  #start = 0;
  #used = 0;

  constructor(
    readonly instance: Instance,
    private readonly limit: number | undefined,
  ) {}

  begin(length: number): void {
    const { instance, limit } = this;
    if (limit && length > limit) {
      throw failure("memory", `${NAMELESS}: ${length} bytes more than the 0 in use pass the limit of ${limit} bytes`);
    }
    if (length >= 2 ** 31)
      throw failure("memory", `${NAMELESS}: ${length} bytes are more than the 2 GiB that WASM allocates`);
    this.#file = instance.tensor(dtypeInfo("uint8"), [length], length);
    this.#start = length ? instance.raw.cdl_tensor_data_mut(this.#file.pointer) : 0;
  }

  write(chunk: Uint8Array): void {
    this.instance.view(this.#start + this.#used, chunk.length).set(chunk);
    this.#used += chunk.length;
  }

  /** The program that the bytes are. */
  read<F extends Functions>(limits: Handle | undefined): LocalProgram<F> {
    const file = this.#file!;
    try {
      const { instance } = this;
      const program = instance
        .begin()
        .own("cdl_program_free", "cdl_program_read_tensor", file.pointer, limits?.pointer ?? 0);
      return new LocalProgram<F>(program);
    } finally {
      file.free();
    }
  }
}

/**
 * Loads a program file and makes a session of it.
 *
 * The file is read into one allocation, which becomes the storage of the state: at its most that takes as much memory
 * as the file has bytes, but where a response does not say its length twice as much.
 *
 * @param source - Its address, a request or response, a blob, its bytes; a string is a path in Node, a URL in a page.
 * @throws CaudalError `argument`: an option that there is not; `io`: it cannot be had; `format`: it is damaged, or
 *   something else; `newer`: it needs a newer caudal; `memory`, `deadline`: a limit; `device`: there is no such device.
 *   The signal's reason, if it aborts.
 */
export async function load<F extends Functions = any>(source: Source, options: LoadOptions = {}): Promise<Session<F>> {
  checkOptions("load", options);
  if (options.worker) {
    return loadInWorker<F>(options, (sink) => pour(source, options, sink));
  }
  const instance = await Instance.create();
  const limits = limitsOf(instance, options);
  try {
    // The device opens while the file comes.
    const [program] = await Promise.all([
      read<F>(instance, source, options, limits),
      openGpu(instance, options.device),
    ]);
    return new LocalSession<F>(program, options, limits);
  } finally {
    limits?.free();
  }
}

/**
 * Opens a program file, or any safetensors file, which has state and no functions.
 *
 * @throws CaudalError as `load`.
 */
export async function open<F extends Functions = any>(
  source: Source,
  options: Limits & SourceOptions = {},
): Promise<Program<F>> {
  checkOptions("open", options);
  const instance = await Instance.create();
  const limits = limitsOf(instance, options);
  try {
    return await read<F>(instance, source, options, limits);
  } finally {
    limits?.free();
  }
}

async function read<F extends Functions>(
  instance: Instance,
  source: Source,
  options: Limits & SourceOptions,
  limits: Handle | undefined,
): Promise<LocalProgram<F>> {
  const sink = new FileSink(instance, options.memory);
  const name = await pour(source, options, sink);
  try {
    return sink.read<F>(limits);
  } catch (error) {
    throw renamed(error, name);
  }
}
