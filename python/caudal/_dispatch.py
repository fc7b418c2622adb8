"""Where ops go: to the core at once, or into the graph of whatever records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _convert
from . import tensor as _tensor
from . import tracer as _tracer
from ._ffi import MAX_INPUTS, MAX_OUTPUTS, NULL, CData, dumps, exception, ffi, lib, owned, scratch
from .dims import Dim
from .dtypes import DType, as_dtype, numbered
from .errors import ArgumentError, Error, make

if TYPE_CHECKING:
    import numpy.typing as npt

    from .tensor import Tensor
    from .variable import Variable

ArrayLike: TypeAlias = "Tensor | Variable | Dim | npt.ArrayLike"
"""What ops take: tensors, variables, NumPy arrays, numbers and nested lists of numbers, dims of traced shapes."""

_MAX_OPS = 8192

_by_values: dict[tuple[object, ...], CData] = {}
_by_text: dict[tuple[str, bytes], CData] = {}

_eager = lib.cdl_eager
_free = lib.cdl_tensor_free
_gc = ffi.gc


def make_op(name: str, attrs: Mapping[str, object]) -> tuple[CData, Dim | None]:
    """The core's op with these attrs, made once, and a symbolic dim among them, if there is one.

    Raises:
        ArgumentError: an attr that the op does not have, or a value that it cannot take.
    """
    symbolic: list[Dim] = []
    text = dumps({key: _attr(value, symbolic) for key, value in attrs.items()}, "attrs")
    op = _by_text.get((name, text))
    if op is None:
        data = name.encode()
        op = owned("op", lib.cdl_op_new, data, len(data), text, len(text))
        if len(_by_text) >= _MAX_OPS:
            _by_text.clear()
        _by_text[name, text] = op
    return op, next((dim for dim in symbolic if dim._tracer is not None), symbolic[0] if symbolic else None)


def _attr(value: object, symbolic: list[Dim]) -> object:
    """An attr's value in its JSON form."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Dim):
        symbolic.append(value)
        return value.text
    if isinstance(value, list | tuple):
        return [_attr(entry, symbolic) for entry in value]
    if isinstance(value, DType):
        return value.name
    return _convert.attr(value, symbolic)


def find_op(name: str, attrs: Mapping[str, object]) -> tuple[CData, Dim | None]:
    """As `make_op`, quick for attrs that were seen before."""
    key = (name, *attrs.values())
    try:
        op = _by_values.get(key)
    except TypeError:
        return make_op(name, attrs)
    if op is not None:
        return op, None
    op, symbolic = make_op(name, attrs)
    if symbolic is None:
        if len(_by_values) >= _MAX_OPS:
            _by_values.clear()
        _by_values[key] = op
    return op, symbolic


def apply(name: str, inputs: Sequence[Any], attrs: Mapping[str, object], dtypes: Sequence[str | None] = ()) -> Tensor:
    """Applies an op with one output; see `apply_many`."""
    symbolic = None
    op = _by_values.get((name,)) if not attrs else None
    if op is None:
        op, symbolic = find_op(name, attrs)
    if symbolic is None:
        buffers = scratch
        operands = buffers.inputs
        index = 0
        # One foreign call where all inputs are tensors at hand, or numbers after one.
        for value in inputs:
            if type(value) is _tensor.Tensor:
                if value._tracer is not None or index == MAX_INPUTS:
                    break
                handle = value._handle
            elif index == 1 and not dtypes and type(value) in _convert.NUMBERS:
                handle = _convert.number(value, numbered(operands[0].dtype), name)
            else:
                break
            operands[index] = handle
            index += 1
        else:
            outputs = buffers.outputs
            error = _eager(op, operands, index, NULL, outputs, MAX_OUTPUTS, buffers.count)
            if error:
                raise _at_user_line(exception(error))
            return _tensor.Tensor(_gc(outputs[0], _free))
    return _apply(name, op, symbolic, inputs, dtypes)[0]


def apply_many(
    name: str, inputs: Sequence[Any], attrs: Mapping[str, object], dtypes: Sequence[str | None] = ()
) -> tuple[Tensor, ...]:
    """Applies an op: at once, or in the graph of what records.

    Args:
        name: The op.
        inputs: Its inputs; None is an optional one that is left out.
        attrs: Its attrs, in the order of its record.
        dtypes: For each input the dtype that numbers and lists take; None, or no entry, is that of the other inputs,
            "own" the one that is usual for them.

    Raises:
        Error: what the op refuses.
    """
    op, symbolic = find_op(name, attrs)
    return tuple(_apply(name, op, symbolic, inputs, dtypes))


def _apply(
    name: str, op: CData, symbolic: Dim | None, inputs: Sequence[Any], dtypes: Sequence[str | None]
) -> list[Tensor]:
    tensors = _convert.operands(name, inputs, dtypes)
    tracer = _choose(name, tensors, symbolic)
    return run(op, tensors) if tracer is None else tracer.apply(op, tensors)


def _choose(name: str, tensors: Sequence[Tensor | None], symbolic: Dim | None) -> _tracer.Tracer | None:
    """Where an op is recorded: by the innermost tracer, if it may use the operands, else by that of an operand."""
    owner = None
    for tensor in tensors:
        if tensor is not None and (owner is None or tensor._handle is None) and tensor._tracer is not None:
            owner = tensor._tracer
    active = _tracer.active()
    if owner is None and symbolic is not None:
        owner = symbolic._tracer or active
        if owner is None:
            text = f"the dim {symbolic.text} has no value outside of a traced function"
            raise make(ArgumentError, text, op=name)
    if owner is None or active is None or owner is active:
        return owner
    return active if active.holds(owner) or not isinstance(owner, _tracer.Root) else owner


def _at_user_line(error: Error) -> Error:
    """The error of an eager call, which in a graph would name the line that its node carries."""
    location = _tracer.user_location()
    if error.location is None and location is not None:
        error.location = location
        error.args = (f"{error.args[0]} ({location})",)
    return error


def run(op: CData, tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """Applies an op to tensors at hand, at once."""
    count = len(tensors)
    operands = scratch.inputs if count <= MAX_INPUTS else ffi.new("cdl_tensor *[]", count)
    for index, tensor in enumerate(tensors):
        operands[index] = NULL if tensor is None else tensor._handle
    outputs = scratch.outputs
    error = _eager(op, operands, count, NULL, outputs, MAX_OUTPUTS, scratch.count)
    if error:
        raise _at_user_line(exception(error))
    return [_tensor.Tensor(_gc(outputs[index], _free)) for index in range(scratch.count[0])]


def as_tensor(value: Any, dtype: DType | None = None) -> Tensor:
    """A tensor of anything that `caudal.asarray` takes; numbers and lists take ``dtype``, if it is given."""
    if type(value) is _tensor.Tensor:
        tensor: Tensor = value
        return tensor
    return _convert.tensor(value, dtype)


def cast(tensor: Tensor, dtype: DType) -> Tensor:
    """The tensor in another dtype; itself if it has it."""
    return tensor if tensor.dtype is dtype else apply("cast", (tensor,), {"dtype": as_dtype(dtype).name})
