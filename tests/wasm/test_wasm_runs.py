"""Runs in the WASM module that end early: limits, no memory, cancelled, in pieces. The session goes on after each."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from instance import Compiled, Failure, Instance

FILE = (Path(__file__).resolve().parent.parent / "errors" / "errors.caudal").read_bytes()
MIB = 1 << 20


class Running:
    """A session of errors.caudal in an instance of its own."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.session = instance.session(instance.program(FILE))

    def weights(self) -> tuple[float, float]:
        """The state w, as a function gives it."""
        (output,) = self.run("weights")
        first, second = struct.unpack("<2f", self.instance.value(output)[2])
        self.instance.free([output])
        return first, second

    def step(self, x: tuple[float, float]) -> None:
        """Adds x to the state."""
        given = self.instance.tensor("float32", [2], struct.pack("<2f", *x))
        self.instance.free([given, *self.run("train_step", given)])

    def run(self, name: str, *inputs: int, limits: int = 0) -> list[int]:
        return self.instance.run(self.instance.function(self.session, name), inputs, limits)

    def endless(self) -> int:
        """An input with which the function `endless` never ends."""
        return self.instance.tensor("int64", [], struct.pack("<q", 7))


def refused(running: Running, name: str, *inputs: int, limits: int = 0) -> Failure:
    """What a run is refused with; the state is as before, and the session goes on."""
    before = running.weights()
    with pytest.raises(Failure) as caught:
        running.run(name, *inputs, limits=limits)
    assert running.weights() == before
    running.step((1.0, 0.0))
    assert running.weights() == (before[0] + 1.0, before[1])
    return caught.value


def test_a_session_goes_on_after_a_memory_limit(compiled: Compiled) -> None:
    running = Running(compiled.instance())
    x = running.instance.tensor("float32", [MIB], None)
    limits = running.instance.limits(memory=3 * MIB)
    failure = refused(running, "grown", x, limits=limits)
    assert (failure.code, str(failure)) == ("memory", "grown: a call needs 4194304 bytes, the limit is 3145728")
    assert len(running.run("grown", x)) == 1


def test_exhausted_memory_is_an_error_without_a_trap(compiled: Compiled) -> None:
    running = Running(compiled.instance(memory=48 * MIB))
    instance, tensors = running.instance, []
    with pytest.raises(Failure) as caught:
        while True:
            tensors.append(instance.tensor("float32", [MIB], None))
    assert caught.value.code == "memory"
    assert 2 <= len(tensors) <= 12
    failure = refused(running, "grown", tensors[0])
    assert failure.code == "memory"
    assert instance.call("cdl_alloc", 1 << 30) == 0
    with pytest.raises(Failure) as caught:
        instance.tensor("float32", [1 << 29], None)
    assert caught.value.code == "memory"
    instance.free(tensors[2:])
    (output,) = running.run("grown", tensors[0])
    assert instance.value(output)[2] == struct.pack("<f", 1.0) * MIB


def test_a_run_is_cancelled_by_poll_and_the_state_is_whole(compiled: Compiled) -> None:
    running = Running(compiled.instance())
    polls = iter([0] * 100)
    running.instance.poll = lambda: next(polls, 1)
    x = running.endless()
    with pytest.raises(Failure) as caught:
        running.run("endless", x)
    assert (caught.value.code, str(caught.value)) == ("cancelled", "endless: the call was cancelled")
    running.instance.poll = lambda: 1
    with pytest.raises(Failure):
        running.step((5.0, 5.0))
    running.instance.poll = lambda: 0
    assert running.weights() == (1.0, 2.0)
    running.step((1.0, 1.0))
    assert running.weights() == (2.0, 3.0)


def test_a_run_ends_at_its_deadline(compiled: Compiled) -> None:
    running = Running(compiled.instance())
    failure = refused(running, "endless", running.endless(), limits=running.instance.limits(seconds=0.02))
    assert failure.code == "deadline"


def test_a_run_is_taken_in_pieces_and_given_up(compiled: Compiled) -> None:
    running = Running(compiled.instance())
    instance = running.instance
    function = instance.function(running.session, "endless")
    given, outputs, rest = instance.list([running.endless()], 0), instance.room + 2052, instance.room
    instance.do("cdl_function_run", function, given, 1, 0, outputs, 1, rest)
    (call,) = instance.words(rest, 1)
    assert call, "it hands back what is left"
    for _ in range(3):
        instance.do("cdl_call_resume", call, 0.002, outputs, 1, rest)
        assert instance.words(rest, 1) == (0,)
        # Others run beside it.
        assert running.weights() == (1.0, 2.0)
    instance.call("cdl_call_free", call)
    running.step((1.0, 1.0))
    assert running.weights() == (2.0, 3.0)


def test_pieces_give_what_one_run_gives(compiled: Compiled) -> None:
    running = Running(compiled.instance())
    instance = running.instance
    x = instance.tensor("float32", [4 * MIB], struct.pack("<f", 0.5) * (4 * MIB))
    (whole,) = running.run("grown", x)
    function = instance.function(running.session, "grown")
    given, outputs, rest = instance.list([x], 0), instance.room + 2052, instance.room
    instance.do("cdl_function_run", function, given, 1, 0, outputs, 1, rest)
    (call,) = instance.words(rest, 1)
    assert call, "it takes more than a piece"
    pieces = 1
    while True:
        instance.do("cdl_call_resume", call, 0.0, outputs, 1, rest)
        pieces += 1
        if instance.words(rest, 1) == (1,):
            break
    instance.call("cdl_call_free", call)
    (output,) = instance.words(outputs, 1)
    assert instance.value(output) == instance.value(whole)
    assert pieces > 10


def container(graphs: str) -> bytes:
    """A program file of these graphs."""
    text = graphs.encode()
    about = json.dumps({"digest": f"sha256:{hashlib.sha256(text).hexdigest()}", "format": 1, "reader": 1})
    header = {
        "__metadata__": {"caudal": about},
        "caudal.graph": {"dtype": "U8", "shape": [len(text)], "data_offsets": [0, len(text)]},
    }
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return len(packed).to_bytes(8, "little") + packed + text


@pytest.mark.parametrize("unit", ["[", '{"a":', '{"graphs":{"table":[', "[[{"])
def test_deep_nesting_does_not_overflow_the_stack(compiled: Compiled, unit: str) -> None:
    instance = compiled.instance()
    with pytest.raises(Failure) as caught:
        instance.program(container(unit * 100_000))
    assert caught.value.code == "format"
    with pytest.raises(Failure) as caught:
        instance.op("constant_schedule", json.loads('{"value": ' + "[" * 100 + "]" * 100 + "}"))
    assert caught.value.code == "argument"


@pytest.mark.parametrize("text", ["max(" * 20_000, "(" * 20_000, "-" * 20_000, "n*(" * 20_000, "n+" * 20_000])
def test_deep_dims_do_not_overflow_the_stack(compiled: Compiled, text: str) -> None:
    instance = compiled.instance()
    graph = instance.make("cdl_graph_new")
    spec = f"float32[{text}]".encode()

    def with_name(at: int, length: int) -> int:
        return instance.with_bytes(spec, lambda to, size: instance.make("cdl_graph_input", graph, at, length, to, size))

    with pytest.raises(Failure) as caught:
        instance.with_bytes(b"x", with_name)
    assert caught.value.code in ("argument", "shape")
