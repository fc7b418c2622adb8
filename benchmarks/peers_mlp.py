"""Times a training step of a perceptron 784-512-10 (ReLU, cross-entropy, Adam, batch 64) in caudal and its peers."""

from __future__ import annotations

import os

import numpy as np
import peers
import race

INPUTS, HIDDEN, CLASSES = 784, 512, 10
LEARNING_RATE = 1e-3


def weights() -> list[np.ndarray]:
    """Initial kernels and biases, the same in every framework."""
    generator = np.random.default_rng(1)
    return [
        race.glorot(generator, (INPUTS, HIDDEN)),
        np.zeros(HIDDEN, "float32"),
        race.glorot(generator, (HIDDEN, CLASSES)),
        np.zeros(CLASSES, "float32"),
    ]


def caudal_functions() -> dict:
    """The network as a program: `predict` and `train_step`, traced for any batch, over the same state."""
    import caudal as cd

    names = ["hidden/kernel", "hidden/bias", "output/kernel", "output/bias"]
    parameters = [cd.Variable(value, name=name) for value, name in zip(weights(), names, strict=True)]
    w1, b1, w2, b2 = parameters
    adam = cd.optimizers.Adam(LEARNING_RATE)
    pictures, labels = cd.TensorSpec(["batch", INPUTS]), cd.TensorSpec(["batch"], "int32")

    def logits(x):
        return cd.relu(x @ w1 + b1) @ w2 + b2

    @cd.function(signature={"x": pictures})
    def predict(x):
        return cd.softmax(logits(x))

    @cd.function(signature={"x": pictures, "y": labels})
    def train_step(x, y):
        value, grads = cd.value_and_grad(lambda: cd.mean(cd.softmax_cross_entropy(logits(x), y)), wrt=parameters)()
        adam.apply(grads, parameters)
        return value

    return {"predict": predict, "train_step": train_step}


def with_caudal() -> tuple[str, race.Step]:
    """The step as a traced function."""
    import caudal as cd

    train_step = caudal_functions()["train_step"]
    return cd.__version__, lambda x, y: float(train_step(x, y))


def with_tensorflow() -> tuple[str, race.Step]:
    """The step as a tf.function with the fused Adam kernel."""
    import tensorflow as tf

    peers.limit_tensorflow(tf)
    parameters = [tf.Variable(value) for value in weights()]
    w1, b1, w2, b2 = parameters
    adam = peers.TensorFlowAdam(tf, parameters, LEARNING_RATE)

    @tf.function(input_signature=[tf.TensorSpec([None, INPUTS], tf.float32), tf.TensorSpec([None], tf.int32)])
    def train_step(x, y):
        with tf.GradientTape() as tape:
            logits = tf.nn.relu(x @ w1 + b1) @ w2 + b2
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        adam.apply(tape.gradient(loss, parameters))
        return loss

    return tf.__version__, lambda x, y: float(train_step(x, y))


def with_torch() -> tuple[str, race.Step]:
    """The step called eagerly, with the fused Adam."""
    import torch

    return peers.torch_version(torch), peers.torch_step(torch, torch_model(torch), LEARNING_RATE, compiled=False)


def with_torch_compile() -> tuple[str, race.Step]:
    """The model and its loss through torch.compile, with the fused Adam."""
    import torch

    return peers.torch_version(torch), peers.torch_step(torch, torch_model(torch), LEARNING_RATE, compiled=True)


def torch_model(torch):
    """The perceptron with the common initial weights."""
    model = torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights(), strict=True):
            parameter.copy_(torch.from_numpy(value.T.copy()))
    return model


def with_jax() -> tuple[str, race.Step]:
    """The step through jit, with its state donated."""
    import jax
    import jax.numpy as jnp

    def loss(parameters, x, y, key):
        w1, b1, w2, b2 = parameters
        logits = jax.nn.relu(x @ w1 + b1) @ w2 + b2
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    return jax.__version__, peers.jax_step(jax, loss, weights(), LEARNING_RATE)


if __name__ == "__main__":
    race.main(
        os.path.abspath(__file__),
        "perceptron 784-512-10, Adam, batch 64",
        (INPUTS,),
        {
            "caudal": with_caudal,
            "tensorflow": with_tensorflow,
            "torch": with_torch,
            "torch.compile": with_torch_compile,
            "jax": with_jax,
        },
    )
