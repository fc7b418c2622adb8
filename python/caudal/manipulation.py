"""Functions that sort, scan, index and arrange, with the array API's names and signatures where it has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import _dispatch, _indexing
from . import tracer as _tracer
from ._dispatch import ArrayLike, apply, apply_many, as_tensor
from .creation import ShapeLike
from .dims import Dim, DimLike, as_shape
from .dtypes import DTypeLike, as_dtype, int64
from .errors import ArgumentError, ShapeError, make
from .functions import _axis, concat, reshape
from .tensor import Tensor

__all__ = [
    "argsort",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "dynamic_slice",
    "einsum",
    "gather",
    "norm",
    "repeat",
    "roll",
    "scatter",
    "sort",
    "split",
    "take_along_axis",
    "tile",
    "top_k",
    "unstack",
]


def sort(x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Elements in order along an axis; NaN is greater than any number.

    Args:
        x: The tensor.
        axis: The axis.
        descending: Whether the greatest comes first.
        stable: Has no meaning: equal elements always keep their order.

    Raises:
        ArgumentError: no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.sort(cd.asarray([3, 1, 2]), descending=True)
        Tensor([3, 2, 1], dtype=int64)
    """
    return apply("sort", (x,), {"axis": axis, "descending": descending})


def argsort(x: ArrayLike, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Indices that sort a tensor along an axis; see `caudal.sort`.

    Raises:
        ArgumentError: no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.argsort(cd.asarray([3.0, 1.0, 2.0]))
        Tensor([1, 2, 0], dtype=int64)
    """
    return apply("argsort", (x,), {"axis": axis, "descending": descending})


def top_k(x: ArrayLike, k: DimLike, /, *, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k greatest (or least) elements along an axis, the most extreme first, and their indices.

    Raises:
        ArgumentError: no such axis, or a negative k.
        ShapeError: fewer than k elements.

    Example:
        >>> import caudal as cd
        >>> cd.top_k(cd.asarray([3, 1, 7, 5]), 2)
        (Tensor([7, 5], dtype=int64), Tensor([2, 3], dtype=int64))
    """
    values, indices = apply_many("top_k", (x,), {"k": k, "axis": axis, "largest": largest})
    return values, indices


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The sum of each element and those before it along an axis, in order.

    Args:
        x: The tensor.
        axis: The axis; it may be left out where x has one axis.
        dtype: What is summed in; left out, it is x's.
        include_initial: Whether the sum of no elements, 0, comes first.

    Raises:
        ArgumentError: no such axis, or none though x has several.

    Example:
        >>> import caudal as cd
        >>> cd.cumulative_sum(cd.asarray([1, 2, 3]), include_initial=True)
        Tensor([0, 1, 3, 6], dtype=int64)
    """
    return _cumulative("cumsum", "cumulative_sum", x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Tensor:
    """The product of each element and those before it along an axis, in order; see `caudal.cumulative_sum`.

    Raises:
        ArgumentError: no such axis, or none though x has several.

    Example:
        >>> import caudal as cd
        >>> cd.cumulative_prod(cd.asarray([1, 2, 3]))
        Tensor([1, 2, 6], dtype=int64)
    """
    return _cumulative("cumprod", "cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def _cumulative(
    op: str, name: str, x: ArrayLike, axis: int | None, dtype: DTypeLike | None, initial: int | None
) -> Tensor:
    tensor = as_tensor(x) if dtype is None else _dispatch.cast(as_tensor(x), as_dtype(dtype))
    if axis is None and tensor.ndim != 1:
        raise _refuse(ArgumentError, f"the rank is {tensor.ndim}: give an axis", name, "axis")
    place = _axis(axis or 0, tensor.ndim, name)
    output = apply(op, (tensor,), {"axis": place})
    if initial is None:
        return output
    widths = [int(other == place) for other in range(tensor.ndim)]
    value = _dispatch.cast(as_tensor(initial), tensor.dtype)
    return apply("pad", (output, value), {"low": widths, "high": [0] * tensor.ndim})


def _refuse(kind: type, text: str, op: str, argument: str) -> Exception:
    error: Exception = make(kind, text, op=op, argument=argument, location=_tracer.user_location())
    return error


def diff(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Tensor:
    """Differences between neighbours along an axis, taken n times.

    Args:
        x: The tensor.
        axis: The axis.
        n: How often; 0 is x itself.
        prepend: What is joined before x along the axis first.
        append: What is joined after it.

    Raises:
        ArgumentError: no such axis, or a negative n.

    Example:
        >>> import caudal as cd
        >>> cd.diff(cd.asarray([1, 4, 9, 16]))
        Tensor([3, 5, 7], dtype=int64)
    """
    if n < 0:
        raise _refuse(ArgumentError, f"n is {n}; it takes 0 or more", "diff", "n")
    tensor = as_tensor(x)
    place = _axis(axis, tensor.ndim, "diff")
    parts = [part for part in (prepend, tensor, append) if part is not None]
    if len(parts) > 1:
        tensor = concat(parts, axis=place)
    for _ in range(n):
        later = [int(other == place) for other in range(tensor.ndim)]
        sooner = [-1 if other == place else 2**63 - 1 for other in range(tensor.ndim)]
        first = apply("slice", (tensor,), {"start": [0] * tensor.ndim, "stop": sooner})
        second = apply("slice", (tensor,), {"start": later, "stop": [2**63 - 1] * tensor.ndim})
        tensor = apply("not_equal" if tensor.dtype.kind == "bool" else "sub", (second, first), {})
    return tensor


def take_along_axis(x: ArrayLike, indices: ArrayLike, /, *, axis: int = -1, fill: float | None = None) -> Tensor:
    """Elements at indices of the same rank along an axis; the other axes are broadcast.

    Args:
        x: The tensor.
        indices: Integers; negative ones count from the end.
        axis: The axis of x that they count along.
        fill: What an index outside gives; left out, it is an error if the indices are at hand, and NaN or 0 in a graph.

    Raises:
        OutOfBoundsError: an index outside of the axis.
        ShapeError: shapes that do not fit.

    Example:
        >>> import caudal as cd
        >>> x = cd.asarray([[3, 1, 2], [4, 6, 5]])
        >>> cd.take_along_axis(x, cd.argsort(x))
        Tensor([[1, 2, 3],
                [4, 5, 6]], dtype=int64)
    """
    tensor, found = as_tensor(x), _indices(indices)
    place = _axis(axis, tensor.ndim, "take_along_axis")
    if fill is None:
        _indexing.check_indices(tensor, found, place)
    return apply("take_along_axis", (tensor, found), {"axis": place, "fill": fill})


def _indices(value: ArrayLike) -> Tensor:
    """Indices in a dtype that ops take: integers of other widths become int64."""
    tensor = as_tensor(value, int64)
    narrow = tensor.dtype.is_integer and tensor.dtype.name not in ("int32", "int64")
    return _dispatch.cast(tensor, int64) if narrow else tensor


def gather(x: ArrayLike, indices: ArrayLike, /, *, batch_dims: int = 0, fill: float | None = None) -> Tensor:
    """Slices of a tensor at tuples of indices.

    Of x [batch..., d1, ..., dk, rest...] at indices [batch..., n..., k] they are [batch..., n..., rest...].

    Args:
        x: The tensor.
        indices: Integers, the last axis of which holds one for each of the first k axes of x after the batch axes;
            negative ones count from the end.
        batch_dims: How many leading axes x and the indices share.
        fill: What a tuple with an index outside gives; left out it is NaN, or 0 for integers.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> import caudal as cd
        >>> x = cd.asarray([[1, 2], [3, 4]])
        >>> cd.gather(x, [[0, 1], [1, 0]]), cd.gather(x, [[1]])
        (Tensor([2, 3], dtype=int64), Tensor([[3, 4]], dtype=int64))
    """
    return apply("gather", (x, _indices(indices)), {"batch_dims": batch_dims, "fill": fill}, (None, "int64"))


def scatter(
    x: ArrayLike, indices: ArrayLike, updates: ArrayLike, /, *, mode: str = "set", batch_dims: int = 0
) -> Tensor:
    """A tensor with updates at tuples of indices, which are those of `caudal.gather`.

    Args:
        x: The tensor.
        indices: Integers; updates at indices outside of x are dropped.
        updates: What comes there, of the shape that gathering gives.
        mode: ``"set"`` (of several updates of one place the last), ``"add"``, ``"max"`` or ``"min"``.
        batch_dims: How many leading axes x and the indices share.

    Raises:
        ShapeError: shapes that do not fit.
        ArgumentError: no such mode.

    Example:
        >>> import caudal as cd
        >>> cd.scatter(cd.zeros(3), [[0], [2], [0]], [1.0, 2.0, 3.0], mode="add")
        Tensor([4., 0., 2.], dtype=float32)
    """
    attrs = {"mode": mode, "batch_dims": batch_dims}
    return apply("scatter", (x, _indices(indices), updates), attrs, (None, "int64", None))


def dynamic_slice(x: ArrayLike, start: ArrayLike, sizes: ShapeLike, /) -> Tensor:
    """The part of x of some sizes that begins at `start`, which may depend on data.

    Args:
        x: The tensor.
        start: An index along each axis; what would go beyond x is moved so that it does not.
        sizes: The shape of the part.

    Raises:
        ShapeError: sizes that do not fit into x, or another number of indices.

    Example:
        >>> import caudal as cd
        >>> cd.dynamic_slice(cd.arange(5), [1], (3,)), cd.dynamic_slice(cd.arange(5), [4], (3,))
        (Tensor([1, 2, 3], dtype=int64), Tensor([2, 3, 4], dtype=int64))
    """
    return apply("dynamic_slice", (x, _indices(start)), {"sizes": as_shape(sizes)}, (None, "int64"))


def split(x: ArrayLike, sections: int | Sequence[DimLike], /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """Parts of a tensor along an axis.

    Args:
        x: The tensor.
        sections: How many equal parts, or the size of each part.
        axis: The axis.

    Raises:
        ShapeError: a size that is no multiple of the number of parts, or sizes that do not add up to it.
        ArgumentError: no such axis, or no parts.

    Example:
        >>> import caudal as cd
        >>> cd.split(cd.arange(4), 2), [part.shape for part in cd.split(cd.arange(4), [1, 0, 3])]
        ((Tensor([0, 1], dtype=int64), Tensor([2, 3], dtype=int64)), [(1,), (0,), (3,)])
    """
    tensor = as_tensor(x)
    place = _axis(axis, tensor.ndim, "split")
    size = tensor.shape[place]
    if isinstance(sections, int):
        if sections < 1:
            raise _refuse(ArgumentError, f"sections is {sections}; it takes 1 or more", "split", "sections")
        if isinstance(size, int) and size % sections:
            text = f"axis {place} has size {size}, which is not a multiple of {sections}"
            raise _refuse(ShapeError, text, "split", "sections")
        # Of a symbolic size the shape says whether it is a multiple.
        rows = (*tensor.shape[:place], sections, -1, *tensor.shape[place + 1 :])
        return unstack(reshape(tensor, rows), axis=place)
    total = sum(sections[1:], start=sections[0]) if sections else 0
    if isinstance(size, int) and isinstance(total, int) and total != size:
        text = f"the sizes {list(sections)} add up to {total}, axis {place} has size {size}"
        raise _refuse(ShapeError, text, "split", "sections")
    parts: list[Tensor] = []
    first: DimLike = 0
    for section in sections:
        # The last goes to the end, so that its size says whether all add up.
        last = 2**63 - 1 if len(parts) == len(sections) - 1 else first + section
        start = [first if other == place else 0 for other in range(tensor.ndim)]
        stop = [last if other == place else 2**63 - 1 for other in range(tensor.ndim)]
        part = apply("slice", (tensor,), {"start": start, "stop": stop})
        if isinstance(section, Dim) or isinstance(size, Dim):
            part = reshape(part, (*part.shape[:place], section, *part.shape[place + 1 :]))
        parts.append(part)
        first = first + section
    return tuple(parts)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of a tensor along an axis of known size, without that axis.

    Raises:
        ArgumentError: no such axis.
        ShapeError: an axis of symbolic size.

    Example:
        >>> import caudal as cd
        >>> cd.unstack(cd.asarray([[1, 2], [3, 4]]), axis=1)
        (Tensor([1, 3], dtype=int64), Tensor([2, 4], dtype=int64))
    """
    tensor = as_tensor(x)
    place = _axis(axis, tensor.ndim, "unstack")
    size = tensor.shape[place]
    if isinstance(size, Dim):
        raise _refuse(ShapeError, f"axis {place} has the symbolic size {size}", "unstack", "axis")
    before = (slice(None),) * place
    return tuple(tensor[before + (number,)] for number in range(size))  # noqa: RUF005


def tile(x: ArrayLike, repetitions: Sequence[DimLike], /) -> Tensor:
    """A tensor repeated as a whole along axes; of it and the repetitions, the one with fewer axes gets ones in front.

    Raises:
        ArgumentError: a negative number of repetitions.

    Example:
        >>> import caudal as cd
        >>> cd.tile(cd.asarray([1, 2]), (2, 2))
        Tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]], dtype=int64)
    """
    return apply("tile", (x,), {"repetitions": tuple(repetitions)})


def repeat(x: ArrayLike, repeats: DimLike, /, *, axis: int | None = None) -> Tensor:
    """Each element repeated along an axis, or along x flattened.

    Raises:
        ArgumentError: no such axis, or a negative number.

    Example:
        >>> import caudal as cd
        >>> cd.repeat(cd.asarray([1, 2]), 2)
        Tensor([1, 1, 2, 2], dtype=int64)
    """
    return apply("repeat", (x,), {"repeats": repeats, "axis": axis})


def roll(x: ArrayLike, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None) -> Tensor:
    """A tensor with its elements moved along axes, those that leave it at one end coming in at the other.

    Args:
        x: The tensor.
        shift: How far, for all axes or for each.
        axis: The axes; left out, x is rolled as if it were flat.

    Raises:
        ArgumentError: no such axis, or another number of shifts than axes.

    Example:
        >>> import caudal as cd
        >>> cd.roll(cd.arange(5), 2)
        Tensor([3, 4, 0, 1, 2], dtype=int64)
    """
    return apply("roll", (x,), {"shift": _ints(shift), "axis": axis if axis is None else _ints(axis)})


def _ints(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def einsum(equation: str, /, *operands: ArrayLike) -> Tensor:
    """Products of operands, whose axes an equation names, summed over the names that its output lacks.

    Args:
        equation: The names of each operand's axes, one letter each, between commas; after ``->`` those of the output.
            ``...`` stands for axes without a name, which broadcast.
        operands: The tensors.

    Raises:
        ArgumentError: no equation, or one that does not fit the operands.
        ShapeError: axes of one name whose sizes differ.

    Example:
        >>> import caudal as cd
        >>> cd.einsum("ij,j->i", cd.ones((2, 3)), [1.0, 2.0, 3.0])
        Tensor([6., 6.], dtype=float32)
    """
    return apply("einsum", operands, {"equation": equation})


def norm(
    x: ArrayLike,
    /,
    *,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    ord: int | float | str = 2,
) -> Tensor:
    """The norm of the vector of all elements over axes; its gradient is 0 where it is 0.

    Args:
        x: A floating-point tensor.
        axis: The axes; left out, all of them.
        keepdims: Whether they stay, with size 1.
        ord: 1 (sum of sizes), 2 or ``"fro"`` (root of the sum of squares) or inf (greatest size).

    Raises:
        ArgumentError: another ord, or no such axis.

    Example:
        >>> import caudal as cd
        >>> cd.norm([3.0, -4.0]), cd.norm([3.0, -4.0], ord=1), cd.norm([3.0, -4.0], ord=cd.inf)
        (Tensor(5., dtype=float32), Tensor(7., dtype=float32), Tensor(4., dtype=float32))
    """
    orders: dict[int | float | str, float] = {"fro": 2.0, "inf": math.inf}
    if isinstance(ord, str) and ord not in orders:
        raise _refuse(ArgumentError, f"ord is {ord!r}; it can be 1, 2, inf or 'fro'", "norm", "ord")
    given = None if axis is None else _ints(axis)
    return apply("norm", (x,), {"axis": given, "ord": float(orders.get(ord, ord)), "keepdims": keepdims})
