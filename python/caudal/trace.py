"""Traces: what a function became for inputs of some specs, ready to run and to save."""

from __future__ import annotations

import inspect
import struct
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from . import _dispatch, _placement, _run, tree
from . import tracer as _tracer
from ._ffi import NULL, CData, address, bytes_of, check, check_json, dumps, ffi, lib, owned
from .builder import Builder, Draft
from .dims import Dim
from .errors import ArgumentError, DeviceError, make
from .spec import TensorSpec
from .tensor import Tensor
from .variable import Variable

__all__ = ["Trace"]


class Static:
    """A value that is part of a trace: another one traces again."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def _key(self) -> tuple[type, object]:
        # Variables compare element by element; 1, 1.0 and True are equal, as are 0.0 and -0.0; NaN is not itself.
        value = self.value
        if isinstance(value, float):
            return type(value), struct.pack("d", value)
        return type(value), (id(value) if isinstance(value, Variable) else value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Trace:
    """One trace of a function: for inputs of some specs, its graph, state and outputs.

    Attributes:
        name: The function's name.
        inputs: The spec of each input by name, in order.
        outputs: The spec of each output by name, in order.
    """

    def __init__(self, name: str, f: Callable[..., Any], parameters: inspect.Signature, specs: dict[str, Any]) -> None:
        self.name = name
        self.doc = inspect.getdoc(f) or ""
        self.specs = specs
        self.inputs: dict[str, TensorSpec] = {}
        self.flat = True
        self._lock = threading.Lock()
        self._function: int | None = None
        self._session: CData | None = None
        self._program: CData | None = None
        # On devices, by name: the generation of what lies there, the session, and the function.
        self._there: dict[str, tuple[int, CData, int]] = {}
        # Where all variables are, as of how many moves.
        self._settled: tuple[str, int] | None = None
        what = "the function" if getattr(f, "__name__", "<lambda>") == "<lambda>" else f"the function {name}"
        self._root = root = _tracer.Root(what, placeholders=True)
        with _tracer.aside(), _placement.aside(), _tracer.recording(root):
            arguments = {key: self._arguments(key, tree_of) for key, tree_of in specs.items()}
            bound = inspect.BoundArguments(parameters, arguments)
            self._finish(f(*bound.args, **bound.kwargs))
        root.closed = True

    def _arguments(self, parameter: str, specs: Any) -> Any:
        """The traced inputs of a parameter, in the places of their specs."""
        leaves, structure = tree.flatten(specs)
        names = tree.leaf_names(structure, parameter, "_", root_for_keys=True)
        self.flat = self.flat and structure == tree.LEAF
        values: list[Any] = []
        for name, leaf in zip(names, leaves, strict=True):
            if isinstance(leaf, Static):
                values.append(leaf.value)
                continue
            if name in self.inputs:
                raise make(ArgumentError, f"two inputs are named {name!r}", op=self.name, argument=name)
            self.inputs[name] = leaf
            values.append(self._root.input(name, leaf))
        return tree.unflatten(structure, values)

    def _finish(self, result: Any) -> None:
        """Notes outputs and updates of a function that gave this result."""
        leaves, self.structure = tree.flatten(result)
        root = self._root
        tensors = [_dispatch.as_tensor(leaf) for leaf in leaves]
        self._values = [root.lift(tensor) for tensor in tensors]
        self._names = tree.leaf_names(self.structure, "output", ".")
        self.outputs = {
            name: TensorSpec(tensor.shape, tensor.dtype) for name, tensor in zip(self._names, tensors, strict=True)
        }
        self._updates = root.updates()
        self._training = [(grad, root.state(variable)) for grad, variable in root.training]

    @property
    def variables(self) -> list[Variable]:
        """The variables that it reads and writes."""
        return list(self._root.states)

    def fits(self, specs: dict[str, Any]) -> bool:
        """Whether inputs of these specs may be given to it."""
        own, structure = tree.flatten(self.specs)
        given, other = tree.flatten(specs)
        return structure == other and all(map(_fits, own, given))

    def graph(self) -> str:
        """Its graph as it was traced, as text."""
        self._compile()
        return bytes_of(lib.cdl_program_info, self._program, lib.CDL_GRAPHS).decode()

    def explain(self) -> str:
        """The graph that a call on the CPU runs, as text; see `Session.explain`."""
        return bytes_of(lib.cdl_function_explain, ffi.cast("cdl_function *", self._compile())).decode()

    def call(self, inputs: Sequence[Any]) -> Any:
        """Runs it; gives what the Python function gave, with real tensors."""
        fitted = _run.Inputs(self.name, bool(self._updates) or self._root.draws)
        for value, (name, spec) in zip(inputs, self.inputs.items(), strict=True):
            fitted.add(value, spec, name)
        if _placement.in_use:
            outputs = self._run_placed(self._device(inputs), fitted)
        else:
            outputs = _run.run(self._function or self._compile(), fitted, None)
        return outputs[0] if self.structure == tree.LEAF else tree.unflatten(self.structure, list(outputs))

    def _device(self, inputs: Sequence[Any]) -> str:
        """Where a call runs: as the context says, else where its first tensor is, else where its variables are."""
        name = _placement.current()
        if name is None:
            first = next((value for value in inputs if type(value) is Tensor), None)
            name = "cpu" if first is None else first.device
            if name == "cpu" and (variable := self._first) is not None:
                settled = self._settled
                known = settled is not None and settled[1] == _placement.moves
                name = settled[0] if known and settled is not None else variable.device
        return name

    @cached_property
    def _first(self) -> Variable | None:
        """The first variable that it uses, other than the generator, which all share."""
        from .random import generator

        return next((variable for variable in self._root.states if variable is not generator), None)

    def _run_placed(self, name: str, inputs: _run.Inputs) -> list[Tensor]:
        """Runs it on a device, where its variables are from then on."""
        before = _placement.moves
        if self._settled != (name, before):
            moved = sum(variable._move(name) for variable in self._root.states)
            self._settled = (name, before + moved)
        if name == "cpu":
            return _run.run(self._function or self._compile(), inputs, None)
        found = self._there.get(name)
        if found is None or found[0] != _placement.generation:
            found = self._compile_on(name)
        try:
            return _run.run(found[2], inputs, None)
        except DeviceError:
            _placement.forget()
            raise

    def _compile_on(self, name: str) -> tuple[int, CData, int]:
        """The function of a session on a device."""
        self._compile()
        assert self._program is not None
        with self._lock:
            generation = _placement.generation
            session = session_of(self._program, self._root.states, name)
            found = self._there[name] = (generation, session, function_of(session, self.name))
        return found

    def _compile(self) -> int:
        """The function of a session whose state is the variables; made at the first call."""
        with self._lock:
            if self._function is None:
                names = self._names if len(set(self._names)) == len(self._names) else None
                outputs = {
                    names[index] if names else f"output_{index}": value for index, value in enumerate(self._values)
                }
                self._root.builder.function(self._draft(self.name, outputs, []))
                self._program = program_of([self._root.builder], None)
                self._session = session_of(self._program, self._root.states)
                self._function = function_of(self._session, self.name)
        return self._function

    def _draft(self, name: str, outputs: dict[str, int], training: list[tuple[int, int]]) -> Draft:
        return Draft(name, outputs, list(self.inputs), self.doc, self.structure, self._updates, training)

    def build(self, name: str) -> Builder:
        """Its graph built again, as a function of that name, with its variables' own names.

        Raises:
            ArgumentError: two outputs of one name.
        """
        twice = [output for output in self._names if self._names.count(output) > 1]
        if twice:
            raise make(ArgumentError, f"two outputs of {name} are named {twice[0]!r}", op="save", argument=name)
        builder = self._root.builder.replay({old: variable.name for variable, (old, _) in self._root.states.items()})
        outputs = dict(zip(self._names, self._values, strict=True))
        builder.function(self._draft(name, outputs, self._training))
        return builder

    def __str__(self) -> str:
        inputs = ", ".join(f"{name}: {spec}" for name, spec in self.inputs.items())
        outputs = ", ".join(map(str, self.outputs.values()))
        return f"{self.name}({inputs}) -> {outputs if len(self.outputs) == 1 else f'({outputs})'}"

    def __repr__(self) -> str:
        return f"Trace({self})"


def program_of(builders: Sequence[Builder], metadata: object) -> CData:
    """The program of what was built."""
    graphs = ffi.new("cdl_graph *[]", [builder.handle for builder in builders])
    check_json(metadata, "metadata")
    text = b"" if metadata is None else dumps(metadata, "metadata")
    return owned("program", lib.cdl_program_new, graphs, len(builders), text, len(text))


def function_of(session: CData, name: str) -> int:
    """The address of a session's function."""
    function, data = ffi.new("cdl_function **"), name.encode()
    check(lib.cdl_session_function(session, data, len(data), function))
    return address(function[0])


def session_of(program: CData, states: dict[Variable, tuple[str, int]], device: str = "cpu") -> CData:
    """A session of a program whose state is variables, each known there by a name."""
    options = dumps({"device": device}, "options")
    session = owned("session", lib.cdl_program_session, program, options, len(options), NULL)
    used = used_state(program)
    for variable, (name, _) in states.items():
        if name in used:
            data = name.encode()
            check(lib.cdl_session_bind(session, data, len(data), variable._cell))
    return session


def used_state(program: CData) -> set[str]:
    """The names of a program's state: what no function uses is not among them."""
    import json

    info = json.loads(bytes_of(lib.cdl_program_info, program, lib.CDL_JSON))
    return {state["name"] for state in info["state"]}


def _fits(own: Any, given: Any) -> bool:
    if not isinstance(own, TensorSpec) or not isinstance(given, TensorSpec):
        return bool(own == given)
    dims = zip(own.shape, given.shape, strict=False)
    return (
        own.dtype is given.dtype
        and own.ndim == given.ndim
        and all(isinstance(dim, Dim) or dim == size for dim, size in dims)
    )
