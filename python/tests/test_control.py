"""Control flow: the same values and gradients from Python's loops and from the core's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

W = cd.Variable([2.0, 3.0], name="control/w")
X = np.array([1.0, 2.0, 3.0, 4.0], "float32")


def power(x: Any) -> Any:
    return cd.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] * x * W[0]), (0, cd.ones_like(x)))


def bounded(x: Any) -> Any:
    return cd.sum(cd.while_loop(lambda y: cd.sum(y) < 100.0, lambda y: y * W[0] + x, x, max_steps=10))


def capped(x: Any) -> Any:
    return cd.while_loop(lambda y: True, lambda y: y + x, x, max_steps=3)


def sums(x: Any) -> Any:
    return cd.scan(lambda c, s: (c + s, {"sum": c, "w": s * W}), 0.0, x)


def backwards(x: Any) -> Any:
    return cd.scan(lambda c, s: (c * 0.5 + s["a"] * s["b"], c), 1.0, {"a": x, "b": x + 1.0}, reverse=True)


def counted(x: Any) -> Any:
    return cd.scan(lambda c, s: (c + x, c), x, length=3)


def chosen(x: Any) -> Any:
    return cd.cond(cd.sum(x) > 5.0, lambda: {"y": x * W[1], "n": 1}, lambda: {"y": x, "n": 2})


def nested(x: Any) -> Any:
    def step(carry: Any, s: Any) -> Any:
        grown = cd.while_loop(
            lambda v: v < s * W[1], lambda v: cd.cond(v > 2.0, lambda: v * 2.0, lambda: v + 1.0), carry
        )
        return carry + 1.0, grown

    return cd.scan(step, 0.5, x)


def both_capture_in_another_order(x: Any) -> Any:
    a, b, c = x * 1.0, x * 2.0, x * 3.0
    return cd.cond(x[0] > 0.0, lambda: (c + a, b), lambda: (b + a, c))


def with_operands(x: Any) -> Any:
    return cd.cond(x[0] > 0.0, lambda a, b: a + b, lambda a, b: a - b, x, x * 2.0)


PROGRAMS: list[Callable[[Any], Any]] = [
    power,
    bounded,
    capped,
    sums,
    backwards,
    counted,
    chosen,
    nested,
    both_capture_in_another_order,
    with_operands,
]


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in leaves(part)]
    return [np.asarray(tree)]


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("spec", ["float32[4]", "float32[n]"])
def test_graphs_give_what_python_gives(f: Callable[[Any], Any], spec: str) -> None:
    traced = cd.function(signature={"x": spec})(f)
    for x in (X, X * 0.1, -X):
        for mine, theirs in zip(leaves(traced(x)), leaves(f(cd.asarray(x))), strict=True):
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "f", [bounded, capped, sums, backwards, counted, chosen, with_operands], ids=lambda f: f.__name__
)
def test_gradients_of_graphs_equal_those_of_python(f: Callable[[Any], Any]) -> None:
    def loss(x: Any) -> cd.Tensor:
        total = cd.asarray(0.0)
        tree = f(x)
        stack = [tree]
        while stack:
            node = stack.pop()
            if isinstance(node, cd.Tensor):
                total = total + (cd.sum(cd.sin(node)) if node.dtype.is_float else 0.0)
            else:
                stack += list(node.values()) if isinstance(node, dict) else list(node)
        return total

    def both(x: Any) -> Any:
        return cd.grad(loss)(x), cd.grad(lambda: loss(x), wrt=W)()

    for x in (X, -X):
        for mine, theirs in zip(leaves(cd.function(both)(cd.asarray(x))), leaves(both(cd.asarray(x))), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_predicate_at_hand_chooses_while_tracing() -> None:
    @cd.function
    def f(x: cd.Tensor) -> cd.Tensor:
        return cd.cond(True, lambda: x + 1, lambda: x * cd.zeros(7))

    assert f(cd.ones(2)).tolist() == [2, 2]


def test_scan_takes_a_symbolic_length() -> None:
    @cd.function(signature={"x": "float32[n, 2]"})
    def f(x: cd.Tensor) -> Any:
        return cd.scan(lambda c, _: (c + 1.0, c), 0.0, length=x.shape[0])

    last, steps = f(np.zeros((3, 2), "float32"))
    assert (last.item(), steps.tolist()) == (3, [0, 1, 2])


def test_cond_may_draw_and_loops_say_what_to_do() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def f(x: cd.Tensor) -> cd.Tensor:
        return cd.cond(cd.sum(x) > 0, lambda: cd.dropout(x, 0.5), lambda: x)

    assert f(np.ones(64, "float32")).tolist() != f(np.ones(64, "float32")).tolist()

    @cd.function(signature={"x": "float32[n]"})
    def g(x: cd.Tensor) -> Any:
        return cd.scan(lambda c, s: (c, cd.dropout(s, 0.5)), 0.0, x)

    with pytest.raises(cd.UnsupportedError, match="the function of scan would draw the same numbers in each step"):
        g.trace()


def test_a_key_carried_through_a_loop_draws_anew() -> None:
    @cd.function(signature={"key": "uint32[2]"})
    def f(key: cd.Tensor) -> Any:
        def step(key: Any, _: Any) -> Any:
            now, later = cd.random.split(key)
            return later, cd.random.uniform(now, ())

        return cd.scan(step, key, length=5)[1]

    numbers = f(cd.random.key(1)).tolist()
    assert len(set(numbers)) == 5
    assert numbers == [*map(float, f.__wrapped__(cd.random.key(1)))]  # type: ignore[attr-defined]
