"""Activations, norms, attention and losses in NumPy and SciPy; see `reference`.

`NAME_terms` says how large the terms are that the output of `NAME` is made of.
"""

from __future__ import annotations

import numpy as np
from arrays import compute, wide
from scipy import special


def _axes(axis):
    return None if axis is None else tuple(axis)


def leaky_relu(x, *, of, negative_slope=0.2):
    return np.where(x > 0, x, wide(compute(of)(negative_slope)) * x)


def elu(x, *, of, alpha=1.0):
    return np.where(x > 0, x, wide(compute(of)(alpha)) * np.expm1(wide(x)))


def selu(x):
    alpha, scale = wide("1.6732632423543772848170429916717"), wide("1.0507009873554804934193349852946")
    return scale * np.where(x > 0, x, alpha * np.expm1(wide(x)))


def hard_sigmoid(x):
    return np.clip(wide(x) + 3, 0, 6) / 6


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
    return special.logsumexp(wide(x), axis=_axes(axis), keepdims=keepdims)


def log_softmax(x, *, axis=-1):
    return wide(x) - logsumexp(x, axis=[axis], keepdims=True) if x.size else wide(x)


def largest(x, *, axis=None, keepdims=False):
    """The greatest |x|, at least 1: a logarithm is added to it."""
    return np.max(np.abs(x), axis=axis if isinstance(axis, int) else _axes(axis), keepdims=keepdims, initial=1)


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


def log_softmax_terms(x, *, axis=-1):
    return 2 * largest(x, axis=axis, keepdims=True)


def attention(query, key, value, mask=None, *, causal=False, scale=None):
    """Query, key and value are [batch, length, heads, depth]; each head of key serves as many of query."""
    shares = attention_shares(query, key, mask, causal, scale)[0]
    return np.einsum("bnts,bsnd->btnd", shares, shared(value, query))


def shared(x, query):
    """Key or value with each head as often as it serves one of query."""
    return np.repeat(wide(x), query.shape[2] // x.shape[2], axis=2)


def attention_shares(query, key, mask, causal, scale):
    """The probabilities, 0 where a place looks nowhere, and how large the terms of the logits are."""
    scale = 1 / np.sqrt(wide(query.shape[-1])) if scale is None else scale
    key = shared(key, query)
    logits = np.einsum("btnd,bsnd->bnts", wide(query), key) * scale
    sizes = np.einsum("btnd,bsnd->bnts", np.abs(wide(query)), np.abs(key)) * abs(scale)
    allowed = np.ones(logits.shape, bool)
    if causal:
        allowed &= np.tri(logits.shape[2], logits.shape[3], dtype=bool)
    if mask is not None and mask.dtype == bool:
        allowed = allowed & mask
    elif mask is not None:
        logits, sizes, allowed = logits + mask, sizes + np.abs(mask), allowed & (mask > -np.inf)
    shares = np.zeros(logits.shape, np.longdouble)
    for at in np.ndindex(logits.shape[:-1]):
        if allowed[at].any():
            shares[at][allowed[at]] = softmax(logits[at][allowed[at]])
    return shares, sizes


def attention_terms(query, key, value, mask=None, *, causal=False, scale=None):
    """A share is as exact as its logit, and the sums of the logits' row."""
    shares, sizes = attention_shares(query, key, mask, causal, scale)
    shares = shares * (1 + np.max(sizes, axis=-1, keepdims=True))
    return np.einsum("bnts,bsnd->btnd", shares, np.abs(shared(value, query)))


def rms_norm(x, scale=None, *, axis=(-1,), epsilon=1e-6):
    over = tuple(sorted(a % x.ndim for a in axis))
    x = wide(x)
    y = x / np.sqrt(np.mean(x**2, over, keepdims=True) + epsilon)
    return y if scale is None else y * scale.reshape([n if a in over else 1 for a, n in enumerate(x.shape)])


def grouped(x, groups):
    """With groups and their channels as two axes, and the axes of mean and variance."""
    x = wide(x).reshape(*x.shape[:-1], groups, -1)
    return x, (*range(1, x.ndim - 2), x.ndim - 1)


def group_norm(x, scale=None, offset=None, *, groups, epsilon=1e-5):
    parts, over = grouped(x, groups)
    mean, variance = parts.mean(over, keepdims=True), parts.var(over, keepdims=True)
    y = normalize(parts, mean, variance, None, None, epsilon).reshape(x.shape)
    y = y if scale is None else y * scale
    return y if offset is None else y + offset


def group_norm_terms(x, scale=None, offset=None, *, groups, epsilon=1e-5):
    parts, over = grouped(x, groups)
    size = np.max(np.abs(parts), over, keepdims=True) / np.sqrt(parts.var(over, keepdims=True) + epsilon)
    size = np.broadcast_to(size, parts.shape).reshape(x.shape)
    size = size if scale is None else size * np.abs(scale)
    return size if offset is None else size + np.abs(offset)


def softmax_cross_entropy(logits, labels, *, label_smoothing=0.0):
    if labels.dtype.kind != "f":
        classes = np.arange(logits.shape[-1])
        inside = (labels >= -len(classes)) & (labels < len(classes))
        hot = classes == labels[..., None] % len(classes)
        labels = np.where(inside[..., None], hot, np.nan)
    labels = wide(labels) * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return np.sum(-labels * log_softmax(logits), axis=-1)


def softmax_cross_entropy_terms(logits, labels, *, label_smoothing=0.0):
    weights = 1 if labels.dtype.kind != "f" else 1 + np.sum(labels, axis=-1)
    return 2 * weights * largest(logits, axis=[-1])


def sigmoid_cross_entropy(logits, labels):
    x = wide(logits)
    return labels * np.logaddexp(0, -x) + (1 - wide(labels)) * np.logaddexp(0, x)


def mean_squared_error(predictions, targets):
    return np.mean((wide(predictions) - targets) ** 2, axis=-1)


def mean_squared_error_terms(predictions, targets):
    return np.mean((np.abs(predictions) + np.abs(targets)) ** 2, axis=-1)


def mean_absolute_error(predictions, targets):
    return np.mean(np.abs(wide(predictions) - targets), axis=-1)


def mean_absolute_error_terms(predictions, targets):
    return np.mean(np.abs(predictions) + np.abs(targets), axis=-1)


def huber(predictions, targets, *, delta=1.0):
    return np.mean(special.huber(delta, predictions - targets), axis=-1)


def huber_terms(predictions, targets, *, delta=1.0):
    size = np.abs(predictions) + np.abs(targets)
    return np.mean(np.minimum(size, delta) * size, axis=-1)
