"""The cases that every language runs: each sample of each op in each of its dtypes, with inputs drawn from its text."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arrays
import numpy as np

SAMPLES = Path(__file__).with_name("samples.json")

# Samples beside those of the op records: (inputs, attrs, the dtypes that T takes, None for all of the op's).
_MORE: dict[str, list[tuple[list[str], dict[str, Any], tuple[str, ...] | None]]] = {
    "bitcast": [
        (["T[2, 3]"], {"dtype": to}, group)
        for group in (
            ("int8", "uint8"),
            ("int16", "uint16", "float16", "bfloat16"),
            ("int32", "uint32", "float32"),
            ("int64", "uint64", "float64"),
        )
        for to in group
    ],
    "cast": [(["T[17]"], {"dtype": dtype}, None) for dtype in ("int8", "uint64", "float16", "bfloat16")],
    "iota": [([], {"shape": [3, 5], "axis": 1, "dtype": dtype}, None) for dtype in arrays.INTEGER + arrays.FLOAT],
    "uniform": [(["uint32[2]"], {"shape": [3, 7], "dtype": dtype, "low": -0.1}, None) for dtype in arrays.FLOAT],
    "normal": [(["uint32[2]"], {"shape": [300], "dtype": dtype}, None) for dtype in arrays.FLOAT],
    "random_bits": [(["uint32[2]"], {"shape": [1003], "dtype": dtype}, None) for dtype in ("uint32", "uint64")],
    "sum": [(["T[3000, 2]"], {"axis": [0]}, None)],
    "erfinv": [(["T[1003] in -1..1"], {}, None)],
    **{op: [(["T[1003] in -0.95..0.95"], {}, None)] for op in ("asin", "acos", "atanh")},
    **{op: [(["T[1003] in -9..9"], {}, None)] for op in ("atan", "sinh", "cosh", "asinh", "exp2")},
    **{op: [(["T[1003] in -9..9"], {}, None)] for op in ("sign", "floor", "ceil", "round", "trunc")},
    **{op: [(["T[1003] in 1..9"], {}, None)] for op in ("log2", "log10", "reciprocal")},
    "tan": [(["T[1003] in 5..7"], {}, None)],
    "cbrt": [(["T[1003] in -9..-0.1"], {}, None)],
    "acosh": [(["T[1003] in 1.05..9"], {}, None)],
    **{op: [(["T[1003] in -99..99", "T[1003] in 2..7"], {}, None)] for op in ("remainder", "floor_divide")},
    **{op: [(["T[1003] in -99..99", "T[1003]"], {}, None)] for op in ("atan2", "hypot")},
}


@dataclass(frozen=True)
class Case:
    """One sample of an op in one dtype.

    Attributes:
        op: The op.
        sample: The number of the sample.
        dtype: What T is.
        specs: Its inputs as the sample has them: `T[2, 3] in 0.1..4`, `-` where one is left out.
        attrs: Its attrs.
    """

    op: str
    sample: int
    dtype: str
    specs: tuple[str, ...]
    attrs: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.op}/{self.sample}/{self.dtype}"

    def draw(self, salt: int = 0) -> list[tuple[str, np.ndarray] | None]:
        """Inputs, the same at every call."""
        rng = seed(self.name, *([salt] if salt else []))
        return [draw(spec, self.dtype, rng) for spec in self.specs]


def records() -> dict[str, dict[str, Any]]:
    """The ops of samples.json by name."""
    return {record["name"]: record for record in json.loads(SAMPLES.read_text())}


def of(record: dict[str, Any]) -> Iterator[Case]:
    """The cases of an op: one in each dtype where T is among the inputs, else one."""
    more = _MORE.get(record["name"], [])
    samples = [(sample["inputs"], sample["attrs"], None) for sample in record["samples"]] + more
    for number, (inputs, attrs, dtypes) in enumerate(samples):
        polymorphic = any(spec.startswith("T") for spec in inputs)
        # An input of the op's dtype that a sample gives another name for.
        written = [spec.split("[")[0] for spec, given in zip(inputs, record["inputs"], strict=False) if given["t"]]
        for dtype in dtypes or (record["dtypes"] if polymorphic else [*written, record["dtypes"][0]][:1]):
            yield Case(record["name"], number, dtype, tuple(inputs), attrs)


def seed(*parts: object) -> np.random.Generator:
    """A generator that depends on this text alone."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, parts)).encode()))


def parse(spec: str, dtype: str) -> tuple[str, tuple[int, ...], tuple[str, str] | None]:
    """A sample's input, `T[2, 3] in 0.1..4`: its dtype (T is `dtype`), its shape, its range if it states one."""
    match = re.fullmatch(r"(\w+)\[([\d, ]*)\](?: in (.+)\.\.(.+))?", spec)
    if match is None:
        raise ValueError(f"a sample has the input {spec!r}")
    name, dims, low, high = match.groups()
    shape = tuple(int(dim) for dim in dims.split(",")) if dims.strip() else ()
    return (dtype if name == "T" else name), shape, None if low is None else (low, high)


def draw(spec: str, dtype: str, rng: np.random.Generator) -> tuple[str, np.ndarray] | None:
    """The dtype and a stored array for a sample's input; None for `-`, which is left out.

    Without a range T is -2..2 for floats, -5..5 for integers (0..5 if unsigned), random for bools; a dtype that is
    written out and unsigned (keys) takes all its values. Ranges of integers include their ends.
    """
    if spec == "-":
        return None
    actual, shape, bounds = parse(spec, dtype)
    if actual == "bool":
        return actual, rng.integers(0, 2, shape).astype(bool)
    if actual in arrays.FLOAT:
        low, high = map(float, bounds or ("-2", "2"))
        return actual, arrays.rounded(rng.uniform(low, high, shape), actual)
    if bounds is None and not spec.startswith("T") and actual in arrays.UNSIGNED:
        return actual, rng.integers(0, np.iinfo(actual).max, shape, dtype=actual, endpoint=True)
    low, high = (int(bound) for bound in bounds or ("-5", "5"))
    low = max(low, 0) if actual in arrays.UNSIGNED else low
    return actual, rng.integers(low, high, shape, dtype=actual, endpoint=True)
