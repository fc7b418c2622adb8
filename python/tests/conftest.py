"""What the tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import caudal as cd


def peers_python() -> str | None:
    """An interpreter that has JAX: the one that `PEERS_PYTHON` names, or that of `make peers`."""
    made = Path(__file__).parents[2] / "build" / "peers" / "bin" / "python"
    return os.environ.get("PEERS_PYTHON") or (str(made) if made.exists() else None)


@pytest.fixture(scope="session")
def peers() -> str:
    """An interpreter that has JAX."""
    python = peers_python()
    assert python
    return python


collect_ignore = [] if peers_python() else ["test_jax.py"]
if cd.devices() == ["cpu"]:
    collect_ignore.append("test_gpu.py")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As it is in what a shell runs in the background: the tests of interrupts would wait for the end of endless runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Pictures(NamedTuple):
    """Real pictures, flat and in [0, 1], and what they show."""

    pixels: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    names: list[str]


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """The first 6,400 pictures of Fashion-MNIST."""
    try:
        (images, labels), _ = cd.datasets.fashion_mnist()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    pixels = images[:6400].reshape(-1, 784).astype("float32") / np.float32(255)
    return Pictures(pixels, labels[:6400], list(cd.datasets.FASHION_MNIST_LABELS))


@pytest.fixture(autouse=True)
def generator() -> None:
    """Each test begins with the same random numbers."""
    cd.random.seed(0)
