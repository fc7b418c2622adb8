"""How soon a time limit, a cancel and Ctrl-C stop what takes long: the median and the worst of many, in milliseconds.

Each is asked for at a random moment of the run. The promise is 50 ms, with both processors of a small machine.
"""

from __future__ import annotations

import _thread
import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import caudal as cd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python" / "tests"))

from test_limits import HEAVY, ones  # noqa: E402

MORE: dict[str, Any] = {
    "sum of rows": (
        lambda x: cd.sum(x * x, axis=1),
        {"x": "float32[16384, 16384]"},
        lambda: {"x": ones(1 << 14, 1 << 14)},
    ),
    "softmax": (cd.softmax, {"x": "float32[16384, 16384]"}, lambda: {"x": ones(1 << 14, 1 << 14)}),
    "transpose": (cd.transpose, {"x": "float32[16384, 16384]"}, lambda: {"x": ones(1 << 14, 1 << 14)}),
    "take": (
        lambda x, i: cd.take(x, cd.broadcast_to(i, (2**15, 2**15))),
        {"x": "float32[1000]", "i": "int32[32768]"},
        lambda: {"x": ones(1000), "i": np.zeros(2**15, "int32")},
    ),
    "gradient of conv": (
        lambda x, w: cd.grad(lambda w: cd.sum(cd.conv(x, w)))(w),
        {"x": "float32[16, 224, 224, 64]", "w": "float32[5, 5, 64, 64]"},
        lambda: {"x": ones(16, 224, 224, 64), "w": ones(5, 5, 64, 64)},
    ),
}
LONGEST = 0.5
"""Seconds into a run at which the last stop is asked for."""


def length(session: cd.Session, inputs: dict[str, Any]) -> float:
    """Seconds that a run takes, or `LONGEST` if it takes longer."""
    start = time.perf_counter()
    try:
        session.run("f", inputs, limits=cd.Limits(seconds=LONGEST))
    except cd.DeadlineError:
        return LONGEST
    return time.perf_counter() - start


def stop_by_limit(session: cd.Session, inputs: dict[str, Any], after: float) -> float:
    start = time.perf_counter()
    try:
        session.run("f", inputs, limits=cd.Limits(seconds=after))
    except cd.DeadlineError:
        return time.perf_counter() - start - after
    raise SystemExit("it ended before the limit")


def stop_by(ask: Callable[[cd.Limits], None], kind: type[BaseException]) -> Callable[..., float]:
    def stop(session: cd.Session, inputs: dict[str, Any], after: float) -> float:
        limits, asked = cd.Limits(), [0.0]

        def later() -> None:
            time.sleep(after)
            asked[0] = time.perf_counter()
            ask(limits)

        thread = threading.Thread(target=later)
        thread.start()
        try:
            session.run("f", inputs, limits=limits)
        except kind:
            took = time.perf_counter() - asked[0]
            thread.join()
            return took
        raise SystemExit("it ended before it was stopped")

    return stop


WAYS: dict[str, Callable[..., float]] = {
    "limit": stop_by_limit,
    "cancel": stop_by(lambda limits: limits.cancel(), cd.CancelledError),
    "Ctrl-C": stop_by(lambda _: _thread.interrupt_main(), KeyboardInterrupt),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="how often each is stopped")
    parser.add_argument("--only", help="some of them, with commas between")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    print(f"{'':20}" + "".join(f"{way:>10} {'worst':>8}" for way in WAYS))
    for name, (f, signature, inputs) in {**HEAVY, **MORE}.items():
        if options.only and name not in options.only.split(","):
            continue
        session = cd.Program.of({"f": cd.function(signature=signature)(f)}).session()
        fitted = {key: cd.asarray(value, dtype=signature[key].split("[")[0]) for key, value in inputs().items()}
        session.memory("f")
        # Not so late that it might have ended.
        latest = 0.7 * min(length(session, fitted) for _ in range(2))
        line = f"{name:20}"
        for stop in WAYS.values():
            times = [stop(session, fitted, float(random.uniform(0.01, latest))) for _ in range(options.times)]
            line += f"{statistics.median(times) * 1e3:10.1f} {max(times) * 1e3:8.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
