/** The types of a program's functions, as `caudal info FILE --typescript` prints them. */

import "./platform.js";

import type { Input } from "./convert.js";
import type { DType } from "./dtype.js";
import type { Tensor } from "./tensor.js";

/** The dtypes of inputs or outputs by name. */
export type DTypes = Readonly<Record<string, DType>>;

/** The functions of a program by name: the dtypes of their inputs and outputs. */
export type Functions = Record<string, { inputs: DTypes; outputs: DTypes }>;

/** What a function's inputs can be given as. */
export type Inputs<T extends DTypes> = { readonly [N in keyof T]: Input<T[N]> };

/** A function's outputs: tensors by name, which `using` disposes of as a whole. */
export type Outputs<T extends DTypes> = { readonly [N in keyof T]: Tensor<T[N]> } & Disposable;

/** The inputs of a call, which may be left out where there are none, and its options. */
export type CallArguments<T extends DTypes, O> = {} extends { [N in keyof T]: unknown }
  ? [inputs?: Inputs<T>, options?: O]
  : [inputs: Inputs<T>, options?: O];

/** @internal Outputs by name. */
export function outputsOf(names: readonly string[], tensors: readonly Tensor[]): Outputs<DTypes> {
  const outputs = Object.create(OUTPUTS) as Record<string, Tensor> & Disposable;
  for (let index = 0; index < names.length; index++) outputs[names[index]!] = tensors[index]!;
  return outputs;
}

/** What outputs inherit; no property of an object, for an output may have any name. */
const OUTPUTS = Object.defineProperty(Object.create(null) as object, Symbol.dispose, {
  value(this: Record<string, Tensor>) {
    for (const name of Object.keys(this)) this[name]!.dispose();
  },
});
