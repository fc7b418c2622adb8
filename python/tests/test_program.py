"""Programs and sessions: saved, opened, selected, restored; limits and closing."""

from __future__ import annotations

import copy
import io
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd
from caudal import _run


@pytest.fixture
def model() -> dict[str, Any]:
    """A linear model: its functions, over variables of their own."""
    w = cd.Variable(np.arange(6, dtype="float32").reshape(3, 2), name="dense/kernel")
    seen = cd.Variable(0, name="seen", role="statistic")
    adam = cd.optimizers.Adam(0.01)
    x, y = cd.TensorSpec(["batch", 3]), cd.TensorSpec(["batch"], "int32")

    @cd.function(signature={"x": x})
    def predict(x: cd.Tensor) -> cd.Tensor:
        """Probabilities.

        Of two classes.
        """
        return cd.softmax(x @ w)

    @cd.function(signature={"x": x, "y": y})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> Any:
        loss, grads = cd.value_and_grad(lambda: cd.mean(cd.softmax_cross_entropy(x @ w, y)), wrt=[w])()
        adam.apply(grads, [w])
        seen.assign(seen + x.shape[0])
        return {"loss": loss}

    return {"predict": predict, "train_step": train_step}


X, Y = np.random.default_rng(0).normal(size=(8, 3)).astype("float32"), np.array([0, 1] * 4, "int32")


def test_what_a_program_says(model: dict[str, Any]) -> None:
    program = cd.Program.of(model, metadata={"labels": ["a", "b"], "n": 1.5})
    assert list(program.functions) == ["predict", "train_step", "gradients", "apply"]
    predict, step = program.functions["predict"], program.functions["train_step"]
    assert predict.inputs == {"x": cd.TensorSpec(["batch", 3])}
    assert predict.outputs == {"output": cd.TensorSpec(["batch", 2])}
    assert predict.doc == "Probabilities.\n\nOf two classes."
    assert (predict.reads, predict.writes) == (["dense/kernel"], [])
    assert set(step.writes) == {
        "dense/kernel",
        "seen",
        "optimizer/step",
        "optimizer/m/dense/kernel",
        "optimizer/v/dense/kernel",
    }
    assert "optimizer/learning_rate" in step.reads
    assert predict.ops["softmax"] == 1
    assert program.metadata == {"labels": ["a", "b"], "n": 1.5}
    state = program.state["dense/kernel"]
    assert (state.role, str(state.spec), state.shape, state.nbytes) == ("parameter", "float32[3, 2]", (3, 2), 24)
    assert state.value.tolist() == np.asarray(state).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert {name: state.role for name, state in program.state.items()} == {
        "dense/kernel": "parameter",
        "seen": "statistic",
        "optimizer/step": "optimizer",
        "optimizer/learning_rate": "optimizer",
        "optimizer/m/dense/kernel": "optimizer",
        "optimizer/v/dense/kernel": "optimizer",
    }
    assert "predict(x: float32[batch, 3]) -> (output: float32[batch, 2])" in program.info()
    assert "softmax" in program.info(graph=True)
    assert repr(predict) == "predict(x: float32[batch, 3]) -> (output: float32[batch, 2])"


def test_a_file_goes_on_where_python_was(model: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(3):
        model["train_step"](X, Y)
    path = tmp_path / "model.caudal"
    cd.save(path, model)
    losses = [model["train_step"](X, Y)["loss"].item() for _ in range(5)]
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), memoryview(path.read_bytes())):
        with cd.load(source) as s:
            assert [s.train_step(X, Y)["loss"].item() for _ in range(5)] == losses
            assert int(s.state["optimizer/step"]) == 8 and int(s.state["seen"]) == 64
    assert [each.name for each in tmp_path.iterdir()] == ["model.caudal"]


def test_gradients_then_apply_is_a_train_step(model: dict[str, Any]) -> None:
    program = cd.Program.of(model)
    whole, halves = program.session(), program.session()
    for _ in range(3):
        loss = whole.train_step(X, Y)["loss"]
        outputs = halves.run("gradients", {"x": X, "y": Y})
        assert outputs.pop("loss").item() == loss.item()
        halves.run("apply", outputs)
        for name in whole.state:
            np.testing.assert_array_equal(np.asarray(whole.state[name]), np.asarray(halves.state[name]))


def test_bytes_and_files_are_the_same(model: dict[str, Any], tmp_path: Path) -> None:
    program = cd.Program.of(model, metadata=["é", None])
    program.save(tmp_path / "a.caudal")
    data = (tmp_path / "a.caudal").read_bytes()
    assert program.to_bytes() == data
    assert cd.Program.open(data).to_bytes() == data
    assert b"test_program.py" in data and b"test_program.py" not in program.to_bytes(lines=False)
    assert cd.Program.open(data).metadata == ["é", None]


def test_safetensors_reads_the_weights_and_its_files_open(model: dict[str, Any], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    program = cd.Program.of(model)
    program.save(tmp_path / "a.caudal")
    weights = safetensors.load_file(tmp_path / "a.caudal")
    np.testing.assert_array_equal(weights["dense/kernel"], np.arange(6).reshape(3, 2))
    assert set(program.state) <= set(weights)
    safetensors.save_file({"dense/kernel": np.full((3, 2), 7, "float32")}, tmp_path / "w.safetensors")
    plain = cd.Program.open(tmp_path / "w.safetensors")
    assert list(plain.functions) == [] and plain.metadata is None
    s = program.session()
    s.restore(plain)
    assert s.state["dense/kernel"].tolist() == [[7, 7]] * 3


def test_snapshot_restore_select(model: dict[str, Any]) -> None:
    s = cd.Program.of(model).session()
    before = s.snapshot()
    s.train_step(X, Y)
    after = s.snapshot()
    assert before.state["dense/kernel"].value.tolist() != after.state["dense/kernel"].value.tolist()
    s.restore(before, strict=True)
    for name, state in before.state.items():
        np.testing.assert_array_equal(np.asarray(s.state[name]), np.asarray(state))
    small = after.select(["predict"])
    assert (list(small.functions), list(small.state)) == (["predict"], ["dense/kernel"])
    s.restore(small)
    assert s.state["dense/kernel"].tolist() == after.state["dense/kernel"].value.tolist()
    assert int(s.state["seen"]) == 0
    with pytest.raises(cd.UnknownNameError, match="the program has no state"):
        s.restore(small, strict=True)
    clone = after.session()
    assert clone.predict(X).tolist() == s.predict(X).tolist()


def test_state_of_a_session(model: dict[str, Any]) -> None:
    s = cd.Program.of(model).session()
    assert len(s.state) == 6 and "seen" in s.state and "other" not in s.state
    s.state["optimizer/learning_rate"] = 0.5
    s.state.update({"seen": 3, "dense/kernel": [[1, 2]] * 3})
    assert (s.state["optimizer/learning_rate"].item(), s.state["seen"].item()) == (0.5, 3)
    held = s.state["dense/kernel"]
    with pytest.raises(cd.ShapeError):
        s.state.update({"seen": 4, "dense/kernel": np.zeros((2, 2), "float32")})
    assert s.state["seen"].item() == 3
    s.state["dense/kernel"] = np.zeros((3, 2), "float32")
    assert held.tolist() == [[1, 2]] * 3
    with pytest.raises(TypeError, match="cannot be deleted"):
        del s.state["seen"]


def test_functions_are_attributes_unless_the_session_has_the_name() -> None:
    functions = {
        name: cd.function(signature={"x": "float32[]"})(lambda x, factor=factor: x * factor)
        for factor, name in enumerate(["save", "state", "double", "run"], 2)
    }
    s = cd.Program.of(functions).session()
    assert s.double(1.0).item() == 4 and "double" in dir(s)
    assert [s[name](1.0).item() for name in functions] == [2, 3, 4, 5]
    assert s.run("save", {"x": 1.0})["output"].item() == 2
    assert callable(s.save) and not hasattr(s, "triple")
    with pytest.raises(AttributeError, match="its functions are: save, state, double, run"):
        s.triple(1.0)


def test_inputs_by_position_and_name(model: dict[str, Any]) -> None:
    s = cd.Program.of(model).session()
    expected = s.run("train_step", {"y": Y, "x": X})["loss"].item()
    s.restore(cd.Program.of(model))
    assert s.train_step(X, y=Y)["loss"].item() == expected
    s.restore(cd.Program.of(model))
    assert s.train_step(y=list(map(int, Y)), x=X.tolist())["loss"].item() == expected
    assert s["predict"].__doc__ == "Probabilities.\n\nOf two classes."


def test_large_inputs_are_lent_and_never_seen_again() -> None:
    kept = cd.Variable(np.zeros((600, 1000), "float32"), name="kept")

    @cd.function(signature={"x": "float32[n, 1000]"})
    def look(x: cd.Tensor) -> Any:
        return x, cd.reshape(x, (-1,)), cd.sum(x)

    @cd.function(signature={"x": "float32[600, 1000]"})
    def keep(x: cd.Tensor) -> Any:
        return kept.assign(x)

    session = cd.Program.of({"look": look, "keep": keep}).session()
    for run_look, run_keep in ((look, keep), (session.look, session.keep)):
        x = np.ones((600, 1000), "float32")
        outputs = [*run_look(x)[:2], run_keep(x)]
        x[:] = 2
        assert all(np.asarray(output).max() == 1 for output in outputs)
        x.flags.writeable = False
        assert run_look(x)[2].item() == run_look(x[::-1])[2].item() == run_look(x.astype(">f4"))[2].item() == 1.2e6
    assert kept.numpy().max() == session.state["kept"].numpy().max() == 1


def test_memory_is_known_before_a_run(model: dict[str, Any]) -> None:
    s = cd.Program.of(model).session()
    small, large = s.memory("predict", batch=8), s.memory("predict", batch=8000)
    assert 0 < small < large
    s.run("predict", {"x": X}, limits=cd.Limits(memory=small))
    with pytest.raises(cd.OutOfMemoryError) as caught:
        s.run("predict", {"x": X}, limits=cd.Limits(memory=small - 1))
    assert caught.value.op == "predict" and isinstance(caught.value, MemoryError)


@cd.function(signature={"n": "int32[]"})
def spin(n: cd.Tensor) -> Any:
    """Counts."""
    return cd.while_loop(lambda i: i < n, lambda i: i + 1, 0 * n)


@pytest.fixture
def spinning() -> cd.Session:
    """A session whose function takes very long for a large number."""
    return cd.Program.of({"spin": spin}).session()


def test_time_limit(spinning: cd.Session) -> None:
    start = time.perf_counter()
    with pytest.raises(cd.DeadlineError) as caught:
        spinning.run("spin", {"n": 2**31 - 1}, limits=cd.Limits(seconds=0.2))
    assert 0.15 < time.perf_counter() - start < 5 and isinstance(caught.value, TimeoutError)
    assert spinning.spin(10).item() == 10


def test_cancel_from_another_thread(spinning: cd.Session) -> None:
    limits = cd.Limits()
    threading.Timer(0.2, limits.cancel).start()
    with pytest.raises(cd.CancelledError):
        spinning.run("spin", {"n": 2**31 - 1}, limits=limits)


def test_interrupt_from_the_keyboard(spinning: cd.Session) -> None:
    import _thread

    # As the handler of SIGINT does; a real signal would reach the test runner.
    threading.Timer(0.2, _thread.interrupt_main).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        spinning.spin(2**31 - 1)
    assert time.perf_counter() - start < 5
    assert spinning.spin(3).item() == 3


def test_an_interrupted_step_leaves_the_state_and_lets_others_write() -> None:
    import _thread

    count = cd.Variable(0, name="count")
    step = cd.function(signature={"n": "int32[]"})(lambda n: count.assign(count + cd.cast(spin(n), dtype="int64")))
    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        step(2**31 - 1)
    assert int(count) == 0
    assert int(step(2)) == 2


def test_close_waits_and_later_calls_are_refused(spinning: cd.Session) -> None:
    done: list[float] = []
    thread = threading.Thread(target=lambda: done.append(run_until_deadline(spinning)))
    thread.start()
    time.sleep(0.2)
    spinning.close()
    closed = time.perf_counter()
    thread.join()
    # The call had ended; only its thread may have come later to say so.
    assert done[0] < closed + 0.1
    spinning.close()
    with pytest.raises(cd.ClosedError, match="the session is closed"):
        spinning.spin(1)


def run_until_deadline(session: cd.Session) -> float:
    with pytest.raises(cd.DeadlineError):
        session.run("spin", {"n": 2**31 - 1}, limits=cd.Limits(seconds=0.5))
    return time.perf_counter()


def test_with_closes(model: dict[str, Any]) -> None:
    with cd.Program.of(model).session() as s:
        predict = s.predict
    with pytest.raises(cd.ClosedError):
        predict(X)


def test_report_and_placement(model: dict[str, Any]) -> None:
    s = cd.Program.of(model).session(device="auto", limits=cd.Limits(memory=1 << 20))
    assert s.device == "cpu" and set(s.placement().values()) == {"cpu"}
    assert s.report()["memory"]["limit"] == 1 << 20
    assert s.report()["preparation"] == {}
    for batch in (2, 2, 3):
        s.predict(np.ones((batch, *X.shape[1:]), "float32"))
    (name,) = prepared = s.report()["preparation"]
    assert name == "predict" and prepared[name]["seconds"] > 0
    assert (prepared[name]["sizes"], prepared[name]["pipelines"]) == (2, 0)


def test_explain_shows_clusters_and_what_ends_them(tmp_path: Path) -> None:
    graph = cd.Graph()
    x, w = graph.input("x", "float32[n, 4]"), graph.state("w", np.ones((4, 2), "float32"))
    graph.function("predict", cd.softmax(x))
    graph.function("score", cd.softmax(x) @ w)
    s = graph.program().session()
    assert [line.count(" = fused(") for line in s.explain("predict").splitlines()].count(1) == 1
    assert "#" not in s.explain("predict") and "matmul" not in s.explain("predict")
    (note,) = [line for line in s.explain("score").splitlines() if "  # " in line]
    assert note.partition("  # ")[2] == "ends at %3: dot_general begins its cluster"
    with pytest.raises(cd.UnknownNameError, match="no function is named 'other'"):
        s.explain("other")


def test_threads_share_a_session(model: dict[str, Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    s = cd.Program.of(model).session()
    expected = s.predict(X).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert all(result.tolist() == expected for result in pool.map(s["predict"], [X] * 50))


def test_saving_replaces_the_file_at_once(model: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.caudal"
    cd.save(path, model)
    old = cd.load(path)
    model["train_step"](X, Y)
    cd.save(path, model)
    assert old.snapshot().to_bytes() != path.read_bytes()
    assert cd.load(path).state["seen"].item() == 8
    assert os.listdir(tmp_path) == ["model.caudal"]


def test_a_trace_can_be_saved_by_itself() -> None:
    @cd.function
    def scale(x: cd.Tensor, factor: float) -> cd.Tensor:
        return x * factor

    functions = {f"times_{factor:g}": scale.trace(cd.TensorSpec(["n"]), factor) for factor in (2.0, 3.0)}
    s = cd.Program.of(functions).session()
    assert (s.times_2([1.0]).item(), s.times_3([1.0]).item()) == (2, 3)


def test_constants_are_saved_to_the_bit() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 0.1], "float32")
    big = np.random.default_rng(0).normal(size=5000)

    @cd.function(signature={})
    def constants() -> Any:
        return cd.asarray(values), cd.asarray(big), cd.full((2,), float("-inf")), cd.asarray(2**63 - 1)

    results = cd.Program.open(cd.Program.of({"constants": constants}).to_bytes()).session().constants()
    assert np.asarray(results[0]).tobytes() == values.tobytes()
    assert np.asarray(results[1]).tobytes() == big.tobytes()
    assert results[2].tolist() == [-np.inf] * 2 and results[3].item() == 2**63 - 1


def test_an_interrupt_beside_the_first_piece_gives_the_right_to_write_back() -> None:
    count = cd.Variable(0, name="count")
    step = cd.function(signature={"n": "int32[]"})(lambda n: count.assign(count + cd.cast(spin(n), dtype="int64")))
    s = cd.Program.of({"step": step}).session()

    def interrupt(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is _run.run.__code__ and event == "line" and frame.f_locals.get("result") is not None:
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            s.step(2**31 - 1)
    finally:
        sys.settrace(before)
    # The traceback, which is still held, keeps nothing.
    assert caught.value is not None
    assert s.run("step", {"n": 2}, limits=cd.Limits(seconds=5))["output"].item() == 2


def test_sessions_are_copied_and_restored_from(model: dict[str, Any]) -> None:
    s, other = (cd.Program.of(model).session() for _ in range(2))
    assert copy.copy(s).program is s.program
    name = next(iter(s.state))
    s.state[name] = s.state[name] + 1
    other.restore(s)
    np.testing.assert_array_equal(np.asarray(other.state[name]), np.asarray(s.state[name]))
