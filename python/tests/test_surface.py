"""The Python sample of shared/surface.md runs as it stands, on real pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caudal as cd

SAMPLE = '''
k1, k2 = cd.random.split(cd.random.key(0))                       # from nothing
w1 = cd.Variable(cd.random.normal(k1, (784, 128)) * 0.05, name="dense1/kernel")
b1 = cd.Variable(cd.zeros((128,)), name="dense1/bias")
w2 = cd.Variable(cd.random.normal(k2, (128, 10)) * 0.05, name="dense2/kernel")
params, adam = [w1, b1, w2], cd.optimizers.Adam(1e-3)
image, label = cd.TensorSpec(["batch", 784]), cd.TensorSpec(["batch"], "int32")
def logits(x): return cd.relu(cd.asarray(x) @ w1 + b1) @ w2

@cd.function(signature={"x": image})
def predict(x):
    """Probabilities of the ten garments."""
    return cd.softmax(logits(x))

@cd.function(signature={"x": image, "y": label})
def train_step(x, y):
    loss, grads = cd.value_and_grad(lambda: cd.mean(cd.softmax_cross_entropy(logits(x), y)), wrt=params)()
    adam.apply(grads, params)
    return {"loss": loss}

for i in range(0, len(pixels), 64): loss = train_step(pixels[i:i+64], labels[i:i+64])["loss"]
cd.save("mlp.caudal", {"predict": predict, "train_step": train_step}, metadata={"labels": names})

with cd.load("mlp.caudal", device="auto", limits=cd.Limits(memory=512 << 20, seconds=2)) as s:   # GPU: "gpu:0", strict=True
    print(s.program.functions["predict"].inputs, s.program.metadata["labels"], s.placement())
    y = np.asarray(s.predict(pixels))                            # the structure that was traced
    y = s.run("predict", {"x": pixels}, limits=cd.Limits(seconds=0.1))["output"]
    with ThreadPoolExecutor() as pool: list(pool.map(s["predict"], np.array_split(pixels, 4)))
    before = s.snapshot()
    s.state["optimizer/learning_rate"] = 1e-4
    print(float(s.train_step(pixels, labels)["loss"]))
    s.restore(before); s.save("tuned.caudal"); s.snapshot().select(["predict"]).save("predict.caudal")
    try: s.predict(np.zeros((4, 28, 28), "float32"))
    except cd.ShapeError as e: print(e.code, e.op, e.argument, e.location, e)
'''  # noqa: E501


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_sample(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Few enough that the sample's limit of 0.1 s is ample.
    pixels, labels = pictures.pixels[:3200], pictures.labels[:3200]
    scope: dict[str, Any] = {"cd": cd, "np": np, "ThreadPoolExecutor": ThreadPoolExecutor}
    scope.update(pixels=pixels, labels=labels, names=pictures.names)
    exec(compile(SAMPLE, "sample.py", "exec"), scope)
    inputs, loss, error = capsys.readouterr().out.splitlines()
    places = {"apply": "cpu", "gradients": "cpu", "predict": "cpu", "train_step": "cpu"}
    assert inputs == f"{{'x': TensorSpec(['batch', 784], 'float32')}} {pictures.names} {places}"
    assert 0.2 < float(loss) < 1.0
    assert error == ("shape predict x None predict: x is float32[4, 28, 28], expected float32[batch, 784]")
    accuracy = np.mean(np.argmax(np.asarray(scope["y"]), axis=1) == labels)
    assert accuracy > 0.7
    small = cd.Program.open("predict.caudal")
    assert list(small.functions) == ["predict"]
    assert list(small.state) == ["dense1/kernel", "dense1/bias", "dense2/kernel"]
    assert small.functions["predict"].doc == "Probabilities of the ten garments."
    assert float(cd.load("tuned.caudal").state["optimizer/learning_rate"]) == pytest.approx(1e-3)
