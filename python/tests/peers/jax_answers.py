"""What JAX answers. Run by JAX's own interpreter: the requests as JSON on standard input, the answers into an npz file.

python jax_answers.py ANSWERS.npz < requests.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import table

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


class Names:
    """The names of the table, where JAX has them."""

    def __getattr__(self, name: str) -> Any:
        if name == "scan":
            return jax.lax.scan
        return next(getattr(home, name) for home in (jnp, jax.nn, jax.scipy.special) if hasattr(home, name))

    @staticmethod
    def cond(predicate: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        return jax.lax.cond(predicate, then, otherwise)

    @staticmethod
    def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any, *, max_steps: int) -> Any:
        """Steps that do nothing once the condition is false, which have a gradient."""

        def step(value: Any, _: None) -> tuple[Any, None]:
            return jax.lax.cond(cond(value), body, lambda same: same, value), None

        return jax.lax.scan(step, init, None, length=max_steps)[0]


def random(request: dict[str, Any]) -> Any:
    """One draw: `kind` and its arguments."""
    key, kind, shape = jnp.array(request["key"], jnp.uint32), request["kind"], tuple(request.get("shape", ()))
    if kind == "split":
        return jax.random.split(key, request["num"])
    if kind == "fold_in":
        return jax.random.fold_in(key, request["data"])
    draws = {"bits": jax.random.bits, "uniform": jax.random.uniform, "normal": jax.random.normal}
    return draws[kind](key, shape, dtype=request["dtype"])


def gradients(request: dict[str, Any]) -> list[Any]:
    """The loss of a program and its gradients."""
    rng = np.random.default_rng(request["seed"])
    inputs = [rng.uniform(-1.0, 1.0, request["shape"]) for _ in range(request["inputs"])]
    differentiated = jax.value_and_grad(
        lambda *values: table.loss(Names(), request["steps"], *values), tuple(range(len(inputs)))
    )
    value, slopes = jax.jit(differentiated)(*inputs)
    return [value, *slopes]


def main() -> None:
    requests = json.load(sys.stdin)
    answers = {f"random/{index}": np.asarray(random(request)) for index, request in enumerate(requests["random"])}
    for index, request in enumerate(requests["programs"]):
        answers |= {f"program/{index}/{part}": np.asarray(value) for part, value in enumerate(gradients(request))}
    np.savez(sys.argv[1], **answers)


if __name__ == "__main__":
    main()
