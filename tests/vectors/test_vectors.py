"""The committed vectors through the Python binding, whose answers the runners of other languages compare with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import caudal as cd
from caudal import ops

sys.path.insert(0, str(Path(__file__).parent))
import runner
import write


def given(dtype: str, array: np.ndarray) -> cd.Tensor:
    """A tensor of a stored array."""
    if dtype != "bfloat16":
        return cd.asarray(array)
    return ops.bitcast(cd.asarray(array), dtype="bfloat16")


def stored(tensor: cd.Tensor) -> np.ndarray:
    """The array of a tensor's bits."""
    return np.asarray(ops.bitcast(tensor, dtype="uint16") if tensor.dtype == "bfloat16" else tensor)


def answer(entry: dict[str, Any], tensors: dict[str, tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """The outputs of a case, dtypes and stored arrays."""
    case, attrs = entry["case"], entry["attrs"]
    if entry["op"] == "constant":
        dtype = attrs["value"]["dtype"]
        attrs = {"value": cd.asarray(np.array(attrs["value"]["data"], dtype).reshape(attrs["value"]["shape"]))}
    inputs = [
        given(*tensors[f"{case}/input_{index}"]) if there else None for index, there in enumerate(entry["inputs"])
    ]
    outputs = getattr(ops, entry["op"])(*inputs, **attrs)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [(output.dtype.name, stored(output)) for output in outputs]


def test_python_gives_every_vector() -> None:
    entries, tensors = write.read()
    assert len(entries) > 1800
    ulps: dict[str, float] = {}
    digests: dict[str, str] = {}
    for entry in entries:
        outputs = answer(entry, tensors)
        runner.note(ulps, entry["op"], runner.judge(entry, outputs, tensors))
        if entry["op"] not in runner.CONTRACTIONS:
            digests[entry["case"]] = runner.digest(outputs)
    runner.leave("python", ulps)
    runner.leave("native", digests)
