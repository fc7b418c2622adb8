"""Times caudal on a GPU beside PyTorch and JAX on CUDA, and counts what does not depend on the hardware.

Matrix products, the convolution layers of ResNet-50 (forward, and both gradients), softmax, layer_norm, and training
steps of the demo's network and of ResNet-20. Each contender has a process of its own, and those that are not installed,
or find no GPU, are left out. Inputs lie on the device; calls are asked for one after the other, and the last is waited
for, so that Python's time hides behind the device's. Before caudal's training is timed, the losses of three steps are
compared with those of the CPU.

    python benchmarks/gpu.py                    on a GPU
    python benchmarks/gpu.py --quick            small sizes, for a software driver
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resnet
from gpu_contenders import CONTENDERS, Call

CLOSE = 1e-3
"""How far caudal's losses on a GPU may be from those on the CPU."""


@dataclass(frozen=True)
class Task:
    """Something to time.

    Attributes:
        name: Of its row; the first word is what `--tasks` takes.
        build: Gives the call of a contender.
        count: How much of it a call does: operations, or bytes that are read and written.
        unit: What a second of that many is called.
        trains: Whether its result is a loss.
    """

    name: str
    build: Callable[[Any], Call]
    count: float = 0
    unit: str = ""
    trains: bool = False


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape, "float32").astype(dtype)


def matmul(size: int, dtype: str) -> Task:
    def build(contender: Any) -> Call:
        return contender.matmul(normal(size, size, dtype=dtype), normal(size, size, dtype=dtype))

    return Task(f"matmul {dtype} {size}", build, 2 * size**3, "GFLOP/s")


Layer = tuple[int, int, int, int, int]
"""A convolution: the side of the picture, channels in and out, the side of the kernel, strides."""


def resnet50() -> Counter[Layer]:
    """The convolutions of ResNet-50 for pictures of 224 x 224, and how often each is there."""
    layers: Counter[Layer] = Counter({(224, 3, 64, 7, 2): 1})
    side, inputs = 56, 64
    for width, blocks, strides in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = strides if block == 0 else 1
            layers[side, inputs, width, 1, 1] += 1
            layers[side, width, width, 3, step] += 1
            if block == 0:
                layers[side, inputs, 4 * width, 1, step] += 1
            side, inputs = side // step, 4 * width
            layers[side, width, inputs, 1, 1] += 1
    return layers


def convolutions(layer: Layer, batch: int) -> Iterator[Task]:
    """A layer forward, and the gradients by its pictures and by its kernel."""
    side, inputs, outputs, taps, strides = layer
    out = -(-side // strides)
    operations = 2 * batch * out * out * taps * taps * inputs * outputs
    name = f"{side}x{side}x{inputs} {taps}x{taps} {outputs}" + (f" /{strides}" if strides > 1 else "")

    def arrays() -> tuple[np.ndarray, np.ndarray]:
        return normal(batch, side, side, inputs), normal(taps, taps, inputs, outputs)

    yield Task(f"conv {name}", lambda c: c.conv(*arrays(), strides), operations, "GFLOP/s")

    def gradients(contender: Any) -> Call:
        return contender.conv_gradients(*arrays(), normal(batch, out, out, outputs), strides)

    yield Task(f"conv_gradients {name}", gradients, 2 * operations, "GFLOP/s")


def tasks(quick: bool) -> Iterator[Task]:
    """All tasks; quick ones have a fraction of the size."""
    for size in (64, 256) if quick else (1024, 4096):
        for dtype in ("float32", "float16"):
            yield matmul(size, dtype)
    layers = resnet50()
    if quick:
        # Pictures of 32 x 32, and one layer of each kind of kernel and strides.
        small = {layer[3:]: (layer[0] // 7, *layer[1:]) for layer in reversed(layers)}
        layers = Counter(small.values())
    pairs = [list(convolutions(layer, 1 if quick else 32)) for layer in sorted(layers, reverse=True)]
    yield from (forward for forward, _ in pairs)
    yield from (gradients for _, gradients in pairs)
    rows, columns = (256, 512) if quick else (16384, 2048)
    moved = 2 * 4 * rows * columns
    x, one = normal(rows, columns), np.ones(columns, "float32")
    yield Task(f"softmax {rows}x{columns}", lambda c: c.softmax(x), moved, "GB/s")
    yield Task(f"layer_norm {rows}x{columns}", lambda c: c.layer_norm(x, one, one), moved, "GB/s")
    batch = 16 if quick else 64
    demo = np.random.default_rng(0).random((batch, 28, 28, 1), "float32"), np.arange(batch, dtype="int32") % 10
    yield Task(f"demo step, batch {batch}", lambda c: c.demo(*demo), trains=True)
    batch = 4 if quick else 128
    pictures = resnet.pictures(batch)
    yield Task(f"resnet20 step, batch {batch}", lambda c: c.resnet20(*pictures), trains=True)


def measure(contender: Any, task: Task, rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of the first and of later calls; of caudal also what a call asks of the device."""
    found: dict[str, Any] = {}
    device = contender.device if hasattr(contender, "kernels") else None
    start, before = time.perf_counter(), device and device.work()
    call = task.build(contender)
    result = call()
    if device:
        found["pipelines"] = device.work()["pipelines"] - before["pipelines"]
    contender.wait(result)
    found["first_ms"] = (time.perf_counter() - start) * 1e3
    if device:
        found["kernels"] = contender.kernels()
    if task.trains:
        found["losses"] = [float(loss) for loss in (result, call(), call())]
    if device:
        before = device.work()
        result = call()
        after = device.work()
        found |= {key: after[key] - before[key] for key in ("dispatches", "bytes")}
        contender.wait(result)
    start = time.perf_counter()
    contender.wait(call())
    count = max(1, int(seconds / (time.perf_counter() - start)))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count):
            result = call()
        contender.wait(result)
        times.append((time.perf_counter() - start) / count * 1e3)
    return found | {"ms": statistics.median(times)}


def work(name: str, options: argparse.Namespace) -> None:
    """A worker's side: a line of JSON for itself, and one for each task."""
    device = options.device if name == "caudal" else options.peer_device
    try:
        contender = CONTENDERS[name](device)
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return
    print(json.dumps({"version": contender.version, "adapter": contender.adapter}), flush=True)
    reference = CONTENDERS[name]("cpu") if name == "caudal" else None
    for task in chosen(options):
        try:
            found = measure(contender, task, options.rounds, options.seconds)
            if reference and task.trains:
                call = task.build(reference)
                found["cpu_losses"] = [float(call()) for _ in range(3)]
        except Exception as error:
            # One size that a device refuses is no reason to lose the others.
            found = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps({"task": task.name, **found}), flush=True)


def chosen(options: argparse.Namespace) -> list[Task]:
    """The tasks that the command line asks for."""
    wanted = options.tasks.split(",") if options.tasks else []
    return [task for task in tasks(options.quick) if not wanted or task.name.split()[0] in wanted]


def ask(name: str, options: argparse.Namespace) -> tuple[str, dict[str, dict[str, Any]]] | None:
    """What the process of a contender measures: its title, and the rows by task. None where it is left out."""
    python = sys.executable if name == "caudal" else options.python
    process = subprocess.Popen(
        [python, os.path.abspath(__file__), *sys.argv[1:], "--worker", name],
        stdout=subprocess.PIPE,
        stderr=None if "BENCHMARK_VERBOSE" in os.environ else subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    first = json.loads(process.stdout.readline() or '{"absent": "it ended without a word"}')
    if "absent" in first:
        print(f"left out: {name}: {first['absent']}", flush=True)
        return None
    print(f"{name} {first['version']} on {first['adapter']}", flush=True)
    rows = {}
    for line in process.stdout:
        row = json.loads(line)
        rows[row.pop("task")] = row
        if "failed" in row:
            print(f"  failed: {list(rows)[-1]}: {row['failed']}", flush=True)
    process.wait()
    return f"{name} {first['version']}", rows


def report(found: dict[str, tuple[str, dict[str, dict[str, Any]]]], options: argparse.Namespace) -> None:
    """The times beside each other; then what caudal asks of the device."""
    rows = {name: rows for name, (_, rows) in found.items()}
    others = [name for name in rows if name != "caudal"]
    width = max(len(task.name) for task in chosen(options)) + 2
    print(f"\n{'milliseconds':{width}}" + "".join(f"{title:>16}" for title, _ in found.values()), end="")
    print("".join(f"{'speed / ' + name:>16}" for name in others if "caudal" in rows) + f"{'caudal':>18}")
    for task in chosen(options):
        times = {name: own.get(task.name, {}).get("ms") for name, own in rows.items()}
        ours = times.get("caudal")
        line = "".join(f"{time:16.3f}" if time else f"{'-':>16}" for time in times.values())
        for name in others if "caudal" in rows else []:
            line += f"{times[name] / ours:15.2f}x" if ours and times[name] else f"{'-':>16}"
        rate = f"{task.count / ours / 1e6:10.1f} {task.unit}" if ours and task.unit else ""
        print(f"{task.name:{width}}{line}{rate:>18}")
    if "caudal" not in rows:
        return
    columns = ("first ms", "later ms", "kernels", "dispatches", "shaders", "MB touched")
    print(f"\n{'caudal, a call':{width}}" + "".join(f"{column:>12}" for column in columns))
    for name, row in rows["caudal"].items():
        if "ms" in row:
            print(
                f"{name:{width}}{row['first_ms']:12.1f}{row['ms']:12.3f}{row['kernels']:12}{row['dispatches']:12}"
                f"{row['pipelines']:12}{row['bytes'] / 1e6:12.2f}"
            )
    for name in others:
        first = statistics.median(row["first_ms"] for row in rows[name].values() if "ms" in row)
        print(f"{name}: the median of the first calls is {first:.1f} ms")


def disagreements(found: dict[str, tuple[str, dict[str, dict[str, Any]]]]) -> Iterator[str]:
    """Prints how far the losses are from each other; gives what is too far."""
    caudal = found["caudal"][1] if "caudal" in found else {}
    for task, row in caudal.items():
        if "losses" not in row:
            continue
        losses = {
            "the CPU": row["cpu_losses"],
            **{
                name: own[task]["losses"]
                for name, (_, own) in found.items()
                if name != "caudal" and "losses" in own.get(task, {})
            },
        }
        for name, given in losses.items():
            far = float(np.max(np.abs(np.subtract(given, row["losses"]))))
            print(f"{task}: losses of three steps within {far:.2g} of those of {name}")
            if name == "the CPU" and not far <= CLOSE:
                yield f"{task}: losses {row['losses']}, on the CPU {given}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, few layers")
    parser.add_argument("--tasks", help="first words of rows, separated by commas: matmul, conv, demo, ...")
    parser.add_argument("--only", help=f"contenders, separated by commas: {', '.join(CONTENDERS)}")
    parser.add_argument("--device", default="gpu:0", help="caudal's device (gpu:0)")
    parser.add_argument("--peer-device", default="cuda", help="that of the peers (cuda); cpu tries the benchmark out")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed; the median counts (5)")
    parser.add_argument("--seconds", type=float, default=0.2, help="about how long a round takes (0.2)")
    parser.add_argument(
        "--python",
        default=os.environ.get("PEERS_PYTHON", sys.executable),
        help="the interpreter that has the peers (PEERS_PYTHON; default: this one)",
    )
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options)
        return 0
    names = options.only.split(",") if options.only else list(CONTENDERS)
    for name in names:
        if name not in CONTENDERS:
            parser.error(f"--only: no contender {name!r}; there are {', '.join(CONTENDERS)}")
    if not chosen(options):
        parser.error(f"--tasks: nothing is called {options.tasks!r}")
    answers = {name: ask(name, options) for name in names}
    found = {name: answer for name, answer in answers.items() if answer}
    if not found:
        return 1
    report(found, options)
    print()
    wrong = list(disagreements(found))
    if options.json:
        options.json.write_text(json.dumps({name: rows for name, (_, rows) in found.items()}, indent=1) + "\n")
    for text in wrong:
        print(f"error: {text}", file=sys.stderr)
    failed = any("failed" in row for row in found.get("caudal", ("", {}))[1].values())
    return int(bool(wrong or failed))


if __name__ == "__main__":
    sys.exit(main())
