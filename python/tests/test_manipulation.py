"""Functions that sort, scan, index and arrange: against NumPy, eager and with symbolic sizes; gradients at edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 6)).astype("float32")
N = RNG.integers(-9, 9, (4, 6))
nan, inf = np.nan, np.inf

# What caudal computes of X, and NumPy.
FUNCTIONS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda x: cd.sort(x, axis=0), lambda x: np.sort(x, axis=0)),
    (lambda x: cd.sort(x, descending=True), lambda x: -np.sort(-x)),
    (lambda x: cd.argsort(x), lambda x: np.argsort(x)),
    (lambda x: cd.top_k(x, 2)[0], lambda x: -np.sort(-x)[:, :2]),
    (lambda x: cd.top_k(x, 3, axis=0, largest=False)[1], lambda x: np.argsort(x, axis=0)[:3]),
    (lambda x: cd.cumulative_sum(x, axis=1), lambda x: np.cumsum(x, axis=1)),
    (lambda x: cd.cumsum(x, axis=0, reverse=True), lambda x: np.cumsum(x[::-1], axis=0)[::-1]),
    (
        lambda x: cd.cumulative_prod(x, axis=0, include_initial=True),
        lambda x: np.concatenate([np.ones((1, x.shape[1]), x.dtype), np.cumprod(x, axis=0)]),
    ),
    (lambda x: cd.cumulative_sum(x, axis=-1, dtype="float64"), lambda x: np.cumsum(x, axis=-1, dtype="float64")),
    (lambda x: cd.diff(x), lambda x: np.diff(x)),
    (lambda x: cd.diff(x, axis=0, n=2), lambda x: np.diff(x, axis=0, n=2)),
    (lambda x: cd.diff(x, prepend=x[:, :1]), lambda x: np.diff(x, prepend=x[:, :1])),
    (lambda x: cd.diff(x > 0), lambda x: np.diff(x > 0)),
    (lambda x: cd.take_along_axis(x, cd.argsort(x)), lambda x: np.sort(x)),
    (lambda x: cd.take_along_axis(x, np.array([[0, -1]], "int8")), lambda x: x[:, [0, -1]]),
    (lambda x: cd.gather(x, [[0], [-1]]), lambda x: x[[0, -1]]),
    (
        lambda x: cd.gather(x, [[0, 1], [2, -1], [9, 9]], fill=7.0),
        lambda x: np.append(x[[0, 2], [1, -1]], x.dtype.type(7)),
    ),
    (lambda x: cd.stack([x, x], axis=1), lambda x: np.stack([x, x], axis=1)),
    (lambda x: cd.split(x, 2, axis=1)[1], lambda x: np.split(x, 2, axis=1)[1]),
    (lambda x: cd.split(x, [1, 3, 2], axis=1)[1], lambda x: x[:, 1:4]),
    (lambda x: cd.tile(x, (2, 1, 2)), lambda x: np.tile(x, (2, 1, 2))),
    (lambda x: cd.repeat(x, 3), lambda x: np.repeat(x, 3)),
    (lambda x: cd.repeat(x, 2, axis=-1), lambda x: np.repeat(x, 2, axis=-1)),
    (lambda x: cd.roll(x, -2), lambda x: np.roll(x, -2)),
    (lambda x: cd.roll(x, (1, 8), axis=(0, 1)), lambda x: np.roll(x, (1, 8), axis=(0, 1))),
    (lambda x: cd.roll(x, 1, axis=(0, 1)), lambda x: np.roll(x, 1, axis=(0, 1))),
    (lambda x: cd.einsum("ij,kj->ik", x, x), lambda x: x @ x.T),
    (lambda x: cd.einsum("...j,...j", x, x), lambda x: (x * x).sum(1)),
    (lambda x: cd.einsum("ij->", x), lambda x: x.sum()),
    (lambda x: cd.einsum("ij,kj,kl->li", x, x, x), lambda x: (x @ x.T @ x).T),
    (lambda x: cd.std(x, axis=0, correction=1), lambda x: x.std(axis=0, ddof=1)),
    (lambda x: cd.norm(x), lambda x: np.linalg.norm(x)),
    (lambda x: cd.norm(x, ord="fro", axis=(0, 1), keepdims=True), lambda x: np.linalg.norm(x).reshape(1, 1)),
    (lambda x: cd.norm(x, ord=1, axis=1), lambda x: np.abs(x).sum(1)),
    (lambda x: cd.norm(x, ord=inf, axis=-1), lambda x: np.abs(x).max(1)),
    (lambda x: cd.count_nonzero(x > 0, axis=0), lambda x: np.count_nonzero(x > 0, axis=0)),
    (lambda x: cd.dynamic_slice(x, [-1, 2], (2, 3)), lambda x: x[2:4, 2:5]),
]


@pytest.mark.parametrize(("mine", "theirs"), FUNCTIONS, ids=range(len(FUNCTIONS)))
@pytest.mark.parametrize("spec", ["", "float32[4, 6]", "float32[a, b]"])
def test_functions_are_numpys(mine: Any, theirs: Any, spec: str) -> None:
    function = cd.function(signature={"x": spec})(mine) if spec else mine
    got, expected = np.asarray(function(cd.asarray(X))), theirs(X)
    assert (got.dtype, got.shape) == (expected.dtype, np.shape(expected))
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,)])
def test_nothing_is_sorted_scanned_and_arranged(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, "float32")
    for mine, theirs in (
        (cd.sort(x), np.sort(x)),
        (cd.argsort(x, axis=0), np.argsort(x, axis=0)),
        (cd.cumulative_sum(x, axis=0), np.cumsum(x, axis=0)),
        (cd.roll(x, 3), np.roll(x, 3)),
        (cd.roll(x, 3, axis=0), np.roll(x, 3, axis=0)),
        (cd.tile(x, (2, 2)), np.tile(x, (2, 2))),
        (cd.repeat(x, 2, axis=0), np.repeat(x, 2, axis=0)),
        (cd.top_k(x, 0)[0], x[..., :0]),
        (cd.diff(x, axis=0), np.diff(x, axis=0)),
        (cd.norm(x), np.float32(0)),
        (cd.count_nonzero(x), np.int64(0)),
    ):
        assert mine.shape == np.shape(theirs) and mine.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(mine), theirs)


def test_nan_is_the_greatest_and_equal_elements_keep_their_order() -> None:
    x = cd.asarray([nan, 2.0, -inf, -nan, inf, 0.0, -0.0, 2.0])
    np.testing.assert_array_equal(np.asarray(cd.sort(x)), [-inf, 0, -0.0, 2, 2, inf, nan, nan])
    assert cd.argsort(x).tolist() == [2, 5, 6, 1, 7, 4, 0, 3]
    assert cd.argsort(x, descending=True).tolist() == [0, 3, 4, 1, 7, 5, 6, 2]
    assert cd.top_k(x, 3)[1].tolist() == [0, 3, 4] and cd.top_k(x, 2, largest=False)[1].tolist() == [2, 5]
    assert np.signbit(np.asarray(cd.sort(x)))[1:3].tolist() == [False, True]
    assert np.signbit(np.asarray(cd.sort(x, descending=True)))[5:7].tolist() == [False, True]


@pytest.mark.parametrize("dtype", "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float64".split())
def test_long_rows_are_sorted_in_every_dtype(dtype: str) -> None:
    x = (RNG.normal(size=5000) * 1e4).astype(dtype)
    if dtype not in ("bool", "float16", "float64"):
        x[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    order = np.argsort(x, kind="stable")
    np.testing.assert_array_equal(np.asarray(cd.argsort(x)), order)
    np.testing.assert_array_equal(np.asarray(cd.sort(x)), x[order])


def test_sums_of_integers_wrap() -> None:
    assert cd.cumulative_sum(cd.asarray([100, 100, 100], dtype="int8")).tolist() == [100, -56, 44]
    assert cd.cumulative_prod(cd.asarray([16, 16, 3], dtype="uint8")).tolist() == [16, 0, 0]
    wide = cd.cumulative_sum(cd.asarray([100, 100, 100], dtype="int8"), dtype="int64")
    assert wide.tolist() == [100, 200, 300]


def test_narrow_floats_are_summed_in_float32() -> None:
    x = cd.ones(5000, dtype="float16")
    assert cd.cumulative_sum(x).tolist()[-3:] == np.arange(1, 5001, dtype="float32").astype("float16")[-3:].tolist()


def test_of_several_updates_the_last_is_set() -> None:
    x, at = cd.zeros(3), [[1], [0], [1], [5], [-1], [-4]]
    updates = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert cd.scatter(x, at, updates).tolist() == [2, 3, 5]
    assert cd.scatter(x, at, updates, mode="add").tolist() == [2, 4, 5]
    assert cd.scatter(x, at, updates, mode="max").tolist() == [2, 3, 5]
    assert cd.scatter(x, at, updates, mode="min").tolist() == [0, 0, 0]
    assert cd.scatter(x, [[0], [1]], [nan, 1.0], mode="max").tolist()[1:] == [1, 0]
    assert np.isnan(cd.scatter(x, [[0]], [nan], mode="min").tolist()[0])
    flags = cd.asarray([True, False])
    assert cd.scatter(flags, [[0], [1]], [True, True], mode="add").tolist() == [True, True]


def gradient(function: Callable[..., Any], *inputs: Any, wrt: int = 0) -> list[Any]:
    result: list[Any] = cd.grad(lambda *values: cd.sum(function(*values)), wrt=(wrt,))(*inputs)[0].tolist()
    return result


def test_gradients_at_the_edges() -> None:
    zeros, ones = cd.zeros(3), cd.ones(3)
    assert gradient(cd.norm, zeros) == gradient(cd.std, ones) == [0, 0, 0]
    assert gradient(lambda x: cd.norm(x, ord=1), zeros) == gradient(lambda x: cd.norm(x, ord=inf), zeros) == [0, 0, 0]
    assert gradient(cd.cumprod, cd.asarray([0.0, 2.0, 0.0])) == [3, 0, 0]
    assert gradient(lambda x: cd.sort(x) * [1.0, 2.0, 3.0], cd.asarray([5.0, 4.0, 6.0])) == [2, 1, 3]
    assert gradient(lambda x: cd.top_k(x, 2)[0], cd.asarray([5.0, 4.0, 6.0])) == [1, 0, 1]
    at = [[1], [0], [1], [5]]
    updates = cd.asarray([7.0, 2.0, 7.0, 4.0])
    weights = cd.asarray([1.0, 10.0, 100.0])

    def weighted(mode: str) -> Callable[..., Any]:
        return lambda x, updates: cd.scatter(x, at, updates, mode=mode) * weights

    assert gradient(weighted("set"), zeros, updates) == [0, 0, 100]
    assert gradient(weighted("set"), zeros, updates, wrt=1) == [0, 1, 10, 0]
    assert gradient(weighted("add"), zeros, updates) == [1, 10, 100]
    assert gradient(weighted("add"), zeros, updates, wrt=1) == [10, 1, 10, 0]
    assert gradient(weighted("max"), zeros, updates) == [0, 0, 100]
    assert gradient(weighted("max"), zeros, updates, wrt=1) == [5, 1, 5, 0]
    assert gradient(weighted("min"), zeros, updates) == [1, 10, 100]


def test_slices_that_start_where_data_says() -> None:
    @cd.function(signature={"x": "float32[a, 6]", "at": "int32[]"})
    def row(x: cd.Tensor, at: cd.Tensor) -> cd.Tensor:
        return cd.dynamic_slice(x, cd.stack([at, cd.zeros_like(at)]), (1, 6))

    for at, expected in ((0, 0), (2, 2), (-1, 3), (9, 3), (-9, 0)):
        np.testing.assert_array_equal(np.asarray(row(X, np.int32(at))), X[expected : expected + 1])
    updated = cd.dynamic_update_slice(cd.asarray(N), [[7, 7]], [5, -1])
    expected = N.copy()
    expected[3, 4:] = 7
    np.testing.assert_array_equal(np.asarray(updated), expected)


def test_split_and_unstack_give_parts() -> None:
    parts = cd.split(cd.asarray(X), [1, 0, 5], axis=1)
    assert [part.shape for part in parts] == [(4, 1), (4, 0), (4, 5)]
    np.testing.assert_array_equal(np.asarray(cd.concat(parts, axis=1)), X)
    rows = cd.unstack(cd.asarray(X), axis=-1)
    assert len(rows) == 6
    np.testing.assert_array_equal(np.asarray(rows[4]), X[:, 4])

    @cd.function(signature={"x": "float32[2*n, 3]"})
    def halves(x: cd.Tensor) -> tuple[cd.Tensor, ...]:
        first = x.shape[0] // 2
        return cd.split(x, [first, first])

    np.testing.assert_array_equal(np.asarray(halves(np.ones((4, 3), "float32"))[1]), np.ones((2, 3)))


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: cd.cumulative_sum(X), cd.ArgumentError, "cumulative_sum: the rank is 2: give an axis"),
    (lambda: cd.sort(X, axis=2), cd.ArgumentError, "sort: axis 2 is out of range for rank 2"),
    (lambda: cd.top_k(X, 7), cd.ShapeError, "top_k: k is 7, x [4, 6] has 6 elements along axis 1"),
    (lambda: cd.split(X, 4, axis=1), cd.ShapeError, "split: axis 1 has size 6, which is not a multiple of 4"),
    (lambda: cd.split(X, [1, 2]), cd.ShapeError, "split: the sizes [1, 2] add up to 3, axis 0 has size 4"),
    (lambda: cd.split(X, 0), cd.ArgumentError, "split: sections is 0; it takes 1 or more"),
    (lambda: cd.diff(X, n=-1), cd.ArgumentError, "diff: n is -1; it takes 0 or more"),
    (lambda: cd.norm(X, ord="nuc"), cd.ArgumentError, "norm: ord is 'nuc'; it can be 1, 2, inf or 'fro'"),
    (lambda: cd.norm(X, ord=3), cd.ArgumentError, "norm: ord is 3; it can be 1, 2 or inf"),
    (lambda: cd.einsum("ij,jk", X), cd.ArgumentError, 'einsum: the equation "ij,jk" is for 2 operands, not 1'),
    (lambda: cd.einsum("ij,jk", X, X), cd.ShapeError, "einsum: 'j' is 6, but 4 in operand 1, [4, 6]"),
    (
        lambda: cd.take_along_axis(X, [[6]]),
        cd.OutOfBoundsError,
        "index: 6 is out of bounds for axis 1, which has size 6",
    ),
    (
        lambda: cd.scatter(X, [[0]], X, mode="mul"),
        cd.ArgumentError,
        'scatter: mode is "mul"; it can be set, add, max or min',
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), WRONG, ids=[row[2] for row in WRONG])
def test_what_does_not_fit_is_refused(call: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind) as raised:
        call()
    assert str(raised.value) == f"{message} ({raised.value.location})"
    assert "test_manipulation.py:" in str(raised.value.location)


def test_lists_do_not_take_the_dtype_of_indices() -> None:
    index = cd.asarray([[1]], dtype="int32")
    for result, expected in [
        (cd.gather([1.5, 2.5], index), [2.5]),
        (cd.scatter([1.5, 2.5], index, [7.5]), [1.5, 7.5]),
        (cd.dynamic_slice([1.5, 2.5], [1], (1,)), [2.5]),
        (cd.dynamic_update_slice([1.5, 2.5], [7.5], [1]), [1.5, 7.5]),
    ]:
        assert result.dtype is cd.float32 and result.tolist() == expected
    assert cd.gather([1, 2], index).dtype is cd.int64
