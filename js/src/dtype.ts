import { failure } from "./errors.js";

/** The type of a tensor's elements. */
export type DType =
  | "bool"
  | "int8"
  | "int16"
  | "int32"
  | "int64"
  | "uint8"
  | "uint16"
  | "uint32"
  | "uint64"
  | "float16"
  | "bfloat16"
  | "float32"
  | "float64";

/** The array that a tensor's elements come in: bits for the two 16-bit floats, 0 and 1 for `bool`. */
export interface DataTypes {
  bool: Uint8Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  uint64: BigUint64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  float32: Float32Array;
  float64: Float64Array;
}

/** The array of a dtype's elements. */
export type DataOf<D extends DType> = DataTypes[D];

/** One element of a dtype: `bigint` for the 64-bit integers alone. */
export type ItemOf<D extends DType> = D extends "int64" | "uint64" ? bigint : D extends "bool" ? boolean : number;

/** Any typed array. */
export type TypedArray = DataTypes[DType] | Uint8ClampedArray;

interface Constructor {
  new (buffer: ArrayBufferLike, offset?: number, length?: number): DataTypes[DType];
  new (length: number): DataTypes[DType];
}

/** What is to be known of a dtype. */
export interface DTypeInfo {
  readonly name: DType;
  /** Its number in the C API. */
  readonly number: number;
  /** Bytes that an element takes. */
  readonly size: number;
  readonly kind: "bool" | "signed" | "unsigned" | "float";
  readonly array: Constructor;
}

const TABLE: readonly [DType, number, DTypeInfo["kind"], Constructor][] = [
  ["bool", 1, "bool", Uint8Array],
  ["int8", 1, "signed", Int8Array],
  ["int16", 2, "signed", Int16Array],
  ["int32", 4, "signed", Int32Array],
  ["int64", 8, "signed", BigInt64Array],
  ["uint8", 1, "unsigned", Uint8Array],
  ["uint16", 2, "unsigned", Uint16Array],
  ["uint32", 4, "unsigned", Uint32Array],
  ["uint64", 8, "unsigned", BigUint64Array],
  ["float16", 2, "float", Uint16Array],
  ["bfloat16", 2, "float", Uint16Array],
  ["float32", 4, "float", Float32Array],
  ["float64", 8, "float", Float64Array],
];

/** Every dtype, in the order of their numbers in the C API, which begin with 1. */
export const DTYPES: readonly DTypeInfo[] = TABLE.map(([name, size, kind, array], index) => ({
  name,
  number: index + 1,
  size,
  kind,
  array,
}));

const BY_NAME = new Map<string, DTypeInfo>(DTYPES.map((dtype) => [dtype.name, dtype]));

/** What is to be known of the dtype of that name; throws `dtype` if there is none. */
export function dtypeInfo(name: string): DTypeInfo {
  const found = BY_NAME.get(name);
  if (found) return found;
  throw failure("dtype", `no dtype is named '${name}'; there are ${[...BY_NAME.keys()].join(", ")}`, {
    argument: "dtype",
  });
}

/** The dtype of that number in the C API. */
export function numberedDType(number: number): DTypeInfo {
  const found = DTYPES[number - 1];
  if (!found) throw failure("internal", `the library gave a dtype of number ${number}`);
  return found;
}

const BY_ARRAY: Record<string, DType> = {
  Int8Array: "int8",
  Int16Array: "int16",
  Int32Array: "int32",
  BigInt64Array: "int64",
  Uint8Array: "uint8",
  Uint8ClampedArray: "uint8",
  Uint16Array: "uint16",
  Uint32Array: "uint32",
  BigUint64Array: "uint64",
  Float16Array: "float16",
  Float32Array: "float32",
  Float64Array: "float64",
};

/** The dtype of a typed array; undefined for any other value. */
export function arrayDType(value: unknown): DType | undefined {
  // By its tag: the array may come from another realm, and not every engine has a Float16Array.
  return ArrayBuffer.isView(value)
    ? BY_ARRAY[(value as unknown as { [Symbol.toStringTag]: string })[Symbol.toStringTag]]
    : undefined;
}
