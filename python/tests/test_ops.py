"""Every op in every dtype, eager and traced, against the references in tests/vectors; gradients and edges."""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from scipy import signal

import caudal as cd
from caudal import ops

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "vectors"))

import arrays
import cases
import reference
import write

RECORDS = cases.records()
JUDGED = [name for name in RECORDS if name not in reference.LEFT_OUT]
# Those before the first op of the next family, but for those with attrs or a condition.
ELEMENTWISE = [op for op in list(RECORDS)[: list(RECORDS).index("constant")] if op not in ("where", "cast", "bitcast")]
ELEMENTWISE.append("relu")

# By op and dtype of the output: how many outputs were compared, and the most ulps that one was off.
ran: collections.Counter[str] = collections.Counter()
worst: dict[str, dict[str, float]] = {}


def tensor(dtype: str, array: np.ndarray) -> cd.Tensor:
    """The tensor of a stored array."""
    if dtype == "bfloat16":
        return ops.bitcast(cd.asarray(array), dtype=dtype)
    return cd.asarray(array)


def stored(given: cd.Tensor) -> np.ndarray:
    """The stored array of a tensor."""
    return np.asarray(ops.bitcast(given, dtype="uint16") if given.dtype == "bfloat16" else given)


def several(outputs) -> tuple[cd.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def attrs_of(op: str, attrs: dict) -> dict:
    """A sample's attrs as Python takes them: a constant is a tensor."""
    if op != "constant":
        return attrs
    value = attrs["value"]
    return {"value": cd.asarray(np.array(value["data"], value["dtype"]).reshape(value["shape"]))}


def run(op: str, attrs: dict, inputs: list[cd.Tensor | None]) -> list[tuple[str, np.ndarray]]:
    """The outputs' dtypes and stored arrays, after eager and traced have given the same bits."""
    attrs = attrs_of(op, attrs)
    present = [given for given in inputs if given is not None]

    def function(*values):
        left = iter(values)
        return getattr(ops, op)(*(None if given is None else next(left) for given in inputs), **attrs)

    eager, traced = several(function(*present)), several(cd.function(function)(*present))
    assert [output.dtype for output in eager] == [output.dtype for output in traced]
    both = [(output.dtype.name, stored(output), stored(other)) for output, other in zip(eager, traced, strict=True)]
    for dtype, one, other in both:
        assert arrays.same_bits(one, other, dtype), f"{op} {attrs} in {dtype}: eager {one}, traced {other}"
    return [(dtype, one) for dtype, one, _ in both]


def judge(op: str, attrs: dict, dtype: str, drawn: list, what: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Runs an op and compares each output with the reference; gives dtypes, outputs and rounded answers."""
    answer = reference.TABLE[op]
    wide = [None if given is None else arrays.widen(given[1], given[0]) for given in drawn]
    expected = answer.outputs(wide, attrs, dtype)
    terms = answer.magnitudes(wide, attrs, dtype, len(expected))
    got = run(op, attrs, [None if given is None else tensor(*given) for given in drawn])
    assert len(got) == len(expected) == len(RECORDS[op]["outputs"]), what
    results = []
    for (name, output), values, size in zip(got, expected, terms, strict=True):
        assert name == reference.output_dtype(values, op, attrs, dtype), what
        allowed = answer.tolerance(name)
        nearest = arrays.rounded(values, name)
        ulps = arrays.distance(output, values if allowed else arrays.widen(nearest, name), name, size)
        if ulps > allowed:
            raise AssertionError(f"{what}: {ulps} ulp off, {allowed} allowed\n{output!r}\nexpected\n{values!r}")
        ran[op] += 1
        worst.setdefault(op, {})[name] = max(worst.get(op, {}).get(name, 0.0), ulps)
        results.append((name, output, nearest))
    return results


@pytest.mark.parametrize("op", JUDGED)
def test_op_gives_what_its_reference_does(op):
    for case in cases.of(RECORDS[op]):
        judge(op, case.attrs, case.dtype, case.draw(), f"{case.name} {case.specs} {case.attrs}")


def test_every_op_was_run(request, capsys):
    assert sorted(reference.TABLE) == sorted(JUDGED)
    selected = {item.name for item in request.session.items}
    if not all(f"test_op_gives_what_its_reference_does[{op}]" in selected for op in JUDGED):
        pytest.skip("some ops were deselected")
    assert [op for op in JUDGED if not ran[op]] == []
    with capsys.disabled():
        print(f"\n{len(ran)} of {len(RECORDS)} ops, {ran.total()} outputs; left out: {', '.join(reference.LEFT_OUT)}")
        print("worst ulp (of the terms, for sums), where an op rounds otherwise than its reference:")
        for op, errors in worst.items():
            if any(errors.values()):
                floats = (f"{dtype} {errors[dtype]:.2f}" for dtype in arrays.FLOAT if dtype in errors)
                print(f"  {op:22}", ", ".join(floats))


def test_references_agree_with_scipy_and_with_published_numbers():
    key = np.array([7, 42], np.uint32)
    bits = [1608166506, 2351936236, 3787152164, 3901638075, 3217246524]
    bits += [1051207585, 153241657, 2976582311, 2065459382, 1426247038]
    assert reference.TABLE["random_bits"].function(key, shape=[2, 5]).ravel().tolist() == bits
    keys = [[2384124607, 3519051477], [4044586155, 2101136967], [2168514899, 1627107959]]
    assert reference.TABLE["random_split"].function(key, count=3).tolist() == keys
    rng = cases.seed("correlate")
    x, kernel = rng.normal(size=(1, 6, 7, 1)), rng.normal(size=(3, 2, 1, 1))
    for mode in ("valid", "same"):
        # SciPy centres an even kernel one element later.
        expected = signal.correlate(x[0, ..., 0], kernel[..., 0, 0], "valid" if mode == "valid" else "full")
        expected = expected if mode == "valid" else expected[1:7, 1:8]
        got = reference.TABLE["conv"].function(x, kernel, padding=mode)[0, ..., 0]
        np.testing.assert_allclose(got.astype(float), expected, rtol=1e-12, atol=1e-12)


# Gradients

STEP = 1e-5


def differentiable(case: cases.Case, salt: int) -> tuple[list, list[int]] | None:
    """Inputs of a case and which of them have a gradient; None if a float is not of `float64` or not finite."""
    drawn = case.draw(salt)
    answer = reference.TABLE[case.op]
    wide = [None if given is None else arrays.widen(given[1], given[0]) for given in drawn]
    outputs = answer.outputs(wide, case.attrs, case.dtype)
    kinds = {reference.output_dtype(values, case.op, case.attrs, case.dtype) for values in outputs}
    if kinds.intersection(arrays.FLOAT) != {"float64"} or not all(np.all(np.isfinite(values)) for values in outputs):
        return None
    return drawn, [index for index, given in enumerate(drawn) if given is not None and given[0] == "float64"]


def places(shape: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Up to 16 elements at which a gradient is compared."""
    size = int(np.prod(shape))
    return list(range(size)) if size <= 16 else sorted(rng.choice(size, 16, replace=False).tolist())


@pytest.mark.parametrize("op", [op for op in JUDGED if RECORDS[op]["differentiable"]])
def test_gradient_is_that_of_central_differences(op):
    compared = 0
    for case in cases.of(RECORDS[op]):
        found = next(filter(None, (differentiable(case, salt) for salt in range(20))), None)
        if case.dtype != "float64" or found is None:
            continue
        drawn, wrt = found
        given = [None if one is None else one[1] for one in drawn]
        rng = cases.seed(case.name, "weights")
        count = len(RECORDS[op]["outputs"])
        shapes = [output.shape for output in several(getattr(ops, op)(*given, **case.attrs))]
        weights = [rng.uniform(0.5, 1.5, shape) for shape in shapes]

        def loss(*inputs, case=case, weights=weights, count=count):
            outputs = several(getattr(ops, case.op)(*inputs, **case.attrs))
            floats = [index for index in range(count) if outputs[index].dtype == "float64"]
            parts = [cd.sum(outputs[index] * weights[index]) for index in floats]
            return sum(parts[1:], start=parts[0])

        gradients = cd.grad(loss, wrt=tuple(wrt))(*given)
        for index, gradient in zip(wrt, gradients, strict=True):
            assert gradient.dtype == "float64" and gradient.shape == given[index].shape
            for place in places(gradient.shape, rng):
                ends = []
                for sign in (1, -1):
                    moved = list(given)
                    moved[index] = given[index].copy()
                    moved[index].flat[place] += sign * STEP
                    ends.append(float(loss(*moved)))
                slope, exact = (ends[0] - ends[1]) / (2 * STEP), np.asarray(gradient).flat[place]
                allowed = 1e-6 * max(1.0, abs(slope), abs(ends[0]))
                assert abs(slope - exact) <= allowed, f"{case.name} {case.attrs} input {index} at {place}"
                compared += 1
    assert compared, "no sample has a gradient"


# Op, float64 inputs, the gradients there.
SINGULAR = [
    ("sign", [2.0], [0.0]),
    ("floor", [1.5], [0.0]),
    ("round", [0.5], [0.0]),
    ("floor_divide", [7.0, 3.0], [0.0, 0.0]),
    ("remainder", [7.0, -3.0], [1.0, 3.0]),
    ("remainder", [-6.0, 3.0], [1.0, 2.0]),
    ("asin", [1.0], [np.inf]),
    ("acos", [-1.0], [-np.inf]),
    ("acosh", [1.0], [np.inf]),
    ("atanh", [1.0], [np.inf]),
    ("cbrt", [0.0], [np.inf]),
    ("asinh", [1e200], [1e-200]),
    ("hypot", [0.0, -0.0], [0.0, 0.0]),
    ("hypot", [3e300, 4e300], [0.6, 0.8]),
    ("hypot", [0.0, 2.0], [0.0, 1.0]),
    ("atan2", [0.0, 0.0], [0.0, 0.0]),
    ("atan2", [3e300, 4e300], [1.6e-301, -1.2e-301]),
    ("atan2", [0.0, -2.0], [-0.5, 0.0]),
]


@pytest.mark.parametrize(("op", "x", "expected"), SINGULAR, ids=[f"{row[0]}{row[1]}" for row in SINGULAR])
def test_gradients_at_singular_and_huge_arguments(op, x, expected):
    function = getattr(ops, op)
    gradients = cd.grad(lambda *values: function(*values) * 1.0, wrt=tuple(range(len(x))))(*map(np.float64, x))
    np.testing.assert_allclose([float(gradient) for gradient in gradients], expected, rtol=1e-14)


# Edges


def edges(dtype: str) -> np.ndarray:
    """A stored array of what is special in a dtype."""
    if dtype == "bool":
        return np.array([False, True])
    if dtype in arrays.INTEGER:
        info, width = np.iinfo(dtype), np.dtype(dtype).itemsize * 8
        wanted = {-width, -2, -1, 0, 1, 2, width - 1, width}
        wanted |= {info.min, info.min + 1, info.max // 2, info.max - 1, info.max}
        return np.array(sorted(number for number in wanted if info.min <= number <= info.max), dtype)
    bits = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126), "float64": (53, -1022)}[dtype]
    normal = 2.0 ** bits[1]
    least = normal * 2.0 ** (1 - bits[0])
    largest = (2 - 2.0 ** (1 - bits[0])) * 2.0 ** (1 - bits[1])
    sizes = [0.0, least, 5 * least, normal, 1e-3, 0.5, 1 - 2.0 ** -bits[0], 1.0, 1.5, 2.0, 3.0, 9.5, 87.0, 90.0, 709.0]
    sizes += [746.0, 12345.0, largest / 3, largest, np.inf, np.nan]
    return arrays.rounded(np.array([sign * size for size in sizes for sign in (1, -1)]), dtype)


@pytest.mark.parametrize("op", ELEMENTWISE)
def test_edges_of_element_wise_ops(op):
    answer, count = reference.TABLE[op], len(RECORDS[op]["inputs"])
    for dtype in RECORDS[op]["dtypes"]:
        values = edges(dtype)
        drawn = [(dtype, values)] if count == 1 else [(dtype, values[:, None]), (dtype, values[None, :])]
        for name, got, nearest in judge(op, {}, dtype, drawn, f"{op} of edges in {dtype}"):
            if name in arrays.FLOAT and not answer.unsigned_zero:
                one, other = arrays.widen(got, name), arrays.widen(nearest, name)
                zeros = (one == 0) & (other == 0)
                wrong = zeros & (np.signbit(one) != np.signbit(other))
                assert not wrong.any(), f"{op} in {dtype}: signs of zeros at {np.argwhere(wrong).tolist()}"


@pytest.mark.parametrize("dtype", arrays.ALL)
def test_edges_of_casts(dtype):
    for to in arrays.ALL:
        judge("cast", {"dtype": to}, dtype, [(dtype, edges(dtype))], f"cast of edges from {dtype} to {to}")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_indices_outside_give_nothing(dtype):
    indices = np.append(edges(dtype), np.array([-5, -4, -3, 3, 4], dtype))
    n, rng = len(indices), cases.seed("indices")
    for of, scale in (("float32", 1.0), ("int8", 50), ("bfloat16", 1.0)):

        def numbers(*shape, of=of, scale=scale):
            values = rng.uniform(-scale, scale, shape)
            return of, arrays.rounded(values, of) if of in arrays.FLOAT else values.astype(of)

        rows = [
            ("take", {"axis": 1}, [numbers(2, 4), (dtype, indices)]),
            ("pick", {}, [numbers(n, 4), (dtype, indices)]),
            ("unpick", {"depth": 4}, [numbers(n), (dtype, indices)]),
            ("scatter_add", {}, [numbers(4, 2), (dtype, indices), numbers(n, 2)]),
        ]
        for op, attrs, drawn in rows:
            judge(op, attrs, of, drawn, f"{op} in {of} at edges of {dtype}")
    judge("one_hot", {"depth": 4}, dtype, [(dtype, indices)], f"one_hot of edges of {dtype}")
    logits = ("float32", np.ones((n, 4), np.float32))
    judge("softmax_cross_entropy", {}, "float32", [logits, (dtype, indices)], f"labels at edges of {dtype}")


nan, inf = np.nan, np.inf

# Op, attrs, a float32 input, what comes out.
SPECIAL = [
    ("max", {"axis": [1]}, [[1, nan, 3], [inf, 2, -inf], [-inf, -inf, -inf]], [nan, inf, -inf]),
    ("min", {"axis": [1]}, [[1, nan, 3], [inf, 2, -inf], [inf, inf, inf]], [nan, -inf, inf]),
    ("argmax", {"axis": 1}, [[1, nan, nan], [inf, 2, inf], [-inf, -inf, -inf]], [1, 0, 0]),
    ("argmin", {"axis": 1}, [[1, nan, nan], [inf, -inf, -inf], [inf, inf, inf]], [1, 1, 0]),
    ("sum", {"axis": [1]}, [[inf, -inf, 1], [inf, 2, 3], [nan, 0, 0], [3e38, 3e38, 3e38]], [nan, inf, nan, inf]),
    ("prod", {"axis": [1]}, [[inf, 0, 1], [-inf, 2, 3], [nan, 0, 0]], [nan, -inf, nan]),
    ("mean", {"axis": [1]}, [[inf, -inf, 1], [inf, 2, 3], [nan, 0, 0]], [nan, inf, nan]),
    ("any", {"axis": [1]}, [[0, -0.0, 0], [0, nan, 0]], [False, True]),
    ("all", {"axis": [1]}, [[nan, inf, 1], [1, -0.0, 1]], [True, False]),
    ("softmax", {}, [[-inf, -inf], [inf, 0], [-inf, 0], [nan, 0]], [[nan, nan], [nan, nan], [0, 1], [nan, nan]]),
    ("log_softmax", {}, [[-inf, -inf], [inf, 0], [-inf, 0]], [[nan, nan], [nan, nan], [-inf, 0]]),
    ("logsumexp", {"axis": [1]}, [[-inf, -inf], [inf, 0], [-inf, 0], [nan, 0], [inf, inf]], [-inf, inf, 0, nan, inf]),
    ("max_pool", {"window": [2]}, [[[1], [nan], [-inf], [-inf], [inf], [0]]], [[[nan], [-inf], [inf]]]),
    ("avg_pool", {"window": [2]}, [[[1], [nan], [-inf], [inf], [inf], [0]]], [[[nan], [nan], [inf]]]),
    ("relu", {}, [nan, -inf, inf], [nan, 0, inf]),
    ("gelu", {}, [nan, inf, 0], [nan, inf, 0]),
    ("matmul", {}, [[inf, 0], [0, nan]], [[inf, nan], [nan, nan]]),
]


@pytest.mark.parametrize(("op", "attrs", "x", "expected"), SPECIAL, ids=[row[0] for row in SPECIAL])
def test_nan_and_infinities(op, attrs, x, expected):
    given = cd.asarray(np.array(x, np.float32))
    ((_, got),) = run(op, attrs, [given, given] if op == "matmul" else [given])
    np.testing.assert_array_equal(got, np.array(expected))


# Op, attrs, a shape, what comes out of no elements in float32.
EMPTY = [
    ("sum", {}, (0, 3), 0.0),
    ("sum", {"axis": [0]}, (0, 3), [0.0, 0.0, 0.0]),
    ("sum", {"axis": [1], "keepdims": True}, (0, 3), np.zeros((0, 1))),
    ("prod", {}, (0,), 1.0),
    ("any", {}, (2, 0), False),
    ("all", {"axis": [1]}, (2, 0), [True, True]),
    ("mean", {"axis": [0]}, (0, 2), [nan, nan]),
    ("var", {}, (0,), nan),
    ("max", {"axis": [0]}, (2, 0), np.zeros(0)),
    ("argmax", {"axis": 0}, (2, 0), np.zeros(0)),
    ("transpose", {}, (0, 2), np.zeros((2, 0))),
    ("reshape", {"shape": [0, 7]}, (3, 0), np.zeros((0, 7))),
    ("flip", {}, (0, 2), np.zeros((0, 2))),
    ("take", {}, (0, 2), [[nan, nan]]),
    ("max_pool", {"window": [2]}, (0, 4, 1), np.zeros((0, 2, 1))),
    ("layer_norm", {}, (0, 4), np.zeros((0, 4))),
]


@pytest.mark.parametrize(("op", "attrs", "shape", "expected"), EMPTY, ids=[f"{row[0]}{row[2]}" for row in EMPTY])
def test_no_elements(op, attrs, shape, expected):
    inputs = [cd.asarray(np.zeros(shape, np.float32))]
    if op == "take":
        inputs.append(cd.asarray(np.array([0])))
    ((_, got),) = run(op, attrs, inputs)
    np.testing.assert_array_equal(got, np.array(expected))
    assert got.shape == np.shape(expected)


def test_the_greatest_of_nothing_is_refused():
    for op in ("max", "min", "argmax", "argmin"):
        with pytest.raises(cd.ShapeError) as raised:
            getattr(ops, op)(np.zeros((0, 2), np.float32), axis=0 if op.startswith("arg") else [0])
        assert str(raised.value) == f"{op}: x [0, 2] has no elements along axis 0 ({raised.value.location})"


@pytest.mark.parametrize("dtype", [dtype for dtype in arrays.ALL if dtype != "bfloat16"])
def test_numpy_views_of_any_strides(dtype):
    _, base = cases.draw("T[4, 6]", dtype, cases.seed(dtype, "views"))
    views = [base.T, base[::-1], base[:, ::-2], base[1:3, 2:5], np.broadcast_to(base[:1], (3, 6)), base[2], base[2, 3]]
    views += [np.asfortranarray(base), base[:0], base.reshape(2, 2, 6).transpose(2, 0, 1)]
    views += [base.astype(base.dtype.newbyteorder())]
    for view in views:
        copy = np.ascontiguousarray(view).reshape(np.shape(view)).astype(base.dtype)
        for got in (cd.asarray(view), ops.stop_gradient(view), cd.function(ops.stop_gradient)(view)):
            assert got.dtype == dtype
            np.testing.assert_array_equal(np.asarray(got), copy)
        if dtype != "bool":
            np.testing.assert_array_equal(np.asarray(ops.add(view, view)), copy + copy)


I32, F32, F64, BOOL = (np.ones(2, dtype) for dtype in ("int32", "float32", "float64", "bool"))
FLOATS = "float16, bfloat16, float32, float64"
INTEGERS = "int8, int16, int32, int64, uint8, uint16, uint32, uint64"

# Op, inputs, attrs, the whole message.
WRONG = [
    ("exp", [I32], {}, f"exp: x is int32; it can be {FLOATS}"),
    ("neg", [BOOL], {}, f"neg: x is bool; it can be {INTEGERS}, {FLOATS}"),
    ("div", [I32, I32], {}, f"div: x is int32; it can be {FLOATS}"),
    ("add", [F32, BOOL], {}, f"add: y is bool; it can be {INTEGERS}, {FLOATS}"),
    ("add", [F32, I32], {}, "add: float32 and int32 have no common dtype; cast one of them"),
    ("logical_and", [BOOL, F32], {}, "logical_and: y is float32; it can be bool"),
    ("bitwise_left_shift", [F32, I32], {}, f"bitwise_left_shift: x is float32; it can be {INTEGERS}"),
    ("where", [I32, F32, F32], {}, "where: condition is int32; it can be bool"),
    ("bitcast", [F64], {"dtype": "int32"}, "bitcast: float64 has not the bits of int32"),
    ("mean", [I32], {}, f"mean: x is int32; it can be {FLOATS}"),
    ("take", [F32, F32], {}, "take: indices is float32; it can be int32, int64"),
    ("one_hot", [F32], {"depth": 3}, "one_hot: indices is float32; it can be int32, int64"),
    ("random_bits", [I32], {"shape": [2]}, "random_bits: key is int32; it can be uint32"),
    ("softmax", [BOOL], {}, f"softmax: x is bool; it can be {FLOATS}"),
    ("softmax_cross_entropy", [F32, F32[0]], {}, "softmax_cross_entropy: labels is float32; it can be int32, int64"),
    ("sgd", [F32, F32, F32[0], I32[0]], {}, "sgd: step is int32; it can be int64"),
]


@pytest.mark.parametrize(("op", "inputs", "attrs", "message"), WRONG, ids=[row[3] for row in WRONG])
def test_wrong_dtype_is_refused(op, inputs, attrs, message):
    for call in (getattr(ops, op), cd.function(lambda *values, **attrs: getattr(ops, op)(*values, **attrs))):
        with pytest.raises(cd.DTypeError) as raised:
            call(*inputs, **attrs)
        error = raised.value
        assert (str(error), error.op) == (f"{message} ({error.location})", op)
        assert "test_ops.py:" in str(error.location)


# The file of vectors


def test_the_committed_vectors_are_those_that_write_makes():
    entries, tensors = write.read()
    made_entries, made = write.vectors()
    assert list(tensors) == sorted(made, key=lambda name: -made[name][1].itemsize)
    for entry, one in zip(entries, made_entries, strict=True):
        np.testing.assert_allclose(entry.pop("near"), one.pop("near"), rtol=1e-6)
        assert entry == one
    for name, (dtype, array) in tensors.items():
        other = made[name][1]
        assert made[name][0] == dtype
        if "/input_" in name or dtype not in arrays.FLOAT:
            assert arrays.same_bits(array, other, dtype), name
        else:
            # A platform's libm may round the last bit otherwise.
            assert arrays.distance(array, arrays.widen(other, dtype), dtype) <= 1, name


def test_safetensors_reads_the_committed_vectors():
    entries, tensors = write.read()
    with safe_open(write.FILE, "numpy") as file:
        assert set(file.keys()) == set(tensors)
        assert json.loads(file.metadata()["cases"]) == entries
        name = f"{entries[0]['case']}/output_0"
        np.testing.assert_array_equal(file.get_tensor(name), tensors[name][1])


def test_the_committed_vectors_pass():
    entries, tensors = write.read()
    for entry in entries:
        case, op = entry["case"], entry["op"]
        inputs = [
            tensor(*tensors[f"{case}/input_{index}"]) if given else None for index, given in enumerate(entry["inputs"])
        ]
        outputs = several(getattr(ops, op)(*inputs, **attrs_of(op, entry["attrs"])))
        assert len(outputs) == len(entry["near"]), case
        for index, (output, near) in enumerate(zip(outputs, entry["near"], strict=True)):
            dtype, expected = tensors[f"{case}/output_{index}"]
            got, values = stored(output), arrays.widen(expected, dtype)
            assert output.dtype == dtype and got.shape == expected.shape, case
            if arrays.distance(got, values, dtype) > entry["ulp"]:
                np.testing.assert_allclose(arrays.widen(got, dtype), values, rtol=0, atol=near, err_msg=case)
