"""Limits, cancellation and Ctrl-C: they stop any kernel and any wait soon, and leave the state and the session whole.

The bounds here are generous, for machines that do much else; benchmarks/cancel.py measures.
"""

from __future__ import annotations

import _thread
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import caudal as cd

SOON = 1.0
"""Seconds after which a stop has come too late."""


@contextmanager
def promptly(after: float) -> Iterator[None]:
    """What ends at a moment `after` seconds from now at the earliest ends soon after it."""
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    assert after * 0.9 < took < after + SOON


def ones(*sizes: int) -> np.ndarray[Any, Any]:
    return np.ones(sizes, "float32")


Heavy = tuple[Callable[..., Any], dict[str, str], Callable[[], dict[str, Any]]]

# Each takes seconds at the least; the result is one number.
HEAVY: dict[str, Heavy] = {
    "matmul": (lambda x: (x @ x)[0, 0], {"x": "float32[4096, 4096]"}, lambda: {"x": ones(4096, 4096)}),
    "conv": (
        lambda x, w: cd.sum(cd.conv(cd.broadcast_to(x, (24, 224, 224, 64)), w)),
        {"x": "float32[224, 224, 64]", "w": "float32[7, 7, 64, 64]"},
        lambda: {"x": ones(224, 224, 64), "w": ones(7, 7, 64, 64)},
    ),
    "sum": (
        lambda x: cd.sum(cd.broadcast_to(x, (2**18, 2**16)), axis=0)[0],
        {"x": "float32[65536]"},
        lambda: {"x": ones(2**16)},
    ),
    "elementwise": (
        lambda x: cd.sum(cd.exp(cd.sin(cd.broadcast_to(x, (2**16, 2**16))))),
        {"x": "float32[65536]"},
        lambda: {"x": ones(2**16)},
    ),
    "copy": (
        lambda x: cd.broadcast_to(x, (10**9,)),
        {"x": "float32[]"},
        lambda: {"x": 1.0},
    ),
    "random": (lambda x: cd.random.uniform(x, (10**9,)), {"x": "uint32[2]"}, lambda: {"x": [1, 2]}),
    "scan": (
        lambda x: cd.scan(lambda c, _: (c + x, None), 0.0, length=10**9)[0],
        {"x": "float32[]"},
        lambda: {"x": 1.0},
    ),
    "while_loop": (
        lambda x: cd.while_loop(lambda c: c < x, lambda c: c * 0.5, 1.0),
        {"x": "float32[]"},
        lambda: {"x": 2.0},
    ),
}


@pytest.fixture(params=HEAVY)
def heavy(request: pytest.FixtureRequest) -> tuple[cd.Session, dict[str, Any]]:
    """A session with a step that writes state and takes long, and its inputs."""
    f, signature, inputs = HEAVY[request.param]
    count = cd.Variable(0, name="count", role="other")

    @functools.wraps(f)
    def step(*inputs: Any) -> Any:
        count.assign(count + 1)
        return f(*inputs)

    made = {
        "step": cd.function(signature=signature)(step),
        "tick": cd.function(signature={})(lambda: count.assign(count + 1)),
    }
    session = cd.Program.of(made).session()
    fitted = {name: cd.asarray(value, dtype=signature[name].split("[")[0]) for name, value in inputs().items()}
    session.memory("step")  # The plan is made here.
    return session, fitted


def check_whole(session: cd.Session) -> None:
    """The state is the one before the step, and the session goes on."""
    assert session.state["count"].item() == 0
    session.tick()
    assert session.state["count"].item() == 1


def test_the_time_limit_stops_it(heavy: tuple[cd.Session, dict[str, Any]]) -> None:
    session, inputs = heavy
    with promptly(0.15), pytest.raises(cd.DeadlineError, match="the call took longer than its limit in seconds"):
        session.run("step", inputs, limits=cd.Limits(seconds=0.15))
    check_whole(session)


def test_another_thread_cancels_it(heavy: tuple[cd.Session, dict[str, Any]]) -> None:
    session, inputs = heavy
    limits = cd.Limits()
    threading.Timer(0.15, limits.cancel).start()
    with promptly(0.15), pytest.raises(cd.CancelledError, match="the call was cancelled"):
        session.run("step", inputs, limits=limits)
    check_whole(session)


def test_the_keyboard_interrupts_it(heavy: tuple[cd.Session, dict[str, Any]]) -> None:
    session, inputs = heavy
    # As the handler of SIGINT does; a real signal would reach the test runner.
    threading.Timer(0.15, _thread.interrupt_main).start()
    with promptly(0.15), pytest.raises(KeyboardInterrupt):
        session.step(**inputs)
    check_whole(session)


@pytest.fixture
def busy() -> Iterator[cd.Session]:
    """A session in which an endless step holds the right to write."""
    count = cd.Variable(0, name="count", role="other")

    @cd.function(signature={"n": "int64[]"})
    def step(n: cd.Tensor) -> Any:
        return count.assign(count + cd.while_loop(lambda i: i < n, lambda i: i * 1, 0 * n))

    session = cd.Program.of({"step": step}).session()
    limits = cd.Limits()
    session.run("step", {"n": 0})

    def run() -> None:
        with pytest.raises(cd.CancelledError):
            session.run("step", {"n": 1}, limits=limits)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    yield session
    limits.cancel()
    thread.join()
    assert not thread.is_alive()


WAITS: dict[str, Callable[[cd.Session], Any]] = {
    "update": lambda session: session.state.update({"count": 7}),
    "restore": lambda session: session.restore(session.program),
    "step": lambda session: session.step(0),
    "close": lambda session: session.close(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_keyboard_interrupts_a_wait_for_a_writer(busy: cd.Session, wait: str) -> None:
    threading.Timer(0.15, _thread.interrupt_main).start()
    with promptly(0.15), pytest.raises(KeyboardInterrupt):
        WAITS[wait](busy)
    if wait == "close":
        with pytest.raises(cd.ClosedError, match="the session is closed"):
            busy.step(0)
    else:
        assert busy.state["count"].item() == 0


def test_the_time_limit_holds_while_a_call_waits_to_write(busy: cd.Session) -> None:
    with promptly(0.15), pytest.raises(cd.DeadlineError):
        busy.run("step", {"n": 0}, limits=cd.Limits(seconds=0.15))


def test_the_keyboard_interrupts_an_assignment_that_waits() -> None:
    count = cd.Variable(0, name="count")
    session = cd.Program.of({"f": cd.function(signature={})(lambda: count + 1)}).session()

    @cd.function(signature={"n": "int64[]"})
    def step(n: cd.Tensor) -> Any:
        return count.assign(count + cd.while_loop(lambda i: i < n, lambda i: i + 1, 0 * n))

    step(0)
    done: list[str] = []

    def run() -> None:
        step(3 * 10**6)
        done.append("step")

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    threading.Timer(0.1, _thread.interrupt_main).start()
    with promptly(0.1), pytest.raises(KeyboardInterrupt):
        count.assign(5)
    assert not done and int(count) == 0
    thread.join()
    assert int(count) == 3 * 10**6 and session.f().item() == 1
