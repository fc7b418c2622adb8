/// <reference lib="esnext.disposable" preserve="true" />
/** Numerical computing and deep learning on dataflow graphs: programs that run and train in Node and browsers. */

export { type Like, type Tree, cond, scan, whileLoop } from "./control.js";
export type { Input, Plain, ShapedData } from "./convert.js";
export type { Eager, Operand } from "./dispatch.js";
export type { DType, DataOf, ItemOf, TypedArray } from "./dtype.js";
export { CaudalError, type Code, type Location } from "./errors.js";
export { Graph, type GraphFunction, type GraphOutputs } from "./graph.js";
export { bfloat16Bits, bfloat16Values, float16Bits, float16Values } from "./half.js";
export { devices } from "./info.js";
export type { Limits } from "./limits.js";
export { type LoadOptions, load, open } from "./load.js";
export * as ops from "./ops.js";
export {
  type AdagradOptions,
  type AdamOptions,
  type AdamwOptions,
  type Optimizer,
  type OptimizerOptions,
  type RmspropOptions,
  type Schedule,
  type SgdOptions,
  adagrad,
  adam,
  adamw,
  constantSchedule,
  cosineSchedule,
  exponentialSchedule,
  rmsprop,
  sgd,
} from "./optimizers.js";
export type { FunctionInfo, Program, Role, StateInfo } from "./program.js";
export { randomKey } from "./random.js";
export type { Placement, Preparation, Report, RunOptions, Session, SessionOptions, Step } from "./session.js";
export type { Source } from "./source.js";
export { type Dim, type Spec, parseSpec } from "./spec.js";
export { type Tensor, tensor } from "./tensor.js";
export type { CallArguments, DTypes, Functions, Inputs, Outputs } from "./types.js";
export type { Notes } from "./tracer.js";
export type { Value } from "./value.js";
export { type Configuration, type WasmSource, configure, init } from "./wasm.js";
