"""The demo: Python trains on real pictures, saves one file, and every language here goes on training from it.

Writes build/demo/fashion.caudal and build/demo/report.json, prints a table, and fails unless the losses of native code
are Python's to the bit, those of WebAssembly within 1e-4 of them, and those of a GPU within 1e-3.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
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


class LeftOut(Exception):
    """Why a language has no row on this machine."""


def tool(name: str, hint: str, least: tuple[int, ...] = (), ask: str = "--version") -> str:
    """The path of a program, of at least a version.

    Raises:
        LeftOut: it is not there, or older.
    """
    path = shutil.which(name)
    if path is None:
        raise LeftOut(f"{name} is not installed; {hint}")
    if least:
        text = subprocess.run([path, ask], capture_output=True, text=True, check=True).stdout
        found = re.search(r"\d+\.\d+", text)
        if found is None or tuple(map(int, found[0].split("."))) < least:
            raise LeftOut(f"{name} is older than {'.'.join(map(str, least))}; {hint}")
    return path


def python() -> list[str]:
    """A fresh Python process."""
    return [sys.executable, str(ROOT / "examples" / "resume.py")]


def python_gpu() -> list[str]:
    """A fresh Python process whose session, with all of its steps, is on a GPU: a software driver will do."""
    if "gpu:0" not in cd.devices():
        raise LeftOut("no GPU was found; a software driver is Debian's mesa-vulkan-drivers")
    # Pictures at once: what the first convolution gives for all of them is more than some drivers bind.
    return [*python(), "--device", "gpu:0", "--evaluated", "500"]


def c() -> list[str]:
    """A C program that knows caudal.h and libcaudal alone."""
    program, library = OUT / "train", ROOT / "build" / "c"
    compiler = tool("cc", "install gcc or clang")
    source = ROOT / "examples" / "c" / "train.c"
    link = [f"-L{library / 'lib'}", "-lcaudal", f"-Wl,-rpath,{library / 'lib'}"]
    subprocess.run(
        [compiler, "-std=c99", "-O2", f"-I{library / 'include'}", "-o", str(program), str(source), *link], check=True
    )
    return [str(program)]


def node() -> list[str]:
    """Node with the npm package."""
    return [tool("node", "install Node 20 or newer", (20, 0)), str(ROOT / "examples" / "js" / "resume.mjs")]


def go(*, native: bool) -> list[str]:
    """A Go program: the WASM module in it and no C, or the native library by cgo."""
    program = OUT / ("resume-go-native" if native else "resume-go-pure")
    compiler = tool("go", "install Go 1.24 or newer", (1, 24), "version")
    if native and shutil.which("cc") is None:
        raise LeftOut("cgo needs a C compiler; install gcc or clang")
    build = [compiler, "build", "-o", str(program), *(["-tags", "caudal_native"] if native else []), "./resume"]
    cgo = {"CGO_ENABLED": str(int(native))}
    subprocess.run(build, check=True, cwd=ROOT / "examples" / "go", env=os.environ | cgo)
    return [str(program)]


def chromium() -> list[str]:
    """A page in headless Chromium."""
    tool("chromium", "install Debian's chromium")
    return [*node()[:1], str(ROOT / "tests" / "browser" / "resume.mjs")]


@dataclass(frozen=True)
class Language:
    """A language that goes on training.

    Attributes:
        name: Of its row.
        program: Builds what goes on training, and gives the command that runs it.
        tolerance: How far its losses may be from Python's.
        data: The arguments that name the arrays.
    """

    name: str
    program: Callable[[], list[str]]
    tolerance: float
    data: tuple[str, ...] = ("--data", str(OUT))

    def resume(self, file: Path) -> dict[str, Any]:
        """Goes on training from a file in a process of its own."""
        result = OUT / f"{self.name}.json"
        result.unlink(missing_ok=True)
        arguments = [*self.data, "--steps", str(STEPS), "--batch", str(BATCH), "--json", str(result)]
        subprocess.run([*self.program(), str(file), *arguments], check=True, stdout=subprocess.DEVNULL)
        return dict(json.loads(result.read_text()))


C_DATA = tuple(
    text
    for name in ("images.f32", "labels.i32", "eval_images.f32", "eval_labels.i32")
    for text in (f"--{name.partition('.')[0].replace('_', '-')}", str(OUT / name))
)
LANGUAGES = [
    Language("python", python, 0.0),
    Language("python-gpu", python_gpu, 1e-3),
    Language("c", c, 0.0, C_DATA),
    Language("node", node, 1e-4),
    Language("go-pure", lambda: go(native=False), 1e-4),
    Language("go-native", lambda: go(native=True), 0.0),
    Language("chromium", chromium, 1e-4),
]


def row(language: Language, result: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """A row of the report."""
    ours = [*result["losses"], result["evaluation_loss"]]
    theirs = [*reference["losses"], reference["evaluation_loss"]]
    # Losses are float32 values, which the reports give in enough digits; a NaN differs from everything.
    differences = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs, np.float32))
    return {
        "language": language.name,
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
    parser.add_argument("--all", action="store_true", help="fail where a language is missing on this machine")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "fashion.caudal"
    accuracy = fashion.train(file, options.epochs)
    print(f"saved {file.relative_to(ROOT)} ({file.stat().st_size / 1e6:.1f} MB), test accuracy {accuracy:.4f}")
    lay_data(OUT)
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    reference: dict[str, Any] = {}
    for language in LANGUAGES:
        try:
            result = language.resume(file)
            reference = reference or result
            rows.append(row(language, result, reference))
        except LeftOut as reason:
            missing[language.name] = str(reason)
    report = {"rows": rows, "test_accuracy": accuracy, "left_out": missing}
    (OUT / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\n{STEPS} more steps from that file, each in a process of its own:\n")
    print(f"{'language':10} {'first loss':>12} {'last loss':>12} {'accuracy':>9} {'difference':>11} {'ms/step':>8}")
    for entry in rows:
        print(
            f"{entry['language']:10} {entry['loss_first']:12.8f} {entry['loss_last']:12.8f} {entry['accuracy']:9.4f} "
            f"{entry['max_loss_difference']:11.3g} {entry['ms_per_step']:8.2f}"
        )
    if any(entry["language"] == "python-gpu" for entry in rows):
        gpu = cd.device("gpu:0").info
        print(f"python-gpu ran on {gpu['adapter']}" + (", which computes on the CPU" if gpu["software"] else ""))
    for name, why in missing.items():
        print(f"{name:10} left out: {why}")
    print(f"\nwrote {(OUT / 'report.json').relative_to(ROOT)}")
    tolerances = {language.name: language.tolerance for language in LANGUAGES}
    wrong = [entry["language"] for entry in rows if not entry["max_loss_difference"] <= tolerances[entry["language"]]]
    if wrong:
        print(f"error: the losses of {', '.join(wrong)} differ from Python's", file=sys.stderr)
    return int(bool(wrong or (options.all and missing)))


if __name__ == "__main__":
    sys.exit(main())
