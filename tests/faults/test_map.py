"""Mapped files: nothing is read or copied, training leaves the file alone, and a file that changes is an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caudal as cd

SIZE = 1 << 21


def saved(folder: Path) -> Path:
    """A file with 8 MiB of state and as much of a constant."""
    w = cd.Variable(np.arange(SIZE, dtype="f4"), name="w")
    c = np.arange(SIZE, dtype="f4")

    @cd.function(signature={})
    def predict() -> cd.Tensor:
        return cd.sum(w + c)

    @cd.function(signature={})
    def train_step() -> cd.Tensor:
        w.assign(w + 1)
        return w[0]

    path = folder / "p.caudal"
    cd.save(path, {"predict": predict, "train_step": train_step})
    return path


def test_a_mapped_program_is_the_one_that_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    # Budgets of their own count what opening takes.
    mapped = cd.load(path, map=True, limits=cd.Limits(memory=1 << 30))
    read = cd.load(path, limits=cd.Limits(memory=1 << 30))
    assert mapped.program.to_bytes() == read.program.to_bytes() == before
    assert mapped.report()["memory"]["used"] < 1 << 20 < 16 << 20 < read.report()["memory"]["used"]
    assert mapped.predict().numpy() == read.predict().numpy()
    for _ in range(3):
        assert mapped.train_step().numpy() == read.train_step().numpy()
    np.testing.assert_array_equal(mapped.state["w"].numpy(), read.state["w"].numpy())
    assert path.read_bytes() == before
    # Saved over the file that it was mapped from, and trained on.
    mapped.save(path)
    read.save(tmp_path / "read.caudal")
    assert path.read_bytes() == (tmp_path / "read.caudal").read_bytes() != before
    assert mapped.predict().numpy() == read.predict().numpy()


def test_opening_mapped_takes_no_memory_for_the_tensors(tmp_path: Path) -> None:
    path = saved(tmp_path)
    code = (
        "import sys, caudal as cd\n"
        "small = cd.Limits(memory=4 << 20)\n"
        "program = cd.Program.open(sys.argv[1], limits=small, map=True)\n"
        "print(program.state['w'].value.numpy()[7])\n"
        "try: cd.Program.open(sys.argv[1], limits=small)\n"
        "except cd.OutOfMemoryError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "7.0\nrefused\n"


SHORTENED = f"""
import os, sys, caudal as cd
path = sys.argv[1]
s = cd.load(path, map=True)
held = s.state["w"]
s.predict()
os.truncate(path, 4096)
for work in (s.predict, s.train_step, lambda: -held, lambda: s.save(path + ".copy"), s.snapshot().to_bytes):
    try:
        work()
        print("no error")
    except cd.FileError as error:
        print(error)
s.state["w"] = [0.0] * {SIZE}
"""


def test_a_mapped_file_that_becomes_shorter_is_an_error_at_each_use(tmp_path: Path) -> None:
    path = saved(tmp_path)
    length = path.stat().st_size
    done = subprocess.run([sys.executable, "-c", SHORTENED, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = f"{path} is mapped and has changed: 4096 bytes, it had {length}"
    lines = [line.removesuffix(" (<string>:8)") for line in done.stdout.splitlines()]
    assert lines == [f"{op}{text}" for op in ("predict: ", "train_step: ", "neg: ", "", "")]
    assert not (tmp_path / "p.caudal.copy").exists()


def test_a_mapped_file_that_was_written_to_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path)
    s = cd.load(path, map=True)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, (1, 1))
    with pytest.raises(cd.FileError) as caught:
        s.predict()
    assert str(caught.value).startswith(f"predict: {path} is mapped and has been written to since")


def test_only_paths_are_mapped(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with path.open("rb") as file:
        for source in (path.read_bytes(), file):
            with pytest.raises(cd.ArgumentError) as caught:
                cd.Program.open(source, map=True)
            assert str(caught.value) == "open: only a file that is given by its path can be mapped"
            assert caught.value.argument == "map"
