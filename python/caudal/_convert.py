"""What becomes of Python's and NumPy's values that go into ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _dispatch
from . import tensor as _tensor
from . import tracer as _tracer
from . import variable as _variable
from ._ffi import MAX_RANK, Handle, ffi, lib, owned_tensor
from .dims import Dim
from .dtypes import DType, as_dtype, bfloat16, bool_, float32, int64, of_numpy
from .errors import ArgumentError, DTypeError, ShapeError, make

if TYPE_CHECKING:
    from .tensor import Tensor
    from .variable import Variable

NUMBERS = frozenset((bool, int, float))

_MAX_SCALARS = 1024
_scalars: dict[tuple[int, type, object], Handle] = {}


def attr(value: object, symbolic: list[Dim]) -> object:
    """The JSON form of an attr's value that is not one of Python's own."""
    if isinstance(value, np.dtype | type):
        return as_dtype(value).name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, range):
        return list(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, _tensor.Tensor | np.ndarray):
        tensor = _dispatch.as_tensor(value)
        elements = tensor.numpy().ravel()
        # A bool's elements are 0 and 1 there.
        data = elements.view(np.uint8).tolist() if tensor.dtype is bool_ else elements.tolist()
        return {"dtype": tensor.dtype.name, "shape": list(tensor.shape), "data": data}
    if hasattr(value, "__index__"):
        return int(value)
    raise make(ArgumentError, f"{value!r} cannot be an attr", argument="attrs")


def operands(name: str, inputs: Sequence[Any], dtypes: Sequence[str | None]) -> list[Tensor | None]:
    """An op's inputs as tensors; numbers and lists take the dtype of the first that has one of its own."""
    tensors: list[Tensor | None] = []
    free: list[int] = []
    common: DType | None = None
    for index, value in enumerate(inputs):
        if value is None:
            tensors.append(None)
            continue
        if type(value) in NUMBERS or is_plain(value) or isinstance(value, Dim):
            free.append(index)
            tensors.append(None)
            continue
        if isinstance(value, _variable.Variable):
            found = _read(value, inputs)
        else:
            found = value if type(value) is _tensor.Tensor and value._tracer is None else tensor(value, None)
        tensors.append(found)
        if common is None and (index >= len(dtypes) or dtypes[index] is None):
            common = found.dtype
    if free:
        alone = [inputs[index] for index in free if index >= len(dtypes) or dtypes[index] is None]
        like = common or (default_dtype(alone) if alone else None)
        for index in free:
            own = dtypes[index] if index < len(dtypes) else None
            dtype = as_dtype(own) if own is not None else like
            if type(inputs[index]) in NUMBERS:
                tensors[index] = _tensor.Tensor(number(inputs[index], dtype, name))
                continue
            try:
                tensors[index] = tensor(inputs[index], dtype)
            except DTypeError as error:
                raise make(DTypeError, str(error), op=name, location=_tracer.user_location()) from None
    return tensors


def _read(variable: Variable, inputs: Sequence[Any]) -> Tensor:
    """The value of a variable for an op: in a graph by hand it is state, too."""
    owner = None if _tracer.active() else _tracer.owner(inputs)
    return variable._read() if owner is None else owner.read(variable)


def is_plain(value: object) -> bool:
    """Whether a value has no dtype of its own: numbers, and lists of what has none."""
    if isinstance(value, np.generic):
        return False
    if isinstance(value, bool | int | float):
        return True
    return isinstance(value, list | tuple) and all(is_plain(entry) for entry in value)


def default_dtype(numbers: Sequence[Any]) -> DType:
    """The dtype of numbers and lists by themselves: float32 if one is a float, else int64, or bool if all are."""
    kinds = {np.asarray(number).dtype.kind if not isinstance(number, Dim) else "i" for number in numbers}
    if "f" in kinds:
        return float32
    return bool_ if kinds == {"b"} else int64


def tensor(value: Any, dtype: DType | None) -> Tensor:
    """A tensor of one value; numbers and lists take ``dtype``, or what is usual for them.

    Raises:
        DTypeError: a number that the dtype cannot hold, or an array of a dtype that caudal lacks.
        ArgumentError: something that is no array.
    """
    if type(value) is _tensor.Tensor:
        if value._tracer is not None and value._tracer.closed and value._handle is not None:
            return _tensor.Tensor(value._handle)
        return value
    if isinstance(value, _variable.Variable):
        return value._read()
    if isinstance(value, Dim):
        return _dim(value, dtype)
    if is_plain(value):
        if isinstance(value, list | tuple):
            return _tensor.Tensor(plain(value, dtype))
        return _tensor.Tensor(number(value, dtype))
    if isinstance(value, list | tuple):
        return _stack(value, dtype)
    return _tensor.Tensor(from_numpy(array(value)))


def array(value: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of what has a dtype of its own.

    Raises:
        ArgumentError: it has not.
    """
    if isinstance(value, np.ndarray):
        return value
    result = np.asarray(value) if _is_array(value) else None
    if result is None or result.dtype == object:
        text = f"{type(value).__name__} is not an array; caudal takes tensors, NumPy arrays, numbers and lists of them"
        raise make(ArgumentError, text, location=_tracer.user_location())
    return result


def _is_array(value: object) -> bool:
    names = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")
    return isinstance(value, np.generic | memoryview) or any(hasattr(value, name) for name in names)


def _stack(values: Sequence[Any], dtype: DType | None) -> Tensor:
    """A list that holds tensors or arrays, as one tensor."""
    parts = [tensor(value, dtype) for value in values]
    if all(part._handle is not None and part._tracer is None for part in parts):
        return _tensor.Tensor(from_numpy(np.stack([np.asarray(part) for part in parts])))
    rows = [_dispatch.apply("reshape", (part,), {"shape": (1, *part.shape)}) for part in parts]
    return _dispatch.apply("concat", rows, {"axis": 0})


def numbers(value: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    """Numbers or lists of them as an array of a dtype.

    Raises:
        DTypeError: the dtype cannot hold them: floats in integers, numbers in bools, or out of range.
        ShapeError: lists of different lengths.
    """
    try:
        found = np.asarray(value)
    except ValueError:
        raise make(ShapeError, "the lists have different lengths", location=_tracer.user_location()) from None
    except OverflowError:
        found = np.asarray(value, dtype=object)
    if dtype is None:
        dtype = float32 if found.size == 0 else default_dtype([value])
    if found.dtype == object and dtype is not bool_:
        outside = [number for number in found.flat if not -(2**63) <= number < 2**64]
        raise make(DTypeError, f"{(outside or [value])[0]} is out of range for {dtype}")
    fits = {"b": True, "i": dtype is not bool_, "u": dtype is not bool_, "f": dtype.is_float}
    if found.size and not fits.get(found.dtype.kind, False):
        what = "a float" if found.dtype.kind == "f" else "an integer"
        shown = f"{value} is {what}" if not isinstance(value, list | tuple) else f"the list holds {what}"
        raise make(DTypeError, f"{shown}, which {dtype} does not hold; cast one of them")
    return _narrow(found, dtype)


def _narrow(found: np.ndarray[Any, Any], dtype: DType) -> np.ndarray[Any, Any]:
    if dtype.name == "bfloat16":
        return found.astype(np.float32)
    if dtype.is_integer and found.size:
        limits = np.iinfo(dtype.dtype)
        least, most = int(found.min()), int(found.max())
        if least < limits.min or most > limits.max:
            outside = least if least < limits.min else most
            raise make(DTypeError, f"{outside} is out of range for {dtype}")
    return found.astype(dtype.dtype)


def number(value: bool | int | float, dtype: DType | None, op: str | None = None) -> Handle:
    """The handle of a number, kept for the next time.

    Raises:
        DTypeError: the dtype cannot hold it.
    """
    dtype = dtype or default_dtype([value])
    key = (dtype.number, type(value), value)
    # -0.0 equals 0.0.
    kept = value != 0 or math.copysign(1.0, value) > 0
    found = _scalars.get(key) if kept else None
    if found is None:
        try:
            found = plain(value, dtype)
        except DTypeError as error:
            raise make(DTypeError, str(error), op=op, location=_tracer.user_location()) from None
        if len(_scalars) >= _MAX_SCALARS:
            _scalars.clear()
        if kept:
            _scalars[key] = found
    return found


def _bfloat16(data: np.ndarray[Any, Any]) -> Handle:
    """The handle of float32 data rounded to bfloat16, to nearest even."""
    bits = np.atleast_1d(data).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    # A NaN must not be rounded to infinity.
    words = np.where(np.isnan(data), 0x7FC0, rounded).astype(np.uint16)
    return from_numpy(words.reshape(data.shape), bfloat16)


def _dim(dim: Dim, dtype: DType | None) -> Tensor:
    """The size that a dim stands for, as a scalar."""
    shaped = _dispatch.apply("broadcast_to", (_tensor.Tensor(number(False, bool_)),), {"shape": (dim,)})
    size = _dispatch.apply("dim", (shaped,), {"axis": 0})
    return size if dtype is None else _dispatch.cast(size, dtype)


def plain(value: Any, dtype: DType | None) -> Handle:
    """The handle of numbers or lists of them; see `numbers`."""
    data = numbers(value, dtype)
    return _bfloat16(data) if dtype is bfloat16 else from_numpy(data)


def from_numpy(value: np.ndarray[Any, Any], dtype: DType | None = None) -> Handle:
    """The handle of a new tensor that holds a copy of an array, whose bits may be those of another dtype.

    Raises:
        DTypeError: caudal lacks the dtype.
    """
    dtype = dtype or of_numpy(value.dtype)
    data = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
    rank = value.ndim
    if rank > MAX_RANK:
        raise make(ShapeError, f"the rank is {rank}, more than {MAX_RANK}")
    dims = ffi.new("int64_t[]", value.shape)
    # A view: buffers of dtypes that Python does not know, such as bfloat16, cannot be taken.
    view = data.reshape(-1).view(np.uint8) if data.size else data
    memory = ffi.from_buffer(view) if data.size else ffi.NULL
    return owned_tensor(lib.cdl_tensor_new, dtype.number, dims, rank, memory, data.nbytes)
