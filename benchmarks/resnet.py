"""ResNet-20 for pictures of 32 x 32 x 3 (He et al., 2015, section 4.2) in caudal and its peers, with the same weights.

A convolution 3 x 3 to 16 channels; three stages of three blocks with 16, 32 and 64 channels, the first block of the
later two with strides of 2; the mean over each picture; dense 10. A block is two convolutions 3 x 3 without bias, each
with batch normalization, and a shortcut that has no parameters: where the size changes, every second pixel, and zeros
for the new channels. SGD with momentum 0.9.
"""

from __future__ import annotations

import numpy as np

CLASSES, BLOCKS, WIDTHS = 10, 3, (16, 32, 64)
LEARNING_RATE, MOMENTUM, STATISTICS, EPSILON = 0.05, 0.9, 0.1, 1e-5


def blocks() -> list[tuple[str, int, int, int]]:
    """For each block its name, the channels that come in and go out, and the strides of its first convolution."""
    found, inputs = [], WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for block in range(BLOCKS):
            found.append((f"stage{stage}/block{block}", inputs, width, 2 if width != inputs else 1))
            inputs = width
    return found


def weights() -> dict[str, np.ndarray]:
    """Initial parameters: He's normal distribution for kernels (HWIO), scales of 1, offsets of 0."""
    generator = np.random.default_rng(2)
    found: dict[str, np.ndarray] = {}

    def kernel(name: str, *shape: int) -> None:
        deviation = (2 / np.prod(shape[:-1])) ** 0.5
        found[f"{name}/kernel"] = (generator.standard_normal(shape) * deviation).astype("float32")

    def normalized(name: str, inputs: int, outputs: int) -> None:
        kernel(name, 3, 3, inputs, outputs)
        found[f"{name}/scale"] = np.ones(outputs, "float32")
        found[f"{name}/offset"] = np.zeros(outputs, "float32")

    normalized("first", 3, WIDTHS[0])
    for name, inputs, width, _ in blocks():
        normalized(f"{name}/conv0", inputs, width)
        normalized(f"{name}/conv1", width, width)
    kernel("dense", WIDTHS[-1], CLASSES)
    found["dense/bias"] = np.zeros(CLASSES, "float32")
    return found


def pictures(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The same pictures and labels for all."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((batch, 32, 32, 3), "float32"), generator.integers(0, CLASSES, batch, "int32")


def caudal_functions() -> dict:
    """The network as a program: `predict` with the running statistics, and `train_step`, which moves them."""
    import caudal as cd

    parameters = {name: cd.Variable(value, name=name) for name, value in weights().items()}
    trained = list(parameters.values())
    running = {}
    for name, value in weights().items():
        if name.endswith("/scale"):
            layer = name.removesuffix("/scale")
            running[layer] = [
                cd.Variable(np.full_like(value, start), name=f"{layer}/{kind}", role="statistic")
                for kind, start in (("mean", 0), ("variance", 1))
            ]
    sgd = cd.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)

    def layer(name, x, strides, training):
        kernel = parameters[f"{name}/kernel"]
        x = cd.conv(x, kernel, strides=[strides, strides], padding_low=[1, 1], padding_high=[1, 1])
        scale, offset = parameters[f"{name}/scale"], parameters[f"{name}/offset"]
        if not training:
            return cd.batch_norm(x, scale, offset, *running[name], epsilon=EPSILON)
        x, *statistics = cd.batch_norm_training(x, scale, offset, epsilon=EPSILON)
        for variable, seen in zip(running[name], statistics, strict=True):
            variable.assign(variable + (cd.stop_gradient(seen) - variable) * STATISTICS)
        return x

    def logits(x, training=False):
        x = cd.relu(layer("first", x, 1, training))
        for name, inputs, width, strides in blocks():
            shortcut = x
            if strides > 1:
                side = (width - inputs) // 2
                shortcut = cd.pad(x[:, ::strides, ::strides, :], low=[0, 0, 0, side], high=[0, 0, 0, side])
            x = cd.relu(layer(f"{name}/conv0", x, strides, training))
            x = cd.relu(layer(f"{name}/conv1", x, 1, training) + shortcut)
        return cd.mean(x, axis=[1, 2]) @ parameters["dense/kernel"] + parameters["dense/bias"]

    image, label = cd.TensorSpec(["batch", 32, 32, 3]), cd.TensorSpec(["batch"], "int32")

    @cd.function(signature={"x": image})
    def predict(x):
        return cd.softmax(logits(x))

    @cd.function(signature={"x": image, "y": label})
    def train_step(x, y):
        def loss():
            return cd.mean(cd.softmax_cross_entropy(logits(x, training=True), y))

        value, grads = cd.value_and_grad(loss, wrt=trained)()
        sgd.apply(grads, trained)
        return value

    return {"predict": predict, "train_step": train_step}


def torch_model(torch):
    """The network as a PyTorch module, channels last, with the common initial weights."""
    nn = torch.nn
    initial = {name: torch.from_numpy(value) for name, value in weights().items()}

    class Layer(nn.Module):
        def __init__(self, name, inputs, outputs, strides):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, 3, strides, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(outputs, EPSILON, STATISTICS)
            with torch.no_grad():
                self.conv.weight.copy_(initial[f"{name}/kernel"].permute(3, 2, 0, 1))

        def forward(self, x):
            return self.norm(self.conv(x))

    class Block(nn.Module):
        def __init__(self, name, inputs, width, strides):
            super().__init__()
            self.side, self.strides = (width - inputs) // 2, strides
            self.conv0 = Layer(f"{name}/conv0", inputs, width, strides)
            self.conv1 = Layer(f"{name}/conv1", width, width, 1)

        def forward(self, x):
            shortcut = x
            if self.strides > 1:
                less = x[:, :, :: self.strides, :: self.strides]
                shortcut = nn.functional.pad(less, (0, 0, 0, 0, self.side, self.side))
            return nn.functional.relu(self.conv1(nn.functional.relu(self.conv0(x))) + shortcut)

    dense = nn.Linear(WIDTHS[-1], CLASSES)
    with torch.no_grad():
        dense.weight.copy_(initial["dense/kernel"].T)
        dense.bias.copy_(initial["dense/bias"])
    stages = [Block(*block) for block in blocks()]
    model = nn.Sequential(
        Layer("first", 3, WIDTHS[0], 1), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense
    )
    return model.to(memory_format=torch.channels_last)


def jax_loss(jax):
    """The loss of the network for parameters by name. The running statistics, which it lacks, are next to no work."""
    jnp, lax = jax.numpy, jax.lax

    def layer(parameters, name, x, strides):
        kernel, order = parameters[f"{name}/kernel"], ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, kernel, (strides, strides), ((1, 1), (1, 1)), dimension_numbers=order)
        mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
        return (x - mean) * (parameters[f"{name}/scale"] * lax.rsqrt(variance + EPSILON)) + parameters[f"{name}/offset"]

    def loss(parameters, x, y):
        x = jax.nn.relu(layer(parameters, "first", x, 1))
        for name, inputs, width, strides in blocks():
            shortcut = x
            if strides > 1:
                side = (width - inputs) // 2
                shortcut = jnp.pad(x[:, ::strides, ::strides, :], ((0, 0), (0, 0), (0, 0), (side, side)))
            x = jax.nn.relu(layer(parameters, f"{name}/conv0", x, strides))
            x = jax.nn.relu(layer(parameters, f"{name}/conv1", x, 1) + shortcut)
        logits = jnp.mean(x, (1, 2)) @ parameters["dense/kernel"] + parameters["dense/bias"]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    return loss
