"""Steps of optimizers, as Keras' formulas have them, and schedules in NumPy; see `reference`.

`NAME_terms` says how large the terms are that the outputs of `NAME` are made of.
"""

from __future__ import annotations

import numpy as np
from arrays import compute, wide


def sgd(parameter, gradient, learning_rate, step):
    return wide(parameter) - wide(learning_rate) * gradient


def sgd_terms(parameter, gradient, learning_rate, step):
    return np.abs(parameter) + np.abs(learning_rate * gradient)


def sgd_momentum(parameter, gradient, learning_rate, step, velocity, *, of, momentum=0.9, nesterov=False):
    momentum, change = compute(of)(momentum), wide(learning_rate) * gradient
    velocity = wide(velocity) * momentum - change
    return parameter + (momentum * velocity - change if nesterov else velocity), velocity


def sgd_momentum_terms(parameter, gradient, learning_rate, step, velocity, *, of, momentum=0.9, nesterov=False):
    size = np.abs(velocity * momentum) + np.abs(learning_rate * gradient)
    return np.abs(parameter) + (2 if nesterov else 1) * size, size


def rmsprop_parts(gradient, rate, velocity, average, of, rho, epsilon):
    """The new averages, what is taken off the parameter, and how much of the squares is left about the average."""
    kind = compute(of)
    velocity = velocity + (wide(gradient) ** 2 - velocity) * kind(1 - rho)
    spread = velocity
    if average is not None:
        average = average + (gradient - wide(average)) * kind(1 - rho)
        spread = velocity - average**2
    left = spread + kind(epsilon)
    return velocity, average, wide(rate) * gradient / np.sqrt(left), left / (velocity + kind(epsilon))


def rmsprop(parameter, gradient, learning_rate, step, velocity, *, of, rho=0.9, epsilon=1e-7):
    velocity, _, change, _ = rmsprop_parts(gradient, learning_rate, velocity, None, of, rho, epsilon)
    return parameter - change, velocity


def rmsprop_terms(parameter, gradient, learning_rate, step, velocity, *, of, rho=0.9, epsilon=1e-7):
    new, _, change, _ = rmsprop_parts(gradient, learning_rate, velocity, None, of, rho, epsilon)
    return np.abs(parameter) + np.abs(change), velocity + gradient**2


def rmsprop_momentum(
    parameter, gradient, learning_rate, step, velocity, last, *, of, rho=0.9, epsilon=1e-7, momentum=0.9
):
    velocity, _, change, _ = rmsprop_parts(gradient, learning_rate, velocity, None, of, rho, epsilon)
    change = wide(last) * compute(of)(momentum) + change
    return parameter - change, velocity, change


def rmsprop_momentum_terms(
    parameter, gradient, learning_rate, step, velocity, last, *, of, rho=0.9, epsilon=1e-7, momentum=0.9
):
    _, _, change, _ = rmsprop_parts(gradient, learning_rate, velocity, None, of, rho, epsilon)
    size = np.abs(last * momentum) + np.abs(change)
    return np.abs(parameter) + size, velocity + gradient**2, size


def rmsprop_centered(parameter, gradient, learning_rate, step, velocity, average, *, of, rho=0.9, epsilon=1e-7):
    velocity, average, change, _ = rmsprop_parts(gradient, learning_rate, velocity, average, of, rho, epsilon)
    return parameter - change, velocity, average


def rmsprop_centered_terms(parameter, gradient, learning_rate, step, velocity, average, *, of, rho=0.9, epsilon=1e-7):
    """A difference of squares is as exact as the squares."""
    *_, change, left = rmsprop_parts(gradient, learning_rate, velocity, average, of, rho, epsilon)
    sizes = velocity + gradient**2, np.abs(average) + np.abs(gradient)
    return np.abs(parameter) + np.abs(change) * (1 + 1 / left), *sizes


def rmsprop_centered_momentum(
    parameter, gradient, learning_rate, step, velocity, average, last, *, of, rho=0.9, epsilon=1e-7, momentum=0.9
):
    velocity, average, change, _ = rmsprop_parts(gradient, learning_rate, velocity, average, of, rho, epsilon)
    change = wide(last) * compute(of)(momentum) + change
    return parameter - change, velocity, average, change


def rmsprop_centered_momentum_terms(
    parameter, gradient, learning_rate, step, velocity, average, last, *, of, rho=0.9, epsilon=1e-7, momentum=0.9
):
    *_, change, left = rmsprop_parts(gradient, learning_rate, velocity, average, of, rho, epsilon)
    size = np.abs(last * momentum) + np.abs(change) * (1 + 1 / left)
    return np.abs(parameter) + size, velocity + gradient**2, np.abs(average) + np.abs(gradient), size


def adagrad(parameter, gradient, learning_rate, step, accumulator, *, of, initial_accumulator_value=0.1, epsilon=1e-7):
    accumulator = accumulator + wide(gradient) ** 2
    root = np.sqrt(accumulator + compute(of)(initial_accumulator_value + epsilon))
    return parameter - wide(learning_rate) * gradient / root, accumulator


def adagrad_terms(parameter, gradient, learning_rate, step, accumulator, **attrs):
    new, accumulator = adagrad(np.zeros(()), gradient, learning_rate, step, accumulator, **attrs)
    return np.abs(parameter) + np.abs(new), accumulator


def adam(parameter, gradient, learning_rate, step, m, v, *, of, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0):
    parameter, change, m, v = adam_parts(
        parameter, gradient, learning_rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay
    )
    return parameter - change, m, v


def adam_parts(parameter, gradient, rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay):
    """The decayed parameter, what is taken off it, and the new moments; attrs are of the dtype that is computed in."""
    kind = compute(of)
    parameter, rate, t = wide(parameter), wide(rate), int(step) + 1
    m = m + (gradient - wide(m)) * kind(1 - beta_1)
    v = v + (wide(gradient) ** 2 - v) * kind(1 - beta_2)
    parameter = parameter - parameter * kind(weight_decay) * rate
    alpha = rate * np.sqrt(1 - wide(kind(beta_2)) ** t) / (1 - wide(kind(beta_1)) ** t)
    return parameter, alpha * m / (np.sqrt(v) + kind(epsilon)), m, v


def adam_terms(
    parameter, gradient, learning_rate, step, m, v, *, of, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0
):
    """A bias, 1 - beta^t, is as exact as 1: so much less is what it divides."""
    decayed, change, *_ = adam_parts(
        parameter, gradient, learning_rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay
    )
    t = int(step) + 1
    lost = 1 / (1 - beta_1**t) + 1 / (1 - beta_2**t)
    size = np.abs(decayed) + np.abs(change) * lost
    return size, np.abs(m) + np.abs(gradient), v + gradient**2


def adamw(*inputs, weight_decay=0.004, **attrs):
    return adam(*inputs, weight_decay=weight_decay, **attrs)


def adamw_terms(*inputs, weight_decay=0.004, **attrs):
    return adam_terms(*inputs, weight_decay=weight_decay, **attrs)


def constant_schedule(step, *, warmup_steps=0):
    return np.asarray(min(int(step) / warmup_steps, 1.0) if warmup_steps else 1.0)


def cosine_schedule(step, *, decay_steps, alpha=0.0, warmup_steps=0):
    t, alpha = int(step) - warmup_steps, wide(np.float32(alpha))
    if t < 0:
        return np.asarray(int(step) / warmup_steps)
    return alpha + (1 - alpha) * (1 + np.cos(wide(np.pi) * min(t, decay_steps) / decay_steps)) / 2


def exponential_schedule(step, *, decay_steps, decay_rate, staircase=False, warmup_steps=0):
    t = int(step) - warmup_steps
    if t < 0:
        return np.asarray(int(step) / warmup_steps)
    power = t // decay_steps if staircase else t / decay_steps
    return wide(np.float32(decay_rate)) ** power


def global_norm(*values):
    return np.sqrt(sum(np.sum(wide(x) ** 2) for x in values))
