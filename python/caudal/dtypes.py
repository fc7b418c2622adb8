"""DTypes: what the elements of a tensor are."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .errors import DTypeError, make

__all__ = [
    "DType",
    "DTypeLike",
    "bfloat16",
    "bool_",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
]


class DType:
    """The type of a tensor's elements, such as ``cd.float32``.

    It equals its name and NumPy's dtype of the same name, and NumPy takes it for its own (not ``bfloat16``, which
    NumPy lacks).

    Attributes:
        name: Its name: ``"float32"``.
        itemsize: Bytes that an element takes.
        kind: ``"bool"``, ``"signed"``, ``"unsigned"`` or ``"float"``.

    Example:
        >>> import numpy as np
        >>> import caudal as cd
        >>> cd.float32 == "float32" == np.dtype(cd.float32)
        True
        >>> np.zeros(2, cd.int16).dtype
        dtype('int16')
    """

    __slots__ = ("_numpy", "itemsize", "kind", "name", "number")

    def __init__(self, name: str, number: int, itemsize: int, kind: str) -> None:
        self.name = name
        self.number = number
        self.itemsize = itemsize
        self.kind = kind
        self._numpy: np.dtype[Any] | None = None if name == "bfloat16" else np.dtype(name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the same name.

        Raises:
            AttributeError: it is ``bfloat16``; so NumPy expects it of what is no dtype.
        """
        if self._numpy is None:
            raise AttributeError("NumPy has no bfloat16; convert the tensor to float32")
        return self._numpy

    @property
    def storage(self) -> np.dtype[Any]:
        """The NumPy dtype that an array over a tensor's memory has: ``uint16`` for ``bfloat16``."""
        return _UINT16 if self._numpy is None else self._numpy

    @property
    def is_float(self) -> bool:
        """Whether it is one of the four floating-point types."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Whether it is a signed or unsigned integer; ``bool`` is not."""
        return self.kind in ("signed", "unsigned")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, DType):
            return False
        if isinstance(other, str):
            return self.name == other
        if isinstance(other, np.dtype | type):
            try:
                return as_dtype(other) is self
            except DTypeError:
                return False
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"caudal.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


DTypeLike: TypeAlias = "DType | str | np.dtype[Any] | type[Any]"
"""A dtype, its name, or NumPy's."""

_UINT16 = np.dtype("uint16")

bool_ = DType("bool", 1, 1, "bool")
int8 = DType("int8", 2, 1, "signed")
int16 = DType("int16", 3, 2, "signed")
int32 = DType("int32", 4, 4, "signed")
int64 = DType("int64", 5, 8, "signed")
uint8 = DType("uint8", 6, 1, "unsigned")
uint16 = DType("uint16", 7, 2, "unsigned")
uint32 = DType("uint32", 8, 4, "unsigned")
uint64 = DType("uint64", 9, 8, "unsigned")
float16 = DType("float16", 10, 2, "float")
bfloat16 = DType("bfloat16", 11, 2, "float")
float32 = DType("float32", 12, 4, "float")
float64 = DType("float64", 13, 8, "float")

ALL: tuple[DType, ...] = (
    bool_,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
)
"""Every dtype, in the order of their numbers in the C API, which begin with 1."""


def numbered(number: int) -> DType:
    """The dtype of that number in the C API."""
    return ALL[number - 1]


_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_NUMPY: dict[np.dtype[Any], DType] = {dtype._numpy: dtype for dtype in ALL if dtype._numpy is not None}


def as_dtype(dtype: DTypeLike) -> DType:
    """The dtype that is meant: a dtype, its name, or NumPy's dtype or scalar type.

    Raises:
        DTypeError: nothing of that name, or a NumPy dtype that caudal lacks.
    """
    if isinstance(dtype, DType):
        return dtype
    if isinstance(dtype, str) and dtype in _BY_NAME:
        return _BY_NAME[dtype]
    try:
        native = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        native = None
    found = None if native is None else _BY_NUMPY.get(native) or _BY_NAME.get(native.name)
    if found is None:
        known = ", ".join(_BY_NAME)
        raise make(DTypeError, f"no dtype is named {str(dtype)!r}; there are {known}", argument="dtype")
    return found


def of_numpy(dtype: np.dtype[Any]) -> DType:
    """The dtype of NumPy's dtype, whatever its byte order.

    Raises:
        DTypeError: caudal lacks it.
    """
    found = _BY_NUMPY.get(dtype)
    return as_dtype(dtype) if found is None else found
