"""Tensors from nothing, from numbers and from other libraries' arrays."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from . import _dispatch
from . import tracer as _tracer
from ._dispatch import ArrayLike, apply, as_tensor
from .device import Device
from .dims import Dim, DimLike, as_shape
from .dtypes import DType, DTypeLike, as_dtype, float32, int64
from .errors import ArgumentError, make
from .tensor import Tensor, from_dlpack, placed
from .variable import Variable

__all__ = [
    "arange",
    "asarray",
    "empty",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]

ShapeLike: TypeAlias = "Sequence[DimLike | str] | DimLike"
"""A shape: dims in order, or one dim alone."""


def asarray(
    obj: ArrayLike, /, *, dtype: DTypeLike | None = None, device: str | Device | None = None, copy: bool | None = None
) -> Tensor:
    """A tensor of numbers, lists, an array of another library, or a tensor.

    Args:
        obj: Numbers and (nested) lists become float32, int64 or bool; arrays keep their dtype.
        dtype: The dtype of the result; what has another is cast.
        device: Where to: ``"cpu"``, ``"gpu:0"``, ...; left out, where the context says, else the CPU.
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
    if copy is False and not isinstance(obj, Tensor | Variable):
        return _lend(obj, wanted, device)
    tensor = as_tensor(obj, wanted)
    if wanted is not None:
        if copy is False and tensor.dtype is not wanted:
            raise _refuse_copy(tensor)
        tensor = _dispatch.cast(tensor, wanted)
    result = placed(tensor, device)
    if copy is False and result is not tensor:
        raise _refuse_copy(tensor)
    return result


def _lend(obj: object, wanted: DType | None, device: str | Device | None) -> Tensor:
    """A tensor over the memory of another library's array."""
    if not hasattr(obj, "__dlpack__") or (isinstance(obj, np.ndarray) and not obj.dtype.isnative):
        raise _refuse_copy(obj)
    try:
        tensor = from_dlpack(obj, device=device, copy=False)
    except (BufferError, ArgumentError):
        raise _refuse_copy(obj) from None
    if wanted is not None and tensor.dtype is not wanted:
        raise _refuse_copy(obj)
    return tensor


def _refuse_copy(obj: object) -> ArgumentError:
    what = "array" if isinstance(obj, np.ndarray) else type(obj).__name__
    return make(ArgumentError, f"the {what} cannot be taken without a copy", op="asarray", argument="copy")


def full(
    shape: ShapeLike, fill_value: ArrayLike, *, dtype: DTypeLike | None = None, device: str | Device | None = None
) -> Tensor:
    """A tensor whose elements are all one number.

    Args:
        shape: Its shape; the dims may be those of a traced tensor.
        fill_value: The number, or a scalar tensor.
        dtype: Its dtype; left out, that of the number: float32, int64 or bool.
        device: Where to: ``"cpu"``, ``"gpu:0"``, ...; left out, where the context says, else the CPU.

    Raises:
        ArgumentError: not a shape, or a negative size.
        DTypeError: the dtype cannot hold the number.

    Example:
        >>> import caudal as cd
        >>> cd.full((2,), 7)
        Tensor([7, 7], dtype=int64)
    """
    filled = apply("broadcast_to", (asarray(fill_value, dtype=dtype),), {"shape": checked_shape(shape)})
    return filled if device is None else filled.to_device(device)


def checked_shape(shape: object) -> tuple[DimLike, ...]:
    """The shape that is meant, without negative sizes."""
    dims = as_shape(shape)
    negative = [dim for dim in dims if isinstance(dim, int) and dim < 0]
    if negative:
        raise make(ArgumentError, f"{negative[0]} is not a size", argument="shape", location=_tracer.user_location())
    return dims


def zeros(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | Device | None = None) -> Tensor:
    """A tensor of zeros.

    Args:
        shape: Its shape; the dims may be those of a traced tensor.
        dtype: Its dtype.
        device: Where to: ``"cpu"``, ``"gpu:0"``, ...; left out, where the context says, else the CPU.

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


def ones(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | Device | None = None) -> Tensor:
    """A tensor of ones; see `zeros`.

    Example:
        >>> import caudal as cd
        >>> cd.ones(3)
        Tensor([1., 1., 1.], dtype=float32)
    """
    return full(shape, True, dtype=dtype, device=device)


def empty(shape: ShapeLike, *, dtype: DTypeLike = float32, device: str | Device | None = None) -> Tensor:
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
    device: str | Device | None = None,
) -> Tensor:
    """Numbers from ``start`` to before ``stop``, ``step`` apart; with one number, from 0 to before it.

    Args:
        start: The first number; an integer dim of a traced tensor, where it stands alone.
        stop: The number before which they end.
        step: The difference between neighbours.
        dtype: The dtype; left out, int64, or float32 if one of the numbers is a float.
        device: Where to: ``"cpu"``, ``"gpu:0"``, ...; left out, where the context says, else the CPU.

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
