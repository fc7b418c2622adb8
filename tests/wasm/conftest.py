"""The modules under test: the committed one, and the one that was built here where its bytes are others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from instance import Compiled

ROOT = Path(__file__).resolve().parent.parent.parent
COMMITTED = ROOT / "go" / "internal" / "wasm" / "caudal.wasm"
BUILT = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "wasm32-unknown-unknown" / "wasm" / "caudal.wasm"


def modules() -> dict[str, Path]:
    """Their paths by name."""
    found = {name: path for name, path in (("committed", COMMITTED), ("built", BUILT)) if path.is_file()}
    if len(found) == 2 and COMMITTED.read_bytes() == BUILT.read_bytes():
        del found["built"]
    return found or {"committed": COMMITTED}


@pytest.fixture(scope="session", params=modules().values(), ids=modules().keys())
def path(request: pytest.FixtureRequest) -> Path:
    """A module's file."""
    if not request.param.is_file():
        pytest.fail(f"{request.param} is missing: run make wasm")
    return request.param


@pytest.fixture(scope="session")
def compiled(path: Path) -> Compiled:
    """The module, compiled by wasmtime."""
    return Compiled(path)
