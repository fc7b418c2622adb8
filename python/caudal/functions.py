"""Functions whose array API name or signature differs from the op's, and those made of other ops."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from . import _convert, _dispatch, _indexing
from . import tracer as _tracer
from ._dispatch import ArrayLike, apply, as_tensor
from .dims import Dim, DimLike, as_shape
from .dtypes import DType, DTypeLike, as_dtype, bool_, float32, int64
from .errors import ArgumentError, DTypeError, ShapeError, make
from .tensor import Tensor, from_dlpack

__all__ = [
    "arange",
    "asarray",
    "astype",
    "broadcast_arrays",
    "broadcast_to",
    "clip",
    "concat",
    "divide",
    "dropout",
    "empty",
    "expand_dims",
    "eye",
    "flip",
    "full",
    "full_like",
    "isdtype",
    "isfinite",
    "isinf",
    "isnan",
    "linspace",
    "matrix_transpose",
    "max_pool",
    "multiply",
    "negative",
    "ones",
    "ones_like",
    "permute_dims",
    "positive",
    "reciprocal",
    "reshape",
    "result_type",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "take",
    "zeros",
    "zeros_like",
]

ShapeLike: TypeAlias = "Sequence[DimLike | str] | DimLike"


def asarray(
    obj: ArrayLike, /, *, dtype: DTypeLike | None = None, device: str | None = None, copy: bool | None = None
) -> Tensor:
    """A tensor of numbers, lists, an array of another library, or a tensor.

    Args:
        obj: Numbers and (nested) lists become float32, int64 or bool; arrays keep their dtype.
        dtype: The dtype of the result; what has another is cast.
        device: ``"cpu"``.
        copy: False refuses to copy: the tensor then shares the memory of ``obj``, which must not change any more.

    Raises:
        DTypeError: a dtype that caudal lacks, or a number that the dtype cannot hold.
        ArgumentError: something that is no array.
        ValueError: ``copy=False``, and it cannot be had without.

    Example:
        >>> import numpy as np
        >>> import caudal as cd
        >>> cd.asarray([1, 2.5]), cd.asarray(np.arange(3, dtype="int16"))
        (Tensor([1. , 2.5], dtype=float32), Tensor([0, 1, 2], dtype=int16))
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if copy is False and isinstance(obj, np.ndarray):
        if wanted not in (None, obj.dtype) or not obj.flags.c_contiguous:
            raise make(ArgumentError, "the array cannot be taken without a copy", op="asarray", argument="copy")
        return from_dlpack(obj)
    tensor = as_tensor(obj, wanted)
    if wanted is not None:
        tensor = _dispatch.cast(tensor, wanted)
    return tensor if device is None else tensor.to_device(device)


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


def full(
    shape: ShapeLike, fill_value: ArrayLike, *, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """A tensor whose elements are all one number.

    Args:
        shape: Its shape; the dims may be those of a traced tensor.
        fill_value: The number, or a scalar tensor.
        dtype: Its dtype; left out, that of the number: float32, int64 or bool.
        device: ``"cpu"``.

    Raises:
        ArgumentError: not a shape, or a negative size.
        DTypeError: the dtype cannot hold the number.

    Example:
        >>> import caudal as cd
        >>> cd.full((2,), 7)
        Tensor([7, 7], dtype=int64)
    """
    value = asarray(fill_value, dtype=dtype, device=device)
    return apply("broadcast_to", (value,), {"shape": _shape(shape)})


def _shape(shape: object) -> tuple[DimLike, ...]:
    dims = as_shape(shape)
    negative = [dim for dim in dims if isinstance(dim, int) and dim < 0]
    if negative:
        raise make(ArgumentError, f"{negative[0]} is not a size", argument="shape", location=_tracer.user_location())
    return dims


def zeros(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | None = None) -> Tensor:
    """A tensor of zeros.

    Args:
        shape: Its shape; the dims may be those of a traced tensor.
        dtype: Its dtype.
        device: ``"cpu"``.

    Raises:
        ArgumentError: not a shape, or a negative size.
        DTypeError: no such dtype.

    Example:
        >>> import caudal as cd
        >>> cd.zeros((2, 2), dtype="int8")
        Tensor([[0, 0],
                [0, 0]], dtype=int8)
    """
    return full(shape, False, dtype=dtype, device=device)


def ones(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | None = None) -> Tensor:
    """A tensor of ones; see `zeros`.

    Example:
        >>> import caudal as cd
        >>> cd.ones(3)
        Tensor([1., 1., 1.], dtype=float32)
    """
    return full(shape, True, dtype=dtype, device=device)


def empty(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | None = None) -> Tensor:
    """A tensor whose elements nobody may rely on; they are zeros.

    Example:
        >>> import caudal as cd
        >>> cd.empty((2, 3)).shape
        (2, 3)
    """
    return zeros(shape, dtype=dtype, device=device)


def full_like(x: ArrayLike, /, fill_value: ArrayLike, *, dtype: DTypeLike | None = None) -> Tensor:
    """A tensor of the shape and dtype of another whose elements are all one number.

    Example:
        >>> import caudal as cd
        >>> cd.full_like(cd.zeros(2), 3)
        Tensor([3., 3.], dtype=float32)
    """
    like = as_tensor(x)
    return full(like.shape, fill_value, dtype=like.dtype if dtype is None else dtype)


def zeros_like(x: ArrayLike, /, *, dtype: DTypeLike | None = None) -> Tensor:
    """A tensor of zeros of the shape and dtype of another.

    Example:
        >>> import caudal as cd
        >>> cd.zeros_like(cd.asarray([1, 2]))
        Tensor([0, 0], dtype=int64)
    """
    like = as_tensor(x)
    return zeros(like.shape, dtype=like.dtype if dtype is None else dtype)


def ones_like(x: ArrayLike, /, *, dtype: DTypeLike | None = None) -> Tensor:
    """A tensor of ones of the shape and dtype of another.

    Example:
        >>> import caudal as cd
        >>> cd.ones_like(cd.asarray([True, False]))
        Tensor([ True,  True], dtype=bool)
    """
    like = as_tensor(x)
    return ones(like.shape, dtype=like.dtype if dtype is None else dtype)


def arange(
    start: DimLike | float,
    /,
    stop: DimLike | float | None = None,
    step: int | float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """Numbers from ``start`` to before ``stop``, ``step`` apart; with one number, from 0 to before it.

    Args:
        start: The first number; an integer dim of a traced tensor, where it stands alone.
        stop: The number before which they end.
        step: The difference between neighbours.
        dtype: The dtype; left out, int64, or float32 if one of the numbers is a float.
        device: ``"cpu"``.

    Raises:
        ArgumentError: a step of 0.

    Example:
        >>> import caudal as cd
        >>> cd.arange(2, 10, 3), cd.arange(3.0)
        (Tensor([2, 5, 8], dtype=int64), Tensor([0., 1., 2.], dtype=float32))
    """
    if stop is None:
        start, stop = 0, start
    floats = builtins.any(isinstance(number, float) for number in (start, stop, step))
    wanted = as_dtype(dtype) if dtype is not None else float32 if floats else int64
    if isinstance(start, Dim) or isinstance(stop, Dim):
        if step != 1 or isinstance(start, float) or isinstance(stop, float):
            raise make(ArgumentError, "with a symbolic dim the step is 1", op="arange", argument="step")
        count = apply("iota", (), {"shape": (stop - start,), "axis": 0, "dtype": wanted})
        return count if start == 0 else count + as_tensor(start, wanted)
    if step == 0:
        raise make(ArgumentError, "the step is 0", op="arange", argument="step")
    return asarray(np.arange(start, stop, step).astype(wanted.storage), dtype=wanted, device=device)


def linspace(start: float, stop: float, /, num: int, *, dtype: DTypeLike = float32, endpoint: bool = True) -> Tensor:
    """Numbers evenly spread from ``start`` to ``stop``, which is the last of them if ``endpoint`` says so.

    Example:
        >>> import caudal as cd
        >>> cd.linspace(0, 1, 5)
        Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    return asarray(np.linspace(start, stop, num, endpoint=endpoint).astype(np.float64), dtype=dtype)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DTypeLike = float32) -> Tensor:
    """A matrix with ones on a diagonal, the ``k``-th above the main one, and zeros elsewhere.

    Example:
        >>> import caudal as cd
        >>> cd.eye(2)
        Tensor([[1., 0.],
                [0., 1.]], dtype=float32)
    """
    return asarray(np.eye(n_rows, n_cols, k, dtype=np.int8), dtype=dtype)


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
    return apply("broadcast_to", (x,), {"shape": _shape(shape)})


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
    parts = _convert.operands("stack", list(arrays), ())
    return apply("concat", [expand_dims(part, axis=axis) for part in parts if part is not None], {"axis": axis})


def flip(x: ArrayLike, /, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """A tensor with the order of its elements reversed along some axes; None is all of them.

    Example:
        >>> import caudal as cd
        >>> cd.flip(cd.arange(3))
        Tensor([2, 1, 0], dtype=int64)
    """
    return apply("flip", (x,), {"axis": (axis,) if isinstance(axis, int) else axis})


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


def square(x: ArrayLike, /) -> Tensor:
    """Each element times itself.

    Example:
        >>> import caudal as cd
        >>> cd.square([1, -2])
        Tensor([1, 4], dtype=int64)
    """
    tensor = as_tensor(x)
    return tensor * tensor


def reciprocal(x: ArrayLike, /) -> Tensor:
    """One divided by each element, a float.

    Example:
        >>> import caudal as cd
        >>> cd.reciprocal([2.0, 4.0])
        Tensor([0.5 , 0.25], dtype=float32)
    """
    return apply("div", (1, as_tensor(x)), {})


def isnan(x: ArrayLike, /) -> Tensor:
    """Whether each element is NaN.

    Example:
        >>> import caudal as cd
        >>> cd.isnan([1.0, float("nan")])
        Tensor([False,  True], dtype=bool)
    """
    tensor = as_tensor(x)
    return apply("not_equal", (tensor, tensor), {})


def isinf(x: ArrayLike, /) -> Tensor:
    """Whether each element is infinite.

    Example:
        >>> import caudal as cd
        >>> cd.isinf([1.0, float("-inf")])
        Tensor([False,  True], dtype=bool)
    """
    tensor = as_tensor(x)
    if not tensor.dtype.is_float:
        return zeros(tensor.shape, dtype=bool_)
    return apply("equal", (apply("abs", (tensor,), {}), float("inf")), {})


def isfinite(x: ArrayLike, /) -> Tensor:
    """Whether each element is neither NaN nor infinite.

    Example:
        >>> import caudal as cd
        >>> cd.isfinite([1.0, float("inf"), float("nan")])
        Tensor([ True, False, False], dtype=bool)
    """
    tensor = as_tensor(x)
    if not tensor.dtype.is_float:
        return ones(tensor.shape, dtype=bool_)
    return apply("less", (apply("abs", (tensor,), {}), float("inf")), {})


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


def std(
    x: ArrayLike, /, *, axis: int | Sequence[int] | None = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Standard deviation over axes: the root of `caudal.var`.

    Example:
        >>> import caudal as cd
        >>> cd.std([1.0, 3.0])
        Tensor(1., dtype=float32)
    """
    axes = (axis,) if isinstance(axis, int) else axis
    variance = apply("var", (x,), {"axis": axes, "correction": float(correction), "keepdims": keepdims})
    return apply("sqrt", (variance,), {})


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

    return apply("dropout", (x, draw() if key is None else key), {"rate": float(rate)}, (None, "uint32"))


def max_pool(
    x: ArrayLike,
    /,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    padding_low: int | Sequence[int] | None = None,
    padding_high: int | Sequence[int] | None = None,
) -> Tensor:
    """The greatest element of each window of images ``[batch, spatial..., channels]``; see the op in docs/ops.md.

    Args:
        x: The images.
        window: The size of the window along each spatial axis, or one for all.
        strides: Steps between windows; those of the window if left out.
        padding: ``"valid"`` or ``"same"``.
        padding_low: What is padded before each spatial axis.
        padding_high: What is padded after each spatial axis.

    Raises:
        ShapeError: x has not one to three spatial axes, or a window is longer than the padded image.

    Example:
        >>> import caudal as cd
        >>> cd.max_pool(cd.zeros((1, 4, 4, 3)), 2).shape
        (1, 2, 2, 3)
    """
    from . import ops

    return ops.max_pool(
        x, window=window, strides=strides, padding=padding, padding_low=padding_low, padding_high=padding_high
    )


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
