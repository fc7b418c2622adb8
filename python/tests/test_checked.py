"""Checked sessions: what they raise, with the whole message, and what they leave alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

X = np.arange(1, 7, dtype="float32").reshape(2, 3)
PLACE = re.compile(r" \((?:[\w./]*/)?test_checked\.py:\d+\)$")
S = cd.TensorSpec


def program(f: Callable[..., Any], **signature: Any) -> cd.Program:
    return cd.Program.of({"f": cd.function(signature=signature)(f)})


Case = tuple[Callable[..., Any], dict[str, Any], dict[str, Any], type[cd.Error], str]

INDEXING: dict[str, Any] = {"x": "float32[2, 3]", "i": "int64[n]"}
CASES: list[Case] = [
    (
        lambda x, i: cd.take(x, i, axis=1),
        INDEXING,
        {"x": X, "i": [0, -3, 3]},
        cd.OutOfBoundsError,
        "take: index 3 at [2] is out of bounds for axis 1 of size 3",
    ),
    (
        lambda x, i: x[i],
        INDEXING,
        {"x": X, "i": [-3]},
        cd.OutOfBoundsError,
        "take: index -3 at [0] is out of bounds for axis 0 of size 2",
    ),
    (
        lambda x: x[4],
        {"x": "float32[n]"},
        {"x": X[0]},
        cd.OutOfBoundsError,
        "take: index 4 is out of bounds for axis 0 of size 3",
    ),
    (
        lambda i: cd.one_hot(i, depth=3),
        {"i": "int64[n]"},
        {"i": [0, 5]},
        cd.OutOfBoundsError,
        "one_hot: index 5 at [1] is out of bounds for axis 1 of size 3",
    ),
    (
        lambda x, y: cd.softmax_cross_entropy(x, y),
        {"x": "float32[batch, 3]", "y": "int32[batch]"},
        {"x": X, "y": [0, 3]},
        cd.OutOfBoundsError,
        "softmax_cross_entropy: label 3 at [1] is out of bounds for axis 1 of size 3",
    ),
    (
        lambda x: cd.astype(x * 100, "int8"),
        {"x": "float32[2, 3]"},
        {"x": X},
        cd.ArgumentError,
        "cast: x is 200 at [0, 1], which int8 does not hold",
    ),
    (
        lambda x: cd.sqrt(x - 2),
        {"x": "float32[2, 3]"},
        {"x": X},
        cd.ArgumentError,
        "sqrt: output is NaN at [0, 0] where x is -1; no input holds NaN",
    ),
    (
        lambda x: cd.scan(lambda c, s: (c + s, cd.log(c)), cd.zeros(()), x)[1],
        {"x": "float32[n]"},
        {"x": [1.0, -3.0, 5.0]},
        cd.ArgumentError,
        "log: output is NaN where x is -2; no input holds NaN",
    ),
]


@pytest.mark.parametrize(("f", "signature", "inputs", "kind", "message"), CASES)
def test_a_checked_session_raises_and_names_the_line(
    f: Callable[..., Any], signature: dict[str, Any], inputs: dict[str, Any], kind: type[cd.Error], message: str
) -> None:
    made = program(f, **signature)
    with cd.load(made.to_bytes(), debug=True) as session, pytest.raises(cd.Error) as caught:
        session.run("f", inputs)
    error = caught.value
    assert (type(error), PLACE.sub("", str(error))) == (kind, message)
    assert error.op == message.split(":")[0] and error.argument is not None
    assert error.location is not None and error.location.line == f.__code__.co_firstlineno
    assert str(error).endswith(f"({error.location})")
    made.session().run("f", inputs)


def test_a_training_step_with_a_wrong_label_leaves_the_state_and_goes_on() -> None:
    w = cd.Variable(np.zeros((3, 4), "float32"), name="w")
    optimizer = cd.optimizers.Adam(0.1)

    @cd.function(signature={"x": S(["batch", 3]), "y": S(["batch"], "int32")})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> Any:
        loss, grads = cd.value_and_grad(lambda: cd.mean(cd.softmax_cross_entropy(x @ w, y)), wrt=[w])()
        optimizer.apply(grads, [w])
        return loss

    made = cd.Program.of({"train_step": train_step})
    checked, plain = made.session(debug=True), made.session()
    for _ in range(3):
        assert checked.train_step(X, [0, 3]) == plain.train_step(X, [0, 3])
        before = checked.state["w"].tolist()
        with pytest.raises(cd.OutOfBoundsError, match=r"4 at \[1\] is out of bounds for axis 1 of size 4"):
            checked.train_step(X, [0, 4])
        assert checked.state["w"].tolist() == before == plain.state["w"].tolist()


def test_checks_leave_what_is_right_alone() -> None:
    def f(x: cd.Tensor) -> Any:
        masked = cd.where(x > 2, x, -np.inf)
        return cd.softmax(masked), cd.exp(x * 100), cd.astype(x, "uint8"), cd.take(x, [-2, 1], axis=0)

    made = program(f, x="float32[2, 3]")
    checked, plain = (made.session(debug=debug).f(X + np.float32([[2], [0]])) for debug in (True, False))
    for one, other in zip(checked, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nan_that_comes_in_is_passed_on() -> None:
    session = program(lambda x: cd.log(x) + 1, x="float32[n]").session(debug=True)
    assert np.isnan(session.f([np.nan, 1.0]).numpy()).tolist() == [True, False]


def test_debug_is_true_or_false() -> None:
    with pytest.raises(cd.ArgumentError, match="options: debug is neither true nor false"):
        cd.Session(program(lambda x: x, x="float32[n]"), debug="yes")  # type: ignore[arg-type]
