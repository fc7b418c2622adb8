"""Clipping: gradients made smaller where they are too large, between `caudal.grad` and an optimizer's ``apply``."""

from __future__ import annotations

from typing import Any

from . import _dispatch, tree
from . import tracer as _tracer
from ._dispatch import apply
from .errors import ArgumentError, make
from .tensor import Tensor

__all__ = ["clip_by_global_norm", "clip_by_norm", "clip_by_value"]


def clip_by_global_norm(grads: Any, max_norm: float) -> tuple[Any, Tensor]:
    """Tensors made smaller by one factor, so that the norm of all their elements together is at most ``max_norm``.

    Args:
        grads: A floating-point tensor, or a tree of them.
        max_norm: The greatest norm, above 0.

    Returns:
        The tensors, in the same structure, times ``max_norm / max(norm, max_norm)``; and their norm before that, a
        scalar (float32, or float64 if one is). A norm that is not finite gives NaN.

    Raises:
        ArgumentError: a norm that is not above 0, or no tensors.
        DTypeError: tensors that are not floating-point.

    Example:
        >>> import caudal as cd
        >>> clipped, norm = cd.clip_by_global_norm({"w": cd.asarray([3.0, 0.0]), "b": cd.asarray(4.0)}, 1.0)
        >>> float(norm), clipped["w"].shape
        (5.0, (2,))
        >>> w, sgd = cd.Variable([1.0, 2.0], name="w"), cd.optimizers.SGD(0.5)
        >>> sgd.apply(cd.clip_by_global_norm(cd.asarray([3.0, 4.0]), 5.0)[0], w)
        >>> w.value
        Tensor([-0.5,  0. ], dtype=float32)
    """
    _check(max_norm, "clip_by_global_norm")
    leaves, structure = tree.flatten(grads)
    tensors = [_dispatch.as_tensor(leaf) for leaf in leaves]
    norm = apply("global_norm", tensors, {})
    return tree.unflatten(structure, _scaled(tensors, norm, max_norm)), norm


def clip_by_norm(grads: Any, max_norm: float) -> Any:
    """Tensors each made smaller by a factor of its own, so that the norm of its elements is at most ``max_norm``.

    Args:
        grads: A floating-point tensor, or a tree of them.
        max_norm: The greatest norm, above 0.

    Raises:
        ArgumentError: a norm that is not above 0.
        DTypeError: tensors that are not floating-point.

    Example:
        >>> import caudal as cd
        >>> cd.clip_by_norm([cd.asarray([6.0, 8.0]), cd.asarray([1.0])], 5.0)
        [Tensor([3., 4.], dtype=float32), Tensor([1.], dtype=float32)]
    """
    _check(max_norm, "clip_by_norm")
    leaves, structure = tree.flatten(grads)
    tensors = [_dispatch.as_tensor(leaf) for leaf in leaves]
    clipped = [_scaled([tensor], apply("global_norm", (tensor,), {}), max_norm)[0] for tensor in tensors]
    return tree.unflatten(structure, clipped)


def clip_by_value(grads: Any, min: float, max: float) -> Any:
    """Tensors whose elements are cut to a range; for one tensor it is `caudal.clip`.

    Args:
        grads: A tensor, or a tree of them.
        min: The least value.
        max: The greatest value.

    Raises:
        ArgumentError: a range without numbers.

    Example:
        >>> import caudal as cd
        >>> cd.clip_by_value({"w": cd.asarray([-3.0, 0.5])}, -1.0, 1.0)
        {'w': Tensor([-1. ,  0.5], dtype=float32)}
    """
    if not min <= max:
        text = f"the range from {min} to {max} has no numbers"
        raise make(ArgumentError, text, op="clip_by_value", argument="min", location=_tracer.user_location())
    leaves, structure = tree.flatten(grads)
    raised = [apply("maximum", (leaf, min), {}) for leaf in leaves]
    return tree.unflatten(structure, [apply("minimum", (leaf, max), {}) for leaf in raised])


def _check(max_norm: float, op: str) -> None:
    if not max_norm > 0:
        text = f"max_norm is {max_norm}; it is above 0"
        raise make(ArgumentError, text, op=op, argument="max_norm", location=_tracer.user_location())


def _scaled(tensors: list[Tensor], norm: Tensor, max_norm: float) -> list[Tensor]:
    """The tensors times a factor that is 1 where the norm is small enough."""
    factor = apply("div", (max_norm, apply("maximum", (norm, max_norm), {})), {})
    return [apply("mul", (tensor, _dispatch.cast(factor, tensor.dtype)), {}) for tensor in tensors]
