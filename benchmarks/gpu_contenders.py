"""What `gpu.py` times in caudal, PyTorch and JAX: arrays are put on a device, and calls leave their results there.

float32 is computed as such: the peers' tensor cores, which round its operands to 10 bits, are off.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

import numpy as np
import peers_convnet
import resnet

Call = Callable[[], object]
"""Asks for the work and does not wait; its result is for `wait`, or for `float` where it is a loss."""


class Caudal:
    """Functions of sessions on a device, all of it there, or the session is refused."""

    def __init__(self, device: str) -> None:
        import caudal as cd

        if device not in cd.devices():
            raise ImportError(f"there is no {device}; there is {', '.join(cd.devices())}")
        self.cd, self.device = cd, cd.device(device)
        self.version, self.adapter = cd.__version__, self.device.info.get("adapter", device)

    def wait(self, result) -> None:
        """Reads one element of what came last."""
        result[(0,) * result.ndim].item()

    def call(self, function, *arrays: np.ndarray) -> Call:
        """A call of a function of the arrays, traced for their shapes by the names of its parameters."""
        inputs = [self.cd.asarray(array, device=self.device.name) for array in arrays]
        names = inspect.signature(function).parameters
        specs = {name: self.cd.TensorSpec(x.shape, str(x.dtype)) for name, x in zip(names, arrays, strict=True)}
        program = self.cd.Program.of({"call": self.cd.function(signature=specs)(function)})
        return self.of(program, "call", inputs)

    def of(self, program, name: str, inputs: list) -> Call:
        """A call of a function of a program."""
        self.session = program.session(device=self.device.name, strict=self.device.name != "cpu")
        self.name, function = name, self.session[name]
        return lambda: function(*inputs)

    def kernels(self) -> int:
        """Into how many steps the last call was compiled."""
        placement = self.session.placement()[self.name]
        return len(placement) if isinstance(placement, list) else 0

    def matmul(self, a: np.ndarray, b: np.ndarray) -> Call:
        return self.call(lambda a, b: a @ b, a, b)

    def conv(self, x: np.ndarray, kernel: np.ndarray, strides: int) -> Call:
        return self.call(self.convolution(kernel, strides), x, kernel)

    def conv_gradients(self, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, strides: int) -> Call:
        cd, conv = self.cd, self.convolution(kernel, strides)

        def gradients(x, kernel, cotangent):
            by_image, by_kernel = cd.grad(lambda x, k: cd.sum(conv(x, k) * cotangent), wrt=(0, 1))(x, kernel)
            return {"x": by_image, "kernel": by_kernel}

        call = self.call(gradients, x, kernel, cotangent)
        return lambda: call()["kernel"]

    def convolution(self, kernel: np.ndarray, strides: int):
        pad = [kernel.shape[0] // 2] * 2
        return lambda x, k: self.cd.conv(x, k, strides=[strides, strides], padding_low=pad, padding_high=pad)

    def softmax(self, x: np.ndarray) -> Call:
        return self.call(lambda x: self.cd.softmax(x), x)

    def layer_norm(self, x: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> Call:
        return self.call(lambda x, s, o: self.cd.layer_norm(x, s, o), x, scale, offset)

    def demo(self, x: np.ndarray, y: np.ndarray) -> Call:
        return self.train(peers_convnet.caudal_functions(), x, y)

    def resnet20(self, x: np.ndarray, y: np.ndarray) -> Call:
        return self.train(resnet.caudal_functions(), x, y)

    def train(self, functions: dict, x: np.ndarray, y: np.ndarray) -> Call:
        program = self.cd.Program.of({"train_step": functions["train_step"]})
        inputs = [self.cd.asarray(array, device=self.device.name) for array in (x, y)]
        return self.of(program, "train_step", inputs)


class Torch:
    """Eager calls, as PyTorch is used most; cuDNN looks for its fastest convolution, which the first call pays."""

    def __init__(self, device: str) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise ImportError("PyTorch finds no CUDA device")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.torch, self.device, self.version = torch, torch.device(device), torch.__version__.partition("+")[0]
        self.adapter = torch.cuda.get_device_name() if device == "cuda" else device

    def wait(self, result) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def put(self, array: np.ndarray, order: tuple[int, ...] | None = None):
        """On the device; with an order of axes channels last in memory."""
        tensor = self.torch.from_numpy(array).to(self.device)
        if order is None:
            return tensor
        return tensor.permute(order).contiguous(memory_format=self.torch.channels_last)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> Call:
        a, b = self.put(a), self.put(b)
        return lambda: self.torch.matmul(a, b)

    def conv(self, x: np.ndarray, kernel: np.ndarray, strides: int) -> Call:
        x, kernel = self.put(x, (0, 3, 1, 2)), self.put(kernel, (3, 2, 0, 1))
        return lambda: self.torch.conv2d(x, kernel, None, strides, kernel.shape[2] // 2)

    def conv_gradients(self, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, strides: int) -> Call:
        x, kernel = self.put(x, (0, 3, 1, 2)).requires_grad_(), self.put(kernel, (3, 2, 0, 1)).requires_grad_()
        y, cotangent = (
            self.torch.conv2d(x, kernel, None, strides, kernel.shape[2] // 2),
            self.put(cotangent, (0, 3, 1, 2)),
        )
        return lambda: self.torch.autograd.grad(y, (x, kernel), cotangent, retain_graph=True)

    def softmax(self, x: np.ndarray) -> Call:
        x = self.put(x)
        return lambda: self.torch.softmax(x, -1)

    def layer_norm(self, x: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> Call:
        x, scale, offset = self.put(x), self.put(scale), self.put(offset)
        return lambda: self.torch.nn.functional.layer_norm(x, scale.shape, scale, offset)

    def demo(self, x: np.ndarray, y: np.ndarray) -> Call:
        model = peers_convnet.torch_model(self.torch).to(self.device)
        adam = self.torch.optim.Adam(model.parameters(), peers_convnet.LEARNING_RATE, eps=1e-7, fused=True)
        return self.train(model, adam, x, y)

    def resnet20(self, x: np.ndarray, y: np.ndarray) -> Call:
        model = resnet.torch_model(self.torch).to(self.device)
        sgd = self.torch.optim.SGD(model.parameters(), resnet.LEARNING_RATE, resnet.MOMENTUM, fused=True)
        return self.train(model, sgd, x, y)

    def train(self, model, optimizer, x: np.ndarray, y: np.ndarray) -> Call:
        x, y = self.put(x, (0, 3, 1, 2)), self.put(y).long()

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = self.torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step


class Jax:
    """Everything through jit."""

    def __init__(self, device: str) -> None:
        os.environ["JAX_PLATFORMS"] = device
        import jax

        try:
            self.adapter = jax.devices()[0].device_kind
        except RuntimeError as error:
            raise ImportError(str(error)) from None
        jax.config.update("jax_default_matmul_precision", "highest")
        self.jax, self.version = jax, jax.__version__

    def wait(self, result) -> None:
        self.jax.block_until_ready(result)

    def call(self, function, *arrays: np.ndarray) -> Call:
        inputs, compiled = [self.jax.device_put(array) for array in arrays], self.jax.jit(function)
        return lambda: compiled(*inputs)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> Call:
        return self.call(self.jax.numpy.matmul, a, b)

    def conv(self, x: np.ndarray, kernel: np.ndarray, strides: int) -> Call:
        return self.call(self.convolution(kernel, strides), x, kernel)

    def conv_gradients(self, x: np.ndarray, kernel: np.ndarray, cotangent: np.ndarray, strides: int) -> Call:
        conv = self.convolution(kernel, strides)
        return self.call(lambda x, k, cotangent: self.jax.vjp(conv, x, k)[1](cotangent), x, kernel, cotangent)

    def convolution(self, kernel: np.ndarray, strides: int):
        pad, order = [(kernel.shape[0] // 2,) * 2] * 2, ("NHWC", "HWIO", "NHWC")
        conv = self.jax.lax.conv_general_dilated
        return lambda x, k: conv(x, k, (strides, strides), pad, dimension_numbers=order)

    def softmax(self, x: np.ndarray) -> Call:
        return self.call(self.jax.nn.softmax, x)

    def layer_norm(self, x: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> Call:
        jnp = self.jax.numpy

        def norm(x, scale, offset):
            centred = x - jnp.mean(x, -1, keepdims=True)
            variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
            return centred * self.jax.lax.rsqrt(variance + 1e-5) * scale + offset

        return self.call(norm, x, scale, offset)

    def demo(self, x: np.ndarray, y: np.ndarray) -> Call:
        import peers

        loss = peers_convnet.jax_loss(self.jax)
        step, state = peers.jax_adam(self.jax, loss, peers_convnet.weights(), peers_convnet.LEARNING_RATE)
        return self.train(step, state, x, y)

    def resnet20(self, x: np.ndarray, y: np.ndarray) -> Call:
        jax, loss = self.jax, resnet.jax_loss(self.jax)

        def update(state, x, y):
            parameters, velocity = state
            value, gradients = jax.value_and_grad(loss)(parameters, x, y)
            velocity = jax.tree.map(lambda v, g: resnet.MOMENTUM * v - resnet.LEARNING_RATE * g, velocity, gradients)
            return (jax.tree.map(jax.numpy.add, parameters, velocity), velocity), value

        parameters = jax.tree.map(jax.numpy.asarray, resnet.weights())
        state = (parameters, jax.tree.map(jax.numpy.zeros_like, parameters))
        return self.train(jax.jit(update, donate_argnums=0), state, x, y)

    def train(self, compiled, state, x: np.ndarray, y: np.ndarray) -> Call:
        x, y = self.jax.device_put(x), self.jax.device_put(y)

        def step():
            nonlocal state
            state, value = compiled(state, x, y)
            return value

        return step


CONTENDERS = {"caudal": Caudal, "torch": Torch, "jax": Jax}
