"""Trees: tuples, lists and dicts of values, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .errors import ArgumentError, make

Structure: TypeAlias = Any
"""How a tree is built, as JSON: ``"leaf"``, ``"none"``, ``{"tuple": [...]}``, ``{"list": [...]}`` or
``{"dict": [[key, ...], ...]}``, which keeps the order of the keys."""

LEAF = "leaf"
_NONE = "none"


def flatten(tree: Any, is_leaf: Callable[[Any], bool] = lambda _: False) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and how it is built.

    Args:
        tree: Tuples, lists and mappings with text keys; anything else, but None, is a leaf.
        is_leaf: Says of a tuple, list or mapping that it is a leaf.

    Raises:
        ArgumentError: a key that is not text.
    """
    leaves: list[Any] = []

    def walk(node: Any) -> Structure:
        if node is None:
            return _NONE
        if is_leaf(node) or not isinstance(node, tuple | list | Mapping):
            leaves.append(node)
            return LEAF
        if isinstance(node, Mapping):
            for key in node:
                if not isinstance(key, str):
                    raise make(ArgumentError, f"the key {key!r} of a dict is not text")
            return {"dict": [[key, walk(entry)] for key, entry in node.items()]}
        return {"tuple" if isinstance(node, tuple) else "list": [walk(entry) for entry in node]}

    return leaves, walk(tree)


def unflatten(structure: Structure, leaves: list[Any]) -> Any:
    """The tree of that structure with these leaves.

    Raises:
        ArgumentError: not a structure, or not its number of leaves.
    """
    rest = iter(leaves)

    def build(node: Structure) -> Any:
        if node == LEAF:
            return next(rest)
        if node == _NONE:
            return None
        (kind, entries), *others = node.items()
        if others or kind not in ("tuple", "list", "dict"):
            raise ValueError(kind)
        if kind == "dict":
            return {str(key): build(entry) for key, entry in entries}
        built = [build(entry) for entry in entries]
        return tuple(built) if kind == "tuple" else built

    try:
        tree = build(structure)
        if next(rest, None) is not None:
            raise ValueError("leaves are left")
    except (AttributeError, TypeError, ValueError, StopIteration, RuntimeError) as error:
        raise make(ArgumentError, f"{structure!r} is not the structure of {len(leaves)} values ({error})") from None
    return tree


def flatten_like(structure: Structure, tree: Any, what: str) -> list[Any]:
    """The parts of a tree that stand where a structure has leaves, which may be lists themselves.

    Raises:
        ArgumentError: the tree is built in another way.
    """
    leaves: list[Any] = []

    def walk(node: Structure, part: Any) -> None:
        if node == LEAF:
            leaves.append(part)
            return
        if node == _NONE:
            if part is not None:
                raise _misfit(structure, what)
            return
        ((kind, entries),) = node.items()
        if kind == "dict":
            if not isinstance(part, Mapping) or set(part) != {key for key, _ in entries}:
                raise _misfit(structure, what)
            for key, inner in entries:
                walk(inner, part[key])
            return
        if not isinstance(part, tuple | list) or len(part) != len(entries):
            raise _misfit(structure, what)
        for inner, each in zip(entries, part, strict=True):
            walk(inner, each)

    walk(structure, tree)
    return leaves


def _misfit(structure: Structure, what: str) -> ArgumentError:
    return make(ArgumentError, f"{what} is not built as {describe(structure)}")


def leaf_names(structure: Structure, root: str, join: str, *, root_for_keys: bool = False) -> list[str]:
    """A name for each leaf: a lone one is ``root``, tuples count below it, dicts use their keys.

    With ``root_for_keys`` the keys of the outermost dict come after the root, too.
    """
    names: list[str] = []

    def walk(node: Structure, prefix: str | None) -> None:
        if node == LEAF:
            names.append(root if prefix is None else prefix)
        elif node != _NONE:
            ((kind, entries),) = node.items()
            for position, entry in enumerate(entries):
                key, inner = entry if kind == "dict" else (str(position), entry)
                if prefix is None:
                    bare = kind == "dict" and not root_for_keys
                    walk(inner, key if bare else f"{root}_{key}")
                else:
                    walk(inner, f"{prefix}{join}{key}")

    walk(structure, None)
    return names


def describe(structure: Structure) -> str:
    """A structure as Python would write it: ``{'loss': *, 'parts': (*, *)}``."""
    if structure == LEAF:
        return "*"
    if structure == _NONE:
        return "None"
    ((kind, entries),) = structure.items()
    if kind == "dict":
        return "{" + ", ".join(f"{key!r}: {describe(entry)}" for key, entry in entries) + "}"
    inside = ", ".join(describe(entry) for entry in entries)
    if kind == "list":
        return f"[{inside}]"
    return f"({inside},)" if len(entries) == 1 else f"({inside})"
