"""Writes errors.caudal, the program that errors.json makes fail: every language runs that table and gives its messages.

Each entry of errors.json does one thing, and says which error comes of it:

    "eager": OP, "attrs", "inputs"                runs an op on tensors at once
    "graph": OP, "attrs", "inputs"                applies it to inputs of a graph, named x0, x1, ...
    "run": FUNCTION, "inputs", "options", "limits"
    "state": {NAME: TENSOR, ...}                  sets state, all or none
    "memory": FUNCTION, "dims"                    asks what a call needs
    "session": OPTIONS                            makes a session
    "select": [FUNCTION, ...]
    "spec": TEXT                                  parses a spec
    "bytes": TEXT                                 opens these bytes
    "first": N                                    opens the first N bytes of errors.caudal

    "code", "message"                             the whole message
    "op", "argument"                              parts of the error, where they are told apart
    "line"                                        true: the message goes on with the place, " (FILE:LINE)", and the
                                                  error has it as its location; eager ops may have one, too
    "hint"                                        true: the message goes on with "; " and what to write in the language

A tensor is text: `float32[2, 3]` holds zeros, `int32[1] = 7` sevens. Inputs of a graph are specs.
`options` are those of a session, `limits` those of the call: `memory` in bytes, `seconds`, or `cancelled`.

    python tests/errors/write.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import caudal as cd

FILE = Path(__file__).with_name("errors.caudal")
IMAGE = "float32[batch, height, width, 1]"
W = cd.Variable([1.0, 2.0], name="w")


@cd.function(signature={"x": "float32[batch, 3]", "y": "int32[batch]"})
def both(x: cd.Tensor, y: cd.Tensor) -> tuple[cd.Tensor, cd.Tensor]:
    """Its inputs."""
    return x, y


@cd.function(signature={"x": IMAGE})
def filtered(x: cd.Tensor) -> cd.Tensor:
    """The images under a window of 3 x 3."""
    return cd.conv(x, cd.zeros((3, 3, 1, 1)))


@cd.function(signature={"x": IMAGE})
def pooled(x: cd.Tensor) -> cd.Tensor:
    """The largest of each 2 x 2 pixels."""
    return cd.max_pool(x, window=[2, 2])


@cd.function(signature={"x": "float32[n]"})
def halves(x: cd.Tensor) -> cd.Tensor:
    """Two halves."""
    return cd.reshape(x, (2, -1))


@cd.function(signature={"x": "float32[n]"})
def four(x: cd.Tensor) -> cd.Tensor:
    """It takes four numbers."""
    return x + cd.zeros(4)


@cd.function(signature={"x": "float32[n]", "i": "int32[m]"})
def taken(x: cd.Tensor, i: cd.Tensor) -> cd.Tensor:
    """The elements at some places."""
    return cd.take(x, i)


@cd.function(signature={"x": "float32[n]"})
def grown(x: cd.Tensor) -> cd.Tensor:
    """The exponential function."""
    return cd.exp(x)


@cd.function(signature={"x": "int64[]"})
def endless(x: cd.Tensor) -> cd.Tensor:
    """It never ends where x is above 0."""
    return cd.while_loop(lambda i: i < x, lambda i: -i, 0 * x)


@cd.function(signature={})
def weights() -> cd.Tensor:
    """The state."""
    return W + 0


@cd.function(signature={"x": "float32[2]"})
def train_step(x: cd.Tensor) -> cd.Tensor:
    """Adds to the state."""
    W.assign(W + x)
    return cd.sum(W)


FUNCTIONS = {f.__name__: f for f in (both, filtered, pooled, halves, four, taken, grown, endless, weights, train_step)}

if __name__ == "__main__":
    program = cd.Program.of(FUNCTIONS)
    program.save(FILE)
    sys.stdout.write(f"{FILE.name}: {FILE.stat().st_size} bytes\n")
