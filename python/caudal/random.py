"""Random numbers: keys, what is drawn from them, and the program's generator.

A key is a ``uint32[2]`` tensor; the same key gives the same numbers on every machine and in every language. The stream
is Threefry-2x32, equal to JAX's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _dispatch, _placement
from . import tracer as _tracer
from ._dispatch import ArrayLike, apply, as_tensor
from .builder import RANDOM_KEY
from .dims import Dim, DimLike, as_shape
from .dtypes import DTypeLike, as_dtype, float32, int64, uint32
from .errors import ArgumentError, make
from .tensor import Tensor, placed
from .variable import Variable

if TYPE_CHECKING:
    from .creation import ShapeLike

__all__ = [
    "bernoulli",
    "bits",
    "categorical",
    "exponential",
    "fold_in",
    "generator",
    "gumbel",
    "key",
    "normal",
    "permutation",
    "randint",
    "seed",
    "split",
    "truncated_normal",
    "uniform",
]

generator = Variable(np.zeros(2, np.uint32), name=RANDOM_KEY, role="random")
"""The key that draws without one are taken from; it begins as that of the seed 0."""


def key(seed: int) -> Tensor:
    """The key of a seed, an integer of 64 bits.

    Raises:
        ArgumentError: an integer outside of 0 to 2^64 - 1.

    Example:
        >>> import caudal as cd
        >>> cd.random.key(42)
        Tensor([ 0, 42], dtype=uint32)
    """
    number = seed.__index__()
    if not 0 <= number < 2**64:
        raise make(ArgumentError, f"{number} is not in 0 to 2^64 - 1", op="key", argument="seed")
    return placed(as_tensor(np.array([number >> 32, number & 0xFFFFFFFF], np.uint32)), None)


def split(key: ArrayLike, num: int = 2) -> Tensor:
    """Independent keys from one: each row of the result, ``uint32[num, 2]``, is one.

    Example:
        >>> import caudal as cd
        >>> k1, k2 = cd.random.split(cd.random.key(0))
        >>> k1.shape
        (2,)
    """
    return apply("random_split", (key,), {"count": num}, ("uint32",))


def fold_in(key: ArrayLike, data: ArrayLike) -> Tensor:
    """A key from a key and a number, such as that of a step.

    Example:
        >>> import caudal as cd
        >>> k = cd.random.key(0)
        >>> bool(cd.all(cd.random.fold_in(k, 1) == cd.random.split(k)[1]))
        True
    """
    return apply("fold_in", (key, data), {}, ("uint32", "int64"))


def bits(key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = uint32) -> Tensor:
    """Random words.

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: uint32 or uint64.

    Example:
        >>> import caudal as cd
        >>> cd.random.bits(cd.asarray([7, 42], dtype="uint32"), (2,))
        Tensor([1608166506, 2351936236], dtype=uint32)
    """
    return apply("random_bits", (key,), {"shape": as_shape(shape), "dtype": as_dtype(dtype)}, ("uint32",))


def uniform(
    key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = float32, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Random numbers evenly spread over [low, high).

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: A floating-point dtype.
        low: The least number.
        high: The number that all are below.

    Example:
        >>> import caudal as cd
        >>> x = cd.random.uniform(cd.random.key(1), (1000,), low=-1.0)
        >>> bool(cd.all((x >= -1) & (x < 1)))
        True
    """
    attrs = {"shape": as_shape(shape), "dtype": as_dtype(dtype), "low": float(low), "high": float(high)}
    return apply("uniform", (key,), attrs, ("uint32",))


def normal(key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = float32) -> Tensor:
    """Random numbers of the standard normal distribution.

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: A floating-point dtype.

    Example:
        >>> import caudal as cd
        >>> abs(float(cd.mean(cd.random.normal(cd.random.key(0), (10000,))))) < 0.05
        True
    """
    return apply("normal", (key,), {"shape": as_shape(shape), "dtype": as_dtype(dtype)}, ("uint32",))


def truncated_normal(
    key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = float32, low: float = -2.0, high: float = 2.0
) -> Tensor:
    """Random numbers of the standard normal distribution between two bounds.

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: A floating-point dtype.
        low: The bound below, in standard deviations.
        high: The bound above.

    Raises:
        ArgumentError: bounds that are not finite, or not in order.

    Example:
        >>> import caudal as cd
        >>> x = cd.random.truncated_normal(cd.random.key(1), (1000,))
        >>> bool(cd.all((x > -2) & (x < 2)))
        True
    """
    attrs = {"shape": as_shape(shape), "dtype": as_dtype(dtype), "low": float(low), "high": float(high)}
    return apply("truncated_normal", (key,), attrs, ("uint32",))


def exponential(key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = float32) -> Tensor:
    """Random numbers of the exponential distribution, whose mean is 1.

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: A floating-point dtype.

    Example:
        >>> import caudal as cd
        >>> abs(float(cd.mean(cd.random.exponential(cd.random.key(0), (10000,)))) - 1) < 0.05
        True
    """
    return apply("exponential", (key,), {"shape": as_shape(shape), "dtype": as_dtype(dtype)}, ("uint32",))


def gumbel(key: ArrayLike, shape: ShapeLike = (), dtype: DTypeLike = float32) -> Tensor:
    """Random numbers of the standard Gumbel distribution.

    Args:
        key: The key.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: A floating-point dtype.

    Example:
        >>> import caudal as cd
        >>> abs(float(cd.mean(cd.random.gumbel(cd.random.key(0), (10000,)))) - 0.577) < 0.05
        True
    """
    return apply("gumbel", (key,), {"shape": as_shape(shape), "dtype": as_dtype(dtype)}, ("uint32",))


def bernoulli(key: ArrayLike, p: ArrayLike = 0.5, shape: ShapeLike | None = None) -> Tensor:
    """Random bools, each true with a probability.

    Args:
        key: The key.
        p: The probability, a floating-point tensor that broadcasts to the shape.
        shape: The shape of the result; left out, it is that of p.

    Raises:
        ShapeError: p does not broadcast to the shape.

    Example:
        >>> import caudal as cd
        >>> heads = cd.random.bernoulli(cd.random.key(0), 0.25, (10000,))
        >>> abs(float(cd.mean(cd.astype(heads, cd.float32))) - 0.25) < 0.02
        True
    """
    attrs = {"shape": None if shape is None else as_shape(shape)}
    return apply("bernoulli", (key, p), attrs, ("uint32", "float32"))


def randint(key: ArrayLike, low: DimLike, high: DimLike, shape: ShapeLike = (), dtype: DTypeLike = int64) -> Tensor:
    """Random integers evenly spread over [low, high); how evenly, `caudal.ops.randint` says.

    Args:
        key: The key.
        low: The least integer.
        high: The integer that all are below. Both may be dims of a traced tensor.
        shape: The shape of the result; the dims may be those of a traced tensor.
        dtype: int32, int64, uint32 or uint64.

    Raises:
        ArgumentError: high is not above low, or the dtype does not hold them.

    Example:
        >>> import caudal as cd
        >>> dice = cd.random.randint(cd.random.key(0), 1, 7, (1000,))
        >>> int(cd.min(dice)), int(cd.max(dice))
        (1, 6)
    """
    attrs = {"shape": as_shape(shape), "low": low, "high": high, "dtype": as_dtype(dtype)}
    return apply("randint", (key,), attrs, ("uint32",))


def permutation(key: ArrayLike, x: ArrayLike | DimLike, axis: int = 0) -> Tensor:
    """A tensor with its parts along an axis in random order; of a number, the integers below it.

    Args:
        key: The key.
        x: A tensor of at least one axis; or how many integers (int64), which may be a dim of a traced tensor.
        axis: The axis whose parts are moved, each as a whole.

    Raises:
        ArgumentError: a negative number, or no such axis.

    Example:
        >>> import caudal as cd
        >>> rows = cd.random.permutation(cd.random.key(0), cd.asarray([[1, 2], [3, 4], [5, 6]]))
        >>> sorted(rows.tolist())
        [[1, 2], [3, 4], [5, 6]]
        >>> sorted(cd.random.permutation(cd.random.key(0), 4).tolist())
        [0, 1, 2, 3]
    """
    if isinstance(x, int | Dim):
        return apply("permutation", (key,), {"size": x}, ("uint32",))
    tensor = as_tensor(x)
    if not -tensor.ndim <= axis < tensor.ndim:
        text = f"axis {axis} is out of range for rank {tensor.ndim}"
        location = _tracer.user_location()
        raise make(ArgumentError, text, op="permutation", argument="axis", location=location)
    order = apply("permutation", (key,), {"size": tensor.shape[axis]}, ("uint32",))
    return apply("take", (tensor, order), {"axis": axis % tensor.ndim, "fill": None})


def categorical(key: ArrayLike, logits: ArrayLike, axis: int = -1, shape: ShapeLike | None = None) -> Tensor:
    """Random classes, int64, each with the probability that the softmax of the logits gives it.

    Args:
        key: The key.
        logits: Logarithms of the probabilities, which need not be normalized; floating-point.
        axis: The axis of the classes.
        shape: The shape of the result, which ends in that of logits without the axis; left out, it is that.

    Raises:
        ArgumentError: no such axis, or a shape with another end.

    Example:
        >>> import caudal as cd
        >>> classes = cd.random.categorical(cd.random.key(0), cd.log(cd.asarray([0.2, 0.0, 0.8])), shape=(10000,))
        >>> abs(float(cd.mean(cd.astype(classes == 2, cd.float32))) - 0.8) < 0.02
        True
    """
    attrs = {"axis": axis, "shape": None if shape is None else as_shape(shape)}
    return apply("categorical", (key, logits), attrs, ("uint32", None))


def seed(number: int) -> None:
    """Sets the generator that draws without a key are taken from; it begins with the seed 0.

    Raises:
        ArgumentError: an integer outside of 0 to 2^64 - 1.

    Example:
        >>> import caudal as cd
        >>> cd.random.seed(7)
        >>> first = cd.dropout(cd.ones(64), 0.5)
        >>> cd.random.seed(7)
        >>> bool(cd.all(first == cd.dropout(cd.ones(64), 0.5)))
        True
    """
    with _tracer.aside(), _placement.aside():
        generator.assign(key(number))


def draw(x: Tensor | None = None) -> Tensor:
    """A fresh key of the generator, for an op on ``x``; in a graph it is drawn anew in each call."""
    tracer = _tracer.active() or _tracer.owner((x,))
    if tracer is not None:
        return tracer.draw()
    # Drawn on the CPU: the ops that take the key bring it to where they run.
    with _placement.aside():
        both = split(generator.value.to_device("cpu"))
        generator._set(both[0])
        return _dispatch.apply("fold_in", (both[1], 0), {}, (None, "int64"))
