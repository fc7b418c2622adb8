"""Calls of functions: inputs fitted to their specs, long runs taken in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _convert, dtypes
from ._ffi import CData, check, ffi, handles, lib
from .dims import shape_text
from .errors import DTypeError, Error, UnsupportedError, make
from .limits import Limits, handle
from .spec import TensorSpec
from .tensor import Tensor
from .variable import Variable

_PIECE_SECONDS = 0.05


def run(function: CData, inputs: Sequence[Tensor], count: int, limits: Limits | None) -> list[Tensor]:
    """Calls a function of a session. Between pieces of a long run Python looks at signals: Ctrl-C cancels it.

    Args:
        function: The function.
        inputs: Its inputs, at hand.
        count: How many outputs it has.
        limits: What it may spend; None takes those of the session.
    """
    outputs = ffi.new("cdl_tensor *[]", count)
    rest = ffi.new("cdl_call **")
    operands = handles([tensor._handle for tensor in inputs])
    check(lib.cdl_function_run(function, operands, len(inputs), handle(limits), outputs, count, rest))
    if rest[0]:
        _resume(rest[0], outputs, count)
    return [Tensor(ffi.gc(output, lib.cdl_tensor_free)) for output in outputs]


def _resume(call: CData, outputs: CData, count: int) -> None:
    done = ffi.new("int32_t *")
    try:
        while not done[0]:
            check(lib.cdl_call_resume(call, _PIECE_SECONDS, outputs, count, done))
    finally:
        # At once: the traceback of an interrupt would keep the call, and with it the right to write.
        lib.cdl_call_free(call)


def fit(value: Any, spec: TensorSpec, name: str, function: str) -> Tensor:
    """An input as a tensor. Numbers and lists take the spec's dtype; what has a dtype must have it.

    Raises:
        DTypeError: it has another; the text says the cast to write.
        ArgumentError: it is traced, or no array.
    """
    if isinstance(value, Variable):
        value = value._read()
    if _convert.is_plain(value):
        try:
            return Tensor(_convert.plain(value, spec.dtype))
        except Error as error:
            raise make(type(error), f"{name}: {error}", op=function, argument=name) from None
    if type(value) is Tensor:
        tensor = value
        given = value.dtype
    else:
        array = _convert.array(value)
        given = dtypes.of_numpy(array.dtype)
        if given is spec.dtype:
            return Tensor(_convert.from_numpy(array))
        tensor = None
    if given is not spec.dtype:
        shape = shape_text(array.shape if tensor is None else tensor.shape)
        cast = f'{name}.astype("{spec.dtype}")' if tensor is None else f'cd.astype({name}, "{spec.dtype}")'
        text = f"{name} is {given}{shape}, expected {spec}; write {cast}"
        raise make(DTypeError, text, op=function, argument=name)
    assert tensor is not None
    return tensor


def at_hand(tensor: Tensor, name: str, function: str) -> Tensor:
    """The tensor, if it has a value and nobody differentiates by it.

    Raises:
        ArgumentError: it is traced.
        UnsupportedError: gradients would have to pass through the call.
    """
    tensor._concrete("elements")
    tracer = tensor._tracer
    if tracer is not None and not tracer.closed:
        text = f"gradients do not pass through a session's function; give it cd.stop_gradient({name})"
        raise make(UnsupportedError, text, op=function, argument=name)
    return tensor
