"""The C API: its symbols and layout, its errors, its runs, and the examples, from C programs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Compiler

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples" / "c"
RUNS = [
    "threads",
    "pieces",
    "dropped",
    "limits",
    "products",
    "waits",
    "variables",
    "snapshots",
    "lifetimes",
    "closing",
    "dlpack",
    "schedules",
]
VALGRIND = shutil.which("valgrind")
# Valgrind calls what the tables of the library's statics hold possibly lost: they are pointed to from within.
LEAKS = ["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]
# Its threads take turns: else one that computes without an end keeps the others from cancelling it.
LEAKS += ["--show-leak-kinds=definite,indirect", "--fair-sched=yes"]


def symbols() -> set[str]:
    """The functions that symbols.txt promises."""
    prototypes = [line for line in (ROOT / "c_api" / "symbols.txt").read_text().splitlines() if "(" in line]
    return {re.search(r"(cdl_\w+)\(", line)[1] for line in prototypes}


def run(program: Path, *arguments: object, cwd: Path) -> str:
    """What a program printed; it must succeed."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="nm -D reads ELF")
def test_the_library_exports_what_symbols_txt_lists_and_nothing_else(compiler: Compiler) -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", compiler.library], capture_output=True, text=True, check=True
    )
    exported = {line.split()[-1].split("@")[0] for line in listing.stdout.splitlines()}
    assert exported == symbols()


def test_the_header_is_the_one_of_this_library(compiler: Compiler) -> None:
    header = (compiler.include / "caudal.h").read_text()
    assert header == (ROOT / "c_api" / "include" / "caudal.h").read_text()
    assert symbols() == set(re.findall(r"(cdl_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)))


@pytest.mark.parametrize("flags", [[], ["-m32"]], ids=["64", "32"])
def test_public_structs_lie_where_bindings_expect_them(compiler: Compiler, flags: list[str], tmp_path: Path) -> None:
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stddef.h>\n#include <stdint.h>\n")
    if subprocess.run([compiler.cc, *flags, "-fsyntax-only", probe], capture_output=True).returncode:
        pytest.skip(f"this compiler has no headers for {flags[0]} (Debian: apt-get install gcc-multilib)")
    source = HERE / "layout.c"
    subprocess.run([compiler.cc, *flags, "-std=c11", "-fsyntax-only", f"-I{compiler.include}", source], check=True)


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_cpp_takes_the_header(compiler: Compiler, standard: str, tmp_path: Path) -> None:
    cpp = shutil.which("g++") or shutil.which("c++")
    if cpp is None:
        pytest.skip("there is no C++ compiler")
    source = tmp_path / "header.cpp"
    source.write_text(
        "#include <caudal.h>\n"
        "int main() { cdl_tensor *t = nullptr; cdl_error *e = cdl_tensor_new(CDL_F32, nullptr, 0, nullptr, 0, &t);\n"
        'cdl_op *op = nullptr; if (!e) e = cdl_op_new("add", CDL_NUL, nullptr, 0, &op);\n'
        "int bad = e != nullptr; cdl_error_free(e); cdl_op_free(op); cdl_tensor_free(t); return bad; }\n"
    )
    link = [f"-L{compiler.lib}", "-lcaudal", f"-Wl,-rpath,{compiler.lib}"]
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", f"-I{compiler.include}"]
    subprocess.run([cpp, *flags, "-o", tmp_path / "header", source, *link], check=True)
    run(tmp_path / "header", cwd=tmp_path)


def test_the_guides_sample_runs_as_it_stands(compiler: Compiler, tmp_path: Path) -> None:
    lines = run(compiler.build(HERE / "sample.c"), cwd=tmp_path).splitlines()
    assert lines[:2] == ["x: float32[batch, 28, 28, 1]", "0.1"]
    losses = [float(line.removeprefix("loss ")) for line in lines[2:]]
    assert len(losses) == 20 and losses[0] == pytest.approx(np.log(10), rel=1e-5) and losses[-1] < losses[0] / 2
    assert (tmp_path / "tuned.caudal").stat().st_size > (tmp_path / "predict.caudal").stat().st_size > 784 * 10 * 4


def test_every_error_has_its_code_and_message(compiler: Compiler, tmp_path: Path) -> None:
    run(compiler.build(HERE / "errors.c"), cwd=tmp_path)


@pytest.mark.parametrize("check", RUNS)
def test_runs_keep_their_promises(compiler: Compiler, check: str, tmp_path: Path) -> None:
    run(compiler.build(HERE / "runs.c"), check, cwd=tmp_path)


@pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed (Debian: apt-get install valgrind)")
@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (EXAMPLES / "perceptron.c", ["leaks.caudal"]),
        (HERE / "errors.c", []),
        (HERE / "runs.c", ["dlpack"]),
        (HERE / "runs.c", ["lifetimes"]),
        (HERE / "runs.c", ["closing"]),
        (HERE / "runs.c", ["snapshots"]),
        (HERE / "runs.c", ["variables"]),
        (HERE / "runs.c", ["dropped"]),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else " ".join(value) or "all",
)
def test_nothing_leaks(compiler: Compiler, source: Path, arguments: list[str], tmp_path: Path) -> None:
    run(Path(VALGRIND or ""), *LEAKS, compiler.build(source), *arguments, cwd=tmp_path)


def test_a_second_process_goes_on_to_the_bit(compiler: Compiler, tmp_path: Path) -> None:
    program = compiler.build(EXAMPLES / "perceptron.c", "c99")
    whole = run(program, "whole.caudal", "train", 60, cwd=tmp_path)
    first = run(program, "parts.caudal", "train", 25, cwd=tmp_path)
    second = run(program, "parts.caudal", "resume", 35, cwd=tmp_path)
    assert first + second == whole
    assert (tmp_path / "parts.caudal").read_bytes() == (tmp_path / "whole.caudal").read_bytes()
    losses = [float.fromhex(line) for line in whole.splitlines()]
    assert losses[-1] < 0.05 < losses[0]


@pytest.fixture
def pictures(compiler: Compiler, tmp_path: Path) -> list[str]:
    """A program file and the arrays that train.c takes, as arguments."""
    run(compiler.build(HERE / "classifier.c"), "classifier.caudal", cwd=tmp_path)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 40).astype("<i4")
    images = (random.normal(size=(40, 2)) + 3 * np.stack([labels == 1, labels == 2], 1)).astype("<f4")
    for prefix, part in (("", slice(0, 24)), ("eval_", slice(24, 40))):
        images[part].tofile(tmp_path / f"{prefix}images.f32")
        labels[part].tofile(tmp_path / f"{prefix}labels.i32")
    arguments = ["classifier.caudal", "--images", "images.f32", "--labels", "labels.i32"]
    return [*arguments, "--eval-images", "eval_images.f32", "--eval-labels", "eval_labels.i32"]


def test_train_trains_and_reports(compiler: Compiler, pictures: list[str], tmp_path: Path) -> None:
    program = compiler.build(EXAMPLES / "train.c", "c99")
    steps = ["--steps", "30", "--batch", "8"]
    out = run(program, *pictures, *steps, "--json", "all.json", "--save", "tuned.caudal", cwd=tmp_path)
    assert "train_step(x: float32[batch, 2], y: int32[batch]) -> loss: float32[], accuracy: float32[]" in out
    whole = json.loads((tmp_path / "all.json").read_text())
    assert set(whole) == {"losses", "accuracy", "evaluation_loss", "ms_per_step"}
    assert len(whole["losses"]) == 30 and whole["losses"][-1] < whole["losses"][0] and whole["accuracy"] > 0.5
    assert whole["losses"] == np.float32(whole["losses"]).tolist()
    # Three batches are once through the data: 12 and 18 steps see the batches that 30 see.
    parts = []
    for file, count in (("classifier.caudal", 12), ("half.caudal", 18)):
        options = ["--steps", count, "--batch", 8, "--json", "part.json", "--save", "half.caudal"]
        run(program, file, *pictures[1:], *options, cwd=tmp_path)
        parts.append(json.loads((tmp_path / "part.json").read_text()))
    assert [*parts[0]["losses"], *parts[1]["losses"]] == whole["losses"]
    assert parts[1]["evaluation_loss"] == whole["evaluation_loss"]
    assert (tmp_path / "half.caudal").read_bytes() == (tmp_path / "tuned.caudal").read_bytes()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--steps", "none"], 2, "error: --steps takes a number from 1 to 1000000, not none\n"),
        (["--stride", "2"], 2, "error: there is no option --stride; see --help\n"),
        (["--batch", "25"], 1, "error: a batch of 25 from 24 pictures\n"),
        (["--images", "none.f32"], 1, "error: cannot open none.f32\nerror: there are no pictures\n"),
        (
            ["--images", "eval_images.f32"],
            1,
            "error: eval_images.f32 has 128 bytes, labels.i32 96: that is not 2 float32 for each int32\n",
        ),
        (
            ["--save", "none/x.caudal"],
            1,
            "cannot save none/x.caudal: No such file or directory (os error 2) [code 9]\n",
        ),
    ],
)
def test_train_says_what_is_wrong(
    compiler: Compiler, pictures: list[str], change: list[str], code: int, message: str, tmp_path: Path
) -> None:
    program = compiler.build(EXAMPLES / "train.c", "c99")
    done = subprocess.run(
        [program, *pictures, "--batch", "8", "--steps", "1", *change], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.endswith(message)) == (code, True), done.stderr


@pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed (Debian: apt-get install valgrind)")
def test_train_leaks_nothing(compiler: Compiler, pictures: list[str], tmp_path: Path) -> None:
    program = compiler.build(EXAMPLES / "train.c", "c99")
    run(
        Path(VALGRIND or ""), *LEAKS, program, *pictures, "--steps", 2, "--batch", 8, "--save", "t.caudal", cwd=tmp_path
    )


def test_train_explains_itself(compiler: Compiler, tmp_path: Path) -> None:
    out = run(compiler.build(EXAMPLES / "train.c", "c99"), "--help", cwd=tmp_path)
    assert out.startswith("usage: train FILE --images PATH --labels PATH [options]\n")


def test_the_examples_makefile_builds_them(compiler: Compiler, tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    for name in ("Makefile", "train.c", "perceptron.c"):
        shutil.copy(EXAMPLES / name, tmp_path)
    subprocess.run(
        ["make", "-s", f"CAUDAL_DIR={compiler.include.parent}", "CFLAGS=-O1 -Wall -Werror"], cwd=tmp_path, check=True
    )
    run(tmp_path / "perceptron", "xor.caudal", "train", 2, cwd=tmp_path)
