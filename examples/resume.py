"""Opens a program file, goes on training it and evaluates: what any other language does with the same file.

    python examples/resume.py FILE --data FOLDER --json OUT

The folder holds little-endian arrays: images.f32 and labels.i32 to train on, eval_images.f32 and eval_labels.i32.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import caudal as cd


def read(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of one set."""
    labels = np.fromfile(folder / f"{prefix}labels.i32", "<i4")
    return np.fromfile(folder / f"{prefix}images.f32", "<f4").reshape(len(labels), 28, 28, 1), labels


def main() -> None:
    """Reads the command line, trains, evaluates, writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a program with train_step and evaluate")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the arrays")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    options = parser.parse_args()
    x, y = read(options.data, "")
    with cd.load(options.file) as session:
        losses, milliseconds = [], []
        for step in range(options.steps):
            part = slice(step * options.batch, (step + 1) * options.batch)
            start = time.perf_counter()
            losses.append(float(session.train_step(x[part], y[part])["loss"]))
            milliseconds.append((time.perf_counter() - start) * 1e3)
        result = session.evaluate(*read(options.data, "eval_"))
        report = {
            "losses": losses,
            "accuracy": float(result["accuracy"]),
            "evaluation_loss": float(result["loss"]),
            "ms_per_step": float(np.median(milliseconds)),
        }
    options.json.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
