"""The table of errors through the Python binding; `write.py` says what an entry is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd

FOLDER = Path(__file__).resolve().parent
FILE = FOLDER / "errors.caudal"
ENTRIES: list[dict[str, Any]] = json.loads((FOLDER / "errors.json").read_text())


def tensor(text: str) -> cd.Tensor:
    spec, _, value = text.partition(" = ")
    parsed = cd.TensorSpec.parse(spec)
    return cd.asarray(np.full([int(dim) for dim in parsed.shape], int(value or 0)), dtype=parsed.dtype)


def tensors(texts: dict[str, str]) -> dict[str, cd.Tensor]:
    return {name: tensor(text) for name, text in texts.items()}


def limits_of(given: dict[str, Any]) -> cd.Limits:
    limits = cd.Limits(memory=given.get("memory", 0), seconds=given.get("seconds", 0.0))
    if given.get("cancelled"):
        limits.cancel()
    return limits


def applied(op: str, inputs: list[cd.Tensor], attrs: dict[str, Any]) -> Any:
    return getattr(cd.ops, op)(*inputs, **attrs)


def in_graph(entry: dict[str, Any]) -> None:
    graph = cd.Graph()
    inputs = [graph.input(f"x{n}", cd.TensorSpec.parse(text)) for n, text in enumerate(entry["inputs"])]
    applied(entry["graph"], inputs, entry["attrs"])


def in_session(entry: dict[str, Any]) -> None:
    with cd.load(FILE, **entry.get("options", {})) as session:
        before = np.asarray(session.state["w"])
        try:
            session.run(entry["run"], tensors(entry["inputs"]), limits=limits_of(entry.get("limits", {})))
        finally:
            np.testing.assert_array_equal(session.state["w"], before)
            assert session.run("train_step", {"x": [0.0, 0.0]})["output"].item() == before.sum()


DO: dict[str, Callable[[dict[str, Any]], Any]] = {
    "eager": lambda entry: applied(entry["eager"], [tensor(text) for text in entry["inputs"]], entry["attrs"]),
    "graph": in_graph,
    "run": in_session,
    "state": lambda entry: cd.load(FILE).state.update(tensors(entry["state"])),
    "memory": lambda entry: cd.load(FILE).memory(entry["memory"], **entry["dims"]),
    "session": lambda entry: cd.load(FILE, **entry["session"]),
    "select": lambda entry: cd.Program.open(FILE).select(entry["select"]),
    "spec": lambda entry: cd.TensorSpec.parse(entry["spec"]),
    "bytes": lambda entry: cd.load(entry["bytes"].encode()),
    "first": lambda entry: cd.load(FILE.read_bytes()[: entry["first"]]),
}


def action(entry: dict[str, Any]) -> str:
    return next(key for key in DO if key in entry)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{action(entry)}-{entry['code']}")
def test_error(entry: dict[str, Any]) -> None:
    with pytest.raises(cd.Error) as caught:
        DO[action(entry)](entry)
    error, message = caught.value, str(caught.value)
    if error.location is not None:
        assert message.endswith(f" ({error.location})")
        message = message.removesuffix(f" ({error.location})")
    if "eager" not in entry:
        assert (error.location is not None) == entry.get("line", False)
    if entry.get("hint"):
        message = message.partition("; ")[0]
    assert message == entry["message"]
    assert error.code == entry["code"]
    assert (error.op, error.argument) == (entry.get("op"), entry.get("argument"))
