import type { DType } from "./dtype.js";
import type { Dim, Spec } from "./spec.js";
import type { Tracer } from "./tracer.js";

/** A value in a graph: an input, state, a constant, or what a node gives. It has a spec and no elements. */
export class Value {
  #spec: Spec | undefined;

  /** @internal `id` is its number in the graph of the tracer. */
  constructor(
    readonly tracer: Tracer,
    readonly id: number,
  ) {}

  get dtype(): DType {
    return this.#found().dtype;
  }

  /** Its dims; those that are not known before a call are text. */
  get shape(): readonly Dim[] {
    return this.#found().shape;
  }

  #found(): Spec {
    this.#spec ??= this.tracer.spec(this.id);
    return this.#spec;
  }
}
