"""Devices: the CPU and what there is beside it."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any

from . import _placement
from ._ffi import bytes_of, lib
from .errors import DeviceError, make

__all__ = ["Device", "device", "devices"]


class Device:
    """A device, which `device` gives; with ``with`` it is where eager tensors go.

    Within, what makes tensors (`asarray`, `zeros`, `random.key`, `from_dlpack`, a `Variable`, ...) puts them there, ops
    run there, wherever their inputs are, and a `function` that is called runs there and takes the variables that it
    uses along. Contexts nest, and each thread has its own. What runs in a session runs where that is.

    Attributes:
        name: Its name: ``"cpu"``, ``"gpu:0"``, ...
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def info(self) -> dict[str, Any]:
        """What is known of it: its ``name``; of a GPU also ``adapter``, ``backend``, ``software``, limits and features.

        Example:
            >>> import caudal as cd
            >>> cd.device("cpu").info
            {'name': 'cpu'}
        """
        return {key: value for key, value in _fact(self.name).items() if key not in ("memory", "work")}

    def memory(self) -> dict[str, int]:
        """Bytes of its buffers: ``used`` now, ``pooled`` for the next use, and the ``peak`` of what was used.

        Those of the CPU are not counted; `Limits` counts what calls take there.
        """
        return dict(_fact(self.name).get("memory") or {"used": 0, "pooled": 0, "peak": 0})

    def work(self) -> dict[str, int]:
        """What it was asked for since it was opened; that of the CPU is not counted.

        ``dispatches`` of kernels, ``pipelines`` (shaders that were compiled), and the ``bytes`` that dispatches bind,
        uploads write and copies move. None of it depends on how fast the device is.
        """
        return dict(_fact(self.name).get("work") or {"dispatches": 0, "pipelines": 0, "bytes": 0})

    def __enter__(self) -> Device:
        _placement.enter(self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _placement.leave()

    def __repr__(self) -> str:
        return f"<caudal device {self.name}>"


def facts() -> list[dict[str, Any]]:
    """What the core says of each device."""
    found: list[dict[str, Any]] = json.loads(bytes_of(lib.cdl_devices))
    return found


def _fact(name: str) -> dict[str, Any]:
    found = facts()
    for fact in found:
        if fact["name"] == name:
            return fact
    known = ", ".join(fact["name"] for fact in found)
    raise make(DeviceError, f"there is no device {name!r}; there is {known}", argument="device")


def devices() -> list[str]:
    """The devices that there are: the CPU, then GPUs, those of hardware first.

    Example:
        >>> import caudal as cd
        >>> "cpu" in cd.devices()
        True
    """
    return [fact["name"] for fact in facts()]


def device(name: str | Device, /) -> Device:
    """The device of a name.

    Args:
        name: ``"cpu"``, ``"gpu:0"``, ..., or ``"auto"``: a hardware GPU, else the CPU.

    Raises:
        DeviceError: there is no such device; the text says which there are.

    Example:
        >>> import caudal as cd
        >>> with cd.device("auto") as device:
        ...     cd.zeros(2).device == device.name
        True
    """
    if isinstance(name, Device):
        return name
    if name == "auto":
        return Device(next((fact["name"] for fact in facts() if fact.get("software") is False), "cpu"))
    return Device(_fact(name)["name"])


def name_of(device: str | Device) -> str:
    """The name of what may be a device or its name."""
    return device.name if isinstance(device, Device) else device
