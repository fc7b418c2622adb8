"""What networks are made of, where it is extreme; training with each optimizer, schedules and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import caudal as cd

INF, NAN = float("inf"), float("nan")

# By activation: its values and slopes at -inf, -1e4, 0, 1e4 and inf, None where that is not said.
EXTREMES: dict[str, tuple[list[float | None], list[float | None]]] = {
    "relu": ([0, 0, 0, 1e4, INF], [0, 0, 0, 1, 1]),
    "relu6": ([0, 0, 0, 6, 6], [0, 0, 0, 0, 0]),
    "leaky_relu": ([-INF, -2e3, 0, 1e4, INF], [0.2, 0.2, 0.2, 1, 1]),
    "elu": ([-1, -1, 0, 1e4, INF], [0, 0, 1, 1, 1]),
    "selu": ([-1.7580993, -1.7580993, 0, 10507.01, INF], [0, 0, 1.7580993, 1.050701, 1.050701]),
    "gelu": ([None, 0, 0, 1e4, INF], [None, 0, 0.5, 1, None]),
    "silu": ([None, 0, 0, 1e4, INF], [None, 0, 0.5, 1, None]),
    "mish": ([None, 0, 0, 1e4, INF], [None, 0, 0.6, 1, None]),
    "softplus": ([0, 0, 0.6931472, 1e4, INF], [0, 0, 0.5, 1, 1]),
    "log_sigmoid": ([-INF, -1e4, -0.6931472, 0, 0], [1, 1, 0.5, 0, 0]),
    "softsign": ([None, -1e4 / 10001, 0, 1e4 / 10001, None], [None, 10001**-2, 1, 10001**-2, None]),
    "hard_sigmoid": ([0, 0, 0.5, 1, 1], [0, 0, 1 / 6, 0, 0]),
    "hard_silu": ([None, 0, 0, 1e4, INF], [None, 0, 0.5, 1, 1]),
    "hard_tanh": ([-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_activations_at_their_ends(name: str, dtype: str) -> None:
    activation = getattr(cd, name)
    x = cd.asarray([-INF, -1e4, 0.0, 1e4, INF], dtype=dtype)
    slope = cd.grad(lambda x: cd.sum(activation(x)))
    for got, expected in zip((activation(x), slope(x)), EXTREMES[name], strict=True):
        said = [index for index, value in enumerate(expected) if value is not None]
        wanted = np.array([expected[index] for index in said], np.float64)
        np.testing.assert_allclose(got.numpy()[said], wanted, rtol=2e-6, atol=1e-10)
    assert np.isnan(float(activation(cd.asarray(NAN, dtype=dtype))))


def test_small_tails_are_not_lost() -> None:
    assert float(cd.softplus(-50.0)) == pytest.approx(np.exp(-50), rel=1e-6)
    assert float(cd.log_sigmoid(50.0)) == pytest.approx(-np.exp(-50), rel=1e-6)
    assert float(cd.elu(-1e-6)) == pytest.approx(-1e-6, rel=1e-6)
    assert float(cd.sigmoid_cross_entropy(50.0, 1.0)) == pytest.approx(np.exp(-50), rel=1e-6)
    assert float(cd.sigmoid_cross_entropy(-1e4, 1.0)) == 1e4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_norms_do_not_overflow_on_the_way(dtype: str) -> None:
    """Squares of 300 are beyond float16, their root is not."""
    x = cd.astype(cd.asarray([[300.0, -300.0, 300.0, -300.0]]), dtype)
    for norm in (cd.rms_norm, cd.layer_norm, lambda x: cd.group_norm(x, groups=1)):
        assert cd.astype(norm(x), "float32").tolist() == [[1, -1, 1, -1]]
    assert cd.global_norm(x).dtype == cd.float32
    assert float(cd.global_norm(x)) == 600


def test_group_norm_of_one_group_is_layer_norm_and_of_all_channels_instance_norm() -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 6)).astype("float32")
    np.testing.assert_allclose(cd.group_norm(x, groups=1), cd.layer_norm(x, axis=(1, 2, 3)), atol=1e-6)
    alone = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(cd.group_norm(x, groups=6), alone, atol=1e-5)


def attended(**options: Any) -> tuple[Any, ...]:
    rng = np.random.default_rng(5)
    heads = options.get("heads", 2)
    shapes = ((2, 3, heads, 4), (2, 5, options.get("shared", heads), 4), (2, 5, options.get("shared", heads), 4))
    return tuple(rng.normal(size=shape).astype("float32") for shape in shapes)


def test_a_place_that_may_look_nowhere_is_zero_and_has_no_gradient() -> None:
    q, k, v = attended()
    allowed = np.ones((3, 5), bool)
    allowed[1] = False
    for mask in (allowed, np.where(allowed, 0, -INF).astype("float32")):
        y = cd.attention(q, k, v, mask)
        assert not np.any(y.numpy()[:, 1])
        np.testing.assert_allclose(y.numpy()[:, [0, 2]], cd.attention(q, k, v).numpy()[:, [0, 2]], rtol=1e-6)
        grads = cd.grad(lambda q, k, v, m=mask: cd.sum(cd.square(cd.attention(q, k, v, m))), wrt=(0, 1, 2))(q, k, v)
        assert all(np.isfinite(grad.numpy()).all() for grad in grads)
        assert not np.any(grads[0].numpy()[:, 1])


def test_a_causal_place_sees_what_is_not_after_it() -> None:
    q, k, v = attended()
    y = cd.attention(q, k, v, causal=True).numpy()
    np.testing.assert_allclose(y[:, 0], v[:, 0], rtol=1e-6)
    changed = [x.copy() for x in (k, v)]
    for x in changed:
        x[:, 2:] = 7
    np.testing.assert_array_equal(cd.attention(q, *changed, causal=True).numpy()[:, :2], y[:, :2])


def test_fewer_heads_are_the_same_as_repeated_ones() -> None:
    q, k, v = attended(heads=6, shared=2)
    repeated = cd.attention(q, np.repeat(k, 3, 2), np.repeat(v, 3, 2))
    np.testing.assert_allclose(cd.attention(q, k, v), repeated, rtol=1e-6, atol=1e-7)


def test_lists_are_masks_of_bools_or_floats() -> None:
    q, k, v = (cd.ones((1, 1, 1, 2)), cd.ones((1, 2, 1, 2)), cd.asarray([[[[1.0, 2.0]], [[3.0, 4.0]]]]))
    assert cd.attention(q, k, v, [[True, False]]).tolist() == [[[[1, 2]]]]
    assert cd.attention(q, k, v, [[-INF, 0.0]]).tolist() == [[[[3, 4]]]]


def test_embedding_adds_the_gradients_of_a_row() -> None:
    table = np.arange(8, dtype="float32").reshape(4, 2)
    gradient = cd.grad(lambda table: cd.sum(cd.embedding(table, [1, 3, 1])))(table)
    assert gradient.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]
    with pytest.raises(cd.OutOfBoundsError):
        cd.embedding(table, [4])


def test_one_hot_labels_are_as_their_numbers() -> None:
    logits = np.random.default_rng(2).normal(size=(6, 4)).astype("float32") * 30
    labels = np.array([0, 3, 2, 2, 1, 0])
    for smoothing in (0.0, 0.1):
        by_number = cd.softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
        by_row = cd.softmax_cross_entropy(logits, cd.one_hot(labels, depth=4), label_smoothing=smoothing)
        np.testing.assert_allclose(by_number, by_row, rtol=1e-6, atol=1e-6)
    assert float(cd.softmax_cross_entropy([0.0, 0.0], [0.5, 0.5])) == pytest.approx(np.log(2))
    assert float(cd.softmax_cross_entropy([[0.0, 0.0]], [1])[0]) == pytest.approx(np.log(2))


def test_a_class_that_is_masked_out_counts_nothing() -> None:
    logits, labels = cd.asarray([[1.0, -INF, 2.0]]), cd.asarray([[1.0, 0.0, 0.0]])
    loss, gradient = cd.value_and_grad(lambda x: cd.sum(cd.softmax_cross_entropy(x, labels)))(logits)
    assert float(loss) == pytest.approx(np.log1p(np.e))
    share = 1 / (1 + np.e)
    np.testing.assert_allclose(gradient, [[share - 1, 0, 1 - share]], rtol=1e-6)
    assert float(cd.softmax_cross_entropy(logits, cd.asarray([[0.0, 1.0, 0.0]]))[0]) == INF


OPTIMIZERS: dict[str, Callable[..., cd.optimizers.Optimizer]] = {
    "sgd": lambda **options: cd.optimizers.SGD(0.1, **options),
    "momentum": lambda **options: cd.optimizers.SGD(0.05, momentum=0.5, **options),
    "nesterov": lambda **options: cd.optimizers.SGD(0.05, momentum=0.5, nesterov=True, **options),
    "rmsprop": lambda **options: cd.optimizers.RMSprop(0.1, **options),
    "rmsprop_momentum": lambda **options: cd.optimizers.RMSprop(0.05, momentum=0.5, **options),
    "rmsprop_centered": lambda **options: cd.optimizers.RMSprop(0.1, centered=True, **options),
    "rmsprop_both": lambda **options: cd.optimizers.RMSprop(0.05, momentum=0.5, centered=True, **options),
    "adagrad": lambda **options: cd.optimizers.Adagrad(1.0, **options),
    "adam": lambda **options: cd.optimizers.Adam(0.3, **options),
    "adamw": lambda **options: cd.optimizers.AdamW(0.3, weight_decay=0.001, **options),
}


def trainer(optimizer: cd.optimizers.Optimizer) -> tuple[cd.Variable, cd.Function[Any]]:
    """A variable, and a step that moves it towards a target."""
    w = cd.Variable(cd.zeros(3), name="w")

    @cd.function(signature={"target": "float32[3]"})
    def train_step(target: Any) -> Any:
        loss, grads = cd.value_and_grad(lambda: cd.sum(cd.square(w - target)), wrt=[w])()
        grads, _ = cd.clip_by_global_norm(grads, 5.0)
        optimizer.apply(grads, [w])
        return loss

    return w, train_step


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_the_file_to_the_bit(name: str, tmp_path: Any) -> None:
    optimizer = OPTIMIZERS[name](schedule=cd.schedules.Cosine(30, alpha=0.1, warmup_steps=5))
    w, train_step = trainer(optimizer)
    targets = np.random.default_rng(3).normal(size=(20, 3)).astype("float32") + [1, -2, 3]
    targets = targets.astype("float32")
    for target in targets[:8]:
        train_step(target)
    cd.save(tmp_path / "w.caudal", {"train_step": train_step})
    with cd.load(tmp_path / "w.caudal") as session:
        for target in targets[8:]:
            assert float(session.train_step(target)) == float(train_step(target))
        names = [slot.name for slot in optimizer.slots(w)]
        assert {"w", "optimizer/learning_rate", "optimizer/step", *names} == set(session.state)
        for variable in (w, optimizer.learning_rate, optimizer.step, *optimizer.slots(w)):
            np.testing.assert_array_equal(session.state[variable.name], variable.numpy(), err_msg=variable.name)
        assert float(optimizer.learning_rate) == pytest.approx(float(OPTIMIZERS[name]().learning_rate))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_graph_by_hand_trains_as_a_traced_function(name: str) -> None:
    options = {"schedule": cd.schedules.Exponential(4, 0.5, warmup_steps=2)}
    w, train_step = trainer(OPTIMIZERS[name](**options))
    g = cd.Graph()
    target, state = g.input("target", "float32[3]"), g.state("w", cd.zeros(3))
    loss = cd.sum(cd.square(state - target)) * 1.0
    g.function("train_step", loss).minimize(loss, [state], OPTIMIZERS[name](**options))
    session = g.program().session()
    for _ in range(9):
        # So near that nothing is clipped.
        here = w.numpy() + np.float32(0.25)
        session.train_step(here)
        train_step(here)
        np.testing.assert_array_equal(session.state["w"], w.numpy())


def test_the_rate_of_a_scheduled_step_is_the_state_times_the_factor() -> None:
    sgd, w = cd.optimizers.SGD(1.0, schedule=cd.schedules.Constant(warmup_steps=4)), cd.Variable(0.0, name="w")
    rates = []
    for step in range(6):
        if step == 5:
            sgd.learning_rate.assign(0.5)
        before = float(w)
        sgd.apply(cd.asarray(-1.0), w)
        rates.append(float(w) - before)
    assert rates == [0, 0.25, 0.5, 0.75, 1, 0.5]


def test_schedules_after_their_end_and_far_on() -> None:
    cosine = cd.schedules.Cosine(100, alpha=0.25, warmup_steps=10)
    assert [float(cosine(step)) for step in (0, 5, 10, 110, 10**12)] == [0, 0.5, 1, 0.25, 0.25]
    assert float(cosine(60)) == pytest.approx(0.625)
    assert float(cd.schedules.Exponential(10, 0.5)(5)) == pytest.approx(0.5**0.5)
    assert float(cd.schedules.Exponential(10, 0.0)(10**12)) == 0
    with pytest.raises(cd.ArgumentError, match="decay_steps is 0; it takes 1 or more"):
        cd.schedules.Cosine(0)


def test_clipping() -> None:
    tree = {"a": cd.asarray([3.0, 0.0]), "b": [cd.astype(cd.asarray(4.0), "float16")]}
    clipped, norm = cd.clip_by_global_norm(tree, 2.5)
    assert (float(norm), clipped["a"].tolist(), float(clipped["b"][0])) == (5, [1.5, 0], 2)
    assert clipped["b"][0].dtype == cd.float16
    same, norm = cd.clip_by_global_norm(tree, 5.0)
    assert (float(norm), same["a"].tolist(), float(same["b"][0])) == (5, [3, 0], 4)
    zero, norm = cd.clip_by_global_norm([cd.zeros(3)], 1e-3)
    assert (float(norm), zero[0].tolist()) == (0, [0, 0, 0])
    assert np.isnan(cd.clip_by_global_norm([cd.asarray([NAN, 1.0])], 1.0)[0][0].numpy()).all()
    by_norm = cd.clip_by_norm(tree, 2.0)
    assert (by_norm["a"].tolist(), float(by_norm["b"][0])) == ([2, 0], 2)
    assert cd.clip_by_value(tree, -1, 3.5)["a"].tolist() == [3, 0]
    for call in (cd.clip_by_global_norm, cd.clip_by_norm):
        with pytest.raises(cd.ArgumentError, match=r"max_norm is 0; it is above 0"):
            call(tree, 0)


def test_wrong_optimizers_are_refused() -> None:
    with pytest.raises(cd.ArgumentError, match="nesterov needs a momentum above 0"):
        cd.optimizers.SGD(0.1, nesterov=True)
    with pytest.raises(cd.ArgumentError, match="rho is 1; it takes from 0 to below 1"):
        cd.optimizers.RMSprop(rho=1.0)
    with pytest.raises(cd.ArgumentError, match="initial_accumulator_value is -1; it takes 0 or more"):
        cd.optimizers.Adagrad(initial_accumulator_value=-1.0)


def test_random_integers_follow_dims_and_fill_their_range() -> None:
    @cd.function(signature={"x": "float32[n]"})
    def places(x: Any) -> Any:
        return cd.random.randint(cd.random.key(1), 0, x.shape[0], (1000,))

    for size in (1, 3, 10):
        drawn = places(np.zeros(size, "float32")).numpy()
        assert set(drawn.tolist()) == set(range(size))
    counts = np.bincount(cd.random.randint(cd.random.key(0), 0, 10, (100000,)).numpy(), minlength=10)
    assert abs(counts - 10000).max() < 500
    wide = cd.random.randint(cd.random.key(0), 0, 3 * 2**28, (100000,), dtype="int32").numpy()
    # JAX's algorithm would give the numbers below 2^28 a third more often than the others.
    assert abs(np.mean(wide < 2**28) - 1 / 3) < 0.01


def test_never_and_always() -> None:
    p = cd.asarray([-1.0, 0.0, 1.0, 2.0, NAN, INF])
    drawn = cd.random.bernoulli(cd.random.key(0), p, (500, 6)).numpy()
    assert drawn.all(0).tolist() == [False, False, True, True, False, True]
    assert drawn.any(0).tolist() == [False, False, True, True, False, True]
    classes = cd.random.categorical(cd.random.key(0), [-INF, 0.0, -INF], shape=(500,))
    assert set(classes.tolist()) == {1}


def test_every_order_is_as_likely() -> None:
    @cd.function(signature={"x": "float32[n, m]", "key": "uint32[2]"})
    def shuffled(x: Any, key: Any) -> Any:
        return cd.random.permutation(key, x, axis=1), cd.random.permutation(key, x.shape[1])

    x = np.arange(6, dtype="float32").reshape(2, 3)
    orders: dict[tuple[int, ...], int] = {}
    for seed in range(600):
        y, order = shuffled(x, cd.random.key(seed))
        np.testing.assert_array_equal(y, x[:, order.numpy()])
        orders[tuple(order.tolist())] = orders.get(tuple(order.tolist()), 0) + 1
    assert len(orders) == 6 and all(60 < count < 140 for count in orders.values()), orders
    assert cd.random.permutation(cd.random.key(0), 0).shape == (0,)
    with pytest.raises(cd.ArgumentError, match="axis 1 is out of range for rank 1"):
        cd.random.permutation(cd.random.key(0), [1, 2], axis=1)
