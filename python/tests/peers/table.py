"""Ops as caudal and JAX both know them: each is one function of a namespace ``xp`` and its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Array = Any


def scanned(xp: Any, x: Array) -> Array:
    total, sums = xp.scan(lambda carry, part: (carry * 0.5 + xp.mean(part), carry + xp.tanh(part)), 0.0 * xp.sum(x), x)
    return sums + total


def looped(xp: Any, x: Array) -> Array:
    return xp.while_loop(lambda y: xp.sum(y * y) < 20.0, lambda y: y * 1.5 + 0.25, x, max_steps=4)


def chosen(xp: Any, x: Array, y: Array) -> Array:
    return xp.cond(xp.sum(x) > xp.mean(y), lambda: x * 2.0, lambda: x - xp.sum(xp.sin(y)))


# Two operands have one shape; matrices are square, so that every value of a program has the shape of its inputs.
TABLE: dict[str, tuple[int, Callable[..., Array]]] = {
    "add": (2, lambda xp, x, y: x + y),
    "sub": (2, lambda xp, x, y: x - 0.5 * y),
    "mul": (2, lambda xp, x, y: x * y),
    "div": (2, lambda xp, x, y: x / (1.5 + xp.sin(y))),
    "pow": (2, lambda xp, x, y: (1.0 + x * x) ** xp.tanh(y)),
    "matmul": (2, lambda xp, x, y: x @ y),
    "where": (2, lambda xp, x, y: xp.where(x > y, xp.sin(x), y)),
    "maximum": (2, lambda xp, x, y: xp.maximum(x, y)),
    "concat": (2, lambda xp, x, y: xp.concat([x, y], axis=1)[:, 1:-1][:, ::2] @ xp.concat([y[:1], x[1:]], axis=0)[1:]),
    "cond": (2, chosen),
    "neg": (1, lambda xp, x: -x),
    "exp": (1, lambda xp, x: xp.exp(-xp.abs(x))),
    "expm1": (1, lambda xp, x: xp.expm1(xp.tanh(x))),
    "log1p": (1, lambda xp, x: xp.log1p(x * x)),
    "sqrt": (1, lambda xp, x: xp.sqrt(0.5 + x * x)),
    "sin": (1, lambda xp, x: xp.sin(x)),
    "cos": (1, lambda xp, x: xp.cos(x)),
    "tanh": (1, lambda xp, x: xp.tanh(x)),
    "sigmoid": (1, lambda xp, x: xp.sigmoid(x)),
    "erf": (1, lambda xp, x: xp.erf(x)),
    "gelu": (1, lambda xp, x: xp.gelu(x, approximate=False)),
    "relu": (1, lambda xp, x: xp.relu(x)),
    "softmax": (1, lambda xp, x: xp.softmax(x, axis=0)),
    "log_softmax": (1, lambda xp, x: xp.log_softmax(x, axis=-1)),
    "logsumexp": (1, lambda xp, x: x - xp.logsumexp(x, axis=1, keepdims=True)),
    "sum": (1, lambda xp, x: x + xp.sum(x, axis=0)),
    "prod": (1, lambda xp, x: x * xp.prod(xp.tanh(x), axis=1, keepdims=True)),
    "mean": (1, lambda xp, x: x - xp.mean(x, axis=1, keepdims=True)),
    "var": (1, lambda xp, x: x / xp.sqrt(xp.var(x, axis=0) + 0.1)),
    "max": (1, lambda xp, x: x - xp.max(x, axis=0)),
    "min": (1, lambda xp, x: x * xp.min(x)),
    "transpose": (1, lambda xp, x: xp.permute_dims(x, (1, 0)) * x),
    "flip": (1, lambda xp, x: xp.flip(x, axis=1) + 0.1 * x),
    "reshape": (1, lambda xp, x: xp.reshape(xp.reshape(x, (-1,))[::-1], x.shape)),
    "broadcast_to": (1, lambda xp, x: xp.broadcast_to(x[1], x.shape) * x),
    "while_loop": (1, looped),
    "scan": (1, scanned),
}

Steps = Sequence[tuple[str, Sequence[int]]]


def loss(xp: Any, steps: Steps, *inputs: Array) -> Array:
    """A scalar of everything that a program gives: its steps are names and the positions of their operands."""
    values = list(inputs)
    for name, operands in steps:
        values.append(TABLE[name][1](xp, *(values[operand] for operand in operands)))
    total = 0.0
    for number, value in enumerate(values):
        total = total + xp.sum(xp.tanh(value)) * (1.0 + 0.1 * number)
    return total
