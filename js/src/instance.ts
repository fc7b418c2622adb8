/** One instance of the WASM module: its memory, calls of its exports, its errors, the handles that it gave. */

import { type Driver, FAILED } from "./driver.js";
import { type DTypeInfo, numberedDType } from "./dtype.js";
import { CaudalError, type Code, PENDING, codeOf, failure, numberOf } from "./errors.js";
import { configured, wasmModule, wasmModuleNow } from "./wasm.js";

const EXPORTS = [
  "cdl_abi_version",
  "cdl_alloc",
  "cdl_bytes_free",
  "cdl_call_free",
  "cdl_call_resume",
  "cdl_dealloc",
  "cdl_devices",
  "cdl_eager",
  "cdl_error_free",
  "cdl_function_explain",
  "cdl_function_plan",
  "cdl_function_run",
  "cdl_gpu_open",
  "cdl_gpu_report",
  "cdl_graph_apply",
  "cdl_graph_constant",
  "cdl_graph_draw",
  "cdl_graph_free",
  "cdl_graph_function",
  "cdl_graph_grad",
  "cdl_graph_input",
  "cdl_graph_location",
  "cdl_graph_new",
  "cdl_graph_optimize",
  "cdl_graph_schedule",
  "cdl_graph_spec",
  "cdl_graph_state",
  "cdl_graph_text",
  "cdl_graph_training",
  "cdl_graph_update",
  "cdl_limits_free",
  "cdl_limits_new",
  "cdl_op_free",
  "cdl_op_new",
  "cdl_program_free",
  "cdl_program_info",
  "cdl_program_new",
  "cdl_program_read_tensor",
  "cdl_program_select",
  "cdl_program_session",
  "cdl_program_state",
  "cdl_program_without_lines",
  "cdl_program_write",
  "cdl_session_close",
  "cdl_session_free",
  "cdl_session_function",
  "cdl_session_placement",
  "cdl_session_report",
  "cdl_session_restore",
  "cdl_session_set_state",
  "cdl_session_snapshot",
  "cdl_session_state",
  "cdl_set_threads",
  "cdl_tensor_data_mut",
  "cdl_tensor_free",
  "cdl_tensor_new",
  "cdl_tensor_to",
] as const;

type Name = (typeof EXPORTS)[number];
type Free = Extract<Name, `${string}_free`>;
type Raw = (...args: number[]) => number;

/** What only reads, and is allowed after a trap: the state is whole, for it is committed by moving pointers. */
const READS: ReadonlySet<Name> = new Set<Name>([
  "cdl_program_info",
  "cdl_program_state",
  "cdl_program_write",
  "cdl_session_placement",
  "cdl_session_report",
  "cdl_session_snapshot",
  "cdl_session_state",
]);

/** The version of the C API that this package is written to. */
const ABI = 1;

/** Bytes of the block that arguments are laid in; what does not fit is allocated for the call. */
const SCRATCH_BYTES = 1 << 14;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Why a call is to be made again: what it needs lies on a device. Where nobody waits, it is an error as it stands. */
class Pending extends CaudalError {
  constructor(readonly awaited: Promise<void>) {
    super("unsupported", "a tensor lies on a device, which takes a while to give it; await its data() first");
  }
}

/** Text in the memory of an instance. */
export interface Span {
  readonly pointer: number;
  readonly length: number;
}

/** A handle that the core gave; it is freed once, and not while somebody pins it. */
export class Handle {
  /** Whether it was not freed. */
  live = true;
  #pins = 0;

  constructor(
    readonly instance: Instance,
    readonly pointer: number,
    readonly kind: Free,
  ) {}

  /** Its pointer; throws `closed` if it was freed. */
  use(what: string): number {
    if (!this.live) throw failure("closed", `the ${what} was disposed`);
    return this.pointer;
  }

  free(): void {
    if (!this.live) return;
    this.live = false;
    if (this.#pins === 0) this.#release();
  }

  /** Keeps what it stands for, although it may be freed: for calls that begin later. */
  pin(): void {
    this.#pins++;
  }

  unpin(): void {
    if (--this.#pins === 0 && !this.live) this.#release();
  }

  #release(): void {
    if (!this.instance.trap) this.instance.raw[this.kind](this.pointer);
  }
}

/** What a call takes: pointers, with what is to be freed or let go after it. */
export class Operands {
  readonly pointers: number[] = [];
  readonly #temporary: Handle[] = [];
  readonly #pinned: Handle[] = [];

  constructor(readonly instance: Instance) {}

  /** Adds what only this call needs. */
  temporary(handle: Handle): void {
    this.#temporary.push(handle);
    this.pointers.push(handle.pointer);
  }

  /** Adds what others hold. */
  pinned(handle: Handle): void {
    handle.pin();
    this.#pinned.push(handle);
    this.pointers.push(handle.pointer);
  }

  release(): void {
    for (const handle of this.#temporary) handle.free();
    for (const handle of this.#pinned) handle.unpin();
  }
}

/** The net under `dispose`: what nobody holds any more is freed. */
const registry = new FinalizationRegistry<Handle>((handle) => {
  try {
    handle.free();
  } catch {
    // A trap, which the next call of the instance tells; nobody could catch it here.
  }
});

/** Frees a handle when nobody holds its owner any more. */
export function owns(owner: object, handle: Handle): void {
  registry.register(owner, handle, handle);
}

/** Frees a handle now. */
export function disown(handle: Handle): void {
  registry.unregister(handle);
  handle.free();
}

export class Instance {
  /** The exports. A pointer that they give is not negative; a trap becomes an error, as does each later call. */
  readonly raw: Readonly<Record<Name, Raw>>;
  /** Why the instance is of no use any more, if it is. */
  trap: CaudalError | undefined;
  /** What executes the commands of the core, by the number of a device. */
  readonly drivers = new Map<number, Driver>();
  #memory!: WebAssembly.Memory;
  #words = new Uint32Array(0);
  #scratch = 0;
  #used = 0;
  #extra: Span[] = [];
  #panic = "";

  private constructor(module: WebAssembly.Module) {
    const caudal = {
      clock: () => performance.now() / 1000,
      poll: () => 0,
      gpu: (number: number, words: number, count: number) =>
        this.drivers.get(number)?.execute(words >>> 0, count >>> 0) ?? FAILED,
      panic: (message: number, length: number) => (this.#panic = this.#text(message >>> 0, length >>> 0)),
    };
    let exports: WebAssembly.Exports;
    try {
      exports = new WebAssembly.Instance(module, { caudal }).exports;
    } catch (error) {
      if (error instanceof RangeError)
        throw failure("memory", `there is no memory for the WASM module: ${error.message}`);
      throw failure("unsupported", `the WASM module is not caudal's: ${(error as Error).message}`);
    }
    const missing = EXPORTS.find((name) => typeof exports[name] !== "function");
    if (missing) throw failure("unsupported", `the WASM module lacks ${missing}; it is not of this version`);
    this.#memory = exports["memory"] as WebAssembly.Memory;
    this.raw = Object.fromEntries(EXPORTS.map((name) => [name, this.#guard(name, exports[name] as Raw)])) as Record<
      Name,
      Raw
    >;
    const abi = this.raw.cdl_abi_version();
    if (abi < ABI) throw failure("unsupported", `the WASM module has ABI ${abi}, this package needs ${ABI}`);
    this.#scratch = this.alloc(SCRATCH_BYTES);
    const { threads } = configured();
    if (threads !== undefined) this.check(this.raw.cdl_set_threads(threads));
  }

  static async create(): Promise<Instance> {
    return new Instance(await wasmModule());
  }

  /** As `create`, where the module is at hand. */
  static now(): Instance {
    return new Instance(wasmModuleNow());
  }

  #guard(name: Name, call: Raw): Raw {
    const reads = READS.has(name);
    return (a, b, c, d, e, f, g, h, i) => {
      if (this.trap && !reads) throw this.trap;
      try {
        return call(a!, b!, c!, d!, e!, f!, g!, h!, i!) >>> 0;
      } catch (error) {
        throw this.#trapped(error as Error);
      }
    };
  }

  #trapped(cause: Error): CaudalError {
    const why = this.#panic || cause.message;
    const text =
      `caudal failed by a mistake of its own (${why}); this program runs no more, its last state can be read`;
    this.trap ??= new CaudalError("internal", text, {}, { cause });
    return this.trap;
  }

  /** Throws what a call returned, if it is an error. */
  check(error: number): void {
    if (error !== 0) throw this.#error(error);
  }

  /** Makes a call; again each time that a device has given what it needs. */
  async settled<T>(call: () => T): Promise<T> {
    for (;;) {
      try {
        return call();
      } catch (error) {
        if (!(error instanceof Pending)) throw error;
        await error.awaited;
      }
    }
  }

  /** What the last call waits for, if it is a device; asked for once. */
  awaited(): Promise<void> | undefined {
    let found: Promise<void> | undefined;
    for (const driver of this.drivers.values()) {
      found = driver.awaited ?? found;
      driver.awaited = undefined;
    }
    return found;
  }

  /** Gives up what the last call waited for. */
  giveUp(awaited: Promise<void>): void {
    for (const driver of this.drivers.values()) driver.giveUp(awaited);
  }

  /** Waits while devices have too much to do. */
  async pace(): Promise<void> {
    for (const driver of this.drivers.values()) await driver.pace();
  }

  /** Tells the core of a device. */
  tell(facts: string): void {
    const { pointer, length } = this.begin().lay(facts);
    this.check(this.raw.cdl_gpu_open(pointer, length));
  }

  /** Tells the core what failed on a device; also while it makes a call. */
  report(number: number, code: Code, text: string): void {
    if (this.trap) return;
    const bytes = encoder.encode(text);
    const pointer = this.alloc(bytes.length);
    this.view(pointer, bytes.length).set(bytes);
    this.check(this.raw.cdl_gpu_report(number, numberOf(code), pointer, bytes.length));
    this.raw.cdl_dealloc(pointer, bytes.length);
  }

  #error(pointer: number): CaudalError {
    const { words } = this;
    const at = pointer >>> 2;
    if (words[at] === PENDING) {
      this.raw.cdl_error_free(pointer);
      return new Pending(this.awaited() ?? Promise.resolve());
    }
    const part = (index: number) => (words[at + index] ? this.string(words[at + index]!) : undefined);
    const [code, line, file] = [words[at]!, words[at + 1]!, part(5)];
    const location = file !== undefined && line ? { file, line } : undefined;
    const error = new CaudalError(codeOf(code), part(2) ?? "", { op: part(3), argument: part(4), location });
    if (!this.trap) this.raw.cdl_error_free(pointer);
    return error;
  }

  /** The memory as 32-bit words; to be got anew after each call that may allocate. */
  get words(): Uint32Array {
    // Growth detaches the buffer, which leaves the view without elements.
    if (this.#words.length === 0) this.#words = new Uint32Array(this.#memory.buffer);
    return this.#words;
  }

  /** How many bytes of memory the instance has taken from the system. */
  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** The memory, valid until the next call that may allocate. */
  get buffer(): ArrayBuffer {
    return this.#memory.buffer;
  }

  /** A view of bytes, valid until the next call that may allocate. */
  view(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, pointer, length);
  }

  /** The text at a pointer, which ends with a NUL. */
  string(pointer: number): string {
    const { words } = this;
    let word = pointer >>> 2;
    let end = pointer;
    // Bytes before the pointer count as ones.
    let bytes = words[word]! | (2 ** (8 * (pointer & 3)) - 1);
    while (((bytes - 0x01010101) & ~bytes & 0x80808080) === 0) bytes = words[++word]!;
    end = (word << 2) >>> 0;
    while (bytes & 0xff) {
      bytes >>>= 8;
      end++;
    }
    return this.#text(pointer, end - pointer);
  }

  #text(pointer: number, length: number): string {
    return decoder.decode(this.view(pointer, length));
  }

  /** Memory of the core's. */
  alloc(bytes: number): number {
    const pointer = this.raw.cdl_alloc(bytes);
    if (pointer === 0) throw failure("memory", `there is no memory for ${bytes} bytes`);
    return pointer;
  }

  /** Begins the arguments of a call; those of the call before are gone. */
  begin(): this {
    this.#used = 0;
    for (const span of this.#extra) this.raw.cdl_dealloc(span.pointer, span.length);
    if (this.#extra.length) this.#extra = [];
    return this;
  }

  /** A place for so many bytes of an argument, aligned to 8. */
  reserve(length: number): number {
    const start = this.#used;
    const end = start + ((length + 7) & ~7);
    if (end <= SCRATCH_BYTES) {
      this.#used = end;
      return this.#scratch + start;
    }
    const pointer = this.alloc(length);
    this.#extra.push({ pointer, length });
    return pointer;
  }

  /** Lays text. */
  lay(text: string): Span {
    // At most 3 bytes a UTF-16 unit.
    const room = text.length <= 1024 ? text.length * 3 : encoder.encode(text).length;
    const pointer = this.reserve(room);
    return { pointer, length: encoder.encodeInto(text, this.view(pointer, room)).written };
  }

  /** Lays 32-bit words. */
  layWords(values: readonly number[]): number {
    const pointer = this.reserve(values.length * 4);
    const { words } = this;
    for (let index = 0, at = pointer >>> 2; index < values.length; index++) words[at + index] = values[index]!;
    return pointer;
  }

  /** Lays names that end with a NUL each, and gives an array of their pointers. */
  layNames(names: readonly string[]): number {
    return this.layWords(names.map((name) => this.lay(`${name}\0`).pointer));
  }

  /** What a call gives by its out pointer, which is its last argument. */
  out(make: Name, ...args: number[]): number {
    const out = this.reserve(4);
    this.check(this.raw[make](...args, out));
    return this.words[out >>> 2]!;
  }

  /** A handle that a call gives by its out pointer. */
  own(free: Free, make: Name, ...args: number[]): Handle {
    return new Handle(this, this.out(make, ...args), free);
  }

  /** The bytes that a call gives, copied. */
  bytes(make: Name, ...args: number[]): Uint8Array {
    const pointer = this.out(make, ...args);
    const [data, length] = [this.words[pointer >>> 2]!, this.words[(pointer >>> 2) + 1]!];
    const copy = this.view(data, length).slice();
    if (!this.trap) this.raw.cdl_bytes_free(pointer);
    return copy;
  }

  /** The text that a call gives. */
  answer(make: Name, ...args: number[]): string {
    return decoder.decode(this.bytes(make, ...args));
  }

  /** Makes a tensor of zeros, or of the bytes that are given. */
  tensor(dtype: DTypeInfo, shape: readonly number[], length: number, bytes?: Uint8Array): Handle {
    this.begin();
    const dims = this.reserve(shape.length * 8);
    const { words } = this;
    for (let axis = 0, at = dims >>> 2; axis < shape.length; axis++, at += 2) {
      words[at] = shape[axis]!;
      words[at + 1] = Math.floor(shape[axis]! / 2 ** 32);
    }
    const handle = this.own("cdl_tensor_free", "cdl_tensor_new", dtype.number, dims, shape.length, 0, length);
    if (bytes && length > 0) this.view(this.raw.cdl_tensor_data_mut(handle.pointer), length).set(bytes);
    return handle;
  }

  /** What the fields of a tensor say. */
  fields(tensor: number): { dtype: DTypeInfo; shape: number[]; data: number; length: number; device: number } {
    const { words } = this;
    const at = tensor >>> 2;
    const [dims, rank] = [words[at + 1]! >>> 2, words[at + 2]!];
    const shape = new Array<number>(rank);
    for (let axis = 0; axis < rank; axis++)
      shape[axis] = words[dims + 2 * axis]! + words[dims + 2 * axis + 1]! * 2 ** 32;
    const [data, length, device] = [words[at]!, words[at + 3]!, words[at + 5]!];
    return { dtype: numberedDType(words[at + 4]!), shape, data, length, device };
  }
}

let shared: Instance | undefined;

/** The instance that eager tensors and graphs live in; a new one after a trap. */
export function sharedInstance(): Instance {
  if (!shared || shared.trap) shared = Instance.now();
  return shared;
}
