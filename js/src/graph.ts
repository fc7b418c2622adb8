import { type Eager, type Operand, asTensor, opOf } from "./dispatch.js";
import { dtypeInfo } from "./dtype.js";
import { elements, isPlain } from "./convert.js";
import { failure } from "./errors.js";
import { Instance, sharedInstance } from "./instance.js";
import type { Optimizer } from "./optimizers.js";
import { LocalProgram, type Program, type Role } from "./program.js";
import { readProgram } from "./session.js";
import type { Spec } from "./spec.js";
import { type Tensor, tensorOfElements } from "./tensor.js";
import { type Notes, Tracer } from "./tracer.js";
import type { Functions } from "./types.js";
import { Value } from "./value.js";

/** The roles of state, in the order of their numbers in the C API, which begin with 1. */
const ROLES: readonly Role[] = ["parameter", "optimizer", "statistic", "random", "other"];

/** What a function gives: a value, which is the output `output`, or values by name. */
export type GraphOutputs = Operand | Readonly<Record<string, Operand>>;

/** A graph that is built by hand, and what a program is made of. In a page `init` or a first `load` comes before it. */
export class Graph {
  readonly #tracer: Tracer;

  constructor() {
    this.#tracer = new Tracer(sharedInstance(), "the graph");
  }

  /**
   * Adds an input, which all functions of the graph share.
   *
   * @throws CaudalError `argument`: a malformed name or spec, or a name that is taken.
   */
  input(name: string, spec: Spec): Value {
    return this.#tracer.input(name, spec);
  }

  /**
   * Adds state with its first value; gives its value when a function begins.
   *
   * @param name - Its name, with parts joined by `/`.
   * @param options - `role`: what it is for; `"parameter"`.
   * @throws CaudalError `argument`: a malformed name, one that is taken, or a role that there is not.
   */
  state(name: string, initial: Eager, options: { role?: Role } = {}): Value {
    const { role = "parameter" } = options;
    const number = ROLES.indexOf(role) + 1;
    if (number === 0) {
      const text = `there is no role '${role}'; there are ${ROLES.join(", ")}`;
      throw failure("argument", text, { op: "state", argument: "role" });
    }
    return this.#tracer.state(name, number, asTensor(initial));
  }

  /** Adds a constant; ops do so themselves with tensors and numbers. */
  constant(value: Eager): Value {
    return new Value(this.#tracer, this.#tracer.lift(asTensor(value)));
  }

  /** A fresh random key, `uint32[2]`, from the program's generator, which is the state `random/key`. */
  draw(): Value {
    return this.#tracer.draw();
  }

  /**
   * The gradients of a scalar by values.
   *
   * @throws CaudalError `shape`: the loss is not a scalar; `dtype`: the loss or a value is not floating-point.
   */
  grad(loss: Value, wrt: readonly Value[]): Value[] {
    return this.#tracer.grad(
      this.#tracer.lift(loss),
      wrt.map((value) => this.#tracer.lift(value)),
    );
  }

  /**
   * Makes a function of some values.
   *
   * @param outputs - What it gives: a value, or values by name.
   * @param notes - `inputs`: the names of its inputs in order; left out, those that it needs, in the order they were
   *   made. `doc`: its documentation.
   * @throws CaudalError `argument`: a malformed name, one that is taken, or an input that nobody made.
   */
  function(name: string, outputs: GraphOutputs, notes: Notes = {}): GraphFunction {
    const named = isOperand(outputs) ? { output: outputs } : outputs;
    const names = Object.keys(named);
    const values = names.map((output) => this.#tracer.lift(asOperand(named[output]!)));
    return new GraphFunction(this.#tracer, this.#tracer.function(name, names, values, notes));
  }

  /**
   * The program of the graph's functions, and the state that they use.
   *
   * @param metadata - Anything that has a JSON form, up to 1 MiB.
   * @throws CaudalError `argument`: a function needs an input that it does not name.
   */
  program<F extends Functions = any>(metadata: unknown = null): Program<F> {
    const { instance, handle } = this.#tracer;
    handle.use("graph");
    instance.begin();
    const text = instance.lay(JSON.stringify(metadata) ?? "null");
    const graphs = instance.layWords([handle.pointer]);
    const program = instance.own("cdl_program_free", "cdl_program_new", graphs, 1, text.pointer, text.length);
    try {
      // An instance of its own: a program's memory goes back to the system with it.
      const bytes = instance.begin().bytes("cdl_program_write", program.pointer);
      return new LocalProgram<F>(readProgram(Instance.now(), bytes));
    } finally {
      program.free();
    }
  }

  /** The graph as text. */
  text(): string {
    return this.#tracer.text();
  }

  /** Frees it. Programs made of it stay. */
  dispose(): void {
    this.#tracer.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A function of a graph that is built by hand. */
export class GraphFunction {
  /** @internal */
  constructor(
    private readonly tracer: Tracer,
    private readonly number: number,
  ) {}

  /**
   * Makes it write a new value to state when it has run.
   *
   * @throws CaudalError `argument`: not state of the graph; `dtype`, `shape`: another one than the state's.
   */
  update(state: Value, value: Operand): void {
    const like = isPlain(value) ? dtypeInfo(state.dtype) : undefined;
    const given =
      value instanceof Value ? value : like ? tensorOfElements(elements(value, like)) : asTensor(value as Eager);
    this.tracer.update(this.number, [this.tracer.lift(state)], [this.tracer.lift(given)]);
  }

  /**
   * Makes it train: each call moves the parameters against the gradient of a scalar. The optimizer's state is made with
   * the graph; a program then has the functions `gradients` and `apply`, too.
   *
   * @throws CaudalError `shape`: the loss is not a scalar; `argument`: a parameter that is not state of the graph, or
   *   an attr of the optimizer that is out of range.
   */
  minimize(loss: Value, parameters: readonly Value[], optimizer: Optimizer): void {
    const { tracer } = this;
    const targets = parameters.map((parameter) => tracer.lift(parameter));
    const grads = tracer.grad(tracer.lift(loss), targets).map((grad) => grad.id);
    this.#optimize(grads, targets, optimizer);
  }

  /**
   * As `minimize`, by gradients that are given, such as clipped ones.
   *
   * @throws CaudalError as `minimize`.
   */
  apply(grads: readonly Value[], parameters: readonly Value[], optimizer: Optimizer): void {
    const { tracer } = this;
    const targets = parameters.map((parameter) => tracer.lift(parameter));
    this.#optimize(
      grads.map((grad) => tracer.lift(grad)),
      targets,
      optimizer,
    );
  }

  /** Says that it trains parameters by gradients, with updates of its own: the program gets `gradients` and `apply`. */
  training(grads: readonly Value[], parameters: readonly Value[]): void {
    const { tracer } = this;
    tracer.training(
      this.number,
      grads.map((grad) => tracer.lift(grad)),
      parameters.map((value) => tracer.lift(value)),
    );
  }

  #optimize(grads: readonly number[], targets: readonly number[], optimizer: Optimizer): void {
    const { tracer } = this;
    const { op, attrs, name, learningRate, schedule } = optimizer;
    if (schedule) tracer.schedule(name, opOf(tracer.instance, schedule.op, schedule.attrs));
    const rate = tensorOfElements(elements(learningRate, dtypeInfo("float32")));
    tracer.optimize(this.number, name, opOf(tracer.instance, op, attrs), rate, grads, targets);
  }
}

function isOperand(outputs: GraphOutputs): outputs is Operand {
  return (
    outputs instanceof Value ||
    isPlain(outputs) ||
    ArrayBuffer.isView(outputs) ||
    ("dtype" in outputs && "shape" in outputs)
  );
}

function asOperand(value: Operand): Tensor | Value {
  return value instanceof Value ? value : asTensor(value);
}
