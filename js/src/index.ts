/** Numerical computing and deep learning on dataflow graphs: programs that run and train in Node and browsers. */

export type { Input, Plain, ShapedData } from "./convert.js";
export type { DType, DataOf, ItemOf, TypedArray } from "./dtype.js";
export { CaudalError, type Code, type Location } from "./errors.js";
export { bfloat16Bits, bfloat16Values, float16Bits, float16Values } from "./half.js";
export type { Limits } from "./limits.js";
export { type LoadOptions, load, open } from "./load.js";
export type { FunctionInfo, Program, Role, StateInfo } from "./program.js";
export type { Report, RunOptions, Session, SessionOptions } from "./session.js";
export type { Source } from "./source.js";
export type { Dim, Spec } from "./spec.js";
export { type Tensor, tensor } from "./tensor.js";
export type { CallArguments, DTypes, Functions, Inputs, Outputs } from "./types.js";
export { type Configuration, type WasmSource, configure, init } from "./wasm.js";
