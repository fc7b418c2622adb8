"""What fusion saves: chains, normalisations, losses, an update, layers, forward and backward, in milliseconds.

Run `python benchmarks/fusion.py`; it needs the core's example `fusion`, which it builds. `PEERS_PYTHON` names an
interpreter with JAX or PyTorch, which are left out where they are not installed. The example gives steps, bytes that go
between steps and memory, and times, each with and without the pass `fuse`; JAX runs through `jit`, PyTorch through
`torch.compile` and eagerly. All are asked in turn, round after round, and the fastest of each is kept, so that what
slows the machine for a while slows all. A backward case is the gradient, by the float inputs, of the sum of the forward
result times weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ["chain", "softmax", "log_softmax", "layer_norm", "rms_norm", "softmax_cross_entropy", "batch_norm", "dropout"]
CASES += ["adam", "dense", "convolution"]
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "chain": [(1024, 1024), (1024,)],
    "softmax": [(4096, 1000)],
    "log_softmax": [(4096, 1000)],
    "layer_norm": [(4096, 768), (768,), (768,)],
    "rms_norm": [(4096, 768), (768,)],
    "softmax_cross_entropy": [(4096, 1000)],
    "batch_norm": [(32, 32, 32, 64), (64,), (64,)],
    "dropout": [(4096, 1024)],
    "adam": [(1024, 1024)] * 4,
    "dense": [(1024, 256), (256, 1024), (1024,)],
    "convolution": [(32, 28, 28, 16), (3, 3, 16, 32), (32,)],
}
RATE, BETA_1, BETA_2, EPSILON, STEP = 1e-3, 0.9, 0.999, 1e-7, 3


def core(case: str, seconds: float, threads: int) -> list[dict]:
    """The core's example on one case: a record for forward and one for backward."""
    command = [os.environ["FUSION_EXAMPLE"], case, "--seconds", str(seconds), "--threads", str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def fastest(run: Callable[[], object], seconds: float) -> float:
    """The fastest of the runs that fit in the time, in milliseconds; at least three."""
    run(), run()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def jax(case: str) -> Iterator[Callable[[], object]]:
    """Forward, then backward, through jit."""
    import jax as framework
    import jax.numpy as jnp

    nn, key = framework.nn, framework.random.key(7)
    arrays = [framework.random.uniform(framework.random.key(i), shape) for i, shape in enumerate(SHAPES[case])]
    labels = jnp.arange(4096) % 1000

    def normal(x: framework.Array, axis: int | tuple[int, ...]) -> framework.Array:
        mean = x.mean(axis, keepdims=True)
        return (x - mean) * framework.lax.rsqrt(((x - mean) ** 2).mean(axis, keepdims=True) + 1e-5)

    def chain(x: framework.Array, y: framework.Array) -> framework.Array:
        value = x
        for _ in range(3):
            value = jnp.maximum((value + y) * x, y) - x
        return value

    def dropout(x: framework.Array) -> framework.Array:
        return jnp.where(framework.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0.0)

    def adam(p: framework.Array, g: framework.Array, m: framework.Array, v: framework.Array) -> tuple:
        m, v = m + (g - m) * (1 - BETA_1), v + (g * g - v) * (1 - BETA_2)
        alpha = RATE * (1 - BETA_2**STEP) ** 0.5 / (1 - BETA_1**STEP)
        return p - alpha * m / (jnp.sqrt(v) + EPSILON), m, v

    def convolution(x: framework.Array, kernel: framework.Array, bias: framework.Array) -> framework.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return nn.relu(framework.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout) + bias)

    functions: dict[str, Callable] = {
        "chain": chain,
        "softmax": nn.softmax,
        "log_softmax": nn.log_softmax,
        "layer_norm": lambda x, scale, offset: normal(x, -1) * scale + offset,
        "rms_norm": lambda x, scale: x * framework.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale,
        "softmax_cross_entropy": lambda x: -jnp.take_along_axis(nn.log_softmax(x), labels[:, None], -1)[:, 0],
        "batch_norm": lambda x, scale, offset: normal(x, (0, 1, 2)) * scale + offset,
        "dropout": dropout,
        "adam": adam,
        "dense": lambda x, kernel, bias: nn.relu(x @ kernel + bias),
        "convolution": convolution,
    }
    function = functions[case]
    forward = framework.jit(function)
    yield lambda: framework.block_until_ready(forward(*arrays))
    if case == "adam":
        return
    weights = framework.random.uniform(key, framework.eval_shape(function, *arrays).shape)
    numbers = tuple(range(len(arrays)))
    backward = framework.jit(framework.grad(lambda *inputs: (function(*inputs) * weights).sum(), numbers))
    yield lambda: framework.block_until_ready(backward(*arrays))


def torch(case: str, compiled: bool) -> Iterator[Callable[[], object]]:
    """Forward, then forward and backward."""
    import torch as framework

    nn = framework.nn.functional
    framework.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    framework.manual_seed(1)
    arrays = [framework.rand(shape) for shape in SHAPES[case]]
    labels = framework.arange(4096) % 1000

    def chain(x: framework.Tensor, y: framework.Tensor) -> framework.Tensor:
        value = x
        for _ in range(3):
            value = framework.maximum((value + y) * x, y) - x
        return value

    def batch_norm(x: framework.Tensor, scale: framework.Tensor, offset: framework.Tensor) -> framework.Tensor:
        # Channels last, as they lie in memory.
        return nn.batch_norm(x.permute(0, 3, 1, 2), None, None, scale, offset, training=True).permute(0, 2, 3, 1)

    def adam(p: framework.Tensor, g: framework.Tensor, m: framework.Tensor, v: framework.Tensor) -> tuple:
        m, v = m + (g - m) * (1 - BETA_1), v + (g * g - v) * (1 - BETA_2)
        alpha = RATE * (1 - BETA_2**STEP) ** 0.5 / (1 - BETA_1**STEP)
        return p - alpha * m / (v.sqrt() + EPSILON), m, v

    def convolution(x: framework.Tensor, kernel: framework.Tensor, bias: framework.Tensor) -> framework.Tensor:
        pixels = nn.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, padding="same")
        return nn.relu(pixels).permute(0, 2, 3, 1)

    functions: dict[str, Callable] = {
        "chain": chain,
        "softmax": lambda x: nn.softmax(x, -1),
        "log_softmax": lambda x: nn.log_softmax(x, -1),
        "layer_norm": lambda x, scale, offset: nn.layer_norm(x, (768,), scale, offset),
        "rms_norm": lambda x, scale: nn.rms_norm(x, (768,), scale, 1e-6),
        "softmax_cross_entropy": lambda x: nn.cross_entropy(x, labels, reduction="none"),
        "batch_norm": batch_norm,
        "dropout": lambda x: nn.dropout(x, 0.3),
        "adam": adam,
        "dense": lambda x, kernel, bias: nn.relu(x @ kernel + bias),
        "convolution": convolution,
    }
    function = framework.compile(functions[case]) if compiled else functions[case]

    def forward() -> object:
        with framework.no_grad():
            return function(*arrays)

    yield forward
    if case == "adam":
        return
    tracked = [array.clone().requires_grad_() for array in arrays]
    weights = framework.rand_like(functions[case](*arrays))

    def weighted(*inputs: framework.Tensor) -> framework.Tensor:
        return (functions[case](*inputs) * weights).sum()

    loss = framework.compile(weighted) if compiled else weighted
    yield lambda: framework.autograd.grad(loss(*tracked), tracked)


PEERS: dict[str, Callable[[str], Iterator[Callable[[], object]]]] = {
    "jax": jax,
    "torch.compile": lambda case: torch(case, compiled=True),
    "torch": lambda case: torch(case, compiled=False),
}


def work(name: str, seconds: float) -> None:
    """The worker's side: for each case on standard input a line with its times, or why there are none."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        try:
            print(json.dumps([fastest(run, seconds) for run in PEERS[name](line.strip())]), file=answers)
        except Exception as error:  # Whatever a framework cannot do is left out.
            print(json.dumps(f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"), file=answers)


def start(name: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    """The process of one framework."""
    threads = str(arguments.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if arguments.threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    python = os.environ.get("PEERS_PYTHON", sys.executable)
    return subprocess.Popen(
        [python, __file__, "--worker", name, "--seconds", str(arguments.seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if "BENCHMARK_VERBOSE" in os.environ else subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def ask(worker: subprocess.Popen[str], case: str) -> list[float] | str:
    """The times of a worker, or why there are none."""
    print(case, file=worker.stdin, flush=True)
    return json.loads(worker.stdout.readline() or '"it ended"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, help="some of: " + " ".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each case in each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.seconds)
        return
    if "FUSION_EXAMPLE" not in os.environ:
        command = ["cargo", "build", "--release", "-q", "-p", "caudal", "--example", "fusion"]
        subprocess.run(command, check=True, cwd=ROOT)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        os.environ["FUSION_EXAMPLE"] = str(target / "release" / "examples" / "fusion")
    workers = {name: start(name, arguments) for name in PEERS}
    print(f"{'':32}{'steps':>9}{'MB':>15}{'op by op':>10}{'fused':>8}" + "".join(f"{name:>15}" for name in PEERS))
    for case in arguments.cases:
        report(case, workers, arguments)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


def report(case: str, workers: dict[str, subprocess.Popen[str]], arguments: argparse.Namespace) -> None:
    """Runs one case in rounds, and prints the fastest of each and how many times caudal's it is."""
    records: list[list[dict]] = []
    times: dict[str, list[list[float]]] = {name: [] for name in workers}
    for _ in range(arguments.rounds):
        records.append(core(case, arguments.seconds, arguments.threads))
        for name in list(times):
            answer = ask(workers[name], case)
            if isinstance(answer, str):
                print(f"left out: {case}, {name}: {answer}")
                del times[name]
            else:
                times[name].append(answer)
    for index, direction in enumerate(["forward", "backward"][: len(records[0])]):
        record = records[0][index]
        before, after = (min(round[index]["fastest_ms"][which] for round in records) for which in (0, 1))
        row = f"{case + ', ' + direction:32}{record['steps'][0]:>5} ->{record['steps'][1]:>2}"
        row += f"{record['megabytes'][0]:>8} ->{record['megabytes'][1]:>5}{before:>9.2f}{after:>8.2f}"
        for name in workers:
            best = min((round[index] for round in times.get(name, [])), default=None)
            row += f"{'':>15}" if best is None else f"{best:>8.2f} ({best / after:.2f})"
        print(row, flush=True)


if __name__ == "__main__":
    main()
