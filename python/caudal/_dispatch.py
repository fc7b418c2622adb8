"""Where ops go: to the core at once, or into the graph of whatever records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from . import _convert, _placement, _quick
from . import tensor as _tensor
from . import tracer as _tracer
from ._ffi import Handle, check_quick, dumps, lib, owned_op
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

_by_values: dict[tuple[object, ...], Handle] = {}
_by_text: dict[tuple[str, bytes], Handle] = {}


def make_op(name: str, attrs: Mapping[str, object]) -> tuple[Handle, Dim | None]:
    """The core's op with these attrs, made once, and a symbolic dim among them, if there is one.

    Raises:
        ArgumentError: an attr that the op does not have, or a value that it cannot take.
    """
    symbolic: list[Dim] = []
    text = dumps({key: _attr(value, symbolic) for key, value in attrs.items()}, "attrs")
    op = _by_text.get((name, text))
    if op is None:
        data = name.encode()
        op = owned_op(lib.cdl_op_new, data, len(data), text, len(text))
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


def find_op(name: str, attrs: Mapping[str, object]) -> tuple[Handle, Dim | None]:
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
        operands = [op]
        # One foreign call where all inputs are tensors at hand, or numbers after one.
        for value in inputs:
            if type(value) is _tensor.Tensor and value._tracer is None:
                operands.append(value._handle)
            elif len(operands) == 2 and type(value) in _convert.NUMBERS and not dtypes:
                operands.append(_convert.number(value, numbered(_quick.dtype(operands[1])), name))
            else:
                break
        else:
            result = _placement.eager(*operands) if _placement.contexts else _quick.eager(*operands)
            return _tensor.Tensor(result if type(result) is not int else _raise(result))
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
    name: str, op: Handle, symbolic: Dim | None, inputs: Sequence[Any], dtypes: Sequence[str | None]
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


def _raise(error: int) -> NoReturn:
    """Raises the error of an eager call with the user's line, which in a graph its node would carry."""
    try:
        check_quick(error)
    except Error as found:
        location = _tracer.user_location()
        if found.location is None and location is not None:
            found.location = location
            found.args = (f"{found.args[0]} ({location})",)
        raise
    raise AssertionError("an error was given")


def run(op: Handle, tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """Applies an op to tensors at hand, at once: where the context says, else where the first input on a device is."""
    handles = [None if tensor is None else tensor._handle for tensor in tensors]
    result = _placement.eager(op, *handles) if _placement.contexts else _quick.eager(op, *handles)
    if type(result) is int:
        _raise(result)
    return [_tensor.Tensor(handle) for handle in (result if type(result) is tuple else (result,))]


def as_tensor(value: Any, dtype: DType | None = None) -> Tensor:
    """A tensor of anything that `caudal.asarray` takes; numbers and lists take ``dtype``, if it is given."""
    if type(value) is _tensor.Tensor:
        tensor: Tensor = value
        return tensor
    return _convert.tensor(value, dtype)


def cast(tensor: Tensor, dtype: DType) -> Tensor:
    """The tensor in another dtype; itself if it has it."""
    return tensor if tensor.dtype is dtype else apply("cast", (tensor,), {"dtype": as_dtype(dtype).name})
