"""Variables: cells of state, which functions read and write."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _dispatch, _placement
from . import tensor as _tensor
from . import tracer as _tracer
from ._ffi import NULL, CData, Handle, ffi, lib, owned, owned_tensor, tensor_of, wait
from ._operators import Operators
from .builder import ROLES
from .dims import Shape
from .dtypes import DType, DTypeLike, as_dtype
from .errors import ArgumentError, make

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Variable"]

_numbers = itertools.count()


class Variable(Operators):
    """A cell that holds a tensor; functions that use it read its value when they run, and may give it a new one.

    Where a tensor is expected, a variable is its value. In a traced function it is state: the value that `assign`
    gives it is committed when the function has run, together with all others.

    Args:
        init: The first value: anything that `caudal.asarray` takes, or a function without arguments that gives it.
        name: Its name in program files, with parts joined by ``/``; left out, it is ``variable_0``, ``variable_1``, ...
        role: What it is for: ``"parameter"``, ``"optimizer"``, ``"statistic"``, ``"random"`` or ``"other"``.
        dtype: The dtype that numbers and lists take.

    Raises:
        ArgumentError: a role that there is not, or a name with an empty part.

    Example:
        >>> import caudal as cd
        >>> count = cd.Variable(0, name="count", role="other")
        >>> @cd.function(signature={})
        ... def tick():
        ...     return count.assign(count + 1)
        >>> int(tick()), int(tick()), int(count)
        (1, 2, 2)
    """

    def __hash__(self) -> int:
        return id(self)

    def __init__(
        self, init: Any, *, name: str | None = None, role: str = "parameter", dtype: DTypeLike | None = None
    ) -> None:
        if role not in ROLES:
            text = f"there is no role {role!r}; there are {', '.join(ROLES)}"
            raise make(ArgumentError, text, op="Variable", argument="role")
        if name is not None and not all(name.split("/")):
            raise make(ArgumentError, f"the name {name!r} has an empty part", op="Variable", argument="name")
        self.name = f"variable_{next(_numbers)}" if name is None else name
        self.role = role
        with _tracer.aside():
            value = _dispatch.as_tensor(init() if callable(init) else init, None if dtype is None else as_dtype(dtype))
        if dtype is not None:
            value = _dispatch.cast(value, as_dtype(dtype))
        handle = _placement.placed(value._concrete("value"))
        self._cell: CData = owned("variable", lib.cdl_variable_new, tensor_of(handle))
        self.dtype: DType = value.dtype
        self.shape: Shape = value.shape
        self._zeros: Handle | None = None

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(dim.__index__() for dim in self.shape)

    @property
    def value(self) -> Tensor:
        """Its value now, at hand; also while a function is traced."""
        return _tensor.Tensor(owned_tensor(lib.cdl_variable_get, self._cell))

    @property
    def device(self) -> str:
        """Where its value is now: ``"cpu"``, ``"gpu:0"``, ..."""
        return self.value.device

    def assign(self, value: Any) -> Tensor:
        """Gives it a new value, and gives that back; it stays on its device, or goes to that of the context.

        Args:
            value: A value of the same dtype and shape; numbers and lists take the dtype.

        Raises:
            DTypeError: another dtype.
            ShapeError: another shape.
            UnsupportedError: inside control flow.
        """
        tensor = _dispatch.as_tensor(value, self.dtype)
        _tracer.check_assigned(self, tensor)
        tracer = _tracer.active()
        if tracer is None and tensor._handle is None:
            tracer = tensor._tracer
        if tracer is not None:
            tracer.assign(self, tensor)
            return tracer.read(self)
        self._set(tensor)
        return tensor

    def numpy(self) -> np.ndarray[Any, Any]:
        """Its value now, as a read-only NumPy array."""
        return self.value.numpy()

    def item(self) -> Any:
        """Its only element; see `Tensor.item`."""
        return self._read().item()

    def tolist(self) -> Any:
        """Its elements; see `Tensor.tolist`."""
        return self._read().tolist()

    def _set(self, tensor: Tensor) -> None:
        handle = tensor._handle
        if _placement.in_use:
            before = self.device
            name = _placement.current() or before
            handle = _placement.on(handle, name)
            _placement.note_moves(int(name != before))
        wait(lib.cdl_variable_set_within, self._cell, tensor_of(handle))

    def _move(self, name: str) -> bool:
        """Takes its value to a device; whether it was elsewhere."""
        if self.device == name:
            return False
        data = name.encode()
        wait(lib.cdl_variable_to_within, self._cell, data, len(data))
        _placement.note_moves(1)
        return True

    def _read(self) -> Tensor:
        """Its value for what runs: in a graph it is a value of that."""
        tracer = _tracer.active()
        return self.value if tracer is None else tracer.read(self)

    def _placeholder(self) -> Handle:
        """Zeros of its spec, which no memory is spent on before somebody writes to it."""
        if self._zeros is None:
            dims = ffi.new("int64_t[]", list(self.shape))
            self._zeros = owned_tensor(lib.cdl_tensor_new, self.dtype.number, dims, len(self.shape), NULL, 0)
        return self._zeros

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self._read().__array__(dtype, copy)

    def __getitem__(self, key: Any) -> Tensor:
        return self._read()[key]

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Any:
        return iter(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __index__(self) -> int:
        return self._read().__index__()

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.value!r})"
