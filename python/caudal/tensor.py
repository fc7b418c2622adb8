"""Tensors: arrays that never change, at hand or traced."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import _dispatch, _indexing, _placement, _quick, dtypes
from . import tracer as _tracer
from ._ffi import Handle, address, tensor_of
from ._operators import Operators
from .device import Device, name_of
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
        """Where its elements are: ``"cpu"``, ``"gpu:0"``, ...; that of a traced tensor is ``"cpu"``."""
        return "cpu" if self._handle is None else _placement.of(self._handle)

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

    def to_device(self, device: str | Device, /) -> Tensor:
        """The tensor on a device; itself if it is there, or traced: a graph runs on one device.

        Args:
            device: ``"cpu"``, ``"gpu:0"``, ..., ``"auto"``, or what `device` gives.

        Raises:
            DeviceError: there is no such device, or it is lost.
            OutOfMemoryError: the device does not hold it.
        """
        name = name_of(device)
        if self._handle is None or name == _placement.of(self._handle):
            return self
        # Gradients pass: in a record it is the same value.
        return Tensor(_placement.move(self._handle, name), self._tracer, self._value)

    def to(self, device: str | Device, /) -> Tensor:
        """The tensor on a device; see `to_device`."""
        return self.to_device(device)

    def numpy(self) -> np.ndarray[Any, Any]:
        """The elements as a NumPy array: read-only, over the same memory; ``bfloat16`` is converted to ``float32``.

        From a device they are copied; that waits for what the device has to do before.

        Raises:
            ArgumentError: it is traced.
            DeviceError: the device is lost.
        """
        handle = _placement.host(self._concrete("elements"))
        if self.dtype is dtypes.bfloat16:
            with _placement.aside():
                handle = _dispatch.cast(Tensor(handle), dtypes.float32)._handle
        return np.asarray(_Memory(handle))

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
        if copy is False and (wanted != array.dtype or self.dtype is dtypes.bfloat16 or self.device != "cpu"):
            raise ValueError(f"a {self.dtype} tensor on {self.device} cannot be a {wanted} array without a copy")
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
            raise BufferError("the tensor is handed over on the CPU, where there are no streams")
        own = self._concrete("elements")
        handle = _placement.host(own)
        if copy is False and handle is not own:
            raise BufferError(f"the tensor is on {self.device}, and goes to other libraries by a copy")
        if copy and handle is own:
            handle = _copy(Tensor(own))._handle
        return _dlpack.export(handle, max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        # DLPack's type and number of the CPU, from where others get what is on a device, too.
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
        device = "" if self.device == "cpu" else f", device={self.device}"
        return f"Tensor({text}, dtype={self.dtype}{device})"

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


def _copy(tensor: Tensor) -> Tensor:
    """A tensor with memory of its own, where it is."""
    with _placement.aside():
        return _dispatch.run(_dispatch.make_op("cast", {"dtype": tensor.dtype})[0], [tensor])[0]


def placed(tensor: Tensor, device: str | Device | None) -> Tensor:
    """A tensor that was made, on the device that is wanted: left out, that of the innermost context."""
    if device is not None:
        return tensor.to_device(device)
    name = _placement.current() if _placement.contexts else None
    return tensor if name is None else tensor.to_device(name)


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


def from_dlpack(x: Any, /, *, device: str | Device | None = None, copy: bool | None = None) -> Tensor:
    """A tensor over the data of another library's array, without a copy where that is row-major and aligned.

    Whoever shares the data must not change it: a tensor never changes.

    Args:
        x: Anything with ``__dlpack__``, on the CPU.
        device: Where to; left out, where the context says, else the CPU.
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
        tensor = _copy(tensor)
    result = placed(tensor, device)
    if copy is False and result is not tensor:
        text = f"the data cannot be had on {result.device} without a copy"
        raise make(ArgumentError, text, op="from_dlpack", argument="copy")
    return result
