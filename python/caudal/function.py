"""Functions: Python functions traced into graphs, which run as a whole and can be saved."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, overload

import numpy as np

from . import _dispatch, _quick, _run, tree
from . import tracer as _tracer
from .errors import ArgumentError, make
from .spec import TensorSpec, as_spec
from .tensor import Tensor
from .trace import Static, Trace
from .variable import Variable

__all__ = ["Function", "function"]

R = TypeVar("R")

_MAX_SEEN = 1024


class Function(Generic[R]):
    """A Python function that runs as a graph; `function` makes it.

    The first call with inputs of some dtypes and shapes *traces* it: Python runs once, with tensors that stand for the
    inputs, and the ops that it applies become a graph. Later calls run the graph. Variables that it reads become state,
    and what it assigns to them is committed together when a call has come to its end. Numbers, texts and other
    arguments that are no arrays are part of the trace: other ones trace again.
    """

    def __init__(self, f: Callable[..., R], signature: Mapping[str, Any] | None) -> None:
        functools.update_wrapper(self, f)
        self._f = f
        name = re.sub(r"\W", "_", getattr(f, "__name__", "function"), flags=re.ASCII).strip("_")
        self._name = name if re.match(r"[A-Za-z_]", name) and name != "lambda" else "function"
        self._parameters = inspect.signature(f)
        self._lock = threading.RLock()
        self._traces: dict[Any, Trace] = {}
        self._given: list[Trace] = []
        self._signature = None if signature is None else self._checked(signature)
        self._only: Trace | None = None
        # Traces by the dtypes and shapes of inputs that are all tensors: the way that takes least.
        self._seen: dict[tuple[object, ...], Trace] = {}

    def _checked(self, signature: Mapping[str, Any]) -> dict[str, Any]:
        """The signature with a spec at each leaf."""
        specs = {}
        for name, specs_of in signature.items():
            if name not in self._parameters.parameters:
                known = ", ".join(self._parameters.parameters) or "none"
                text = f"the signature names {name!r}, the function's parameters are: {known}"
                raise make(ArgumentError, text, op=self._name, argument="signature")
            leaves, structure = tree.flatten(specs_of)
            specs[name] = tree.unflatten(structure, [as_spec(leaf) for leaf in leaves])
        return specs

    def _bind_signature(self, signature: Mapping[str, Any]) -> inspect.BoundArguments:
        """The signature in place of arguments, and defaults for the rest."""
        found = {}
        for name, parameter in self._parameters.parameters.items():
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if name in signature:
                found[name] = signature[name]
            elif parameter.default is parameter.empty and not variadic:
                text = f"the signature lacks the parameter {name!r}, which has no default"
                raise make(ArgumentError, text, op=self._name, argument="signature")
        bound = inspect.BoundArguments(self._parameters, found)
        bound.apply_defaults()
        return bound

    def __call__(self, *arguments: Any, **named: Any) -> R:
        """Runs it, after tracing it if need be; inside another trace it becomes part of that.

        Raises:
            DTypeError: an input of another dtype than the signature's.
            ShapeError: an input of another shape.
            Error: what an op refuses, with the line.
        """
        active = _tracer.active()
        if active is not None:
            return self._inline(*arguments, **named)
        if self._only is not None and not named and len(arguments) == len(self._only.inputs) and self._only.flat:
            result: R = self._only.call(arguments)
            return result
        seen = None if named else _seen(arguments)
        trace = None if seen is None else self._seen.get(seen)
        if trace is None:
            trace, leaves = self._find(*arguments, **named)
            if seen is not None and len(leaves) == len(seen):
                if len(self._seen) >= _MAX_SEEN:
                    self._seen.clear()
                self._seen[seen] = trace
        else:
            leaves = list(arguments)
        result = trace.call(leaves)
        return result

    def _inline(self, *arguments: Any, **named: Any) -> R:
        if self._signature is None:
            return self._f(*arguments, **named)
        bound = self._bind(*arguments, **named)
        for name, specs in self._signature.items():
            leaves, structure = tree.flatten(specs)
            given = tree.flatten_like(structure, bound.arguments[name], f"{self._name}: {name}")
            fitted = [
                value if isinstance(value, Variable) else _run.fit(value, spec, name, self._name)
                for value, spec in zip(given, leaves, strict=True)
            ]
            bound.arguments[name] = tree.unflatten(structure, fitted)
        return self._f(*bound.args, **bound.kwargs)

    def _bind(self, *arguments: Any, **named: Any) -> inspect.BoundArguments:
        try:
            bound = self._parameters.bind(*arguments, **named)
        except TypeError as error:
            raise TypeError(f"{self._name}() {error}") from None
        bound.apply_defaults()
        return bound

    def _find(self, *arguments: Any, **named: Any) -> tuple[Trace, list[Any]]:
        """The trace for some arguments, made if it is not there, and the inputs among them."""
        bound = self._bind(*arguments, **named)
        specs, leaves = self._specs(bound, by_value=True)
        key = _key(specs)
        trace = self._traces.get(key)
        if trace is None:
            trace = next((given for given in self._given if given.fits(specs)), None)
        if trace is None:
            with self._lock:
                trace = self._traces.get(key) or self._trace(specs, key)
        return trace, leaves

    def _specs(self, bound: inspect.BoundArguments, *, by_value: bool) -> tuple[dict[str, Any], list[Any]]:
        """For each parameter its tree of specs and other values, and the inputs in order."""
        specs: dict[str, Any] = {}
        inputs: list[Any] = []
        for name, value in bound.arguments.items():
            own = (self._signature or {}).get(name)
            if own is not None:
                leaves, structure = tree.flatten(own)
                if by_value:
                    inputs += tree.flatten_like(structure, value, f"{self._name}: {name}")
                specs[name] = own
                continue
            leaves, structure = tree.flatten(value)
            found = [_leaf(leaf, name, self._name) for leaf in leaves]
            inputs += [leaf for leaf, spec in zip(leaves, found, strict=True) if isinstance(spec, TensorSpec)]
            specs[name] = tree.unflatten(structure, found)
        return specs, inputs

    def _trace(self, specs: dict[str, Any], key: Any) -> Trace:
        trace = Trace(self._name, self._f, self._parameters, specs)
        self._traces[key] = trace
        if self._signature is not None and set(specs) == set(self._signature):
            self._only = trace
        return trace

    def trace(self, *specs: Any, **named: Any) -> Trace:
        """Traces it for inputs of some specs, as a signature does; later calls that fit use that.

        Args:
            specs: For each argument a `TensorSpec`, its text, a tree of them, or a value that becomes part of the
                trace. With a signature there are none.
            named: The same by name.

        Example:
            >>> import caudal as cd
            >>> @cd.function
            ... def double(x):
            ...     return x * 2
            >>> double.trace(cd.TensorSpec(["n"]))
            Trace(double(x: float32[n]) -> float32[n])
        """
        if self._signature is not None and not specs and not named:
            bound = self._bind_signature(self._signature)
        else:
            bound = self._bind(*specs, **named)
        tree_of, _ = self._specs(bound, by_value=False)
        key = _key(tree_of)
        with self._lock:
            trace = self._traces.get(key) or self._trace(tree_of, key)
            if trace not in self._given:
                self._given.append(trace)
        return trace

    @property
    def traces(self) -> list[Trace]:
        """Its traces, in the order in which they were made."""
        return list(self._traces.values())

    def graph(self, *arguments: Any, **named: Any) -> str:
        """The graph that a call with these arguments (or specs) runs, as text; with a signature there need be none.

        Example:
            >>> import caudal as cd
            >>> @cd.function(signature={"x": "float32[n]"})
            ... def double(x):
            ...     return x * 2
            >>> "mul" in double.graph()
            True
        """
        return self._traced(*arguments, **named).graph()

    def explain(self, *arguments: Any, **named: Any) -> str:
        """As `graph`, after the passes: which nodes are one step, and where that ends and why; see `Session.explain`.

        Example:
            >>> import caudal as cd
            >>> @cd.function(signature={"x": "float32[n]"})
            ... def distance(x):
            ...     return cd.sqrt(cd.sum(x * x))
            >>> distance.explain().count(" = fused(")
            1
        """
        return self._traced(*arguments, **named).explain()

    def _traced(self, *arguments: Any, **named: Any) -> Trace:
        """The trace for arguments or specs; for none, that of the signature."""
        specs = any(isinstance(leaf, TensorSpec) for leaf in tree.flatten([list(arguments), named])[0])
        if specs or (not arguments and not named):
            return self.trace(*arguments, **named)
        return self._find(*arguments, **named)[0]

    def _saved(self, name: str) -> Trace:
        """The trace that is saved under a name: that of the signature, or the only one made by `trace`.

        Raises:
            ArgumentError: there is none, or there are several; the text says the line to write.
        """
        if self._signature is not None:
            return self.trace()
        if len(self._given) == 1:
            return self._given[0]
        seen = [str(trace) for trace in self.traces]
        what = f"it was called as {', '.join(seen)}" if seen else "it was not called yet"
        text = f"{name} has no signature; {what}; write @cd.function(signature={self._suggestion()})"
        raise make(ArgumentError, text, op="save", argument=name)

    def _suggestion(self) -> str:
        """A signature that fits all that was seen: sizes that differ become names."""
        seen = [trace.inputs for trace in self.traces] or [
            {name: TensorSpec(["batch"]) for name in self._parameters.parameters}
        ]
        entries = []
        for name, first in seen[0].items():
            others = [specs[name] for specs in seen if name in specs and specs[name].ndim == first.ndim]
            dims = [
                f'"{"batch" if axis == 0 else f"dim{axis}"}"'
                if axis == 0 or any(other.shape[axis] != dim for other in others)
                else repr(dim)
                for axis, dim in enumerate(first.shape)
            ]
            entries.append(f'"{name}": cd.TensorSpec([{", ".join(dims)}], "{first.dtype}")')
        return "{" + ", ".join(entries) + "}"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: bound to its object, traced for each object anew."""
        if instance is None:
            return self
        name = f"__caudal_{self._name}"
        kept = instance.__dict__.get(name) if hasattr(instance, "__dict__") else None
        if kept is None:
            kept = Function(functools.partial(self._f, instance), None)
            functools.update_wrapper(kept, self._f)
            kept._name = self._name
            if self._signature is not None:
                kept._signature = self._signature
            if hasattr(instance, "__dict__"):
                instance.__dict__[name] = kept
        return kept

    def __repr__(self) -> str:
        return f"<caudal function {self._name}>"


def _seen(arguments: tuple[Any, ...]) -> tuple[object, ...] | None:
    """The dtypes and shapes of arguments that are all tensors at hand."""
    specs = []
    for value in arguments:
        if type(value) is not Tensor or value._handle is None:
            return None
        specs.append((_quick.dtype(value._handle), _quick.shape(value._handle)))
    return tuple(specs)


def _leaf(value: Any, name: str, function: str) -> Any:
    """What an argument that no signature names is to the trace: a spec, or a value that is part of it."""
    if isinstance(value, TensorSpec):
        return value
    if isinstance(value, Tensor):
        return TensorSpec(value.shape, value.dtype)
    # NumPy's float64 is a Python float, too.
    scalar = isinstance(value, np.generic) and not isinstance(value, str | bytes)
    if not scalar and (isinstance(value, Variable | str | bytes | int | float) or callable(value)):
        return Static(value)
    if scalar or hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        tensor = _dispatch.as_tensor(value)
        return TensorSpec(tensor.shape, tensor.dtype)
    try:
        hash(value)
    except TypeError:
        text = f"{name} holds {type(value).__name__}, which is neither an array nor hashable"
        raise make(ArgumentError, text, op=function, argument=name) from None
    return Static(value)


def _key(specs: dict[str, Any]) -> Any:
    leaves, structure = tree.flatten(specs)
    return repr(structure), tuple(leaves)


@overload
def function(f: Callable[..., R], /) -> Function[R]: ...


@overload
def function(*, signature: Mapping[str, Any] | None = None) -> Callable[[Callable[..., R]], Function[R]]: ...


def function(f: Callable[..., R] | None = None, /, *, signature: Mapping[str, Any] | None = None) -> Any:
    """Makes a Python function run as a graph; see `Function`.

    Args:
        f: The function. Its docstring is kept in program files.
        signature: For each parameter a `TensorSpec`, its text, or a tree of them. There is one trace then, whatever
            the sizes that the specs leave open; and the function can be saved. A parameter that it does not name has a
            default, or is given at `trace`.

    Raises:
        ArgumentError: a signature that does not fit the function's parameters.

    Example:
        >>> import caudal as cd
        >>> @cd.function(signature={"x": cd.TensorSpec(["batch", 2])})
        ... def norm(x):
        ...     return cd.sqrt(cd.sum(x * x, axis=1))
        >>> norm([[3.0, 4.0]])
        Tensor([5.], dtype=float32)
        >>> len(norm.traces)
        1
    """
    if f is None:
        return lambda f: Function(f, signature)
    return Function(f, signature)
