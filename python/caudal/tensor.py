"""Tensors: arrays that never change, at hand or traced."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import _dispatch, _indexing, _quick, dtypes
from . import tracer as _tracer
from ._ffi import Handle, address, tensor_of
from ._operators import Operators
from .dims import DimLike, Shape, shape_text
from .dtypes import DType
from .errors import ArgumentError, ShapeError, make

if TYPE_CHECKING:
    from .tracer import Tracer

__all__ = ["Tensor", "from_dlpack"]


class Tensor(Operators):
    """An array of numbers that never changes; ops and `caudal.asarray` make them.

    It is *concrete*, with its elements in memory, or *traced*, a value of a graph that is being built: then its shape
    may hold symbolic dims, and asking for an element is an error. It has the attributes and operators of the array
    API, whose functions are those of the package. NumPy takes it, without a copy where it can.

    Example:
        >>> import caudal as cd
        >>> x = cd.asarray([[1.0, 2.0], [3.0, 4.0]])
        >>> x @ x + 1
        Tensor([[ 8., 11.],
                [16., 23.]], dtype=float32)
        >>> x.shape, x.dtype, float(x[1, 0])
        ((2, 2), caudal.float32, 3.0)
    """

    __slots__ = ("__weakref__", "_handle", "_tracer", "_value")

    # Element-wise comparison leaves no equality that a hash could go with.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, handle: Handle | None, tracer: Tracer | None = None, value: int = 0) -> None:
        self._handle = handle
        self._tracer = tracer
        self._value = value

    @property
    def dtype(self) -> DType:
        """The dtype of its elements."""
        if self._handle is not None:
            return dtypes.numbered(_quick.dtype(self._handle))
        assert self._tracer is not None
        return self._tracer.spec(self._value)[0]

    @property
    def shape(self) -> Shape:
        """The size of each axis: integers, or symbolic dims while a function is traced."""
        if self._handle is not None:
            shape: Shape = _quick.shape(self._handle)
            return shape
        assert self._tracer is not None
        return self._tracer.spec(self._value)[1]

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> DimLike:
        """How many elements it has."""
        size: DimLike = 1
        for dim in self.shape:
            size = size * dim
        return size

    @property
    def device(self) -> str:
        """Where it is: ``"cpu"``."""
        return "cpu"

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take.

        Raises:
            ArgumentError: it is traced.
        """
        return int(tensor_of(self._concrete("size in bytes")).bytes)

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix.

        Raises:
            ShapeError: it has not two axes.
        """
        if self.ndim != 2:
            raise make(ShapeError, f"T is of matrices, the rank is {self.ndim}; use permute_dims", argument="x")
        return _dispatch.apply("transpose", (self,), {"axes": (1, 0)})

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The transpose of each matrix in the last two axes.

        Raises:
            ShapeError: it has fewer than two axes.
        """
        if self.ndim < 2:
            raise make(ShapeError, f"mT is of matrices, the rank is {self.ndim}", argument="x")
        axes = (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)
        return _dispatch.apply("transpose", (self,), {"axes": axes})

    def to_device(self, device: str, /) -> Tensor:
        """The tensor on a device.

        Raises:
            ArgumentError: not ``"cpu"``.
        """
        if device != "cpu":
            raise make(ArgumentError, f"there is no device {device!r}; there is cpu", argument="device")
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        """The elements as a NumPy array: read-only, over the same memory; ``bfloat16`` is converted to ``float32``.

        Raises:
            ArgumentError: it is traced.
        """
        self._concrete("elements")
        tensor = _dispatch.cast(Tensor(self._handle), dtypes.float32) if self.dtype is dtypes.bfloat16 else self
        return np.asarray(_Memory(tensor._handle))

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ShapeError: it has not exactly one element.
            ArgumentError: it is traced.
        """
        self._only("item")
        return self.numpy().item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; a number for a scalar.

        Raises:
            ArgumentError: it is traced.
        """
        return self.numpy().tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self.numpy()
        wanted = array.dtype if dtype is None else np.dtype(dtype)
        if copy is False and (wanted != array.dtype or self.dtype is dtypes.bfloat16):
            raise ValueError(f"a {self.dtype} tensor cannot be a {wanted} array without a copy")
        return array.astype(wanted) if copy or wanted != array.dtype else array

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        import caudal

        return caudal

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        from . import _dlpack

        if dl_device not in (None, self.__dlpack_device__()) or stream is not None:
            raise BufferError("the tensor is on the CPU, where there are no streams")
        handle = self._concrete("elements")
        if copy:
            handle = _dispatch.run(_dispatch.make_op("cast", {"dtype": self.dtype})[0], [self])[0]._handle
        return _dlpack.export(handle, max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        # DLPack's type and number of the CPU.
        return (1, 0)

    def __getitem__(self, key: Any) -> Tensor:
        return _indexing.index(self, key)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a scalar has no length")
        length = self.shape[0]
        if not isinstance(length, int):
            self._refuse("length", "; use its shape, or scan")
        return length

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def __bool__(self) -> bool:
        if self._handle is None:
            self._refuse("truth value", "; use cond or where")
        self._only("bool")
        return bool(self.numpy().item())

    def __float__(self) -> float:
        self._only("float")
        return float(self.numpy().item())

    def __int__(self) -> int:
        self._only("int")
        return int(self.numpy().item())

    def __complex__(self) -> complex:
        self._only("complex")
        return complex(self.numpy().item())

    def __index__(self) -> int:
        self._only("index")
        return operator.index(self.numpy().item())

    def __repr__(self) -> str:
        if self._handle is None:
            return f"Tensor({self.dtype}{shape_text(self.shape)})"
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({text}, dtype={self.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (np.array(self.numpy()), self.dtype.name)

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self

    def _concrete(self, what: str) -> Handle:
        if self._handle is None:
            self._refuse(what, "")
        return self._handle

    def _only(self, op: str) -> None:
        """Refuses what is traced, or has not exactly one element."""
        self._concrete("value")
        if self.size != 1:
            text = f"the tensor has shape {shape_text(self.shape)}, not one element"
            raise make(ShapeError, text, op=op, argument="x")

    def _refuse(self, what: str, hint: str) -> NoReturn:
        tracer = self._tracer
        assert tracer is not None
        verb = "are" if what == "elements" else "is"
        text = f"the {what} of a tensor {verb} not known while {tracer.what} is traced{hint}"
        raise make(ArgumentError, text, location=_tracer.user_location())


def _unpickle(array: np.ndarray[Any, Any], dtype: str) -> Tensor:
    return _dispatch.cast(_dispatch.as_tensor(array), dtypes.as_dtype(dtype))


class _Memory:
    """What NumPy makes a read-only array of, and keeps alive with it."""

    __slots__ = ("__array_interface__", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        dtype = dtypes.numbered(_quick.dtype(handle))
        self.__array_interface__ = {
            "version": 3,
            "shape": _quick.shape(handle),
            "typestr": dtype.dtype.str,
            "data": (address(tensor_of(handle).data), True),
        }


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor over the data of another library's array, without a copy where that is row-major and aligned.

    Whoever shares the data must not change it: a tensor never changes.

    Args:
        x: Anything with ``__dlpack__``, on the CPU.
        device: Where to; ``"cpu"``.
        copy: Whether to copy; None copies where it must, False refuses to.

    Raises:
        ArgumentError: it has no ``__dlpack__``; or ``copy=False``, and it cannot be had without.
        DeviceError: its data is not on the CPU.
        DTypeError: caudal lacks its dtype.

    Example:
        >>> import numpy as np
        >>> import caudal as cd
        >>> cd.from_dlpack(np.arange(3))
        Tensor([0, 1, 2], dtype=int64)
    """
    from . import _dlpack

    tensor = Tensor(_dlpack.take(x, copy=copy is not False))
    if copy:
        tensor = _dispatch.run(_dispatch.make_op("cast", {"dtype": tensor.dtype})[0], [tensor])[0]
    return tensor if device is None else tensor.to_device(device)
