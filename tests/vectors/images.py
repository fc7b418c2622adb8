"""Convolution and pooling of channels-last images, tap by tap and window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """Where windows lie on an image [batch, spatial..., channels].

    Attributes:
        size: The taps along each spatial axis.
        strides: Steps between windows.
        dilation: Distances between taps.
        low: What is padded before each axis.
        high: What is padded after it.
        counts: How many windows there are along each axis.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(image, size, strides=None, dilation=None, padding="valid", padding_low=None, padding_high=None) -> Windows:
        """Windows over spatial sizes `image`."""
        rank = len(size)
        strides, dilation = tuple(strides or (1,) * rank), tuple(dilation or (1,) * rank)
        reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
        low, high = tuple(padding_low or (0,) * rank), tuple(padding_high or (0,) * rank)
        if padding == "same":
            counts = [-(-n // s) for n, s in zip(image, strides, strict=True)]
            lacking = [max((o - 1) * s + r - n, 0) for n, o, s, r in zip(image, counts, strides, reach, strict=True)]
            low = tuple(n // 2 for n in lacking)
            high = tuple(n - n // 2 for n in lacking)
        counts = [(n + a + b - r) // s + 1 for n, a, b, r, s in zip(image, low, high, reach, strides, strict=True)]
        return Windows(tuple(size), strides, dilation, low, high, tuple(counts))

    def pad(self, x: np.ndarray, value=0) -> np.ndarray:
        """The image with its padding."""
        around = [(0, 0), *zip(self.low, self.high, strict=True), (0, 0)]
        return np.pad(x, around, constant_values=value)

    def unpad(self, x: np.ndarray) -> np.ndarray:
        """A padded image without its padding."""
        inside = (slice(a, n - b) for a, b, n in zip(self.low, self.high, x.shape[1:-1], strict=True))
        return x[(slice(None), *inside)]

    def taps(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each tap with the part of a padded image that it sees, an element for each window."""
        for tap in np.ndindex(*self.size):
            starts = [t * d for t, d in zip(tap, self.dilation, strict=True)]
            parts = zip(starts, self.counts, self.strides, strict=True)
            yield tap, (slice(None), *(slice(a, a + (o - 1) * s + 1, s) for a, o, s in parts))


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.longdouble)


def _groups(kernel: np.ndarray, groups: int) -> Iterator[tuple[slice, slice]]:
    """The input and output channels of each group."""
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    for group in range(groups):
        yield slice(group * inputs, (group + 1) * inputs), slice(group * outputs, (group + 1) * outputs)


def conv(x, kernel, *, groups=1, **attrs):
    windows = Windows.of(x.shape[1:-1], kernel.shape[:-2], **attrs)
    padded, kernel = windows.pad(_wide(x)), _wide(kernel)
    output = np.zeros((x.shape[0], *windows.counts, kernel.shape[-1]), np.longdouble)
    for tap, part in windows.taps():
        for ins, outs in _groups(kernel, groups):
            output[..., outs] += padded[part][..., ins] @ kernel[tap][:, outs]
    return output


def conv_input_grad(cotangent, kernel, *, shape, groups=1, **attrs):
    windows = Windows.of(shape[1:-1], kernel.shape[:-2], **attrs)
    cotangent, kernel = _wide(cotangent), _wide(kernel)
    padded = windows.pad(np.zeros(shape, np.longdouble))
    for tap, part in windows.taps():
        for ins, outs in _groups(kernel, groups):
            padded[part][..., ins] += cotangent[..., outs] @ kernel[tap][:, outs].T
    return windows.unpad(padded)


def conv_kernel_grad(x, cotangent, *, shape, groups=1, **attrs):
    windows = Windows.of(x.shape[1:-1], shape[:-2], **attrs)
    padded, cotangent = windows.pad(_wide(x)), _wide(cotangent)
    kernel = np.zeros(shape, np.longdouble)
    for tap, part in windows.taps():
        for ins, outs in _groups(kernel, groups):
            kernel[tap][:, outs] = np.tensordot(padded[part][..., ins], cotangent[..., outs], (range(x.ndim - 1),) * 2)
    return kernel


def _pooling(shape, window, strides=None, **attrs) -> Windows:
    return Windows.of(shape[1:-1], window, strides=strides or window, **attrs)


def _stack(windows: Windows, padded: np.ndarray) -> np.ndarray:
    """The taps of every window along a new first axis, in row-major order."""
    return np.stack([padded[part] for _, part in windows.taps()])


def _least(dtype: np.dtype):
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def max_pool(x, **attrs):
    windows = _pooling(x.shape, **attrs)
    return np.max(_stack(windows, windows.pad(x, _least(x.dtype))), axis=0)


def _first_greatest(windows: Windows, x: np.ndarray) -> np.ndarray:
    """For each tap and window whether it is the window's first greatest element; never padding."""
    values = _stack(windows, windows.pad(x, _least(x.dtype)))
    first = np.argmax(values, axis=0)
    inside = _stack(windows, windows.pad(np.ones(x.shape, bool), False))
    return (first == np.arange(len(values)).reshape(-1, *(1,) * x.ndim)) & inside


def max_pool_scatter(x, cotangent, **attrs):
    windows = _pooling(x.shape, **attrs)
    taken = _first_greatest(windows, x)
    padded = windows.pad(np.zeros(x.shape, np.longdouble))
    for (_, part), here in zip(windows.taps(), taken, strict=True):
        padded[part] += np.where(here, cotangent, 0)
    return windows.unpad(padded)


def max_pool_scatter_terms(x, cotangent, **attrs):
    return max_pool_scatter(x, np.abs(cotangent), **attrs)


def max_pool_gather(x, y, **attrs):
    windows = _pooling(x.shape, **attrs)
    taken = _first_greatest(windows, x)
    return np.sum(np.where(taken, _stack(windows, windows.pad(y)), 0), axis=0)


def _shares(windows: Windows, shape: tuple[int, ...], count_padding: bool) -> np.ndarray:
    """How many elements each window's mean is over."""
    inside = windows.pad(np.ones(shape, np.longdouble), 1 if count_padding else 0)
    return np.sum(_stack(windows, inside), axis=0)


def avg_pool(x, *, count_padding=False, **attrs):
    windows = _pooling(x.shape, **attrs)
    return np.sum(_stack(windows, windows.pad(_wide(x))), axis=0) / _shares(windows, x.shape, count_padding)


def avg_pool_grad(cotangent, *, shape, count_padding=False, **attrs):
    windows = _pooling(shape, **attrs)
    share = _wide(cotangent) / _shares(windows, tuple(shape), count_padding)
    padded = windows.pad(np.zeros(shape, np.longdouble))
    for _, part in windows.taps():
        padded[part] += share
    return windows.unpad(padded)
