"""The core's graphs under construction, call by call, and the record that builds the same graph again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import dtypes
from ._ffi import (
    CData,
    Handle,
    bytes_of,
    check,
    dumps,
    ffi,
    lib,
    names,
    op_of,
    own_tensor,
    owned,
    tensor_of,
    tensors_of,
    text,
    values,
)
from .dims import Shape, traced
from .dtypes import DType

ROLES: tuple[str, ...] = ("parameter", "optimizer", "statistic", "random", "other")
"""The roles of state, in the order of their numbers in the C API, which begin with 1."""

RANDOM_KEY = "random/key"
"""The state that holds a program's random key."""


class Draft(NamedTuple):
    """What a function of a graph is, beside the graph itself."""

    name: str
    outputs: dict[str, int]
    inputs: list[str] | None
    doc: str
    structure: object
    updates: dict[int, int]
    training: list[tuple[int, int]]


class Builder:
    """A graph of the core under construction. Values are numbers; those of one node are consecutive.

    Args:
        record: Whether to keep what was called, for `replay`.
    """

    def __init__(self, *, record: bool = False) -> None:
        self.handle: CData = owned("graph", lib.cdl_graph_new)
        self._log: list[tuple[str, tuple[object, ...]]] | None = [] if record else None
        self._line: tuple[str, int] | None = None
        self._value: CData = ffi.new("uint32_t *")
        self._count: CData = ffi.new("size_t *")
        self._specs: dict[int, tuple[DType, Shape]] = {}

    def _record(self, name: str, *arguments: object) -> None:
        if self._log is not None:
            self._log.append((name, arguments))

    def locate(self, file: str, line: int) -> None:
        """Sets the user's line of the nodes that follow."""
        if self._line != (file, line):
            self._line = (file, line)
            data = file.encode()
            check(lib.cdl_graph_location(self.handle, data, len(data), line))
            self._record("locate", file, line)

    def input(self, name: str, spec: str) -> int:
        """Adds an input, with a spec such as ``float32[batch, 784]``."""
        name_data, spec_data = name.encode(), spec.encode()
        check(lib.cdl_graph_input(self.handle, name_data, len(name_data), spec_data, len(spec_data), self._value))
        self._record("input", name, spec)
        return int(self._value[0])

    def state(self, name: str, role: str, initial: Handle) -> int:
        """Adds state with its first value."""
        data = name.encode()
        number = ROLES.index(role) + 1
        check(lib.cdl_graph_state(self.handle, data, len(data), number, tensor_of(initial), self._value))
        self._record("state", name, role, initial)
        return int(self._value[0])

    def constant(self, tensor: Handle) -> int:
        """Adds a constant."""
        check(lib.cdl_graph_constant(self.handle, tensor_of(tensor), self._value))
        self._record("constant", tensor)
        return int(self._value[0])

    def apply(self, op: Handle, inputs: Sequence[int], regions: Sequence[CData] = ()) -> range:
        """Applies an op; gives its outputs."""
        graphs = ffi.new("cdl_graph *[]", list(regions)) if regions else ffi.NULL
        check(
            lib.cdl_graph_apply(
                self.handle, op_of(op), graphs, len(regions), values(inputs), len(inputs), self._value, self._count
            )
        )
        self._record("apply", op, tuple(inputs), tuple(regions))
        return range(self._value[0], self._value[0] + self._count[0])

    def grad(self, loss: int, wrt: Sequence[int]) -> list[int]:
        """Adds the gradients of a scalar by values."""
        grads = ffi.new("uint32_t[]", len(wrt))
        check(lib.cdl_graph_grad(self.handle, loss, values(wrt), len(wrt), grads))
        self._record("grad", loss, tuple(wrt))
        return list(grads)

    def draw(self) -> int:
        """A fresh random key from the state `RANDOM_KEY`."""
        check(lib.cdl_graph_draw(self.handle, self._value))
        self._record("draw")
        return int(self._value[0])

    def spec(self, value: int) -> tuple[DType, Shape]:
        """The dtype and shape of a value; its symbolic dims belong to no trace."""
        found = self._specs.get(value)
        if found is None:
            out = ffi.new("cdl_spec **")
            check(lib.cdl_graph_spec(self.handle, value, out))
            found = self._specs[value] = read_spec(out[0])
        return found

    def function(self, draft: Draft) -> int:
        """Makes a function of some values."""
        output_names, kept = names(list(draft.outputs))
        notes = dumps({"doc": draft.doc, "inputs": draft.inputs, "structure": draft.structure}, "structure")
        name = draft.name.encode()
        outputs = values(list(draft.outputs.values()))
        check(
            lib.cdl_graph_function(
                self.handle, name, len(name), output_names, outputs, len(kept), notes, len(notes), self._value
            )
        )
        function = int(self._value[0])
        self.update(function, draft.updates)
        if draft.training:
            grads, parameters = zip(*draft.training, strict=True)
            self.training(function, grads, parameters)
        return function

    def update(self, function: int, updates: Mapping[int, int]) -> None:
        """Makes a function write new values (by state) when it has run."""
        states, news = values(list(updates)), values(list(updates.values()))
        check(lib.cdl_graph_update(self.handle, function, states, news, len(updates)))

    def training(self, function: int, grads: Sequence[int], parameters: Sequence[int]) -> None:
        """Says that a function trains these parameters by these gradients."""
        check(lib.cdl_graph_training(self.handle, function, values(grads), values(parameters), len(grads)))

    def optimize(
        self, function: int, name: str, op: Handle, rate: Handle, grads: Sequence[int], parameters: Sequence[int]
    ) -> None:
        """Makes a function train with an optimizer's op, whose state gets names below ``name``."""
        data = name.encode()
        given = op_of(op), tensor_of(rate), values(grads), values(parameters)
        check(lib.cdl_graph_optimize(self.handle, function, data, len(data), *given, len(grads)))

    def evaluate(self, given: Mapping[int, Handle], wanted: Sequence[int]) -> list[Handle]:
        """Computes values at once from others that are known."""
        outputs = ffi.new("cdl_tensor *[]", len(wanted))
        tensors = tensors_of(list(given.values()))
        ids = values(list(given))
        check(lib.cdl_graph_eval(self.handle, ids, tensors, len(given), values(wanted), len(wanted), ffi.NULL, outputs))
        return [own_tensor(output) for output in outputs]

    def text(self) -> str:
        """The graph as text."""
        return bytes_of(lib.cdl_graph_text, self.handle).decode()

    def replay(self, state_names: Mapping[str, str]) -> Builder:
        """The same graph built again, with state renamed; its values have the same numbers.

        The graph's functions are not among what is built again.
        """
        copy = Builder()
        for name, arguments in self._log or ():
            if name == "state":
                old, role, initial = arguments
                copy.state(state_names.get(str(old), str(old)), str(role), initial)
            else:
                getattr(copy, name)(*arguments)
        return copy


def read_spec(spec: CData) -> tuple[DType, Shape]:
    """The dtype and shape that a ``cdl_spec`` says."""
    shape = tuple(
        int(spec.dims[axis]) if spec.dims[axis] >= 0 else traced(text(spec.symbols[axis]) or "", None)
        for axis in range(spec.rank)
    )
    return dtypes.ALL[spec.dtype - 1], shape
