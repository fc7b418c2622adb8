"""The WASM module of the C API: what it exports and imports, read from its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = ["function", "table", "memory", "global"]
I32, I64, F64 = 0x7F, 0x7E, 0x7C


class Module:
    """Types, imports, functions and exports of a binary module (WebAssembly core specification, chapter 5)."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b"\0asm\1\0\0\0", "not a WASM module"
        self.data, self.at = data, 8
        self.types: list[tuple[list[int], list[int]]] = []
        self.imports: dict[tuple[str, str], int] = {}
        self.functions: list[int] = []
        self.exports: dict[str, tuple[str, int]] = {}
        while self.at < len(data):
            section, size = self.byte(), self.number()
            end = self.at + size
            reader = {1: self.read_types, 2: self.read_imports, 3: self.read_functions, 7: self.read_exports}.get(
                section
            )
            if reader is not None:
                for _ in range(self.number()):
                    reader()
            self.at = end

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128."""
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    def name(self) -> str:
        length = self.number()
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def read_types(self) -> None:
        assert self.byte() == 0x60, "a type that is not a function's"
        parameters = [self.byte() for _ in range(self.number())]
        self.types.append((parameters, [self.byte() for _ in range(self.number())]))

    def read_imports(self) -> None:
        place, kind = (self.name(), self.name()), self.byte()
        assert kind == 0, f"{place} is imported as {KINDS[kind]}"
        self.imports[place] = self.number()
        self.functions.append(self.imports[place])

    def read_functions(self) -> None:
        self.functions.append(self.number())

    def read_exports(self) -> None:
        name = self.name()
        self.exports[name] = (KINDS[self.byte()], self.number())

    def exported(self) -> Iterator[tuple[str, list[int], list[int]]]:
        """Each exported function with its parameters and results."""
        for name, (kind, index) in self.exports.items():
            if kind == "function":
                yield name, *self.types[self.functions[index]]


@pytest.fixture(scope="module")
def module(path: Path) -> Module:
    return Module(path.read_bytes())


def prototypes() -> dict[str, str]:
    """The functions of symbols.txt that are not NATIVE, with their lines."""
    lines = (ROOT / "c_api" / "symbols.txt").read_text().splitlines()
    return {re.search(r"(cdl_\w+)\(", line)[1]: line for line in lines if "(" in line and not line.endswith(" NATIVE")}


def test_exports_are_symbols_txt_less_native(module: Module) -> None:
    assert {name for name, _, _ in module.exported()} == set(prototypes())
    rest = {name for name, (kind, _) in module.exports.items() if kind != "function"}
    assert "memory" in rest and rest <= {"memory", "__data_end", "__heap_base"}


def test_imports_are_clock_poll_gpu_and_panic(module: Module) -> None:
    assert {place: module.types[index] for place, index in module.imports.items()} == {
        ("caudal", "clock"): ([], [F64]),
        ("caudal", "poll"): ([], [I32]),
        ("caudal", "gpu"): ([I32, I32, I32], [I32]),
        ("caudal", "panic"): ([I32, I32], []),
    }


def test_no_function_takes_or_gives_an_i64(module: Module) -> None:
    assert [name for name, takes, gives in module.exported() if I64 in takes or I64 in gives] == []


def test_every_function_takes_what_its_prototype_says(module: Module) -> None:
    expected = {}
    for name, line in prototypes().items():
        arguments = line[line.index("(") + 1 : line.rindex(")")]
        kinds = [] if arguments == "void" else arguments.split(", ")
        expected[name] = [F64 if kind.startswith("double ") else I32 for kind in kinds]
    assert {name: takes for name, takes, _ in module.exported()} == expected
