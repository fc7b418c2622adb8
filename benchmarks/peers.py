"""What both benchmarks need of each peer: its threads, and Adam (Kingma and Ba, 2015) in its fastest form."""

from __future__ import annotations

import os

import numpy as np
import race

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


def threads() -> int:
    """How many threads a framework may use: what `race.start` has set."""
    return int(os.environ["OMP_NUM_THREADS"])


def limit_tensorflow(tf) -> None:
    """Keep TensorFlow to the threads that it may use."""
    tf.config.threading.set_intra_op_parallelism_threads(threads())
    tf.config.threading.set_inter_op_parallelism_threads(threads())


class TensorFlowAdam:
    """Adam with TensorFlow's fused update, one kernel a parameter: faster than the optimiser of Keras."""

    def __init__(self, tf, parameters, learning_rate: float) -> None:
        self.tf, self.parameters, self.learning_rate = tf, parameters, learning_rate
        self.slots = [(tf.Variable(tf.zeros_like(p)), tf.Variable(tf.zeros_like(p))) for p in parameters]
        self.beta_1_power, self.beta_2_power = tf.Variable(BETA_1), tf.Variable(BETA_2)

    def apply(self, gradients) -> None:
        """Update the parameters, inside a tf.function."""
        for parameter, (m, v), gradient in zip(self.parameters, self.slots, gradients, strict=True):
            self.tf.raw_ops.ResourceApplyAdam(
                var=parameter.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=self.beta_1_power,
                beta2_power=self.beta_2_power,
                lr=self.learning_rate,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=gradient,
            )
        self.beta_1_power.assign(self.beta_1_power * BETA_1)
        self.beta_2_power.assign(self.beta_2_power * BETA_2)


def torch_version(torch) -> str:
    """The release, without the name of its build."""
    return torch.__version__.partition("+")[0]


def torch_step(torch, model, learning_rate: float, compiled: bool) -> race.Step:
    """A training step of a PyTorch model from pictures to logits."""
    torch.set_num_threads(threads())
    adam = torch.optim.Adam(model.parameters(), learning_rate, (BETA_1, BETA_2), EPSILON, fused=True)

    def loss_of(x, y):
        return torch.nn.functional.cross_entropy(model(x), y)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step(x: np.ndarray, y: np.ndarray) -> float:
        adam.zero_grad(set_to_none=True)
        loss = forward(torch.from_numpy(x), torch.from_numpy(y).long())
        loss.backward()
        adam.step()
        return loss.item()

    return step


def jax_step(jax, loss, weights: list[np.ndarray], learning_rate: float) -> race.Step:
    """A training step through jit; `loss(parameters, x, y, key)` is what it lessens."""
    compiled, state = jax_adam(jax, loss, weights, learning_rate)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        nonlocal state
        state, value = compiled(state, x, y)
        # The whole state, not the loss alone: nothing of this step may run in the next one's time.
        jax.block_until_ready(state)
        return float(value)

    return step


def jax_adam(jax, loss, weights: list[np.ndarray], learning_rate: float):
    """The compiled step, from the state and a batch to the next state and the loss; and the first state."""
    jnp = jax.numpy

    def update(state, x, y):
        parameters, m, v, count, key = state
        key, draw = jax.random.split(key)
        value, gradients = jax.value_and_grad(loss)(parameters, x, y, draw)
        count = count + 1
        m = [BETA_1 * a + (1 - BETA_1) * g for a, g in zip(m, gradients, strict=True)]
        v = [BETA_2 * a + (1 - BETA_2) * g * g for a, g in zip(v, gradients, strict=True)]
        rate = learning_rate * jnp.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
        parameters = [p - rate * a / (jnp.sqrt(b) + EPSILON) for p, a, b in zip(parameters, m, v, strict=True)]
        return (parameters, m, v, count, key), value

    zeros = [[jnp.zeros(w.shape) for w in weights] for _ in range(2)]
    state = ([jnp.array(w) for w in weights], *zeros, jnp.float32(0), jax.random.key(0))
    return jax.jit(update, donate_argnums=0), state
