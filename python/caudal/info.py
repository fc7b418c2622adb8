"""The library itself: its version and threads."""

from __future__ import annotations

import json
from typing import Any

from ._ffi import bytes_of, check, lib
from .errors import ArgumentError, make

__all__ = ["num_threads", "set_num_threads"]


def _info() -> dict[str, Any]:
    info: dict[str, Any] = json.loads(bytes_of(lib.cdl_info))
    return info


def num_threads() -> int:
    """How many threads runs use, the caller's among them."""
    return int(_info()["threads"])


def set_num_threads(count: int) -> None:
    """Sets how many threads runs use, the caller's among them. Results do not depend on it.

    Raises:
        ArgumentError: fewer than one.

    Example:
        >>> import caudal as cd
        >>> before = cd.num_threads()
        >>> cd.set_num_threads(1)
        >>> cd.num_threads()
        1
        >>> cd.set_num_threads(before)
    """
    if count < 1:
        raise make(ArgumentError, f"{count} threads; there is at least one", op="set_num_threads", argument="count")
    check(lib.cdl_set_threads(count))


def version() -> str:
    """The version of the library."""
    return str(_info()["version"])
