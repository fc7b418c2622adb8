/** What records ops into a graph of the core: graphs by hand, and regions of control flow. */

import type { DTypeInfo } from "./dtype.js";
import { numberedDType } from "./dtype.js";
import { failure } from "./errors.js";
import { type Handle, type Instance, Operands, disown, owns } from "./instance.js";
import { userLocation } from "./location.js";
import { type Spec, specText } from "./spec.js";
import { Tensor } from "./tensor.js";
import { Value } from "./value.js";

/** In the inputs of a node: an optional one that was left out. */
const ABSENT = 0xffffffff;

/** What a function of a graph is, beside its values. */
export interface Notes {
  readonly doc?: string | undefined;
  /** The names of its inputs in order; left out, those that it needs. */
  readonly inputs?: readonly string[] | undefined;
}

export class Tracer {
  readonly handle: Handle;
  readonly #constants = new WeakMap<Tensor, number>();
  readonly #numbers = new Map<string, number>();
  #line = "";

  /** @param what - What is recorded, for messages. */
  constructor(
    readonly instance: Instance,
    readonly what: string,
  ) {
    this.handle = instance.begin().own("cdl_graph_free", "cdl_graph_new");
    owns(this, this.handle);
  }

  dispose(): void {
    disown(this.handle);
  }

  /** The graph's pointer, with the scratch block begun. */
  #begin(): number {
    const pointer = this.handle.use("graph");
    this.instance.begin();
    return pointer;
  }

  input(name: string, spec: Spec): Value {
    // First: the spec of a value may be asked of the core.
    const written = specText(spec);
    const graph = this.#begin();
    const [laid, text] = [this.instance.lay(name), this.instance.lay(written)];
    const id = this.instance.out("cdl_graph_input", graph, laid.pointer, laid.length, text.pointer, text.length);
    return new Value(this, id);
  }

  state(name: string, role: number, initial: Tensor): Value {
    const operands = new Operands(this.instance);
    initial.lend(operands);
    try {
      const graph = this.#begin();
      const text = this.instance.lay(name);
      const tensor = operands.pointers[0]!;
      return new Value(this, this.instance.out("cdl_graph_state", graph, text.pointer, text.length, role, tensor));
    } finally {
      operands.release();
    }
  }

  /** The value of a tensor, which becomes a constant, or of a value that this graph may use. */
  lift(given: Tensor | Value): number {
    if (given instanceof Tensor) return this.#constant(given);
    return given.tracer === this ? given.id : this.capture(given);
  }

  /** The value in this graph of one of another. */
  capture(value: Value): number {
    const text = `a value of ${value.tracer.what} is used in ${this.what}`;
    throw failure("argument", text, { location: userLocation() });
  }

  #constant(tensor: Tensor): number {
    let id = this.#constants.get(tensor);
    if (id === undefined) {
      const operands = new Operands(this.instance);
      tensor.lend(operands);
      try {
        id = this.instance.out("cdl_graph_constant", this.#begin(), operands.pointers[0]!);
      } finally {
        operands.release();
      }
      this.#constants.set(tensor, id);
    }
    return id;
  }

  /** The value of a number in a dtype, made once. */
  number(value: number | bigint | boolean, dtype: DTypeInfo, make: () => Tensor): number {
    const key = `${dtype.number} ${Object.is(value, -0) ? "-0" : value}`;
    let id = this.#numbers.get(key);
    if (id === undefined) this.#numbers.set(key, (id = this.#constant(make())));
    return id;
  }

  /** Gives the nodes that follow the user's line. */
  locate(): void {
    const location = userLocation();
    if (!location) return;
    const line = `${location.file}:${location.line}`;
    if (line === this.#line) return;
    const graph = this.#begin();
    const file = this.instance.lay(location.file);
    this.instance.check(this.instance.raw.cdl_graph_location(graph, file.pointer, file.length, location.line));
    this.#line = line;
  }

  /** Records an op; gives its outputs. */
  apply(op: Handle, inputs: readonly (number | undefined)[], regions: readonly Tracer[] = []): Value[] {
    this.locate();
    const graph = this.#begin();
    const { instance } = this;
    const graphs = instance.layWords(regions.map((region) => region.handle.pointer));
    const ids = instance.layWords(inputs.map((id) => id ?? ABSENT));
    const first = instance.reserve(4);
    const count = instance.reserve(4);
    instance.check(
      instance.raw.cdl_graph_apply(graph, op.pointer, graphs, regions.length, ids, inputs.length, first, count),
    );
    const { words } = instance;
    const start = words[first >>> 2]!;
    return Array.from({ length: words[count >>> 2]! }, (_, index) => new Value(this, start + index));
  }

  /** Adds the gradients of a scalar by values. */
  grad(loss: number, wrt: readonly number[]): Value[] {
    this.locate();
    const graph = this.#begin();
    const { instance } = this;
    const ids = instance.layWords(wrt);
    const grads = instance.reserve(wrt.length * 4);
    instance.check(instance.raw.cdl_graph_grad(graph, loss, ids, wrt.length, grads));
    return wrt.map((_, index) => new Value(this, instance.words[(grads >>> 2) + index]!));
  }

  /** A fresh random key from the program's generator. */
  draw(): Value {
    this.locate();
    return new Value(this, this.instance.out("cdl_graph_draw", this.#begin()));
  }

  /** The dtype and shape of a value. */
  spec(id: number): Spec {
    const pointer = this.instance.out("cdl_graph_spec", this.#begin(), id);
    const { words } = this.instance;
    const at = pointer >>> 2;
    const [dims, symbols, rank] = [words[at]! >>> 2, words[at + 1]! >>> 2, words[at + 3]!];
    const shape = Array.from({ length: rank }, (_, axis) => {
      const [low, high] = [words[dims + 2 * axis]!, words[dims + 2 * axis + 1]! | 0];
      return high < 0 ? this.instance.string(words[symbols + axis]!) : low + high * 2 ** 32;
    });
    return { dtype: numberedDType(words[at + 4]!).name, shape };
  }

  /** Makes a function of some values; gives its number. */
  function(name: string, names: readonly string[], outputs: readonly number[], notes: Notes): number {
    const graph = this.#begin();
    const { instance } = this;
    const laid = instance.lay(name);
    const [pointers, ids] = [instance.layNames(names), instance.layWords(outputs)];
    const text = instance.lay(JSON.stringify({ doc: notes.doc ?? "", inputs: notes.inputs ?? null }));
    return instance.out(
      "cdl_graph_function",
      graph,
      laid.pointer,
      laid.length,
      pointers,
      ids,
      names.length,
      text.pointer,
      text.length,
    );
  }

  /** Makes a function write new values to state when it has run. */
  update(fn: number, states: readonly number[], values: readonly number[]): void {
    const graph = this.#begin();
    const { instance } = this;
    const [targets, news] = [instance.layWords(states), instance.layWords(values)];
    instance.check(instance.raw.cdl_graph_update(graph, fn, targets, news, states.length));
  }

  /** Says that a function trains parameters by gradients. */
  training(fn: number, grads: readonly number[], parameters: readonly number[]): void {
    const graph = this.#begin();
    const { instance } = this;
    const [given, targets] = [instance.layWords(grads), instance.layWords(parameters)];
    instance.check(instance.raw.cdl_graph_training(graph, fn, given, targets, grads.length));
  }

  /** Makes a function train with an optimizer's op, whose state gets names below `name`. */
  optimize(
    fn: number,
    name: string,
    op: Handle,
    rate: Tensor,
    grads: readonly number[],
    parameters: readonly number[],
  ): void {
    const operands = new Operands(this.instance);
    rate.lend(operands);
    try {
      const graph = this.#begin();
      const { instance } = this;
      const text = instance.lay(name);
      const [given, targets] = [instance.layWords(grads), instance.layWords(parameters)];
      instance.check(
        instance.raw.cdl_graph_optimize(
          graph,
          fn,
          text.pointer,
          text.length,
          op.pointer,
          operands.pointers[0]!,
          given,
          targets,
          grads.length,
        ),
      );
    } finally {
      operands.release();
    }
  }

  /** Gives the optimizer of that name a schedule's op, for later calls of `optimize`. */
  schedule(name: string, op: Handle): void {
    const graph = this.#begin();
    const text = this.instance.lay(name);
    this.instance.check(this.instance.raw.cdl_graph_schedule(graph, text.pointer, text.length, op.pointer));
  }

  /** The graph as text. */
  text(): string {
    return this.instance.answer("cdl_graph_text", this.#begin());
  }
}
