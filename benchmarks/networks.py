"""Writes what the contenders of every language read: the networks of the benchmarks with their first weights, and data.

`python benchmarks/networks.py FOLDER` writes there
- `mlp.caudal`, `convnet.caudal` with `predict` and `train_step`; `plain.caudal`, the second without dropout, so that
  its losses can be compared; `call.caudal` with `add`, which adds 1 to 8 floats. Each is a safetensors file, too: the
  other frameworks take their weights from it;
- `pictures.f32` and `labels.i32`: the batches of `race.py`, 16 of 64 pictures of 28 x 28, as they lie in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import peers_convnet
import peers_mlp
import race

import caudal as cd


@cd.function(signature={"x": cd.TensorSpec([8])})
def add(x):
    """A call with next to no work in it."""
    return x + 1


def write(folder: Path) -> None:
    """Writes all files, over those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    cd.save(folder / "call.caudal", {"add": add})
    cd.save(folder / "mlp.caudal", peers_mlp.caudal_functions())
    cd.save(folder / "convnet.caudal", peers_convnet.caudal_functions())
    cd.save(folder / "plain.caudal", peers_convnet.caudal_functions(dropout=0))
    batches = race.batches((28, 28, 1))
    np.stack([x for x, _ in batches]).tofile(folder / "pictures.f32")
    np.stack([y for _, y in batches]).tofile(folder / "labels.i32")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
