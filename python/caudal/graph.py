"""Graphs by hand: inputs, state, ops, functions, put together to a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _dispatch, _placement, tree
from . import tensor as _tensor
from . import tracer as _tracer
from ._dispatch import ArrayLike
from .builder import RANDOM_KEY, ROLES, Draft
from .errors import ArgumentError, make
from .optimizers import Optimizer
from .program import Program
from .spec import SpecLike, as_spec
from .tensor import Tensor
from .trace import program_of
from .variable import Variable

__all__ = ["Graph", "GraphFunction"]


class Graph:
    """A graph that is built by hand: what a program is made of where no Python function is traced.

    Example:
        >>> import caudal as cd
        >>> g = cd.Graph()
        >>> x = g.input("x", cd.TensorSpec(["batch", 3]))
        >>> w = g.state("w", [1.0, 2.0, 3.0])
        >>> loss = cd.mean(cd.square(x @ w))
        >>> step = g.function("train_step", {"loss": loss})
        >>> step.minimize(loss, [w], cd.optimizers.SGD(0.1))
        >>> s = g.program().session()
        >>> s.train_step([[1.0, 0.0, 0.0]]), s.state["w"]
        ({'loss': Tensor(1., dtype=float32)}, Tensor([0.8, 2. , 3. ], dtype=float32))
    """

    def __init__(self) -> None:
        self._root = _tracer.Root("the graph", record=False)

    def input(self, name: str, spec: SpecLike) -> Tensor:
        """Adds an input, which all functions of the graph share.

        Raises:
            ArgumentError: a malformed name, or one that is taken.
        """
        return self._root.input(name, as_spec(spec))

    def state(self, name: str, initial: ArrayLike, *, role: str = "parameter") -> Tensor:
        """Adds state with its first value; gives its value when a function begins.

        Args:
            name: Its name, with parts joined by ``/``.
            initial: Its first value.
            role: What it is for: ``"parameter"``, ``"optimizer"``, ``"statistic"``, ``"random"`` or ``"other"``.

        Raises:
            ArgumentError: a malformed name, one that is taken, or a role that there is not.
        """
        if role not in ROLES:
            text = f"there is no role {role!r}; there are {', '.join(ROLES)}"
            raise make(ArgumentError, text, op="state", argument="role")
        value = _placement.host(_dispatch.as_tensor(initial)._concrete("value"))
        made = _tensor.Tensor(None, self._root, self._root.builder.state(name, role, value))
        if name == RANDOM_KEY:
            # What draws takes it then, and not the generator.
            self._root.draws = True
        return made

    def constant(self, value: ArrayLike) -> Tensor:
        """Adds a constant; ops do so themselves with what is at hand."""
        tensor = _dispatch.as_tensor(value)
        return _tensor.Tensor(None, self._root, self._root.lift(tensor))

    def draw(self) -> Tensor:
        """A fresh random key, ``uint32[2]``, from the program's generator, which is the state ``random/key``."""
        return self._root.draw()

    def grad(self, loss: Tensor, wrt: Any) -> Any:
        """The gradient of a scalar by values, in the structure of ``wrt``.

        Raises:
            ShapeError: the loss is not a scalar.
            DTypeError: the loss or a value is not floating-point.
        """
        leaves, structure = tree.flatten(wrt)
        self._root.locate()
        grads = self._root.builder.grad(self._root.lift(loss), [_value(self._root, leaf) for leaf in leaves])
        return tree.unflatten(structure, [_tensor.Tensor(None, self._root, grad) for grad in grads])

    def function(self, name: str, outputs: Any, *, inputs: Sequence[str] | None = None, doc: str = "") -> GraphFunction:
        """Makes a function of some values.

        Args:
            name: Its name.
            outputs: What it gives: a tensor, or a tree of them; the keys of a dict are the names of the outputs.
            inputs: The names of its inputs in order; left out, those that it needs, in the order they were made.
            doc: Its documentation.

        Raises:
            ArgumentError: a malformed name, one that is taken, or an input that nobody made.
        """
        leaves, structure = tree.flatten(outputs)
        values = [self._root.lift(_dispatch.as_tensor(leaf)) for leaf in leaves]
        names = tree.leaf_names(structure, "output", ".")
        if len(set(names)) < len(names):
            twice = next(each for each in names if names.count(each) > 1)
            raise make(ArgumentError, f"two outputs of {name} are named {twice!r}", op="function", argument="outputs")
        wanted = None if inputs is None else list(inputs)
        draft = Draft(name, dict(zip(names, values, strict=True)), wanted, doc, structure, {}, [])
        return GraphFunction(self, self._root.builder.function(draft))

    def program(self, *, metadata: object = None) -> Program:
        """The program of the graph's functions, and the state that they use.

        Args:
            metadata: Anything that has a JSON form, up to 1 MiB.

        Raises:
            ArgumentError: a function needs an input that it does not name.
        """
        return Program(program_of([self._root.builder], metadata))

    def text(self) -> str:
        """The graph as text."""
        return self._root.builder.text()


class GraphFunction:
    """A function of a graph that is built by hand."""

    def __init__(self, graph: Graph, number: int) -> None:
        self._graph = graph
        self._number = number

    def update(self, state: Tensor | Variable, value: ArrayLike) -> None:
        """Makes it write a new value to state when it has run.

        Raises:
            ArgumentError: not state of the graph.
            DTypeError: another dtype than the state's.
            ShapeError: another shape.
        """
        root = self._graph._root
        target = root.read(state) if isinstance(state, Variable) else state
        new = root.lift(_dispatch.as_tensor(value, target.dtype))
        root.builder.update(self._number, {root.lift(target): new})

    def minimize(self, loss: Tensor, parameters: Sequence[Tensor | Variable], optimizer: Optimizer) -> None:
        """Makes it train: each call moves the parameters against the gradient of a scalar.

        The optimizer's state is made with the graph; a program then has the functions ``gradients`` and ``apply``, too.

        Raises:
            ShapeError: the loss is not a scalar.
            ArgumentError: a parameter that is not state of the graph.
        """
        root = self._graph._root
        values = [_value(root, parameter) for parameter in parameters]
        root.locate()
        grads = root.builder.grad(root.lift(loss), values)
        op = _dispatch.make_op(optimizer._op, optimizer._attrs)[0]
        rate = _placement.host(optimizer.learning_rate.value._handle)
        schedule = optimizer.schedule
        if schedule is not None:
            root.builder.schedule(optimizer.name, _dispatch.make_op(schedule._op, schedule._attrs)[0])
        root.builder.optimize(self._number, optimizer.name, op, rate, grads, values)


def _value(root: _tracer.Root, tensor: Tensor | Variable) -> int:
    """The value of a tensor, or of a variable at this point."""
    return root.lift(root.read(tensor) if isinstance(tensor, Variable) else tensor)
