"""How long it takes to open a file with 400 MB of weights, read and mapped, beside what the system and peers take.

The file lies in the page cache. Each contender opens it once a round, in an order that changes; what it opened is
gone before the next one. ``system`` is `cat` to /dev/null, which reads it all and keeps nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import caudal as cd

TENSORS, SIDE = 100, 1024
Open = Callable[[], object]


def write(folder: Path) -> dict[str, Path]:
    """The same weights in the form of each contender."""
    weights = {f"layer{i}/w": np.full((SIDE, SIDE), i, np.float32) for i in range(TENSORS)}
    variables = [cd.Variable(value, name=name) for name, value in weights.items()]

    @cd.function(signature={"x": f"float32[batch, {SIDE}]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        for w in variables:
            x = x @ w
        return x

    paths = {"caudal": folder / "weights.caudal", "torch": folder / "weights.pt"}
    cd.save(paths["caudal"], {"predict": predict})
    if importlib.util.find_spec("torch"):
        import torch

        torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, paths["torch"])
    return paths


def contenders(paths: dict[str, Path]) -> dict[str, Open]:
    """What opens a file, by name; those that are not installed are left out with a line that says so."""
    path = paths["caudal"]

    def cat() -> None:
        subprocess.run(f"cat '{path}' > /dev/null", shell=True, check=True)

    found: dict[str, Open] = {
        "caudal": lambda: cd.Program.open(path),
        "caudal, mapped": lambda: cd.Program.open(path, map=True),
        "system": cat,
        "numpy.fromfile": lambda: np.fromfile(path, np.uint8),
    }
    if importlib.util.find_spec("safetensors"):
        from safetensors.numpy import load_file

        found["safetensors.numpy"] = lambda: load_file(path)
    else:
        print("left out: safetensors is not installed")
    if importlib.util.find_spec("torch"):
        import torch

        found["torch.load"] = lambda: torch.load(paths["torch"])
        found["torch.load, mapped"] = lambda: torch.load(paths["torch"], mmap=True)
    else:
        print("left out: torch is not installed")
    return found


def measure(found: dict[str, Open], rounds: int) -> dict[str, list[float]]:
    """The seconds of each contender in each round."""
    times: dict[str, list[float]] = {name: [] for name in found}
    order = random.Random(0)
    for turn in range(rounds + 1):
        for name in order.sample(list(found), len(found)):
            start = time.perf_counter()
            opened = found[name]()
            seconds = time.perf_counter() - start
            del opened
            gc.collect()
            # The first round only warms up.
            if turn:
                times[name].append(seconds)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each opens the file (default 15)")
    parser.add_argument("--folder", help="where the files are written; default: a temporary folder")
    parser.add_argument("--json", metavar="FILE", help="write every time there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        paths = write(Path(folder))
        size = os.path.getsize(paths["caudal"])
        times = measure(contenders(paths), arguments.rounds)
    print(f"\nopening {size / 1e6:.0f} MB, {TENSORS} tensors, {arguments.rounds} rounds\n")
    print(f"| {'':20} | median ms | fastest ms | GB/s |\n|{'-' * 22}|----------:|-----------:|-----:|")
    for name, seconds in times.items():
        median, fastest = statistics.median(seconds), min(seconds)
        rate = "" if "mapped" in name else f"{size / median / 1e9:.1f}"
        print(f"| {name:20} | {median * 1e3:9.1f} | {fastest * 1e3:10.1f} | {rate:>4} |")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"bytes": size, "seconds": times}))


if __name__ == "__main__":
    main()
