"""Devices on any machine: their names, contexts of the CPU, errors. test_gpu.py has what needs a GPU."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import caudal as cd
from caudal import _placement
from caudal.cli import main


def test_the_cpu_is_a_device() -> None:
    cpu = cd.device("cpu")
    assert (cpu.name, cpu.info, repr(cpu)) == ("cpu", {"name": "cpu"}, "<caudal device cpu>")
    assert cpu.memory() == {"used": 0, "pooled": 0, "peak": 0}
    assert cpu.work() == {"dispatches": 0, "pipelines": 0, "bytes": 0}
    assert cd.device(cpu) is cpu and cd.devices()[0] == "cpu" and cd.device("auto").name in cd.devices()


@pytest.mark.parametrize("name", ["gpu:99", "cuda:0", "", "gpu"])
@pytest.mark.parametrize(
    "use",
    [
        cd.device,
        lambda name: cd.zeros(2).to_device(name),
        lambda name: cd.zeros(2).to(name),
        lambda name: cd.zeros(2, device=name),
        lambda name: cd.asarray([1], device=name),
        lambda name: cd.arange(3, device=name),
        lambda name: cd.from_dlpack(np.zeros(2), device=name),
        lambda name: cd.Graph().program().session(device=name),
    ],
)
def test_a_device_that_there_is_not_is_named(use: Any, name: str) -> None:
    with pytest.raises(cd.DeviceError, match="there is no device") as caught:
        use(name)
    assert (caught.value.code, caught.value.argument) == ("device", "device")


def test_contexts_of_the_cpu_nest_and_end() -> None:
    before = _placement.contexts
    with cd.device("cpu") as outer, cd.device("cpu"):
        assert outer.name == _placement.current() == "cpu"
        assert (cd.zeros(2) + 1).device == "cpu" and cd.Variable([1.0]).device == "cpu"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(_placement.current).result() is None
    assert (_placement.contexts, _placement.current()) == (before, None)
    with pytest.raises(ZeroDivisionError), cd.device("cpu"):
        _ = 1 / 0
    assert (_placement.contexts, _placement.current()) == (before, None)


def test_a_session_on_the_cpu_says_so() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def double(x: cd.Tensor) -> cd.Tensor:
        return x * 2

    with cd.Program.of({"double": double}).session(strict=True) as s:
        assert (s.device, s.placement()) == ("cpu", {"double": "cpu"})


def test_the_command_lists_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("cpu\n")
    assert [line.split(":", 1)[0] for line in shown.splitlines() if line.startswith("gpu")] == [
        name.split(":", 1)[0] for name in cd.devices()[1:]
    ]
    assert main(["devices", "--json"]) == 0
    assert [fact["name"] for fact in json.loads(capsys.readouterr().out)] == cd.devices()
