/** Where ops go: to the core at once, or into the graph of their values. */

import {
  type Elements,
  type Plain,
  type ShapedData,
  addOperand,
  elements,
  isPlain,
  plain,
  plainDType,
} from "./convert.js";
import { type DType, type DTypeInfo, type TypedArray, dtypeInfo } from "./dtype.js";
import { CaudalError, failure, reworded } from "./errors.js";
import { Handle, type Instance, Operands, sharedInstance } from "./instance.js";
import { userLocation } from "./location.js";
import { Tensor, tensorOf, tensorOfElements } from "./tensor.js";
import type { Tracer } from "./tracer.js";
import { Value } from "./value.js";

/** What ops compute of at once: tensors, numbers and lists of them, typed arrays. */
export type Eager = Tensor | Plain | TypedArray | ShapedData;

/** What ops take: as `Eager`, and values of a graph. */
export type Operand = Eager | Value;

/** What `ops.ts` says of an op. */
export interface OpRecord {
  readonly name: string;
  /** The attrs whose names differ from those of the core. */
  readonly renamed?: Readonly<Record<string, string>>;
  /** For each input the dtype that numbers take; null is that of the others, "own" what is usual for them. */
  readonly numbers?: readonly (DType | "own" | null)[];
  /** The attr that is a tensor. */
  readonly tensor?: string;
}

/** The most outputs that an op has. */
const MAX_OUTPUTS = 16;
/** How many ops with attrs, and how many numbers, an instance keeps. */
const MAX_KEPT = 4096;

/** What an instance keeps for ops. */
class Table {
  readonly #ops = new Map<string, Handle>();
  readonly #numbers = new Map<string, Tensor>();

  constructor(readonly instance: Instance) {}

  /** The op with these attrs, made once. */
  op(name: string, attrs: string): Handle {
    const key = name + attrs;
    let op = this.#ops.get(key);
    if (!op) {
      this.instance.begin();
      const [laid, text] = [this.instance.lay(name), this.instance.lay(attrs)];
      op = this.instance.own("cdl_op_free", "cdl_op_new", laid.pointer, laid.length, text.pointer, text.length);
      if (this.#ops.size >= MAX_KEPT) this.#forget(this.#ops, (kept) => kept.free());
      this.#ops.set(key, op);
    }
    return op;
  }

  /** A number in a dtype, made once. */
  number(value: number | bigint | boolean, dtype: DTypeInfo): Tensor {
    const key = `${dtype.number} ${Object.is(value, -0) ? "-0" : value}`;
    let tensor = this.#numbers.get(key);
    if (!tensor) {
      tensor = tensorOfElements(plain(value, dtype));
      if (this.#numbers.size >= MAX_KEPT) this.#forget(this.#numbers, (kept) => kept.dispose());
      this.#numbers.set(key, tensor);
    }
    return tensor;
  }

  #forget<T>(kept: Map<string, T>, free: (entry: T) => void): void {
    for (const entry of kept.values()) free(entry);
    kept.clear();
  }
}

const tables = new WeakMap<Instance, Table>();

function tableOf(instance: Instance): Table {
  let table = tables.get(instance);
  if (!table) tables.set(instance, (table = new Table(instance)));
  return table;
}

/** The tracers that record at the moment, the innermost last. */
const active: Tracer[] = [];

/** Makes a tracer the innermost one while something runs. */
export function recording<T>(tracer: Tracer, work: () => T): T {
  active.push(tracer);
  try {
    return work();
  } finally {
    active.pop();
  }
}

/** Where an op on these operands is recorded; undefined where it is computed at once. */
export function tracerOf(operands: readonly unknown[]): Tracer | undefined {
  const owner = (operands.find((operand) => operand instanceof Value) as Value | undefined)?.tracer;
  return owner && (active.at(-1) ?? owner);
}

/** The op of a record with attrs, as an instance keeps it. */
export function opOf(instance: Instance, record: OpRecord, attrs: object | undefined): Handle {
  return tableOf(instance).op(record.name, attrs === undefined ? "" : attrsText(record, attrs));
}

/** Attrs as canonical JSON. */
function attrsText(record: OpRecord, attrs: object): string {
  const { renamed, tensor } = record;
  const entries = Object.entries(attrs).filter(([, value]) => value !== undefined);
  const parts = entries.map(([name, value]) => {
    const json = name === tensor ? tensorText(value as Eager) : attrText(value, name);
    return `${JSON.stringify(renamed?.[name] ?? name)}:${json}`;
  });
  return `{${parts.sort().join(",")}}`;
}

function attrText(value: unknown, name: string): string {
  if (typeof value === "bigint") return JSON.stringify(String(value));
  if (typeof value === "number") {
    if (Number.isFinite(value)) return Object.is(value, -0) ? "-0.0" : JSON.stringify(value);
    return JSON.stringify(value !== value ? "nan" : value > 0 ? "inf" : "-inf");
  }
  if (ArrayBuffer.isView(value)) return attrText([...(value as unknown as Iterable<number>)], name);
  if (Array.isArray(value)) return `[${value.map((entry) => attrText(entry, name)).join(",")}]`;
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined || value instanceof Value) {
    throw failure("argument", `${typeof value} cannot be an attr`, { argument: name });
  }
  return text;
}

/** A tensor in an attr. */
function tensorText(value: Eager): string {
  const tensor = value instanceof Tensor ? value : tensorOfElements(elements(value));
  const data = tensor.numbers().map((entry) => attrText(entry, "value"));
  return `{"data":[${data.join(",")}],"dtype":"${tensor.dtype}","shape":${JSON.stringify(tensor.shape)}}`;
}

/** An operand whose dtype is settled. */
type Settled = Tensor | Value | Elements | { number: number | bigint | boolean; dtype: DTypeInfo } | undefined;

/** The operands with the dtypes that numbers and lists take: that of the first that has one of its own. */
function settle(record: OpRecord, inputs: readonly (Operand | null | undefined)[]): Settled[] {
  const own = (index: number) => record.numbers?.[index] ?? null;
  const settled: Settled[] = [];
  const alone: Plain[] = [];
  let common: DTypeInfo | undefined;
  for (const [index, input] of inputs.entries()) {
    let found: Settled;
    if (input instanceof Tensor || input instanceof Value) found = input;
    else if (input !== null && input !== undefined && !isPlain(input)) found = elements(input);
    else if (isPlain(input) && own(index) === null) alone.push(input);
    settled.push(found);
    if (found && !common && own(index) === null) {
      common = found instanceof Tensor || found instanceof Value ? dtypeInfo(found.dtype) : found.dtype;
    }
  }
  const like = common ?? (alone.length ? plainDType(alone) : undefined);
  for (const [index, input] of inputs.entries()) {
    if (!isPlain(input)) continue;
    const wanted = own(index);
    const dtype = wanted === null ? like! : wanted === "own" ? usualDType(input) : dtypeInfo(wanted);
    if (typeof input === "object") {
      settled[index] = plain(input, dtype);
    } else {
      // Refuses now what the dtype does not hold.
      if (dtype.kind !== "float") plain(input, dtype);
      settled[index] = { number: input, dtype };
    }
  }
  return settled;
}

/** The dtype that is usual for numbers where integers mean another thing than fractions, such as classes. */
function usualDType(value: Plain): DTypeInfo {
  const dtype = plainDType([value]);
  const whole = (entry: Plain): boolean => (typeof entry === "object" ? entry.every(whole) : Number.isInteger(entry));
  return dtype.name === "float32" && whole(value) ? dtypeInfo("int64") : dtype;
}

/** Applies an op with one output. */
export function one(record: OpRecord, inputs: readonly (Operand | null | undefined)[], attrs?: object): Tensor | Value {
  return many(record, inputs, attrs)[0]!;
}

/** Applies an op: at once, or in the graph of its values. */
export function many(
  record: OpRecord,
  inputs: readonly (Operand | null | undefined)[],
  attrs?: object,
): Tensor[] | Value[] {
  const tracer = tracerOf(inputs);
  try {
    const settled = settle(record, inputs);
    return tracer ? recorded(tracer, record, settled, attrs) : run(record, settled, attrs);
  } catch (error) {
    throw located(error, record.name);
  }
}

/** The error with the op and the user's line, which the core knows in graphs alone. */
function located(error: unknown, op: string): unknown {
  if (!(error instanceof CaudalError) || error.location || error.code === "internal" || error.code === "closed")
    return error;
  const location = userLocation();
  const text =
    error.op === undefined && !error.message.startsWith(`${op}: `) ? `${op}: ${error.message}` : error.message;
  if (!location) return reworded(error, text, { op: error.op ?? op });
  return reworded(error, `${text} (${location.file}:${location.line})`, { op: error.op ?? op, location });
}

function recorded(tracer: Tracer, record: OpRecord, settled: readonly Settled[], attrs: object | undefined): Value[] {
  const table = tableOf(tracer.instance);
  const ids = settled.map((operand) => {
    if (operand === undefined) return undefined;
    if (operand instanceof Tensor || operand instanceof Value) return tracer.lift(operand);
    if (!("number" in operand)) return tracer.lift(tensorOfElements(operand));
    const { number, dtype } = operand;
    return tracer.number(number, dtype, () => table.number(number, dtype));
  });
  return tracer.apply(opOf(tracer.instance, record, attrs), ids);
}

function run(record: OpRecord, settled: readonly Settled[], attrs: object | undefined): Tensor[] {
  const instance = sharedInstance();
  const table = tableOf(instance);
  const op = opOf(instance, record, attrs);
  const operands = new Operands(instance);
  try {
    for (const operand of settled) {
      if (operand === undefined) operands.pointers.push(0);
      else if (operand instanceof Tensor) operand.lend(operands);
      else if ("number" in operand) table.number(operand.number, operand.dtype).lend(operands);
      else addOperand(operands, operand as Elements);
    }
    return callEager(instance, op, operands);
  } finally {
    operands.release();
  }
}

function callEager(instance: Instance, op: Handle, operands: Operands): Tensor[] {
  instance.begin();
  const inputs = instance.layWords(operands.pointers);
  const outputs = instance.reserve(MAX_OUTPUTS * 4);
  const count = instance.reserve(4);
  const n = operands.pointers.length;
  instance.check(instance.raw.cdl_eager(op.pointer, inputs, n, 0, outputs, MAX_OUTPUTS, count));
  const start = outputs >>> 2;
  const pointers = instance.words.slice(start, start + instance.words[count >>> 2]!);
  return Array.from(pointers, (pointer) => tensorOf(new Handle(instance, pointer, "cdl_tensor_free")));
}

/** A tensor of what ops compute of at once. */
export function asTensor(value: Eager): Tensor {
  return value instanceof Tensor ? value : tensorOfElements(elements(value));
}

/** As `asTensor`; numbers and lists take a dtype. */
export function typedLike(value: Eager, dtype: DType | undefined): Tensor {
  if (value instanceof Tensor) return value;
  return tensorOfElements(elements(value, dtype === undefined ? undefined : dtypeInfo(dtype)));
}
