/** Control flow: ops with regions, which are graphs of their own. With tensors alone JavaScript itself runs it. */

import { isPlain } from "./convert.js";
import { type Operand, opOf, recording, tracerOf, typedLike } from "./dispatch.js";
import { failure } from "./errors.js";
import { userLocation } from "./location.js";
import { type Dim, type Spec, specText } from "./spec.js";
import { stack } from "./ops.js";
import { Tensor } from "./tensor.js";
import { Tracer } from "./tracer.js";
import { Value } from "./value.js";

/** An operand, or arrays and objects of them; lists of numbers are `tensor([...])` here. */
export type Tree = Operand | readonly Tree[] | { readonly [name: string]: Tree };

/** The same tree with tensors or values in place of numbers. */
export type Like<T> = T extends number | bigint | boolean | Tensor | Value
  ? Value
  : T extends readonly unknown[] | { readonly [name: string]: unknown }
    ? { [N in keyof T]: Like<T[N]> }
    : Value;

type Leaf = Tensor | Value;

/** The leaves of a tree, and how it is put together again from others. */
interface Flat {
  readonly leaves: Operand[];
  /** How it is built, as text to compare. */
  readonly structure: string;
  build(leaves: readonly Leaf[]): unknown;
}

function flatten(tree: unknown): Flat {
  if (Array.isArray(tree)) return joined(tree.map(flatten), "[]", (parts) => parts);
  const leaf = typeof tree !== "object" || tree instanceof Tensor || tree instanceof Value || ArrayBuffer.isView(tree);
  if (!leaf && tree !== null && !("data" in tree)) {
    const names = Object.keys(tree);
    const parts = names.map((name) => flatten((tree as Record<string, unknown>)[name]));
    return joined(parts, `{}${names.join()}`, (built) =>
      Object.fromEntries(names.map((name, at) => [name, built[at]])),
    );
  }
  return { leaves: [tree as Operand], structure: "*", build: ([only]) => only };
}

function joined(parts: readonly Flat[], kind: string, build: (parts: unknown[]) => unknown): Flat {
  return {
    leaves: parts.flatMap((part) => part.leaves),
    structure: `${kind}(${parts.map((part) => part.structure).join(" ")})`,
    build(leaves) {
      let at = 0;
      return build(parts.map((part) => part.build(leaves.slice(at, (at += part.leaves.length)))));
    },
  };
}

/** What the regions of one node use of the graph around them, in order. */
class Captures {
  readonly ids: number[] = [];
  readonly specs: Spec[] = [];
}

/** Records a region: a closed graph, whose captures are operands of the node. */
class Region extends Tracer {
  readonly #captured: number[] = [];
  #inputs = 0;

  constructor(
    what: string,
    private readonly parent: Tracer,
    private readonly captures: Captures,
  ) {
    super(parent.instance, what);
  }

  /** Adds an input for an operand. */
  operand(spec: Spec): Value {
    return this.input(`value_${this.#inputs++}`, spec);
  }

  override capture(value: Value): number {
    const id = this.parent.lift(value);
    let at = this.captures.ids.indexOf(id);
    if (at < 0) {
      at = this.captures.ids.push(id) - 1;
      this.captures.specs.push({ dtype: value.dtype, shape: value.shape });
    }
    this.takeCaptures();
    return this.#captured[at]!;
  }

  /** Adds inputs for all captures that the node's regions have so far. */
  takeCaptures(): void {
    for (let at = this.#captured.length; at < this.captures.specs.length; at++) {
      this.#captured.push(this.input(`capture_${at}`, this.captures.specs[at]!).id);
    }
  }

  /** Ends the region with what it gives. */
  end(leaves: readonly Leaf[]): void {
    const names = leaves.map((_, index) => `output_${index}`);
    this.function(
      "region",
      names,
      leaves.map((leaf) => this.lift(leaf)),
      {},
    );
  }
}

/** Applies an op with regions, which all take the operands and then the captures of them all. */
function applied(
  tracer: Tracer,
  name: string,
  attrs: object,
  regions: readonly Region[],
  operands: readonly number[],
  captures: Captures,
): Value[] {
  for (const region of regions) region.takeCaptures();
  const results = tracer.apply(opOf(tracer.instance, { name }, attrs), [...operands, ...captures.ids], regions);
  for (const region of regions) region.dispose();
  return results;
}

function refused(op: string, text: string, code: "argument" | "shape", argument?: string): Error {
  return failure(code, text, { op, argument, location: userLocation() });
}

/** A leaf as a tensor or value; a number takes a dtype. */
function leafOf(leaf: Operand, like?: Leaf): Leaf {
  return leaf instanceof Value ? leaf : typedLike(leaf, like && isPlain(leaf) ? like.dtype : undefined);
}

/** A carried value after a step, if it has the structure, dtypes and shapes of the one before. */
function carriedOn(op: string, before: Flat, old: readonly Leaf[], result: unknown): Leaf[] {
  const after = flatten(result);
  if (after.structure !== before.structure) {
    throw refused(op, "the carried value has another structure after a step than before it", "argument");
  }
  return after.leaves.map((given, index) => {
    const leaf = leafOf(given, old[index]!);
    const [was, is] = [specText(old[index]!), specText(leaf)];
    if (was !== is) throw refused(op, `the carried value is ${was} before a step and ${is} after it`, "shape");
    return leaf;
  });
}

function isTrue(given: Operand, op: string): boolean {
  const test = leafOf(given);
  if (test instanceof Tensor && test.dtype === "bool" && test.size === 1) return test.dataSync()[0] !== 0;
  throw refused(op, `the condition is ${specText(test)}, not a bool scalar`, "argument");
}

/**
 * What one of two functions gives.
 *
 * In a graph both are recorded, and one of them runs in each call; both give values of the same dtypes and shapes, in
 * the same structure. They may use values from around them.
 *
 * @param predicate - A bool scalar.
 * @throws CaudalError `shape`: the functions give values of different specs; `argument`: different structures.
 */
export function cond<T extends Tree>(predicate: Operand, then: () => T, otherwise: () => T): Like<T> {
  const tracer = tracerOf([predicate]);
  if (!tracer) {
    const { leaves, build } = flatten(isTrue(predicate, "cond") ? then() : otherwise());
    return build(leaves.map((leaf) => leafOf(leaf))) as Like<T>;
  }
  const captures = new Captures();
  const flats: Flat[] = [];
  const regions = Object.entries({ then, otherwise }).map(([name, f]) => {
    const region = new Region(`the function '${name}' of cond`, tracer, captures);
    recording(region, () => {
      const flat = flatten(f());
      flats.push(flat);
      region.end(flat.leaves.map((leaf) => leafOf(leaf)));
    });
    return region;
  });
  if (flats[0]!.structure !== flats[1]!.structure) {
    throw refused("cond", "the functions give different structures", "argument");
  }
  return flats[0]!.build(applied(tracer, "cond", {}, regions, [tracer.lift(leafOf(predicate))], captures)) as Like<T>;
}

/**
 * A value changed by a function as long as a condition holds.
 *
 * @param test - Takes the value; gives a bool scalar.
 * @param body - Takes the value; gives the next one, of the same structure, dtypes and shapes.
 * @param init - The first value; in a graph one of its leaves is a value of that (`g.constant` makes one).
 * @param options - `maxSteps`: the most steps it makes. In a graph the loop has a gradient only if it is given; that
 *   keeps the values of so many steps.
 * @throws CaudalError `shape`: a step changes the dtype or shape of the value; `argument`: its structure, or the
 *   condition is no bool scalar.
 */
export function whileLoop<T extends Tree>(
  test: (value: Like<T>) => Operand,
  body: (value: Like<T>) => Tree,
  init: T,
  options: { maxSteps?: number } = {},
): Like<T> {
  const first = flatten(init);
  let leaves = first.leaves.map((leaf) => leafOf(leaf));
  const tracer = tracerOf(leaves);
  if (!tracer) {
    const value = () => first.build(leaves) as Like<T>;
    for (let step = 0; step < (options.maxSteps ?? Infinity) && isTrue(test(value()), "while_loop"); step++) {
      leaves = carriedOn("while_loop", first, leaves, body(value()));
    }
    return value();
  }
  const captures = new Captures();
  const record = (name: string, f: (value: never) => Leaf[]) => {
    const region = new Region(`the function '${name}' of while_loop`, tracer, captures);
    recording(region, () => region.end(f(first.build(leaves.map((leaf) => region.operand(leaf))) as never)));
    return region;
  };
  const regions = [
    record("cond", (value) => [leafOf(test(value))]),
    record("body", (value) => carriedOn("while_loop", first, leaves, body(value))),
  ];
  const attrs = { carried: leaves.length, max_steps: options.maxSteps };
  const operands = leaves.map((leaf) => tracer.lift(leaf));
  return first.build(applied(tracer, "while_loop", attrs, regions, operands, captures)) as Like<T>;
}

/**
 * A function run over slices, with a value carried from each step to the next.
 *
 * @param f - Takes the carried value and a slice; gives the next carried value, of the same structure, dtypes and
 *   shapes, and an output.
 * @param init - The first carried value.
 * @param xs - What is sliced along the first axes, which are equally long; null has no slices.
 * @param options - `length`: how many steps; it may be left out where there are slices. `reverse`: whether it goes from
 *   the last slice to the first.
 * @returns The last carried value, and the outputs stacked along a new first axis, in the order of the slices.
 * @throws CaudalError `shape`: a step changes the carried value, or the slices differ in number; `argument`: neither
 *   slices nor a length.
 */
export function scan<C extends Tree, X extends Tree | null, O extends Tree>(
  f: (carried: Like<C>, slice: Like<X>) => readonly [Tree, O],
  init: C,
  xs: X,
  options: { length?: Dim; reverse?: boolean } = {},
): [Like<C>, Like<O>] {
  const first = flatten(init);
  const sliced = xs === null ? joined([], "[]", () => null) : flatten(xs);
  const carried = first.leaves.map((leaf) => leafOf(leaf));
  const slices = sliced.leaves.map((leaf) => leafOf(leaf));
  const length = stepsOf(slices, options.length);
  const { reverse = false } = options;
  const tracer = tracerOf([...carried, ...slices]);
  if (!tracer) return scanNow(f as never, first, carried, sliced, slices as Tensor[], Number(length), reverse) as never;
  const captures = new Captures();
  const region = new Region("the function of scan", tracer, captures);
  let outputs!: Flat;
  recording(region, () => {
    const value = first.build(carried.map((leaf) => region.operand(leaf)));
    const parts = slices.map((leaf) => region.operand({ dtype: leaf.dtype, shape: leaf.shape.slice(1) }));
    const [after, output] = f(value as never, sliced.build(parts) as never);
    outputs = flatten(output);
    region.end([...carriedOn("scan", first, carried, after), ...outputs.leaves.map((leaf) => leafOf(leaf))]);
  });
  const attrs = { carried: carried.length, sliced: slices.length, length, reverse };
  const operands = [...carried, ...slices].map((leaf) => tracer.lift(leaf));
  const results = applied(tracer, "scan", attrs, [region], operands, captures);
  const last = first.build(results.slice(0, carried.length));
  return [last as Like<C>, outputs.build(results.slice(carried.length)) as Like<O>];
}

/** How many steps a scan makes. */
function stepsOf(slices: readonly Leaf[], length: Dim | undefined): Dim {
  if (slices.some((leaf) => leaf.shape.length === 0)) throw refused("scan", "a scalar has no slices", "shape", "xs");
  const sizes = [...slices.map((leaf) => leaf.shape[0]!), ...(length === undefined ? [] : [length])];
  if (sizes.length === 0) throw refused("scan", "give slices or a length", "argument", "length");
  if (new Set(sizes.filter((size) => typeof size === "number")).size > 1) {
    throw refused("scan", `the slices differ in number: ${sizes.join(", ")}`, "shape", "xs");
  }
  return sizes[0]!;
}

function scanNow(
  f: (carried: unknown, slice: unknown) => readonly [unknown, unknown],
  first: Flat,
  carried: Leaf[],
  sliced: Flat,
  slices: readonly Tensor[],
  length: number,
  reverse: boolean,
): [unknown, unknown] {
  let leaves = carried;
  const rows: Flat[] = [];
  for (let step = 0; step < length; step++) {
    const at = reverse ? length - 1 - step : step;
    const [after, output] = f(first.build(leaves), sliced.build(slices.map((leaf) => leaf.at(at))));
    leaves = carriedOn("scan", first, leaves, after);
    rows.push(flatten(output));
  }
  // The outputs' structure is known only from a step.
  if (!rows[0])
    throw refused("scan", "without steps the outputs are not known; use it in a graph", "argument", "length");
  if (reverse) rows.reverse();
  const columns = rows[0].leaves.map((_, index) => stack(rows.map((row) => leafOf(row.leaves[index]!) as Tensor)));
  return [first.build(leaves), rows[0].build(columns)];
}
