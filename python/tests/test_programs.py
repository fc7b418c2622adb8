"""Random Python functions: eager, traced and saved they give the same bits, NumPy's numbers, and the same gradients.

A function is a list of steps over a list of float64 values. Each step is written once for caudal and once for NumPy.
A fixed seed finds the same programs in every run; as many again are new each time, and a failure prints the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import caudal as cd

Array = Any
EXAMPLES = 150


@dataclass(frozen=True)
class Op:
    """A step: what caudal and NumPy make of the same operands.

    Attributes:
        operands: How many it takes.
        rank: The least rank of the first one.
        control: Whether it is control flow.
    """

    name: str
    caudal: Callable[..., Array]
    numpy: Callable[..., Array]
    operands: int = 1
    rank: int = 0
    control: bool = False


def both(name: str, f: Callable[..., Array], operands: int = 1, rank: int = 0) -> Op:
    """A step that is the same text for both."""
    return Op(name, f, f, operands, rank)


def last(x: Array) -> int:
    return int(x.ndim) - 1


def scanned(x: Array) -> Array:
    total, sums = cd.scan(
        lambda carry, part: (carry * 0.5 + cd.mean(part), carry + part), cd.zeros((), dtype=x.dtype), x
    )
    return sums + total


def numpy_scanned(x: Array) -> Array:
    carry, sums = 0.0, []
    for part in x:
        sums.append(carry + part)
        carry = carry * 0.5 + np.mean(part)
    return np.stack(sums) + carry


def numpy_looped(x: Array) -> Array:
    steps = 0
    while steps < 4 and np.sum(np.abs(x)) < 20.0:
        x, steps = x * 1.5 + 0.25, steps + 1
    return x


def looped(x: Array) -> Array:
    return cd.while_loop(lambda y: cd.sum(cd.abs(y)) < 20.0, lambda y: y * 1.5 + 0.25, x, max_steps=4)


def chosen(x: Array, y: Array) -> Array:
    return cd.cond(cd.sum(x) > cd.sum(y), lambda: x * 2.0, lambda: x - cd.sum(y))


def nested(x: Array) -> Array:
    def step(carry: Array, part: Array) -> tuple[Array, Array]:
        grown = cd.while_loop(lambda v: v < 2.0, lambda v: v * v + 0.5, carry, max_steps=3)
        return cd.cond(cd.sum(part) > 0.0, lambda: grown * 0.5, lambda: carry * 0.25), part * grown

    return cd.scan(step, cd.zeros((), dtype=x.dtype), x, reverse=True)[1]


def numpy_nested(x: Array) -> Array:
    carry, parts = 0.0, []
    for part in x[::-1]:
        grown, steps = carry, 0
        while steps < 3 and grown < 2.0:
            grown, steps = grown * grown + 0.5, steps + 1
        parts.append(part * grown)
        carry = grown * 0.5 if np.sum(part) > 0.0 else carry * 0.25
    return np.stack(parts[::-1])


OPS = [
    both("-x", lambda x: -x),
    both("abs(x)", abs),
    both("x + y", lambda x, y: x + y, 2),
    both("x - y", lambda x, y: x - y, 2),
    both("x * y", lambda x, y: x * y, 2),
    both("x / (1 + y * y)", lambda x, y: x / (1.0 + y * y), 2),
    both("2 - x", lambda x: 2.0 - x),
    both("1 / (1 + abs(x))", lambda x: 1.0 / (1.0 + abs(x))),
    both("(1 + abs(x)) ** 1.5", lambda x: (1.0 + abs(x)) ** 1.5),
    Op("x.mT @ x", lambda x: x.mT @ x, lambda x: np.swapaxes(x, -1, -2) @ x, rank=2),
    both("x[0]", lambda x: x[0], rank=1),
    both("x[-1]", lambda x: x[-1], rank=1),
    both("x[::-1]", lambda x: x[::-1], rank=1),
    both("x[1:]", lambda x: x[1:] if x.shape[0] > 1 else x, rank=1),
    both("x[..., ::2]", lambda x: x[..., ::2], rank=1),
    both("x[None]", lambda x: x[None]),
    both("x[:, 0]", lambda x: x[:, 0], rank=2),
    Op("sin", cd.sin, np.sin),
    Op("cos", cd.cos, np.cos),
    Op("tanh", cd.tanh, np.tanh),
    Op("exp(-abs(x))", lambda x: cd.exp(-abs(x)), lambda x: np.exp(-abs(x))),
    Op("log1p(abs(x))", lambda x: cd.log1p(abs(x)), lambda x: np.log1p(abs(x))),
    Op("sqrt(1 + x * x)", lambda x: cd.sqrt(1.0 + x * x), lambda x: np.sqrt(1.0 + x * x)),
    Op("sigmoid", cd.sigmoid, lambda x: 0.5 * (1.0 + np.tanh(0.5 * x))),
    Op("relu", cd.relu, lambda x: np.maximum(x, 0.0)),
    Op("maximum", cd.maximum, np.maximum, 2),
    Op("minimum", cd.minimum, np.minimum, 2),
    Op(
        "where(x > y, x, y * 0.5)",
        lambda x, y: cd.where(x > y, x, y * 0.5),
        lambda x, y: np.where(x > y, x, y * 0.5),
        2,
    ),
    Op("sum", lambda x: cd.sum(x, axis=0), lambda x: np.sum(x, axis=0), rank=1),
    Op("mean", lambda x: cd.mean(x, axis=-1, keepdims=True), lambda x: np.mean(x, axis=-1, keepdims=True), rank=1),
    Op("max", lambda x: cd.max(x, axis=-1), lambda x: np.max(x, axis=-1), rank=1),
    Op("min", cd.min, np.min),
    Op("var", lambda x: cd.var(x, axis=0), lambda x: np.var(x, axis=0), rank=1),
    Op(
        "softmax",
        cd.softmax,
        lambda x: (e := np.exp(x - np.max(x, -1, keepdims=True))) / np.sum(e, -1, keepdims=True),
        rank=1,
    ),
    Op("reshape", lambda x: cd.reshape(x, (-1,)), lambda x: np.reshape(x, (-1,))),
    Op(
        "permute_dims",
        lambda x: cd.permute_dims(x, (last(x), *range(last(x)))),
        lambda x: np.moveaxis(x, -1, 0),
        rank=1,
    ),
    Op("flip", lambda x: cd.flip(x, axis=0), lambda x: np.flip(x, axis=0), rank=1),
    Op(
        "concat",
        lambda x, y: cd.concat([cd.reshape(x, (-1,)), cd.reshape(y, (-1,))]),
        lambda x, y: np.concatenate([x.ravel(), y.ravel()]),
        2,
    ),
    Op("take", lambda x: cd.take(x, np.array([0, -1, 0]), axis=0), lambda x: np.take(x, [0, -1, 0], axis=0), rank=1),
    Op("cond", chosen, lambda x, y: x * 2.0 if np.sum(x) > np.sum(y) else x - np.sum(y), 2, control=True),
    Op("while_loop", looped, numpy_looped, control=True),
    Op("scan", scanned, numpy_scanned, rank=1, control=True),
    Op("scan of while_loop and cond", nested, numpy_nested, rank=1, control=True),
]


@dataclass(frozen=True)
class Program:
    """Steps over values: an op, and the positions of its operands among the inputs and earlier results."""

    shapes: tuple[tuple[int, ...], ...]
    steps: tuple[tuple[Op, tuple[int, ...]], ...]
    number: int

    def __repr__(self) -> str:
        lines = [f"v{index} = input of shape {shape}" for index, shape in enumerate(self.shapes)]
        for index, (op, operands) in enumerate(self.steps, len(lines)):
            lines.append(f"v{index} = {op.name} of {', '.join(f'v{operand}' for operand in operands)}")
        return "\n".join([*lines, f"inputs of seed {self.number}"])

    def inputs(self) -> list[Array]:
        rng = np.random.default_rng(self.number)
        return [rng.uniform(-2.0, 2.0, shape) for shape in self.shapes]

    def numpy(self, inputs: Sequence[Array]) -> list[Array]:
        values = list(inputs)
        for op, operands in self.steps:
            values.append(np.asarray(op.numpy(*(values[operand] for operand in operands))))
        return values[len(inputs) :]

    def caudal(self, *inputs: Array) -> list[Array]:
        values = list(inputs)
        for op, operands in self.steps:
            values.append(op.caudal(*(values[operand] for operand in operands)))
        return values[len(inputs) :]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs whose every step NumPy can take."""
    shapes = draw(st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=3))
    number = draw(st.integers(0, 2**16))
    program = Program(tuple(shapes), (), number)
    for _ in range(draw(st.integers(1, 8))):
        op = draw(st.sampled_from(OPS))
        values = [*program.inputs(), *program.numpy(program.inputs())]
        first = [index for index, value in enumerate(values) if value.ndim >= op.rank]
        if not first:
            continue
        operands = [draw(st.sampled_from(first))]
        if op.operands == 2:
            fits = [index for index, value in enumerate(values) if broadcasts(values[operands[0]], value)]
            operands.append(draw(st.sampled_from(fits)))
        longer = Program(program.shapes, (*program.steps, (op, tuple(operands))), number)
        # Small enough for the loops above to run in Python.
        if longer.numpy(longer.inputs())[-1].size <= 64:
            program = longer
    return program


def broadcasts(x: Array, y: Array) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False))


def same(expected: Sequence[Array], given: Sequence[Array]) -> None:
    """Equal to the bit; NaN has one meaning."""
    assert len(expected) == len(given)
    for one, other in zip(expected, given, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other), strict=True)


def loss(program: Program, *inputs: Array) -> Array:
    """A smooth scalar of everything that a program gives."""
    return cd.sum(cd.concat([cd.reshape(cd.tanh(value), (-1,)) for value in [*inputs, *program.caudal(*inputs)]]))


def check(program: Program, folder: Path) -> None:
    inputs = program.inputs()
    state = cd.Variable(np.zeros((), "float64"), name="state")

    def run(*values: Array) -> Array:
        results = program.caudal(*values)
        before = state * 1.0
        state.assign(state + cd.sum(results[-1]) if results else state + 1.0)
        return {"results": results, "before": before, "after": state * 1.0}

    names = [f"x{index}" for index in range(len(inputs))]
    source = f"lambda {', '.join(names)}: run({', '.join(names)})"
    signature = {name: cd.TensorSpec(shape, "float64") for name, shape in zip(names, program.shapes, strict=True)}
    traced = cd.function(eval(source, {"run": run}), signature=signature)
    path = folder / "program.caudal"
    cd.save(path, {"f": traced})
    with cd.load(path) as session:
        for _ in range(2):
            start = float(np.asarray(state.value))
            eager = run(*map(cd.asarray, inputs))
            state.assign(start)
            compiled = traced(*inputs)
            state.assign(start)
            state.assign(eager["after"])
            saved = session.f(*inputs)
            for other in (compiled, saved):
                same(
                    [*eager["results"], eager["before"], eager["after"]],
                    [*other["results"], other["before"], other["after"]],
                )
            np.testing.assert_array_equal(np.asarray(session.state["state"]), np.asarray(state.value))
            for given, expected in zip(eager["results"], program.numpy(inputs), strict=True):
                np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-9, atol=1e-9, strict=True)
    wrt = list(range(len(inputs)))
    differentiate = cd.value_and_grad(lambda *values: loss(program, *values), wrt=wrt)
    value, slopes = differentiate(*map(cd.asarray, inputs))
    graph = cd.function(eval(source, {"run": differentiate}), signature=signature)
    again, traced_slopes = graph(*inputs)
    if any(op.control for op, _ in program.steps):
        # Where Python runs a branch or a loop, its parts of a gradient are added one by one.
        for one, other in zip([value, *slopes], [again, *traced_slopes], strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-9, atol=1e-12, strict=True)
    else:
        same([value, *slopes], [again, *traced_slopes])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


FAST = settings(
    max_examples=EXAMPLES, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
)


@seed(4)
@FAST
@given(program=programs())
def test_the_same_programs_in_every_run(folder: Path, program: Program) -> None:
    check(program, folder)


@FAST
@given(program=programs())
def test_new_programs_in_every_run(folder: Path, program: Program) -> None:
    check(program, folder)


def test_every_step_is_met_by_itself(folder: Path) -> None:
    for op in OPS:
        shapes = tuple((3, 2)[: max(op.rank, 1)] for _ in range(op.operands))
        check(Program(shapes, ((op, tuple(range(op.operands))),), 7), folder)
