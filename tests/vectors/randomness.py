"""The random stream in NumPy's integers: Threefry-2x32 (Salmon et al., SC'11) and what is made of its words."""

from __future__ import annotations

import arrays
import numpy as np
from scipy import special

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: np.ndarray, counters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two words for each 64-bit counter: 20 rounds, a part of the key added after every fourth."""
    counters = np.atleast_1d(np.asarray(counters, np.uint64))
    first, second = (np.full(counters.shape, word, np.uint32) for word in key)
    schedule = (first, second, first ^ second ^ np.uint32(_PARITY))
    a = (counters >> np.uint64(32)).astype(np.uint32) + schedule[0]
    b = (counters & np.uint64(0xFFFFFFFF)).astype(np.uint32) + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            a = a + b
            b = ((b << np.uint32(distance)) | (b >> np.uint32(32 - distance))) ^ a
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def bits(key, *, shape, dtype="uint32"):
    count = int(np.prod(shape))
    a, b = threefry(key, np.arange(count, dtype=np.uint64))
    words = a ^ b if dtype == "uint32" else (a.astype(np.uint64) << np.uint64(32)) | b
    return words.reshape(shape)


def split(key, *, count=2):
    return np.stack(threefry(key, np.arange(count, dtype=np.uint64)), axis=-1)


def fold_in(key, data):
    return np.concatenate(threefry(key, np.asarray(data).astype(np.uint32)))


def fraction(key, shape, dtype):
    """Numbers in [0, 1): the high bits of a word as the fraction of a number in [1, 2), less 1."""
    if dtype == "float64":
        words = bits(key, shape=shape, dtype="uint64") >> np.uint64(12) | np.uint64(0x3FF << 52)
        return words.view(np.float64) - 1.0
    words = bits(key, shape=shape) >> np.uint32(9) | np.uint32(0x3F800000)
    return words.view(np.float32) - np.float32(1)


def uniform(key, *, shape, dtype="float32", low=0.0, high=1.0):
    """With three roundings: of the width, the product and the sum."""
    numbers = fraction(key, shape, dtype)
    low, high = numbers.dtype.type(low), numbers.dtype.type(high)
    return np.maximum(numbers * (high - low) + low, low).astype(np.float64)


def normal(key, *, shape, dtype="float32"):
    """sqrt(2) erfinv(u), u in (-1, 1)."""
    kind = np.float64 if dtype == "float64" else np.float32
    u = uniform(key, shape=shape, dtype=dtype, low=np.nextafter(kind(-1), kind(0)), high=1.0)
    return np.sqrt(np.longdouble(2)) * special.erfinv(u)


def bernoulli(key, p, *, of, shape=None):
    draws = fraction(key, p.shape if shape is None else tuple(shape), "float64" if of == "float64" else "float32")
    return draws < p


def randint(key, *, shape, high, low=0, dtype="int64"):
    """The double word of both halves of the key, modulo, in Python's integers."""
    width = np.dtype(dtype).itemsize * 8
    above, below = (bits(half, shape=shape, dtype=f"uint{width}") for half in split(key))
    words = (above.astype(object) << width) | below.astype(object)
    return np.asarray(low + words % (high - low), object).astype(dtype)


def permutation(key, *, size):
    return np.argsort(bits(key, shape=(size,), dtype="uint64"), kind="stable").astype(np.int64)


def truncated_normal(key, *, shape, dtype="float32", low=-2.0, high=2.0):
    draws, root = fraction(key, shape, dtype).astype(np.float64), np.sqrt(2)
    a, b = special.erf(low / root), special.erf(high / root)
    return np.clip(root * special.erfinv(a + draws * (b - a)), low, high)


def truncated_normal_terms(key, **attrs):
    """What goes into erfinv is as exact as 1; erfinv stretches that by its slope."""
    return 1 + np.exp(truncated_normal(key, **attrs) ** 2 / 2)


def exponential(key, *, shape, dtype="float32"):
    return -np.log1p(-fraction(key, shape, dtype).astype(np.longdouble))


def gumbel(key, *, shape, dtype="float32"):
    kind = np.float64 if dtype == "float64" else np.float32
    draws = uniform(key, shape=shape, dtype=dtype, low=np.finfo(kind).tiny)
    return -np.log(-np.log(draws.astype(np.longdouble)))


def gumbel_terms(key, **attrs):
    """A logarithm near 0 is as exact as 1."""
    return np.maximum(np.abs(gumbel(key, **attrs)), 1)


def categorical(key, logits, *, of, axis=-1, shape=None):
    axis %= logits.ndim
    front = () if shape is None else tuple(shape[: len(shape) - logits.ndim + 1])
    noise = gumbel(key, shape=front + logits.shape, dtype="float64" if of == "float64" else "float32")
    return np.argmax(noise + logits, axis=len(front) + axis)


def dropout(x, key, *, rate, of):
    kept = arrays.through(np.float64(1 - rate), of)
    keep = fraction(key, x.shape, "float32") < np.float32(1 - rate)
    return np.where(keep, x / kept, 0.0)
