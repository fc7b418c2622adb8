"""DLPack: tensors to and from other libraries without a copy. Loaded when asked for: it brings ctypes."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from typing import Any

from ._ffi import CData, Handle, check, ffi, lib, own_tensor, tensor_of
from .errors import ArgumentError, make

# A capsule keeps the address of its name, not a copy.
_PLAIN = b"dltensor"
_VERSIONED = b"dltensor_versioned"
_USED = {_PLAIN: b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}

# Where DLPack's structs have the tensor and, in that, the offset of the elements from the data.
_VERSIONED_HEADER = 32
_BYTE_OFFSET = 40

_api = ctypes.pythonapi


def _function(name: str, result: Any, *arguments: Any) -> Any:
    prototype = ctypes.PYFUNCTYPE(result, *arguments)
    return prototype((name, _api))


_new = _function("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_is_valid = _function("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
_set_name = _function("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)


def _take(address: int, name: bytes) -> CData:
    """The tensor that owns what a capsule pointed to."""
    out = ffi.new("cdl_tensor **")
    check(lib.cdl_tensor_from_dlpack(ffi.cast("void *", address), int(name == _VERSIONED), out))
    return out[0]


_lent: list[Any] = []
_sweeping = threading.Lock()


def _sweep(*_: object) -> None:
    """Frees what capsules hold that nobody took before they were dropped.

    A destructor cannot: a consumer that fails drops the capsule with its exception set, which Python code would lose.
    """
    # The garbage collector may come while it is held.
    if not _sweeping.acquire(blocking=False):
        return
    try:
        for index in range(len(_lent) - 1, -1, -1):
            name = next((name for name in _USED if _is_valid(_lent[index], name)), None)
            if name is None:
                del _lent[index]
            elif sys.getrefcount(_lent[index]) == 2:
                address = _pointer(_lent[index], name)
                del _lent[index]
                # Taking it and dropping what comes of it calls its deleter.
                lib.cdl_tensor_free(_take(address, name))
    finally:
        _sweeping.release()


gc.callbacks.append(_sweep)


def export(handle: Handle, versioned: bool) -> Any:
    """A capsule over a tensor's data, read-only where DLPack can say so."""
    _sweep()
    managed = ffi.new("void **")
    check(lib.cdl_tensor_to_dlpack(tensor_of(handle), int(versioned), managed))
    name = _VERSIONED if versioned else _PLAIN
    capsule = _new(int(ffi.cast("intptr_t", managed[0])), name, None)
    _lent.append(capsule)
    return capsule


def _data(address: int, versioned: bool) -> int:
    """Where the elements are that a capsule points to."""
    tensor = address + (_VERSIONED_HEADER if versioned else 0)
    data = ctypes.c_uint64.from_address(tensor).value
    return data + ctypes.c_uint64.from_address(tensor + _BYTE_OFFSET).value


def take(value: Any, *, copy: bool = True) -> Handle:
    """The handle of a tensor over the data of anything that has ``__dlpack__``.

    Args:
        value: It.
        copy: Whether its data may be copied where it is not row-major and aligned.

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
            address = _pointer(capsule, name)
            data = _data(address, name == _VERSIONED)
            pointer = _take(address, name)
            handle = own_tensor(pointer)
            _set_name(capsule, used)
            if not copy and pointer.bytes and int(ffi.cast("uintptr_t", pointer.data)) != data:
                text = "the data cannot be taken without a copy"
                raise make(ArgumentError, text, op="from_dlpack", argument="copy")
            return handle
    raise make(ArgumentError, "__dlpack__ gave no DLPack capsule", op="from_dlpack", argument="x")
