"""Opens a file that the page wrote, and prints what Python makes of it, as JSON.

    python tests/browser/check.py FILE [STEPS]

`probabilities` of the page's test pictures, the `learning_rate`, and the `losses` of STEPS more steps of training, of
which each takes the page's training pictures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import caudal as cd

TEST = 40


def main(file: str, steps: int = 0) -> None:
    records = np.fromfile(Path(__file__).parents[2] / "examples" / "web" / "pictures.bin", "u1").reshape(-1, 785)
    y, x = records[:, 0].astype("int32"), records[:, 1:].reshape(-1, 28, 28, 1) / np.float32(255)
    with cd.load(file) as session:
        answer = {
            "functions": sorted(session.program.functions),
            "probabilities": np.asarray(session.predict(x[:TEST])).tolist(),
            "learning_rate": float(session.state["optimizer/learning_rate"]),
            "losses": [float(session.train_step(x[TEST:], y[TEST:])["loss"]) for _ in range(steps)],
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
