"""Limits: what calls may spend."""

from __future__ import annotations

from ._ffi import NULL, CData, address, lib, owned
from .errors import ArgumentError, make

__all__ = ["Limits"]


class Limits:
    """What calls may spend; calls under the same limits share the memory.

    Args:
        memory: Bytes that all calls together may hold at once, beside their inputs; 0 is no limit.
        seconds: Seconds that each call may take, from its start; 0 is no limit.

    Raises:
        ArgumentError: a negative number, or memory that 64 bits do not hold.

    Example:
        >>> import caudal as cd
        >>> cd.Limits(memory=512 << 20, seconds=2)
        Limits(memory=536870912, seconds=2.0)
    """

    __slots__ = ("_address", "_handle", "memory", "seconds")

    def __init__(self, memory: int = 0, seconds: float = 0.0) -> None:
        try:
            self.memory = int(memory)
            self.seconds = float(seconds)
        except (OverflowError, ValueError):
            self.memory, self.seconds = -1, 0.0
        if not 0 <= self.memory < 2**64 or not self.seconds >= 0:
            most = ", and less than 2^64 bytes" if memory >= 2**64 else ""
            text = f"a limit is 0 or more{most}, not memory={memory}, seconds={seconds}"
            raise make(ArgumentError, text, op="Limits")
        self._handle: CData = owned("limits", lib.cdl_limits_new, self.memory, self.seconds)
        self._address = address(self._handle)

    def cancel(self) -> None:
        """Ends every call under these limits, running or later, with `CancelledError`; from any thread."""
        lib.cdl_limits_cancel(self._handle)

    def __repr__(self) -> str:
        return f"Limits(memory={self.memory}, seconds={self.seconds})"


def handle(limits: Limits | None) -> CData:
    """The core's limits; NULL where there are none."""
    return NULL if limits is None else limits._handle


def pointer(limits: Limits | None) -> int:
    """The address of the core's limits; 0 where there are none."""
    return 0 if limits is None else limits._address
