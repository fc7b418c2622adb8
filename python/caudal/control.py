"""Control flow: choices and loops, run by Python outside of graphs and by the core inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import _dispatch, tree
from . import tracer as _tracer
from ._dispatch import ArrayLike
from .dims import DimLike
from .errors import ArgumentError, ShapeError, make
from .gradient import Recorder
from .spec import TensorSpec
from .tensor import Tensor

__all__ = ["cond", "scan", "while_loop"]


def cond(predicate: ArrayLike, then: Callable[..., Any], otherwise: Callable[..., Any], *operands: Any) -> Any:
    """What one of two functions gives.

    In a graph both are traced, and one of them runs in each call; both give values of the same dtypes and shapes, in
    the same structure. They may use tensors and variables from around them, but not assign variables.

    Args:
        predicate: A bool scalar.
        then: Called with the operands if the predicate is true.
        otherwise: Called with the operands if it is not.
        operands: What the functions are called with.

    Raises:
        ShapeError: the functions give values of different specs.
        ArgumentError: they give different structures.

    Example:
        >>> import caudal as cd
        >>> @cd.function(signature={"x": "float32[]"})
        ... def halve_if_large(x):
        ...     return cd.cond(x > 1, lambda: x / 2, lambda: x)
        >>> float(halve_if_large(8.0)), float(halve_if_large(0.5))
        (4.0, 0.5)
    """
    test = _dispatch.as_tensor(predicate)
    tracer = _owner([test])
    if tracer is None or test._handle is not None:
        leaves, structure = tree.flatten(then(*operands) if test else otherwise(*operands))
        return tree.unflatten(structure, [_dispatch.as_tensor(leaf) for leaf in leaves])
    captures: list[Tensor] = []
    regions, structures = [], []
    for name, f in (("then", then), ("otherwise", otherwise)):
        region = _tracer.Region(f"the function {name!r} of cond", tracer, captures, repeated=False)
        with _tracer.recording(region):
            structures.append(_end(region, f(*operands)))
        regions.append(region)
    if structures[0] != structures[1]:
        shown = " and ".join(map(tree.describe, structures))
        text = f"the functions give different structures: {shown}"
        raise make(ArgumentError, text, op="cond", location=_tracer.user_location())
    return tree.unflatten(structures[0], _apply(tracer, "cond", {}, regions, [test], captures))


def while_loop(
    cond: Callable[[Any], ArrayLike], body: Callable[[Any], Any], init: Any, *, max_steps: int | None = None
) -> Any:
    """A value changed by a function as long as a condition holds.

    Args:
        cond: Takes the value; gives a bool scalar.
        body: Takes the value; gives the next one, of the same structure, dtypes and shapes.
        init: The first value: a tensor, or a tree of them.
        max_steps: The most steps it makes. In a graph the loop has a gradient only if it is given; that keeps the
            values of so many steps.

    Raises:
        ShapeError: a step changes the dtype or shape of the value.
        ArgumentError: a step changes its structure, or the condition is no bool scalar.

    Example:
        >>> import caudal as cd
        >>> cd.while_loop(lambda n: n < 100, lambda n: n * 2, 1)
        Tensor(128, dtype=int64)
    """
    leaves, structure = tree.flatten(init)
    tensors = [_dispatch.as_tensor(leaf) for leaf in leaves]
    tracer = _owner(tensors)
    if tracer is None:
        value, steps = tree.unflatten(structure, tensors), 0
        while (max_steps is None or steps < max_steps) and bool(_dispatch.as_tensor(cond(value))):
            value, steps = _same(structure, tensors, body(value), "while_loop"), steps + 1
        return value
    captures: list[Tensor] = []
    regions = []
    for name, f in (("cond", cond), ("body", body)):
        region = _tracer.Region(f"the function {name!r} of while_loop", tracer, captures, repeated=True)
        with _tracer.recording(region):
            result = f(tree.unflatten(structure, _inputs(region, tensors)))
            _end(region, result if name == "cond" else _same(structure, tensors, result, "while_loop"))
        regions.append(region)
    attrs = {"carried": len(tensors), "max_steps": max_steps}
    return tree.unflatten(structure, _apply(tracer, "while_loop", attrs, regions, tensors, captures))


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    *,
    length: DimLike | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A function run over slices, with a value carried from each step to the next.

    Args:
        f: Takes the carried value and a slice; gives the next carried value, of the same structure, dtypes and shapes,
            and an output.
        init: The first carried value: a tensor, or a tree of them.
        xs: A tensor or a tree of them, sliced along their first axes, which are equally long; None has no slices.
        length: How many steps; it may be left out where there are slices.
        reverse: Whether it goes from the last slice to the first.

    Returns:
        The last carried value, and the outputs stacked along a new first axis, in the order of the slices.

    Raises:
        ShapeError: a step changes the dtype or shape of the carried value, or the slices differ in number.
        ArgumentError: neither slices nor a length.

    Example:
        >>> import caudal as cd
        >>> total, sums = cd.scan(lambda s, x: (s + x, s + x), 0.0, cd.asarray([1.0, 2.0, 3.0]))
        >>> total, sums
        (Tensor(6., dtype=float32), Tensor([1., 3., 6.], dtype=float32))
    """
    leaves, carried_structure = tree.flatten(init)
    carried = [_dispatch.as_tensor(leaf) for leaf in leaves]
    leaves, sliced_structure = tree.flatten(xs)
    sliced = [_dispatch.as_tensor(leaf) for leaf in leaves]
    steps = _length(sliced, length)
    tracer = _owner([*carried, *sliced])
    if tracer is None:
        return _scan_now(f, carried_structure, carried, sliced_structure, sliced, steps.__index__(), reverse)
    captures: list[Tensor] = []
    region = _tracer.Region("the function of scan", tracer, captures, repeated=True)
    with _tracer.recording(region):
        value = tree.unflatten(carried_structure, _inputs(region, carried))
        slices = [region.input(TensorSpec(tensor.shape[1:], tensor.dtype)) for tensor in sliced]
        after, output = _pair(f(value, tree.unflatten(sliced_structure, slices)))
        after = _same(carried_structure, carried, after, "scan")
        structure = _end(region, (after, output))
    attrs = {"carried": len(carried), "sliced": len(sliced), "length": steps, "reverse": reverse}
    results = _apply(tracer, "scan", attrs, [region], [*carried, *sliced], captures)
    last, outputs = tree.unflatten(structure, results)
    return last, outputs


def _owner(tensors: list[Tensor]) -> _tracer.Tracer | None:
    """What control flow is recorded by; None where Python runs it."""
    active = _tracer.active() or _tracer.owner(tensors)
    return None if isinstance(active, Recorder) else active


def _inputs(region: _tracer.Region, tensors: list[Tensor]) -> list[Tensor]:
    return [region.input(TensorSpec(tensor.shape, tensor.dtype)) for tensor in tensors]


def _end(region: _tracer.Region, result: Any) -> tree.Structure:
    """Makes a region of what its function gave."""
    from .builder import Draft

    leaves, structure = tree.flatten(result)
    values = [region.lift(_dispatch.as_tensor(leaf)) for leaf in leaves]
    outputs = {f"output_{index}": value for index, value in enumerate(values)}
    region.builder.function(Draft("region", outputs, None, "", None, {}, []))
    region.closed = True
    return structure


def _apply(
    tracer: _tracer.Tracer,
    name: str,
    attrs: Mapping[str, object],
    regions: list[_tracer.Region],
    operands: list[Tensor],
    captures: list[Tensor],
) -> list[Any]:
    """Applies an op with regions, which all take the operands and then the captures of them all."""
    for region in regions:
        region.take_captures()
    op = _dispatch.make_op(name, attrs)[0]
    return list(tracer.apply(op, [*operands, *captures], [region.builder.handle for region in regions]))


def _same(structure: tree.Structure, before: list[Tensor], result: Any, op: str) -> Any:
    """A carried value after a step, if it has the structure, dtypes and shapes of the one before."""
    leaves, other = tree.flatten(result)
    if other != structure:
        shown = f"{tree.describe(structure)} before a step and {tree.describe(other)} after it"
        raise make(ArgumentError, f"the carried value is {shown}", op=op, location=_tracer.user_location())
    after = []
    for old, leaf in zip(before, leaves, strict=True):
        new = _dispatch.as_tensor(leaf, old.dtype)
        specs = [TensorSpec(tensor.shape, tensor.dtype) for tensor in (old, new)]
        if specs[0] != specs[1]:
            text = f"the carried value is {specs[0]} before a step and {specs[1]} after it"
            raise make(ShapeError, text, op=op, location=_tracer.user_location())
        after.append(new)
    return tree.unflatten(structure, after)


def _length(sliced: list[Tensor], length: DimLike | None) -> DimLike:
    """How many steps a scan makes."""
    for tensor in sliced:
        if tensor.ndim == 0:
            raise make(ShapeError, "a scalar has no slices", op="scan", argument="xs", location=_tracer.user_location())
    sizes = [tensor.shape[0] for tensor in sliced] + ([] if length is None else [length])
    if not sizes:
        text = "give slices or a length"
        raise make(ArgumentError, text, op="scan", argument="length", location=_tracer.user_location())
    known = {size for size in sizes if isinstance(size, int)}
    if len(known) > 1:
        text = f"the slices differ in number: {', '.join(map(str, sizes))}"
        raise make(ShapeError, text, op="scan", argument="xs", location=_tracer.user_location())
    return sizes[0]


def _pair(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        text = "the function gives a pair: the carried value and an output"
        raise make(ArgumentError, text, op="scan", argument="f", location=_tracer.user_location())
    return result


def _scan_now(
    f: Callable[[Any, Any], tuple[Any, Any]],
    carried_structure: tree.Structure,
    carried: list[Tensor],
    sliced_structure: tree.Structure,
    sliced: list[Tensor],
    steps: int,
    reverse: bool,
) -> tuple[Any, Any]:
    from .functions import stack

    value = tree.unflatten(carried_structure, list(carried))
    rows: list[list[Any]] = []
    structure: tree.Structure = "none"
    for step in reversed(range(steps)) if reverse else range(steps):
        parts = [tensor[step] for tensor in sliced]
        value, output = _pair(f(value, tree.unflatten(sliced_structure, parts)))
        value = _same(carried_structure, carried, value, "scan")
        leaves, structure = tree.flatten(output)
        rows.append(leaves)
    if reverse:
        rows.reverse()
    if not rows:
        # The outputs' structure is known only from a step.
        text = "without steps the outputs are not known; use it in a function"
        raise make(ArgumentError, text, op="scan", argument="length", location=_tracer.user_location())
    stacked: list[Tensor] = [stack(list(column)) for column in zip(*rows, strict=True)]
    return value, tree.unflatten(structure, stacked)
