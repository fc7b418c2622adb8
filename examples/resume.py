"""Opens a program file, goes on training it and evaluates: what any other language does with the same file.

    python examples/resume.py FILE --data FOLDER --json OUT

The folder holds little-endian arrays: images.f32 and labels.i32 to train on, eval_images.f32 and eval_labels.i32. With
``--device gpu:0`` it trains there, and fails if the CPU has a part in a step or in the evaluation.
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


def assert_all_run_on(device: str, session: cd.Session) -> None:
    """Fails where a step of what was called runs elsewhere."""
    placement = session.placement()
    for name in ("train_step", "evaluate"):
        elsewhere = [step for step in placement[name] if step["device"] != device]
        if elsewhere:
            step = elsewhere[0]
            raise SystemExit(f"{name}: {len(elsewhere)} steps are not on {device}: {step['op']}, {step['why']}")


def main() -> None:
    """Reads the command line, trains, evaluates, writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a program with train_step and evaluate")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the arrays")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu", help="where it trains")
    parser.add_argument("--evaluated", type=int, default=2000, help="pictures in a call of evaluate")
    parser.add_argument("--json", type=Path, required=True, help="where to write the result")
    options = parser.parse_args()
    x, y = read(options.data, "")
    with cd.load(options.file, device=options.device) as session:
        losses, milliseconds = [], []
        for step in range(options.steps):
            part = slice(step * options.batch, (step + 1) * options.batch)
            start = time.perf_counter()
            losses.append(float(session.train_step(x[part], y[part])["loss"]))
            milliseconds.append((time.perf_counter() - start) * 1e3)
        x, y = read(options.data, "eval_")
        parts = [slice(start, start + options.evaluated) for start in range(0, len(x), options.evaluated)]
        results = [session.evaluate(x[part], y[part]) for part in parts]
        report = {
            "losses": losses,
            "accuracy": float(np.mean([float(result["accuracy"]) for result in results])),
            "evaluation_loss": float(np.mean([float(result["loss"]) for result in results])),
            "ms_per_step": float(np.median(milliseconds)),
        }
        if options.device != "cpu":
            assert_all_run_on(options.device, session)
    options.json.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
