/** What becomes of the values that users give: numbers, lists, typed arrays. */

import {
  type DType,
  type DTypeInfo,
  type DataOf,
  type ItemOf,
  type TypedArray,
  arrayDType,
  dtypeInfo,
} from "./dtype.js";
import { failure } from "./errors.js";
import { fromBFloat16, fromFloat16, toBFloat16, toFloat16 } from "./half.js";
import type { Operands } from "./instance.js";
import { type Spec, shapeText, specText } from "./spec.js";
import { Tensor } from "./tensor.js";

/** A number, or lists of them: what has no dtype of its own. */
export type Plain = number | bigint | boolean | readonly Plain[];

/** Elements with a shape. Of `float16`, `bfloat16` and `bool` the `dtype` says so. */
export interface ShapedData<D extends DType = DType> {
  readonly data: DataOf<D> | readonly Plain[];
  readonly shape?: readonly number[];
  readonly dtype?: D;
}

/** What an input or state of a dtype can be given as. */
export type Input<D extends DType = DType> = Plain | DataOf<D> | Tensor<D> | ShapedData<D>;

/** Elements in the memory of JavaScript, not copied. */
export interface Elements {
  readonly dtype: DTypeInfo;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Whether a value has no dtype of its own. */
export function isPlain(value: unknown): value is Plain {
  const type = typeof value;
  return type === "number" || type === "boolean" || type === "bigint" || (Array.isArray(value) && value.every(isPlain));
}

/** The dtype that numbers and lists take by themselves: `float32`; all bools are `bool`, all bigints `int64`. */
export function plainDType(values: readonly Plain[]): DTypeInfo {
  const kinds = new Set<string>();
  const look = (value: Plain): void => {
    if (typeof value === "object") value.forEach(look);
    else kinds.add(typeof value);
  };
  values.forEach(look);
  const only = kinds.size === 1 ? [...kinds][0] : "number";
  return dtypeInfo(only === "boolean" ? "bool" : only === "bigint" ? "int64" : "float32");
}

/** Numbers or lists of them as elements of a dtype; throws `dtype` for what it does not hold, `shape` if ragged. */
export function plain(value: Plain, dtype: DTypeInfo): Elements {
  if (typeof value !== "object") {
    const array = new dtype.array(1);
    array[0] = stored(value, dtype, false);
    return { dtype, shape: [], bytes: bytesOf(array) };
  }
  const shape: number[] = [];
  for (let level: Plain | undefined = value; typeof level === "object"; level = level[0]) shape.push(level.length);
  const array = new dtype.array(shape.reduce((product, size) => product * size, 1));
  fill(value, 0);
  return { dtype, shape, bytes: bytesOf(array) };

  function fill(list: readonly Plain[], axis: number, start = 0): number {
    if (list.length !== shape[axis]) throw failure("shape", "the lists have different lengths");
    let at = start;
    for (const entry of list) {
      if ((typeof entry === "object") !== axis + 1 < shape.length) {
        throw failure("shape", "the lists have different lengths");
      }
      if (typeof entry === "object") at = fill(entry, axis + 1, at);
      else array[at++] = stored(entry, dtype, true);
    }
    return at;
  }
}

/** A number as it stands in the array of a dtype. */
function stored(value: number | bigint | boolean, dtype: DTypeInfo, listed: boolean): never {
  // Arrays of numbers and of bigints have no type in common.
  return number(value, dtype, listed) as never;
}

function number(value: number | bigint | boolean, dtype: DTypeInfo, listed: boolean): number | bigint {
  if (dtype.kind === "float") {
    if (dtype.name === "float16") return toFloat16(Number(value));
    return dtype.name === "bfloat16" ? toBFloat16(Number(value)) : Number(value);
  }
  if (typeof value === "boolean") return dtype.size === 8 ? BigInt(value) : Number(value);
  const whole = typeof value === "bigint" || Number.isInteger(value);
  if (!whole || dtype.kind === "bool") {
    const what = whole ? "an integer" : "a float";
    const shown = listed ? `the list holds ${what}` : `${value} is ${what}`;
    throw failure("dtype", `${shown}, which ${dtype.name} does not hold; cast one of them`);
  }
  const bits = BigInt(8 * dtype.size);
  const exact = BigInt(value);
  const [least, above] = dtype.kind === "unsigned" ? [0n, 1n << bits] : [-(1n << (bits - 1n)), 1n << (bits - 1n)];
  if (exact < least || exact >= above) throw failure("dtype", `${value} is out of range for ${dtype.name}`);
  return dtype.size === 8 ? exact : Number(value);
}

/** The bytes of an array, not copied. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** The first element of an array of a dtype as users see it. */
export function itemOf(array: DataOf<DType>, dtype: DType): ItemOf<DType> {
  const value = array[0]!;
  if (dtype === "bool") return value !== 0;
  if (dtype === "float16") return fromFloat16(value as number);
  return dtype === "bfloat16" ? fromBFloat16(value as number) : value;
}

/** A typed array as elements. `dtype` says what its bits are, where the array does not. */
function typed(array: TypedArray, shape: readonly number[] | undefined, dtype: DType | undefined): Elements {
  const own = arrayDType(array)!;
  const bits: Partial<Record<DType, DType>> = { bool: "uint8", float16: "uint16", bfloat16: "uint16" };
  if (dtype !== undefined && dtype !== own && bits[dtypeInfo(dtype).name] !== own) {
    throw failure("dtype", `the data is ${own}, not ${dtype}; write ${castText(dtype)}`, { argument: "data" });
  }
  if (dtype === "bool" && (array as Uint8Array).some((byte) => byte > 1)) {
    throw failure("argument", "a bool is 0 or 1, the data has another byte", { argument: "data" });
  }
  return shaped({ dtype: dtypeInfo(dtype ?? own), shape: [array.length], bytes: bytesOf(array) }, shape);
}

/** How to make an array of a dtype of another one. */
function castText(dtype: DType, name = "data"): string {
  if (dtype === "float16" || dtype === "bfloat16") return `${dtype}Bits(${name})`;
  const { array } = dtypeInfo(dtype);
  const entry = dtype === "int64" || dtype === "uint64" ? `${name}, BigInt` : name;
  return `${(array as unknown as { name: string }).name}.from(${entry})`;
}

/** The elements in another shape of as many. */
function shaped(elements: Elements, shape: readonly number[] | undefined): Elements {
  if (shape === undefined) return elements;
  if (!Array.isArray(shape)) {
    const text = `the shape is ${shown(shape)}, not a list of sizes such as [2, 3]`;
    throw failure("argument", text, { argument: "shape" });
  }
  const wrong = shape.findIndex((size) => !Number.isSafeInteger(size) || size < 0);
  if (wrong >= 0) {
    throw failure("argument", `${shown(shape[wrong])} is not a size`, { argument: "shape" });
  }
  const count = elements.bytes.length / elements.dtype.size;
  if (shape.reduce((product, size) => product * size, 1) !== count) {
    const text = `the data has ${count} elements, which the shape ${shapeText(shape)} has not`;
    throw failure("shape", text, { argument: "shape" });
  }
  return { ...elements, shape };
}

/** The elements of anything but tensors; numbers and lists take `like`, or what is usual for them. */
export function elements(value: unknown, like?: DTypeInfo, shape?: readonly number[], dtype?: DType): Elements {
  if (arrayDType(value)) return typed(value as TypedArray, shape, dtype);
  if (isPlain(value)) {
    const wanted = dtype === undefined ? (like ?? plainDType([value])) : dtypeInfo(dtype);
    return shaped(plain(value, wanted), shape);
  }
  if (isShaped(value)) {
    const { data, shape: own = shape, dtype: said = dtype } = value;
    if (!isShaped(data)) return elements(data, like, own, said);
  }
  const why = noElements(isShaped(value) ? value.data : value);
  throw failure("argument", `${why}; caudal takes tensors, typed arrays, numbers and lists of numbers`);
}

/** Why a value has no elements: of lists, why the first entry that is at fault has none. */
function noElements(value: unknown): string {
  if (Array.isArray(value)) {
    const entry = value.find((each) => !isPlain(each));
    return arrayDType(entry) || entry instanceof Tensor ? `the list holds a ${described(entry)}` : noElements(entry);
  }
  return value instanceof Tensor ? "a tensor has a shape of its own" : `${described(value)} is not an array`;
}

function isShaped(value: unknown): value is ShapedData {
  return typeof value === "object" && value !== null && "data" in value && !(value instanceof Tensor);
}

/** What a value is, for messages. */
export function described(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" ? (value.constructor?.name ?? "object") : typeof value;
}

/** A number or text as it would be written, for messages; of other values what they are. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "number" ? String(value) : described(value);
}

/** Whether a value says its dtype itself. */
function ownDType(value: unknown): boolean {
  return !isPlain(value) && !(isShaped(value) && value.dtype === undefined && isPlain(value.data));
}

/**
 * An input as a tensor or elements. Numbers and lists take the spec's dtype; what has a dtype must have it, or the
 * error `dtype` says the cast to write. What else does not fit is left to the core.
 */
export function fit(value: unknown, spec: Spec, name: string, op: string): Tensor | Elements {
  const wanted = dtypeInfo(spec.dtype);
  let found: Tensor | Elements;
  let given: DType;
  if (value instanceof Tensor) {
    found = value;
    given = value.dtype;
  } else {
    try {
      found = elements(value, wanted);
    } catch (error) {
      throw named(error, name, op);
    }
    given = found.dtype.name;
    if (!ownDType(value) || given === wanted.name) return found;
  }
  if (given === wanted.name) return found;
  const cast = found instanceof Tensor ? `ops.cast(${name}, { dtype: "${spec.dtype}" })` : castText(spec.dtype, name);
  const text = `${name} is ${given}${shapeText(found.shape)}, expected ${specText(spec)}; write ${cast}`;
  throw failure("dtype", text, { op, argument: name });
}

/** The same error with the input that it is about. */
function named(error: unknown, name: string, op: string): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  return failure((error as ReturnType<typeof failure>).code, `${name}: ${error.message}`, { op, argument: name });
}

/** Adds a tensor or elements to what a call takes. */
export function addOperand(operands: Operands, value: Tensor | Elements): void {
  if (value instanceof Tensor) value.lend(operands);
  else operands.temporary(operands.instance.tensor(value.dtype, value.shape, value.bytes.length, value.bytes));
}
