"""Writes vectors.safetensors: inputs and expected outputs of every op, for the tests of every language.

The file holds tensors `OP/SAMPLE/DTYPE/input_N` and `.../output_N`, outputs rounded to their dtype. Its metadata has
the key `cases`, JSON: a list of

    {"case": "OP/SAMPLE/DTYPE", "op": ..., "attrs": {...}, "inputs": [true, false, ...], "ulp": 3, "near": [0.0, ...]}

where `inputs` says of each input whether it is there or left out. An output passes if each element is within `ulp`
units in the last place of the expected one, or differs by at most `near` (one number for each output). Where `ulp` is 0
the numbers are equal (0 and -0 are). NaN and infinities are always the same. Long samples are cut; dtypes other than
`float32` run the first sample alone, but for ops whose samples are their dtypes.

    python tests/vectors/write.py
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arrays
import cases
import numpy as np
import reference
from cases import Case

FILE = Path(__file__).with_name("vectors.safetensors")

_CODES = {
    "bool": "BOOL",
    **{f"{'u' * (code == 'U')}int{bits}": f"{code}{bits}" for code in "IU" for bits in (8, 16, 32, 64)},
    **{"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"},
}
_SHORTER = {"T[1003]": "T[19]", "T[17, 65]": "T[3, 19]", "T[65]": "T[19]", "T[3000, 2]": "T[90, 2]"}


def shortened(case: Case) -> Case:
    """The case with long inputs and outputs cut."""
    specs = []
    for spec in case.specs:
        shape, separator, bounds = spec.partition(" in ")
        specs.append(_SHORTER.get(shape, shape) + separator + bounds)
    attrs = case.attrs
    if not any(spec.startswith("T") for spec in specs) and max(attrs.get("shape") or [0]) > 300:
        attrs = attrs | {"shape": [19]}
    return dataclasses.replace(case, specs=tuple(specs), attrs=attrs)


def chosen() -> Iterator[Case]:
    """The cases in the file: all samples in `float32` (or the only dtype), one that is not a scalar in the others."""
    for name, record in cases.records().items():
        if name in reference.LEFT_OUT:
            continue
        own: dict[str, int] = {}
        for case in map(shortened, cases.of(record)):
            most = 1 if case.dtype != "float32" and len(record["dtypes"]) > 1 else 99
            if own.get(case.dtype, 0) < most or name in ("bitcast", "iota", "constant"):
                own[case.dtype] = own.get(case.dtype, 0) + 1
                yield case


def answer(case: Case) -> tuple[dict[str, Any], dict[str, tuple[str, np.ndarray]]]:
    """A case's entry in the metadata, and its tensors: their dtypes and stored arrays."""
    drawn, judge = case.draw(), reference.TABLE[case.op]
    wide = [None if given is None else arrays.widen(given[1], given[0]) for given in drawn]
    outputs = judge.outputs(wide, case.attrs, case.dtype)
    terms = judge.magnitudes(wide, case.attrs, case.dtype, len(outputs))
    tensors = {f"{case.name}/input_{index}": given for index, given in enumerate(drawn) if given is not None}
    near, ulp = [], 0
    for index, (values, size) in enumerate(zip(outputs, terms, strict=True)):
        dtype = reference.output_dtype(values, case.op, case.attrs, case.dtype)
        tensors[f"{case.name}/output_{index}"] = dtype, arrays.rounded(values, dtype)
        allowed = judge.tolerance(dtype)
        largest = np.max(size, initial=0)
        near.append(float(allowed * arrays.ulp(largest, dtype)) if allowed and largest else 0.0)
        # The expected number is off by half a unit itself.
        ulp = max(ulp, math.ceil(allowed + 0.5) if allowed else 0)
    given = [one is not None for one in drawn]
    entry = {"case": case.name, "op": case.op, "attrs": case.attrs, "inputs": given, "ulp": ulp, "near": near}
    return entry, tensors


def vectors() -> tuple[list[dict[str, Any]], dict[str, tuple[str, np.ndarray]]]:
    """All entries and all tensors."""
    entries, tensors = [], {}
    for case in chosen():
        entry, own = answer(case)
        entries.append(entry)
        tensors |= own
    return entries, tensors


def content() -> bytes:
    """The bytes of the file: header, then tensors, the widest dtypes first so that all are aligned."""
    entries, tensors = vectors()
    header: dict[str, Any] = {"__metadata__": {"cases": json.dumps(entries, separators=(",", ":"))}}
    order = sorted(tensors, key=lambda name: -tensors[name][1].itemsize)
    data = [np.ascontiguousarray(tensors[name][1]).tobytes() for name in order]
    offset = 0
    for name, part in zip(order, data, strict=True):
        dtype, array = tensors[name]
        header[name] = {"dtype": _CODES[dtype], "shape": array.shape, "data_offsets": [offset, offset + len(part)]}
        offset += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data)


def read(path: Path = FILE) -> tuple[list[dict[str, Any]], dict[str, tuple[str, np.ndarray]]]:
    """What `vectors` gave when the file was written."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    entries = json.loads(header.pop("__metadata__")["cases"])
    names = {code: dtype for dtype, code in _CODES.items()}
    tensors = {}
    for name, entry in header.items():
        dtype, (start, end) = names[entry["dtype"]], entry["data_offsets"]
        part = data[8 + length + start : 8 + length + end]
        tensors[name] = dtype, np.frombuffer(part, arrays.storage(dtype)).reshape(entry["shape"])
    return entries, tensors


if __name__ == "__main__":
    data = content()
    FILE.write_bytes(data)
    sys.stdout.write(f"{FILE.name}: {len(data)} bytes\n")
