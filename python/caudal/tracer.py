"""What records ops into graphs: traced functions, graphs by hand, regions of control flow, eager gradients.

A stack in each thread holds those that record at the moment, the innermost last.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType
from typing import TYPE_CHECKING

from . import _placement
from . import tensor as _tensor
from ._ffi import ABSENT, CData, Handle
from .builder import RANDOM_KEY, Builder
from .dims import Dim, Shape, traced
from .dtypes import DType
from .errors import ArgumentError, DTypeError, Location, ShapeError, UnsupportedError, make
from .spec import TensorSpec

if TYPE_CHECKING:
    from .tensor import Tensor
    from .variable import Variable

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _Stack(threading.local):
    def __init__(self) -> None:
        self.tracers: list[Tracer] = []


_stack = _Stack()


def active() -> Tracer | None:
    """The tracer that records at the moment, if one does."""
    return _stack.tracers[-1] if _stack.tracers else None


def owner(values: Iterable[object]) -> Tracer | None:
    """The tracer of the first value that has no elements at hand, if there is one."""
    for value in values:
        if isinstance(value, _tensor.Tensor) and value._handle is None:
            return value._tracer
    return None


@contextmanager
def recording(tracer: Tracer) -> Iterator[None]:
    """Makes a tracer the innermost one."""
    _stack.tracers.append(tracer)
    try:
        yield
    finally:
        _stack.tracers.pop()


@contextmanager
def aside() -> Iterator[None]:
    """Makes no tracer the innermost one: what runs is eager."""
    before, _stack.tracers = _stack.tracers, []
    try:
        yield
    finally:
        _stack.tracers = before


def user_location() -> Location | None:
    """The line of the innermost frame that is not caudal's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return None if frame is None else Location(_relative(frame.f_code.co_filename), frame.f_lineno)


@lru_cache(maxsize=1024)
def _relative(file: str) -> str:
    """A path without what is of this machine alone: below the working folder, else below where modules are found."""
    for folder in (os.getcwd(), *sorted(map(os.path.abspath, sys.path), key=len, reverse=True)):
        if file.startswith(folder + os.sep):
            return file[len(folder) + 1 :].replace(os.sep, "/")
    return os.path.basename(file) if os.path.isabs(file) else file


class Tracer:
    """Records ops into a graph.

    Args:
        what: What is recorded, for messages: ``the function predict``.
        parent: The tracer around this one, whose values it may use.
        record: Whether the graph can be built again.
    """

    def __init__(self, what: str, parent: Tracer | None = None, *, record: bool = False) -> None:
        self.what = what
        self.parent = parent
        self.builder = Builder(record=record)
        self.closed = False
        # Tensors are kept beside their values, or another could get the same id.
        self._constants: dict[int, tuple[Tensor, int]] = {}

    def holds(self, other: Tracer) -> bool:
        """Whether ``other`` is this tracer or one around it."""
        tracer: Tracer | None = self
        while tracer is not None:
            if tracer is other:
                return True
            tracer = tracer.parent
        return False

    def spec(self, value: int) -> tuple[DType, Shape]:
        """The dtype and shape of a value."""
        dtype, shape = self.builder.spec(value)
        return dtype, tuple(traced(dim.text, self) if isinstance(dim, Dim) else dim for dim in shape)

    def lift(self, tensor: Tensor) -> int:
        """The value of a tensor in this graph.

        Raises:
            ArgumentError: it was traced elsewhere.
        """
        owner = tensor._tracer
        if owner is self:
            return tensor._value
        if tensor._handle is not None:
            return self._constant(tensor)
        if owner is None or owner.closed or not self.holds(owner):
            raise self._foreign(tensor)
        return self.capture(tensor)

    def _constant(self, tensor: Tensor) -> int:
        found = self._constants.get(id(tensor))
        if found is None:
            found = self._constants[id(tensor)] = (tensor, self.builder.constant(_placement.host(tensor._handle)))
        return found[1]

    def _left(self) -> str:
        return f"a tensor traced in {self.what} is used after that has ended; return it from there"

    def _foreign(self, tensor: Tensor) -> ArgumentError:
        owner = tensor._tracer
        text = f"a tensor of another graph is used in {self.what}"
        if owner is not None:
            text = owner._left() if owner.closed else f"a tensor traced in {owner.what} is used in {self.what}"
        return make(ArgumentError, text, location=user_location())

    def capture(self, tensor: Tensor) -> int:
        """The value of a tensor that belongs to a tracer around this one."""
        raise self._foreign(tensor)

    def locate(self) -> None:
        """Gives the nodes that follow the user's line."""
        location = user_location()
        if location is not None:
            self.builder.locate(*location)

    def apply(self, op: Handle, inputs: Sequence[Tensor | None], regions: Sequence[CData] = ()) -> list[Tensor]:
        """Records an op; gives its outputs."""
        if self.closed:
            raise make(ArgumentError, self._left(), location=user_location())
        self.locate()
        ids = [ABSENT if tensor is None else self.lift(tensor) for tensor in inputs]
        return [_tensor.Tensor(None, self, value) for value in self.builder.apply(op, ids, regions)]

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable at this point."""
        assert self.parent is not None
        return self.parent.read(variable)

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Gives a variable a new value from this point on.

        Raises:
            UnsupportedError: inside control flow.
        """
        text = f"a variable cannot be assigned inside {self.what}; carry its value and assign it afterwards"
        raise make(UnsupportedError, text, op="assign", location=user_location())

    def bound(self, variable: Variable, value: Tensor) -> None:
        """Makes a variable read as a value, without writing it: what it is differentiated by."""
        assert self.parent is not None
        self.parent.bound(variable, value)

    def draw(self) -> Tensor:
        """A fresh random key of the program's generator."""
        assert self.parent is not None
        return self.parent.draw()


class Root(Tracer):
    """Records a whole graph, with inputs and state."""

    def __init__(self, what: str, *, record: bool = True, placeholders: bool = False) -> None:
        super().__init__(what, record=record)
        self.states: dict[Variable, tuple[str, int]] = {}
        """The variables in use, each with its name in the graph and its value there."""
        self.current: dict[Variable, Tensor] = {}
        self.training: list[tuple[int, Variable]] = []
        self.draws = False
        self.placeholders = placeholders
        """Whether state begins as zeros, because sessions are bound to the variables."""

    def input(self, name: str, spec: TensorSpec) -> Tensor:
        """Adds an input."""
        return _tensor.Tensor(None, self, self.builder.input(name, str(spec)))

    def state(self, variable: Variable) -> int:
        """The value of a variable before anything was assigned; it becomes state where it is not."""
        found = self.states.get(variable)
        if found is None:
            taken = {name for name, _ in self.states.values()}
            name, count = variable.name, 1
            while name in taken:
                count += 1
                name = f"{variable.name}_{count}"
            initial = variable._placeholder() if self.placeholders else _placement.host(variable.value._handle)
            found = self.states[variable] = (name, self.builder.state(name, variable.role, initial))
        return found[1]

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable at this point."""
        value = self.current.get(variable)
        if value is None:
            value = self.current[variable] = _tensor.Tensor(None, self, self.state(variable))
        return value

    def assign(self, variable: Variable, value: Tensor) -> None:
        """Gives a variable a new value from this point on."""
        self.state(variable)
        check_assigned(variable, value)
        self.current[variable] = _tensor.Tensor(None, self, self.lift(value))

    def bound(self, variable: Variable, value: Tensor) -> None:
        """Makes a variable read as a value, without writing it."""
        self.current[variable] = value

    def draw(self) -> Tensor:
        """A fresh random key of the program's generator."""
        from .random import generator

        if not self.draws and RANDOM_KEY not in (name for name, _ in self.states.values()):
            self.state(generator)
        self.draws = True
        self.locate()
        return _tensor.Tensor(None, self, self.builder.draw())

    def updates(self) -> dict[int, int]:
        """By state: the values that variables have at the end, where these are new."""
        ends = ((self.state(variable), self.lift(value)) for variable, value in list(self.current.items()))
        return {state: value for state, value in ends if state != value}


class Region(Tracer):
    """Records a region of control flow: a closed graph, whose captures are operands of the node.

    Args:
        what: What is recorded, for messages.
        parent: The tracer that the node belongs to.
        captures: Tensors that the regions of one node use from outside, in order; regions add to it.
        repeated: Whether it may run more than once.
    """

    def __init__(self, what: str, parent: Tracer, captures: list[Tensor], *, repeated: bool) -> None:
        super().__init__(what, parent)
        self.captures = captures
        self.repeated = repeated
        self._inputs = 0
        self._captured: list[int] = []

    def input(self, spec: TensorSpec) -> Tensor:
        """Adds an input for an operand."""
        self._inputs += 1
        return _tensor.Tensor(None, self, self.builder.input(f"value_{self._inputs - 1}", str(spec)))

    def take_captures(self) -> None:
        """Adds inputs for all captures that the node's regions have so far."""
        for index in range(len(self._captured), len(self.captures)):
            tensor = self.captures[index]
            value = self.builder.input(f"capture_{index}", str(TensorSpec(tensor.shape, tensor.dtype)))
            self._captured.append(value)

    def capture(self, tensor: Tensor) -> int:
        """The input that stands for a tensor from outside."""
        assert self.parent is not None
        # The same value may have come as several tensors.
        values = [self.parent.lift(capture) for capture in self.captures]
        value = self.parent.lift(tensor)
        if value not in values:
            values.append(value)
            self.captures.append(tensor)
        self.take_captures()
        return self._captured[values.index(value)]

    def draw(self) -> Tensor:
        """A fresh random key of the program's generator.

        Raises:
            UnsupportedError: in a loop, whose steps would all get the same.
        """
        if self.repeated:
            text = f"{self.what} would draw the same numbers in each step; carry a key and split it"
            raise make(UnsupportedError, text, op="draw", location=user_location())
        return super().draw()


def check_assigned(variable: Variable, value: Tensor) -> None:
    """Refuses a value of another spec than the variable's.

    Raises:
        DTypeError: another dtype.
        ShapeError: another shape.
    """
    if value.dtype is not variable.dtype:
        text = f"{variable.name} is {variable.dtype}, the new value {value.dtype}"
        raise make(DTypeError, text, op="assign", argument="value", location=user_location())
    if value.shape != variable.shape:
        old, new = (TensorSpec(shape, variable.dtype) for shape in (variable.shape, value.shape))
        text = f"{variable.name} is {old}, the new value {new}"
        raise make(ShapeError, text, op="assign", argument="value", location=user_location())
