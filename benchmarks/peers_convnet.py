"""Times a training step of the demo's convolutional network (dropout, Adam, batch 64) in caudal and its peers.

The network takes pictures of 28 x 28 x 1: convolution 3 x 3 to 32 channels, ReLU, max-pooling 2 x 2; the same to 64;
dropout 0.3; dense 128, ReLU; dense 10; cross-entropy. Convolutions keep the size ("same" padding).
"""

from __future__ import annotations

import os

import numpy as np
import peers
import race

CLASSES = 10
DROPOUT = 0.3
LEARNING_RATE = 1e-3
SHAPES = {
    "conv1/kernel": (3, 3, 1, 32),
    "conv1/bias": (32,),
    "conv2/kernel": (3, 3, 32, 64),
    "conv2/bias": (64,),
    "dense1/kernel": (7 * 7 * 64, 128),
    "dense1/bias": (128,),
    "dense2/kernel": (128, CLASSES),
    "dense2/bias": (CLASSES,),
}


def weights() -> list[np.ndarray]:
    """Initial kernels (HWIO) and biases, the same in every framework."""
    generator = np.random.default_rng(1)
    return [
        race.glorot(generator, shape) if len(shape) > 1 else np.zeros(shape, "float32") for shape in SHAPES.values()
    ]


def caudal_functions(dropout: float = DROPOUT) -> dict:
    """The network as a program: `predict` and `train_step`, traced for any batch, over the same state."""
    import caudal as cd

    parameters = [cd.Variable(value, name=name) for value, name in zip(weights(), SHAPES, strict=True)]
    k1, c1, k2, c2, w1, b1, w2, b2 = parameters
    adam = cd.optimizers.Adam(LEARNING_RATE)
    pictures, labels = cd.TensorSpec(["batch", 28, 28, 1]), cd.TensorSpec(["batch"], "int32")

    def logits(x, rate=0.0):
        h = cd.max_pool(cd.relu(cd.conv(x, k1, padding="same") + c1), window=[2, 2])
        h = cd.max_pool(cd.relu(cd.conv(h, k2, padding="same") + c2), window=[2, 2])
        h = cd.reshape(h, (-1, 7 * 7 * 64))
        h = cd.dropout(h, rate) if rate else h
        return cd.relu(h @ w1 + b1) @ w2 + b2

    @cd.function(signature={"x": pictures})
    def predict(x):
        return cd.softmax(logits(x))

    @cd.function(signature={"x": pictures, "y": labels})
    def train_step(x, y):
        def loss():
            return cd.mean(cd.softmax_cross_entropy(logits(x, dropout), y))

        value, grads = cd.value_and_grad(loss, wrt=parameters)()
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
    k1, c1, k2, c2, w1, b1, w2, b2 = parameters
    adam = peers.TensorFlowAdam(tf, parameters, LEARNING_RATE)

    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1], tf.float32), tf.TensorSpec([None], tf.int32)])
    def train_step(x, y):
        with tf.GradientTape() as tape:
            h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, k1, 1, "SAME"), c1))
            h = tf.nn.max_pool2d(h, 2, 2, "VALID")
            h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(h, k2, 1, "SAME"), c2))
            h = tf.nn.max_pool2d(h, 2, 2, "VALID")
            h = tf.nn.dropout(tf.reshape(h, [-1, 7 * 7 * 64]), DROPOUT)
            logits = tf.nn.relu(h @ w1 + b1) @ w2 + b2
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        adam.apply(tape.gradient(loss, parameters))
        return loss

    return tf.__version__, lambda x, y: float(train_step(x, y))


def with_torch() -> tuple[str, race.Step]:
    """The step called eagerly, channels last, with the fused Adam."""
    import torch

    return peers.torch_version(torch), torch_step(torch, compiled=False)


def with_torch_compile() -> tuple[str, race.Step]:
    """The model and its loss through torch.compile, channels last, with the fused Adam."""
    import torch

    return peers.torch_version(torch), torch_step(torch, compiled=True)


def torch_step(torch, compiled: bool) -> race.Step:
    """The step of the network, fed with channels-last pictures without a copy."""
    step = peers.torch_step(torch, torch_model(torch), LEARNING_RATE, compiled)
    return lambda x, y: step(x.transpose(0, 3, 1, 2), y)


def torch_model(torch):
    """The network with the common initial weights, channels last."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(DROPOUT),
        nn.Linear(7 * 7 * 64, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights(), strict=True):
            order = (3, 2, 0, 1) if value.ndim == 4 else tuple(reversed(range(value.ndim)))
            parameter.copy_(torch.from_numpy(value.transpose(order).copy()))
    return model.to(memory_format=torch.channels_last)


def with_jax() -> tuple[str, race.Step]:
    """The step through jit, with its state donated."""
    import jax

    return jax.__version__, peers.jax_step(jax, jax_loss(jax), weights(), LEARNING_RATE)


def jax_loss(jax):
    """The loss of the network for a list of parameters; `key` is for dropout."""
    jnp, lax = jax.numpy, jax.lax

    def conv(x, kernel, bias):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias

    def pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(parameters, x, y, key):
        k1, c1, k2, c2, w1, b1, w2, b2 = parameters
        h = pool(jax.nn.relu(conv(x, k1, c1)))
        h = pool(jax.nn.relu(conv(h, k2, c2))).reshape(-1, 7 * 7 * 64)
        h = jnp.where(jax.random.bernoulli(key, 1 - DROPOUT, h.shape), h / (1 - DROPOUT), 0)
        logits = jax.nn.relu(h @ w1 + b1) @ w2 + b2
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    return loss


if __name__ == "__main__":
    race.main(
        os.path.abspath(__file__),
        "convolutional network, dropout, Adam, batch 64",
        (28, 28, 1),
        {
            "caudal": with_caudal,
            "tensorflow": with_tensorflow,
            "torch": with_torch,
            "torch.compile": with_torch_compile,
            "jax": with_jax,
        },
    )
