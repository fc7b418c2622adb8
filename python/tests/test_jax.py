"""Beside JAX: the same random numbers, and the same gradients of random programs.

JAX runs in an interpreter of its own, which `PEERS_PYTHON` names or `make peers` installs; without one this file is
not collected.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd

sys.path.insert(0, str(Path(__file__).with_name("peers")))
import table  # noqa: E402

KEYS = [cd.random.key(seed).tolist() for seed in (0, 1, 42, 2**32 - 1, 2**32, 2**64 - 1)]
SHAPES = [(), (1,), (7,), (3, 5), (2, 0), (1003,)]
PROGRAMS, SIDE = 24, 4


def random_requests() -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []
    for key in KEYS:
        requests += [{"kind": "split", "key": key, "num": num} for num in (1, 2, 5)]
        requests += [{"kind": "fold_in", "key": key, "data": data} for data in (0, 1, 2**31, 2**32 - 1)]
    for key in KEYS[2:4]:
        for shape in SHAPES:
            draws = [("bits", "uint32"), ("bits", "uint64")]
            draws += [(kind, dtype) for kind in ("uniform", "normal") for dtype in ("float32", "float64")]
            requests += [{"kind": kind, "key": key, "shape": shape, "dtype": dtype} for kind, dtype in draws]
    return requests


def program_requests() -> list[dict[str, Any]]:
    """The first half is the same in every run, and has every op; the second is new."""
    fresh = random.randrange(2**32)
    print(f"new programs of seed {fresh}")
    names, requests = list(table.TABLE), []
    for number in range(PROGRAMS):
        rng = random.Random(number if number < PROGRAMS // 2 else fresh + number)
        chosen = [rng.choice(names) for _ in range(rng.randint(3, 8))]
        if number < PROGRAMS // 2:
            chosen = names[number :: PROGRAMS // 2] + chosen
        inputs = rng.randint(1, 3)
        steps = []
        for position, name in enumerate(chosen, inputs):
            steps.append([name, [rng.randrange(position) for _ in range(table.TABLE[name][0])]])
        requests.append({"steps": steps, "inputs": inputs, "shape": [SIDE, SIDE], "seed": number})
    return requests


@pytest.fixture(scope="module")
def requests() -> dict[str, list[dict[str, Any]]]:
    return {"random": random_requests(), "programs": program_requests()}


@pytest.fixture(scope="module")
def answers(requests: dict[str, Any], peers: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("jax") / "answers.npz"
    script = Path(__file__).parent / "peers" / "jax_answers.py"
    ran = subprocess.run([peers, script, path], input=json.dumps(requests), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return np.load(path)


def drawn(request: dict[str, Any]) -> Any:
    key = np.array(request["key"], "uint32")
    match request["kind"]:
        case "split":
            return cd.random.split(key, request["num"])
        case "fold_in":
            return cd.random.fold_in(key, np.uint32(request["data"]))
        case kind:
            return getattr(cd.random, kind)(key, tuple(request["shape"]), request["dtype"])


def test_keys_bits_and_uniform_are_equal_to_the_bit(requests: dict[str, Any], answers: Any) -> None:
    for index, request in enumerate(requests["random"]):
        if request["kind"] != "normal":
            expected, given = answers[f"random/{index}"], np.asarray(drawn(request))
            assert (given.dtype, given.shape) == (expected.dtype, expected.shape), request
            assert given.tobytes() == expected.tobytes(), request


def test_normal_is_within_units_in_the_last_place(requests: dict[str, Any], answers: Any) -> None:
    # Both evaluate erfinv of the same uniform numbers. Against SciPy caudal's is off by at most 1.4 units in float32
    # and 3.6 in float64, JAX's by 67 and 46 here.
    for index, request in enumerate(requests["random"]):
        if request["kind"] == "normal":
            expected, given = answers[f"random/{index}"], np.asarray(drawn(request))
            np.testing.assert_array_max_ulp(given, expected, maxulp=96)


class Names:
    """The names of the table, where caudal has them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(cd, name)


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_gradients_of_programs_agree(requests: dict[str, Any], answers: Any, number: int) -> None:
    request = requests["programs"][number]
    rng = np.random.default_rng(request["seed"])
    inputs = [rng.uniform(-1.0, 1.0, request["shape"]) for _ in range(request["inputs"])]
    wrt = list(range(len(inputs)))
    f = cd.function(cd.value_and_grad(lambda *values: table.loss(Names(), request["steps"], *values), wrt=wrt))
    value, slopes = f(*inputs)
    for part, given in enumerate([value, *slopes]):
        expected = answers[f"program/{number}/{part}"]
        np.testing.assert_allclose(np.asarray(given), expected, rtol=1e-8, atol=1e-8, err_msg=str(request), strict=True)


def test_the_programs_of_every_run_have_every_op(requests: dict[str, Any]) -> None:
    fixed = requests["programs"][: PROGRAMS // 2]
    assert {name for request in fixed for name, _ in request["steps"]} == set(table.TABLE)
