"""Schedules: what an optimizer's learning rate is multiplied by at each step.

An optimizer that is given one uses ``learning_rate * schedule(step)``. Both are state: `learning_rate` holds the rate
before the schedule, and whoever changes it changes all rates that follow; ``step`` counts on. The schedule itself is
part of the graph of a training function, so that a saved program that is trained on, in whatever language, goes on with
the same rates.

Example:
    >>> import caudal as cd
    >>> adam = cd.optimizers.Adam(1e-3, schedule=cd.schedules.Cosine(1000, warmup_steps=100))
    >>> float(adam.learning_rate * adam.schedule(50)) == float(cd.asarray(5e-4))
    True
"""

from __future__ import annotations

from . import _dispatch
from . import tracer as _tracer
from ._dispatch import ArrayLike
from .tensor import Tensor

__all__ = ["Constant", "Cosine", "Exponential", "Schedule"]


class Schedule:
    """What all schedules share: called with a number of steps, an int64 scalar, they give a factor, a float32 one.

    Each can begin with a warm-up: for ``warmup_steps`` steps the factor rises from 0 to 1 in a straight line,
    ``step / warmup_steps``, and the rest begins after them.
    """

    _op: str

    def __init__(self, attrs: dict[str, float]) -> None:
        self._attrs = attrs
        with _tracer.aside():
            # Refuses attrs out of range now, and not in the first step.
            self(0)

    def __call__(self, step: ArrayLike) -> Tensor:
        """The factor after so many steps."""
        return _dispatch.apply(self._op, (step,), self._attrs, ("int64",))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._attrs.items())})"


class Constant(Schedule):
    """A factor of 1 after the warm-up.

    Args:
        warmup_steps: How many steps the warm-up takes.

    Raises:
        ArgumentError: a negative number of steps.

    Example:
        >>> import caudal as cd
        >>> warmup = cd.schedules.Constant(warmup_steps=10)
        >>> float(warmup(0)), float(warmup(5)), float(warmup(10)), float(warmup(1000))
        (0.0, 0.5, 1.0, 1.0)
    """

    _op = "constant_schedule"

    def __init__(self, *, warmup_steps: int) -> None:
        super().__init__({"warmup_steps": warmup_steps})


class Cosine(Schedule):
    """A factor that falls from 1 to ``alpha`` along half a cosine, and stays there; as in Keras.

    Args:
        decay_steps: How many steps that takes, beside the warm-up.
        alpha: The factor that it ends with, from 0 to 1.
        warmup_steps: How many steps the warm-up takes.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> cosine = cd.schedules.Cosine(100, alpha=0.1)
        >>> float(cosine(100)) == float(cosine(200)) == float(cd.asarray(0.1))
        True
    """

    _op = "cosine_schedule"

    def __init__(self, decay_steps: int, *, alpha: float = 0.0, warmup_steps: int = 0) -> None:
        super().__init__({"decay_steps": decay_steps, "alpha": float(alpha), "warmup_steps": warmup_steps})


class Exponential(Schedule):
    """A factor that falls by ``decay_rate`` in every ``decay_steps``: decay_rate ** (step / decay_steps), as in Keras.

    Args:
        decay_steps: How many steps that takes.
        decay_rate: The factor after so many steps, 0 or more.
        staircase: Whether it falls after every ``decay_steps`` alone, and not in between.
        warmup_steps: How many steps the warm-up takes.

    Raises:
        ArgumentError: a number out of range.

    Example:
        >>> import caudal as cd
        >>> halving = cd.schedules.Exponential(10, 0.5, staircase=True)
        >>> float(halving(9)), float(halving(10)), float(halving(20))
        (1.0, 0.5, 0.25)
    """

    _op = "exponential_schedule"

    def __init__(self, decay_steps: int, decay_rate: float, *, staircase: bool = False, warmup_steps: int = 0) -> None:
        attrs = {"decay_steps": decay_steps, "decay_rate": float(decay_rate)}
        super().__init__(attrs | {"staircase": staircase, "warmup_steps": warmup_steps})
