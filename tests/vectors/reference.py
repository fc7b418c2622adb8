"""What every op computes, written anew in NumPy and SciPy: the table that caudal's ops are measured against.

`TABLE[op]` has a function of the op's inputs (wide arrays as `arrays.widen` gives them, None where one is left out) and
attrs, which gives the outputs unrounded, and how far from them a kernel may be. What rounds on the way by an op's own
definition (its doc says so) rounds here too, and then the answer is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arrays
import elementwise
import images
import movement
import numpy as np
import randomness
from arrays import through, wide
from scipy import special

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Reference:
    """The answer to an op, and what is near enough.

    Attributes:
        function: Of the wide inputs and the attrs: the outputs, one array or a tuple.
        ulp: The ulps of `float32` and `float64` that a kernel may be off; 0 is equal once rounded.
        narrow: The same for `float16` and `bfloat16`, which are computed in `float32` and rounded.
        magnitude: Of inputs and attrs: for each output how large the terms are that it is made of. Ulps are those of
            the greater of it and the output. None is the output alone: no term is larger.
        dtyped: Whether the function is told the op's dtype, as `of`.
        unsigned_zero: Whether either zero may come out where the other is expected, as of the greater of 0 and -0.
    """

    function: Callable[..., Any]
    ulp: float = 0.0
    narrow: float = 1.0
    magnitude: Callable[..., Any] | None = None
    dtyped: bool = False
    unsigned_zero: bool = False

    def tolerance(self, dtype: str) -> float:
        """The ulps that an output of this dtype may be off."""
        if self.ulp == 0 or dtype not in arrays.FLOAT:
            return 0.0
        return self.narrow if dtype in ("float16", "bfloat16") else self.ulp

    def outputs(self, inputs: list[np.ndarray | None], attrs: dict[str, Any], dtype: str) -> Arrays:
        """The outputs, unrounded."""
        return _several(self._call(self.function, inputs, attrs, dtype))

    def magnitudes(self, inputs: list[np.ndarray | None], attrs: dict[str, Any], dtype: str, count: int) -> Arrays:
        """Of each output the size of its terms, or zeros."""
        if self.magnitude is None or dtype not in arrays.FLOAT:
            return (np.zeros(()),) * count
        return _several(self._call(self.magnitude, inputs, attrs, dtype))

    def _call(self, function: Callable[..., Any], inputs: list, attrs: dict[str, Any], dtype: str) -> Any:
        extra = {"of": dtype} if self.dtyped else {}
        with np.errstate(all="ignore"):
            return function(*inputs, **attrs, **extra)


def _several(outputs: Any) -> Arrays:
    return tuple(map(np.asarray, outputs)) if isinstance(outputs, tuple) else (np.asarray(outputs),)


def output_dtype(values: np.ndarray, op: str, attrs: dict[str, Any], dtype: str) -> str:
    """The dtype of an output: that of the attr, a constant's own, the op's for floats, else that of the values."""
    if op == "constant":
        return attrs["value"]["dtype"]
    if "dtype" in attrs:
        return attrs["dtype"]
    if values.dtype.kind in "bui":
        return values.dtype.name
    return "float32" if op in ("one_hot", "uniform", "normal") else dtype


def compute(dtype: str) -> type[np.floating]:
    """What kernels compute in for a dtype."""
    return np.float64 if dtype == "float64" else np.float32


# Element-wise, beside those of elementwise.py


def cast(x, *, dtype):
    if dtype == "bool":
        return x != 0
    if dtype in arrays.FLOAT:
        return wide(x) if x.dtype.kind in "ui" else x.astype(np.float64)
    if x.dtype.kind != "f":
        return x.astype(dtype)
    info = np.iinfo(dtype)

    def saturated(value: float) -> int:
        if np.isfinite(value):
            return min(max(int(value), info.min), info.max)
        return 0 if np.isnan(value) else info.max if value > 0 else info.min

    return np.array([saturated(value) for value in x.ravel()], dtype).reshape(x.shape)


def bitcast(x, *, dtype, of):
    return arrays.widen(arrays.rounded(x, of).view(arrays.storage(dtype)), dtype)


# Moving elements


def constant(*, value):
    array = np.array(value["data"]).reshape(value["shape"])
    return array.astype(np.float64 if value["dtype"] in arrays.FLOAT else value["dtype"])


def iota(*, shape, axis=0, dtype="int64"):
    index = np.indices(shape)[axis]
    return index.astype(np.float64 if dtype in arrays.FLOAT else dtype)


def cut(rank, start, stop, step):
    """Python's slices for the attrs of slice; a stop of -2^63 is before the first element."""
    each = [[None] * rank if part is None else part for part in (start, stop, step)]
    least = -(2**63)
    return tuple(slice(a, None if b == least else b, c) for a, b, c in zip(*each, strict=True))


def unslice(x, *, shape, start=None, stop=None, step=None):
    output = np.zeros(shape, x.dtype)
    output[cut(len(shape), start, stop, step)] = x
    return output


def pad(x, value=None, *, low, high):
    shape = [a + n + b for a, n, b in zip(low, x.shape, high, strict=True)]
    output = np.full(shape, 0 if value is None else value, x.dtype)
    output[tuple(slice(a, a + n) for a, n in zip(low, x.shape, strict=True))] = x
    return output


# Reductions


def axes(axis):
    return None if axis is None else tuple(axis)


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *, axis=None, keepdims=False: function(x, axes(axis), keepdims=keepdims)


def total(x, *, axis=None, keepdims=False):
    exact = wide(x) if x.dtype.kind == "f" else x
    return np.sum(exact, axis=axes(axis), keepdims=keepdims, dtype=exact.dtype)


def product(x, *, axis=None, keepdims=False):
    exact = wide(x) if x.dtype.kind == "f" else x
    return np.prod(exact, axis=axes(axis), keepdims=keepdims, dtype=exact.dtype)


def mean(x, *, axis=None, keepdims=False):
    return np.mean(wide(x), axis=axes(axis), keepdims=keepdims)


def variance(x, *, axis=None, correction=0.0, keepdims=False):
    return np.var(wide(x), axis=axes(axis), ddof=correction, keepdims=keepdims)


def deviation(x, *, axis=None, correction=0.0, keepdims=False):
    return np.sqrt(variance(x, axis=axis, correction=correction, keepdims=keepdims))


def variance_terms(x, *, axis=None, correction=0.0, keepdims=False):
    """Squares of differences, each up to four times the mean square in all."""
    return 4 * mean(x**2, axis=axis, keepdims=keepdims)


def of_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The magnitude of a function that adds or multiplies: itself of the inputs' absolute values."""
    return lambda *inputs, **attrs: function(*(None if x is None else np.abs(x) for x in inputs), **attrs)


def search(function: Callable[..., Any]) -> Callable[..., Any]:
    def found(x, *, axis=None, keepdims=False):
        return np.asarray(function(x, axis=axis, keepdims=keepdims), np.int64)

    return found


def recurrence(a, b, *, of, axis=-1, reverse=False):
    """Every operation rounded: in the dtype that is computed in, and each y to the op's own."""
    kind = a.dtype.type if a.dtype.kind != "f" else compute(of)
    a, b = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1].astype(kind) for x in (a, b))
    y = b.copy()
    for t in range(1, len(y)):
        step = a[t] * y[t - 1] + b[t]
        y[t] = through(step, of) if of in arrays.FLOAT else step
    y = np.moveaxis(y[:: -1 if reverse else 1], 0, axis)
    return y.astype(np.float64) if of in arrays.FLOAT else y


# Products


def matmul(x, y):
    return np.matmul(wide(x), wide(y)) if x.dtype.kind == "f" else np.matmul(x, y)


def dot_general(x, y, *, x_batch=(), y_batch=(), x_contract=(), y_contract=()):
    of_x = [chr(ord("a") + axis) for axis in range(x.ndim)]
    of_y = [chr(ord("A") + axis) for axis in range(y.ndim)]
    for x_axes, y_axes in ((x_batch, y_batch), (x_contract, y_contract)):
        for i, j in zip(x_axes, y_axes, strict=True):
            of_y[j] = of_x[i]
    batch = [of_x[axis] for axis in x_batch]
    shared = {*batch, *(of_x[axis] for axis in x_contract)}
    free = [letter for letter in of_x + of_y if letter not in shared]
    formula = f"{''.join(of_x)},{''.join(of_y)}->{''.join(batch + free)}"
    return np.einsum(formula, *((wide(x), wide(y)) if x.dtype.kind == "f" else (x, y)))


# Indexing


def missing(x, fill):
    if fill is None:
        return np.nan if x.dtype.kind == "f" else x.dtype.type(0)
    return cast(np.array(float(fill)), dtype=x.dtype.name)[()] if x.dtype.kind != "f" else fill


def normalized(indices, size):
    """Indices from 0 on, and which of them are inside."""
    indices = indices.astype(np.int64)
    indices = np.where(indices < 0, indices + size, indices)
    inside = (indices >= 0) & (indices < size)
    return np.where(inside, indices, 0), inside


def take(x, indices, *, axis=0, fill=None):
    places, inside = normalized(indices, x.shape[axis])
    axis = axis % x.ndim
    inside = inside.reshape(inside.shape + (1,) * (x.ndim - axis - 1))
    return np.where(inside, np.take(x, places, axis=axis), missing(x, fill))


def scatter_add(x, indices, updates, *, of, axis=0):
    """In the order of the indices, each sum rounded."""
    axis = axis % x.ndim
    output = np.moveaxis(x.copy(), axis, 0)
    places, inside = normalized(indices, x.shape[axis])
    moved = np.moveaxis(updates, range(axis, axis + indices.ndim), range(indices.ndim))
    for at in np.ndindex(indices.shape):
        if inside[at]:
            added = output[places[at]] + moved[at]
            output[places[at]] = through(added, of) if of in arrays.FLOAT else added
    return np.moveaxis(output, 0, axis)


def pick(x, indices, *, fill=None):
    places, inside = normalized(indices, x.shape[-1])
    return np.where(inside, np.take_along_axis(x, places[..., None], -1)[..., 0], missing(x, fill))


def unpick(x, indices, *, depth):
    places, inside = normalized(indices, depth)
    hot = (places[..., None] == np.arange(depth)) & inside[..., None]
    return np.where(hot, x[..., None], x.dtype.type(0))


def one_hot(indices, *, depth, dtype="float32"):
    hot = unpick(np.ones(indices.shape, bool), indices, depth=depth)
    return hot.astype(np.float64 if dtype in arrays.FLOAT else dtype)


# Neural networks


def gelu(x, *, approximate=False):
    x = wide(x)
    if approximate:
        return x * (1 + np.tanh(np.sqrt(2 / wide(np.pi)) * (x + wide("0.044715") * x**3))) / 2
    return x * special.ndtr(x.astype(np.float64))


def softmax(x, *, axis=-1):
    e = np.exp(wide(x) - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / np.sum(e, axis=axis, keepdims=True)


def softmax_terms(x, *, axis=-1):
    """An exponent has the error of a number as large as it."""
    below = np.max(x, axis=axis, keepdims=True, initial=-np.inf) - x
    return softmax(x, axis=axis) * (1 + below)


def logsumexp(x, *, axis=None, keepdims=False):
    return special.logsumexp(wide(x), axis=axes(axis), keepdims=keepdims)


def log_softmax(x, *, axis=-1):
    return wide(x) - logsumexp(x, axis=[axis], keepdims=True) if x.size else wide(x)


def largest(x, *, axis=None, keepdims=False):
    """The greatest |x|, at least 1: a logarithm is added to it."""
    return np.max(np.abs(x), axis=axis if isinstance(axis, int) else axes(axis), keepdims=keepdims, initial=1)


def normalize(x, mean, variance, scale, offset, epsilon):
    y = (x - mean) / np.sqrt(variance + wide(epsilon))
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


def layer_norm(x, scale=None, offset=None, *, axis=(-1,), epsilon=1e-5):
    over = tuple(sorted(a % x.ndim for a in axis))
    shape = [n if a in over else 1 for a, n in enumerate(x.shape)]
    scale, offset = (None if part is None else part.reshape(shape) for part in (scale, offset))
    x = wide(x)
    return normalize(x, x.mean(over, keepdims=True), x.var(over, keepdims=True), scale, offset, epsilon)


def layer_norm_terms(x, scale=None, offset=None, *, axis=(-1,), epsilon=1e-5):
    """Differences from the mean are as exact as the greatest element; that is scaled as they are."""
    over = tuple(sorted(a % x.ndim for a in axis))
    shape = [n if a in over else 1 for a, n in enumerate(x.shape)]
    size = np.max(np.abs(x), over, keepdims=True) / np.sqrt(x.var(over, keepdims=True) + epsilon)
    size = size if scale is None else size * np.abs(scale.reshape(shape))
    return np.broadcast_to(size if offset is None else size + np.abs(offset.reshape(shape)), x.shape)


def batch_norm(x, scale, offset, mean, variance, *, epsilon=1e-5):
    return normalize(wide(x), mean, variance, scale, offset, epsilon)


def batch_norm_terms(x, scale, offset, mean, variance, *, epsilon=1e-5):
    return (np.abs(x) + np.abs(mean)) * np.abs(scale) / np.sqrt(variance + epsilon) + np.abs(offset)


def batch_norm_training(x, scale, offset, *, epsilon=1e-5):
    over = tuple(range(x.ndim - 1))
    x = wide(x)
    mean, variance = x.mean(over), x.var(over)
    return normalize(x, mean, variance, scale, offset, epsilon), mean, variance


def batch_norm_training_terms(x, scale, offset, *, epsilon=1e-5):
    over = tuple(range(x.ndim - 1))
    size = np.max(np.abs(x), over)
    output = 2 * size * np.abs(scale) / np.sqrt(x.var(over) + epsilon) + np.abs(offset)
    return np.broadcast_to(output, x.shape), size, size**2


def softmax_cross_entropy(logits, labels):
    picked = pick(wide(logits), labels)
    return logsumexp(logits, axis=[-1]) - picked if picked.size else picked


# Optimizers, as Keras' formulas have it


def sgd(parameter, gradient, learning_rate, step):
    return wide(parameter) - wide(learning_rate) * gradient


def sgd_terms(parameter, gradient, learning_rate, step):
    return np.abs(parameter) + np.abs(learning_rate * gradient)


def sgd_momentum(parameter, gradient, learning_rate, step, velocity, *, of, momentum=0.9):
    momentum = compute(of)(momentum)
    velocity = wide(velocity) * momentum - wide(learning_rate) * gradient
    return parameter + velocity, velocity


def sgd_momentum_terms(parameter, gradient, learning_rate, step, velocity, *, of, momentum=0.9):
    size = np.abs(velocity * momentum) + np.abs(learning_rate * gradient)
    return np.abs(parameter) + size, size


def adam(parameter, gradient, learning_rate, step, m, v, *, of, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0):
    parameter, change, m, v = adam_parts(
        parameter, gradient, learning_rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay
    )
    return parameter - change, m, v


def adam_parts(parameter, gradient, rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay):
    """The decayed parameter, what is taken off it, and the new moments; attrs are of the dtype that is computed in."""
    kind = compute(of)
    parameter, rate, t = wide(parameter), wide(rate), int(step) + 1
    m = m + (gradient - wide(m)) * kind(1 - beta_1)
    v = v + (wide(gradient) ** 2 - v) * kind(1 - beta_2)
    parameter = parameter - parameter * kind(weight_decay) * rate
    alpha = rate * np.sqrt(1 - wide(kind(beta_2)) ** t) / (1 - wide(kind(beta_1)) ** t)
    return parameter, alpha * m / (np.sqrt(v) + kind(epsilon)), m, v


def adam_terms(
    parameter, gradient, learning_rate, step, m, v, *, of, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0
):
    """A bias, 1 - beta^t, is as exact as 1: so much less is what it divides."""
    decayed, change, *_ = adam_parts(
        parameter, gradient, learning_rate, step, m, v, of, beta_1, beta_2, epsilon, weight_decay
    )
    t = int(step) + 1
    lost = 1 / (1 - beta_1**t) + 1 / (1 - beta_2**t)
    size = np.abs(decayed) + np.abs(change) * lost
    return size, np.abs(m) + np.abs(gradient), v + gradient**2


def adamw(*inputs, weight_decay=0.004, **attrs):
    return adam(*inputs, weight_decay=weight_decay, **attrs)


def adamw_terms(*inputs, weight_decay=0.004, **attrs):
    return adam_terms(*inputs, weight_decay=weight_decay, **attrs)


def exactly(function: Callable[..., Any], **options: Any) -> Reference:
    """Moves, integers, and what IEEE 754 rounds correctly."""
    return Reference(function, **options)


def maths(function: Callable[..., Any], ulp: float = 2.0) -> Reference:
    return Reference(function, ulp)


def sums(function: Callable[..., Any], ulp: float, terms: Callable[..., Any] | None = None) -> Reference:
    """Sums of terms, as exact as the sum of their sizes."""
    return Reference(function, ulp, magnitude=terms or of_sizes(function))


TABLE: dict[str, Reference] = {
    **{op: exactly(function) for op, function in elementwise.EXACT.items()},
    **{op: maths(function) for op, function in elementwise.ROUNDED.items()},
    "rsqrt": maths(lambda x: 1 / np.sqrt(wide(x)), 1.5),
    # The references' own errors in float64 come on top of the 2 ulp; SciPy's erfinv loses the sign of a zero.
    "erf": maths(np.vectorize(math.erf, [np.float64]), 3),
    "erfinv": maths(lambda x: np.copysign(special.erfinv(x), x), 5),
    "maximum": exactly(np.maximum, unsigned_zero=True),
    "minimum": exactly(np.minimum, unsigned_zero=True),
    "cast": exactly(cast),
    "bitcast": exactly(bitcast, dtyped=True),
    "constant": exactly(constant),
    "iota": exactly(iota),
    "dim": exactly(lambda x, *, axis: np.int64(x.shape[axis])),
    "reshape": exactly(lambda x, *, shape: x.reshape(shape)),
    "transpose": exactly(lambda x, *, axes=None: np.transpose(x, axes)),
    "broadcast_to": exactly(lambda x, *, shape: np.broadcast_to(x, shape)),
    "concat": exactly(lambda *values, axis=0: np.concatenate(values, axis)),
    "slice": exactly(lambda x, *, start=None, stop=None, step=None: x[cut(x.ndim, start, stop, step)]),
    "unslice": exactly(unslice),
    "pad": exactly(pad),
    "flip": exactly(lambda x, *, axis=None: np.flip(x, axes(axis))),
    "stack": exactly(lambda *values, axis=0: np.stack(values, axis)),
    "tile": exactly(lambda x, *, repetitions: np.tile(x, repetitions)),
    "repeat": exactly(lambda x, *, repeats, axis=None: np.repeat(x, repeats, axis)),
    "roll": exactly(movement.roll),
    "sum": sums(total, 2),
    "prod": Reference(product, 8, narrow=1),
    "max": exactly(reduction(np.max), unsigned_zero=True),
    "min": exactly(reduction(np.min), unsigned_zero=True),
    "mean": sums(mean, 2),
    "var": sums(variance, 4, variance_terms),
    # The root of a variance near 0 has the error of the root of its terms.
    "std": sums(deviation, 4, lambda x, **attrs: np.sqrt(variance_terms(x, **attrs))),
    "norm": sums(movement.norm, 2, movement.norm),
    "count_nonzero": exactly(reduction(np.count_nonzero)),
    "any": exactly(reduction(np.any)),
    "all": exactly(reduction(np.all)),
    "argmax": exactly(search(np.argmax)),
    "argmin": exactly(search(np.argmin)),
    "cumsum": exactly(movement.running(np.add), dtyped=True),
    "cumprod": exactly(movement.running(np.multiply), dtyped=True),
    "recurrence": exactly(recurrence, dtyped=True),
    "sort": exactly(movement.sort),
    "argsort": exactly(movement.argsort),
    "top_k": exactly(movement.top_k),
    "matmul": sums(matmul, 4),
    "dot_general": sums(dot_general, 4),
    # Products in between are rounded to the dtype.
    "einsum": Reference(movement.einsum, 4, narrow=4, magnitude=of_sizes(movement.einsum)),
    "conv": sums(images.conv, 4),
    "conv_input_grad": sums(images.conv_input_grad, 4),
    "conv_kernel_grad": sums(images.conv_kernel_grad, 4),
    "max_pool": exactly(images.max_pool, unsigned_zero=True),
    "max_pool_scatter": sums(images.max_pool_scatter, 2, images.max_pool_scatter_terms),
    "max_pool_gather": exactly(images.max_pool_gather),
    "avg_pool": sums(images.avg_pool, 2),
    "avg_pool_grad": sums(images.avg_pool_grad, 2),
    "take": exactly(take),
    "scatter_add": exactly(scatter_add, dtyped=True),
    "pick": exactly(pick),
    "unpick": exactly(unpick),
    "one_hot": exactly(one_hot),
    "gather": exactly(movement.gather),
    "scatter": exactly(movement.scatter, dtyped=True, unsigned_zero=True),
    "take_along_axis": exactly(movement.take_along_axis),
    "dynamic_slice": exactly(movement.dynamic_slice),
    "dynamic_update_slice": exactly(movement.dynamic_update_slice),
    "random_bits": exactly(randomness.bits),
    "random_split": exactly(randomness.split),
    "fold_in": exactly(randomness.fold_in),
    "uniform": exactly(randomness.uniform),
    "normal": maths(randomness.normal, 5),
    "dropout": exactly(randomness.dropout, dtyped=True),
    "relu": exactly(lambda x: np.maximum(x, x.dtype.type(0)), unsigned_zero=True),
    "gelu": sums(gelu, 3, lambda x, *, approximate=False: np.abs(x)),
    "softmax": sums(softmax, 3, softmax_terms),
    "log_softmax": sums(log_softmax, 2, lambda x, *, axis=-1: 2 * largest(x, axis=axis, keepdims=True)),
    "logsumexp": sums(logsumexp, 2, largest),
    "layer_norm": sums(layer_norm, 4, layer_norm_terms),
    "batch_norm": sums(batch_norm, 4, batch_norm_terms),
    "batch_norm_training": sums(batch_norm_training, 4, batch_norm_training_terms),
    "softmax_cross_entropy": sums(softmax_cross_entropy, 2, lambda logits, labels: 2 * largest(logits, axis=[-1])),
    "sgd": sums(sgd, 2, sgd_terms),
    "sgd_momentum": Reference(sgd_momentum, 2, magnitude=sgd_momentum_terms, dtyped=True),
    "adam": Reference(adam, 4, magnitude=adam_terms, dtyped=True),
    "adamw": Reference(adamw, 4, magnitude=adamw_terms, dtyped=True),
}

# Ops without an answer here, and why.
LEFT_OUT = {
    name: "control flow: it computes what its regions do, which the tests of the bindings run"
    for name in ("cond", "while_loop", "scan", "call")
}
