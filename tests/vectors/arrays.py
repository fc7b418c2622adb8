"""Arrays of every dtype in NumPy alone: drawing, rounding, and how far two are apart.

An array of a dtype is kept in its *storage*: NumPy's array of that dtype, `uint16` bits for `bfloat16`. References see
*wide* arrays: floats as `float64` (which holds every value of the narrower ones), everything else as it is.
"""

from __future__ import annotations

import numpy as np

BOOL = ("bool",)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGER = SIGNED + UNSIGNED
FLOAT = ("float16", "bfloat16", "float32", "float64")
ALL = BOOL + INTEGER + FLOAT

# Of each float: the bits of its significand, and the exponent of its least normal number, 2^e.
_PRECISION = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
_LEAST = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}


def storage(dtype: str) -> np.dtype:
    """The NumPy dtype that holds the bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def widen(array: np.ndarray, dtype: str) -> np.ndarray:
    """The values of a stored array."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return array.astype(np.float64) if dtype in FLOAT else array


def wide(x: np.ndarray) -> np.ndarray:
    """More precise than `float64` where the platform has it, for references that are inexact there."""
    return np.asarray(x, np.longdouble)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values rounded to nearest, ties to even, in their storage; integers and bools must be of their dtype already."""
    values = np.asarray(values)
    if dtype not in FLOAT:
        if values.dtype != storage(dtype):
            raise TypeError(f"a reference gave {values.dtype} for {dtype}")
        return values
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if dtype != "bfloat16":
            return values.astype(dtype)
        values = values.astype(np.longdouble)
        unit = ulp(values, dtype)
        # Beyond float32's range the cast gives the infinity that bfloat16 gives too.
        single = (np.rint(values / unit) * unit).astype(np.float32)
    bits = (single.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), bits)


def through(values: np.ndarray, dtype: str) -> np.ndarray:
    """Wide values after a rounding to a dtype."""
    return widen(rounded(values, dtype), dtype)


def _exponent(values: np.ndarray, dtype: str) -> np.ndarray:
    """The exponent of the unit's binade: floor(log2 |x|), not below that of the least normal number."""
    finite = np.where(np.isfinite(values), values, 1)
    exponent = np.frexp(np.abs(finite))[1].astype(np.int64) - 1
    return np.maximum(np.where(finite == 0, _LEAST[dtype], exponent), _LEAST[dtype])


def ulp(values: np.ndarray, dtype: str) -> np.ndarray:
    """The unit in the last place of a float's dtype at these values."""
    return np.ldexp(np.ones(np.shape(values), np.longdouble), _exponent(values, dtype) - _PRECISION[dtype] + 1)


def same_bits(one: np.ndarray, other: np.ndarray, dtype: str) -> bool:
    """Whether two stored arrays have one shape and the same bits, whatever the bits of a NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if dtype not in FLOAT:
        return bool(np.array_equal(one, other))
    bits = f"u{one.dtype.itemsize}"
    one_bits, other_bits = np.ascontiguousarray(one).view(bits), np.ascontiguousarray(other).view(bits)
    nan = np.isnan(widen(one, dtype)) & np.isnan(widen(other, dtype))
    return bool(np.all((one_bits == other_bits) | nan))


def distance(got: np.ndarray, expected: np.ndarray, dtype: str, magnitude: np.ndarray | None = None) -> float:
    """How far a stored array is from unrounded values: the most ulps of the greater of |expected| and `magnitude`.

    NaN must be NaN, and an infinity (also one that comes of rounding) the same infinity, else it is infinite; so it is
    for another shape or storage, and for integers and bools that differ.
    """
    expected = np.asarray(expected)
    if got.shape != expected.shape or got.dtype != storage(dtype):
        return np.inf
    if dtype not in FLOAT:
        return 0.0 if np.array_equal(got, expected) else np.inf
    values = widen(got, dtype)
    nearest = through(expected, dtype)
    special = ~np.isfinite(nearest) | ~np.isfinite(values)
    agree = (np.isnan(values) & np.isnan(nearest)) | (values == nearest)
    if not np.all(agree[special]):
        return np.inf
    size = np.abs(nearest) if magnitude is None else np.maximum(np.abs(nearest), np.broadcast_to(magnitude, got.shape))
    with np.errstate(invalid="ignore", over="ignore"):
        ulps = np.abs(values - expected) / ulp(size, dtype)
    return float(np.max(np.where(special, 0, ulps), initial=0))
