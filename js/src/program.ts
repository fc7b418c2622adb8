import { unknownName } from "./errors.js";
import { openGpu } from "./gpu.js";
import { type Handle, disown, owns } from "./instance.js";
import { checkOptions } from "./options.js";
import { loadInWorker } from "./remote.js";
import { pour } from "./source.js";
import { LocalSession, type Session, type SessionOptions } from "./session.js";
import { type Spec, parseSpec } from "./spec.js";
import { type Tensor, tensorOf } from "./tensor.js";
import type { Functions } from "./types.js";

/** What state is for. */
export type Role = "parameter" | "optimizer" | "statistic" | "random" | "other";

/** What a program says of one of its functions. */
export interface FunctionInfo {
  readonly name: string;
  /** Its documentation. */
  readonly doc: string;
  /** The spec of each input by name, in order. */
  readonly inputs: Readonly<Record<string, Spec>>;
  /** The spec of each output by name, in order. */
  readonly outputs: Readonly<Record<string, Spec>>;
  /** The names of the state that it reads. */
  readonly reads: readonly string[];
  /** The names of the state that it writes. */
  readonly writes: readonly string[];
  /** How often each op stands in it. */
  readonly ops: Readonly<Record<string, number>>;
}

/** What a program says of a state: a named tensor that functions read and write. */
export interface StateInfo {
  readonly name: string;
  readonly role: Role;
  readonly spec: Spec;
  /** How many bytes it takes. */
  readonly bytes: number;
}

/** What a program says of itself. */
export interface ProgramInfo {
  readonly functions: Readonly<Record<string, FunctionInfo>>;
  readonly state: Readonly<Record<string, StateInfo>>;
  /** What the author says: anything that has a JSON form; null if nothing. */
  readonly metadata: any;
}

/** Functions, state and metadata: what a file holds. It never changes; a session runs it. */
export interface Program<F extends Functions = Functions> extends ProgramInfo {
  /**
   * The value of state in the program.
   *
   * @throws CaudalError `name`: there is no such state.
   */
  value(name: string): Promise<Tensor>;
  /**
   * Bytes that a call of a function takes, beside its inputs and the state, at some sizes.
   *
   * @param dims - The size of each symbol in its inputs, such as `{ batch: 32 }`.
   * @throws CaudalError `name`: no such function; `argument`: a size that is missing, or a symbol that it has not.
   */
  memory(name: keyof F & string, dims?: Record<string, number>): Promise<number>;
  /**
   * The program with only these functions, and the state that they use.
   *
   * @throws CaudalError `name`: there is no such function.
   */
  select<N extends keyof F & string>(functions: readonly N[]): Promise<Program<Pick<F, N>>>;
  /** The program without the source lines that errors name. */
  withoutLines(): Promise<Program<F>>;
  /** The bytes of the file. */
  save(): Promise<Uint8Array>;
  /** What it holds, as text; with `graph` also the graph of each function. */
  text(options?: { graph?: boolean }): Promise<string>;
  /** A session of it; see `load` for the options. */
  session(options?: SessionOptions): Promise<Session<F>>;
  /** Frees it. Sessions made of it stay. */
  dispose(): void;
  [Symbol.dispose](): void;
}

const JSON_FORMAT = 1;
const TEXT_FORMAT = 2;
const GRAPHS_FORMAT = 3;

/** The program in an instance of this thread. */
export class LocalProgram<F extends Functions = Functions> implements Program<F> {
  #info: ProgramInfo | undefined;

  /** @internal */
  constructor(readonly handle: Handle) {
    owns(this, handle);
  }

  get functions(): ProgramInfo["functions"] {
    return this.info.functions;
  }

  get state(): ProgramInfo["state"] {
    return this.info.state;
  }

  get metadata(): any {
    return structuredClone(this.info.metadata);
  }

  /** @internal */
  get info(): ProgramInfo {
    this.#info ??= infoOf(this.json());
    return this.#info;
  }

  /** @internal What it says of itself, as the core's JSON. */
  json(): string {
    return this.#text(JSON_FORMAT);
  }

  async value(name: string): Promise<Tensor> {
    const { instance, pointer } = this.#live();
    const text = instance.begin().lay(name);
    return tensorOf(instance.own("cdl_tensor_free", "cdl_program_state", pointer, text.pointer, text.length));
  }

  async memory(name: keyof F & string, dims: Record<string, number> = {}): Promise<number> {
    const session = new LocalSession<F>(this, {});
    try {
      return await session.memory(name, dims);
    } finally {
      await session.dispose();
    }
  }

  async select<N extends keyof F & string>(functions: readonly N[]): Promise<LocalProgram<Pick<F, N>>> {
    const { instance, pointer } = this.#live();
    const names = instance.begin().layNames(functions);
    return new LocalProgram(instance.own("cdl_program_free", "cdl_program_select", pointer, names, functions.length));
  }

  async withoutLines(): Promise<LocalProgram<F>> {
    const { instance, pointer } = this.#live();
    return new LocalProgram(instance.begin().own("cdl_program_free", "cdl_program_without_lines", pointer));
  }

  async save(): Promise<Uint8Array> {
    const { instance, pointer } = this.#live();
    return instance.begin().bytes("cdl_program_write", pointer);
  }

  async text(options: { graph?: boolean } = {}): Promise<string> {
    checkOptions("text", options);
    const text = this.#text(TEXT_FORMAT);
    return options.graph ? `${text}\n${this.#text(GRAPHS_FORMAT)}` : text;
  }

  async session(options: SessionOptions = {}): Promise<Session<F>> {
    checkOptions("session", options);
    if (options.worker) {
      const bytes = await this.save();
      return loadInWorker<F>(options, (sink) => pour(bytes, {}, sink));
    }
    await openGpu(this.handle.instance, options.device);
    return new LocalSession<F>(this, options);
  }

  dispose(): void {
    disown(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #text(format: number): string {
    const { instance, pointer } = this.#live();
    return instance.begin().answer("cdl_program_info", pointer, format);
  }

  #live(): Handle {
    this.handle.use("program");
    return this.handle;
  }
}

interface InfoJson {
  functions: (Omit<FunctionInfo, "inputs" | "outputs"> & { inputs: SpecJson[]; outputs: SpecJson[] })[];
  state: { name: string; role: Role; spec: string; bytes: number }[];
  metadata: unknown;
}

type SpecJson = { name: string; spec: string };

/** What a program says of itself, from the core's JSON. */
export function infoOf(text: string): ProgramInfo {
  const json = JSON.parse(text) as InfoJson;
  const functions = json.functions.map(({ name, doc, inputs, outputs, reads, writes, ops }) => {
    const info = { name, doc, inputs: specs(inputs), outputs: specs(outputs), reads, writes, ops };
    return [name, info] as const;
  });
  const state = json.state.map((entry) => [entry.name, { ...entry, spec: parseSpec(entry.spec) }] as const);
  return { functions: table(functions), state: table(state), metadata: json.metadata };
}

function specs(entries: SpecJson[]): Record<string, Spec> {
  return table(entries.map(({ name, spec }) => [name, parseSpec(spec)]));
}

/** Things by name; a name may be any text, such as `__proto__`. */
export function table<T>(entries: Iterable<readonly [string, T]>): Record<string, T> {
  const found = Object.create(null) as Record<string, T>;
  for (const [name, entry] of entries) found[name] = entry;
  return found;
}

/** The entry of that name; throws `name` and lists what there is. */
export function lookUp<T>(what: string, entries: Readonly<Record<string, T>>, name: string): T {
  const found = entries[name];
  if (found === undefined) throw unknownName(what, name, Object.keys(entries));
  return found;
}
