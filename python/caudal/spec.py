"""Specs: dtype and shape, what is known of a tensor before it is computed."""

from __future__ import annotations

from collections.abc import Iterable

from .dims import DimLike, Shape, as_shape, shape_text
from .dtypes import DType, DTypeLike, as_dtype, float32
from .errors import ArgumentError, make

__all__ = ["SpecLike", "TensorSpec"]


class TensorSpec:
    """The dtype and shape of a function's input.

    A dim is an integer or text: a symbol such as ``"batch"``, known when the function is called, or arithmetic over
    symbols. Equal symbols in one signature are equal sizes.

    Args:
        shape: The dims in order; ``[]`` is a scalar.
        dtype: The dtype of every element.

    Raises:
        ArgumentError: something that is not a dim.
        DTypeError: no such dtype.

    Example:
        >>> import caudal as cd
        >>> spec = cd.TensorSpec(["batch", 784])
        >>> spec
        TensorSpec(['batch', 784], 'float32')
        >>> str(spec), spec.shape[1]
        ('float32[batch, 784]', 784)
    """

    __slots__ = ("dtype", "shape")

    shape: Shape
    dtype: DType

    def __init__(self, shape: Iterable[DimLike | str] | DimLike | str, dtype: DTypeLike = float32) -> None:
        self.shape = as_shape(shape)
        self.dtype = as_dtype(dtype)
        negative = [dim for dim in self.shape if isinstance(dim, int) and dim < 0]
        if negative:
            text = f"{negative[0]} is not a size; an unknown one is a name such as 'batch'"
            raise make(ArgumentError, text, op="TensorSpec", argument="shape")

    @staticmethod
    def parse(text: str) -> TensorSpec:
        """The spec of text such as ``float32[batch, 784]``.

        Raises:
            ArgumentError: other text.
            DTypeError: no such dtype.
        """
        name, bracket, rest = text.partition("[")
        if not bracket or not rest.endswith("]"):
            raise make(ArgumentError, f"{text!r} is not a spec such as float32[batch, 784]")
        return TensorSpec(split_dims(rest[:-1]), name.strip())

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and self.shape == other.shape and self.dtype is other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __str__(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"

    def __repr__(self) -> str:
        dims = [dim if isinstance(dim, int) else str(dim) for dim in self.shape]
        return f"TensorSpec({dims!r}, {self.dtype.name!r})"


SpecLike = TensorSpec | str


def as_spec(spec: object) -> TensorSpec:
    """The spec that is meant: a spec or its text.

    Raises:
        ArgumentError: something else.
    """
    if isinstance(spec, TensorSpec):
        return spec
    if isinstance(spec, str):
        return TensorSpec.parse(spec)
    raise make(ArgumentError, f"{spec!r} is not a TensorSpec", argument="signature")


def split_dims(text: str) -> list[str]:
    """The dims in the text of a shape; a comma inside parentheses does not part them."""
    dims, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            dims.append(text[start:position].strip())
            start = position + 1
    last = text[start:].strip()
    return [*dims, last] if last or dims else []
