"""The answers to element-wise ops: functions of NumPy and SciPy, by op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from arrays import wide
from scipy import special


def in_long(function: Callable[..., Any]) -> Callable[..., Any]:
    """An element-wise function in the widest float."""
    return lambda *inputs: function(*map(wide, inputs))


def of_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that leaves integers as they are, as the array API has it and NumPy since 2.1."""
    return lambda x: function(x) if x.dtype.kind == "f" else x


def left_shift(x, y):
    width = x.dtype.itemsize * 8
    outside = (y < 0) | (y >= width)
    return np.where(outside, x.dtype.type(0), np.left_shift(x, np.where(outside, 0, y).astype(x.dtype)))


def right_shift(x, y):
    width = x.dtype.itemsize * 8
    outside = (y < 0) | (y >= width)
    most = np.right_shift(x, x.dtype.type(width - 1)) if x.dtype.kind == "i" else np.zeros_like(x)
    return np.where(outside, most, np.right_shift(x, np.where(outside, 0, y).astype(x.dtype)))


# Integers, and what IEEE 754 rounds correctly: equal once rounded to the dtype.
EXACT: dict[str, Callable[..., Any]] = {
    "neg": np.negative,
    "abs": np.abs,
    "square": np.square,
    "sqrt": np.sqrt,
    "logical_not": np.logical_not,
    "bitwise_invert": np.invert,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": left_shift,
    "bitwise_right_shift": right_shift,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "where": np.where,
    "stop_gradient": np.copy,
    "sign": np.sign,
    "reciprocal": np.reciprocal,
    "floor": of_floats(np.floor),
    "ceil": of_floats(np.ceil),
    "round": of_floats(np.rint),
    "trunc": of_floats(np.trunc),
    "is_nan": np.isnan,
    "is_inf": np.isinf,
    "is_finite": np.isfinite,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
}

# As exact as the widest float.
ROUNDED: dict[str, Callable[..., Any]] = {
    "exp": in_long(np.exp),
    "expm1": in_long(np.expm1),
    "log": in_long(np.log),
    "log1p": in_long(np.log1p),
    "tanh": in_long(np.tanh),
    "sin": in_long(np.sin),
    "cos": in_long(np.cos),
    "sigmoid": in_long(special.expit),
    "pow": in_long(np.power),
    "tan": in_long(np.tan),
    "asin": in_long(np.arcsin),
    "acos": in_long(np.arccos),
    "atan": in_long(np.arctan),
    "sinh": in_long(np.sinh),
    "cosh": in_long(np.cosh),
    "asinh": in_long(np.arcsinh),
    "acosh": in_long(np.arccosh),
    "atanh": in_long(np.arctanh),
    "log2": in_long(np.log2),
    "log10": in_long(np.log10),
    "exp2": in_long(np.exp2),
    "cbrt": in_long(np.cbrt),
    "hypot": in_long(np.hypot),
    "atan2": in_long(np.arctan2),
}
