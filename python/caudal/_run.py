"""Calls of functions: inputs fitted to their specs, long runs taken in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _convert, _quick, dtypes
from ._ffi import CData, Handle, check_quick, tensor_of
from .dims import shape_text
from .errors import DTypeError, Error, UnsupportedError, make
from .limits import Limits, pointer
from .spec import TensorSpec
from .tensor import Tensor
from .variable import Variable

_LARGE = 1 << 20
"""Bytes from which on copying an array costs more than lending it."""


class Inputs:
    """The inputs of one call, fitted to their specs.

    Args:
        function: The function's name.
        writes: Whether it writes state, which may come to hold an input: then every array is copied.
    """

    __slots__ = ("_borrowed", "_function", "_writes", "handles")

    def __init__(self, function: str, writes: bool) -> None:
        self._function = function
        self._writes = writes
        self._borrowed: list[CData] = []
        self.handles: list[Handle] = []

    def add(self, value: Any, spec: TensorSpec, name: str) -> None:
        """Adds an input. A large array is not copied, if nothing but the call sees its memory.

        Raises:
            DTypeError: it has another dtype than the spec.
            ArgumentError: it is traced, or no array.
        """
        if type(value) is Tensor and value._tracer is None and _quick.dtype(value._handle) == spec.dtype.number:
            self.handles.append(value._handle)
            return
        if not self._writes and type(value) is np.ndarray and value.nbytes >= _LARGE:
            handle = _borrow(value, spec)
            if handle is not None:
                self._borrowed.append(tensor_of(handle).data)
                self.handles.append(handle)
                return
        self.handles.append(at_hand(fit(value, spec, name, self._function), name, self._function)._handle)

    def own(self, output: Handle) -> Tensor:
        """An output as a tensor; one that is a borrowed input is copied."""
        tensor = Tensor(output)
        if self._borrowed and tensor_of(output).data in self._borrowed:
            return Tensor(_convert.from_numpy(np.asarray(tensor)))
        return tensor


def _borrow(array: np.ndarray[Any, Any], spec: TensorSpec) -> Handle | None:
    """The handle of a tensor over an array's memory; None where that cannot be had."""
    from . import _dlpack

    if not array.flags.c_contiguous or not array.dtype.isnative or array.dtype != spec.dtype.storage:
        return None
    try:
        return _dlpack.take(array)
    except (BufferError, DTypeError):
        # Older versions of NumPy do not lend what is read-only.
        return None


def run(function: int, inputs: Inputs, limits: Limits | None) -> list[Tensor]:
    """Calls a function of a session. Between pieces of a long run Python looks at signals: Ctrl-C cancels it.

    Args:
        function: The address of the function.
        inputs: Its inputs.
        limits: What it may spend; None takes those of the session.
    """
    result: Any = None
    try:
        result = _quick.run(function, pointer(limits), *inputs.handles)
        while type(result) is not tuple:
            result = _quick.resume(check_quick(result))
        return [inputs.own(output) for output in result]
    finally:
        # At once: the traceback of an interrupt would keep a call, and with it the right to write.
        _quick.cancel(result)


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
        try:
            array = _convert.array(value)
        except Error as error:
            raise make(type(error), f"{name}: {error}", op=function, argument=name) from None
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
