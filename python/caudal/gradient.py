"""Gradients of functions: traced into the graph that is being built, or recorded while Python runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

from . import _dispatch, _placement, tree
from . import tensor as _tensor
from . import tracer as _tracer
from ._ffi import CData, Handle
from .errors import ArgumentError, DTypeError, ShapeError, make
from .spec import TensorSpec
from .tensor import Tensor
from .variable import Variable

__all__ = ["grad", "value_and_grad"]

Wrt: TypeAlias = "int | Sequence[int] | Variable | Sequence[Any] | dict[str, Any]"
"""What a function is differentiated by: numbers of arguments, or a tree of variables."""


class Recorder(_tracer.Tracer):
    """Runs ops at once and records them, so that their gradients can be had; nested gradients share one."""

    def __init__(self) -> None:
        super().__init__("grad")
        self.values: dict[int, Tensor] = {}
        self.watched: dict[Variable, Tensor] = {}

    def watch(self, tensor: Tensor) -> Tensor:
        """The same tensor as an input of the record."""
        spec = str(TensorSpec(tensor.shape, tensor.dtype))
        return self._known(_placement.placed(tensor._handle), self.builder.input(f"input_{len(self.values)}", spec))

    def _known(self, handle: Handle, value: int) -> Tensor:
        tensor = self.values[value] = _tensor.Tensor(handle, self, value)
        return tensor

    def _constant(self, tensor: Tensor) -> int:
        if _placement.of(tensor._handle) == "cpu":
            return super()._constant(tensor)
        # Graphs hold constants on the CPU; as an input it stays where it is.
        found = self._constants.get(id(tensor))
        if found is None:
            found = self._constants[id(tensor)] = (tensor, self.watch(tensor)._value)
        return found[1]

    def apply(self, op: Handle, inputs: Sequence[Tensor | None], regions: Sequence[CData] = ()) -> list[Tensor]:
        """Runs an op and records it."""
        results = _dispatch.run(op, inputs)
        recorded = super().apply(op, inputs, regions)
        return [self._known(result._handle, same._value) for result, same in zip(results, recorded, strict=True)]

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable: the one that is watched, if it is."""
        return self.watched[variable] if variable in self.watched else variable.value

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Sets a variable at once; it is watched with its new value."""
        variable._set(value)
        self.watched[variable] = value

    def bound(self, variable: Variable, value: Tensor) -> None:
        """Watches a variable as a value of the record."""
        self.watched[variable] = value

    def draw(self) -> Tensor:
        """A fresh random key of the generator."""
        from .random import draw

        with _tracer.aside():
            return draw()

    def grad(self, loss: int, wrt: Sequence[int]) -> list[Tensor]:
        """The gradients, computed and recorded."""
        grads = self.builder.grad(loss, wrt)
        known = {value: tensor._handle for value, tensor in self.values.items()}
        handles = self.builder.evaluate(known, grads)
        return [self._known(handle, value) for handle, value in zip(handles, grads, strict=True)]


def value_and_grad(f: Callable[..., Any], wrt: Wrt = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the value of ``f`` and its gradient.

    Inside a traced function the gradient becomes part of the graph. Outside, ``f`` runs as usual, with Python's control
    flow, and its ops are recorded. Both can be differentiated again.

    Args:
        f: A function that gives a floating-point scalar.
        wrt: What it is differentiated by: the number of an argument or several, each a tensor or a tree of tensors; or
            a variable, or a tree (list, tuple, dict) of variables, which ``f`` uses.
        has_aux: Whether ``f`` gives a pair: the scalar, and anything else, which comes back beside it.

    Returns:
        A function of the same arguments that gives ``(value, gradient)``, or ``((value, aux), gradient)``. The gradient
        has the structure of what ``wrt`` names.

    Raises:
        ShapeError: ``f`` gives something that is not a scalar.
        DTypeError: it gives no float, or what it is differentiated by is none.
        UnsupportedError: an op on the way has no gradient, such as a loop without ``max_steps`` in a graph.

    Example:
        >>> import caudal as cd
        >>> w = cd.Variable([1.0, 2.0])
        >>> value, gradient = cd.value_and_grad(lambda x: cd.sum(w * w) * x, wrt=[w])(3.0)
        >>> value, gradient
        (Tensor(15., dtype=float32), [Tensor([ 6., 12.], dtype=float32)])
    """
    variables = _variables(wrt)

    def differentiated(*arguments: Any, **named: Any) -> Any:
        active = _tracer.active() or _tracer.owner(tree.flatten([arguments, named])[0])
        recorder = Recorder() if active is None else None
        tracer = recorder or active
        assert tracer is not None
        with _tracer.recording(recorder) if recorder else nullcontext():
            try:
                if variables is not None:
                    value, grads = _by_variables(tracer, lambda: f(*arguments, **named), variables, has_aux)
                    return value, tree.unflatten(variables[1], grads)
                assert isinstance(wrt, int | tuple | list)
                return _by_arguments(tracer, f, wrt, arguments, named, has_aux)
            finally:
                if recorder is not None:
                    recorder.closed = True

    return differentiated


def grad(f: Callable[..., Any], wrt: Wrt = 0, *, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of ``f``; see `value_and_grad`.

    Returns:
        A function of the same arguments that gives the gradient, or ``(gradient, aux)``.

    Example:
        >>> import caudal as cd
        >>> slope = cd.grad(lambda x: x * x * x)
        >>> float(slope(2.0)), float(cd.grad(slope)(2.0))
        (12.0, 12.0)
    """
    both = value_and_grad(f, wrt, has_aux=has_aux)

    def differentiated(*arguments: Any, **named: Any) -> Any:
        value, gradient = both(*arguments, **named)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


def _variables(wrt: Any) -> tuple[list[Variable], tree.Structure] | None:
    """The variables of a tree and its structure; None where ``wrt`` is numbers of arguments."""
    if isinstance(wrt, int) or (isinstance(wrt, tuple | list) and wrt and all(isinstance(n, int) for n in wrt)):
        return None
    leaves, structure = tree.flatten(wrt)
    strangers = [leaf for leaf in leaves if not isinstance(leaf, Variable)]
    if strangers:
        text = f"wrt is numbers of arguments or a tree of variables, not {type(strangers[0]).__name__}"
        raise make(ArgumentError, text, op="grad", argument="wrt")
    return leaves, structure


def _fresh(tracer: _tracer.Tracer, tensor: Tensor) -> Tensor:
    """A tensor as a new value of the graph, so that what was computed from it before does not count."""
    if not tensor.dtype.is_float:
        text = f"the value to differentiate by is {tensor.dtype}; only floating-point values have gradients"
        raise make(DTypeError, text, op="grad", argument="wrt", location=_tracer.user_location())
    if isinstance(tracer, Recorder) and tensor._tracer is not tracer:
        return tracer.watch(tensor)
    return tracer.apply(_dispatch.make_op("cast", {"dtype": tensor.dtype})[0], [tensor])[0]


def _by_variables(
    tracer: _tracer.Tracer, f: Callable[[], Any], variables: tuple[list[Variable], tree.Structure], has_aux: bool
) -> tuple[Any, list[Tensor]]:
    """The value of ``f`` and its gradients by variables, which read as fresh values while it runs."""
    before = [tracer.read(variable) for variable in variables[0]]
    fresh = [_fresh(tracer, value) for value in before]
    for variable, value in zip(variables[0], fresh, strict=True):
        tracer.bound(variable, value)
    try:
        value, loss = _value(f(), has_aux)
    finally:
        for variable, old, new in zip(variables[0], before, fresh, strict=True):
            if tracer.read(variable) is new:
                tracer.bound(variable, old)
    return value, _gradients(tracer, loss, fresh)


def _by_arguments(
    tracer: _tracer.Tracer,
    f: Callable[..., Any],
    wrt: int | Sequence[int],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    has_aux: bool,
) -> Any:
    numbers = [wrt] if isinstance(wrt, int) else list(wrt)
    given = list(arguments)
    fresh: list[Tensor] = []
    structures = []
    for number in numbers:
        if not -len(given) <= number < len(given):
            text = f"wrt is {number}, {len(given)} arguments were given by position"
            raise make(ArgumentError, text, op="grad", argument="wrt", location=_tracer.user_location())
        leaves, structure = tree.flatten(given[number])
        own = [_fresh(tracer, _dispatch.as_tensor(leaf)) for leaf in leaves]
        given[number] = tree.unflatten(structure, own)
        fresh += own
        structures.append((structure, len(own)))
    value, loss = _value(f(*given, **named), has_aux)
    rest = _gradients(tracer, loss, fresh)
    results = []
    for structure, count in structures:
        results.append(tree.unflatten(structure, rest[:count]))
        rest = rest[count:]
    return value, results[0] if isinstance(wrt, int) else tuple(results)


def _value(result: Any, has_aux: bool) -> tuple[Any, Tensor]:
    """What the differentiated function gives as its value, and the scalar in it."""
    if has_aux and not (isinstance(result, tuple) and len(result) == 2):
        text = "with has_aux the function gives a pair: the scalar, and anything else"
        raise make(ArgumentError, text, op="grad", argument="has_aux", location=_tracer.user_location())
    loss = _dispatch.as_tensor(result[0] if has_aux else result)
    if loss.ndim != 0:
        text = f"the loss is {TensorSpec(loss.shape, loss.dtype)}, not a scalar; reduce it, for example by mean"
        raise make(ShapeError, text, op="grad", location=_tracer.user_location())
    return ((loss, result[1]) if has_aux else loss), loss


def _gradients(tracer: _tracer.Tracer, loss: Tensor, wrt: Sequence[Tensor]) -> list[Tensor]:
    value, values = tracer.lift(loss), [tensor._value for tensor in wrt]
    tracer.locate()
    if isinstance(tracer, Recorder):
        return tracer.grad(value, values)
    return [_tensor.Tensor(None, tracer, grad) for grad in tracer.builder.grad(value, values)]
