"""Forks while caudal runs, and goes on in both processes: ``python fork.py CASE``. Prints ``done`` if all is right.

It has warnings of its own: from Python 3.12 on a fork beside other threads is one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np

import caudal as cd

WIDTH = 96
STEPS = 4
FORKS = 5

rng = np.random.default_rng(0)
X = rng.normal(size=(WIDTH, WIDTH)).astype("f4")
Y = rng.normal(size=(WIDTH, WIDTH)).astype("f4")


def session() -> cd.Session:
    """Linear regression, large enough for several threads; and runs that last as long as they are told."""
    w = cd.Variable(np.zeros((WIDTH, WIDTH), "f4"), name="w")

    def loop(steps: cd.Tensor) -> cd.Tensor:
        start = (steps, w * 1.0)
        return cd.while_loop(lambda value: value[0] != 0, lambda value: (value[0] - 1, value[1] * 1.0), start)[1]

    @cd.function(signature={"x": f"float32[n, {WIDTH}]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        return x @ w

    @cd.function(signature={"x": f"float32[n, {WIDTH}]", "y": f"float32[n, {WIDTH}]"})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> cd.Tensor:
        loss, grads = cd.value_and_grad(lambda: cd.mean((x @ w - y) ** 2), [w])()
        w.assign(w - grads[0] * 50.0)
        return loss

    @cd.function(signature={"steps": "int64[]"})
    def look(steps: cd.Tensor) -> cd.Tensor:
        return cd.sum(loop(steps))

    @cd.function(signature={"steps": "int64[]"})
    def rewrite(steps: cd.Tensor) -> cd.Tensor:
        w.assign(loop(steps))
        return steps

    functions = {"predict": predict, "train_step": train_step, "look": look, "rewrite": rewrite}
    return cd.Program.of(functions).session()


def train(s: cd.Session, steps: int = STEPS) -> list[bytes]:
    """The losses and predictions of some steps, to the bit."""
    return [
        part for _ in range(steps) for part in (s.train_step(X, Y).numpy().tobytes(), s.predict(X).numpy().tobytes())
    ]


def eager() -> bytes:
    """Ops of one call each, with several threads."""
    return bytes(cd.sum(cd.exp(cd.asarray(X) @ cd.asarray(Y) * 0.01), axis=0).numpy().tobytes())


def in_child(work: Callable[[], bool]) -> int:
    """Forks; the process id of the child, which ends with 0 if the work says so."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        status = 0 if work() else 2
    finally:
        os._exit(status)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def plain() -> bool:
    """After runs, both go on; and so does a child of the child."""
    s, other = session(), session()
    expected, losses = eager(), train(other, 3 * STEPS)
    first = train(s)

    def grandchild() -> bool:
        return train(s) == losses[4 * STEPS :]

    def work() -> bool:
        right = eager() == expected and train(s) == losses[2 * STEPS : 4 * STEPS]
        return right and ended_well(in_child(grandchild))

    child = in_child(work)
    right = first == losses[: 2 * STEPS] and train(s, 2 * STEPS) == losses[2 * STEPS :] and eager() == expected
    return ended_well(child) and right


def never_run() -> bool:
    """Forked before anything ran."""
    s = session()
    child = in_child(lambda: len(train(s)) == 2 * STEPS and len(eager()) == 4 * WIDTH)
    return len(train(s)) == 2 * STEPS and ended_well(child)


SESSIONS: list[cd.Session] = []
SNAPSHOTS: list[cd.Program] = []


def pooled(_: int) -> tuple[list[bytes], bytes]:
    """A worker may take several tasks; each begins with the state of the snapshot."""
    SESSIONS[0].restore(SNAPSHOTS[0])
    return train(SESSIONS[0]), eager()


def pool() -> bool:
    """Workers of multiprocessing, forked after runs."""
    s, twin, expected = session(), session(), eager()
    first, rest = train(twin), train(twin)
    right = train(s) == first
    SESSIONS.append(s)
    SNAPSHOTS.append(s.snapshot())
    with multiprocessing.get_context("fork").Pool(3) as workers:
        answers = workers.map(pooled, range(6), chunksize=1)
    return right and answers == [(rest, expected)] * 6 and train(s) == rest


def beside(name: str) -> bool:
    """Forks several times in the middle of another thread's run of a function."""
    s, twin, expected = session(), session(), eager()
    first, rest = train(twin), train(twin)
    right = train(s) == first
    limits = cd.Limits()

    def run_on() -> None:
        try:
            s.run(name, {"steps": -1}, limits=limits)
        except cd.CancelledError:
            return
        raise AssertionError("an endless run came to an end")

    def work() -> bool:
        done = train(s) == rest and eager() == expected
        # The run that the other thread was in is not in this process.
        s.close()
        return done

    thread = threading.Thread(target=run_on)
    thread.start()
    for _ in range(FORKS):
        time.sleep(0.05)
        right = ended_well(in_child(work)) and thread.is_alive() and right
    limits.cancel()
    thread.join()
    return right and train(s) == rest


def beside_predicting() -> bool:
    """Another thread's run reads the state."""
    return beside("look")


def beside_training() -> bool:
    """Another thread's run is about to write the state; in the child it never will."""
    return beside("rewrite")


def beside_eager() -> bool:
    """Another thread is in eager calls, each of which takes long."""
    s, expected, stop = session(), eager(), threading.Event()
    large = cd.asarray(np.ones((1200, 1200), "f4"))

    def call_on() -> None:
        while not stop.is_set():
            large @ large

    thread = threading.Thread(target=call_on)
    thread.start()
    right = True
    for _ in range(FORKS):
        time.sleep(0.05)
        right = ended_well(in_child(lambda: eager() == expected and len(train(s)) == 2 * STEPS)) and right
    stop.set()
    thread.join()
    return right and len(train(s)) == 2 * STEPS


CASES = [plain, never_run, pool, beside_training, beside_predicting, beside_eager]

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    cd.set_num_threads(3)
    case = {case.__name__: case for case in CASES}[sys.argv[1]]
    print("done" if case() else "wrong")
