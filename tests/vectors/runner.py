"""What a runner of the vectors does in Python: judges outputs, and leaves what it found in build/vectors.

There each language has a file of its own, LANGUAGE.json: for each op the largest difference in ulp. native.json is
made by Python: for each case whose bits are the same on every machine, the SHA-256 of the bytes of its outputs, one
after the other.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import arrays
import numpy as np
import write

FOLDER = write.FILE.parent.parent.parent / "build" / "vectors"
# Ops that multiply and add in one rounding where a machine can.
CONTRACTIONS = {"attention", "conv", "conv_input_grad", "conv_kernel_grad", "dot_general", "einsum", "matmul"}


def judge(
    entry: dict[str, Any], outputs: list[tuple[str, np.ndarray]], tensors: dict[str, tuple[str, np.ndarray]]
) -> float:
    """How many ulps the outputs of a case are off; one that is only near enough counts as 0."""
    assert len(outputs) == len(entry["near"]), entry["case"]
    most = 0.0
    for index, ((dtype, array), near) in enumerate(zip(outputs, entry["near"], strict=True)):
        wanted, expected = tensors[f"{entry['case']}/output_{index}"]
        assert (dtype, array.shape) == (wanted, expected.shape), entry["case"]
        values = arrays.widen(expected, dtype)
        ulps = arrays.distance(array, values, dtype)
        if ulps > entry["ulp"]:
            got = arrays.widen(array, dtype)
            np.testing.assert_allclose(got, values, rtol=0, atol=near, err_msg=entry["case"])
        else:
            most = max(most, ulps)
    return most


def note(ulps: dict[str, float], op: str, found: float) -> None:
    """Keeps the largest difference of an op."""
    ulps[op] = max(ulps.get(op, 0.0), found)


def digest(outputs: list[tuple[str, np.ndarray]]) -> str:
    """The digest of a case's outputs."""
    return hashlib.sha256(b"".join(array.tobytes() for _, array in outputs)).hexdigest()


def leave(name: str, found: dict[str, Any]) -> None:
    """Writes build/vectors/NAME.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
