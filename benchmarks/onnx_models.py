"""Writes the networks of the benchmarks as ONNX, with the same weights: `python benchmarks/onnx_models.py FOLDER`.

Needs NumPy and onnx, not caudal. ONNX's convolutions take channels first: the kernels' dimensions are moved, and so are
the rows of the first dense kernel, because the flattened pictures have another order. A picture of one channel is the
same in both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import peers_convnet
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def model(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], x: list, y: list) -> onnx.ModelProto:
    """A model from `x` to `y` of the given dimensions."""
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(made, full_check=True)
    return made


def convnet() -> onnx.ModelProto:
    """`predict` of the demo's network: pictures [batch, 28, 28, 1] to probabilities [batch, 10]."""
    weights = dict(zip(peers_convnet.SHAPES, peers_convnet.weights(), strict=True))
    for name in ("conv1/kernel", "conv2/kernel"):
        weights[name] = weights[name].transpose(3, 2, 0, 1)
    rows = weights["dense1/kernel"].reshape(7, 7, 64, 128).transpose(2, 0, 1, 3)
    weights["dense1/kernel"] = rows.reshape(7 * 7 * 64, 128)
    weights |= {"picture": np.array([-1, 1, 28, 28]), "flat": np.array([-1, 7 * 7 * 64])}
    nodes = [helper.make_node("Reshape", ["x", "picture"], ["h0"])]
    for i, layer in enumerate(("conv1", "conv2")):
        parameters = [f"{layer}/kernel", f"{layer}/bias"]
        nodes += [
            helper.make_node("Conv", [f"h{i}", *parameters], [f"{layer}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"{layer}"], [f"{layer}/relu"]),
            helper.make_node("MaxPool", [f"{layer}/relu"], [f"h{i + 1}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
    nodes += [
        helper.make_node("Reshape", ["h2", "flat"], ["h3"]),
        helper.make_node("Gemm", ["h3", "dense1/kernel", "dense1/bias"], ["dense1"]),
        helper.make_node("Relu", ["dense1"], ["h4"]),
        helper.make_node("Gemm", ["h4", "dense2/kernel", "dense2/bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=-1),
    ]
    return model(nodes, weights, ["batch", 28, 28, 1], ["batch", 10])


def call() -> onnx.ModelProto:
    """Adds 1 to 8 floats."""
    return model([helper.make_node("Add", ["x", "one"], ["y"])], {"one": np.ones(1, "float32")}, [8], [8])


if __name__ == "__main__":
    for name, made in {"convnet": convnet(), "call": call()}.items():
        onnx.save(made, Path(sys.argv[1]) / f"{name}.onnx")
