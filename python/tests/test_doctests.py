"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import caudal

MODULES = sorted(module.name for module in pkgutil.iter_modules(caudal.__path__) if module.name != "_native")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"caudal.{name}")
    assert doctest.testmod(module).failed == 0


def test_public_functions_and_classes_have_docs() -> None:
    bare = [name for name in caudal.__all__ if callable(getattr(caudal, name)) and not getattr(caudal, name).__doc__]
    assert bare == []
