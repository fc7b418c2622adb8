"""Functions: when they are traced, what is part of a trace, structures, symbolic shapes, inlining."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import caudal as cd


def test_a_function_is_traced_once_for_each_spec() -> None:
    runs = []

    @cd.function
    def double(x: cd.Tensor) -> cd.Tensor:
        runs.append(x.shape)
        return x * 2

    for x in (
        np.ones(3, "float32"),
        [cd.ones(3)][0],
        np.zeros(3, "float32"),
        np.ones(2, "float32"),
        np.ones(2, "int32"),
    ):
        assert double(x).tolist() == (np.asarray(x) * 2).tolist()
    assert runs == [(3,), (2,), (2,)]
    assert [str(trace) for trace in double.traces] == [
        "double(x: float32[3]) -> float32[3]",
        "double(x: float32[2]) -> float32[2]",
        "double(x: int32[2]) -> int32[2]",
    ]


def test_a_signature_gives_one_trace_for_all_sizes() -> None:
    @cd.function(signature={"x": cd.TensorSpec(["n", 2]), "y": "float32[n]"})
    def weigh(x: cd.Tensor, y: cd.Tensor) -> cd.Tensor:
        return x * cd.expand_dims(y, axis=1)

    for n in (1, 5, 0, 3):
        assert weigh(np.ones((n, 2), "float32"), np.full(n, 2, "float32")).shape == (n, 2)
    assert weigh([[1, 2.0]], [3]).tolist() == [[3, 6]]
    assert weigh(y=[1.0], x=[[1.0, 1.0]]).tolist() == [[1, 1]]
    assert len(weigh.traces) == 1


def test_trace_takes_symbolic_specs_and_later_calls_use_it() -> None:
    @cd.function
    def total(x: cd.Tensor) -> cd.Tensor:
        return cd.sum(x)

    total.trace(cd.TensorSpec(["n"]))
    for n in (1, 2, 3):
        assert float(total(np.ones(n, "float32"))) == n
    assert len(total.traces) == 1
    total(np.ones((2, 2), "float32"))
    assert len(total.traces) == 2


def test_numbers_and_texts_are_part_of_the_trace() -> None:
    @cd.function
    def power(x: cd.Tensor, times: int = 2, *, mode: str = "mul") -> cd.Tensor:
        result = x
        for _ in range(times - 1):
            result = result * x if mode == "mul" else result + x
        return result

    x = np.full(1, 3, "float32")
    assert [power(x).item(), power(x, 3).item(), power(x, times=3).item(), power(x, 3, mode="add").item()] == [
        9,
        27,
        27,
        9,
    ]
    assert len(power.traces) == 3


def test_trees_of_inputs() -> None:
    @cd.function
    def total(parts: dict[str, Any], *rest: Any, **named: Any) -> cd.Tensor:
        leaves = [parts["a"], *parts["b"], *rest, *named.values()]
        result = leaves[0]
        for leaf in leaves[1:]:
            result = result + leaf
        return result

    one = cd.ones(1)
    assert total({"a": one, "b": [one, one]}, one, one, c=one).item() == 6
    assert list(total.traces[0].inputs) == ["parts_a", "parts_b_0", "parts_b_1", "rest_0", "rest_1", "named_c"]


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda x: x, "output"),
        (lambda x: (x, x + 1), "output_0 output_1"),
        (lambda x: [x], "output_0"),
        (lambda x: {"b": x, "a": (x, {"c": x})}, "b a.0 a.1.c"),
        (lambda x: None, ""),
        (lambda x: (x, None, ()), "output_0"),
        (lambda x: {}, ""),
        (lambda x: {"loss": x, "n": 3}, "loss n"),
    ],
)
def test_structures_come_back_from_functions_and_files(make: Any, shown: str) -> None:
    f = cd.function(signature={"x": "float32[2]"})(make)
    program = cd.Program.open(cd.Program.of({"f": f}).to_bytes())
    assert " ".join(program.functions["f"].outputs) == shown
    session = program.session()
    expected = make(cd.asarray([1.0, 2.0]))
    for result in (f([1.0, 2.0]), session.f([1.0, 2.0])):
        assert plain(result) == plain(expected)


def plain(tree: Any) -> Any:
    """A tree with lists in place of tensors; dicts as lists, so that their order counts."""
    if isinstance(tree, dict):
        return [(key, plain(value)) for key, value in tree.items()]
    if isinstance(tree, tuple | list):
        return type(tree)(plain(value) for value in tree)
    return tree.tolist() if isinstance(tree, cd.Tensor) else tree


def test_an_output_may_be_an_input_or_stand_twice() -> None:
    f = cd.function(signature={"x": "float32[n]"})(lambda x: (x, x, x * 1))
    assert [y.tolist() for y in f([1.0])] == [[1.0]] * 3


def test_functions_inside_functions_become_part_of_the_graph() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def inner(x: cd.Tensor) -> cd.Tensor:
        return x * 2

    @cd.function(signature={"x": "float32[n]"})
    def outer(x: cd.Tensor) -> cd.Tensor:
        return inner(x) + inner(x=[1.0])

    assert outer([1.0, 2.0]).tolist() == [4, 6]
    assert inner.traces == []


def test_symbolic_dims_in_arithmetic() -> None:
    @cd.function(signature={"x": "float32[n, 4]"})
    def f(x: cd.Tensor) -> Any:
        n = x.shape[0]
        assert isinstance(n, cd.Dim) and n == cd.Dim("n") and n * 2 - n == n and n - n == 0 and x.size == n * 4
        return {
            "mean": cd.sum(x) / n,
            "zeros": cd.zeros((n, 2)),
            "arange": cd.arange(n * 2),
            "flat": cd.reshape(x, (n * 4,)),
            "back": cd.reshape(x, (-1, 2)),
            "half": x[: n // 2],
            "last": x[-1],
            "rest": n % 4,
            "full": cd.full((n,), 3),
            "normal": cd.random.normal(cd.random.key(0), x.shape),
            "count": n + cd.asarray(1),
        }

    x = np.arange(20, dtype="float32").reshape(5, 4)
    result = f(x)
    assert result["mean"].item() == x.sum() / 5
    assert [result[key].shape for key in ("zeros", "arange", "flat", "back", "half", "normal")] == [
        (5, 2),
        (10,),
        (20,),
        (10, 2),
        (2, 4),
        (5, 4),
    ]
    assert result["last"].tolist() == x[-1].tolist()
    assert (result["rest"].item(), result["count"].item(), result["full"].tolist()) == (1, 6, [3] * 5)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("n+n", "2*n"), ("(n+1)*2-2", "2*n"), ("floordiv(4*n, 2)", "2*n"), ("n", "n"), ("max(n, 1)", "max(n, 1)")],
)
def test_dims_are_canonical(text: str, canonical: str) -> None:
    assert cd.Dim(text) == cd.Dim(canonical) and hash(cd.Dim(text)) == hash(cd.Dim(canonical))
    assert cd.TensorSpec([text]) == cd.TensorSpec.parse(f"float32[{canonical}]")


def test_graph_is_text_that_names_lines() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def f(x: cd.Tensor) -> cd.Tensor:
        return cd.tanh(x)

    line = f.__wrapped__.__code__.co_firstlineno + 2  # type: ignore[attr-defined]
    graph = f.graph()
    assert "tanh(%0)" in graph and f'python/tests/test_function.py":{line}' in graph
    assert "mul" in cd.function(lambda x: x * x).graph(np.ones(2, "float32"))


def test_methods_are_traced_for_each_object() -> None:
    class Layer:
        def __init__(self, scale: float) -> None:
            self.scale = cd.Variable(scale)

        @cd.function(signature={"x": "float32[n]"})
        def __call__(self, x: cd.Tensor) -> cd.Tensor:
            return x * self.scale

        @cd.function
        def twice(self, x: cd.Tensor) -> cd.Tensor:
            return self(self(x))

    two, three = Layer(2.0), Layer(3.0)
    assert [two([1.0]).item(), three([1.0]).item(), two([1.0]).item()] == [2, 3, 2]
    assert [two.twice(cd.ones(1)).item(), three.twice(cd.ones(1)).item()] == [4, 9]


def test_many_threads_trace_once() -> None:
    traced = []

    @cd.function
    def f(x: cd.Tensor) -> cd.Tensor:
        traced.append(1)
        return x + 1

    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(f(np.zeros(2, "float32")).tolist())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1, 1]] * 8 and len(traced) == 1


def test_an_error_while_tracing_leaves_nothing_behind() -> None:
    calls = []

    @cd.function
    def f(x: cd.Tensor) -> cd.Tensor:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("not yet")
        return x

    with pytest.raises(RuntimeError, match="not yet"):
        f(cd.ones(1))
    assert f.traces == []
    assert f(cd.ones(1)).item() == 1
    assert cd.ones(1).tolist() == [1]


def test_graph_by_hand_trains() -> None:
    g = cd.Graph()
    x, y = g.input("x", cd.TensorSpec(["batch", 3])), g.input("y", "int32[batch]")
    w = g.state("dense/kernel", np.zeros((3, 4), "float32"))
    b = g.state("dense/bias", cd.zeros(4))
    count = g.state("count", 0, role="other")
    logits = x @ w + b
    loss = cd.mean(cd.softmax_cross_entropy(logits, y))
    g.function("predict", cd.softmax(logits), doc="Probabilities.")
    step = g.function("train_step", {"loss": loss})
    step.update(count, count + 1)
    step.minimize(loss, [w, b], cd.optimizers.Adam(0.1))
    gradients = g.grad(loss, {"w": w})
    g.function("slope", gradients, inputs=["x", "y"])
    program = g.program(metadata={"labels": ["a"]})
    assert set(program.functions) == {"predict", "train_step", "gradients", "apply", "slope"}
    s = program.session()
    x_data, y_data = np.eye(3, dtype="float32"), np.array([0, 1, 2], "int32")
    losses = [s.train_step(x_data, y_data)["loss"].item() for _ in range(20)]
    assert losses[0] == pytest.approx(np.log(4), rel=1e-6) and losses[-1] < 0.1
    assert s.state["count"].item() == 20
    assert s.slope(x_data, y_data)["w"].shape == (3, 4)
    assert program.functions["predict"].doc == "Probabilities."
    assert {state.role for state in program.state.values()} == {"parameter", "optimizer", "other"}


def test_graph_by_hand_takes_variables_gradients_and_control_flow() -> None:
    w = cd.Variable([1.0, 2.0], name="w")
    g = cd.Graph()
    x = g.input("x", "float32[2]")
    value, slope = cd.value_and_grad(lambda x: cd.sum(x * w * x))(x)
    f = g.function("f", (value, slope, cd.cond(value > 3.0, lambda: x * 2, lambda: x)))
    f.update(w, w + x)
    s = g.program().session()
    value, slope, chosen = s.f([1.0, 1.0])
    assert (value.item(), slope.tolist(), chosen.tolist()) == (3, [2, 4], [1, 1])
    assert s.state["w"].tolist() == [2, 3] and w.value.tolist() == [1, 2]


def test_graph_by_hand_draws_random_keys() -> None:
    g = cd.Graph()
    x = g.input("x", "float32[n]")
    g.function("noisy", x + cd.random.normal(g.draw(), x.shape))
    s = g.program().session()
    first, second = s.noisy(np.zeros(4, "float32")), s.noisy(np.zeros(4, "float32"))
    assert first.tolist() != second.tolist()
    assert s.program.state["random/key"].role == "random"


def test_graphs_by_hand_draw_anew() -> None:
    g = cd.Graph()
    g.function("f", {"y": cd.dropout(g.input("x", "float32[64]"), 0.5)})
    s = g.program().session()
    x = np.ones(64, "float32")
    assert list(s.state) == ["random/key"]
    assert s.f(x)["y"].tolist() != s.f(x)["y"].tolist()


def test_graphs_by_hand_train_variables() -> None:
    w = cd.Variable([1.0, 2.0], name="w")
    g = cd.Graph()
    loss = cd.sum(g.input("x", "float32[2]") * w)
    step = g.function("step", {"grad": g.grad(loss, w)})
    step.minimize(loss, [w], cd.optimizers.SGD(0.5))
    s = g.program().session()
    assert s.step([2.0, 4.0])["grad"].tolist() == [2, 4]
    assert s.state["w"].tolist() == [0, 0]


def test_numpys_numbers_are_inputs_and_floats_are_told_apart() -> None:
    double = cd.function(lambda x: x * 2)
    assert [double(np.float64(value)).item() for value in (1, 2)] == [2, 4]
    assert len(double.traces) == 1
    sign = cd.function(lambda x, by: x / by)
    assert [sign(cd.ones(()), by).item() for by in (0.0, -0.0)] == [float("inf"), float("-inf")]
    for _ in range(2):
        sign(cd.ones(()), float("nan"))
    assert len(sign.traces) == 3
