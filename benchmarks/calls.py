"""What a small call costs: `add` of 8 floats, and ten ops on 8 floats as one function, in microseconds.

Run `python benchmarks/calls.py`; `PEERS_PYTHON` names an interpreter with PyTorch, JAX or TensorFlow, which are left
out where they are not installed. Each has a process of its own, one after the other, round after round; the table has
the fastest round. `busy` is the mean beside a Python thread that never rests, which takes every second slice of 5 ms; a
call that lets go of the interpreter's lock waits for it to come back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

BUSY_SECONDS = 0.5

Cases = dict[str, Callable[[], object]]


def caudal() -> Cases:
    import caudal as cd

    x = cd.asarray([float(i) for i in range(8)])

    def ten(x: cd.Tensor) -> cd.Tensor:
        for _ in range(5):
            x = cd.tanh(x) * 0.5
        return x

    named = cd.function(signature={"x": "float32[n]"})(ten)
    traced = cd.function(ten)
    return {"add": lambda: cd.add(x, x), "ten": lambda: named(x), "ten, no signature": lambda: traced(x)}


def numpy() -> Cases:
    import numpy as np

    x = np.arange(8, dtype="float32")

    def ten() -> object:
        y = x
        for _ in range(5):
            y = np.tanh(y) * np.float32(0.5)
        return y

    return {"add": lambda: np.add(x, x), "ten": ten}


def torch() -> Cases:
    import torch

    torch.set_num_threads(2)
    x = torch.arange(8, dtype=torch.float32)

    def ten() -> object:
        y = x
        for _ in range(5):
            y = torch.tanh(y) * 0.5
        return y

    return {"add": lambda: torch.add(x, x), "ten": ten}


def jax() -> Cases:
    import jax
    import jax.numpy as jnp

    x = jnp.arange(8, dtype="float32")

    @jax.jit
    def ten(y: jax.Array) -> jax.Array:
        for _ in range(5):
            y = jnp.tanh(y) * 0.5
        return y

    return {"add": lambda: jnp.add(x, x).block_until_ready(), "ten": lambda: ten(x).block_until_ready()}


def tensorflow() -> Cases:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    x = tf.range(8, dtype="float32")

    @tf.function
    def ten(y: tf.Tensor) -> tf.Tensor:
        for _ in range(5):
            y = tf.tanh(y) * 0.5
        return y

    return {"add": lambda: tf.add(x, x), "ten": lambda: ten(x)}


CONTENDERS: dict[str, Callable[[], Cases]] = {
    "caudal": caudal,
    "numpy": numpy,
    "torch": torch,
    "jax": jax,
    "tensorflow": tensorflow,
}


def microseconds(call: Callable[[], object], count: int) -> float:
    """The time of one of `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count * 1e6


def measure(cases: Cases) -> dict[str, float]:
    """The times of the cases, and of the first beside a busy thread."""
    times = {}
    for name, call in cases.items():
        microseconds(call, 2000)
        times[name] = min(microseconds(call, 5000) for _ in range(5))
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        start, count = time.perf_counter(), 0
        while time.perf_counter() < start + BUSY_SECONDS:
            cases["add"]()
            count += 1
        times["add, busy"] = BUSY_SECONDS / count * 1e6
    finally:
        stop.set()
        thread.join()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        try:
            print(json.dumps(measure(CONTENDERS[arguments.worker]())))
        except ImportError as error:
            print(json.dumps({"absent": str(error)}))
        return
    peers = os.environ.get("PEERS_PYTHON", sys.executable)
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for name in CONTENDERS:
            python = sys.executable if name in ("caudal", "numpy") else peers
            command = [python, __file__, "--worker", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            times = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"absent": "it failed"}
            if "absent" in times:
                print(f"{name} is left out: {times['absent']}", file=sys.stderr)
                continue
            own = best.setdefault(name, times)
            best[name] = {case: min(times[case], own[case]) for case in times}
    cases = ["add", "add, busy", "ten", "ten, no signature"]
    print("microseconds " + "".join(f"{case:>20}" for case in cases))
    for name, times in best.items():
        print(f"{name:13}" + "".join(f"{times[case]:20.2f}" if case in times else " " * 20 for case in cases))


if __name__ == "__main__":
    main()
