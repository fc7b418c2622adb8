"""Finds the C library and header that were built, and compiles C programs against them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"]


class Compiler:
    """The C compiler with caudal's header and library."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.cc = shutil.which("cc") or shutil.which("gcc") or ""
        self.include, self.lib, self.output = folder / "include", folder / "lib", output

    @property
    def library(self) -> Path:
        """The shared library itself."""
        return next(path for path in self.lib.iterdir() if path.name in ("libcaudal.so", "libcaudal.dylib"))

    def build(self, source: Path, standard: str = "c11") -> Path:
        """The program that a C file makes; warnings are errors."""
        program = self.output / source.stem
        if not program.exists():
            link = [f"-L{self.lib}", "-lcaudal", f"-Wl,-rpath,{self.lib}", "-pthread"]
            command = [self.cc, f"-std={standard}", *FLAGS, f"-I{self.include}", "-o", program, source, *link]
            subprocess.run(command, check=True)
        return program


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """The compiler; CAUDAL_DIR names another folder with include and lib than build/c."""
    folder = Path(os.environ.get("CAUDAL_DIR", ROOT / "build" / "c")).resolve()
    found = Compiler(folder, tmp_path_factory.mktemp("c"))
    if not (found.include / "caudal.h").is_file() or not any(found.lib.glob("libcaudal.*")):
        pytest.fail(f"{folder} has no include/caudal.h or no lib/libcaudal: run make build")
    if not found.cc:
        pytest.fail("there is no C compiler: install gcc or clang")
    return found
