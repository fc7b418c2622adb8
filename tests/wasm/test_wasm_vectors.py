"""Every vector through the WASM module; where bits are the same on every machine, they are the native ones.

Leaves build/vectors/wasmtime.json. The native answers are those that tests/vectors/test_vectors.py left.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instance import DTYPES, Compiled, Instance

sys.path.insert(0, str(Path(__file__).parent.parent / "vectors"))
import arrays
import runner
import write

CODES = {f"{'U' if name[0] == 'u' else 'I'}{name.split('int')[1]}": name for name in DTYPES if "int" in name}
CODES |= {"BOOL": "bool", "BF16": "bfloat16"} | {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def decode(file: bytes) -> tuple[list[dict[str, Any]], Tensors]:
    """The cases and the tensors, dtype, shape and data of each."""
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    cases = json.loads(header.pop("__metadata__")["cases"])
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = CODES[entry["dtype"]], tuple(entry["shape"]), file[start + first : start + last]
    return cases, tensors


def array(dtype: str, shape: tuple[int, ...], data: bytes) -> np.ndarray:
    """What comes out of the module, as the judge takes it."""
    return np.frombuffer(data, arrays.storage(dtype)).reshape(shape)


def answer(instance: Instance, entry: dict[str, Any], tensors: Tensors) -> list[tuple[str, np.ndarray]]:
    """The outputs of a case."""
    names = [f"{entry['case']}/input_{index}" for index in range(len(entry["inputs"]))]
    there = zip(names, entry["inputs"], strict=True)
    inputs = [instance.tensor(*tensors[name]) if given else 0 for name, given in there]
    op = instance.op(entry["op"], entry["attrs"])
    outputs = instance.eager(op, inputs)
    values = [instance.value(output) for output in outputs]
    instance.call("cdl_op_free", op)
    instance.free(inputs + outputs)
    return [(dtype, array(dtype, shape, data)) for dtype, shape, data in values]


def test_every_vector(compiled: Compiled) -> None:
    native = runner.FOLDER / "native.json"
    if not native.is_file():
        pytest.fail(f"{native} is missing: tests/vectors/test_vectors.py makes it")
    digests = json.loads(native.read_text())
    instance = compiled.instance()
    entries, tensors = decode(write.FILE.read_bytes())
    expected = {name: (dtype, array(dtype, shape, data)) for name, (dtype, shape, data) in tensors.items()}
    ulps: dict[str, float] = {}
    compared, others = set(), []
    for entry in entries:
        outputs = answer(instance, entry, tensors)
        runner.note(ulps, entry["op"], runner.judge(entry, outputs, expected))
        if entry["case"] in digests:
            compared.add(entry["case"])
            if runner.digest(outputs) != digests[entry["case"]]:
                others.append(entry["case"])
    assert others == [], "cases whose bits are not the native library's"
    assert compared == set(digests) and len(compared) > 1500
    runner.leave("wasmtime", ulps)
