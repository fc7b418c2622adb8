"""Tensors: what they are made of, operators, indexing, NumPy and DLPack both ways."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
X = np.arange(24, dtype="float32").reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_arrays_come_back_equal(dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 0, 1]]).astype(dtype)
    tensor = cd.asarray(array)
    assert tensor.dtype == dtype == np.dtype(tensor.dtype)
    assert (tensor.shape, tensor.ndim, tensor.size, tensor.nbytes) == ((2, 3), 2, 6, array.nbytes)
    back = np.asarray(tensor)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    "array",
    [
        X[:, ::2],
        X.T,
        X[::-1],
        np.asfortranarray(X[0]),
        X.astype(">f4"),
        np.float32(2.5),
        np.zeros((0, 3), "int8"),
        np.array(5),
        np.broadcast_to(np.int64(3), (2, 2)),
    ],
    ids=["strided", "transposed", "reversed", "fortran", "big-endian", "scalar", "empty", "0-d", "broadcast"],
)
def test_any_layout_is_taken(array: Any) -> None:
    tensor = cd.asarray(array)
    assert tensor.shape == np.shape(array)
    np.testing.assert_array_equal(np.asarray(tensor), array)


def test_arrays_are_copied_in_and_shared_read_only_out() -> None:
    array = np.ones(3, "float32")
    tensor = cd.asarray(array)
    array[0] = 7
    assert tensor.tolist() == [1, 1, 1]
    view = np.asarray(tensor)
    assert np.shares_memory(view, np.asarray(tensor)) and not view.flags.writeable
    del tensor
    gc.collect()
    assert view.tolist() == [1, 1, 1]
    changed = np.array(cd.asarray(view))
    changed[0] = 5
    assert view.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1, "int64", ()),
        (1.5, "float32", ()),
        (True, "bool", ()),
        ([1, 2.5], "float32", (2,)),
        ([[1], [2]], "int64", (2, 1)),
        ([], "float32", (0,)),
        ((True, False), "bool", (2,)),
        (range(3), "int64", (3,)),
    ],
)
def test_numbers_and_lists(value: Any, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = cd.asarray(list(value) if isinstance(value, range) else value)
    assert (tensor.dtype.name, tensor.shape) == (dtype, shape)


def test_lists_of_tensors_and_arrays_are_stacked() -> None:
    assert cd.asarray([cd.zeros(2), np.ones(2, "float32")]).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("name", "add sub mul truediv floordiv mod pow lt le gt ge eq ne".split())
@pytest.mark.parametrize("other", [2.5, 2, X[0, 0], X[:, :1], cd.asarray(X)], ids="float int row column tensor".split())
def test_operators_are_numpys(name: str, other: Any) -> None:
    apply: Callable[[Any, Any], Any] = getattr(operator, name)
    tensor, plain = cd.asarray(X), np.asarray(other) if isinstance(other, cd.Tensor) else other
    with np.errstate(divide="ignore", invalid="ignore"):
        for mine, theirs in ((apply(tensor, other), apply(X, plain)), (apply(other, tensor), apply(plain, X))):
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(np.asarray(mine), theirs, rtol=1e-6)


@pytest.mark.parametrize("name", "and_ or_ xor lshift rshift".split())
def test_bit_operators_are_numpys(name: str) -> None:
    apply: Callable[[Any, Any], Any] = getattr(operator, name)
    array = np.arange(5, dtype="int32")
    np.testing.assert_array_equal(np.asarray(apply(cd.asarray(array), 3)), apply(array, 3))
    np.testing.assert_array_equal(np.asarray(apply(3, cd.asarray(array))), apply(3, array))
    np.testing.assert_array_equal(np.asarray(~cd.asarray(array)), ~array)


def test_division_of_integers_rounds_down_and_never_fails() -> None:
    x, y = np.array([7, -7, 7, -7, 6, 5, -(2**31)], "int32"), np.array([3, 3, -3, -3, -3, 0, -1], "int32")
    with np.errstate(divide="ignore", over="ignore"):
        expected = [(x // y).tolist(), (x % y).tolist()]
    assert [part.tolist() for part in divmod(cd.asarray(x), y)] == expected
    assert [part.tolist() for part in divmod(7, cd.asarray(y))] == [[2, 2, -3, -3, -3, 0, -7], [1, 1, -2, -2, -2, 0, 0]]
    weight = cd.Variable([7.5, -7.5])
    assert (weight // 2).tolist() == [3, -4] and (20 % weight).tolist() == [5, -2.5]


def test_unary_operators_and_matmul() -> None:
    x = cd.asarray([[1.0, -2.0], [3.0, 4.0]])
    assert (-x).tolist() == [[-1, 2], [-3, -4]]
    assert (+x).tolist() == x.tolist()
    assert abs(x).tolist() == [[1, 2], [3, 4]]
    assert (x @ x).tolist() == (np.asarray(x) @ np.asarray(x)).tolist()
    assert (np.asarray(x) @ x).tolist() == (x @ x).tolist()
    assert (x @ [1.0, 1.0]).tolist() == [-1, 7]


@pytest.mark.parametrize(
    ("left", "right", "dtype"),
    [
        ("int8", "uint8", "int16"),
        ("float16", "float32", "float32"),
        ("int32", "int64", "int64"),
        ("float16", "bfloat16", "float32"),
    ],
)
def test_dtypes_promote_as_in_the_array_api(left: str, right: str, dtype: str) -> None:
    assert (cd.ones(1, dtype=left) + cd.ones(1, dtype=right)).dtype == dtype
    assert cd.result_type(left, right) == dtype


@pytest.mark.parametrize("dtype", [*DTYPES[1:], "bfloat16"])
def test_numbers_take_the_other_operands_dtype(dtype: str) -> None:
    x = cd.ones(2, dtype=dtype)
    assert (x + 1).dtype == (1 + x).dtype == cd.maximum(x, 0).dtype == cd.where([True, False], x, 0).dtype == dtype
    assert (x + 1).tolist() == [2, 2]


KEYS: list[Any] = [
    0,
    -1,
    (0, 1),
    (1, 2, 3),
    (0, -1, -1),
    slice(None),
    slice(1, None),
    (slice(None), slice(None, None, 2)),
    (slice(None), slice(2, 0, -1)),
    (Ellipsis, 0),
    (0, Ellipsis),
    (None, 0),
    (Ellipsis, None),
    (slice(None), None, 1),
    (slice(0, 0),),
    (slice(-2, 5), slice(1, 100)),
    (slice(None), 1, slice(3, None, -2)),
    [1, 0, 1],
    np.array([[0, 1], [1, 1]]),
    (slice(None), [2, 0]),
    (0, [2, 0]),
    (Ellipsis, np.array([0, -1])),
    (),
    (Ellipsis,),
    np.int64(1),
    (None, None),
    ([0, 1], [2, 0]),
    ([[0], [1]], [2, 0]),
    ([0, 1], [2, 0], [3, -1]),
    (slice(None), [2, 0], [3, -1]),
    ([0, 1], slice(None), [3, -1]),
    ([0, 1], slice(2, 0, -1), np.array([[3], [-1]])),
    (0, slice(None), [3, 1]),
    ([1, 0, 1], Ellipsis, 2),
    (0, [2, 1], 3),
    (slice(None), 1, [[0, 1], [2, 3]]),
    ([0, 1], None, [2, 0]),
    (None, [0, 1], [2, 0], None),
    (None, [0, 1], slice(None), [2, 0]),
    (slice(None), None, [2, 0], [1, 1]),
    (np.zeros((0,), int), [2]),
    (np.array([1, 0], "uint8"), np.array([2, 0], "int16")),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_indexing_is_numpys(key: Any) -> None:
    mine = cd.asarray(X)[key]
    assert mine.shape == X[key].shape
    np.testing.assert_array_equal(np.asarray(mine), X[key])


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_indexing_of_symbolic_shapes_is_numpys(key: Any) -> None:
    @cd.function(signature={"x": "float32[a, b, 4]"})
    def part(x: cd.Tensor) -> cd.Tensor:
        return x[key]

    np.testing.assert_array_equal(np.asarray(part(X)), X[key])


def test_arrays_of_indices_are_checked() -> None:
    x = cd.asarray(X)
    rows: list[tuple[Any, type[Exception], str]] = [
        (([0, 2], [0, 1]), IndexError, "index: 2 is out of bounds for axis 0, which has size 2"),
        (([0, 1], slice(None), [4, 0]), IndexError, "index: 4 is out of bounds for axis 2, which has size 4"),
        (([0, 1], [0, 1, 2]), ValueError, "index: arrays of shapes [2] and [3] cannot be broadcast together"),
    ]
    for key, kind, message in rows:
        with pytest.raises(kind) as raised:
            x[key]
        assert str(raised.value).startswith(message)


def test_iteration_and_unpacking() -> None:
    rows = list(cd.asarray([[1, 2], [3, 4]]))
    assert [row.tolist() for row in rows] == [[1, 2], [3, 4]]
    first, second = cd.asarray([5, 6])
    assert (int(first), int(second)) == (5, 6)
    assert len(cd.zeros((3, 2))) == 3


def test_scalars_are_pythons_numbers() -> None:
    assert float(cd.asarray(2.5)) == 2.5
    assert int(cd.asarray([7])) == 7
    assert [10, 20, 30][cd.asarray(1)] == 20
    assert bool(cd.asarray(True)) and not cd.asarray(0.0)
    assert cd.asarray(3).item() == 3 and complex(cd.asarray(1.5)) == 1.5


def test_attributes_of_the_array_api() -> None:
    x = cd.asarray(X)
    assert x.device == "cpu" and x.to_device("cpu") is x
    assert x.mT.shape == (2, 4, 3) and x[0].T.shape == (4, 3)
    assert x.__array_namespace__() is cd
    assert cd.asarray([True]).dtype == cd.bool == np.dtype(bool)


def test_tensors_pickle_and_copy() -> None:
    for x in (cd.asarray(X), cd.asarray([1.5], dtype="bfloat16"), cd.asarray(3)):
        back = pickle.loads(pickle.dumps(x))
        assert back.dtype is x.dtype and back.tolist() == x.tolist()
        assert copy.copy(x) is x and copy.deepcopy(x) is x


def test_tensors_have_no_hash_and_variables_have() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(cd.zeros(1))
    variable = cd.Variable(1.0)
    assert {variable: 1}[variable] == 1


def test_bfloat16_is_rounded_to_nearest_even_and_read_as_float32() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = [1.0, 1.00390625, 1.01171875, 3.1415927, -0.1, 1e38, float("inf"), float("-inf"), 0.0, 5e-40]
    expected = np.array(numbers, "float32").astype(ml_dtypes.bfloat16)
    for tensor in (
        cd.asarray(numbers, dtype="bfloat16"),
        cd.asarray(expected),
        cd.asarray(np.array(numbers, "float32"), dtype="bfloat16"),
    ):
        assert tensor.dtype is cd.bfloat16
        assert np.asarray(tensor).dtype == "float32"
        np.testing.assert_array_equal(np.asarray(tensor), expected.astype("float32"))
    assert np.isnan(cd.asarray(float("nan"), dtype="bfloat16").item())


def test_dlpack_shares_memory_both_ways() -> None:
    array = np.arange(6, dtype="float32").reshape(2, 3)
    tensor = cd.from_dlpack(array)
    assert np.shares_memory(np.asarray(tensor), array)
    back = np.from_dlpack(tensor)
    assert np.shares_memory(back, array) and not back.flags.writeable
    del tensor
    gc.collect()
    assert back.tolist() == array.tolist()
    assert tensor_device(cd.zeros(1)) == (1, 0)


def tensor_device(x: cd.Tensor) -> tuple[int, int]:
    return x.__dlpack_device__()


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_dlpack_capsules_that_nobody_takes_are_freed(version: tuple[int, int] | None) -> None:
    tensor = cd.zeros(1000)
    for _ in range(100):
        tensor.__dlpack__(max_version=version)
    assert cd.from_dlpack(tensor).shape == (1000,)


def test_dlpack_takes_strides_by_copying() -> None:
    array = np.arange(6, dtype="int16").reshape(2, 3)
    assert cd.from_dlpack(array.T).tolist() == array.T.tolist()
    if np.lib.NumpyVersion(np.__version__) >= "1.25.0":
        assert cd.from_dlpack(np.array([True, False])).tolist() == [True, False]


def test_asarray_without_a_copy() -> None:
    array = np.ones(3, "float32")
    assert np.shares_memory(np.asarray(cd.asarray(array, copy=False)), array)
    with pytest.raises(ValueError, match="without a copy"):
        cd.asarray(array[::2], copy=False)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(cd.asarray(array), dtype="float64", copy=False) if np.__version__ >= "2" else cd.asarray(
            array[::2], copy=False
        )


def test_repr_shows_values_or_the_spec() -> None:
    assert repr(cd.asarray([1, 2])) == "Tensor([1, 2], dtype=int64)"
    shown = []
    cd.function(lambda x: shown.append(repr(x)) or x).trace(cd.TensorSpec(["n", 2]))
    assert shown == ["Tensor(float32[n, 2])"]


def test_creation_functions_are_numpys() -> None:
    cases: list[tuple[cd.Tensor, Any]] = [
        (cd.arange(5), np.arange(5)),
        (cd.arange(2, 9, 3), np.arange(2, 9, 3)),
        (cd.arange(5, 0, -2), np.arange(5, 0, -2)),
        (cd.arange(0, 1, 0.25), np.arange(0, 1, 0.25)),
        (cd.linspace(0, 1, 5), np.linspace(0, 1, 5)),
        (cd.eye(2, 3, k=1), np.eye(2, 3, 1)),
        (cd.full((2,), 3), np.full(2, 3)),
        (cd.full((), 2.5), np.full((), 2.5)),
        (cd.ones_like(cd.arange(3)), np.ones(3)),
        (cd.stack([cd.arange(2), cd.arange(2)], axis=-1), np.stack([np.arange(2)] * 2, -1)),
        (cd.concat([cd.zeros((1, 2)), cd.ones((1, 2))], axis=None), [0, 0, 1, 1]),
        (cd.flip(cd.arange(3)), [2, 1, 0]),
        (cd.squeeze(cd.zeros((1, 2, 1)), axis=-1), np.zeros((1, 2))),
        (cd.permute_dims(cd.asarray(X), (2, 0, 1)), X.transpose(2, 0, 1)),
        (cd.clip(cd.arange(5), 1, 3), np.clip(np.arange(5), 1, 3)),
        (cd.std(cd.asarray(X), axis=1), X.std(1)),
        (cd.take(cd.asarray(X), [1, -1], axis=2), X.take([1, -1], 2)),
        (cd.broadcast_to(cd.arange(3), (2, 3)), np.tile(np.arange(3), (2, 1))),
    ]
    for mine, theirs in cases:
        np.testing.assert_allclose(np.asarray(mine), theirs, rtol=1e-6)


def test_reductions_take_one_axis_or_several() -> None:
    for axis in (None, 0, -1, (0, 2), [1]):
        theirs = X.sum(axis=tuple(axis) if isinstance(axis, list) else axis)
        np.testing.assert_allclose(np.asarray(cd.sum(cd.asarray(X), axis=axis)), theirs)
    assert cd.max(cd.asarray(X), axis=(0, 1), keepdims=True).shape == (1, 1, 4)


def test_windows_take_one_number_for_all_axes() -> None:
    x = cd.asarray(np.random.default_rng(0).random((1, 8, 8, 2), "float32"))
    assert cd.max_pool(x, window=2).shape == cd.max_pool(x, window=[2, 2]).shape == (1, 4, 4, 2)
    kernel = cd.ones((3, 3, 2, 4))
    assert cd.conv(x, kernel, strides=2, padding="same").shape == (1, 4, 4, 4)


def test_numpy_functions_take_tensors() -> None:
    assert np.exp(cd.zeros(2)).tolist() == [1, 1]
    assert (np.float32(2) * cd.ones(2)).tolist() == [2, 2] and isinstance(np.ones(2, "float32") + cd.ones(2), cd.Tensor)
    assert np.zeros(2, cd.int8).dtype == "int8"


def test_many_ops_leak_nothing() -> None:
    import resource

    x = cd.ones(250_000)
    for _ in range(20):
        x = x * 1.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(500):
        x = x * 1.0
    # A leak would be 500 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_consumer_of_dlpack_that_fails_says_so() -> None:
    with pytest.raises((BufferError, RuntimeError), match="[Uu]nsupported dtype"):
        np.from_dlpack(cd.zeros(2, dtype="bfloat16"))


def test_slices_beyond_64_bits_are_clamped() -> None:
    array = np.arange(4)
    tensor = cd.asarray(array)
    for key in (slice(2**70, None), slice(None, -(2**70), -1), slice(-(2**70), 2**70, 2**70)):
        assert tensor[key].tolist() == array[key].tolist()


def test_nothing_equals_none() -> None:
    x: Any = cd.zeros(())
    assert (x == None) is False and (x != None) is True  # noqa: E711
