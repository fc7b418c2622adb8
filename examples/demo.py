"""The demo: Python trains on real pictures, saves one file, and Python and C go on training from it.

Writes build/demo/fashion.caudal and build/demo/report.json, prints a table, and fails unless every language on this
machine gets the losses of Python to the bit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fashion
import numpy as np

import caudal as cd

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "demo"
STEPS, BATCH, EVALUATED = 20, 64, 2000


def lay_data(folder: Path) -> None:
    """Writes the batches and the evaluation pictures as arrays that any language reads."""
    (images, labels), (test_images, test_labels) = cd.datasets.fashion_mnist()
    count = STEPS * BATCH
    for prefix, pixels, answers in (
        ("", images[:count], labels[:count]),
        ("eval_", test_images[:EVALUATED], test_labels[:EVALUATED]),
    ):
        fashion.prepare(pixels).astype("<f4").tofile(folder / f"{prefix}images.f32")
        answers.astype("<i4").tofile(folder / f"{prefix}labels.i32")


def with_python(file: Path) -> dict[str, Any]:
    """A fresh Python process."""
    result = OUT / "python.json"
    script = ROOT / "examples" / "resume.py"
    arguments = ["--data", str(OUT), "--steps", str(STEPS), "--batch", str(BATCH), "--json", str(result)]
    subprocess.run([sys.executable, str(script), str(file), *arguments], check=True)
    return dict(json.loads(result.read_text()))


def with_c(file: Path) -> dict[str, Any]:
    """A C program that knows caudal.h and libcaudal alone."""
    program, result = OUT / "train", OUT / "c.json"
    library = ROOT / "build" / "c"
    compiler = shutil.which("cc") or "cc"
    source = ROOT / "examples" / "c" / "train.c"
    link = [f"-L{library / 'lib'}", "-lcaudal", f"-Wl,-rpath,{library / 'lib'}"]
    subprocess.run(
        [compiler, "-std=c99", "-O2", f"-I{library / 'include'}", "-o", str(program), str(source), *link], check=True
    )
    arguments = ["--images", str(OUT / "images.f32"), "--labels", str(OUT / "labels.i32")]
    arguments += ["--eval-images", str(OUT / "eval_images.f32"), "--eval-labels", str(OUT / "eval_labels.i32")]
    arguments += ["--steps", str(STEPS), "--batch", str(BATCH), "--json", str(result)]
    subprocess.run([str(program), str(file), *arguments], check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads(result.read_text()))


def row(language: str, result: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """A row of the report."""
    ours = [*result["losses"], result["evaluation_loss"]]
    theirs = [*reference["losses"], reference["evaluation_loss"]]
    # Losses are float32 values, which the reports give in enough digits; a NaN differs from everything.
    differences = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs, np.float32))
    return {
        "language": language,
        "loss_first": result["losses"][0],
        "loss_last": result["losses"][-1],
        "accuracy": result["accuracy"],
        "max_loss_difference": float(differences.max()),
        "ms_per_step": result["ms_per_step"],
    }


def main() -> int:
    """Trains, goes on in each language, reports; 0 if all agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4, help="how long Python trains")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "fashion.caudal"
    accuracy = fashion.train(file, options.epochs)
    print(f"saved {file.relative_to(ROOT)} ({file.stat().st_size / 1e6:.1f} MB), test accuracy {accuracy:.4f}")
    lay_data(OUT)
    python = with_python(file)
    rows = [row("python", python, python), row("c", with_c(file), python)]
    (OUT / "report.json").write_text(json.dumps({"rows": rows, "test_accuracy": accuracy}, indent=2) + "\n")
    print(f"\n{STEPS} more steps from that file, each in a process of its own:\n")
    print(f"{'language':10} {'first loss':>12} {'last loss':>12} {'accuracy':>9} {'difference':>11} {'ms/step':>8}")
    for entry in rows:
        print(
            f"{entry['language']:10} {entry['loss_first']:12.8f} {entry['loss_last']:12.8f} {entry['accuracy']:9.4f} "
            f"{entry['max_loss_difference']:11.3g} {entry['ms_per_step']:8.2f}"
        )
    print(f"\nwrote {(OUT / 'report.json').relative_to(ROOT)}")
    wrong = [entry["language"] for entry in rows if not entry["max_loss_difference"] == 0]
    if wrong:
        print(f"error: the losses of {', '.join(wrong)} differ from Python's", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
