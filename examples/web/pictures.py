"""Writes pictures.bin: the pictures of Fashion-MNIST that the page carries, the first ones of each garment.

The file is a list of records of 785 bytes, the label and then 28 rows of 28 grey levels. The first TEST records are
from the test set, to look at; the others are from the training set, and keep the program from forgetting what it knows
while it learns something new. Within each part the garments take turns.

    python examples/web/pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import caudal as cd

FILE = Path(__file__).with_name("pictures.bin")
TEST, TRAINING = 40, 80


def taken(images: np.ndarray, labels: np.ndarray, count: int) -> bytes:
    """The records of the first pictures of each garment."""
    garments = len(cd.datasets.FASHION_MNIST_LABELS)
    places = np.stack([np.flatnonzero(labels == garment)[: count // garments] for garment in range(garments)], axis=1)
    chosen = places.reshape(-1)
    return np.concatenate([labels[chosen, None], images[chosen].reshape(count, -1)], axis=1).astype("u1").tobytes()


if __name__ == "__main__":
    training, test = cd.datasets.fashion_mnist()
    FILE.write_bytes(taken(*test, TEST) + taken(*training, TRAINING))
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")
