"""Where tensors are, and where eager ones go."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from . import _quick
from ._ffi import NULL, Handle, check, ffi, lib, own_tensor, tensor_of

contexts = 0
"""How many contexts are open, in all threads: without any, eager ops need not ask for theirs."""

in_use = False
"""Whether this process has used another device than the CPU."""

moves = 0
"""How often a variable has gone to another device."""

generation = 0
"""How often what lay on devices was lost; sessions on them are of one generation."""


class _Place(NamedTuple):
    """An open context, and the one around it."""

    name: str
    outer: _Place | None


_place: ContextVar[_Place | None] = ContextVar("caudal.device", default=None)
_lock = threading.Lock()

_MAX_SCALARS = 1024
_scalars: dict[tuple[str, int, bytes], Handle] = {}
"""Scalars on devices, where ops take the same ones again and again."""


def current() -> str | None:
    """The device of the innermost context; None outside of all."""
    place = _place.get()
    return None if place is None else place.name


def enter(name: str) -> None:
    """Begins a context of this thread."""
    global contexts
    if name != "cpu":
        note()
    _place.set(_Place(name, _place.get()))
    with _lock:
        contexts += 1


def leave() -> None:
    """Ends the innermost context of this thread."""
    global contexts
    place = _place.get()
    _place.set(None if place is None else place.outer)
    with _lock:
        contexts -= 1


@contextmanager
def aside() -> Iterator[None]:
    """Makes no context the innermost one."""
    token = _place.set(None)
    try:
        yield
    finally:
        _place.reset(token)


def note() -> None:
    """Notes that another device than the CPU is used."""
    global in_use
    in_use = True


def note_moves(count: int) -> None:
    """Notes that so many variables have gone to another device."""
    global moves
    with _lock:
        moves += count


def forget() -> None:
    """Lets go of what lay on devices, where they are lost or belong to the process that this one was forked from."""
    global generation
    generation += 1
    _scalars.clear()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    forget()


os.register_at_fork(after_in_child=_forked)


def of(handle: Handle) -> str:
    """The device that a tensor is on."""
    number = tensor_of(handle).device
    return f"gpu:{number - 1}" if number else "cpu"


def move(handle: Handle, name: str) -> Handle:
    """The tensor on a device.

    Raises:
        DeviceError: there is no such device, or it is lost.
        OutOfMemoryError: the device does not hold it.
    """
    data, out = name.encode(), ffi.new("cdl_tensor **")
    check(lib.cdl_tensor_to(tensor_of(handle), data, len(data), NULL, out))
    if out[0].device:
        note()
    return own_tensor(out[0])


def on(handle: Handle, name: str) -> Handle:
    """As `move`; a tensor that is there is itself, and equal scalars are moved once."""
    pointer = tensor_of(handle)
    number = pointer.device
    if name == (f"gpu:{number - 1}" if number else "cpu"):
        return handle
    if number or pointer.rank:
        return move(handle, name)
    key = (name, int(pointer.dtype), bytes(ffi.buffer(pointer.data, pointer.bytes)))
    found = _scalars.get(key)
    if found is None:
        found = move(handle, name)
        if len(_scalars) >= _MAX_SCALARS:
            _scalars.clear()
        _scalars[key] = found
    return found


def host(handle: Handle) -> Handle:
    """The tensor on the CPU; itself if it is there."""
    return move(handle, "cpu") if in_use and tensor_of(handle).device else handle


def placed(handle: Handle) -> Handle:
    """The tensor on the device of the innermost context; itself outside of all."""
    name = current() if contexts else None
    return handle if name is None else on(handle, name)


def eager(op: Handle, *inputs: Handle | None) -> Any:
    """As `_quick.eager`, on the device of the innermost context."""
    name = current()
    if name is None:
        return _quick.eager(op, *inputs)
    result = _quick.eager(op, *[None if handle is None else on(handle, name) for handle in inputs])
    # It ran where its inputs are: without any, on the CPU.
    if type(result) is int or any(handle is not None for handle in inputs):
        return result
    return tuple(on(handle, name) for handle in result) if type(result) is tuple else on(result, name)
