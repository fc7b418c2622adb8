"""The wheel: installed into a fresh virtual environment, it works away from the repository."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "wheel"

SCRIPT = """
import sys
import numpy as np
import caudal as cd

assert sys.prefix in cd.__file__, cd.__file__
w = cd.Variable(cd.zeros((2,)), name="w")
adam = cd.optimizers.Adam(0.1)

@cd.function(signature={"x": "float32[n, 2]", "y": "float32[n]"})
def train_step(x, y):
    loss, grads = cd.value_and_grad(lambda: cd.mean(cd.square(x @ w - y)), wrt=[w])()
    adam.apply(grads, [w])
    return {"loss": loss}

x = np.eye(2, dtype="float32")
losses = [float(train_step(x, [1.0, 2.0])["loss"]) for _ in range(100)]
assert losses[-1] < 0.1 * losses[0]
cd.save("model.caudal", {"train_step": train_step})
print(float(cd.load("model.caudal").train_step(x, [1.0, 2.0])["loss"]) < losses[-1])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of `make wheel`, or one built for this test."""
    built = sorted(BUILT.glob("*.whl"))
    if built:
        return built[-1]
    if importlib.util.find_spec("maturin") is None:
        pytest.skip(f"no wheel in {BUILT}, and maturin is not installed: run make wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "maturin", "build", "--release", "--quiet", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


def test_content(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {"caudal/py.typed", "caudal/__init__.py", "caudal/ops.py", "caudal/_native/__init__.py"} <= set(names)
    assert not [name for name in names if "tests" in name or name.endswith((".rs", ".pyc"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.split(": ")[1].split(">")[0] for line in needs] == ["numpy", "cffi"]
    assert wheel.stat().st_size < 8e6


def test_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, cwd=tmp_path, check=True)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(str(programs / "python"), "-W", "error", "-c", SCRIPT) == "True\n"
    shown = run(str(programs / "caudal"), "info", "model.caudal")
    assert "train_step(x: float32[n, 2], y: float32[n]) -> (loss: float32[])" in shown
    assert run(str(programs / "caudal"), "--version").startswith("caudal 0.")
