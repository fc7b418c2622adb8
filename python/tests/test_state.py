"""State: what variables hold when functions read and write them, alone and from many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import caudal as cd


def variables(*values: float) -> list[cd.Variable]:
    return [cd.Variable(np.full(4, value, "float32"), name=f"v{index}") for index, value in enumerate(values)]


def test_swap() -> None:
    a, b = variables(1, 2)

    @cd.function(signature={})
    def swap() -> None:
        old = cd.asarray(a)
        a.assign(b)
        b.assign(old)

    for expected in ((2, 1), (1, 2), (2, 1)):
        swap()
        assert (float(a[0]), float(b[0])) == expected


def test_identity_and_an_output_that_is_the_updated_state() -> None:
    a, b = variables(1, 5)

    @cd.function(signature={"x": "float32[4]"})
    def step(x: cd.Tensor) -> Any:
        b.assign(b)
        new = a.assign(a + x)
        return new, a, b

    one = np.ones(4, "float32")
    for count in (2, 3, 4):
        new, same, other = step(one)
        assert new.tolist() == same.tolist() == a.value.tolist() == [count] * 4
        assert other.tolist() == [5] * 4


def test_state_may_become_an_input_that_the_caller_goes_on_using() -> None:
    (a,) = variables(0)
    keep = cd.function(signature={"x": "float32[4]"})(lambda x: a.assign(x))
    grow = cd.function(signature={})(lambda: a.assign(a + 1))
    array = np.ones(4, "float32")
    tensor = cd.asarray(array)
    for x in (array, tensor):
        keep(x)
        array[:] = 9
        grow()
        assert a.numpy().tolist() == [2] * 4 and tensor.tolist() == [1] * 4
        array[:] = 1


def test_tensors_held_over_steps_stay_as_they_were() -> None:
    (a,) = variables(0)
    step = cd.function(signature={})(lambda: a.assign(a + 1))
    held: list[Any] = [a.value, a.numpy()]
    for _ in range(3):
        out = step()
        held += [out, a.value, np.from_dlpack(out)]
    assert [np.asarray(each)[0] for each in held] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_assignments_in_order_within_a_function() -> None:
    (a,) = variables(1)

    @cd.function(signature={})
    def f() -> Any:
        first = a * 1
        a.assign(a + 1)
        second = a * 1
        a.assign(a * 10)
        return first, second

    first, second = f()
    assert (float(first[0]), float(second[0]), float(a[0])) == (1, 2, 20)


def test_functions_that_share_variables_see_each_others_state() -> None:
    (a,) = variables(1)
    double = cd.function(signature={})(lambda: a.assign(a * 2))
    read = cd.function(signature={})(lambda: a + 0)
    double()
    assert read().tolist() == [2] * 4
    a.assign(np.full(4, 7, "float32"))
    assert read().tolist() == [7] * 4


def test_a_failed_call_leaves_the_state_as_it_was() -> None:
    (a,) = variables(1)

    @cd.function(signature={"x": "float32[n]"})
    def step(x: cd.Tensor) -> cd.Tensor:
        return a.assign(a + x)

    with pytest.raises(cd.ShapeError):
        step(np.ones(3, "float32"))
    with cd.Program.of({"step": step}).session() as s:
        with pytest.raises(cd.OutOfMemoryError):
            s.run("step", {"x": np.ones(4, "float32")}, limits=cd.Limits(memory=1))
        assert s.state["v0"].tolist() == [1] * 4
    assert a.value.tolist() == [1] * 4


def test_variables_of_one_name_work_until_they_are_saved() -> None:
    a, b = cd.Variable(1.0, name="w"), cd.Variable(2.0, name="w")
    f = cd.function(signature={})(lambda: a + b)
    assert float(f()) == 3
    with pytest.raises(cd.ArgumentError, match="two variables are named 'w'"):
        cd.Program.of({"f": f})


def test_variables_without_a_name_get_numbers() -> None:
    names = [cd.Variable(0.0).name for _ in range(2)]
    assert names[0] != names[1] and all(name.startswith("variable_") for name in names)


def test_sessions_and_functions_have_state_of_their_own() -> None:
    (a,) = variables(1)
    step = cd.function(signature={})(lambda: a.assign(a + 1))
    program = cd.Program.of({"step": step})
    one, two = program.session(), program.session()
    one.step()
    one.step()
    two.step()
    assert [float(each[0]) for each in (a.value, one.state["v0"], two.state["v0"])] == [1, 3, 2]


def test_each_call_draws_anew_and_seeds_repeat() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def noisy(x: cd.Tensor) -> Any:
        return cd.dropout(x, 0.5), cd.dropout(x, 0.5)

    x = np.ones(64, "float32")
    cd.random.seed(3)
    runs = [y.tolist() for _ in range(2) for y in noisy(x)]
    assert len({tuple(run) for run in runs}) == 4
    cd.random.seed(3)
    assert [y.tolist() for _ in range(2) for y in noisy(x)] == runs
    session = cd.Program.of({"noisy": noisy}).session()
    session.state["random/key"] = cd.random.key(3)
    assert [y.tolist() for _ in range(2) for y in session.noisy(x)] == runs


@pytest.mark.parametrize("eager", [True, False])
def test_optimizers_eager_and_traced(eager: bool) -> None:
    target = np.array([1.0, -2.0, 3.0], "float32")
    for make in (
        lambda: cd.optimizers.SGD(0.1),
        lambda: cd.optimizers.SGD(0.05, momentum=0.5),
        lambda: cd.optimizers.SGD(0.05, momentum=0.5, nesterov=True),
        lambda: cd.optimizers.RMSprop(0.1, schedule=cd.schedules.Cosine(100)),
        lambda: cd.optimizers.RMSprop(0.05, momentum=0.5, centered=True, schedule=cd.schedules.Cosine(100)),
        lambda: cd.optimizers.Adagrad(1.0),
        lambda: cd.optimizers.Adam(0.3),
        lambda: cd.optimizers.AdamW(0.3, weight_decay=0.0),
    ):
        w = cd.Variable(cd.zeros(3), name="w")
        optimizer = make()

        def step(w: cd.Variable = w, optimizer: Any = optimizer) -> Any:
            loss, grads = cd.value_and_grad(lambda: cd.sum(cd.square(w - target)), wrt=[w])()
            optimizer.apply(grads, [w])
            return loss

        run = step if eager else cd.function(signature={})(step)
        losses = [float(run()) for _ in range(100)]
        assert losses[0] == 14 and losses[-1] < 0.05, optimizer
        assert int(optimizer.step) == 100
        optimizer.reset()
        assert int(optimizer.step) == 0


def test_adam_is_kerass_to_rounding() -> None:
    w, adam = cd.Variable([1.0, 2.0], name="w"), cd.optimizers.Adam(0.1, epsilon=1e-7)
    m = v = np.zeros(2)
    theirs = np.array([1.0, 2.0])
    for t in range(1, 6):
        g = np.array([0.5, -1.0]) * t
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theirs = theirs - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        adam.apply([g.astype("float32")], [w])
    np.testing.assert_allclose(w.numpy(), theirs, rtol=1e-5)


def test_four_threads_predict_beside_one_that_trains() -> None:
    """Each answer belongs to one version of the state, whole."""
    size = 1 << 14
    parts = [cd.Variable(np.zeros(size, "float32"), name=f"part{index}") for index in range(4)]

    @cd.function(signature={})
    def train() -> None:
        for part in parts:
            part.assign(part + 1)

    @cd.function(signature={})
    def predict() -> Any:
        return cd.stack([cd.stack([cd.min(part), cd.max(part)]) for part in parts])

    for run_train, run_predict in ((train, predict), both_of_a_session(train, predict)):
        stop = threading.Event()
        versions: set[float] = set()

        def look(run_predict: Any = run_predict, stop: threading.Event = stop, versions: set[float] = versions) -> None:
            while not stop.is_set():
                answer = np.asarray(run_predict())
                assert (answer == answer[0, 0]).all(), answer
                versions.add(float(answer[0, 0]))

        with ThreadPoolExecutor(4) as pool:
            looks = [pool.submit(look) for _ in range(4)]
            start = time.perf_counter()
            steps = 0
            while steps < 50 or (len(versions) < 5 and time.perf_counter() - start < 20):
                run_train()
                steps += 1
            stop.set()
            for each in looks:
                each.result()
        assert len(versions) >= 2
        assert float(np.asarray(run_predict())[0, 0]) == steps


def both_of_a_session(train: Any, predict: Any) -> Any:
    session = cd.Program.of({"train": train, "predict": predict}).session()
    session.state.update({name: np.zeros_like(value) for name, value in session.state.items()})
    return session.train, session.predict


def test_saving_while_training_takes_one_version() -> None:
    parts = [cd.Variable(np.zeros(4096, "float32"), name=f"part{index}") for index in range(3)]

    @cd.function(signature={})
    def train() -> None:
        for part in parts:
            part.assign(part + 1)

    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            train()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(10):
            program = cd.Program.of({"train": train})
            values = {float(np.asarray(state)[0]) for state in program.state.values()}
            assert len(values) == 1
    finally:
        stop.set()
        thread.join()
