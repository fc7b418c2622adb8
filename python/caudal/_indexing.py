"""Indexing with integers, slices, ``...``, None and integer arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _dispatch
from . import tensor as _tensor
from . import tracer as _tracer
from . import variable as _variable
from .dims import Dim, DimLike
from .dtypes import int64
from .errors import ArgumentError, DTypeError, OutOfBoundsError, ShapeError, UnsupportedError, make

if TYPE_CHECKING:
    from .tensor import Tensor

_END = 2**63 - 1
"""As a start or stop of the op `slice`: the end, whatever the size."""

_BEFORE = -(2**63)
"""As a stop of the op `slice` with a negative step: before the first element."""


def index(x: Tensor, key: Any) -> Tensor:
    """Part of a tensor.

    Args:
        x: The tensor.
        key: For each axis an integer, a slice or an array of integers; ``...`` stands for the axes left out, None is a
            new axis of size 1. Arrays broadcast, and so do integers beside them; by NumPy's rule their axes come in
            the place of the first, or at the front if a slice, None or ``...`` stands between them.

    Raises:
        OutOfBoundsError: an integer outside of the axis (in a traced axis of symbolic size it gives NaN or 0).
        ArgumentError: too many indices, or something that is none.
        ShapeError: arrays that do not broadcast.
        UnsupportedError: a mask.
    """
    keys = _expand(key, x.ndim)
    _check_integers(x, keys)
    arrays = [entry for entry in keys if isinstance(entry, _tensor.Tensor)]
    if len(arrays) > 1 or (arrays and not _are_adjacent(keys)):
        return _gather(x, keys)
    array = arrays[0] if arrays else None
    x, keys = _take_from_symbolic(x, keys)
    x = _slice(x, keys)
    kept, axis, place, position = list[DimLike](), 0, 0, 0
    for entry in keys:
        if entry is None:
            kept.append(1)
            continue
        if not isinstance(entry, int):
            if entry is array and array is not None:
                place = position
            kept.append(x.shape[axis])
        axis += 1
        position = len(kept)
    if len(kept) != x.ndim or None in [entry for entry in keys if entry is None]:
        x = _dispatch.apply("reshape", (x,), {"shape": tuple(kept)})
    return x if array is None else _take(x, array, place)


def _expand(key: Any, rank: int) -> list[Any]:
    """One entry for each axis, and None for each new one."""
    keys = [_simple(entry) for entry in (key if isinstance(key, tuple) else (key,))]
    ellipses = sum(entry is Ellipsis for entry in keys)
    given = sum(entry is not None and entry is not Ellipsis for entry in keys)
    if ellipses > 1:
        raise _refuse(ArgumentError, "an index has one ... at most")
    if given > rank:
        raise _refuse(OutOfBoundsError, f"{given} indices for rank {rank}")
    if not ellipses:
        keys.append(Ellipsis)
    place = next(position for position, entry in enumerate(keys) if entry is Ellipsis)
    return [*keys[:place], *[slice(None)] * (rank - given), *keys[place + 1 :]]


def _simple(entry: Any) -> Any:
    """An entry as an int, a slice, None, ``...`` or a tensor."""
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, bool | np.bool_):
        raise _refuse(UnsupportedError, "masks are not supported; use where")
    if isinstance(entry, int | np.integer):
        return int(entry)
    if isinstance(entry, _tensor.Tensor | _variable.Variable | np.ndarray | list | Dim):
        tensor = _dispatch.as_tensor(entry, None)
        if tensor.dtype.kind == "bool":
            raise _refuse(UnsupportedError, "masks are not supported; use where")
        if not tensor.dtype.is_integer:
            raise _refuse(DTypeError, f"an index is {tensor.dtype}, not an integer")
        scalar = tensor.ndim == 0 and tensor._handle is not None and tensor._tracer is None
        return int(tensor) if scalar else tensor
    raise _refuse(ArgumentError, f"{type(entry).__name__} is no index; use integers, slices, ..., None or an array")


def _refuse(kind: Any, text: str) -> Exception:
    error: Exception = make(kind, text, op="index", argument="key", location=_tracer.user_location())
    return error


def _check_integers(x: Tensor, keys: Sequence[Any]) -> None:
    """Refuses integers that are outside of axes of known size."""
    for axis, (size, entry) in enumerate(zip(x.shape, [key for key in keys if key is not None], strict=True)):
        if isinstance(entry, int) and isinstance(size, int) and not -size <= entry < size:
            text = f"{entry} is out of bounds for axis {axis}, which has size {size}"
            raise _refuse(OutOfBoundsError, text)


def _take_from_symbolic(x: Tensor, keys: list[Any]) -> tuple[Tensor, list[Any]]:
    """Takes the integers of axes whose size is symbolic, from the last to the first."""
    axes = [position for position, entry in enumerate(keys) if entry is not None]
    for axis in range(len(axes) - 1, -1, -1):
        entry = keys[axes[axis]]
        if isinstance(entry, int) and isinstance(x.shape[axis], Dim):
            x = _dispatch.apply("take", (x, entry), {"axis": axis}, (None, "int64"))
            keys = [*keys[: axes[axis]], *keys[axes[axis] + 1 :]]
    return x, keys


def _are_adjacent(keys: Sequence[Any]) -> bool:
    """Whether no other entry stands between integers and arrays."""
    advanced = [position for position, entry in enumerate(keys) if isinstance(entry, int | _tensor.Tensor)]
    return advanced[-1] - advanced[0] == len(advanced) - 1


def _gather(x: Tensor, keys: Sequence[Any]) -> Tensor:
    """Elements at several arrays of indices, or at one with integers apart from it."""
    advanced = [(axis, entry) for axis, entry in enumerate(key for key in keys if key is not None) if _picks(entry)]
    axes = [axis for axis, _ in advanced]
    arrays = [_dispatch.as_tensor(entry, int64) for _, entry in advanced]
    for axis, array in zip(axes, arrays, strict=True):
        check_indices(x, array, axis)
    tuples = _tuples(arrays)
    count = tuples.ndim - 1
    # The picked axes go to the front, and what comes of them to the place that NumPy's rule says.
    x = _slice(x, [slice(None) if _picks(entry) else entry for entry in keys])
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    output = _transpose(x, (*axes, *rest))
    output = _dispatch.apply("gather", (output, tuples), {"batch_dims": 0, "fill": None})
    place = axes[0] if _are_adjacent(keys) else 0
    front = (*range(count, count + place), *range(count), *range(count + place, output.ndim))
    output = _transpose(output, front)
    return _with_new_axes(output, keys, count) if len(axes) + len(rest) < len(keys) else output


def _picks(entry: Any) -> bool:
    return isinstance(entry, int | _tensor.Tensor)


def _tuples(arrays: Sequence[Tensor]) -> Tensor:
    """Arrays of indices broadcast together, as int64 along a new last axis."""
    from .functions import broadcast_arrays, stack

    try:
        arrays = broadcast_arrays(*arrays)
    except ShapeError:
        shapes = " and ".join(str(list(array.shape)) for array in arrays)
        raise _refuse(ShapeError, f"arrays of shapes {shapes} cannot be broadcast together") from None
    wide = [_dispatch.cast(array, int64) for array in arrays]
    return stack(wide, axis=-1)


def _transpose(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x if axes == tuple(range(x.ndim)) else _dispatch.apply("transpose", (x,), {"axes": axes})


def _with_new_axes(x: Tensor, keys: Sequence[Any], count: int) -> Tensor:
    """The output of a gather with an axis of size 1 for each None; ``count`` of its axes come of the arrays."""
    dims = list(x.shape)
    shape: list[DimLike] = []
    left = count
    if not _are_adjacent(keys):
        shape, dims, left = dims[:count], dims[count:], 0
    for entry in keys:
        if entry is None:
            shape.append(1)
        elif not _picks(entry):
            shape.append(dims.pop(0))
        else:
            shape, dims, left = [*shape, *dims[:left]], dims[left:], 0
    return _dispatch.apply("reshape", (x,), {"shape": tuple(shape)})


def _slice(x: Tensor, keys: Sequence[Any]) -> Tensor:
    """The tensor cut along each axis; an integer leaves an axis of size 1."""
    shape = x.shape
    start: list[DimLike] = []
    stop: list[DimLike] = []
    step: list[int] = []
    for entry in keys:
        if entry is None:
            continue
        size = shape[len(start)]
        if isinstance(entry, int):
            assert isinstance(size, int)
            entry %= size
            entry = slice(entry, entry + 1, 1)
        elif not isinstance(entry, slice):
            entry = slice(None)
        first, last, stride = _bounds(entry)
        start.append(first)
        stop.append(last)
        step.append(stride)
    whole = all(
        first == 0 and last == _END and stride == 1 for first, last, stride in zip(start, stop, step, strict=True)
    )
    if whole:
        return x
    return _dispatch.apply("slice", (x,), {"start": tuple(start), "stop": tuple(stop), "step": tuple(step)})


def _bounds(entry: slice) -> tuple[DimLike, DimLike, int]:
    step = 1 if entry.step is None else _clamp(entry.step.__index__())
    if step == 0:
        raise _refuse(ArgumentError, "the step of a slice is 0")
    start, stop = (
        bound if bound is None or isinstance(bound, Dim) else _clamp(bound.__index__())
        for bound in (entry.start, entry.stop)
    )
    if start is None:
        start = 0 if step > 0 else _END
    if stop is None:
        stop = _END if step > 0 else _BEFORE
    return start, stop, step


def _clamp(bound: int) -> int:
    return max(_BEFORE, min(bound, _END))


def _take(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Elements at indices along an axis; those at hand are looked at first."""
    check_indices(x, indices, axis)
    if indices.dtype.name not in ("int32", "int64"):
        indices = _dispatch.apply("cast", (indices,), {"dtype": "int64"})
    return _dispatch.apply("take", (x, indices), {"axis": axis})


def check_indices(x: Tensor, indices: Tensor, axis: int) -> None:
    """Refuses indices at hand that are outside of an axis of known size.

    Raises:
        OutOfBoundsError: one is.
    """
    size = x.shape[axis]
    if indices._handle is None or not isinstance(size, int):
        return
    values = indices.numpy()
    outside = values[(values < -size) | (values >= size)]
    if outside.size:
        text = f"{outside.flat[0]} is out of bounds for axis {axis}, which has size {size}"
        raise _refuse(OutOfBoundsError, text)
