"""Errors: whole messages, their classes and parts, and the user's line."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd

X = cd.asarray(np.arange(6, dtype="float32").reshape(2, 3))
N = cd.asarray([1, 2, 3])
F = np.zeros((2, 3), "float32")
SPEC = cd.TensorSpec(["batch", 3])
W = cd.Variable([1.0, 2.0], name="w")


@cd.function(signature={"x": SPEC, "y": "int32[batch]"})
def both(x: cd.Tensor, y: cd.Tensor) -> Any:
    return x, y


def trace(body: Callable[..., Any]) -> Any:
    return cd.function(signature={"x": SPEC})(body).trace()


def leaked() -> cd.Tensor:
    kept: list[cd.Tensor] = []
    trace(lambda x: kept.append(x))
    return kept[0]


def unsigned() -> Any:
    @cd.function
    def predict(x: cd.Tensor) -> cd.Tensor:
        return x * 2

    predict(np.ones((64, 784), "float32"))
    predict(np.ones((16, 784), "float32"))
    return predict


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth > 1 else []


def session() -> cd.Session:
    return cd.Program.of({"both": both}).session()


def graph_input() -> cd.Tensor:
    return cd.Graph().input("x", SPEC)


def program(f: Callable[..., Any], **signature: str) -> cd.Program:
    return cd.Program.of({"f": cd.function(signature=signature)(f)})


def closed() -> cd.Session:
    made = session()
    made.close()
    return made


def image(*sizes: int) -> Any:
    return np.zeros(sizes, "float32")


def weights(*values: float) -> cd.Program:
    """A program with one function and the state `w`."""
    w = cd.Variable([float(value) for value in values], name="w")
    return program(lambda: w + 0)


def newer() -> bytes:
    """A file that says that readers of a later format are needed."""
    data = session().snapshot().to_bytes()
    assert data.count(b'\\"reader\\":1') == 1
    return data.replace(b'\\"reader\\":1', b'\\"reader\\":9')


def planned() -> cd.Session:
    """A session whose function has run: what is left to pay for is the run."""
    s = program(lambda x: cd.exp(x), x="float32[n]").session()
    s.run("f", {"x": image(1000)})
    return s


def cancelled() -> cd.Limits:
    limits = cd.Limits()
    limits.cancel()
    return limits


def two_functions() -> None:
    graph = cd.Graph()
    x = graph.input("x", SPEC)
    graph.function("f", {"y": x})
    graph.function("f", {"y": x})


Case = tuple[Callable[[], Any], type[cd.Error], str]

# What fails, with which class, and the whole message but for the place in parentheses at its end.
OPS: list[Case] = [
    (lambda: X + cd.zeros(4), cd.ShapeError, "add: shapes [2, 3] and [4] cannot be broadcast together"),
    (lambda: X + N, cd.DTypeError, "add: float32 and int64 have no common dtype; cast one of them"),
    (lambda: N + 1.5, cd.DTypeError, "add: 1.5 is a float, which int64 does not hold; cast one of them"),
    (lambda: N * [1.5], cd.DTypeError, "mul: the list holds a float, which int64 does not hold; cast one of them"),
    (lambda: cd.ones(2, dtype="int8") + 300, cd.DTypeError, "add: 300 is out of range for int8"),
    (lambda: cd.asarray(2**70), cd.DTypeError, "1180591620717411303424 is out of range for int64"),
    (
        lambda: X + 1j,
        cd.ArgumentError,
        "complex is not an array; caudal takes tensors, NumPy arrays, numbers and lists of them",
    ),
    (lambda: cd.exp(N), cd.DTypeError, "exp: x is int64; it can be float16, bfloat16, float32, float64"),
    (
        lambda: X @ cd.zeros((4, 2)),
        cd.ShapeError,
        "matmul: x [2, 3] times y [4, 2]: the last dim of x is 3, the last but one dim of y is 4",
    ),
    (lambda: cd.sum(X, axis=2), cd.ArgumentError, "sum: axis 2 is out of range for rank 2"),
    (lambda: cd.reshape(X, (4,)), cd.ShapeError, "reshape: x [2, 3] has 6 elements, which the shape [4] has not"),
    (
        lambda: cd.concat([X, cd.zeros((2, 2))]),
        cd.ShapeError,
        "concat: shapes [2, 3] and [2, 2] differ at axis 1, not only at axis 0",
    ),
    (lambda: cd.zeros((2, -1)), cd.ArgumentError, "-1 is not a size"),
    (lambda: cd.zeros(2.5), cd.ArgumentError, "2.5 is not a size"),  # type: ignore[arg-type]
    (
        lambda: cd.zeros("batch"),
        cd.ArgumentError,
        "broadcast_to: the dim batch has no value outside of a traced function",
    ),
    (
        lambda: cd.zeros(2, dtype="float8"),
        cd.DTypeError,
        "no dtype is named 'float8'; there are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, "
        "float16, bfloat16, float32, float64",
    ),
    (lambda: cd.asarray([1, [2, 3]]), cd.ShapeError, "the lists have different lengths"),
    (lambda: X[2], cd.OutOfBoundsError, "index: 2 is out of bounds for axis 0, which has size 2"),
    (lambda: X[0, [0, -4]], cd.OutOfBoundsError, "index: -4 is out of bounds for axis 0, which has size 3"),
    (lambda: X[0, 0, 0], cd.OutOfBoundsError, "index: 3 indices for rank 2"),
    (lambda: X[X > 1], cd.UnsupportedError, "index: masks are not supported; use where"),
    (
        lambda: X["a"],
        cd.ArgumentError,
        "index: str is no index; use integers, slices, ..., None or an array",
    ),
    (lambda: cd.take(X, [5], axis=1), cd.OutOfBoundsError, "index: 5 is out of bounds for axis 1, which has size 3"),
    (lambda: float(X), cd.ShapeError, "float: the tensor has shape [2, 3], not one element"),
    (lambda: cd.squeeze(X, axis=0), cd.ShapeError, "squeeze: axis 0 has size 2, not 1"),
    (lambda: cd.dropout(X, 1.5), cd.ArgumentError, "dropout: rate is 1.5; it is in [0, 1)"),
    (
        lambda: cd.optimizers.Adam(beta_1=1.5),
        cd.ArgumentError,
        "adam: beta_1 is 1.5; it takes from 0 to below 1",
    ),
    (
        lambda: cd.ops.cast(X, dtype="f4x"),
        cd.DTypeError,
        'cast: no dtype is named "f4x"; there are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, '
        "float16, bfloat16, float32, float64",
    ),
    (lambda: cd.random.key(-1), cd.ArgumentError, "key: -1 is not in 0 to 2^64 - 1"),
    (lambda: cd.from_dlpack([1]), cd.ArgumentError, "from_dlpack: list has no __dlpack__"),
    (lambda: cd.Limits(memory=-1), cd.ArgumentError, "Limits: a limit is 0 or more, not memory=-1, seconds=0.0"),
]

SPECS: list[Case] = [
    (
        lambda: cd.TensorSpec([-1]),
        cd.ArgumentError,
        "TensorSpec: -1 is not a size; an unknown one is a name such as 'batch'",
    ),
    (
        lambda: cd.TensorSpec.parse("float32"),
        cd.ArgumentError,
        "'float32' is not a spec such as float32[batch, 784]",
    ),
    (
        lambda: cd.function(signature={"z": SPEC})(lambda x: x),
        cd.ArgumentError,
        "function: the signature names 'z', the function's parameters are: x",
    ),
    (
        lambda: cd.function(signature={"x": SPEC})(lambda x, y: x).trace(),
        cd.ArgumentError,
        "function: the signature lacks the parameter 'y', which has no default",
    ),
    (
        lambda: cd.Variable(1.0, role="weights"),
        cd.ArgumentError,
        "Variable: there is no role 'weights'; there are parameter, optimizer, statistic, random, other",
    ),
    (lambda: W.assign([1, 2, 3]), cd.ShapeError, "assign: w is float32[2], the new value float32[3]"),
    (lambda: W.assign(cd.asarray([1, 2])), cd.DTypeError, "assign: w is float32, the new value int64"),
]

CALLS: list[Case] = [
    (
        lambda: both(F.astype("float64"), [1, 2]),
        cd.DTypeError,
        'both: x is float64[2, 3], expected float32[batch, 3]; write x.astype("float32")',
    ),
    (
        lambda: session().both(X, N),
        cd.DTypeError,
        'both: y is int64[3], expected int32[batch]; write cd.astype(y, "int32")',
    ),
    (
        lambda: both(F[:, :2], [1, 2]),
        cd.ShapeError,
        "both: x is float32[2, 2], expected float32[batch, 3]: axis 1 is 2, expected 3",
    ),
    (
        lambda: session().both(F[0], [1]),
        cd.ShapeError,
        "both: x is float32[3], expected float32[batch, 3]; add a leading dimension",
    ),
    (
        lambda: both(F, [1, 2, 3]),
        cd.ShapeError,
        "both: y is int32[3], expected int32[batch]: axis 0 is 3, expected batch = 2",
    ),
    (
        lambda: both(F, [1.5, 2]),
        cd.DTypeError,
        "both: y: the list holds a float, which int32 does not hold; cast one of them",
    ),
    (lambda: session().both(F), cd.ArgumentError, "both: the input y is missing; it takes x, y"),
    (lambda: session().both(F, z=1), cd.UnknownNameError, "both: there is no input 'z'; it takes x, y"),
    (lambda: session().both(F, x=1), cd.ArgumentError, "both: the input x was given twice"),
    (lambda: session().both(1, 2, 3), cd.ArgumentError, "both: 3 inputs were given, it takes x, y"),
    (lambda: session().run("predict"), cd.UnknownNameError, "no function is named 'predict'; there are: both"),
    (lambda: session().memory("both"), cd.ArgumentError, 'give the dim batch, as in {"batch": 32}'),
    (
        lambda: cd.grad(lambda x: cd.sum(session().both(x, [1, 2])[0]))(X),
        cd.UnsupportedError,
        "both: gradients do not pass through a session's function; give it cd.stop_gradient(x)",
    ),
]

TRACES: list[Case] = [
    (
        lambda: trace(lambda x: x if cd.sum(x) > 0 else -x),
        cd.ArgumentError,
        "the truth value of a tensor is not known while the function is traced; use cond or where",
    ),
    (
        lambda: trace(lambda x: float(cd.sum(x))),
        cd.ArgumentError,
        "the value of a tensor is not known while the function is traced",
    ),
    (
        lambda: trace(lambda x: np.asarray(x)),
        cd.ArgumentError,
        "the elements of a tensor are not known while the function is traced",
    ),
    (
        lambda: trace(lambda x: list(x)),
        cd.ArgumentError,
        "the length of a tensor is not known while the function is traced; use its shape, or scan",
    ),
    (
        lambda: trace(lambda x: range(x.shape[0])),
        cd.ArgumentError,
        "the value of the dim batch is not known while a function is traced",
    ),
    (
        lambda: trace(lambda x: x @ cd.zeros((4, 2))),
        cd.ShapeError,
        "matmul: x [batch, 3] times y [4, 2]: the last dim of x is 3, the last but one dim of y is 4",
    ),
    (lambda: trace(lambda x: x[0, 5]), cd.OutOfBoundsError, "index: 5 is out of bounds for axis 1, which has size 3"),
    (
        lambda: leaked() + 1,
        cd.ArgumentError,
        "a tensor traced in the function is used after that has ended; return it from there",
    ),
    (
        lambda: trace(lambda x: x + graph_input()),
        cd.ArgumentError,
        "a tensor traced in the function is used in the graph",
    ),
    (
        lambda: trace(lambda x: cd.cond(cd.sum(x) > 0, lambda: x, lambda: x[:1])),
        cd.ShapeError,
        "cond: then gives (float32[batch, 3]), else gives (float32[min(batch, 1), 3])",
    ),
    (
        lambda: trace(lambda x: cd.cond(cd.sum(x) > 0, lambda: x, lambda: {"x": x})),
        cd.ArgumentError,
        "cond: the functions give different structures: * and {'x': *}",
    ),
    (
        lambda: trace(lambda x: cd.while_loop(lambda v: cd.sum(v) < 3, lambda v: v[:, 0], x)),
        cd.ShapeError,
        "while_loop: the carried value is float32[batch, 3] before a step and float32[batch] after it",
    ),
    (
        lambda: trace(lambda x: cd.scan(lambda c, s: (c, s), x)),
        cd.ArgumentError,
        "scan: give slices or a length",
    ),
    (
        lambda: trace(lambda x: cd.cond(cd.sum(x) > 0, lambda: W.assign(W), lambda: W + 0)),
        cd.UnsupportedError,
        "assign: a variable cannot be assigned inside the function 'then' of cond; carry its value and assign it "
        "afterwards",
    ),
    (
        lambda: trace(lambda x: cd.grad(lambda y: cd.while_loop(lambda v: v < 3, lambda v: v + y, 0.0))(cd.sum(x))),
        cd.UnsupportedError,
        "while_loop: a loop without max_steps has no gradient; give it max_steps",
    ),
]

GRADIENTS: list[Case] = [
    (
        lambda: cd.grad(lambda x: x * 2)(X),
        cd.ShapeError,
        "grad: the loss is float32[2, 3], not a scalar; reduce it, for example by mean",
    ),
    (
        lambda: cd.grad(cd.sum)(N),
        cd.DTypeError,
        "grad: the value to differentiate by is int64; only floating-point values have gradients",
    ),
    (lambda: cd.grad(cd.sum, wrt=1)(X), cd.ArgumentError, "grad: wrt is 1, 1 arguments were given by position"),
    (
        lambda: cd.grad(cd.sum, wrt=["w"])(X),
        cd.ArgumentError,
        "grad: wrt is numbers of arguments or a tree of variables, not str",
    ),
    (lambda: cd.optimizers.SGD().apply([X, X], [W]), cd.ArgumentError, "apply: grads is not built as [*]"),
    (
        lambda: cd.optimizers.SGD().apply([X], [W]),
        cd.ShapeError,
        "sgd: gradient has shape [2, 3], the parameter [2]",
    ),
]

FILES: list[Case] = [
    (
        lambda: cd.save("x.caudal", {"predict": unsigned()}),
        cd.ArgumentError,
        "save: predict has no signature; it was called as predict(x: float32[64, 784]) -> float32[64, 784], "
        "predict(x: float32[16, 784]) -> float32[16, 784]; write "
        '@cd.function(signature={"x": cd.TensorSpec(["batch", 784], "float32")})',
    ),
    (
        lambda: cd.save("x.caudal", {"f": len}),  # type: ignore[dict-item]
        cd.ArgumentError,
        "save: f is builtin_function_or_method, not a caudal function; decorate it with @cd.function",
    ),
    (
        lambda: cd.save("x.caudal", {"f-1": both}),
        cd.ArgumentError,
        'function name "f-1" is not [A-Za-z_][A-Za-z0-9_]*',
    ),
    (
        lambda: cd.save("x.caudal", {"f": cd.function(signature={})(lambda: {"a": {"b": W + 0}, "a.b": W + 0})}),
        cd.ArgumentError,
        "save: two outputs of f are named 'a.b'",
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata="a" * (1 << 21)),
        cd.ArgumentError,
        "metadata takes more than 1048576 bytes",
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata={"a": object()}),
        cd.ArgumentError,
        "metadata has no JSON form: Object of type object is not JSON serializable",
    ),
    (
        lambda: cd.load("missing.caudal"),
        cd.FileError,
        "cannot open missing.caudal: No such file or directory (os error 2)",
    ),
    (
        lambda: cd.load(b"hello, this is not a program"),
        cd.FormatError,
        'the data is not a caudal file: it begins with "hello, t"',
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata={"a": [float("nan")]}),
        cd.ArgumentError,
        "metadata has no JSON form: nan is not finite",
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata=2**64),
        cd.ArgumentError,
        "metadata has no JSON form: an integer takes more than 64 bits",
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata={"\ud800": 1}),
        cd.ArgumentError,
        "metadata has no JSON form: '\\ud800' holds half of a surrogate pair",
    ),
    (
        lambda: cd.save("x.caudal", {"f": both}, metadata=nested(101)),
        cd.ArgumentError,
        "metadata is nested more than 100 deep",
    ),
    (
        lambda: cd.save("x.caudal", [both]),  # type: ignore[arg-type]
        cd.ArgumentError,
        'save: the functions are list, not by name; write {"predict": predict}',
    ),
    (
        lambda: session().save(io.BytesIO()),  # type: ignore[arg-type]
        cd.ArgumentError,
        "save: BytesIO is no path; write to_bytes() to an open file",
    ),
    (
        lambda: session().restore(3),  # type: ignore[arg-type]
        cd.ArgumentError,
        "restore: int is neither a program nor a session; open a file with cd.Program.open",
    ),
    (
        lambda: cd.Limits(memory=2**70),
        cd.ArgumentError,
        f"Limits: a limit is 0 or more, and less than 2^64 bytes, not memory={2**70}, seconds=0.0",
    ),
    (
        lambda: cd.Limits(memory=float("inf")),  # type: ignore[arg-type]
        cd.ArgumentError,
        "Limits: a limit is 0 or more, and less than 2^64 bytes, not memory=inf, seconds=0.0",
    ),
    (
        lambda: cd.from_dlpack(F.T, copy=False),
        cd.ArgumentError,
        "from_dlpack: the data cannot be taken without a copy",
    ),
    (
        lambda: cd.asarray([1.0], copy=False),
        cd.ArgumentError,
        "asarray: the list cannot be taken without a copy",
    ),
    (lambda: cd.load(3), cd.ArgumentError, "open: int is no path, no bytes and no open file"),  # type: ignore[arg-type]
    (
        lambda: cd.Program.of({"both": both}).session(device="none"),
        cd.DeviceError,
        'there is no device "none"; a device is cpu, gpu:0, ... or auto',
    ),
    (
        lambda: cd.Program.of({"both": both}).select(["h"]),
        cd.UnknownNameError,
        'no function is named "h"; there are: both',
    ),
]

IMAGE = "float32[batch, height, width, 1]"
KERNEL = image(3, 3, 1, 1)

ATTRS: list[Case] = [
    (lambda: cd.softmax(X, axis="last"), cd.ArgumentError, 'softmax: axis takes an integer, not "last"'),  # type: ignore[arg-type]
    (lambda: cd.sum(X, axis=1.5), cd.ArgumentError, "sum: axis takes integers, not 1.5"),  # type: ignore[arg-type]
    (
        lambda: cd.ops.transpose(X, axes="ab"),  # type: ignore[arg-type]
        cd.ArgumentError,
        'transpose: axes takes integers, not "ab"',
    ),
    (
        lambda: cd.conv(image(1, 2, 2, 1), KERNEL),
        cd.ShapeError,
        "conv: spatial axis 0 has 2 elements with padding, fewer than the 3 that the window spans",
    ),
    (
        lambda: cd.conv(image(1, 5, 5, 2), KERNEL),
        cd.ShapeError,
        "conv: x has 2 channels, the kernel takes 1: 1 in each of 1 groups",
    ),
    (
        lambda: cd.conv(image(1, 5, 5, 1), KERNEL, padding="full"),
        cd.ArgumentError,
        'conv: padding is "full"; it can be "valid" or "same"',
    ),
    (
        lambda: program(lambda x: cd.conv(x, KERNEL), x="float32[batch, 2, 2, 1]"),
        cd.ShapeError,
        "conv: spatial axis 0 has 2 elements with padding, fewer than the 3 that the window spans",
    ),
]

RUNS: list[Case] = [
    (
        lambda: program(lambda x: cd.conv(x, KERNEL), x=IMAGE).session().f(image(1, 2, 5, 1)),
        cd.ShapeError,
        "conv: height = 2, it must be at least 3",
    ),
    (
        lambda: program(lambda x: cd.max_pool(x, window=[2, 2]), x=IMAGE).session().f(image(1, 2, 1, 1)),
        cd.ShapeError,
        "max_pool: width = 1, it must be at least 2",
    ),
    (
        lambda: program(lambda x: cd.reshape(x, (2, -1)), x="float32[n]").session().f(image(5)),
        cd.ShapeError,
        "reshape: n = 5 and 2*floordiv(n, 2) = 4 must be equal",
    ),
    (
        lambda: program(lambda x: x + cd.zeros(4), x="float32[n]").session().f(image(5)),
        cd.ShapeError,
        "add: n = 5 and 4 must be equal",
    ),
    (
        lambda: program(lambda x, i: cd.take(x, i), x="float32[n]", i="int32[m]").session(debug=True).f(image(5), [7]),
        cd.OutOfBoundsError,
        "take: index 7 at [0] is out of bounds for axis 0 of size 5",
    ),
]

SESSIONS: list[Case] = [
    (lambda: closed().both(F, [1, 2]), cd.ClosedError, "the session is closed"),
    (lambda: closed().snapshot(), cd.ClosedError, "the session is closed"),
    (
        lambda: session().both(object(), [1, 2]),
        cd.ArgumentError,
        "both: x: object is not an array; caudal takes tensors, NumPy arrays, numbers and lists of them",
    ),
    (lambda: session().both([[1, 2, 3], [1]], [1]), cd.ShapeError, "both: x: the lists have different lengths"),
    (lambda: session().memory("both", batch=-1), cd.ArgumentError, "the dim batch is -1, which is not a size"),
    (lambda: session().memory("both", bach=1), cd.ArgumentError, 'dims has no "bach"; there are: batch'),
    (
        lambda: session().run("both", {"x": F, "y": [1, 2]}, limits=cancelled()),
        cd.CancelledError,
        "both: the call was cancelled",
    ),
    (
        lambda: planned().run("f", {"x": image(1000)}, limits=cd.Limits(3000)),
        cd.OutOfMemoryError,
        "f: a call needs 4000 bytes, the limit is 3000",
    ),
    (
        lambda: (
            program(lambda x: cd.while_loop(lambda i: i < x, lambda i: -i, 0 * x), x="int64[]")
            .session()
            .run("f", {"x": 1}, limits=cd.Limits(seconds=0.01))
        ),
        cd.DeadlineError,
        "f: the call took longer than its limit in seconds",
    ),
    (
        lambda: weights(1, 2).session().state.update({"w": [1.0, 2.0, 3.0]}),
        cd.ShapeError,
        "w is float32[2], the new value is float32[3]",
    ),
    (
        lambda: weights(1, 2).session().state.update({"w": cd.asarray([1, 2])}),
        cd.DTypeError,
        "w is float32[2], the new value is int64[2]",
    ),
    (
        lambda: weights(1, 2).session().state.update({"v": [1.0]}),
        cd.UnknownNameError,
        "no state is named 'v'; there are: w",
    ),
    (
        lambda: weights(1, 2).session().restore(weights(1, 2, 3)),
        cd.ShapeError,
        "w is float32[2], the new value is float32[3]",
    ),
    (
        lambda: weights(1, 2).session().restore(session(), strict=True),
        cd.UnknownNameError,
        'the program has no state "w"',
    ),
    (
        lambda: session().restore(weights(1, 2), strict=True),
        cd.UnknownNameError,
        'the session has no state "w"',
    ),
    (two_functions, cd.ArgumentError, 'two functions are named "f"'),
    (
        lambda: program(lambda: W + cd.Variable([1.0], name="w")),
        cd.ArgumentError,
        "save: two variables are named 'w'; give one of them another name",
    ),
    (
        lambda: cd.load(session().snapshot().to_bytes()[:300]),
        cd.FormatError,
        "the data is cut short: 300 bytes of 579",
    ),
    (lambda: cd.load(b"12345"), cd.FormatError, "the data is not a caudal file: it has 5 bytes"),
    (lambda: cd.load(newer()), cd.NewerFileError, "the data needs caudal format 9; this is 1"),
]

PLACE = re.compile(r" \((?:[\w./]*/)?test_errors\.py:\d+\)$")


@pytest.mark.parametrize(
    ("fail", "kind", "message"), [*OPS, *SPECS, *CALLS, *TRACES, *GRADIENTS, *FILES, *ATTRS, *RUNS, *SESSIONS]
)
def test_messages(
    fail: Callable[[], Any], kind: type[cd.Error], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cd.Error) as caught:
        fail()
    assert PLACE.sub("", str(caught.value)) == message
    assert type(caught.value) is kind
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fail", "kind", "message"), [*TRACES, *RUNS])
def test_errors_of_traces_name_the_line(fail: Callable[[], Any], kind: type[cd.Error], message: str) -> None:
    with pytest.raises(kind) as caught:
        fail()
    location = caught.value.location
    assert location is not None and location.file.endswith("test_errors.py")
    first = fail.__code__.co_firstlineno
    assert first <= location.line <= first + 3 or "leaked" in fail.__code__.co_names
    assert str(caught.value).endswith(f"({location})")


def test_parts_of_an_error() -> None:
    with pytest.raises(cd.ShapeError) as caught:
        session().both(F[0], [1])
    error = caught.value
    assert (error.code, error.op, error.argument, error.location) == ("shape", "both", "x", None)


def test_an_error_while_running_names_the_line_of_the_op() -> None:
    @cd.function(signature={"x": "float32[n]", "y": "float32[m]"})
    def add(x: cd.Tensor, y: cd.Tensor) -> cd.Tensor:
        return x + y

    line = add.__wrapped__.__code__.co_firstlineno + 2  # type: ignore[attr-defined]
    assert add([1.0], [2.0]).item() == 3
    with pytest.raises(cd.ShapeError) as caught:
        add([1.0, 2.0], [1.0, 2.0, 3.0])
    assert caught.value.op == "add" and "n = 2" in str(caught.value)
    assert caught.value.location is not None and caught.value.location.line == line
    program = cd.Program.open(cd.Program.of({"add": add}).to_bytes())
    with pytest.raises(cd.ShapeError) as again:
        program.session().add([1.0, 2.0], [1.0, 2.0, 3.0])
    assert str(again.value) == str(caught.value)


BASES: list[tuple[type[cd.Error], type[Exception], str]] = [
    (cd.ArgumentError, ValueError, "argument"),
    (cd.DTypeError, TypeError, "dtype"),
    (cd.ShapeError, ValueError, "shape"),
    (cd.OutOfBoundsError, IndexError, "index"),
    (cd.UnknownNameError, KeyError, "name"),
    (cd.ClosedError, ValueError, "closed"),
    (cd.FormatError, ValueError, "format"),
    (cd.NewerFileError, cd.FormatError, "newer"),
    (cd.FileError, OSError, "io"),
    (cd.OutOfMemoryError, MemoryError, "memory"),
    (cd.DeadlineError, TimeoutError, "deadline"),
    (cd.CancelledError, Exception, "cancelled"),
    (cd.DeviceError, RuntimeError, "device"),
    (cd.UnsupportedError, NotImplementedError, "unsupported"),
    (cd.InternalError, RuntimeError, "internal"),
]


@pytest.mark.parametrize(("kind", "base", "code"), BASES)
def test_classes(kind: type[cd.Error], base: type[Exception], code: str) -> None:
    error = kind("add: no", op="add", argument="x")
    assert isinstance(error, cd.Error) and isinstance(error, base)
    assert (error.code, str(error)) == (code, "add: no")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.op, back.argument, back.location) == (kind, "add: no", "add", "x", None)


def test_the_codes_are_those_of_the_c_api() -> None:
    from caudal import errors
    from caudal._ffi import lib

    names = {name: getattr(lib, name) for name in dir(lib) if name.startswith("CDL_")}
    for kind, _, code in BASES:
        assert errors.error_class(names[f"CDL_{code.upper()}"]) is kind
    assert errors.error_class(999) is cd.InternalError


def test_a_wrong_call_of_python_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"both\(\) missing a required argument: 'y'"):
        both(F)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        cd.softmax(X, axes=1)  # type: ignore[call-arg]
