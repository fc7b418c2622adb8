"""Calls by CPython's own convention: what they refuse, that nothing leaks, and that other threads go on."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd
from caudal import _dispatch, _quick


@pytest.mark.parametrize(
    "call",
    [
        lambda op, x: _quick.eager(op, 1),
        lambda op, x: _quick.eager(op, op),
        lambda op, x: _quick.eager(x, x),
        lambda op, x: _quick.dtype(op),
        lambda op, x: _quick.shape(None),
        lambda op, x: _quick.run(0, 0, object()),
        lambda op, x: _quick.resume(x),
    ],
)
def test_what_is_no_handle_of_that_kind_is_refused(call: Any) -> None:
    op = _dispatch.make_op("add", {})[0]
    with pytest.raises(ValueError, match="PyCapsule_GetPointer called with"):
        call(op, cd.asarray([1.0])._handle)


def test_a_missing_function_is_an_error_and_no_crash() -> None:
    error = _quick.run(0, 0)
    with pytest.raises(cd.ArgumentError, match="function is NULL"):
        cd._ffi.check_quick(error)


def test_as_many_references_as_before() -> None:
    x = cd.asarray(np.ones(8, "float32"))
    twice = cd.function(signature={"x": "float32[n]"})(lambda x: (x + x, x * 2.0))
    before = sys.getrefcount(x._handle)
    for _ in range(100):
        twice(x)
        cd.add(x, x)
        with pytest.raises(cd.ShapeError):
            cd.add(x, cd.zeros((3,)))
    # A traceback may still keep the last one.
    assert sys.getrefcount(x._handle) <= before + 2


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in KiB on Linux")
def test_memory_of_results_is_given_back() -> None:
    x = cd.asarray(np.ones(1 << 18, "float32"))
    double = cd.function(signature={"x": "float32[n]"})(lambda x: x * 2.0)

    def work(times: int) -> int:
        for _ in range(times):
            x + x, cd.sum(x, axis=0), double(x)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = work(20)
    # Each round would leave 2 MB.
    assert work(200) < before + (100 << 10)


def test_other_threads_go_on_during_a_long_call() -> None:
    spin = cd.function(signature={"n": "int64[]"})(
        lambda n: cd.while_loop(lambda i: i < n, lambda i: i + 1, cd.asarray(0))
    )
    spin(1)
    matrix = cd.asarray(np.ones((700, 700), "float32"))
    for call in (lambda: spin(300_000), lambda: [matrix @ matrix for _ in range(5)]):
        count, done = 0, threading.Event()

        def run(call: Any = call, done: threading.Event = done) -> None:
            call()
            done.set()

        thread = threading.Thread(target=run)
        thread.start()
        while not done.is_set():
            count += 1
        thread.join()
        assert count > 100


def test_the_library_outlives_tensors_that_the_interpreter_frees_last(tmp_path: Path) -> None:
    # pytest keeps modules and the parameters of tests that it does not run until the very end.
    tests = 'import pytest, caudal as cd\n@pytest.mark.parametrize("x", [cd.asarray([1.0])])\ndef test(x): pass\n'
    (tmp_path / "test_a.py").write_text(tests)
    (tmp_path / "test_b.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stderr
