"""The table of errors through the WASM module; tests/errors/write.py says what an entry is."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from instance import Compiled, Failure, Instance

FOLDER = Path(__file__).resolve().parent.parent / "errors"
FILE = (FOLDER / "errors.caudal").read_bytes()
ENTRIES: list[dict[str, Any]] = json.loads((FOLDER / "errors.json").read_text())
# What bindings find out themselves, before they call: the core, which takes inputs by number, says this.
UNNAMED = {
    "both: the input y is missing; it takes x, y": "both: 1 inputs were given, it takes 2: x, y",
    "both: there is no input 'z'; it takes x, y": "both: 3 inputs were given, it takes 2: x, y",
}
WIDTHS = {"float16": "e", "float32": "f", "float64": "d", "int32": "i", "int64": "q", "bool": "?"}


def tensor(instance: Instance, text: str) -> int:
    """The tensor that an entry writes as `dtype[sizes] = value`."""
    dtype, sizes, value = re.fullmatch(r"(\w+)\[(.*?)\](?: = (.*))?", text).groups()
    shape = [int(size) for size in sizes.split(", ")] if sizes else []
    count = 1
    for size in shape:
        count *= size
    number = int(value or 0)
    return instance.tensor(dtype, shape, struct.pack(f"<{count}{WIDTHS[dtype]}", *[number] * count))


def applied(instance: Instance, entry: dict[str, Any]) -> None:
    """Applies an op to inputs of a graph."""
    graph = instance.make("cdl_graph_new")

    def add_input(name: str, spec: str) -> int:
        def with_name(at: int, length: int) -> int:
            text = spec.encode()
            return instance.with_bytes(
                text, lambda to, size: instance.make("cdl_graph_input", graph, at, length, to, size)
            )

        return instance.with_bytes(name.encode(), with_name)

    values = [add_input(f"x{number}", spec) for number, spec in enumerate(entry["inputs"])]
    instance.with_bytes(b"model.py", lambda at, length: instance.do("cdl_graph_location", graph, at, length, 12))
    op = instance.op(entry["graph"], entry["attrs"])
    given = instance.list(values, 0)
    try:
        instance.do("cdl_graph_apply", graph, op, 0, 0, given, len(values), instance.room, instance.room + 8)
    finally:
        instance.call("cdl_graph_free", graph)


@contextmanager
def session(instance: Instance, options: dict[str, Any] | None = None) -> Iterator[int]:
    """A session of errors.caudal."""
    program = instance.program(FILE)
    handle = instance.session(program, options)
    yield handle
    instance.call("cdl_session_free", handle)
    instance.call("cdl_program_free", program)


def state(instance: Instance, handle: int) -> tuple[float, ...]:
    """The state w."""
    return struct.unpack("<2f", instance.value(instance.named("cdl_session_state", handle, "w"))[2])


def in_session(instance: Instance, entry: dict[str, Any]) -> None:
    """Runs a function; whatever comes of it, the session goes on with the state that it had."""
    given = entry.get("limits", {})
    limits = instance.limits(given.get("memory", 0), given.get("seconds", 0.0))
    if given.get("cancelled"):
        instance.call("cdl_limits_cancel", limits)
    with session(instance, entry.get("options")) as handle:
        before = state(instance, handle)
        try:
            function = instance.function(handle, entry["run"])
            instance.run(function, [tensor(instance, text) for text in entry["inputs"].values()], limits)
        finally:
            assert state(instance, handle) == before
            step = instance.function(handle, "train_step")
            (total,) = instance.run(step, [tensor(instance, "float32[2]")])
            assert struct.unpack("<f", instance.value(total)[2]) == (sum(before),)


def set_state(instance: Instance, entry: dict[str, Any]) -> None:
    """Sets state."""
    ((name, text),) = entry["state"].items()
    with session(instance) as handle:
        value = tensor(instance, text)

        def with_name(at: int, _: int) -> None:
            names, tensors = instance.list([at], 0), instance.list([value], 1)
            instance.do("cdl_session_set_state", handle, names, tensors, 1)

        instance.with_bytes(name.encode() + b"\0", with_name)


def memory(instance: Instance, entry: dict[str, Any]) -> None:
    """Asks what a call needs."""
    with session(instance) as handle:
        function = instance.function(handle, entry["memory"])
        dims = json.dumps(entry["dims"]).encode()
        instance.with_bytes(dims, lambda at, length: instance.json("cdl_function_plan", function, at, length))


def select(instance: Instance, entry: dict[str, Any]) -> None:
    """Takes functions of a program."""
    (name,) = entry["select"]
    program = instance.program(FILE)

    def with_name(at: int, _: int) -> int:
        return instance.make("cdl_program_select", program, instance.list([at], 0), 1)

    instance.with_bytes(name.encode() + b"\0", with_name)


def with_spec(instance: Instance, entry: dict[str, Any]) -> None:
    """Parses a spec."""
    applied(instance, {"graph": "exp", "attrs": {}, "inputs": [entry["spec"]]})


DO: dict[str, Callable[[Instance, dict[str, Any]], Any]] = {
    "eager": lambda instance, entry: instance.eager(
        instance.op(entry["eager"], entry["attrs"]), [tensor(instance, text) for text in entry["inputs"]]
    ),
    "graph": applied,
    "run": in_session,
    "state": set_state,
    "memory": memory,
    "session": lambda instance, entry: instance.session(instance.program(FILE), entry["session"]),
    "select": select,
    "spec": with_spec,
    "bytes": lambda instance, entry: instance.program(entry["bytes"].encode()),
    "first": lambda instance, entry: instance.program(FILE[: entry["first"]]),
}


def expected(entry: dict[str, Any]) -> tuple[str, str, str | None, str | None]:
    """Code, message, op and argument, as the core gives them."""
    if entry["message"] in UNNAMED:
        return "argument", UNNAMED[entry["message"]], entry["run"], None
    argument = None if "spec" in entry else entry.get("argument")
    return entry["code"], entry["message"], entry.get("op"), argument


def found(entry: dict[str, Any], failure: Failure) -> tuple[str, str, str | None, str | None]:
    """The same of a failure, without the place and the hint. Names are in quotes of either kind."""
    message = str(failure)
    if failure.location:
        message = message.removesuffix(f" ({failure.location})")
    if entry.get("hint"):
        message = message.partition("; ")[0]
    if "'" in entry["message"]:
        message = message.replace('"', "'")
    op = None if "spec" in entry else failure.op
    return failure.code, message, op, failure.argument


def test_every_error_of_the_core_is_the_same_in_wasm(compiled: Compiled) -> None:
    instance = compiled.instance()
    wrong = []
    for entry in ENTRIES:
        key = next(key for key in DO if key in entry)
        with pytest.raises(Failure) as caught:
            DO[key](instance, entry)
        if found(entry, caught.value) != expected(entry):
            wrong.append((found(entry, caught.value), expected(entry)))
    assert wrong == [], "\n".join(map(str, wrong))
