/** What this thread and a Worker say to each other. */

import { type Elements } from "./convert.js";
import { type DType, dtypeInfo } from "./dtype.js";
import { CaudalError, type Code, type Location } from "./errors.js";
import { Tensor } from "./tensor.js";

/** The first message to a Worker. */
export interface Start {
  /** The compiled module, or its address. */
  module: WebAssembly.Module | string;
  threads: number | undefined;
}

/** A call of a method of an object in the Worker; number 0 is the Worker itself. */
export interface Call {
  id: number;
  object: number;
  method: string;
  args: unknown[];
}

/** Cancels a call. */
export interface Cancel {
  cancel: number;
}

/** The answer to a call. */
export type Answer = { id: number; value: unknown } | { id: number; error: SentError };

/** An object in the Worker: its number, and what it says of itself as JSON. */
export interface SentObject {
  object: number;
  json: string;
}

/** A tensor on its way. */
export interface SentTensor {
  dtype: DType;
  shape: readonly number[];
  bytes: Uint8Array<ArrayBuffer>;
}

/** An error on its way; `code` is missing where it is none of caudal's. */
export interface SentError {
  message: string;
  code?: Code;
  op?: string | undefined;
  argument?: string | undefined;
  location?: Location | undefined;
}

/** A copy of a tensor or of elements, to be sent. */
export function sendTensor(value: Tensor | Elements): SentTensor {
  if (value instanceof Tensor) return { dtype: value.dtype, shape: value.shape, bytes: value.copyBytes() };
  return { dtype: value.dtype.name, shape: value.shape, bytes: new Uint8Array(value.bytes) };
}

/** As `sendTensor` of a tensor that may lie on a device. */
export async function fetchTensor(tensor: Tensor): Promise<SentTensor> {
  return { dtype: tensor.dtype, shape: tensor.shape, bytes: await tensor.fetchBytes() };
}

export function receiveTensor(sent: SentTensor): Tensor {
  return new Tensor(dtypeInfo(sent.dtype), sent.shape, sent.bytes);
}

export function sendError(error: unknown): SentError {
  if (!(error instanceof CaudalError)) return { message: String((error as Error)?.message ?? error) };
  const { code, message, op, argument, location } = error;
  return { code, message, op, argument, location };
}

export function receiveError(sent: SentError): CaudalError {
  return new CaudalError(sent.code ?? "internal", sent.message, sent);
}
