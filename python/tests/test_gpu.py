"""A GPU from Python, beside the CPU; left out where there is none (conftest.py). A software driver will do."""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd
from caudal import dtypes
from caudal.cli import main

GPU = "gpu:0"
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((5, 4), np.float32)
W = RANDOM.standard_normal((4, 3), np.float32)


def close(given: Any, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(given), np.asarray(expected), rtol=tolerance, atol=tolerance)


# Tensors.


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (5, 7)])
def test_tensors_go_there_and_back(dtype: cd.DType, shape: tuple[int, ...]) -> None:
    here = cd.asarray(RANDOM.integers(0, 2, shape), dtype=dtype)
    there = here.to_device(GPU)
    assert (there.device, there.dtype, there.shape, there.nbytes) == (GPU, dtype, shape, here.nbytes)
    back = there.to("cpu")
    assert back.device == "cpu" and back.tolist() == here.tolist() == there.tolist()
    assert there.to_device(GPU) is there and there.to(cd.device(GPU)) is there


def test_what_reads_elements_fetches_them() -> None:
    x, one = cd.asarray(X, device=GPU), cd.asarray(3, device=GPU)
    close(x.numpy(), X)
    close(np.asarray(x), X)
    close(np.from_dlpack(x), X)
    assert not x.numpy().flags.writeable
    assert (one.item(), int(one), float(one), bool(one), [7, 8, 9, 10][one]) == (3, 3, 3.0, True, 10)
    assert x.tolist() == X.tolist() and x[1, 2].item() == X[1, 2]
    assert repr(one) == "Tensor(3, dtype=int64, device=gpu:0)"
    back = pickle.loads(pickle.dumps(x))
    assert back.device == "cpu" and back.tolist() == x.tolist()
    assert x.__dlpack_device__() == (1, 0) and cd.from_dlpack(x).device == "cpu"
    half = cd.asarray([1.5, -2.0], dtype="bfloat16", device=GPU)
    assert half.tolist() == [1.5, -2.0]
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, copy=False) if np.__version__ >= "2" else x.__array__(copy=False)
    with pytest.raises(BufferError, match="by a copy"):
        x.__dlpack__(copy=False)


MAKERS: list[Callable[..., cd.Tensor]] = [
    lambda **on: cd.asarray([1.0, 2.0], **on),
    lambda **on: cd.asarray(X, dtype="float16", **on),
    lambda **on: cd.zeros((2, 3), **on),
    lambda **on: cd.ones(3, dtype="int8", **on),
    lambda **on: cd.full((2,), 7, **on),
    lambda **on: cd.empty(4, **on),
    lambda **on: cd.arange(2, 9, 3, **on),
    lambda **on: cd.from_dlpack(X, **on),
]


def test_what_makes_tensors_puts_them_where_it_is_told() -> None:
    for make in MAKERS:
        expected = make()
        assert expected.device == "cpu"
        given = make(device=GPU)
        assert given.device == GPU and given.tolist() == expected.tolist()
        with cd.device(GPU):
            assert make().device == GPU and make(device="cpu").device == "cpu"
            assert make().tolist() == expected.tolist()
    with cd.device(GPU):
        made = [cd.random.key(1), cd.linspace(0, 1, 3), cd.eye(2), cd.zeros_like(X), cd.random.normal(cd.random.key(1))]
        assert {tensor.device for tensor in made} == {GPU}
        assert cd.Variable(lambda: cd.zeros(2)).device == cd.Variable([1.0]).device == GPU
    for refused in (lambda: cd.asarray(X, copy=False, device=GPU), lambda: cd.from_dlpack(X, copy=False, device=GPU)):
        with pytest.raises(cd.ArgumentError, match="without a copy"):
            refused()


# Eager ops.

OPS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, w: (x * 2 + 1) / (x * x + 3.0) - -x,
    "numbers first": lambda x, w: 1.0 - x,
    "lists": lambda x, w: x[0] * [1.0, 2.0, 3.0, 4.0],
    "array": lambda x, w: x + X,
    "matmul": lambda x, w: x @ w,
    "composite": lambda x, w: cd.softmax(cd.relu(x @ w)),
    "reductions": lambda x, w: cd.sum(x, axis=0) + cd.max(x),
    "indexing": lambda x, w: x[1:4, ::2] + x[cd.asarray([0, 2, 1]), :2],
    "shapes": lambda x, w: cd.reshape(cd.concat([x.T, w], axis=1), (-1,)),
    "comparison": lambda x, w: cd.where(x > 0, x, cd.zeros_like(x)),
    "integers": lambda x, w: cd.astype(x * 10, "int32") % 3,
    "float64": lambda x, w: cd.astype(x, "float64") * 2,
    "several outputs": lambda x, w: cd.stack(cd.unstack(x)[:2]),
    "no inputs": lambda x, w: x + cd.arange(4.0),
}


@pytest.mark.parametrize("name", OPS)
def test_eager_ops_run_there(name: str) -> None:
    op = OPS[name]
    expected = op(cd.asarray(X), cd.asarray(W))
    # Where the first input is, ...
    given = op(cd.asarray(X, device=GPU), cd.asarray(W, device=GPU))
    assert given.device == GPU and given.dtype is expected.dtype
    close(given, expected)
    # ... or where the context says.
    with cd.device(GPU):
        given = op(cd.asarray(X, device="cpu"), cd.asarray(W, device="cpu"))
        assert given.device == GPU
        with cd.device("cpu"):
            back = op(given.to(GPU) if given.shape == X.shape else cd.asarray(X, device=GPU), cd.asarray(W, device=GPU))
            assert back.device == "cpu"
    close(given, expected)


def test_contexts_belong_to_a_thread() -> None:
    with cd.device(GPU), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: cd.zeros(2).device).result() == "cpu"
        assert cd.zeros(2).device == GPU
    assert cd.zeros(2).device == "cpu"


def test_draws_without_a_key_are_those_of_the_cpu() -> None:
    def draws() -> list[Any]:
        cd.random.seed(3)
        return [cd.dropout(cd.ones(64), 0.5).tolist() for _ in range(2)]

    expected = draws()
    with cd.device(GPU):
        assert draws() == expected
    assert cd.random.generator.device == "cpu" and cd.dropout(cd.ones(4), 0.5).device == "cpu"


def test_eager_gradients() -> None:
    w = cd.Variable(W)

    def loss(x: Any) -> cd.Tensor:
        # `scale` is there already when the gradient is recorded.
        return cd.mean(cd.square(cd.tanh(x @ w) * scale))

    scale = cd.asarray([1.0, 2.0, 3.0])
    value, (dx,) = cd.value_and_grad(loss, wrt=(0,))(X)
    _, dw = cd.value_and_grad(loss, wrt=w)(X)
    second = cd.grad(lambda x: cd.sum(cd.square(cd.grad(loss)(x))))(cd.asarray(X))
    with cd.device(GPU):
        scale = cd.asarray(scale)
        given, (there,) = cd.value_and_grad(loss, wrt=(0,))(X)
        assert (given.device, there.device, w.device) == (GPU, GPU, "cpu")
        close(given, value)
        close(there, dx)
        close(cd.value_and_grad(loss, wrt=w)(X)[1], dw)
        close(cd.grad(lambda x: cd.sum(cd.square(cd.grad(loss)(x))))(cd.asarray(X)), second, 1e-4)
    # The move is part of what is differentiated.
    moved = cd.grad(lambda x: loss(x.to_device(GPU)))(cd.asarray(X))
    close(moved, dx)


def test_variables_stay_where_they_are() -> None:
    v = cd.Variable(cd.asarray(W, device=GPU))
    v.assign(W * 2)
    assert v.device == GPU and v.assign(cd.asarray(W)).device == "cpu" and v.device == GPU
    close(v, W)
    here = cd.Variable(W)
    here.assign(cd.asarray(W, device=GPU))
    assert here.device == "cpu"
    with cd.device(GPU):
        here.assign(W)
    assert here.device == GPU
    adam = cd.optimizers.Adam(1e-2)
    adam.apply([cd.asarray(W, device=GPU)], [v])
    assert {slot.device for slot in adam.slots(v)} == {GPU} == {v.device}


# Functions.


def test_functions_run_where_the_context_or_their_tensors_are() -> None:
    w = cd.Variable(W, name="w")

    @cd.function(signature={"x": "float32[n, 4]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        return cd.softmax(x @ w) + cd.asarray([0.0, 0.5, 1.0])

    expected = predict(X)
    assert (expected.device, w.device) == ("cpu", "cpu")
    with cd.device(GPU):
        given = predict(X)
    assert (given.device, w.device) == (GPU, GPU)
    close(given, expected)
    # The variable keeps it there, ...
    assert predict(cd.asarray(X)).device == GPU
    # ... until a context takes it back.
    with cd.device("cpu"):
        assert predict(X).device == "cpu"
    assert w.device == "cpu" and predict(X).device == "cpu"
    assert predict(cd.asarray(X, device=GPU)).device == GPU == w.device
    close(predict(X[:2]), expected[:2])
    assert len(predict.traces) == 1

    @cd.function
    def bare(x: cd.Tensor) -> cd.Tensor:
        return x * 2

    assert (bare(cd.zeros(2)).device, bare(cd.zeros(2, device=GPU)).device) == ("cpu", GPU)


def mlp() -> tuple[Any, Any, list[cd.Variable]]:
    """A function that trains, one that predicts, and their parameters."""
    random = np.random.default_rng(1)
    sizes, params = (16, 16, 4), []
    for layer, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        kernel = random.standard_normal((inputs, outputs)).astype("float32") / np.sqrt(np.float32(inputs))
        params += [
            cd.Variable(kernel, name=f"dense{layer}/kernel"),
            cd.Variable(np.zeros(outputs, "float32"), name=f"dense{layer}/bias"),
        ]
    adam = cd.optimizers.Adam(1e-2)

    def logits(x: Any) -> cd.Tensor:
        return cd.relu(x @ params[0] + params[1]) @ params[2] + params[3]

    @cd.function(signature={"x": "float32[batch, 16]"})
    def predict(x: cd.Tensor) -> cd.Tensor:
        return cd.softmax(logits(x))

    @cd.function(signature={"x": "float32[batch, 16]", "y": "int32[batch]"})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> dict[str, cd.Tensor]:
        loss, grads = cd.value_and_grad(lambda: cd.mean(cd.softmax_cross_entropy(logits(x), y)), wrt=params)()
        adam.apply(grads, params)
        return {"loss": loss}

    return train_step, predict, params


BATCH = (RANDOM.standard_normal((32, 16), np.float32), RANDOM.integers(0, 4, 32, np.int32))


def losses(step: Callable[..., Any], count: int = 20) -> list[float]:
    """What so many steps give; read at the end alone."""
    return [float(loss) for loss in [step(*BATCH)["loss"] for _ in range(count)]]


def test_training_goes_as_on_the_cpu() -> None:
    expected = losses(mlp()[0])
    train_step, _, params = mlp()
    with cd.device(GPU):
        close(losses(train_step), expected, 1e-3)
    assert expected[-1] < expected[0] * 0.9 and {parameter.device for parameter in params} == {GPU}


# Sessions.


def program() -> cd.Program:
    train_step, predict, _ = mlp()
    return cd.Program.of({"train_step": train_step, "predict": predict})


def test_a_session_keeps_its_state_there(tmp_path: Path) -> None:
    file = tmp_path / "mlp.caudal"
    program().save(file)
    with cd.load(file) as cpu, cd.load(file, device=GPU) as s:
        assert (s.device, s.report()["device"]) == (GPU, GPU)
        expected = losses(cpu.train_step)
        before = s.snapshot()
        close(losses(s.train_step), expected, 1e-3)
        assert s.state["dense0/kernel"].device == GPU == s.predict(BATCH[0]).device
        close(s.predict(BATCH[0]), cpu.predict(BATCH[0]), 1e-3)
        s.state["optimizer/learning_rate"] = 0.5
        s.state.update({"dense1/bias": np.ones(4, "float32"), "dense0/bias": cd.ones(16, device=GPU)})
        assert s.state["optimizer/learning_rate"].item() == 0.5 and s.state["dense1/bias"].tolist() == [1] * 4
        with pytest.raises(cd.ShapeError):
            s.state.update({"dense1/bias": [2.0] * 4, "dense0/bias": [1.0]})
        assert s.state["dense1/bias"].tolist() == [1] * 4
        kept = s.state["dense1/bias"]
        s.restore(before)
        assert kept.tolist() == [1] * 4 and s.state["dense1/bias"].tolist() == [0] * 4
        close(losses(s.train_step, 3), expected[:3], 1e-3)
        saved = tmp_path / "tuned.caudal"
        s.save(saved)
        with cd.load(saved) as again:
            assert again.state["dense0/kernel"].device == "cpu"
            close(losses(again.train_step, 3), expected[3:6], 1e-3)
        cpu.restore(s)
        close(cpu.predict(BATCH[0]), s.predict(BATCH[0]), 1e-4)


def test_sessions_and_threads_share_a_device() -> None:
    given = program()
    expected = losses(given.session().train_step, 5)
    with given.session(device=GPU) as one:
        rows = np.asarray(one.predict(BATCH[0]))

        def work(index: int) -> None:
            if index % 2:
                with given.session(device=GPU) as own:
                    close(losses(own.train_step, 5), expected, 1e-3)
            for _ in range(5):
                close(one.predict(BATCH[0]), rows, 1e-5)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))


def test_placement_names_steps_and_why() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def both(x: cd.Tensor) -> cd.Tensor:
        return cd.exp(cd.astype(cd.astype(x, "float64") / 3, "float32"))

    with cd.Program.of({"both": both}).session(device=GPU) as s:
        close(s.both([1.0, 2.0]), np.exp(np.float32([1, 2]) / 3))
        steps = s.placement()["both"]
    assert {step["device"] for step in steps} <= {"cpu", GPU} and all(step["op"] for step in steps)
    fallen = [step for step in steps if step["device"] == "cpu"]
    assert fallen and all("f64" in step["why"] or "float64" in step["why"] for step in fallen)
    assert all(step["file"].endswith("test_gpu.py") and step["line"] > 0 for step in fallen)
    with cd.Program.of({"both": both}).session(device=GPU, strict=True) as s:
        with pytest.raises(cd.UnsupportedError, match="the device does not run it") as caught:
            s.both([1.0])
        assert caught.value.op and caught.value.location and caught.value.location.file.endswith("test_gpu.py")
    with cd.Program.of({"step": mlp()[0]}).session(device=GPU) as s:
        assert {step["device"] for step in s.placement()["step"]} >= {GPU}
    with pytest.raises(cd.UnsupportedError, match="debug is for the CPU"):
        program().session(device=GPU, debug=True)


def test_a_closed_session_gives_its_memory_back() -> None:
    w = cd.Variable(np.zeros((512, 512), "float32"), name="w")

    @cd.function(signature={"x": "float32[n, 512]"})
    def train(x: cd.Tensor) -> cd.Tensor:
        return cd.sum(w.assign(w + cd.mean(x)))

    device, given = cd.device(GPU), cd.Program.of({"train": train})
    gc.collect()
    used = device.memory()["used"]
    s = given.session(device=GPU)
    assert float(s.train(np.ones((2, 512), "float32"))) == 512 * 512
    assert device.memory()["used"] >= used + w.size * 4
    s.close()
    # What it compiled is let go with the object.
    assert device.memory()["used"] < used + 65536
    with pytest.raises(cd.ClosedError):
        s.train(np.ones((2, 512), "float32"))
    del s
    gc.collect()
    found = device.memory()
    assert (found["used"], found["pooled"]) == (used, 0) and found["peak"] - used >= w.size * 4


@pytest.mark.parametrize(("name", "shape"), [("peers_convnet", (28, 28, 1)), ("resnet", (32, 32, 3))])
def test_networks_of_the_benchmarks_train_there_alone(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    network = importlib.import_module(name)
    # One block a stage is a residual network already, with every op of the large one.
    monkeypatch.setattr(network, "BLOCKS", 1, raising=False)
    given = cd.Program.of(network.caudal_functions())
    x, y = np.random.default_rng(1).random((4, *shape), "float32"), np.arange(4, dtype="int32")
    with given.session() as cpu, given.session(device=GPU, strict=True) as gpu:
        expected = [float(cpu.train_step(x, y)) for _ in range(3)]
        close([float(gpu.train_step(x, y)) for _ in range(3)], expected, 1e-3)
        close(gpu.predict(x), cpu.predict(x), 1e-2)
        assert {step["device"] for steps in gpu.placement().values() for step in steps} == {GPU}


def test_the_work_of_a_step_is_counted() -> None:
    device = cd.device(GPU)
    with program().session(device=GPU) as s:
        losses(s.train_step, 2)
        counts = [device.work()]
        for _ in range(2):
            losses(s.train_step, 1)
            counts.append(device.work())
        kernels = [step for step in s.placement()["train_step"] if step["device"] == GPU]
    first, second = ({key: b[key] - a[key] for key in a} for a, b in zip(counts, counts[1:], strict=False))
    assert first == second and first["pipelines"] == 0
    assert first["dispatches"] >= len(kernels) and first["bytes"] > sum(array.nbytes for array in BATCH)


def test_the_report_says_what_first_calls_compiled() -> None:
    with program().session(device=GPU) as s:
        before = cd.device(GPU).work()["pipelines"]
        losses(s.train_step, 2)
        prepared = s.report()["preparation"]
        assert list(prepared) == ["train_step"] and prepared["train_step"]["seconds"] > 0
        assert prepared["train_step"]["pipelines"] == cd.device(GPU).work()["pipelines"] - before
        losses(s.train_step, 1)
        assert s.report()["preparation"] == prepared


def resident() -> int:
    """The bytes of this process that are in memory, where Linux says so."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def test_many_steps_take_no_more_memory() -> None:
    with program().session(device=GPU) as s:
        gc.collect()
        losses(s.train_step, 200)
        device = cd.device(GPU)
        before, resident_before = device.memory(), resident()
        for _ in range(10_000):
            loss = s.train_step(*BATCH)["loss"]
        assert float(loss) < 1e-2
        del loss
        after, resident_after = device.memory(), resident()
    assert (after["used"], after["peak"]) == (before["used"], before["peak"])
    assert after["pooled"] <= before["pooled"] + 4096
    assert resident_after - resident_before < 32 << 20


# The device.


def test_what_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    info = cd.device(GPU).info
    assert info["name"] == GPU and info["adapter"] and isinstance(info["software"], bool)
    assert info["binding_bytes"] >= 128 << 20 and info["invocations"] >= 256 and "memory" not in info
    assert main(["devices"]) == 0
    shown = capsys.readouterr().out
    assert f"{GPU}: {info['adapter']} (" in shown and info["backend"] in shown
    assert all(word in shown for word in ("features", "buffers", "workgroup", "memory", "MiB"))
    assert main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["adapter"] == info["adapter"]
    with cd.device("cpu"), cd.device(GPU) as device:
        assert device.name == GPU


def test_more_than_it_holds_is_an_error() -> None:
    most = cd.device(GPU).info["binding_bytes"]
    if most <= 1 << 31:
        with pytest.raises(cd.OutOfMemoryError, match=str(most)):
            cd.zeros((most + 4,), dtype="int8").to_device(GPU)
    assert cd.zeros(2, device=GPU).tolist() == [0, 0]


@pytest.mark.skipif("SwiftShader" in cd.device(GPU).info["adapter"], reason="its threads do not outlive a fork")
def test_a_child_opens_it_anew() -> None:
    train_step, predict, params = mlp()
    there = cd.asarray(X, device=GPU)
    with program().session(device=GPU) as s:
        expected = np.asarray(s.predict(BATCH[0]))
    with cd.device(GPU):
        double = cd.function(lambda x: x * 2)
        close(double(cd.asarray(X)), X * 2)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.raises(cd.DeviceError, match="parent"):
                there.numpy()
            with cd.device(GPU):
                close(double(cd.asarray(X)), X * 2)
                close(cd.asarray(X) * 2, X * 2)
                close(predict(BATCH[0]), expected, 1e-4)
            with program().session(device=GPU) as own:
                close(own.predict(BATCH[0]), expected, 1e-4)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert status == 0
    close(there, X)
