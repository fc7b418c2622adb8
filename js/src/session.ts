import { type Elements, type Input, addOperand, described, elements, fit } from "./convert.js";
import { dtypeInfo } from "./dtype.js";
import { CaudalError, failure, reworded } from "./errors.js";
import { Handle, type Instance, Operands, disown, owns } from "./instance.js";
import { type Limits, limitsOf } from "./limits.js";
import { checkOptions } from "./options.js";
import { giveWay, isDue, timed, until } from "./pace.js";
import { PIECE_SECONDS } from "./platform.js";
import { type FunctionInfo, LocalProgram, type Program, lookUp } from "./program.js";
import { Tensor, tensorOf } from "./tensor.js";
import { Turns } from "./turns.js";
import { type CallArguments, type Functions, type Outputs, outputsOf } from "./types.js";

/** How a session is made. */
export interface SessionOptions extends Limits {
  /** `"cpu"`, `"gpu:0"`, or `"auto"`: a hardware GPU, else the CPU. */
  device?: string | undefined;
  /** Whether it is an error if something would run elsewhere than on the device. */
  strict?: boolean | undefined;
  /**
   * Whether calls are checked, for finding mistakes: they are slower, and an index outside of its axis, an integer
   * divided by 0, a cast that does not fit or a new NaN is an error with the line.
   */
  debug?: boolean | undefined;
  /** Whether it runs in a Worker of its own: the same interface, and nothing in this thread waits. */
  worker?: boolean | undefined;
}

/** What a call may spend; what is left out is limited by the session's. */
export interface RunOptions extends Limits {
  /** Cancels the call when it aborts: the state is as before, and the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** A step of a function on a device. */
export interface Step {
  readonly op: string;
  /** The device that runs it. */
  readonly device: string;
  /** Why that is not the session's; of control flow, what it waits for. */
  readonly why?: string;
  /** Where the user's code made it. */
  readonly file?: string;
  readonly line?: number;
}

/** Where each function runs: `"cpu"`, or on a device its steps, at the sizes of the last call. */
export type Placement = Readonly<Record<string, string | readonly Step[]>>;

/** What making a function ready took, which its first calls wait for. */
export interface Preparation {
  /** The time of passes and plan, and of each new set of sizes; a browser's time to compile shaders is not in it. */
  readonly seconds: number;
  /** How many sets of sizes it was made ready for. */
  readonly sizes: number;
  /** How many shaders were compiled for it on a GPU. */
  readonly pipelines: number;
}

/** What a session did. */
export interface Report {
  readonly device: string;
  /** The device of each function. */
  readonly placement: Readonly<Record<string, string>>;
  /** Bytes under the session's limits: the limit (0 is none), what is in use now and what was at most. */
  readonly memory: { readonly limit: number; readonly used: number; readonly peak: number };
  /** Of each function that was made ready, what that took. */
  readonly preparation: Readonly<Record<string, Preparation>>;
  readonly notes: readonly string[];
}

/**
 * A program with live state; `load` and `Program.session` make it.
 *
 * Calls may be made beside each other: those that write state run one after the other in the order they were made,
 * the others go beside them and see one whole version of it. A call that fails or is cancelled leaves the state as it
 * was.
 */
export interface Session<F extends Functions = Functions> {
  /** The program that it was made of. */
  readonly program: Program<F>;
  /** The device that it runs on. */
  readonly device: string;
  /**
   * Calls a function with inputs by name, which are read before this returns.
   *
   * @returns The outputs by name.
   * @throws CaudalError `name`: no such function or input; `argument`: an input is missing; `dtype`, `shape`: one does
   *   not fit; `deadline`, `memory`: a limit; `closed`: the session is.
   */
  run<N extends keyof F & string>(
    name: N,
    ...rest: CallArguments<F[N]["inputs"], RunOptions>
  ): Promise<Outputs<F[N]["outputs"]>>;
  /** As `run`, at once; nothing else happens in this thread meanwhile. Not for a session in a Worker or on a GPU. */
  runSync<N extends keyof F & string>(
    name: N,
    ...rest: CallArguments<F[N]["inputs"], Limits>
  ): Outputs<F[N]["outputs"]>;
  /**
   * The value of state now; it stays as it was.
   *
   * @throws CaudalError `name`: there is no such state.
   */
  state(name: string): Promise<Tensor>;
  /**
   * Sets state, all of it or, on an error, none; waits for runs that write it. Numbers and lists take its dtype.
   *
   * @throws CaudalError `name`, `dtype`, `shape`.
   */
  setState(values: Readonly<Record<string, Input>>): Promise<void>;
  /** A program with the state of this moment, made without a copy: to save, undo, clone. */
  snapshot(): Promise<Program<F>>;
  /**
   * Takes the state of a program by name; waits for runs that write it.
   *
   * @param from - A snapshot, any program or safetensors file with weights, or a session.
   * @param options - `strict`: both must have the same names; else what both have is taken.
   * @throws CaudalError `name`, `dtype`, `shape`; nothing is changed then.
   */
  restore(from: Program | Session, options?: { strict?: boolean }): Promise<void>;
  /** The bytes of a file with the state of this moment. */
  save(): Promise<Uint8Array>;
  /** As `Program.memory`. */
  memory(name: keyof F & string, dims?: Record<string, number>): Promise<number>;
  /** Where each function runs. */
  placement(): Promise<Placement>;
  /**
   * The graph that a call of a function runs, as text: what was fused is one node, `fused`. A comment after it, or
   * after a node that could be in one, says which node ends it and why: `# ends at %5: dot_general begins its cluster`.
   *
   * @throws CaudalError `name`: there is no such function.
   */
  explain(name: keyof F & string): Promise<string>;
  /** What it did. */
  report(): Promise<Report>;
  /** Waits for the calls that were made; later ones get `closed`. It may be called twice. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A function of a session, with what a call needs at hand. */
interface Callable {
  readonly info: FunctionInfo;
  readonly pointer: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly writes: boolean;
}

/** The session in an instance of this thread. */
export class LocalSession<F extends Functions = Functions> implements Session<F> {
  readonly device: string;
  readonly #instance: Instance;
  readonly #handle: Handle;
  readonly #functions = new Map<string, Callable>();
  readonly #turns = new Turns();
  /** Seconds that a call may take which says nothing of them; 0 is no limit. */
  readonly #seconds: number;
  #running = 0;
  #closed = false;
  #ended: Promise<void> | undefined;
  #end: (() => void) | undefined;

  /** @internal */
  constructor(
    readonly program: LocalProgram<F>,
    options: SessionOptions,
    limits?: Handle,
  ) {
    const { instance } = program.handle;
    const pointer = program.handle.use("program");
    const given = limits ?? limitsOf(instance, options);
    const { device = "cpu", strict = false, debug = false } = options;
    const text = JSON.stringify(debug || strict ? { device, strict, debug } : { device });
    const laid = instance.begin().lay(text);
    this.#instance = instance;
    this.#seconds = options.seconds ?? 0;
    try {
      this.#handle = instance.own(
        "cdl_session_free",
        "cdl_program_session",
        pointer,
        laid.pointer,
        laid.length,
        given?.pointer ?? 0,
      );
    } finally {
      if (!limits) given?.free();
    }
    owns(this, this.#handle);
    const report = this.#report();
    this.device = report.device;
    for (const note of report.notes) console.warn(note);
  }

  async run<N extends keyof F & string>(
    name: N,
    ...rest: CallArguments<F[N]["inputs"], RunOptions>
  ): Promise<Outputs<F[N]["outputs"]>> {
    const callable = this.#callable(name);
    checkOptions("run", rest[1]);
    const { signal, ...limits } = rest[1] ?? {};
    signal?.throwIfAborted();
    const operands = this.#operands(callable, rest[0] ?? {});
    this.#running++;
    try {
      const tensors = callable.writes
        ? await this.#inTurn(signal, (waited) => this.#drive(callable, operands, signal, left(limits, waited)))
        : await this.#drive(callable, operands, signal, limits);
      return outputsOf(callable.outputs, tensors) as unknown as Outputs<F[N]["outputs"]>;
    } finally {
      operands.release();
      this.#done();
    }
  }

  runSync<N extends keyof F & string>(
    name: N,
    ...rest: CallArguments<F[N]["inputs"], Limits>
  ): Outputs<F[N]["outputs"]> {
    const callable = this.#callable(name);
    checkOptions("runSync", rest[1]);
    if (this.device !== "cpu") throw failure("unsupported", `a session on ${this.device} has no runSync; use run`);
    const operands = this.#operands(callable, rest[0] ?? {});
    try {
      const begun = this.#begin(callable, operands, rest[1], false) as Tensor[];
      return outputsOf(callable.outputs, begun) as unknown as Outputs<F[N]["outputs"]>;
    } finally {
      operands.release();
    }
  }

  async state(name: string): Promise<Tensor> {
    const instance = this.#open();
    const text = instance.begin().lay(name);
    return tensorOf(
      instance.own("cdl_tensor_free", "cdl_session_state", this.#handle.pointer, text.pointer, text.length),
    );
  }

  async setState(values: Readonly<Record<string, Input>>): Promise<void> {
    const instance = this.#open();
    const names = Object.keys(values);
    const operands = new Operands(instance);
    this.#running++;
    try {
      for (const name of names) addOperand(operands, fitState(name, values[name], this.program));
      const set = () => {
        const pointers = instance.begin().layNames(names);
        const tensors = instance.layWords(operands.pointers);
        instance.check(instance.raw.cdl_session_set_state(this.#handle.pointer, pointers, tensors, names.length));
      };
      await this.#inTurn(undefined, () => instance.settled(set));
    } finally {
      operands.release();
      this.#done();
    }
  }

  async snapshot(): Promise<LocalProgram<F>> {
    return this.#snapshot();
  }

  async restore(from: Program | Session, options: { strict?: boolean } = {}): Promise<void> {
    const instance = this.#open();
    checkOptions("restore", options);
    this.#running++;
    try {
      const given = await programOf(from);
      const operands = new Operands(instance);
      if (given instanceof LocalProgram && given.handle.instance === instance) {
        given.handle.use("program");
        operands.pinned(given.handle);
      } else {
        operands.temporary(readProgram(instance, await given.save()));
      }
      try {
        await this.#inTurn(undefined, () => {
          const strict = Number(options.strict ?? false);
          instance.check(instance.raw.cdl_session_restore(this.#handle.pointer, operands.pointers[0]!, strict));
        });
      } finally {
        operands.release();
      }
    } finally {
      this.#done();
    }
  }

  async save(): Promise<Uint8Array> {
    const snapshot = await this.#snapshot();
    try {
      return await snapshot.save();
    } finally {
      snapshot.dispose();
    }
  }

  async memory(name: keyof F & string, dims: Record<string, number> = {}): Promise<number> {
    const { pointer } = this.#callable(name);
    const text = this.#instance.begin().lay(JSON.stringify(dims));
    const plan = this.#instance.answer("cdl_function_plan", pointer, text.pointer, text.length);
    return (JSON.parse(plan) as { memory: number }).memory;
  }

  async placement(): Promise<Placement> {
    const text = this.#open().begin().answer("cdl_session_placement", this.#handle.pointer);
    return JSON.parse(text) as Placement;
  }

  async explain(name: keyof F & string): Promise<string> {
    const { pointer } = this.#callable(name);
    return this.#instance.begin().answer("cdl_function_explain", pointer);
  }

  async report(): Promise<Report> {
    this.#open();
    return this.#report();
  }

  dispose(): Promise<void> {
    this.#closed = true;
    this.#ended ??= this.#close();
    return this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #close(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#end = resolve));
    disown(this.#handle);
  }

  #done(): void {
    this.#running--;
    if (this.#running === 0) this.#end?.();
  }

  #open(): Instance {
    if (this.#closed) throw failure("closed", "the session is closed");
    return this.#instance;
  }

  #report(): Report {
    return JSON.parse(this.#instance.begin().answer("cdl_session_report", this.#handle.pointer)) as Report;
  }

  async #snapshot(): Promise<LocalProgram<F>> {
    const instance = this.#open();
    const take = () => instance.begin().own("cdl_program_free", "cdl_session_snapshot", this.#handle.pointer);
    if (this.device === "cpu") return new LocalProgram<F>(take());
    this.#running++;
    try {
      // In turn, or each run that writes meanwhile would make other state to wait for.
      return new LocalProgram<F>(await this.#inTurn(undefined, () => instance.settled(take)));
    } finally {
      this.#done();
    }
  }

  #callable(name: string): Callable {
    const instance = this.#open();
    let found = this.#functions.get(name);
    if (!found) {
      const info = lookUp("function", this.program.functions, name);
      const text = instance.begin().lay(name);
      const pointer = instance.out("cdl_session_function", this.#handle.pointer, text.pointer, text.length);
      const [inputs, outputs] = [Object.keys(info.inputs), Object.keys(info.outputs)];
      found = { info, pointer, inputs, outputs, writes: info.writes.length > 0 };
      this.#functions.set(name, found);
    }
    return found;
  }

  /** The inputs in order, fitted to their specs. */
  #operands(callable: Callable, given: Readonly<Record<string, unknown>>): Operands {
    const operands = new Operands(this.#instance);
    try {
      for (const value of fitInputs(callable.info, callable.inputs, given)) addOperand(operands, value);
    } catch (error) {
      operands.release();
      throw error;
    }
    return operands;
  }

  /** Does something when no run writes state; tells it how many seconds it waited. */
  async #inTurn<T>(signal: AbortSignal | undefined, work: (waited: number) => T | Promise<T>): Promise<T> {
    let waited = 0;
    if (!this.#turns.tryTake()) {
      const start = performance.now();
      await this.#turns.take(signal);
      waited = (performance.now() - start) / 1000;
    }
    try {
      return await work(waited);
    } finally {
      this.#turns.give();
    }
  }

  /** Runs a function in pieces, between which the event loop turns. */
  async #drive(
    callable: Callable,
    operands: Operands,
    signal: AbortSignal | undefined,
    spend: Limits,
  ): Promise<Tensor[]> {
    const seconds = spend.seconds || this.#seconds;
    const deadline = seconds ? performance.now() + 1000 * seconds : Infinity;
    const begun = await this.#instance.settled(() => timed(() => this.#begin(callable, operands, spend, true)));
    const tensors = typeof begun === "number" ? await this.#finish(callable, begun, signal, deadline) : begun;
    if (isDue()) await giveWay();
    await this.#instance.pace();
    return tensors;
  }

  async #finish(
    callable: Callable,
    call: number,
    signal: AbortSignal | undefined,
    deadline: number,
  ): Promise<Tensor[]> {
    try {
      for (;;) {
        const awaited = this.#instance.awaited();
        if (!awaited) await giveWay();
        else if (!(await until(awaited, signal, deadline))) this.#instance.giveUp(awaited);
        signal?.throwIfAborted();
        const tensors = timed(() => this.#resume(callable, call));
        if (tensors) return tensors;
      }
    } finally {
      // One that has not come to its end is cancelled by this.
      if (!this.#instance.trap) this.#instance.raw.cdl_call_free(call);
    }
  }

  /** Begins a call; gives its outputs, or where it has not come to its end in a piece, the rest of it. */
  #begin(callable: Callable, operands: Operands, spend: Limits | undefined, inPieces: boolean): Tensor[] | number {
    const instance = this.#instance;
    const limits = spend && limitsOf(instance, spend);
    instance.begin();
    const inputs = instance.layWords(operands.pointers);
    const outputs = instance.reserve(callable.outputs.length * 4);
    const rest = inPieces ? instance.reserve(4) : 0;
    const { pointer } = callable;
    const count = callable.outputs.length;
    try {
      instance.check(
        instance.raw.cdl_function_run(
          pointer,
          inputs,
          operands.pointers.length,
          limits?.pointer ?? 0,
          outputs,
          count,
          rest,
        ),
      );
    } finally {
      limits?.free();
    }
    const unfinished = rest && instance.words[rest >>> 2]!;
    return unfinished || this.#tensors(outputs, count);
  }

  /** Goes on with a call for a piece; gives its outputs if it has come to its end. */
  #resume(callable: Callable, call: number): Tensor[] | undefined {
    const instance = this.#instance.begin();
    const count = callable.outputs.length;
    const outputs = instance.reserve(count * 4);
    const done = instance.reserve(4);
    instance.check(instance.raw.cdl_call_resume(call, PIECE_SECONDS, outputs, count, done));
    return instance.words[done >>> 2] ? this.#tensors(outputs, count) : undefined;
  }

  #tensors(outputs: number, count: number): Tensor[] {
    const tensors = new Array<Tensor>(count);
    for (let index = 0; index < count; index++) {
      const pointer = this.#instance.words[(outputs >>> 2) + index]!;
      tensors[index] = tensorOf(new Handle(this.#instance, pointer, "cdl_tensor_free"));
    }
    return tensors;
  }
}

/** A program read from bytes, which are copied once. */
export function readProgram(instance: Instance, bytes: Uint8Array, limits?: Handle): Handle {
  const file = instance.tensor(dtypeInfo("uint8"), [bytes.length], bytes.length, bytes);
  try {
    return instance.begin().own("cdl_program_free", "cdl_program_read_tensor", file.pointer, limits?.pointer ?? 0);
  } finally {
    file.free();
  }
}

/** The program that state is taken from: itself, or a snapshot of a session. */
export async function programOf(from: Program | Session): Promise<Program> {
  const given: { snapshot?: unknown; save?: unknown } | undefined | null = from;
  if (typeof given?.save === "function") return "snapshot" in given ? (from as Session).snapshot() : (from as Program);
  const text = `${described(from)} is neither a program nor a session; open a file with open(...)`;
  throw failure("argument", text, { op: "restore", argument: "from" });
}

/** What is left of a call's limits after it waited for others; hardly a second's part if nothing is. */
function left(limits: Limits, waited: number): Limits {
  return limits.seconds ? { ...limits, seconds: Math.max(limits.seconds - waited, 1e-9) } : limits;
}

/** The inputs of a function in order, fitted to their specs. */
export function fitInputs(
  info: FunctionInfo,
  names: readonly string[],
  given: Readonly<Record<string, unknown>>,
): (Tensor | Elements)[] {
  const takes = () => `it takes ${names.join(", ") || "no inputs"}`;
  const keys = Object.keys(given);
  for (const key of keys) {
    if (key in info.inputs) continue;
    throw failure("name", `there is no input '${key}'; ${takes()}`, { op: info.name, argument: key });
  }
  return names.map((name) => {
    if (!Object.hasOwn(given, name) || given[name] === undefined) {
      throw failure("argument", `the input ${name} is missing; ${takes()}`, { op: info.name, argument: name });
    }
    return fit(given[name], info.inputs[name]!, name, info.name);
  });
}

/** A new value of state; the core refuses another dtype or shape. */
export function fitState(name: string, value: unknown, program: Pick<Program, "state">): Tensor | Elements {
  const { spec } = lookUp("state", program.state, name);
  if (value instanceof Tensor) return value;
  try {
    return elements(value, dtypeInfo(spec.dtype));
  } catch (error) {
    if (!(error instanceof CaudalError)) throw error;
    throw reworded(error, `${name}: ${error.message}`, { argument: name });
  }
}
