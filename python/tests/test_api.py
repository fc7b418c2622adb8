"""The public surface is the one that python/caudal/api.txt lists.

`python python/tests/test_api.py` writes that anew.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import caudal

FILE = Path(caudal.__file__).with_name("api.txt")


def lines(module: ModuleType, prefix: str) -> Iterator[str]:
    """Every public signature of a module, one a line."""
    for name in sorted(module.__all__):
        value = importlib.import_module(f"caudal.{name}") if name == "datasets" else getattr(module, name)
        if isinstance(value, ModuleType):
            yield from lines(value, f"{prefix}{name}.")
        elif inspect.isclass(value):
            yield f"class {prefix}{name}({', '.join(base.__name__ for base in value.__bases__)})"
            yield from members(value, f"{prefix}{name}")
        elif inspect.isfunction(value):
            yield f"def {prefix}{name}{inspect.signature(value)}"
        else:
            yield f"{prefix}{name}: {type(value).__name__}"


def members(kind: type, prefix: str) -> Iterator[str]:
    """The public members that a class itself defines, its constructor among them."""
    for name, value in sorted(vars(kind).items()):
        target: Any = value.__func__ if isinstance(value, staticmethod) else value
        if name.startswith("_") and name != "__init__":
            continue
        if inspect.isfunction(target):
            yield f"    def {prefix}.{name}{inspect.signature(target)}"
        elif isinstance(value, property) or type(value).__name__ == "cached_property":
            get = value.fget if isinstance(value, property) else value.func  # type: ignore[attr-defined]
            yield f"    {prefix}.{name}: {inspect.signature(get).return_annotation}"


def text() -> str:
    """The whole list."""
    return "\n".join(lines(caudal, "")) + "\n"


def test_surface_is_as_listed() -> None:
    assert text() == FILE.read_text(), "the public surface has changed: run python python/tests/test_api.py"


if __name__ == "__main__":
    FILE.write_text(text())
