import { type Elements, elements, itemOf } from "./convert.js";
import type { DType, DTypeInfo, DataOf, ItemOf } from "./dtype.js";
import { dtypeInfo } from "./dtype.js";
import { failure } from "./errors.js";
import { fromBFloat16, fromFloat16 } from "./half.js";
import { type Handle, type Operands, disown, owns } from "./instance.js";
import { shapeText } from "./spec.js";

/**
 * A tensor: dense, row-major; it never changes. It lies in the memory of JavaScript until an op or session needs it,
 * and in that of WASM from then on; what a session on a GPU gives lies there. `dispose` frees that at once; a tensor that nobody holds is freed sometime.
 */
export class Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  #bytes: Uint8Array | undefined;
  #handle: Handle | undefined;

  /** @internal Of bytes that nobody else changes, or of a handle; `tensor` makes them of data. */
  constructor(dtype: DTypeInfo, shape: readonly number[], content: Uint8Array | Handle) {
    this.dtype = dtype.name as D;
    this.shape = shape;
    if (content instanceof Uint8Array) {
      this.#bytes = content;
    } else {
      this.#handle = content;
      owns(this, content);
    }
  }

  /** How many elements it has. */
  get size(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /**
   * A copy of its elements, row by row: bits for `float16` and `bfloat16`, 0 and 1 for `bool`.
   *
   * @throws CaudalError `closed`: it was disposed.
   */
  async data(): Promise<DataOf<D>> {
    return this.#elements(await this.fetchBytes());
  }

  /** As `data`, at once; not for a tensor on a GPU. */
  dataSync(): DataOf<D> {
    return this.#elements(this.#content().slice());
  }

  #elements(bytes: Uint8Array): DataOf<D> {
    const { array } = dtypeInfo(this.dtype);
    return new array(bytes.buffer, 0, bytes.length / array.prototype.BYTES_PER_ELEMENT) as DataOf<D>;
  }

  /**
   * Its only element: a number; a `bigint` of the 64-bit integers, a boolean of `bool`.
   *
   * @throws CaudalError `shape`: it has not one element.
   */
  async item(): Promise<ItemOf<D>> {
    if (this.size !== 1)
      throw failure("shape", `the tensor has shape ${shapeText(this.shape)}, not one element`, { op: "item" });
    return itemOf(await this.data(), this.dtype) as ItemOf<D>;
  }

  /** Frees its memory. Later uses throw `closed`; it may be called twice. */
  dispose(): void {
    this.#bytes = undefined;
    if (this.#handle) disown(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor(${this.dtype}${shapeText(this.shape)})`;
  }

  /** The elements' bytes, valid until the next call. */
  #content(): Uint8Array {
    if (this.#bytes) return this.#bytes;
    const { instance, pointer } = this.#live();
    const { data, length, device } = instance.fields(pointer);
    if (device === 0) return instance.view(data, length);
    throw failure("unsupported", `the tensor lies on gpu:${device - 1}, where reading takes a while; await its data()`);
  }

  #live(): Handle {
    if (!this.#handle) throw failure("closed", "the tensor was disposed");
    this.#handle.use("tensor");
    return this.#handle;
  }

  /** @internal Its elements as numbers; those of the 16-bit floats as what their bits stand for. */
  numbers(): (number | bigint)[] {
    const data = Array.from(this.dataSync() as ArrayLike<number | bigint>);
    const decode = this.dtype === "float16" ? fromFloat16 : this.dtype === "bfloat16" ? fromBFloat16 : undefined;
    return decode ? data.map((bits) => decode(bits as number)) : data;
  }

  /** @internal A part along its first axis. */
  at(index: number): Tensor<D> {
    const content = this.#content();
    const length = content.length / this.shape[0]!;
    return new Tensor<D>(
      dtypeInfo(this.dtype),
      this.shape.slice(1),
      content.slice(index * length, (index + 1) * length),
    );
  }

  /** @internal A copy of its bytes. */
  copyBytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#content());
  }

  /** @internal Whether its elements lie on a device. */
  get isOnDevice(): boolean {
    const handle = this.#handle;
    return handle !== undefined && handle.live && handle.instance.fields(handle.pointer).device !== 0;
  }

  /** @internal A copy of its bytes; those on a device are waited for. */
  async fetchBytes(): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.isOnDevice) return this.copyBytes();
    const { instance, pointer } = this.#live();
    const fetched = await instance.settled(() => {
      this.#live();
      const { pointer: name, length } = instance.begin().lay("cpu");
      return instance.own("cdl_tensor_free", "cdl_tensor_to", pointer, name, length, 0);
    });
    try {
      const { data, length } = instance.fields(fetched.pointer);
      return new Uint8Array(instance.view(data, length));
    } finally {
      fetched.free();
    }
  }

  /**
   * @internal Adds it to what a call takes. A tensor that lies in JavaScript moves to the instance of the call; of one
   * that lies in another instance the call gets a copy.
   */
  lend(operands: Operands): void {
    const { instance } = operands;
    const dtype = dtypeInfo(this.dtype);
    if (this.#bytes) {
      this.#handle = instance.tensor(dtype, this.shape, this.#bytes.length, this.#bytes);
      owns(this, this.#handle);
      this.#bytes = undefined;
    }
    const handle = this.#live();
    if (handle.instance === instance) {
      operands.pinned(handle);
    } else {
      const bytes = this.#content();
      operands.temporary(instance.tensor(dtype, this.shape, bytes.length, bytes));
    }
  }
}

/** A tensor of a handle that an instance gave. */
export function tensorOf(handle: Handle): Tensor {
  const { dtype, shape } = handle.instance.fields(handle.pointer);
  return new Tensor(dtype, shape, handle);
}

/** A tensor over elements, whose bytes are copied. */
export function tensorOfElements(given: Elements): Tensor {
  return new Tensor(given.dtype, given.shape, given.bytes.slice());
}

/** What `tensor` takes. */
export type TensorData = Parameters<typeof elements>[0];

/**
 * A tensor of data, which is copied.
 *
 * @param data - A typed array, a number, or nested lists of numbers.
 * @param shape - Its shape; left out, that of the lists, or as long as the array.
 * @param dtype - Left out, the array's; `float32` for numbers, `bool` for booleans, `int64` for bigints. It is needed
 *   for `float16` and `bfloat16` in a `Uint16Array` and for `bool` in a `Uint8Array`.
 * @throws CaudalError `shape`: another number of elements; `dtype`: numbers that the dtype does not hold.
 */
export function tensor(data: Float32Array, shape?: readonly number[], dtype?: "float32"): Tensor<"float32">;
export function tensor<D extends DType>(data: unknown, shape: readonly number[] | undefined, dtype: D): Tensor<D>;
export function tensor(data: unknown, shape?: readonly number[], dtype?: DType): Tensor;
export function tensor(data: unknown, shape?: readonly number[], dtype?: DType): Tensor {
  return tensorOfElements(elements(data, undefined, shape, dtype));
}
