"""Gradients: eager and traced, by arguments and variables, to second order, with Python's control flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))

# Scalar functions of float64 inputs, and the inputs.
CASES: dict[str, tuple[Callable[..., cd.Tensor], list[Any]]] = {
    "polynomial": (lambda x: cd.sum(x * x * x - 2.0 * x), [A]),
    "matmul": (lambda x, y: cd.sum(cd.tanh(x @ y)), [A, B]),
    "broadcast": (lambda x, y: cd.sum((x + y) * y), [A, A[0]]),
    "quotient": (lambda x, y: cd.mean(x / (1.0 + y * y)), [A, A + 1]),
    "softmax": (lambda x: cd.sum(cd.softmax(x) ** 2.0), [A]),
    "cross entropy": (lambda x: cd.mean(cd.softmax_cross_entropy(x, [0, 3, 1])), [A]),
    "layer norm": (lambda x, s: cd.sum(cd.layer_norm(x, s) ** 3.0), [A, A[0]]),
    "indexing": (lambda x: cd.sum(x[1:, ::2] * x[:-1, 1::2]) + x[0, 0] * x[-1, -1], [A]),
    "take": (lambda x: cd.sum(cd.take(x, [0, 0, 2], axis=0) ** 2.0), [A]),
    "concat": (lambda x, y: cd.sum(cd.concat([x, cd.matrix_transpose(y) * 2.0], axis=0) ** 2.0), [A, A.T]),
    "where": (lambda x: cd.sum(cd.where(x > 0, x * x, cd.exp(x))), [A]),
    "scan": (lambda x: cd.sum(cd.scan(lambda c, s: (c * 0.5 + cd.sin(s), c * s), x[0], x)[1]), [A]),
    "reductions": (lambda x: cd.sum(cd.logsumexp(x, axis=1)) + cd.var(x) + cd.sum(cd.max(x, axis=0)), [A]),
}


@pytest.mark.parametrize("mode", ["eager", "traced", "inside", "outside"])
@pytest.mark.parametrize("name", CASES)
def test_first_order_equals_finite_differences(name: str, mode: str) -> None:
    f, inputs = CASES[name]
    wrt = tuple(range(len(inputs)))
    gradient: Callable[..., Any] = {
        "eager": lambda: cd.grad(f, wrt=wrt),
        "traced": lambda: cd.function(cd.grad(f, wrt=wrt)),
        # A traced function within, or around, the gradient.
        "inside": lambda: cd.grad(cd.function(f), wrt=wrt),
        "outside": lambda: cd.function(lambda *xs: cd.value_and_grad(lambda *ys: f(*ys), wrt=wrt)(*xs)[1]),
    }[mode]()
    for mine, theirs in zip(gradient(*inputs), differences(f, inputs), strict=True):
        assert mine.dtype is cd.float64
        np.testing.assert_allclose(np.asarray(mine), theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_second_order_equals_finite_differences(name: str, traced: bool) -> None:
    f, inputs = CASES[name]

    def slope(*xs: Any) -> cd.Tensor:
        return cd.sum(cd.grad(f)(*xs) * cd.asarray(np.cos(np.arange(inputs[0].size)).reshape(inputs[0].shape)))

    second = cd.grad(slope)
    mine = (cd.function(second) if traced else second)(*inputs)
    np.testing.assert_allclose(np.asarray(mine), differences(slope, inputs[:1], inputs[1:])[0], rtol=1e-4, atol=1e-5)


def differences(f: Callable[..., cd.Tensor], inputs: list[Any], rest: list[Any] | None = None) -> list[Any]:
    """Central differences of a scalar function."""
    results = []
    for index, value in enumerate(inputs):
        slope = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [np.array(each) for each in inputs]
                moved[index][place] += step
                ends.append(f(*map(cd.asarray, moved + (rest or []))).item())
            slope[place] = (ends[0] - ends[1]) / 2e-5
        results.append(slope)
    return results


@pytest.mark.parametrize("traced", [False, True])
def test_variables_in_any_tree(traced: bool) -> None:
    w, b = cd.Variable([1.0, 2.0]), cd.Variable(3.0)

    def gradients(x: Any) -> Any:
        loss = lambda: cd.sum(w * x) * b  # noqa: E731
        return (
            cd.grad(loss, wrt=w)(),
            cd.grad(loss, wrt=[w, b])(),
            cd.grad(loss, wrt={"b": b, "in": (w,)})(),
            cd.value_and_grad(loss, wrt=b)()[0],
        )

    one, both, tree, value = (cd.function(gradients) if traced else gradients)(cd.asarray([4.0, 5.0]))
    assert one.tolist() == [12, 15]
    assert [g.tolist() for g in both] == [[12, 15], 14]
    assert (tree["b"].item(), tree["in"][0].tolist()) == (14, [12, 15])
    assert value.item() == 42


def test_trees_of_arguments() -> None:
    f = lambda parts, x: cd.sum(parts["a"] * parts["b"][0] * x)  # noqa: E731
    parts = {"a": cd.asarray([1.0, 2.0]), "b": [cd.asarray([3.0, 4.0])]}
    slopes = cd.grad(f)(parts, 2.0)
    assert (slopes["a"].tolist(), slopes["b"][0].tolist()) == ([6, 8], [2, 4])
    of_parts, of_x = cd.grad(f, wrt=(0, -1))(parts, 2.0)
    assert (of_parts["a"].tolist(), of_x.item()) == ([6, 8], 11)


@pytest.mark.parametrize("traced", [False, True])
def test_aux_comes_back_beside_the_value(traced: bool) -> None:
    def f(x: Any) -> Any:
        return cd.sum(x * x), {"double": x * 2}

    both = cd.value_and_grad(f, has_aux=True)
    (value, aux), slope = (cd.function(both) if traced else both)(cd.asarray([1.0, 2.0]))
    assert (value.item(), aux["double"].tolist(), slope.tolist()) == (5, [2, 4], [2, 4])
    assert cd.grad(f, has_aux=True)(cd.asarray([3.0]))[0].tolist() == [6]


def test_python_control_flow_and_printing_work_in_eager_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: cd.Tensor) -> cd.Tensor:
        while float(x) < 100:
            print(f"{float(x):g}")
            x = x * x if x > 4 else x * 3
        return x

    # (3x)^4, whose slope is 12 (3x)^3.
    assert float(cd.grad(f)(2.0)) == 12 * 6**3
    assert capsys.readouterr().out == "2\n6\n36\n"


def test_nested_gradients_do_not_mix() -> None:
    # d/dx (x * d/dy (x * y))(at 1) = d/dx x^2
    f = lambda x: x * cd.grad(lambda y: x * y)(1.0)  # noqa: E731
    assert float(cd.grad(f)(3.0)) == 6
    assert float(cd.function(cd.grad(f))(cd.asarray(3.0))) == 6
    # The inner argument is another value than x, though equal.
    g = lambda x: cd.grad(lambda y: x * y * y)(x)  # noqa: E731
    assert float(cd.grad(g)(3.0)) == float(cd.function(cd.grad(g))(cd.asarray(3.0))) == 12


@pytest.mark.parametrize("traced", [False, True])
def test_what_was_computed_before_does_not_count(traced: bool) -> None:
    w = cd.Variable(3.0)

    def f() -> Any:
        before = w * w
        return cd.grad(lambda: before * w, wrt=w)()

    assert float((cd.function(f) if traced else f)()) == 9


@pytest.mark.parametrize("traced", [False, True])
def test_what_the_loss_does_not_depend_on_gets_zeros(traced: bool) -> None:
    w = cd.Variable([1.0, 2.0])
    f = lambda x: cd.grad(lambda y: cd.sum(cd.stop_gradient(w) * x), wrt=0)(w)  # noqa: E731
    assert (cd.function(f) if traced else f)(cd.ones(2)).tolist() == [0, 0]


def test_third_order() -> None:
    f = cd.grad(cd.grad(cd.grad(lambda x: x**5.0)))
    assert float(f(2.0)) == pytest.approx(240, rel=1e-6)


def test_tensors_of_a_gradient_live_on() -> None:
    kept = []
    cd.grad(lambda x: kept.append(x * 2) or cd.sum(x * x))(cd.asarray([1.0, 2.0]))
    assert (kept[0] + kept[0]).tolist() == [4, 8]
    assert cd.grad(lambda x: cd.sum(x * kept[0]))(cd.asarray([1.0, 1.0])).tolist() == [2, 4]


def test_assigning_a_variable_inside_a_gradient() -> None:
    for wrap in (lambda f: f, cd.function):
        count = cd.Variable(0.0)
        w = cd.Variable(2.0)

        def step(count: cd.Variable = count, w: cd.Variable = w) -> Any:
            def loss() -> cd.Tensor:
                count.assign(count + 1.0)
                return w * w * count

            return cd.grad(loss, wrt=w)()

        run = wrap(step)
        assert [float(run()), float(run())] == [4, 8] and float(count) == 2


def test_dropout_makes_the_same_choice_in_the_gradient() -> None:
    x = cd.ones(1000)
    for wrap in (lambda f: f, cd.function):
        (value, kept), slope = wrap(
            cd.value_and_grad(lambda x: (lambda y: (cd.sum(y), y))(cd.dropout(x, 0.25)), has_aux=True)
        )(x)
        assert 0.7 < np.mean(np.asarray(kept) > 0) < 0.8
        assert slope.tolist() == kept.tolist()
