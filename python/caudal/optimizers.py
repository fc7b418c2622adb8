"""Optimizers: what makes of parameters and gradients the next parameters, and keeps its own state in variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _dispatch, tree
from . import tracer as _tracer
from .creation import asarray, zeros
from .errors import ArgumentError, make
from .schedules import Schedule
from .tensor import Tensor
from .variable import Variable

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]


class Optimizer:
    """What all optimizers share.

    Attributes:
        name: The first part of its state's names: ``NAME/learning_rate``, ``NAME/step``, ``NAME/SLOT/PARAMETER``.
        learning_rate: The rate before the schedule, a float32 variable; it may be assigned at any time.
        step: How many steps were made, an int64 variable.
        schedule: What the rate is multiplied by at each step, or None; see `caudal.schedules`.
    """

    _op: str
    _slot_names: tuple[str, ...]

    def __init__(
        self, learning_rate: float, name: str, attrs: dict[str, float], schedule: Schedule | None = None
    ) -> None:
        self.name = name
        self.schedule = schedule
        self._attrs = attrs
        rate, zero = np.float32(learning_rate), np.int64(0)
        with _tracer.aside():
            # Refuses attrs out of range now, and not in the first step.
            _dispatch.apply_many(self._op, (rate, rate, rate, zero, *[rate for _ in self._slot_names]), attrs)
        self.learning_rate = Variable(rate, name=f"{name}/learning_rate", role="optimizer")
        self.step = Variable(zero, name=f"{name}/step", role="optimizer")
        self._slots: dict[Variable, list[Variable]] = {}

    def slots(self, variable: Variable) -> list[Variable]:
        """The variables that it keeps beside a parameter, in the order of the op; made at the first step."""
        kept = self._slots.get(variable)
        if kept is None:
            zeros = asarray(np.zeros(tuple(map(int, variable.shape)), np.float32), device=variable.device)
            kept = self._slots[variable] = [
                Variable(zeros, name=f"{self.name}/{slot}/{variable.name}", role="optimizer", dtype=variable.dtype)
                for slot in self._slot_names
            ]
        return kept

    def apply(self, grads: Any, variables: Any) -> None:
        """Makes one step: gives each variable and the optimizer's own state their new values.

        In a traced function this also says that the function trains: a saved program then has the functions
        ``gradients`` and ``apply`` beside it.

        Args:
            grads: The gradients, a tensor or a tree of the structure of ``variables``.
            variables: The parameters: a variable, or a tree of them.

        Raises:
            ArgumentError: the structures differ, or something is no variable.
            ShapeError: a gradient of another shape than its variable.

        Example:
            >>> import caudal as cd
            >>> w = cd.Variable([1.0, 2.0], name="w")
            >>> sgd = cd.optimizers.SGD(0.5)
            >>> sgd.apply([cd.asarray([1.0, 1.0])], [w])
            >>> w.value
            Tensor([0.5, 1.5], dtype=float32)
        """
        targets, structure = tree.flatten(variables)
        gradients = tree.flatten_like(structure, grads, "apply: grads")
        for target in targets:
            if not isinstance(target, Variable):
                text = f"{type(target).__name__} is not a Variable"
                raise make(ArgumentError, text, op="apply", argument="variables", location=_tracer.user_location())
        tensors = [
            _dispatch.as_tensor(gradient, target.dtype) for gradient, target in zip(gradients, targets, strict=True)
        ]
        step = self.step._read()
        rate = self.learning_rate._read()
        if self.schedule is not None:
            rate = rate * self.schedule(step)
        for target, gradient in zip(targets, tensors, strict=True):
            self._update(target, gradient, rate, step)
        self.step.assign(step + 1)
        tracer = _tracer.active()
        if isinstance(tracer, _tracer.Root):
            tracer.training += [(tracer.lift(grad), target) for grad, target in zip(tensors, targets, strict=True)]

    def reset(self) -> None:
        """Starts anew: the step and all slots become zeros; the learning rate stays.

        Example:
            >>> import caudal as cd
            >>> adam, w = cd.optimizers.Adam(), cd.Variable([1.0], name="w")
            >>> adam.apply(cd.asarray([1.0]), w)
            >>> adam.reset()
            >>> int(adam.step)
            0
        """
        for variable in (self.step, *(slot for slots in self._slots.values() for slot in slots)):
            variable.assign(zeros(variable.shape, dtype=variable.dtype))

    def _update(self, variable: Variable, gradient: Tensor, rate: Tensor, step: Tensor) -> None:
        slots = self.slots(variable)
        inputs = (variable, gradient, rate, step, *slots)
        results = _dispatch.apply_many(self._op, inputs, self._attrs)
        for target, value in zip((variable, *slots), results, strict=True):
            target.assign(value)

    def __repr__(self) -> str:
        attrs = "".join(f", {name}={value}" for name, value in self._attrs.items())
        if self.schedule is not None:
            attrs += f", schedule={self.schedule!r}"
        return f"{type(self).__name__}({self.learning_rate.value.item():g}{attrs}, name={self.name!r})"


class SGD(Optimizer):
    """Gradient descent: parameter - learning_rate * gradient; with momentum as in Keras.

    Args:
        learning_rate: The rate.
        momentum: How much of the velocity stays from step to step, in [0, 1); 0 keeps none, and no state for it.
        nesterov: Whether the parameter moves on by where the velocity will take it; it needs a momentum.
        schedule: What the rate is multiplied by at each step; see `caudal.schedules`.
        name: The first part of its state's names.

    Raises:
        ArgumentError: a momentum out of range, or nesterov without one.

    Example:
        >>> import caudal as cd
        >>> cd.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
        SGD(0.1, momentum=0.9, nesterov=True, name='optimizer')
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        schedule: Schedule | None = None,
        name: str = "optimizer",
    ) -> None:
        if nesterov and not momentum:
            raise make(ArgumentError, "nesterov needs a momentum above 0", op="SGD", argument="nesterov")
        self._op = "sgd_momentum" if momentum else "sgd"
        self._slot_names = ("velocity",) if momentum else ()
        attrs = {"momentum": float(momentum)} if momentum else {}
        super().__init__(learning_rate, name, attrs | ({"nesterov": True} if nesterov else {}), schedule)


class RMSprop(Optimizer):
    """RMSprop, as in Keras (Tieleman and Hinton 2012): the gradient by the root of the average of its square.

    Args:
        learning_rate: The rate.
        rho: How much of the averages stays from step to step, in [0, 1).
        momentum: How much of the last change is added to the next, in [0, 1); 0 adds none, and keeps no state for it.
        epsilon: What is added under the root.
        centered: Whether the squares are those about the average gradient, which is kept, too.
        schedule: What the rate is multiplied by at each step; see `caudal.schedules`.
        name: The first part of its state's names.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> rmsprop, w = cd.optimizers.RMSprop(1e-3, momentum=0.9), cd.Variable([1.0], name="w")
        >>> [slot.name for slot in rmsprop.slots(w)]
        ['optimizer/velocity/w', 'optimizer/change/w']
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        schedule: Schedule | None = None,
        name: str = "optimizer",
    ) -> None:
        self._op = "rmsprop" + ("_centered" if centered else "") + ("_momentum" if momentum else "")
        centers, moves = ("average_gradient",) if centered else (), ("change",) if momentum else ()
        self._slot_names = ("velocity", *centers, *moves)
        attrs = {"rho": float(rho), "epsilon": float(epsilon)}
        super().__init__(learning_rate, name, attrs | ({"momentum": float(momentum)} if momentum else {}), schedule)


class Adagrad(Optimizer):
    """Adagrad, as in Keras (Duchi, Hazan and Singer 2011): the gradient by the root of the sum of its squares.

    Its slot ``accumulator`` holds the sum without the initial value.

    Args:
        learning_rate: The rate.
        initial_accumulator_value: What the sum begins with, 0 or more.
        epsilon: What is added under the root.
        schedule: What the rate is multiplied by at each step; see `caudal.schedules`.
        name: The first part of its state's names.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> cd.optimizers.Adagrad(0.1)
        Adagrad(0.1, initial_accumulator_value=0.1, epsilon=1e-07, name='optimizer')
    """

    _op = "adagrad"
    _slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        schedule: Schedule | None = None,
        name: str = "optimizer",
    ) -> None:
        attrs = {"initial_accumulator_value": float(initial_accumulator_value), "epsilon": float(epsilon)}
        super().__init__(learning_rate, name, attrs, schedule)


class Adam(Optimizer):
    """Adam, as in Keras (Kingma and Ba 2014).

    Args:
        learning_rate: The rate.
        beta_1: How much of the first moment stays from step to step, in [0, 1).
        beta_2: How much of the second moment stays from step to step, in [0, 1).
        epsilon: What is added to the root of the second moment.
        schedule: What the rate is multiplied by at each step; see `caudal.schedules`.
        name: The first part of its state's names.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> adam = cd.optimizers.Adam(1e-3)
        >>> adam.learning_rate.assign(0.5)
        Tensor(0.5, dtype=float32)
    """

    _op = "adam"
    _slot_names = ("m", "v")

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        schedule: Schedule | None = None,
        name: str = "optimizer",
    ) -> None:
        attrs = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        super().__init__(learning_rate, name, attrs, schedule)


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as in Keras (Loshchilov and Hutter 2017).

    Args:
        learning_rate: The rate.
        weight_decay: What part of the parameter, times the learning rate, each step takes off.
        beta_1: How much of the first moment stays from step to step, in [0, 1).
        beta_2: How much of the second moment stays from step to step, in [0, 1).
        epsilon: What is added to the root of the second moment.
        schedule: What the rate is multiplied by at each step; see `caudal.schedules`.
        name: The first part of its state's names.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> cd.optimizers.AdamW(1e-3).name
        'optimizer'
    """

    _op = "adamw"
    _slot_names = ("m", "v")

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        schedule: Schedule | None = None,
        name: str = "optimizer",
    ) -> None:
        attrs = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(learning_rate, name, attrs, schedule)
