"""Runs training steps of several frameworks in turn and compares them.

Each framework has a process of its own, started once. The parent asks one after the other for a few steps, round after
round, so that whatever slows the machine for a while slows all of them. A worker answers on standard output:

    -> steps 20
    <- seconds 0.1234
    -> numbers
    <- numbers 2.31 2.28 2.25    (what its first three steps gave)
    -> peak
    <- peak 123.4                (most memory that the process ever had, its code included, in MB)

and before that, once, `ready VERSION`, or `absent REASON` where the framework is not installed or cannot do it. What a
framework prints of its own goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

BATCH = 64
BATCHES = 16
WARM_UP_STEPS = 10
NUMBERED_STEPS = 3

Batch = tuple[np.ndarray, np.ndarray]
Step = Callable[[np.ndarray, np.ndarray], float | np.ndarray]
"""One training step from NumPy arrays; returns the loss as a number, so nothing is still under way.
Where predictions are timed, it returns the probabilities."""
Contender = Callable[[], tuple[str, Step]]
"""Imports a framework and returns its version and its step; ImportError where it is not installed."""


def batches(image_shape: tuple[int, ...]) -> list[Batch]:
    """The same pictures (float32, 0 to 1) and labels (int32, 0 to 9) for every framework."""
    generator = np.random.default_rng(0)
    return [
        (
            generator.random((BATCH, *image_shape), "float32"),
            generator.integers(0, 10, BATCH, "int32"),
        )
        for _ in range(BATCHES)
    ]


def glorot(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Initial weights, uniform as Glorot and Bengio (2010) have them; the last two sizes are inputs and outputs."""
    taps = int(np.prod(shape[:-2]))
    limit = (6 / (taps * (shape[-2] + shape[-1]))) ** 0.5
    return generator.uniform(-limit, limit, shape).astype("float32")


def work(contender: Contender, data: list[Batch]) -> None:
    """The worker's side: answers on standard output until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        version, step = contender()
    except ImportError as error:
        print(f"absent {error}", file=answers)
        return
    first = [np.ravel(step(*data[i % len(data)])) for i in range(WARM_UP_STEPS)]
    if not np.isfinite(np.concatenate(first)).all():
        raise RuntimeError(f"losses {first} are not finite")
    print(f"ready {version}", file=answers)
    at = 0
    for line in sys.stdin:
        if line.startswith("numbers"):
            print("numbers", *np.concatenate(first[:NUMBERED_STEPS]).tolist(), file=answers)
        elif line.startswith("peak"):
            # Linux counts in KiB.
            print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6:.1f}", file=answers)
        else:
            count = int(line.removeprefix("steps "))
            start = time.perf_counter()
            for i in range(at, at + count):
                step(*data[i % len(data)])
            print(f"seconds {time.perf_counter() - start:.9f}", file=answers)
            at += count


@dataclass
class Worker:
    """The parent's side of one process."""

    name: str
    version: str
    process: subprocess.Popen[str]
    answers: TextIO
    requests: TextIO

    def run(self, steps: int) -> float:
        """Seconds a step."""
        print(f"steps {steps}", file=self.requests, flush=True)
        return float(self.answers.readline().removeprefix("seconds ")) / steps

    def numbers(self) -> np.ndarray | None:
        """What its first steps gave, to be asked before it is timed: losses, or probabilities one after the other.

        None, with a line that says why, where they failed.
        """
        print("numbers", file=self.requests, flush=True)
        word, *rest = self.answers.readline().split()
        if word == "numbers":
            return np.array(rest, float)
        print(f"left out: {self.name}: {' '.join(rest)}", flush=True)
        return None

    def peak(self) -> float:
        """The most memory that it ever had, in MB."""
        print("peak", file=self.requests, flush=True)
        return float(self.answers.readline().removeprefix("peak "))

    def close(self) -> None:
        """Ends it."""
        self.requests.close()
        self.process.wait()


def start(name: str, command: list[str], threads: int) -> Worker | None:
    """The process of one framework once it is ready to be timed; None, with a line why, where it cannot be."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CAUDAL_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if "BENCHMARK_VERBOSE" not in os.environ else None,
        text=True,
        env=environment,
    )
    assert process.stdin and process.stdout
    word, _, rest = process.stdout.readline().strip().partition(" ")
    if word == "ready":
        return Worker(name, rest, process, process.stdout, process.stdin)
    errors = process.communicate()[1] or ""
    reason = rest if word == "absent" else (errors.strip().splitlines() or ["it ended without a word"])[-1]
    print(f"left out: {name}: {reason}", flush=True)
    return None


def report(
    title: str,
    times: dict[str, list[float]],
    peaks: dict[str, float],
    versions: dict[str, str],
    rounds: int,
    steps: int,
) -> None:
    """The medians over all rounds, and each beside the best peer's; the most memory of each process."""
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    best = min((value for name, value in medians.items() if name != "caudal"), default=min(medians.values()))
    print(f"\n{title}: {rounds} rounds of {steps} steps")
    print(f"{'':24}{'ms a step':>10}{'fastest':>10}{'beside the best peer':>22}{'peak MB':>10}")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        label = f"{name} {versions[name]}"
        print(f"{label:24}{median:10.3f}{min(times[name]) * 1e3:10.3f}{median / best:21.2f}x{peaks[name]:10.0f}")


def compare(script: str, title: str, names: list[str], arguments: argparse.Namespace) -> None:
    """Run the contenders in turn and print the table."""
    workers: list[Worker] = []
    limit_processors(arguments.threads)
    try:
        for name in names:
            python = sys.executable if name == "caudal" else arguments.python
            worker = start(name, [python, script, "--worker", name], arguments.threads)
            workers.extend([worker] if worker else [])
        if not workers:
            return
        times: dict[str, list[float]] = {worker.name: [] for worker in workers}
        for i in range(arguments.rounds):
            # Another one begins each round: none always follows the same neighbour.
            for worker in rotated(workers, i):
                times[worker.name].append(worker.run(arguments.steps))
        versions = {worker.name: worker.version for worker in workers}
        peaks = {worker.name: worker.peak() for worker in workers}
        report(title, times, peaks, versions, arguments.rounds, arguments.steps)
        if arguments.json:
            rows = {
                name: {"version": versions[name], "seconds_per_step": values, "peak_mb": peaks[name]}
                for name, values in times.items()
            }
            arguments.json.write_text(json.dumps({"title": title, "rows": rows}, indent=1) + "\n")
    finally:
        for worker in workers:
            worker.close()


def limit_processors(count: int) -> None:
    """Keep this process, and those that it starts, to so many processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def rotated(workers: list[Worker], by: int) -> Iterator[Worker]:
    """The workers, beginning with another one."""
    yield from workers[by % len(workers) :]
    yield from workers[: by % len(workers)]


def main(script: str, title: str, image_shape: tuple[int, ...], contenders: dict[str, Contender]) -> None:
    """The command line of a benchmark; also the entry of its workers."""
    parser = argparse.ArgumentParser(description=f"Times a training step: {title}.")
    parser.add_argument("--rounds", type=int, default=15, help="how often each contender has its turn")
    parser.add_argument("--steps", type=int, default=20, help="training steps in a turn")
    parser.add_argument("--threads", type=int, default=2, help="threads, and processors, that each may use")
    parser.add_argument("--only", help="names of contenders, separated by commas")
    parser.add_argument(
        "--python",
        default=os.environ.get("PEERS_PYTHON", sys.executable),
        help="the interpreter that has the peers (PEERS_PYTHON; default: this one)",
    )
    parser.add_argument("--json", type=Path, help="a file for all times")
    parser.add_argument("--worker", choices=contenders, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(contenders[arguments.worker], batches(image_shape))
        return
    names = arguments.only.split(",") if arguments.only else list(contenders)
    unknown = sorted(set(names) - set(contenders))
    if unknown:
        parser.error(f"--only: no contender {', '.join(unknown)}; there are {', '.join(contenders)}")
    compare(script, title, names, arguments)
