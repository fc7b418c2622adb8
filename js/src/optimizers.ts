/** Optimizers: what makes of parameters and gradients the next parameters, and keeps its own state beside them. */

import type { OpRecord } from "./dispatch.js";
import { failure } from "./errors.js";

/** What a learning rate is multiplied by at each step; see `constant`, `cosine` and `exponential`. */
export interface Schedule {
  readonly op: OpRecord;
  readonly attrs: Readonly<Record<string, number | boolean>>;
}

/** What `GraphFunction.minimize` takes; `sgd`, `rmsprop`, `adagrad`, `adam` and `adamw` make it. */
export interface Optimizer {
  readonly op: OpRecord;
  readonly attrs: Readonly<Record<string, number | boolean>>;
  readonly learningRate: number;
  /** The first part of its state's names: `NAME/learning_rate`, `NAME/step`, `NAME/SLOT/PARAMETER`. */
  readonly name: string;
  readonly schedule: Schedule | undefined;
}

/** What all optimizers take. */
export interface OptimizerOptions {
  /** The rate before the schedule; it is state, so that it can be changed at any time. */
  learningRate?: number;
  /** What the rate is multiplied by at each step. */
  schedule?: Schedule;
  /** The first part of its state's names; `"optimizer"`. */
  name?: string;
}

const RENAMED = {
  beta1: "beta_1",
  beta2: "beta_2",
  weightDecay: "weight_decay",
  initialAccumulatorValue: "initial_accumulator_value",
  decaySteps: "decay_steps",
  decayRate: "decay_rate",
  warmupSteps: "warmup_steps",
};

function make(
  op: string,
  usual: number,
  options: OptimizerOptions,
  attrs: Readonly<Record<string, number | boolean>>,
): Optimizer {
  const { learningRate = usual, schedule, name = "optimizer" } = options;
  return { op: { name: op, renamed: RENAMED }, attrs, learningRate, name, schedule };
}

/** The options of `sgd`. */
export interface SgdOptions extends OptimizerOptions {
  /** How much of the velocity stays from step to step, in [0, 1); 0 keeps none, and no state for it. */
  momentum?: number;
  /** Whether the parameter moves on by where the velocity will take it; it needs a momentum. */
  nesterov?: boolean;
}

/** Gradient descent: parameter - learningRate * gradient; with momentum as in Keras. The rate is 0.01 by default. */
export function sgd(options: SgdOptions = {}): Optimizer {
  const { momentum = 0, nesterov = false } = options;
  if (nesterov && !momentum) {
    throw failure("argument", "nesterov needs a momentum above 0", { op: "sgd", argument: "nesterov" });
  }
  if (!momentum) return make("sgd", 0.01, options, {});
  return make("sgd_momentum", 0.01, options, nesterov ? { momentum, nesterov } : { momentum });
}

/** The options of `rmsprop`. */
export interface RmspropOptions extends OptimizerOptions {
  /** How much of the averages stays from step to step, in [0, 1); 0.9. */
  rho?: number;
  /** How much of the last change is added to the next, in [0, 1); 0 adds none, and keeps no state for it. */
  momentum?: number;
  /** What is added under the root; 1e-7. */
  epsilon?: number;
  /** Whether the squares are those about the average gradient, which is kept, too. */
  centered?: boolean;
}

/** RMSprop, as in Keras: the gradient by the root of the average of its square. The rate is 0.001 by default. */
export function rmsprop(options: RmspropOptions = {}): Optimizer {
  const { rho = 0.9, momentum = 0, epsilon = 1e-7, centered = false } = options;
  const op = `rmsprop${centered ? "_centered" : ""}${momentum ? "_momentum" : ""}`;
  return make(op, 0.001, options, momentum ? { rho, epsilon, momentum } : { rho, epsilon });
}

/** The options of `adagrad`. */
export interface AdagradOptions extends OptimizerOptions {
  /** What the sum of squares begins with, 0 or more; 0.1. */
  initialAccumulatorValue?: number;
  /** What is added under the root; 1e-7. */
  epsilon?: number;
}

/** Adagrad, as in Keras: the gradient by the root of the sum of its squares. The rate is 0.001 by default. */
export function adagrad(options: AdagradOptions = {}): Optimizer {
  const { initialAccumulatorValue = 0.1, epsilon = 1e-7 } = options;
  return make("adagrad", 0.001, options, { initialAccumulatorValue, epsilon });
}

/** The options of `adam`. */
export interface AdamOptions extends OptimizerOptions {
  /** How much of the first moment stays from step to step, in [0, 1); 0.9. */
  beta1?: number;
  /** How much of the second moment stays from step to step, in [0, 1); 0.999. */
  beta2?: number;
  /** What is added to the root of the second moment; 1e-7. */
  epsilon?: number;
}

/** Adam, as in Keras. The rate is 0.001 by default. */
export function adam(options: AdamOptions = {}): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7 } = options;
  return make("adam", 0.001, options, { beta1, beta2, epsilon });
}

/** The options of `adamw`. */
export interface AdamwOptions extends AdamOptions {
  /** What part of the parameter, times the learning rate, each step takes off; 0.004. */
  weightDecay?: number;
}

/** Adam with decoupled weight decay, as in Keras. The rate is 0.001 by default. */
export function adamw(options: AdamwOptions = {}): Optimizer {
  const { weightDecay = 0.004, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-7 } = options;
  return make("adamw", 0.001, options, { beta1, beta2, epsilon, weightDecay });
}

function schedule(op: string, attrs: Schedule["attrs"]): Schedule {
  return { op: { name: op, renamed: RENAMED }, attrs };
}

/** A factor of 1 after a warm-up, in which it rises from 0 in a straight line. */
export function constantSchedule(options: { warmupSteps: number }): Schedule {
  return schedule("constant_schedule", { warmupSteps: options.warmupSteps });
}

/** A factor that falls from 1 to `alpha` along half a cosine in `decaySteps`, beside the warm-up; as in Keras. */
export function cosineSchedule(options: { decaySteps: number; alpha?: number; warmupSteps?: number }): Schedule {
  const { decaySteps, alpha = 0, warmupSteps = 0 } = options;
  return schedule("cosine_schedule", { decaySteps, alpha, warmupSteps });
}

/** A factor that falls by `decayRate` in every `decaySteps`, as in Keras; with `staircase` only after all of them. */
export function exponentialSchedule(options: {
  decaySteps: number;
  decayRate: number;
  staircase?: boolean;
  warmupSteps?: number;
}): Schedule {
  const { decaySteps, decayRate, staircase = false, warmupSteps = 0 } = options;
  return schedule("exponential_schedule", { decaySteps, decayRate, staircase, warmupSteps });
}
