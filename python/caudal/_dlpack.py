"""DLPack: tensors to and from other libraries without a copy. Loaded when asked for: it brings ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

from ._ffi import CData, check, ffi, lib
from .errors import ArgumentError, make

# A capsule keeps the address of its name, not a copy.
_PLAIN = b"dltensor"
_VERSIONED = b"dltensor_versioned"
_USED = {_PLAIN: b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}

_api = ctypes.pythonapi
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


def _function(name: str, result: Any, *arguments: Any) -> Any:
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype((name, _api))


_new = _function("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_is_valid = _function("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
_set_name = _function("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
# The destructor sees a capsule that nobody holds: it must not become a Python object again.
_dying_is_valid = _function("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_dying_pointer = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


def _take(address: int, name: bytes) -> CData:
    """The handle of a tensor that owns what a capsule pointed to."""
    out = ffi.new("cdl_tensor **")
    check(lib.cdl_tensor_from_dlpack(ffi.cast("void *", address), int(name == _VERSIONED), out))
    return out[0]


def _destroy(capsule: int) -> None:
    for name in (_PLAIN, _VERSIONED):
        if _dying_is_valid(capsule, name):
            # Nobody consumed it: taking it and dropping what comes of it calls its deleter.
            lib.cdl_tensor_free(_take(_dying_pointer(capsule, name), name))


# Kept for as long as capsules may die.
_destructor = _Destructor(_destroy)


def export(handle: CData, versioned: bool) -> Any:
    """A capsule over a tensor's data, read-only where DLPack can say so."""
    managed = ffi.new("void **")
    check(lib.cdl_tensor_to_dlpack(handle, int(versioned), managed))
    name = _VERSIONED if versioned else _PLAIN
    return _new(int(ffi.cast("intptr_t", managed[0])), name, ctypes.cast(_destructor, ctypes.c_void_p))


def take(value: Any) -> CData:
    """The handle of a tensor over the data of anything that has ``__dlpack__``.

    Raises:
        ArgumentError: it has not, or its data is not on the CPU.
        DTypeError: caudal lacks its dtype.
    """
    if not hasattr(value, "__dlpack__"):
        raise make(ArgumentError, f"{type(value).__name__} has no __dlpack__", op="from_dlpack", argument="x")
    try:
        capsule = value.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = value.__dlpack__()
    for name, used in _USED.items():
        if _is_valid(capsule, name):
            handle = _take(_pointer(capsule, name), name)
            _set_name(capsule, used)
            return ffi.gc(handle, lib.cdl_tensor_free)
    raise make(ArgumentError, "__dlpack__ gave no DLPack capsule", op="from_dlpack", argument="x")
