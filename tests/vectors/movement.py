"""Sorting, scanning, gathering, scattering and arranging in NumPy."""

from __future__ import annotations

import arrays
import numpy as np


def running(ufunc):
    """A cumulative sum or product: integers wrap, floats in `float32` at least and rounded at the end."""

    def scan(x, *, of, axis=-1, reverse=False):
        kind = x.dtype if x.dtype.kind != "f" else np.float64 if of == "float64" else np.float32
        moved = np.flip(x, axis) if reverse else x
        output = ufunc.accumulate(moved.astype(kind), axis=axis, dtype=kind)
        output = np.flip(output, axis) if reverse else output
        return output.astype(np.float64) if x.dtype.kind == "f" else output

    return scan


def argsort(x, *, axis=-1, descending=False):
    """NumPy's, which is stable and has NaN last; descending it is that of the ranks' negatives."""
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    _, ranks = np.unique(x, return_inverse=True, equal_nan=True)
    return np.argsort(-ranks.reshape(x.shape).astype(np.int64), axis=axis, kind="stable")


def sort(x, *, axis=-1, descending=False):
    return np.take_along_axis(x, argsort(x, axis=axis, descending=descending), axis)


def top_k(x, *, k, axis=-1, largest=True):
    indices = np.take(argsort(x, axis=axis, descending=largest), np.arange(k), axis=axis)
    return np.take_along_axis(x, indices, axis), indices


def tuples(shape, indices, batch_dims):
    """For each tuple of indices its place in the output of a gather, and what it names of x, if that is inside."""
    count = indices.shape[-1]
    for at in np.ndindex(indices.shape[:-1]):
        sizes = shape[batch_dims : batch_dims + count]
        found = [int(i) + n * (i < 0) for i, n in zip(indices[at], sizes, strict=True)]
        inside = all(0 <= i < n for i, n in zip(found, sizes, strict=True))
        yield at, (*at[:batch_dims], *found) if inside else None


def gather(x, indices, *, batch_dims=0, fill=None):
    value = fill if fill is not None else np.nan if x.dtype.kind == "f" else 0
    output = np.full(indices.shape[:-1] + x.shape[batch_dims + indices.shape[-1] :], value, x.dtype)
    for to, place in tuples(x.shape, indices, batch_dims):
        if place is not None:
            output[to] = x[place]
    return output


JOINS = {"set": lambda y, x: x, "add": np.add, "max": np.maximum, "min": np.minimum}


def scatter(x, indices, updates, *, of, mode="set", batch_dims=0):
    output = x.copy()
    for of_updates, place in tuples(x.shape, indices, batch_dims):
        if place is not None:
            joined = JOINS[mode](output[place], updates[of_updates])
            output[place] = arrays.through(joined, of) if of in arrays.FLOAT else joined
    return output


def take_along_axis(x, indices, *, axis=-1, fill=None):
    value = fill if fill is not None else np.nan if x.dtype.kind == "f" else x.dtype.type(0)
    size = x.shape[axis]
    wide = indices.astype(np.int64)
    wide = np.where(wide < 0, wide + size, wide)
    inside = (wide >= 0) & (wide < size)
    return np.where(inside, np.take_along_axis(x, np.where(inside, wide, 0), axis), value).astype(x.dtype)


def window(shape, start, sizes):
    """A slice of each axis, moved into it."""
    parts = []
    for n, at, size in zip(shape, start.tolist(), sizes, strict=True):
        first = min(max(at + n * (at < 0), 0), n - size)
        parts.append(slice(first, first + size))
    return tuple(parts)


def dynamic_slice(x, start, *, sizes):
    return x[window(x.shape, start, sizes)]


def dynamic_update_slice(x, update, start):
    output = np.array(x)
    output[window(x.shape, start, update.shape)] = update
    return output


def roll(x, *, shift, axis=None):
    return np.roll(x, shift[0] if len(shift) == 1 else shift, axis if axis is None else tuple(axis))


def einsum(*operands, equation):
    operands = [x.astype(np.longdouble) if x.dtype.kind == "f" else x for x in operands]
    return np.einsum(equation, *operands)


def norm(x, *, axis=None, ord=2.0, keepdims=False):
    size = np.abs(x.astype(np.longdouble))
    axis = None if axis is None else tuple(axis)
    if ord == 2.0:
        return np.sqrt(np.sum(size**2, axis=axis, keepdims=keepdims))
    return (np.sum if ord == 1.0 else np.max)(size, axis=axis, keepdims=keepdims)
