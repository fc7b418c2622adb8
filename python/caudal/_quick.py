"""Calls of the library by CPython's own convention: what cffi is too slow for (c_api/src/python.rs has the reasons).

A *handle* is a capsule that owns a tensor or an op; a *pointer* is an integer. Where a function fails it gives the
address of a ``cdl_error``, an integer, in place of its result.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from ._native import ffi, lib

__all__ = ["cancel", "dtype", "eager", "op", "own_op", "own_tensor", "resume", "run", "shape", "tensor"]

if sys.implementation.name != "cpython":
    raise ImportError(f"caudal needs CPython, this is {sys.implementation.name}")

# The order is that of the struct Python in c_api/src/python.rs.
_FUNCTIONS = (
    "PyCapsule_New",
    "PyCapsule_GetPointer",
    "PyCapsule_IsValid",
    "PyLong_FromLongLong",
    "PyLong_AsVoidPtr",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "Py_NewRef",
)


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _methods() -> dict[str, Callable[..., Any]]:
    api = ctypes.pythonapi
    addresses = [ctypes.cast(getattr(api, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    given = ffi.new("uintptr_t[]", [*addresses, id(None)])
    count = ffi.new("size_t *")
    start = int(ffi.cast("uintptr_t", lib.cdl_python_methods(given, count)))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCFunction_NewEx", api)
    )
    found = {}
    for index in range(count[0]):
        address = start + index * ctypes.sizeof(_Method)
        name = _Method.from_address(address).name
        found[name.decode()] = new(address, None, None)
    return found


_found = _methods()
# While it ends, the interpreter frees handles after it has let go of modules: the library must stay loaded.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(lib))
own_tensor = _found["own_tensor"]
own_op = _found["own_op"]
tensor = _found["tensor"]
op = _found["op"]
dtype = _found["dtype"]
shape = _found["shape"]
eager = _found["eager"]
run = _found["run"]
resume = _found["resume"]
cancel = _found["cancel"]
