"""Trains a small convolutional network on Fashion-MNIST and saves it as one file that trains.

python examples/fashion.py build/fashion.caudal --epochs 4
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import caudal as cd

CLASSES = len(cd.datasets.FASHION_MNIST_LABELS)
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
IMAGE = cd.TensorSpec(["batch", 28, 28, 1], "float32")
LABEL = cd.TensorSpec(["batch"], "int32")


def initial(name: str, key: cd.Tensor) -> cd.Tensor:
    """A first value: He's normal distribution for kernels, zeros for biases."""
    shape = SHAPES[name]
    if len(shape) == 1:
        return cd.zeros(shape)
    fan_in = int(np.prod(shape[:-1]))
    return cd.random.normal(key, shape) * float(np.sqrt(2 / fan_in))


def build(adam: cd.optimizers.Adam) -> dict[str, Any]:
    """The functions of the program, over state that they share."""
    keys = cd.random.split(cd.random.key(0), len(SHAPES))
    weights = {name: cd.Variable(initial(name, keys[i]), name=name) for i, name in enumerate(SHAPES)}
    parameters = list(weights.values())

    def logits(x: cd.Tensor, rate: float = 0.0) -> cd.Tensor:
        for layer in ("conv1", "conv2"):
            x = cd.conv(x, weights[f"{layer}/kernel"], padding="same") + weights[f"{layer}/bias"]
            x = cd.max_pool(cd.relu(x), window=[2, 2])
        x = cd.reshape(x, (-1, 7 * 7 * 64))
        if rate:
            x = cd.dropout(x, rate)
        x = cd.relu(x @ weights["dense1/kernel"] + weights["dense1/bias"])
        return x @ weights["dense2/kernel"] + weights["dense2/bias"]

    def measures(scores: cd.Tensor, y: cd.Tensor) -> dict[str, cd.Tensor]:
        right = cd.equal(cd.argmax(scores, axis=-1), cd.astype(y, "int64"))
        return {
            "loss": cd.mean(cd.softmax_cross_entropy(scores, y)),
            "accuracy": cd.mean(cd.astype(right, "float32")),
        }

    @cd.function(signature={"x": IMAGE})
    def predict(x: cd.Tensor) -> cd.Tensor:
        """Probabilities of the ten garments; pixels are in [0, 1]."""
        return cd.softmax(logits(x))

    @cd.function(signature={"x": IMAGE, "y": LABEL})
    def evaluate(x: cd.Tensor, y: cd.Tensor) -> dict[str, cd.Tensor]:
        """Mean cross-entropy and the share of right answers, without dropout."""
        return measures(logits(x), y)

    @cd.function(signature={"x": IMAGE, "y": LABEL})
    def train_step(x: cd.Tensor, y: cd.Tensor) -> dict[str, cd.Tensor]:
        """One step of Adam on a batch, with dropout; the measures are those before it."""

        def forward() -> tuple[cd.Tensor, dict[str, cd.Tensor]]:
            out = measures(logits(x, rate=0.3), y)
            return out["loss"], out

        out: dict[str, cd.Tensor]
        (_, out), gradients = cd.value_and_grad(forward, wrt=parameters, has_aux=True)()
        adam.apply(gradients, parameters)
        return out

    @cd.function(signature={"key": cd.TensorSpec([2], "uint32")})
    def init(key: cd.Tensor) -> dict[str, cd.Tensor]:
        """Starts anew: weights drawn from the key, the optimiser and the generator reset."""
        keys = cd.random.split(key, len(SHAPES) + 1)
        for i, (name, variable) in enumerate(weights.items()):
            variable.assign(initial(name, keys[i]))
            for slot in adam.slots(variable):
                slot.assign(cd.zeros(slot.shape))
        adam.step.assign(0)
        cd.random.generator.assign(keys[len(SHAPES)])
        return {}

    return {"predict": predict, "evaluate": evaluate, "train_step": train_step, "init": init}


def prepare(images: np.ndarray) -> np.ndarray:
    """Pixels as the program takes them: float32 in [0, 1], channels last."""
    pixels: np.ndarray = np.divide(images[..., None], 255, dtype=np.float32)
    return pixels


def batches(x: np.ndarray, y: np.ndarray, size: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The examples in random order, in whole batches."""
    order = np.random.default_rng(seed).permutation(len(x))
    for start in range(0, len(x) - size + 1, size):
        chosen = order[start : start + size]
        yield x[chosen], y[chosen]


def accuracy(evaluate: Any, x: np.ndarray, y: np.ndarray, size: int = 1000) -> float:
    """The share of right answers over a data set."""
    parts = [float(evaluate(x[i : i + size], y[i : i + size])["accuracy"]) for i in range(0, len(x), size)]
    return sum(parts) / len(parts)


def train(path: Path, epochs: int, batch: int = 64) -> float:
    """Trains, prints progress, saves to ``path``; gives the accuracy on the test pictures."""
    (images, labels), (test_images, test_labels) = cd.datasets.fashion_mnist()
    x, test_x = prepare(images), prepare(test_images)
    adam = cd.optimizers.Adam()
    functions = build(adam)
    test_accuracy = 0.0
    for epoch in range(epochs):
        adam.learning_rate.assign(2e-3 * 0.5**epoch)
        loss, right, start = 0.0, 0.0, time.perf_counter()
        with tqdm(total=len(x) // batch, desc=f"epoch {epoch + 1}/{epochs}", unit="step", mininterval=0.5) as bar:
            for step, (pixels, answers) in enumerate(batches(x, labels, batch, epoch), 1):
                out = functions["train_step"](pixels, answers)
                loss += (float(out["loss"]) - loss) / step
                right += (float(out["accuracy"]) - right) / step
                if step % 20 == 0:
                    speed = step * batch / (time.perf_counter() - start)
                    bar.set_postfix_str(f"loss {loss:.3f}, accuracy {right:.3f}, {speed:.0f} examples/s", refresh=False)
                bar.update()
        test_accuracy = accuracy(functions["evaluate"], test_x, test_labels)
        print(f"epoch {epoch + 1}: accuracy on the test pictures {test_accuracy:.4f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    cd.save(path, functions, metadata={"labels": list(cd.datasets.FASHION_MNIST_LABELS), "pixels": "0 to 1"})
    return test_accuracy


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="where to save the program")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    print(f"test accuracy {train(options.file, options.epochs, options.batch):.4f}, saved {options.file}")


if __name__ == "__main__":
    main()
