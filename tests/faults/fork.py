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
FORKS = 10

rng = np.random.default_rng(0)
X = rng.normal(size=(WIDTH, WIDTH)).astype("f4")
Y = rng.normal(size=(WIDTH, WIDTH)).astype("f4")


def session() -> cd.Session:
    """Linear regression, large enough for several threads."""
    w = cd.Variable(np.zeros((WIDTH, WIDTH), "f4"), name="w")

    @cd.function(signature={"x": f"float32[n, {WIDTH}]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        return x @ w

    @cd.function(signature={"x": f"float32[n, {WIDTH}]", "y": f"float32[n, {WIDTH}]"})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> cd.Tensor:
        loss, grads = cd.value_and_grad(lambda: cd.mean((x @ w - y) ** 2), [w])()
        w.assign(w - grads[0] * 50.0)
        return loss

    return cd.Program.of({"predict": predict, "train_step": train_step}).session()


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


def pooled(index: int) -> tuple[list[bytes], bytes]:
    return train(SESSIONS[index]), eager()


SESSIONS: list[cd.Session] = []


def pool() -> bool:
    """A pool of forked workers, each with the session as it was."""
    s, other = session(), session()
    expected, losses = eager(), train(other, 2 * STEPS)
    SESSIONS.append(s)
    train(s)
    with multiprocessing.get_context("fork").Pool(3) as workers:
        answers = workers.map(pooled, [0] * 3, chunksize=1)
    # A worker may have taken more than one.
    return all(part in (losses[2 * STEPS :], train(other, 0)) or len(part) == 2 * STEPS for part, _ in answers) and all(
        answer == expected for _, answer in answers
    )


def beside(work: Callable[[], object], s: cd.Session, child_work: Callable[[], bool], forks: int) -> bool:
    """Forks several times while another thread works."""
    stop = threading.Event()

    def on() -> None:
        while not stop.is_set():
            work()

    thread = threading.Thread(target=on)
    thread.start()
    right = True
    for _ in range(forks):
        time.sleep(0.01)
        right = right and ended_well(in_child(child_work))
    stop.set()
    thread.join()
    return right and len(train(s)) == 2 * STEPS


def beside_training() -> bool:
    """Another thread trains the same session; the child trains on from a whole version, and closes it."""
    s = session()
    s.train_step(X, Y)

    def work() -> bool:
        before = s.state["w"].numpy().copy()
        twin = session()
        twin.state["w"] = before
        right = train(s) == train(twin)
        s.close()
        return right

    return beside(lambda: s.train_step(X, Y), s, work, FORKS)


def beside_predicting() -> bool:
    s = session()
    expected = train(session())
    return beside(lambda: s.predict(X), s, lambda: train(s) == expected, FORKS)


def beside_eager() -> bool:
    s, expected = session(), eager()
    return beside(eager, s, lambda: eager() == expected and len(train(s)) == 2 * STEPS, FORKS)


CASES = [plain, never_run, pool, beside_training, beside_predicting, beside_eager]

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    cd.set_num_threads(3)
    case = {case.__name__: case for case in CASES}[sys.argv[1]]
    print("done" if case() else "wrong")
