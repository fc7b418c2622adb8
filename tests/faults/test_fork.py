"""Both processes go on after a fork: graphs, training and eager calls, with several threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORK = Path(__file__).resolve().parent / "fork.py"
CASES = ["plain", "never_run", "pool", "beside_training", "beside_predicting", "beside_eager"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("case", CASES)
def test_both_go_on_after_a_fork(case: str) -> None:
    done = subprocess.run([sys.executable, FORK, case], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
