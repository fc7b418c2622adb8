"""Functions whose array API name or signature differs from the op's, and those made of other ops."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _convert, _dispatch, _indexing
from . import tracer as _tracer
from ._dispatch import ArrayLike, apply, as_tensor
from .creation import ShapeLike, checked_shape, zeros, zeros_like
from .dims import as_shape
from .dtypes import DType, DTypeLike, as_dtype, bool_, int64
from .errors import ArgumentError, DTypeError, ShapeError, make
from .tensor import Tensor

__all__ = [
    "astype",
    "broadcast_arrays",
    "broadcast_to",
    "clip",
    "concat",
    "divide",
    "dropout",
    "expand_dims",
    "isdtype",
    "isfinite",
    "isinf",
    "isnan",
    "matrix_transpose",
    "multiply",
    "negative",
    "permute_dims",
    "positive",
    "reshape",
    "result_type",
    "squeeze",
    "stack",
    "subtract",
    "take",
]


def astype(x: ArrayLike, dtype: DTypeLike, /, *, copy: bool = True) -> Tensor:
    """A tensor in another dtype; see `caudal.cast` for how numbers are converted.

    Args:
        x: The tensor.
        dtype: The dtype of the result.
        copy: Has no meaning: a tensor never changes.

    Raises:
        DTypeError: no such dtype.

    Example:
        >>> import caudal as cd
        >>> cd.astype(cd.asarray([1.9, -1.9]), "int32")
        Tensor([ 1, -1], dtype=int32)
    """
    return _dispatch.cast(as_tensor(x), as_dtype(dtype))


def reshape(x: ArrayLike, /, shape: ShapeLike, *, copy: bool | None = None) -> Tensor:
    """The same elements in row-major order under another shape; one dim may be -1: what is left.

    Args:
        x: The tensor.
        shape: The new shape; the dims may be those of a traced tensor.
        copy: Has no meaning: a tensor never changes.

    Raises:
        ShapeError: a shape with another number of elements.

    Example:
        >>> import caudal as cd
        >>> cd.reshape(cd.arange(6), (2, -1))
        Tensor([[0, 1, 2],
                [3, 4, 5]], dtype=int64)
    """
    return apply("reshape", (x,), {"shape": as_shape(shape)})


def permute_dims(x: ArrayLike, /, axes: Sequence[int]) -> Tensor:
    """A tensor with its axes in another order: axis i of the result is axis ``axes[i]`` of x.

    Raises:
        ArgumentError: not each axis once.

    Example:
        >>> import caudal as cd
        >>> cd.permute_dims(cd.zeros((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    return apply("transpose", (x,), {"axes": tuple(axes)})


def matrix_transpose(x: ArrayLike, /) -> Tensor:
    """The transpose of each matrix in the last two axes.

    Example:
        >>> import caudal as cd
        >>> cd.matrix_transpose(cd.zeros((5, 2, 3))).shape
        (5, 3, 2)
    """
    return as_tensor(x).mT


def broadcast_to(x: ArrayLike, /, shape: ShapeLike) -> Tensor:
    """A tensor repeated to a shape by NumPy's rules.

    Raises:
        ShapeError: it cannot be.

    Example:
        >>> import caudal as cd
        >>> cd.broadcast_to(cd.arange(2), (2, 2))
        Tensor([[0, 1],
                [0, 1]], dtype=int64)
    """
    return apply("broadcast_to", (x,), {"shape": checked_shape(shape)})


def broadcast_arrays(*arrays: ArrayLike) -> list[Tensor]:
    """Tensors broadcast against each other.

    Raises:
        ShapeError: they cannot be.

    Example:
        >>> import caudal as cd
        >>> [x.shape for x in cd.broadcast_arrays(cd.zeros((2, 1)), cd.zeros(3))]
        [(2, 3), (2, 3)]
    """
    tensors = [as_tensor(array) for array in arrays]
    shape = tensors[0]
    for tensor in tensors[1:]:
        shape = apply("where", (True, zeros_like(shape, dtype=bool_), zeros_like(tensor, dtype=bool_)), {}, ("bool",))
    return [broadcast_to(tensor, shape.shape) for tensor in tensors]


def expand_dims(x: ArrayLike, /, *, axis: int = 0) -> Tensor:
    """A tensor with a new axis of size 1 before the axis of that number.

    Raises:
        OutOfBoundsError: no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.expand_dims(cd.zeros((2, 3)), axis=-1).shape
        (2, 3, 1)
    """
    tensor = as_tensor(x)
    place = _axis(axis, tensor.ndim + 1, "expand_dims")
    shape = tensor.shape
    return apply("reshape", (tensor,), {"shape": (*shape[:place], 1, *shape[place:])})


def _axis(axis: int, rank: int, op: str) -> int:
    if not -rank <= axis < rank:
        raise make(
            ArgumentError,
            f"axis {axis} is out of range for rank {rank}",
            op=op,
            argument="axis",
            location=_tracer.user_location(),
        )
    return axis % rank


def squeeze(x: ArrayLike, /, axis: int | Sequence[int]) -> Tensor:
    """A tensor without some axes of size 1.

    Raises:
        ShapeError: an axis of another size.
        ArgumentError: no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.squeeze(cd.zeros((1, 3, 1)), axis=(0, 2)).shape
        (3,)
    """
    tensor = as_tensor(x)
    shape = tensor.shape
    gone = {_axis(each, len(shape), "squeeze") for each in ((axis,) if isinstance(axis, int) else axis)}
    for each in sorted(gone):
        if shape[each] != 1:
            text = f"axis {each} has size {shape[each]}, not 1"
            raise make(ShapeError, text, op="squeeze", argument="axis", location=_tracer.user_location())
    kept = tuple(dim for position, dim in enumerate(shape) if position not in gone)
    return apply("reshape", (tensor,), {"shape": kept})


def concat(arrays: Sequence[ArrayLike], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis; their other dims are equal. With axis None they are flattened first.

    Raises:
        ShapeError: other dims that differ.
        ArgumentError: no arrays, or no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.concat([cd.zeros((1, 2)), cd.ones((2, 2))])
        Tensor([[0., 0.],
                [1., 1.],
                [1., 1.]], dtype=float32)
    """
    parts = list(arrays)
    if axis is None:
        parts, axis = [reshape(part, (-1,)) for part in parts], 0
    return apply("concat", parts, {"axis": axis})


def stack(arrays: Sequence[ArrayLike], /, *, axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis.

    Raises:
        ShapeError: shapes that differ.
        ArgumentError: no arrays, or no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.stack([cd.zeros(2), cd.ones(2)], axis=1)
        Tensor([[0., 1.],
                [0., 1.]], dtype=float32)
    """
    return apply("stack", list(arrays), {"axis": axis})


def take(x: ArrayLike, indices: ArrayLike, /, *, axis: int | None = None, fill: float | None = None) -> Tensor:
    """Elements at indices along an axis; the axis is replaced by those of the indices.

    Args:
        x: The tensor.
        indices: int32 or int64; negative ones count from the end.
        axis: The axis; it may be left out where x has one axis.
        fill: What an index outside gives; left out, it is an error if the indices are at hand, and NaN or 0 in a graph.

    Raises:
        OutOfBoundsError: an index outside of the axis.
        ArgumentError: no axis, though x has several.

    Example:
        >>> import caudal as cd
        >>> cd.take(cd.asarray([10, 20, 30]), [2, 0, -1])
        Tensor([30, 10, 30], dtype=int64)
    """
    tensor = as_tensor(x)
    if axis is None and tensor.ndim != 1:
        raise make(ArgumentError, f"the rank is {tensor.ndim}: give an axis", op="take", argument="axis")
    found = as_tensor(indices, int64)
    place = _axis(axis or 0, tensor.ndim, "take")
    if fill is None:
        _indexing.check_indices(tensor, found, place)
    return apply("take", (tensor, found), {"axis": place, "fill": fill})


def subtract(x1: ArrayLike, x2: ArrayLike, /) -> Tensor:
    """Difference: the array API's name for `caudal.sub`.

    Example:
        >>> import caudal as cd
        >>> cd.subtract(3, 1)
        Tensor(2, dtype=int64)
    """
    return apply("sub", (x1, x2), {})


def multiply(x1: ArrayLike, x2: ArrayLike, /) -> Tensor:
    """Product: the array API's name for `caudal.mul`.

    Example:
        >>> import caudal as cd
        >>> cd.multiply(3, 2)
        Tensor(6, dtype=int64)
    """
    return apply("mul", (x1, x2), {})


def divide(x1: ArrayLike, x2: ArrayLike, /) -> Tensor:
    """Quotient of floats: the array API's name for `caudal.div`.

    Example:
        >>> import caudal as cd
        >>> cd.divide(3.0, 2.0)
        Tensor(1.5, dtype=float32)
    """
    return apply("div", (x1, x2), {})


def negative(x: ArrayLike, /) -> Tensor:
    """Negative: the array API's name for `caudal.neg`.

    Example:
        >>> import caudal as cd
        >>> cd.negative(3)
        Tensor(-3, dtype=int64)
    """
    return apply("neg", (x,), {})


def positive(x: ArrayLike, /) -> Tensor:
    """The tensor itself.

    Example:
        >>> import caudal as cd
        >>> cd.positive(3)
        Tensor(3, dtype=int64)
    """
    return as_tensor(x)


def isnan(x: ArrayLike, /) -> Tensor:
    """Whether each element is NaN: the array API's name for `caudal.is_nan`.

    Example:
        >>> import caudal as cd
        >>> cd.isnan([1.0, float("nan")])
        Tensor([False,  True], dtype=bool)
    """
    return apply("is_nan", (x,), {})


def isinf(x: ArrayLike, /) -> Tensor:
    """Whether each element is infinite: the array API's name for `caudal.is_inf`.

    Example:
        >>> import caudal as cd
        >>> cd.isinf([1.0, float("-inf")])
        Tensor([False,  True], dtype=bool)
    """
    return apply("is_inf", (x,), {})


def isfinite(x: ArrayLike, /) -> Tensor:
    """Whether each element is neither NaN nor infinite: the array API's name for `caudal.is_finite`.

    Example:
        >>> import caudal as cd
        >>> cd.isfinite([1.0, float("inf"), float("nan")])
        Tensor([ True, False, False], dtype=bool)
    """
    return apply("is_finite", (x,), {})


def clip(x: ArrayLike, /, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Tensor:
    """Elements below ``min`` raised to it, those above ``max`` lowered to it; NaN stays.

    Example:
        >>> import caudal as cd
        >>> cd.clip([-1.0, 0.5, 2.0], 0, 1)
        Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    tensor = as_tensor(x)
    if min is not None:
        tensor = apply("maximum", (tensor, min), {})
    return tensor if max is None else apply("minimum", (tensor, max), {})


def dropout(x: ArrayLike, rate: float, key: ArrayLike | None = None) -> Tensor:
    """Elements set to 0 at random, the others divided by ``1 - rate``; what is kept on average is x.

    Args:
        x: A floating-point tensor.
        rate: The share of elements that become 0, in [0, 1).
        key: A random key. Left out, it is drawn from the generator that `caudal.random.seed` sets; in a traced
            function each call of that draws anew.

    Raises:
        ArgumentError: a rate outside of [0, 1).
        DTypeError: x is not floating-point.

    Example:
        >>> import caudal as cd
        >>> cd.dropout(cd.ones(8), 0.5, cd.random.key(3)).shape
        (8,)
    """
    from .random import draw

    if key is None:
        x = as_tensor(x)
        key = draw(x)
    return apply("dropout", (x, key), {"rate": float(rate)}, (None, "uint32"))


def isdtype(dtype: DTypeLike, kind: DTypeLike | str | tuple[DTypeLike | str, ...]) -> bool:
    """Whether a dtype is of a kind of the array API (``"real floating"``, ``"integral"``, ...), or one of several.

    Raises:
        ArgumentError: no such kind.

    Example:
        >>> import caudal as cd
        >>> cd.isdtype(cd.float32, "real floating"), cd.isdtype("int8", ("bool", "integral"))
        (True, True)
    """
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, each) for each in kind)
    found = as_dtype(dtype)
    kinds = {
        "bool": found.kind == "bool",
        "signed integer": found.kind == "signed",
        "unsigned integer": found.kind == "unsigned",
        "integral": found.is_integer,
        "real floating": found.is_float,
        "complex floating": False,
        "numeric": found.is_float or found.is_integer,
    }
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    try:
        return as_dtype(kind) is found
    except DTypeError:
        text = f"there is no kind {kind!r}; there are {', '.join(kinds)}"
        raise make(ArgumentError, text, op="isdtype", argument="kind") from None


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that operands are promoted to.

    Raises:
        DTypeError: they have no common dtype.

    Example:
        >>> import caudal as cd
        >>> cd.result_type(cd.int8, "uint8"), cd.result_type(cd.zeros(1), 2)
        (caudal.int16, caudal.float32)
    """

    def operand(value: Any) -> Any:
        if isinstance(value, DType | str | np.dtype | type):
            return zeros((), dtype=value)
        return value

    with _tracer.aside():
        operands = [operand(value) for value in arrays_and_dtypes]
        plain = [value for value in operands if _convert.is_plain(value)]
        tensors = [as_tensor(value) for value in operands if not _convert.is_plain(value)]
        if not tensors:
            return _convert.default_dtype(plain)
        result = zeros((), dtype=tensors[0].dtype)
        for tensor in tensors[1:]:
            result = apply("where", (True, result, zeros((), dtype=tensor.dtype)), {}, ("bool",))
        for value in plain:
            _convert.numbers(value, result.dtype)
        return result.dtype
