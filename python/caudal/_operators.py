"""The operators that tensors and variables share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _dispatch

if TYPE_CHECKING:
    from .tensor import Tensor

_NONE: dict[str, object] = {}


class Operators:
    """Python's operators by the ops of the same meaning.

    The other operand may be anything that `caudal.asarray` takes; numbers and lists take this one's dtype.
    """

    __slots__ = ()

    # NumPy's operators leave an array and a tensor to the tensor.
    __array_priority__ = 1000

    def __add__(self, other: Any) -> Tensor:
        return _dispatch.apply("add", (self, other), _NONE)

    def __radd__(self, other: Any) -> Tensor:
        return _dispatch.apply("add", (other, self), _NONE)

    def __sub__(self, other: Any) -> Tensor:
        return _dispatch.apply("sub", (self, other), _NONE)

    def __rsub__(self, other: Any) -> Tensor:
        return _dispatch.apply("sub", (other, self), _NONE)

    def __mul__(self, other: Any) -> Tensor:
        return _dispatch.apply("mul", (self, other), _NONE)

    def __rmul__(self, other: Any) -> Tensor:
        return _dispatch.apply("mul", (other, self), _NONE)

    def __truediv__(self, other: Any) -> Tensor:
        return _dispatch.apply("div", (self, other), _NONE)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _dispatch.apply("div", (other, self), _NONE)

    def __floordiv__(self, other: Any) -> Tensor:
        return _dispatch.apply("floor_divide", (self, other), _NONE)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _dispatch.apply("floor_divide", (other, self), _NONE)

    def __mod__(self, other: Any) -> Tensor:
        return _dispatch.apply("remainder", (self, other), _NONE)

    def __rmod__(self, other: Any) -> Tensor:
        return _dispatch.apply("remainder", (other, self), _NONE)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def __pow__(self, other: Any) -> Tensor:
        return _dispatch.apply("pow", (self, other), _NONE)

    def __rpow__(self, other: Any) -> Tensor:
        return _dispatch.apply("pow", (other, self), _NONE)

    def __matmul__(self, other: Any) -> Tensor:
        return _dispatch.apply("matmul", (self, other), _NONE)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _dispatch.apply("matmul", (other, self), _NONE)

    def __and__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_and", (self, other), _NONE)

    def __rand__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_and", (other, self), _NONE)

    def __or__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_or", (self, other), _NONE)

    def __ror__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_or", (other, self), _NONE)

    def __xor__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_xor", (self, other), _NONE)

    def __rxor__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_xor", (other, self), _NONE)

    def __lshift__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_left_shift", (self, other), _NONE)

    def __rlshift__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_left_shift", (other, self), _NONE)

    def __rshift__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_right_shift", (self, other), _NONE)

    def __rrshift__(self, other: Any) -> Tensor:
        return _dispatch.apply("bitwise_right_shift", (other, self), _NONE)

    def __lt__(self, other: Any) -> Tensor:
        return _dispatch.apply("less", (self, other), _NONE)

    def __le__(self, other: Any) -> Tensor:
        return _dispatch.apply("less_equal", (self, other), _NONE)

    def __gt__(self, other: Any) -> Tensor:
        return _dispatch.apply("greater", (self, other), _NONE)

    def __ge__(self, other: Any) -> Tensor:
        return _dispatch.apply("greater_equal", (self, other), _NONE)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented
        return _dispatch.apply("equal", (self, other), _NONE)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        if other is None:
            return NotImplemented
        return _dispatch.apply("not_equal", (self, other), _NONE)

    def __neg__(self) -> Tensor:
        return _dispatch.apply("neg", (self,), _NONE)

    def __abs__(self) -> Tensor:
        return _dispatch.apply("abs", (self,), _NONE)

    def __invert__(self) -> Tensor:
        return _dispatch.apply("bitwise_invert", (self,), _NONE)

    def __pos__(self) -> Tensor:
        return _dispatch.as_tensor(self)
