"""Times caudal in JavaScript or Go, and what else there is in that language: training steps, predictions, small calls.

`python benchmarks/languages.py js` or `... go`. All contenders work on the files that `networks.py` and
`onnx_models.py` write, so they have the same weights and batches. Before one is timed, what its first three steps give
is compared with what caudal in Python gives. The networks are those of `peers_mlp.py` and `peers_convnet.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import race

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4
REFERENCE = "caudal python"


@dataclass(frozen=True)
class Task:
    """What is timed."""

    title: str
    steps: int
    """In a turn, of a contender that takes no longer than `TURN_SECONDS` for them."""
    checked: str = ""
    """The task whose numbers are compared, where this one's are random."""


TASKS = {
    "call": Task("add 1 to 8 floats: what a call costs", 2000),
    "predict-1": Task("the convolutional network's predict, batch 1", 100),
    "predict-64": Task("the convolutional network's predict, batch 64", 10),
    "mlp": Task("perceptron 784-512-10: a training step with Adam, batch 64", 20),
    "convnet": Task("the convolutional network's training step, dropout, Adam, batch 64", 5, checked="plain"),
}
TURN_SECONDS = 1.0
CONTENDER_SECONDS = 60.0
"""When a contender has had its last turn, were there more rounds or not; it has at least one."""
CONTENDERS = {
    "js": ["caudal", "caudal runSync", "onnxruntime-web", "tfjs wasm", "tfjs cpu", "jax-js"],
    "go": [REFERENCE, "caudal native", "caudal pure", "onnxruntime", "gomlx"],
}
# The time of the first as a multiple of the second's.
RATIOS = {
    "js": [(peer, "caudal") for peer in CONTENDERS["js"][1:]],
    "go": [
        ("caudal native", REFERENCE),
        ("onnxruntime", "caudal native"),
        ("gomlx", "caudal pure"),
        ("caudal pure", "caudal native"),
    ],
}


def with_caudal(task: str, folder: Path) -> tuple[str, race.Step]:
    """The reference: the same files in Python."""
    import caudal as cd

    name = "convnet" if task.startswith("predict") else task
    session = cd.load(folder / f"{name}.caudal")
    if task == "call":
        return cd.__version__, lambda x, y: np.asarray(session.add(x))
    if task.startswith("predict"):
        return cd.__version__, lambda x, y: np.asarray(session.predict(x))
    return cd.__version__, lambda x, y: float(session.train_step(x, y))


def data(task: str) -> list[race.Batch]:
    """The batches of a task."""
    if task == "call":
        return [(np.zeros(8, "float32"), np.zeros(0, "int32"))]
    size = 1 if task == "predict-1" else race.BATCH
    return [(x[:size], y[:size]) for x, y in race.batches((784,) if task == "mlp" else (28, 28, 1))]


def command(language: str, name: str, task: str, folder: Path) -> list[str]:
    """How a contender's worker is started."""
    if name == REFERENCE:
        return [sys.executable, __file__, language, "--worker", task, "--folder", str(folder)]
    if language == "js":
        return ["node", str(HERE / "js" / "worker.mjs"), name, task, str(folder)]
    # Whatever needs cgo is in the native binary.
    binary = "native" if name in ("caudal native", "onnxruntime") else "pure"
    return [str(folder / f"go-{binary}"), name, task, str(folder)]


def prepare(language: str, folder: Path) -> None:
    """Write the files, and build what is to be built."""
    subprocess.run([sys.executable, HERE / "networks.py", folder], check=True)
    peers = os.environ.get("PEERS_PYTHON", sys.executable)
    if subprocess.run([peers, HERE / "onnx_models.py", folder], stderr=subprocess.PIPE).returncode:
        print(f"left out: ONNX Runtime: {peers} could not write its models (pip install onnx)")
    if language == "go":
        for name, cgo, tags in (("pure", "0", ""), ("native", "1", "caudal_native")):
            built = ["go", "build", "-tags", tags, "-o", folder / f"go-{name}", "."]
            subprocess.run(built, cwd=HERE / "go", env=os.environ | {"CGO_ENABLED": cgo}, check=True)


def agrees(worker: race.Worker, expected: np.ndarray) -> bool:
    """Whether a contender computes the same; a line that says why not."""
    numbers = worker.numbers()
    if numbers is None:
        return False
    worst = float(np.abs(numbers - expected).max()) if numbers.shape == expected.shape else np.inf
    if not worst <= TOLERANCE:
        print(f"left out: {worker.name}: its numbers are up to {worst:.2g} from those of caudal in Python")
    return worst <= TOLERANCE


def entrants(language: str, task: str, names: list[str], arguments: argparse.Namespace) -> list[race.Worker]:
    """The workers that are ready, and whose numbers are right."""
    checked = TASKS[task].checked or task

    def started(name: str, task: str) -> race.Worker | None:
        return race.start(name, command(language, name, task, arguments.folder), arguments.threads)

    reference = started(REFERENCE, checked)
    expected = reference.numbers() if reference else None
    if reference is None or expected is None:
        raise RuntimeError(f"{REFERENCE} gives no numbers for {checked}")
    reference.close()
    ready = []
    for name in names:
        worker = started(name, checked)
        right = worker is not None and agrees(worker, expected)
        if worker and not (right and checked == task):
            worker.close()
            worker = started(name, task) if right else None
        ready.extend([worker] if worker else [])
    return ready


def run(language: str, task: str, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Time one task; its rows."""
    workers = entrants(language, task, names, arguments)
    # Tells how many steps fit into a turn, and warms up.
    first = {worker.name: worker.run(1) for worker in workers}
    steps = {name: max(1, min(TASKS[task].steps, int(TURN_SECONDS / seconds))) for name, seconds in first.items()}
    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for i in range(arguments.rounds):
        for worker in race.rotated(workers, i):
            if sum(times[worker.name]) * steps[worker.name] < CONTENDER_SECONDS:
                times[worker.name].append(worker.run(steps[worker.name]))
    rows = {
        worker.name: {"version": worker.version, "seconds": times[worker.name], "peak_mb": worker.peak()}
        for worker in workers
    }
    for worker in workers:
        worker.close()
    return rows


def report(language: str, task: str, rows: dict[str, Any]) -> None:
    """The medians over all rounds, and the ratios: each the median of those of the rounds."""
    print(f"\n{TASKS[task].title}")
    print(f"{'':28}{'median':>12}{'fastest':>12}{'peak MB':>10}")
    for name, row in sorted(rows.items(), key=lambda item: statistics.median(item[1]["seconds"])):
        label, seconds = f"{name} {row['version']}".strip(), row["seconds"]
        median, fastest = duration(statistics.median(seconds)), duration(min(seconds))
        print(f"{label:28}{median:>12}{fastest:>12}{row['peak_mb']:10.0f}")
    for one, other in RATIOS[language]:
        if one in rows and other in rows:
            # One that is slow may have had fewer rounds.
            pairs = zip(rows[one]["seconds"], rows[other]["seconds"], strict=False)
            print(f"  {one} takes {statistics.median(a / b for a, b in pairs):.2f} x the time of {other}")


def duration(seconds: float) -> str:
    """With a unit in which it is easily read."""
    if seconds < 1e-4:
        return f"{seconds * 1e6:.2f} us"
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("language", choices=CONTENDERS)
    parser.add_argument("--tasks", default=",".join(TASKS), help="what to time, separated by commas")
    parser.add_argument("--only", help="names of contenders, separated by commas")
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender has its turn")
    parser.add_argument("--threads", type=int, default=2, help="threads, and processors, that each may use")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "build" / "benchmarks", help="for files")
    parser.add_argument("--json", type=Path, help="a file for all times")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        race.work(lambda: with_caudal(arguments.worker, arguments.folder), data(arguments.worker))
        return
    names = arguments.only.split(",") if arguments.only else CONTENDERS[arguments.language]
    race.limit_processors(arguments.threads)
    prepare(arguments.language, arguments.folder)
    results = {}
    for task in arguments.tasks.split(","):
        results[task] = run(arguments.language, task, names, arguments)
        report(arguments.language, task, results[task])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
