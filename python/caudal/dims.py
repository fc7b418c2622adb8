"""Dims: the sizes of traced shapes, integers or arithmetic over symbols."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from ._ffi import check, ffi, lib, owned
from .errors import ArgumentError, make

if TYPE_CHECKING:
    from .tracer import Tracer

__all__ = ["Dim", "DimLike", "Shape"]


class Dim:
    """A size that is known only when a function is called: a symbol such as ``batch``, or arithmetic over symbols.

    ``+ - * // %`` with integers and dims give dims (or an ``int``, where nothing symbolic is left). Two dims are equal
    if their canonical forms are. It has no order and no value: where Python asks for one, it is an error.

    Args:
        text: A symbol or an expression such as ``"2*n+1"``, with ``floordiv``, ``mod``, ``min`` and ``max``.

    Raises:
        ArgumentError: other text, or text without a symbol.

    Example:
        >>> import caudal as cd
        >>> n = cd.Dim("n")
        >>> n * 2 - n, n - n, n // 2
        (Dim('n'), 0, Dim('floordiv(n, 2)'))
    """

    __slots__ = ("_tracer", "text")

    text: str
    _tracer: Tracer | None

    def __init__(self, text: str) -> None:
        found = canonical(text)
        if isinstance(found, int):
            raise make(ArgumentError, f"{text!r} is the number {found}, not a symbolic dim", argument="text")
        self.text = found.text
        self._tracer = None

    def __repr__(self) -> str:
        return f"Dim({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __add__(self, other: DimLike) -> DimLike:
        return _combine("({})+({})", self, other)

    def __radd__(self, other: int) -> DimLike:
        return _combine("({})+({})", other, self)

    def __sub__(self, other: DimLike) -> DimLike:
        return _combine("({})-({})", self, other)

    def __rsub__(self, other: int) -> DimLike:
        return _combine("({})-({})", other, self)

    def __mul__(self, other: DimLike) -> DimLike:
        return _combine("({})*({})", self, other)

    def __rmul__(self, other: int) -> DimLike:
        return _combine("({})*({})", other, self)

    def __floordiv__(self, other: DimLike) -> DimLike:
        return _combine("floordiv({},{})", self, other)

    def __rfloordiv__(self, other: int) -> DimLike:
        return _combine("floordiv({},{})", other, self)

    def __mod__(self, other: DimLike) -> DimLike:
        return _combine("mod({},{})", self, other)

    def __rmod__(self, other: int) -> DimLike:
        return _combine("mod({},{})", other, self)

    def __neg__(self) -> DimLike:
        return _combine("({})-({})", 0, self)

    def __index__(self) -> int:
        self._refuse()

    def __int__(self) -> int:
        self._refuse()

    def __bool__(self) -> bool:
        self._refuse()

    def __lt__(self, other: object) -> bool:
        self._refuse()

    __le__ = __gt__ = __ge__ = __lt__

    def _refuse(self) -> NoReturn:
        from .tracer import user_location

        text = f"the value of the dim {self.text} is not known while a function is traced"
        raise make(ArgumentError, text, location=user_location())


DimLike: TypeAlias = "int | Dim"
"""A size: an integer, or a symbolic one."""

Shape: TypeAlias = "tuple[DimLike, ...]"
"""The sizes of a tensor's axes."""


def _combine(form: str, left: object, right: object) -> DimLike:
    if not all(isinstance(side, int | Dim) for side in (left, right)):
        refused: DimLike = NotImplemented
        return refused
    result = canonical(form.format(left, right))
    if isinstance(result, Dim):
        tracers = (side._tracer for side in (left, right) if isinstance(side, Dim))
        return traced(result.text, next(filter(None, tracers), None))
    return result


@lru_cache(maxsize=4096)
def canonical(text: str) -> DimLike:
    """The dim of some text, in the core's canonical form.

    Raises:
        ArgumentError: not a dim.
    """
    graph = owned("graph", lib.cdl_graph_new)
    spec = f"bool[{text}]".encode()
    value = ffi.new("uint32_t *")
    try:
        check(lib.cdl_graph_input(graph, b"x", 1, spec, len(spec), value))
    except ArgumentError as error:
        raise make(ArgumentError, f"{text!r} is not a dim: {error}", argument="shape") from None
    found = ffi.new("cdl_spec **")
    check(lib.cdl_graph_spec(graph, value[0], found))
    if found[0].rank != 1:
        raise make(ArgumentError, f"{text!r} is not one dim", argument="shape")
    if found[0].dims[0] >= 0:
        return int(found[0].dims[0])
    text = ffi.string(found[0].symbols[0]).decode()
    return int(text) if text.lstrip("-").isdigit() else traced(text, None)


def traced(text: str, tracer: Tracer | None) -> Dim:
    """A dim of canonical text, from a tensor of that trace."""
    dim = object.__new__(Dim)
    dim.text = text
    dim._tracer = tracer
    return dim


def as_dim(dim: object, argument: str = "shape") -> DimLike:
    """The dim that is meant: an integer, a dim, or the text of one.

    Raises:
        ArgumentError: something else, or a negative size.
    """
    if isinstance(dim, Dim):
        return dim
    if isinstance(dim, str):
        return canonical(dim)
    try:
        return operator.index(dim)  # type: ignore[arg-type]
    except TypeError:
        raise make(ArgumentError, f"{dim!r} is not a size", argument=argument) from None


def as_shape(shape: object, argument: str = "shape") -> Shape:
    """The shape that is meant: dims in order, or one dim alone.

    Raises:
        ArgumentError: something else.
    """
    if isinstance(shape, Iterable) and not isinstance(shape, str):
        return tuple(as_dim(dim, argument) for dim in shape)
    return (as_dim(shape, argument),)


def shape_text(shape: Iterable[object]) -> str:
    """A shape as the core writes it: ``[batch, 784]``."""
    return f"[{', '.join(map(str, shape))}]"
