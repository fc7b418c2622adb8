"""Foreign calls: errors become exceptions, handles are freed, each thread has its own argument buffers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from . import _quick, errors
from ._native import ffi as ffi
from ._native import lib as lib

CData: TypeAlias = Any
"""A pointer or array of cffi."""

Handle: TypeAlias = Any
"""A capsule that owns a tensor or an op."""

NULL: CData = ffi.NULL
ABSENT = 0xFFFFFFFF
"""In the inputs of a graph's op: an optional one that was left out."""

MAX_RANK = 64
MAX_DEPTH = 100
"""How deep metadata may be nested; the core's JSON reader stops a little later."""

if lib.cdl_abi_version() < lib.CDL_ABI:
    raise ImportError(f"caudal's library has ABI {lib.cdl_abi_version()}, this package needs {lib.CDL_ABI}")


def text(pointer: CData) -> str | None:
    """The text at a pointer; None where it is NULL."""
    return ffi.string(pointer).decode() if pointer else None


def exception(error: CData) -> errors.Error:
    """The exception for a ``cdl_error``, which is freed."""
    try:
        file = text(error.file)
        location = errors.Location(file, error.line) if file and error.line else None
        kind = errors.error_class(error.code)
        return kind(text(error.message) or "", op=text(error.op), argument=text(error.argument), location=location)
    finally:
        lib.cdl_error_free(error)


def check(error: CData) -> None:
    """Raises what a foreign call returned, if it is an error."""
    if error:
        raise exception(error)


PIECE_SECONDS = 0.025
"""How long a foreign call may take before Python looks at signals: Ctrl-C is to be heard within 50 ms."""


def wait(step: Any, *arguments: object) -> None:
    """Calls ``step(*arguments, seconds, done)`` until it is done; in between Python looks at signals."""
    done = ffi.new("int32_t *")
    while not done[0]:
        check(step(*arguments, PIECE_SECONDS, done))


def take_bytes(pointer: CData) -> bytes:
    """The content of a ``cdl_bytes``, which is freed."""
    try:
        return bytes(ffi.buffer(pointer.data, pointer.len))
    finally:
        lib.cdl_bytes_free(pointer)


def check_quick(result: Any) -> Any:
    """The result of a quick call.

    Raises:
        Error: it is the address of one.
    """
    if type(result) is int:
        raise exception(ffi.cast("cdl_error *", result))
    return result


def owned(kind: str, make: Any, *arguments: object) -> CData:
    """What ``make(*arguments, out)`` gives: a pointer to that type, freed when nobody holds it."""
    out = ffi.new(f"cdl_{kind} **")
    check(make(*arguments, out))
    return ffi.gc(out[0], getattr(lib, f"cdl_{kind}_free"))


def owned_tensor(make: Any, *arguments: object) -> Handle:
    """What ``make(*arguments, out)`` gives: the handle of a tensor."""
    out = ffi.new("cdl_tensor **")
    check(make(*arguments, out))
    return own_tensor(out[0])


def owned_op(make: Any, *arguments: object) -> Handle:
    """What ``make(*arguments, out)`` gives: the handle of an op."""
    out = ffi.new("cdl_op **")
    check(make(*arguments, out))
    return _quick.own_op(address(out[0]))


def own_tensor(pointer: CData) -> Handle:
    """The handle of a tensor that the caller owns."""
    return _quick.own_tensor(address(pointer))


def address(pointer: CData) -> int:
    """A pointer as an integer."""
    return int(ffi.cast("intptr_t", pointer))


def tensor_of(handle: Handle) -> CData:
    """The pointer to a handle's tensor; it lives as long as the handle."""
    return ffi.cast("cdl_tensor *", _quick.tensor(handle))


def op_of(handle: Handle) -> CData:
    """The pointer to a handle's op; it lives as long as the handle."""
    return ffi.cast("cdl_op *", _quick.op(handle))


def bytes_of(make: Any, *arguments: object) -> bytes:
    """What ``make(*arguments, out)`` gives as ``cdl_bytes``."""
    out = ffi.new("cdl_bytes **")
    check(make(*arguments, out))
    return take_bytes(out[0])


def names(values: Sequence[str]) -> tuple[CData, list[CData]]:
    """An array of NUL-terminated names, and what must be kept alive beside it."""
    kept = [ffi.new("char[]", value.encode()) for value in values]
    return ffi.new("char *[]", kept), kept


def values(ids: Sequence[int]) -> CData:
    """An array of a graph's values."""
    return ffi.new("uint32_t[]", list(ids))


def tensors_of(handles: Sequence[Handle]) -> CData:
    """An array of the pointers to handles' tensors; the caller keeps the handles alive."""
    return ffi.new("cdl_tensor *[]", [tensor_of(handle) for handle in handles])


def to_json(value: object) -> object:
    """A value in the form that the core's JSON takes: floats that JSON lacks are words."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    return value


def dumps(value: object, what: str) -> bytes:
    """JSON for the core.

    Raises:
        ArgumentError: it has no JSON form.
    """
    try:
        return json.dumps(to_json(value), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise errors.make(errors.ArgumentError, f"{what} has no JSON form: {error}", argument=what) from None
    except RecursionError:
        raise errors.make(errors.ArgumentError, f"{what} is nested too deep", argument=what) from None


def check_json(value: object, what: str, depth: int = 0) -> None:
    """Refuses what JSON of other languages does not hold.

    Raises:
        ArgumentError: NaN, an infinity, an integer of more than 64 bits, half a character, or nesting too deep.
    """
    if isinstance(value, Mapping):
        entries = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        entries = list(value)
    else:
        text = ""
        if isinstance(value, float) and not math.isfinite(value):
            text = f"{value} is not finite"
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            text = "an integer takes more than 64 bits"
        elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            text = f"{value!r} holds half of a surrogate pair"
        if text:
            raise errors.make(errors.ArgumentError, f"{what} has no JSON form: {text}", argument=what)
        return
    if depth == MAX_DEPTH:
        text = f"{what} is nested more than {MAX_DEPTH} deep"
        raise errors.make(errors.ArgumentError, text, argument=what)
    for entry in entries:
        check_json(entry, what, depth + 1)
