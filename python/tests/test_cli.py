"""The command: what it prints, what it writes, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caudal as cd
from caudal.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two functions."""
    w = cd.Variable([[1.0], [2.0]], name="dense/kernel")

    @cd.function(signature={"x": "float32[batch, 2]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        """Scores."""
        return x @ w

    @cd.function(signature={"by": "float32[]"})
    def grow(by: cd.Tensor) -> dict[str, cd.Tensor]:
        return {"sum": cd.sum(w.assign(w * by)), "kernel": w.value * 0 + w}

    path = tmp_path / "a.caudal"
    cd.save(path, {"predict": predict, "grow": grow}, metadata={"licence": "CC0"})
    return path


def test_info(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file)]) == 0
    out = capsys.readouterr().out
    for line in (
        "predict(x: float32[batch, 2]) -> (output: float32[batch, 1])",
        "    Scores.",
        "    ops: matmul 1",
        "    memory of a call at batch = 1: ",
        "    writes: dense/kernel",
        "state: 1 tensors, 8 B",
        "    dense/kernel: float32[2, 1] (parameter, 8 B)",
        'metadata: {"licence":"CC0"}',
    ):
        assert line in out
    assert "%0" not in out
    assert main(["info", str(file), "--graph"]) == 0
    assert "matmul(%0, %1)" in capsys.readouterr().out


def test_info_explains_what_is_fused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file), "--explain", "grow"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("graph(%0 by: float32[]") and " = fused(" in out
    assert main(["info", str(file), "--explain", "other"]) == 1
    assert "no function is named 'other'" in capsys.readouterr().err


def test_info_prints_the_type_of_the_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = cd.Graph()
    x, y = graph.input("x", "float32[batch, 3]"), graph.input("y", "int32[batch]")
    w = graph.state("a/b", np.zeros((3, 2), "float32"))
    loss = cd.mean(cd.softmax_cross_entropy(x @ w, y))
    graph.function("predict", cd.softmax(x @ w))
    graph.function("train_step", {"loss": loss}).minimize(loss, [w], cd.optimizers.Adam())
    graph.function("seven", {"2nd": cd.asarray([7])})
    for stem, name in (("my-model.v2", "MyModelV2"), ("2nd", "Program2nd"), ("fashion", "Fashion")):
        path = tmp_path / f"{stem}.caudal"
        graph.program().save(path)
        assert main(["info", str(path), "--typescript"]) == 0
        assert (
            capsys.readouterr().out
            == f"""\
type {name} = {{
  predict: {{ inputs: {{ x: "float32" }}; outputs: {{ output: "float32" }} }};
  train_step: {{ inputs: {{ x: "float32"; y: "int32" }}; outputs: {{ loss: "float32" }} }};
  gradients: {{ inputs: {{ x: "float32"; y: "int32" }}; outputs: {{ loss: "float32"; "gradient/a/b": "float32" }} }};
  apply: {{ inputs: {{ "gradient/a/b": "float32" }}; outputs: {{}} }};
  seven: {{ inputs: {{}}; outputs: {{ "2nd": "int64" }} }} }};
"""
        )


def test_run_writes_arrays(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, out = tmp_path / "x.npy", tmp_path / "out.npz"
    np.save(x, np.array([[1, 10], [2, 20]], "float32"))
    before = file.read_bytes()
    assert main(["run", str(file), "predict", f"x={x}", "-o", str(out)]) == 0
    assert capsys.readouterr().out == ""
    with np.load(out) as arrays:
        assert list(arrays) == ["output"] and arrays["output"].tolist() == [[21], [42]]
    assert file.read_bytes() == before


def test_run_takes_numbers_prints_and_saves_the_state(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "b.caudal"
    assert main(["run", str(file), "grow", "by=2", "--save", str(saved)]) == 0
    assert capsys.readouterr().out == "sum: float32[]\n6.0\nkernel: float32[2, 1]\n[[2.]\n [4.]]\n"
    assert cd.Program.open(saved).state["dense/kernel"].value.tolist() == [[2], [4]]
    assert cd.Program.open(file).state["dense/kernel"].value.tolist() == [[1], [2]]
    assert main(["run", str(file), "predict", "x=[[1, 1]]"]) == 0
    assert capsys.readouterr().out == "output: float32[1, 1]\n[[3.]]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("info missing.caudal", "cannot open missing.caudal: No such file or directory (os error 2)"),
        ("run FILE evaluate", "no function is named 'evaluate'; there are: predict, grow"),
        ("run FILE predict", "predict: the input x is missing; it takes x"),
        ("run FILE predict y=1", "predict: there is no input 'y'; it takes x"),
        ("run FILE predict x", "'x' is not NAME=VALUE, such as x=input.npy"),
        ("run FILE predict x=abc", "x is 'abc', neither a .npy file nor a number or list"),
        ("run FILE predict x=missing.npy", "cannot open missing.npy: No such file or directory (os error 2)"),
        (
            "run FILE predict x=[[1,2]] -o missing/a.npz",
            "cannot save missing/a.npz: No such file or directory (os error 2)",
        ),
        ("run FILE predict x=[1]", "predict: x is float32[1], expected float32[batch, 2]"),
        (
            "run FILE predict x=[[1,2]] --device none",
            'there is no device "none"; a device is cpu, gpu:0, ... or auto',
        ),
    ],
)
def test_errors_are_one_line(
    file: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert main(arguments.replace("FILE", str(file)).split()) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"caudal: {message}\n")


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["info"], ["run", "a.caudal"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: caudal" in capsys.readouterr().err


def test_as_a_process(file: Path) -> None:
    command = [sys.executable, "-m", "caudal.cli"]
    done = subprocess.run([*command, "info", str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("predict(") and done.stderr == ""
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(word in shown for word in ("info", "run", "devices"))
    # A reader that goes away early is no error to report.
    piped = subprocess.run(
        f"{sys.executable} -m caudal.cli info {file} --graph | head -1", shell=True, capture_output=True, text=True
    )
    assert piped.stdout.startswith("predict(") and piped.stderr == ""
